//! What a column's name says about its cells.

use super::IdentifierKind;
use crate::features::words;

/// Words in a row (in lower case, as [`words`] splits a name) and pieces of Chinese names that
/// give a kind away.
struct Signs {
    kind: IdentifierKind,
    /// The whole name.
    whole: &'static [&'static [&'static str]],
    /// Anywhere in the name.
    within: &'static [&'static [&'static str]],
    pieces: &'static [&'static str],
}

/// In the order in which they are looked at: a column `email_address` holds e-mail addresses.
const SIGNS: [Signs; 8] = [
    Signs {
        kind: IdentifierKind::Email,
        whole: &[&["mail"]],
        within: &[
            &["email"],
            &["emails"],
            &["emailaddress"],
            &["e", "mail"],
            &["mail", "address"],
        ],
        pieces: &["邮箱", "电子邮件", "电邮"],
    },
    Signs {
        kind: IdentifierKind::Phone,
        whole: &[&["mobile"], &["tel"], &["cell"]],
        within: &[
            &["phone"],
            &["phones"],
            &["telephone"],
            &["cellphone"],
            &["phonenumber"],
            &["mobilenumber"],
            &["fax"],
            &["msisdn"],
            &["mobile", "number"],
            &["mobile", "no"],
            &["cell", "number"],
            &["tel", "no"],
            &["tel", "number"],
        ],
        pieces: &["电话", "手机", "传真"],
    },
    Signs {
        kind: IdentifierKind::NationalId,
        whole: &[&["social", "security"], &["id", "card"]],
        within: &[
            &["ssn"],
            &["idnumber"],
            &["passport"],
            &["nino"],
            &["aadhaar"],
            &["national", "id"],
            &["id", "number"],
            &["id", "no"],
            &["id", "card", "number"],
            &["identity", "number"],
            &["identity", "card"],
            &["social", "security", "number"],
            &["social", "security", "no"],
            &["insurance", "number"],
            &["driver", "license"],
            &["drivers", "license"],
        ],
        pieces: &["身份证", "护照", "社保号", "医保号", "医保卡", "证件号"],
    },
    Signs {
        kind: IdentifierKind::Account,
        whole: &[&["bank", "account"]],
        within: &[
            &["iban"],
            &["accountnumber"],
            &["cardnumber"],
            &["account", "number"],
            &["account", "no"],
            &["acct", "no"],
            &["acct", "number"],
            &["card", "number"],
            &["card", "no"],
        ],
        pieces: &["账号", "卡号", "银行卡"],
    },
    Signs {
        kind: IdentifierKind::BirthDate,
        whole: &[],
        within: &[
            &["dob"],
            &["dateofbirth"],
            &["birthdate"],
            &["birthday"],
            &["birth", "date"],
            &["date", "of", "birth"],
        ],
        pieces: &["出生日期", "出生年月", "生日"],
    },
    Signs {
        kind: IdentifierKind::Postcode,
        whole: &[],
        within: &[
            &["zip"],
            &["zipcode"],
            &["postcode"],
            &["postal", "code"],
            &["post", "code"],
        ],
        pieces: &["邮编", "邮政编码"],
    },
    Signs {
        kind: IdentifierKind::Address,
        whole: &[],
        within: &[&["address"], &["addresses"], &["addr"], &["street"]],
        pieces: &["地址", "住址"],
    },
    Signs {
        kind: IdentifierKind::Name,
        whole: &[&["name"], &["names"]],
        within: &[
            &["firstname"],
            &["lastname"],
            &["surname"],
            &["fullname"],
            &["forename"],
            &["first", "name"],
            &["last", "name"],
            &["middle", "name"],
            &["family", "name"],
            &["given", "name"],
            &["full", "name"],
            &["maiden", "name"],
            &["patient", "name"],
            &["customer", "name"],
            &["client", "name"],
            &["person", "name"],
            &["holder", "name"],
            &["contact", "name"],
            &["doctor", "name"],
            &["physician", "name"],
            &["nurse", "name"],
            &["employee", "name"],
            &["applicant", "name"],
            &["borrower", "name"],
            &["mother", "name"],
            &["father", "name"],
            &["spouse", "name"],
            &["guardian", "name"],
        ],
        pieces: &["姓名", "名字", "客户名称", "联系人", "户名"],
    },
];

/// The kind that a column's name gives away.
pub(super) fn kind(column: &str) -> Option<IdentifierKind> {
    let words = words(column);
    let signs = SIGNS.iter().find(|signs| {
        signs.whole.iter().any(|whole| words == **whole)
            || signs.within.iter().any(|row| has(&words, row))
            || signs.pieces.iter().any(|piece| column.contains(piece))
    });
    signs.map(|signs| signs.kind)
}

fn has(words: &[String], row: &[&str]) -> bool {
    words.windows(row.len()).any(|some| some == row)
}

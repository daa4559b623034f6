//! Columns that a task may not use, told by their names.

use crate::task::{ColumnType, Task};

/// A kind of personal column that `privacy_filter` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivacyKind {
    /// Identifiers: record, customer, account, patient numbers.
    Id,
    /// Identity documents: national id, social security, passport.
    NationalId,
    /// Telephone and fax numbers.
    Phone,
    /// E-mail addresses.
    Email,
    /// Names of people.
    Name,
    /// Postal addresses and codes.
    Address,
    /// Dates of birth.
    Birth,
}

/// Words in a column's name (split at punctuation and capitals, in lower case)
/// and pieces of Chinese names that give a kind away.
struct Signs {
    kind: PrivacyKind,
    name: &'static str,
    words: &'static [&'static str],
    pairs: &'static [[&'static str; 2]],
    pieces: &'static [&'static str],
}

const SIGNS: [Signs; 7] = [
    Signs {
        kind: PrivacyKind::Id,
        name: "id",
        words: &[
            "id",
            "ids",
            "uid",
            "uuid",
            "guid",
            "identifier",
            "mrn",
            "nbr",
            "iban",
        ],
        pairs: &[
            ["account", "no"],
            ["account", "number"],
            ["card", "no"],
            ["card", "number"],
            ["record", "number"],
            ["customer", "number"],
            ["patient", "number"],
        ],
        pieces: &[
            "编号",
            "病历号",
            "住院号",
            "门诊号",
            "客户号",
            "卡号",
            "账号",
            "流水号",
            "身份证",
        ],
    },
    Signs {
        kind: PrivacyKind::NationalId,
        name: "national_id",
        words: &["ssn", "passport", "nino", "aadhaar"],
        pairs: &[
            ["national", "id"],
            ["social", "security"],
            ["identity", "card"],
        ],
        pieces: &["身份证", "护照", "社保号", "医保号"],
    },
    Signs {
        kind: PrivacyKind::Phone,
        name: "phone",
        words: &["phone", "telephone", "mobile", "tel", "cellphone", "fax"],
        pairs: &[["cell", "number"]],
        pieces: &["电话", "手机", "传真"],
    },
    Signs {
        kind: PrivacyKind::Email,
        name: "email",
        words: &["email", "mail"],
        pairs: &[],
        pieces: &["邮箱", "电子邮件"],
    },
    Signs {
        kind: PrivacyKind::Name,
        name: "name",
        words: &[
            "name",
            "firstname",
            "lastname",
            "surname",
            "fullname",
            "forename",
        ],
        pairs: &[],
        pieces: &["姓名", "名字"],
    },
    Signs {
        kind: PrivacyKind::Address,
        name: "address",
        words: &[
            "address", "addr", "street", "zip", "zipcode", "postcode", "postal",
        ],
        pairs: &[],
        pieces: &["地址", "住址", "邮编"],
    },
    Signs {
        kind: PrivacyKind::Birth,
        name: "birth",
        words: &["dob", "birthdate", "birthday", "birth"],
        pairs: &[],
        pieces: &["出生", "生日"],
    },
];

/// Words that say a column was written after what is to be predicted.
const LATER: [&str; 4] = ["future", "followup", "afterwards", "subsequent"];
const LATER_PAIRS: [[&str; 2]; 2] = [["follow", "up"], ["after", "outcome"]];
const LATER_PIECES: [&str; 2] = ["随访", "之后"];

impl PrivacyKind {
    /// The kind of that name in a task file.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        SIGNS
            .iter()
            .find(|signs| signs.name == word)
            .map(|signs| signs.kind)
    }

    /// Whether a column's name gives the kind away. Doubt counts as yes: a
    /// column kept back by mistake costs some quality, the other mistake costs
    /// a person's privacy. A national id is an id too.
    #[must_use]
    pub fn matches(self, column: &str) -> bool {
        let words = words(column);
        SIGNS
            .iter()
            .filter(|signs| {
                signs.kind == self || (self == Self::Id && signs.kind == Self::NationalId)
            })
            .any(|signs| {
                words
                    .iter()
                    .any(|word| signs.words.contains(&word.as_str()))
                    || has_pair(&words, signs.pairs)
                    || signs.pieces.iter().any(|piece| column.contains(piece))
            })
    }
}

/// Why a task may not use a column as a feature, by the column's name and what
/// the task says; `None` when it may. Every site applies the same rule to
/// every ask.
#[must_use]
pub fn refused(task: &Task, column: &str) -> Option<String> {
    if column == task.target {
        return Some("it is the target".to_owned());
    }
    if task.entity.as_deref() == Some(column) {
        return Some("it says whom a row is about (`entity`)".to_owned());
    }
    if task.split.as_deref() == Some(column) {
        return Some("it says which rows are train and test (`split`)".to_owned());
    }
    let declared = task
        .columns
        .get(column)
        .map(|rule| rule.r#type)
        .filter(|&kind| kind != ColumnType::Auto);
    if declared == Some(ColumnType::Ignore) {
        return Some("the task says \"ignore\"".to_owned());
    }
    for word in &task.constraints.privacy_filter {
        let kind = PrivacyKind::parse(word);
        if word == column || kind.is_some_and(|kind| kind.matches(column)) {
            return Some(format!("privacy_filter names `{word}`"));
        }
    }
    if task.constraints.temporal_check && declared.is_none() && is_later(column) {
        return Some(
            "its name says that it was written after the prediction (temporal_check); declare its type under [columns] if it was not"
                .to_owned(),
        );
    }
    None
}

fn is_later(column: &str) -> bool {
    let words = words(column);
    words.iter().any(|word| LATER.contains(&word.as_str()))
        || has_pair(&words, &LATER_PAIRS)
        || LATER_PIECES.iter().any(|piece| column.contains(piece))
}

fn has_pair(words: &[String], pairs: &[[&str; 2]]) -> bool {
    words.windows(2).any(|two| {
        pairs
            .iter()
            .any(|pair| two[0] == pair[0] && two[1] == pair[1])
    })
}

/// `patientID_no` is "patient", "id", "no".
pub(crate) fn words(column: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for c in column.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            lower_before = false;
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
            lower_before = c.is_lowercase() || c.is_ascii_digit();
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

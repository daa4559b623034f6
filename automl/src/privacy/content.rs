//! What a cell by itself can tell: e-mail addresses, telephone numbers, numbers with a check
//! digit.

use iban::Iban;

use super::IdentifierKind;
use crate::table::{Cell, canonical_number, days_since_epoch};

/// Longest cell that can be one identifier; longer ones are looked through word by word.
const LONGEST: usize = 64;
/// Whole numbers below this have no more than ten digits: no card, resident id or mobile number.
const ELEVEN_DIGITS: f64 = 1e10;

/// How many forms there are.
pub(super) const FORMS: usize = 6;
/// All of them, the surest first.
pub(super) const ALL_FORMS: [Form; FORMS] = [
    Form::Email,
    Form::ResidentId,
    Form::Iban,
    Form::SocialSecurity,
    Form::Phone,
    Form::Card,
];

/// What a cell has the form of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `name@host.tld`.
    Email,
    /// 18 characters of a Chinese resident id (GB 11643): region, date of birth, check digit.
    ResidentId,
    /// An international bank account number (ISO 13616), with its check digits.
    Iban,
    /// `123-45-6789`, of the ranges that are given out.
    SocialSecurity,
    /// A telephone number as people write it, or a Chinese mobile number.
    Phone,
    /// A payment card (ISO/IEC 7812): a range of a known scheme, and its check digit.
    Card,
}

impl Form {
    pub(super) const fn kind(self) -> IdentifierKind {
        match self {
            Self::Email => IdentifierKind::Email,
            Self::ResidentId | Self::SocialSecurity => IdentifierKind::NationalId,
            Self::Iban | Self::Card => IdentifierKind::Account,
            Self::Phone => IdentifierKind::Phone,
        }
    }

    /// Whether chance hardly makes it.
    pub(super) const fn is_checked(self) -> bool {
        matches!(self, Self::Email | Self::ResidentId | Self::Iban)
    }
}

/// The form of a text.
pub(super) fn form(text: &str) -> Option<Form> {
    if text.len() <= LONGEST
        && let Some(form) = whole(text)
    {
        return Some(form);
    }
    // Sentences: what can be told apart from other words.
    let between = |c: char| c.is_whitespace() || ",;:()<>[]\"'，；：（）。".contains(c);
    let mut words = text.split(between);
    words.find_map(|word| {
        let word = word.trim_end_matches('.');
        if is_email(word) {
            Some(Form::Email)
        } else if is_resident_id(word) {
            Some(Form::ResidentId)
        } else {
            None
        }
    })
}

/// The form of a number, as a table reads `13812345678`.
pub(super) fn form_of_number(number: f64) -> Option<Form> {
    // Whole numbers of up to 15 digits are exact.
    if number < ELEVEN_DIGITS || libm::floor(number) != number {
        return None;
    }
    whole(&canonical_number(number))
}

fn whole(text: &str) -> Option<Form> {
    if is_email(text) {
        Some(Form::Email)
    } else if is_resident_id(text) {
        Some(Form::ResidentId)
    } else if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.parse::<Iban>().is_ok() {
        Some(Form::Iban)
    } else if is_social_security(text) {
        Some(Form::SocialSecurity)
    } else if is_phone(text) {
        Some(Form::Phone)
    } else if is_card(text) {
        Some(Form::Card)
    } else {
        None
    }
}

/// One `@`, a local part and a host name with a top-level domain of letters.
fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    let local_fits = !local.is_empty()
        && local.len() <= 64
        && local
            .chars()
            .all(|c| c.is_alphanumeric() || "._%+-'".contains(c));
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    let Some((name, top)) = host.rsplit_once('.') else {
        return false;
    };
    local_fits
        && name.split('.').all(label)
        && top.len() >= 2
        && top.chars().all(char::is_alphabetic)
}

/// Provinces as the first two digits say them.
const REGIONS: [std::ops::RangeInclusive<u32>; 8] = [
    11..=15,
    21..=23,
    31..=37,
    41..=46,
    50..=54,
    61..=65,
    71..=71,
    81..=83,
];
/// Weights of the 17 digits (ISO 7064, MOD 11-2), and the check characters by remainder.
const RESIDENT_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const RESIDENT_CHECKS: &[u8; 11] = b"10X98765432";

fn is_resident_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((digits, [check])) = bytes.split_at_checked(17) else {
        return false;
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digits: Vec<u32> = digits.iter().map(|byte| u32::from(byte - b'0')).collect();
    let number = |from: usize, to: usize| digits[from..to].iter().fold(0, |all, it| all * 10 + it);
    let region = number(0, 2);
    let born = format!(
        "{:04}-{:02}-{:02}",
        number(6, 10),
        number(10, 12),
        number(12, 14)
    );
    let sum: u32 = digits
        .iter()
        .zip(RESIDENT_WEIGHTS)
        .map(|(it, by)| it * by)
        .sum();
    REGIONS.iter().any(|known| known.contains(&region))
        && (1900..2100).contains(&number(6, 10))
        && days_since_epoch(&born).is_some()
        && RESIDENT_CHECKS.get(sum as usize % 11) == Some(&check.to_ascii_uppercase())
}

/// `123-45-6789`; areas 000, 666 and 900 to 999, group 00 and serial 0000 are not given out.
fn is_social_security(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, group, serial] = parts.as_slice() else {
        return false;
    };
    let digits = |part: &str, count: usize| {
        part.len() == count && part.bytes().all(|it| it.is_ascii_digit())
    };
    digits(area, 3)
        && digits(group, 2)
        && digits(serial, 4)
        && !matches!(*area, "000" | "666")
        && !area.starts_with('9')
        && *group != "00"
        && *serial != "0000"
}

/// A Chinese mobile number in any writing; else a number with a country code after `+` or 00 and
/// a separator, or in the groups of North America or of a Chinese landline. Bare digits of other
/// countries are not told from other numbers.
fn is_phone(text: &str) -> bool {
    let separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/');
    if !text
        .chars()
        .all(|c| c.is_ascii_digit() || separator(c) || c == '+')
    {
        return false;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let groups: Vec<usize> = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .filter(|length| *length > 0)
        .collect();
    let country = text.starts_with('+') && (8..=15).contains(&digits.len());
    let national = digits.strip_prefix("86").filter(|_| digits.len() == 13);
    country || is_chinese_mobile(national.unwrap_or(&digits)) || in_known_groups(&digits, &groups)
}

fn is_chinese_mobile(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    bytes.len() == 11 && bytes[0] == b'1' && (b'3'..=b'9').contains(&bytes[1])
}

fn in_known_groups(digits: &str, groups: &[usize]) -> bool {
    match groups {
        // (212) 555-0123: neither area nor exchange begins with 0 or 1.
        [3, 3, 4] => {
            let bytes = digits.as_bytes();
            bytes[0] >= b'2' && bytes[3] >= b'2'
        }
        [1, 3, 3, 4] => digits.starts_with('1'),
        // 010-62345678, 0755-1234567.
        [3, 8] | [4, 7 | 8] => digits.starts_with('0'),
        _ => false,
    }
}

/// 13 to 19 digits in a range of a card scheme, with spaces or hyphens between groups, and a
/// right Luhn digit.
fn is_card(text: &str) -> bool {
    let grouped = |c: char| matches!(c, ' ' | '-');
    if !text.chars().all(|c| c.is_ascii_digit() || grouped(c)) {
        return false;
    }
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
    if !(13..=19).contains(&digits.len()) {
        return false;
    }
    let start = digits[..4]
        .iter()
        .fold(0_u32, |all, it| all * 10 + u32::from(it - b'0'));
    let scheme = match (start, digits.len()) {
        // Visa; Mastercard; American Express; UnionPay; Discover; JCB; Diners Club.
        (4000..=4999, 13 | 16 | 19) => true,
        (5100..=5599 | 2221..=2720, 16) => true,
        (3400..=3499 | 3700..=3799, 15) => true,
        (6200..=6299, 16..=19) => true,
        (6011 | 6440..=6599, 16..=19) => true,
        (3528..=3589, 16..=19) => true,
        (3000..=3059 | 3600..=3699 | 3800..=3999, 14..=19) => true,
        _ => false,
    };
    scheme && luhn3::decimal::valid(&digits)
}

/// Whether a cell can be what its column's name says. Doubt counts as yes.
pub(super) fn can_be(kind: IdentifierKind, cell: Cell<'_>) -> bool {
    let number;
    let text = match cell {
        Cell::Missing => return false,
        Cell::Number(value) => {
            number = canonical_number(value);
            &number
        }
        Cell::Text(text) => text,
    };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match kind {
        IdentifierKind::Email => text.contains('@'),
        IdentifierKind::Phone | IdentifierKind::NationalId | IdentifierKind::BirthDate => {
            digits >= 5
        }
        // The last four digits of a card are shown in many places.
        IdentifierKind::Account => digits >= 4,
        IdentifierKind::Postcode => digits > 0 && text.len() >= 4,
        IdentifierKind::Address => text.chars().count() >= 5 && matches!(cell, Cell::Text(_)),
        IdentifierKind::Name => {
            digits == 0 && text.chars().filter(|c| c.is_alphabetic()).count() >= 2
        }
    }
}

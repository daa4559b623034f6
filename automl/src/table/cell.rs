//! What one cell means.

/// One cell of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing known.
    Missing,
    /// A finite number; never negative zero.
    Number(f64),
    /// Anything else, trimmed.
    Text(&'a str),
}

/// How a trimmed, non-empty cell reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Number(f64),
    Text,
    /// Written as a number, but not a finite one.
    Infinite,
}

impl Cell<'_> {
    /// Feeds a form that no two different cells share.
    pub(crate) fn hash_into(self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Missing => hasher.update(&[0]),
            Self::Number(number) => hasher.update(&[1]).update(&number.to_bits().to_le_bytes()),
            Self::Text(text) => hasher
                .update(&[2])
                .update(&(text.len() as u64).to_le_bytes())
                .update(text.as_bytes()),
        };
    }
}

/// Whole numbers with more digits are identifiers: a float would round them.
const MOST_INTEGER_DIGITS: usize = 15;

/// Reads a trimmed cell. A number has an optional sign, digits, at most one
/// point and an optional exponent. `007` and whole numbers of more than 15
/// digits are texts (codes and identifiers, whose digits matter); `1,000` is a
/// text too, because its meaning depends on the country.
pub(super) fn read(text: &str) -> Reading {
    let bytes = text.as_bytes();
    let unsigned = bytes
        .strip_prefix(b"-")
        .or(bytes.strip_prefix(b"+"))
        .unwrap_or(bytes);
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Reading::Infinite;
    }
    let whole = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = &unsigned[whole..];
    let mut fraction = 0;
    let mut plain = true;
    if let Some(after) = rest.strip_prefix(b".") {
        fraction = after.iter().take_while(|b| b.is_ascii_digit()).count();
        rest = &after[fraction..];
        plain = false;
    }
    if whole + fraction == 0 {
        return Reading::Text;
    }
    if let Some(after) = rest.strip_prefix(b"e").or(rest.strip_prefix(b"E")) {
        let digits = after
            .strip_prefix(b"-")
            .or(after.strip_prefix(b"+"))
            .unwrap_or(after);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Reading::Text;
        }
        rest = &[];
        plain = false;
    }
    let padded = whole > 1 && unsigned.first() == Some(&b'0');
    if !rest.is_empty() || padded || (plain && whole > MOST_INTEGER_DIGITS) {
        return Reading::Text;
    }
    match text.parse::<f64>() {
        // Adding zero turns -0 into 0.
        Ok(number) if number.is_finite() => Reading::Number(number + 0.0),
        Ok(_) => Reading::Infinite,
        Err(_) => Reading::Text,
    }
}

/// The shortest text of a number: `63`, not `63.0`.
#[must_use]
pub fn canonical_number(number: f64) -> String {
    format!("{}", number + 0.0)
}

/// The form under which values are compared: numbers by value, texts as they
/// are, trimmed.
#[must_use]
pub fn canonical_text(text: &str) -> String {
    let text = text.trim();
    match read(text) {
        Reading::Number(number) => canonical_number(number),
        Reading::Text | Reading::Infinite => text.to_owned(),
    }
}

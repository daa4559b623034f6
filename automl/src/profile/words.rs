//! Words of free text, counted without being named.
//!
//! A text is a set of tokens: lower-case words of two letters or more, and of
//! Chinese and other scripts without spaces every pair of neighbouring
//! characters (docs/adr/0012). Each token falls in a keyed hash bucket of its column.

use serde::{Deserialize, Serialize};

use super::slots::SlotKey;

/// Buckets that the words of a column fall in.
pub const WORD_BUCKETS: usize = 1024;
/// Most words of a column that get a feature of their own.
pub const MAX_WORDS: usize = 64;
/// Most tokens of a text that are looked at: two pages.
const MAX_TOKENS: usize = 2048;
/// A text of at least this many tokens is a sentence rather than a value.
pub(super) const SENTENCE: usize = 5;

/// The words of a column of free text that tell something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Their buckets, ascending, at most [`MAX_WORDS`].
    pub buckets: Vec<u16>,
    /// Training rows whose text has each of them.
    pub counts: Vec<u64>,
}

/// Scripts that are written without spaces between words.
fn unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0e7f // Thai
        | 0x3040..=0x30ff // Japanese syllables
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x2fa1f)
}

/// Calls `take` for each token of a text, as often as it occurs.
pub(crate) fn tokens(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut pair = String::new();
    let mut before: Option<char> = None;
    let mut left = MAX_TOKENS;
    let mut flush = |word: &mut String, left: &mut usize| {
        if word.chars().nth(1).is_some() && *left > 0 {
            *left -= 1;
            take(word);
        }
        word.clear();
    };
    for c in text.chars() {
        if unspaced(c) {
            flush(&mut word, &mut left);
            if let Some(before) = before {
                pair.push(before);
                pair.push(c);
                flush(&mut pair, &mut left);
            }
            before = Some(c);
            continue;
        }
        before = None;
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else {
            flush(&mut word, &mut left);
        }
    }
    flush(&mut word, &mut left);
}

/// Whether a text is a sentence rather than a value.
pub(super) fn is_sentence(text: &str) -> bool {
    let mut count = 0;
    tokens(text, |_| count += 1);
    count >= SENTENCE
}

/// The buckets of a text's tokens, ascending, each once.
pub(crate) fn buckets(key: SlotKey, column: &str, text: &str) -> Vec<u16> {
    let mut buckets = Vec::new();
    tokens(text, |token| buckets.push(key.word(column, token)));
    buckets.sort_unstable();
    buckets.dedup();
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        tokens(text, |token| all.push(token.to_owned()));
        all
    }

    #[test]
    fn words_and_pairs_of_characters_are_tokens() {
        assert_eq!(all("The LOAN, a late-fee!"), ["the", "loan", "late", "fee"]);
        assert_eq!(all("胸痛3天 fever"), ["胸痛", "fever"]);
        assert_eq!(
            all("急性心肌梗死"),
            ["急性", "性心", "心肌", "肌梗", "梗死"]
        );
        assert_eq!(all(""), Vec::<String>::new());
        assert!(is_sentence("the patient has had pain") && !is_sentence("chest pain"));
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(all(&"ab ".repeat(MAX_TOKENS + 10)).len(), MAX_TOKENS);
    }
}

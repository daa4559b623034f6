//! 256 short English words, for fingerprints that people compare by voice. The list never changes:
//! a word's place is its value.

/// The word for a byte.
#[expect(clippy::indexing_slicing, reason = "256 words, one for every byte")]
pub(crate) fn word(value: u8) -> &'static str {
    WORDS[usize::from(value)]
}

#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "acorn", "actor", "admiral", "agent", "alarm", "album", "alley", "almond",
    "amber", "anchor", "animal", "ankle", "antler", "apple", "apron", "arbor",
    "arrow", "artist", "aspen", "atlas", "attic", "autumn", "avenue", "badger",
    "bakery", "ballad", "bamboo", "banjo", "barley", "barrel", "basket", "beacon",
    "beaver", "bedrock", "bicycle", "birch", "bishop", "bistro", "blanket", "blossom",
    "bonfire", "bottle", "boulder", "bridge", "bronze", "bucket", "buffalo", "butter",
    "button", "cabin", "cactus", "camera", "canal", "candle", "canvas", "canyon",
    "carbon", "cargo", "carpet", "castle", "cavern", "cedar", "cello", "cement",
    "chapel", "cherry", "chimney", "cinema", "circus", "citrus", "clover", "cobalt",
    "coffee", "comet", "compass", "copper", "coral", "cottage", "cotton", "cousin",
    "crater", "cricket", "crystal", "curtain", "cypress", "daisy", "dancer", "dentist",
    "desert", "diamond", "dinner", "doctor", "dolphin", "donkey", "dragon", "drummer",
    "eagle", "easel", "echo", "elbow", "elephant", "emerald", "engine", "envelope",
    "fabric", "falcon", "farmer", "feather", "fennel", "ferry", "fiddle", "flamingo",
    "forest", "fossil", "fountain", "galaxy", "garden", "garlic", "gazelle", "geyser",
    "ginger", "giraffe", "glacier", "goblet", "gondola", "granite", "guitar", "hammer",
    "harbor", "harvest", "hazel", "helmet", "heron", "hickory", "hollow", "honey",
    "hornet", "iceberg", "indigo", "insect", "island", "ivory", "jacket", "jaguar",
    "jasmine", "jersey", "jigsaw", "jungle", "juniper", "kennel", "kettle", "kitchen",
    "kiwi", "ladder", "lagoon", "lantern", "laurel", "lemon", "lemur", "leopard",
    "library", "lilac", "linen", "lizard", "lobster", "locket", "lumber", "magnet",
    "mango", "maple", "marble", "meadow", "melon", "meteor", "mirror", "monsoon",
    "mosaic", "mustard", "nectar", "needle", "nickel", "nutmeg", "oasis", "oboe",
    "ocean", "olive", "onyx", "opal", "orbit", "orchid", "otter", "oyster",
    "paddle", "palace", "panther", "parrot", "pasture", "peanut", "pebble", "pelican",
    "pepper", "pianist", "pigeon", "pilot", "planet", "plaza", "plum", "poet",
    "pony", "poplar", "prairie", "puzzle", "quarry", "quartz", "quilt", "rabbit",
    "radio", "ranger", "raven", "ribbon", "river", "rocket", "saddle", "saffron",
    "salmon", "sandal", "satin", "scarlet", "season", "shadow", "silver", "sparrow",
    "spinach", "squirrel", "statue", "sunset", "tailor", "temple", "thistle", "thunder",
    "timber", "tractor", "trumpet", "tulip", "tundra", "tunnel", "turtle", "umbrella",
    "vanilla", "velvet", "violin", "walnut", "willow", "window", "winter", "zebra",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_sorted_and_easy_to_tell_apart() {
        for pair in WORDS.windows(2) {
            assert!(pair[0] < pair[1], "{} and {}", pair[0], pair[1]);
        }
        for (value, text) in WORDS.iter().enumerate() {
            assert!((4..=8).contains(&text.len()), "{text}");
            assert!(
                text.bytes().all(|letter| letter.is_ascii_lowercase()),
                "{text}"
            );
            assert_eq!(word(value as u8), *text);
        }
    }
}

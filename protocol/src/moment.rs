//! Times as people write them, always UTC.

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// `2026-11-26 18:04:05` of milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn text(ms: u64) -> String {
    let (year, month, day) = date(ms / DAY_MS);
    let second = ms % DAY_MS / 1000;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}",
        second % 60
    )
}

/// Reads `2026-11-26`, or that with a time: `2026-11-26 18:04`, `2026-11-26T18:04:05Z`.
///
/// # Errors
/// What is expected, in words.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time: write 2026-11-26 or 2026-11-26T18:04:05 (UTC)");
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = plain.split_once(['T', ' ']).unwrap_or((plain, "00:00"));
    let numbers = |text: &str, mark| -> Option<Vec<u64>> {
        text.split(mark).map(|it| it.parse().ok()).collect()
    };
    let (Some([year, month, day]), Some(time)) = (
        numbers(date, '-').and_then(|it| <[u64; 3]>::try_from(it).ok()),
        numbers(time, ':'),
    ) else {
        return Err(wrong());
    };
    let (hour, minute, second) = match time.as_slice() {
        [hour, minute] => (*hour, *minute, 0),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return Err(wrong()),
    };
    let possible = (1970..10_000).contains(&year) && hour < 24 && minute < 60 && second < 60;
    let days = possible.then(|| days(year, month, day)).flatten();
    let days = days.ok_or_else(wrong)?;
    Ok(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000)
}

/// `2026-11-26 18:04 UTC` of seconds since 1970-01-01 UTC.
#[must_use]
pub fn minute(seconds: u64) -> String {
    let text = text(seconds.saturating_mul(1000));
    let (minute, _) = text.rsplit_once(':').unwrap_or((&text, ""));
    format!("{minute} UTC")
}

/// A span as people say it: `12 minutes`.
#[must_use]
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January.
fn new_year(year: u64) -> u64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400;
    // 477 leap years came before 1970.
    (year - 1970) * 365 + leaps - 477
}

fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let possible = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    let before: u64 = (1..month).map(|month| month_days(year, month)).sum();
    possible.then(|| new_year(year) + before + day - 1)
}

fn date(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while new_year(year + 1) <= days {
        year += 1;
    }
    let mut day = days - new_year(year);
    let mut month = 1;
    while day >= month_days(year, month) {
        day -= month_days(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date -u -d @N` has them.
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_790_000_000, "2026-09-21 14:13:20"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(text(seconds * 1000), expected);
            assert_eq!(minute(seconds), format!("{} UTC", &expected[..16]));
            assert_eq!(parse(expected), Ok(seconds * 1000));
        }
        assert_eq!(parse("2026-09-21"), Ok(1_789_948_800_000));
        assert_eq!(parse("2026-09-21T14:13Z"), Ok(1_789_999_980_000));
        for day in 0..80_000 {
            let (year, month, this) = date(day);
            assert_eq!(days(year, month, this), Some(day));
        }
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-01-01T24:00",
            "1969-12-31",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_are_readable() {
        assert_eq!(span(1000), "1 second");
        assert_eq!(span(119_000), "119 seconds");
        assert_eq!(span(7_199_000), "119 minutes");
        assert_eq!(span(3 * 86_400_000), "3 days");
    }
}

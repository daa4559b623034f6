//! Calendar dates in the forms that cannot be misread.

/// Days from 1970-01-01 to the date at the start of `text`.
///
/// Understood: `2024-03-05`, `2024/3/5`, `2024年3月5日`, each optionally followed
/// by a time, which is ignored. Forms whose order of day and month depends on
/// the country are not dates here.
#[must_use]
pub fn days_since_epoch(text: &str) -> Option<i64> {
    let (year, rest) = digits(text, 4, 4)?;
    let (separators, rest) = [(("-", ""), "-"), (("/", ""), "/"), (("月", "日"), "年")]
        .into_iter()
        .find_map(|(next, first)| rest.strip_prefix(first).map(|rest| (next, rest)))?;
    let (month, rest) = digits(rest, 1, 2)?;
    let rest = rest.strip_prefix(separators.0)?;
    let (day, rest) = digits(rest, 1, 2)?;
    let rest = rest.strip_prefix(separators.1)?;
    let ends = rest.is_empty() || rest.starts_with(['T', ' ']);
    let valid = ends && (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    valid.then(|| day_number(year, month, day))
}

fn digits(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(least..=most).contains(&count) {
        return None;
    }
    let (digits, rest) = text.split_at(count);
    Some((digits.parse().ok()?, rest))
}

const fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + leap(year) as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day number in the proleptic Gregorian calendar, 1970-01-01 being 0. Years
/// are counted from March, so that the leap day is the last of its year.
const fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let since_march = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + since_march
        - 719_468
}

/// Year, month and day of a day number: the inverse of [`days_since_epoch`]
/// (Hinnant, "chrono-compatible low-level date algorithms").
#[must_use]
pub const fn civil(days: i64) -> (i64, i64, i64) {
    let since = days + 719_468;
    let era = since.div_euclid(146_097);
    let day = since.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year + era * 400, month + 3)
    } else {
        (year + era * 400 + 1, month - 9)
    };
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_numbers_and_dates_are_each_others_inverse() {
        for days in (-800_000..800_000).step_by(13) {
            let (year, month, day) = civil(days);
            assert_eq!(day_number(year, month, day), days, "{year}-{month}-{day}");
            assert!((1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day));
        }
        assert_eq!(civil(0), (1970, 1, 1));
    }
}

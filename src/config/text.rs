//! Values as people write them: times with units, sizes with units, counts, words. And the word
//! that somebody meant who wrote another. This file does not know the settings.

/// A time in milliseconds: `250ms`, `5s`, `2m`, `1h`; never 0.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let unit = unit_of(text);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time needs a unit, as in 250ms, 5s, 2m or 1h".to_owned()),
    };
    not_zero(scaled(text, unit, scale)?)
}

/// A number of bytes: `1000`, `16KiB`, `64MiB`, `1GiB`; never 0.
pub(super) fn size(text: &str) -> Result<usize, String> {
    to_usize(not_zero(bytes_or_none(text)?)?)
}

/// As [`size`], or 0.
pub(super) fn bytes_or_none(text: &str) -> Result<u64, String> {
    let unit = unit_of(text);
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => {
            let hint = "a size is bytes or has a unit, as in 16KiB, 64MiB or 1GiB";
            return Err(hint.to_owned());
        }
    };
    scaled(text, unit, scale)
}

/// A whole number above 0.
pub(super) fn count(text: &str) -> Result<usize, String> {
    to_usize(not_zero(scaled(text, "", 1)?)?)
}

/// As [`count`], or 0.
pub(super) fn count_or_none(text: &str) -> Result<usize, String> {
    to_usize(scaled(text, "", 1)?)
}

/// A whole number that the field can hold, 0 too.
pub(super) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    T::try_from(scaled(text, "", 1)?).map_err(|_| too_large())
}

/// The value of the word that `text` is.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(format!("is none of: {}", known.join(", ")))
        }
    }
}

/// What follows the leading digits.
fn unit_of(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_digit())
}

fn scaled(text: &str, unit: &str, scale: u64) -> Result<u64, String> {
    let digits = text.strip_suffix(unit).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".to_owned());
    }
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|number| number.checked_mul(scale)).ok_or_else(too_large)
}

fn not_zero(number: u64) -> Result<u64, String> {
    if number == 0 { Err("must not be 0".to_owned()) } else { Ok(number) }
}

fn to_usize(number: u64) -> Result<usize, String> {
    usize::try_from(number).map_err(|_| too_large())
}

fn too_large() -> String {
    "is too large".to_owned()
}

/// The word of `words` that takes the fewest changes to become `wrong`; the first of several.
/// Case does not count, and `_` is `-`.
pub(super) fn nearest(wrong: &str, words: impl Iterator<Item = &'static str>) -> &'static str {
    let wrong = wrong.to_lowercase().replace('_', "-");
    words.min_by_key(|word| distance(&wrong, word)).unwrap_or_default()
}

/// How many letters must be put in, taken out or replaced (Levenshtein, 1966), row by row.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in (1..).zip(from.chars()) {
        let mut left = line;
        let mut corner = line - 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&to) {
            let replace = corner + usize::from(letter != *other);
            corner = *cell;
            left = replace.min(corner + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // B8.4: no time is infinite, or none, by accident.
    #[test]
    fn times_need_a_unit() {
        for (text, want) in [
            ("1ms", 1),
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("007s", 7_000),
        ] {
            assert_eq!(duration_ms(text), Ok(want), "{text}");
        }
        for (text, line) in [
            ("", "needs a unit"),
            ("5", "needs a unit"),
            ("5 s", "needs a unit"),
            ("5S", "needs a unit"),
            ("1.5s", "needs a unit"),
            ("-1s", "needs a unit"),
            ("1s1", "needs a unit"),
            ("1d", "needs a unit"),
            ("never", "needs a unit"),
            ("s", "is not a whole number"),
            ("0s", "must not be 0"),
            ("0ms", "must not be 0"),
            ("18446744073709551616ms", "is too large"),
            ("18446744073709551615s", "is too large"),
        ] {
            let error = duration_ms(text).expect_err(text);
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, want) in [
            ("1000", 1_000),
            ("1000B", 1_000),
            ("16KiB", 16_384),
            ("64MiB", 67_108_864),
            ("1GiB", 1_073_741_824),
        ] {
            assert_eq!(size(text), Ok(want), "{text}");
        }
        for (text, line) in [
            ("", "is not a whole number"),
            ("KiB", "is not a whole number"),
            ("16K", "a size is bytes"),
            ("16kb", "a size is bytes"),
            ("16 KiB", "a size is bytes"),
            ("+16", "a size is bytes"),
            ("1.5MiB", "a size is bytes"),
            ("0", "must not be 0"),
            ("0MiB", "must not be 0"),
            ("18446744073709551615KiB", "is too large"),
        ] {
            let error = size(text).expect_err(text);
            assert!(error.contains(line), "{text:?}: {error}");
        }
        assert_eq!(bytes_or_none("0"), Ok(0));
    }

    #[test]
    fn counts_are_whole_numbers() {
        assert_eq!((count("7"), count_or_none("0")), (Ok(7), Ok(0)));
        for text in ["", "-1", "+1", "1k", " 1", "1_000", "٣"] {
            assert_eq!(count(text), Err("is not a whole number".to_owned()), "{text:?}");
        }
        assert!(count("0").is_err() && count("99999999999999999999").is_err());
    }

    #[test]
    fn distances_of_words() {
        for (from, to, want) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(from, to), want, "{from} {to}");
        }
    }

    // B1.5
    #[test]
    fn the_nearest_word_is_what_was_meant() {
        let words = || ["connect", "linger", "linger-bytes", "max-head"].into_iter();
        for (wrong, want) in [
            ("conect", "connect"),
            ("LINGER_BYTES", "linger-bytes"),
            ("lingr", "linger"),
            ("head", "max-head"),
        ] {
            assert_eq!(nearest(wrong, words()), want, "{wrong}");
        }
    }
}

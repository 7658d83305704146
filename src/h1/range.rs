//! Continuing an answer that broke off (`B4.6`): which answers can be continued, and which ones
//! continue them (RFC 9110 sections 8.8.3, 13.1.5 and 14).
//!
//! Only bytes of one and the same representation may be put together: a strong entity tag says
//! that it is the same, byte for byte. This file does not know connections.

use super::head::ResponseHead;
use super::request::Method;
use super::response::ResponseFacts;

/// What makes a broken answer fit to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The strong entity tag, quotes included.
    pub(crate) etag: Vec<u8>,
    /// Bytes of the whole representation.
    pub(crate) total: u64,
}

/// Whether an answer to `method` could be continued if it broke off.
pub(crate) fn whole(
    head: &ResponseHead<'_>,
    facts: &ResponseFacts,
    method: Method,
    total: u64,
) -> Option<Whole> {
    if method != Method::Get || facts.status != 200 {
        return None;
    }
    let ranges = head.field("accept-ranges")?;
    let etag = head.field("etag")?;
    let strong = etag.len() >= 2 && etag.starts_with(b"\"") && etag.ends_with(b"\"");
    (strong && ranges.eq_ignore_ascii_case(b"bytes")).then(|| Whole { etag: etag.to_vec(), total })
}

/// Whether `head`, with a body of `length` bytes, is the rest of `whole` from byte `from` on.
pub(crate) fn continues(
    head: &ResponseHead<'_>,
    length: Option<u64>,
    whole: &Whole,
    from: u64,
) -> bool {
    let range = head.field("content-range").and_then(content_range);
    head.status() == 206
        && length == whole.total.checked_sub(from)
        && head.field("etag") == Some(whole.etag.as_slice())
        && range == Some((from, whole.total - 1, whole.total))
}

/// `bytes 5-9/10` as its three numbers.
fn content_range(value: &[u8]) -> Option<(u64, u64, u64)> {
    let text = core::str::from_utf8(value).ok()?;
    let (unit, rest) = text.split_once(' ')?;
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    Some((number(first)?, number(last)?, number(total)?))
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Wrapping;
    use super::super::head::{parse_response, slots};
    use super::super::{Limits, response};
    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 9999, fields: 50, target_bytes: 999 };

    fn with<T>(text: &str, f: impl FnOnce(&ResponseHead<'_>, &ResponseFacts) -> T) -> T {
        let text = format!("{text}\r\n");
        let mut slots = slots();
        let head = parse_response(text.as_bytes(), &mut slots, &LIMITS).unwrap().unwrap();
        let facts = response::read(&head, Method::Get, Wrapping::Keep).unwrap();
        f(&head, &facts)
    }

    /// B4.6
    #[test]
    fn only_strong_whole_answers_can_be_continued() {
        let fit = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nContent-Length: 9\r\n";
        let found = with(fit, |head, facts| whole(head, facts, Method::Get, 9));
        assert_eq!(found, Some(Whole { etag: b"\"a\"".to_vec(), total: 9 }));
        assert_eq!(with(fit, |head, facts| whole(head, facts, Method::Other, 9)), None);
        for (old, new) in [
            ("200", "206"),
            ("\"a\"", "W/\"a\""),
            ("\"a\"", "a"),
            ("\"a\"", "\""),
            ("ETag", "Tag"),
            ("bytes", "none"),
            ("Accept-Ranges", "Ranges"),
        ] {
            let unfit = fit.replace(old, new);
            let found = with(&unfit, |head, facts| whole(head, facts, Method::Get, 9));
            assert_eq!(found, None, "{unfit}");
        }
    }

    /// B4.6
    #[test]
    fn only_the_exact_rest_continues() {
        let original = Whole { etag: b"\"a\"".to_vec(), total: 10 };
        let rest = "HTTP/1.1 206 X\r\nETag: \"a\"\r\nContent-Range: bytes 4-9/10\r\n";
        let check = |text: &str, length| with(text, |h, _| continues(h, length, &original, 4));
        assert!(check(rest, Some(6)));
        assert!(!check(rest, Some(5)) && !check(rest, None));
        for (old, new) in [
            ("206", "200"),
            ("\"a\"", "\"b\""),
            ("ETag", "Tag"),
            ("4-9", "3-9"),
            ("4-9", "4-8"),
            ("4-9", "+4-9"),
            ("/10", "/11"),
            ("/10", "/*"),
            ("bytes", "lines"),
            ("Content-Range", "Range"),
        ] {
            let other = rest.replace(old, new);
            assert!(!check(&other, Some(6)), "{other}");
        }
    }
}

//! Lines of a head: one pass over the bytes, strict by construction.
//!
//! ```text
//!   GET /s/v/x HTTP/1.1 CRLF | Host : a.example CRLF | CRLF
//!   token SP target SP version | token ":" OWS value OWS | the end
//! ```
//!
//! Nothing but CRLF ends a line, and whatever is wrong is refused at the first byte that is. Eight
//! bytes are looked at in one step wherever a run of ordinary bytes is expected; a word that has
//! another byte says where it is, and that byte is judged alone. This file does not know what
//! fields mean, nor how long a head may be.

use core::ops::Range;

use super::field::{is_value_byte, may_be_known};
use super::{Bad, Version};

/// The most field lines a head may have, whatever the configuration says.
pub(crate) const MAX_FIELDS: usize = 256;

/// Field lines that are noted on the stack; heads with more of them are rare and allocate.
const FEW: usize = 48;

/// Where a field line stands in its head: the name up to the colon, the value without the white
/// space around it. Places, not slices: then room for them is made by zeroing it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) name: u32,
    pub(super) colon: u32,
    pub(super) value: u32,
    pub(super) end: u32,
}

/// Room for the field lines of one head.
pub(crate) struct Slots {
    few: [Line; FEW],
    count: usize,
    /// All lines, once there are more than a few.
    more: Vec<Line>,
    known: u64,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { few: [Line::default(); FEW], count: 0, more: Vec::new(), known: 0 }
    }

    pub(super) fn lines(&self) -> &[Line] {
        if self.more.is_empty() {
            self.few.get(..self.count).unwrap_or_default()
        } else {
            &self.more
        }
    }

    /// Which of the first 64 lines have a name that may mean something to a proxy.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    fn clear(&mut self) {
        self.count = 0;
        self.more.clear();
        self.known = 0;
    }

    #[inline]
    fn push(&mut self, line: Line) {
        match self.few.get_mut(self.count) {
            Some(slot) => *slot = line,
            None => self.spill(line),
        }
        self.count += 1;
    }

    #[cold]
    fn spill(&mut self, line: Line) {
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.few);
        }
        self.more.push(line);
    }
}

/// A request line that is whole: the length of the method, and its own.
pub(super) struct RequestLine {
    pub(super) method: usize,
    pub(super) version: Version,
    pub(super) len: usize,
}

impl RequestLine {
    /// Where the target stands.
    pub(super) fn target(&self) -> Range<usize> {
        self.method + 1..self.len - " HTTP/1.1\r\n".len()
    }
}

/// What of a request line is here.
pub(super) enum Begun<T> {
    Whole(T),
    /// Right so far. The target has this many bytes so far.
    Partial(usize),
}

/// Reads a request line: method, target and version with one space between them.
pub(super) fn request_line(bytes: &[u8]) -> Result<Begun<RequestLine>, Bad> {
    let method = token_len(bytes, 0);
    match bytes.get(method) {
        None => return Ok(Begun::Partial(0)),
        Some(b' ') if method > 0 => {}
        // A lone CR may still become an empty line, which whoever reads takes away.
        Some(_) if bytes == b"\r" => return Ok(Begun::Partial(0)),
        Some(_) => return Err(Bad::StartLine),
    }
    let target = method + 1;
    let end = visible_end(bytes, target);
    match bytes.get(end) {
        None => return Ok(Begun::Partial(end - target)),
        Some(b' ') if end > target => {}
        Some(_) => return Err(Bad::StartLine),
    }
    if core::str::from_utf8(bytes.get(target..end).unwrap_or_default()).is_err() {
        return Err(Bad::StartLine);
    }
    let word = bytes.get(end + 1..).unwrap_or_default();
    let (version, rest) = match word.split_first_chunk::<8>() {
        Some((b"HTTP/1.1", rest)) => (Version::Http11, rest),
        Some((b"HTTP/1.0", rest)) => (Version::Http10, rest),
        _ => return no_version(word, b"\r\n").map(|()| Begun::Partial(end - target)),
    };
    match rest {
        [b'\r', b'\n', ..] => {
            let len = end + " HTTP/1.1\r\n".len();
            Ok(Begun::Whole(RequestLine { method, version, len }))
        }
        [] | [b'\r'] => Ok(Begun::Partial(end - target)),
        _ => Err(Bad::StartLine),
    }
}

/// A status line that is whole.
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) len: usize,
}

/// Reads a status line: version, status, and mostly a reason.
pub(super) fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, Bad> {
    let (version, rest) = match bytes.split_first_chunk::<8>() {
        Some((b"HTTP/1.1", rest)) => (Version::Http11, rest),
        Some((b"HTTP/1.0", rest)) => (Version::Http10, rest),
        _ => return no_version(bytes, b" \r\n").map(|()| None),
    };
    let mut status = 0;
    match rest {
        [] => return Ok(None),
        [b' ', digits @ ..] => {
            for digit in digits.iter().take(3) {
                if !digit.is_ascii_digit() {
                    return Err(Bad::StartLine);
                }
                status = status * 10 + u16::from(digit - b'0');
            }
        }
        // All is well but for the version that it then has.
        [b'\r' | b'\n', ..] => return Err(Bad::Version),
        _ => return Err(Bad::StartLine),
    }
    const REASON: usize = "HTTP/1.1 200".len();
    let end = match bytes.get(REASON) {
        None => return Ok(None),
        Some(b' ') => text_end(bytes, REASON + 1),
        Some(_) => REASON,
    };
    let whole = StatusLine { version, status, len: end + 2 };
    Ok(crlf(bytes, end, Bad::StartLine)?.then_some(whole))
}

/// No version of ours stands at the beginning of `word`: it may become another one, or is one if it
/// stops at one of `ends`, or none.
#[cold]
fn no_version(word: &[u8], ends: &[u8]) -> Result<(), Bad> {
    let fits = |(&b, &like): (&u8, &u8)| if like == b'0' { b.is_ascii_digit() } else { b == like };
    if !word.iter().zip(b"HTTP/0.0").all(fits) {
        return Err(Bad::StartLine);
    }
    match word.get("HTTP/0.0".len()) {
        None => Ok(()),
        Some(end) if ends.contains(end) => Err(Bad::Version),
        Some(_) => Err(Bad::StartLine),
    }
}

/// Reads the field lines that begin at `at` into `slots`, up to `most`. Gives the length of the
/// head. `None`: its end is not here yet, and so far nothing is wrong.
pub(super) fn field_lines(
    bytes: &[u8],
    mut at: usize,
    most: usize,
    slots: &mut Slots,
) -> Result<Option<usize>, Bad> {
    slots.clear();
    let mut known = 0;
    loop {
        let colon = token_len(bytes, at);
        match bytes.get(colon) {
            None => return Ok(None),
            Some(b':') if colon > at => {}
            Some(_) if colon > at => return Err(Bad::FieldLine),
            Some(b'\r') => {
                slots.known = known;
                return Ok(crlf(bytes, at, Bad::StartLine)?.then_some(at + 2));
            }
            Some(b'\n') if slots.count == 0 => return Err(Bad::StartLine),
            Some(_) => return Err(Bad::FieldLine),
        }
        let mut value = colon + 1;
        while matches!(bytes.get(value), Some(b' ' | b'\t')) {
            value += 1;
        }
        let line_end = text_end(bytes, value);
        if !crlf(bytes, line_end, Bad::FieldLine)? {
            return Ok(None);
        }
        if slots.count >= most {
            return Err(Bad::HeadTooLarge);
        }
        let text = bytes.get(value..line_end).unwrap_or_default();
        let end = value + trimmed_len(text);
        let name = bytes.get(at..colon).unwrap_or_default();
        known |= u64::from(may_be_known(name)).checked_shl(slots.count as u32).unwrap_or(0);
        let [name, colon, value, end] = [at, colon, value, end].map(|place| place as u32);
        slots.push(Line { name, colon, value, end });
        at = line_end + 2;
    }
}

/// Whether a CRLF stands at `at`, where no byte of text does; `false`: it may still come.
#[inline]
fn crlf(bytes: &[u8], at: usize, bad: Bad) -> Result<bool, Bad> {
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(true),
        [] | [b'\r'] => Ok(false),
        _ => Err(bad),
    }
}

/// How long `text` is without spaces and tabs at its end.
#[inline]
fn trimmed_len(text: &[u8]) -> usize {
    let mut text = text;
    while let [before @ .., b' ' | b'\t'] = text {
        text = before;
    }
    text.len()
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES * 0x80;

/// The eight bytes at `at`, the first of them lowest.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// How many bytes stand before the first one that is marked.
#[inline]
fn unmarked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Marks the first byte of `word` that is below `least` (at most 0x80), or 0x7f. What it says of
/// bytes behind that one means nothing.
#[inline]
fn controls(word: u64, least: u8) -> u64 {
    let below = word.wrapping_sub(ONES * u64::from(least));
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    (below | delete) & !word & HIGH
}

/// Marks every byte of `word` that is neither a letter nor a hyphen, of which names are made.
#[inline]
fn unusual(word: u64) -> u64 {
    let seven = word & !HIGH;
    let folded = seven | (ONES * 0x20);
    let letters = (folded + ONES * (0x80 - 0x61)) & !(folded + ONES * (0x80 - 0x7b));
    let hyphens = HIGH - (seven ^ (ONES * 0x2d));
    (!(letters | hyphens) | word) & HIGH
}

/// Where the text that begins at `at` ends: at the first byte that no value may have.
#[inline]
fn text_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match word_at(bytes, at).map(|word| controls(word, 0x20)) {
            Some(0) => {
                at += 8;
                continue;
            }
            Some(marks) => at += unmarked(marks),
            None => {}
        }
        if !bytes.get(at).is_some_and(|&byte| is_value_byte(byte)) {
            return at;
        }
        at += 1;
    }
}

/// Where the visible bytes that begin at `at` end.
#[inline]
fn visible_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        match controls(word, 0x21) {
            0 => at += 8,
            marks => return at + unmarked(marks),
        }
    }
    while bytes.get(at).is_some_and(|&byte| byte > b' ' && byte != 0x7f) {
        at += 1;
    }
    at
}

/// Where the token that begins at `at` ends.
#[inline]
fn token_len(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match word_at(bytes, at).map(unusual) {
            Some(0) => {
                at += 8;
                continue;
            }
            Some(marks) => at += unmarked(marks),
            None => {}
        }
        if !bytes.get(at).is_some_and(|&byte| TOKEN[usize::from(byte)]) {
            return at;
        }
        at += 1;
    }
}

/// The bytes that tokens are made of (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = super::field::is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::field::is_token_byte;
    use super::*;

    /// Every byte at every place of a word, with every kind of neighbour: the steps of eight say
    /// what a look at each byte says.
    #[test]
    fn words_are_judged_as_their_bytes_are() {
        let ends: [(fn(&[u8], usize) -> usize, fn(u8) -> bool); 3] = [
            (text_end, is_value_byte),
            (visible_end, |byte| byte > b' ' && byte != 0x7f),
            (token_len, is_token_byte),
        ];
        for (end, belongs) in ends {
            for byte in 0..=255u8 {
                for around in [b'a', b'-', b'Z', b'~', b'\t', b' ', 0x7e, 0x80, 0xff, b':', 0] {
                    for (place, len) in (0..18).flat_map(|p| [(p, p + 1), (p, 19)]) {
                        let mut bytes = vec![around; len];
                        bytes[place] = byte;
                        let expected = bytes.iter().position(|&b| !belongs(b)).unwrap_or(len);
                        assert_eq!(end(&bytes, 0), expected, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn known_names_are_never_overlooked() {
        let most = 100;
        for count in [1, 47, 48, 49, 64, 65, 100, 101] {
            let text = ["A: b\r\n".repeat(count - 1), "Host:  c \t\r\n\r\n".into()].concat();
            let mut slots = Slots::new();
            let read = field_lines(text.as_bytes(), 0, most, &mut slots);
            if count > most {
                assert_eq!(read, Err(Bad::HeadTooLarge));
                continue;
            }
            assert_eq!(read, Ok(Some(text.len())));
            assert_eq!(slots.lines().len(), count);
            let last = slots.lines()[count - 1];
            let part = |from: u32, to: u32| &text[from as usize..to as usize];
            assert_eq!((part(last.name, last.colon), part(last.value, last.end)), ("Host", "c"));
            assert!(count > 64 || slots.known() >> (count - 1) == 1, "{count}");
        }
    }
}

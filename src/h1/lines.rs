//! Lines of a head: one pass over the bytes, strict by construction.
//!
//! ```text
//!   GET /s/v/x HTTP/1.1 CRLF | Host : a.example CRLF | CRLF
//!   token SP target SP version | token ":" OWS value OWS | the end
//! ```
//!
//! Nothing but CRLF ends a line, and whatever is wrong is refused at the first byte that is. Where
//! a run of ordinary bytes is expected, eight or sixteen are looked at in one step; the byte that
//! ends a run is judged alone. This file does not know what fields mean, nor how long a head may
//! be.

use core::ops::Range;

use super::field::{is_token_byte, is_value_byte, may_be_known};
use super::{Bad, Version};

/// The most field lines a head may have, whatever the configuration says.
pub(crate) const MAX_FIELDS: usize = 256;

/// Where a field line stands in its head: the name up to the colon, the value without the white
/// space around it. Places, not slices: then the room for them can be used for one head after the
/// other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) name: u32,
    pub(super) colon: u32,
    pub(super) value: u32,
    pub(super) end: u32,
}

/// Room for the field lines of one head. Reused, so that it does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// As many as the longest head has had so far.
    lines: Vec<Line>,
    count: usize,
    known: u64,
}

impl Slots {
    pub(super) fn lines(&self) -> &[Line] {
        self.lines.get(..self.count).unwrap_or_default()
    }

    /// Which of the first 64 lines have a name that may mean something to a proxy.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// Notes line `index`, which is the next one.
    #[inline]
    fn note(&mut self, index: usize, line: Line) {
        match self.lines.get_mut(index) {
            Some(slot) => *slot = line,
            None => self.grow(line),
        }
    }

    #[cold]
    fn grow(&mut self, line: Line) {
        self.lines.push(line);
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
    let method = if bytes.first_chunk() == Some(b"GET ") { 3 } else { token_len_of_any(bytes) };
    match bytes.get(method) {
        None => return Ok(Begun::Partial(0)),
        Some(b' ') if method > 0 => {}
        // A lone CR may still become an empty line, which whoever reads takes away.
        Some(_) if bytes == b"\r" => return Ok(Begun::Partial(0)),
        Some(_) => return Err(Bad::StartLine),
    }
    let target = method + 1;
    let rest = bytes.get(target..).unwrap_or_default();
    let mut end = target + visible_len(rest);
    if bytes.get(end).is_some_and(|byte| !byte.is_ascii()) {
        end = target + international_len(rest)?;
    }
    match bytes.get(end) {
        None => return Ok(Begun::Partial(end - target)),
        Some(b' ') if end > target => {}
        Some(_) => return Err(Bad::StartLine),
    }
    let word = bytes.get(end + 1..).unwrap_or_default();
    let Some((version, rest)) = split_version(word) else {
        return no_version(word, b"\r\n").map(|()| Begun::Partial(end - target));
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

/// The length of a target that has bytes beyond ASCII; they must be UTF-8 once it is whole.
#[cold]
fn international_len(bytes: &[u8]) -> Result<usize, Bad> {
    let text = bytes.split(|&byte| byte <= b' ' || byte == 0x7f).next().unwrap_or_default();
    let whole = text.len() < bytes.len();
    if whole && core::str::from_utf8(text).is_err() {
        return Err(Bad::StartLine);
    }
    Ok(text.len())
}

/// A status line that is whole.
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) len: usize,
}

/// Reads a status line: version, status, and mostly a reason.
pub(super) fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, Bad> {
    let Some((version, rest)) = split_version(bytes) else {
        return no_version(bytes, b" \r\n").map(|()| None);
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
        Some(b' ') => bytes.len() - bytes.get(REASON..).map_or(0, |rest| after_text(rest).len()),
        Some(_) => REASON,
    };
    let whole = StatusLine { version, status, len: end + 2 };
    Ok(crlf(bytes, end, Bad::StartLine)?.then_some(whole))
}

/// A version of ours, and what comes behind it.
#[inline]
fn split_version(bytes: &[u8]) -> Option<(Version, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<8>()?;
    if word == b"HTTP/1.1" {
        Some((Version::Http11, rest))
    } else {
        (word == b"HTTP/1.0").then_some((Version::Http10, rest))
    }
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
    at: usize,
    most: usize,
    slots: &mut Slots,
) -> Result<Option<usize>, Bad> {
    let place = |rest: &[u8]| (bytes.len() - rest.len()) as u32;
    let mut rest = bytes.get(at..).unwrap_or_default();
    let (mut count, mut known) = (0, 0);
    loop {
        let name = token_len(rest);
        let after = match rest.get(name..) {
            Some([b':', after @ ..]) if name > 0 => after,
            _ => {
                (slots.count, slots.known) = (count, known);
                let ended = end_of_lines(rest, name, count)?;
                return Ok(ended.then_some(bytes.len() - rest.len() + 2));
            }
        };
        let text = match after {
            [b' ', text @ ..] if text.first().is_some_and(|first| *first > b' ') => text,
            _ => without_spaces(after),
        };
        let behind = after_text(text);
        let next = match behind {
            [b'\r', b'\n', next @ ..] => next,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(Bad::FieldLine),
        };
        if count >= most {
            return Err(Bad::HeadTooLarge);
        }
        let mut value = text.get(..text.len() - behind.len()).unwrap_or_default();
        if value.last().is_some_and(|last| is_space(*last)) {
            value = value.trim_ascii_end();
        }
        let start = place(rest);
        known |= u64::from(may_be_known(rest, name)).wrapping_shl(count as u32);
        let line = Line {
            name: start,
            colon: start + name as u32,
            value: place(text),
            end: place(text) + value.len() as u32,
        };
        slots.note(count, line);
        count += 1;
        rest = next;
    }
}

/// `bytes` without the spaces and tabs at the beginning.
#[cold]
fn without_spaces(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| is_space(**byte)).count();
    bytes.get(spaces..).unwrap_or_default()
}

/// No field line stands at the beginning of `line`, though a token of `name` bytes does: is it the
/// empty line behind `count` of them? `false`: it may still be either.
#[cold]
fn end_of_lines(line: &[u8], name: usize, count: usize) -> Result<bool, Bad> {
    match line.get(name) {
        None => Ok(false),
        Some(b'\r') if name == 0 => crlf(line, 0, Bad::StartLine),
        Some(b'\n') if name == 0 && count == 0 => Err(Bad::StartLine),
        Some(_) => Err(Bad::FieldLine),
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

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES * 0x80;

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

/// How many bytes stand before the first one that is marked; 8 if none is.
#[inline]
fn unmarked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// How many visible bytes `bytes` begin with.
#[inline]
fn visible_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*word);
        let marks = controls(word, b' ' + 1) | (word & HIGH);
        if marks != 0 {
            return bytes.len() - rest.len() + unmarked(marks);
        }
        rest = after;
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| byte.is_ascii_graphic()).count()
}

/// Whether a block has a control byte, a tab included. Without a branch for each byte, so that the
/// compiler finds vector instructions for it.
#[inline]
fn has_control(block: &[u8; 16]) -> bool {
    block.iter().fold(false, |any, &byte| any | (byte < b' ') | (byte == 0x7f))
}

/// What comes behind the text that `bytes` begin with: from the first byte that no value may have.
#[inline]
fn after_text(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk() {
        if has_control(block) {
            let [low, high] = halves(block).map(|word| controls(word, b' '));
            let place = if low != 0 { unmarked(low) } else { 8 + unmarked(high) };
            match rest.get(place..) {
                Some([b'\t', after @ ..]) => {
                    rest = after;
                    continue;
                }
                Some(end) => return end,
                None => {}
            }
        }
        rest = after;
    }
    let text = rest.iter().take_while(|byte| is_value_byte(**byte)).count();
    rest.get(text..).unwrap_or_default()
}

fn halves(block: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*block);
    [whole as u64, (whole >> 64) as u64]
}

/// How long the token is that `bytes` begin with.
#[inline]
fn token_len(bytes: &[u8]) -> usize {
    let Some((block, _)) = bytes.split_first_chunk() else { return token_len_of_any(bytes) };
    let [low, high] = halves(block);
    let mut len = unmarked(unusual(low));
    if len == 8 {
        len += unmarked(unusual(high));
    }
    match bytes.get(len) {
        Some(b':' | b'\r') => len,
        _ => token_len_of_any(bytes),
    }
}

/// The same, for long ones with bytes of every kind.
#[inline(never)]
fn token_len_of_any(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| TOKEN[usize::from(**byte)]).count()
}

/// The bytes that tokens are made of.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a block, with every kind of neighbour: the steps of sixteen say
    /// what a look at each byte says.
    #[test]
    fn blocks_are_judged_as_their_bytes_are() {
        let runs: [(fn(&[u8]) -> usize, fn(u8) -> bool); 2] = [
            (|bytes| bytes.len() - after_text(bytes).len(), is_value_byte),
            (token_len, is_token_byte),
        ];
        for (len_of, belongs) in runs {
            for byte in 0..=255u8 {
                for around in [b'a', b'-', b'Z', b'~', b'\t', b' ', 0x7e, 0x80, 0xff, b':', 0] {
                    for (place, len) in (0..34).flat_map(|p| [(p, p + 1), (p, 35)]) {
                        let mut bytes = vec![around; len];
                        bytes[place] = byte;
                        let expected = bytes.iter().position(|&b| !belongs(b)).unwrap_or(len);
                        assert_eq!(len_of(&bytes), expected, "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn known_names_are_never_overlooked() {
        let most = 100;
        for count in [1, 31, 32, 33, 64, 65, 100, 101] {
            let text = ["A: b\r\n".repeat(count - 1), "Host:  c \t\r\n\r\n".into()].concat();
            let mut slots = Slots::default();
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

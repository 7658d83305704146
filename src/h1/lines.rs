//! Lines of a head: one pass over the bytes, strict by construction.
//!
//! ```text
//!   GET /s/v/x HTTP/1.1 CRLF | Host : a.example CRLF | CRLF
//!   token SP target SP version | token ":" OWS value OWS | the end
//! ```
//!
//! Nothing but CRLF ends a line, and whatever is wrong is refused at the first byte that is. A
//! field line gets a quick look first, which knows only what nearly all lines are like, and if
//! that does not do, a look at each byte. This file does not know what fields mean, nor how long a
//! head may be.

use core::ops::Range;

use super::field::{Name, NameSet, may_be_known};
use super::runs::{after_text, control_at, token_len, usual_name_len, visible_len};
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

/// A field line that means something to a proxy: which, and its index.
pub(crate) type Special = (Name, u16);

/// The lines of a head that mean something to a proxy.
#[derive(Debug, Default)]
pub(super) struct Specials {
    /// In order.
    pub(super) lines: Vec<Special>,
    /// Their names, and those of them that more than one line has.
    pub(super) names: NameSet,
    pub(super) repeated: NameSet,
}

impl Specials {
    fn clear(&mut self) {
        self.lines.clear();
        (self.names, self.repeated) = (NameSet::default(), NameSet::default());
    }

    /// Notes line `index`, called `name`, if the name is one that a proxy knows.
    #[inline(never)]
    fn note(&mut self, name: &[u8], index: usize) {
        let name = Name::of(name);
        if name != Name::Other {
            self.repeated = self.repeated.with(name, self.names.has(name));
            self.names = self.names.with(name, true);
            self.lines.push((name, index as u16));
        }
    }
}

/// Room for the field lines of one head. Reused, so that it does not allocate. Behind a pointer,
/// because it is taken out of its place and put back for each head.
#[derive(Debug, Default)]
pub(crate) struct Slots(Option<Box<Room>>);

impl Slots {
    pub(super) fn room(&mut self) -> &mut Room {
        self.0.get_or_insert_default()
    }
}

/// The field lines of one head.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// As many as a head may have.
    lines: Vec<Line>,
    count: usize,
    specials: Specials,
}

impl Room {
    pub(super) fn lines(&self) -> &[Line] {
        self.lines.get(..self.count).unwrap_or_default()
    }

    pub(super) fn specials(&self) -> &Specials {
        &self.specials
    }
}

/// A request line that is whole: the length of the method, and its own.
pub(super) struct RequestLine {
    pub(super) method: usize,
    /// Whether the target is known to have no `#`, `%` or dot, and to be ASCII.
    pub(super) plain: bool,
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
    let method = if bytes.first_chunk() == Some(b"GET ") { 3 } else { token_len(bytes) };
    match bytes.get(method) {
        None => return Ok(Begun::Partial(0)),
        Some(b' ') if method > 0 => {}
        // A lone CR may still become an empty line, which whoever reads takes away.
        Some(_) if bytes == b"\r" => return Ok(Begun::Partial(0)),
        Some(_) => return Err(Bad::StartLine),
    }
    let target = method + 1;
    let rest = bytes.get(target..).unwrap_or_default();
    let (len, mut plain) = visible_len(rest);
    let mut end = target + len;
    if bytes.get(end).is_some_and(|byte| !byte.is_ascii()) {
        (end, plain) = (target + international_len(rest)?, false);
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
            Ok(Begun::Whole(RequestLine { method, plain, version, len }))
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
    // Most answers begin so, and the other way takes 110 instructions more.
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
    if bytes.starts_with(OK) {
        return Ok(Some(StatusLine { version: Version::Http11, status: 200, len: OK.len() }));
    }
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

/// Reads the field lines that begin at `at` into `room`, up to `most`. Gives the length of the
/// head. `None`: its end is not here yet, and so far nothing is wrong.
pub(super) fn field_lines(
    bytes: &[u8],
    at: usize,
    most: usize,
    room: &mut Room,
) -> Result<Option<usize>, Bad> {
    let Room { lines, count, specials } = room;
    specials.clear();
    if lines.len() < most {
        lines.resize(most, Line::default());
    }
    let mut slots = lines.get_mut(..most).unwrap_or_default().iter_mut();
    let (mut index, mut rest) = (0, bytes.get(at..).unwrap_or_default());
    loop {
        let line = match usual_line(rest) {
            Some(line) => line,
            None if rest.starts_with(b"\r\n") => {
                *count = index;
                return Ok(Some(bytes.len() - rest.len() + 2));
            }
            None => match any_line(rest, index)? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let Some(slot) = slots.next() else { return Err(Bad::HeadTooLarge) };
        let place = |within: usize| (bytes.len() - rest.len() + within) as u32;
        *slot = Line {
            name: place(0),
            colon: place(line.name),
            value: place(line.value),
            end: place(line.end),
        };
        if rest.first().is_some_and(|first| may_be_known(*first, line.name)) {
            specials.note(rest.get(..line.name).unwrap_or_default(), index);
        }
        index += 1;
        rest = line.next;
    }
}

/// Where the parts of a line are, seen from its beginning: see [`Line`].
struct Found<'a> {
    name: usize,
    value: usize,
    end: usize,
    /// What comes behind the line.
    next: &'a [u8],
}

/// A line as nearly all are: a name of letters and hyphens, one space behind the colon, text
/// without tabs. `None` says only that it is no such line.
#[inline]
fn usual_line(line: &[u8]) -> Option<Found<'_>> {
    let name = usual_name_len(line).filter(|name| *name > 0)?;
    let text = line.get(name..)?.strip_prefix(b": ")?;
    if *text.first()? <= b' ' {
        return None;
    }
    let end = control_at(line, text);
    let (last, behind) = line.get(end - 1..)?.split_first()?;
    if *last == b' ' {
        return None;
    }
    let next = behind.strip_prefix(b"\r\n")?;
    Some(Found { name, value: name + 2, end, next })
}

/// A line of every kind, behind `count` others. `None`: it is not whole yet.
#[inline(never)]
fn any_line(line: &[u8], count: usize) -> Result<Option<Found<'_>>, Bad> {
    let name = token_len(line);
    let after = match line.get(name..) {
        Some([b':', after @ ..]) if name > 0 => after,
        _ => return no_line(line, name, count).map(|()| None),
    };
    let text = after.get(spaces(after)..).unwrap_or_default();
    let behind = after_text(text);
    if !crlf(behind, 0, Bad::FieldLine)? {
        return Ok(None);
    }
    let value = line.len() - text.len();
    let text = text.get(..text.len() - behind.len()).unwrap_or_default().trim_ascii_end();
    let next = behind.get(2..).unwrap_or_default();
    Ok(Some(Found { name, value, end: value + text.len(), next }))
}

/// How many spaces and tabs `bytes` begin with.
fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// No field line stands at the beginning of `line`, though a token of `name` bytes does, and no
/// whole empty line: may it become either?
fn no_line(line: &[u8], name: usize, count: usize) -> Result<(), Bad> {
    match line.get(name) {
        None => Ok(()),
        Some(b'\r') if line.len() == 1 => Ok(()),
        Some(b'\r') if name == 0 => Err(Bad::StartLine),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a quick look takes for a line is one, with the same parts.
    #[test]
    fn usual_lines_are_lines() {
        let mut usual = 0;
        let long = "a value of two blocks and no more, \u{e4}";
        for name in ["A", "Accept", "If-Modified-Since", "X1", "", "a-b-c-d-e-f-g-h-i-j-k-l-m"] {
            for gap in ["", " ", "  ", "\t"] {
                for value in ["", "a", "a b", "a\tb", "b ", long] {
                    for end in ["\r\n", "\n", "\r", "\0"] {
                        let line = [name, ":", gap, value, end, "Next: 1234567890123456"].concat();
                        let Some(found) = usual_line(line.as_bytes()) else { continue };
                        let Ok(Some(any)) = any_line(line.as_bytes(), 0) else {
                            panic!("{line:?}")
                        };
                        let parts =
                            |line: &Found<'_>| [line.name, line.value, line.end, line.next.len()];
                        assert_eq!(parts(&found), parts(&any), "{line:?}");
                        usual += 1;
                    }
                }
            }
        }
        assert_eq!(usual, 4 * 3, "names, values");
    }

    #[test]
    fn known_names_are_never_overlooked() {
        let most = 100;
        for count in [1, 31, 32, 33, 64, 65, 100, 101] {
            let text = ["A: b\r\n".repeat(count - 1), "Host:  c \t\r\n\r\n".into()].concat();
            let mut slots = Room::default();
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
            assert_eq!(slots.specials().lines, [(Name::Host, count as u16 - 1)]);
        }
    }
}

//! The second reader's part for chunked bodies (RFC 9112, 7.1): byte by byte, from the beginning
//! each time. It shares no code with `h1`.

use super::reader::is_tchar;

/// What of a chunked body is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    /// The content so far.
    pub(super) data: Vec<u8>,
    /// Whole trailer lines so far, without their CRLF.
    pub(super) trailers: Vec<Vec<u8>>,
    /// Whether the body has ended.
    pub(super) done: bool,
    /// Bytes of it, when it has ended.
    pub(super) len: usize,
}

/// Deviation: the RFC has no bounds; these are those of `docs/supported-http.md`.
const SIZE_DIGITS: usize = 15;
const EXTENSION_BYTES: usize = 1024;
const TRAILER_LINE_BYTES: usize = 2048;
const TRAILER_BYTES: usize = 8192;

/// The body has come to the end of what is here.
struct Short;

/// Either there is no more, or it is wrong.
enum Stop {
    Short,
    Bad(&'static str),
}

impl From<Short> for Stop {
    fn from(_: Short) -> Stop {
        Stop::Short
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<u8, Short> {
        let byte = *self.bytes.get(self.at).ok_or(Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn must(&mut self, wanted: u8, why: &'static str) -> Result<(), Stop> {
        if self.next()? == wanted { Ok(()) } else { Err(Stop::Bad(why)) }
    }
}

/// Reads as much as there is.
pub(super) fn chunked(bytes: &[u8]) -> Result<Chunks, &'static str> {
    let mut found = Chunks::default();
    let mut cursor = Cursor { bytes, at: 0 };
    match body(&mut cursor, &mut found) {
        Ok(()) => {
            found.done = true;
            found.len = cursor.at;
            Ok(found)
        }
        Err(Stop::Short) => Ok(found),
        Err(Stop::Bad(why)) => Err(why),
    }
}

fn body(cursor: &mut Cursor<'_>, found: &mut Chunks) -> Result<(), Stop> {
    loop {
        let size = size_line(cursor)?;
        if size == 0 {
            return trailers(cursor, found);
        }
        for _ in 0..size {
            found.data.push(cursor.next()?);
        }
        cursor.must(b'\r', "no CR after a chunk")?;
        cursor.must(b'\n', "no LF after a chunk")?;
    }
}

/// chunk-size [ chunk-ext ] CRLF.
fn size_line(cursor: &mut Cursor<'_>) -> Result<u64, Stop> {
    let mut digits = String::new();
    let mut extension = None;
    // Within a quoted string of an extension no line may end; `\` takes the next byte along.
    let (mut quoted, mut escaped) = (false, false);
    loop {
        let byte = cursor.next()?;
        match (byte, extension) {
            (b'\r', _) if !digits.is_empty() && !quoted => break,
            // Deviation: no white space before the semicolon, and what follows it is not looked
            // into beyond its alphabet and its quotes.
            (b';', None) if !digits.is_empty() => extension = Some(0),
            (_, None) if byte.is_ascii_hexdigit() && digits.len() < SIZE_DIGITS => {
                digits.push(char::from(byte));
            }
            (b'\t' | b' '..=0x7e | 0x80..=0xff, Some(len)) if len < EXTENSION_BYTES => {
                extension = Some(len + 1);
                if escaped {
                    escaped = false;
                } else if quoted && byte == b'\\' {
                    escaped = true;
                } else if byte == b'"' {
                    quoted = !quoted;
                }
            }
            _ => return Err(Stop::Bad("a size line that is none")),
        }
    }
    cursor.must(b'\n', "no LF after a size")?;
    u64::from_str_radix(&digits, 16).map_err(|_| Stop::Bad("a size that is none"))
}

/// trailer-section CRLF: a line is judged when it is whole.
fn trailers(cursor: &mut Cursor<'_>, found: &mut Chunks) -> Result<(), Stop> {
    let mut total = 0;
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if line.len() == TRAILER_LINE_BYTES {
                return Err(Stop::Bad("a trailer line that is too long"));
            }
            line.push(cursor.next()?);
        }
        total += line.len();
        let Some(text) = line.strip_suffix(b"\r\n") else { return Err(Stop::Bad("a bare LF")) };
        if text.is_empty() {
            return Ok(());
        }
        let colon = text.iter().position(|&byte| byte == b':');
        let Some(colon) = colon else { return Err(Stop::Bad("a trailer without a colon")) };
        let value = &text[colon + 1..];
        if colon == 0 || !text[..colon].iter().all(|&byte| is_tchar(byte)) {
            return Err(Stop::Bad("a trailer's name that is no token"));
        }
        if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=0x7e | 0x80..=0xff)) {
            return Err(Stop::Bad("a control byte in a trailer"));
        }
        if total > TRAILER_BYTES {
            return Err(Stop::Bad("too many trailers"));
        }
        found.trailers.push(text.to_vec());
    }
}

//! The strict scanner of chunked framing (RFC 9112 section 7.1).
//!
//! Data passes unread; sizes, line ends, extensions and trailers are looked at byte by byte, and
//! anything that two readers could take in two ways is refused, never repaired. The scanner does
//! not know where bytes go: it says how many of the bytes it was shown stay and how many go.
//!
//! ```text
//!   5;name=value CRLF        size, extension
//!   hello CRLF               data
//!   0 CRLF                   last chunk
//!   X-Sum: 1 CRLF            trailer section, a line at a time
//!   CRLF
//! ```

use super::Bad;
use super::field;

/// Hexadecimal digits of a chunk size; 15 of them cannot overflow 64 bits.
const MAX_SIZE_DIGITS: u8 = 15;
/// Bytes of one chunk's extensions. They mean nothing to us and cost every reader behind us.
const MAX_EXTENSION_BYTES: u32 = 1024;
/// Bytes of one trailer line: it is judged whole, so it must fit into the smallest buffer.
const MAX_TRAILER_LINE_BYTES: usize = 2048;
/// Bytes of the whole trailer section.
const MAX_TRAILER_BYTES: u32 = 8192;

/// What framing says of the bytes it was shown: the first `keep` belong to the message and go on,
/// the next `skip` go no further. Nothing at all: more bytes are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Bytes that go on.
    pub(crate) keep: usize,
    /// Bytes behind them that do not.
    pub(crate) skip: usize,
}

/// Whether the framing goes on to the next hop or ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// Sizes and trailers pass as they came, but for forbidden trailers.
    Keep,
    /// Only the data passes: the next hop is HTTP/1.0.
    Strip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { size: u64, bytes: u32, quote: Quote },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer { bytes: u32 },
    Done,
}

/// Where in a quoted string an extension is. Some readers take a line end inside of one for a part
/// of it, so no line may end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    Escaped,
}

impl Quote {
    fn after(self, byte: u8) -> Quote {
        match (self, byte) {
            (Quote::Outside, b'"') => Quote::Inside,
            (Quote::Inside, b'"') => Quote::Outside,
            (Quote::Inside, b'\\') => Quote::Escaped,
            (Quote::Escaped, _) => Quote::Inside,
            (same, _) => same,
        }
    }
}

/// How far one chunked body has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    wrapping: Wrapping,
    /// What `Connection` names, as a list: trailers of these names go no further. Mostly empty,
    /// and then without memory.
    named: Box<[u8]>,
}

impl Chunked {
    /// Before the first chunk size.
    pub(crate) fn new(wrapping: Wrapping) -> Chunked {
        Chunked { state: State::Size { value: 0, digits: 0 }, wrapping, named: Box::default() }
    }

    /// Trailers with a name in this list go no further (RFC 9110 section 7.6.1).
    pub(crate) fn drop_trailers(&mut self, named: Vec<u8>) {
        self.named = named.into_boxed_slice();
    }

    /// Whether the last line has been judged.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of data come next, which nobody has to look at.
    pub(crate) fn unseen(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// So many of them have passed by another way.
    pub(crate) fn skip(&mut self, n: u64) {
        debug_assert!(n <= self.unseen());
        if let State::Data { left } = self.state {
            let left = left.saturating_sub(n);
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        }
    }

    /// Judges the beginning of `fresh`; call again with what is left until it judges nothing.
    pub(crate) fn advance(&mut self, fresh: &[u8]) -> Result<Judged, Bad> {
        match self.wrapping {
            Wrapping::Keep => self.advance_kept(fresh),
            Wrapping::Strip => self.advance_stripped(fresh),
        }
    }

    fn advance_kept(&mut self, fresh: &[u8]) -> Result<Judged, Bad> {
        let mut keep = 0;
        while keep < fresh.len() && self.state != State::Done {
            let rest = &fresh[keep..];
            if let State::Trailer { bytes } = self.state {
                match self.trailer_line(rest, bytes)? {
                    Line::Partial => break,
                    Line::Whole { len, forbidden: true } => return Ok(Judged { keep, skip: len }),
                    Line::Whole { len, forbidden: false } => keep += len,
                }
            } else {
                keep += self.step(rest)?.0;
            }
        }
        Ok(Judged { keep, skip: 0 })
    }

    fn advance_stripped(&mut self, fresh: &[u8]) -> Result<Judged, Bad> {
        let mut judged = Judged::default();
        while judged.keep + judged.skip < fresh.len() && self.state != State::Done {
            let rest = &fresh[judged.keep + judged.skip..];
            if let State::Trailer { bytes } = self.state {
                match self.trailer_line(rest, bytes)? {
                    Line::Partial => break,
                    Line::Whole { len, .. } => judged.skip += len,
                }
                continue;
            }
            if matches!(self.state, State::Data { .. }) && judged.skip > 0 {
                break;
            }
            match self.step(rest)? {
                (n, true) => judged.keep += n,
                (n, false) => judged.skip += n,
            }
        }
        Ok(judged)
    }

    /// One state's worth of bytes: how many, and whether they are data.
    fn step(&mut self, rest: &[u8]) -> Result<(usize, bool), Bad> {
        let Some(&byte) = rest.first() else { return Ok((0, false)) };
        if let State::Data { left } = self.state {
            let n = left.min(rest.len() as u64);
            self.state = if n == left { State::DataCr } else { State::Data { left: left - n } };
            return Ok((n as usize, true));
        }
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Bad::Chunk);
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                State::Size { value: value << 4 | digit, digits: digits + 1 }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { size: value },
            (State::Size { value, digits: 1.. }, b';') => {
                State::Extension { size: value, bytes: 0, quote: Quote::Outside }
            }
            (State::Extension { size, quote: Quote::Outside, .. }, b'\r') => State::SizeLf { size },
            (State::Extension { size, bytes, quote }, _)
                if field::is_value_byte(byte) && bytes < MAX_EXTENSION_BYTES =>
            {
                State::Extension { size, bytes: bytes + 1, quote: quote.after(byte) }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer { bytes: 0 },
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(Bad::Chunk),
        };
        Ok((1, false))
    }

    /// The line at the beginning of `rest`, if it is whole; `bytes` of the section came before it.
    fn trailer_line(&mut self, rest: &[u8], bytes: u32) -> Result<Line, Bad> {
        let Some(lf) = rest.iter().take(MAX_TRAILER_LINE_BYTES).position(|&b| b == b'\n') else {
            let too_long = rest.len() >= MAX_TRAILER_LINE_BYTES;
            return if too_long { Err(Bad::Trailer) } else { Ok(Line::Partial) };
        };
        let line = rest[..lf].strip_suffix(b"\r").ok_or(Bad::Trailer)?;
        let bytes = bytes + lf as u32 + 1;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(Line::Whole { len: lf + 1, forbidden: false });
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(Bad::Trailer)?;
        let (name, value) = line.split_at(colon);
        if !field::is_token(name)
            || !value.iter().all(|&b| field::is_value_byte(b))
            || bytes > MAX_TRAILER_BYTES
        {
            return Err(Bad::Trailer);
        }
        self.state = State::Trailer { bytes };
        let named = || field::list(&self.named).any(|word| word.eq_ignore_ascii_case(name));
        let forbidden = field::is_forbidden_trailer(name) || named();
        Ok(Line::Whole { len: lf + 1, forbidden })
    }
}

enum Line {
    Partial,
    Whole { len: usize, forbidden: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` cut at `cuts`, as a buffer would; gives what went on and what was left over.
    fn feed(wrapping: Wrapping, input: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Bad> {
        let mut body = Chunked::new(wrapping);
        let (mut out, mut held) = (Vec::new(), Vec::new());
        for bytes in input.chunks(piece) {
            held.extend_from_slice(bytes);
            loop {
                let judged = body.advance(&held)?;
                out.extend_from_slice(&held[..judged.keep]);
                held.drain(..judged.keep + judged.skip);
                if judged == Judged::default() {
                    break;
                }
            }
        }
        if body.is_done() { Ok((out, held.len())) } else { Err(Bad::Method) }
    }

    fn check(input: &[u8], kept: Result<(&[u8], &[u8], usize), Bad>) {
        for piece in 1..=input.len() {
            let text = String::from_utf8_lossy(input);
            let keep = feed(Wrapping::Keep, input, piece);
            let strip = feed(Wrapping::Strip, input, piece);
            match kept {
                Ok((whole, data, left)) => {
                    assert_eq!(keep, Ok((whole.to_vec(), left)), "{text:?} by {piece}");
                    assert_eq!(strip, Ok((data.to_vec(), left)), "{text:?} by {piece}");
                }
                Err(bad) => {
                    assert_eq!(keep, Err(bad), "{text:?} by {piece}");
                    assert_eq!(strip, Err(bad), "{text:?} by {piece}");
                }
            }
        }
    }

    /// B7.1, B7.9: the same verdict however the bytes are cut.
    #[test]
    fn well_formed_bodies_pass_verbatim() {
        let whole = |input: &[u8], data: &[u8]| check(input, Ok((input, data, 0)));
        whole(b"0\r\n\r\n", b"");
        whole(b"5\r\nhello\r\n0\r\n\r\n", b"hello");
        whole(b"00a\r\n0123456789\r\n3;q=\"x\"\r\nabc\r\n000\r\n\r\n", b"0123456789abc");
        whole(b"1;q=\"\\\"\";r;s=\"\"\r\nx\r\n0;\"\\\\\"\r\n\r\n", b"x");
        whole(b"2\r\n\r\n\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", b"\r\n");
        let follow = b"1\r\nx\r\n0\r\n\r\nGET";
        check(follow, Ok((&follow[..11], b"x", 3)));
    }

    #[test]
    fn forbidden_trailers_are_dropped() {
        let input = b"0\r\nContent-Length: 5\r\nX-Sum: 1\r\nHost: evil\r\n\r\n";
        check(input, Ok((b"0\r\nX-Sum: 1\r\n\r\n", b"", 0)));
    }

    /// RFC 9110 section 7.6.1
    #[test]
    fn trailers_that_connection_names_are_dropped() {
        let mut body = Chunked::new(Wrapping::Keep);
        body.drop_trailers(b"close, x-sum,,Y".to_vec());
        let line = b"0\r\nX-Sum: 1\r\n";
        assert_eq!(body.advance(line), Ok(Judged { keep: 3, skip: 10 }));
        assert_eq!(body.advance(b"X-Summe: 1\r\n\r\n"), Ok(Judged { keep: 14, skip: 0 }));
        assert!(body.is_done());
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for input in [
            &b"\r\n"[..],
            b";x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b"1 \r\nx",
            b" 1\r\nx",
            b"1\nx\r\n0\r\n\r\n",
            b"1\r\nxy",
            b"1\r\nx\n0\r\n\r\n",
            b"1\r\nx\r0",
            b"1\rx",
            b"1;a\nb\r\n",
            b"1;\0\r\n",
            b"1;q=\"\r\nx\r\n0\r\n\r\n",
            b"1;q=\"x\\\"\r\nx\r\n0\r\n\r\n",
            b"1\r\nx\r\n0;\"\r\n\r\n",
            b"1234567890abcdef\r\n",
            b"g\r\n",
        ] {
            check(input, Err(Bad::Chunk));
        }
        for input in [
            &b"0\r\nX : 1\r\n\r\n"[..],
            b"0\r\n: 1\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n\n",
            b"0\r\nX: \0\r\n\r\n",
            b"0\r\nX: a\rb\r\n\r\n",
            b"0\r\nnothing\r\n\r\n",
        ] {
            check(input, Err(Bad::Trailer));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"1;", &[b'x'; 1025][..], b"\r\n"].concat();
        assert_eq!(feed(Wrapping::Keep, &extension, 7), Err(Bad::Chunk));
        let line = [b"0\r\nX: ", &[b'x'; 2100][..], b"\r\n\r\n"].concat();
        assert_eq!(feed(Wrapping::Keep, &line, 7), Err(Bad::Trailer));
        let section = [b"0\r\n", b"X: 12345678901234567\r\n".repeat(400).as_slice()].concat();
        assert_eq!(feed(Wrapping::Keep, &section, 7), Err(Bad::Trailer));
    }
}

//! The messages that both ends of the suite speak: written in large pieces, read and compared.
//!
//! A body is made of one pattern, so that each end can say of every byte whether it is the right
//! one. A head that was judged once is known by its bytes, and is only compared the next time.
//! It does not know sockets, nor what a message is for.

use std::io;
use std::sync::OnceLock;

/// After so many bytes the pattern begins again. No buffer of any proxy is a multiple of it.
pub(crate) const CYCLE: usize = 81_920;
/// What a long body in chunks is cut into.
const CHUNK: usize = 16_384;
/// More than this is not one write any more.
const SHORT: usize = 65_536;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const KNOWN_HEADS: usize = 8;

/// The pattern twice: a piece of [`CYCLE`] bytes lies in one slice wherever it begins.
pub(crate) fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x2545_f491_u32;
        let mut once: Vec<u8> = Vec::with_capacity(2 * CYCLE);
        for _ in 0..CYCLE {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            once.push(b'a' + (state >> 24) as u8 % 26);
        }
        once.extend_from_within(..);
        once
    })
}

/// A message ready to be written from any position on.
pub(crate) struct Outgoing {
    /// The head, and the whole body if it is short, else its first cycle.
    first: Vec<u8>,
    /// A cycle of the body as it is framed, twice. Empty if the body is short.
    cycle: Vec<u8>,
    /// The framed bytes of the body after `first`.
    rest: usize,
    last: &'static [u8],
}

impl Outgoing {
    /// `head` ends with its empty line. In chunks only whole cycles can be sent.
    pub(crate) fn new(head: &str, body: usize, chunked: bool) -> Self {
        let mut first = head.as_bytes().to_vec();
        let mut unit = Vec::new();
        if chunked {
            for piece in pattern()[..CYCLE].chunks(CHUNK) {
                unit.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                unit.extend_from_slice(piece);
                unit.extend_from_slice(b"\r\n");
            }
            let cycles = body / CYCLE;
            assert!(cycles > 0 && cycles * CYCLE == body, "chunks come in whole cycles");
            first.extend_from_slice(&unit);
            let rest = (cycles - 1) * unit.len();
            return Self { first, cycle: [&unit[..], &unit[..]].concat(), rest, last: LAST_CHUNK };
        }
        let begin = body.min(if body > SHORT { CYCLE } else { SHORT });
        first.extend_from_slice(&pattern()[..begin]);
        let rest = body - begin;
        let cycle = if rest > 0 { pattern().to_vec() } else { Vec::new() };
        Self { first, cycle, rest, last: b"" }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest + self.last.len()
    }

    /// What can be written at once from position `at` on; nothing at the end.
    pub(crate) fn piece(&self, at: usize) -> &[u8] {
        if at < self.first.len() {
            return &self.first[at..];
        }
        let inside = at - self.first.len();
        if inside < self.rest {
            let from = inside % (self.cycle.len() / 2);
            let most = (self.cycle.len() - from).min(self.rest - inside);
            return &self.cycle[from..from + most];
        }
        &self.last[(inside - self.rest).min(self.last.len())..]
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) framing: Framing,
    /// For a response its status, for a request the number of the answer to it.
    pub(crate) tag: usize,
    /// How long the body must be.
    pub(crate) expected: u64,
    /// The connection ends after it.
    pub(crate) close: bool,
}

/// The heads seen lately, and what they said.
#[derive(Default)]
pub(crate) struct Known {
    heads: Vec<(Box<[u8]>, Meta)>,
    next: usize,
}

impl Known {
    /// The length of the head at the beginning of `bytes`, and what it says; `None` if it is not
    /// whole.
    fn look(
        &mut self,
        bytes: &[u8],
        judge: &mut dyn FnMut(&[u8]) -> io::Result<Meta>,
    ) -> io::Result<Option<(usize, Meta)>> {
        if let Some((head, meta)) = self.heads.iter().find(|(head, _)| bytes.starts_with(head)) {
            return Ok(Some((head.len(), *meta)));
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = &bytes[..end + 4];
        let meta = judge(head)?;
        if self.heads.len() < KNOWN_HEADS {
            self.heads.push((head.into(), meta));
        } else {
            self.heads[self.next] = (head.into(), meta);
            self.next = (self.next + 1) % KNOWN_HEADS;
        }
        Ok(Some((end + 4, meta)))
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Length(u64),
    Size(u64),
    Extension(u64),
    Data(u64),
    DataEnd,
    Trailer(usize),
}

/// Reads messages, one at a time, and compares their bodies with the pattern.
pub(crate) struct Reader {
    /// A head that is not whole.
    held: Vec<u8>,
    state: State,
    meta: Option<Meta>,
    /// Bytes of the body so far.
    body: u64,
}

pub(crate) fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { held: Vec::new(), state: State::Head, meta: None, body: 0 }
    }

    /// Nothing of a message has come.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.state, State::Head) && self.held.is_empty()
    }

    /// Takes bytes. When they end a message, says what its head said. Bytes after that are wrong,
    /// since nobody here sends ahead.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        known: &mut Known,
        judge: &mut dyn FnMut(&[u8]) -> io::Result<Meta>,
    ) -> io::Result<Option<Meta>> {
        if !matches!(self.state, State::Head) {
            return self.body(bytes);
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            let held = std::mem::take(&mut self.held);
            return self.head(&held, known, judge);
        }
        self.head(bytes, known, judge)
    }

    fn head(
        &mut self,
        bytes: &[u8],
        known: &mut Known,
        judge: &mut dyn FnMut(&[u8]) -> io::Result<Meta>,
    ) -> io::Result<Option<Meta>> {
        let Some((length, meta)) = known.look(bytes, judge)? else {
            self.held = bytes.to_vec();
            return if self.held.len() > SHORT { Err(bad("endless head")) } else { Ok(None) };
        };
        self.body = 0;
        self.meta = Some(meta);
        self.state = match meta.framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0),
        };
        self.body(&bytes[length..])
    }

    fn body(&mut self, mut bytes: &[u8]) -> io::Result<Option<Meta>> {
        loop {
            if matches!(self.state, State::Length(0)) {
                return self.end(bytes);
            }
            let Some(&byte) = bytes.first() else { return Ok(None) };
            let mut used = 1;
            self.state = match self.state {
                State::Length(left) => {
                    used = self.compare(bytes, left)?;
                    State::Length(left - used as u64)
                }
                State::Data(left) => {
                    used = self.compare(bytes, left)?;
                    let left = left - used as u64;
                    if left == 0 { State::DataEnd } else { State::Data(left) }
                }
                State::Size(size) | State::Extension(size) if byte == b'\n' => {
                    if size == 0 {
                        State::Trailer(0)
                    } else {
                        State::Data(size)
                    }
                }
                State::Size(size) => match (byte as char).to_digit(16) {
                    Some(digit) => State::Size(size << 4 | u64::from(digit)),
                    None => State::Extension(size),
                },
                State::DataEnd if byte == b'\n' => State::Size(0),
                State::DataEnd if byte == b'\r' => State::DataEnd,
                State::Trailer(0) if byte == b'\n' => return self.end(&bytes[1..]),
                State::Trailer(_) if byte == b'\n' => State::Trailer(0),
                State::Trailer(n) => State::Trailer(n + usize::from(byte != b'\r')),
                State::Extension(size) => State::Extension(size),
                State::DataEnd | State::Head => return Err(bad("bytes where none belong")),
            };
            bytes = &bytes[used..];
        }
    }

    /// How many bytes were looked at, all of them right.
    fn compare(&mut self, bytes: &[u8], left: u64) -> io::Result<usize> {
        let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)).min(CYCLE);
        let from = usize::try_from(self.body % CYCLE as u64).unwrap_or(0);
        if bytes[..here] != pattern()[from..from + here] {
            return Err(bad("wrong bytes in the body"));
        }
        self.body += here as u64;
        Ok(here)
    }

    fn end(&mut self, after: &[u8]) -> io::Result<Option<Meta>> {
        self.state = State::Head;
        let meta = self.meta.take().ok_or_else(|| bad("no head"))?;
        if !after.is_empty() {
            return Err(bad("bytes after the end"));
        }
        if self.body != meta.expected {
            return Err(bad("a body of another length"));
        }
        Ok(Some(meta))
    }
}

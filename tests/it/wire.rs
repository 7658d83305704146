//! One side of a connection, seen strictly: raw bytes in, whole messages out.
//!
//! The test client and the scripted origins both read with it. It repairs nothing: a bare line
//! feed, a wrong chunk or a byte too many is an error. It does not know the proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long any one read may take before a test gives up: generous, for noisy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How the bytes of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Not seen to end.
    Open,
    /// FIN.
    Fin,
    /// RST.
    Reset,
    /// Nothing came for as long as the reader waited.
    Silent,
}

/// Why no whole message could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection ended before the first byte of a message.
    Before(End),
    /// The connection ended inside a message; what had come of it.
    Inside(End, Vec<u8>),
    /// What came is not HTTP/1.1.
    Bad(String),
}

/// A request or an answer, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// From the start line to the empty line, both included.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// The lines after the last chunk, without the empty line.
    pub(crate) trailers: Vec<u8>,
    /// How the connection ended, if its end was the end of the body.
    pub(crate) end: End,
}

impl Message {
    pub(crate) fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The words of the start line; the third keeps its spaces.
    fn word(&self, n: usize) -> String {
        let line = self.head_text();
        let line = line.split("\r\n").next().unwrap_or_default();
        line.splitn(3, ' ').nth(n).unwrap_or_default().to_string()
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(crate) fn method(&self) -> String {
        self.word(0)
    }

    pub(crate) fn target(&self) -> String {
        self.word(1)
    }

    /// The values of all lines with this name, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let head = self.head_text();
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let named = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim_matches([' ', '\t']).to_string()).collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.fields(name).into_iter().next()
    }

    /// Whether a list field has this member, in any case.
    pub(crate) fn says(&self, name: &str, member: &str) -> bool {
        let lines = self.fields(name);
        lines.iter().flat_map(|v| v.split(',')).any(|m| m.trim().eq_ignore_ascii_case(member))
    }
}

/// A connection and the bytes of it that were read but not yet taken.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    seen: Vec<u8>,
    end: End,
}

impl Wire<TcpStream> {
    pub(crate) fn connect(addr: SocketAddr) -> Wire {
        let stream = TcpStream::connect(addr).unwrap_or_else(|e| panic!("connect {addr}: {e}"));
        Wire::tcp(stream)
    }

    pub(crate) fn tcp(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }

    /// Closing it will be an RST instead of a FIN.
    pub(crate) fn reset_on_close(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// What the connection does within `patience`: bytes still to come count as `Open`.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> End {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let end = self.end();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        end
    }
}

impl Wire<UnixStream> {
    pub(crate) fn unix(path: &Path) -> Wire<UnixStream> {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire::new(stream)
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Wire<S> {
        Wire { stream, seen: Vec::new(), end: End::Open }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("send");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a whole request, or an answer, of which nothing may be refused, and reads what
    /// comes back: the first answer that is not 1xx.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request.as_ref());
        let method = request.as_ref().split(|b| *b == b' ').next().unwrap_or_default();
        self.answer(&String::from_utf8_lossy(method))
    }

    /// A small GET on a connection that is to stay open.
    pub(crate) fn get(&mut self, target: &str) -> Message {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n"))
    }

    pub(crate) fn post(&mut self, target: &str, body: &[u8]) -> Message {
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
        self.ask([head.as_bytes(), body].concat())
    }

    /// The next answer that is not 1xx; panics with what came instead.
    pub(crate) fn answer(&mut self, method: &str) -> Message {
        loop {
            let next =
                self.try_answer(method).unwrap_or_else(|broken| panic!("no answer: {broken:?}"));
            if next.status() == 101 || next.status() >= 200 {
                return next;
            }
        }
    }

    /// The next answer, 1xx included, to a request with this method.
    pub(crate) fn try_answer(&mut self, method: &str) -> Result<Message, Broken> {
        let mut message = self.head()?;
        check_status_line(&message)?;
        let status = message.status();
        if status < 200 || status == 204 || status == 304 || method == "HEAD" {
            return Ok(message);
        }
        if !self.framed_body(&mut message).map_err(inside)? {
            while self.fill() {}
            message.end = self.end;
            message.body = std::mem::take(&mut self.seen);
        }
        Ok(message)
    }

    /// The next request, whole.
    pub(crate) fn request(&mut self) -> Result<Message, Broken> {
        let mut message = self.head()?;
        self.framed_body(&mut message).map_err(inside)?;
        Ok(message)
    }

    /// The next head, without its body.
    pub(crate) fn head(&mut self) -> Result<Message, Broken> {
        let head = self.until(b"\r\n\r\n")?;
        let lines_end = head.windows(2).filter(|w| *w == b"\r\n").count();
        let line_feeds = head.iter().filter(|b| **b == b'\n').count();
        let returns = head.iter().filter(|b| **b == b'\r').count();
        if lines_end != line_feeds || lines_end != returns {
            return Err(Broken::Bad(format!(
                "bare CR or LF in {:?}",
                String::from_utf8_lossy(&head)
            )));
        }
        Ok(Message { head, body: Vec::new(), trailers: Vec::new(), end: End::Open })
    }

    /// Reads a body that has a length or chunks; false if the head names neither.
    fn framed_body(&mut self, message: &mut Message) -> Result<bool, Broken> {
        let (lengths, codings) =
            (message.fields("Content-Length"), message.fields("Transfer-Encoding"));
        if !codings.is_empty() {
            let one = codings.len() == 1 && codings[0].eq_ignore_ascii_case("chunked");
            if !one || !lengths.is_empty() {
                return Err(Broken::Bad(format!("framing: {codings:?} {lengths:?}")));
            }
            (message.body, message.trailers) = self.chunks()?;
        } else if let Some(length) = lengths.first() {
            let length = length.parse().map_err(|_| Broken::Bad(format!("length {length:?}")))?;
            message.body = self.take(length)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A chunked body and the trailer lines after it.
    fn chunks(&mut self) -> Result<(Vec<u8>, Vec<u8>), Broken> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        loop {
            let line = self.until(b"\r\n")?;
            let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            let size = text.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Broken::Bad(format!("chunk size {text:?}")))?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(Broken::Bad("no CRLF after a chunk".into()));
            }
        }
        loop {
            let line = self.until(b"\r\n")?;
            if line == b"\r\n" {
                return Ok((body, trailers));
            }
            trailers.extend_from_slice(&line);
        }
    }

    /// Everything up to and with `mark`.
    pub(crate) fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = self.seen.windows(mark.len()).position(|w| w == mark) {
                return Ok(self.seen.drain(..at + mark.len()).collect());
            }
            if !self.fill() {
                return Err(self.broken());
            }
        }
    }

    /// Exactly `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Result<Vec<u8>, Broken> {
        while self.seen.len() < n {
            if !self.fill() {
                return Err(self.broken());
            }
        }
        Ok(self.seen.drain(..n).collect())
    }

    /// Whatever has come, at least one byte; empty when the connection has ended.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.seen.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.seen)
    }

    /// How the connection ends when nothing more may come: `Open` if a byte came.
    pub(crate) fn end(&mut self) -> End {
        if self.seen.is_empty() && !self.fill() { self.end } else { End::Open }
    }

    /// Everything that comes until the end, and the end.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        while self.fill() {}
        (std::mem::take(&mut self.seen), self.end)
    }

    fn broken(&mut self) -> Broken {
        let seen = std::mem::take(&mut self.seen);
        if seen.is_empty() { Broken::Before(self.end) } else { Broken::Inside(self.end, seen) }
    }

    /// Reads once; false at the end.
    fn fill(&mut self) -> bool {
        let mut space = [0; 65_536];
        loop {
            match self.stream.read(&mut space) {
                Ok(0) => self.end = End::Fin,
                Ok(n) => {
                    self.seen.extend_from_slice(&space[..n]);
                    return true;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.end = End::Silent;
                }
                Err(_) => self.end = End::Reset,
            }
            return false;
        }
    }
}

/// After its head, a message has begun.
fn inside(broken: Broken) -> Broken {
    match broken {
        Broken::Before(end) => Broken::Inside(end, Vec::new()),
        other => other,
    }
}

fn check_status_line(message: &Message) -> Result<(), Broken> {
    let line = message.head_text();
    let line = line.split("\r\n").next().unwrap_or_default();
    let b = line.as_bytes();
    let version = line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ");
    if version && b.len() >= 13 && b[9..12].iter().all(u8::is_ascii_digit) && b[12] == b' ' {
        return Ok(());
    }
    Err(Broken::Bad(format!("status line {line:?}")))
}

/// The sum that the origins give for a body: FNV-1a, 64 bits.
pub(crate) fn checksum(body: &[u8]) -> u64 {
    body.iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// An endless body whose every shift and every swap shows: a block of a prime length, repeated.
pub(crate) struct Pattern {
    block: Vec<u8>,
    at: usize,
}

impl Pattern {
    const PRIME: usize = 65_521;

    pub(crate) fn new() -> Pattern {
        let mut x = 0x9e37_79b9_u32;
        let mut block = Vec::with_capacity(2 * Self::PRIME);
        for _ in 0..Self::PRIME {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            block.push(x as u8);
        }
        block.extend_from_within(..);
        Pattern { block, at: 0 }
    }

    /// The next `n` bytes, at most a block.
    pub(crate) fn next(&mut self, n: usize) -> &[u8] {
        let from = self.at % Self::PRIME;
        self.at += n;
        &self.block[from..from + n]
    }

    /// Whether `bytes` are the next ones.
    pub(crate) fn matches(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(Self::PRIME).all(|part| self.next(part.len()) == part)
    }
}

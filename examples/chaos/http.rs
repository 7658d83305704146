//! As much HTTP/1.1 as the two ends of the experiment need: a socket with a buffer, heads, bodies,
//! and how exactly a body ended. It knows neither proxies nor what is being tested.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const READ_BYTES: usize = 16 * 1024;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Why there was nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refused,
    Closed,
    Reset,
    Late,
    Garbled,
}

impl Fault {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Late => "late",
            Self::Garbled => "garbled",
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Reset,
        }
    }
}

/// The head of a message, either way.
#[derive(Debug)]
pub(crate) struct Head {
    start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let pair = |line: &str| {
            line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        };
        Self { start, fields: lines.filter_map(pair).collect() }
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// Of a response; 0 if it has none.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// The last segment of a request's target: every request of the experiment is named there.
    pub(crate) fn id(&self) -> &str {
        self.word(1).rsplit('/').next().unwrap_or_default()
    }

    /// A field's value, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.field("content-length")?.parse().ok()
    }

    pub(crate) fn says_close(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|value| value.contains("chunked"))
    }
}

/// What came of a body. It is whole if nothing went wrong.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fault: Option<Fault>,
}

/// A blocking socket and what was read from it ahead of need.
pub(crate) struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok(Self { stream, held: Vec::new() })
    }

    pub(crate) fn connect(port: u16, patience: Duration) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::new(TcpStream::connect_timeout(&address, patience)?)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Nothing more will be written; the answer is still wanted.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Whether an idle connection has ended, or speaks without having been asked.
    pub(crate) fn is_over(&self) -> bool {
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let peeked = self.stream.peek(&mut [0]);
        let blocking = self.stream.set_nonblocking(false);
        let silent = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        !silent || blocking.is_err() || !self.held.is_empty()
    }

    /// Reads once.
    pub(crate) fn fill(&mut self, until: Instant) -> Result<(), Fault> {
        let left = until.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut bytes = [0; READ_BYTES];
        match retried(|| self.stream.read(&mut bytes))? {
            0 => Err(Fault::Closed),
            count => {
                self.held.extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.held.drain(..count.min(self.held.len())).collect()
    }

    fn take_through(&mut self, mark: &[u8], until: Instant) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(at) = find(&self.held, mark) {
                return Ok(self.take(at + mark.len()));
            }
            if self.held.len() > MAX_HEAD_BYTES {
                return Err(Fault::Garbled);
            }
            self.fill(until)?;
        }
    }

    pub(crate) fn read_head(&mut self, until: Instant) -> Result<Head, Fault> {
        let bytes = self.take_through(b"\r\n\r\n", until)?;
        Ok(Head::parse(bytes.trim_ascii_end()))
    }

    /// The first head that is not an interim one, and the status codes of those that were.
    pub(crate) fn read_final_head(&mut self, until: Instant) -> Result<(Head, Vec<u16>), Fault> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head(until)?;
            match head.status() {
                0 => return Err(Fault::Garbled),
                status @ 100..=199 => interim.push(status),
                _ => return Ok((head, interim)),
            }
        }
    }

    /// The body of a request: none if its head does not say so.
    pub(crate) fn read_request_body(&mut self, head: &Head, until: Instant) -> Body {
        if head.chunked() {
            return self.read_chunks(until);
        }
        self.read_exactly(head.length().unwrap_or(0), until)
    }

    /// The body of an answer to GET or POST.
    pub(crate) fn read_answer_body(&mut self, head: &Head, until: Instant) -> Body {
        if head.chunked() {
            return self.read_chunks(until);
        }
        match head.length() {
            Some(length) => self.read_exactly(length, until),
            None => self.read_to_end(until),
        }
    }

    fn read_exactly(&mut self, length: usize, until: Instant) -> Body {
        let mut fault = None;
        while self.held.len() < length && fault.is_none() {
            fault = self.fill(until).err();
        }
        Body { bytes: self.take(length), fault }
    }

    fn read_to_end(&mut self, until: Instant) -> Body {
        let fault = loop {
            match self.fill(until) {
                Ok(()) => {}
                Err(Fault::Closed) => break None,
                Err(fault) => break Some(fault),
            }
        };
        Body { bytes: std::mem::take(&mut self.held), fault }
    }

    fn read_chunks(&mut self, until: Instant) -> Body {
        let mut bytes = Vec::new();
        loop {
            match self.read_chunk(until) {
                Ok(chunk) if chunk.is_empty() => return Body { bytes, fault: None },
                Ok(chunk) => bytes.extend(chunk),
                Err((part, fault)) => {
                    bytes.extend(part);
                    return Body { bytes, fault: Some(fault) };
                }
            }
        }
    }

    /// One chunk, empty at the end; or what came of it and why no more did.
    pub(crate) fn read_chunk(&mut self, until: Instant) -> Result<Vec<u8>, (Vec<u8>, Fault)> {
        let nothing = |fault| (Vec::new(), fault);
        let line = self.take_through(b"\r\n", until).map_err(nothing)?;
        let line = String::from_utf8_lossy(&line);
        let digits = line.split(';').next().unwrap_or_default().trim().to_owned();
        let size = usize::from_str_radix(&digits, 16).map_err(|_| nothing(Fault::Garbled))?;
        let body = self.read_exactly(size, until);
        if let Some(fault) = body.fault {
            return Err((body.bytes, fault));
        }
        self.take_through(b"\r\n", until).map_err(|fault| (Vec::new(), fault))?;
        Ok(body.bytes)
    }
}

/// A process that was stopped finds its reads with a timeout interrupted when it goes on
/// (signal(7)): no reason to give up a connection.
pub(crate) fn retried(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

pub(crate) fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

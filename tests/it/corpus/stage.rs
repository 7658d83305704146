//! A client, the proxy and an origin on real sockets, all in one thread.
//!
//! Nobody sleeps: a piece is written, then everybody is asked in turn until nobody has anything to
//! do, then the next piece is written. So a thousand ways to cut a message take no longer than the
//! bytes do. The origin reads with the second reader and answers by a script. This file does not
//! know what should happen.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use pointsman::{Claim, Config, Endpoint, MemoryRegistry, Proxy, Registry as _};

use super::format::{ORIGIN, Piece, Script, Then};
use crate::reader::{self, Request, Unread};

/// How long a run may take to come to what is expected of it. It is not waited for but by a run
/// that fails, or when the kernel is late.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the bytes of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Reset,
}

/// One end of a connection, and all that came over it.
#[derive(Debug)]
pub(super) struct Side {
    stream: Option<TcpStream>,
    pub(super) got: Vec<u8>,
    pub(super) end: Option<End>,
}

impl Side {
    fn new(stream: TcpStream) -> Side {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        // Closed by RST, so that no run leaves ports behind for the next one.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        Side { stream: Some(stream), got: Vec::new(), end: None }
    }

    /// Reads what is there; gives whether that was anything.
    fn read(&mut self) -> bool {
        let mut moved = false;
        let mut chunk = [0; 16 * 1024];
        while let (Some(stream), None) = (&mut self.stream, self.end) {
            match stream.read(&mut chunk) {
                Ok(0) => self.end = Some(End::Fin),
                Ok(n) => self.got.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.end = Some(End::Reset),
            }
            moved = true;
        }
        moved
    }

    /// Writes some of `bytes`. A peer that is gone takes everything: that is its own verdict.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(stream) = &mut self.stream else { return bytes.len() };
        match stream.write(bytes) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => bytes.len(),
        }
    }

    fn then(&mut self, then: Then) {
        match (then, &self.stream) {
            (Then::Settle, _) | (_, None) => {}
            (Then::End, Some(stream)) => drop(stream.shutdown(Shutdown::Write)),
            (Then::Reset, Some(_)) => (self.stream, self.end) = (None, Some(End::Reset)),
        }
    }
}

/// A connection at the origin.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) side: Side,
    /// Bytes of the whole requests that came over it.
    taken: usize,
    /// The head of a request is here, it has this number, and what the origin says to heads is
    /// said.
    begun: Option<usize>,
    /// It is a tunnel by now.
    pub(super) raw: bool,
    outbox: VecDeque<Piece>,
}

impl Back {
    /// What came behind the last whole request.
    pub(super) fn tail(&self) -> &[u8] {
        &self.side.got[self.taken..]
    }
}

/// A whole request at the origin.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The number of its connection.
    pub(super) over: usize,
    /// Its own, among all whose head has come.
    pub(super) number: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) request: Request,
}

/// Everybody.
pub(super) struct Stage<'a> {
    proxy: Proxy,
    doors: &'a Doors,
    scripts: Vec<Script>,
    /// Client connections, in the order of their connects.
    pub(super) fronts: Vec<Side>,
    /// The origin's connections, in the order of their accepts.
    pub(super) backs: Vec<Back>,
    pub(super) arrived: Vec<Arrived>,
    /// How many heads the origin has seen.
    heads: usize,
    /// What the second reader did not accept.
    pub(super) wrong: Option<String>,
}

/// The answer of an origin without a script to its request number `n`: it says whom it is for, so
/// that an answer to somebody else is seen.
pub(super) fn default_answer(n: usize, request: &Request) -> Vec<u8> {
    let mut text = format!("{n} ").into_bytes();
    text.extend_from_slice(&request.method);
    text.push(b' ');
    text.extend_from_slice(&request.target);
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
    if request.method == b"HEAD" {
        text.clear();
    }
    let mut bytes = std::mem::take(&mut answer).into_bytes();
    bytes.extend(text);
    bytes
}

/// The two ports that all runs of a file share. A port for each run would be thousands, and some of
/// them still meant something to somebody else on this machine.
pub(super) struct Doors {
    proxy: TcpListener,
    origin: TcpListener,
}

impl Doors {
    pub(super) fn new() -> Doors {
        let open = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        Doors { proxy: open(), origin: open() }
    }

    /// Turns away who is left from the run before, if it failed.
    fn empty(&self) {
        [&self.proxy, &self.origin].into_iter().for_each(|door| while door.accept().is_ok() {});
    }
}

/// Long times, so that none of them decides; one origin, which is never set aside and never waited
/// for; heads go on untouched but for what must change.
fn config(with: &[(String, String)]) -> Config {
    let mut config = Config::default();
    let fixed = [
        ("head-timeout", "1h"),
        ("body-idle", "1h"),
        ("connect", "1h"),
        ("first-byte", "1h"),
        ("response-idle", "1h"),
        ("client-idle", "1h"),
        ("write-stall", "1h"),
        ("linger", "1h"),
        ("upstream-idle", "1h"),
        ("hedge", "1h"),
        ("wait-requests", "0"),
        ("eject-failures", "0"),
        ("slow-start", "off"),
        ("forwarded", "off"),
    ];
    let fixed = fixed.iter().map(|(key, value)| (*key, *value));
    for (key, value) in fixed.chain(with.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    {
        config.set(key, value).unwrap_or_else(|e| panic!("{e}"));
    }
    config
}

impl<'a> Stage<'a> {
    /// A proxy with the catch-all `*` and the service `s/v1`, both with the same origin.
    pub(super) fn new(
        doors: &'a Doors,
        with: &[(String, String)],
        scripts: Vec<Script>,
    ) -> Stage<'a> {
        doors.empty();
        let origin = Endpoint::tcp(doors.origin.local_addr().unwrap());
        let mut registry = MemoryRegistry::default();
        registry.add("*", origin.clone());
        registry.add("s/v1", origin);
        let door = doors.proxy.try_clone().unwrap().into();
        let builder = Proxy::builder().listen_on(door, Claim::Shared).registry(registry).seed(1);
        let proxy = builder.config(config(with)).build().unwrap();
        Stage {
            proxy,
            doors,
            scripts,
            fronts: Vec::new(),
            backs: Vec::new(),
            arrived: Vec::new(),
            heads: 0,
            wrong: None,
        }
    }

    /// Another client; gives its number.
    pub(super) fn connect(&mut self) -> usize {
        let front = self.doors.proxy.local_addr().unwrap();
        self.fronts.push(Side::new(TcpStream::connect(front).unwrap()));
        self.fronts.len() - 1
    }

    /// A client sends a piece, and everybody does what follows from it.
    pub(super) fn send(&mut self, front: usize, piece: &Piece) {
        let mut rest = piece.bytes.as_slice();
        while !rest.is_empty() {
            let n = self.fronts[front].write(rest);
            rest = &rest[n..];
            if n == 0 {
                self.turn();
            }
        }
        self.fronts[front].then(piece.then);
        self.advance();
    }

    /// What the origin has kept for this moment is sent, and nobody sees it yet.
    pub(super) fn send_late(&mut self) {
        for back in &mut self.backs {
            while let Some(piece) = back.outbox.pop_front() {
                let written = back.side.write(&piece.bytes);
                assert_eq!(written, piece.bytes.len(), "late pieces are short");
                back.side.then(piece.then);
            }
        }
    }

    /// The client closes its connection.
    pub(super) fn leave(&mut self, front: usize) {
        self.fronts[front].stream = None;
        self.advance();
    }

    /// Everybody acts until nobody has anything to do, the origin piece by piece.
    pub(super) fn advance(&mut self) {
        loop {
            self.settle();
            let due = |back: &Back| back.outbox.front().is_some_and(|piece| !piece.late);
            let Some(at) = self.backs.iter().position(due) else { return };
            let piece = self.backs[at].outbox.pop_front().expect("looked at");
            let mut rest = piece.bytes.as_slice();
            while !rest.is_empty() {
                let n = self.backs[at].side.write(rest);
                rest = &rest[n..];
                if n == 0 {
                    self.turn();
                }
            }
            self.backs[at].side.then(piece.then);
        }
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..100_000 {
            quiet = if self.turn() { 0 } else { quiet + 1 };
            if quiet == 1 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Everybody gets one turn; gives whether anybody did anything.
    fn turn(&mut self) -> bool {
        assert!(self.proxy.turn(Some(Duration::ZERO)).expect("a turn"));
        let mut moved = self.proxy.timeout() == Some(Duration::ZERO);
        for front in &mut self.fronts {
            moved |= front.read();
        }
        // Asking in vain costs the kernel a socket, so only who must be there is asked for.
        while self.backs.len() < self.connects() {
            let Ok((stream, _)) = self.doors.origin.accept() else { break };
            let (side, outbox) = (Side::new(stream), VecDeque::new());
            self.backs.push(Back { side, taken: 0, begun: None, raw: false, outbox });
            moved = true;
        }
        for number in 0..self.backs.len() {
            if self.backs[number].side.read() {
                moved = true;
                self.serve(number);
            }
        }
        moved
    }

    /// How many connections the proxy has asked for.
    fn connects(&self) -> usize {
        self.proxy.stats().connects as usize
    }

    /// The origin reads what has come over a connection.
    fn serve(&mut self, number: usize) {
        let back = &mut self.backs[number];
        while !back.raw && !back.tail().is_empty() {
            let read = reader::request(back.tail());
            let fresh = back.begun.is_none();
            if fresh && matches!(read, Ok(_) | Err(Unread::HeadOnly)) {
                back.begun = Some(self.heads);
                self.heads += 1;
            }
            let n = back.begun.unwrap_or(self.heads);
            let script = self.scripts.get(n);
            if fresh && read == Err(Unread::HeadOnly) {
                back.outbox.extend(script.into_iter().flat_map(|s| s.at_head.clone()));
            }
            match read {
                Ok(request) => {
                    let bytes = back.tail()[..request.len].to_vec();
                    back.taken += request.len;
                    back.begun = None;
                    back.answer(script, n, &request, fresh);
                    self.arrived.push(Arrived { over: number, number: n, bytes, request });
                }
                Err(Unread::Wrong(why)) => {
                    self.wrong = Some(format!("{why}: {}", shown(back.tail())));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// `bytes` with the authority of the origin where it is named.
    pub(super) fn with_origin(&self, bytes: &[u8]) -> Vec<u8> {
        let authority = self.doors.origin.local_addr().unwrap().to_string();
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(ORIGIN.len()).position(|window| window == ORIGIN) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(authority.as_bytes());
            rest = &rest[at + ORIGIN.len()..];
        }
        out.extend_from_slice(rest);
        out
    }

    /// What is alive in the proxy: clients, connections to the origin, and bytes of buffers.
    pub(super) fn alive(&self) -> (usize, usize, usize) {
        let census = self.proxy.census();
        (census.clients, census.upstreams, census.lent_bytes)
    }

    /// The origin closes all its connections.
    pub(super) fn close_backs(&mut self) {
        for back in &mut self.backs {
            back.side.stream = None;
        }
        self.advance();
    }

    /// Asks until the answer is yes; the last no is the error.
    pub(super) fn until(
        &mut self,
        mut judge: impl FnMut(&Stage<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let judged = judge(self);
            if judged.is_ok() || begun.elapsed() > PATIENCE {
                return judged;
            }
            std::thread::sleep(Duration::from_millis(1));
            self.advance();
        }
    }
}

impl Back {
    /// The origin's answer to its request number `n`. `fresh`: nothing was said to its head.
    fn answer(&mut self, script: Option<&Script>, n: usize, request: &Request, fresh: bool) {
        match script {
            Some(script) => {
                let early = script.at_head.iter().filter(|_| fresh);
                self.outbox.extend(early.chain(&script.at_end).cloned());
                self.raw = script.bytes().windows(12).any(|bytes| bytes == b"HTTP/1.1 101");
            }
            None => self.outbox.push_back(Piece {
                bytes: default_answer(n, request),
                then: Then::Settle,
                late: false,
            }),
        }
    }
}

/// Bytes as a person can read them, the middle of long ones left out.
pub(super) fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= 400 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (front, back) = (bytes[..200].escape_ascii(), bytes[bytes.len() - 150..].escape_ascii());
    format!("\"{front}\" ... \"{back}\" ({} bytes)", bytes.len())
}

//! The backend: this same program, started again in another role. It behaves as its script says and
//! notes in the ledger what it saw. A thread for each connection, blocking: it is easy to see that
//! it does what the script says.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Fault, Head, Wire, find, retried};
use crate::ledger::{EXECUTED, GONE, Ledger, SEEN, unix_us};
use crate::script::{Framing, Script};

/// How long a connection may be silent: longer than any scenario.
const IDLE: Duration = Duration::from_secs(120);
/// How long a request is kept that nobody gives up.
const HOLD: Duration = Duration::from_secs(4);
/// Between the bytes that are delivered and the end: what was sent must have arrived.
const PAUSE: Duration = Duration::from_millis(20);
pub(crate) const EVENTS: u32 = 6;
const EVENT_PAUSE: Duration = Duration::from_millis(200);
const UPLOAD_SEEN: usize = 64 * 1024;
const BOUND_AGAIN: Duration = Duration::from_secs(3);

/// Runs until it is killed, or until whoever started it is gone.
pub(crate) fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backend {args:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> io::Result<()> {
    let [port, script, ledger] = args else {
        return Err(io::Error::other("PORT SCRIPT LEDGER"));
    };
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let script: Script = script.parse().map_err(io::Error::other)?;
    let house =
        Arc::new(House { port, script, ledger: Ledger::open(Path::new(ledger))?, dice: 1.into() });
    thread::spawn(end_with_parent);
    let listener = bind(port)?;
    for stream in listener.incoming() {
        let (Ok(stream), house) = (stream, Arc::clone(&house)) else { continue };
        thread::spawn(move || {
            // A connection that fails is the proxy's business: it is what we are here to cause.
            let _ = Wire::new(stream).map(|wire| house.serve(wire));
        });
    }
    Ok(())
}

fn bind(port: u16) -> io::Result<TcpListener> {
    let until = Instant::now() + BOUND_AGAIN;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse || Instant::now() > until => {
                return Err(error);
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
            done => return done,
        }
    }
}

fn end_with_parent() {
    let _ = io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// The body of the answer to a GET that can be resumed: 20,000 bytes that only this request has.
pub(crate) fn long_body(id: &str) -> Vec<u8> {
    (0_u32..).flat_map(|line| format!("{id} {line}\n").into_bytes()).take(20_000).collect()
}

struct House {
    port: u16,
    script: Script,
    ledger: Ledger,
    dice: AtomicU64,
}

impl House {
    fn serve(&self, mut wire: Wire) {
        let mut count = 0;
        loop {
            count += 1;
            if self.script == Script::ResetInside || matches!(self.script, Script::Cut(_, true)) {
                if let Some(head) = self.leave_unread(&wire) {
                    self.cut_by_reset(&mut wire, &head);
                    return;
                }
            }
            let Ok(head) = wire.read_head(Instant::now() + IDLE) else { return };
            if self.exchange(&mut wire, &head, count).is_err() || head.says_close() {
                return;
            }
        }
    }

    /// One request and its answer; an error ends the connection.
    fn exchange(&self, wire: &mut Wire, head: &Head, count: u32) -> Result<(), Fault> {
        self.ledger.note(SEEN, head.id());
        match self.script {
            Script::Hold => return self.hold(wire, head),
            Script::Stream => return self.stream(wire, head),
            Script::TooLarge => return too_large(wire),
            Script::Deny => {
                wire.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                return Err(Fault::Closed);
            }
            _ => {}
        }
        if let Some(fault) = wire.read_request_body(head, Instant::now() + IDLE).fault {
            return Err(fault);
        }
        self.ledger.note(EXECUTED, head.id());
        match self.script {
            Script::Drop => return Err(Fault::Closed),
            Script::DropSecond if count > 1 => return Err(Fault::Closed),
            Script::Cut(framing, _) => {
                wire.send(&beginning(framing))?;
                thread::sleep(PAUSE);
                return Err(Fault::Closed);
            }
            Script::Events => return events(wire),
            Script::Hints => {
                wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
                thread::sleep(PAUSE);
            }
            Script::Answer(ms) if ms > 0 => thread::sleep(Duration::from_millis(ms)),
            Script::ResetInside if head.method() == "GET" => return long_answer(wire, head),
            _ => {}
        }
        self.answer(wire, head)?;
        if let Script::CloseWithin(us) = self.script {
            if self.roll() % 2 == 0 {
                thread::sleep(Duration::from_micros(self.roll() % (us + 1)));
                return Err(Fault::Closed);
            }
        }
        Ok(())
    }

    /// The id of the request and our port: an answer that goes astray is seen.
    fn answer(&self, wire: &mut Wire, head: &Head) -> Result<(), Fault> {
        let body = format!("{} {}\n", head.id(), self.port);
        let length = body.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        Ok(wire.send(text.as_bytes())?)
    }

    fn roll(&self) -> u64 {
        // Steele, Lea and Flood's SplitMix64: every call another number, in any thread.
        let seed = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A reset without any special call: to close a socket with unread bytes resets it. So a
    /// request that shall be reset is looked at, and all but its last byte is read.
    fn leave_unread(&self, wire: &Wire) -> Option<Head> {
        let mut stream = wire.stream();
        stream.set_read_timeout(Some(IDLE)).ok()?;
        let mut bytes = [0; 16 * 1024];
        let end = loop {
            let count = retried(|| stream.peek(&mut bytes)).ok().filter(|count| *count > 0)?;
            if let Some(at) = find(bytes.get(..count)?, b"\r\n\r\n") {
                break at + 4;
            }
            thread::sleep(Duration::from_millis(1));
        };
        let head = Head::parse(bytes.get(..end)?.trim_ascii_end());
        let spared = self.script == Script::ResetInside && !is_to_be_reset(&head);
        if spared || head.method() != "GET" {
            return None;
        }
        stream.read_exact(bytes.get_mut(..end - 1)?).ok()?;
        Some(head)
    }

    fn cut_by_reset(&self, wire: &mut Wire, head: &Head) {
        self.ledger.note(EXECUTED, head.id());
        let part = match self.script {
            Script::Cut(framing, _) => beginning(framing),
            _ => {
                let whole = long_text(head);
                whole.get(..whole.len() / 2).unwrap_or_default().to_vec()
            }
        };
        let _ = wire.send(&part);
        thread::sleep(PAUSE);
    }

    /// Keeps the request until the other side goes, and notes when that was.
    fn hold(&self, wire: &mut Wire, head: &Head) -> Result<(), Fault> {
        let body = wire.read_request_body(head, Instant::now() + HOLD);
        // Whoever waits for an answer is silent: what can be read is its end.
        let fault = body.fault.or_else(|| wire.fill(Instant::now() + HOLD).err());
        if fault == Some(Fault::Late) {
            return self.answer(wire, head);
        }
        self.ledger.note(GONE, head.id());
        Err(Fault::Closed)
    }

    fn stream(&self, wire: &mut Wire, head: &Head) -> Result<(), Fault> {
        let until = Instant::now() + HOLD;
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        while Instant::now() < until {
            let sent = wire.send(b"5\r\nhello\r\n");
            thread::sleep(Duration::from_millis(10));
            if sent.is_err() || wire.is_over() {
                self.ledger.note(GONE, head.id());
                return Err(Fault::Closed);
            }
        }
        Ok(wire.send(b"0\r\n\r\n")?)
    }
}

/// One of 16, the same ones for every proxy; the rest of an answer is left alone.
fn is_to_be_reset(head: &Head) -> bool {
    // FNV-1a.
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = head.id().bytes().fold(0x811c_9dc5, step);
    (hash >> 8) % 16 == 0 && head.field("range").is_none()
}

/// The head of an answer of 100 bytes, and 10 of them.
fn beginning(framing: Framing) -> Vec<u8> {
    let (field, part) = match framing {
        Framing::Length => ("Content-Length: 100\r\n", "0123456789"),
        Framing::Chunks => ("Transfer-Encoding: chunked\r\n", "64\r\n0123456789"),
        Framing::Close => ("Connection: close\r\n", "0123456789"),
    };
    format!("HTTP/1.1 200 OK\r\n{field}\r\n{part}").into_bytes()
}

/// A good server's early refusal: it answers, ends its side, and goes on reading for a moment.
fn too_large(wire: &mut Wire) -> Result<(), Fault> {
    let until = Instant::now() + Duration::from_secs(2);
    let mut seen = 0;
    let mut bytes = [0; 16 * 1024];
    wire.stream().set_read_timeout(Some(Duration::from_secs(1)))?;
    while seen < UPLOAD_SEEN {
        match wire.stream().read(&mut bytes)? {
            0 => return Err(Fault::Closed),
            count => seen += count,
        }
    }
    let body = "too large\n";
    let text = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
    wire.send(format!("{text}{body}").as_bytes())?;
    wire.half_close()?;
    // Slowly, so that the upload is still under way; to close at once would reset the answer.
    while Instant::now() < until && wire.stream().read(&mut bytes)? > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    Err(Fault::Closed)
}

fn events(wire: &mut Wire) -> Result<(), Fault> {
    let head = "Content-Type: text/event-stream\r\nCache-Control: no-cache";
    wire.send(
        format!("HTTP/1.1 200 OK\r\n{head}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
    )?;
    for _ in 0..EVENTS {
        let event = format!("data: {}\n\n", unix_us());
        wire.send(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        thread::sleep(EVENT_PAUSE);
    }
    Ok(wire.send(b"0\r\n\r\n")?)
}

/// The whole answer or, if `Range` and `If-Range` ask for it, the rest of it.
fn long_text(head: &Head) -> Vec<u8> {
    let body = long_body(head.id());
    let tag = format!("\"{}\"", head.id());
    let range = head.field("range").and_then(|value| value.strip_prefix("bytes="));
    let first = range.and_then(|range| range.split('-').next()).and_then(|n| n.parse().ok());
    let first: usize = first.filter(|_| head.field("if-range") == Some(&tag)).unwrap_or(0);
    let rest = body.get(first..).unwrap_or_default();
    let (total, length) = (body.len(), rest.len());
    let status = if first == 0 {
        "200 OK\r\nAccept-Ranges: bytes".to_owned()
    } else {
        format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}", total - 1)
    };
    let head = format!("HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), rest].concat()
}

fn long_answer(wire: &mut Wire, head: &Head) -> Result<(), Fault> {
    Ok(wire.send(&long_text(head))?)
}

/// An endpoint that swallows: its queue of connections is full, so the kernel answers no SYN.
pub(crate) struct BlackHole {
    _listener: TcpListener,
    _fillers: Vec<TcpStream>,
    pub(crate) port: u16,
}

impl BlackHole {
    const FILLERS: usize = 8_192;

    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let mut fillers = Vec::new();
        while fillers.len() < Self::FILLERS {
            match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => fillers.push(stream),
                Err(_) => return Ok(Self { _listener: listener, _fillers: fillers, port }),
            }
        }
        Err(io::Error::other("the queue of a listener has no end here"))
    }
}

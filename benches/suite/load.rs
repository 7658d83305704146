//! The load generator: `suite load KEY=VALUE...`, then one order a line on standard input.
//!
//! One thread, one loop, many connections, one request at a time on each. Orders:
//! `run SECONDS` as fast as answers come; `count N` the same, exactly N; `pace RATE SECONDS` at
//! times fixed beforehand, with the latency counted from the time that was meant, whether or not
//! the request could leave then. Every answer is compared byte by byte. The reply to an order is
//! one line, see [`Reply`]. It does not know who answers.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::histogram::Histogram;
use crate::shape::Shape;
use crate::wire::{Framing, Known, Meta, Outgoing, Reader, bad};

const READ: usize = 262_144;
const FIELDS: usize = 128;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is shown of what went wrong.
const COMPLAINTS: u64 = 3;

/// What came out of an order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) requests: u64,
    pub(crate) nanos: u64,
    /// Requests without a right answer; they are counted in `requests`, too.
    pub(crate) lost: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Reply {
    fn line(&self) -> String {
        let Self { requests, nanos, lost, p50, p99, max } = self;
        format!("{requests} {nanos} {lost} {p50} {p99} {max}")
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [requests, nanos, lost, p50, p99, max] = numbers[..] else { return None };
        Some(Self { requests, nanos, lost, p50, p99, max })
    }
}

struct Connection {
    stream: Option<TcpStream>,
    reader: Reader,
    /// The request under way: which one, how much of it is written, since when.
    out: Option<(usize, usize)>,
    since: u64,
    busy: bool,
    /// The answer is whole; what is missing is the end of the connection.
    answered: bool,
}

/// When the next request may leave.
enum Plan {
    Until(u64),
    Count(u64),
    /// Nanoseconds between two, and the number of all.
    Pace(f64, u64),
}

struct Load {
    poll: Poll,
    shape: Shape,
    address: SocketAddr,
    requests: Vec<Outgoing>,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    known: Known,
    space: Vec<u8>,
    started: Instant,
    plan: Plan,
    begun: u64,
    issued: u64,
    finished: u64,
    lost: u64,
    histogram: Histogram,
}

pub(crate) fn main(args: &[String]) -> io::Result<()> {
    let shape = Shape::from_args(args).ok_or_else(|| bad("load: not a shape"))?;
    let mut load = Load::new(shape)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0);
        let reply = match words.first().copied() {
            Some("run") => load.order(Plan::Until((number(1) * 1e9) as u64))?,
            Some("count") => load.order(Plan::Count(number(1) as u64))?,
            Some("pace") => {
                let gap = 1e9 / number(1).max(1.0);
                load.order(Plan::Pace(gap, (number(2) * number(1)) as u64))?
            }
            _ => return Err(bad("load: not an order")),
        };
        println!("{}", reply.line());
    }
    Ok(())
}

impl Load {
    fn new(shape: Shape) -> io::Result<Self> {
        let requests = shape
            .heads()
            .iter()
            .map(|head| Outgoing::new(head, shape.body, shape.chunked))
            .collect();
        let connections = (0..shape.connections).map(|_| Connection {
            stream: None,
            reader: Reader::new(),
            out: None,
            since: 0,
            busy: false,
            answered: false,
        });
        Ok(Self {
            poll: Poll::new()?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, shape.port)),
            requests,
            connections: connections.collect(),
            idle: (0..shape.connections).collect(),
            shape,
            known: Known::default(),
            space: vec![0; READ],
            started: Instant::now(),
            plan: Plan::Count(0),
            begun: 0,
            issued: 0,
            finished: 0,
            lost: 0,
            histogram: Histogram::new(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn order(&mut self, plan: Plan) -> io::Result<Reply> {
        self.begun = self.now();
        self.plan = match plan {
            Plan::Until(nanos) => Plan::Until(self.begun + nanos),
            other => other,
        };
        (self.issued, self.finished, self.lost) = (0, 0, 0);
        self.histogram = Histogram::new();
        let paced = matches!(self.plan, Plan::Pace(..));
        let mut events = Events::with_capacity(1024);
        self.issue();
        while self.finished < self.issued || self.due(self.now()).is_some() || self.unfinished() {
            let wait = if paced { Duration::ZERO } else { PATIENCE };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if events.is_empty() {
                if !paced || self.overdue() {
                    return Err(bad("load: no answer comes any more"));
                }
                // The origin may share this core.
                std::thread::yield_now();
            }
            for event in &events {
                let Token(at) = event.token();
                let read = event.is_readable() || event.is_read_closed();
                self.turn(at, read, event.is_read_closed());
            }
            self.issue();
        }
        let nanos = self.now() - self.begun;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.histogram.quantile(share));
        Ok(Reply { requests: self.finished, nanos, lost: self.lost, p50, p99, max })
    }

    fn unfinished(&self) -> bool {
        match self.plan {
            Plan::Until(_) => false,
            Plan::Count(n) | Plan::Pace(_, n) => self.issued < n,
        }
    }

    /// A paced order that takes far longer than it should.
    fn overdue(&self) -> bool {
        let Plan::Pace(gap, n) = self.plan else { return false };
        let meant = Duration::from_nanos((gap * n as f64) as u64) + PATIENCE;
        Duration::from_nanos(self.now() - self.begun) > meant
    }

    /// The time from which the next request counts, if one may leave.
    fn due(&self, now: u64) -> Option<u64> {
        match self.plan {
            Plan::Until(end) => (now < end).then_some(now),
            Plan::Count(n) => (self.issued < n).then_some(now),
            Plan::Pace(gap, n) if self.issued < n => {
                let meant = self.begun + (gap * self.issued as f64) as u64;
                (meant <= now).then_some(meant)
            }
            Plan::Pace(..) => None,
        }
    }

    fn issue(&mut self) {
        if self.idle.is_empty() {
            return;
        }
        let now = self.now();
        while self.issued - self.finished < self.shape.inflight as u64 {
            let (Some(since), Some(&at)) = (self.due(now), self.idle.front()) else { return };
            self.idle.pop_front();
            self.start(at, since);
        }
    }

    fn start(&mut self, at: usize, since: u64) {
        let which = usize::try_from(self.issued).unwrap_or(0) % self.requests.len();
        self.issued += 1;
        let connection = &mut self.connections[at];
        connection.since = since;
        connection.busy = true;
        connection.answered = false;
        connection.out = Some((which, 0));
        if connection.stream.is_none() {
            if let Err(error) = self.open(at) {
                self.finish(at, Err(error));
                return;
            }
        }
        if let Err(error) = self.connections[at].write(&self.requests) {
            self.finish(at, Err(error));
        }
    }

    fn open(&mut self, at: usize) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(at), both)?;
        let connection = &mut self.connections[at];
        connection.stream = Some(stream);
        connection.reader = Reader::new();
        Ok(())
    }

    fn turn(&mut self, at: usize, readable: bool, closed: bool) {
        if let Err(error) = self.connections[at].write(&self.requests) {
            self.finish(at, Err(error));
            return;
        }
        if !readable {
            return;
        }
        match self.read(at, closed) {
            Ok(true) => self.finish(at, Ok(())),
            Ok(false) => {}
            Err(error) => self.finish(at, Err(error)),
        }
    }

    /// True if an answer has come to its end.
    fn read(&mut self, at: usize, closed: bool) -> io::Result<bool> {
        let connection = &mut self.connections[at];
        loop {
            let Some(stream) = connection.stream.as_mut() else { return Ok(false) };
            let n = match stream.read(&mut self.space) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            if n == 0 {
                connection.stream = None;
                let fine = !connection.busy || connection.answered;
                let why = if connection.reader.is_fresh() { "closed, no answer" } else { "cut" };
                return if fine { Ok(connection.answered) } else { Err(bad(why)) };
            }
            let length = self.shape.answer;
            let mut judge = |head: &[u8]| judge(head, length);
            let meta = connection.reader.feed(&self.space[..n], &mut self.known, &mut judge)?;
            if let Some(meta) = meta {
                if connection.out.is_some() {
                    return Err(bad("an answer before the request was whole"));
                }
                if !self.shape.close {
                    if meta.close {
                        connection.stream = None;
                    }
                    return Ok(true);
                }
                connection.answered = true;
            }
            if n < self.space.len() && !closed {
                return Ok(false);
            }
        }
    }

    fn finish(&mut self, at: usize, how: io::Result<()>) {
        let connection = &mut self.connections[at];
        if let Err(error) = &how {
            connection.stream = None;
            connection.reader = Reader::new();
            connection.out = None;
            if !connection.busy {
                return;
            }
            self.lost += 1;
            if self.lost <= COMPLAINTS {
                eprintln!("load: {error}");
            }
        }
        connection.busy = false;
        connection.answered = false;
        let since = connection.since;
        let now = self.now();
        self.histogram.add(now.saturating_sub(since));
        self.finished += 1;
        self.idle.push_back(at);
        // At once, on whoever is next, so that nobody waits for the end of this turn.
        if how.is_ok() && self.issued - self.finished < self.shape.inflight as u64 {
            let Some(since) = self.due(now) else { return };
            if let Some(next) = self.idle.pop_front() {
                self.start(next, since);
            }
        }
    }
}

impl Connection {
    fn write(&mut self, requests: &[Outgoing]) -> io::Result<()> {
        while let Some((which, at)) = self.out {
            let Some(stream) = self.stream.as_mut() else { return Ok(()) };
            let outgoing = &requests[which];
            match stream.write(outgoing.piece(at)) {
                Ok(n) if at + n < outgoing.len() => self.out = Some((which, at + n)),
                Ok(_) => self.out = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn judge(head: &[u8], expected: u64) -> io::Result<Meta> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).map_err(|_| bad("not a response"))?;
    let status = response.code.unwrap_or(0);
    if status != 200 {
        return Err(bad(&format!("status {status}")));
    }
    let mut framing = None;
    let mut close = response.version == Some(0);
    for field in &*response.headers {
        let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
        match field.name.to_ascii_lowercase().as_str() {
            "content-length" => framing = value.trim().parse().ok().map(Framing::Length),
            "transfer-encoding" => framing = Some(Framing::Chunked),
            "connection" => close |= value.trim() == "close",
            _ => {}
        }
    }
    let framing = framing.ok_or_else(|| bad("an answer without a length"))?;
    Ok(Meta { framing, tag: usize::from(status), expected, close })
}

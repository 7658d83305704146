//! Who stands on both sides of the proxy in the engine target: clients and backends that say what
//! the input tells them to, and some well-formed messages that it can pick by number.

use std::net::IpAddr;

use super::reader::Bounds;
use super::streams::{Request, requests};
use crate::sim::stage::{Got, Peer, Stage};

/// What backends read is bounded by who wrote it.
pub(super) const NO_BOUNDS: Bounds =
    Bounds { head_bytes: 1 << 20, fields: 1 << 10, target_bytes: 1 << 20 };

/// One end, and what it wants to say.
#[derive(Debug)]
struct Mouth {
    peer: Option<Peer>,
    outbox: Vec<u8>,
    reads: bool,
    /// Sends its end, or closes, once everything is said.
    then_finishes: bool,
    then_closes: bool,
}

impl Mouth {
    fn new(peer: Peer) -> Mouth {
        Mouth {
            peer: Some(peer),
            outbox: Vec::new(),
            reads: true,
            then_finishes: false,
            then_closes: false,
        }
    }

    /// Says and hears what is possible; gives what was heard, and whether anything happened.
    fn step(&mut self, stage: &mut Stage) -> (Vec<u8>, bool) {
        let (mut heard, mut moved) = (Vec::new(), false);
        let Some(mut peer) = self.peer.take() else { return (heard, false) };
        while !self.outbox.is_empty() {
            match stage.write(&mut peer, &self.outbox) {
                Some(0) => break,
                Some(n) => {
                    self.outbox.drain(..n);
                    moved = true;
                }
                None => self.outbox.clear(),
            }
        }
        if self.outbox.is_empty() && self.then_finishes {
            self.then_finishes = false;
            stage.finish(&mut peer);
            moved = true;
        }
        let mut space = [0; 2048];
        while self.reads {
            match stage.read(&mut peer, &mut space) {
                Got::Bytes(n) => {
                    heard.extend_from_slice(&space[..n]);
                    moved = true;
                }
                Got::Nothing => break,
                // It is over: nobody stays behind an end for long.
                Got::End => {
                    self.then_closes = true;
                    break;
                }
                Got::Reset => return (heard, true),
            }
        }
        if self.then_closes && self.outbox.is_empty() {
            return (heard, true);
        }
        self.peer = Some(peer);
        (heard, moved)
    }
}

/// A client: one connection to the proxy.
#[derive(Debug)]
pub(super) struct Client {
    mouth: Mouth,
    number: usize,
    pub(super) wire: usize,
    pub(super) address: IpAddr,
    /// It has read everything and has not gone away by itself.
    pub(super) faithful: bool,
    asked: usize,
}

impl Client {
    pub(super) fn dial(stage: &mut Stage, number: usize) -> Client {
        let address = IpAddr::from([10, 0, 0, number as u8 + 1]);
        let peer = stage.dial(address);
        let wire = peer.wire();
        Client { mouth: Mouth::new(peer), number, wire, address, faithful: true, asked: 0 }
    }

    pub(super) fn step(&mut self, stage: &mut Stage) -> bool {
        self.mouth.step(stage).1
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.mouth.outbox.extend_from_slice(bytes);
    }

    /// A well-formed request, with a name that no other one has.
    pub(super) fn ask(&mut self, which: u8) {
        self.asked += 1;
        let id = format!("c{}.{}", self.number, self.asked);
        let lines = format!("Host: a.example\r\nX-Id: {id}\r\n");
        let text = match which % 14 {
            0 => format!("GET /s/v/x?{id} HTTP/1.1\r\n{lines}\r\n"),
            1 => format!("GET /other//{id} HTTP/1.1\r\n{lines}Accept: */*\r\n\r\n"),
            2 => format!("HEAD /s/v HTTP/1.1\r\n{lines}\r\n"),
            3 => format!("POST /s/v/p HTTP/1.1\r\n{lines}Content-Length: 5\r\n\r\nhello"),
            4 => format!(
                "POST /s/v/c HTTP/1.1\r\n{lines}Transfer-Encoding: chunked\r\n\
                 Trailer: x-sum\r\n\r\n3;x=y\r\nabc\r\n\
                 0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nHost: b\r\n\r\n"
            ),
            5 => {
                let body = "p".repeat(300 * (1 + usize::from(which) / 14));
                let length = body.len();
                format!("PUT /s/v/u HTTP/1.1\r\n{lines}Content-Length: {length}\r\n\r\n{body}")
            }
            6 if which / 14 % 2 == 1 => {
                format!("POST /s/v/o HTTP/1.0\r\nX-Id: {id}\r\nContent-Length: 5\r\n\r\nhello")
            }
            6 => format!("GET /s/v/o HTTP/1.0\r\nX-Id: {id}\r\nConnection: keep-alive\r\n\r\n"),
            7 => format!(
                "POST /s/v/e HTTP/1.1\r\n{lines}Expect: 100-continue\r\n\
                 Content-Length: 5\r\n\r\nhello"
            ),
            8 => format!(
                "GET /s/v/w HTTP/1.1\r\n{lines}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            ),
            9 => format!("GET /s/v/x HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"),
            10 => format!("TRACE /s/v/t HTTP/1.1\r\n{lines}Max-Forwards: {}\r\n\r\n", which / 14),
            11 => format!(
                "POST /s/v/k HTTP/1.1\r\n{lines}Idempotency-Key: {id}\r\nX-Hop: 1\r\n\
                 Connection: X-Hop, host\r\nContent-Length: 2\r\n\r\nab"
            ),
            12 => format!("GET http://b.example/s/v/x HTTP/1.1\r\n{lines}TE: trailers\r\n\r\n"),
            _ => format!(
                "POST /s/v/h HTTP/1.1\r\n{lines}Content-Length: 900\r\n\r\n{}",
                "h".repeat(300)
            ),
        };
        self.say(text.as_bytes());
    }

    pub(super) fn finish(&mut self) {
        self.faithful = false;
        self.mouth.then_finishes = true;
    }

    pub(super) fn leave(&mut self, stage: &mut Stage, by_reset: bool) {
        self.faithful = false;
        if let Some(peer) = self.mouth.peer.take().filter(|_| by_reset) {
            stage.abort(peer);
        }
    }

    /// Stops reading, or goes on.
    pub(super) fn turn_ear(&mut self) {
        self.faithful = false;
        self.mouth.reads = !self.mouth.reads;
    }
}

/// A mark that nobody can make up: an answer that bears it was meant for the request `id`.
fn tag(id: &str) -> String {
    let sum = id
        .bytes()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{id}-{sum:08x}")
}

/// The request that a tag belongs to, if it is one of ours.
pub(super) fn untag(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (id, _) = text.rsplit_once('-')?;
    (tag(id) == text).then(|| id.to_owned())
}

/// The content of the answer to the request `id`.
pub(super) fn content(id: &str, len: usize) -> Vec<u8> {
    id.bytes().chain(*b"|").cycle().take(len).collect()
}

/// One connection that a backend has accepted.
#[derive(Debug)]
pub(super) struct Backend {
    mouth: Mouth,
    pub(super) wire: usize,
    pub(super) door: usize,
    got: Vec<u8>,
    /// Final answers that were given to whole heads.
    answered: usize,
    /// It has said something that was no answer to anything.
    pub(super) spoiled: bool,
}

impl Backend {
    pub(super) fn new(peer: Peer, door: usize) -> Backend {
        let wire = peer.wire();
        let mouth = Mouth::new(peer);
        Backend { mouth, wire, door, got: Vec::new(), answered: 0, spoiled: false }
    }

    pub(super) fn is_open(&self) -> bool {
        self.mouth.peer.is_some()
    }

    /// As [`Client::step`]; an obliging one answers every whole request at once.
    pub(super) fn step(&mut self, stage: &mut Stage, obliging: bool) -> bool {
        let (heard, mut moved) = self.mouth.step(stage);
        self.got.extend_from_slice(&heard);
        if obliging && !heard.is_empty() {
            let (asked, _) = requests(&self.got, &NO_BOUNDS, None);
            for _ in self.answered..asked.iter().filter(|request| request.whole).count() {
                self.answer(0);
                moved = true;
            }
        }
        moved
    }

    /// Whatever comes to its mind. Each `@` becomes a byte that tells who wrote it.
    pub(super) fn say(&mut self, bytes: &[u8], mark: u8) {
        self.spoiled = true;
        let marked = bytes.iter().map(|&byte| match byte {
            b'@' => mark,
            MARKS.. => byte & 0x7f,
            _ => byte,
        });
        self.mouth.outbox.extend(marked);
    }

    /// A well-formed answer to the first request that has none yet.
    pub(super) fn answer(&mut self, which: u8) {
        let (asked, _) = requests(&self.got, &NO_BOUNDS, None);
        self.spoiled |= self.answered >= asked.len();
        let request = asked.get(self.answered);
        let id = request.filter(|_| !self.spoiled).and_then(id_of);
        let tag = id.as_deref().map(|id| format!("X-Tag: {}\r\n", tag(id))).unwrap_or_default();
        let id = id.unwrap_or_else(|| "nobody".to_owned());
        let (head, body) = answer_text(which, &tag, &id, request.and_then(range_of).unwrap_or(0));
        self.mouth.outbox.extend_from_slice(head.as_bytes());
        if request.is_none_or(|request| request.head.words[0] != b"HEAD") {
            self.mouth.outbox.extend_from_slice(&body);
        }
        let which = which % ANSWERS;
        self.answered += usize::from(!matches!(which, 5..=7));
        self.mouth.then_closes |= matches!(which, 2 | 8 | 10);
        self.mouth.then_finishes |= which == 13;
        if which == 12 {
            // This one answers nothing.
            self.spoiled = true;
            let lone = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!";
            self.mouth.outbox.extend_from_slice(lone);
        }
    }

    pub(super) fn finish(&mut self) {
        self.mouth.then_finishes = true;
    }

    pub(super) fn leave(&mut self, stage: &mut Stage, by_reset: bool) {
        if let Some(peer) = self.mouth.peer.take().filter(|_| by_reset) {
            stage.abort(peer);
        }
    }

    pub(super) fn turn_ear(&mut self) {
        self.mouth.reads = !self.mouth.reads;
    }
}

/// How many answers there are to pick from.
const ANSWERS: u8 = 14;

/// Head and content of an answer to the request `id`; `from`: where its content is to begin.
fn answer_text(which: u8, tag: &str, id: &str, from: usize) -> (String, Vec<u8>) {
    let sized = |line: &str, lines: &str, len: usize| {
        format!("HTTP/1.{line}\r\n{tag}{lines}Content-Length: {len}\r\n\r\n")
    };
    match which % ANSWERS {
        1 => {
            let body = [b"14;a\r\n", &content(id, 20)[..], b"\r\n0\r\nX-Sum: 1\r\n\r\n"];
            let head = "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked";
            (format!("{head}\r\n{tag}\r\n"), body.concat())
        }
        2 => (format!("HTTP/1.1 200 OK\r\n{tag}\r\n"), content(id, 700)),
        3 => (format!("HTTP/1.1 204 No\r\n{tag}\r\n"), Vec::new()),
        4 => (sized("1 304 Same", "", 77), Vec::new()),
        5 => ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), Vec::new()),
        6 => ("HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n".to_owned(), Vec::new()),
        7 => {
            let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            (format!("HTTP/1.1 101 Yes\r\n{upgrade}"), b"\x81\x02hi".to_vec())
        }
        8 => {
            // Another content has another tag, or it would be a lie that nobody can see through.
            let lines = format!("ETag: \"{id}\"\r\nAccept-Ranges: bytes\r\n");
            (sized("1 200 OK", &lines, 90), content(id, 50))
        }
        9 => {
            let from = from.min(89);
            let lines = format!("ETag: \"{id}\"\r\nContent-Range: bytes {from}-89/90\r\n");
            (sized("1 206 Part", &lines, 90 - from), content(id, 90).split_off(from))
        }
        10 => (sized("1 503 Busy", "Connection: close\r\n", 9), content(id, 9)),
        11 => (sized("1 200 OK", "", 9000), content(id, 9000)),
        13 => (sized("0 200 OK", "", 20), content(id, 20)),
        _ => (sized("1 200 OK", "", 20), content(id, 20)),
    }
}

/// Bytes from here on are marks, see [`Backend::say`].
pub(super) const MARKS: u8 = 0xe0;

/// The name of a request, if it has one that can be repeated in a field.
pub(super) fn id_of(request: &Request) -> Option<String> {
    let mut lines = request.head.all("x-id");
    let (first, second) = (lines.next()?, lines.next());
    let plain = first.value.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'.');
    (plain && second.is_none() && !first.value.is_empty())
        .then(|| String::from_utf8_lossy(&first.value).into_owned())
}

/// From which byte on the answer is wanted.
fn range_of(request: &Request) -> Option<usize> {
    let value = String::from_utf8_lossy(request.head.get("range")?).into_owned();
    value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

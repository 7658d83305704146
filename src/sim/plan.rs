//! What a seed decides before anything runs: the settings, the backends, the requests.
//!
//! Everything here is drawn before the first turn, so that a change of the engine changes the
//! course of a world but not its cast.

use std::sync::Arc;

use super::cast::{Kind, posts, settings};
use super::dice::{Dice, pattern};
use super::message::chunked;
use super::nature::Nature;
use crate::balance::{Balance, HashBy};
use crate::config::Config;
use crate::endpoint::Endpoint;

/// Salt of request bodies; see [`pattern`].
pub(super) const REQUEST: u64 = 1;
/// Salt of answer bodies.
pub(super) const ANSWER: u64 = 2;
/// Salt of bodies that say "too busy".
pub(super) const SHED: u64 = 3;
/// Salt of answers that have changed since.
pub(super) const CHANGED: u64 = 4;
/// A head may grow by so much on its way and still lie in the window with its body.
const GROWTH: usize = 1024;

/// One request of one client, and the answer it is to get.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: usize,
    pub(super) method: &'static str,
    /// `None`: no such service.
    pub(super) service: Option<usize>,
    /// The target behind the service, as a backend must see it.
    pub(super) rest: String,
    pub(super) old: bool,
    pub(super) keyed: bool,
    pub(super) expect: bool,
    /// The client itself asks for the end of the connection.
    pub(super) close: bool,
    pub(super) body_len: usize,
    pub(super) chunked: bool,
    pub(super) trailer: bool,
    pub(super) status: u16,
    pub(super) answer_len: usize,
    /// Its answer says that it can be continued: a strong tag, a length, ranges.
    pub(super) resumable: bool,
    /// Head and body, as the client sends them.
    pub(super) wire: Vec<u8>,
    pub(super) head_len: usize,
    /// May be sent twice, and lies wholly in the window.
    pub(super) repeatable: bool,
}

/// One backend.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) service: usize,
    pub(super) endpoint: Endpoint,
    pub(super) nature: Nature,
    /// Taken out and put back while requests run.
    pub(super) commuter: bool,
}

/// The cast of one world.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) config: Config,
    pub(super) balance: Balance,
    pub(super) posts: Vec<Post>,
    pub(super) requests: Vec<Arc<Request>>,
    /// Which requests each client sends, in order.
    pub(super) clients: Vec<Vec<usize>>,
    /// Descriptors run out now and then.
    pub(super) poor: bool,
    /// Room for buffers or connections is so scarce that clients wait for their turn.
    pub(super) crowded: bool,
    /// Stop is commanded at the end; otherwise the engine is left to its timers.
    pub(super) stop: bool,
}

/// The name of service number `n`, as clients write it.
pub(super) fn service_name(n: usize) -> String {
    format!("service{n}/v{}", n + 1)
}

impl Plan {
    pub(super) fn new(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        let kind = Kind::roll(&mut dice);
        let services = if kind == Kind::Mixed { dice.pick(&[1, 1, 2]) } else { 1 };
        let clients = dice.between(1, 6);
        let crowded = kind == Kind::Mixed && clients > 2 && dice.chance(12);
        let config = settings(&mut dice, kind, crowded);
        let posts = posts(&mut dice, kind, &config, services);
        let mut requests = Vec::new();
        let clients: Vec<Vec<usize>> = (0..clients)
            .map(|_| {
                let old = dice.chance(12);
                let count = dice.between(1, 8);
                let first = requests.len();
                for id in first..first + count {
                    let request = request(&mut dice, id, old, services, kind, &config);
                    requests.push(Arc::new(request));
                }
                (first..first + count).collect()
            })
            .collect();
        let balance = dice.pick(&[
            Balance::Random,
            Balance::Random,
            Balance::P2c,
            Balance::RoundRobin,
            Balance::Least,
            Balance::Hash(HashBy::Client),
        ]);
        let (poor, stop) = (kind != Kind::Hang && dice.chance(15), dice.chance(50));
        Plan { kind, config, balance, posts, requests, clients, poor, crowded, stop }
    }

    /// No silent peer is cut off later than so many milliseconds after it fell silent: the sum
    /// of all times that may follow each other, and some for the turns between.
    pub(super) fn patience_ms(&self) -> u64 {
        let c = &self.config;
        let upstream = 4 * c.connect_ms + c.first_byte_ms + c.response_idle_ms;
        let client = c.head_ms + c.body_idle_ms + c.write_stall_ms + c.client_idle_ms;
        upstream + client + c.linger_ms + c.wait_ms + 2_000
    }
}

fn request(
    dice: &mut Dice,
    id: usize,
    old: bool,
    services: usize,
    kind: Kind,
    config: &Config,
) -> Request {
    let buffer = config.buffer_bytes;
    let method = dice.pick(&[
        "GET", "GET", "GET", "GET", "HEAD", "PUT", "PUT", "DELETE", "POST", "POST", "BREW",
    ]);
    let method = if kind == Kind::Resume && dice.chance(60) { "GET" } else { method };
    let with_body = matches!(method, "PUT" | "POST") || dice.chance(3);
    let mut length = || match dice.below(10) {
        0 | 1 => 0,
        2..=6 => dice.between(1, 300),
        7 | 8 => dice.between(1, buffer / 2),
        _ => dice.between(buffer / 2, buffer * 3),
    };
    let (upload, answer_len) = (length(), length());
    let body_len = if with_body { upload } else { 0 };
    let mut status = dice.pick(&[200, 200, 200, 200, 200, 201, 204, 304, 404, 500, 503]);
    if config.retry_status.contains(&status) {
        status = 500;
    }
    let large = matches!(method, "GET") && dice.chance(kind.large_answers());
    let resumable = large && dice.chance(80);
    let answer_len = if large { dice.between(buffer / 2, buffer * 6) } else { answer_len };
    status = if large { 200 } else { status };
    let query = dice.pick(&["", "?", "?q=1;x&y=%20", "?a=/../b"]);
    let rest = format!("/r/{id}{}{query}", dice.pick(&["", "/", "/a%2Fb//c;x=1", "/%7E*"]));
    let chunked = with_body && !old && dice.chance(40);
    let mut request = Request {
        id,
        method,
        service: (!dice.chance(3)).then(|| dice.below(services)),
        rest,
        old,
        keyed: method == "POST" && dice.chance(30),
        expect: body_len > 0 && !old && dice.chance(8),
        close: if old { dice.chance(50) } else { dice.chance(7) },
        body_len,
        chunked,
        trailer: chunked && dice.chance(25),
        status,
        answer_len: if matches!(status, 204 | 304) { 0 } else { answer_len },
        resumable,
        wire: Vec::new(),
        head_len: 0,
        repeatable: false,
    };
    write(&mut request, dice);
    let safe_twice = !matches!(method, "POST" | "BREW") || request.keyed;
    request.repeatable = safe_twice && request.wire.len() + GROWTH <= buffer;
    request
}

fn write(request: &mut Request, dice: &mut Dice) {
    let service = request.service.map_or("nobody/v9".into(), service_name);
    let absolute = if !request.old && dice.chance(5) { "http://sim.example:80" } else { "" };
    let version = if request.old { "1.0" } else { "1.1" };
    let mut head =
        format!("{} {absolute}/{service}{} HTTP/{version}\r\n", request.method, request.rest);
    if !request.old || dice.chance(50) {
        head += "Host: sim.example:80\r\n";
    }
    head += &format!("X-Sim-Id: {}\r\nX-Dup: one\r\nx-dUP:  two\r\n", request.id);
    let mut options = Vec::new();
    if request.close {
        options.push("close");
    } else if request.old {
        options.push("Keep-Alive");
    }
    if dice.chance(20) {
        options.push("X-Hop");
        head += "X-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\n";
    }
    if !options.is_empty() {
        head += &format!("Connection: {}\r\n", options.join(", "));
    }
    if request.keyed {
        head += &format!("Idempotency-Key: \"key{}\"\r\n", request.id);
    }
    if request.expect {
        head += "Expect: 100-continue\r\n";
    }
    if dice.chance(20) {
        head += &format!("X-Pad: {}\r\n", "p".repeat(dice.between(1, 700)));
    }
    let plain = matches!(request.method, "PUT" | "POST") || request.body_len > 0;
    if request.chunked {
        head += "Transfer-Encoding: chunked\r\n";
    } else if plain {
        head += &format!("Content-Length: {}\r\n", request.body_len);
    }
    head += "\r\n";
    let body = pattern(request.id, REQUEST, request.body_len);
    request.head_len = head.len();
    request.wire = head.into_bytes();
    if request.chunked {
        let trailer = format!("X-Trail: {}", request.id);
        request.wire.extend(chunked(&body, request.trailer.then_some(&trailer), dice));
    } else {
        request.wire.extend(body);
    }
}

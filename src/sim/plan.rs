//! What a seed decides before anything runs: the settings, the backends, the requests.
//!
//! Everything here is drawn before the first turn, so that a change of the engine changes the
//! course of a world but not its cast.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::backend::Nature;
use super::dice::{Dice, pattern};
use super::message::chunked;
use crate::balance::{Balance, HashBy};
use crate::config::{Config, ReuseUnsafe};
use crate::endpoint::Endpoint;

/// Salt of request bodies; see [`pattern`].
pub(super) const REQUEST: u64 = 1;
/// Salt of answer bodies.
pub(super) const ANSWER: u64 = 2;
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
        let services = dice.pick(&[1, 1, 2]);
        let clients = dice.between(1, 6);
        let crowded = clients > 2 && dice.chance(12);
        let config = settings(&mut dice, crowded);
        let posts = posts(&mut dice, services);
        let mut requests = Vec::new();
        let clients: Vec<Vec<usize>> = (0..clients)
            .map(|_| {
                let old = dice.chance(12);
                let count = dice.between(1, 8);
                let first = requests.len();
                for id in first..first + count {
                    let buffer = config.buffer_bytes;
                    requests.push(Arc::new(request(&mut dice, id, old, services, buffer)));
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
        let (poor, stop) = (dice.chance(15), dice.chance(50));
        Plan { config, balance, posts, requests, clients, poor, crowded, stop }
    }

    /// No silent peer is cut off later than so many milliseconds after it fell silent: the sum
    /// of all times that may follow each other, and some for the turns between.
    pub(super) fn patience_ms(&self) -> u64 {
        let c = &self.config;
        let upstream = 4 * c.connect_ms + c.first_byte_ms + c.response_idle_ms;
        let client = c.head_ms + c.body_idle_ms + c.write_stall_ms + c.client_idle_ms;
        upstream + client + c.linger_ms + 2_000
    }
}

fn settings(dice: &mut Dice, crowded: bool) -> Config {
    let buffer_bytes = dice.pick(&[4096, 4096, 4096, 8192, 16_384]);
    let mut config = Config {
        buffer_bytes,
        max_head_bytes: buffer_bytes / 2,
        max_target_bytes: buffer_bytes / 4,
        head_ms: dice.between(4_000, 10_000) as u64,
        body_idle_ms: dice.between(3_000, 6_000) as u64,
        connect_ms: dice.between(500, 1_000) as u64,
        first_byte_ms: dice.between(8_000, 12_000) as u64,
        response_idle_ms: dice.between(3_000, 6_000) as u64,
        client_idle_ms: dice.between(3_000, 6_000) as u64,
        write_stall_ms: dice.between(3_000, 6_000) as u64,
        // Long enough for the slowest reader: who is cut off by it was not wronged.
        linger_ms: dice.between(3_000, 5_000) as u64,
        upstream_idle_ms: dice.between(50, 4_000) as u64,
        idle_per_endpoint: dice.pick(&[1, 2, 32]),
        reuse_unsafe: dice.pick(&[ReuseUnsafe::Fresh, ReuseUnsafe::Fresh, ReuseUnsafe::Auto]),
        // These worlds are crueller than any budget: what it refuses would look like a loss.
        retry_percent: 1000,
        retry_per_second: 1000,
        ..Config::default()
    };
    if crowded && dice.chance(50) {
        config.memory_bytes = buffer_bytes * 5;
    } else if crowded {
        config.max_connections = 2;
    }
    config
}

/// One to four backends. Mostly each service has an anchor: one that is always well. A wild
/// world has none, and a healthy one nothing else.
fn posts(dice: &mut Dice, services: usize) -> Vec<Post> {
    let count = dice.between(services, 4);
    let mood = dice.below(100);
    let commuting = dice.chance(25);
    let mut posts: Vec<Post> = (0..count)
        .map(|n| {
            let anchor = n < services;
            let healthy = mood < 50 || (mood < 90 && anchor);
            let nature = if healthy { Nature::steady(dice) } else { Nature::wild(dice) };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000 + n as u16));
            let mut endpoint = Endpoint::tcp(address).with_weight(dice.pick(&[1, 1, 1, 3]));
            if dice.chance(15) {
                endpoint = endpoint.with_base("/base");
            }
            let commuter = commuting && (!anchor || mood >= 90) && dice.chance(70);
            Post { service: n % services, endpoint, nature, commuter }
        })
        .collect();
    dice.shuffle(&mut posts);
    posts
}

fn request(dice: &mut Dice, id: usize, old: bool, services: usize, buffer: usize) -> Request {
    let method = dice.pick(&[
        "GET", "GET", "GET", "GET", "HEAD", "PUT", "PUT", "DELETE", "POST", "POST", "BREW",
    ]);
    let with_body = matches!(method, "PUT" | "POST") || dice.chance(3);
    let mut length = || match dice.below(10) {
        0 | 1 => 0,
        2..=6 => dice.between(1, 300),
        7 | 8 => dice.between(1, buffer / 2),
        _ => dice.between(buffer / 2, buffer * 3),
    };
    let (upload, answer_len) = (length(), length());
    let body_len = if with_body { upload } else { 0 };
    let status = dice.pick(&[200, 200, 200, 200, 200, 201, 204, 304, 404, 500, 503]);
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

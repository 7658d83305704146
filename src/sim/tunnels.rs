//! Worlds of tunnels (`B7.8`): clients that upgrade, endpoints that give, refuse or lie, and then
//! bytes both ways between two sides that end, reset, stall or fall silent as they like.
//!
//! The oracles: what a side reads is what the other one wrote, in order; a FIN comes only where the
//! other side sent one, behind all of its bytes; who does no harm gets everything; nobody is stuck;
//! a silent tunnel holds no memory; the ledger holds, and nothing is left. The engine and the wires
//! are those of the other worlds. This file does not judge HTTP beyond the answer to an upgrade.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use super::dice::{Dice, pattern};
use super::net::{SimNet, Stream};
use super::wires::{Door, Wires};
use crate::balance::Balance;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::engine::{Engine, Setup};
use crate::net::Net;
use crate::registry::{MemoryRegistry, Registry as _};
use crate::route::PathRouter;
use crate::time::Ms;

const TURNS: u32 = 60_000;
/// Salts of the bytes that go up and down.
const SALTS: [u64; 2] = [11, 12];

/// What an endpoint says to an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Give,
    Refuse,
    /// A 101 that was not asked for.
    Lie,
}

/// How a side of a tunnel behaves when it has sent so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    /// FIN, and nothing is read any more.
    FinAndGone,
    Reset,
    /// Neither more bytes nor an end; it reads on.
    Silence,
    /// It reads no more, and sends no end.
    Stall,
}

/// What a side has read at the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    Fin,
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    answer: Answer,
    /// By direction: up, down.
    bytes: [usize; 2],
    ends: [End; 2],
    /// So many of its bytes the client sends before it has an answer.
    early: usize,
    /// The endpoint sends nothing before it has read the end of what the client sends.
    waits: bool,
}

/// One end of one connection.
#[derive(Debug, Default)]
struct Side {
    stream: Option<Stream>,
    out: Vec<u8>,
    at: usize,
    /// No further than this may be written now.
    until: usize,
    head: Vec<u8>,
    in_tunnel: bool,
    got: usize,
    fin_sent: bool,
    /// A write has failed: an end that is read is no clean one.
    broken: bool,
    saw: Option<Saw>,
    /// The client's status.
    status: u16,
    number: usize,
    /// 0 for a client, 1 for an endpoint.
    side: usize,
}

struct World {
    engine: Engine<SimNet>,
    net: SimNet,
    dice: Dice,
    pairs: Vec<Pair>,
    clients: Vec<Side>,
    far: Vec<Side>,
    now: Ms,
    thorough: bool,
    tally: BTreeMap<&'static str, u64>,
}

fn pair(dice: &mut Dice) -> Pair {
    let answer = dice.pick(&[
        Answer::Give,
        Answer::Give,
        Answer::Give,
        Answer::Give,
        Answer::Refuse,
        Answer::Lie,
    ]);
    let mut end = || match dice.below(10) {
        0..=4 => End::Fin,
        5 => End::FinAndGone,
        6 | 7 => End::Reset,
        8 => End::Silence,
        _ => End::Stall,
    };
    let ends = [end(), end()];
    let mut bytes = || dice.pick(&[0, 1, 500, 5_000, 40_000]);
    let bytes = [bytes(), bytes()];
    let early = if answer == Answer::Give { dice.between(0, bytes[0].min(2_000)) } else { 0 };
    let waits = ends[0] == End::Fin && dice.chance(40);
    Pair { answer, bytes, ends, early, waits }
}

fn config(dice: &mut Dice) -> Config {
    let mut config = Config {
        buffer_bytes: 4096,
        max_head_bytes: 2048,
        max_target_bytes: 1024,
        tunnel_idle_ms: 4_000,
        write_stall_ms: 3_000,
        client_idle_ms: 2_000,
        upstream_idle_ms: 500,
        slow_start: false,
        ..Config::default()
    };
    if dice.chance(30) {
        // So scarce that lanes wait for each other.
        config.memory_bytes = 4096 * 6;
    }
    config
}

impl Side {
    fn new(stream: Stream, number: usize, side: usize) -> Side {
        Side { stream: Some(stream), number, side, ..Side::default() }
    }

    fn client(stream: Stream, number: usize, pair: &Pair) -> Side {
        let mut client = Side::new(stream, number, 0);
        let head = format!(
            "GET /t/v1/{number} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: sim\r\n\r\n"
        );
        client.out = head.into_bytes();
        client.until = client.out.len() + pair.early;
        client.out.extend(pattern(number, SALTS[0], pair.bytes[0]));
        client
    }

    /// All of its bytes are out: it ends as it likes. Gives whether something happened.
    fn end(&mut self, pair: &Pair, net: &mut SimNet) -> bool {
        if !self.in_tunnel || self.at < self.out.len() {
            return false;
        }
        let Some(mut stream) = self.stream.take() else { return false };
        // Earlier, the RST of a close could wipe out the 101 itself.
        let delivered = net.wires().is_delivered(stream.end());
        match pair.ends[self.side] {
            End::Fin | End::FinAndGone if !self.fin_sent => {
                self.fin_sent = true;
                net.shutdown_write(&mut stream);
            }
            End::FinAndGone if delivered => return true,
            End::Reset if delivered => {
                net.abort(stream);
                return true;
            }
            _ => {
                self.stream = Some(stream);
                return false;
            }
        }
        self.stream = Some(stream);
        true
    }

    fn write(&mut self, net: &mut SimNet, dice: &mut Dice) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let until = self.until.min(self.at + dice.between(1, 3_000)).min(self.out.len());
        if self.at >= until {
            return false;
        }
        match net.write(stream, &self.out[self.at..until]) {
            Ok(n) => {
                self.at += n;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(_) => {
                // What it has not sent, it never will; what it was sent can still be read.
                self.at = self.out.len();
                self.broken = true;
                self.fin_sent = true;
                true
            }
        }
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed, 21);
        let net = SimNet::new(Wires::new(Dice::new(seed, 22), 1, false));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000));
        let endpoint = Endpoint::tcp(address);
        net.wires().add_port(endpoint.address().clone(), Door::Open);
        let mut registry = MemoryRegistry::default();
        registry.add("t/v1", endpoint);
        let setup = Setup {
            config: config(&mut dice),
            registry: Box::new(registry),
            router: Box::new(PathRouter::default()),
            balance: Box::new(|_| Balance::Random.build()),
            hooks: None,
            seed,
        };
        let pairs: Vec<Pair> = (0..dice.between(1, 5)).map(|_| pair(&mut dice)).collect();
        let clients = pairs
            .iter()
            .enumerate()
            .map(|(n, pair)| Side::client(net.dial(0, Ipv4Addr::LOCALHOST.into()), n, pair))
            .collect();
        World {
            engine: Engine::new(setup, 1),
            net,
            dice,
            pairs,
            clients,
            far: Vec::new(),
            now: Ms::ZERO,
            thorough: false,
            tally: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn turn(&mut self) -> bool {
        self.net.wires().now = self.now;
        let mut moved = self.net.wires().travel(self.thorough);
        while let Some(stream) = self.net.accept_at_port(0) {
            self.far.push(Side::new(stream, usize::MAX, 1));
            moved = true;
        }
        for n in 0..self.clients.len() {
            let mut side = std::mem::take(&mut self.clients[n]);
            moved |= (self.thorough || self.dice.chance(70)) && self.step(&mut side);
            self.clients[n] = side;
        }
        for n in 0..self.far.len() {
            let mut side = std::mem::take(&mut self.far[n]);
            moved |= (self.thorough || self.dice.chance(70)) && self.step(&mut side);
            self.far[n] = side;
        }
        moved |= self.proxy();
        if moved {
            self.thorough = false;
            self.now = self.now + u64::from(self.dice.chance(20));
            return true;
        }
        if !self.thorough {
            self.thorough = true;
            return true;
        }
        self.thorough = false;
        if self.clients.iter().all(|client| client.stream.is_some() && client.in_tunnel) {
            // Nothing moves in any tunnel, and nobody is stopped by a reader that stalls.
            let stalled = self.pairs.iter().any(|pair| pair.ends.contains(&End::Stall));
            if !stalled && self.engine.census().lent_bytes > 0 {
                panic!("a silent tunnel holds memory: {:?}", self.engine.census());
            }
            self.count("silent worlds");
        }
        match self.engine.next_deadline() {
            Some(at) => self.now = at.max(self.now),
            None => return false,
        }
        true
    }

    fn proxy(&mut self) -> bool {
        let events = self.net.wires().take_events(self.thorough);
        let due = self.engine.next_deadline().is_some_and(|at| at <= self.now);
        if events.is_empty() && !due && !self.engine.has_work() {
            return false;
        }
        self.engine.tick(self.now);
        for (source, ready) in events {
            self.engine.note(source, ready);
        }
        self.engine.run(&mut self.net, self.now);
        assert!(self.engine.stats().balances());
        true
    }

    fn step(&mut self, side: &mut Side) -> bool {
        if side.stream.is_none() {
            return false;
        }
        let wrote = side.write(&mut self.net, &mut self.dice);
        let known = self.pairs.get(side.number).copied();
        let ended = known.is_some_and(|pair| side.end(&pair, &mut self.net));
        // Who reads no more, or has read all, still learns that the connection is closed.
        let all_out = side.in_tunnel && side.at == side.out.len();
        let stalls = known.is_some_and(|pair| pair.ends[side.side] == End::Stall) && all_out;
        if stalls || side.saw.is_some() {
            let left = side.stream.as_ref().is_some_and(|s| self.net.wires().is_left(s.end()));
            let over = left && all_out || side.saw.is_some() && side.fin_sent;
            if over {
                side.stream = None;
            }
            return wrote || ended || over;
        }
        self.read(side) || wrote || ended
    }

    fn read(&mut self, side: &mut Side) -> bool {
        let Some(stream) = &mut side.stream else { return false };
        let mut bytes = [0; 3_000];
        let most = self.dice.between(1, bytes.len());
        match self.net.read(stream, &mut bytes[..most]) {
            Ok(0) => self.at_the_end(side, Saw::Fin),
            Ok(n) if side.in_tunnel => self.take(side, &bytes[..n]),
            Ok(n) => self.take_head(side, &bytes[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.at_the_end(side, Saw::Reset),
        }
        true
    }

    /// The peer's bytes, to the letter and in order.
    fn take(&self, side: &mut Side, bytes: &[u8]) {
        let peer = 1 - side.side;
        let all = pattern(side.number, SALTS[peer], self.pairs[side.number].bytes[peer]);
        let expected = all.get(side.got..side.got + bytes.len());
        assert_eq!(expected, Some(bytes), "wrong bytes in tunnel {} {}", side.number, side.side);
        side.got += bytes.len();
    }

    fn take_head(&mut self, side: &mut Side, bytes: &[u8]) {
        side.head.extend_from_slice(bytes);
        let Some(end) = side.head.windows(4).position(|w| w == b"\r\n\r\n") else { return };
        let rest = side.head.split_off(end + 4);
        let head = String::from_utf8(std::mem::take(&mut side.head)).expect("text");
        let word = head.split(' ').nth(1).expect("a start line");
        if side.side == 0 {
            side.status = word.parse().expect("a status");
            side.in_tunnel = side.status == 101;
            if side.in_tunnel {
                assert!(head.contains("Connection: Upgrade\r\nUpgrade: sim\r\n"), "{head}");
                side.until = side.out.len();
                self.take(side, &rest);
            } else {
                // It has its answer, and leaves.
                side.stream = None;
            }
            return;
        }
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: sim\r\n"), "{head}");
        side.number = word[1..].parse().expect("a number");
        let pair = self.pairs[side.number];
        let (answer, name) = match pair.answer {
            Answer::Give => ("101 Yes\r\nConnection: upgrade\r\nUpgrade: sim\r\n\r\n", "given"),
            Answer::Refuse => ("200 No\r\nContent-Length: 0\r\n\r\n", "refused"),
            Answer::Lie => ("101 Yes\r\nConnection: upgrade\r\nUpgrade: sum\r\n\r\n", "lies"),
        };
        self.count(name);
        side.out = format!("HTTP/1.1 {answer}").into_bytes();
        side.at = 0;
        if pair.answer == Answer::Give {
            side.in_tunnel = true;
            side.out.extend(pattern(side.number, SALTS[1], pair.bytes[1]));
            self.take(side, &rest);
        } else {
            assert!(rest.is_empty(), "something behind a request");
            side.number = if pair.answer == Answer::Refuse { usize::MAX } else { side.number };
        }
        side.until = side.out.len();
        if pair.waits && side.in_tunnel {
            side.until -= pair.bytes[1];
        }
    }

    /// The other side's end has come, by FIN or RST: whether it may be believed.
    fn at_the_end(&mut self, side: &mut Side, saw: Saw) {
        let (pair, peer) = (self.pairs.get(side.number).copied(), 1 - side.side);
        if let Some(pair) = pair.filter(|_| side.in_tunnel && saw == Saw::Fin && !side.broken) {
            let ends = matches!(pair.ends[peer], End::Fin | End::FinAndGone);
            assert!(ends, "a FIN that nobody sent, in {} {}: {pair:?}", side.number, side.side);
            let all = pair.bytes[peer];
            assert_eq!(side.got, all, "half looks whole, in {} {}", side.number, side.side);
        }
        side.until = side.out.len();
        self.count(if saw == Saw::Fin { "ends seen" } else { "resets seen" });
        side.saw = Some(saw);
        // Who has read the end of a tunnel and has not sent its own goes on.
        if saw == Saw::Reset || !side.in_tunnel || side.fin_sent {
            side.stream = None;
        }
    }

    fn settle(&self) {
        let (census, stats) = (self.engine.census(), self.engine.stats());
        assert_eq!((census.clients, census.upstreams, census.lent_bytes), (0, 0, 0), "{census:?}");
        assert_eq!(stats.in_progress, 0, "{stats:?}");
        let given = self.pairs.iter().filter(|pair| pair.answer == Answer::Give).count();
        assert_eq!(stats.tunnels, given as u64, "{:?}", self.pairs);
        for client in &self.clients {
            let pair = self.pairs[client.number];
            let status = match pair.answer {
                Answer::Give => 101,
                Answer::Refuse => 200,
                Answer::Lie => 502,
            };
            // A reset on its heels wipes out what the kernel has not sent.
            let wiped = client.status == 0 && status == 101 && pair.ends[1] == End::Reset;
            assert!(client.status == status || wiped, "{pair:?}: {}", client.status);
            let far = self.far.iter().find(|far| far.number == client.number && far.in_tunnel);
            let Some(far) = far.filter(|_| pair.ends == [End::Fin, End::Fin]) else { continue };
            let got = [far.got, client.got];
            assert_eq!(got, pair.bytes, "both behaved, and something is missing");
        }
    }
}

fn play(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed);
    let mut turns = 0;
    while world.turn() {
        turns += 1;
        assert!(turns < TURNS, "somebody is stuck, or nobody rests: {:?}", world.engine.census());
    }
    world.settle();
    world.tally
}

#[test]
fn b7_8_worlds_of_tunnels() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let one = number("TUNNEL_SEED");
    let (from, count) = (one.unwrap_or(0), if one.is_some() { 1 } else { 250 });
    let count = number("TUNNEL_COUNT").unwrap_or(count);
    let mut tally: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in from..from + count {
        println!("TUNNEL_SEED={seed}");
        for (what, n) in play(seed) {
            *tally.entry(what).or_default() += n;
        }
    }
    println!("{tally:#?}");
    if one.is_none() {
        for what in ["given", "refused", "lies", "ends seen", "resets seen", "silent worlds"] {
            assert!(tally.contains_key(what), "no world had: {what}");
        }
    }
}

//! A whole proxy over wires in memory, with peers on both sides that say whatever the input says,
//! cut anywhere, and close, reset, stop reading and let time pass as they like.
//!
//! ```text
//!   byte 0       seed of the wires: how things travel, how large the queues are
//!   byte 1, 2    settings, a bit each
//!   then         one step after the other: low half of a byte what, high half who; operands
//! ```
//!
//! Doors 0 and 1 are the endpoints of the service `s/v`, door 2 is the catch-all. What the proxy
//! read and wrote is judged in `judge.rs` when all is over; here the census, the ledger and that
//! there is an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::judge::{self, Case};
use super::peers::{Backend, Client, MARKS};
use crate::balance::Balance;
use crate::config::{Config, Forwarded, ReuseUnsafe};
use crate::endpoint::Endpoint;
use crate::engine::{Command, Setup, Stats};
use crate::hooks::Hooks;
use crate::registry::{MemoryRegistry, Registry as _};
use crate::route::PathRouter;
use crate::sim::stage::{Entry, Stage};
use crate::summary::Summary;

const MAX_STEPS: usize = 250;
const MAX_CLIENTS: usize = 12;
/// More turns than it takes to become quiet, and more moments than all requests of a case can wait
/// for: each at most 5 s, with a look around every 50 ms.
const TURNS: usize = 5_000;
const MOMENTS: usize = 30_000;
const SERVICE: &str = "s/v";

/// Counts summaries.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicU64>);

impl Hooks for Counter {
    fn finished(&mut self, _: &Summary<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn endpoints() -> Vec<Endpoint> {
    let port = |port: u16| Endpoint::tcp(([127, 0, 0, 1], port).into());
    vec![port(1), port(2), port(3)]
}

/// Small, so that inputs reach the limits.
fn settings(bits: u16) -> Config {
    let bit = |n: u32| bits >> n & 1 == 1;
    Config {
        max_connections: if bit(0) { 3 } else { 100 },
        memory_bytes: if bit(1) { 48 << 10 } else { 1 << 20 },
        buffer_bytes: 4096,
        max_head_bytes: judge::BOUNDS.head_bytes,
        max_fields: judge::BOUNDS.fields,
        max_target_bytes: judge::BOUNDS.target_bytes,
        retry_status: if bit(2) { vec![503] } else { Vec::new() },
        resume: bit(3),
        slow_start: bit(4),
        via: bit(5),
        reuse_unsafe: if bit(6) { ReuseUnsafe::Auto } else { ReuseUnsafe::Fresh },
        max_inflight: u32::from(bit(7)),
        forwarded: Forwarded::Replace,
        ..Config::default()
    }
}

/// Operands, taken from the input; zero when it is at its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// So many bytes, or as many as there are.
    fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(n);
        self.0 = rest;
        bytes
    }
}

struct Play {
    stage: Stage,
    clients: Vec<Client>,
    backends: Vec<Backend>,
    /// A bit for each door: its backend answers at once.
    obliging: u16,
    /// Raw writes of backends so far.
    marks: u8,
    ended: bool,
}

impl Play {
    /// Everybody does what is possible.
    fn people(&mut self) -> bool {
        let mut moved = false;
        for door in 0..endpoints().len() {
            while let Some(peer) = self.stage.accept(door) {
                self.backends.push(Backend::new(peer, door));
                moved = true;
            }
        }
        for client in &mut self.clients {
            moved |= client.step(&mut self.stage);
        }
        for backend in &mut self.backends {
            let obliging = self.obliging >> backend.door & 1 == 1;
            moved |= backend.step(&mut self.stage, obliging);
        }
        moved
    }

    fn turn(&mut self, all: bool) -> bool {
        // Whatever happens to one must not keep the other from happening.
        let (people, proxy) = (self.people(), self.stage.turn(all));
        let stats = self.stage.stats();
        assert!(stats.balances(), "the ledger: {stats:?}");
        people || proxy
    }

    /// Until nothing happens of itself.
    fn settle(&mut self) {
        for _ in 0..TURNS {
            if !self.turn(true) {
                return;
            }
        }
        panic!("no end of turns");
    }

    /// So many milliseconds, with everything that is due meanwhile.
    fn pass(&mut self, mut ms: u64) {
        for _ in 0..MOMENTS {
            self.settle();
            let next = self.stage.next_ms().map_or(ms, |next| next.min(ms));
            self.stage.pass(next);
            ms -= next;
            if ms == 0 {
                return;
            }
        }
        panic!("no end of moments");
    }

    fn client(&mut self, who: u8) -> Option<&mut Client> {
        let n = usize::from(who).checked_rem(self.clients.len())?;
        self.clients.get_mut(n)
    }

    /// One of the open connections, the youngest first.
    fn backend(&mut self, who: u8) -> Option<&mut Backend> {
        let open: Vec<usize> =
            (0..self.backends.len()).rev().filter(|&n| self.backends[n].is_open()).collect();
        let n = usize::from(who).checked_rem(open.len())?;
        self.backends.get_mut(open[n])
    }

    fn dial(&mut self) {
        if self.clients.len() < MAX_CLIENTS {
            let client = Client::dial(&mut self.stage, self.clients.len());
            self.clients.push(client);
        }
    }

    fn leave(&mut self, who: u8, of_client: bool, by_reset: bool) {
        let Play { stage, clients, .. } = self;
        if of_client {
            if let Some(n) = usize::from(who).checked_rem(clients.len()) {
                clients[n].leave(stage, by_reset);
            }
            return;
        }
        let open: Vec<&mut Backend> =
            self.backends.iter_mut().rev().filter(|backend| backend.is_open()).collect();
        let n = usize::from(who).checked_rem(open.len());
        if let Some(backend) = n.and_then(|n| open.into_iter().nth(n)) {
            backend.leave(stage, by_reset);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.byte();
        let who = step >> 4;
        match step & 15 {
            0 => self.dial(),
            1 => {
                let bytes = input.bytes();
                self.client(who).into_iter().for_each(|client| client.say(bytes));
            }
            2 => {
                let which = input.byte();
                self.client(who).into_iter().for_each(|client| client.ask(which));
            }
            3 => self.client(who).into_iter().for_each(Client::finish),
            4 => self.leave(who, true, input.byte() % 2 == 0),
            5 => self.client(who).into_iter().for_each(Client::turn_ear),
            6 => {
                let (bytes, mark) = (input.bytes(), MARKS | self.marks);
                self.marks = (self.marks + 1) % (u8::MAX - MARKS + 1);
                self.backend(who).into_iter().for_each(|backend| backend.say(bytes, mark));
            }
            7 => {
                let which = input.byte();
                self.backend(who).into_iter().for_each(|backend| backend.answer(which));
            }
            8 => self.backend(who).into_iter().for_each(Backend::finish),
            9 => self.leave(who, false, input.byte() % 2 == 0),
            10 => self.backend(who).into_iter().for_each(Backend::turn_ear),
            11 => {
                let entries = [Entry::Open, Entry::Refuses, Entry::RefusesLater, Entry::Hangs];
                let entry = entries[usize::from(input.byte() % 4)];
                self.stage.set_entry(usize::from(who) % endpoints().len(), entry);
            }
            12 => {
                for _ in 0..=who {
                    self.turn(false);
                }
            }
            13 => self.settle(),
            14 => {
                let times = [1, 20, 60, 250, 700, 1_000, 3_000, 5_000, 10_000, 30_000, 60_000];
                self.pass(times[usize::from(who) % times.len()]);
            }
            _ => self.command(who, input.byte()),
        }
        self.turn(false);
    }

    fn command(&mut self, who: u8, what: u8) {
        let endpoint = endpoints()[usize::from(who) % 2].clone();
        let service = SERVICE.to_owned();
        match what % 16 {
            0..=3 => self.stage.command(Command::Delete { service, endpoint }),
            4..=9 => self.stage.command(Command::Add { service, endpoint }),
            10 => {
                self.ended = true;
                self.stage.command(Command::Drain { deadline_ms: 2_000, handed: Vec::new() });
            }
            11 => {
                self.ended = true;
                self.stage.command(Command::Stop);
            }
            bits => self.obliging ^= u16::from(bits % 8),
        }
    }

    /// Nobody says anything new; time passes until nobody waits for anything.
    fn end(&mut self) {
        for _ in 0..MOMENTS {
            self.settle();
            match self.stage.next_ms() {
                Some(ms) => self.stage.pass(ms),
                None => return,
            }
        }
        panic!("no end of moments");
    }
}

/// Judges one input.
pub fn run(data: &[u8]) {
    judged(data);
}

/// As [`run`]; gives what the proxy counted.
pub(super) fn judged(data: &[u8]) -> Stats {
    let Some((&[seed, low, high], steps)) = data.split_first_chunk::<3>() else {
        return Stats::default();
    };
    let bits = u16::from_le_bytes([low, high]);
    let (config, summaries) = (settings(bits), Counter::default());
    let mut registry = MemoryRegistry::default();
    for (n, endpoint) in endpoints().into_iter().enumerate() {
        registry.add(if n < 2 { SERVICE } else { "*" }, endpoint);
    }
    let balance = if bits >> 8 & 1 == 1 { Balance::RoundRobin } else { Balance::Random };
    let setup = Setup {
        config: config.clone(),
        registry: Box::new(registry),
        router: Box::new(PathRouter::default()),
        balance: Box::new(move |_| balance.build()),
        hooks: Some(Box::new(summaries.clone())),
        seed: u64::from(seed),
    };
    let mut play = Play {
        stage: Stage::new(setup, &endpoints(), u64::from(seed)),
        clients: Vec::new(),
        backends: Vec::new(),
        obliging: bits >> 9 & 7,
        marks: 0,
        ended: false,
    };
    play.dial();
    let mut input = Input(steps);
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        play.step(&mut input);
    }
    play.end();
    let census = play.stage.census();
    let left = census.clients + census.upstreams + census.idle + census.waiting;
    assert_eq!((left, census.lent_bytes), (0, 0), "something is left: {census:?}");
    let stats = play.stage.stats();
    let told = summaries.0.load(Ordering::Relaxed);
    assert_eq!((stats.in_progress, stats.accepted), (0, told), "a summary each: {stats:?}");
    judge::judge(&Case {
        deeds: play.stage.deeds(),
        clients: &play.clients,
        backends: &play.backends,
        endpoints: &endpoints(),
        config: &config,
        stopped: play.ended,
    });
    play.stage.stats().clone()
}

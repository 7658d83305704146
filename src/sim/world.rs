//! One world: an engine, its network, its clients and backends, and the turns of the clock.
//!
//! A turn does what the shell does, `note` and then `run`, after a random part of everything that
//! could have happened has happened. When nothing happens of itself, everything that can happen
//! is made to happen; when that is nothing as well, time jumps to the next moment that anybody
//! waits for; when nobody waits for anything, the world is at its end, or stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::backend::Backend;
use super::cast::Kind;
use super::client::Client;
use super::dice::Dice;
use super::judge::Watch;
use super::net::SimNet;
use super::oracle::Book;
use super::plan::{Plan, service_name};
use super::wires::Wires;
use crate::endpoint::{Endpoint, Failure};
use crate::engine::{Command, Engine, Setup};
use crate::registry::{MemoryRegistry, Registry, Snapshot};
use crate::route::PathRouter;
use crate::time::Ms;

/// More turns than any world needs.
const TURNS: u64 = 200_000;
/// So many turns in a row may the engine claim to have work and do nothing.
const VAIN_TURNS: u32 = 100;

/// What came of a world.
#[derive(Debug)]
pub(super) struct Report {
    /// Of every line of the trace.
    pub(super) hash: u64,
    pub(super) turns: u64,
    pub(super) tally: BTreeMap<&'static str, u64>,
    pub(super) failure: Option<String>,
}

/// Plays the world of `seed` to its end; `loud` prints the trace on standard error.
pub(super) fn play(seed: u64, loud: bool) -> Report {
    let mut world = World::new(seed, loud);
    while world.book.failure.is_none() && world.turn() {}
    if world.book.failure.is_none() {
        let (census, stats) = (world.engine.census(), world.engine.stats());
        world.book.settle(&census, stats);
        if world.engine.held_pipes() > 0 {
            world.book.fail("8 something is left", format!("{} pipes", world.engine.held_pipes()));
        }
    }
    let (hash, spliced) = {
        let wires = world.net.wires();
        (wires.hash, wires.spliced)
    };
    let mut book = world.book;
    if spliced > 0 {
        *book.tally.entry("moves through pipes").or_default() += spliced;
    }
    book.tally.append(&mut world.told.lock().unwrap_or_else(PoisonError::into_inner));
    Report { hash, turns: book.turn, tally: book.tally, failure: book.failure }
}

/// The registry of a world: it counts what it is told of endpoints, by the words for it.
struct Told(MemoryRegistry, Arc<Mutex<BTreeMap<&'static str, u64>>>, super::judge::Told);

impl Registry for Told {
    fn lookup(&mut self, service: &str) -> Option<&Arc<Snapshot>> {
        self.0.lookup(service)
    }

    fn add(&mut self, service: &str, endpoint: Endpoint) -> bool {
        self.0.add(service, endpoint)
    }

    fn delete(&mut self, service: &str, endpoint: &Endpoint) -> bool {
        self.0.delete(service, endpoint)
    }

    fn success(&mut self, _: &str, endpoint: &Endpoint, _: Ms) {
        let mut told = self.2.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((endpoint.clone(), None));
    }

    fn failure(&mut self, _: &str, endpoint: &Endpoint, why: Failure, _: Ms) {
        let mut all = self.2.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((endpoint.clone(), Some(why)));
        let mut told = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        *told.entry(why.word()).or_default() += 1;
    }
}

struct World {
    engine: Engine<SimNet>,
    net: SimNet,
    clients: Vec<Client>,
    backends: Vec<Backend>,
    book: Book,
    watch: Watch,
    told: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    dice: Dice,
    now: Ms,
    /// The last turn was quiet: make everything happen.
    thorough: bool,
    vain: u32,
    /// The next time that an endpoint is deleted or added.
    commuting: Ms,
    /// When the proxy is told to drain, if it is: it must lose nothing.
    draining: Option<Ms>,
    /// Something was commanded in this turn.
    commanded: bool,
}

impl World {
    fn new(seed: u64, loud: bool) -> World {
        let net = SimNet::new(Wires::new(Dice::new(seed, 2), 1, loud));
        let mut book = Book::new(Plan::new(seed), net.clone());
        let mut registry = MemoryRegistry::default();
        for post in &book.plan.posts {
            registry.add(&service_name(post.service), post.endpoint.clone());
        }
        let (told, health) = (Arc::default(), Arc::default());
        let watch = Watch::new(Arc::clone(&health), &book);
        let balance = book.plan.balance.clone();
        let setup = Setup {
            config: book.plan.config.clone(),
            registry: Box::new(Told(registry, Arc::clone(&told), health)),
            router: Box::new(PathRouter::default()),
            balance: Box::new(move |_| balance.build()),
            hooks: Some(Box::new(book.recorder.clone())),
            seed,
        };
        let backends = (0..book.plan.posts.len())
            .map(|n| Backend::new(n, Dice::new(seed, 100 + n as u64), &net, &mut book))
            .collect();
        let clients = book.plan.clients.iter().enumerate();
        let clients = clients
            .map(|(n, todo)| Client::new(n, todo, Dice::new(seed, 200 + n as u64)))
            .collect();
        let mut dice = Dice::new(seed, 3);
        let mut fate = Dice::new(seed, 4);
        let commuting = Ms(dice.between(1, 40) as u64);
        let mut engine = Engine::new(setup, 1);
        let mut narrow = Dice::new(seed, 5);
        if narrow.chance(30) {
            engine.narrow(narrow.between(1, 6) as u32, narrow.between(1, 6));
        }
        World {
            engine,
            net,
            clients,
            backends,
            book,
            watch,
            told,
            dice,
            now: Ms::ZERO,
            thorough: false,
            vain: 0,
            commuting,
            draining: fate.chance(20).then(|| Ms(fate.between(1, 600) as u64)),
            commanded: false,
        }
    }

    /// One turn; false at the end of the world.
    fn turn(&mut self) -> bool {
        self.book.turn += 1;
        if self.book.turn > TURNS {
            self.stuck("too many turns");
            return false;
        }
        {
            let mut wires = self.net.wires();
            (wires.turn, wires.now) = (self.book.turn, self.now);
            self.book.now = self.now;
        }
        let mut moved = self.net.wires().travel(self.thorough);
        moved |= self.people();
        moved |= self.fate();
        moved |= self.proxy();
        if moved {
            self.thorough = false;
            self.now = self.now + u64::from(self.dice.chance(25));
            return true;
        }
        if !self.thorough {
            self.thorough = true;
            return true;
        }
        self.thorough = false;
        self.jump()
    }

    /// Clients and backends, in random order, each if the dice say so.
    fn people(&mut self) -> bool {
        let (clients, all) = (self.clients.len(), self.clients.len() + self.backends.len());
        let mut order: Vec<usize> = (0..all).collect();
        self.dice.shuffle(&mut order);
        let mut moved = false;
        for n in order {
            if !self.thorough && self.dice.chance(25) {
                continue;
            }
            moved |= if n < clients {
                self.clients[n].step(self.now, &mut self.net, &mut self.book)
            } else {
                self.backends[n - clients].step(self.now, &mut self.net, &mut self.book)
            };
        }
        moved
    }

    /// What strikes from outside: descriptors run out, endpoints come and go.
    fn fate(&mut self) -> bool {
        if self.book.plan.poor && self.dice.chance(1) {
            self.net.wires().no_descriptors_until = self.now + self.dice.between(1, 300) as u64;
        }
        if self.draining.is_some_and(|at| at <= self.now) {
            self.draining = None;
            self.book.draining = true;
            self.book.count("drains");
            self.net.wires().note("drain", 0, 0);
            self.command(Command::Drain { deadline_ms: 1 << 30, handed: Vec::new() });
            return true;
        }
        if self.all_clients_done() {
            return self.closing_time();
        }
        if self.now < self.commuting || !self.book.plan.posts.iter().any(|post| post.commuter) {
            return false;
        }
        if self.book.plan.kind == Kind::Emptied {
            return self.all_move();
        }
        self.commuting = self.now + self.dice.between(1, 60) as u64;
        let n = self.dice.below(self.book.plan.posts.len());
        self.book.plan.posts[n].commuter && self.moves(n)
    }

    /// All endpoints leave the registry together, or return.
    fn all_move(&mut self) -> bool {
        let longest = 2 * self.book.plan.config.wait_ms as usize;
        self.commuting = self.now + self.dice.between(20, longest) as u64;
        self.book.count("registry emptied or refilled");
        for n in 0..self.book.plan.posts.len() {
            self.moves(n);
        }
        true
    }

    /// An endpoint leaves the registry, or returns.
    fn moves(&mut self, n: usize) -> bool {
        let post = &self.book.plan.posts[n];
        let (service, endpoint) = (service_name(post.service), post.endpoint.clone());
        let absent = !self.book.health[n].absent;
        self.book.health[n].absent = absent;
        self.book.bad(n);
        self.net.wires().note(if absent { "delete endpoint" } else { "add endpoint" }, n, 0);
        let command = if absent {
            Command::Delete { service, endpoint }
        } else {
            Command::Add { service, endpoint }
        };
        self.command(command);
        true
    }

    fn command(&mut self, command: Command) {
        self.engine.command(command, self.now);
        self.commanded = true;
    }

    /// All clients have gone: half of the worlds command Stop, the others wait for the timers.
    fn closing_time(&mut self) -> bool {
        if self.book.stopped || !self.book.plan.stop {
            return false;
        }
        self.book.stopped = true;
        self.net.wires().note("stop", 0, 0);
        self.command(Command::Stop);
        true
    }

    /// The proxy's part of a turn, as the shell does it. Gives whether anything came of it.
    fn proxy(&mut self) -> bool {
        let events = self.net.wires().take_events(self.thorough);
        let due = self.engine.next_deadline().is_some_and(|at| at <= self.now);
        let called = std::mem::take(&mut self.commanded);
        let claims = self.engine.has_work();
        if events.is_empty() && !due && !claims && !called {
            return false;
        }
        let told = !events.is_empty();
        self.engine.tick(self.now);
        for (source, ready) in events {
            self.engine.note(source, ready);
        }
        let before = {
            let mut wires = self.net.wires();
            wires.proxy_acts = true;
            wires.deeds
        };
        self.engine.run(&mut self.net, self.now);
        let did = {
            let mut wires = self.net.wires();
            wires.proxy_acts = false;
            wires.deeds > before
        };
        self.watch_the_engine(told || due || called || did);
        told || due || did || self.engine.has_work()
    }

    /// Oracle 11: no spin; oracle 4: the ledger.
    fn watch_the_engine(&mut self, reason: bool) {
        let now = self.now;
        if let Some(at) = self.engine.next_deadline() {
            if at <= now && !self.engine.has_work() {
                self.book.fail("11 a deadline in the past", format!("{at:?} at {now:?}"));
            }
        }
        self.vain = if reason { 0 } else { self.vain + 1 };
        if self.vain > VAIN_TURNS {
            self.book.fail("11 the engine spins", format!("{VAIN_TURNS} turns of no work"));
        }
        self.watch.look(&self.engine, &mut self.book);
        self.book.check_ledger(self.engine.stats());
        self.book.check_census(&self.engine.census(), self.engine.in_flight());
    }

    fn all_clients_done(&self) -> bool {
        self.clients.iter().all(Client::is_done)
    }

    /// Nothing can happen now: to the next moment that anybody waits for.
    fn jump(&mut self) -> bool {
        let (now, done) = (self.now, self.all_clients_done());
        let clients = self.clients.iter().filter_map(|client| client.wake(now));
        let mut moments: Vec<Ms> = clients.chain(self.engine.next_deadline()).collect();
        if !done {
            // The ups and downs of backends go on for ever; alone they keep no world alive.
            moments.extend(self.backends.iter().filter_map(|backend| backend.wake(now)));
            let moves = self.book.plan.kind == Kind::Emptied && self.commuting > now;
            moments.extend(moves.then_some(self.commuting));
        }
        moments.extend(self.draining.filter(|_| !done));
        match moments.into_iter().min() {
            Some(at) => self.now = at.max(now),
            None if done => return false,
            None => self.stuck("nobody waits for anything"),
        }
        true
    }

    /// Oracle 9.
    fn stuck(&mut self, why: &str) {
        let waiting = self.clients.iter().filter(|client| !client.is_done());
        let who: Vec<String> = waiting.map(Client::describe).collect();
        self.book.fail("9 somebody is stuck", format!("{why}: {}", who.join("; ")));
    }
}

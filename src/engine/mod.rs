//! The engine: clients, upstreams, buffers and deadlines, over any [`Net`].
//!
//! It is driven in two phases. [`Engine::note`] merges every event of a batch into readiness bits
//! and decides nothing, except that an idle upstream which shows an end is gone before anybody can
//! choose it. [`Engine::run`] then serves the clients that were touched. So the order of events
//! within a batch cannot matter.
//!
//! ```text
//!   note()  events -> bits, run queue          run()  deadlines -> accept -> pump each client
//!
//!   pump    Idle -> Head -> Relay -> Flush -> Idle ...        (pump.rs)
//!             |       |       |        '-> Linger -> closed   (finish.rs)
//!             |       |       |- bytes up and down            (relay.rs, bytes.rs, splice.rs)
//!             |       |       '- a 101: bytes, and no HTTP     (tunnel.rs)
//!             |       '- route, choose, plan                  (desk.rs)
//!             '- accept                                       (accept.rs)
//!   attempt.rs: connect, take from the pool, lose, try again, park; hedge.rs: two connects at
//!   once; line.rs: few of them in a turn; room.rs: waiting for an endpoint; unwatched.rs: new
//!   clients that need no events
//! ```
//!
//! What a connection wants next is worked out from its stage and its buffers each time, never
//! armed. What other threads change while it runs is in change.rs, its end in drain.rs.
//! The engine knows no sockets, no clock and no threads.

mod accept;
mod attempt;
mod bytes;
mod change;
mod check;
mod client;
mod deadline;
mod desk;
mod drain;
mod finish;
mod hedge;
mod line;
mod passes;
mod peers;
mod pump;
mod relay;
mod room;
mod services;
mod splice;
mod starved;
mod stats;
mod timers;
mod tunnel;
mod unwatched;

pub use stats::{Census, Stats};

use crate::buf::BufPool;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::h1::head::Slots;
use crate::h1::rewrite::Plan;
use crate::hooks::Hooks;
use crate::keys::{GenSlab, Key, Source};
use crate::net::{Net, Ready};
use crate::registry::Registry;
use crate::rng::Rng;
use crate::route::Router;
use crate::time::Ms;

use accept::{Listener, Turnover};
use check::{CHECKS, Checks};
use client::{Client, UpState, Upstream, Work};
use desk::{Balancing, Desk};
use drain::Life;
use line::Line;
use passes::Passes;
use peers::Peers;
use room::Rooms;
use services::Services;
use splice::{PIPES, Pipes};
use starved::Starved;
use timers::Timers;
use unwatched::Unwatched;

/// Everything an engine is made from.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) registry: Box<dyn Registry>,
    pub(crate) router: Box<dyn Router>,
    pub(crate) balance: Balancing,
    pub(crate) hooks: Option<Box<dyn Hooks>>,
    pub(crate) seed: u64,
}

/// What another thread asks for.
pub(crate) enum Command {
    /// An endpoint joins a service.
    Add {
        /// `name/version`, or `*`.
        service: String,
        /// Whom to add.
        endpoint: Endpoint,
    },
    /// An endpoint leaves a service: no new request, idle connections closed, the rest ends well.
    Delete {
        /// `name/version`, or `*`.
        service: String,
        /// Whom to remove.
        endpoint: Endpoint,
    },
    /// New limits and times, for all that begins from now on.
    Configure(Box<Config>),
    /// Another way to choose endpoints, for every service.
    Balance(Balancing),
    /// Nobody is taken in any more; what has begun may take this long.
    Drain {
        /// Then what is left is cut.
        deadline_ms: u64,
        /// Listeners that another process goes on with.
        handed: Vec<u32>,
    },
    /// Everything ends now.
    Stop,
}

/// The proxy without its sockets and its clock.
pub(crate) struct Engine<N: Net> {
    desk: Desk,
    clients: GenSlab<Client<N::Stream>>,
    upstreams: GenSlab<Upstream<N::Stream>>,
    listeners: Vec<Listener>,
    /// The fewest clients that another worker has who waits at them, if there is one.
    fewest: Option<usize>,
    passes: Passes,
    turnover: Turnover,
    bufs: BufPool,
    pipes: Pipes<N::Pipe>,
    timers: Timers,
    /// Clients that something has happened to.
    queue: Vec<Key>,
    /// Those who are served in this turn: the queue's memory, while it is empty.
    turn: Vec<Key>,
    /// How many bytes each of them may move in this turn.
    share_bytes: usize,
    line: Line,
    starved: Starved,
    unwatched: Unwatched,
    /// Room for the lines of a head, while one is looked at.
    slots: Slots,
    /// Requests that no endpoint can take now.
    rooms: Rooms,
    checks: Checks,
    /// Works that nobody uses, the one returned last on top.
    #[allow(clippy::vec_box, reason = "lent to a client by its box, without a copy")]
    spare: Vec<Box<Work>>,
    spare_most: usize,
    stats: Stats,
    now: Ms,
    life: Life,
}

impl<N: Net> Engine<N> {
    /// An engine with listeners numbered from 0 to `listeners - 1`.
    pub(crate) fn new(setup: Setup, listeners: u32) -> Engine<N> {
        let config = &setup.config;
        Engine {
            clients: GenSlab::default(),
            upstreams: GenSlab::default(),
            listeners: (0..listeners).map(|_| Listener::default()).collect(),
            fewest: None,
            passes: Passes::default(),
            turnover: Turnover::default(),
            bufs: BufPool::new(config.buffer_bytes, config.memory_bytes),
            pipes: Pipes::new(config.max_connections),
            timers: Timers::default(),
            queue: Vec::new(),
            turn: Vec::new(),
            share_bytes: 0,
            line: Line::default(),
            starved: Starved::default(),
            unwatched: Unwatched::default(),
            slots: Slots::default(),
            rooms: Rooms::new(),
            checks: Checks::default(),
            spare: Vec::new(),
            spare_most: finish::spare_works(config.memory_bytes),
            stats: Stats::default(),
            now: Ms::ZERO,
            life: Life::Serving,
            desk: Desk {
                services: Services::default(),
                peers: Peers::new(config.idle_per_endpoint, config.idle_total, config.slow_start),
                registry: setup.registry,
                router: setup.router,
                balancing: setup.balance,
                hooks: setup.hooks,
                rng: Rng::from_seed(setup.seed),
                closed: Vec::new(),
                plan: Plan::default(),
                good_host: Default::default(),
                spare: Vec::new(),
                draining: false,
                now: Ms::ZERO,
                config: setup.config,
            },
        }
    }

    /// It is `now`: told before the notes of a turn.
    pub(crate) fn tick(&mut self, now: Ms) {
        self.now = self.now.max(now);
        self.desk.now = self.now;
    }

    /// Phase 1: something was seen of `source`. Late events of what is gone find nothing.
    pub(crate) fn note(&mut self, source: Source, seen: Ready) {
        match source {
            Source::Listener(number) => {
                if let Some(listener) = self.listeners.get_mut(number as usize) {
                    listener.ready = true;
                }
            }
            Source::Waker | Source::Alarm | Source::Service(_) => {}
            Source::Client(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.ready = client.ready.with(seen);
                    self.enqueue(key);
                }
            }
            Source::Upstream(key) => self.note_upstream(key, seen),
        }
    }

    fn note_upstream(&mut self, key: Key, seen: Ready) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.ready = upstream.ready.with(seen);
        match upstream.state.owner() {
            Some(owner) => self.enqueue(owner),
            None if upstream.state == UpState::Checking => self.check_touched(key),
            // B6.3: an end, a reset or a byte that nobody asked for.
            None if seen.without(Ready::WRITE) != Ready::NONE => {
                let peer = upstream.peer;
                let age_ms = self.desk.peers.remove(peer, key, self.now);
                if let (Some(age_ms), Some(peer)) = (age_ms, self.desk.peers.get_mut(peer)) {
                    peer.health.idle_closed(age_ms, self.now);
                }
                self.upstreams.remove(key);
            }
            None => {}
        }
    }

    fn enqueue(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            if !client.queued {
                client.queued = true;
                self.queue.push(key);
            }
        }
    }

    /// What another thread asked for.
    pub(crate) fn command(&mut self, command: Command, now: Ms) {
        self.tick(now);
        match command {
            Command::Add { service, endpoint } => {
                log::info!("{service}: added {endpoint}");
                self.desk.registry.add(&service, endpoint);
                self.desk.refresh(&service);
            }
            Command::Delete { service, endpoint } => {
                log::info!("{service}: removed {endpoint}");
                self.desk.registry.delete(&service, &endpoint);
                self.desk.refresh(&service);
            }
            Command::Configure(config) => self.configure(*config),
            Command::Balance(balancing) => self.desk.rebalance(balancing),
            Command::Drain { deadline_ms, handed } => self.order_drain(deadline_ms, handed),
            Command::Stop => self.order_drain(0, Vec::new()),
        }
        self.reopen_rooms();
        self.close_disowned();
    }

    /// Closes idle connections to endpoints that nobody names any more (`B3.4`).
    fn close_disowned(&mut self) {
        while let Some(key) = self.desk.closed.pop() {
            self.upstreams.remove(key);
        }
    }

    /// Phase 2: a bounded amount of work at the moment `now`.
    pub(crate) fn run(&mut self, net: &mut N, now: Ms) {
        self.tick(now);
        if self.out_of_time() {
            self.end_drain(net);
        }
        self.share_bytes = self.share();
        self.passes.begin(self.queue.len());
        self.line.begin(self.queue.len());
        self.expire(net);
        self.serve_line(net);
        match self.life {
            Life::Serving if self.may_accept() => self.accept_all(net),
            Life::Serving => {}
            Life::Draining(_) => self.drain_listeners(net),
            Life::Ended => return,
        }
        self.serve_queue(net);
        self.serve_checks(net);
        self.serve_rooms(net);
        self.feed_starved();
        self.serve_unwatched(net);
        self.write_all(net);
        self.close_disowned();
        self.mind_pipes();
        self.sweep_timers();
        self.tidy_line();
        if self.desk.draining {
            self.end_drain(net);
        }
        debug_assert!(self.stats.balances());
    }

    fn expire(&mut self, net: &mut N) {
        while let Some((source, at)) = self.timers.pop(self.now) {
            match source {
                Source::Client(key) => {
                    let Some(client) = self.clients.get_mut(key) else { continue };
                    if self.timers.comes_up(&mut client.due, source, at, self.now) {
                        self.client_due(net, key);
                    }
                }
                Source::Upstream(key) => {
                    let Some(upstream) = self.upstreams.get_mut(key) else { continue };
                    let due = self.timers.comes_up(&mut upstream.due, source, at, self.now);
                    if due && upstream.state == UpState::Checking {
                        self.end_check(key, false);
                    } else if due && upstream.state == UpState::Idle {
                        let peer = upstream.peer;
                        let age_ms = self.desk.peers.remove(peer, key, self.now);
                        if let Some(peer) = self.desk.peers.get_mut(peer) {
                            peer.health.outlived(age_ms.unwrap_or(0));
                        }
                        self.upstreams.remove(key);
                    }
                }
                Source::Service(CHECKS) => self.checks_due(at),
                Source::Service(PIPES) => self.pipes_due(at),
                Source::Service(service) => self.room_due(service, at),
                Source::Listener(number) => self.resume_listener(number, at),
                // The engine's own.
                Source::Waker => self.drain_due(at),
                Source::Alarm => {}
            }
        }
    }

    fn sweep_timers(&mut self) {
        let (clients, upstreams) = (&self.clients, &self.upstreams);
        self.timers.sweep(|source, at| match source {
            Source::Client(key) => clients.get(key).is_some_and(|c| c.due.is_armed(at)),
            Source::Upstream(key) => upstreams.get(key).is_some_and(|u| u.due.is_armed(at)),
            Source::Listener(_) | Source::Service(_) | Source::Waker | Source::Alarm => true,
        });
    }

    /// Whether there is work that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        let ended = matches!(self.life, Life::Ended);
        let called = !self.queue.is_empty() || !self.line.is_empty();
        !ended && (called || self.out_of_time() || self.may_accept())
    }

    /// When to run again at the latest, even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Ms> {
        self.timers.next().into_iter().chain(self.unwatched.due()).min()
    }

    /// Whether [`Command::Drain`] or [`Command::Stop`] has been carried out.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.life, Life::Ended)
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many connections the endpoints believe to be in use, for the simulator.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.desk.peers.in_flight()
    }

    /// How many clients there are.
    pub(crate) fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// How many pipes are held by exchanges, for the simulator.
    #[cfg(test)]
    pub(crate) fn held_pipes(&self) -> usize {
        self.pipes.held()
    }

    /// What is alive.
    pub(crate) fn census(&self) -> Census {
        Census {
            clients: self.clients.len(),
            upstreams: self.upstreams.len(),
            idle: self.desk.peers.idle(),
            waiting: self.waiting(),
            lent_bytes: self.bufs.lent_bytes(),
            timers: self.timers.len(),
        }
    }
}

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod glance;

//! A proxy between its two peers, in one thread: the clients ask, the proxy turns, the origin
//! answers, the proxy turns. Every run makes the same moves, so that counts repeat.
//!
//! What is counted are the turns of the proxy, and those alone. callgrind finds them by the name
//! of [`counted_turn`], strace by a call on both sides of it that nothing else here makes. This
//! file does not know who counts.

#![allow(clippy::disallowed_methods, reason = "outside the library there is a clock")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::os::unix::process::parent_id;
use std::thread;
use std::time::{Duration, Instant};

use pointsman::{
    Balance, Balancer, Choice, Config, Endpoint, MemoryRegistry, Proxy, Registry as _, Rng,
};

use crate::peers::Peers;
use crate::scenarios::{Scenario, service_name};

/// How long a turn waits for what is still on its way through the kernel.
const TURN: Duration = Duration::from_millis(20);
/// How long a round may take, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A used connection must have been idle for a second before a POST may ride one (B4.3).
const EARN_TRUST: Duration = Duration::from_millis(1_200);

/// Chooses one endpoint as long as that takes requests.
struct Only(usize);

impl Balancer for Only {
    fn pick(&mut self, choice: &Choice<'_>, _: &mut Rng) -> Option<usize> {
        (0..choice.len()).cycle().skip(self.0).take(choice.len()).find(|at| choice.open(*at))
    }
}

/// A proxy, warm, with the peers of a scenario.
pub struct World {
    scenario: Scenario,
    proxy: Proxy,
    peers: Peers,
}

impl World {
    /// Builds it and serves until nothing is new any more.
    pub fn warm(scenario: Scenario) -> World {
        let (mut peers, origins) = Peers::new(scenario);
        let mut registry = MemoryRegistry::default();
        for service in 0..scenario.services {
            for at in &origins {
                registry.add(&service_name(service), Endpoint::tcp(*at));
            }
        }
        let config = Config {
            // No connection is closed for want of room, or because this machine is slow.
            idle_per_endpoint: 512,
            idle_total: 4_096,
            upstream_idle_ms: 600_000,
            client_idle_ms: 600_000,
            ..Config::default()
        };
        let listen = "127.0.0.1:0".parse().expect("an address");
        let builder = Proxy::builder().listen(listen).registry(registry).config(config).seed(1);
        let proxy = builder.build().expect("a proxy");
        let at: SocketAddr = proxy.addresses()[0].to_string().parse().expect("an address");
        peers.meet(at);
        let mut world = World { scenario, proxy, peers };
        world.get_warm();
        world
    }

    /// Every endpoint serves all clients at once for a while: more connections than it has then it
    /// will never need.
    fn get_warm(&mut self) {
        let posts = self.scenario.body_bytes > 0;
        let rounds = if self.scenario.clients == 1 { 1 } else { self.scenario.warm_rounds };
        for endpoint in 0..self.scenario.endpoints {
            self.proxy.handle().balancer(move |_| Box::new(Only(endpoint)));
            (0..rounds).for_each(|_| self.round(true, plain_turn));
        }
        if posts {
            thread::sleep(EARN_TRUST);
            self.round(true, plain_turn);
        }
        self.proxy.handle().balance(Balance::Random);
        for _ in 0..self.scenario.warm_rounds {
            self.round(!posts, plain_turn);
        }
    }

    /// The rounds that are counted.
    pub fn serve(&mut self) {
        let before = self.proxy.stats().connects;
        for _ in 0..self.scenario.rounds {
            self.round(false, marked_turn);
        }
        let opened = self.proxy.stats().connects - before;
        assert!(opened == 0, "it was not warm: {opened} connections were opened");
    }

    /// Every client asks once and is answered.
    fn round(&mut self, warming: bool, turn: fn(&mut Proxy)) {
        let begun = Instant::now();
        self.peers.ask(warming);
        while !self.peers.all_are_answered() {
            turn(&mut self.proxy);
            self.peers.settle();
            assert!(begun.elapsed() < PATIENCE, "a round hangs");
        }
    }
}

fn plain_turn(proxy: &mut Proxy) {
    assert!(proxy.turn(Some(TURN)).expect("a turn"), "it has not been stopped");
}

fn marked_turn(proxy: &mut Proxy) {
    let _mark = parent_id();
    let goes_on = counted_turn(proxy);
    let _mark = parent_id();
    assert!(goes_on, "it has not been stopped");
}

/// One turn. Never part of another function: its name is where callgrind begins and ends to count.
#[inline(never)]
pub fn counted_turn(proxy: &mut Proxy) -> bool {
    let goes_on = proxy.turn(Some(TURN)).expect("a turn");
    // Something to do after the turn, so that this function is left only when the turn is over.
    black_box(goes_on)
}

//! A warm keep-alive GET allocates nothing, alone or among hundreds: the whole of the library,
//! counted at the allocator.
//!
//! One thread drives clients, proxy and origin in turn, so that every allocation counted is the
//! proxy's. A test program of its own, because the allocator is the program's.

#![allow(clippy::disallowed_methods, reason = "a test has a clock of its own")]

use std::alloc::System;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use pointsman::{Config, Endpoint, MemoryRegistry, Proxy, Registry};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /s/v1/warm?x=1 HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\
    User-Agent: test\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\nConnection: keep-alive\r\n\r\nHello, world!";
/// Where a request ends, and where an answer.
const END: &[u8] = b"\r\n\r\n";
const ANSWERED: &[u8] = b"\r\n\r\nHello, world!";
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, and what has come over it since it was last empty.
struct Peer {
    stream: TcpStream,
    space: [u8; 1_024],
    filled: usize,
}

impl Peer {
    fn new(stream: TcpStream) -> Peer {
        stream.set_nonblocking(true).expect("non-blocking");
        stream.set_nodelay(true).expect("no delay");
        Peer { stream, space: [0; 1_024], filled: 0 }
    }

    /// Reads; gives whether everything up to `end` is there.
    fn has_all(&mut self, end: &[u8]) -> bool {
        match self.stream.read(&mut self.space[self.filled..]) {
            Ok(0) => panic!("the proxy closed a connection"),
            Ok(n) => self.filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
        self.space[..self.filled].ends_with(end)
    }
}

/// Both sides of the proxy, without allocations of their own once every origin connection stands.
struct Peers {
    clients: Vec<Peer>,
    listener: TcpListener,
    origins: Vec<Peer>,
}

impl Peers {
    /// One GET of every client. With `at_once` all of them wait before the first is answered.
    fn exchange(&mut self, proxy: &mut Proxy, at_once: bool) {
        for client in &mut self.clients {
            client.filled = 0;
            client.stream.write_all(REQUEST).expect("a small write");
        }
        let begun = Instant::now();
        loop {
            assert!(proxy.turn(Some(Duration::from_millis(1))).expect("a turn"));
            assert!(begun.elapsed() < PATIENCE, "an exchange hangs");
            self.answer(at_once);
            if self.clients.iter_mut().all(|client| client.has_all(ANSWERED)) {
                return;
            }
        }
    }

    /// Answers what has come, or nothing until everybody's has.
    fn answer(&mut self, at_once: bool) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.origins.push(Peer::new(stream));
        }
        let asked = self.origins.iter_mut().map(|origin| usize::from(origin.has_all(END)));
        if asked.sum::<usize>() < self.clients.len() && at_once {
            return;
        }
        for origin in &mut self.origins {
            if origin.space[..origin.filled].ends_with(END) {
                origin.filled = 0;
                origin.stream.write_all(ANSWER).expect("a small write");
            }
        }
    }
}

/// So many clients: 1,000 requests after at least as many, and not one (re)allocation.
fn judge(clients: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("non-blocking");
    let mut registry = MemoryRegistry::default();
    registry.add("s/v1", Endpoint::tcp(listener.local_addr().expect("bound")));
    let listen = "127.0.0.1:0".parse().expect("listen");
    let config = Config { idle_per_endpoint: clients, ..Config::default() };
    let builder = Proxy::builder().listen(listen).registry(registry).config(config);
    let mut proxy = builder.build().expect("build");
    let addr: SocketAddr = proxy.addresses()[0].to_string().parse().expect("an address");
    let connect = |_| Peer::new(TcpStream::connect(addr).expect("connect"));
    let clients: Vec<Peer> = (0..clients).map(connect).collect();
    let mut peers = Peers { clients, listener, origins: Vec::with_capacity(1_024) };

    let rounds = 1_000 / peers.clients.len();
    let region = Region::new(ALLOCATOR);
    // An endpoint that nobody knows yet is not asked by hundreds at once.
    for round in 0..rounds.max(10) {
        peers.exchange(&mut proxy, round > 5);
    }
    assert!(region.change().allocations > 0, "the first request connects, which allocates");
    let region = Region::new(ALLOCATOR);
    for _ in 0..rounds {
        peers.exchange(&mut proxy, true);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}

/// One after the other, because the allocator counts for all.
#[test]
fn a_warm_get_allocates_nothing() {
    for clients in [1, 200] {
        judge(clients);
    }
}

//! A warm keep-alive GET allocates nothing: the whole of the library, counted at the allocator.
//!
//! One thread drives client, proxy and origin in turn, so that every allocation counted is the
//! proxy's. A test program of its own, because the allocator is the program's.

#![allow(clippy::disallowed_methods, reason = "a test has a clock of its own")]

use std::alloc::System;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use pointsman::{Endpoint, MemoryRegistry, Proxy, Registry};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /s/v1/warm?x=1 HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\
    User-Agent: test\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\nConnection: keep-alive\r\n\r\nHello, world!";
const PATIENCE: Duration = Duration::from_secs(30);

/// The two peers of the proxy, on non-blocking sockets and without allocations of their own.
struct Peers {
    client: TcpStream,
    listener: TcpListener,
    origin: Option<TcpStream>,
    space: [u8; 4_096],
}

impl Peers {
    /// One GET through the proxy: the client writes, the origin answers, the client reads.
    fn exchange(&mut self, proxy: &mut Proxy) {
        self.client.write_all(REQUEST).expect("a small write");
        let (mut asked, mut answered) = (0, 0);
        let mut answer_sent = false;
        let begun = Instant::now();
        loop {
            assert!(proxy.turn(Some(Duration::from_millis(1))).expect("a turn"));
            assert!(begun.elapsed() < PATIENCE, "an exchange hangs");
            if !answer_sent {
                asked = self.read_request(asked);
                if self.space[..asked].ends_with(b"\r\n\r\n") {
                    self.origin.as_mut().expect("asked").write_all(ANSWER).expect("a small write");
                    answer_sent = true;
                }
                continue;
            }
            answered += read(&mut self.client, &mut self.space[answered..]);
            if self.space[..answered].ends_with(b"\r\n\r\nHello, world!") {
                return;
            }
        }
    }

    fn read_request(&mut self, asked: usize) -> usize {
        if self.origin.is_none() {
            if let Ok((origin, _)) = self.listener.accept() {
                origin.set_nonblocking(true).expect("non-blocking");
                origin.set_nodelay(true).expect("no delay");
                self.origin = Some(origin);
            }
        }
        let Some(origin) = self.origin.as_mut() else { return 0 };
        asked + read(origin, &mut self.space[asked..])
    }
}

/// What has come; panics if the connection ended.
fn read(stream: &mut TcpStream, space: &mut [u8]) -> usize {
    match stream.read(space) {
        Ok(0) => panic!("the proxy closed a connection"),
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(e) => panic!("{e}"),
    }
}

/// 1,000 requests after 200 to warm up: not one allocation, not one reallocation.
#[test]
fn a_warm_get_allocates_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("non-blocking");
    let mut registry = MemoryRegistry::default();
    registry.add("s/v1", Endpoint::tcp(listener.local_addr().expect("bound")));
    let listen = "127.0.0.1:0".parse().expect("listen");
    let mut proxy = Proxy::builder().listen(listen).registry(registry).build().expect("build");
    let addr: SocketAddr = proxy.addresses()[0].to_string().parse().expect("an address");
    let client = TcpStream::connect(addr).expect("connect");
    client.set_nonblocking(true).expect("non-blocking");
    client.set_nodelay(true).expect("no delay");
    let mut peers = Peers { client, listener, origin: None, space: [0; 4_096] };

    let region = Region::new(ALLOCATOR);
    for _ in 0..200 {
        peers.exchange(&mut proxy);
    }
    assert!(region.change().allocations > 0, "the first request connects, which allocates");
    let region = Region::new(ALLOCATOR);
    for _ in 0..1_000 {
        peers.exchange(&mut proxy);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
}

//! The article's claim under fire: backends are killed and restarted, and no request is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::harness::{Backend, Pointsman, eventually, stable_port};
use crate::wire::{Message, Wire, checksum};

/// What one client saw.
#[derive(Debug, Default)]
struct Tally {
    gets: u64,
    posts: u64,
    /// POSTs whose connection stood and broke in flight: nobody can save them who delivers once.
    broken_posts: u64,
}

/// Two backends as processes, load on keep-alive connections, one of them killed with SIGKILL
/// and restarted every second for ten seconds: no GET is lost, no POST by a refused connect
/// (B4.1, B4.4). Then the endpoint gets its share again (B3.2, B5.2), and 200 requests over one
/// client connection reach both (B3.1).
#[test]
fn b4_backends_are_killed_and_restarted_and_nothing_is_lost() {
    let mut one = Backend::start(stable_port());
    let other = Backend::start(stable_port());
    let proxy = Pointsman::service(&[one.addr, other.addr], &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8).map(|n| drive(n, proxy.addr, &stop)).collect();

    let begun = Instant::now();
    for second in 1..=10 {
        std::thread::sleep(Duration::from_millis(500));
        one.kill();
        std::thread::sleep(Duration::from_millis(300));
        one = Backend::start(one.addr.port());
        let next = Duration::from_secs(second);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    stop.store(true, Ordering::SeqCst);
    let tallies: Vec<Tally> = clients.into_iter().map(|c| c.join().expect("a client")).collect();

    let gets: u64 = tallies.iter().map(|t| t.gets).sum();
    let posts: u64 = tallies.iter().map(|t| t.posts).sum();
    let broken: u64 = tallies.iter().map(|t| t.broken_posts).sum();
    println!("{gets} GETs, {posts} POSTs, {broken} POSTs broken in flight");
    assert!(tallies.iter().all(|t| t.gets > 10 && t.posts > 10), "{tallies:?}");
    // At most one request per client was in flight at each of the ten kills.
    assert!(broken <= 80, "{broken}");

    let mut client = proxy.client();
    eventually("the endpoint is used again", || {
        answered_by(&client.get("/s/v1/x")) == one.addr.port()
    });
    let ports: Vec<u16> = (0..200).map(|_| answered_by(&client.get("/s/v1/x"))).collect();
    let share = ports.iter().filter(|p| **p == one.addr.port()).count();
    // 100 is expected; 50 is seven standard deviations off.
    assert!((50..=150).contains(&share), "{share} of 200");
    assert!(ports.iter().all(|p| *p == one.addr.port() || *p == other.addr.port()));
}

/// A client that sends GET and POST in turn over one connection until it is told to stop.
fn drive(number: usize, addr: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<Tally> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let (mut tally, mut client) = (Tally::default(), Wire::connect(addr));
        for n in 0_u64.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let target = format!("/get/{number}/{n}");
            let answer = client.get(&format!("/s/v1{target}"));
            check_echo(&answer, "GET", &target, b"");
            tally.gets += 1;
            if answer.says("Connection", "close") {
                client = Wire::connect(addr);
            }

            let (target, body) = (format!("/post/{number}/{n}"), format!("body {number} {n}"));
            let answer = client.post(&format!("/s/v1{target}"), body.as_bytes());
            if answer.status() == 502 && broke_in_flight(&answer) {
                tally.broken_posts += 1;
            } else {
                check_echo(&answer, "POST", &target, body.as_bytes());
                tally.posts += 1;
            }
            if answer.says("Connection", "close") {
                client = Wire::connect(addr);
            }
        }
        tally
    })
}

/// Whether a 502 says that a connection stood and broke (RFC 9209, section 2.3).
fn broke_in_flight(answer: &Message) -> bool {
    let said = answer.field("Proxy-Status").unwrap_or_default();
    ["connection_terminated", "http_response_incomplete"].iter().any(|e| said.contains(e))
}

fn check_echo(answer: &Message, method: &str, target: &str, body: &[u8]) {
    let expected = format!("{method} {target} {} {:016x}\n", body.len(), checksum(body));
    assert_eq!(answer.status(), 200, "lost: {expected}{}{}", answer.head_text(), answer.text());
    assert!(answer.text().ends_with(&expected), "{expected} but {}", answer.text());
}

/// The port of the origin that gave this answer.
pub(crate) fn answered_by(answer: &Message) -> u16 {
    assert_eq!(answer.status(), 200, "{}{}", answer.head_text(), answer.text());
    answer.text().split(' ').next().and_then(|p| p.parse().ok()).expect("a port")
}

//! B8: streaming, backpressure, limits and times. No speed is asserted: machines are noisy.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, mpsc::Receiver};
use std::time::Duration;

use crate::harness::{Origin, Pointsman, eventually, notice, open_files};
use crate::wire::{Broken, End, PATIENCE, Pattern, Wire};

const MIB: usize = 1 << 20;
const LONG: usize = 200 * MIB;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// B8.1: single bytes, each seen on the other side before the next one is sent, both ways.
#[test]
fn b8_1_drips_of_one_byte() {
    let (up, came_up) = channel();
    let (down, goes_down) = channel::<u8>();
    let (up, goes_down) = (Mutex::new(up), Mutex::new(goes_down));
    let origin = Origin::scripted(move |wire| {
        let _ = wire.head();
        for _ in 0..50 {
            let _ = up.lock().unwrap().send(wire.take(1).expect("a byte"));
        }
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n");
        for byte in goes_down.lock().unwrap().iter() {
            wire.send([byte]);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\n");
    for byte in 0..50 {
        client.send([byte]);
        assert_eq!(came_up.recv_timeout(PATIENCE).expect("the byte arrives"), [byte]);
    }
    assert_eq!(client.head().expect("the head").status(), 200);
    for byte in 0..50 {
        down.send(byte).unwrap();
        assert_eq!(client.take(1).expect("the byte arrives"), [byte]);
    }
}

/// The most memory the process has used since `before`, less than this, whatever a body's size.
fn check_growth(proxy: &Pointsman, before: u64) {
    let growth = proxy.memory_bytes("VmHWM").saturating_sub(before);
    println!("grown by {growth} bytes while {LONG} passed");
    assert!(growth < 2 * MIB as u64, "{growth}");
}

/// B8.2: 200 MB down arrive whole, and memory does not depend on it.
#[test]
fn b8_2_a_long_answer_at_constant_memory() {
    let origin = Origin::scripted(|wire| {
        if wire.request().is_err() {
            return;
        }
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
        send_pattern(wire);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let before = proxy.memory_bytes("VmHWM");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().expect("the head").status(), 200);
    // A reader that is slow at first: what the origin sends meanwhile must not pile up.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(read_pattern(&mut client), LONG);
    check_growth(&proxy, before);
}

/// B8.2: the same upwards.
#[test]
fn b8_2_a_long_upload_at_constant_memory() {
    let origin = Origin::scripted(|wire| {
        if wire.head().is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
        let length = read_pattern(wire).to_string();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len()));
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let before = proxy.memory_bytes("VmHWM");
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {LONG}\r\n\r\n"));
    send_pattern(&mut client);
    assert_eq!(client.answer("POST").text(), LONG.to_string());
    check_growth(&proxy, before);
}

fn send_pattern(wire: &mut Wire) {
    let (mut pattern, mut left) = (Pattern::new(), LONG);
    while left > 0 {
        let n = left.min(60_000);
        wire.send(pattern.next(n));
        left -= n;
    }
}

/// Reads `LONG` bytes and compares each with what was sent; how many were right.
fn read_pattern(wire: &mut Wire) -> usize {
    let (mut pattern, mut right) = (Pattern::new(), 0);
    while right < LONG {
        let bytes = wire.some();
        if bytes.is_empty() || !pattern.matches(&bytes) {
            break;
        }
        right += bytes.len();
    }
    right
}

/// B8.2, B8.3: 2,000 idle keep-alive clients, each served before and after.
#[test]
fn b8_2_two_thousand_idle_clients() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let count = 2_000.min(open_files() / 4);
    if count < 2_000 {
        notice(&format!("tried with {count} idle clients: too few files may be open"));
    }
    let mut clients: Vec<Wire> = (0..count).map(|_| proxy.client()).collect();
    for round in 0..2 {
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.get("/").status(), 200, "client {n}, round {round}");
        }
    }
    let begun = proxy.ticks();
    std::thread::sleep(Duration::from_secs(1));
    let spent = proxy.ticks() - begun;
    assert!(spent <= 10, "{spent} ticks of 10 ms in a second of idleness");
}

/// B8.4: a head that does not become whole is answered with 408, whether its sender is silent
/// or sends a byte now and then.
#[test]
fn b8_4_a_slow_head_is_408() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &["--head-timeout", "500ms"]);
    let mut silent = proxy.client();
    silent.send("GET / HTTP/1.1\r\nHost: t\r\n");
    let mut slow = proxy.client();
    slow.send("GET / HTTP/1.1\r\nHost: t\r\nX: ");
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        let sent = slow.try_send("x").is_ok();
        if !sent || slow.ends_within(Duration::from_millis(100)) != End::Silent {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "a byte now and then buys no time");
    for mut client in [silent, slow] {
        let answer = client.answer("GET");
        assert_eq!(answer.status(), 408);
        assert!(answer.says("Connection", "close"));
        assert_eq!(client.end(), End::Fin);
    }
    assert_eq!(origin.requests().len(), 0);
}

/// B8.4: a body that stops coming is answered with 408.
#[test]
fn b8_4_a_slow_body_is_408() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &["--body-idle", "500ms"]);
    for framing in
        ["Content-Length: 9\r\n\r\nhell", "Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n"]
    {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\n{framing}"));
        assert_eq!(client.answer("POST").status(), 408);
        assert_eq!(client.end(), End::Fin);
    }
    assert_eq!(origin.requests().len(), 0);
}

/// B8.4: an idle client is closed without a word, before its first request and after one.
#[test]
fn b8_4_idle_clients_are_closed() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &["--client-idle", "500ms"]);
    let (mut used, mut unused) = (proxy.client(), proxy.client());
    assert_eq!(used.get("/").status(), 200);
    assert_eq!((used.end(), unused.end()), (End::Fin, End::Fin));
}

/// B8.4: an answer that stops inside its body is cut.
#[test]
fn b8_4_a_stalled_answer_is_cut() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell");
        let _ = wire.rest();
    });
    let proxy = Pointsman::before(origin.addr, &["--response-idle", "500ms"]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let broken = client.try_answer("GET").expect_err("a cut");
    assert!(matches!(
        broken,
        Broken::Inside(End::Fin | End::Reset, _) | Broken::Before(End::Reset)
    ));
}

/// B8.4: a client that does not read is cut, and its endpoint is released.
#[test]
fn b8_4_a_client_that_does_not_read_is_cut() {
    let (done, ended) = channel();
    let done = Mutex::new(done);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        let _ = wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n"));
        let (mut pattern, mut sent) = (Pattern::new(), 0);
        while sent < LONG && wire.try_send(pattern.next(60_000)).is_ok() {
            sent += 60_000;
        }
        let _ = done.lock().unwrap().send(sent);
    });
    let proxy = Pointsman::before(origin.addr, &["--write-stall", "500ms"]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    let sent = ended.recv_timeout(PATIENCE).expect("the endpoint is released");
    assert!(sent < LONG, "{sent}");
    drop(client);
}

/// B4.1: an endpoint that takes no connection (its host drops SYNs) costs no request (row s5).
#[test]
fn b4_1_s5_a_black_hole() {
    let hole = BlackHole::new();
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[hole.addr, origin.addr], &["--connect", "200ms"]);
    let mut client = proxy.client();
    for n in 0..6 {
        assert_eq!(client.get("/s/v1/x").status(), 200, "GET {n}");
        assert_eq!(client.post("/s/v1/x", b"hello").status(), 200, "POST {n}");
    }
    let alone = Pointsman::service(&[hole.addr], &["--connect", "200ms", "--wait-requests", "0"]);
    assert_eq!(alone.client().get("/s/v1/x").status(), 504, "B2.3: timeouts are 504");
}

/// A listener whose queue is full: further SYNs are dropped.
pub(crate) struct BlackHole {
    pub(crate) addr: SocketAddr,
    _held: Vec<socket2::Socket>,
}

impl BlackHole {
    pub(crate) fn new() -> BlackHole {
        let socket =
            || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..8 {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&at);
            held.push(filler);
        }
        BlackHole { addr: at.as_socket().expect("IPv4"), _held: held }
    }
}

/// B8.3: at `max-connections` the listener waits; nobody is reset, and the next is served when
/// one leaves.
#[test]
fn b8_3_max_connections() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &["--max-connections", "4"]);
    let mut held: Vec<Wire> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status(), 200);
    }
    let mut waiting = proxy.client();
    waiting.send("GET /waited HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(waiting.ends_within(Duration::from_millis(500)), End::Silent);
    for client in &mut held {
        assert_eq!(client.get("/").status(), 200, "those inside are served");
    }
    held.pop();
    assert!(waiting.answer("GET").text().contains("GET /waited "));
}

/// B8.3: with 64 descriptors and more clients than they allow: no spin, no death, and it goes on
/// when clients leave.
#[test]
fn b8_3_out_of_descriptors() {
    let origin = Origin::polite();
    let proxy = Pointsman::limited(64, &[&format!("*={}", origin.addr)]);
    let mut clients: Vec<Wire> = (0..100).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    }
    assert_eq!(clients[0].answer("GET").status(), 200);
    std::thread::sleep(Duration::from_millis(500));
    let begun = proxy.ticks();
    std::thread::sleep(Duration::from_secs(1));
    let spent = proxy.ticks() - begun;
    assert!(spent <= 20, "{spent} ticks of 10 ms in a second of waiting");
    // As the first leave, the last are served, in their turn.
    for (n, mut client) in clients.into_iter().enumerate().skip(1) {
        assert_eq!(client.answer("GET").status(), 200, "client {n}");
    }
    assert_eq!(proxy.client().get("/").status(), 200);
}

/// B8.3: when all buffers are lent, new requests wait their turn; nobody is reset. A request begins
/// in 4 KiB of the half that new ones may have, and holds at least that to its end: 128 at once.
#[test]
fn b8_3_little_memory() {
    let peak = Arc::new(AtomicUsize::new(0));
    let origin = slow_origin(Arc::clone(&peak));
    let proxy = Pointsman::before(origin.addr, &["--memory", "1MiB", "--buffer", "16KiB"]);
    let clients: Vec<_> = (0..250)
        .map(|n| {
            let mut client = proxy.client();
            std::thread::spawn(move || {
                for _ in 0..3 {
                    let answer = client.post("/", &[b'b'; 40_000]);
                    assert_eq!(answer.status(), 200, "client {n}: {}", answer.head_text());
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().expect("a client"));
    let peak = peak.load(Ordering::SeqCst);
    assert!((1..=128).contains(&peak), "{peak} requests at once");
}

/// Answers after 5 ms; notes how many requests it had at once.
fn slow_origin(peak: Arc<AtomicUsize>) -> Origin {
    let now = AtomicUsize::new(0);
    Origin::scripted(move |wire| {
        while wire.head().is_ok() {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let whole = wire.take(40_000).is_ok();
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            if !whole || wire.try_send(OK).is_err() {
                return;
            }
        }
    })
}

/// B8.5: a client that goes away in the middle of an answer ends the upstream exchange at once.
#[test]
fn b8_5_a_client_that_leaves_inside_an_answer() {
    let (done, ended): (_, Receiver<()>) = channel();
    let done = Mutex::new(done);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning");
        let _ = wire.rest();
        let _ = done.lock().unwrap().send(());
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let idle = proxy.descriptors();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    client.until(b"the beginning").expect("the beginning");
    client.reset_on_close();
    drop(client);
    ended.recv_timeout(PATIENCE).expect("the endpoint sees the end");
    eventually("nothing is held", || proxy.descriptors() <= idle);
}

/// B8.2, B8.3: in no state in which one side waits for the other does the loop spin.
#[test]
fn b8_3_waiting_costs_no_processor_time() {
    let hole = BlackHole::new();
    let origin = Origin::scripted(|wire| {
        let Ok(head) = wire.head() else { return };
        if head.target() == "/flood" {
            let _ = wire.try_send("HTTP/1.1 200 OK\r\n\r\n");
            while wire.try_send([b'f'; 60_000]).is_ok() {}
        }
        // Neither reads nor answers until the test is over.
        std::thread::sleep(PATIENCE);
    });
    let (all, far) = (format!("*={}", origin.addr), format!("far/v1={}", hole.addr));
    let proxy = Pointsman::start(&[&all, &far, "--connect", "1m"]);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n").into_bytes();
    let endless = b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    let upload = [endless, vec![b'u'; 60_000]].concat();
    let table = [
        ("connecting", get("/far/v1/x")),
        ("waiting for an answer", get("/")),
        ("pipelining meanwhile", get("/").repeat(3_000)),
        ("half a head", b"GET / HTTP/1.1\r\nHos".to_vec()),
        ("not reading", get("/flood")),
        ("uploading to a deaf endpoint", upload.repeat(100)),
        ("garbage, lingering", b"\0\0\0\r\n\r\n".to_vec()),
    ];
    let mut held = Vec::new();
    for (name, bytes) in table {
        for half_closed in [false, true] {
            let mut client = proxy.client();
            client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = client.try_send(&bytes);
            if half_closed {
                let _ = client.stream.shutdown(std::net::Shutdown::Write);
            }
            held.push((name, half_closed, client));
        }
        std::thread::sleep(Duration::from_millis(200));
        let begun = proxy.ticks();
        std::thread::sleep(Duration::from_millis(600));
        let spent = proxy.ticks() - begun;
        assert!(spent <= 12, "{name}: {spent} ticks of 10 ms in 600 ms");
    }
}

//! Long bodies on real sockets: what passes through pipes of the kernel is what passes through
//! buffers, byte for byte, and nothing of the promise is lost on the way.

use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pointsman::{Endpoint, MemoryRegistry, Proxy, Registry as _};

use crate::harness::{Origin, Pointsman, TempDir, eventually};
use crate::wire::{PATIENCE, Pattern, Wire};

const PIECE: usize = 60_000;
const MIB: usize = 1 << 20;

/// Sends `n` bytes of the pattern; false when nobody takes them.
fn pour(wire: &mut Wire, pattern: &mut Pattern, mut n: usize) -> bool {
    while n > 0 {
        let piece = n.min(PIECE);
        if wire.try_send(pattern.next(piece)).is_err() {
            return false;
        }
        n -= piece;
    }
    true
}

/// Reads `n` bytes: whether they come and are those of the pattern.
fn drink<S: std::io::Read + std::io::Write>(
    wire: &mut Wire<S>,
    pattern: &mut Pattern,
    mut n: usize,
) -> bool {
    let mut right = true;
    while n > 0 {
        let Ok(bytes) = wire.take(n.min(PIECE)) else { return false };
        right &= pattern.matches(&bytes);
        n -= bytes.len();
    }
    right
}

fn length_of(head: &crate::wire::Message) -> usize {
    head.field("Content-Length").and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// GET of `/N` gives N bytes of the pattern, or in chunks `/N/SIZE`; any other request is read to
/// its end, and the answer says whether its body was the pattern.
fn serve(wire: &mut Wire) {
    while let Ok(head) = wire.head() {
        let target = head.target();
        let numbers: Vec<usize> = target.split('/').filter_map(|part| part.parse().ok()).collect();
        let mut pattern = Pattern::new();
        if head.method() == "GET" {
            match numbers[..] {
                [n] => {
                    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n"));
                    if !pour(wire, &mut pattern, n) {
                        return;
                    }
                }
                [n, size] => {
                    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for _ in 0..n / size {
                        wire.send(format!("{size:x}\r\n"));
                        if !pour(wire, &mut pattern, size) {
                            return;
                        }
                        wire.send("\r\n");
                    }
                    wire.send("0\r\n\r\n");
                }
                _ => {
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
                }
            }
            continue;
        }
        let right = drink(wire, &mut pattern, length_of(&head));
        let word = if right { "right" } else { "wrong" };
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{word}"));
    }
}

/// How many pipes the proxy holds: each has two ends.
fn pipes(proxy: &Pointsman) -> usize {
    proxy.links().iter().filter(|link| link.starts_with("pipe:")).count() / 2
}

/// B7.3, B8.2: 200 MB each way, byte for byte, with pipes and without; what stands behind an upload
/// in the same breath is a request of its own, and memory does not grow.
#[test]
fn b8_2_long_bodies_pass_byte_for_byte_both_ways() {
    let origin = Origin::scripted(serve);
    for (setting, n) in [("on", 200_000_000), ("off", 20_000_000)] {
        let proxy = Pointsman::before(origin.addr, &["--splice", setting]);
        let before = pipes(&proxy);
        let mut client = proxy.client();
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_eq!(client.head().map(|head| length_of(&head)).ok(), Some(n));
        let mut pattern = Pattern::new();
        assert!(drink(&mut client, &mut pattern, n / 2), "down");
        assert_eq!(pipes(&proxy) > before, setting == "on");
        assert!(drink(&mut client, &mut pattern, n - n / 2), "down");

        let stream = client.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let mut wire = Wire::tcp(stream);
            wire.send(format!("POST /up HTTP/1.1\r\nHost: t\r\nContent-Length: {n}\r\n\r\n"));
            assert!(pour(&mut wire, &mut Pattern::new(), n - 7));
            let mut all = Pattern::new();
            let mut left = n - 7;
            while left > 0 {
                let piece = left.min(PIECE);
                all.next(piece);
                left -= piece;
            }
            let last = [all.next(7), b"GET /next HTTP/1.1\r\nHost: t\r\n\r\n"].concat();
            wire.send(last);
        });
        assert_eq!(client.answer("POST").text(), "right");
        assert_eq!(client.answer("GET").text(), "next");
        writer.join().unwrap();
        assert!(proxy.memory_bytes("VmHWM") < 12 << 20, "{}", proxy.memory_bytes("VmHWM"));
        eventually("pipes that nobody uses are closed", || pipes(&proxy) == before);
    }
}

/// B7.9, B8.2: the data of long chunks passes unseen, their framing is judged.
#[test]
fn b8_2_long_chunks_pass_byte_for_byte() {
    let origin = Origin::scripted(serve);
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for size in [16_384, 65_536, 100_000, MIB] {
        let n = 20 * size;
        let answer = client.get(&format!("/{n}/{size}"));
        assert_eq!(answer.body.len(), n, "{size}");
        assert!(Pattern::new().matches(&answer.body), "{size}");
    }
    assert!(pipes(&proxy) > 0);
    // A chunk that does not end where it said is cut, however it travelled.
    let bad = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{MIB:x}\r\n"));
        pour(wire, &mut Pattern::new(), MIB);
        wire.send("xx0\r\n\r\n");
        wire.end();
    });
    let proxy = Pointsman::before(bad.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert!(client.try_answer("GET").is_err(), "it looks cut");
}

/// B4.6: an endpoint dies while the client does not read, so that bytes stand in the pipe and in
/// both kernels' queues; another one continues exactly behind them.
#[test]
fn b4_6_what_is_in_the_pipe_is_not_lost() {
    const N: usize = 30_000_000;
    let deaths = Arc::new(AtomicU32::new(0));
    let died = Arc::clone(&deaths);
    let origin = Origin::scripted(move |wire| {
        while let Ok(head) = wire.head() {
            let range = head.field("Range").map_or(0, |range| {
                range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range")
            });
            let line = match range {
                0 => "200 OK\r\n".to_owned(),
                _ => format!("206 Part\r\nContent-Range: bytes {range}-{}/{N}\r\n", N - 1),
            };
            let left = N - range;
            let tag = "ETag: \"p\"\r\nAccept-Ranges: bytes";
            wire.send(format!("HTTP/1.1 {line}{tag}\r\nContent-Length: {left}\r\n\r\n"));
            let mut pattern = Pattern::new();
            for at in (0..range).step_by(PIECE) {
                pattern.next(PIECE.min(range - at));
            }
            let dies = died.fetch_add(1, Ordering::SeqCst) < 4;
            if !pour(wire, &mut pattern, if dies { left / 2 } else { left }) || dies {
                return;
            }
        }
    });
    let proxy = Pointsman::service(&[origin.addr], &["--eject-failures", "0"]);
    let mut client = proxy.client();
    client.send("GET /s/v1/file HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 200);
    let (mut pattern, mut left) = (Pattern::new(), N);
    while left > 0 {
        let piece = left.min(3_000_000);
        assert!(drink(&mut client, &mut pattern, piece));
        left -= piece;
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(deaths.load(Ordering::SeqCst), 5, "it died four times");
    assert_eq!(client.get("/s/v1/file").status(), 200, "and the connection lives on");
}

/// B8.2, B8.3: 200 clients download at once and do not read for a while: there are 64 pipes at
/// most, the others are served all the same, and all get their bytes.
#[test]
fn b8_3_more_downloads_than_pipes() {
    let origin = Origin::scripted(serve);
    // They are read one after the other.
    let proxy = Pointsman::before(origin.addr, &["--write-stall", "10m"]);
    let n = 4 * MIB;
    let mut clients: Vec<Wire> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n"));
    }
    let before = pipes(&proxy);
    eventually("pipes are taken", || pipes(&proxy) > before + 8);
    for (n, client) in clients.iter_mut().enumerate() {
        let length = length_of(&client.head().unwrap());
        assert!(drink(client, &mut Pattern::new(), length), "{n}");
        // One end of one more is its log.
        assert!(pipes(&proxy) <= 65, "{}", pipes(&proxy));
    }
}

/// B8.3: with 64 descriptors, pipes take none that connections need for long.
#[test]
fn b8_3_few_descriptors() {
    let origin = Origin::scripted(serve);
    let route = format!("*={}", origin.addr);
    let proxy = Pointsman::limited(64, &[&route]);
    let threads: Vec<_> = (0..40)
        .map(|n| {
            let addr = proxy.addr;
            std::thread::spawn(move || {
                let mut client = Wire::connect(addr);
                let length = 4 * MIB;
                client.send(format!(
                    "GET /{length} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
                ));
                let head = client.head().unwrap();
                assert_eq!((head.status(), length_of(&head)), (200, length), "{n}");
                std::thread::sleep(Duration::from_millis(100));
                assert!(drink(&mut client, &mut Pattern::new(), length), "{n}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// B7.7: a final answer in the middle of a long upload comes through.
#[test]
fn b7_7_an_early_answer_stops_a_long_upload() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        let _ = drink(wire, &mut Pattern::new(), 5 * MIB);
        wire.send("HTTP/1.1 413 Enough\r\nContent-Length: 6\r\n\r\nenough");
        std::thread::sleep(Duration::from_millis(500));
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(format!("POST /up HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", 100 * MIB));
    let stream = client.stream.try_clone().unwrap();
    std::thread::spawn(move || pour(&mut Wire::tcp(stream), &mut Pattern::new(), 100 * MIB));
    let answer = client.answer("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (413, "enough"));
}

/// B8.5, B8.6: a client that resets the connection in the middle of a long answer ends only that;
/// what it has left in a pipe reaches nobody.
#[test]
fn b8_6_what_is_left_in_a_pipe_reaches_nobody() {
    let origin = Origin::scripted(serve);
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send(format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", 20 * MIB));
        let _ = client.take(100_000);
        std::thread::sleep(Duration::from_millis(20));
        client.reset_on_close();
    }
    let mut client = proxy.client();
    client.send(format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", 20 * MIB));
    assert_eq!(client.head().unwrap().status(), 200);
    assert!(drink(&mut client, &mut Pattern::new(), 20 * MIB));
}

/// B7.8, B1.3: many bytes through a tunnel, and through Unix sockets.
#[test]
fn b7_8_a_tunnel_carries_many_bytes() {
    const N: usize = 60_000_000;
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send("HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: p\r\n\r\n");
        pour(wire, &mut Pattern::new(), N);
        let right = drink(wire, &mut Pattern::new(), N);
        wire.send(if right { "right" } else { "wrong" });
        let _ = wire.stream.shutdown(Shutdown::Write);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nUpgrade: p\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    assert!(drink(&mut client, &mut Pattern::new(), N), "down");
    assert!(pour(&mut client, &mut Pattern::new(), N));
    assert_eq!(client.take(5).unwrap(), b"right", "up");
    assert!(pipes(&proxy) > 0);

    let dir = TempDir::new("splice");
    let listener = UnixListener::bind(dir.path("b.sock")).unwrap();
    std::thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        let _ = wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {N}\r\n\r\n"));
        let (mut pattern, mut left) = (Pattern::new(), N);
        while left > 0 {
            let piece = left.min(PIECE);
            wire.send(pattern.next(piece));
            left -= piece;
        }
        wire.end();
    });
    let front = dir.path("f.sock");
    let route = format!("*=unix:{}", dir.path("b.sock").display());
    let _proxy = Pointsman::start(&["-l", &format!("unix:{}", front.display()), &route]);
    let mut client = Wire::unix(&front);
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().map(|head| length_of(&head)).ok(), Some(N));
    assert!(drink(&mut client, &mut Pattern::new(), N), "over Unix sockets");
}

/// The most memory that is lent while 2 MB go up in chunks with this much data.
fn most_lent(chunk_bytes: usize) -> usize {
    let origin = Origin::scripted(|wire| {
        let _ = wire.rest();
    });
    let mut registry = MemoryRegistry::default();
    registry.add("*", Endpoint::tcp(origin.addr));
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut proxy = Proxy::builder().listen(listen).registry(registry).build().expect("a proxy");
    let addr = proxy.addresses()[0].to_string().parse().expect("an address");
    let client = std::thread::spawn(move || {
        let mut client = Wire::connect(addr);
        let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        let data = "x".repeat(chunk_bytes);
        let chunk = format!("{chunk_bytes:x}\r\n{data}\r\n");
        client.send([head, &chunk.repeat(2_000_000 / chunk.len())].concat());
    });
    let (mut most, begun) = (0, std::time::Instant::now());
    while !client.is_finished() {
        proxy.turn(Some(Duration::from_millis(5))).expect("a turn");
        most = most.max(proxy.census().lent_bytes);
        assert!(begun.elapsed() < PATIENCE, "the upload comes to its end");
    }
    client.join().expect("all is sent");
    most
}

/// B8.3: a large buffer full of tiny chunks would be so much work in one turn that everybody else
/// waits for it; large chunks get one.
#[test]
fn b8_3_tiny_chunks_get_no_large_buffer() {
    assert!(most_lent(16 << 10) >= 128 << 10, "else this test shows nothing");
    assert!(most_lent(1) < 64 << 10);
}

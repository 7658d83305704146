//! B8: peers who mean harm, in the small: what can be judged without a clock. `examples/hostile`
//! does it in the large and measures.

use std::io::Write as _;
use std::time::Duration;

use crate::harness::{Origin, Pointsman, eventually};
use crate::wire::{End, Wire};

const MIB: u64 = 1 << 20;

/// B7.6: 10,000 requests in one write are all answered, in their order.
#[test]
fn b7_6_ten_thousand_requests_in_one_write() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let all: String =
        (0..10_000).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: t\r\n\r\n")).collect();
    let mut client = proxy.client();
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(all.as_bytes()));
    for n in 0..10_000 {
        let answer = client.answer("GET");
        assert!(answer.text().contains(&format!(" GET /{n} ")), "{n}: {}", answer.text());
    }
    sender.join().unwrap().unwrap();
}

/// B7.9, B8.2: chunks of one byte pass as they came, and to HTTP/1.0 their data alone does.
#[test]
fn b7_9_chunks_of_one_byte() {
    const COUNT: usize = 100_000;
    let chunks = "1\r\nx\r\n".repeat(COUNT) + "0\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = format!("{head}{chunks}");
    let origin = Origin::scripted(move |wire| {
        while let Ok(request) = wire.request() {
            if request.method() == "POST" {
                assert_eq!(request.body.len(), COUNT);
            }
            wire.send(&answer);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client
        .send(format!("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(client.answer("POST").body.len(), COUNT);
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    let answer = old.answer("GET");
    assert!(answer.body.len() == COUNT && answer.body.iter().all(|b| *b == b'x'));
    assert_eq!(answer.end, End::Fin);
}

/// B7.2, B8.3: an endpoint that sends a head without end costs a 502 and little memory, and
/// afterwards every descriptor is given back.
#[test]
fn b7_2_an_endless_head_is_502_and_leaves_nothing() {
    let origin = Origin::scripted(|wire| {
        let Ok(request) = wire.request() else { return };
        let (begin, unit) = match request.target().as_str() {
            "/line" => ("HTTP/1.1 200 OK\r\nX: ", "x"),
            "/fields" => ("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
            _ => ("", "\u{1}\u{2}\u{3}"),
        };
        let piece = unit.repeat(60_000 / unit.len());
        let mut sent = wire.try_send(begin).is_ok();
        let mut left = 1 << 30;
        while sent && left > 0 {
            sent = wire.try_send(&piece).is_ok();
            left -= piece.len();
        }
        assert!(left > 0, "a gigabyte was taken");
    });
    let proxy = Pointsman::before(origin.addr, &["--upstream-idle", "100ms"]);
    let (files, memory) = (proxy.descriptors(), proxy.memory_bytes("VmHWM"));
    for target in ["/line", "/fields", "/noise"] {
        for _ in 0..3 {
            assert_eq!(proxy.client().get(target).status(), 502, "{target}");
        }
    }
    let growth = proxy.memory_bytes("VmHWM").saturating_sub(memory);
    assert!(growth < 2 * MIB, "{growth}");
    eventually("every descriptor is given back", || proxy.descriptors() <= files);
}

/// B8.3: those who ask for much and read nothing do not take all the memory: others are served.
#[test]
fn b8_3_slow_readers_leave_room_for_others() {
    let origin = Origin::scripted(|wire| {
        while let Ok(request) = wire.request() {
            if request.target() == "/endless" {
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while wire.try_send(format!("EA60\r\n{}\r\n", "e".repeat(60_000))).is_ok() {}
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    // Half a MiB for heads: 24 readers with 16 KiB and a head each would have all of it.
    let proxy = Pointsman::before(origin.addr, &["--memory", "1MiB", "--write-stall", "10m"]);
    let readers: Vec<Wire> = (0..36)
        .map(|_| {
            let mut reader = proxy.client();
            reader.send("GET /endless HTTP/1.1\r\nHost: t\r\n\r\n");
            assert_eq!(reader.head().expect("the head").status(), 200);
            reader
        })
        .collect();
    // Until nothing moves any more.
    eventually("all are full", || {
        let before = proxy.ticks();
        std::thread::sleep(Duration::from_millis(300));
        proxy.ticks() == before
    });
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    drop(readers);
}

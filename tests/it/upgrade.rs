//! B7.8: upgrades on real sockets. A tunnel opens only behind the 101 that was asked for, carries
//! every byte of either side, and ends as its sides end it.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::harness::{Origin, Pointsman, eventually};
use crate::wire::{Broken, End, Message, Pattern, Wire};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";
const GIVE: &str = "HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
const NO_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// An origin that gives `answer` to every request and, behind a 101, sends back what it gets.
fn echo(answer: &'static str) -> Origin {
    Origin::scripted(move |wire| {
        while wire.request().is_ok() {
            wire.send(answer);
            while answer.contains(" 101 ") {
                let bytes = wire.some();
                if bytes.is_empty() || wire.try_send(bytes).is_err() {
                    let _ = wire.stream.shutdown(Shutdown::Write);
                    return;
                }
            }
        }
    })
}

fn switched(proxy: &Pointsman) -> Wire {
    let mut client = proxy.client();
    let answer = client.ask(ASK);
    assert_eq!(answer.status(), 101, "{}", answer.head_text());
    client
}

/// What one request becomes on its way up.
fn as_seen(request: &str) -> Message {
    let (seen, sees) = channel();
    let seen = Mutex::new(seen);
    let origin = Origin::scripted(move |wire| {
        while let Ok(request) = wire.request() {
            let _ = seen.lock().unwrap().send(request);
            wire.send(NO_BODY);
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask(request).status(), 200, "{request}");
    sees.recv_timeout(Duration::from_secs(10)).expect("it arrives")
}

/// Both heads carry the upgrade, and what was not asked for is left out.
#[test]
fn b7_8_an_upgrade_is_asked_for_and_given() {
    let origin = echo(GIVE);
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.ask(ASK);
    assert_eq!(
        answer.head_text(),
        "HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    );
    client.send("hello");
    assert_eq!(client.take(5).unwrap(), b"hello");

    let asked =
        |lines: &str| as_seen(&format!("GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n{lines}Z: z\r\n\r\n"));
    for (lines, protocols) in [
        ("Connection: upgrade\r\nUpgrade: echo/1, irc\r\n", Some("echo/1, irc")),
        ("Connection: keep-alive, Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", Some("a, b")),
        (
            "Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c, a\r\nHTTP2-Settings: x\r\n",
            Some("a"),
        ),
        // B7.4: another HTTP would pass unrouted.
        ("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", None),
        ("Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", None),
        // Not meant for us.
        ("Upgrade: echo\r\n", None),
        ("Connection: close\r\nUpgrade: echo\r\n", None),
        ("Connection: upgrade\r\n", None),
    ] {
        let seen = asked(lines);
        assert_eq!(seen.field("Upgrade").as_deref(), protocols, "{lines}");
        assert_eq!(seen.field("Connection").is_some(), protocols.is_some(), "{lines}");
        assert_eq!(seen.field("HTTP2-Settings"), None);
        assert_eq!((seen.field("X"), seen.field("Z")), (Some("y".into()), Some("z".into())));
    }
    let old = as_seen("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!((old.field("Upgrade"), old.field("Connection")), (None, None), "HTTP/1.0");
}

/// Bytes that either side sent together with its head are the first ones of the tunnel.
#[test]
fn b7_8_bytes_before_and_with_the_101_go_first() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send([GIVE, "first from there"].concat());
        let got = wire.take("first from here, and more".len()).expect("all of it");
        wire.send(got);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send([ASK, "first from here"].concat());
    assert_eq!(client.answer("GET").status(), 101);
    assert_eq!(client.take(16).unwrap(), b"first from there");
    client.send(", and more");
    assert_eq!(client.take(25).unwrap(), b"first from here, and more");
}

/// What stands behind a request that asks for an upgrade is the next request if it is refused.
#[test]
fn b7_8_a_refused_upgrade_leaves_http() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 426 Other\r\nConnection: upgrade\r\nUpgrade: irc\r\nContent-Length: 0\r\n\r\n",
    ] {
        let origin = echo(answer);
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send([ASK, ASK].concat());
        for _ in 0..2 {
            let got = client.answer("GET");
            assert!(answer.contains(&format!(" {} ", got.status())));
            // RFC 9110 section 15.5.22: a 426 says what would be spoken.
            let upgrade = (got.status() == 426).then(|| "irc".to_string());
            assert_eq!(got.field("Upgrade"), upgrade);
        }
        assert_eq!(client.get("/").status(), client.get("/").status());
        assert_eq!(origin.connections(), 1, "the connection to the endpoint was kept");
    }
}

/// RFC 9110 section 7.8: a server must not switch to what it was not asked for.
#[test]
fn b7_8_only_the_101_that_was_asked_for_opens_a_tunnel() {
    let post = "POST / HTTP/1.1\r\nHost: t\r\nUpgrade: echo\r\nConnection: upgrade\r\n\
                Content-Length: 5\r\n\r\nhel";
    let plain = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
    let unasked = "GET / HTTP/1.1\r\nHost: t\r\nUpgrade: echo\r\n\r\n";
    for (request, answer) in [
        (plain, GIVE),
        (old, GIVE),
        (unasked, GIVE),
        (ASK, "HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"),
        (ASK, "HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: echo, h2c\r\n\r\n"),
        (ASK, "HTTP/1.1 101 Sure\r\nConnection: upgrade\r\n\r\n"),
        (ASK, "HTTP/1.0 101 Sure\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"),
        // Nobody can switch in the middle of a request.
        (post, GIVE),
    ] {
        let origin = Origin::scripted(move |wire| {
            let _ = wire.head();
            wire.send([answer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"].concat());
            let _ = wire.rest();
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send(request);
        let got = client.answer("GET");
        assert_eq!(got.status(), 502, "{request}{answer}{}", got.head_text());
        assert!(
            got.says("Proxy-Status", "pointsman; error=http_protocol_error"),
            "{}",
            got.head_text()
        );
        let other = proxy.client().ask(plain);
        assert!(!other.text().contains("poison"));
    }
}

/// FIN is passed on when everything before it is, and the other direction lives on.
#[test]
fn b7_8_half_closes_pass_both_ways() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send(GIVE);
        let (bytes, end) = wire.rest();
        assert_eq!(end, End::Fin);
        wire.send(bytes);
        wire.send("afterwards");
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = switched(&proxy);
    client.send("all I have");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let (bytes, end) = client.rest();
    assert_eq!((bytes.as_slice(), end), (&b"all I haveafterwards"[..], End::Fin));

    let (heard, hears) = channel();
    let heard = Mutex::new(heard);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.head();
        wire.send([GIVE, "bye"].concat());
        wire.stream.shutdown(Shutdown::Write).unwrap();
        let _ = heard.lock().unwrap().send(wire.rest());
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let at_rest = proxy.descriptors();
    let mut client = switched(&proxy);
    assert_eq!(client.rest(), (b"bye".to_vec(), End::Fin));
    client.send("still here");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let heard = hears.recv_timeout(Duration::from_secs(10)).expect("it ends");
    assert_eq!(heard, (b"still here".to_vec(), End::Fin));
    eventually("nothing is left", || proxy.descriptors() == at_rest);
}

/// A reset is passed on as one: neither side may take what it got for the whole.
#[test]
fn b7_8_a_reset_passes_as_a_reset() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send([GIVE, "half"].concat());
        let _ = wire.take(2);
        wire.reset_on_close();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = switched(&proxy);
    assert_eq!(client.take(4).unwrap(), b"half");
    client.send("go");
    assert_eq!(client.take(1), Err(Broken::Before(End::Reset)));

    let (heard, hears) = channel();
    let heard = Mutex::new(heard);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.head();
        wire.send(GIVE);
        let _ = heard.lock().unwrap().send(wire.rest());
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let client = switched(&proxy);
    client.reset_on_close();
    drop(client);
    let (bytes, end) = hears.recv_timeout(Duration::from_secs(10)).expect("it ends");
    assert_eq!((bytes.as_slice(), end), (&b""[..], End::Reset));
}

/// 32 MB each way at the same time, the readers slow at first: every byte, in order.
#[test]
fn b7_8_a_tunnel_carries_any_amount_both_ways() {
    const BYTES: usize = 32 << 20;
    let origin = echo(GIVE);
    let proxy = Pointsman::before(origin.addr, &[]);
    let before = proxy.memory_bytes("VmHWM");
    let client = switched(&proxy);
    let mut writer = client.stream.try_clone().unwrap();
    let writes = std::thread::spawn(move || {
        let mut pattern = Pattern::new();
        for _ in 0..BYTES / 32_768 {
            writer.write_all(pattern.next(32_768)).expect("taken");
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    std::thread::sleep(Duration::from_millis(300));
    let (mut client, mut pattern, mut got) = (client, Pattern::new(), 0);
    loop {
        let bytes = client.some();
        if bytes.is_empty() {
            break;
        }
        got += bytes.len();
        assert!(pattern.matches(&bytes), "wrong bytes before {got}");
    }
    writes.join().unwrap();
    assert_eq!((got, client.end()), (BYTES, End::Fin));
    let growth = proxy.memory_bytes("VmHWM").saturating_sub(before);
    assert!(growth < 2 << 20, "grown by {growth}");
}

/// B8.4: bytes in either direction keep it open; silence in both ends it.
#[test]
fn b8_4_an_idle_tunnel_is_cut() {
    let origin = echo(GIVE);
    let proxy =
        Pointsman::before(origin.addr, &["--tunnel-idle", "700ms", "--client-idle", "200ms"]);
    let mut client = switched(&proxy);
    let begun = Instant::now();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        client.send("x");
        assert_eq!(client.take(1).unwrap(), b"x", "busy, after {:?}", begun.elapsed());
    }
    let silent = Instant::now();
    assert_eq!(client.end(), End::Reset);
    assert!(silent.elapsed() >= Duration::from_millis(600), "{:?}", silent.elapsed());
}

/// B8.4: a side that takes nothing for too long ends it.
#[test]
fn b8_4_a_stalled_tunnel_is_cut() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        wire.send(GIVE);
        std::thread::sleep(Duration::from_secs(20));
    });
    let proxy = Pointsman::before(origin.addr, &["--write-stall", "500ms"]);
    let mut client = switched(&proxy);
    let piece = vec![0; 1 << 20];
    let refused = (0..200).any(|_| client.try_send(&piece).is_err());
    assert!(refused, "the endpoint reads nothing");
}

/// Many at once, each with its own bytes; an idle one holds no buffer.
#[test]
fn b8_2_idle_tunnels_hold_no_buffer() {
    let origin = echo(GIVE);
    // Room for 16 requests at once, and for many more tunnels that are silent.
    let proxy = Pointsman::before(origin.addr, &["--memory", "1MiB", "--slow-start", "off"]);
    let mut clients: Vec<Wire> = (0..200).map(|_| switched(&proxy)).collect();
    for round in 0..2 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("{n:05}-{round}"));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.take(7).unwrap(), format!("{n:05}-{round}").as_bytes());
        }
    }
    assert_eq!(proxy.client().ask(ASK).status(), 101);
}

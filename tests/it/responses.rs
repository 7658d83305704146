//! B7.2: answers of endpoints that are not framed to the letter are never passed off as whole,
//! and those that are right are read to their true end.

use crate::harness::{Origin, Pointsman};
use crate::wire::{Broken, End, Message, Wire};

/// What a client may see of a bad answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Nothing was forwarded yet: a 502 that says so.
    Status502,
    /// The head may have gone on already: a 502, or a cut that looks like one.
    Status502OrCut,
}

fn check(fate: Fate, cases: &[(&str, String)]) {
    let mut wrong = Vec::new();
    for (name, bytes) in cases {
        let origin = Origin::answering(bytes.as_str());
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        match client.try_answer("GET") {
            Ok(answer) if is_our_502(&answer) => {}
            Ok(answer) if fate == Fate::Status502OrCut && answer.end == End::Reset => {}
            Ok(answer) => wrong.push(format!("{name}: {}{}", answer.head_text(), answer.text())),
            Err(Broken::Inside(..)) if fate == Fate::Status502OrCut => {}
            Err(broken) => wrong.push(format!("{name}: {broken:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn is_our_502(answer: &Message) -> bool {
    answer.status() == 502 && answer.field("Proxy-Status").is_some()
}

/// An answer whose status line is this one.
fn start(line: &str) -> String {
    format!("{line}\r\nContent-Length: 0\r\n\r\n")
}

/// A 200 without a body, with this among its field lines.
fn with(line: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n")
}

/// A 200 with these field lines and the body `hi`.
fn framed(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhi")
}

/// A 200 with this chunked body.
fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn b7_2_bad_heads_are_502() {
    let up = "HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_string();
    check(
        Fate::Status502,
        &[
            ("not HTTP", start("SSH-2.0-OpenSSH_9.2")),
            ("HTTP/2.0", start("HTTP/2.0 200 OK")),
            ("HTTP/0.9", start("HTTP/0.9 200 OK")),
            ("lower case", start("http/1.1 200 OK")),
            ("status 99", start("HTTP/1.1 099 Low")),
            ("status 600", start("HTTP/1.1 600 High")),
            ("two digits", start("HTTP/1.1 20 Short")),
            ("four digits", start("HTTP/1.1 2000 Long")),
            ("sign", start("HTTP/1.1 +20 Sign")),
            ("two spaces", start("HTTP/1.1  200 OK")),
            ("NUL in the reason", start("HTTP/1.1 200 O\0K")),
            ("no colon", with("nonsense")),
            ("space before the colon", with("X : 1")),
            ("space in a name", with("X Y: 1")),
            ("obs-fold", with("X: 1\r\n 2")),
            ("first line folded", with(" X: 1")),
            ("bare LF all over", "HTTP/1.1 200 OK\nContent-Length: 0\n\n".into()),
            ("one bare LF", with("X: 1\nY: 2")),
            ("bare CR", with("X: 1\r2")),
            ("NUL", with("X: \0")),
            ("101 that nobody asked for", up),
        ],
    );
}

#[test]
fn b7_2_bad_lengths_are_502() {
    check(
        Fate::Status502,
        &[
            ("two lengths", framed("Content-Length: 2\r\nContent-Length: 3")),
            ("space before the colon", framed("Content-Length : 2")),
            ("plus", framed("Content-Length: +2")),
            ("minus", framed("Content-Length: -2")),
            ("hex", framed("Content-Length: 0x2")),
            ("empty", framed("Content-Length:")),
            ("overflow", framed("Content-Length: 18446744073709551618")),
            ("gzip", framed("Transfer-Encoding: gzip")),
            ("chunked, identity", framed("Transfer-Encoding: chunked, identity")),
            ("vertical tab", framed("Transfer-Encoding: \x0bchunked")),
            ("two codings", framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        ],
    );
}

#[test]
fn b7_2_bad_chunks_are_502_or_a_cut() {
    check(
        Fate::Status502OrCut,
        &[
            ("no hex", chunked("xyz\r\nhello\r\n0\r\n\r\n")),
            ("overflow", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")),
            ("too long", chunked("5\r\nhello!\r\n0\r\n\r\n")),
            ("bare LF", chunked("5\nhello\r\n0\r\n\r\n")),
            ("bad second chunk", chunked("5\r\nhello\r\n-1\r\n0\r\n\r\n")),
            ("bad trailer", chunked("5\r\nhello\r\n0\r\nA : b\r\n\r\n")),
        ],
    );
}

/// A head above 64 KiB, or one that never ends, is 502.
#[test]
fn b7_2_an_endless_head_is_502() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        let _ = wire.try_send("HTTP/1.1 200 OK\r\n");
        let line = format!("X: {}\r\n", "v".repeat(1_000));
        while wire.try_send(&line).is_ok() {}
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let answer = proxy.client().get("/");
    assert!(is_our_502(&answer), "{}", answer.head_text());
}

/// No answer at all, on a fresh connection: 502, and it says what happened.
#[test]
fn b7_2_an_end_without_an_answer_is_502() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let answer = proxy.client().get("/");
    assert!(is_our_502(&answer), "{}", answer.head_text());
    assert!(
        answer.field("Proxy-Status").is_some_and(|s| s.contains("error=connection_terminated"))
    );
}

/// Asks one thing after the other over one client connection, and expects these texts.
fn texts(wire: &mut Wire, methods: &[&str]) -> Vec<(u16, String)> {
    let mut seen = Vec::new();
    for method in methods {
        let answer = wire.ask(format!("{method} / HTTP/1.1\r\nHost: t\r\n\r\n"));
        seen.push((answer.status(), answer.text()));
    }
    seen
}

/// No body after 204, 304 and to HEAD, whatever the fields say: the connection stays usable on
/// both sides.
#[test]
fn b7_2_answers_without_a_body() {
    let table: [(&str, &str, &str); 5] = [
        ("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (name, method, answer) in table {
        let origin = Origin::answering(answer);
        let proxy = Pointsman::before(origin.addr, &[]);
        let mut client = proxy.client();
        let status = answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let expected = vec![(status, String::new()); 3];
        assert_eq!(texts(&mut client, &[method; 3]), expected, "{name}");
        assert_eq!(origin.connections(), 1, "{name}: the upstream connection is used again");
    }
}

/// Chunked beats a length, the length goes, and the connection is not used again.
#[test]
fn b7_2_chunked_over_length() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.field("Content-Length"), None);
        if answer.says("Connection", "close") {
            client = proxy.client();
        }
    }
    assert_eq!(origin.connections(), 3, "one each");
}

/// Bytes after an answer close that connection and reach nobody.
#[test]
fn b7_2_bytes_after_an_answer_reach_nobody() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
         HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..5 {
        let mut client = proxy.client();
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"));
        assert_eq!(client.get("/").text(), "hi", "the same client");
    }
    assert_eq!(origin.connections(), 10, "never reused");
}

/// B6.3: unsolicited bytes on an idle connection remove it; they are nobody's answer.
#[test]
fn b6_3_unsolicited_bytes_on_an_idle_connection() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        std::thread::sleep(std::time::Duration::from_millis(50));
        let _ = wire.try_send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil");
        let _ = wire.request();
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hi"));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// B8.6: answers with random damage end in an answer or a cut: never a hang, never a death.
#[test]
fn b8_6_damaged_answers() {
    let dice = std::sync::atomic::AtomicU32::new(0x9e37_79b9);
    let origin = Origin::scripted(move |wire| {
        let _ = wire.request();
        let mut bytes =
            chunked("5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nSum: 1\r\n\r\n").into_bytes();
        let mut roll = dice.load(std::sync::atomic::Ordering::SeqCst);
        for _ in 0..1 + roll % 3 {
            roll = roll.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (roll >> 8) as usize % bytes.len();
            match roll >> 30 {
                0 => bytes[at] = (roll >> 16) as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n :0\0\xff,"[(roll >> 16) as usize % 8]),
                _ => bytes.truncate(at.max(8)),
            }
        }
        dice.store(roll, std::sync::atomic::Ordering::SeqCst);
        let _ = wire.try_send(bytes);
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    for round in 0..400 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let (_, end) = client.rest();
        assert!([End::Fin, End::Reset].contains(&end), "round {round}: {end:?}");
    }
}

/// B7.2: a body that is malformed before a byte of the answer was passed on is a 502, not a cut.
#[test]
fn b7_2_nothing_forwarded_is_a_502() {
    let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let origin = Origin::answering(bytes);
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let answer = client.get("/x");
    assert_eq!(answer.status(), 502, "{}", answer.head_text());
    assert_eq!(client.get("/x").status(), 502, "the client's connection lives on");
}

/// B7.2: an interim response is no part of the answer: one that is malformed behind it is a 502.
#[test]
fn b7_2_nothing_but_an_interim_response_forwarded_is_a_502() {
    let bytes = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
        \r\nzz\r\n";
    let origin = Origin::answering(bytes);
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    for round in 0..2 {
        client.send("GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
        let statuses = [(); 2].map(|()| client.try_answer("GET").map(|answer| answer.status()));
        assert!(matches!(statuses, [Ok(103), Ok(502)]), "round {round}: {statuses:?}");
    }
}

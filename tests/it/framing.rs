//! B7.1: requests that are not framed to the letter are refused and the connection is closed.

use std::time::Duration;

use crate::harness::{Origin, Pointsman};
use crate::wire::{Broken, End};

/// A name, the bytes, the status.
type Case = (&'static str, Vec<u8>, u16);

/// Sends each case over a new connection: its status, then the end, and nothing at the endpoint.
fn check(cases: Vec<Case>) {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut wrong = Vec::new();
    for (name, bytes, status) in cases {
        let mut client = proxy.client();
        client.send(&bytes);
        client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        match client.try_answer("GET") {
            Ok(answer) if answer.status() != status => {
                wrong.push(format!("{name}: {} for {status}: {shown:?}", answer.status()));
            }
            Ok(answer) => {
                let end = client.end();
                if !answer.says("Connection", "close") || end != End::Fin {
                    wrong.push(format!("{name}: {end:?} after {}", answer.head_text()));
                }
            }
            Err(broken) => wrong.push(format!("{name}: {broken:?} for {status}: {shown:?}")),
        }
    }
    let reached: Vec<String> = origin.requests().iter().map(|r| r.head_text()).collect();
    assert!(reached.is_empty(), "whole requests at the endpoint: {reached:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(proxy.client().get("/").status(), 200, "a good request is served after all that");
}

/// A GET with these further lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n").into_bytes()
}

/// A POST with these further lines, and this body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: t\r\n{lines}\r\n{body}").into_bytes()
}

/// A chunked POST with this body.
fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn b7_1_lengths_and_codings() {
    check(vec![
        (
            "length and chunked",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
        ),
        (
            "chunked and length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            400,
        ),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400),
        ("a list", post("Content-Length: 5, 5\r\n", "hello"), 400),
        ("plus", post("Content-Length: +5\r\n", "hello"), 400),
        ("minus", post("Content-Length: -5\r\n", "hello"), 400),
        ("inner space", post("Content-Length: 5 5\r\n", "hello"), 400),
        ("hex", post("Content-Length: 0x5\r\n", "hello"), 400),
        ("hex digit", post("Content-Length: a\r\n", "hello"), 400),
        ("exponent", post("Content-Length: 1e1\r\n", "hello"), 400),
        ("empty length", post("Content-Length: \r\n", "hello"), 400),
        ("overflow", post("Content-Length: 18446744073709551621\r\n", "hello"), 400),
        ("long overflow", post("Content-Length: 99999999999999999999999999\r\n", "hello"), 400),
        (
            "chunked in 1.0",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            400,
        ),
        ("gzip", post("Transfer-Encoding: gzip\r\n", ""), 501),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 501),
        ("identity", post("Transfer-Encoding: identity\r\n", ""), 501),
        (
            "two codings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            501,
        ),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 501),
        ("an empty element behind", post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), 501),
        ("an empty element before", post("Transfer-Encoding: , chunked\r\n", "0\r\n\r\n"), 501),
        ("a parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 501),
        ("quoted", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 501),
    ]);
}

#[test]
fn b7_1_lines_and_names() {
    let raw = |text: &str| text.as_bytes().to_vec();
    check(vec![
        ("bare LF all over", raw("GET / HTTP/1.1\nHost: t\n\n"), 400),
        ("bare LF after the request line", raw("GET / HTTP/1.1\nHost: t\r\n\r\n"), 400),
        ("bare LF after a field", raw("GET / HTTP/1.1\r\nHost: t\nX: 1\r\n\r\n"), 400),
        ("bare LF as the empty line", raw("GET / HTTP/1.1\r\nHost: t\r\n\n\r\n\r\n"), 400),
        ("bare CR in a value", get("X: a\rb\r\n"), 400),
        ("bare CR in a name", get("X\r: a\r\n"), 400),
        ("CR CR LF", get("X: a\r\r\n"), 400),
        ("NUL in a value", get("X: a\0b\r\n"), 400),
        ("NUL in a name", get("X\0: a\r\n"), 400),
        ("DEL in a value", get("X: a\x7fb\r\n"), 400),
        ("control in a value", get("X: a\x01b\r\n"), 400),
        ("obs-fold", get("X: a\r\n b\r\n"), 400),
        ("obs-fold by tab", get("X: a\r\n\tb\r\n"), 400),
        ("first line folded", raw("GET / HTTP/1.1\r\n Host: t\r\n\r\n"), 400),
        ("space before the colon", get("X : a\r\n"), 400),
        ("tab before the colon", get("X\t: a\r\n"), 400),
        ("length with space before the colon", post("Content-Length : 5\r\n", "hello"), 400),
        ("space in a name", get("X Y: a\r\n"), 400),
        ("no name", get(": a\r\n"), 400),
        ("no colon", get("nonsense\r\n"), 400),
        ("name with a slash", get("X/Y: a\r\n"), 400),
        (
            "name with a high byte",
            [&b"GET / HTTP/1.1\r\nHost: t\r\nX\xff: a\r\n\r\n"[..]].concat(),
            400,
        ),
    ]);
}

#[test]
fn b7_1_request_lines_and_hosts() {
    let raw = |text: &str| text.as_bytes().to_vec();
    let host = |value: &str| format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n").into_bytes();
    check(vec![
        ("method is no token", raw("GE(T / HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("empty method", raw(" / HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("two spaces", raw("GET  / HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("space in the target", raw("GET /a b HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("space at the end", raw("GET / HTTP/1.1 \r\nHost: t\r\n\r\n"), 400),
        ("control in the target", raw("GET /\x01 HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("target without slash", raw("GET foo HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("no version", raw("GET /\r\nHost: t\r\n\r\n"), 400),
        ("garbage", raw("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"), 400),
        ("no Host", raw("GET / HTTP/1.1\r\n\r\n"), 400),
        ("two Hosts", raw("GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n"), 400),
        ("Host with a space", host("a b"), 400),
        ("Host with a slash", host("a/b"), 400),
        ("Host with a brace", host("{"), 400),
        ("Host with a user", host("me@t"), 400),
        ("Host with a bad port", host("t:8x"), 400),
        ("Host, open bracket", host("[::1"), 400),
        ("Host with a high byte", b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n".to_vec(), 400),
        ("malformed Host in 1.0", raw("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), 400),
        ("no authority", raw("GET http:///x HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("no authority, https", raw("GET https://?x HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("a port alone", raw("GET http://:80/x HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("a user name", raw("GET http://u@h/x HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("user and password", raw("GET http://u:p@h/ HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("another scheme", raw("GET ftp://h/x HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("a fragment", raw("GET /a#b HTTP/1.1\r\nHost: t\r\n\r\n"), 400),
        ("no UTF-8", b"GET /\xff HTTP/1.1\r\nHost: t\r\n\r\n".to_vec(), 400),
        ("2.0", raw("GET / HTTP/2.0\r\nHost: t\r\n\r\n"), 505),
        ("3.0", raw("GET / HTTP/3.0\r\nHost: t\r\n\r\n"), 505),
        ("0.9", raw("GET / HTTP/0.9\r\nHost: t\r\n\r\n"), 505),
        ("h2 preface", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505),
        ("unknown Expect", post("Expect: 200-maybe\r\nContent-Length: 0\r\n", ""), 417),
        ("CONNECT", raw("CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n"), 405),
    ]);
}

#[test]
fn b7_1_sizes() {
    let fields = |n: usize| (1..n).map(|i| format!("X-{i}: v\r\n")).collect::<String>();
    let long = |n: usize| format!("X: {}\r\n", "v".repeat(n));
    let target =
        |n: usize| format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "p".repeat(n - 1)).into_bytes();
    check(vec![
        ("head too long", get(&long(33 * 1024)), 431),
        ("many lines too long", get(&long(900).repeat(40)), 431),
        (
            "endless line",
            [b"GET / HTTP/1.1\r\nHost: t\r\nX: ", "v".repeat(100_000).as_bytes()].concat(),
            431,
        ),
        ("101 fields", get(&fields(101)), 431),
        ("target too long", target(8 * 1024 + 1), 414),
        ("65 words in Connection", get(&format!("Connection: {}\r\n", "a,".repeat(65))), 400),
        ("65 of them in lines", get(&"Connection: a\r\n".repeat(65)), 400),
        ("endless target", [b"GET /", "p".repeat(60_000).as_bytes()].concat(), 414),
    ]);

    // What fits is served.
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask(get(&fields(100))).status(), 200, "100 fields");
    assert_eq!(client.ask(get(&long(31 * 1024))).status(), 200, "31 KiB of head");
    assert_eq!(client.ask(target(8 * 1024)).status(), 200, "8 KiB of target");
    assert_eq!(origin.last().target().len(), 8 * 1024);
}

#[test]
fn b7_1_chunks() {
    let trailer = |lines: &str| chunked(&format!("5\r\nhello\r\n0\r\n{lines}\r\n"));
    check(vec![
        ("no hex", chunked("G\r\nhello\r\n0\r\n\r\n"), 400),
        ("plus", chunked("+5\r\nhello\r\n0\r\n\r\n"), 400),
        ("minus", chunked("-5\r\nhello\r\n0\r\n\r\n"), 400),
        ("0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400),
        ("leading space", chunked(" 5\r\nhello\r\n0\r\n\r\n"), 400),
        ("empty size", chunked("\r\nhello\r\n0\r\n\r\n"), 400),
        ("only an extension", chunked(";x\r\nhello\r\n0\r\n\r\n"), 400),
        ("space behind the size", chunked("5 \r\nhello\r\n0\r\n\r\n"), 400),
        ("space before an extension", chunked("5 ;x\r\nhello\r\n0\r\n\r\n"), 400),
        ("overflow", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
        ("many digits", chunked("ffffffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400),
        ("bare LF after the size", chunked("5\nhello\r\n0\r\n\r\n"), 400),
        ("bare CR after the size", chunked("5\rhello\r\n0\r\n\r\n"), 400),
        ("CR CR LF after the size", chunked("5\r\r\nhello\r\n0\r\n\r\n"), 400),
        ("longer than said", chunked("5\r\nhello!!\r\n0\r\n\r\n"), 400),
        ("bare LF after the data", chunked("5\r\nhello\n0\r\n\r\n"), 400),
        ("bare LF in an extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
        ("NUL in an extension", chunked("5;a\0\r\nhello\r\n0\r\n\r\n"), 400),
        ("endless extension", chunked(&format!("5;{}", "e".repeat(70_000))), 400),
        ("bare LF at the end", chunked("5\r\nhello\r\n0\r\n\n"), 400),
        ("bare LF in a trailer", trailer("A: 1\nB: 2\r\n"), 400),
        ("space in a trailer's name", trailer("A B: 1\r\n"), 400),
        ("space before a trailer's colon", trailer("A : 1\r\n"), 400),
        ("folded trailer", trailer("A: 1\r\n 2\r\n"), 400),
        ("NUL in a trailer", trailer("A: \0\r\n"), 400),
    ]);
}

/// Trailers are bounded: 400 or 431, and never endless reading.
#[test]
fn b7_1_endless_trailers() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    client.send(chunked("5\r\nhello\r\n0\r\n"));
    let line = format!("T: {}\r\n", "v".repeat(1_000));
    let _ = (0..2_000).take_while(|_| client.try_send(&line).is_ok()).count();
    // A client that goes on sending may lose the answer to the RST that ends it.
    match client.try_answer("POST") {
        Ok(answer) => assert!([400, 431].contains(&answer.status()), "{}", answer.head_text()),
        Err(broken) => assert_eq!(broken, Broken::Before(End::Reset)),
    }
    assert!(origin.requests().is_empty());
}

/// Small liberties that the RFC grants: empty lines before a request, values with high bytes,
/// chunk sizes with zeros and capitals, a clean extension.
#[test]
fn b7_1_what_is_odd_but_right_is_served() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    assert_eq!(client.post("/", b"first").status(), 200);
    client.send("\r\n");
    assert_eq!(client.ask(get("X: \u{e9}\tz\r\n")).status(), 200);
    let body = "005\r\nhello\r\nA;name=\"v\"\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked(body)).status(), 200);
    assert_eq!(origin.last().text(), "hello0123456789");
    assert_eq!(client.ask("M-SEARCH /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").status(), 200);
    assert_eq!(origin.last().method(), "M-SEARCH");
    assert_eq!(
        client.ask("GET /h HTTP/1.1\r\nHost:\r\n\r\n").status(),
        200,
        "an empty Host is allowed"
    );
}

/// B8.6: requests with random damage end in an answer or an end: never a hang, never a death.
#[test]
fn b8_6_damaged_requests() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let whole = chunked("5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nSum: 1\r\n\r\n");
    let whole = [get("X: 1\r\n"), whole, post("Content-Length: 2\r\n", "hi")].concat();
    let mut dice = 0x2545_f491_u32;
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 4 {
            dice ^= dice << 13;
            dice ^= dice >> 17;
            dice ^= dice << 5;
            let at = dice as usize % bytes.len();
            match dice >> 24 {
                0..80 => bytes[at] = (dice >> 16) as u8,
                80..140 => drop(bytes.remove(at)),
                140..200 => bytes.insert(at, b"\r\n :0\0\xff,"[(dice >> 16) as usize % 8]),
                _ => bytes.truncate(at.max(8)),
            }
        }
        let mut client = proxy.client();
        client.send(&bytes);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        let (_, end) = client.rest();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!([End::Fin, End::Reset].contains(&end), "round {round}: {end:?} after {shown:?}");
    }
    assert_eq!(proxy.client().get("/").status(), 200);
}

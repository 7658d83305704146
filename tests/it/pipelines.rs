//! B7.6: many requests on one connection, each kind behind each other: every answer is the right
//! one, and the endpoint has seen exactly these requests, each once, in order.

use std::sync::{Arc, Mutex};

use crate::harness::{Origin, Pointsman};
use crate::wire::{Message, Wire, checksum};

/// A request as it is sent, and what the endpoint must see of it: nothing if it is not forwarded.
struct Sent {
    bytes: Vec<u8>,
    method: &'static str,
    status: u16,
    seen: Option<(Vec<u8>, &'static str)>,
}

/// The kinds, by number; the last ones are too large for a buffer.
const KINDS: usize = 17;
const SMALL_KINDS: usize = 15;

/// The `n`th request, of this kind. Its number is in its target and in its body.
fn request(n: usize, kind: usize) -> Sent {
    let body = format!("[{n}]GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n").into_bytes();
    let large = body.iter().copied().cycle().take(40_000).collect::<Vec<u8>>();
    let chunked = |body: &[u8], extension: &str, trailers: &str| {
        let (head, tail) = body.split_at(body.len() / 3);
        let mut all = Vec::new();
        for part in [head, tail] {
            all.extend_from_slice(format!("{:X}{extension}\r\n", part.len()).as_bytes());
            all.extend_from_slice(part);
            all.extend_from_slice(b"\r\n");
        }
        [&all[..], b"0\r\n", trailers.as_bytes(), b"\r\n"].concat()
    };
    let length = |body: &[u8]| format!("Content-Length: {}\r\n", body.len());
    let (te, expect) = ("Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n");
    let (none, sum) = (Vec::new(), "Sum: 1\r\nx-Other:\r\n");
    let forward = |method, lines: String, wire: Vec<u8>, body: Vec<u8>, trailers| {
        let head = format!("{method} /s/v1/{n} HTTP/1.1\r\nHost: t\r\n{lines}\r\n").into_bytes();
        Sent { bytes: [head, wire].concat(), method, status: 200, seen: Some((body, trailers)) }
    };
    let old = |method, lines: String, body: Vec<u8>| {
        let head = format!("{method} /s/v1/{n} HTTP/1.0\r\nConnection: keep-alive\r\n{lines}\r\n");
        let bytes = [head.into_bytes(), body.clone()].concat();
        Sent { bytes, method, status: 200, seen: Some((body, "")) }
    };
    let here = |method, status, text: String| Sent {
        bytes: text.into_bytes(),
        method,
        status,
        seen: None,
    };
    match kind {
        0 => forward("GET", String::new(), none.clone(), none, ""),
        1 => forward("HEAD", String::new(), none.clone(), none, ""),
        2 => forward("DELETE", "Content-Length: 0\r\n".into(), none.clone(), none, ""),
        3 => forward("POST", length(&body), body.clone(), body, ""),
        4 => forward("PUT", te.into(), chunked(&body, "", ""), body, ""),
        5 => forward("PATCH", te.into(), chunked(&body, ";a=\"b\"", sum), body, sum),
        6 => forward("POST", te.into(), b"0\r\n\r\n".to_vec(), none, ""),
        7 => forward("GET", length(&body), body.clone(), body, ""),
        8 => forward("POST", format!("{expect}{}", length(&body)), body.clone(), body, ""),
        9 => forward("PUT", format!("{expect}{te}"), chunked(&body, "", sum), body, sum),
        10 => forward("BREW", String::new(), none.clone(), none, ""),
        11 => old("GET", String::new(), none),
        12 => old("POST", length(&body), body),
        13 => here(
            "POST",
            404,
            format!("POST /none HTTP/1.1\r\nHost: t\r\n{te}\r\n1\r\nx\r\n0\r\n\r\n"),
        ),
        14 => here("HEAD", 404, format!("HEAD /none{n} HTTP/1.1\r\nHost: t\r\n\r\n")),
        15 => forward("PUT", length(&large), large.clone(), large, ""),
        _ => forward("POST", te.into(), chunked(&large, ";x", sum), large, sum),
    }
}

/// A sequence in which each of `0..kinds` stands behind each of them, itself included, once.
fn every_pair(kinds: usize) -> Vec<usize> {
    let mut unused = vec![vec![true; kinds]; kinds];
    let (mut path, mut done) = (vec![0], Vec::new());
    // A walk over all edges of the complete graph (Hierholzer).
    while let Some(&at) = path.last() {
        match unused[at].iter().position(|u| *u) {
            Some(next) => {
                unused[at][next] = false;
                path.push(next);
            }
            None => done.extend(path.pop()),
        }
    }
    done.reverse();
    done
}

#[test]
fn every_pair_is_every_pair() {
    let sequence = every_pair(5);
    let mut pairs: Vec<_> = sequence.windows(2).map(|w| (w[0], w[1])).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!((sequence.len(), pairs.len()), (26, 25));
}

/// Sends `bytes` in pieces of this size while `wire` is read.
fn send_meanwhile(wire: &Wire, bytes: Vec<u8>, piece: usize) -> std::thread::JoinHandle<()> {
    let mut writer = Wire::tcp(wire.stream.try_clone().unwrap());
    std::thread::spawn(move || bytes.chunks(piece).for_each(|part| writer.send(part)))
}

fn check_pipeline(kinds: usize, piece: usize) {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &["--forwarded", "off"]);
    let sent: Vec<Sent> =
        every_pair(kinds).into_iter().enumerate().map(|(n, kind)| request(n, kind)).collect();
    let mut client = proxy.client();
    let all: Vec<u8> = sent.iter().flat_map(|s| s.bytes.clone()).collect();
    let writer = send_meanwhile(&client, all, piece);
    for (n, expected) in sent.iter().enumerate() {
        let answer = client.answer(expected.method);
        assert_eq!(answer.status(), expected.status, "{n}: {}", answer.head_text());
        if let Some((body, _)) = expected.seen.as_ref().filter(|_| expected.method != "HEAD") {
            let (length, sum) = (body.len(), checksum(body));
            let said = format!(" {} /{n} {length} {sum:016x}\n", expected.method);
            assert!(answer.text().ends_with(&said), "{n}: {said:?}: {}", answer.text());
        }
    }
    writer.join().expect("all was taken");
    let seen = origin.requests();
    let forwarded = sent.iter().enumerate().filter(|(_, s)| s.seen.is_some());
    assert_eq!(seen.len(), forwarded.clone().count(), "nothing more, nothing less");
    for ((n, expected), got) in forwarded.zip(&seen) {
        let (body, trailers) = expected.seen.as_ref().expect("forwarded");
        assert_eq!((got.method(), got.target()), (expected.method.into(), format!("/{n}")));
        assert!(got.body == *body, "{n}: another body");
        assert_eq!(String::from_utf8_lossy(&got.trailers), *trailers, "{n}");
    }
}

/// All kinds, as they come in large pieces.
#[test]
fn b7_6_pipelines_of_every_mix_of_bodies() {
    check_pipeline(KINDS, usize::MAX);
    check_pipeline(KINDS, 1_000);
}

/// Small ones byte by byte, and cut where no boundary is.
#[test]
fn b7_6_pipelines_in_small_pieces() {
    check_pipeline(SMALL_KINDS, 1);
    check_pipeline(SMALL_KINDS, 61);
}

/// What the endpoint answers, by number; what a client sees of it if it asked with GET.
const ANSWERS: [(&str, u16, &str, &str); 8] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", ""),
    ("HTTP/1.1 204 None\r\n\r\n", 204, "", ""),
    ("HTTP/1.1 304 Same\r\nContent-Length: 77\r\n\r\n", 304, "", ""),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nSum: 1\r\n\r\n",
        200,
        "abc",
        "Sum: 1\r\n",
    ),
    (
        "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        500,
        "",
        "",
    ),
    ("HTTP/1.0 404 Old\r\nContent-Length: 2\r\n\r\nno", 404, "no", ""),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye", 200, "bye", ""),
];

/// The `k`th answer, as an endpoint gives it to this method.
fn answer_to(method: &str, k: usize) -> String {
    let (bytes, ..) = ANSWERS[k];
    if method != "HEAD" {
        return bytes.into();
    }
    // Without the content: up to the end of the last head.
    let head = bytes.rfind("HTTP/1.").map_or(0, |at| at);
    let end = bytes[head..].find("\r\n\r\n").map_or(bytes.len(), |at| head + at + 4);
    bytes[..end].into()
}

/// Answers of every kind behind each other, to GET, HEAD and POST in turn.
#[test]
fn b7_6_pipelines_of_every_mix_of_answers() {
    let methods = ["GET", "HEAD", "POST"];
    let heads = Arc::new(Mutex::new(Vec::<Message>::new()));
    let seen = Arc::clone(&heads);
    let origin = Origin::scripted(move |wire| {
        while let Ok(request) = wire.request() {
            let kind = request.target().rsplit('/').next().and_then(|k| k.parse().ok());
            let answer = answer_to(&request.method(), kind.expect("a kind"));
            let last = answer.contains("close") || answer.contains("HTTP/1.0");
            seen.lock().unwrap().push(request);
            if wire.try_send(answer).is_err() || last {
                return;
            }
        }
    });
    let proxy = Pointsman::before(origin.addr, &[]);
    let sequence = every_pair(methods.len() * ANSWERS.len());
    let mut all = String::new();
    for (n, symbol) in sequence.iter().enumerate() {
        let (method, kind) = (methods[symbol % 3], symbol / 3);
        let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        all += &format!("{method} /{n}/{kind} HTTP/1.1\r\nHost: t\r\n{body}");
    }
    let mut client = proxy.client();
    let writer = send_meanwhile(&client, all.into_bytes(), usize::MAX);
    for (n, symbol) in sequence.iter().enumerate() {
        let method = methods[symbol % 3];
        let (_, status, body, trailers) = ANSWERS[symbol / 3];
        let (body, trailers) = if method == "HEAD" { ("", "") } else { (body, trailers) };
        let answer = client.answer(method);
        let got = (answer.status(), answer.text(), String::from_utf8_lossy(&answer.trailers));
        assert_eq!(got, (status, body.into(), trailers.into()), "{n}: {method}");
        assert!(!answer.says("Connection", "close"), "{n}: {method}");
    }
    writer.join().expect("all was taken");
    let seen = heads.lock().unwrap();
    assert_eq!(seen.len(), sequence.len());
    for (n, (request, symbol)) in seen.iter().zip(&sequence).enumerate() {
        assert_eq!(request.target(), format!("/{n}/{}", symbol / 3));
        assert_eq!(request.method(), methods[symbol % 3]);
    }
}

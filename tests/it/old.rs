//! B7.6: HTTP/1.0 on either side, with every form of body: what each side is told about its own
//! connection is true, and the content is the same.

use crate::harness::{Origin, Pointsman};
use crate::wire::{End, Message};

/// What an endpoint answers; whether the content's end is the end of its connection; whether it
/// must become the end of the client's, in HTTP/1.1 and in HTTP/1.0.
const ANSWERS: [(&str, bool, bool, bool); 8] = [
    ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, false, false),
    (
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
        false,
        false,
        false,
    ),
    ("HTTP/1.0 200 OK\r\n\r\nhello", true, true, true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, false, false),
    ("HTTP/1.1 200 OK\r\n\r\nhello", true, true, true),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nhe\r\n\
         3;x=y\r\nllo\r\n0\r\nT: 1\r\n\r\n",
        false,
        false,
        true,
    ),
    ("HTTP/1.0 204 None\r\n\r\n", true, false, false),
    ("HTTP/1.0 304 Same\r\nContent-Length: 5\r\n\r\n", true, false, false),
];

/// What a client sends; the body that the endpoint must see.
const REQUESTS: [(&str, &str, &str, &str); 4] = [
    ("GET", "", "", ""),
    ("POST", "Content-Length: 3\r\n", "abc", "abc"),
    ("PUT", "Content-Length: 0\r\n", "", ""),
    ("DELETE", "", "", ""),
];

fn check_answer(answer: &Message, version: &str, status: u16, body: &str, keep: bool) {
    let head = answer.head_text();
    assert!(head.starts_with(&format!("HTTP/{version} {status} ")), "{head}");
    assert_eq!(answer.text(), body, "{head}");
    assert_eq!(answer.says("Connection", "close"), !keep, "{head}");
    let old_keeps = version == "1.0" && keep;
    assert_eq!(answer.says("Connection", "keep-alive"), old_keeps, "{head}");
    if version == "1.0" {
        assert!(answer.fields("Transfer-Encoding").is_empty(), "{head}");
        assert!(answer.fields("Trailer").is_empty() && answer.trailers.is_empty(), "{head}");
    }
}

/// Every answer to every request, for clients of both versions that close, and that stay.
#[test]
fn b7_6_both_versions_and_every_form_of_body() {
    for (bytes, ends, ends_new, ends_old) in ANSWERS {
        let origin = Origin::scripted(move |wire| {
            while let Ok(request) = wire.request() {
                let head = request.head_text();
                assert!(head.contains(" HTTP/1.1\r\n"), "{head}");
                assert_eq!(request.fields("Host").len(), 1, "{head}");
                assert!(!request.says("Connection", "keep-alive"), "{head}");
                let expected = if request.method() == "POST" { "abc" } else { "" };
                assert_eq!(request.text(), expected, "{head}");
                wire.send(bytes);
                if ends {
                    return;
                }
            }
        });
        let proxy = Pointsman::before(origin.addr, &[]);
        let status: u16 = bytes[9..12].parse().expect("a status");
        let text = if status == 200 { "hello" } else { "" };
        for (version, connection, wants) in [
            ("1.0", "", false),
            ("1.0", "Connection: keep-alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
            ("1.1", "", true),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "Connection: close\r\n", false),
        ] {
            let keep = wants && !(if version == "1.0" { ends_old } else { ends_new });
            let mut client = proxy.client();
            for (method, lines, body, _) in REQUESTS {
                let head = format!("{method} /x HTTP/{version}\r\nHost: t\r\n{connection}{lines}");
                let answer = client.ask(format!("{head}\r\n{body}"));
                check_answer(&answer, version, status, text, keep);
                if !keep {
                    let end = if answer.end == End::Open { client.end() } else { answer.end };
                    assert_eq!(end, End::Fin, "{version} {connection:?} {method} {bytes:?}");
                    client = proxy.client();
                }
            }
        }
    }
}

/// HEAD in both versions: no content, whatever the form, and the connection stays for who asks.
#[test]
fn b7_6_head_in_both_versions() {
    for lines in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        for start in ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK"] {
            if start.contains("1.0") && lines.starts_with('T') {
                continue;
            }
            let origin = Origin::scripted(move |wire| {
                if wire.request().is_ok() {
                    wire.send(format!("{start}\r\n{lines}\r\n"));
                }
            });
            let proxy = Pointsman::before(origin.addr, &[]);
            for (version, connection) in [("1.0", "Connection: keep-alive\r\n"), ("1.1", "")] {
                let mut client = proxy.client();
                for _ in 0..2 {
                    let head = format!("HEAD / HTTP/{version}\r\nHost: t\r\n{connection}\r\n");
                    let answer = client.ask(head);
                    check_answer(&answer, version, 200, "", true);
                }
            }
        }
    }
}

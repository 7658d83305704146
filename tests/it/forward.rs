//! B7.3 to B7.5: what goes on is what came, to the byte, less what must go and plus what is said
//! to be added.

use crate::harness::{Origin, Pointsman};
use crate::wire::Message;

/// The head that the origin sees for this request.
fn seen(options: &[&str], request: &str) -> Message {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], options);
    let answer = proxy.client().ask(request);
    assert_eq!(answer.status(), 200, "{}{}", answer.head_text(), answer.text());
    origin.last()
}

/// The head without the three fields that are added by default.
fn without_forwarded(message: &Message) -> String {
    let head = message.head_text();
    let lines = head.split_inclusive("\r\n").filter(|l| !l.starts_with("X-Forwarded-"));
    lines.collect()
}

/// The head that a client sees when the origin gives exactly these bytes.
fn passed(answer: &str) -> Message {
    let origin = Origin::answering(answer);
    Pointsman::before(origin.addr, &[]).client().get("/")
}

const ODD: &str = "hOsT: Example.org:8080\r\nX-B: 2\r\nx-a:1\r\nX-B:   3  \r\nUser_Agent: o'dd\r\n\
    Empty:\r\nX-High: \u{e9}\r\nCookie: a=b; c=\"d\"\r\nAccept: */*,text/html;q=0.1\r\n\r\n";

/// B7.3: order and case of fields, duplicates, spaces, unknown fields and methods; nothing is
/// invented, and nothing at all is added with `forwarded = off`.
#[test]
fn b7_3_requests_are_byte_exact() {
    for method in ["GET", "BREW", "get"] {
        let request = format!("{method} /s/v1/a%2Fb//c?x=1;y HTTP/1.1\r\n{ODD}");
        let expected = format!("{method} /a%2Fb//c?x=1;y HTTP/1.1\r\n{ODD}");
        assert_eq!(seen(&["--forwarded", "off"], &request).head_text(), expected);
        assert_eq!(without_forwarded(&seen(&[], &request)), expected);
    }
}

/// B7.3: the length of a body and the body stay as they are.
#[test]
fn b7_3_bodies_are_byte_exact() {
    let request =
        "PATCH /s/v1/x HTTP/1.1\r\nHost: t\r\ncontent-LENGTH: 7\r\nX: 1\r\n\r\na\0b\r\n\r\n";
    let got = seen(&["--forwarded", "off"], request);
    assert_eq!([got.head, got.body].concat(), request.replace("/s/v1/x", "/x").into_bytes());
}

/// B7.3: answers, too: reason, order, case, duplicates, spaces.
#[test]
fn b7_3_answers_are_byte_exact() {
    for start in ["200 OK", "299 Very  odd, (reason)", "500 ", "404 N\u{f6}"] {
        let head = format!(
            "HTTP/1.1 {start}\r\nsErver: x/1\r\nSet-Cookie: a=1\r\nX:  1 \r\nset-cookie: b=2\r\n\
             ETag: W/\"1\"\r\ncontent-length: 2\r\n\r\n"
        );
        let answer = passed(&format!("{head}hi"));
        assert_eq!(answer.head_text(), head);
        assert_eq!(answer.text(), "hi");
    }
}

/// B7.4: hop-by-hop fields and what Connection names go; `TE: trailers` stays.
#[test]
fn b7_4_hop_by_hop_fields_of_requests() {
    let got = seen(
        &["--forwarded", "off"],
        "GET /s/v1/x HTTP/1.1\r\nHost: t\r\nConnection:\r\nConnection: keep-alive, X-Drop ,TE\r\n\
         connection: x-too\r\nX-Drop: 1\r\nX-Keep: 2\r\nX-Too: 3\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip;q=0.5, Trailers\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAARAAAAA\r\nX-Last: 4\r\n\r\n",
    );
    let head = got.head_text();
    for gone in ["X-Drop", "X-Too", "Keep-Alive", "Proxy-Connection", "Upgrade", "HTTP2-Settings"] {
        assert!(got.fields(gone).is_empty(), "{gone}: {head}");
    }
    assert_eq!(got.fields("TE"), ["trailers"], "{head}");
    assert_eq!(got.fields("X-Keep"), ["2"]);
    assert_eq!(got.fields("X-Last"), ["4"]);
    assert!(!got.says("Connection", "close") && !got.says("Connection", "keep-alive"), "{head}");
}

/// B7.4: `TE` without trailers goes.
#[test]
fn b7_4_te_without_trailers_goes() {
    let got = seen(&[], "GET /s/v1/x HTTP/1.1\r\nHost: t\r\nTE: deflate\r\nConnection: TE\r\n\r\n");
    assert!(got.fields("TE").is_empty(), "{}", got.head_text());
}

/// B7.4: what frames or routes a message, and what pointsman adds, cannot be named away.
#[test]
fn b7_4_what_cannot_be_named_away() {
    let got = seen(
        &[],
        "POST /s/v1/x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nCookie: a=b\r\n\
         Connection: Host, Content-Length, X-Forwarded-For, Cookie, X-Forwarded-Proto\r\n\r\nhello",
    );
    assert_eq!(got.fields("Host"), ["t"]);
    assert_eq!(got.text(), "hello");
    assert_eq!(got.fields("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(got.fields("X-Forwarded-Proto"), ["http"]);
    assert!(got.fields("Cookie").is_empty());
    let got = seen(
        &[],
        "POST /s/v1/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\
         Connection: Transfer-Encoding\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(got.text(), "hello");
}

/// B7.4: the same for answers; a client's `Connection: close` is its own affair.
#[test]
fn b7_4_hop_by_hop_fields_of_answers() {
    let answer = passed(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Gone, Content-Length\r\nX-Gone: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-Stays: 2\r\nContent-Length: 2\r\n\r\nhi",
    );
    for gone in ["X-Gone", "Keep-Alive", "Proxy-Connection"] {
        assert!(answer.fields(gone).is_empty(), "{gone}: {}", answer.head_text());
    }
    assert_eq!((answer.fields("X-Stays"), answer.text()), (vec!["2".into()], "hi".into()));
    assert!(!answer.says("Connection", "close"));

    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    for _ in 0..3 {
        let mut client = proxy.client();
        let answer = client.ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        assert!(answer.says("Connection", "close"), "{}", answer.head_text());
        assert_eq!(client.end(), crate::wire::End::Fin);
    }
    assert_eq!(origin.connections(), 1, "the upstream connection stays");
}

/// B7.4: Max-Forwards is counted down on TRACE and OPTIONS, and answered here at 0.
#[test]
fn b7_4_max_forwards() {
    let origin = Origin::polite();
    let proxy = Pointsman::before(origin.addr, &[]);
    let mut client = proxy.client();
    let mut ask = |method: &str, n: u32| {
        client.ask(format!("{method} /x HTTP/1.1\r\nHost: t\r\nMax-Forwards: {n}\r\n\r\n")).status()
    };
    for method in ["OPTIONS", "TRACE"] {
        assert_eq!(ask(method, 10), 200);
        assert_eq!(origin.last().fields("Max-Forwards"), ["9"], "{method}");
    }
    let before = origin.requests().len();
    assert_eq!(ask("OPTIONS", 0), 200);
    ask("TRACE", 0);
    assert_eq!(origin.requests().len(), before, "answered here");
    assert_eq!(ask("GET", 3), 200);
    assert_eq!(origin.last().fields("Max-Forwards"), ["3"], "not a matter of GET");
}

/// B7.4: Via is off by default, and can be had.
#[test]
fn b7_4_via() {
    let request = "GET /s/v1/x HTTP/1.1\r\nHost: t\r\nVia: 1.0 before\r\n\r\n";
    assert_eq!(seen(&[], request).fields("Via"), ["1.0 before"]);
    let with = seen(&["--via", "on"], request).fields("Via").join(", ");
    assert!(with.starts_with("1.0 before, 1.1 "), "{with}");
}

/// B7.5: what is added, and how a client's own X-Forwarded-For is treated.
#[test]
fn b7_5_forwarded_fields() {
    let plain = "GET /s/v1/x HTTP/1.1\r\nHost: Example.org:81\r\n\r\n";
    let got = seen(&[], plain);
    assert_eq!(got.fields("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(got.fields("X-Forwarded-Host"), ["Example.org:81"]);
    assert_eq!(got.fields("X-Forwarded-Proto"), ["http"]);
    assert_eq!(got.fields("Host"), ["Example.org:81"]);

    let prior = "GET /s/v1/x HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 192.0.2.1\r\nA: b\r\n\
        x-forwarded-for: 192.0.2.2, 192.0.2.3\r\n\r\n";
    let all = "192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.1";
    let table: [(&[&str], &[&str]); 6] = [
        (&[], &[all]),
        (&["--forwarded", "append"], &[all]),
        (&["--forwarded", "replace"], &["127.0.0.1"]),
        (&["--forwarded", "off"], &["192.0.2.1", "192.0.2.2, 192.0.2.3"]),
        (&["--trusted", "10.0.0.0/8"], &["127.0.0.1"]),
        (&["--trusted", "127.0.0.0/8"], &[all]),
    ];
    for (options, expected) in table {
        assert_eq!(seen(options, prior).fields("X-Forwarded-For"), expected, "{options:?}");
    }
}

/// B7.5: `host = endpoint` names the endpoint instead of what the client asked for.
#[test]
fn b7_5_host_of_the_endpoint() {
    let origin = Origin::polite();
    let proxy = Pointsman::service(&[origin.addr], &["--host", "endpoint"]);
    let request = "GET /s/v1/x HTTP/1.1\r\nHost: asked.example\r\n\r\n";
    assert_eq!(proxy.client().ask(request).status(), 200);
    assert_eq!(origin.last().fields("Host"), [origin.addr.to_string()]);
    assert_eq!(origin.last().fields("X-Forwarded-Host"), ["asked.example"]);
}

//! Two sample backends inside the process, for `--demo`: each answers with its own port and the
//! request target it saw.
//!
//! Small blocking HTTP/1.1 servers on threads of their own, as unlike the proxy as can be, so that
//! what is seen is the proxy's work. They know what curl, wrk and the proxy send: persistent
//! connections, `Content-Length`, chunks, `Expect`. They do not know the library.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use pointsman::Listen;

/// The route that the demo adds.
pub(crate) const ROUTE: &str = "serviceone/v1=127.0.0.1:9091,127.0.0.1:9092";

const PORTS: [u16; 2] = [9091, 9092];
/// Longer than the proxy keeps a connection, so that the demo never races with a close.
const IDLE: Duration = Duration::from_secs(60);
/// The most that is read of one head, or of one chunk's line and all trailers.
const HEAD_BYTES: u64 = 64 * 1024;

/// Starts both backends. An error names the address that cannot be had.
pub(crate) fn start() -> Result<(), String> {
    for port in PORTS {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => format!("{address}: address already in use"),
            _ => format!("{address}: {why}"),
        })?;
        spawn(move || accept(&listener, port)).map_err(|why| format!("{address}: {why}"))?;
    }
    Ok(())
}

/// Three lines to try, for a proxy that listens at `listen`.
pub(crate) fn invitation(listen: &Listen) -> String {
    let address = listen.to_string();
    let (curl, host) = match address.strip_prefix("unix:") {
        Some(path) => (format!("curl --unix-socket '{path}'"), "localhost"),
        None => ("curl".to_owned(), address.as_str()),
    };
    format!(
        "{curl} 'http://{host}/serviceone/v1/hello'\n\
         {curl} 'http://{host}/serviceone/v1/a%2Fb//c?x=1' -d 'some words'\n\
         {curl} 'http://{host}/serviceone/v2/nobody-is-here'\n"
    )
}

#[allow(clippy::disallowed_methods, reason = "the demo's backends are no part of the proxy")]
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("demo".to_owned()).stack_size(128 * 1024).spawn(work).map(drop)
}

fn accept(listener: &TcpListener, port: u16) {
    for stream in listener.incoming() {
        let served = stream.and_then(|stream| spawn(move || serve(&stream, port)));
        if let Err(why) = served {
            log::warn!("demo backend {port}: {why}");
            // Out of descriptors or threads: some will be free soon.
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn serve(stream: &TcpStream, port: u16) {
    let ready = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(IDLE)));
    if ready.is_ok() {
        // A peer that breaks off is not worth a word: the next request tells whether it matters.
        let _ = converse(&mut BufReader::new(stream), &mut { stream }, port);
    }
}

/// How a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

/// What the backend wants to know of a request.
struct Request {
    method: Vec<u8>,
    target: Vec<u8>,
    body: Body,
    persists: bool,
    expects_100: bool,
}

/// Answers one request after the other until one of the two sides has had enough.
fn converse(from: &mut impl BufRead, to: &mut impl Write, port: u16) -> io::Result<()> {
    loop {
        let request = match head(from) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(why) => return refuse(to, why),
        };
        if request.expects_100 {
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body_bytes = match body(from, request.body) {
            Ok(bytes) => bytes,
            Err(why) => return refuse(to, why),
        };
        to.write_all(&answer(&request, body_bytes, port))?;
        if !request.persists {
            return Ok(());
        }
    }
}

/// Tells the peer if it was the peer's fault.
fn refuse(to: &mut impl Write, why: io::Error) -> io::Result<()> {
    if why.kind() == io::ErrorKind::InvalidData {
        to.write_all(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
    }
    Err(why)
}

fn answer(request: &Request, body_bytes: u64, port: u16) -> Vec<u8> {
    let mut text = format!("{port} ").into_bytes();
    text.extend_from_slice(&request.method);
    text.push(b' ');
    text.extend_from_slice(&request.target);
    if body_bytes > 0 {
        text.extend_from_slice(format!(" with {body_bytes} B").as_bytes());
    }
    text.push(b'\n');
    let connection = if request.persists { "keep-alive" } else { "close" };
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n",
        text.len()
    )
    .into_bytes();
    if request.method != b"HEAD" {
        out.append(&mut text);
    }
    out
}

/// The next request's head; `None` if the peer is done.
fn head(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut from = from.take(HEAD_BYTES);
    let first = line(&mut from)?;
    let mut words = first.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let newer = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(bad()),
    };
    let (mut length, mut chunked, mut expects_100, mut persists) = (None, false, false, newer);
    loop {
        let text = line(&mut from)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = field(&text)?;
        match name.as_str() {
            "content-length" if length.is_none() => length = Some(number(&value, 10)?),
            "transfer-encoding" if !chunked && value == "chunked" => chunked = true,
            "content-length" | "transfer-encoding" => return Err(bad()),
            "connection" if value.contains("close") => persists = false,
            "connection" if value.contains("keep-alive") => persists = true,
            "expect" => expects_100 = value == "100-continue",
            _ => {}
        }
    }
    let body = match (length, chunked) {
        (Some(_), true) => return Err(bad()),
        (length, false) => Body::Length(length.unwrap_or(0)),
        (None, true) => Body::Chunked,
    };
    let (method, target) = (method.to_vec(), target.to_vec());
    Ok(Some(Request { method, target, body, persists, expects_100 }))
}

/// Reads a body to its end and throws it away; how long it was.
fn body(from: &mut impl BufRead, body: Body) -> io::Result<u64> {
    match body {
        Body::Length(length) => skip(from, length).map(|()| length),
        Body::Chunked => {
            let mut sum = 0_u64;
            loop {
                let text = line(&mut from.take(HEAD_BYTES))?;
                let size = text.split(|byte| *byte == b';').next().unwrap_or(&text);
                let size = number(std::str::from_utf8(size).map_err(|_| bad())?.trim_end(), 16)?;
                if size == 0 {
                    break;
                }
                skip(from, size)?;
                sum = sum.saturating_add(size);
                if !line(&mut from.take(2))?.is_empty() {
                    return Err(bad());
                }
            }
            let mut trailers = from.take(HEAD_BYTES);
            while !line(&mut trailers)?.is_empty() {}
            Ok(sum)
        }
    }
}

fn skip(from: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    let read = io::copy(&mut from.take(bytes), &mut io::sink())?;
    if read == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// One line without its CRLF.
fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.read_until(b'\n', &mut text)?;
    text.strip_suffix(b"\r\n").map(<[u8]>::to_vec).ok_or_else(bad)
}

/// Name and value of a field, both in lower case: what is looked at here is case-insensitive.
fn field(text: &[u8]) -> io::Result<(String, String)> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    if name.is_empty() || name.contains([' ', '\t']) {
        return Err(bad());
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number(text: &str, radix: u32) -> io::Result<u64> {
    if text.is_empty() || !text.chars().all(|letter| letter.is_digit(radix)) {
        return Err(bad());
    }
    u64::from_str_radix(text, radix).map_err(|_| bad())
}

fn bad() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a backend on port 7 answers to `sent`.
    fn talk(sent: &str) -> String {
        let mut out = Vec::new();
        let _ = converse(&mut sent.as_bytes(), &mut out, 7);
        String::from_utf8(out).unwrap()
    }

    fn ok(text: &str, connection: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n{text}",
            text.len()
        )
    }

    #[test]
    fn b1_1_a_backend_answers_with_its_port_and_the_target() {
        for (sent, answers) in [
            ("", String::new()),
            (
                "GET /a%2Fb//c?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
                ok("7 GET /a%2Fb//c?x=1\n", "keep-alive"),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", ok("7 GET /\n", "close")),
            ("GET / HTTP/1.0\r\n\r\n", ok("7 GET /\n", "close")),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", ok("7 GET /\n", "keep-alive")),
            (
                "POST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
                ok("7 POST /p with 3 B\n", "keep-alive") + &ok("7 GET /\n", "keep-alive"),
            ),
            (
                "POST /p HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
                 3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                ok("7 POST /p with 13 B\n", "keep-alive") + &ok("7 GET /\n", "keep-alive"),
            ),
            (
                "PUT /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
                format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("7 PUT /p with 1 B\n", "keep-alive")),
            ),
        ] {
            assert_eq!(talk(sent), answers, "{sent:?}");
        }
        let head = talk("HEAD / HTTP/1.1\r\n\r\n");
        assert!(head.contains("Content-Length: 9\r\n") && head.ends_with("\r\n\r\n"), "{head:?}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for sent in [
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        ] {
            assert!(talk(sent).starts_with("HTTP/1.1 400 "), "{sent:?}: {:?}", talk(sent));
        }
        let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
        assert!(talk(&endless).starts_with("HTTP/1.1 400 "));
        assert_eq!(talk("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"), "", "cut short");
    }

    #[test]
    fn b1_1_three_lines_to_try() {
        let Ok(tcp) = "127.0.0.1:9090".parse() else { panic!("not an address") };
        let text = invitation(&tcp);
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines().all(|line| line.starts_with("curl 'http://127.0.0.1:9090/serviceone/"))
        );
        let Ok(unix) = "unix:/run/p.sock".parse() else { panic!("not an address") };
        assert!(invitation(&unix).contains("--unix-socket '/run/p.sock' 'http://localhost/"));
    }
}

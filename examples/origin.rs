//! A small HTTP/1.1 origin to try the proxy with: `origin PORT [MILLISECONDS]`.
//!
//! A thread for each connection, blocking, keep-alive. It answers with its port, the method, the
//! target, and the length and checksum (FNV-1a) of the body; `/bytes/N` is answered with N bytes,
//! `/connections` with how many it has accepted.
//! MILLISECONDS is how long it thinks before each answer. It knows nothing of the proxy.

#![allow(clippy::disallowed_methods, reason = "outside the library there are clocks and threads")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|a| a.parse::<u16>().ok());
    let pause_ms = args.next().map_or(Some(0), |a| a.parse::<u64>().ok());
    let (Some(port), Some(pause_ms)) = (port, pause_ms) else {
        eprintln!("usage: origin PORT [MILLISECONDS]");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| {
        eprintln!("127.0.0.1:{port}: {error}");
        std::process::exit(1);
    });
    let port = listener.local_addr().map_or(port, |a| a.port());
    println!("origin listening on 127.0.0.1:{port}");
    for stream in listener.incoming().flatten() {
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || serve(stream, port, pause_ms));
    }
}

/// Answers one request after the other until the connection ends or says something strange.
fn serve(stream: TcpStream, port: u16, pause_ms: u64) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::with_capacity(65_536, stream);
    loop {
        let request = read_request(&mut reader)?;
        if pause_ms > 0 {
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
        // Head and body leave in one write, so that a killed origin has answered wholly or not.
        writer.write_all(&answer(port, &request)).ok()?;
        if request.close {
            return None;
        }
    }
}

struct Request {
    method: String,
    target: String,
    length: u64,
    sum: u64,
    close: bool,
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let (mut length, mut chunked, mut close) = (0_u64, false, false);
    loop {
        let field = line(reader)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut request = Request { method, target, length: 0, sum: 0xcbf2_9ce4_8422_2325, close };
    if chunked {
        read_chunks(reader, &mut request)?;
    } else {
        read_body(reader, &mut request, length)?;
    }
    Some(request)
}

fn read_chunks(reader: &mut impl BufRead, request: &mut Request) -> Option<()> {
    loop {
        let size = line(reader)?;
        let size = u64::from_str_radix(size.split(';').next()?, 16).ok()?;
        if size == 0 {
            while !line(reader)?.is_empty() {}
            return Some(());
        }
        read_body(reader, request, size)?;
        line(reader)?;
    }
}

fn read_body(reader: &mut impl Read, request: &mut Request, mut left: u64) -> Option<()> {
    let mut space = [0; 65_536];
    request.length += left;
    while left > 0 {
        let most = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = reader.read(&mut space[..most]).ok().filter(|n| *n > 0)?;
        for byte in &space[..n] {
            request.sum = (request.sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        left -= n as u64;
    }
    Some(())
}

/// A line without its CRLF; `None` at the end, or if it has no CRLF or is too long.
fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    reader.by_ref().take(65_536).read_until(b'\n', &mut bytes).ok()?;
    let text = bytes.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn answer(port: u16, request: &Request) -> Vec<u8> {
    let Request { method, target, length, sum, .. } = request;
    let body = match target.strip_prefix("/bytes/").and_then(|n| n.parse::<usize>().ok()) {
        Some(n) => vec![b'x'; n],
        None if target == "/connections" => {
            CONNECTIONS.load(Ordering::Relaxed).to_string().into_bytes()
        }
        None => format!("{port} {method} {target} {length} {sum:016x}\n").into_bytes(),
    };
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    if method != "HEAD" {
        bytes.extend_from_slice(&body);
    }
    bytes
}

//! A small load generator that checks every answer: `load ADDR TARGET [OPTIONS]`.
//!
//! `-c N` keep-alive connections (64), each on a thread; `-n N` requests in all (10000);
//! `-m METHOD` (GET); `-b N` bytes of body (0); `-s TEXT`, which must stand in every answer.
//! The origin is `origin.rs`, which says what it saw; the proxy may have cut a prefix off the
//! target. It prints what was lost, by kind, and exits with 1 if anything was.

#![allow(clippy::disallowed_methods, reason = "outside the library there are clocks and threads")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[derive(Clone)]
struct Plan {
    addr: String,
    target: String,
    connections: u64,
    requests: u64,
    method: String,
    body_bytes: usize,
    said: String,
}

fn main() {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!(
            "usage: load ADDR TARGET [-c CONNECTIONS] [-n REQUESTS] [-m METHOD] [-b BYTES] \
             [-s TEXT]"
        );
        std::process::exit(2);
    };
    let begun = Instant::now();
    let threads: Vec<_> = (0..plan.connections)
        .map(|n| {
            let share =
                plan.requests / plan.connections + u64::from(n < plan.requests % plan.connections);
            let plan = plan.clone();
            std::thread::spawn(move || run(&plan, share))
        })
        .collect();
    let (mut answered, mut lost) = (0, BTreeMap::<String, u64>::new());
    for thread in threads {
        let (fine, bad) = thread.join().unwrap_or((0, vec!["a thread failed".into()]));
        answered += fine;
        bad.into_iter().for_each(|kind| *lost.entry(kind).or_default() += 1);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count: u64 = lost.values().sum();
    println!(
        "{answered} answered, {count} lost, {:.2} s, {:.0} a second",
        seconds,
        answered as f64 / seconds
    );
    lost.iter().for_each(|(kind, n)| println!("lost {n}: {kind}"));
    std::process::exit(i32::from(count > 0 || answered != plan.requests));
}

fn plan(mut args: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan {
        addr: args.next()?,
        target: args.next()?,
        connections: 64,
        requests: 10_000,
        method: "GET".into(),
        body_bytes: 0,
        said: String::new(),
    };
    while let Some(name) = args.next() {
        let value = args.next()?;
        match name.as_str() {
            "-c" => plan.connections = value.parse().ok().filter(|n| *n > 0)?,
            "-n" => plan.requests = value.parse().ok()?,
            "-m" => plan.method = value,
            "-b" => plan.body_bytes = value.parse().ok()?,
            "-s" => plan.said = value,
            _ => return None,
        }
    }
    Some(plan)
}

/// Sends `share` requests one after the other; a lost connection is replaced.
fn run(plan: &Plan, share: u64) -> (u64, Vec<String>) {
    let (mut fine, mut lost, mut stream) = (0, Vec::new(), None);
    let body = vec![b'b'; plan.body_bytes];
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{} {} HTTP/1.1\r\nHost: load\r\n{length}\r\n", plan.method, plan.target);
    let request = [head.as_bytes(), &body].concat();
    let expected = format!("{} {:016x}", body.len(), checksum(&body));
    for _ in 0..share {
        match exchange(&mut stream, plan, &request, &expected) {
            Ok(()) => fine += 1,
            Err(kind) => {
                lost.push(kind);
                stream = None;
            }
        }
    }
    (fine, lost)
}

fn exchange(
    stream: &mut Option<TcpStream>,
    plan: &Plan,
    request: &[u8],
    expected: &str,
) -> Result<(), String> {
    let kind = |e: std::io::Error| format!("{:?}", e.kind());
    if stream.is_none() {
        let fresh =
            TcpStream::connect(&plan.addr).map_err(|e| format!("connect: {:?}", e.kind()))?;
        fresh.set_nodelay(true).map_err(kind)?;
        fresh.set_read_timeout(Some(Duration::from_secs(30))).map_err(kind)?;
        *stream = Some(fresh);
    }
    let Some(open) = stream.as_mut() else { return Err("no connection".into()) };
    open.write_all(request).map_err(kind)?;
    let (status, text) = read_answer(open)?;
    let whole = plan.target.contains("/bytes/") || text.contains(expected);
    if status != 200 {
        return Err(format!("status {status}"));
    }
    if !whole || !text.contains(&plan.said) {
        return Err(format!("wrong answer {:?}", text.chars().take(80).collect::<String>()));
    }
    Ok(())
}

/// Status and body of an answer with a Content-Length, and not a byte more.
fn read_answer(stream: &mut TcpStream) -> Result<(u16, String), String> {
    let (mut seen, mut space) = (Vec::new(), [0; 16_384]);
    loop {
        if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length: usize = length.and_then(|l| l.trim().parse().ok()).ok_or("no length")?;
            if seen.len() > end + 4 + length {
                return Err("too many bytes".into());
            }
            if seen.len() == end + 4 + length {
                return Ok((status, String::from_utf8_lossy(&seen[end + 4..]).into_owned()));
            }
        }
        let n = stream.read(&mut space).map_err(|e| format!("read: {:?}", e.kind()))?;
        if n == 0 {
            return Err(if seen.is_empty() { "closed" } else { "cut" }.into());
        }
        seen.extend_from_slice(&space[..n]);
    }
}

fn checksum(body: &[u8]) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325;
    body.iter().fold(begin, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

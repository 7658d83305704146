//! Those who send what no client should, as much of it as goes.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::crowd::{Crowd, Tally, raid};
use crate::siege::{Field, Report, Siege};
use crate::wire::{End, connect, read_on};

const PATIENCE: Duration = Duration::from_secs(15);
const PIPELINED: usize = 10_000;
const MANY: usize = 200;

pub(crate) fn sieges() -> Vec<Siege> {
    vec![
        Siege {
            ..Siege::new(
                "pipeline",
                "10,000 requests in one write, then 2,000 each on 20 at once",
                pipeline,
            )
        },
        Siege {
            brief: true,
            ..Siege::new("pipeline-404", "10,000 each to nobody's service, on 20 at once", nobody)
        },
        Siege { brief: true, ..Siege::new("empty-lines", "8 send CRLF without end", empty_lines) },
        Siege { ..Siege::new("head-bombs", "200 at once: heads that are too much", head_bombs) },
        Siege::new("head-storm", "8 send such heads, one after the other", head_storm),
        Siege::new("chunk-bombs", "200 at once: chunked framing that is too much", chunk_bombs),
        Siege {
            brief: true,
            ..Siege::new("tiny-chunks", "8 upload chunks of one byte without end", tiny_chunks)
        },
        Siege::new("extensions", "8 upload chunks with extensions of 1,000 bytes", extensions),
        Siege::new("greedy", "32 read 1 GB as fast as it comes", greedy),
    ]
}

/// What came of so many requests in one write: all answered, in their order, or not.
fn write_pipeline(addr: SocketAddr, target: &str, status: u16, length: usize) -> String {
    let one = |n: usize| format!("GET {target}/{n} HTTP/1.1\r\nHost: pipe\r\n\r\n");
    let bytes: String = (0..length).map(one).collect();
    let Ok(mut stream) = connect(addr, PATIENCE) else { return "no connection".to_owned() };
    let Ok(mut reader) = stream.try_clone() else { return "no connection".to_owned() };
    std::thread::scope(|scope| {
        scope.spawn(move || stream.write_all(bytes.as_bytes()));
        let (mut seen, mut n, mut space) = (Vec::new(), 0, vec![0; 64 * 1024]);
        while n < length {
            let mut at = 0;
            while let Some(rest) = seen.get(at..) {
                let Some((got, head, length)) = crate::wire::head_of(rest) else { break };
                let end = head + length.unwrap_or(0);
                let Some(body) = rest.get(head..end) else { break };
                if got != status || (got == 200 && body != n.to_string().as_bytes()) {
                    return format!("answer {n} is {got}, {}", String::from_utf8_lossy(body));
                }
                at += end;
                n += 1;
            }
            seen.drain(..at);
            if n == length {
                break;
            }
            match io::Read::read(&mut reader, &mut space) {
                Ok(0) if n < length => return format!("closed after {n}"),
                Err(error) if n < length => return format!("{:?} after {n}", error.kind()),
                Ok(count) => seen.extend_from_slice(space.get(..count).unwrap_or_default()),
                Err(_) => {}
            }
        }
        "all, in order".to_owned()
    })
}

/// On so many connections at the same time, once.
fn pipelines(
    addr: SocketAddr,
    (count, length): (usize, usize),
    target: &str,
    status: u16,
) -> Tally {
    raid(count, Duration::ZERO, || write_pipeline(addr, target, status, length))
}

fn pipeline(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    for (count, length) in [(1, PIPELINED), (20, PIPELINED / 5)] {
        let begun = Instant::now();
        let tally = pipelines(field.addr, (count, length), "/good/v1/echo", 200);
        report.only("answered", &tally, &["all, in order"]);
        report.tell(format!("{:.1} s", begun.elapsed().as_secs_f64()));
    }
    Ok(report)
}

fn nobody(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let tally = pipelines(field.addr, (20, PIPELINED), "/nobody/v1", 404);
    report.only("answered", &tally, &["all, in order"]);
    Ok(report)
}

/// Sends `begin`, then `unit` for as long as it is taken and time is left, and tells the answer.
fn send_on(addr: SocketAddr, begin: &[u8], unit: &[u8], length: Duration) -> String {
    let until = Instant::now() + length;
    let Ok(mut stream) = connect(addr, PATIENCE) else { return "no connection".to_owned() };
    let piece = unit.repeat(64 * 1024 / unit.len());
    let mut sent = stream.write_all(begin).is_ok();
    while sent && Instant::now() < until {
        sent = stream.write_all(&piece).is_ok();
    }
    if sent {
        return "taken to the end".to_owned();
    }
    let came = read_on(&mut stream, u64::MAX, Instant::now() + Duration::from_secs(2));
    match came.status {
        0 => "closed".to_owned(),
        status => status.to_string(),
    }
}

fn floods(field: &Field<'_>, begin: &str, unit: &[u8]) -> Tally {
    let (addr, length) = (field.addr, field.length);
    raid(8, Duration::ZERO, || send_on(addr, begin.as_bytes(), unit, length))
}

fn empty_lines(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let tally = floods(field, "", b"\r\n");
    report.only("CRLF", &tally, &["taken to the end", "400", "closed"]);
    Ok(report)
}

const POST: &str =
    "POST /evil/v1/deaf HTTP/1.1\r\nHost: bomb\r\nTransfer-Encoding: chunked\r\n\r\n";

fn tiny_chunks(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let swallowed = POST.replace("deaf", "never");
    report.only("chunks", &floods(field, &swallowed, b"1\r\nx\r\n"), &["taken to the end"]);
    Ok(report)
}

fn extensions(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let swallowed = POST.replace("deaf", "never");
    let unit = format!("1;{}\r\nx\r\n", "e".repeat(1_000));
    report.only("chunks", &floods(field, &swallowed, unit.as_bytes()), &["taken to the end"]);
    Ok(report)
}

/// Heads that are too much, and what they are answered with.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let head = "GET /good/v1/echo/x HTTP/1.1\r\nHost: bomb\r\n";
    let fields: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = "y".repeat(1 << 20);
    vec![
        ("a line without end", vec![b'G'; 1 << 20], "431"),
        ("a target without end", [b"GET /", vec![b'a'; 1 << 20].as_slice()].concat(), "414"),
        ("10,000 fields", format!("{head}{fields}\r\n").into_bytes(), "431"),
        ("a field of 1 MB", format!("{head}X: {long}\r\n\r\n").into_bytes(), "431"),
        ("a name of 1 MB", format!("{head}{long}: y\r\n\r\n").into_bytes(), "431"),
    ]
}

fn head_bombs(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    for (what, bytes, status) in bombs() {
        let mut crowd = Crowd::gather(field.addr, MANY)?;
        crowd.say(&bytes);
        crowd.listen_until(PATIENCE, |member| member.is_over());
        report.only(what, &crowd.tally(), &[status, &format!("{status}, reset")]);
        report.must(crowd.count(|m| m.end == End::Open) == 0, format!("{what}: not closed"));
    }
    Ok(report)
}

fn head_storm(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let addr = field.addr;
    for (what, bytes, status) in bombs() {
        let bytes = bytes.get(..40_000.min(bytes.len())).unwrap_or_default();
        let tally = raid(8, field.length / 4, || {
            let Ok(mut stream) = connect(addr, PATIENCE) else { return "no connection".into() };
            let _ = stream.write_all(bytes);
            let came = read_on(&mut stream, u64::MAX, Instant::now() + PATIENCE);
            match (came.status, came.end) {
                (0, End::Reset) => "reset".to_owned(),
                (status, End::Open) => format!("{status}, open"),
                (status, _) => status.to_string(),
            }
        });
        report.only(what, &tally, &[status, "reset"]);
    }
    Ok(report)
}

fn chunk_bombs(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let table: [(&str, String, &[&str]); 6] = [
        ("an extension without end", format!("1;{}", "e".repeat(1 << 20)), &["400"]),
        ("a trailer without end", format!("0\r\nX: {}", "t".repeat(1 << 20)), &["400"]),
        ("trailers without end", format!("0\r\n{}", "X: t\r\n".repeat(1 << 17)), &["400"]),
        ("a size of 16 digits", "F".repeat(16) + "\r\n", &["400"]),
        ("sizes without end", "0".repeat(1 << 20), &["400"]),
        (
            "a size of 15 digits, then data",
            "F".repeat(15) + "\r\n" + &"d".repeat(1 << 20),
            &["silent"],
        ),
    ];
    for (what, body, expected) in table {
        let mut crowd = Crowd::gather(field.addr, MANY)?;
        crowd.say(format!("{POST}{body}").as_bytes());
        if expected == ["silent"] {
            crowd.drip(Duration::from_millis(300), Duration::from_millis(50), b"d", 1_024);
        } else {
            crowd.listen_until(PATIENCE, |member| member.is_over());
        }
        report.only(what, &crowd.tally(), &[expected, &["400, reset"]].concat());
    }
    Ok(report)
}

fn greedy(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let (addr, until) = (field.addr, Instant::now() + field.length);
    let tally = raid(32, Duration::ZERO, || {
        let Ok(mut stream) = connect(addr, PATIENCE) else { return "no connection".into() };
        let get = format!("GET /evil/v1/big/{} HTTP/1.1\r\nHost: greedy\r\n\r\n", 1 << 30);
        let _ = stream.write_all(get.as_bytes());
        let came = read_on(&mut stream, u64::MAX, until);
        format!("{}, {}", came.status, if came.bytes > 1 << 20 { "well served" } else { "starved" })
    });
    report.only("they", &tally, &["200, well served"]);
    Ok(report)
}

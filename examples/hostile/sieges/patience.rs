//! Those who do little, and are many: idle, slow, half gone, or not reading.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::crowd::{Crowd, raid};
use crate::siege::{Field, Report, Siege};
use crate::wire::connect;

const PATIENCE: Duration = Duration::from_secs(15);
const SLOW: usize = 2_000;
/// What is left to the well-behaved of `max-connections`.
const SPARE: u64 = 60;
const GIGABYTE: u64 = 1 << 30;

pub(crate) fn sieges() -> Vec<Siege> {
    vec![
        Siege {
            brief: true,
            ..Siege::new("idle", "as many idle clients as may be, each served once", idle)
        },
        Siege {
            brief: true,
            ..Siege::new("slow-heads", "2,000 heads, a byte every 500 ms", slow_heads)
        },
        Siege::new("slow-bodies", "2,000 uploads, a byte every 500 ms", slow_bodies),
        Siege {
            brief: true,
            ..Siege::new("slow-readers", "2,000 read 8 MB, a byte every 100 ms", slow_readers)
        },
        Siege::new("never-reads", "50 ask for 1 GB and read nothing", never_reads),
        Siege::new("half-closed", "2,000 end their side, half of them in a head", half_closed),
        Siege {
            ..Siege::new("churn", "connections opened and closed, half of them by a reset", churn)
        },
    ]
}

fn idle(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    // The proxy needs two descriptors for each connection that it admits, and 32 of its own.
    let admitted = ((field.files.saturating_sub(32)) / 2).min(10_000);
    let count = admitted.saturating_sub(SPARE) as usize;
    let mut crowd = Crowd::gather(field.addr, count)?;
    in_groups(&mut crowd, b"GET /good/v1/echo/idle HTTP/1.1\r\nHost: idle\r\n\r\n");
    report.only("served", &crowd.tally(), &["200"]);
    report.still_ticks = Some(field.still()?);
    crowd.listen(1);
    report.must(crowd.count(|member| member.is_over()) == 0, "idle clients were closed");
    Ok(report)
}

/// A few say this and are answered, then the next: a burst of good requests is no siege.
fn in_groups(crowd: &mut Crowd, bytes: &[u8]) {
    let until = Instant::now() + PATIENCE;
    let mut space = [0; 1_024];
    for group in crowd.members.chunks_mut(16) {
        group.iter_mut().for_each(|member| {
            member.write(bytes);
        });
        while group.iter().any(|member| member.status() == 0) && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
            group.iter_mut().for_each(|member| member.read(1_024, &mut space));
        }
    }
}

fn slow_heads(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, SLOW)?;
    crowd.say(b"GET /good/v1/echo/slow HTTP/1.1\r\nHost: slow\r\nX: ");
    crowd.drip(field.length, Duration::from_millis(500), b"x", 1_024);
    report.only("while they drip", &crowd.tally(), &["silent"]);
    report.still_ticks = Some(field.still()?);
    in_groups(&mut crowd, b"\r\n\r\n");
    report.only("at the end", &crowd.tally(), &["200"]);
    Ok(report)
}

fn slow_bodies(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, SLOW)?;
    crowd
        .say(b"POST /evil/v1/length/x HTTP/1.1\r\nHost: slow\r\nContent-Length: 100000\r\n\r\nabc");
    crowd.drip(field.length, Duration::from_millis(500), b"x", 1_024);
    report.only("while they drip", &crowd.tally(), &["silent"]);
    report.still_ticks = Some(field.still()?);
    Ok(report)
}

/// Little room in the kernel, so that it is the proxy's memory that is asked for.
fn narrow(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_recv_buffer_size(4_096)
}

fn slow_readers(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather_with(field.addr, SLOW, narrow)?;
    crowd.say_in_turn(b"GET /evil/v1/big/8000000 HTTP/1.1\r\nHost: slow\r\n\r\n");
    crowd.drip(field.length, Duration::from_millis(100), b"", 1);
    crowd.listen(64);
    report.only("they read", &crowd.tally(), &["200"]);
    report.still_ticks = Some(field.still()?);
    Ok(report)
}

fn never_reads(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, 50)?;
    let get = format!("GET /evil/v1/big/{GIGABYTE} HTTP/1.1\r\nHost: never\r\n\r\n");
    crowd.say(get.as_bytes());
    std::thread::sleep(field.length);
    report.still_ticks = Some(field.still()?);
    crowd.listen(1_024);
    report.only("after all", &crowd.tally(), &["200"]);
    Ok(report)
}

fn half_closed(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut whole = Crowd::gather(field.addr, SLOW / 2)?;
    whole.say_in_turn(b"GET /evil/v1/wait/1500 HTTP/1.1\r\nHost: half\r\n\r\n");
    whole.half_close();
    let mut part = Crowd::gather(field.addr, SLOW / 2)?;
    part.say(b"GET /evil/v1/wait/1500 HTTP/1.1\r\nHost: ha");
    part.half_close();
    whole.listen_until(PATIENCE, |member| member.is_over());
    part.listen_until(PATIENCE, |member| member.is_over());
    report.only("whole requests", &whole.tally(), &["200"]);
    report.only("half requests", &part.tally(), &["closed"]);
    Ok(report)
}

fn churn(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let addr = field.addr;
    let visit = |request: &'static [u8], reset: bool| {
        move || match connect(addr, PATIENCE) {
            Ok(mut stream) => {
                let _ = io::Write::write_all(&mut stream, request);
                if reset {
                    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
                // Some thousands a second: more than are accepted would wait in the kernel.
                std::thread::sleep(Duration::from_micros(300));
                "came and went".to_owned()
            }
            Err(error) => format!("{:?}", error.kind()),
        }
    };
    let get = b"GET /good/v1/echo/gone HTTP/1.1\r\nHost: churn\r\n\r\n";
    let deeds: [(&str, &'static [u8], bool); 4] = [
        ("silent, closed", b"", false),
        ("silent, reset", b"", true),
        ("asked, closed", get, false),
        ("asked, reset", get, true),
    ];
    for (what, request, reset) in deeds {
        // Each leaves a port that rests for a minute: not so many that they run out.
        let crowd = raid(2, field.length / 6, visit(request, reset));
        report.only(what, &crowd, &["came and went"]);
    }
    for round in 0..2 {
        let crowd = Crowd::gather(field.addr, SLOW)?;
        if round == 0 {
            crowd.reset();
        }
    }
    report.tell("2,000 at once, then gone, twice");
    Ok(report)
}

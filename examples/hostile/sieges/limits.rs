//! More than there is room for: connections, descriptors, memory. Nobody is reset; who has no room
//! waits, and so may the well-behaved, whose times are then told and not judged.

use std::io::{self, Write};
use std::time::Duration;

use crate::crowd::{Crowd, raid};
use crate::siege::{Field, Report, Siege};
use crate::wire::{connect, read_answer};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn sieges() -> Vec<Siege> {
    vec![
        Siege {
            args: &["--max-connections", "200"],
            fresh: false,

            ..Siege::new("too-many", "2,000 clients where 200 are admitted", too_many)
        },
        Siege {
            files: Some(64),
            fresh: false,
            brief: true,
            ..Siege::new("ulimit-64", "200 clients of a process with 64 descriptors", ulimit)
        },
        Siege {
            args: &["--memory", "1MiB", "--max-connections", "1000"],
            timed: false,

            ..Siege::new(
                "little-memory",
                "300 uploads of 1 MB with 1 MiB of buffers",
                little_memory,
            )
        },
        Siege {
            args: &["--memory", "4MiB", "--max-connections", "3000"],
            timed: false,

            ..Siege::new("deaf-refused", "2,000 are refused and do not read it", deaf_refused)
        },
        Siege {
            args: &["--memory", "8MiB", "--max-connections", "4000", "--write-stall", "4s"],
            timed: false,
            ..Siege::new("full-house", "3,000 read slowly with 8 MiB of buffers", full_house)
        },
        Siege {
            args: &["--head-timeout", "4s"],
            timed: false,
            ..Siege::new("big-slow-heads", "1,500 stop after 20 KB of head", big_slow_heads)
        },
    ]
}

const ASK: &[u8] = b"GET /good/v1/echo/in HTTP/1.1\r\nHost: many\r\nConnection: close\r\n\r\n";

/// Some hold their place while all the others wait, and then give way.
fn crowded(field: &Field<'_>, inside: usize, outside: usize) -> io::Result<Report> {
    let mut report = Report::default();
    let mut holders = Crowd::gather(field.addr, inside)?;
    holders.say(b"GET /good/v1/echo/in HTTP/1.1\r\nHost: many\r\n\r\n");
    holders.listen_until(PATIENCE, |member| member.status() != 0);
    report.only("inside", &holders.tally(), &["200"]);
    let mut waiting = Crowd::gather(field.addr, outside)?;
    waiting.say(ASK);
    report.still_ticks = Some(field.still()?);
    std::thread::sleep(field.length);
    waiting.listen(1_024);
    report.tell(format!("{} of {outside} wait", waiting.count(|member| member.status() == 0)));
    drop(holders);
    waiting.listen_until(PATIENCE, |member| member.is_over());
    report.only("when those have left", &waiting.tally(), &["200"]);
    Ok(report)
}

fn too_many(field: &Field<'_>) -> io::Result<Report> {
    // The well-behaved have four places.
    crowded(field, 196, 1_804)
}

fn ulimit(field: &Field<'_>) -> io::Result<Report> {
    crowded(field, 12, 188)
}

fn little_memory(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let body = vec![b'm'; 1_000_000];
    let addr = field.addr;
    let tally = raid(300, field.length, || {
        let upload = || -> io::Result<u16> {
            let mut stream = connect(addr, PATIENCE)?;
            stream.write_all(
                b"POST /evil/v1/length/x HTTP/1.1\r\nHost: m\r\nContent-Length: 1000000\r\n\r\n",
            )?;
            stream.write_all(&body)?;
            Ok(read_answer(&mut stream)?.status)
        };
        upload().map_or_else(|error| format!("{:?}", error.kind()), |status| status.to_string())
    });
    report.only("uploads", &tally, &["200"]);
    Ok(report)
}

fn deaf_refused(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let narrow =
        |stream: &std::net::TcpStream| socket2::SockRef::from(stream).set_recv_buffer_size(4_096);
    let mut crowd = Crowd::gather_with(field.addr, 2_000, narrow)?;
    crowd.say(&b"GET /nobody/v1/x HTTP/1.1\r\nHost: deaf\r\n\r\n".repeat(50));
    std::thread::sleep(field.length);
    crowd.listen(64);
    report.only("after all", &crowd.tally(), &["404", "silent"]);
    Ok(report)
}

fn full_house(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let narrow =
        |stream: &std::net::TcpStream| socket2::SockRef::from(stream).set_recv_buffer_size(4_096);
    let mut crowd = Crowd::gather_with(field.addr, 3_000, narrow)?;
    crowd.say_in_turn(b"GET /evil/v1/big/8000000 HTTP/1.1\r\nHost: full\r\n\r\n");
    std::thread::sleep(field.length);
    crowd.listen(64);
    report.only("they read", &crowd.tally(), &["200", "silent"]);
    Ok(report)
}

fn big_slow_heads(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, 1_500)?;
    let head = format!("GET /good/v1/echo/x HTTP/1.1\r\nHost: big\r\nX: {}", "x".repeat(20_000));
    crowd.say(head.as_bytes());
    crowd.listen_until(PATIENCE, |member| member.status() != 0);
    report.only("at last", &crowd.tally(), &["408"]);
    Ok(report)
}

//! Origins that do what no origin should. The requests that meet them fail, and only those.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::crowd::{Crowd, raid};
use crate::siege::{Field, Report, Siege};
use crate::wire::{End, connect, read_on};

const PATIENCE: Duration = Duration::from_secs(15);
/// How much of an answer without end is enough.
const ENOUGH: u64 = 8 << 20;

pub(crate) fn sieges() -> Vec<Siege> {
    vec![
        Siege {
            args: &["--wait", "500ms"],

            ..Siege::new("garbage", "origins send noise, or nothing", garbage)
        },
        Siege {
            brief: true,
            ..Siege::new("endless-heads", "origins send a gigabyte of head", endless_heads)
        },
        Siege::new("endless-bodies", "origins send framing without end", endless_bodies),
        Siege::new("tiny-answers", "chunks of one byte, to HTTP/1.0, too", tiny_answers),
        Siege::new("drips", "50 answers at once, a byte per packet", drips),
        Siege {
            args: &["--first-byte", "2s"],
            ..Siege::new("never-answers", "1,000 requests that nobody answers", never_answers)
        },
        Siege {
            args: &["--write-stall", "4s"],
            ..Siege::new("deaf", "200 uploads that nobody reads", deaf)
        },
    ]
}

/// Asks for `deed` and tells what came: a status, and how it ended.
fn ask(field: &Field<'_>, deed: &str, version: &str) -> String {
    let Ok(mut stream) = connect(field.addr, PATIENCE) else { return "no connection".to_owned() };
    let get =
        format!("GET /evil/v1/{deed} HTTP/{version}\r\nHost: evil\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(get.as_bytes());
    let came = read_on(&mut stream, ENOUGH, Instant::now() + PATIENCE);
    let end = match came.end {
        End::Fin => "",
        End::Reset => ", reset",
        End::Open if came.bytes >= ENOUGH => ", enough",
        End::Open => ", open",
    };
    format!("{}{end}", came.status)
}

fn raids(
    field: &Field<'_>,
    report: &mut Report,
    threads: usize,
    version: &str,
    deeds: &[(&str, &[&str])],
) {
    for (deed, expected) in deeds {
        let length = field.length / u32::try_from(deeds.len()).unwrap_or(1);
        let tally = raid(threads, length, || ask(field, deed, version));
        report.only(deed, &tally, expected);
    }
}

fn garbage(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let deeds: [(&str, &[&str]); 4] = [
        ("garbage", &["502"]),
        ("close", &["502", "503"]),
        ("reset", &["502", "503"]),
        ("twice", &["200"]),
    ];
    raids(field, &mut report, 10, "1.1", &deeds);
    Ok(report)
}

fn endless_heads(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let interim: &[&str] = &["502", "103"];
    let deeds = [("head", &["502"] as &[&str]), ("fields", &["502"]), ("interim", interim)];
    raids(field, &mut report, 10, "1.1", &deeds);
    Ok(report)
}

fn endless_bodies(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let cut: &[&str] = &["200", "200, reset", "502"];
    raids(field, &mut report, 10, "1.1", &[("trailers", cut), ("extension", cut), ("sizes", cut)]);
    Ok(report)
}

fn tiny_answers(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    for version in ["1.1", "1.0"] {
        raids(field, &mut report, 4, version, &[("chunks", &["200, enough"])]);
    }
    Ok(report)
}

fn drips(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let begun = Instant::now();
    while begun.elapsed() < field.length {
        let mut crowd = Crowd::gather(field.addr, 50)?;
        crowd.say_in_turn(b"GET /evil/v1/drip HTTP/1.1\r\nHost: drip\r\n\r\n");
        let left = crowd.listen_until(PATIENCE, |member| member.first.ends_with(&[b'd'; 100]));
        report.must(left == 0, format!("{left} of 50 have not got all"));
    }
    report.tell("all answers whole");
    Ok(report)
}

fn never_answers(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, 1_000)?;
    crowd.say_in_turn(b"GET /evil/v1/never HTTP/1.1\r\nHost: never\r\n\r\n");
    report.still_ticks = Some(field.still()?);
    crowd.listen_until(PATIENCE, |member| member.status() != 0);
    report.only("at last", &crowd.tally(), &["504"]);
    Ok(report)
}

fn deaf(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = Crowd::gather(field.addr, 200)?;
    crowd.say(b"POST /evil/v1/deaf HTTP/1.1\r\nHost: deaf\r\nContent-Length: 1000000000\r\n\r\n");
    crowd.drip(field.length, Duration::from_millis(20), &[b'u'; 64 * 1024], 1_024);
    report.still_ticks = Some(field.still()?);
    report.only("they wait", &crowd.tally(), &["silent"]);
    Ok(report)
}

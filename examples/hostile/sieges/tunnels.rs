//! Tunnels: many that are idle, and those that one side floods while nobody reads at the other.

use std::io;
use std::time::Duration;

use crate::crowd::Crowd;
use crate::siege::{Field, Report, Siege};

const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn sieges() -> Vec<Siege> {
    vec![
        Siege::new("idle-tunnels", "1,000 tunnels through which nothing goes", idle),
        Siege {
            args: &["--write-stall", "4s"],
            brief: true,
            ..Siege::new("flooded-tunnels", "200 tunnels, one side floods, nobody reads", flooded)
        },
    ]
}

fn open(field: &Field<'_>, report: &mut Report, count: usize, deed: &str) -> io::Result<Crowd> {
    let mut crowd = Crowd::gather(field.addr, count)?;
    let ask = "Connection: Upgrade\r\nUpgrade: hostile";
    let get = format!("GET /evil/v1/{deed} HTTP/1.1\r\nHost: tunnel\r\n{ask}\r\n\r\n");
    crowd.say_in_turn(get.as_bytes());
    // What comes behind the 101 is left where it is.
    for _ in 0..200 {
        crowd.members.iter_mut().filter(|m| m.status() == 0).for_each(|m| m.read(64, &mut [0; 64]));
        if crowd.count(|member| member.status() == 0) == 0 {
            break;
        }
        std::thread::sleep(PATIENCE / 200);
    }
    report.only(deed, &crowd.tally(), &["101"]);
    Ok(crowd)
}

fn idle(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let mut crowd = open(field, &mut report, 1_000, "tunnel")?;
    crowd.drip(field.length, Duration::from_millis(1_000), b"x", 64);
    report.still_ticks = Some(field.still()?);
    report.must(crowd.count(|member| member.is_over()) == 0, "tunnels were closed");
    Ok(report)
}

fn flooded(field: &Field<'_>) -> io::Result<Report> {
    let mut report = Report::default();
    let _down = open(field, &mut report, 100, "tunnel-flood")?;
    let mut up = open(field, &mut report, 100, "tunnel-deaf")?;
    up.drip(field.length, Duration::from_millis(20), &[b'u'; 64 * 1024], 64);
    report.still_ticks = Some(field.still()?);
    Ok(report)
}

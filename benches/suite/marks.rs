//! The marks that were set before anything was measured, and whether they are kept.

use crate::results::{Results, number};

/// What a figure of ours is held against.
#[derive(Clone, Copy)]
enum Against {
    /// A number.
    Number(f64),
    /// So much of the best of the others.
    Best(f64),
    /// So much of what a certain one has.
    Peer(&'static str, f64),
    /// So much of our own figure in another scenario.
    Own(&'static str, f64),
}

struct Mark {
    scenario: &'static str,
    metric: &'static str,
    what: &'static str,
    against: Against,
}

const fn mark(
    scenario: &'static str,
    metric: &'static str,
    what: &'static str,
    against: Against,
) -> Mark {
    Mark { scenario, metric, what, against }
}

use Against::{Best, Number, Own, Peer};

const MARKS: [Mark; 25] = [
    mark("small", "cpu_us", "keep-alive small, CPU µs", Best(0.75)),
    mark("close", "cpu_us", "a connection per request, CPU µs", Best(0.75)),
    mark("mid16k", "cpu_us", "16 KiB answers, CPU µs", Best(0.75)),
    mark("fields30", "cpu_us", "30 header fields, CPU µs", Best(0.65)),
    mark("down10m", "cpu_s_gib", "10 MiB down, CPU s per GiB", Best(1.0)),
    mark("up10m", "cpu_s_gib", "10 MiB up, CPU s per GiB", Best(1.0)),
    mark("upchunked10m", "cpu_s_gib", "10 MiB up in chunks, CPU s per GiB", Best(0.8)),
    mark("conns8192", "cpu_us", "8,192 connections, CPU µs", Best(0.75)),
    mark("conns8192", "cpu_us", "8,192 connections against 64", Own("small", 5.0)),
    mark("small", "instructions", "user-space instructions, small GET", Number(5_000.0)),
    mark("fields30", "instructions", "user-space instructions, 30 fields", Number(15_000.0)),
    mark("small", "syscalls", "system calls, small GET", Number(4.1)),
    mark("one", "added_us", "p50 added on one connection, µs", Peer("nginx", 0.85)),
    mark("services10k", "cpu_us", "10,000 services against 1", Own("small", 1.05)),
    mark("endpoints1k", "cpu_us", "1,000 endpoints against 2", Own("small", 1.05)),
    mark("idle10k", "idle_bytes", "resident bytes of an idle client", Number(200.0)),
    mark("idle10k", "idle_wakes", "wake-ups a second while all are idle", Number(0.0)),
    mark("start", "file", "bytes of the program", Number(700_000.0)),
    mark("start", "rss", "resident bytes at start", Number(2_500_000.0)),
    mark("start", "first_ms", "ms from start to first answer", Number(10.0)),
    mark("start", "crates", "crates", Number(25.0)),
    // No mark was set for these; who is ahead is shown all the same.
    mark("one", "cpu_us", "one connection, CPU µs", Best(1.0)),
    mark("post1k", "cpu_us", "POST of 1 KiB, CPU µs", Best(1.0)),
    mark("conns1024", "cpu_us", "1,024 connections, CPU µs", Best(1.0)),
    mark("dead", "cpu_us", "one endpoint dead, CPU µs", Best(1.0)),
];

/// The table, as Markdown, and how many of how many are kept.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| | pointsman | against | ratio | mark | kept |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for mark in &MARKS {
        let Some(ours) = results.get(mark.scenario, "pointsman", mark.metric) else { continue };
        let other = |peer: &str, value: Option<f64>, factor: f64| {
            value.map(|v| (format!("{peer} {}", number(v)), v, factor))
        };
        let found = match mark.against {
            Number(limit) => Some(("a number".to_owned(), limit, 1.0)),
            Best(factor) => results
                .best(mark.scenario, mark.metric)
                .and_then(|(peer, value)| other(peer, Some(value), factor)),
            Peer(peer, factor) => {
                let value = results.get(mark.scenario, peer, mark.metric);
                other(peer, value.map(|v| v.median), factor)
            }
            Own(scenario, factor) => {
                let value = results.get(scenario, "pointsman", mark.metric);
                other(scenario, value.map(|v| v.median), factor)
            }
        };
        let Some((name, base, factor)) = found else { continue };
        let plain = matches!(mark.against, Number(_));
        let ratio = if plain { String::new() } else { format!("{:.2}", ours.median / base) };
        let limit = if plain { number(base) } else { format!("{factor:.2} ×") };
        let kept = if ours.median <= base * factor { "yes" } else { "**no**" };
        let (what, ours) = (mark.what, number(ours.median));
        text.push_str(&format!("| {what} | {ours} | {name} | {ratio} | {limit} | {kept} |\n"));
    }
    text
}

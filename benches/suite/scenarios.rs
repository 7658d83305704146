//! What is measured: a table. How it is measured is in `busy.rs`, `apart.rs` and `counts.rs`.

use crate::shape::Shape;
use crate::stage::Behind;

/// What is asked of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// CPU time of the proxy, all on one core.
    Cpu,
    /// Throughput and latency, the proxy alone on a core.
    Apart,
    Syscalls,
    Instructions,
    /// What idle clients cost.
    Idle,
    /// Size, memory and time of a start.
    Start,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) peers: &'static [&'static str],
    pub(crate) shape: Shape,
    pub(crate) behind: Behind,
    pub(crate) asks: &'static [Ask],
}

const ALL: &[&str] = &["pointsman", "nginx", "haproxy", "caddy", "go"];
const SMALL: &[&str] =
    &["pointsman", "pointsman-bare", "nginx", "haproxy", "caddy", "go", "direct"];
const MIDDLE: &[&str] =
    &["pointsman", "nginx", "nginx-32k", "haproxy", "haproxy-32k", "caddy", "go"];
const FIELDS: &[&str] =
    &["pointsman", "pointsman-bare", "nginx", "nginx-4k", "haproxy", "caddy", "go"];
const LONG: &[&str] =
    &["pointsman", "nginx", "nginx-32k", "haproxy", "haproxy-splice", "caddy", "go"];
const POSTS: &[&str] =
    &["pointsman", "pointsman-fresh", "pointsman-always", "nginx", "haproxy", "caddy", "go"];
const START: &[&str] = &["pointsman", "nginx", "haproxy", "caddy", "go"];

/// Ten MiB, in whole cycles of the pattern.
const LONG_BYTES: usize = 10 << 20;
/// Clients that move long bodies at the same time.
const MOVERS: usize = 4;
/// Clients that stay connected, beside those that work.
pub(crate) const IDLE_CLIENTS: usize = 10_000;

const TWO: Behind = Behind { endpoints: 2, dead: false };

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut add = |name, about, peers, shape, behind, asks| {
        all.push(Scenario { name, about, peers, shape, behind, asks });
    };
    use Ask::{Apart, Cpu, Idle, Instructions, Start, Syscalls};
    let browser = Shape { browser: true, target: "/f/128".into(), ..Shape::get(64, 128) };
    let close = Shape { close: true, ..Shape::get(64, 128) };
    let services = Shape { services: 10_000, ..Shape::get(64, 128) };
    let one = &[Cpu, Instructions][..];
    let counted = &[Cpu, Syscalls, Instructions][..];
    let whole = &[Cpu, Apart, Syscalls, Instructions][..];
    let cpu = &[Cpu][..];
    let both = &[Cpu, Apart][..];
    add("small", "keep-alive, 128 B, 64 connections", SMALL, Shape::get(64, 128), TWO, whole);
    add("one", "the same, one connection", SMALL, Shape::get(1, 128), TWO, cpu);
    add("close", "a connection per request, upstream kept", ALL, close, TWO, counted);
    add("mid16k", "16 KiB answers, 256 connections", MIDDLE, Shape::get(256, 16_384), TWO, both);
    add("fields30", "30 browser header fields", FIELDS, browser, TWO, one);
    add("post1k", "POST with 1 KiB of body", POSTS, Shape::post(64, 1024, false), TWO, cpu);
    let down = Shape::get(MOVERS, LONG_BYTES as u64);
    add("down10m", "10 MiB down", LONG, down, TWO, cpu);
    let up = |chunked| Shape::post(MOVERS, LONG_BYTES, chunked);
    add("up10m", "10 MiB up, Content-Length", LONG, up(false), TWO, cpu);
    add("upchunked10m", "10 MiB up, chunks of 16 KiB", LONG, up(true), TWO, cpu);
    add("conns1024", "1,024 active connections", ALL, Shape::get(1024, 128), TWO, cpu);
    add("conns8192", "8,192 active connections", ALL, Shape::get(8192, 128), TWO, cpu);
    add("services10k", "10,000 services instead of 1", ALL, services, TWO, cpu);
    let thousand = Behind { endpoints: 1000, dead: false };
    let get = Shape::get(64, 128);
    add("endpoints1k", "1,000 endpoints instead of 2", ALL, get.clone(), thousand, counted);
    let dead = Behind { endpoints: 2, dead: true };
    add("dead", "one of two endpoints dead", ALL, get.clone(), dead, cpu);
    add("idle10k", "10,000 idle clients, each used once", ALL, get.clone(), TWO, &[Idle]);
    add("start", "size, memory and time of a start", START, get, TWO, &[Start]);
    all
}

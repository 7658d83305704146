//! What each `reuse-unsafe` costs and saves: `reuse`, with the release program, `origin` and
//! `load` built beside it. It takes about three minutes and prints two tables.
//!
//! First a kind origin: POST of 1 KiB over 32 connections, the settings in turn, so that what the
//! machine does besides hits all of them; medians. Then origins that are hostile to whoever keeps
//! connections: from their first connection on, or only once the proxy has come to trust them.

#![allow(clippy::disallowed_methods, reason = "outside the library there are clocks and threads")]

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SETTINGS: [&str; 3] = ["fresh", "auto", "always"];
const ROUNDS: usize = 7;
const REQUESTS: u64 = 40_000;
const HOSTILE_ROUNDS: usize = 5;
const HOSTILE_REQUESTS: u64 = 2_000;
/// Idle for longer than the second that earns trust.
const TRUST: Duration = Duration::from_millis(1200);
/// The unit of `/proc/PID/stat`: 100 a second on every Linux.
const TICK_US: f64 = 10_000.0;

fn main() -> Result<()> {
    kind()?;
    hostile()
}

/// A process that says on which port it listens, killed on drop.
struct Server {
    child: Child,
    addr: String,
}

impl Server {
    /// Reads what it says until the address is named, and everything after that.
    fn start(mut command: Command, errors: bool) -> Result<Server> {
        command.stdin(Stdio::null());
        let mut child = if errors {
            command.stderr(Stdio::piped()).spawn()?
        } else {
            command.stdout(Stdio::piped()).spawn()?
        };
        let said: Box<dyn Read + Send> = match (child.stderr.take(), child.stdout.take()) {
            (Some(said), _) => Box::new(said),
            (_, Some(said)) => Box::new(said),
            _ => return Err(Error::other("no pipe")),
        };
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let addr = lines.find_map(|l| Some(l.split_once("listening on ")?.1.trim().to_string()));
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Server { child, addr: addr.ok_or_else(|| Error::other("it does not listen"))? })
    }

    fn origin() -> Result<Server> {
        let mut command = Command::new(beside("origin")?);
        command.arg("0");
        Server::start(command, false)
    }

    fn proxy(setting: &str, origin: &str) -> Result<Server> {
        let mut command = Command::new(beside("../pointsman")?);
        command.args(["-l", "127.0.0.1:0", "--reuse-unsafe", setting, &format!("s/v1={origin}")]);
        Server::start(command, true)
    }

    /// Processor time so far.
    fn ticks(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        Ok(fields.skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(Error::other(format!("{path:?} is not built"))) }
}

/// Requests lost, and requests a second.
fn load(addr: &str, target: &str, requests: u64) -> Result<(f64, f64)> {
    let requests = requests.to_string();
    let mut command = Command::new(beside("load")?);
    command.args([addr, target, "-m", "POST", "-b", "1024", "-c", "32", "-n", &requests]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |n: usize| words.get(n).and_then(|word| word.parse::<f64>().ok());
    // "20000 answered, 0 lost, 1.23 s, 16260 a second"
    number(2).zip(number(6)).ok_or_else(|| Error::other(format!("load says {text:?}")))
}

/// The body of the answer to one GET.
fn get(addr: &str, target: &str) -> Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
}

/// Lets a connection be idle and alive for long enough.
fn earn_trust(proxy: &Server) -> Result<()> {
    get(&proxy.addr, "/s/v1/x")?;
    std::thread::sleep(TRUST);
    get(&proxy.addr, "/s/v1/x").map(drop)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What one round of one setting has cost.
struct Cost {
    rate: f64,
    cpu_us: f64,
    connections: f64,
    lost: f64,
}

fn measure(proxy: &Server, origin: &Server) -> Result<Cost> {
    let opened = || -> Result<f64> {
        get(&origin.addr, "/connections")?.parse().map_err(|_| Error::other("no count"))
    };
    let (ticks, connections) = (proxy.ticks()?, opened()?);
    let (lost, rate) = load(&proxy.addr, "/s/v1/post", REQUESTS)?;
    let requests = REQUESTS as f64;
    Ok(Cost {
        rate,
        cpu_us: (proxy.ticks()? - ticks) * TICK_US / requests,
        // The question itself came over one.
        connections: (opened()? - connections - 1.0) * 1000.0 / requests,
        lost,
    })
}

fn kind() -> Result<()> {
    let mut servers = Vec::new();
    for setting in SETTINGS {
        let origin = Server::origin()?;
        let proxy = Server::proxy(setting, &origin.addr)?;
        earn_trust(&proxy)?;
        load(&proxy.addr, "/s/v1/warm", REQUESTS / 4)?;
        servers.push((proxy, origin));
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let round: Result<Vec<Cost>> = servers.iter().map(|(p, o)| measure(p, o)).collect();
        rounds.push(round?);
    }
    println!(
        "| `reuse-unsafe` | requests/s | to `fresh` | CPU µs/request | to `fresh` | \
         connections/1,000 | lost |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (n, setting) in SETTINGS.iter().enumerate() {
        let of = |what: fn(&Cost) -> f64| median(rounds.iter().map(|r| what(&r[n])).collect());
        let ratio = |what: fn(&Cost) -> f64| {
            median(rounds.iter().map(|r| what(&r[n]) / what(&r[0])).collect())
        };
        let lost: f64 = rounds.iter().map(|round| round[n].lost).sum();
        println!(
            "| `{setting}` | {:.0} | {:.2} | {:.0} | {:.2} | {:.1} | {lost} |",
            of(|c| c.rate),
            ratio(|c| c.rate),
            of(|c| c.cpu_us),
            ratio(|c| c.cpu_us),
            of(|c| c.connections),
        );
    }
    println!();
    Ok(())
}

/// What a hostile origin does to whoever keeps its connections.
#[derive(Clone, Copy)]
enum Malice {
    /// Closes each within a millisecond of its answer.
    Closes,
    /// Resets a used one when the next request arrives.
    Kills,
}

fn hostile() -> Result<()> {
    println!("| POSTs lost of {HOSTILE_REQUESTS}, median (most) | `fresh` | `auto` | `always` |");
    println!("|---|---|---|---|");
    for (malice, what) in [
        (Malice::Closes, "closes within 1 ms of its answer"),
        (Malice::Kills, "kills a kept connection when the next request arrives"),
    ] {
        for (trusted, when) in [(false, "from the first"), (true, "once it is trusted")] {
            print!("| {what}, {when} |");
            for setting in SETTINGS {
                let lost: Result<Vec<f64>> =
                    (0..HOSTILE_ROUNDS).map(|_| suffer(setting, malice, trusted)).collect();
                let lost = lost?;
                let most = lost.iter().copied().fold(0.0, f64::max);
                print!(" {} ({most}) |", median(lost));
            }
            println!();
        }
    }
    Ok(())
}

/// POSTs lost by a new proxy before a new hostile origin.
fn suffer(setting: &str, malice: Malice, trusted: bool) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?.to_string();
    let mean = Arc::new(AtomicBool::new(!trusted));
    let theirs = Arc::clone(&mean);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mean = Arc::clone(&theirs);
            std::thread::spawn(move || serve(stream, malice, &mean));
        }
    });
    let proxy = Server::proxy(setting, &addr)?;
    if trusted {
        earn_trust(&proxy)?;
        // Fills the pool.
        load(&proxy.addr, "/s/v1/bytes/1", HOSTILE_REQUESTS / 2)?;
        mean.store(true, Ordering::SeqCst);
    }
    Ok(load(&proxy.addr, "/s/v1/bytes/1", HOSTILE_REQUESTS)?.0)
}

fn serve(stream: TcpStream, malice: Malice, mean: &AtomicBool) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    for n in 0.. {
        // What is not read when a connection is closed makes its end a reset.
        reader.get_ref().peek(&mut [0]).ok().filter(|n| *n > 0)?;
        if matches!(malice, Malice::Kills) && n > 0 && mean.load(Ordering::SeqCst) {
            return None;
        }
        read_request(&mut reader)?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").ok()?;
        if matches!(malice, Malice::Closes) && mean.load(Ordering::SeqCst) {
            static TURN: AtomicU64 = AtomicU64::new(0);
            let turn = TURN.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(turn * 7 % 10 * 90));
            return None;
        }
    }
    None
}

/// Reads a request whose body, if any, has a length.
fn read_request(reader: &mut impl BufRead) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok().map(drop);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
}

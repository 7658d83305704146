//! The well-behaved clients: so many requests a second, whatever the siege does, each answer
//! checked, each time taken from the moment at which the request was due. A proxy that is late
//! cannot hide that by keeping the next request from being sent.
//!
//! The same client asks the origin without the proxy: what it sees is the machine's own noise.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::wire::{connect, read_answer};

/// Keep-alive connections, and requests a second on each.
const KEPT: u32 = 4;
const KEPT_RATE: u32 = 45;
/// Requests a second on a connection of their own.
const FRESH_RATE: u32 = 20;
const DIRECT_RATE: u32 = 50;
/// After this a request has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a group of clients saw.
#[derive(Default)]
pub(crate) struct Seen {
    times: Vec<Duration>,
    pub(crate) failed: Vec<String>,
}

impl Seen {
    fn join(threads: Vec<JoinHandle<Seen>>) -> Seen {
        let mut all = Seen::default();
        for thread in threads {
            let one = thread.join().unwrap_or_default();
            all.times.extend(one.times);
            all.failed.extend(one.failed);
        }
        all.times.sort_unstable();
        all
    }

    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// The time that this share of the requests did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let at = (self.times.len() as f64 * share).ceil() as usize;
        self.times.get(at.saturating_sub(1)).or(self.times.last()).copied().unwrap_or_default()
    }
}

/// The clients at work.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    hush: Arc<AtomicBool>,
    proxied: Vec<JoinHandle<Seen>>,
    direct: Vec<JoinHandle<Seen>>,
}

impl Probe {
    /// `fresh`: some come with a connection of their own.
    pub(crate) fn start(proxy: SocketAddr, origin: SocketAddr, fresh: bool) -> Probe {
        let (stop, hush) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let spawn = |addr, prefix: &'static str, rate, once| {
            let client = Client { addr, prefix, rate, once };
            let (stop, hush) = (Arc::clone(&stop), Arc::clone(&hush));
            thread::spawn(move || client.run(&stop, &hush))
        };
        let mut proxied: Vec<_> =
            (0..KEPT).map(|_| spawn(proxy, "/good/v1", KEPT_RATE, false)).collect();
        if fresh {
            proxied.push(spawn(proxy, "/good/v1", FRESH_RATE, true));
        }
        let direct = vec![spawn(origin, "", DIRECT_RATE, false)];
        Probe { stop, hush, proxied, direct }
    }

    /// Nothing is asked until `done` is.
    pub(crate) fn hushed<T>(&self, done: impl FnOnce() -> T) -> T {
        self.hush.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        let value = done();
        self.hush.store(false, Ordering::SeqCst);
        value
    }

    /// Through the proxy, and past it.
    pub(crate) fn end(self) -> (Seen, Seen) {
        self.stop.store(true, Ordering::SeqCst);
        (Seen::join(self.proxied), Seen::join(self.direct))
    }
}

struct Client {
    addr: SocketAddr,
    prefix: &'static str,
    rate: u32,
    /// A connection for each request.
    once: bool,
}

impl Client {
    fn run(&self, stop: &AtomicBool, hush: &AtomicBool) -> Seen {
        let (mut seen, mut kept) = (Seen::default(), None);
        let period = Duration::from_secs(1) / self.rate;
        let mut due = Instant::now();
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::SeqCst) {
                break;
            }
            if hush.load(Ordering::SeqCst) {
                due = Instant::now() + period;
                continue;
            }
            let id = format!("{}-{}", seen.times.len(), self.rate);
            if let Err(error) = self.ask(&mut kept, &id) {
                seen.failed.push(error.to_string());
                kept = None;
            }
            seen.times.push(due.elapsed());
            due += period;
        }
        // What was due and could not be asked in time is late, too.
        let late = (0..).map(|n| due + period * n).take_while(|due| *due < Instant::now());
        seen.times.extend(late.map(|due| due.elapsed()).skip(1));
        seen
    }

    fn ask(&self, kept: &mut Option<TcpStream>, id: &str) -> io::Result<()> {
        use io::Write as _;
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => connect(self.addr, PATIENCE)?,
        };
        let close = if self.once { "Connection: close\r\n" } else { "" };
        let prefix = self.prefix;
        stream.write_all(
            format!("GET {prefix}/echo/{id} HTTP/1.1\r\nHost: good\r\n{close}\r\n").as_bytes(),
        )?;
        let answer = read_answer(&mut stream)?;
        if answer.status != 200 || answer.body != id.as_bytes() {
            return Err(io::Error::other(format!("status {}", answer.status)));
        }
        if !self.once {
            *kept = Some(stream);
        }
        Ok(())
    }
}

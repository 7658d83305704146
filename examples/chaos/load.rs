//! The load: clients that keep their connections, half GET, half POST, at a fixed pace, while
//! something goes wrong.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Expected, Verdict};

/// How long a client waits for an answer, and how long the whole may run over its time.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    pub(crate) seconds: u32,
    pub(crate) clients: u32,
}

impl Pace {
    fn each(self) -> u32 {
        self.per_second * self.seconds / self.clients
    }

    pub(crate) fn total(self) -> u32 {
        self.each() * self.clients
    }

    pub(crate) fn time(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// Runs the load on `port` and the trouble at the same time. The number of requests is the same
/// whatever happens: a client that was held up catches up.
pub(crate) fn run<T: Send>(
    port: u16,
    pace: Pace,
    expected: Expected,
    trouble: impl FnOnce(Instant) -> io::Result<T> + Send,
) -> io::Result<(Vec<Verdict>, T)> {
    let start = Instant::now() + Duration::from_millis(50);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..pace.clients)
            .map(|number| scope.spawn(move || one_client(port, pace, expected, number, start)))
            .collect();
        let done = trouble(start);
        let mut verdicts = Vec::new();
        for client in clients {
            verdicts.extend(client.join().map_err(|_| io::Error::other("a client panicked"))?);
        }
        Ok((verdicts, done?))
    })
}

fn one_client(
    port: u16,
    pace: Pace,
    expected: Expected,
    number: u32,
    start: Instant,
) -> Vec<Verdict> {
    let mut client = Client::new(port, PATIENCE, expected);
    let last = start + pace.time() + PATIENCE;
    let mut verdicts = Vec::new();
    for turn in 0..pace.each() {
        let place = f64::from(turn * pace.clients + number);
        let due = start + Duration::from_secs_f64(place / f64::from(pace.per_second));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if Instant::now() > last {
            break;
        }
        let is_post = (turn + number) % 2 == 1;
        let letter = if is_post { 'p' } else { 'g' };
        verdicts.push(client.ask(is_post, &format!("{letter}{number}-{turn}")));
    }
    verdicts
}

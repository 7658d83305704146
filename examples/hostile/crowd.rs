//! Many connections in one thread, looked at in turn: thousands of clients that do little. And
//! raids: a few threads that do as much as they can. Neither knows what a siege is.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::wire::{End, connect, status_of};

const CONNECT: Duration = Duration::from_secs(10);
/// How much of what came is kept of each.
const KEPT_BYTES: usize = 512;

/// One connection, and what came over it.
pub(crate) struct Member {
    stream: TcpStream,
    pub(crate) first: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) end: End,
}

impl Member {
    pub(crate) fn status(&self) -> u16 {
        status_of(&self.first)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end != End::Open
    }

    /// Reads at most this much of what is there.
    pub(crate) fn read(&mut self, most: usize, space: &mut [u8]) {
        let mut left = most;
        while left > 0 && self.end == End::Open {
            let count = left.min(space.len());
            match self.stream.read(space.get_mut(..count).unwrap_or_default()) {
                Ok(0) => self.end = End::Fin,
                Ok(count) => {
                    left -= count;
                    self.bytes += count as u64;
                    let room = KEPT_BYTES.saturating_sub(self.first.len());
                    self.first.extend(space.iter().take(count.min(room)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end = End::Reset,
            }
        }
    }

    /// Writes once; gives how much went.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        // A reset is seen by the next read.
        self.stream.write(bytes).unwrap_or(0)
    }
}

/// Connections that all do the same.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Member>,
}

impl Crowd {
    /// So many connections, one after the other.
    pub(crate) fn gather(addr: SocketAddr, count: usize) -> io::Result<Crowd> {
        Crowd::gather_with(addr, count, |_| Ok(()))
    }

    /// The same, each prepared before anything is said.
    pub(crate) fn gather_with(
        addr: SocketAddr,
        count: usize,
        prepare: impl Fn(&TcpStream) -> io::Result<()>,
    ) -> io::Result<Crowd> {
        let one = |_| {
            let stream = connect(addr, CONNECT)?;
            prepare(&stream)?;
            stream.set_nonblocking(true)?;
            Ok(Member { stream, first: Vec::new(), bytes: 0, end: End::Open })
        };
        Ok(Crowd { members: (0..count).map(one).collect::<io::Result<_>>()? })
    }

    /// Everybody says this, as much of it as goes; gives how many bytes went in all.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> usize {
        self.members.iter_mut().map(|member| member.write(bytes)).sum()
    }

    /// The same, a few at a time: thousands of requests in one moment are a burst, no siege.
    pub(crate) fn say_in_turn(&mut self, bytes: &[u8]) {
        for group in self.members.chunks_mut(8) {
            group.iter_mut().for_each(|member| {
                member.write(bytes);
            });
            thread::sleep(Duration::from_millis(4));
        }
    }

    /// Nobody says more; answers are still wanted.
    pub(crate) fn half_close(&self) {
        for member in &self.members {
            let _ = member.stream.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Everybody reads at most this much of what is there.
    pub(crate) fn listen(&mut self, most: usize) {
        let mut space = vec![0; most.min(64 * 1024)];
        self.members.iter_mut().for_each(|member| member.read(most, &mut space));
    }

    /// Listens until all are `done` or time is over; gives how many are not.
    pub(crate) fn listen_until(
        &mut self,
        patience: Duration,
        done: impl Fn(&Member) -> bool,
    ) -> usize {
        let until = Instant::now() + patience;
        loop {
            self.listen(64 * 1024);
            let left = self.members.iter().filter(|member| !done(member)).count();
            if left == 0 || Instant::now() > until {
                return left;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Until `length` is over, everybody says this and reads so much once in every `pause`: not all
    /// in the same moment.
    pub(crate) fn drip(&mut self, length: Duration, pause: Duration, says: &[u8], reads: usize) {
        const PARTS: usize = 10;
        let (begun, mut round) = (Instant::now(), Instant::now());
        let part = self.members.len().div_ceil(PARTS).max(1);
        let mut space = vec![0; reads.min(64 * 1024)];
        while begun.elapsed() < length {
            for group in self.members.chunks_mut(part) {
                for member in group {
                    if !says.is_empty() {
                        member.write(says);
                    }
                    member.read(reads, &mut space);
                }
                round += pause / PARTS as u32;
                thread::sleep(round.saturating_duration_since(Instant::now()));
            }
        }
    }

    pub(crate) fn count(&self, of: impl Fn(&Member) -> bool) -> usize {
        self.members.iter().filter(|member| of(member)).count()
    }

    /// How many got what: statuses, and how they ended.
    pub(crate) fn tally(&self) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for member in &self.members {
            let word = match (member.status(), member.end) {
                (0, End::Open) => "silent".to_owned(),
                (0, End::Fin) => "closed".to_owned(),
                (0, End::Reset) => "reset".to_owned(),
                (status, End::Reset) => format!("{status}, reset"),
                (status, _) => status.to_string(),
            };
            *tally.entry(word).or_default() += 1;
        }
        tally
    }

    /// Everybody goes with an RST.
    pub(crate) fn reset(self) {
        for member in self.members {
            let _ = SockRef::from(&member.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// How often what came of a deed.
pub(crate) type Tally = BTreeMap<String, usize>;

/// In words: `431 x 200, reset x 3`.
pub(crate) fn told(tally: &Tally) -> String {
    let parts: Vec<_> = tally.iter().map(|(what, count)| format!("{count} x {what}")).collect();
    parts.join(", ")
}

/// So many threads do `deed` again and again until time is over, at least once; each says what
/// came of it.
pub(crate) fn raid(threads: usize, length: Duration, deed: impl Fn() -> String + Sync) -> Tally {
    let (until, all) = (Instant::now() + length, Mutex::new(Tally::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Tally::new();
                loop {
                    *own.entry(deed()).or_default() += 1;
                    if Instant::now() >= until {
                        break;
                    }
                }
                if let Ok(mut all) = all.lock() {
                    own.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n);
                }
            });
        }
    });
    all.into_inner().unwrap_or_default()
}

//! Asks again for what names stand for, on threads of its own, and tells the proxy what changed.
//!
//! `getaddrinfo` blocks, for half a minute if its server is silent, and cannot be interrupted.
//! So every distinct name has a thread with a small stack, which sleeps nearly always: a name that
//! hangs delays neither the loop nor another name. This file does not know what an answer
//! changes; that is decided in `names`.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::names::{Change, Names, some_address};
use crate::proxy::Handle;

/// Enough for `getaddrinfo` of glibc with its plugins; only what is touched becomes memory.
const STACK_BYTES: usize = 256 << 10;

/// Keeps the endpoints of a proxy as its names say (B6.4). When it is dropped, it changes nothing
/// any more; a thread that is asking just then ends after its answer.
pub struct Resolver {
    shared: Arc<Shared>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Somebody may have to end.
    changed: Condvar,
    lookup: Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>,
    tell: Box<dyn Fn(Change) + Send + Sync>,
}

struct State {
    names: Names,
    every: Duration,
    /// The names that have a thread.
    asked: HashSet<String>,
    stopped: bool,
}

impl Resolver {
    /// The addresses of `host` now, as the system says: blocks until it does.
    pub fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }

    /// Asks for each name in `names` again after each `every`, and adds and deletes endpoints by
    /// `handle` as the answers change. The proxy must have been given what `names` holds.
    ///
    /// Without a name no thread is started. A name that cannot be resolved keeps its last good
    /// addresses. An error says that a thread could not be started.
    pub fn start(handle: Handle, names: Names, every: Duration) -> io::Result<Resolver> {
        let tell = move |change| match change {
            Change::Add { service, endpoint } => {
                log::info!("{service}: endpoint {endpoint} is new");
                handle.add(&service, endpoint);
            }
            Change::Delete { service, endpoint } => {
                log::info!("{service}: endpoint {endpoint} is gone");
                handle.delete(&service, &endpoint);
            }
        };
        Resolver::with(names, every, Resolver::lookup, tell)
    }

    fn with(
        names: Names,
        every: Duration,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
        tell: impl Fn(Change) + Send + Sync + 'static,
    ) -> io::Result<Resolver> {
        let state = State { names, every, asked: HashSet::new(), stopped: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            lookup: Box::new(lookup),
            tell: Box::new(tell),
        });
        // From here on dropping it ends the threads that could be started.
        let resolver = Resolver { shared };
        resolver.hire(&mut resolver.shared.lock())?;
        Ok(resolver)
    }

    /// From now on it is `names` that holds, for a configuration that was read again: tells the
    /// proxy the difference, and looks after the new names. `every` holds from the next sleep on.
    pub fn replace(&self, names: Names, every: Duration) -> io::Result<()> {
        let mut state = self.shared.lock();
        for change in state.names.replace(names) {
            (self.shared.tell)(change);
        }
        state.every = every;
        self.shared.changed.notify_all();
        self.hire(&mut state)
    }

    /// A thread for every name that has none.
    fn hire(&self, state: &mut State) -> io::Result<()> {
        let hosts: Vec<String> = state.names.hosts().into_iter().map(str::to_owned).collect();
        let every = state.every;
        let count = hosts.len();
        for (n, host) in (1..).zip(hosts) {
            if state.asked.contains(&host) {
                continue;
            }
            // Spread over the period, or a server would get all questions in the same instant.
            let first = every.mul_f64(f64::from(n) / count as f64);
            let (shared, name) = (Arc::clone(&self.shared), host.clone());
            spawn(move || shared.look_after(&name, first))?;
            state.asked.insert(host);
        }
        Ok(())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Nothing in here is left half done by a panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread of `host`. What it finds out is told under the lock: after a stop
    /// or a replacement no old answer comes late.
    fn look_after(&self, host: &str, first: Duration) {
        let (mut wait, mut failing) = (first, false);
        loop {
            let state = self.lock();
            let idle = |state: &mut State| state.wants(host);
            let slept = self.changed.wait_timeout_while(state, wait, idle);
            let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
            if !state.wants(host) {
                state.asked.remove(host);
                return;
            }
            wait = state.every;
            drop(state);
            let answer = (self.lookup)(host).and_then(some_address);
            let mut state = self.lock();
            if !state.wants(host) {
                state.asked.remove(host);
                return;
            }
            match answer {
                Ok(addresses) => {
                    if failing {
                        log::info!("{host}: the name can be resolved again");
                    }
                    failing = false;
                    state.names.learn(host, &addresses).into_iter().for_each(&self.tell);
                }
                Err(why) if !failing => {
                    failing = true;
                    log::warn!("{host}: cannot resolve the name, its addresses stay: {why}");
                }
                Err(_) => {}
            }
        }
    }
}

impl State {
    fn wants(&self, host: &str) -> bool {
        !self.stopped && self.names.knows(host)
    }
}

#[allow(clippy::disallowed_methods, reason = "an embedder who starts a resolver asks for threads")]
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("resolver".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

    const TICK: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(20);

    type Answer = io::Result<Vec<IpAddr>>;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn names(route: &str) -> Names {
        Names::resolve(vec![route.parse().unwrap()], |_| Ok(vec![ip(1)])).unwrap()
    }

    /// A resolver whose answers for `fast` are sent by the test, and for `slow` come too late.
    struct Stage {
        resolver: Resolver,
        answer: Sender<Answer>,
        /// A line for each question.
        asked: Receiver<()>,
        changes: Receiver<String>,
    }

    fn start(route: &str) -> Stage {
        let (answer, answers) = channel::<Answer>();
        let (asks, asked) = channel();
        let (told, changes) = channel();
        let answers = Mutex::new(answers);
        let lookup = move |host: &str| {
            if host != "fast" {
                std::thread::sleep(2 * PATIENCE);
                return Err(io::Error::other("too late"));
            }
            let _ = asks.send(());
            let over = |_| io::Error::other("the test is over");
            answers.lock().unwrap().recv().map_err(over)?
        };
        let tell = move |change| {
            let _ = told.send(match change {
                Change::Add { endpoint, .. } => format!("+{endpoint}"),
                Change::Delete { endpoint, .. } => format!("-{endpoint}"),
            });
        };
        let resolver = Resolver::with(names(route), TICK, lookup, tell).unwrap();
        Stage { resolver, answer, asked, changes }
    }

    fn next(changes: &Receiver<String>) -> String {
        changes.recv_timeout(PATIENCE).unwrap()
    }

    // B6.4: answers are followed, failures change nothing, and who hangs hangs alone.
    #[test]
    fn b6_4_names_are_followed_beside_one_that_hangs() {
        let Stage { answer, changes, resolver: _resolver, .. } = start("a/v1=fast:1,slow:2");
        answer.send(Ok(vec![ip(1), ip(2)])).unwrap();
        assert_eq!(next(&changes), "+127.0.0.2:1");
        answer.send(Err(io::Error::other("no such name"))).unwrap();
        answer.send(Ok(Vec::new())).unwrap();
        answer.send(Ok(vec![ip(2)])).unwrap();
        assert_eq!(next(&changes), "-127.0.0.1:1");
    }

    // B9.1: an answer to what was asked before does not undo a new configuration.
    #[test]
    fn b9_1_old_answers_do_not_come_late() {
        let Stage { resolver, answer, changes, .. } = start("a/v1=fast:1");
        resolver.replace(names("a/v1=127.0.0.9:1"), TICK).unwrap();
        assert_eq!([next(&changes), next(&changes)], ["+127.0.0.9:1", "-127.0.0.1:1"]);
        answer.send(Ok(vec![ip(3)])).unwrap();
        // Its thread has nobody to ask for, and ends.
        while resolver.shared.lock().asked.contains("fast") {
            std::thread::yield_now();
        }
        assert!(changes.try_recv().is_err());
        resolver.replace(names("a/v1=fast:1"), TICK).unwrap();
        assert_eq!([next(&changes), next(&changes)], ["+127.0.0.1:1", "-127.0.0.9:1"]);
        let more = Ok(vec![ip(1), ip(4)]);
        // The thread before may have taken the answer above or left it to this one.
        answer.send(more).unwrap();
        while next(&changes) != "+127.0.0.4:1" {}
    }

    // Who is asking when it is dropped tells nothing any more.
    #[test]
    fn dropping_it_ends_its_threads() {
        let Stage { resolver, answer, asked, changes } = start("a/v1=fast:1");
        asked.recv_timeout(PATIENCE).unwrap();
        drop(resolver);
        answer.send(Ok(vec![ip(5)])).unwrap();
        assert_eq!(changes.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}

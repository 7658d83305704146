//! What the program does when it is told something from outside: signals, and what follows.
//!
//! ```text
//!   SIGTERM, SIGINT   drain; a second one: at once
//!   SIGHUP            read the settings again; all of them are good, or nothing changes
//!   SIGUSR2           a new process on the same sockets; when it serves, drain
//! ```
//!
//! A thread of the program's own waits for them, so that reading settings and asking a resolver
//! never hold up a request. It does not know what is served.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pointsman::{Handle, Listen};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{flag, low_level::pipe};

use crate::cli::Settings;
use crate::plan::Plan;
use crate::reload::Running;
use crate::upgrade::{self, Program};

/// Signals from now on: one stream says that something came, flags say what.
pub(crate) struct Signals {
    wakes: UnixStream,
    waker: UnixStream,
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    upgrade: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them. Before this they end the process, as they do everywhere.
    pub(crate) fn catch() -> io::Result<Signals> {
        let (wakes, waker) = UnixStream::pair()?;
        let caught = |signals: &[i32]| -> io::Result<Arc<AtomicBool>> {
            let flag = Arc::new(AtomicBool::new(false));
            for signal in signals {
                // In this order: when the stream wakes us, the flag is set.
                flag::register(*signal, Arc::clone(&flag))?;
                pipe::register(*signal, waker.try_clone()?)?;
            }
            Ok(flag)
        };
        let (end, reload, upgrade) =
            (caught(&[SIGTERM, SIGINT])?, caught(&[SIGHUP])?, caught(&[SIGUSR2])?);
        Ok(Signals { wakes, waker, end, reload, upgrade })
    }
}

/// Everything that outside events need.
pub(crate) struct Life {
    pub(crate) signals: Signals,
    pub(crate) handle: Handle,
    pub(crate) running: Running,
    /// Copies for the next process. As long as they live, their addresses live.
    pub(crate) sockets: Vec<(Listen, OwnedFd)>,
    pub(crate) program: Program,
    pub(crate) settings: Settings,
}

/// What is going on.
enum State {
    Serving,
    /// Another process is to take over.
    Upgrading(Successor),
    /// The proxy drains; `asked` is whether a signal wants it to end.
    Ending {
        asked: bool,
    },
}

struct Successor {
    child: Child,
    /// The sockets that it has taken, or what went wrong.
    news: Arc<Mutex<Option<Result<Vec<usize>, String>>>>,
}

impl Successor {
    /// Ends it; gives how it ended.
    fn end(mut self) -> String {
        // It fails for a process that has ended by itself, which is as good.
        let _ = self.child.kill();
        self.child.wait().map_or_else(|why| why.to_string(), |status| status.to_string())
    }
}

impl Life {
    /// Waits for signals on a thread of its own, for as long as the program lives.
    pub(crate) fn begin(self) -> io::Result<()> {
        spawn("signals", move || self.live())
    }

    fn live(mut self) {
        let mut state = State::Serving;
        let mut byte = [0];
        loop {
            match self.signals.wakes.read(&mut byte) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
            if let State::Upgrading(successor) = state {
                state = self.upgraded(successor);
            }
            if self.signals.reload.swap(false, Ordering::SeqCst) {
                self.reload(&state);
            }
            if self.signals.upgrade.swap(false, Ordering::SeqCst) {
                state = self.upgrade(state);
            }
            if self.signals.end.swap(false, Ordering::SeqCst) {
                state = self.end(state);
            }
        }
    }

    fn end(&mut self, state: State) -> State {
        match state {
            State::Ending { asked: true } => {
                log::info!("a second signal: stopping at once");
                self.handle.stop();
            }
            State::Ending { asked: false } => {}
            State::Serving => self.drain(&[]),
            State::Upgrading(successor) => {
                log::info!("upgrade: given up for a signal to end ({})", successor.end());
                self.drain(&[]);
            }
        }
        State::Ending { asked: true }
    }

    fn drain(&mut self, taken: &[usize]) {
        let most = Duration::from_millis(self.running.config.drain_ms);
        log::info!("draining: requests have {most:?} to come to their end");
        self.sockets.clear();
        self.handle.hand_over(taken, most);
    }

    fn reload(&mut self, state: &State) {
        let done = match state {
            State::Serving => Plan::make(&self.settings).and_then(|plan| {
                let lowered = plan.lowered().map(str::to_owned);
                self.running.change(plan)?;
                lowered.into_iter().for_each(|line| log::warn!("{line}"));
                log::info!("reload: done");
                Ok(())
            }),
            State::Upgrading(_) => Err("an upgrade is under way".to_owned()),
            State::Ending { .. } => Err("the program is ending".to_owned()),
        };
        if let Err(why) = done {
            log::error!("reload: nothing is changed: {why}");
        }
    }

    fn upgrade(&mut self, state: State) -> State {
        let refused = match &state {
            State::Serving if self.running.demo => "the demo's backends cannot be handed on",
            State::Serving => match self.start_successor() {
                Ok(successor) => {
                    log::info!("upgrade: process {} is starting", successor.child.id());
                    return State::Upgrading(successor);
                }
                Err(why) => {
                    log::error!("upgrade: cannot start the new process, going on: {why}");
                    return state;
                }
            },
            State::Upgrading(_) => "another one is under way",
            State::Ending { .. } => "the program is ending",
        };
        log::error!("upgrade: refused: {refused}");
        state
    }

    fn start_successor(&self) -> io::Result<Successor> {
        let copy = |(at, socket): &(Listen, OwnedFd)| Ok((at.clone(), socket.try_clone()?));
        let sockets = self.sockets.iter().map(copy).collect::<io::Result<Vec<_>>>()?;
        let mut waker = self.signals.waker.try_clone()?;
        let (child, stream) = self.program.start()?;
        let news = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&news);
        let talk = move || {
            let told = upgrade::offer(stream, &sockets);
            // Before the word is out: copies that live on would keep the addresses alive.
            drop(sockets);
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            let _ = waker.write_all(&[0]);
        };
        let successor = Successor { child, news };
        match spawn("upgrade", talk) {
            Ok(()) => Ok(successor),
            Err(why) => Err(io::Error::other(format!("{why} ({})", successor.end()))),
        }
    }

    /// There may be news of the process that is to take over.
    fn upgraded(&mut self, successor: Successor) -> State {
        let news = successor.news.lock().unwrap_or_else(PoisonError::into_inner).take();
        match news {
            None => State::Upgrading(successor),
            Some(Ok(taken)) => {
                log::info!("upgrade: process {} serves", successor.child.id());
                self.drain(&taken);
                State::Ending { asked: false }
            }
            Some(Err(why)) => {
                let (pid, ended) = (successor.child.id(), successor.end());
                log::error!("upgrade: going on: process {pid}: {why} ({ended})");
                State::Serving
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the program waits for signals beside the proxy")]
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(work).map(drop)
}

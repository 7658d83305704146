//! The reactor: mio's poll, the clock, and the commands of other threads, turned into notes and
//! runs of the engine.
//!
//! ```text
//!   turn:  alarm -> epoll_wait -> one look at the clock -> note every event -> commands -> run
//! ```
//!
//! This is the only place that knows mio and the clock. It does not know HTTP.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};

use crate::alarm::{self, Alarm};
use crate::crew::Crew;
use crate::endpoint::Address;
use crate::engine::{Census, Command, Engine, Setup, Stats};
use crate::inbox::{Inbox, Slot};
use crate::keys::Source;
use crate::net::{Net, Ready};
use crate::sys::{Listener, Pipe, Stream};
use crate::time::{Ms, whole_ms};

/// How many events one turn takes. With thousands of clients at work, what a turn has touched is
/// still in the caches when it is written to; a wait more for so many costs nothing beside that.
const EVENTS: usize = 256;
/// How many commands one turn takes.
const COMMANDS: usize = 64;

/// The kernel, as the engine sees it.
struct KernelNet {
    registry: Registry,
    /// Those that are closed have left a gap.
    listeners: Vec<Option<Listener>>,
}

fn token(source: Source) -> Token {
    // 64 bits hold it; on a machine with smaller words the generation loses its upper half.
    Token(source.pack() as usize)
}

impl Net for KernelNet {
    type Stream = Stream;
    type Pipe = Pipe;
    const PIPE_PAYS: u64 = Pipe::PAYS_BYTES;

    fn accept(&mut self, listener: u32) -> io::Result<(Stream, Option<IpAddr>)> {
        match self.listeners.get(listener as usize) {
            Some(Some(listener)) => listener.accept(),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn hold(&mut self, listener: u32) -> bool {
        let listener = self.listeners.get(listener as usize).and_then(Option::as_ref);
        listener.is_some_and(Listener::hold)
    }

    fn unlisten(&mut self, listener: u32) {
        let listener = self.listeners.get_mut(listener as usize).and_then(Option::take);
        if let Some(mut listener) = listener {
            // epoll forgets by itself only what no process has open any more. This fails only for
            // what it does not know.
            let _ = listener.deregister(&self.registry);
        }
    }

    fn watch(&mut self, stream: &mut Stream, source: Source) -> io::Result<()> {
        stream.register(&self.registry, token(source))
    }

    fn connect(&mut self, to: &Address) -> io::Result<Stream> {
        Stream::connect(to)
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<usize> {
        stream.read(into)
    }

    fn is_silent(&mut self, stream: &mut Stream) -> bool {
        stream.is_silent()
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        stream.write(from)
    }

    fn write_last(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        stream.write_last(from)
    }

    fn pipe(&mut self) -> io::Result<Pipe> {
        Pipe::new()
    }

    fn splice_in(&mut self, from: &mut Stream, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        from.splice_in(pipe, most)
    }

    fn splice_out(&mut self, pipe: &mut Pipe, to: &mut Stream, most: usize) -> io::Result<usize> {
        to.splice_out(pipe, most)
    }

    fn lay_up(&mut self, stream: &mut Stream, more: bool) {
        stream.lay_up(more);
    }

    fn shutdown_write(&mut self, stream: &mut Stream) {
        stream.shutdown_write();
    }

    fn abort(&mut self, stream: Stream) {
        stream.abort();
    }
}

/// One event loop with its engine.
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    net: KernelNet,
    engine: Engine<KernelNet>,
    commands: Inbox<Command>,
    waker: Arc<Waker>,
    alarm: Alarm,
    /// Its place among those who accept from the same sockets.
    crew: Option<Crew>,
    start: Instant,
    now: Ms,
    /// Whether commands may be left in the inbox.
    more_commands: bool,
}

impl Reactor {
    /// A reactor that serves these listeners.
    pub(crate) fn new(setup: Setup, mut listeners: Vec<Listener>) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        for (number, listener) in listeners.iter_mut().enumerate() {
            listener.register(&registry, token(Source::Listener(number as u32)))?;
        }
        let waker = Arc::new(Waker::new(&registry, token(Source::Waker))?);
        let alarm = Alarm::new(&registry, token(Source::Alarm))?;
        let engine = Engine::new(setup, listeners.len() as u32);
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            net: KernelNet { registry, listeners: listeners.into_iter().map(Some).collect() },
            engine,
            commands: Inbox::new(),
            waker,
            alarm,
            crew: None,
            start: clock(),
            now: Ms::ZERO,
            more_commands: false,
        })
    }

    /// The way in for other threads.
    pub(crate) fn slot(&self) -> (Slot<Command>, Arc<Waker>) {
        (self.commands.slot(), Arc::clone(&self.waker))
    }

    /// Others accept from the same listening sockets.
    pub(crate) fn join(&mut self, crew: Crew) {
        self.crew = Some(crew);
    }

    /// How long a drain may last, as it is configured.
    pub(crate) fn drain_ms(&self) -> u64 {
        self.engine.drain_ms()
    }

    /// Copies of the listening sockets that are still open.
    pub(crate) fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.net.listeners.iter().flatten().map(Listener::copy).collect()
    }

    /// How long a turn may sleep; `None` is until something happens.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        if self.engine.has_work() || self.more_commands {
            return Some(Duration::ZERO);
        }
        self.engine.next_deadline().map(|at| Duration::from_millis(at.since(self.now)))
    }

    /// Sleeps until something happens, at most `limit`, and deals with it. Gives whether there is
    /// anything left to serve.
    pub(crate) fn turn(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let timeout = match (self.timeout(), limit) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (Some(own), None) if own >= alarm::FAR => {
                self.alarm.set(self.now + whole_ms(own), self.now)?;
                None
            }
            (own, limit) => own.or(limit),
        };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        self.now = Ms(whole_ms(self.start.elapsed()));
        let mut woken = self.more_commands;
        self.engine.tick(self.now);
        for event in &self.events {
            let source = Source::unpack(event.token().0 as u64);
            woken |= source == Source::Waker;
            self.engine.note(source, seen(event));
        }
        if woken {
            self.take_commands();
        }
        if let Some(crew) = &self.crew {
            self.engine.compare(crew.fewest());
        }
        self.engine.run(&mut self.net, self.now);
        if let Some(crew) = &mut self.crew {
            crew.say(self.engine.client_count());
        }
        Ok(!self.engine.is_stopped())
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS {
            let Some(command) = self.commands.take() else {
                self.more_commands = false;
                return;
            };
            self.engine.command(command, self.now);
        }
        self.more_commands = true;
    }

    /// What is alive.
    pub(crate) fn census(&self) -> Census {
        self.engine.census()
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        self.engine.stats()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

#[allow(clippy::disallowed_methods, reason = "the one clock, read by the shell")]
fn clock() -> Instant {
    Instant::now()
}

/// What an event says, in the engine's words.
fn seen(event: &mio::event::Event) -> Ready {
    if event.is_error() || event.is_write_closed() {
        return Ready::READ.with(Ready::WRITE).with(Ready::END).with(Ready::GONE);
    }
    let mut seen = Ready::NONE;
    if event.is_readable() {
        seen = seen.with(Ready::READ);
    }
    if event.is_writable() {
        seen = seen.with(Ready::WRITE);
    }
    if event.is_read_closed() {
        seen = seen.with(Ready::READ).with(Ready::END);
    }
    seen
}

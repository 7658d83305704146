//! The public door: a builder, a proxy, a handle for other threads.
//!
//! One [`Proxy`] is one event loop. It starts no thread, takes no signal, sets up no logger and
//! keeps nothing in globals; it can be driven by [`Proxy::run`], turn by turn, or from a loop of
//! somebody else's. This file knows neither HTTP nor readiness.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::{Balance, Balancer};
use crate::config::{Config, SettingError};
use crate::crew::Crew;
use crate::endpoint::Endpoint;
use crate::engine::{Census, Command, Setup, Stats};
use crate::hooks::Hooks;
use crate::inbox::Slot;
use crate::reactor::Reactor;
use crate::registry::{MemoryRegistry, Registry};
use crate::route::{PathRouter, Router};
use crate::sys::{Bound, Listener};
use crate::time::whole_ms;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is no address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError(String);

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not an address to listen at: ", self.0)?;
        f.write_str("expected IP:PORT, [IPv6]:PORT or unix:/PATH")
    }
}

impl std::error::Error for ListenError {}

impl FromStr for Listen {
    type Err = ListenError;

    /// Reads `127.0.0.1:9090`, `[::]:80` or `unix:/path`. Names are not resolved.
    fn from_str(text: &str) -> Result<Listen, ListenError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Listen::Unix(PathBuf::from(path))),
            Some(_) => Err(ListenError(text.to_owned())),
            None => text.parse().map(Listen::Tcp).map_err(|_| ListenError(text.to_owned())),
        }
    }
}

/// Why a proxy could not be built or go on.
#[derive(Debug)]
pub enum Error {
    /// There is nowhere to listen.
    NoListener,
    /// A setting contradicts another.
    Setting(SettingError),
    /// An address could not be listened at.
    Listen(Listen, io::Error),
    /// A socket could not be taken over.
    TakeOver(io::Error),
    /// The event queue itself failed.
    Poll(io::Error),
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoListener => f.write_str("there is no address to listen at"),
            Error::Setting(error) => write!(f, "{error}"),
            Error::Listen(at, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{at}: the address is already in use")
            }
            Error::Listen(at, error) => write!(f, "{at}: {error}"),
            Error::TakeOver(error) => write!(f, "a socket to take over: {error}"),
            Error::Poll(error) => write!(f, "event queue: {error}"),
            Error::Thread(error) => write!(f, "a thread for a worker: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Whose a socket is that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This proxy is the last that listens on it: when it ends, so does the address, and the file
    /// of a Unix socket is removed.
    Sole,
    /// Somebody else holds it, too, as a service manager does, and it outlives this proxy.
    Shared,
}

/// A way in.
enum Door {
    Open(Listen),
    TakeOver(OwnedFd, Claim),
}

impl Door {
    fn take(self) -> Result<(Listener, Listen), Error> {
        match self {
            Door::Open(Listen::Tcp(at)) => match Listener::tcp(at) {
                Ok((listener, bound)) => Ok((listener, Listen::Tcp(bound))),
                Err(error) => Err(Error::Listen(Listen::Tcp(at), error)),
            },
            Door::Open(Listen::Unix(path)) => match Listener::unix(&path) {
                Ok(listener) => Ok((listener, Listen::Unix(path))),
                Err(error) => Err(Error::Listen(Listen::Unix(path), error)),
            },
            Door::TakeOver(socket, claim) => {
                let taken = Listener::take_over(socket, claim == Claim::Sole);
                let (listener, bound) = taken.map_err(Error::TakeOver)?;
                let at = match bound {
                    Bound::Tcp(address) => Listen::Tcp(address),
                    Bound::Unix(path) => Listen::Unix(path),
                };
                Ok((listener, at))
            }
        }
    }
}

/// Puts a [`Proxy`] together. Everything but a listener has a default.
pub struct Builder {
    doors: Vec<Door>,
    registry: Box<dyn Registry>,
    router: Box<dyn Router>,
    balance: Box<dyn Fn(&str) -> Box<dyn Balancer> + Send>,
    hooks: Option<Box<dyn Hooks>>,
    config: Config,
    seed: Option<u64>,
}

impl Builder {
    /// Listens here, too.
    #[must_use]
    pub fn listen(mut self, at: Listen) -> Builder {
        self.doors.push(Door::Open(at));
        self
    }

    /// Listens on this socket, too, which listens already: it came from a service manager, or
    /// from the process that this one replaces ([`Proxy::sockets`]).
    #[must_use]
    pub fn listen_on(mut self, socket: OwnedFd, claim: Claim) -> Builder {
        self.doors.push(Door::TakeOver(socket, claim));
        self
    }

    /// Listens on the sockets of this proxy, too: whoever of the two is awake first takes a client
    /// in. They are that proxy's: it ends the addresses, and this one must not outlive it. For
    /// [`Workers`](crate::Workers).
    pub fn beside(mut self, other: &Proxy) -> Result<Builder, Error> {
        let sockets = other.sockets().map_err(Error::TakeOver)?;
        self.doors.extend(sockets.into_iter().map(|s| Door::TakeOver(s, Claim::Shared)));
        Ok(self)
    }

    /// Who knows the endpoints; an empty [`MemoryRegistry`] by default.
    #[must_use]
    pub fn registry(mut self, registry: impl Registry + 'static) -> Builder {
        self.registry = Box::new(registry);
        self
    }

    /// Who tells the service of a request; [`PathRouter`] by default.
    #[must_use]
    pub fn router(mut self, router: impl Router + 'static) -> Builder {
        self.router = Box::new(router);
        self
    }

    /// How endpoints are chosen; [`Balance::Random`] by default.
    #[must_use]
    pub fn balance(self, balance: Balance) -> Builder {
        self.balancer(move |_| balance.build())
    }

    /// Who chooses endpoints: called once for each service, with its name.
    #[must_use]
    pub fn balancer(
        mut self,
        make: impl Fn(&str) -> Box<dyn Balancer> + Send + 'static,
    ) -> Builder {
        self.balance = Box::new(make);
        self
    }

    /// Who looks at exchanges and changes them; nobody by default.
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks + 'static) -> Builder {
        self.hooks = Some(Box::new(hooks));
        self
    }

    /// Limits and times.
    #[must_use]
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Where chance begins. Without it every proxy rolls its own dice.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Builder {
        self.seed = Some(seed);
        self
    }

    /// Checks the settings and takes the addresses. Nothing is served before it is driven.
    pub fn build(self) -> Result<Proxy, Error> {
        self.config.check().map_err(Error::Setting)?;
        if self.doors.is_empty() {
            return Err(Error::NoListener);
        }
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for door in self.doors {
            let (listener, bound) = door.take()?;
            listeners.push(listener);
            addresses.push(bound);
        }
        let setup = Setup {
            config: self.config,
            registry: self.registry,
            router: self.router,
            balance: self.balance,
            hooks: self.hooks,
            // std's hasher is seeded by the system: entropy without a crate.
            seed: self.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        };
        let reactor = Reactor::new(setup, listeners).map_err(Error::Poll)?;
        Ok(Proxy { reactor, addresses })
    }
}

/// A reverse proxy: one event loop, its listeners and its connections.
pub struct Proxy {
    reactor: Reactor,
    addresses: Vec<Listen>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Begins to put a proxy together.
    pub fn builder() -> Builder {
        Builder {
            doors: Vec::new(),
            registry: Box::new(MemoryRegistry::default()),
            router: Box::new(PathRouter::default()),
            balance: Box::new(|_| Balance::Random.build()),
            hooks: None,
            config: Config::default(),
            seed: None,
        }
    }

    /// The addresses that are listened at, as bound: port 0 is replaced by the real one.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Copies of the listening sockets, in the order of [`Proxy::addresses`] while none is closed:
    /// for a process that is to replace this one ([`Builder::listen_on`], [`Handle::hand_over`]).
    /// As long as a copy lives, its address lives.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.reactor.sockets()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        Handle::of_all(std::slice::from_ref(self))
    }

    /// Others accept from the same sockets.
    pub(crate) fn join(&mut self, crew: Crew) {
        self.reactor.join(crew);
    }

    /// How long its exchanges may take when it is to end.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.reactor.drain_ms())
    }

    /// Serves until [`Handle::stop`] is called, or [`Handle::drain`] and all has come to its end.
    /// [`Stats::stopped`] tells how many exchanges were cut then.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn(None)? {}
        Ok(())
    }

    /// One turn: sleeps until something happens, at most `limit`, and deals with it. Gives `false`
    /// when the proxy has been stopped.
    pub fn turn(&mut self, limit: Option<Duration>) -> Result<bool, Error> {
        self.reactor.turn(limit).map_err(Error::Poll)
    }

    /// For a loop of one's own: how long it may sleep before the next [`Proxy::turn`] if the
    /// descriptor ([`AsRawFd`]) shows nothing; `None` is for ever.
    pub fn timeout(&self) -> Option<Duration> {
        self.reactor.timeout()
    }

    /// What is alive now.
    pub fn census(&self) -> Census {
        self.reactor.census()
    }

    /// What has happened since the start.
    pub fn stats(&self) -> Stats {
        self.reactor.stats().clone()
    }
}

/// The event queue: readable when a turn has something to do.
impl AsRawFd for Proxy {
    fn as_raw_fd(&self) -> RawFd {
        self.reactor.as_raw_fd()
    }
}

/// Speaks to a proxy, or to all of several [`Workers`](crate::Workers), from any thread. What it
/// asks for is done in each proxy's next turn; if a proxy is gone, nothing happens there.
#[derive(Clone, Debug)]
pub struct Handle {
    ends: Arc<[End]>,
}

/// The way to one proxy.
#[derive(Debug)]
struct End {
    commands: Slot<Command>,
    waker: Arc<mio::Waker>,
}

impl Handle {
    /// A handle that speaks to all of these.
    pub(crate) fn of_all(proxies: &[Proxy]) -> Handle {
        let end = |proxy: &Proxy| {
            let (commands, waker) = proxy.reactor.slot();
            End { commands, waker }
        };
        Handle { ends: proxies.iter().map(end).collect() }
    }

    /// Adds `endpoint` to `service` (`name/version`, or `*`).
    pub fn add(&self, service: &str, endpoint: Endpoint) {
        self.send(|| Command::Add { service: service.to_owned(), endpoint: endpoint.clone() });
    }

    /// Takes `endpoint` out of `service`: no new request goes there, its idle connections are
    /// closed, and what it is doing ends well.
    pub fn delete(&self, service: &str, endpoint: &Endpoint) {
        self.send(|| Command::Delete { service: service.to_owned(), endpoint: endpoint.clone() });
    }

    /// Another limit or time, for everything that begins from now on: a deadline that was set stays
    /// as it was. What cannot change while it runs ([`Config::keep_fixed`]) keeps its value. It is
    /// the whole that is told here: several workers get a [share](Config::share) each.
    pub fn configure(&self, config: Config) -> Result<(), SettingError> {
        let share = config.share(self.ends.len())?;
        self.send(|| Command::Configure(Box::new(share.clone())));
        Ok(())
    }

    /// Chooses endpoints like this from now on, for all services.
    pub fn balance(&self, balance: Balance) {
        self.balancer(move |_| balance.build());
    }

    /// Every service gets a balancer that is made here, by its name; of each worker its own.
    pub fn balancer(&self, make: impl Fn(&str) -> Box<dyn Balancer> + Send + Sync + 'static) {
        let make = Arc::new(make);
        self.send(|| {
            let make = Arc::clone(&make);
            Command::Balance(Box::new(move |service| make(service)))
        });
    }

    /// Ends the proxy well. Nobody new is let in; who waits to be accepted still is. Answers say
    /// that the connection ends, idle clients have a second for a request that is on its way, and
    /// exchanges go on, at most until `deadline`; then they are cut.
    pub fn drain(&self, deadline: Duration) {
        self.hand_over(&[], deadline);
    }

    /// As [`Handle::drain`], but another process listens on the sockets of these listeners, by
    /// their place in [`Proxy::addresses`]: who waits there is left to it, and so are the files of
    /// Unix sockets.
    pub fn hand_over(&self, listeners: &[usize], deadline: Duration) {
        let handed = listeners.iter().filter_map(|number| u32::try_from(*number).ok());
        let handed: Vec<u32> = handed.collect();
        let deadline_ms = whole_ms(deadline);
        self.send(|| Command::Drain { deadline_ms, handed: handed.clone() });
    }

    /// Ends the proxy now: every connection is closed, what was in progress is cut.
    pub fn stop(&self) {
        self.send(|| Command::Stop);
    }

    fn send(&self, command: impl Fn() -> Command) {
        for end in self.ends.iter() {
            if end.commands.put(command()) {
                // It fails only when the proxy's poll is gone, and then nobody is left to wake.
                let _ = end.waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1.4
    #[test]
    fn listen_addresses_are_read_and_shown() {
        for text in ["127.0.0.1:9090", "[::]:80", "unix:/run/p.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "localhost:80", "127.0.0.1", "unix:", "unix:p.sock", "1.2.3.4:99999"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    /// B1.5
    #[test]
    fn a_port_in_use_is_one_clear_line() {
        let any: Listen = "127.0.0.1:0".parse().unwrap();
        let first = Proxy::builder().listen(any).build().unwrap();
        let taken = first.addresses()[0].clone();
        let error = Proxy::builder().listen(taken.clone()).build().unwrap_err();
        assert_eq!(error.to_string(), format!("{taken}: the address is already in use"));
        assert!(matches!(Proxy::builder().build(), Err(Error::NoListener)));
    }
}

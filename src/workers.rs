//! Several proxies that serve together, each on a thread of its own (`B9.5`).
//!
//! ```text
//!   one listening socket --+-- worker 1: epoll, engine, registry, pool, buffers
//!                          '-- worker 2: epoll, engine, registry, pool, buffers
//! ```
//!
//! They share the listening sockets and nothing else, but for how many clients each has (`crew`):
//! who takes a client in serves it to its end.
//! The thread of [`Workers::run`] only waits for the others; for a single proxy there is no other,
//! and it is driven as if nobody had asked for workers. This file does not know what is served.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::crew::Crew;
use crate::engine::Stats;
use crate::proxy::{Error, Handle, Listen, Proxy};

/// Proxies that are started, spoken to and ended together.
///
/// Each has what it was built with: a registry, a router, a balancer and hooks of its own, and its
/// [share](crate::Config::share) of the limits. The second and those after it listen
/// [beside](crate::Builder::beside) the first.
///
/// ```no_run
/// use pointsman::{Config, Endpoint, MemoryRegistry, Proxy, Registry as _, Workers};
///
/// let mut registry = MemoryRegistry::default();
/// registry.add("*", Endpoint::tcp("127.0.0.1:9091".parse()?));
/// let share = Config::default().share(2)?;
/// let builder = Proxy::builder().listen("127.0.0.1:9090".parse()?);
/// let first = builder.registry(registry.clone()).config(share.clone()).build()?;
/// let builder = Proxy::builder().beside(&first)?;
/// let second = builder.registry(registry).config(share).build()?;
/// let mut workers = Workers::of(first, vec![second]);
/// let handle = workers.handle(); // speaks to both
/// workers.run()?; // until handle.stop() or handle.drain()
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Workers {
    proxies: Vec<Proxy>,
    handle: Handle,
    addresses: Vec<Listen>,
}

impl Workers {
    /// These proxies together. What is said of listeners is said of those of the `first`, which
    /// lives as long as any other.
    pub fn of(first: Proxy, others: Vec<Proxy>) -> Workers {
        let addresses = first.addresses().to_vec();
        let mut proxies = Vec::with_capacity(1 + others.len());
        proxies.push(first);
        proxies.extend(others);
        if proxies.len() > 1 {
            let crew = Crew::of(proxies.len());
            proxies.iter_mut().zip(crew).for_each(|(proxy, place)| proxy.join(place));
        }
        let handle = Handle::of_all(&proxies);
        Workers { proxies, handle, addresses }
    }

    /// The addresses that are listened at, as [`Proxy::addresses`].
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Copies of the listening sockets, as [`Proxy::sockets`].
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.proxies.first().map_or(Ok(Vec::new()), Proxy::sockets)
    }

    /// A handle that speaks to all of them.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What has happened since the start, to all of them together.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.proxies.iter().for_each(|proxy| sum.add(&proxy.stats()));
        sum
    }

    /// Serves until [`Handle::stop`], or [`Handle::drain`] and all have come to their end.
    /// [`Workers::stats`] tells how many exchanges were cut then.
    ///
    /// A single proxy runs on this thread; several on a thread each. If one of them fails, or
    /// panics in a hook of its owner, its connections end and the others are drained, for as long
    /// as their configuration says; then the error is given, or the panic goes on here.
    pub fn run(&mut self) -> Result<(), Error> {
        if let [proxy] = self.proxies.as_mut_slice() {
            return proxy.run();
        }
        let mut threads = Vec::with_capacity(self.proxies.len());
        let mut first = Ok(());
        for (number, proxy) in (1..).zip(std::mem::take(&mut self.proxies)) {
            match start(number, proxy, self.handle.clone()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    first = Err(Error::Thread(error));
                    self.handle.stop();
                    break;
                }
            }
        }
        let ends: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        for end in ends {
            match end {
                Ok(Ok(proxy)) => self.proxies.push(proxy),
                Ok(Err(error)) => first = first.and(Err(error)),
                Err(panic) => resume_unwind(panic),
            }
        }
        first
    }
}

/// Serves on a thread of its own; gives the proxy back when it has ended well.
#[allow(clippy::disallowed_methods, reason = "an embedder who starts workers asks for threads")]
fn start(
    number: usize,
    mut proxy: Proxy,
    handle: Handle,
) -> io::Result<JoinHandle<Result<Proxy, Error>>> {
    let thread = thread::Builder::new().name(format!("worker {number}"));
    thread.spawn(move || {
        let mut alarm = Alarm { patience: proxy.patience(), handle, armed: true };
        proxy.run()?;
        alarm.armed = false;
        Ok(proxy)
    })
}

/// Lets the others end well when a worker is lost, by an error or a panic: a process that serves
/// with a part of what it was given would go unnoticed.
struct Alarm {
    handle: Handle,
    patience: Duration,
    armed: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.armed {
            self.handle.drain(self.patience);
        }
    }
}

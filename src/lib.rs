//! pointsman is an HTTP/1.1 reverse proxy and load balancer on mio's event loop. Its promise: no
//! request is lost.
//!
//! It routes `/<service>/<version>/rest` to one of the endpoints that a [`Registry`] knows for
//! that service. When an endpoint refuses, dies or drops an idle connection, the request goes to
//! another one, and the client does not notice.
//!
//! ```no_run
//! use pointsman::{Endpoint, MemoryRegistry, Proxy, Registry as _};
//!
//! let mut registry = MemoryRegistry::default();
//! registry.add("serviceone/v1", Endpoint::tcp("127.0.0.1:9091".parse()?));
//! registry.add("serviceone/v1", Endpoint::tcp("127.0.0.1:9092".parse()?));
//! let mut proxy = Proxy::builder().listen("127.0.0.1:9090".parse()?).registry(registry).build()?;
//! let handle = proxy.handle(); // Clone + Send: changes the registry, stops the proxy
//! proxy.run()?; // until handle.stop()
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it deliberately does not do
//!
//! It starts no thread, unless it is asked for a [`Resolver`] or for [`Workers`]; it takes no
//! signal, sets up no logger, reads no environment and has no global. It speaks no TLS and no
//! HTTP/2. It never invents a field, and never repairs a message that two readers could take in two
//! ways.
//!
//! # The tour
//!
//! The house has floors; a module knows only those below its own, and a test checks it.
//!
//! ```text
//!   5 shell     proxy  workers  reactor  alarm  sys  resolve    mio, sockets, clock, threads
//!   4 engine    engine/*  net                  connections, buffers, deadlines; over a trait Net
//!   3 exchange  exchange  config  summary  hooks    one request and its answer
//!   2 policy    route  registry  balance  endpoint  spec  names  health    where it may go
//!   1 protocol  h1/*                           HTTP/1.1 over byte slices
//!   0 ground    buf  keys  time  rng  hash     bytes, names, milliseconds, dice
//! ```
//!
//! A request walks through them like this. The reactor wakes up and *notes* what happened. The
//! engine pumps each client that was touched: it reads into a buffer, `h1` finds a head and its
//! facts, the desk routes it, asks the registry, lets a balancer choose and plans how the head
//! goes on. An exchange is born. Bytes move up and down between two sockets and two buffers,
//! judged by framing before they leave. If the connection to the endpoint is lost, one table in
//! `exchange.rs` says what follows; the bytes that were written are still in the buffer, so to try
//! again is to move one cursor back. When the answer's last byte is out, the connection is parked
//! in the pool, the client is idle again, and a [`Summary`] says how it went.
//!
//! Because the engine runs over a trait instead of sockets, the same code runs in a simulator,
//! under a seed and a virtual clock: see `src/sim`.
//!
//! To read on, open `exchange.rs` (the promise, as a table), then `engine/pump.rs` and
//! `engine/relay.rs` (how bytes move), then `h1/head.rs` (strictness).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("pointsman is written for Linux: it relies on how epoll and TCP behave there");

mod alarm;
mod balance;
mod buf;
mod config;
mod crew;
mod endpoint;
mod engine;
mod exchange;
mod h1;
mod hash;
mod health;
mod hooks;
mod inbox;
mod keys;
mod names;
mod net;
mod proxy;
mod reactor;
mod registry;
mod resolve;
mod rng;
mod route;
mod spec;
mod summary;
mod sys;
mod time;
mod workers;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, unused_imports))]
mod sim;
#[cfg(test)]
mod tidy;

pub use balance::{Balance, BalanceError, Balancer, Choice, HashBy, Load};
pub use config::{
    Check, Config, Forwarded, HostRule, Network, NetworkError, ReuseUnsafe, SettingError,
};
pub use endpoint::{Address, Endpoint, Failure};
pub use engine::{Census, Stats};
pub use h1::answer::Answer;
pub use h1::{Bad, Fields, RequestHead, ResponseHead};
pub use hooks::{Decision, Edit, Hooks};
pub use names::{NameError, Names};
pub use proxy::{Builder, Claim, Error, Handle, Listen, ListenError, Proxy};
pub use registry::{MemoryRegistry, Registry, Snapshot};
pub use resolve::Resolver;
pub use rng::Rng;
pub use route::{NoRoute, PathRouter, Route, Router};
pub use spec::{EndpointSpec, RouteSpec, SpecError};
pub use summary::{Outcome, Reason, Summary};
pub use time::Ms;
pub use workers::Workers;

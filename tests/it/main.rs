//! The tests of the whole: the real program and the library, on real sockets of 127.0.0.1.
//!
//! Every test names the line of the contract that it proves. Helpers are in `wire` (one side of
//! a connection) and `harness` (processes and origins).

#![allow(clippy::disallowed_methods, reason = "outside the library there are clocks and threads")]

mod article;
mod checklist;
mod cli;
mod config;
mod corpus;
mod embed;
mod exchange;
mod forward;
mod framing;
mod harness;
mod hostile;
mod idle;
mod life;
mod limits;
mod losses;
mod memory;
mod names;
mod old;
mod pipelines;
mod pool;
mod reader;
mod real;
mod responses;
mod routing;
mod splice;
mod standard;
mod standard_answers;
mod story;
mod upgrade;
mod uploads;
mod waiting;
mod wire;
mod workers;

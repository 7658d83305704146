//! The program: arguments and a file in, a [`Proxy`] out, an exit code at the end.
//!
//! It sees the public API of the library only, and so proves each day that the API suffices. Exit
//! codes: 0 done, 1 a failure at run time, 2 a wrong argument. It does not know HTTP.

mod cli;
mod demo;
mod draft;
mod file;
mod plan;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use pointsman::{MemoryRegistry, Proxy, Registry, Resolver};

use cli::Command;
use plan::Plan;

/// Why the program ends early: what it says on standard error, and its exit code.
struct Failure {
    text: String,
    code: u8,
}

fn main() -> ExitCode {
    start_logger();
    match perform(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when standard error is closed.
            let _ = io::stderr().write_all(failure.text.as_bytes());
            ExitCode::from(failure.code)
        }
    }
}

/// `LEVEL message` on standard error, from info upwards unless `RUST_LOG` says otherwise. No time:
/// journald and every supervisor stamp the lines themselves.
fn start_logger() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|out, record| writeln!(out, "{} {}", record.level(), record.args()))
        .init();
}

fn perform(args: Vec<OsString>) -> Result<(), Failure> {
    match cli::parse(args).map_err(wrong)? {
        Command::Help => say(&cli::help()),
        Command::Version => say(concat!("pointsman ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Usage => return Err(Failure { text: cli::USAGE.to_owned(), code: 2 }),
        Command::Check(settings) => say(&Plan::make(&settings).map_err(wrong)?.summary()),
        Command::Run(settings) => run(Plan::make(&settings).map_err(wrong)?)?,
    }
    Ok(())
}

fn run(plan: Plan) -> Result<(), Failure> {
    if let Some(line) = plan.lowered() {
        log::warn!("{line}");
    }
    if plan.demo {
        demo::start().map_err(broken)?;
    }
    let mut registry = MemoryRegistry::default();
    for (service, endpoints) in plan.names.services() {
        for endpoint in endpoints {
            registry.add(service, endpoint);
        }
    }
    let every = Duration::from_millis(plan.config.resolve_ms);
    let balancers = plan.balancers;
    let mut builder = Proxy::builder().registry(registry).config(plan.config);
    builder = builder.balancer(move |service| balancers.build(service));
    for listen in plan.listen {
        builder = builder.listen(listen);
    }
    let mut proxy = builder.build().map_err(broken)?;
    for address in proxy.addresses() {
        log::info!("pointsman listening on {address}");
    }
    if plan.demo && io::stdout().is_terminal() {
        proxy.addresses().first().into_iter().for_each(|at| say(&demo::invitation(at)));
    }
    let _resolver = Resolver::start(proxy.handle(), plan.names, every).map_err(broken)?;
    proxy.run().map_err(broken)
}

/// A closed pipe (`pointsman --help | head`) is no failure.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn wrong(line: String) -> Failure {
    Failure { text: format!("pointsman: {line}\n"), code: 2 }
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure { text: format!("pointsman: {why}\n"), code: 1 }
}

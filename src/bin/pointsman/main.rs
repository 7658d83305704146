//! The program: arguments and a file in, [`Workers`] out, an exit code at the end.
//!
//! It sees the public API of the library only, and so proves each day that the API suffices. Exit
//! codes: 0 done, 1 a failure at run time or requests that were cut at the end, 2 a wrong argument.
//! It does not know HTTP.

mod cli;
mod demo;
mod draft;
mod file;
mod life;
mod plan;
mod reload;
mod upgrade;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use pointsman::{Builder, Claim, MemoryRegistry, Proxy, Registry, Workers};

use cli::{Command, Settings};
use life::{Life, Signals};
use plan::Plan;
use reload::Running;
use upgrade::{Heritage, Program};

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
    match cli::parse(args.clone()).map_err(wrong)? {
        Command::Help => say(&cli::help()),
        Command::Version => say(concat!("pointsman ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Usage => return Err(Failure { text: cli::USAGE.to_owned(), code: 2 }),
        Command::Check(settings) => say(&Plan::make(&settings).map_err(wrong)?.summary()),
        Command::Run(settings) => run(args, settings)?,
    }
    Ok(())
}

fn run(args: Vec<OsString>, settings: Settings) -> Result<(), Failure> {
    let signals = Signals::catch().map_err(broken)?;
    let program = Program::of_this_process(args).map_err(broken)?;
    let plan = Plan::make(&settings).map_err(wrong)?;
    if let Some(line) = plan.lowered() {
        log::warn!("{line}");
    }
    if plan.demo {
        demo::start().map_err(broken)?;
    }
    let mut heritage = Heritage::receive().map_err(broken)?;
    let mut workers = build(&plan, heritage.as_mut())?;
    for address in workers.addresses() {
        log::info!("pointsman listening on {address}");
    }
    if plan.demo && io::stdout().is_terminal() {
        workers.addresses().first().into_iter().for_each(|at| say(&demo::invitation(at)));
    }
    let sockets = workers.sockets().map_err(broken)?;
    let life = Life {
        signals,
        handle: workers.handle(),
        settings,
        sockets: plan.listen.iter().cloned().zip(sockets).collect(),
        program,
        running: Running::begin(plan, workers.handle()).map_err(broken)?,
    };
    life.begin().map_err(broken)?;
    if let Some(heritage) = heritage {
        heritage.accept().map_err(broken)?;
    }
    workers.run().map_err(broken)?;
    match workers.stats().stopped() {
        0 => Ok(()),
        cut => Err(broken(format!("{cut} requests were cut because the time to end was over"))),
    }
}

/// The workers of a plan, on the sockets of the process before this one as far as there are any.
fn build(plan: &Plan, mut heritage: Option<&mut Heritage>) -> Result<Workers, Failure> {
    let mut registry = MemoryRegistry::default();
    for (service, endpoints) in plan.names.services() {
        for endpoint in endpoints {
            registry.add(service, endpoint);
        }
    }
    let share = plan.config.share(plan.workers).map_err(broken)?;
    let build = |listening: Builder| {
        let balancers = plan.balancers.clone();
        let builder = listening.registry(registry.clone()).config(share.clone());
        builder.balancer(move |service| balancers.build(service)).build()
    };
    let mut builder = Proxy::builder();
    for listen in &plan.listen {
        builder = match heritage.as_mut().and_then(|heritage| heritage.take(listen)) {
            Some(socket) => builder.listen_on(socket, Claim::Sole),
            None => builder.listen(listen.clone()),
        };
    }
    let first = build(builder).map_err(broken)?;
    let other = |_| Proxy::builder().beside(&first).and_then(build);
    let others = (1..plan.workers).map(other).collect::<Result<_, _>>().map_err(broken)?;
    Ok(Workers::of(first, others))
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

//! Hostile load, measured: `cargo run --release --example hostile`.
//!
//! It starts pointsman anew for every siege, with origins in this process, and does to it what
//! those do who mean harm: thousands who are slow, heads without end, readers who do not read,
//! origins that lie. Meanwhile well-behaved clients ask 200 times a second. It judges that none of
//! their requests fails and that they do not wait, that memory stays below what `--check` printed,
//! and that afterwards the processor is idle and every descriptor is given back.
//! `docs/hostile-load.md` has the result.
//!
//! ```text
//!   main      which sieges, in which order
//!   sieges/   what each does:  patience, bombs, origins, tunnels, limits
//!   siege     one from its beginning to its end;  table: a row of it, judged
//!   probe     the well-behaved clients;  crowd: those who are not;  origin: the other side
//!   process   the proxy as the kernel sees it;  wire, options
//! ```

// An experiment has a clock and threads; the library has neither.
#![allow(clippy::disallowed_methods, reason = "an example, not the library")]

mod crowd;
mod options;
mod origin;
mod probe;
mod process;
mod siege;
mod sieges;
mod table;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use options::{Options, USAGE};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let sieges = sieges::all();
    let names: Vec<_> = sieges.iter().map(|siege| siege.name).collect();
    let options = match Options::parse(&args, &names) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("hostile: {error}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if options.list {
        sieges.iter().for_each(|siege| println!("{:16} {}", siege.name, siege.title));
        return ExitCode::SUCCESS;
    }
    match campaign(&sieges, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::from(2)
        }
    }
}

/// True if everything held.
fn campaign(sieges: &[siege::Siege], options: &Options) -> io::Result<bool> {
    let program = options.program.clone().map_or_else(build, Ok)?;
    let (files, begun) = (process::open_files(), Instant::now());
    println!("{files} files may be open\n\n{}", table::HEADER);
    let (mut told, mut broken) = (Vec::new(), Vec::new());
    for siege in sieges.iter().filter(|siege| options.wants(siege.name, siege.brief)) {
        let row = siege::lay(siege, &program, files, options.brief)
            .map_err(|error| io::Error::other(format!("{}: {error}", siege.name)))?;
        println!("{}", row.markdown());
        told.push(format!("{}: {}: {}", row.name, siege.title, row.told));
        broken.extend(row.broken().into_iter().map(|what| format!("{}: {what}", row.name)));
    }
    println!();
    told.iter().for_each(|line| println!("{line}"));
    println!("\n{:.0} s", begun.elapsed().as_secs_f64());
    broken.iter().for_each(|line| println!("did not hold: {line}"));
    Ok(broken.is_empty())
}

/// The release binary next to this one, brought up to date.
fn build() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let release = own.parent().and_then(Path::parent).filter(|dir| dir.ends_with("release"));
    let dir = release.ok_or_else(|| io::Error::other("run it with --release"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--quiet", "--bin", "pointsman", "--target-dir"]);
    command.arg(dir.parent().unwrap_or(dir)).current_dir(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join("pointsman");
    match command.status() {
        Ok(status) if status.success() => Ok(program),
        _ if program.exists() => Ok(program),
        _ => Err(io::Error::other("cargo build --release failed")),
    }
}

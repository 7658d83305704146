//! `gate`, which `run` calls: it lets the proxy serve, and judges what was written down.
//!
//! ```text
//!   gate list                                  the names of the scenarios
//!   gate serve NAME                            the rounds of a scenario, for strace
//!   gate judge TABLE WITH DIR [DIR]            exit 1 if the least of the runs is too much
//!   gate accept TABLE WITH DIR                 writes the table
//! ```
//!
//! DIR holds NAME.callgrind and NAME.strace for each scenario; WITH says with what was measured.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use pointsman_gate::ledger::Ledger;
use pointsman_gate::scenarios::{self, Scenario};
use pointsman_gate::tally::Tally;
use pointsman_gate::world::World;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["list"] => {
            scenarios::ALL.iter().for_each(|scenario| println!("{}", scenario.name));
            Ok(true)
        }
        ["serve", name] => serve(name),
        ["judge", table, with, ref dirs @ ..] if !dirs.is_empty() => judge(table, with, dirs),
        ["accept", table, with, dir] => accept(table, with, dir),
        _ => Err("usage: see the head of benches/gate/src/main.rs".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("gate: {why}");
            ExitCode::from(2)
        }
    }
}

fn serve(name: &str) -> Result<bool, String> {
    let scenario = Scenario::named(name).ok_or_else(|| format!("no scenario {name}"))?;
    World::warm(scenario).serve();
    Ok(true)
}

fn measured(with: &str, dir: &str) -> Result<Ledger, String> {
    let read = |name: &str, log: &str| {
        let path = Path::new(dir).join(format!("{name}.{log}"));
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let row = |scenario: &Scenario| {
        let name = scenario.name;
        let logs = (read(name, "callgrind")?, read(name, "strace")?);
        let tally = Tally::read(&logs.0, &logs.1, scenario.requests());
        Ok((name.to_owned(), tally.map_err(|why| format!("{name}: {why}"))?))
    };
    let rows = scenarios::ALL.iter().map(row).collect::<Result<_, String>>()?;
    Ok(Ledger { with: with.to_owned(), rows })
}

fn judge(table: &str, with: &str, dirs: &[&str]) -> Result<bool, String> {
    let text = fs::read_to_string(table).map_err(|error| format!("{table}: {error}"))?;
    let accepted = Ledger::parse(&text).map_err(|why| format!("{table}: {why}"))?;
    let mut runs = dirs.iter().map(|dir| measured(with, dir)).collect::<Result<Vec<_>, _>>()?;
    let mut least = runs.pop().ok_or("nothing was measured")?;
    for run in runs {
        for (row, other) in least.rows.iter_mut().zip(run.rows) {
            row.1 = std::mem::take(&mut row.1).least(other.1);
        }
    }
    print!("{}", least.write().lines().skip(4).fold(String::new(), |all, l| all + l + "\n"));
    let verdict = accepted.judge(&least);
    verdict.remarks.iter().for_each(|remark| println!("{remark}"));
    if verdict.remarks.iter().any(|remark| remark.starts_with("smaller")) {
        println!("make it last: benches/gate/run --accept");
    }
    verdict.failures.iter().for_each(|failure| println!("TOO MUCH: {failure}"));
    Ok(verdict.failures.is_empty())
}

fn accept(table: &str, with: &str, dir: &str) -> Result<bool, String> {
    let text = measured(with, dir)?.write();
    print!("{text}");
    fs::write(table, text).map_err(|error| format!("{table}: {error}"))?;
    Ok(true)
}

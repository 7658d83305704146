//! The table of accepted figures: how it is written, and whether a run keeps to it.
//!
//! Figures may grow by 3 %. Waits are few and shared, so a little more is left to them. What
//! depends on the compiler or on the C library is judged only if they are those of the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::tally::Tally;

/// How much a figure may grow, or shrink before the accepted one should follow.
const TOLERANCE: f64 = 0.03;
/// How much waits may grow, and how many more there may be in any case: one in a hundred requests
/// is what a turn costs that came too early.
const WAITS_TOLERANCE: f64 = 0.10;
const WAITS_SLACK: f64 = 0.01;

const HEAD: &str = "\
# What a request may cost. Written by `benches/gate/run --accept`; CONTRIBUTING.md, \"The gate\".
# For each request: instructions in user space, system calls that do not wait, and those that do.
";
const WITH: &str = "measured with: ";

/// What was measured, or is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Compiler, C library and valgrind: with others the instructions are others.
    pub with: String,
    /// By scenario, in the order in which they were measured.
    pub rows: Vec<(String, Tally)>,
}

/// How a run stands to what is accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What grew too much, or is missing. The gate is shut if there is anything.
    pub failures: Vec<String>,
    /// What else should be known.
    pub remarks: Vec<String>,
}

impl Ledger {
    /// Reads a table; `Err` names the line that is none of it.
    pub fn parse(text: &str) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if let Some(with) = line.strip_prefix(WITH) {
                ledger.with = with.to_owned();
            } else if !line.starts_with("scenario ") {
                ledger.rows.push(row(line).ok_or_else(|| format!("not a row: {line}"))?);
            }
        }
        if ledger.with.is_empty() || ledger.rows.is_empty() {
            return Err("the table is empty".into());
        }
        Ok(ledger)
    }

    /// The table as text.
    pub fn write(&self) -> String {
        let mut text = format!("{HEAD}{WITH}{}\n\n", self.with);
        let columns = ("scenario", "instructions", "calls", "waits");
        let (a, b, c, d) = columns;
        let _ = writeln!(text, "{a:<12} {b:>12} {c:>8} {d:>8}  by name");
        for (name, tally) in &self.rows {
            let Tally { instructions, calls, waits, by_name } = tally;
            let list = listed(by_name);
            let _ =
                writeln!(text, "{name:<12} {instructions:>12.1} {calls:>8.4} {waits:>8.4}  {list}");
        }
        text
    }

    fn get(&self, name: &str) -> Option<&Tally> {
        self.rows.iter().find(|(row, _)| row == name).map(|(_, tally)| tally)
    }

    /// Holds what was `measured` against this table.
    pub fn judge(&self, measured: &Ledger) -> Verdict {
        let mut verdict = Verdict::default();
        let same_tools = self.with == measured.with;
        if !same_tools {
            verdict.remarks.push(format!(
                "NOT JUDGED: instructions. They were accepted with {}; this is {}",
                self.with, measured.with
            ));
        }
        for (name, now) in &measured.rows {
            let Some(accepted) = self.get(name) else {
                verdict.failures.push(format!("{name}: nothing is accepted for it"));
                continue;
            };
            if same_tools {
                let (was, is) = (accepted.instructions, now.instructions);
                verdict.figure(name, "instructions", was, is, was * (1.0 + TOLERANCE));
            }
            let failed = verdict.failures.len();
            let (was, is) = (accepted.calls, now.calls);
            verdict.figure(name, "system calls", was, is, was * (1.0 + TOLERANCE));
            let (was, is) = (accepted.waits, now.waits);
            let most = was * (1.0 + WAITS_TOLERANCE) + WAITS_SLACK;
            verdict.figure(name, "waits", was, is, most);
            if verdict.failures.len() > failed {
                let (was, is) = (listed(&accepted.by_name), listed(&now.by_name));
                verdict.failures.push(format!("    accepted {was}\n    now      {is}"));
            }
        }
        for (name, _) in &self.rows {
            if measured.get(name).is_none() {
                verdict.failures.push(format!("{name}: was not measured"));
            }
        }
        verdict
    }
}

impl Verdict {
    fn figure(&mut self, name: &str, what: &str, was: f64, is: f64, most: f64) {
        let percent = if was > 0.0 { (is / was - 1.0) * 100.0 } else { 0.0 };
        let line = format!("{name}: {what} {is:.4}, accepted {was:.4} ({percent:+.1} %)");
        // What stands in the table is rounded.
        if is > most + 0.0001 {
            self.failures.push(line);
        } else if is < was * (1.0 - TOLERANCE) - 0.0001 {
            self.remarks.push(format!("smaller: {line}"));
        }
    }
}

fn row(line: &str) -> Option<(String, Tally)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse::<f64>().ok().filter(|number| *number >= 0.0);
    let (instructions, calls, waits) = (number()?, number()?, number()?);
    let mut by_name = BTreeMap::new();
    for word in words {
        let (call, each) = word.split_once('=')?;
        by_name.insert(call.to_owned(), each.parse().ok()?);
    }
    Some((name, Tally { instructions, calls, waits, by_name }))
}

fn listed(by_name: &BTreeMap<String, f64>) -> String {
    let each = by_name.iter().map(|(name, each)| format!("{name}={each:.4}"));
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(with: &str, instructions: f64, calls: f64, waits: f64) -> Ledger {
        let by_name = BTreeMap::from([("sendto".to_owned(), calls), ("epoll_wait".into(), waits)]);
        let tally = Tally { instructions, calls, waits, by_name };
        Ledger { with: with.into(), rows: vec![("small".into(), tally)] }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = ledger("rustc 1", 9000.5, 4.0, 0.0312);
        assert_eq!(Ledger::parse(&table.write()), Ok(table));
        for text in ["", "measured with: rustc 1\nsmall 9000 4", "measured with: x\nsmall 1 -2 3"] {
            assert!(Ledger::parse(text).is_err(), "{text:?}");
        }
    }

    /// A run, how many complaints and how many remarks.
    #[test]
    fn what_grows_by_more_than_three_percent_fails() {
        let table = ledger("rustc 1", 10_000.0, 4.0, 0.0312);
        for (run, failures, remarks) in [
            (ledger("rustc 1", 10_000.0, 4.0, 0.0312), 0, 0),
            (ledger("rustc 1", 10_290.0, 4.11, 0.0440), 0, 0),
            (ledger("rustc 1", 10_310.0, 4.0, 0.0312), 1, 0),
            (ledger("rustc 1", 10_000.0, 4.13, 0.0312), 2, 0),
            (ledger("rustc 1", 10_000.0, 4.0, 0.0450), 2, 0),
            (ledger("rustc 1", 9_600.0, 3.0, 0.0312), 0, 2),
            (ledger("rustc 2", 20_000.0, 4.0, 0.0312), 0, 1),
            (ledger("rustc 2", 20_000.0, 5.0, 0.0312), 2, 1),
            (Ledger { with: "rustc 1".into(), rows: Vec::new() }, 1, 0),
        ] {
            let verdict = table.judge(&run);
            let found = (verdict.failures.len(), verdict.remarks.len());
            assert_eq!(found, (failures, remarks), "{run:?} {verdict:?}");
        }
        let other = Ledger { rows: vec![("new".into(), Tally::default())], ..table.clone() };
        assert_eq!(table.judge(&other).failures.len(), 2, "one is new, one is missing");
    }
}

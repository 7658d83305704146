//! What was measured, as a file of tabs that a later run adds to.
//!
//! `#` begins what is known about the machine and the run: a key and a text. Every other line is
//! scenario, proxy, metric, median, least, most, rounds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// The median of some rounds, and how far they were apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
}

impl Value {
    /// `None` if there is no number at all.
    pub(crate) fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.iter().copied().filter(|n| n.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let rounds = sorted.len();
        let median = (sorted[(rounds - 1) / 2] + sorted[rounds / 2]) / 2.0;
        Some(Self { median, least, most, rounds })
    }
}

type Key = (String, String, String);

#[derive(Default)]
pub(crate) struct Results {
    pub(crate) about: BTreeMap<String, String>,
    rows: BTreeMap<Key, Value>,
}

impl Results {
    pub(crate) fn read(file: &Path) -> Self {
        let mut results = Self::default();
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            match cells[..] {
                ["#", key, text] => {
                    results.about.insert(key.into(), text.into());
                }
                [scenario, peer, metric, median, least, most, rounds] => {
                    let number = |cell: &str| cell.parse::<f64>().ok();
                    let value = || {
                        let (median, least) = (number(median)?, number(least)?);
                        let (most, rounds) = (number(most)?, rounds.parse().ok()?);
                        Some(Value { median, least, most, rounds })
                    };
                    if let Some(value) = value() {
                        results.set(scenario, peer, metric, value);
                    }
                }
                _ => {}
            }
        }
        results
    }

    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let mut text = String::new();
        for (key, what) in &self.about {
            let _ = writeln!(text, "#\t{key}\t{what}");
        }
        for ((scenario, peer, metric), value) in &self.rows {
            let Value { median, least, most, rounds } = value;
            let _ = writeln!(
                text,
                "{scenario}\t{peer}\t{metric}\t{median:.4}\t{least:.4}\t{most:.4}\t{rounds}"
            );
        }
        fs::write(file, text)
    }

    pub(crate) fn set(&mut self, scenario: &str, peer: &str, metric: &str, value: Value) {
        let key = (scenario.to_owned(), peer.to_owned(), metric.to_owned());
        self.rows.insert(key, value);
    }

    /// As soon as it is there, it is shown.
    pub(crate) fn add(&mut self, scenario: &str, peer: &str, metric: &str, numbers: &[f64]) {
        let Some(value) = Value::of(numbers) else { return };
        println!(
            "{scenario:13} {peer:17} {metric:14} {:>12} ({} to {})",
            number(value.median),
            number(value.least),
            number(value.most)
        );
        self.set(scenario, peer, metric, value);
    }

    pub(crate) fn get(&self, scenario: &str, peer: &str, metric: &str) -> Option<Value> {
        let key = (scenario.to_owned(), peer.to_owned(), metric.to_owned());
        self.rows.get(&key).copied()
    }

    /// Everybody who has that metric there.
    pub(crate) fn peers(&self, scenario: &str, metric: &str) -> Vec<(&str, Value)> {
        let rows = self.rows.iter().filter(|((s, _, m), _)| s == scenario && m == metric);
        rows.map(|((_, peer, _), value)| (peer.as_str(), *value)).collect()
    }

    /// Everything whose metric begins so, for one proxy in one scenario.
    pub(crate) fn beginning(&self, scenario: &str, peer: &str, with: &str) -> Vec<(&str, Value)> {
        let fits = |(s, p, m): &Key| s == scenario && p == peer && m.starts_with(with);
        let rows = self.rows.iter().filter(|(key, _)| fits(key));
        rows.map(|((_, _, metric), value)| (&metric[with.len()..], *value)).collect()
    }

    /// The best of those that are not ours.
    pub(crate) fn best(&self, scenario: &str, metric: &str) -> Option<(&str, f64)> {
        let others = self.peers(scenario, metric).into_iter();
        let others = others.filter(|(peer, _)| !peer.starts_with("pointsman") && *peer != "direct");
        others.map(|(peer, v)| (peer, v.median)).min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Forgets a scenario with one proxy, so that nothing of an older run stays beside the new.
    pub(crate) fn forget(&mut self, scenario: &str, peer: &str) {
        self.rows.retain(|(s, p, _), _| s != scenario || p != peer);
    }
}

/// Three digits that matter, and thousands set apart.
pub(crate) fn number(n: f64) -> String {
    let size = n.abs();
    if size < 0.000_5 {
        return "0".into();
    }
    if size < 1.0 {
        return format!("{n:.3}");
    }
    if size < 10.0 {
        return format!("{n:.2}");
    }
    if size < 100.0 {
        return format!("{n:.1}");
    }
    let digits = format!("{n:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

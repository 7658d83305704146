//! Rows, tables, lines for machines, and who was best.

use std::fmt::Write;
use std::time::Duration;

use crate::proxies::Kind;
use crate::tally::Tally;

/// What one proxy did in one row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) tally: Tally,
    /// Shown, not judged: there are two right answers.
    pub(crate) is_info: bool,
}

impl Row {
    pub(crate) fn new(key: &str, title: &str, tally: Tally) -> Self {
        Self { key: key.to_owned(), title: title.to_owned(), tally, is_info: false }
    }

    pub(crate) fn info(mut self) -> Self {
        self.is_info = true;
        self
    }

    /// `lost / twice / slow / longest`, and the excused behind the lost.
    fn cell(&self) -> String {
        let tally = &self.tally;
        let excused = match tally.excused {
            0 => String::new(),
            count => format!(" (+{count})"),
        };
        let longest = short(tally.longest);
        format!("{}{excused} / {} / {} / {longest}", tally.lost, tally.twice, tally.slow)
    }

    /// One line, `name=value` separated by spaces, the remarks last.
    fn machine(&self, kind: Kind) -> String {
        let tally = &self.tally;
        format!(
            "chaos row={} proxy={} sent={} lost={} excused={} twice={} slow={} max_ms={:.1} \
             remarks=\"{}\"",
            self.key,
            kind.name(),
            tally.sent,
            tally.lost,
            tally.excused,
            tally.twice,
            tally.slow,
            tally.longest.as_secs_f64() * 1e3,
            tally.remarks()
        )
    }
}

fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms >= 1_000.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// The rows of one group, by proxy.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) kinds: Vec<Kind>,
    /// One of each kind, in the order of `kinds`.
    rows: Vec<Vec<Row>>,
}

impl Table {
    pub(crate) fn new(title: &str, kinds: &[Kind]) -> Self {
        Self { title: title.to_owned(), kinds: kinds.to_vec(), rows: Vec::new() }
    }

    /// Adds what each kind did in one scenario and prints it for machines.
    pub(crate) fn add(&mut self, by_kind: &[Vec<Row>]) {
        let count = by_kind.iter().map(Vec::len).max().unwrap_or(0);
        for index in 0..count {
            let row: Vec<Row> =
                by_kind.iter().filter_map(|rows| rows.get(index).cloned()).collect();
            for (kind, one) in self.kinds.iter().zip(&row) {
                println!("{}", one.machine(*kind));
            }
            self.rows.push(row);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As Markdown, in columns that a terminal shows as well.
    pub(crate) fn markdown(&self) -> String {
        let mut lines = vec![self.header()];
        for row in &self.rows {
            let mut line = vec![match row.first() {
                Some(first) => format!("{} ({}, of {})", first.title, first.key, first.tally.sent),
                None => String::new(),
            }];
            line.extend(row.iter().map(Row::cell));
            lines.push(line);
        }
        let columns = self.kinds.len() + 1;
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = format!("### {}\n\n", self.title);
        for (number, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text
    }

    fn header(&self) -> Vec<String> {
        let mut header = vec!["lost / executed twice / slow / longest".to_owned()];
        header.extend(self.kinds.iter().map(|kind| kind.name().to_owned()));
        header
    }

    /// The rows in which somebody else did less harm than `kind`.
    pub(crate) fn not_best(&self, kind: Kind) -> Vec<String> {
        let Some(column) = self.kinds.iter().position(|other| *other == kind) else {
            return Vec::new();
        };
        let mut worse = Vec::new();
        for row in self.rows.iter().filter(|row| row.iter().all(|one| !one.is_info)) {
            let least = row.iter().map(|one| one.tally.harm()).min().unwrap_or(0);
            if let Some(own) = row.get(column).filter(|own| own.tally.harm() > least) {
                let harm = own.tally.harm();
                worse.push(format!("{}: {harm}, the best has {least}", own.key));
            }
        }
        worse
    }
}

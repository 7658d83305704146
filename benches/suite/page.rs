//! The page with the tables and pictures, made from what was measured and from nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::marks;
use crate::prose;
use crate::results::{Results, Value, number};
use crate::scenarios::{Scenario, all};
use crate::svg::{self, Bar};

/// The order of columns and bars.
const ORDER: [&str; 13] = [
    "pointsman",
    "pointsman-bare",
    "pointsman-fresh",
    "pointsman-always",
    "nginx",
    "nginx-4k",
    "nginx-32k",
    "haproxy",
    "haproxy-32k",
    "haproxy-splice",
    "go",
    "caddy",
    "direct",
];
const COLUMNS: [&str; 10] = [
    "pointsman",
    "nginx",
    "nginx-4k",
    "nginx-32k",
    "haproxy",
    "haproxy-32k",
    "haproxy-splice",
    "go",
    "caddy",
    "direct",
];

/// What begins the key that says when and how a scenario was run.
pub(crate) const RUN: &str = "run of ";

/// Writes `benchmarks.md` and its pictures into `docs`.
pub(crate) fn write(docs: &Path, results: &Results) -> io::Result<()> {
    let pictures = docs.join("benchmarks");
    fs::create_dir_all(&pictures)?;
    let mut page = Page { results, text: String::new(), scenarios: all() };
    page.text.push_str(prose::OPENING);
    page.machine();
    page.marks();
    page.cpu(&pictures)?;
    page.long(&pictures)?;
    page.connections(&pictures)?;
    page.posts();
    page.apart(&pictures)?;
    page.counts(&pictures)?;
    page.footprint(&pictures)?;
    page.text.push_str(prose::CLOSING);
    fs::write(docs.join("benchmarks.md"), &page.text)
}

struct Page<'a> {
    results: &'a Results,
    text: String,
    scenarios: Vec<Scenario>,
}

fn cell(value: Option<Value>) -> String {
    match value {
        None => String::new(),
        Some(v) if v.rounds < 2 => number(v.median),
        Some(v) => format!("{} ({}-{})", number(v.median), number(v.least), number(v.most)),
    }
}

/// Megabytes of a number of bytes.
fn megabytes(value: Option<Value>) -> String {
    let less = |n: f64| n / 1e6;
    cell(value.map(|v| Value {
        median: less(v.median),
        least: less(v.least),
        most: less(v.most),
        ..v
    }))
}

/// Figures of which less is better, in which somebody else may be ahead.
const COMPARED: [&str; 14] = [
    "cpu_us",
    "cpu_s_gib",
    "added_us",
    "p99_us",
    "half_p50_us",
    "half_p99_us",
    "common_p50_us",
    "common_p99_us",
    "instructions",
    "syscalls",
    "idle_bytes",
    "idle_wakes",
    "first_ms",
    "rss",
];

impl Page<'_> {
    fn machine(&mut self) {
        self.text.push_str("\n## Machine and versions\n\n");
        let mut runs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, what) in &self.results.about {
            match key.strip_prefix(RUN) {
                Some(scenario) => runs.entry(what).or_default().push(scenario),
                None => {
                    let _ = writeln!(self.text, "- {key}: {what}");
                }
            }
        }
        for (what, scenarios) in runs {
            let _ = writeln!(self.text, "- {what}: {}", scenarios.join(", "));
        }
    }

    fn marks(&mut self) {
        self.text.push_str(prose::MARKS);
        self.text.push_str(&marks::table(self.results));
        let mut behind = Vec::new();
        for metric in COMPARED {
            for scenario in &self.scenarios {
                let ours = self.results.get(scenario.name, "pointsman", metric);
                let best = self.results.best(scenario.name, metric);
                if let (Some(ours), Some((peer, best))) = (ours, best) {
                    if ours.median > best {
                        let (ours, best) = (number(ours.median), number(best));
                        behind.push(format!(
                            "- {}: {metric} {ours}, {peer} {best}\n",
                            scenario.about
                        ));
                    }
                }
            }
        }
        self.text.push_str("\nWhere another one is ahead:\n\n");
        if behind.is_empty() {
            self.text.push_str("- nowhere in this run\n");
        }
        self.text.extend(behind);
    }

    /// A row for each scenario that has the metric.
    fn table(&mut self, metric: &str, wanted: &[&str]) {
        let has = |peer: &&str| {
            wanted.iter().any(|scenario| self.results.get(scenario, peer, metric).is_some())
        };
        let columns: Vec<&str> = COLUMNS.into_iter().filter(has).collect();
        let head = columns.join(" | ");
        let _ = write!(self.text, "\n| | {head} | to the best other |\n|---|");
        let _ = writeln!(self.text, "{}", "---|".repeat(columns.len() + 1));
        for scenario in self.scenarios.iter().filter(|s| wanted.contains(&s.name)) {
            let cells: Vec<String> =
                columns.iter().map(|p| cell(self.results.get(scenario.name, p, metric))).collect();
            let ours = self.results.get(scenario.name, "pointsman", metric);
            let ratio = match (ours, self.results.best(scenario.name, metric)) {
                (Some(ours), Some((peer, best))) => format!("{:.2} ({peer})", ours.median / best),
                _ => String::new(),
            };
            let cells = cells.join(" | ");
            let _ = writeln!(self.text, "| {} | {cells} | {ratio} |", scenario.about);
        }
    }

    fn bars(&self, scenario: &str, metric: &str) -> Vec<Bar> {
        let here = self.results.peers(scenario, metric);
        let place = |peer: &str| ORDER.iter().position(|name| *name == peer);
        let mut bars: Vec<(usize, Bar)> = here
            .into_iter()
            .filter_map(|(peer, value)| {
                let ours = peer.starts_with("pointsman");
                Some((place(peer)?, Bar { label: peer.to_owned(), value, ours }))
            })
            .collect();
        bars.sort_by_key(|(place, _)| *place);
        bars.into_iter().map(|(_, bar)| bar).collect()
    }

    fn picture(
        &mut self,
        pictures: &Path,
        name: &str,
        title: &str,
        panels: &[(&str, &str)],
    ) -> io::Result<()> {
        let mut drawn = Vec::new();
        for (scenario, metric) in panels {
            let bars = self.bars(scenario, metric);
            let about = self.scenarios.iter().find(|s| s.name == *scenario).map(|s| s.about);
            if !bars.is_empty() {
                drawn.push((about.unwrap_or(scenario).to_owned(), bars));
            }
        }
        if !drawn.is_empty() {
            fs::write(pictures.join(format!("{name}.svg")), svg::bars(title, &drawn))?;
            let _ = writeln!(self.text, "\n![{title}](benchmarks/{name}.svg)");
        }
        Ok(())
    }

    fn cpu(&mut self, pictures: &Path) -> io::Result<()> {
        self.text.push_str(prose::CPU);
        let wanted = [
            "small",
            "one",
            "close",
            "mid16k",
            "fields30",
            "conns1024",
            "conns8192",
            "services10k",
            "endpoints1k",
            "dead",
        ];
        self.table("cpu_us", &wanted);
        let panels = wanted.map(|scenario| (scenario, "cpu_us"));
        let title = "CPU time of the proxy for each request, µs (less is better)";
        self.picture(pictures, "cpu", title, &panels)?;
        let lost: Vec<String> = self
            .scenarios
            .iter()
            .flat_map(|s| {
                let lost = self.results.peers(s.name, "lost_per_million").into_iter();
                lost.map(|(peer, v)| format!("{peer} in `{}`: {}", s.name, number(v.median)))
            })
            .collect();
        if !lost.is_empty() {
            let lost = lost.join("; ");
            let _ = writeln!(self.text, "\nRequests without a right answer, of a million: {lost}.");
        }
        self.text.push_str(prose::ONE);
        self.table("p50_us", &["one"]);
        self.table("added_us", &["one"]);
        Ok(())
    }

    fn long(&mut self, pictures: &Path) -> io::Result<()> {
        self.text.push_str(prose::LONG);
        let wanted = ["down10m", "up10m", "upchunked10m"];
        self.table("cpu_s_gib", &wanted);
        let panels = wanted.map(|scenario| (scenario, "cpu_s_gib"));
        let title = "CPU seconds of the proxy for each GiB (less is better)";
        self.picture(pictures, "long", title, &panels)
    }

    fn connections(&mut self, pictures: &Path) -> io::Result<()> {
        let places = ["one", "small", "conns1024", "conns8192"];
        let mut series = Vec::new();
        let mut highest: f64 = 1.0;
        for peer in ["pointsman", "nginx", "haproxy", "go", "caddy"] {
            let value = |s: &&str| self.results.get(s, peer, "cpu_us").map(|v| v.median);
            let values: Vec<Option<f64>> = places.iter().map(value).collect();
            if values.iter().filter(|v| v.is_some()).count() > 1 {
                highest = values.iter().flatten().copied().fold(highest, f64::max);
                series.push((peer.to_owned(), values));
            }
        }
        if series.is_empty() {
            return Ok(());
        }
        let top = (highest / 20.0).ceil() * 20.0;
        let title = "CPU µs for each request, by active connections";
        let picture = svg::lines(title, &["1", "64", "1,024", "8,192"], &series, top);
        fs::write(pictures.join("connections.svg"), picture)?;
        let _ = writeln!(self.text, "\n![{title}](benchmarks/connections.svg)");
        Ok(())
    }

    fn posts(&mut self) {
        self.text.push_str(prose::POSTS);
        self.text.push_str("\n| | CPU µs for each request |\n|---|---|\n");
        for bar in self.bars("post1k", "cpu_us") {
            let _ = writeln!(self.text, "| {} | {} |", bar.label, cell(Some(bar.value)));
        }
    }

    fn apart(&mut self, pictures: &Path) -> io::Result<()> {
        self.text.push_str(prose::APART);
        for scenario in ["small", "mid16k"] {
            let about = self.scenarios.iter().find(|s| s.name == scenario).map(|s| s.about);
            let _ = writeln!(self.text, "\n### {}\n", about.unwrap_or(scenario));
            self.text
                .push_str("| | requests/s | core busy, % | p50 at half, µs | p99 at half, µs ");
            self.text.push_str("| p50 at 5,000/s, µs | p99 at 5,000/s, µs |\n");
            self.text.push_str("|---|---|---|---|---|---|---|\n");
            for bar in self.bars(scenario, "rate") {
                let metrics = [
                    "rate",
                    "busy_percent",
                    "half_p50_us",
                    "half_p99_us",
                    "common_p50_us",
                    "common_p99_us",
                ];
                let cells: Vec<String> = metrics
                    .iter()
                    .map(|m| cell(self.results.get(scenario, &bar.label, m)))
                    .collect();
                let _ = writeln!(self.text, "| {} | {} |", bar.label, cells.join(" | "));
            }
        }
        let title = "p99 at half of the own highest load, µs (less is better)";
        let panels = [("small", "half_p99_us"), ("mid16k", "half_p99_us")];
        self.picture(pictures, "latency", title, &panels)
    }

    fn counts(&mut self, pictures: &Path) -> io::Result<()> {
        self.text.push_str(prose::COUNTS);
        self.table("syscalls", &["small", "close"]);
        let mut lines = String::new();
        for scenario in ["small", "close"] {
            for (peer, _) in self.results.peers(scenario, "syscalls") {
                let calls = self.results.beginning(scenario, peer, "sys:");
                let calls: Vec<String> =
                    calls.iter().map(|(name, v)| format!("{name} {}", number(v.median))).collect();
                let _ = writeln!(lines, "- `{scenario}`, {peer}: {}", calls.join(", "));
            }
        }
        let _ = write!(self.text, "\n{lines}");
        self.text.push_str("\nUser-space instructions:\n");
        let wanted = ["small", "close", "fields30"];
        self.table("instructions", &wanted);
        let panels = wanted.map(|scenario| (scenario, "instructions"));
        let title = "User-space instructions for each request (less is better)";
        self.picture(pictures, "instructions", title, &panels)
    }

    fn footprint(&mut self, pictures: &Path) -> io::Result<()> {
        self.text.push_str(prose::FOOTPRINT);
        self.text.push_str("| | file, MB | resident at start, MB | its share of it (PSS), MB ");
        self.text.push_str("| first answer, ms | an idle client, bytes | wake-ups/s, idle |\n");
        self.text.push_str("|---|---|---|---|---|---|---|\n");
        for bar in self.bars("start", "rss") {
            let of = |scenario, metric| cell(self.results.get(scenario, &bar.label, metric));
            let big = |metric| megabytes(self.results.get("start", &bar.label, metric));
            let cells = [
                big("file"),
                big("rss"),
                big("pss"),
                of("start", "first_ms"),
                of("idle10k", "idle_bytes"),
                of("idle10k", "idle_wakes"),
            ];
            let _ = writeln!(self.text, "| {} | {} |", bar.label, cells.join(" | "));
        }
        if let Some(clients) = self.results.get("idle10k", "pointsman", "idle_clients") {
            let _ = writeln!(self.text, "\nIdle clients in this run: {}.", number(clients.median));
        }
        let title = "Resident bytes of an idle client (less is better)";
        self.picture(pictures, "idle", title, &[("idle10k", "idle_bytes")])
    }
}

//! The table: a row for each siege, and what of it did not hold. It knows no sockets.

use std::fmt::Write;
use std::time::Duration;

/// A well-behaved client waits no longer than this, all but one in a hundred times.
const P99: Duration = Duration::from_millis(50);
/// A process that does nothing wakes up now and then.
const IDLE_TICKS: u64 = 1;

/// What one siege came to.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) asked: usize,
    pub(crate) failed: Vec<String>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// Of the same client without the proxy.
    pub(crate) direct_p99: Duration,
    /// Whether times are judged.
    pub(crate) timed: bool,
    pub(crate) growth_bytes: u64,
    pub(crate) ceiling_bytes: u64,
    /// In a second in which the besiegers stood still; `None` where they do not.
    pub(crate) still_ticks: Option<u64>,
    /// In a second after it.
    pub(crate) after_ticks: u64,
    pub(crate) files_before: usize,
    pub(crate) files_after: usize,
    /// What the besiegers saw.
    pub(crate) told: String,
    /// What they should not have seen.
    pub(crate) wrong: Vec<String>,
}

pub(crate) const HEADER: &str = "\
| siege | well-behaved: asked, failed | p50 / p99 / max ms | without proxy p99 | \
memory MiB, ceiling | ticks still / after | files before, after |
|---|---|---|---|---|---|---|";

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Row {
    /// As a line of Markdown.
    pub(crate) fn markdown(&self) -> String {
        let still = self.still_ticks.map_or("-".to_owned(), |ticks| ticks.to_string());
        format!(
            "| {} | {}, {} | {} / {} / {}{} | {} | {:.1}, {:.1} | {still} / {} | {}, {} |",
            self.name,
            self.asked,
            self.failed.len(),
            ms(self.p50),
            ms(self.p99),
            ms(self.max),
            if self.timed { "" } else { " (told)" },
            ms(self.direct_p99),
            mib(self.growth_bytes),
            mib(self.ceiling_bytes),
            self.after_ticks,
            self.files_before,
            self.files_after,
        )
    }

    /// What did not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = self.wrong.clone();
        let mut judge = |holds: bool, what: &dyn Fn() -> String| {
            if !holds {
                broken.push(what());
            }
        };
        let first = self.failed.first().cloned().unwrap_or_default();
        judge(self.failed.is_empty(), &|| {
            format!("{} well-behaved requests failed: {first}", self.failed.len())
        });
        judge(self.asked > 0, &|| "nothing was measured".to_owned());
        judge(!self.timed || self.p99 < P99, &|| {
            let (p99, direct) = (ms(self.p99), ms(self.direct_p99));
            format!("p99 is {p99} ms (without the proxy {direct} ms)")
        });
        judge(self.growth_bytes <= self.ceiling_bytes, &|| {
            let mut text = format!("memory grew by {:.1} MiB", mib(self.growth_bytes));
            let _ = write!(text, ", --check said {:.1}", mib(self.ceiling_bytes));
            text
        });
        let still = self.still_ticks.unwrap_or(0);
        judge(still <= IDLE_TICKS + 1, &|| format!("{still} ticks while everybody stood still"));
        let after = self.after_ticks;
        judge(after <= IDLE_TICKS, &|| format!("{after} ticks in a second after it"));
        judge(self.files_after <= self.files_before, &|| {
            format!("{} descriptors before, {} after", self.files_before, self.files_after)
        });
        broken
    }
}

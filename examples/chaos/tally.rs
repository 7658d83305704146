//! What a row of the table says: how many requests were lost, executed twice, slow.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::client::{Loss, Verdict};
use crate::ledger::Records;

/// Slower than this is slow.
pub(crate) const SLOW: Duration = Duration::from_secs(1);

/// From just before a backend was killed until it was dead.
pub(crate) type Kill = (Instant, Instant);

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    /// POSTs that nobody can save without a second delivery: in flight in a backend that died,
    /// answered with an honest 502, executed at most once.
    pub(crate) excused: u32,
    /// Executions of a POST after its first one.
    pub(crate) twice: u32,
    pub(crate) slow: u32,
    pub(crate) longest: Duration,
    pub(crate) notes: Vec<String>,
    causes: BTreeMap<String, u32>,
}

/// Which lost POSTs are excused.
pub(crate) enum Excuse<'a> {
    None,
    /// The endpoint reads requests and dies: whoever sends it one cannot know.
    Executed,
    /// In flight when a backend was killed.
    Kills(&'a [Kill]),
}

impl Excuse<'_> {
    fn covers(&self, verdict: &Verdict, executions: u32) -> bool {
        let honest = verdict.is_post && verdict.loss == Some(Loss::Status(502));
        let during = |kill: &Kill| verdict.begun <= kill.1 && verdict.ended >= kill.0;
        honest
            && match self {
                Self::None => false,
                Self::Executed => executions == 1,
                Self::Kills(kills) => executions <= 1 && kills.iter().any(during),
            }
    }
}

impl Tally {
    pub(crate) fn of(verdicts: &[Verdict], records: &Records, excuse: &Excuse<'_>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            let executions = records.executions(&verdict.id);
            tally.timed(verdict.took());
            if verdict.is_post {
                tally.twice += executions.saturating_sub(1);
            }
            if excuse.covers(verdict, executions) {
                tally.excused += 1;
            } else if let Some(loss) = verdict.loss {
                tally.lose(cause(loss));
            }
        }
        tally
    }

    /// How often the backends saw more than they should have.
    pub(crate) fn note_deliveries(&mut self, verdicts: &[Verdict], records: &Records) {
        let deliveries: u32 = verdicts.iter().map(|v| records.executions(&v.id)).sum();
        self.note(format!("{deliveries} deliveries"));
    }

    /// One more request, and how long it took.
    pub(crate) fn timed(&mut self, took: Duration) {
        self.sent += 1;
        self.slow += u32::from(took > SLOW);
        self.longest = self.longest.max(took);
    }

    pub(crate) fn lose(&mut self, cause: impl Into<String>) {
        self.lost += 1;
        *self.causes.entry(cause.into()).or_default() += 1;
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// What the rows are compared by.
    pub(crate) fn harm(&self) -> u32 {
        self.lost + self.twice
    }

    /// The causes of the losses, and what else there is to say.
    pub(crate) fn remarks(&self) -> String {
        let mut text = String::new();
        for (cause, count) in &self.causes {
            let _ = write!(text, "{count} x {cause}, ");
        }
        text.push_str(&self.notes.join(", "));
        text.trim_end_matches(", ").to_owned()
    }
}

fn cause(loss: Loss) -> String {
    match loss {
        Loss::Status(status) => status.to_string(),
        Loss::Fault(fault) => fault.word().to_owned(),
        Loss::WrongBody => "wrong body".to_owned(),
    }
}

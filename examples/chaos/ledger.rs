//! What the backends saw, in a file that outlives them: one line is one `write`, so a backend that
//! is killed takes nothing back.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The request was read to its last byte: from here on it may have had its effect.
pub(crate) const EXECUTED: &str = "executed";
/// The head of the request was read.
pub(crate) const SEEN: &str = "seen";
/// The other side ended before its answer did.
pub(crate) const GONE: &str = "gone";

/// Microseconds since 1970: the one clock that processes share.
pub(crate) fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) struct Ledger(File);

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    pub(crate) fn note(&self, event: &str, id: &str) {
        let line = format!("{event} {id} {}\n", unix_us());
        // A full disk shows as missing lines, which the reader of the table would see.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

/// The ledger of a scene, read after the fact.
#[derive(Default)]
pub(crate) struct Records {
    executed: HashMap<String, u32>,
    events: HashMap<(String, String), u64>,
}

impl Records {
    pub(crate) fn read(path: &Path) -> Self {
        let mut records = Self::default();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(event), Some(id), Some(at)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if event == EXECUTED {
                *records.executed.entry(id.to_owned()).or_default() += 1;
            }
            let key = (event.to_owned(), id.to_owned());
            records.events.insert(key, at.parse().unwrap_or(0));
        }
        records
    }

    /// How often a request was read to its end.
    pub(crate) fn executions(&self, id: &str) -> u32 {
        self.executed.get(id).copied().unwrap_or(0)
    }

    /// When something happened to a request, if it did.
    pub(crate) fn at_us(&self, event: &str, id: &str) -> Option<u64> {
        self.events.get(&(event.to_owned(), id.to_owned())).copied()
    }
}

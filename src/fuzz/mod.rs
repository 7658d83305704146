//! The fuzz house: what is fuzzed, and the oracles that judge it.
//!
//! ```text
//!   head     a head: whole, cut, byte by byte; against the second reader
//!   chunk    a chunked body: kept and stripped, cut and whole; against the second reader
//!   rewrite  a head as it goes on: against what the contract says of every line
//!   differ   ours, the second reader, httparse as it is and as lenient as it can be
//!   buffer   the four cursors and the pool, against a `Vec`
//!   engine   a whole proxy over wires in memory, with arbitrary peers on both sides
//!
//!   reader chunks streams   the second reader     expect   the second opinion on rewriting
//!   peers                   who stands on both sides of the engine     judge   its oracles
//! ```
//!
//! A target is a function that takes bytes and panics when an oracle is violated. `fuzz/` wraps
//! each for libFuzzer; the test below plays all files of `fuzz/corpus`, so that whatever was found
//! once is looked for ever after. How to run them: `docs/fuzzing.md`.

pub mod buffer;
pub mod chunk;
mod chunks;
pub mod differ;
pub mod engine;
mod expect;
pub mod head;
mod judge;
mod peers;
mod reader;
pub mod rewrite;
mod streams;

use crate::h1::Limits;
use reader::Bounds;

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { head_bytes: 1024, fields: 16, target_bytes: 128 };
/// The same, for the second reader.
const BOUNDS: Bounds = Bounds { head_bytes: 1024, fields: 16, target_bytes: 128 };

/// Where a message of `len` bytes is cut: `seed` decides; 0 leaves it whole, 1 cuts everywhere.
fn cuts(seed: u8, len: usize) -> Vec<usize> {
    let mut state = u32::from(seed);
    let mut at = 0;
    let mut ends = Vec::new();
    while at < len {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        at += match seed {
            0 => len,
            1 => 1,
            2..=127 => 1 + (state >> 16) as usize % 8,
            _ => 1 + (state >> 16) as usize % 200,
        };
        ends.push(at.min(len));
    }
    ends
}

/// Bytes as a failure shows them.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::{Mutex, PoisonError};

    /// Every file of the corpus of `target`, in order; there must be `least` of them.
    fn replay(target: &str, least: usize, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = fs::read_dir(&folder).expect("the corpus is here");
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.sort();
        assert!(files.len() >= least, "{} files in {}", files.len(), folder.display());
        for file in files {
            let data = fs::read(&file).expect("readable");
            let played = std::panic::catch_unwind(|| run(&data));
            assert!(played.is_ok(), "{} fails", file.display());
        }
    }

    /// B7.1, B7.2
    #[test]
    fn the_corpus_of_heads() {
        replay("head", 20, super::head::run);
    }

    /// B7.1, B7.2, B7.9
    #[test]
    fn the_corpus_of_chunks() {
        replay("chunk", 15, super::chunk::run);
    }

    /// B7.3 to B7.5
    #[test]
    fn the_corpus_of_rewriting() {
        replay("rewrite", 10, super::rewrite::run);
    }

    /// B7.1, B7.2
    #[test]
    fn the_corpus_of_differences() {
        replay("differ", 20, super::differ::run);
    }

    /// Invariant 7.
    #[test]
    fn the_corpus_of_buffers() {
        replay("buffer", 8, super::buffer::run);
    }

    /// B4.9, B7.3, B8.6; and it must have been through everything, or it proves nothing.
    #[test]
    fn the_corpus_of_whole_proxies() {
        static SEEN: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
        replay("engine", 30, |data| {
            let stats = super::engine::judged(data);
            let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            for (what, n) in [
                ("answered", stats.answered),
                ("client gone", stats.client_gone),
                ("refused", stats.refused.values().sum()),
                ("cut", stats.cut.values().sum()),
                ("reused", stats.reused),
                ("reconnects", stats.reconnects),
                ("retries", stats.retries),
                ("waited", stats.waited),
                ("hedges", stats.hedges),
                ("tunnels", stats.tunnels),
            ] {
                *seen.entry(what).or_default() += n;
            }
        });
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.len() == 10 && seen.values().all(|&n| n > 0), "{seen:?}");
    }
}

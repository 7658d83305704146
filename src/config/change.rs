//! What of a [`Config`] may change while a proxy runs: everything but the memory, which was given
//! out already. This file does not know who asks.

use super::Config;

impl Config {
    /// Takes back from `running` what cannot change while a proxy runs with it: `memory` and
    /// `buffer`. Gives the keys where that made a difference.
    pub fn keep_fixed(&mut self, running: &Config) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |key, mine: &mut usize, theirs: usize| {
            if std::mem::replace(mine, theirs) != theirs {
                kept.push(key);
            }
        };
        keep("memory", &mut self.memory_bytes, running.memory_bytes);
        keep("buffer", &mut self.buffer_bytes, running.buffer_bytes);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B9.1: what a reload cannot change keeps its value and is named.
    #[test]
    fn memory_stays_as_it_is() {
        let running = Config::default();
        let mut new = Config { memory_bytes: 1 << 30, connect_ms: 7, ..Config::default() };
        assert_eq!(new.keep_fixed(&running), ["memory"]);
        assert_eq!(new, Config { connect_ms: 7, ..Config::default() });
        new.buffer_bytes = 4096;
        assert_eq!(new.keep_fixed(&running), ["buffer"]);
        assert!(new.keep_fixed(&running).is_empty());
    }
}

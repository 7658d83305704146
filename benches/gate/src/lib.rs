//! The gate: what a request costs the proxy, counted where noise does not reach.
//!
//! `scenarios` says what is asked, `world` holds a proxy between its two peers in one thread,
//! `ledger` compares what was counted with what is accepted. This package does not know how the
//! proxy works: it uses the public API alone.

pub mod ledger;
mod peers;
pub mod scenarios;
pub mod tally;
pub mod world;

#[allow(dead_code, unreachable_pub, reason = "the suite uses all of it")]
#[path = "../../suite/browser.rs"]
mod browser;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    /// Versions by name, of the packages that a lock file lists.
    fn versions(lock: &'static str) -> BTreeMap<&'static str, &'static str> {
        let value = |line, key| str::strip_prefix(line, key)?.strip_suffix('"');
        let pair = |package: &'static str| {
            let name = package.lines().find_map(|line| value(line, "name = \""));
            Some((name?, package.lines().find_map(|line| value(line, "version = \""))?))
        };
        lock.split("[[package]]").filter_map(pair).collect()
    }

    /// What is measured is built from what is released.
    #[test]
    fn dependencies_are_those_of_the_program() {
        let ours = versions(include_str!("../Cargo.lock"));
        let theirs = versions(include_str!("../../../Cargo.lock"));
        for name in ["log", "mio", "rand", "rustix", "slab", "socket2", "libc"] {
            assert_eq!(ours.get(name), theirs.get(name), "{name}");
            assert!(ours.contains_key(name), "{name}");
        }
    }
}

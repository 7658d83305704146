//! Reads what callgrind and strace wrote down. It does not know what is accepted.

use std::collections::BTreeMap;

/// The call that stands on both sides of each turn of the proxy.
const MARK: &str = "getppid";

/// What one run of a scenario cost for each request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Instructions in user space.
    pub instructions: f64,
    /// System calls, without those that wait.
    pub calls: f64,
    /// System calls that wait: how many requests share one depends on how they arrive.
    pub waits: f64,
    /// All system calls by name.
    pub by_name: BTreeMap<String, f64>,
}

impl Tally {
    /// From the two logs of a scenario with so many requests; `Err` says what is wrong with them.
    pub fn read(callgrind: &str, strace: &str, requests: usize) -> Result<Tally, String> {
        let requests = requests as f64;
        let counts = system_calls(strace)?;
        let by_name: BTreeMap<String, f64> =
            counts.into_iter().map(|(name, count)| (name, count as f64 / requests)).collect();
        let sum = |waits: bool| {
            let those = by_name.iter().filter(|(name, _)| is_wait(name) == waits);
            those.map(|(_, each)| each).sum()
        };
        let (calls, waits) = (sum(false), sum(true));
        let instructions = instructions(callgrind)? as f64 / requests;
        Ok(Tally { instructions, calls, waits, by_name })
    }

    /// Of two runs the lesser figures: what disturbs a run adds to it.
    pub fn least(self, other: Tally) -> Tally {
        let fewer_calls = self.calls <= other.calls;
        Tally {
            instructions: self.instructions.min(other.instructions),
            calls: self.calls.min(other.calls),
            waits: self.waits.min(other.waits),
            by_name: if fewer_calls { self.by_name } else { other.by_name },
        }
    }
}

fn is_wait(name: &str) -> bool {
    name.starts_with("epoll_") && name.contains("wait")
}

/// The instructions in a profile of callgrind.
fn instructions(profile: &str) -> Result<u64, String> {
    let total = |line: &str| line.strip_prefix("totals:")?.split_whitespace().next()?.parse().ok();
    let total = profile.lines().find_map(total).ok_or("callgrind wrote no totals")?;
    if total == 0 { Err("callgrind did not find the turns".into()) } else { Ok(total) }
}

/// The system calls by name between one mark and the next, in a log of strace.
fn system_calls(log: &str) -> Result<BTreeMap<String, u64>, String> {
    let (mut counts, mut marks) = (BTreeMap::new(), 0_u64);
    for line in log.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        if name == MARK {
            marks += 1;
        } else if marks % 2 == 1 {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    match marks {
        0 => Err("strace saw no turn".into()),
        n if n % 2 == 1 => Err("strace saw a turn without its end".into()),
        _ => Ok(counts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "events: Ir\nfn=(1) x\n1 5\ntotals: 9000 7\n";
    const LOG: &str = "sendto(9, \"\"..., 3) = 3\ngetppid() = 1\n\
        epoll_wait(5, [{events=EPOLLIN}], 1024, 20) = 1\nrecvfrom(4, \"G\"..., 9) = 9\n\
        sendto(6, \"G\"..., 9) = 9\ngetppid() = 1\nrecvfrom(7, \"\"..., 1) = 1\n\
        getppid() = 1\nsendto(4, \"H\"..., 9) = 9\ngetppid() = 1\n+++ exited with 0 +++\n";

    #[test]
    fn what_lies_between_marks_is_counted() {
        let tally = Tally::read(PROFILE, LOG, 2).unwrap();
        assert_eq!((tally.instructions, tally.calls, tally.waits), (4500.0, 1.5, 0.5));
        assert_eq!(tally.by_name["sendto"], 1.0);
        assert_eq!(tally.by_name["recvfrom"], 0.5);
    }

    #[test]
    fn logs_that_say_nothing_are_errors() {
        for (profile, log) in [
            ("totals: 0", LOG),
            ("", LOG),
            (PROFILE, ""),
            (PROFILE, "recvfrom(7) = 1"),
            (PROFILE, "getppid() = 1\nrecvfrom(7) = 1"),
        ] {
            assert!(Tally::read(profile, log, 2).is_err(), "{profile:?} {log:?}");
        }
    }

    #[test]
    fn the_least_of_two_runs() {
        let run =
            |instructions, calls, waits| Tally { instructions, calls, waits, ..Tally::default() };
        assert_eq!(run(1.0, 5.0, 2.0).least(run(2.0, 4.0, 1.0)), run(1.0, 4.0, 1.0));
    }
}

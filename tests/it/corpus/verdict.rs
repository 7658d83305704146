//! Compares what happened with the verdict of a case.
//!
//! After a case was played, the client asks for something else if its connection is still open, and
//! then another client does: both must get their own answers. This file does not know how bytes
//! move.

use super::format::{Case, Outcome, Piece, Then, joined};
use super::stage::{Arrived, Back, Doors, End, Stage, default_answer, shown};
use super::ways::{self, Way};
use crate::reader::{self, Unread};

/// Plays a case in every way; gives how many that were, or what was wrong first.
pub(super) fn play(case: &Case, doors: &Doors) -> Result<usize, String> {
    let ways = ways::of(case);
    for way in &ways {
        let told = |why| format!("{} ({}), {way:?}: {why}", case.place, case.name);
        play_so(case, *way, doors).map_err(told)?;
    }
    Ok(ways.len())
}

fn play_so(case: &Case, way: Way, doors: &Doors) -> Result<(), String> {
    let mut stage = Stage::new(doors, &case.with, ways::scripts(case, way));
    let front = stage.connect();
    for piece in ways::client(case, way) {
        stage.send(front, &piece);
    }
    stage.until(|stage| judge(case, way, stage, front))?;
    let waits = matches!(case.outcomes.last(), Some(Outcome::Waits { .. }));
    let (arrived, tunnel) = (stage.arrived.len(), stage.backs.iter().any(|back| back.raw));
    let open = stage.fronts[front].end.is_none() && !waits && !tunnel;
    if open {
        probe(case, &mut stage, front, "/the-same-client")?;
    }
    // Where the origin has not even seen a connection, nobody else can have been touched; and where
    // it has said nothing odd, the same client's next answer shows as much as another's.
    let touched = !stage.backs.is_empty() && (!open || !case.origin.is_empty());
    if touched || matches!(way, Way::Whole | Way::Dripped) {
        let other = stage.connect();
        probe(case, &mut stage, other, "/another-client")?;
    }
    judge_reuse(case, &stage, arrived)?;
    for front in 0..stage.fronts.len() {
        stage.leave(front);
    }
    stage.until(|stage| {
        let begun = |back: &Back| back.raw || !back.tail().is_empty();
        let left = |back: &Back| begun(back) && back.side.end.is_none();
        let held = stage.backs.iter().any(left);
        if held { Err("the origin is left with half a request".into()) } else { Ok(()) }
    })?;
    stage.close_backs();
    stage.until(|stage| match stage.alive() {
        (0, 0, 0) => Ok(()),
        alive => Err(format!("clients, upstreams, bytes left in the proxy: {alive:?}")),
    })
}

/// A request that has nothing to do with the case must get the answer to itself.
fn probe(case: &Case, stage: &mut Stage<'_>, front: usize, target: &str) -> Result<(), String> {
    let (n, before) = (stage.arrived.len(), stage.fronts[front].got.len());
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: p\r\n\r\n").into_bytes();
    stage.send_late();
    stage.send(front, &Piece { bytes, then: Then::Settle, late: false });
    stage.until(|stage| {
        if let Some(wrong) = &stage.wrong {
            return Err(format!("{target}: the second reader: {wrong}"));
        }
        let Some(arrived) = stage.arrived.get(n) else {
            let (got, end) = (&stage.fronts[front].got[before..], stage.fronts[front].end);
            return Err(format!("{target} did not arrive; its client got {} {end:?}", shown(got)));
        };
        if stage.arrived.len() > n + 1 || arrived.request.target != target.as_bytes() {
            return Err(format!("{target} arrived as {}", shown(&arrived.bytes)));
        }
        let want = plain_answer(case, arrived, Some(true), false);
        let got = &stage.fronts[front].got[before..];
        if got == want { Ok(()) } else { Err(format!("{target} was answered {}", shown(got))) }
    })
}

/// Whether the connection of the last request was used again, or is closed.
fn judge_reuse(case: &Case, stage: &Stage<'_>, arrived: usize) -> Result<(), String> {
    let Some(last) = arrived.checked_sub(1).map(|last| stage.arrived[last].over) else {
        return Ok(());
    };
    let again = stage.arrived[arrived].over == last;
    match (again, case.dropped) {
        (true, true) => Err("the connection to the origin was used again".into()),
        (false, false) => Err("the connection to the origin was not used again".into()),
        (false, true) if stage.backs[last].side.end.is_none() && !stage.backs[last].raw => {
            Err("the connection to the origin was not closed".into())
        }
        _ => Ok(()),
    }
}

fn judge(case: &Case, way: Way, stage: &Stage<'_>, front: usize) -> Result<(), String> {
    if let Some(wrong) = &stage.wrong {
        return Err(format!("the second reader does not accept what reached the origin: {wrong}"));
    }
    judge_origin(case, stage)?;
    judge_client(case, way, stage, front)
}

fn judge_origin(case: &Case, stage: &Stage<'_>) -> Result<(), String> {
    let expected = match &case.origin_gets {
        Some(expected) => stage.with_origin(expected),
        None => joined(&case.client),
    };
    let arrive = case.outcomes.iter().filter(|outcome| outcome.arrives()).count();
    if stage.arrived.len() != arrive {
        let (n, seen) = (stage.arrived.len(), stage.arrived.iter().map(|a| shown(&a.bytes)));
        let seen: Vec<String> = seen.collect();
        let client = shown(&stage.fronts[0].got);
        return Err(format!(
            "{n} requests at the origin, not {arrive}: {seen:?}; client: {client}"
        ));
    }
    let whole: Vec<u8> = stage.arrived.iter().flat_map(|a| a.bytes.iter().copied()).collect();
    let Some(rest) = expected.strip_prefix(whole.as_slice()) else {
        return Err(format!("the origin got {}\n  not {}", shown(&whole), shown(&expected)));
    };
    let tails: Vec<&Back> = stage.backs.iter().filter(|back| !back.tail().is_empty()).collect();
    let tail = match tails.as_slice() {
        [] => &b""[..],
        [back] => back.tail(),
        _ => return Err("two half requests at the origin".into()),
    };
    let closed = tails.iter().all(|back| back.side.end.is_some());
    let fine = match case.outcomes.last() {
        Some(Outcome::Waits { midway: true }) => tail == rest && !closed,
        Some(
            Outcome::Refuse { midway: true, .. } | Outcome::Gone { midway: true } | Outcome::Early,
        ) => rest.starts_with(tail) && closed,
        Some(outcome) if outcome.arrives() => tail == rest,
        _ => tail.is_empty(),
    };
    let more = (shown(tail), shown(rest));
    if fine { Ok(()) } else { Err(format!("half a request at the origin: {more:?} ({closed})")) }
}

fn judge_client(case: &Case, way: Way, stage: &Stage<'_>, front: usize) -> Result<(), String> {
    let (got, end) = (stage.fronts[front].got.as_slice(), stage.fronts[front].end);
    let mut told = Told { case, stage, way, rest: got, end, nth: 0, wanted: 0 };
    for (number, outcome) in case.outcomes.iter().enumerate() {
        let last = number + 1 == case.outcomes.len();
        told.outcome(*outcome, last)?;
    }
    let broken = match case.outcomes.last() {
        Some(Outcome::Spoil | Outcome::Cut) => true,
        Some(Outcome::Own { either, .. }) => *either && way != Way::Whole,
        _ => false,
    };
    if !told.rest.is_empty() {
        return Err(format!("the client got more: {}", shown(told.rest)));
    }
    let wanted = if case.close { Some(End::Fin) } else { None };
    if !broken && end != wanted {
        return Err(format!("the client's connection: {end:?}, not {wanted:?}"));
    }
    Ok(())
}

/// What a client was told, read from left to right.
struct Told<'a> {
    case: &'a Case,
    stage: &'a Stage<'a>,
    way: Way,
    /// Not yet looked at.
    rest: &'a [u8],
    end: Option<End>,
    /// The request at the origin whose answer is next.
    nth: usize,
    /// How much of the case's `<<` has been seen.
    wanted: usize,
}

impl Told<'_> {
    fn outcome(&mut self, outcome: Outcome, last: bool) -> Result<(), String> {
        let close = last && self.case.close;
        match outcome {
            Outcome::Pass | Outcome::Early => {
                let want = self.answer(close)?;
                self.take(&want)?;
                self.nth += 1;
            }
            Outcome::Own { status, either: true }
                if self.end.is_some() && self.way != Way::Whole =>
            {
                self.own(status, true)?;
            }
            Outcome::Own { status, .. } | Outcome::Refuse { status, .. } => {
                self.own(status, close)?;
            }
            Outcome::Fail(status) => {
                self.own(status, close)?;
                self.nth += 1;
            }
            Outcome::Waits { .. } | Outcome::Gone { .. } => {}
            Outcome::Spoil | Outcome::Cut => self.broken(outcome)?,
        }
        Ok(())
    }

    fn take(&mut self, want: &[u8]) -> Result<(), String> {
        let Some(rest) = self.rest.strip_prefix(want) else {
            return Err(format!("the client got {}\n  not {}", shown(self.rest), shown(want)));
        };
        self.rest = rest;
        Ok(())
    }

    /// The method of the request whose answer is next.
    fn method(&self) -> Vec<u8> {
        let arrived = self.stage.arrived.get(self.nth).map(|a| a.request.method.clone());
        let word = || joined(&self.case.client).split(|&b| b == b' ').next().map(<[u8]>::to_vec);
        arrived.or_else(word).unwrap_or_default()
    }

    /// What is left of that which must come from the origin.
    fn expected(&self) -> Option<Vec<u8>> {
        match (&self.case.client_gets, self.case.origin.get(self.nth)) {
            (Some(all), _) => Some(all[self.wanted..].to_vec()),
            (None, script) => script.map(|script| script.bytes()),
        }
    }

    /// The next answer as it must reach the client, interim ones in front.
    fn answer(&mut self, close: bool) -> Result<Vec<u8>, String> {
        let Some(expected) = self.expected() else {
            let arrived = self.stage.arrived.get(self.nth).ok_or("no such request")?;
            let old = joined(&self.case.client).windows(11).any(|w| w == b" HTTP/1.0\r\n");
            let keep = Some(!close).filter(|keep| old || !keep);
            return Ok(plain_answer(self.case, arrived, keep, old));
        };
        let mut len = 0;
        loop {
            let read = reader::response(&expected[len..], &self.method(), true);
            let read = read.map_err(|why| format!("the case itself: {why:?} in the answer"))?;
            len += read.len;
            if read.status == 101 {
                len = expected.len();
            }
            if read.status >= 200 || read.status == 101 {
                self.wanted += len;
                return Ok(expected[..len].to_vec());
            }
        }
    }

    /// An answer of the proxy itself, behind what it passed on of the origin's.
    fn own(&mut self, status: u16, close: bool) -> Result<(), String> {
        if let Some(all) = &self.case.client_gets {
            let interim = all[self.wanted..].to_vec();
            self.wanted = all.len();
            self.take(&interim)?;
        }
        let read = reader::response(self.rest, &self.method(), false);
        let read =
            read.map_err(|why| format!("{status} expected, {why:?}: {}", shown(self.rest)))?;
        let ours = reader::values(&read.fields, "proxy-status");
        let ours = ours.iter().any(|value| value.starts_with(b"pointsman; error="));
        let closing = reader::values(&read.fields, "connection") == [b"close"];
        if read.status != status || ours != (status != 200) || closing != close {
            let which = (status, close);
            return Err(format!("own answer {which:?} expected, got {}", shown(self.rest)));
        }
        self.rest = &self.rest[read.len..];
        Ok(())
    }

    /// An answer that broke: ours in its place, or its beginning and an end that says so.
    fn broken(&mut self, outcome: Outcome) -> Result<(), String> {
        let method = self.method();
        let (whole, dripped) = (self.way == Way::Whole, self.way == Way::Dripped);
        let spoiled = outcome == Outcome::Spoil;
        if spoiled && !dripped && self.end.is_none() && self.own(502, false).is_ok() {
            return Ok(());
        }
        let (rest, end) = (std::mem::take(&mut self.rest), self.end);
        let tell = |what: &str| Err(format!("{what}: the client got {} {end:?}", shown(rest)));
        if spoiled && whole {
            return tell("nothing had gone on, and it is no 502");
        }
        if !self.expected().unwrap_or_default().starts_with(rest) || rest.is_empty() {
            return tell("not what the origin sent");
        }
        let mut last = rest;
        while let Ok(read) = reader::response(last, &method, false) {
            if read.status >= 200 {
                return tell("it looks whole");
            }
            last = &last[read.len..];
        }
        match reader::response(last, &method, false) {
            Err(Unread::Wrong(_)) => tell("what is wrong was passed on"),
            _ if end.is_none() => tell("no end"),
            _ if end == Some(End::Fin) && reader::ends_with_connection(last, &method) => {
                tell("its end looks like the end of the answer")
            }
            _ => Ok(()),
        }
    }
}

/// The stage's own answer as it reaches a client: `keep` is what is said of the connection.
fn plain_answer(case: &Case, arrived: &Arrived, keep: Option<bool>, old: bool) -> Vec<u8> {
    let answer = default_answer(arrived.number, &arrived.request);
    let line = answer.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1);
    let mut out = answer[..line].to_vec();
    if old {
        out[7] = b'0';
    }
    match keep {
        Some(false) => out.extend_from_slice(b"Connection: close\r\n"),
        Some(true) if old => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        _ => {}
    }
    if case.with.iter().any(|(key, value)| key == "via" && value == "on") {
        out.extend_from_slice(b"Via: 1.1 pointsman\r\n");
    }
    out.extend_from_slice(&answer[line..]);
    out
}

//! What the proxy read and wrote, judged when a case is over: by the second reader alone, from the
//! protocol of its deeds.
//!
//! ```text
//!   to a backend   whole requests, or the beginning of one, each of them one that its client has
//!                  sent: lines as the contract says, the same framing, the same content; what
//!                  may not be repeated, once
//!   to a client    well-formed answers, in order, none too many, none behind one that closes;
//!                  what was said for another request is not among them; what was cut does not
//!                  look whole
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::expect::{self, Stance, Way, compare};
use super::peers::{Backend, Client, MARKS, NO_BOUNDS, content, id_of, untag};
use super::reader::{Bounds, Framing, Head, Line, asked_for, keeps};
use super::streams::{Request, Response, Tail, requests, responses};
use super::text;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::sim::stage::Deed;

/// The limits of requests in the engine target.
pub(super) const BOUNDS: Bounds = Bounds { head_bytes: 2048, fields: 20, target_bytes: 256 };

/// Everything there is to judge.
pub(super) struct Case<'a> {
    pub(super) deeds: &'a [(usize, Deed)],
    pub(super) clients: &'a [Client],
    pub(super) backends: &'a [Backend],
    pub(super) endpoints: &'a [Endpoint],
    pub(super) config: &'a Config,
    /// The proxy was told to end: it may cut what it likes.
    pub(super) stopped: bool,
}

/// What passed on one wire, as the proxy saw it.
#[derive(Debug, Default)]
struct Passed {
    read: Vec<u8>,
    wrote: Vec<u8>,
    read_end: bool,
    sent_end: bool,
    failed: bool,
    aborted: bool,
}

/// One client's side.
struct Visit<'a> {
    client: &'a Client,
    passed: &'a Passed,
    requests: Vec<Request>,
    /// What stands behind them.
    tail: Tail,
    answers: Vec<Response>,
    answers_tail: Tail,
}

/// One request as it reached a backend, and whose it was.
struct Sent {
    wire: usize,
    start: usize,
    client: usize,
    /// Which of the client's requests it is.
    number: usize,
    /// Where its bytes end, in all that was written.
    end: usize,
}

fn passed(deeds: &[(usize, Deed)]) -> BTreeMap<usize, Passed> {
    let mut all: BTreeMap<usize, Passed> = BTreeMap::new();
    for (wire, deed) in deeds {
        let passed = all.entry(*wire).or_default();
        match deed {
            Deed::Read(bytes) => passed.read.extend_from_slice(bytes),
            Deed::Wrote(bytes) => passed.wrote.extend_from_slice(bytes),
            Deed::ReadEnd => passed.read_end = true,
            Deed::Failed => passed.failed = true,
            Deed::Aborted => passed.aborted = true,
            Deed::SentEnd => passed.sent_end = true,
            Deed::Looked => {}
        }
    }
    all
}

fn visit<'a>(client: &'a Client, passed: &'a Passed) -> Visit<'a> {
    let (mut asked, mut tail) = requests(&passed.read, &BOUNDS, None);
    let mut heads: Vec<bool> =
        asked.iter().map(|request| request.head.words[0] == b"HEAD").collect();
    // What is refused for what follows it was asked with HEAD all the same.
    let mut rest = &passed.read[asked.last().map_or(0, |last| last.end)..];
    while let Some(behind) = rest.strip_prefix(b"\r\n") {
        rest = behind;
    }
    heads.push(rest.starts_with(b"HEAD "));
    let to_head = |n: usize| heads.get(n).copied().unwrap_or(false);
    let (answers, answers_tail) = responses(&passed.wrote, &BACK, to_head);
    if let Tail::Opaque(_) = answers_tail {
        // A tunnel: what the client sent behind that request is no request.
        let finals = answers.iter().filter(|answer| !answer.is_interim()).count();
        (asked, tail) = requests(&passed.read, &BOUNDS, Some(finals));
    }
    Visit { client, passed, requests: asked, tail, answers, answers_tail }
}

/// The limits of answers: twice the bytes, and what we add.
const BACK: Bounds = Bounds { head_bytes: 1 << 14, fields: 1 << 6, target_bytes: 0 };

/// The target as a backend must see it.
fn target(path: &[u8]) -> Vec<u8> {
    let rest = path.strip_prefix(b"/s/v").filter(|rest| matches!(rest, [] | [b'/' | b'?', ..]));
    match rest.unwrap_or(path) {
        rest @ ([b'/', ..] | b"*") => rest.to_vec(),
        rest => [b"/", rest].concat(),
    }
}

/// The lines that ask for the rest of an answer stand in front, or behind a Host of ours.
fn without_range(head: &Head, config: &Config) -> Vec<Line> {
    let mut lines = head.lines.clone();
    let at = usize::from(lines.first().is_some_and(|line| line.is("host")));
    let asks = |lines: &[Line]| match lines.get(at..) {
        Some([range, if_range, ..]) => range.is("range") && if_range.is("if-range"),
        _ => false,
    };
    if config.resume && asks(&lines) {
        lines.drain(at..at + 2);
    }
    lines
}

/// Whether `sent`, seen by a backend, is `asked` as it must go on; or why not.
fn same(
    asked: &Request,
    sent: &Request,
    from: &Client,
    authority: &str,
    config: &Config,
) -> Result<(), String> {
    let words = [&asked.head.words[0][..], &target(&asked.meaning.path), b"HTTP/1.1"];
    if sent.head.words != words.map(<[u8]>::to_vec) {
        return Err(format!("{} became {}", words_of(&asked.head), words_of(&sent.head)));
    }
    let nameless = asked.meaning.authority.is_none() && asked.head.get("host").is_none();
    let way = Way {
        host: nameless.then(|| authority.as_bytes().to_vec()),
        peer: Some(from.address.to_string()),
        stance: Stance::Replace,
        via: config.via,
        added: Vec::new(),
        removed: Vec::new(),
    };
    let expected = expect::request(&asked.head, &asked.meaning, &way);
    compare(&expected, &without_range(&sent.head, config))
        .or_else(|why| compare(&expected, &sent.head.lines).map_err(|_| why))?;
    if sent.meaning.framing != asked.meaning.framing {
        return Err(format!("{:?} became {:?}", asked.meaning.framing, sent.meaning.framing));
    }
    if !asked.data.starts_with(&sent.data) {
        return Err("other content".to_owned());
    }
    if sent.whole && !(asked.whole && asked.data == sent.data) {
        return Err("it has an end that it did not have".to_owned());
    }
    Ok(())
}

fn words_of(head: &Head) -> String {
    text(&head.words.join(&b' '))
}

fn address(head: &Head) -> Option<IpAddr> {
    String::from_utf8_lossy(head.get("x-forwarded-for")?).parse().ok()
}

/// Judges one case.
pub(super) fn judge(case: &Case<'_>) {
    let passed = passed(case.deeds);
    let nothing = Passed::default();
    let of_wire = |wire: usize| passed.get(&wire).unwrap_or(&nothing);
    let visits: Vec<Visit<'_>> =
        case.clients.iter().map(|client| visit(client, of_wire(client.wire))).collect();
    let mut sent = Vec::new();
    for backend in case.backends {
        judge_backend(case, backend, of_wire(backend.wire), &visits, &mut sent);
    }
    judge_repeats(&visits, &sent);
    let marks = marks(case, &visits, &sent);
    for (number, visit) in visits.iter().enumerate() {
        judge_answers(visit);
        judge_switch(case, visit);
        judge_end(case, number, visit, &sent, &passed);
        for byte in visit.passed.wrote.iter().filter(|&&byte| byte >= MARKS) {
            let fine = marks.get(byte).is_some_and(|who| who.contains(&number));
            assert!(fine, "client {number} has {byte:#x}, which was said to {:?}", marks.get(byte));
        }
    }
}

fn judge_backend(
    case: &Case<'_>,
    backend: &Backend,
    passed: &Passed,
    visits: &[Visit<'_>],
    sent: &mut Vec<Sent>,
) {
    let (asked, tail) = requests(&passed.wrote, &NO_BOUNDS, None);
    let shown = || text(&passed.wrote);
    let mut tunnel = false;
    for (n, request) in asked.iter().enumerate() {
        if tunnel {
            return;
        }
        if n > 0 {
            judge_reuse(case, backend.wire, passed, &asked[..n]);
        }
        let whose = address(&request.head)
            .and_then(|address| visits.iter().position(|visit| visit.client.address == address));
        let Some(client) = whose else { panic!("nobody's request: {}", shown()) };
        let visit = &visits[client];
        let authority = case.endpoints[backend.door].authority();
        let compared: Vec<Result<(), String>> = visit
            .requests
            .iter()
            .map(|asked| same(asked, request, visit.client, authority, case.config))
            .collect();
        let Some(number) = compared.iter().position(Result::is_ok) else {
            panic!("nobody asked for {}: {compared:?}", shown());
        };
        let id = id_of(request);
        let number = (number..compared.len())
            .find(|&n| compared[n].is_ok() && id_of(&visit.requests[n]) == id)
            .unwrap_or(number);
        // It may have been sent to others before; the tunnel is where the 101 came from. The
        // client need not have read it.
        tunnel = request.head.get("upgrade").is_some() && switched(passed, &asked[..=n]);
        let end = if tunnel { usize::MAX } else { request.end };
        sent.push(Sent { wire: backend.wire, start: request.start, client, number, end });
        if tunnel {
            let said = &visit.passed.read[visit.requests[number].end..];
            judge_tunnel(visit, passed, said, &passed.wrote[request.end..]);
        }
    }
    if let (Tail::Bad(why), false) = (tail, tunnel) {
        panic!("a backend got {why}: {}", shown());
    }
}

/// Whether the answer to the last of these requests is a 101, and not one that strayed in later.
fn switched(passed: &Passed, asked: &[Request]) -> bool {
    let to_head = |n: usize| asked.get(n).is_some_and(|r| r.head.words[0] == b"HEAD");
    let (answers, tail) = responses(&passed.read, &NO_BOUNDS, to_head);
    let finals = answers.iter().filter(|answer| !answer.is_interim()).count();
    matches!(tail, Tail::Opaque(_)) && finals + 1 == asked.len()
}

/// `B6.3`: a connection carries another request only after whole ones and whole answers to them,
/// each of which lets it live, with nothing left over. `before` are the requests so far.
fn judge_reuse(case: &Case<'_>, wire: usize, passed: &Passed, before: &[Request]) {
    let end = before.last().map_or(0, |last| last.end);
    let (mut wrote, mut read) = (0, 0);
    for (_, deed) in case.deeds.iter().filter(|(of, _)| *of == wire) {
        match deed {
            Deed::Read(bytes) => read += bytes.len(),
            Deed::Wrote(_) if wrote == end => break,
            Deed::Wrote(bytes) => wrote += bytes.len(),
            _ => {}
        }
    }
    let heard = &passed.read[..read];
    let to_head = |n: usize| before.get(n).is_some_and(|r| r.head.words[0] == b"HEAD");
    let (answers, _) = responses(heard, &NO_BOUNDS, to_head);
    let finals: Vec<&Response> = answers.iter().filter(|answer| !answer.is_interim()).collect();
    let lives = |answer: &&Response| answer.whole && keeps(&answer.head);
    let whole = finals.len() == before.len() && finals.iter().all(lives);
    let all = answers.last().map_or(0, |last| last.end) == read && wrote == end;
    assert!(whole && all, "used again after {}: {}", text(heard), text(&passed.wrote));
}

/// `B7.8`: behind a 101 every byte passes as it is, and an end only where there was one.
fn judge_tunnel(visit: &Visit<'_>, backend: &Passed, said: &[u8], up: &[u8]) {
    assert!(said.starts_with(up), "up a tunnel: {} of {}", text(up), text(said));
    let Tail::Opaque(back) = visit.answers_tail else { return };
    let down = &visit.passed.wrote[back..];
    let heard = backend.read.windows(down.len().max(1)).any(|bytes| bytes == down);
    assert!(heard || down.is_empty(), "down a tunnel: {} of {}", text(down), text(&backend.read));
    let (up_ended, down_ended) = (backend.sent_end, visit.passed.sent_end);
    assert!(!up_ended || visit.passed.read_end, "an end made up for a backend");
    assert!(!up_ended || said == up, "an end before the end: {} of {}", text(up), text(said));
    assert!(!down_ended || backend.read_end, "an end made up for a client");
    assert!(!down_ended || backend.read.ends_with(down), "an end before the end: {}", text(down));
}

/// `B7.8`: nobody switches in the middle of a request: it was read when the 101 went out.
fn judge_switch(case: &Case<'_>, visit: &Visit<'_>) {
    let Tail::Opaque(back) = visit.answers_tail else { return };
    let (mut wrote, mut read) = (0, 0);
    for (_, deed) in case.deeds.iter().filter(|(wire, _)| *wire == visit.client.wire) {
        match deed {
            Deed::Read(bytes) => read += bytes.len(),
            Deed::Wrote(bytes) => wrote += bytes.len(),
            _ => {}
        }
        if wrote >= back {
            break;
        }
    }
    assert!(read >= end_of(visit), "switched too early: {}", text(&visit.passed.read));
}

/// `B4.3`, `B4.4`: what is not idempotent is written to one backend at most.
fn judge_repeats(visits: &[Visit<'_>], sent: &[Sent]) {
    for (client, visit) in visits.iter().enumerate() {
        for (number, request) in visit.requests.iter().enumerate() {
            let method = &request.head.words[0];
            let safe: [&[u8]; 6] = [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"];
            let keyed = request.head.get("idempotency-key").is_some_and(|key| !key.is_empty());
            let Some(id) = id_of(request) else { continue };
            let alike = |other: &&Request| id_of(other).as_deref() == Some(&id);
            let unique = visit.requests.iter().filter(alike).count() == 1;
            if safe.contains(&&method[..]) || keyed || !unique {
                continue;
            }
            let times =
                sent.iter().filter(|sent| (sent.client, sent.number) == (client, number)).count();
            assert!(times <= 1, "sent {times} times: {}", words_of(&request.head));
        }
    }
}

/// For each mark, to which clients it may go: those who had the connection when it was read.
fn marks(case: &Case<'_>, visits: &[Visit<'_>], sent: &[Sent]) -> BTreeMap<u8, BTreeSet<usize>> {
    let mut marks: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
    let mut wrote: BTreeMap<usize, usize> = BTreeMap::new();
    for (wire, deed) in case.deeds {
        match deed {
            Deed::Wrote(bytes) => *wrote.entry(*wire).or_default() += bytes.len(),
            Deed::Read(bytes) if case.backends.iter().any(|backend| backend.wire == *wire) => {
                let so_far = wrote.get(wire).copied().unwrap_or(0);
                let here = |sent: &&Sent| sent.wire == *wire && sent.start < so_far;
                let last = sent.iter().filter(here).max_by_key(|sent| sent.start);
                // Before a whole head was written, nobody can say whose the connection is.
                let known = last.filter(|last| so_far <= last.end);
                for byte in bytes.iter().filter(|&&byte| byte >= MARKS) {
                    let whose = marks.entry(*byte).or_default();
                    match known {
                        Some(last) => {
                            whose.insert(last.client);
                        }
                        None => whose.extend(0..visits.len()),
                    }
                }
            }
            _ => {}
        }
    }
    marks
}

fn judge_answers(visit: &Visit<'_>) {
    let shown = || format!("to {}: {}", visit.client.address, text(&visit.passed.wrote));
    if let Tail::Bad(why) = visit.answers_tail {
        panic!("a client got {why}: {}", shown());
    }
    let mut number = 0;
    for answer in &visit.answers {
        let request = visit.requests.get(number);
        let refused = visit.tail != Tail::Open || visit.passed.read.len() > end_of(visit);
        assert!(request.is_some() || refused, "an answer to nothing: {}", shown());
        assert!(number <= visit.requests.len(), "an answer too many: {}", shown());
        let old = request.is_some_and(|request| request.head.is_old());
        if request.is_some() {
            assert_eq!(answer.head.is_old(), old, "another version: {}", shown());
        }
        assert!(!(old && answer.framing == Framing::Chunked), "chunks for HTTP/1.0: {}", shown());
        assert!(!(old && answer.is_interim()), "a 1xx for HTTP/1.0: {}", shown());
        if answer.head.status() == 101 {
            let asked = request.map(|request| asked_for(&request.head)).unwrap_or_default();
            let given = answer.head.list("upgrade");
            let fine =
                |given: &Vec<u8>| asked.iter().any(|asked| asked.eq_ignore_ascii_case(given));
            let right = !given.is_empty() && given.iter().all(fine);
            assert!(right, "an upgrade that nobody asked for: {}", shown());
        }
        let meant = answer.head.get("x-tag").and_then(untag);
        if let (Some(meant), Some(request)) = (meant, request) {
            let id = id_of(request);
            assert_eq!(id.as_deref(), Some(meant.as_str()), "another's answer: {}", shown());
            // Where the end is the end of the connection, a backend may have said more.
            let known = if answer.framing == Framing::UntilClose { 700 } else { 9000 };
            let data = &answer.data[..answer.data.len().min(known)];
            assert!(content(&meant, 9000).starts_with(data), "other content: {}", shown());
        }
        number += usize::from(!answer.is_interim());
    }
}

/// Where the last request of a client ends.
fn end_of(visit: &Visit<'_>) -> usize {
    visit.requests.last().map_or(0, |request| request.end)
}

/// How a client's connection ended: nothing that is cut looks whole, and whoever asked and stayed
/// has an answer.
fn judge_end(
    case: &Case<'_>,
    number: usize,
    visit: &Visit<'_>,
    sent: &[Sent],
    passed: &BTreeMap<usize, Passed>,
) {
    let shown = || format!("to {}: {}", visit.client.address, text(&visit.passed.wrote));
    let finals: Vec<&Response> =
        visit.answers.iter().filter(|answer| !answer.is_interim()).collect();
    let gone = visit.passed.failed || visit.passed.read_end || !visit.client.faithful;
    if gone || case.stopped || matches!(visit.answers_tail, Tail::Opaque(_)) {
        return;
    }
    let last = finals.last();
    let until_close = last.is_some_and(|last| last.framing == Framing::UntilClose);
    let new = last.is_some_and(|last| !last.head.is_old());
    if until_close && new && !visit.passed.aborted {
        // It looks whole: then the backend must have ended it.
        let wire = sent.iter().filter(|sent| sent.client == number).map(|sent| sent.wire);
        let ended =
            wire.filter_map(|wire| passed.get(&wire)).any(|wire| wire.read_end && !wire.failed);
        assert!(ended, "a cut that looks whole: {}", shown());
    }
    let closes = last.is_some_and(|last| !last.whole || !keeps(&last.head));
    let whole = visit.requests.iter().filter(|request| request.whole).count();
    // The head of an answer may be cut, too: then something stands behind the last whole one.
    let all = visit.answers.last().map_or(0, |last| last.end);
    let cut = visit.passed.aborted || all < visit.passed.wrote.len();
    assert!(
        finals.len() >= whole || closes || cut,
        "{} answers to {whole} requests: {}",
        finals.len(),
        shown()
    );
}

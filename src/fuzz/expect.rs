//! The second opinion on rewriting: which lines a head must have when it goes on, worked out from
//! what the second reader sees and from the contract (`B7.3` to `B7.5`), and from nothing in `h1`.

use super::reader::{self, Framing, Head, Line, Meaning};

/// What becomes of the `X-Forwarded-*` fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    Off,
    Append,
    Replace,
}

/// The circumstances of a request.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) host: Option<Vec<u8>>,
    pub(super) peer: Option<String>,
    pub(super) stance: Stance,
    pub(super) via: bool,
    /// Lines of a hook, and names that it wants gone.
    pub(super) added: Vec<(&'static str, &'static str)>,
    pub(super) removed: Vec<&'static str>,
}

/// The circumstances of a response.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub(super) old_client: bool,
    pub(super) keep: bool,
    pub(super) via: bool,
    pub(super) added: Vec<(&'static str, &'static str)>,
    pub(super) removed: Vec<&'static str>,
}

const HOP_BY_HOP: [&str; 7] =
    ["close", "connection", "http2-settings", "keep-alive", "proxy-connection", "te", "upgrade"];
const PROTECTED: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "via",
    "max-forwards",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

fn one_of(line: &Line, names: &[&str]) -> bool {
    names.iter().any(|name| line.is(name))
}

/// Whether `Connection` or a hook sends the line away.
fn is_named(head: &Head, line: &Line, removed: &[&'static str]) -> bool {
    let options = head.list("connection");
    let named = options.iter().any(|option| option.eq_ignore_ascii_case(&line.name));
    !one_of(line, &PROTECTED) && (named || one_of(line, removed))
}

/// All values of `name` in one, with `last` behind them.
fn joined(head: &Head, name: &str, last: &str) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = head.all(name).map(|line| line.value.clone()).collect();
    all.retain(|value| !value.is_empty());
    all.push(last.as_bytes().to_vec());
    all.join(&b", "[..])
}

fn new(name: &str, value: &[u8]) -> Line {
    let (name, value) = (name.as_bytes().to_vec(), value.to_vec());
    let raw = [&name[..], b": ", &value].concat();
    Line { name, value, raw }
}

fn via(head: &Head) -> Line {
    let ours = if head.is_old() { "1.0 pointsman" } else { "1.1 pointsman" };
    new("Via", &joined(head, "via", ours))
}

/// `Max-Forwards`, where it counts (RFC 9110, 7.6.2): the least of several, at most 32 bits.
fn hops(head: &Head) -> Option<u32> {
    let counts = head.words[0] == b"TRACE" || head.words[0] == b"OPTIONS";
    let digits = |line: &&Line| !line.value.is_empty() && line.value.iter().all(u8::is_ascii_digit);
    // What has no place in 32 bits is more than fits there.
    let number = |line: &Line| String::from_utf8_lossy(&line.value).parse().unwrap_or(u32::MAX);
    head.all("max-forwards").filter(digits).map(number).min().filter(|_| counts)
}

/// The lines of a request as it must go on.
pub(super) fn request(head: &Head, meaning: &Meaning, way: &Way) -> Vec<Line> {
    let mut lines = Vec::new();
    let host = way.host.clone().or_else(|| meaning.authority.clone());
    lines.extend(host.iter().map(|host| new("Host", host)));
    if way.stance != Stance::Off {
        let appends = way.stance == Stance::Append;
        if let Some(peer) = &way.peer {
            let all = joined(head, "x-forwarded-for", peer);
            lines.push(new("X-Forwarded-For", if appends { &all } else { peer.as_bytes() }));
        }
        if !(appends && head.get("x-forwarded-proto").is_some()) {
            lines.push(new("X-Forwarded-Proto", b"http"));
        }
        let asked = meaning.authority.as_deref().or_else(|| head.get("host")).unwrap_or_default();
        let named = appends && head.get("x-forwarded-host").is_some();
        if !named && !asked.is_empty() {
            lines.push(new("X-Forwarded-Host", asked));
        }
    }
    if way.via {
        lines.push(via(head));
    }
    let trailers = head.says("te", "trailers") && !head.is_old();
    let protocols = reader::asked_for(head);
    match (!protocols.is_empty(), trailers) {
        (true, true) => lines.push(new("Connection", b"Upgrade, TE")),
        (true, false) => lines.push(new("Connection", b"Upgrade")),
        (false, true) => lines.push(new("Connection", b"TE")),
        (false, false) => {}
    }
    if trailers {
        lines.push(new("TE", b"trailers"));
    }
    if !protocols.is_empty() {
        lines.push(new("Upgrade", &protocols.join(&b", "[..])));
    }
    let hops = hops(head);
    let counted = hops.map(|hops| hops.saturating_sub(1).to_string());
    lines.extend(counted.iter().map(|hops| new("Max-Forwards", hops.as_bytes())));
    lines.extend(way.added.iter().map(|(name, value)| new(name, value.as_bytes())));
    let mut lengths = 0;
    for line in &head.lines {
        lengths += u32::from(line.is("content-length"));
        let goes = (line.is("host") && host.is_some())
            || match way.stance {
                Stance::Off => false,
                Stance::Append => line.is("x-forwarded-for") && way.peer.is_some(),
                Stance::Replace => {
                    one_of(line, &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"])
                }
            }
            || (line.is("via") && way.via)
            || (line.is("max-forwards") && hops.is_some())
            || (line.is("expect") && (head.is_old() || line.value.is_empty()))
            || (line.is("trailer") && meaning.framing != Framing::Chunked)
            || (line.is("content-length") && lengths > 1)
            || one_of(line, &HOP_BY_HOP)
            || is_named(head, line, &way.removed);
        if !goes {
            lines.push(line.clone());
        }
    }
    lines
}

/// The lines of a response as it must go on; `framing` is that of the response as it came.
pub(super) fn response(head: &Head, framing: Framing, way: &Back) -> Vec<Line> {
    let status = head.status();
    let interim = status < 200;
    let mut lines = Vec::new();
    match (interim, way.keep, way.old_client) {
        (false, false, _) => lines.push(new("Connection", b"close")),
        (false, true, true) => lines.push(new("Connection", b"keep-alive")),
        _ => {}
    }
    // Of a 426 only what a client may ask for is passed on.
    let advised = head.list("upgrade").len() == reader::protocols(head).len();
    let advises = status == 426 && advised && !head.list("upgrade").is_empty();
    if (status == 101 || advises) && !way.old_client {
        let mut all: Vec<Vec<u8>> = head.all("upgrade").map(|line| line.value.clone()).collect();
        all.retain(|value| !value.is_empty());
        lines.push(new("Connection", b"Upgrade"));
        lines.push(new("Upgrade", &all.join(&b", "[..])));
    }
    if way.via {
        lines.push(via(head));
    }
    lines.extend(way.added.iter().map(|(name, value)| new(name, value.as_bytes())));
    let bodiless = interim || status == 204;
    let chunked = head.get("transfer-encoding").is_some();
    // RFC 9110, 8.6 and RFC 9112, 6.3: no length where there is no content, nor beside chunks.
    let length_lies = bodiless || chunked;
    let carries_trailers = framing == Framing::Chunked || framing == Framing::Length(0);
    let mut lengths = 0;
    for line in &head.lines {
        lengths += u32::from(line.is("content-length"));
        let goes = (line.is("content-length") && (length_lies || lengths > 1))
            || (line.is("transfer-encoding") && (way.old_client || bodiless))
            || (line.is("trailer") && (way.old_client || !carries_trailers))
            || (line.is("via") && way.via)
            || one_of(line, &HOP_BY_HOP)
            || is_named(head, line, &way.removed);
        if !goes {
            lines.push(line.clone());
        }
    }
    lines
}

/// The same lines in the same order, byte for byte; or where they differ.
pub(super) fn compare(expected: &[Line], found: &[Line]) -> Result<(), String> {
    let raw =
        |lines: &[Line]| -> Vec<Vec<u8>> { lines.iter().map(|line| line.raw.clone()).collect() };
    let (expected, found) = (raw(expected), raw(found));
    if expected == found {
        return Ok(());
    }
    let shown = |lines: &[Vec<u8>]| super::text(&lines.join(&b" | "[..]));
    Err(format!("expected {}, found {}", shown(&expected), shown(&found)))
}

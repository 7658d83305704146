//! The text format of the corpus: what is sent, what must come out, and the verdict.
//!
//! `tests/corpus/README.md` explains it to those who write cases. This file only reads it; a line
//! that it does not understand ends the test. It does not know sockets or HTTP.

use std::path::Path;

/// What happens behind the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// All settles, then the next piece is sent.
    Settle,
    /// The sender's FIN, in the same breath.
    End,
    /// The sender's RST, in the same breath.
    Reset,
}

/// Bytes that are sent in one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) then: Then,
    /// It waits for the next message of any client, and is sent right before that.
    pub(super) late: bool,
}

impl Piece {
    fn new(late: bool) -> Piece {
        Piece { bytes: Vec::new(), then: Then::Settle, late }
    }
}

/// What the origin says to one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// As soon as the head is there.
    pub(super) at_head: Vec<Piece>,
    /// As soon as the request is whole.
    pub(super) at_end: Vec<Piece>,
    /// Which of them is being written down.
    early: bool,
}

impl Script {
    /// Everything that it says.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [joined(&self.at_head), joined(&self.at_end)].concat()
    }
}

/// What becomes of one message, as its sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It reaches the origin, whose answer reaches the client.
    Pass,
    /// The proxy answers it, and the connection goes on. `either`: only if all of it was here.
    Own { status: u16, either: bool },
    /// The proxy refuses it and closes. `midway`: some of it may have gone on by then.
    Refuse { status: u16, midway: bool },
    /// It has only begun. `midway`: what came of it has gone on.
    Waits { midway: bool },
    /// Its client ends in its middle: no answer. `midway`: some of it may have gone on by then.
    Gone { midway: bool },
    /// It reaches the origin, whose answer is none: the client gets this status from the proxy.
    Fail(u16),
    /// The origin answers before it is whole: the answer reaches the client, and both close.
    Early,
    /// As `Fail(502)` if nothing of the answer went on yet, as `Cut` if some did.
    Spoil,
    /// It reaches the origin, whose answer is cut so that it does not look whole.
    Cut,
}

impl Outcome {
    /// Whether the origin sees a whole request.
    pub(super) fn arrives(self) -> bool {
        matches!(self, Outcome::Pass | Outcome::Fail(_) | Outcome::Spoil | Outcome::Cut)
    }
}

/// One case.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) name: String,
    /// File and line.
    pub(super) place: String,
    pub(super) why: String,
    pub(super) with: Vec<(String, String)>,
    pub(super) client: Vec<Piece>,
    /// What the client sends is not written in the file: a GET.
    pub(super) plain_get: bool,
    pub(super) origin: Vec<Script>,
    /// What must reach the origin, if it is not what the client sent.
    pub(super) origin_gets: Option<Vec<u8>>,
    /// What must reach the client, if it is not what the origin sent.
    pub(super) client_gets: Option<Vec<u8>>,
    pub(super) outcomes: Vec<Outcome>,
    /// The client's connection is closed after the last answer.
    pub(super) close: bool,
    /// The connection to the origin is not used again.
    pub(super) dropped: bool,
}

/// The bytes of all pieces together.
pub(super) fn joined(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect()
}

/// Stands in `>>` for the authority of the origin, which is not known before it listens.
pub(super) const ORIGIN: &[u8] = b"\0origin\0";

const A_GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Every case of a file. The first line that is wrong is the error.
pub(super) fn read(path: &Path) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), place, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| format!("{place}: before the first case"))?;
        take(case, line).map_err(|why| format!("{place}: {why}"))?;
    }
    for case in &mut cases {
        check(case).map_err(|why| format!("{}: {why}", case.place))?;
    }
    Ok(cases)
}

fn take(case: &mut Case, line: &str) -> Result<(), String> {
    let (word, rest) = line.split_once(' ').ok_or("a line of one word")?;
    match word {
        "why" => case.why = rest.to_owned(),
        "with" => {
            let (key, value) = rest.split_once('=').ok_or("with KEY=VALUE")?;
            case.with.push((key.to_owned(), value.to_owned()));
        }
        ">" => put(&mut case.client, &bytes(rest)?, false),
        ">>" => case.origin_gets.get_or_insert_default().extend(bytes(rest)?),
        "<" => put(script(case), &bytes(rest)?, false),
        "<<" => case.client_gets.get_or_insert_default().extend(bytes(rest)?),
        ">!" => direct(&mut case.client, rest)?,
        "<!" if rest == "next" => case.origin.push(Script::default()),
        "<!" if rest == "at-head" || rest == "at-end" => {
            script(case);
            case.origin.last_mut().ok_or("no script")?.early = rest == "at-head";
        }
        "<!" => direct(script(case), rest)?,
        "verdict" => verdict(case, rest)?,
        _ => return Err(format!("what is {word:?}?")),
    }
    Ok(())
}

fn script(case: &mut Case) -> &mut Vec<Piece> {
    if case.origin.is_empty() {
        case.origin.push(Script::default());
    }
    let last = case.origin.len() - 1;
    let script = &mut case.origin[last];
    if script.early { &mut script.at_head } else { &mut script.at_end }
}

/// Puts bytes into the last piece, or into a new one if there is none that is open.
fn put(pieces: &mut Vec<Piece>, bytes: &[u8], late: bool) {
    if pieces.last().is_none_or(|last| last.then != Then::Settle) {
        pieces.push(Piece::new(late));
    }
    pieces.last_mut().expect("pushed").bytes.extend_from_slice(bytes);
}

fn direct(pieces: &mut Vec<Piece>, what: &str) -> Result<(), String> {
    match what {
        "pause" => pieces.push(Piece::new(false)),
        "late" => pieces.push(Piece::new(true)),
        "end" | "reset" => {
            put(pieces, b"", false);
            let then = if what == "end" { Then::End } else { Then::Reset };
            pieces.last_mut().expect("put").then = then;
        }
        _ => return Err(format!("no such direction: {what:?}")),
    }
    Ok(())
}

fn verdict(case: &mut Case, text: &str) -> Result<(), String> {
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let mut status = || -> Result<u16, String> {
            let number = words.next().and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("{word} wants a status"))
        };
        let outcome = match word {
            "pass" => Outcome::Pass,
            "early" => Outcome::Early,
            "own" => {
                let status = status()?;
                Outcome::Own { status, either: words.next_if_eq(&"either").is_some() }
            }
            "fail" => Outcome::Fail(status()?),
            "spoil" => Outcome::Spoil,
            "cut" => Outcome::Cut,
            "refuse" => {
                let status = status()?;
                Outcome::Refuse { status, midway: words.next_if_eq(&"midway").is_some() }
            }
            "waits" => Outcome::Waits { midway: words.next_if_eq(&"midway").is_some() },
            "gone" => Outcome::Gone { midway: words.next_if_eq(&"midway").is_some() },
            "close" => {
                case.close = true;
                continue;
            }
            "drop" => {
                case.dropped = true;
                continue;
            }
            _ => return Err(format!("no such verdict: {word:?}")),
        };
        case.outcomes.push(outcome);
    }
    Ok(())
}

/// What a case must have, and what follows from its verdict.
fn check(case: &mut Case) -> Result<(), String> {
    if case.why.is_empty() || case.outcomes.is_empty() {
        return Err("a case needs why and verdict".to_owned());
    }
    if case.client.is_empty() && case.origin.is_empty() {
        return Err("a case sends something".to_owned());
    }
    if case.client.is_empty() {
        put(&mut case.client, A_GET, false);
        case.plain_get = true;
    }
    match case.outcomes.last() {
        Some(Outcome::Refuse { .. } | Outcome::Gone { .. }) => case.close = true,
        Some(Outcome::Early) => (case.close, case.dropped) = (true, true),
        Some(Outcome::Fail(_) | Outcome::Spoil | Outcome::Cut) => case.dropped = true,
        _ => {}
    }
    Ok(())
}

/// The bytes that a line stands for.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'\\' {
            out.push(*first);
            rest = after;
            continue;
        }
        let (escape, after) = after.split_first().ok_or("a lone backslash")?;
        rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b's' => out.push(b' '),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                out.push(byte.ok_or("\\x wants two hex digits")?);
                rest = &after[2..];
            }
            b'{' => {
                let end = after.iter().position(|&b| b == b'}').ok_or("\\{ without }")?;
                let inner = std::str::from_utf8(&after[..end]).map_err(|e| e.to_string())?;
                rest = &after[end + 1..];
                if inner == "origin" {
                    out.extend_from_slice(ORIGIN);
                    continue;
                }
                let (count, what) = inner.split_once('*').ok_or("\\{COUNT*BYTES}")?;
                let count: usize = count.parse().map_err(|_| "\\{COUNT*BYTES}")?;
                out.extend(bytes(what)?.repeat(count));
            }
            _ => return Err(format!("no such escape: \\{}", char::from(*escape))),
        }
    }
    Ok(out)
}

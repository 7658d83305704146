//! Heads: our verdict must be the same however the bytes are cut, and the second reader's.
//!
//! ```text
//!   byte 0   even: a request, odd: a response          ('R', 'A')
//!   byte 1   where it is cut, see `cuts`; for responses bit 7 says that HEAD was asked
//!   then     the message
//! ```

use super::reader::{self, Framing, Read};
use super::{BOUNDS, LIMITS, cuts, text};
use crate::h1::body::Body;
use crate::h1::chunk::Wrapping;
use crate::h1::head::{Fields, Search, empty_lines, parse_request, parse_response, slots};
use crate::h1::request::{self, Method};
use crate::h1::{Bad, Version, response};

/// Longer inputs say nothing new, and each is read once for every byte.
const MAX_BYTES: usize = 2048;

/// A head in plain words, by whoever read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) len: usize,
    /// The first two words of a request line, or the status.
    words: Vec<Vec<u8>>,
    old: bool,
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    framing: Framing,
    authority: Option<Vec<u8>>,
    path: Vec<u8>,
    keep: bool,
}

/// What we say.
pub(super) type Verdict = Result<Option<Plain>, Bad>;

fn framing(body: &Body) -> Framing {
    match body {
        Body::Length(length) => Framing::Length(*length),
        Body::Chunked(_) => Framing::Chunked,
        Body::UntilClose => Framing::UntilClose,
    }
}

fn lines(fields: Fields<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// One parse of a request head, as the desk does it.
fn parse_as_request(bytes: &[u8]) -> Verdict {
    let mut slots = slots();
    let Some(mut head) = parse_request(bytes, &mut slots, &LIMITS)? else { return Ok(None) };
    let facts = request::read(&mut head, &mut Default::default())?;
    Ok(Some(Plain {
        len: head.bytes.len(),
        words: vec![head.method.to_vec(), head.target.to_vec()],
        old: head.version == Version::Http10,
        lines: lines(head.fields),
        framing: framing(&facts.body),
        authority: head.authority.map(<[u8]>::to_vec),
        path: head.path.to_vec(),
        keep: facts.keep,
    }))
}

/// One parse of a response head, as the relay does it.
fn parse_as_response(bytes: &[u8], to_head: bool) -> Verdict {
    let mut slots = slots();
    let Some(head) = parse_response(bytes, &mut slots, &LIMITS)? else { return Ok(None) };
    let method = if to_head { Method::Head } else { Method::Get };
    let facts = response::read(&head, method, Wrapping::Keep)?;
    Ok(Some(Plain {
        len: head.bytes.len(),
        words: vec![head.status.to_string().into_bytes()],
        old: head.version == Version::Http10,
        lines: lines(head.fields),
        framing: framing(&facts.body),
        authority: None,
        path: Vec::new(),
        keep: facts.keep,
    }))
}

/// Our verdict on a request that arrives in pieces, as `pump` comes to it.
pub(super) fn request_in_pieces(bytes: &[u8], ends: &[usize]) -> Verdict {
    let (mut search, mut from) = (Search::default(), 0);
    for &end in ends {
        from += empty_lines(&bytes[from..end]);
        let here = &bytes[from..end];
        if search.worth_parsing(here) || here.len() >= LIMITS.head_bytes {
            if let Some(plain) = parse_as_request(here)? {
                return Ok(Some(Plain { len: plain.len + from, ..plain }));
            }
        }
    }
    Ok(None)
}

/// Our verdict on a response that arrives in pieces, as `relay` comes to it.
pub(super) fn response_in_pieces(bytes: &[u8], ends: &[usize], to_head: bool) -> Verdict {
    let mut search = Search::default();
    for &end in ends {
        let here = &bytes[..end];
        if search.worth_parsing(here) || here.len() >= LIMITS.head_bytes {
            if let Some(plain) = parse_as_response(here, to_head)? {
                return Ok(Some(plain));
            }
        }
    }
    Ok(None)
}

/// What the second reader says of a request.
pub(super) fn second_of_request(bytes: &[u8]) -> Read<Plain> {
    let head = match reader::request(bytes, &BOUNDS) {
        Read::Whole(head) => head,
        Read::Partial => return Read::Partial,
        Read::Bad(why) => return Read::Bad(why),
    };
    match reader::meaning(&head) {
        Ok(meaning) => Read::Whole(Plain {
            len: head.len,
            words: head.words[..2].to_vec(),
            old: head.is_old(),
            lines: head.lines.into_iter().map(|line| (line.name, line.value)).collect(),
            framing: meaning.framing,
            authority: meaning.authority,
            path: meaning.path,
            keep: meaning.keep,
        }),
        Err(why) => Read::Bad(why),
    }
}

/// What the second reader says of a response.
pub(super) fn second_of_response(bytes: &[u8], to_head: bool) -> Read<Plain> {
    let head = match reader::response(bytes, &BOUNDS) {
        Read::Whole(head) => head,
        Read::Partial => return Read::Partial,
        Read::Bad(why) => return Read::Bad(why),
    };
    match reader::response_framing(&head, to_head) {
        Ok(framing) => Read::Whole(Plain {
            len: head.len,
            words: vec![head.words[1].clone()],
            old: head.is_old(),
            framing,
            authority: None,
            path: Vec::new(),
            keep: may_be_kept(&head, framing),
            lines: head.lines.into_iter().map(|line| (line.name, line.value)).collect(),
        }),
        Err(why) => Read::Bad(why),
    }
}

/// Whether the connection behind a response may be used again: it wants to, its end is known, and
/// it announces no body that cannot be there or whose length is said twice.
fn may_be_kept(head: &reader::Head, framing: Framing) -> bool {
    let chunked = head.get("transfer-encoding").is_some();
    let length = head.get("content-length").is_some();
    let announced =
        chunked || head.all("content-length").any(|l| l.value.iter().any(|&b| b != b'0'));
    let bodiless = matches!(head.status(), 100..=199 | 204);
    let contradicts = (chunked && length) || (bodiless && announced);
    reader::keeps(head) && framing != Framing::UntilClose && !contradicts
}

/// A fault of size is found sooner or later, depending on where the bytes are cut; so it may hide
/// another fault, or be hidden by one.
fn is_of_size(bad: Bad) -> bool {
    matches!(bad, Bad::HeadTooLarge | Bad::TargetTooLong)
}

/// Ways to end a head that has only begun.
const ENDINGS: [&[u8]; 7] = [
    b"\r\n\r\n",
    b"\n\r\n",
    b"\r\nHost: a\r\n\r\n",
    b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    b": x\r\nHost: a\r\n\r\n",
    b"1.1 200 \r\n\r\n",
];

/// Ours against the second reader's; `both` reads a message again with an ending.
pub(super) fn agree(
    bytes: &[u8],
    ours: &Verdict,
    second: &Read<Plain>,
    both: &dyn Fn(&[u8]) -> (Verdict, Read<Plain>),
) {
    let shown = || text(bytes);
    match (ours, second) {
        (Ok(Some(ours)), Read::Whole(second)) => assert_eq!(ours, second, "{}", shown()),
        (Ok(Some(_)), _) => panic!("accepted, but {second:?}: {}", shown()),
        (_, Read::Whole(_)) => panic!("{ours:?}, but it is right: {}", shown()),
        (Ok(None), Read::Partial) => {}
        // A bare LF is refused at the end of the head, which must then come to that.
        (Ok(None), Read::Bad(why)) => {
            let (later, _) = both(&[bytes, b"\r\n\r\n"].concat());
            assert!(later.is_err(), "{why}, and never refused: {}", shown());
        }
        (Err(_), Read::Bad(_)) => {}
        // Refused early: then no ending may make it right.
        (Err(bad), Read::Partial) => {
            for ending in ENDINGS {
                let (_, later) = both(&[bytes, ending].concat());
                let right = matches!(later, Read::Whole(_)) && !is_of_size(*bad);
                assert!(!right, "{bad:?}, but right with {}: {}", text(ending), shown());
            }
        }
    }
}

/// The same verdict, whole and in pieces; `with` gives the verdict on a message cut at `ends`,
/// `told` what the client hears of a refusal.
fn same_in_pieces(
    bytes: &[u8],
    seed: u8,
    whole: &Verdict,
    told: fn(Bad) -> u16,
    with: &dyn Fn(&[u8], &[usize]) -> Verdict,
) {
    for seed in [seed, 1] {
        let mut pieces = with(bytes, &cuts(seed, bytes.len()));
        if whole.is_err() && pieces == Ok(None) {
            // It waits for a byte that is worth a look.
            let longer = [bytes, b"\n"].concat();
            let ends: Vec<usize> =
                cuts(seed, bytes.len()).into_iter().chain([longer.len()]).collect();
            pieces = with(&longer, &ends);
        }
        let same = match (whole, &pieces) {
            (Err(a), Err(b)) => told(*a) == told(*b) || is_of_size(*a) || is_of_size(*b),
            (a, b) => *a == *b,
        };
        assert!(same, "whole {whole:?}, cut {pieces:?} by {seed}: {}", text(bytes));
    }
}

/// Judges one input.
pub fn run(data: &[u8]) {
    let Some((&[kind, cut], bytes)) = data.split_first_chunk::<2>() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    if kind % 2 == 0 {
        let whole = request_in_pieces(bytes, &cuts(0, bytes.len()));
        same_in_pieces(bytes, cut, &whole, Bad::status, &request_in_pieces);
        agree(bytes, &whole, &second_of_request(bytes), &|bytes| {
            (request_in_pieces(bytes, &[bytes.len()]), second_of_request(bytes))
        });
    } else {
        let to_head = cut >= 128;
        let whole = response_in_pieces(bytes, &cuts(0, bytes.len()), to_head);
        let with = |bytes: &[u8], ends: &[usize]| response_in_pieces(bytes, ends, to_head);
        same_in_pieces(bytes, cut, &whole, |_| 502, &with);
        agree(bytes, &whole, &second_of_response(bytes, to_head), &|bytes| {
            let ours = response_in_pieces(bytes, &[bytes.len()], to_head);
            (ours, second_of_response(bytes, to_head))
        });
    }
}

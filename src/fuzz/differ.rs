//! Three readers side by side: ours, the second one, and httparse, as it is and as lenient as it
//! can be made. What we accept, all of them read alike; what we refuse and httparse does not, the
//! second reader refuses, too.
//!
//! ```text
//!   byte 0   0 mod 3: a request, 1: a response, 2: the size line of a chunk   ('0', '1', '2')
//!   then     the message
//! ```

use super::chunks::chunked;
use super::head::{request_in_pieces, response_in_pieces, second_of_request, second_of_response};
use super::reader::{self, Read};
use super::{BOUNDS, LIMITS, text};
use crate::h1::body::Body;
use crate::h1::chunk::Wrapping;
use crate::h1::head::{empty_lines, parse_request, parse_response, slots};

const MAX_BYTES: usize = 2048;

/// What httparse says: bytes of the head, words and lines.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    len: usize,
    words: Vec<Vec<u8>>,
    lines: Vec<(Vec<u8>, Vec<u8>)>,
}

/// `None`: not whole yet. The error is in nobody's words but httparse's.
type Said = Result<Option<Seen>, String>;

fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_space_before_first_header_name(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

fn lines(headers: &[httparse::Header<'_>]) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers.iter().map(|line| (line.name.as_bytes().to_vec(), line.value.to_vec())).collect()
}

fn httparse_request(bytes: &[u8], config: &httparse::ParserConfig) -> Said {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Request::new(&mut headers);
    let parsed = config.parse_request(&mut head, bytes).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let words = [head.method, head.path].map(|word| word.unwrap_or("").as_bytes().to_vec());
    Ok(Some(Seen { len, words: words.to_vec(), lines: lines(head.headers) }))
}

fn httparse_response(bytes: &[u8], config: &httparse::ParserConfig) -> Said {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = config.parse_response(&mut head, bytes).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let words = vec![head.code.unwrap_or(0).to_string().into_bytes()];
    Ok(Some(Seen { len, words, lines: lines(head.headers) }))
}

/// Our view in the same words, before meaning is looked for.
fn our_request(bytes: &[u8]) -> Said {
    let mut slots = slots();
    let skipped = empty_lines(bytes);
    let parsed = parse_request(&bytes[skipped..], &mut slots, &LIMITS);
    let Some(head) = parsed.map_err(|bad| bad.word().to_owned())? else { return Ok(None) };
    let words = vec![head.method.to_vec(), head.target.to_vec()];
    let lines = head.fields().map(|(name, value)| (name.to_vec(), value.to_vec()));
    Ok(Some(Seen { len: skipped + head.bytes.len(), words, lines: lines.collect() }))
}

fn our_response(bytes: &[u8]) -> Said {
    let mut slots = slots();
    let parsed = parse_response(bytes, &mut slots, &LIMITS);
    let Some(head) = parsed.map_err(|bad| bad.word().to_owned())? else { return Ok(None) };
    let words = vec![head.status.to_string().into_bytes()];
    let lines = head.fields().map(|(name, value)| (name.to_vec(), value.to_vec()));
    Ok(Some(Seen { len: head.bytes.len(), words, lines: lines.collect() }))
}

/// `second` says whether the second reader takes the head, before the meaning is looked for.
fn side_by_side(bytes: &[u8], [ours, plain, lenient]: [&Said; 3], second: bool) {
    let shown = || text(bytes);
    match ours {
        Ok(Some(_)) => {
            assert_eq!(ours, plain, "ours and httparse's: {}", shown());
            assert_eq!(ours, lenient, "ours and a lenient reading: {}", shown());
        }
        // We refuse or wait; where httparse does not, it must be for a reason.
        _ => assert!(!second, "ours {ours:?}, but it is right: {}", shown()),
    }
    if second {
        assert!(matches!(plain, Ok(Some(_))), "{plain:?}, but it is right: {}", shown());
    }
}

/// A size line: the number of data bytes that follow it, by each reader that takes it.
fn size_line(bytes: &[u8]) {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return };
    let line = &bytes[..end + 2];
    let mut body = Body::chunked(Wrapping::Strip);
    let taken = body.advance(line);
    let theirs = httparse::parse_chunk_size(line);
    let second = chunked(line);
    assert_eq!(taken.is_ok(), second.is_ok(), "{}", text(line));
    if taken.is_err() {
        return;
    }
    let Ok(httparse::Status::Complete((len, size))) = theirs else {
        panic!("taken, but {theirs:?}: {}", text(line));
    };
    assert_eq!(len, line.len(), "{}", text(line));
    // So many bytes of data are wanted behind it, and not one more.
    let few = size.min(5000) as usize;
    let data = vec![b'x'; few + 1];
    let kept = body.advance(&data).map(|judged| judged.keep);
    let wanted = if size == 0 { Ok(0) } else { Ok(few.min(data.len())) };
    if size < 5000 {
        // One byte more than the chunk is refused at once, as it is no CR.
        assert!(size == 0 || kept.is_err(), "size {size}, kept {kept:?}: {}", text(line));
        let mut body = Body::chunked(Wrapping::Strip);
        let _ = body.advance(line);
        let kept = body.advance(&data[..few]).map(|judged| judged.keep);
        assert_eq!(kept, wanted, "size {size}: {}", text(line));
    } else {
        assert_eq!(kept, Ok(data.len()), "size {size}: {}", text(line));
    }
}

/// Judges one input.
pub fn run(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
    let plain = httparse::ParserConfig::default();
    match kind % 3 {
        0 => {
            let ours = our_request(bytes);
            let theirs = httparse_request(bytes, &plain);
            let soft = httparse_request(bytes, &lenient());
            let whole = request_in_pieces(bytes, &[bytes.len()]);
            let second = matches!(reader::request(bytes, &BOUNDS), Read::Whole(_));
            side_by_side(bytes, [&ours, &theirs, &soft], second);
            let meant = matches!(second_of_request(bytes), Read::Whole(_));
            assert_eq!(matches!(whole, Ok(Some(_))), meant, "{whole:?}: {}", text(bytes));
        }
        1 => {
            let ours = our_response(bytes);
            let theirs = httparse_response(bytes, &plain);
            let soft = httparse_response(bytes, &lenient());
            let whole = response_in_pieces(bytes, &[bytes.len()], false);
            let second = matches!(reader::response(bytes, &BOUNDS), Read::Whole(_));
            side_by_side(bytes, [&ours, &theirs, &soft], second);
            let meant = matches!(second_of_response(bytes, false), Read::Whole(_));
            assert_eq!(matches!(whole, Ok(Some(_))), meant, "{whole:?}: {}", text(bytes));
        }
        _ => size_line(bytes),
    }
}

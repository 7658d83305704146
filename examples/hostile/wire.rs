//! As much HTTP/1.1 as the blocking clients of the experiment need. It knows neither the proxy nor
//! the sieges.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A blocking connection that fails when it is silent for this long.
pub(crate) fn connect(addr: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// An answer with a Content-Length.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Reads one answer, and not a byte more.
pub(crate) fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let (mut seen, mut space) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some((status, head, length)) = head_of(&seen) {
            let length = length.ok_or_else(|| io::Error::other("no length"))?;
            if seen.len() > head + length {
                return Err(io::Error::other("too many bytes"));
            }
            if seen.len() == head + length {
                return Ok(Answer { status, body: seen.split_off(head) });
            }
        }
        let count = match stream.read(&mut space) {
            // A process that was stopped finds its reads interrupted when it goes on.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => done?,
        };
        if count == 0 || seen.len() > MAX_HEAD_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(space.get(..count).unwrap_or_default());
    }
}

/// The status at the beginning of an answer, the length of its head and that of its body.
pub(crate) fn head_of(bytes: &[u8]) -> Option<(u16, usize, Option<usize>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some((status_of(bytes), end, length.and_then(|length| length.trim().parse().ok())))
}

/// 0 if there is none.
pub(crate) fn status_of(bytes: &[u8]) -> u16 {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "));
    let digits = rest.and_then(|rest| rest.get(..3));
    digits.and_then(|d| std::str::from_utf8(d).ok()?.parse().ok()).unwrap_or(0)
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Fin,
    Reset,
    /// Not in time, or not after as many bytes as were wanted.
    Open,
}

/// What came over a connection.
pub(crate) struct Came {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) end: End,
}

/// Reads on until the connection ends, or this many bytes have come, or time is over.
pub(crate) fn read_on(stream: &mut TcpStream, most: u64, until: Instant) -> Came {
    let (mut first, mut bytes, mut space) = (Vec::new(), 0, vec![0; 64 * 1024]);
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes >= most {
            break End::Open;
        }
        let _ = stream.set_read_timeout(Some(left));
        match stream.read(&mut space) {
            Ok(0) => break End::Fin,
            Ok(count) => {
                bytes += count as u64;
                if first.len() < 1_024 {
                    first.extend(space.iter().take(count).take(1_024));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break End::Open,
            Err(_) => break End::Reset,
        }
    };
    Came { status: status_of(&first), bytes, end }
}

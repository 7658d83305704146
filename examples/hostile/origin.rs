//! The origins: a thread for each connection, blocking. What one does is the first word of the
//! target: the good ones answer, the evil ones do what no origin should.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::siege::be_modest;

/// How many connections may wait: all that a siege opens at once.
const BACKLOG: i32 = 4_096;
const STACK_BYTES: usize = 192 * 1024;
/// What an endless sender sends at most.
const GIGABYTE: u64 = 1 << 30;
const PIECE_BYTES: usize = 64 * 1024;
/// What the kernel may keep of a large answer: else the memory of the machine would be measured.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// A listener of this process, and the threads behind it.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Origin {
    /// An evil one leaves the processor to the others.
    pub(crate) fn open(evil: bool) -> io::Result<Origin> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let (addr, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let (stopped, fed) = (Arc::clone(&stop), Arc::new(Fed::default()));
        let (theirs, over) = (Arc::clone(&fed), Arc::clone(&stop));
        thread::spawn(move || feed(&theirs, &over));
        thread::spawn(move || {
            if evil {
                be_modest();
            }
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                // A connection that ends in an error is the proxy's business.
                let fed = Arc::clone(&fed);
                let _ = thread.spawn(move || serve(stream, &fed));
            }
        });
        Ok(Origin { addr, stop })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(mut stream: TcpStream, fed: &Fed) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    loop {
        let head = read_head(&mut stream, &mut held)?;
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut words = target.split('/').skip(1);
        let (deed, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match deed {
            "echo" | "" => answer(&mut stream, word)?,
            "length" => {
                let length = field(&head, "content-length:").and_then(|value| value.parse().ok());
                let length: usize = length.unwrap_or(0);
                swallow(&mut stream, &mut held, length)?;
                answer(&mut stream, &length.to_string())?;
            }
            "wait" => {
                thread::sleep(Duration::from_millis(word.parse().unwrap_or(0)));
                answer(&mut stream, word)?;
            }
            "big" => {
                let length: u64 = word.parse().unwrap_or(0);
                stream.write_all(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
                )?;
                stream.set_nonblocking(true)?;
                let mut fed = fed.lock().map_err(|_| io::Error::other("a feeder panicked"))?;
                fed.push((stream, length));
                return Ok(());
            }
            evil => return misbehave(evil, &mut stream),
        }
    }
}

/// Connections that get large answers, and how much is left of each. One thread feeds all of them:
/// thousands that wake up at once would leave the proxy no processor.
type Fed = Mutex<Vec<(TcpStream, u64)>>;

fn feed(fed: &Fed, over: &AtomicBool) {
    be_modest();
    let piece = vec![b'x'; PIECE_BYTES];
    while !over.load(Ordering::SeqCst) {
        let mut busy = false;
        if let Ok(mut fed) = fed.lock() {
            fed.retain_mut(|(stream, left)| {
                let most = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                match stream.write(piece.get(..most).unwrap_or_default()) {
                    Ok(count) => {
                        *left -= count as u64;
                        busy = true;
                        *left > 0
                    }
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                }
            });
        }
        if !busy {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines();
    let line = lines.find(|line| line.to_ascii_lowercase().starts_with(name))?;
    line.get(name.len()..).map(str::trim)
}

fn read_head(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<String> {
    let mut space = [0; 8 * 1024];
    loop {
        if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = held.drain(..at + 4).collect();
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        match stream.read(&mut space)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => held.extend_from_slice(space.get(..count).unwrap_or_default()),
        }
    }
}

/// Reads this much of a body.
fn swallow(stream: &mut TcpStream, held: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let mut left = length.saturating_sub(held.len());
    held.drain(..length.min(held.len()));
    let mut space = [0; 16 * 1024];
    while left > 0 {
        let most = left.min(space.len());
        match stream.read(space.get_mut(..most).unwrap_or_default())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count,
        }
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes())
}

/// `unit` again and again, `length` bytes in all.
fn flood(stream: &mut TcpStream, unit: &[u8], length: u64) -> io::Result<()> {
    let piece = unit.repeat(PIECE_BYTES / unit.len());
    let mut left = length;
    while left > 0 {
        let most = left.min(piece.len() as u64) as usize;
        stream.write_all(piece.get(..most).unwrap_or_default())?;
        left -= most as u64;
    }
    Ok(())
}

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: hostile\r\n\r\n";

fn misbehave(deed: &str, stream: &mut TcpStream) -> io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut endless = |begin: &str, unit: &[u8]| {
        stream.write_all(begin.as_bytes())?;
        flood(stream, unit, GIGABYTE)
    };
    match deed {
        "garbage" => endless("", &garbage()),
        "head" => endless("HTTP/1.1 200 OK\r\nX: ", b"a"),
        "fields" => endless(OK, b"X: y\r\n"),
        "interim" => endless("", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        "trailers" => endless(&format!("{CHUNKED}1\r\nx\r\n0\r\n"), b"X-T: y\r\n"),
        "extension" => endless(&format!("{CHUNKED}1;"), b"e"),
        "chunks" => endless(CHUNKED, b"1\r\nx\r\n"),
        "sizes" => endless(CHUNKED, b"F"),
        "twice" => {
            let one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(one.repeat(2).as_bytes())
        }
        "drip" => {
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".iter().chain(&[b'd'; 100])
            {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_micros(200));
            }
            Ok(())
        }
        "reset" => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
        "tunnel" => {
            stream.write_all(SWITCHED)?;
            io::copy(stream, &mut io::sink()).map(drop)
        }
        "tunnel-flood" => {
            stream.write_all(SWITCHED)?;
            flood(stream, b"x", GIGABYTE)
        }
        "tunnel-deaf" => {
            stream.write_all(SWITCHED)?;
            thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        // Not a word; it goes when the proxy does.
        "never" => io::copy(stream, &mut io::sink()).map(drop),
        // Nothing is read, and nothing said, for longer than any siege.
        "deaf" => {
            thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        // "close", and whatever is asked for by mistake.
        _ => Ok(()),
    }
}

/// The same bytes every time, all of them: SplitMix64 again and again.
fn garbage() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    };
    (0..PIECE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect()
}

//! Sockets as the shell needs them: listeners with the options that connections inherit, and the
//! two kinds of stream under one name.
//!
//! Everything goes through socket2, mio and rustix, whose doors are safe; no `unsafe` is here.
//! What a warm request does is done by rustix, without libc: in a program with more than one thread
//! its `recv` and `send` are points of cancellation, at 90 instructions a call. This file does not
//! know the engine.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::endpoint::Address;

/// How many connections the kernel keeps for us while we are busy; it may cap this lower
/// (`net.core.somaxconn`). mio's own 128 is too few for a burst of clients.
const BACKLOG: i32 = 4096;

/// What the kernel takes of an answer beyond what its client has room for. Without a limit it takes
/// up to 3 MB for a client that does not read: 2,000 slow readers brought a machine of 24 GB to the
/// end of its `net.ipv4.tcp_mem`, where it drops what others send.
const UNSENT_BYTES: u32 = 128 << 10;

/// The same for a client that takes a long answer through a pipe, of whom there are few: with less,
/// a machine with one processor goes to and fro between us and the client all the time.
const UNSENT_LONG_BYTES: u32 = 4 << 20;

/// On the loopback nothing is congested, so nothing has to be paced: BBR, the default of many
/// machines, sets a timer for each 64 KiB that it sends, which costs more than to send them. Reno
/// sends what the window takes; every kernel has it, and everybody may choose it.
const LOOPBACK_CONGESTION: &[u8] = b"reno";

/// A filter for the packets of a TCP listener that drops what begins a connection: SYN without ACK,
/// in the fourteenth byte of the segment. Connections that were accepted inherit it; to them such
/// packets mean nothing.
const NO_SYN: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),       // load the flags
    SockFilter::new(0x54, 0, 0, 0x12),     // of them SYN and ACK
    SockFilter::new(0x15, 0, 1, 0x02),     // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),        // drop
    SockFilter::new(0x06, 0, 0, u32::MAX), // keep
];

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    door: Door,
    /// No other process is meant to listen on it after us.
    sole: bool,
}

#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at a TCP address. Accepted connections inherit `TCP_NODELAY`, `TCP_NOTSENT_LOWAT`
    /// and `TCP_CONGESTION`, which saves three calls for each of them.
    pub(crate) fn tcp(address: SocketAddr) -> io::Result<(Listener, SocketAddr)> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        spare_loopback(&socket, address);
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener: std::net::TcpListener = socket.into();
        let bound = listener.local_addr()?;
        Ok((Listener { door: Door::Tcp(TcpListener::from_std(listener)), sole: true }, bound))
    }

    /// Listens at a path. A socket that a dead process has left there is removed first.
    pub(crate) fn unix(path: &Path) -> io::Result<Listener> {
        let bind = || std::os::unix::net::UnixListener::bind(path);
        let listener = match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_dead(path) => {
                std::fs::remove_file(path)?;
                bind()?
            }
            other => other?,
        };
        listener.set_nonblocking(true)?;
        Ok(Listener { door: Door::Unix(UnixListener::from_std(listener)), sole: true })
    }

    /// Takes over a socket that listens already; gives its address as well. `sole` says that
    /// nobody else will listen on it.
    pub(crate) fn take_over(socket: OwnedFd, sole: bool) -> io::Result<(Listener, Bound)> {
        let socket = Socket::from(socket);
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::other("the socket does not listen"));
        }
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        if let Some(address) = address.as_socket() {
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
            spare_loopback(&socket, address);
            let door = Door::Tcp(TcpListener::from_std(socket.into()));
            return Ok((Listener { door, sole }, Bound::Tcp(address)));
        }
        let Some(path) = address.as_pathname().map(Path::to_owned) else {
            return Err(io::Error::other("the socket has neither a port nor a path"));
        };
        let door = Door::Unix(UnixListener::from_std(OwnedFd::from(socket).into()));
        Ok((Listener { door, sole }, Bound::Unix(path)))
    }

    /// Another descriptor of the same socket.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        match &self.door {
            Door::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Door::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Lets nobody new in; gives whether somebody may be half-way in. Without this, whoever comes
    /// between the last accept and the close would be reset.
    pub(crate) fn hold(&self) -> bool {
        match &self.door {
            _ if !self.sole => false,
            // Where filters are forbidden it is as it is everywhere else.
            Door::Tcp(listener) => SockRef::from(listener).attach_filter(&NO_SYN).is_ok(),
            Door::Unix(listener) => {
                let address = listener.local_addr().ok();
                // While we listen at it, the file is ours: nobody else could take the path.
                if let Some(path) = address.as_ref().and_then(|address| address.as_pathname()) {
                    let _ = std::fs::remove_file(path);
                }
                false
            }
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.door {
            Door::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Door::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.door {
            Door::Tcp(listener) => registry.deregister(listener),
            Door::Unix(listener) => registry.deregister(listener),
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match &self.door {
            Door::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Stream::Tcp(stream), Some(address.ip().to_canonical())))
            }
            Door::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

/// Where a socket listens.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Takes pacing from a connection that does not leave this machine. Only before it stands: later,
/// the timers stay.
fn spare_loopback(socket: &Socket, address: SocketAddr) {
    if address.ip().to_canonical().is_loopback() {
        // If it fails, it is slower.
        let _ = socket.set_tcp_congestion(LOOPBACK_CONGESTION);
    }
}

/// Whether nobody listens at `path`.
fn is_dead(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn connect(to: &Address) -> io::Result<Stream> {
        match to {
            Address::Tcp(address) => {
                let domain = Domain::for_address(*address);
                let kind = Type::STREAM.nonblocking().cloexec();
                let socket = Socket::new(domain, kind, Some(Protocol::TCP))?;
                socket.set_tcp_nodelay(true)?;
                spare_loopback(&socket, *address);
                let begun = socket.connect(&(*address).into());
                begun.or_else(|error| match Errno::from_io_error(&error) {
                    Some(Errno::INPROGRESS) => Ok(()),
                    _ => Err(error),
                })?;
                Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (n, _) = net::recv(self.fd(), into, RecvFlags::empty())?;
        Ok(n)
    }

    /// One peek, which costs a tenth of a microsecond.
    pub(crate) fn is_silent(&self) -> bool {
        let peeked = net::recv(self.fd(), &mut [0], RecvFlags::PEEK);
        peeked.is_err_and(|errno| errno == Errno::WOULDBLOCK)
    }

    pub(crate) fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(net::send(self.fd(), from, SendFlags::NOSIGNAL)?)
    }

    /// What is taken is held back until our end is sent, so that one packet takes both; if that
    /// does not come, because not all was taken, until the peer's next acknowledgement.
    pub(crate) fn write_last(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(net::send(self.fd(), from, SendFlags::NOSIGNAL | SendFlags::MORE)?)
    }

    /// Moves up to `most` bytes that have arrived into a pipe; 0 is the peer's end.
    pub(crate) fn splice_in(&self, pipe: &Pipe, most: usize) -> io::Result<usize> {
        Ok(splice(self.fd(), None, &pipe.write, None, most, SpliceFlags::NONBLOCK)?)
    }

    /// Moves up to `most` bytes out of a pipe. Unlike `send` it cannot be told to spare us SIGPIPE,
    /// which a Rust program ignores from its first instruction on.
    pub(crate) fn splice_out(&self, pipe: &Pipe, most: usize) -> io::Result<usize> {
        Ok(splice(&pipe.read, None, self.fd(), None, most, SpliceFlags::NONBLOCK)?)
    }

    /// Lets the kernel hold more, or as little as before, of what the peer has no room for.
    pub(crate) fn lay_up(&self, more: bool) {
        if let Stream::Tcp(stream) = self {
            let bytes = if more { UNSENT_LONG_BYTES } else { UNSENT_BYTES };
            // If it fails, it is slower.
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes);
        }
    }

    /// Sends our end. It fails only where the peer is gone, which the next read tells better.
    pub(crate) fn shutdown_write(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closes with an RST. A Unix socket knows none; its peer sees an end.
    pub(crate) fn abort(self) {
        if let Stream::Tcp(stream) = &self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// A pipe between two sockets: bytes pass through it without being copied.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// From how many bytes on two moves cost less than a read and a write (measured on loopback:
    /// at 32 KiB one large read still wins).
    pub(crate) const PAYS_BYTES: u64 = 64 << 10;
    /// A pipe has a place for each page, and a packet takes a place: the 16 of a new one would be
    /// full after 23 KB from a real network card.
    const BYTES: usize = 256 << 10;

    pub(crate) fn new() -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user who has many pipes already gets no larger ones; they work all the same.
        let _ = fcntl_setpipe_size(&write, Pipe::BYTES);
        Ok(Pipe { read, write })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as Plain;

    /// B9.1: after a hold who is in the queue is taken in and can talk, and nobody new gets there.
    #[test]
    fn b9_1_a_held_listener_lets_nobody_new_in() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, address) = Listener::tcp(at.parse().unwrap()).unwrap();
            let early = Plain::connect(address).unwrap();
            if !listener.hold() {
                continue;
            }
            let (mut stream, _) = listener.accept().unwrap();
            (&early).write_all(b"request").unwrap();
            early.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut bytes = [0; 7];
            while stream.read(&mut bytes).is_err() {}
            assert_eq!((&bytes, stream.write(b"answer").unwrap()), (b"request", 6));
            (&early).read_exact(&mut bytes[..6]).unwrap();
            let late = Plain::connect_timeout(&address, Duration::from_millis(200));
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut, "{at}");
            assert!(listener.accept().is_err());
        }
    }

    /// B9.1: a socket taken over is the same socket; what does not listen is refused.
    #[test]
    fn b9_1_a_socket_is_taken_over_only_if_it_listens() {
        let (listener, address) = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let (copy, bound) = Listener::take_over(listener.copy().unwrap(), true).unwrap();
        assert!(matches!(bound, Bound::Tcp(at) if at == address));
        let _client = Plain::connect(address).unwrap();
        drop(listener);
        assert!(copy.accept().is_ok());
        let other = Plain::connect(address).unwrap();
        assert!(Listener::take_over(other.into(), true).is_err());
    }

    #[test]
    fn what_stays_on_the_machine_is_not_paced() {
        let usual = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let usual = usual.tcp_congestion().unwrap();
        let is_spared = |name: Vec<u8>| name.starts_with(LOOPBACK_CONGESTION);
        for (at, spared) in [("127.0.0.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false)] {
            let (listener, mut address) = Listener::tcp(at.parse().unwrap()).unwrap();
            let (again, _) = Listener::take_over(listener.copy().unwrap(), true).unwrap();
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            let mut stream = Stream::connect(&Address::Tcp(address)).unwrap();
            assert!(is_spared(SockRef::from(&stream.fd()).tcp_congestion().unwrap()), "{at}");
            let (accepted, _) = again.accept().unwrap();
            let of_accepted = SockRef::from(&accepted.fd()).tcp_congestion().unwrap();
            assert!(if spared { is_spared(of_accepted) } else { of_accepted == usual }, "{at}");
            let flags = rustix::io::fcntl_getfd(stream.fd()).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            while stream.write(b"x").is_err() {}
        }
    }

    /// B8.1: the last bytes wait for the end and for nothing else.
    #[test]
    fn b8_1_the_end_takes_the_last_bytes_along() {
        let (listener, address) = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut held = false;
        // The kernel waits for 200 ms; a busy machine may be slower once.
        for _ in 0..20 {
            let mut client = Plain::connect(address).unwrap();
            let (mut stream, _) = loop {
                if let Ok(accepted) = listener.accept() {
                    break accepted;
                }
            };
            assert_eq!(stream.write_last(b"bye").unwrap(), 3);
            client.set_nonblocking(true).unwrap();
            held |= client.peek(&mut [0; 9]).is_err();
            client.set_nonblocking(false).unwrap();
            stream.shutdown_write();
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"bye");
        }
        assert!(held, "they went out alone");
    }

    /// B8.2: what a client does not take stays with the endpoint, not in the kernel's memory.
    #[test]
    fn b8_2_a_client_that_does_not_read_holds_little_in_the_kernel() {
        let (listener, address) = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let (again, _) = Listener::take_over(listener.copy().unwrap(), true).unwrap();
        for listener in [listener, again] {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_recv_buffer_size(4096).unwrap();
            client.connect(&address.into()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let (mut taken, mut refused) = (0, 0);
            while refused < 20 {
                match stream.write(&[0; 16_384]) {
                    Ok(n) => taken += n,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        refused += 1;
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
            assert!(taken < 200_000, "{taken} bytes were taken");
        }
    }
}

//! From one process to the next on the same listening sockets (`B9.1`, SIGUSR2).
//!
//! ```text
//!   this process                          the new one, on its standard input
//!     starts it ------------------------->  sees POINTSMAN_UPGRADE
//!     addresses and sockets ------------->  reads its settings, takes what it listens at
//!     drains   <---- a letter for each ---  serves
//! ```
//!
//! The sockets travel as `SCM_RIGHTS` over a Unix stream, so nothing is closed and nothing is bound
//! twice. This file does not know what is served.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::path::{self, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::time::Duration;

use pointsman::Listen;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Tells a new process whose sockets are waiting for it.
const VARIABLE: &str = "POINTSMAN_UPGRADE";
/// How long a new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(10);
/// As many descriptors as the kernel passes in one message.
const MOST: usize = 253;
/// The answer for a socket: the new process listens on it, or has no use for it.
const TAKEN: u8 = b'+';
const LEFT: u8 = b'-';

/// How this program was started, to start it again.
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// Asked early: later the file may have been replaced. A path with a link in it is kept as it
    /// was written, because an upgrade may be a link that leads elsewhere.
    pub(crate) fn of_this_process(args: Vec<OsString>) -> io::Result<Program> {
        let real = env::current_exe()?;
        let written =
            env::args_os().next().map(PathBuf::from).filter(|p| p.components().count() > 1);
        let written = written.and_then(|written| path::absolute(written).ok());
        let same = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == real);
        Ok(Program { path: written.filter(same).unwrap_or(real), args })
    }

    /// Starts the program anew; the stream leads to it.
    pub(crate) fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        // The command goes at the end of this function, and with it our copy of their end: from
        // then on their death is our end of input.
        let mut command = Command::new(&self.path);
        command.args(&self.args).env(VARIABLE, id().to_string());
        Ok((command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?, ours))
    }
}

/// Offers sockets to the process behind `stream`, and waits until it serves: which of them it has
/// taken, or what went wrong.
pub(crate) fn offer(
    mut stream: UnixStream,
    sockets: &[(Listen, OwnedFd)],
) -> Result<Vec<usize>, String> {
    send(&stream, sockets).map_err(|why| format!("cannot pass the sockets: {why}"))?;
    let mut letters = vec![0; sockets.len()];
    stream.read_exact(&mut letters).map_err(|why| match why.kind() {
        io::ErrorKind::UnexpectedEof => "it ended before it served".to_owned(),
        io::ErrorKind::WouldBlock => format!("it did not serve within {PATIENCE:?}"),
        _ => why.to_string(),
    })?;
    let taken = letters.iter().enumerate().filter(|(_, letter)| **letter == TAKEN);
    Ok(taken.map(|(number, _)| number).collect())
}

fn send(stream: &UnixStream, sockets: &[(Listen, OwnedFd)]) -> io::Result<()> {
    let mut text = Vec::new();
    for (listen, _) in sockets {
        // A path may hold anything but a NUL.
        text.extend_from_slice(listen.to_string().as_bytes());
        text.push(0);
    }
    text.push(0);
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other(format!("there are more than {MOST}")));
    }
    let sent = sendmsg(stream, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    (&mut &*stream).write_all(text.get(sent..).unwrap_or_default())
}

/// What the process before this one has left.
pub(crate) struct Heritage {
    stream: UnixStream,
    sockets: Vec<(String, Option<OwnedFd>)>,
}

impl Heritage {
    /// The heritage, if this process was started to replace its parent.
    pub(crate) fn receive() -> Result<Option<Heritage>, String> {
        let parent = env::var(VARIABLE).ok().and_then(|pid| pid.parse().ok());
        if parent != Some(parent_id()) {
            return Ok(None);
        }
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let heritage = stdin.and_then(|stdin| Heritage::read(stdin.into()));
        heritage.map(Some).map_err(|why| format!("{VARIABLE}: no sockets came: {why}"))
    }

    fn read(stream: UnixStream) -> io::Result<Heritage> {
        let (mut text, mut sockets) = (Vec::new(), Vec::new());
        while !text.ends_with(&[0, 0]) {
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes)];
            let got = recvmsg(&stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds.map(Some));
                }
            }
            if got.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.extend_from_slice(bytes.get(..got.bytes).unwrap_or_default());
        }
        let names = text.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
        Ok(Heritage { stream, sockets: names.zip(sockets).collect() })
    }

    /// The socket that listens at `listen`, if there is one left.
    pub(crate) fn take(&mut self, listen: &Listen) -> Option<OwnedFd> {
        let text = listen.to_string();
        let mut same = self.sockets.iter_mut().filter(|(name, _)| *name == text);
        same.find_map(|(_, socket)| socket.take())
    }

    /// This process serves from here on: the one before it may go. It fails if that one has lost
    /// patience and goes on itself; if it is dead, nobody else is there to serve.
    pub(crate) fn accept(mut self) -> io::Result<()> {
        let letter =
            |(_, left): &(String, Option<OwnedFd>)| if left.is_some() { LEFT } else { TAKEN };
        let letters: Vec<u8> = self.sockets.iter().map(letter).collect();
        match self.stream.write_all(&letters) {
            Err(error) if env::var(VARIABLE).is_ok_and(|pid| pid == parent_id().to_string()) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "two ends of a stream need two threads")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    // B9.1: sockets arrive under the address that was written, and what nobody wants is named.
    #[test]
    fn b9_1_sockets_travel() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (first, second, third) = (listener(), listener(), listener());
        let port = second.local_addr().unwrap();
        let any: Listen = "127.0.0.1:0".parse().unwrap();
        let other: Listen = "unix:/a\nb".parse().unwrap();
        let sockets = [
            (other.clone(), OwnedFd::from(first)),
            (any.clone(), OwnedFd::from(second)),
            (any.clone(), OwnedFd::from(third)),
        ];
        let child = std::thread::spawn(move || {
            let mut heritage = Heritage::read(there).unwrap();
            let second = TcpListener::from(heritage.take(&any).unwrap());
            assert_eq!(second.local_addr().unwrap(), port);
            assert!(heritage.take(&any).is_some() && heritage.take(&any).is_none());
            assert!(heritage.take(&"127.0.0.1:1".parse().unwrap()).is_none());
            heritage.accept().unwrap();
        });
        assert_eq!(offer(here, &sockets), Ok(vec![1, 2]));
        child.join().unwrap();
    }

    #[test]
    fn b9_1_a_process_that_dies_is_noticed() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        assert!(offer(here, &[]).is_err());
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = [("127.0.0.1:0".parse().unwrap(), OwnedFd::from(listener))];
        let child = std::thread::spawn(move || drop(Heritage::read(there).unwrap()));
        assert_eq!(offer(here, &sockets), Err("it ended before it served".to_owned()));
        child.join().unwrap();
    }
}

//! `SimNet`: the verbs of [`Net`] over wires in memory.
//!
//! Proxy, clients and backends use the same streams and the same verbs; only the proxy is told of
//! events, the others try. A stream closes itself when it is dropped, so it has to reach the
//! wires by itself: hence the lock, which is never contended and never held across a call.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wires::{End, Wires};
use crate::endpoint::Address;
use crate::keys::Source;
use crate::net::Net;

/// The network of one world. Copies are the same network.
#[derive(Clone, Debug)]
pub(super) struct SimNet(Arc<Mutex<Wires>>);

/// One end of a connection; dropping it is `close(2)`.
#[derive(Debug)]
pub(super) struct Stream {
    end: End,
    net: SimNet,
}

/// What went in and has not come out, in a pipe that holds so much.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) bytes: Vec<u8>,
    room: usize,
}

impl SimNet {
    pub(super) fn new(wires: Wires) -> SimNet {
        SimNet(Arc::new(Mutex::new(wires)))
    }

    /// The wires themselves. Not to be held while a stream may be dropped.
    pub(super) fn wires(&self) -> MutexGuard<'_, Wires> {
        // A panic elsewhere poisons the lock; the streams that are dropped after it do not care.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self, end: End) -> Stream {
        Stream { end, net: self.clone() }
    }

    /// A client at `from` opens a connection to the proxy.
    pub(super) fn dial(&self, listener: usize, from: IpAddr) -> Stream {
        let end = self.wires().dial(listener, from);
        self.stream(end)
    }

    /// The next connection that the proxy has opened to a backend's port.
    pub(super) fn accept_at_port(&self, port: usize) -> Option<Stream> {
        let end = self.wires().accept_at_port(port)?;
        Some(self.stream(end))
    }
}

impl Stream {
    pub(super) fn end(&self) -> End {
        self.end
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.net.wires().close(self.end, false);
    }
}

impl Net for SimNet {
    type Stream = Stream;
    type Pipe = Pipe;
    /// Bodies are small here.
    const PIPE_PAYS: u64 = 1500;

    fn accept(&mut self, listener: u32) -> io::Result<(Stream, Option<IpAddr>)> {
        let (end, from) = self.wires().accept(listener as usize)?;
        Ok((self.stream(end), from))
    }

    fn hold(&mut self, listener: u32) -> bool {
        self.wires().listeners[listener as usize].held = true;
        false
    }

    fn unlisten(&mut self, listener: u32) {
        self.wires().unlisten(listener as usize);
    }

    fn watch(&mut self, stream: &mut Stream, source: Source) -> io::Result<()> {
        self.wires().watch(stream.end, source);
        Ok(())
    }

    fn connect(&mut self, to: &Address) -> io::Result<Stream> {
        let end = self.wires().connect(to)?;
        Ok(self.stream(end))
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<usize> {
        self.wires().read(stream.end, into)
    }

    fn is_silent(&mut self, stream: &mut Stream) -> bool {
        let wires = self.wires();
        wires.unread(stream.end) == 0 && !wires.is_over(stream.end)
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.wires().write(stream.end, from)
    }

    fn pipe(&mut self) -> io::Result<Pipe> {
        let mut wires = self.wires();
        if wires.now < wires.no_descriptors_until {
            return Err(io::Error::from_raw_os_error(24));
        }
        let room = wires.dice.pick(&[500, 4_000, 40_000]);
        Ok(Pipe { bytes: Vec::new(), room })
    }

    fn splice_in(&mut self, from: &mut Stream, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        let mut wires = self.wires();
        if !wires.splices {
            return Err(ErrorKind::InvalidInput.into());
        }
        // It has places, not bytes: small pieces fill it early.
        let mut n = most.min(pipe.room - pipe.bytes.len());
        if n == 0 || (!pipe.bytes.is_empty() && wires.dice.chance(50)) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if wires.dice.chance(30) {
            n = wires.dice.between(1, n);
        }
        let mut space = vec![0; n];
        let n = wires.read(from.end, &mut space)?;
        wires.spliced += u64::from(n > 0);
        pipe.bytes.extend_from_slice(&space[..n]);
        Ok(n)
    }

    fn splice_out(&mut self, pipe: &mut Pipe, to: &mut Stream, most: usize) -> io::Result<usize> {
        let n = most.min(pipe.bytes.len());
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = self.wires().write(to.end, &pipe.bytes[..n])?;
        pipe.bytes.drain(..n);
        Ok(n)
    }

    fn lay_up(&mut self, stream: &mut Stream, more: bool) {
        self.wires().lay_up(stream.end, more);
    }

    fn shutdown_write(&mut self, stream: &mut Stream) {
        self.wires().shutdown_write(stream.end);
    }

    fn abort(&mut self, stream: Stream) {
        self.wires().close(stream.end, true);
    }
}

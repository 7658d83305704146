//! What the engine asks of a network: eleven verbs over streams it does not understand, and four
//! for a detour around its buffers.
//!
//! The shell answers them with mio and the kernel, the simulator with wires in memory. Every verb
//! behaves as its system call does on a non-blocking socket: it does what is possible now, or says
//! [`io::ErrorKind::WouldBlock`]. This file knows neither mio nor sockets.

use std::io;
use std::net::IpAddr;

use crate::endpoint::Address;
use crate::keys::Source;

/// What a readiness event said, and what is still believed since: hints, never promises.
///
/// A bit is set by an event and cleared when a call says "would block". Believing too much costs
/// one vain call; an edge is not repeated, so believing too little is a hang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready(u8);

impl Ready {
    /// Nothing is possible.
    pub(crate) const NONE: Ready = Ready(0);
    /// A read may give bytes, an end or an error.
    pub(crate) const READ: Ready = Ready(1);
    /// A write may take bytes or give an error.
    pub(crate) const WRITE: Ready = Ready(2);
    /// The peer has sent its end (`EPOLLRDHUP`, `EPOLLHUP`) or the connection is broken
    /// (`EPOLLERR`): a short read does not mean "drained", because no further event will come.
    pub(crate) const END: Ready = Ready(4);
    /// The peer is gone in both directions (`EPOLLHUP`, `EPOLLERR`): it has reset the connection,
    /// or closed what we had half-closed. Nobody will read what is written.
    pub(crate) const GONE: Ready = Ready(8);

    /// Whether every bit of `other` is set.
    pub(crate) fn has(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub(crate) fn with(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }

    /// `self` without the bits of `other`.
    #[must_use]
    pub(crate) fn without(self, other: Ready) -> Ready {
        Ready(self.0 & !other.0)
    }
}

/// The network as the engine sees it.
pub(crate) trait Net {
    /// One connection. Dropping it closes it, as `close(2)` does: unread input makes that an RST.
    type Stream;

    /// A detour for bytes that nobody has to see. Dropping it closes it, with what is in it.
    type Pipe;

    /// From how many bytes on the detour is cheaper than a copy.
    const PIPE_PAYS: u64;

    /// The next connection that waits at `listener`, and the client's address if it has one
    /// (a Unix socket has none).
    fn accept(&mut self, listener: u32) -> io::Result<(Self::Stream, Option<IpAddr>)>;

    /// Nobody new joins the queue of `listener` from now on; who is in it can still be accepted.
    /// Gives whether handshakes may be under way that still will end there.
    fn hold(&mut self, listener: u32) -> bool;

    /// Closes `listener`. Who waits there is reset, unless another process listens, too.
    fn unlisten(&mut self, listener: u32);

    /// From now on, readiness of `stream` is reported as events of `source`: both directions,
    /// edge-triggered, once and for all. What is ready already is reported as well.
    fn watch(&mut self, stream: &mut Self::Stream, source: Source) -> io::Result<()>;

    /// Begins a connection. `Ok` does not mean that it stands: the first write says so, or gives
    /// the reason why it does not. A refusal may also come back from this very call.
    fn connect(&mut self, to: &Address) -> io::Result<Self::Stream>;

    /// Bytes that have arrived; 0 is the peer's end.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Whether `stream` stands and has nothing to read: no byte, no end, no error.
    fn is_silent(&mut self, stream: &mut Self::Stream) -> bool;

    /// How many of the bytes of `from` were taken.
    fn write(&mut self, stream: &mut Self::Stream, from: &[u8]) -> io::Result<usize>;

    /// As [`Net::write`], where our end follows at once if all is taken: they may leave together.
    fn write_last(&mut self, stream: &mut Self::Stream, from: &[u8]) -> io::Result<usize> {
        self.write(stream, from)
    }

    /// An empty pipe.
    fn pipe(&mut self) -> io::Result<Self::Pipe>;

    /// Moves up to `most` bytes that have arrived into a pipe; 0 is the peer's end. "Would block"
    /// says that nothing has arrived, or that the pipe is full: nobody can tell.
    fn splice_in(
        &mut self,
        from: &mut Self::Stream,
        pipe: &mut Self::Pipe,
        most: usize,
    ) -> io::Result<usize>;

    /// Moves up to `most` bytes out of a pipe; how many were taken.
    fn splice_out(
        &mut self,
        pipe: &mut Self::Pipe,
        to: &mut Self::Stream,
        most: usize,
    ) -> io::Result<usize>;

    /// Long bodies go to `stream`: more of them may lie ready for it, so that there is less to and
    /// fro; or no longer.
    fn lay_up(&mut self, stream: &mut Self::Stream, more: bool);

    /// Sends our end (FIN); reading goes on.
    fn shutdown_write(&mut self, stream: &mut Self::Stream);

    /// Closes so that the peer cannot take what it got for the whole: RST instead of FIN.
    fn abort(&mut self, stream: Self::Stream);
}

#[cfg(test)]
mod tests {
    use super::Ready;

    #[test]
    fn bits_come_and_go() {
        let both = Ready::READ.with(Ready::WRITE);
        assert!(both.has(Ready::READ) && both.has(Ready::WRITE) && !both.has(Ready::END));
        assert_eq!(both.without(Ready::READ), Ready::WRITE);
        assert!(both.has(Ready::NONE) && !Ready::NONE.has(both));
    }
}

//! A client's connection, and the work it carries while an exchange is in progress.
//!
//! An idle client is a socket, an address, two moments and no buffer. Everything an exchange needs
//! is in its [`Work`], which is lent when bytes come and returned when the exchange ends. This
//! file knows states; it moves no bytes.

use std::net::IpAddr;

use crate::buf::Buf;
use crate::exchange::Exchange;
use crate::h1::Version;
use crate::h1::head::Search;
use crate::keys::Key;
use crate::net::Ready;
use crate::summary::Outcome;
use crate::time::Ms;

use super::desk::Trip;
use super::splice::Conduit;
use super::timers::Due;
use super::tunnel::Tunnel;

/// One connection that a client opened.
pub(crate) struct Client<S> {
    pub(crate) sock: S,
    pub(crate) stage: Stage,
    pub(crate) due: Due,
    pub(crate) ready: Ready,
    /// Whether the network reports its readiness yet: a new connection is tried first.
    pub(crate) watch: Watch,
    /// Whether it is in the run queue.
    pub(crate) queued: bool,
    /// Whether it waits for memory.
    pub(crate) starved: bool,
    pub(crate) address: Option<IpAddr>,
}

/// Whether a client's readiness is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Not yet.
    No,
    /// Not yet, unless its answer lets it wait for long.
    Soon,
    /// For as long as it is here.
    Yes,
}

/// What a client's connection is doing.
#[derive(Default)]
pub(crate) enum Stage {
    /// Between exchanges.
    #[default]
    Idle,
    /// In an exchange.
    Busy(Box<Work>),
    /// Our end is sent; what still comes is read and dropped, so that the kernel does not answer
    /// it with an RST that would destroy the answer on its way (RFC 9112 section 9.6).
    Linger {
        /// How many more bytes are taken.
        bytes_left: u32,
        /// How long.
        until: Ms,
    },
}

/// How far an exchange has come.
pub(crate) enum Phase {
    /// The request head is coming.
    Head(Search),
    /// No endpoint can take it now.
    Waiting(Box<Exchange>),
    /// Its connection is made in one of the next turns.
    Held(Box<Exchange>),
    /// The request travels up and the answer down.
    Relay(Box<Exchange>),
    /// The endpoint has switched protocols: bytes both ways, and no HTTP any more.
    Tunnel(Tunnel),
    /// The answer is whole, in the buffer; its last bytes go to the client.
    Flush(Ending),
}

/// How an exchange will have ended when its last byte is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// Whether the connection lives on.
    pub(crate) keep: bool,
    /// Whether a connection that does not live on may have more input on its way.
    pub(crate) linger: bool,
}

/// Everything an exchange needs. Lent and returned, so that its memory stays warm.
pub(crate) struct Work {
    pub(crate) phase: Phase,
    /// Towards the endpoint.
    pub(crate) req: Buf,
    /// Towards the client.
    pub(crate) resp: Buf,
    /// What went past `req`, and goes before it.
    pub(crate) up: Conduit,
    /// What went past `resp`, and goes before it.
    pub(crate) down: Conduit,
    /// The upstream connection, while there is one.
    pub(crate) link: Option<Key>,
    /// A second one, while the first is still connecting: the first to stand wins.
    pub(crate) hedge: Option<Hedge>,
    /// How many bytes of the answer were read before its client was served.
    pub(crate) ahead: usize,
    /// Whether this attempt has been hedged already.
    pub(crate) hedged: bool,
    /// Until when it waits for an endpoint, once it has had to.
    pub(crate) wait_until: Option<Ms>,
    /// Whether it was called from the waiting room.
    pub(crate) called: bool,
    /// Its place in the order of those who wait.
    pub(crate) ticket: u64,
    /// How often it was offered again after it had been written.
    pub(crate) repeats: u8,
    pub(crate) trip: Trip,
    /// Whether a byte of the request has been seen, so that it stands in the ledger.
    pub(crate) begun: bool,
    /// When its first byte was seen.
    pub(crate) begun_at: Ms,
    /// When this attempt began.
    pub(crate) attempt_at: Ms,
    /// When a byte of the request last moved.
    pub(crate) up_at: Ms,
    /// When a byte of the answer last moved.
    pub(crate) down_at: Ms,
    pub(crate) version: Version,
    pub(crate) head_only: bool,
    /// The final status, once one was sent.
    pub(crate) status: u16,
    pub(crate) attempts: u32,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// How many of them were interim responses, once there is an answer.
    pub(crate) interim_bytes: u64,
}

impl Work {
    /// Without memory, for its first request.
    pub(crate) fn new() -> Work {
        Work {
            phase: Phase::Head(Search::default()),
            req: Buf::default(),
            resp: Buf::default(),
            up: Conduit::default(),
            down: Conduit::default(),
            link: None,
            hedge: None,
            ahead: 0,
            hedged: false,
            wait_until: None,
            called: false,
            ticket: 0,
            repeats: 0,
            trip: Trip::default(),
            begun: false,
            begun_at: Ms::ZERO,
            attempt_at: Ms::ZERO,
            up_at: Ms::ZERO,
            down_at: Ms::ZERO,
            version: Version::Http11,
            head_only: false,
            status: 0,
            attempts: 0,
            request_bytes: 0,
            response_bytes: 0,
            interim_bytes: 0,
        }
    }

    /// Ready for the next request; what is in the buffers stays.
    pub(crate) fn clear(&mut self) {
        debug_assert!(self.link.is_none() && self.hedge.is_none());
        debug_assert!(!self.up.holds_bytes() && !self.down.holds_bytes() && self.ahead == 0);
        self.phase = Phase::Head(Search::default());
        self.trip.clear();
        self.hedged = false;
        self.wait_until = None;
        self.called = false;
        self.repeats = 0;
        self.begun = false;
        self.version = Version::Http11;
        self.head_only = false;
        self.status = 0;
        self.attempts = 0;
        self.request_bytes = 0;
        self.response_bytes = 0;
    }

    /// Whether bytes wait for the endpoint to take them.
    pub(super) fn has_bytes_up(&self) -> bool {
        self.up.holds_bytes() || self.req.has_pending()
    }

    /// Whether bytes wait for the client to take them.
    pub(super) fn has_bytes_down(&self) -> bool {
        self.down.holds_bytes() || self.resp.has_pending()
    }

    /// The request is refused before its head was understood. The method, at least, may be here:
    /// who asked with HEAD gets no content all the same (RFC 9110 section 9.3.2).
    pub(crate) fn note_method(&mut self) {
        self.head_only = self.req.fresh().starts_with(b"HEAD ");
    }
}

/// A second connection that is being tried for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hedge {
    pub(crate) link: Key,
    pub(crate) peer: Key,
}

impl<S> Client<S> {
    /// Its turn has come: what it is doing, which is out of its place meanwhile, and whether it is
    /// gone. If it is queued as well, it stays so: it is still in the queue.
    pub(super) fn take_up(&mut self) -> (Stage, bool) {
        (std::mem::take(&mut self.stage), self.ready.has(Ready::GONE))
    }

    /// A connection that was just accepted: whether it can be read is found out by reading.
    pub(crate) fn new(sock: S, address: Option<IpAddr>) -> Client<S> {
        Client {
            sock,
            stage: Stage::Idle,
            due: Due::default(),
            ready: Ready::READ.with(Ready::WRITE),
            watch: Watch::No,
            queued: false,
            starved: false,
            address,
        }
    }
}

/// One connection to an endpoint.
pub(crate) struct Upstream<S> {
    pub(crate) sock: S,
    pub(crate) ready: Ready,
    /// The endpoint.
    pub(crate) peer: Key,
    pub(crate) state: UpState,
    /// Whether it has carried an exchange before this one.
    pub(crate) reused: bool,
    /// Whether the request that it carries is still coming from the client.
    pub(crate) coming: bool,
    /// How a write failed. What had arrived before can still be read, so this is judged after
    /// the input.
    pub(crate) broken: Option<std::io::ErrorKind>,
    pub(crate) due: Due,
}

impl<S> Upstream<S> {
    /// A write has failed. Whatever arrived before can still be read, and there will be no event.
    pub(super) fn broke(&mut self, why: std::io::ErrorKind) {
        self.broken = Some(why);
        self.ready = self.ready.with(Ready::READ);
    }
}

/// What a connection to an endpoint is doing. It has an owner exactly while it carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpState {
    /// No byte has been taken yet, so it may never have stood.
    Connecting {
        /// The client whose request waits.
        owner: Key,
    },
    /// It has taken bytes.
    Busy {
        /// The client whose request it carries.
        owner: Key,
    },
    /// In the pool.
    Idle,
    /// It asks whether the endpoint is well.
    Checking,
}

impl UpState {
    /// The client it works for.
    pub(crate) fn owner(self) -> Option<Key> {
        match self {
            UpState::Connecting { owner } | UpState::Busy { owner } => Some(owner),
            UpState::Idle | UpState::Checking => None,
        }
    }
}

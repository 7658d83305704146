//! The kernel of the made-up world: connections as queues of bytes, with the manners of Linux.
//!
//! ```text
//!   side 0 (dialled)                                   side 1 (accepted)
//!     write --> [ sent ] ~~ travel ~~> [ arrived ] --> read        lane towards side 1
//!     read <-- [ arrived ] <~~ travel ~~ [ sent ] <-- write        lane towards side 0
//! ```
//!
//! An end (FIN or RST) travels behind the bytes of its lane, but a RST first wipes out what its
//! sender has not sent yet. What has arrived stays readable, whatever happens later. Readiness is
//! an edge: it is told once. This file knows neither HTTP nor the engine.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::dice::Dice;
use super::travel::everything;
use crate::endpoint::Address;
use crate::keys::Source;
use crate::net::Ready;
use crate::time::Ms;

/// One end of one wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) wire: usize,
    pub(super) side: usize,
}

impl End {
    pub(super) fn peer(self) -> End {
        End { wire: self.wire, side: 1 - self.side }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Fin,
    Rst,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) sent: Vec<u8>,
    pub(super) arrived: Vec<u8>,
    pub(super) send_room: usize,
    pub(super) receive_room: usize,
    pub(super) last: Option<Last>,
}

#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) source: Option<Source>,
    /// Edges that have happened and were not told yet.
    pub(super) pending: Ready,
    pub(super) closed: bool,
    pub(super) fin_sent: bool,
    pub(super) fin_arrived: bool,
    /// Given out once, by whichever call comes first.
    pub(super) error: Option<ErrorKind>,
    /// Reset or refused: nothing travels any more.
    pub(super) dead: bool,
    /// The last write found no room: room will be an edge.
    pub(super) starved: bool,
}

#[derive(Debug)]
pub(super) struct Wire {
    /// `lanes[s]` leads to side `s`.
    pub(super) lanes: [Lane; 2],
    pub(super) sides: [Side; 2],
    /// The door that has not answered yet.
    pub(super) knocking: Option<usize>,
    pub(super) client: Option<IpAddr>,
}

/// What happens to those who connect to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// They get a connection, at once or later.
    Open,
    /// `connect` itself fails.
    Shut(ErrorKind),
    /// `connect` succeeds, and an event tells the error.
    ShutLater(ErrorKind),
    /// They hear nothing at all.
    Hangs,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) address: Address,
    pub(super) door: Door,
    pub(super) queue: VecDeque<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) queue: VecDeque<usize>,
    pub(super) ringing: bool,
    /// Nobody new gets into the queue.
    pub(super) held: bool,
}

/// Everything that lies between the proxy and its peers.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) now: Ms,
    pub(super) turn: u64,
    /// Whether the verbs are called by the proxy just now, for the trace.
    pub(super) proxy_acts: bool,
    /// `accept` fails with EMFILE until then.
    pub(super) no_descriptors_until: Ms,
    /// How often a verb of the proxy had an effect.
    pub(super) deeds: u64,
    pub(super) hash: u64,
    pub(super) loud: bool,
    /// An event tells all that is ready, as epoll does; otherwise only what is new, as kqueue.
    pub(super) tells_all: bool,
    /// Whether there is such a thing as splice, and how often it moved something in.
    pub(super) splices: bool,
    pub(super) spliced: u64,
    /// Sizes of the kernel's queues.
    pub(super) rooms: [usize; 2],
    pub(super) wires: Vec<Wire>,
    pub(super) live: Vec<usize>,
    pub(super) ringing: Vec<End>,
    pub(super) ports: Vec<Port>,
    pub(super) listeners: Vec<Listener>,
    pub(super) dice: Dice,
}

impl Wires {
    pub(super) fn new(mut dice: Dice, listeners: usize, loud: bool) -> Wires {
        let small = dice.pick(&[300, 1000, 3000]);
        Wires {
            now: Ms::ZERO,
            turn: 0,
            proxy_acts: false,
            no_descriptors_until: Ms::ZERO,
            deeds: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            loud,
            tells_all: dice.chance(50),
            splices: dice.chance(90),
            spliced: 0,
            rooms: [small, small * dice.pick(&[1, 4, 10])],
            wires: Vec::new(),
            live: Vec::new(),
            ringing: Vec::new(),
            ports: Vec::new(),
            listeners: (0..listeners).map(|_| Listener::default()).collect(),
            dice,
        }
    }

    /// One line of the trace: always in the hash, on the screen when a world is replayed.
    pub(super) fn note(&mut self, what: &'static str, a: usize, b: usize) {
        let letters = what.bytes().map(u64::from);
        for word in letters.chain([a as u64, b as u64, self.turn]) {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
        if self.loud {
            eprintln!("{:>6} {:>7} ms  {what:<28} {a:>4} {b}", self.turn, self.now.0);
        }
    }

    fn deed(&mut self, proxy: &'static str, peer: &'static str, at: End, n: usize) {
        self.deeds += u64::from(self.proxy_acts);
        self.note(if self.proxy_acts { proxy } else { peer }, at.wire, n);
    }

    fn lane(&mut self) -> Lane {
        let mut room = || self.dice.between(self.rooms[0], self.rooms[1]);
        let (send_room, receive_room) = (room(), room());
        Lane { sent: Vec::new(), arrived: Vec::new(), send_room, receive_room, last: None }
    }

    fn lay(&mut self, knocking: Option<usize>, client: Option<IpAddr>) -> usize {
        let wire = Wire {
            lanes: [self.lane(), self.lane()],
            sides: [Side::default(), Side::default()],
            knocking,
            client,
        };
        self.wires.push(wire);
        self.live.push(self.wires.len() - 1);
        self.wires.len() - 1
    }

    // ---- doors ----------------------------------------------------------------------------

    /// A new address to connect to; gives its number.
    pub(super) fn add_port(&mut self, address: Address, door: Door) -> usize {
        self.ports.push(Port { address, door, queue: VecDeque::new() });
        self.ports.len() - 1
    }

    pub(super) fn set_door(&mut self, port: usize, door: Door) {
        self.ports[port].door = door;
    }

    /// The next connection that has come in at `port`.
    pub(super) fn accept_at_port(&mut self, port: usize) -> Option<End> {
        self.ports[port].queue.pop_front().map(|wire| End { wire, side: 1 })
    }

    /// A client at `from` connects to the proxy.
    pub(super) fn dial(&mut self, listener: usize, from: IpAddr) -> End {
        let wire = self.lay(None, Some(from));
        self.listeners[listener].queue.push_back(wire);
        self.listeners[listener].ringing = true;
        End { wire, side: 0 }
    }

    /// Whether the proxy has taken the connection whose client end is `at`.
    pub(super) fn is_accepted(&self, at: End) -> bool {
        !self.listeners.iter().any(|listener| listener.queue.contains(&at.wire))
    }

    pub(super) fn accept(&mut self, listener: usize) -> io::Result<(End, Option<IpAddr>)> {
        if self.now < self.no_descriptors_until {
            self.note("proxy accept: EMFILE", listener, 0);
            return Err(io::Error::from_raw_os_error(24));
        }
        let wire = self.listeners[listener].queue.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let at = End { wire, side: 1 };
        self.deed("proxy accepts", "proxy accepts", at, 0);
        Ok((at, self.wires[wire].client))
    }

    /// The listener is closed: who waits there is reset.
    pub(super) fn unlisten(&mut self, listener: usize) {
        self.note("proxy closes a listener", listener, 0);
        self.listeners[listener].held = true;
        for wire in std::mem::take(&mut self.listeners[listener].queue) {
            self.close(End { wire, side: 1 }, true);
        }
    }

    pub(super) fn connect(&mut self, to: &Address) -> io::Result<End> {
        let port = self.ports.iter().position(|port| port.address == *to);
        let port = port.ok_or(ErrorKind::HostUnreachable)?;
        if let Door::Shut(kind) = self.ports[port].door {
            self.note("proxy connect: failed at once", port, 0);
            self.deeds += 1;
            return Err(kind.into());
        }
        let wire = self.lay(Some(port), None);
        self.deed("proxy connects", "proxy connects", End { wire, side: 0 }, port);
        if self.ports[port].door == Door::Open && self.dice.chance(25) {
            self.knocked(wire, port);
        }
        Ok(End { wire, side: 0 })
    }

    // ---- verbs ----------------------------------------------------------------------------

    pub(super) fn read(&mut self, at: End, into: &mut [u8]) -> io::Result<usize> {
        assert!(!into.is_empty(), "a read into nothing looks like an end");
        let wire = &mut self.wires[at.wire];
        let (lane, side) = (&mut wire.lanes[at.side], &mut wire.sides[at.side]);
        let n = into.len().min(lane.arrived.len());
        if n > 0 {
            into[..n].copy_from_slice(&lane.arrived[..n]);
            lane.arrived.drain(..n);
            self.deed("proxy reads", "peer reads", at, n);
            return Ok(n);
        }
        if wire.knocking.is_some() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if side.fin_arrived {
            self.deed("proxy reads the end", "peer reads the end", at, 0);
            return Ok(0);
        }
        if let Some(kind) = side.error.take() {
            self.deed("proxy read: error", "peer read: error", at, 0);
            return Err(kind.into());
        }
        if side.dead { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn write(&mut self, at: End, from: &[u8]) -> io::Result<usize> {
        assert!(!from.is_empty(), "a write of nothing says nothing");
        let wire = &mut self.wires[at.wire];
        let side = &mut wire.sides[at.side];
        if wire.knocking.is_some() {
            side.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(kind) = side.error.take() {
            self.deed("proxy write: error", "peer write: error", at, 0);
            return Err(kind.into());
        }
        if side.dead || side.fin_sent {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let lane = &mut wire.lanes[1 - at.side];
        let room = lane.send_room.saturating_sub(lane.sent.len());
        if room == 0 {
            side.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = room.min(from.len());
        if self.dice.chance(10) {
            n = self.dice.between(1, n);
        }
        lane.sent.extend_from_slice(&from[..n]);
        self.deed("proxy writes", "peer writes", at, n);
        Ok(n)
    }

    pub(super) fn watch(&mut self, at: End, source: Source) {
        self.wires[at.wire].sides[at.side].source = Some(source);
        let ready = self.level(at);
        if ready != Ready::NONE {
            self.edge(at, ready);
        }
    }

    /// Room for more, or as little as before; what lies there already stays.
    pub(super) fn lay_up(&mut self, at: End, more: bool) {
        let room = &mut self.wires[at.wire].lanes[1 - at.side].send_room;
        *room = if more { *room * 4 } else { (*room / 4).max(1) };
        self.deed("proxy lays up", "peer lays up", at, usize::from(more));
    }

    pub(super) fn shutdown_write(&mut self, at: End) {
        self.deed("proxy sends FIN", "peer sends FIN", at, 0);
        self.send_fin(at);
        // Linux wakes whoever polls when both directions are shut.
        if self.wires[at.wire].sides[at.side].fin_arrived {
            self.edge(at, everything());
        }
    }

    fn send_fin(&mut self, at: End) {
        let wire = &mut self.wires[at.wire];
        if !wire.sides[at.side].dead && !wire.sides[at.side].fin_sent {
            wire.sides[at.side].fin_sent = true;
            wire.lanes[1 - at.side].last.get_or_insert(Last::Fin);
        }
    }

    /// `close(2)`; with `reset`, or with input that nobody has read, it is a RST.
    pub(super) fn close(&mut self, at: End, reset: bool) {
        let wire = &mut self.wires[at.wire];
        if wire.sides[at.side].closed {
            return;
        }
        wire.sides[at.side].closed = true;
        wire.sides[at.side].source = None;
        let unread = !wire.lanes[at.side].arrived.is_empty();
        if wire.knocking.is_some() {
            wire.knocking = None;
            wire.sides[1 - at.side].closed = true;
            self.deed("proxy gives up connecting", "proxy gives up connecting", at, 0);
        } else if unread || reset {
            self.deed("proxy closes by RST", "peer closes by RST", at, 0);
            self.send_rst(at);
        } else {
            self.deed("proxy closes", "peer closes", at, 0);
            self.send_fin(at);
        }
    }

    pub(super) fn send_rst(&mut self, from: End) {
        let wire = &mut self.wires[from.wire];
        if wire.sides[from.side].dead {
            return;
        }
        wire.sides[from.side].dead = true;
        wire.lanes[from.side].sent.clear();
        wire.lanes[from.side].last = None;
        wire.lanes[1 - from.side].sent.clear();
        wire.lanes[1 - from.side].last = Some(Last::Rst);
    }

    // ---- what a simulator may ask although nobody on earth could ----------------------------

    /// Whether a read would find an end or an error, now or behind what has arrived.
    pub(super) fn is_over(&self, at: End) -> bool {
        let side = &self.wires[at.wire].sides[at.side];
        side.fin_arrived || side.dead
    }

    /// Whether the other side has closed its socket; its last bytes may still be on their way.
    pub(super) fn is_left(&self, at: End) -> bool {
        self.wires[at.wire].sides[1 - at.side].closed
    }

    /// How many bytes have arrived at `at` and were not read.
    pub(super) fn unread(&self, at: End) -> usize {
        self.wires[at.wire].lanes[at.side].arrived.len()
    }

    /// Whether everything that was written at `at` has arrived, its FIN included.
    pub(super) fn is_delivered(&self, at: End) -> bool {
        let lane = &self.wires[at.wire].lanes[1 - at.side];
        lane.sent.is_empty() && lane.last.is_none()
    }
}

//! How things travel along the wires, and how the proxy is told: the passive half of the kernel.
//!
//! Nothing moves by itself: [`Wires::travel`] is called once a turn and moves a random part of
//! what is under way. What arrives makes an edge; [`Wires::take_events`] is the poll that tells
//! it, once.

use std::io::ErrorKind;
use std::mem::take;

use super::wires::{Door, End, Last, Wires};
use crate::keys::Source;
use crate::net::Ready;

impl Wires {
    /// Lets things travel: everything, or a random part. True if something did.
    pub(super) fn travel(&mut self, all: bool) -> bool {
        let mut moved = false;
        for i in 0..self.live.len() {
            let wire = self.live[i];
            for side in [0, 1] {
                if all || self.dice.chance(75) {
                    moved |= self.arrive(End { wire, side }, all);
                }
            }
        }
        let wires = &self.wires;
        self.live.retain(|&wire| wires[wire].sides.iter().any(|side| !side.closed));
        moved
    }

    /// Moves what is on its way to `to`.
    fn arrive(&mut self, to: End, all: bool) -> bool {
        if let Some(port) = self.wires[to.wire].knocking {
            return to.side == 0 && self.knocked(to.wire, port);
        }
        let wire = &mut self.wires[to.wire];
        let lane = &mut wire.lanes[to.side];
        let closed = wire.sides[to.side].closed;
        if lane.sent.is_empty() {
            return lane.last.take().is_some_and(|last| self.ended(to, last));
        }
        if closed {
            // Bytes for a socket that is gone are answered with a RST.
            wire.sides[to.side].dead = false;
            self.send_rst(to);
            return true;
        }
        let mut n = lane.sent.len().min(lane.receive_room.saturating_sub(lane.arrived.len()));
        if n == 0 {
            return false;
        }
        if !all && self.dice.chance(20) {
            n = self.dice.between(1, n);
        }
        lane.arrived.extend_from_slice(&lane.sent[..n]);
        lane.sent.drain(..n);
        let from = to.peer();
        let with_end = lane.sent.is_empty() && lane.last.is_some() && self.dice.chance(50);
        self.note("bytes arrive", to.wire, n);
        self.edge(to, Ready::READ);
        if take(&mut self.wires[from.wire].sides[from.side].starved) {
            self.edge(from, Ready::WRITE);
        }
        if with_end {
            self.arrive(to, all);
        }
        true
    }

    /// The door answers; false if it never will.
    pub(super) fn knocked(&mut self, wire: usize, port: usize) -> bool {
        let at = End { wire, side: 0 };
        match self.ports[port].door {
            Door::Hangs => return false,
            Door::Open => {
                self.wires[wire].knocking = None;
                self.ports[port].queue.push_back(wire);
                self.edge(at, Ready::WRITE);
                self.note("connection stands", wire, port);
            }
            Door::Shut(kind) | Door::ShutLater(kind) => {
                self.wires[wire].knocking = None;
                self.die(at, kind);
                self.wires[wire].sides[1].closed = true;
                self.note("connection failed", wire, port);
            }
        }
        true
    }

    fn ended(&mut self, to: End, last: Last) -> bool {
        let side = &mut self.wires[to.wire].sides[to.side];
        if side.closed {
            return false;
        }
        match last {
            Last::Fin => {
                side.fin_arrived = true;
                // GONE is told only where it is true: where our own FIN went before.
                self.edge(to, Ready::READ.with(Ready::END).with(Ready::GONE));
                self.note("FIN arrives", to.wire, 0);
            }
            Last::Rst => {
                // RFC 793 knows one error; Linux says EPIPE to who has had the FIN before.
                let gone = side.fin_arrived;
                self.die(to, if gone { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
                self.note("RST arrives", to.wire, 0);
            }
        }
        true
    }

    fn die(&mut self, at: End, kind: ErrorKind) {
        let wire = &mut self.wires[at.wire];
        wire.sides[at.side].dead = true;
        wire.sides[at.side].error = Some(kind);
        wire.lanes[1 - at.side].sent.clear();
        wire.lanes[1 - at.side].last = None;
        self.edge(at, everything());
    }

    pub(super) fn level(&self, at: End) -> Ready {
        let wire = &self.wires[at.wire];
        let (side, lane) = (&wire.sides[at.side], &wire.lanes[at.side]);
        let out = &wire.lanes[1 - at.side];
        let when = |yes: bool, bit: Ready| if yes { bit } else { Ready::NONE };
        if wire.knocking.is_some() {
            return Ready::NONE;
        }
        when(!lane.arrived.is_empty() || side.fin_arrived || side.dead, Ready::READ)
            .with(when(out.sent.len() < out.send_room || side.dead, Ready::WRITE))
            .with(when(side.fin_arrived || side.dead, Ready::END))
            .with(when((side.fin_arrived && side.fin_sent) || side.dead, Ready::GONE))
    }

    pub(super) fn edge(&mut self, at: End, bits: Ready) {
        let side = &mut self.wires[at.wire].sides[at.side];
        if side.source.is_none() {
            return;
        }
        if side.pending == Ready::NONE {
            self.ringing.push(at);
        }
        side.pending = side.pending.with(bits);
    }

    /// The events that a poll returns: all that are due, or some of them, in random order.
    pub(super) fn take_events(&mut self, all: bool) -> Vec<(Source, Ready)> {
        let mut events = Vec::new();
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            if take(&mut listener.ringing) && !listener.queue.is_empty() {
                events.push((Source::Listener(number as u32), Ready::READ));
            }
        }
        for at in take(&mut self.ringing) {
            if !all && self.dice.chance(25) {
                self.ringing.push(at);
                continue;
            }
            let level = self.level(at);
            let side = &mut self.wires[at.wire].sides[at.side];
            let edges = take(&mut side.pending);
            let told = if self.tells_all { level } else { common(level, edges) };
            if let Some(source) = side.source.filter(|_| told != Ready::NONE) {
                events.push((source, told));
            }
        }
        self.dice.shuffle(&mut events);
        events
    }
}

fn common(a: Ready, b: Ready) -> Ready {
    let bits = [Ready::READ, Ready::WRITE, Ready::END, Ready::GONE].into_iter();
    bits.filter(|&bit| a.has(bit) && b.has(bit)).fold(Ready::NONE, Ready::with)
}

/// All bits; an event tells those of them that are true.
pub(super) fn everything() -> Ready {
    Ready::READ.with(Ready::WRITE).with(Ready::END).with(Ready::GONE)
}

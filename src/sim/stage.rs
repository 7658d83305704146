//! A stage: the engine over wires in memory, with peers that somebody else plays, and a protocol of
//! everything that the proxy did.
//!
//! [`World`](super::world) has its own cast and knows what every byte should be; here whoever plays
//! may say anything, so judging needs to know what the proxy really read and wrote, and in which
//! order. This file judges nothing but that the engine does not spin.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::dice::Dice;
use super::net::{Pipe, SimNet, Stream};
use super::wires::{Door, Wires};
use crate::endpoint::{Address, Endpoint};
use crate::engine::{Census, Command, Engine, Setup, Stats};
use crate::keys::Source;
use crate::net::{Net, Ready};
use crate::time::Ms;

/// So many turns in a row may the engine claim to have work and do nothing.
const VAIN_TURNS: u32 = 100;

/// What the proxy did on one wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Read(Vec<u8>),
    Wrote(Vec<u8>),
    /// It read the peer's end.
    ReadEnd,
    /// A read or a write failed.
    Failed,
    SentEnd,
    /// It looked whether anything lies there.
    Looked,
    /// It closed by RST. A close by FIN is no deed: it happens where a stream is dropped.
    Aborted,
}

/// The network of the engine: it writes down what is asked of it.
#[derive(Debug)]
struct Tap {
    net: SimNet,
    deeds: Vec<(usize, Deed)>,
}

impl Tap {
    fn failed<T>(&mut self, wire: usize, result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            self.deeds.push((wire, Deed::Failed));
        }
        result
    }
}

impl Net for Tap {
    type Stream = Stream;
    type Pipe = Pipe;
    const PIPE_PAYS: u64 = SimNet::PIPE_PAYS;

    fn accept(&mut self, listener: u32) -> io::Result<(Stream, Option<IpAddr>)> {
        self.net.accept(listener)
    }

    fn hold(&mut self, listener: u32) -> bool {
        self.net.hold(listener)
    }

    fn unlisten(&mut self, listener: u32) {
        self.net.unlisten(listener);
    }

    fn watch(&mut self, stream: &mut Stream, source: Source) -> io::Result<()> {
        self.net.watch(stream, source)
    }

    fn connect(&mut self, to: &Address) -> io::Result<Stream> {
        self.net.connect(to)
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<usize> {
        let wire = stream.end().wire;
        let result = self.net.read(stream, into);
        match result {
            Ok(0) => self.deeds.push((wire, Deed::ReadEnd)),
            Ok(n) => self.deeds.push((wire, Deed::Read(into[..n].to_vec()))),
            Err(_) => {}
        }
        self.failed(wire, result)
    }

    fn is_silent(&mut self, stream: &mut Stream) -> bool {
        self.deeds.push((stream.end().wire, Deed::Looked));
        self.net.is_silent(stream)
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        let wire = stream.end().wire;
        let result = self.net.write(stream, from);
        if let Ok(n) = result {
            self.deeds.push((wire, Deed::Wrote(from[..n].to_vec())));
        }
        self.failed(wire, result)
    }

    fn pipe(&mut self) -> io::Result<Pipe> {
        self.net.pipe()
    }

    fn splice_in(&mut self, from: &mut Stream, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        let (wire, before) = (from.end().wire, pipe.bytes.len());
        let result = self.net.splice_in(from, pipe, most);
        // That there is no such thing befalls no connection.
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidInput) {
            return result;
        }
        match result {
            Ok(0) => self.deeds.push((wire, Deed::ReadEnd)),
            Ok(_) => self.deeds.push((wire, Deed::Read(pipe.bytes[before..].to_vec()))),
            Err(_) => {}
        }
        self.failed(wire, result)
    }

    fn splice_out(&mut self, pipe: &mut Pipe, to: &mut Stream, most: usize) -> io::Result<usize> {
        let (wire, before) = (to.end().wire, pipe.bytes.clone());
        let result = self.net.splice_out(pipe, to, most);
        if let Ok(n) = result {
            self.deeds.push((wire, Deed::Wrote(before[..n].to_vec())));
        }
        self.failed(wire, result)
    }

    fn lay_up(&mut self, stream: &mut Stream, more: bool) {
        self.net.lay_up(stream, more);
    }

    fn shutdown_write(&mut self, stream: &mut Stream) {
        self.deeds.push((stream.end().wire, Deed::SentEnd));
        self.net.shutdown_write(stream);
    }

    fn abort(&mut self, stream: Stream) {
        self.deeds.push((stream.end().wire, Deed::Aborted));
        self.net.abort(stream);
    }
}

/// One end of a connection, in the hands of who plays the peer; to drop it is to close it.
#[derive(Debug)]
pub(crate) struct Peer(Stream);

impl Peer {
    /// The number of the wire, as the protocol has it.
    pub(crate) fn wire(&self) -> usize {
        self.0.end().wire
    }
}

/// What a peer's read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    Nothing,
    End,
    Reset,
}

/// What happens to those who connect to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Open,
    Refuses,
    RefusesLater,
    Hangs,
}

impl Entry {
    fn door(self) -> Door {
        match self {
            Entry::Open => Door::Open,
            Entry::Refuses => Door::Shut(ErrorKind::ConnectionRefused),
            Entry::RefusesLater => Door::ShutLater(ErrorKind::ConnectionRefused),
            Entry::Hangs => Door::Hangs,
        }
    }
}

/// An engine, its network and its clock.
pub(crate) struct Stage {
    engine: Engine<Tap>,
    tap: Tap,
    now: Ms,
    turn: u64,
    vain: u32,
    commanded: bool,
}

impl Stage {
    /// An engine with one listener, and a door for each of `endpoints`.
    pub(crate) fn new(setup: Setup, endpoints: &[Endpoint], seed: u64) -> Stage {
        let net = SimNet::new(Wires::new(Dice::new(seed, 1), 1, false));
        for endpoint in endpoints {
            net.wires().add_port(endpoint.address().clone(), Door::Open);
        }
        Stage {
            engine: Engine::new(setup, 1),
            tap: Tap { net, deeds: Vec::new() },
            now: Ms::ZERO,
            turn: 0,
            vain: 0,
            commanded: false,
        }
    }

    pub(crate) fn census(&self) -> Census {
        self.engine.census()
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.engine.stats()
    }

    /// Everything that the proxy did, in order, with the number of the wire.
    pub(crate) fn deeds(&self) -> &[(usize, Deed)] {
        &self.tap.deeds
    }

    pub(crate) fn dial(&mut self, from: IpAddr) -> Peer {
        Peer(self.tap.net.dial(0, from))
    }

    /// The next connection that came in at this door.
    pub(crate) fn accept(&mut self, door: usize) -> Option<Peer> {
        self.tap.net.accept_at_port(door).map(Peer)
    }

    pub(crate) fn set_entry(&mut self, door: usize, entry: Entry) {
        self.tap.net.wires().set_door(door, entry.door());
    }

    /// How many bytes of `from` the wire took, if it takes any at all any more.
    pub(crate) fn write(&mut self, peer: &mut Peer, from: &[u8]) -> Option<usize> {
        match self.tap.net.write(&mut peer.0, from) {
            Ok(n) => Some(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    pub(crate) fn read(&mut self, peer: &mut Peer, into: &mut [u8]) -> Got {
        match self.tap.net.read(&mut peer.0, into) {
            Ok(0) => Got::End,
            Ok(n) => Got::Bytes(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Got::Nothing,
            Err(_) => Got::Reset,
        }
    }

    /// Sends an end; reading goes on.
    pub(crate) fn finish(&mut self, peer: &mut Peer) {
        self.tap.net.shutdown_write(&mut peer.0);
    }

    /// Closes by RST.
    pub(crate) fn abort(&mut self, peer: Peer) {
        self.tap.net.abort(peer.0);
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.engine.command(command, self.now);
        self.commanded = true;
    }

    /// One turn, as the shell does it: things travel, all of them or some, and the proxy runs.
    /// Gives whether anything happened.
    pub(crate) fn turn(&mut self, all: bool) -> bool {
        self.turn += 1;
        let moved = {
            let mut wires = self.tap.net.wires();
            (wires.turn, wires.now) = (self.turn, self.now);
            wires.travel(all)
        };
        self.proxy(all) || moved
    }

    fn proxy(&mut self, all: bool) -> bool {
        let events: Vec<(Source, Ready)> = self.tap.net.wires().take_events(all);
        let due = self.engine.next_deadline().is_some_and(|at| at <= self.now);
        let called = std::mem::take(&mut self.commanded);
        if events.is_empty() && !due && !called && !self.engine.has_work() {
            return false;
        }
        let told = !events.is_empty();
        self.engine.tick(self.now);
        for (source, ready) in events {
            self.engine.note(source, ready);
        }
        let before = self.tap.deeds.len();
        self.tap.net.wires().proxy_acts = true;
        self.engine.run(&mut self.tap, self.now);
        self.tap.net.wires().proxy_acts = false;
        let did = self.tap.deeds.len() > before;
        let reason = told || due || called || did;
        self.vain = if reason { 0 } else { self.vain + 1 };
        assert!(self.vain <= VAIN_TURNS, "the engine spins: {VAIN_TURNS} turns of no work");
        let next = self.engine.next_deadline();
        let past = next.is_some_and(|at| at <= self.now) && !self.engine.has_work();
        assert!(!past, "a deadline in the past: {next:?} at {:?}", self.now);
        reason || self.engine.has_work()
    }

    /// When the proxy wants to be woken, in milliseconds from now.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.engine.next_deadline().map(|at| at.since(self.now))
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now + ms;
    }
}

#[cfg(test)]
mod tests;

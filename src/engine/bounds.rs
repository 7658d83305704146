//! What no peer can exceed, shown with clients that never run dry: the work of one turn, the
//! wake-ups that are kept, the memory that is lent. It knows no sockets: every read and every write
//! is made up.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};

use crate::balance::Balance;
use crate::buf::{Purpose, SMALL_BYTES};
use crate::config::Config;
use crate::endpoint::{Address, Endpoint};
use crate::keys::{Key, Source};
use crate::net::{Net, Ready};
use crate::registry::MemoryRegistry;
use crate::route::PathRouter;
use crate::time::Ms;

use super::client::Stage;
use super::{Command, Engine, Setup};

/// Reads give `begin` once to each client, and then `unit` for ever, or nothing if that is empty.
struct Made {
    clients: usize,
    begin: &'static [u8],
    unit: &'static [u8],
    takes: bool,
    /// Nothing can be read now.
    silent: bool,
    /// Connections to endpoints take bytes, too.
    stands: bool,
    watched: Vec<Source>,
    reads: usize,
    writes: usize,
    /// Those of them that our end follows, and ends.
    lasts: usize,
    ends: usize,
    connects: usize,
    /// So many connects fail at once.
    refused: usize,
}

/// How many bytes one of them has given.
#[derive(Default)]
struct Given(usize);

impl Net for Made {
    type Stream = Given;
    type Pipe = ();
    const PIPE_PAYS: u64 = u64::MAX;

    fn accept(&mut self, _: u32) -> io::Result<(Given, Option<IpAddr>)> {
        self.clients = self.clients.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
        Ok((Given::default(), Some(Ipv4Addr::LOCALHOST.into())))
    }

    fn hold(&mut self, _: u32) -> bool {
        false
    }

    fn unlisten(&mut self, _: u32) {}

    fn watch(&mut self, _: &mut Given, source: Source) -> io::Result<()> {
        self.watched.push(source);
        Ok(())
    }

    fn connect(&mut self, _: &Address) -> io::Result<Given> {
        self.connects += 1;
        if let Some(refused) = self.refused.checked_sub(1) {
            self.refused = refused;
            return Err(ErrorKind::ConnectionRefused.into());
        }
        // It neither takes a byte nor gives one.
        Ok(Given(usize::MAX))
    }

    fn read(&mut self, given: &mut Given, into: &mut [u8]) -> io::Result<usize> {
        if given.0 == usize::MAX || self.silent {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.reads += 1;
        let begin = self.begin.iter().skip(given.0);
        let rest = given.0.saturating_sub(self.begin.len());
        let units = self.unit.iter().cycle().skip(rest % self.unit.len().max(1));
        let mut count = 0;
        // An engine that reads without end shall fail here and not hang.
        let dry = self.reads > 100_000;
        for (to, from) in into.iter_mut().zip(begin.chain(units)).take_while(|_| !dry) {
            *to = *from;
            count += 1;
        }
        given.0 += count;
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn is_silent(&mut self, _: &mut Given) -> bool {
        true
    }

    fn write(&mut self, given: &mut Given, from: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if if given.0 == usize::MAX { self.stands } else { self.takes } {
            Ok(from.len())
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    fn write_last(&mut self, given: &mut Given, from: &[u8]) -> io::Result<usize> {
        self.lasts += 1;
        self.write(given, from)
    }

    fn pipe(&mut self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn splice_in(&mut self, _: &mut Given, (): &mut (), _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn splice_out(&mut self, (): &mut (), _: &mut Given, _: usize) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    fn lay_up(&mut self, _: &mut Given, _: bool) {}

    fn shutdown_write(&mut self, _: &mut Given) {
        self.ends += 1;
    }

    fn abort(&mut self, _: Given) {}
}

const REFUSED: &[u8] = b"GET /nobody/v1/ HTTP/1.1\r\nHost: t\r\n\r\n";

fn made(clients: usize, begin: &'static [u8], unit: &'static [u8]) -> (Made, Engine<Made>) {
    let net = Made {
        clients,
        begin,
        unit,
        takes: true,
        silent: false,
        stands: false,
        watched: Vec::new(),
        reads: 0,
        writes: 0,
        lasts: 0,
        ends: 0,
        connects: 0,
        refused: 0,
    };
    let setup = Setup {
        config: Config { memory_bytes: 1 << 20, slow_start: false, ..Config::default() },
        registry: Box::new(MemoryRegistry::default()),
        router: Box::new(PathRouter::default()),
        balance: Box::new(|_| Balance::Random.build()),
        hooks: None,
        seed: 1,
    };
    (net, Engine::new(setup, 1))
}

fn run(engine: &mut Engine<Made>, net: &mut Made, at: u64) {
    engine.note(Source::Listener(0), Ready::READ);
    engine.run(net, Ms(at));
}

/// B8.3: whatever a client sends, and as fast as it may come, a turn ends soon for the others.
#[test]
fn b8_3_a_turn_is_bounded() {
    let cases: [(&str, &[u8], &[u8]); 4] = [
        ("empty lines", b"", b"\r\n"),
        ("refused, one after the other", b"", REFUSED),
        ("a head without end", b"GET / HTTP/1.1\r\nX: ", b"x"),
        ("more behind a bad request", b"?\r\n\r\n", b"x"),
    ];
    for (what, begin, unit) in cases {
        let (mut net, mut engine) = made(20, begin, unit);
        for at in 1..5 {
            let before = (net.reads, net.writes);
            run(&mut engine, &mut net, at);
            let (reads, writes) = (net.reads - before.0, net.writes - before.1);
            // 256 KiB each in pieces of 3.5 KiB, twice for those who were just taken in; an answer
            // counts as 8 KiB.
            assert!(reads < 3_500 && writes <= 1_300, "{what}: {reads} reads, {writes} writes");
        }
    }
}

/// B8.3: a burst of requests that need new connections is spread over turns, and all are served.
#[test]
fn b8_3_a_turn_makes_few_connections() {
    let (mut net, mut engine) = made(100, b"GET /s/v1/ HTTP/1.1\r\nHost: t\r\n\r\n", b"");
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 1).into());
    engine.command(Command::Add { service: "s/v1".into(), endpoint }, Ms(1));
    net.silent = true;
    run(&mut engine, &mut net, 1);
    run(&mut engine, &mut net, 2);
    net.silent = false;
    for key in engine.clients.keys() {
        engine.note(Source::Client(key), Ready::READ);
    }
    run(&mut engine, &mut net, 3);
    assert_eq!((net.connects, engine.has_work()), (64, true));
    run(&mut engine, &mut net, 4);
    assert_eq!((net.connects, engine.in_flight()), (100, 100));
}

/// B8.3: who comes behind a burst does not stand behind all of it, those in line keep their order
/// whatever wakes them, and a turn in which much has happened makes fewer.
#[test]
fn b8_3_who_comes_behind_a_burst_is_connected_at_once() {
    let get = b"GET /s/v1/ HTTP/1.1\r\nHost: t\r\n\r\n";
    let (mut net, mut engine) = made(64, get, b"");
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 1).into());
    engine.command(Command::Add { service: "s/v1".into(), endpoint }, Ms(1));
    engine.narrow(64, 0);
    run(&mut engine, &mut net, 1);
    assert_eq!((net.connects, engine.has_work()), (16, true));
    // 48 stand in line; 64 more come while 12 of those are called, and 4 are left.
    net.clients = 64;
    run(&mut engine, &mut net, 2);
    assert_eq!(net.connects, 32);
    engine.narrow(64, 129);
    for key in engine.clients.keys() {
        engine.note(Source::Client(key), Ready::READ);
    }
    run(&mut engine, &mut net, 3);
    let is_linked = |key: &Key| match engine.clients.get(*key).map(|client| &client.stage) {
        Some(Stage::Busy(work)) => work.link.is_some(),
        _ => false,
    };
    assert!(engine.clients.keys()[..64].iter().all(is_linked), "somebody was overtaken");
    assert_eq!(net.connects, 80);
    for at in 4..6 {
        run(&mut engine, &mut net, at);
    }
    assert_eq!((net.connects, engine.in_flight()), (128, 128));
}

/// B8.3: who is called from the line and finds that its endpoint refuses, when no connect is left
/// in this turn, is called again in the next.
#[test]
fn b8_3_who_was_called_in_vain_stays_in_line() {
    let get = b"GET /s/v1/ HTTP/1.1\r\nHost: t\r\n\r\n";
    let (mut net, mut engine) = made(2, get, b"");
    for port in 1..3 {
        let endpoint = Endpoint::tcp(([127, 0, 0, 1], port).into());
        engine.command(Command::Add { service: "s/v1".into(), endpoint }, Ms(1));
    }
    engine.narrow(1, 2);
    run(&mut engine, &mut net, 1);
    assert_eq!((net.connects, engine.in_flight()), (1, 1));
    net.refused = 1;
    run(&mut engine, &mut net, 2);
    assert_eq!((net.connects, engine.in_flight(), engine.has_work()), (2, 1, true));
    run(&mut engine, &mut net, 3);
    assert_eq!((net.connects, engine.in_flight(), engine.has_work()), (3, 2, false));
}

/// B8.3: who is called from the line while an event has put it into the queue has one place there,
/// and no second share from then on.
#[test]
fn b8_3_who_is_called_has_one_place_in_the_queue() {
    let head = b"POST /s/v1/ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut net, mut engine) = made(2, head, b"1\r\nx\r\n");
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 1).into());
    engine.command(Command::Add { service: "s/v1".into(), endpoint }, Ms(1));
    engine.narrow(1, 99);
    net.stands = true;
    run(&mut engine, &mut net, 1);
    assert_eq!((net.connects, engine.line.called()), (1, 1));
    for at in 2..5 {
        for key in engine.clients.keys() {
            engine.note(Source::Client(key), Ready::READ);
        }
        run(&mut engine, &mut net, at);
        let mut places = engine.queue.clone();
        places.sort_by_key(|key| key.index());
        places.dedup();
        assert_eq!((places.len(), engine.queue.len()), (2, 2), "turn {at}");
    }
    assert_eq!(net.connects, 2);
}

/// B8.3: thousands who leave at once are closed over several turns, and who asks is served in the
/// first of them.
#[test]
fn b8_3_those_who_leave_do_not_hold_a_turn() {
    let (mut net, mut engine) = made(1_000, REFUSED, b"");
    net.silent = true;
    for at in 1..20 {
        run(&mut engine, &mut net, at);
    }
    net.silent = false;
    let keys = engine.clients.keys();
    assert_eq!(keys.len(), 1_000);
    let (leaving, asking) = keys.split_at(999);
    for &key in leaving {
        engine.note(Source::Client(key), Ready::READ.with(Ready::END).with(Ready::GONE));
    }
    for &key in asking {
        engine.note(Source::Client(key), Ready::READ);
    }
    run(&mut engine, &mut net, 20);
    assert_eq!((net.writes, engine.client_count(), engine.has_work()), (1, 1_000 - 64, true));
    for at in 21..36 {
        run(&mut engine, &mut net, at);
    }
    assert_eq!(engine.client_count(), 1);
}

/// B8.1: the end follows the last bytes of a connection in the same turn, for they are held back
/// for it; and on a connection that is kept nothing is held back.
#[test]
fn b8_1_what_is_held_back_for_the_end_is_followed_by_it() {
    let last = b"GET /nobody/v1/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    for (begin, takes, expected) in [
        (REFUSED, true, (1, 0, 0)),
        (last, true, (1, 1, 1)),
        // Not taken: it is tried again as the last, and the end waits for it.
        (last, false, (1, 1, 0)),
    ] {
        let (mut net, mut engine) = made(1, begin, b"");
        net.takes = takes;
        run(&mut engine, &mut net, 1);
        assert_eq!((net.writes, net.lasts, net.ends), expected, "{takes}");
    }
}

/// B8.3: what is kept for the next requests is a small part of the memory.
#[test]
fn b8_3_little_memory_is_kept() {
    let (mut net, mut engine) = made(60, b"GET /nobody/v1/ HTTP/1.1\r\nHos", b"");
    run(&mut engine, &mut net, 1);
    assert_eq!(engine.census().lent_bytes, 60 * SMALL_BYTES);
    for key in engine.clients.keys() {
        engine.drop_client(&mut net, key);
    }
    assert_eq!(engine.census().lent_bytes, 0);
    // Of 1 MiB, with a piece each.
    assert_eq!(engine.spare.len(), 16);
}

/// B8.3: a connection that is gone leaves no wake-up behind for as long as it might have stayed.
#[test]
fn b8_3_wake_ups_do_not_pile_up() {
    let (mut net, mut engine) = made(0, b"", b"");
    for at in 1..200 {
        net.clients = 64;
        run(&mut engine, &mut net, at);
        for key in engine.clients.keys() {
            engine.drop_client(&mut net, key);
        }
    }
    let timers = engine.census().timers;
    assert!(timers < 2_000, "{timers} wake-ups of nobody");
}

/// B9.5: who has more clients than another worker leaves newcomers to it, and takes a few in where
/// nobody else does; but where clients do not stay, nobody waits.
#[test]
fn b9_5_who_is_ahead_gives_way_unless_nobody_stays() {
    let stays = b"GET /nobody/v1/ HTTP/1.1\r\nHos";
    let (mut net, mut engine) = made(40, stays, b"");
    engine.compare(Some(0));
    let turns = [(1, 5, false), (1, 5, false), (2, 9, true), (2, 9, false), (3, 13, true)];
    for (at, clients, more) in turns {
        run(&mut engine, &mut net, at);
        assert_eq!((engine.client_count(), engine.has_work()), (clients, more), "at {at}");
    }
    let (mut net, mut engine) = made(40, stays, b"");
    run(&mut engine, &mut net, 1);
    for key in engine.clients.keys() {
        engine.drop_client(&mut net, key);
    }
    engine.compare(Some(0));
    net.clients = 30;
    run(&mut engine, &mut net, 50);
    assert_eq!(engine.client_count(), 30, "40 have left of late");
    net.clients = 30;
    run(&mut engine, &mut net, 400);
    assert_eq!(engine.client_count(), 30, "they stay");
}

/// B8.3: our own answers fit into the ceiling, even if nothing is left of it and nobody reads them.
#[test]
fn b8_3_own_answers_pass_no_ceiling() {
    let (mut net, mut engine) = made(64, b"GET /nobody/v1/ HTTP/1.1\r\nHos", b"");
    run(&mut engine, &mut net, 1);
    let rest = engine.bufs.left_bytes(Purpose::Answer);
    let held = engine.bufs.lend(rest, Purpose::Answer).unwrap_or_default();
    assert_eq!(held.len(), rest);
    net.takes = false;
    // The rest of each, and a second request, which is answered only if there is memory for it.
    net.begin = b"GET /nobody/v1/ HTTP/1.1\r\nHost: t\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n";
    for key in engine.clients.keys() {
        engine.note(Source::Client(key), Ready::READ);
    }
    run(&mut engine, &mut net, 2);
    assert_eq!(net.writes, 64, "all are answered");
    assert!(engine.bufs.lent_bytes() <= 1 << 20, "{} lent", engine.bufs.lent_bytes());
    engine.bufs.give_back(held);
}

/// B8.5: who waits for one answer is watched soon, if that does not come at once; after that has
/// happened, others are watched from the beginning.
#[test]
fn b8_5_who_waits_for_an_answer_is_watched_soon() {
    let asks = b"GET /s/v1/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let stays = b"GET /s/v1/ HTTP/1.1\r\nHost: t\r\n\r\n";
    let owes = b"PUT /s/v1/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 1\r\n\r\n";
    let clients = |net: &mut Made| {
        let watched = std::mem::take(&mut net.watched);
        watched.into_iter().filter(|source| matches!(source, Source::Client(_))).count()
    };
    let (mut net, mut engine) = made(3, asks, b"");
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 1).into());
    engine.command(Command::Add { service: "s/v1".into(), endpoint }, Ms(1));
    run(&mut engine, &mut net, 1);
    assert_eq!((net.connects, clients(&mut net)), (3, 3), "what they ask has not been sent on");
    net.stands = true;
    for (begin, why) in [(&stays[..], "they may ask for more"), (owes, "they owe a body")] {
        (net.clients, net.begin) = (3, begin);
        run(&mut engine, &mut net, 2);
        assert_eq!(clients(&mut net), 3, "{why}");
    }
    (net.clients, net.begin) = (3, asks);
    run(&mut engine, &mut net, 3);
    assert_eq!((clients(&mut net), engine.next_deadline()), (0, Some(Ms(13))));
    net.clients = 1;
    run(&mut engine, &mut net, 12);
    assert_eq!((clients(&mut net), engine.next_deadline()), (0, Some(Ms(13))));
    net.clients = 1;
    run(&mut engine, &mut net, 13);
    assert_eq!((clients(&mut net), engine.next_deadline()), (3, Some(Ms(22))));
    net.clients = 2;
    run(&mut engine, &mut net, 14);
    assert_eq!(clients(&mut net), 2, "answers are not quick here");
    run(&mut engine, &mut net, 23);
    assert_eq!(clients(&mut net), 2, "who came at 12 and 13");
    assert!(engine.next_deadline() > Some(Ms(100)), "of other things");
}

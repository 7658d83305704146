//! What needs the order of a turn to be seen: single scenes on the stage, with scripted peers.

use super::*;
use crate::balance::Balance;
use crate::config::{Config, ReuseUnsafe};
use crate::registry::{MemoryRegistry, Registry as _};
use crate::route::PathRouter;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Stage {
    fn settle(&mut self) {
        while self.turn(true) {}
    }

    fn says(&mut self, peer: &mut Peer, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let n = self.write(peer, rest).expect("it stands");
            rest = &rest[n..];
            self.settle();
        }
    }

    fn heard(&mut self, peer: &mut Peer) -> usize {
        let (mut space, mut all) = ([0; 4096], 0);
        while let Got::Bytes(n) = self.read(peer, &mut space) {
            all += n;
            self.settle();
        }
        all
    }
}

fn stage(seed: u64, config: Config) -> Stage {
    let endpoint = Endpoint::tcp(([127, 0, 0, 1], 1).into());
    let mut registry = MemoryRegistry::default();
    registry.add("*", endpoint.clone());
    let setup = Setup {
        config,
        registry: Box::new(registry),
        router: Box::new(PathRouter::default()),
        balance: Box::new(|_| Balance::Random.build()),
        hooks: None,
        seed,
    };
    Stage::new(setup, &[endpoint], seed)
}

/// B4.3: a used connection that has died since the last events is seen before a POST goes over
/// it, and counts no longer as in flight.
#[test]
fn b4_3_the_last_look_leaves_nothing_behind() {
    let config = Config { reuse_unsafe: ReuseUnsafe::Always, ..Config::default() };
    let answer = ANSWER;
    let mut anew = 0;
    for seed in 0..50 {
        let mut stage = stage(seed, config.clone());
        let mut client = stage.dial([10, 0, 0, 1].into());
        stage.says(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut first = stage.accept(0).expect("a connection");
        stage.heard(&mut first);
        stage.says(&mut first, answer);
        assert!(stage.heard(&mut client) > 0 && stage.engine.census().idle == 1);
        stage.says(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r");
        // The two arrive in any order, and may be told of in another.
        stage.finish(&mut first);
        assert_eq!(stage.write(&mut client, b"\n"), Some(1));
        (0..50).for_each(|_| while stage.turn(false) {});
        stage.settle();
        if let Some(mut second) = stage.accept(0) {
            assert_eq!(stage.engine.in_flight(), 1);
            stage.heard(&mut second);
            stage.says(&mut second, answer);
            anew += 1;
        }
        assert!(stage.heard(&mut client) > 0, "seed {seed}");
        assert_eq!(stage.engine.in_flight(), 0, "seed {seed}");
    }
    assert!(anew > 20, "{anew}");
}

/// Whether every read came before the first write (`Some(true)`), or each read was followed by
/// its write (`Some(false)`).
fn in_passes(deeds: &[(usize, Deed)]) -> Option<bool> {
    let reads = |deed: &(usize, Deed)| matches!(deed.1, Deed::Read(_));
    let together = deeds.iter().skip_while(|deed| reads(deed)).all(|deed| !reads(deed));
    let in_turns = deeds.chunks(2).all(|two| reads(&two[0]) && !reads(&two[1]));
    (together != in_turns).then_some(together)
}

/// B8.1: what many clients read in a turn is written in it, after all have read; where they are
/// few, nobody waits for another one.
#[test]
fn b8_1_many_read_before_any_writes() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = ANSWER;
    let mut seen = [0, 0];
    for seed in 0..100 {
        let count = if seed % 2 == 0 { 6 } else { 3 };
        let mut stage = stage(seed, Config { slow_start: false, ..Config::default() });
        let mut clients: Vec<_> = (0..count).map(|_| stage.dial([10, 0, 0, 1].into())).collect();
        clients.iter_mut().for_each(|client| stage.says(client, request));
        let mut backends: Vec<_> = std::iter::from_fn(|| stage.accept(0)).collect();
        for round in 0..2 {
            backends.iter_mut().for_each(|backend| {
                stage.heard(backend);
            });
            let told: Vec<_> = backends.iter_mut().map(|b| stage.write(b, answer)).collect();
            let before = stage.deeds().len();
            stage.turn(true);
            if told.iter().any(|n| *n != Some(answer.len())) {
                break;
            }
            let deeds = &stage.deeds()[before..];
            if round == 1 && deeds.len() == 2 * count {
                assert_eq!(in_passes(deeds), Some(count == 6), "answers, seed {seed}");
                seen[0] += 1;
            }
            stage.settle();
            clients.iter_mut().for_each(|client| {
                stage.heard(client);
            });
            let said: Vec<_> = clients.iter_mut().map(|c| stage.write(c, request)).collect();
            let before = stage.deeds().len();
            stage.turn(true);
            let deeds = &stage.deeds()[before..];
            if said.iter().any(|n| *n != Some(request.len())) || deeds.len() != 2 * count {
                break;
            }
            assert_eq!(in_passes(deeds), Some(count == 6), "requests, seed {seed}");
            seen[1] += 1;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 10, "{seen:?}");
}

/// B7.8, B8.4: a stall begins when there are bytes to take, not with the last byte before a
/// long silence.
#[test]
fn b8_4_a_silent_tunnel_is_not_stalled_at_once() {
    for seed in 0..20 {
        let mut stage = stage(seed, Config::default());
        let mut client = stage.dial([10, 0, 0, 1].into());
        let asked = "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}");
        stage.says(&mut client, request.as_bytes());
        let mut backend = stage.accept(0).expect("a connection");
        stage.heard(&mut backend);
        stage.says(&mut backend, format!("HTTP/1.1 101 Yes\r\n{asked}").as_bytes());
        stage.heard(&mut client);
        // Exactly as much as lies between the proxy and a client that does not read.
        let room = {
            let wires = stage.tap.net.wires();
            let lane = &wires.wires[client.wire()].lanes[0];
            lane.send_room + lane.receive_room
        };
        stage.says(&mut backend, &vec![b'x'; room]);
        stage.pass(40_000);
        stage.settle();
        stage.says(&mut backend, b"y");
        assert_eq!(stage.heard(&mut client), room + 1, "seed {seed}");
    }
}

/// B8.1, B4.5: who is called from the waiting room in a turn with many clients is served in it, for
/// no event will come.
#[test]
fn b8_1_who_is_called_writes_in_the_same_turn() {
    let (request, answer) = (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], ANSWER);
    let mut seen = 0;
    for seed in 0..50 {
        let config = Config { max_inflight: 1, ..Config::default() };
        let mut stage = stage(seed, config);
        let mut clients: Vec<_> = (0..6).map(|_| stage.dial([10, 0, 0, 1].into())).collect();
        clients.iter_mut().take(2).for_each(|client| stage.says(client, request));
        let mut backend = stage.accept(0).expect("a connection");
        stage.heard(&mut backend);
        assert_eq!(stage.census().waiting, 1);
        let told = stage.write(&mut backend, answer);
        let said: Vec<_> =
            clients.iter_mut().skip(2).map(|client| stage.write(client, request)).collect();
        if told != Some(answer.len()) || said.iter().any(|n| *n != Some(request.len())) {
            continue;
        }
        let before = stage.deeds().len();
        stage.turn(true);
        let wrote = |(wire, deed): &(usize, Deed)| {
            *wire == backend.wire() && matches!(deed, Deed::Wrote(_))
        };
        assert!(stage.deeds()[before..].iter().any(wrote), "seed {seed}");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

/// B8.5: a new client whose request was written with those of others goes away: that is noticed.
#[test]
fn b8_5_a_new_client_among_many_is_watched() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut seen = 0;
    for seed in 0..50 {
        let mut stage = stage(seed, Config { slow_start: false, ..Config::default() });
        let mut clients: Vec<_> = (0..6).map(|_| stage.dial([10, 0, 0, 1].into())).collect();
        clients.iter_mut().for_each(|client| stage.says(client, request));
        let mut backends: Vec<_> = std::iter::from_fn(|| stage.accept(0)).collect();
        for backend in &mut backends {
            stage.heard(backend);
            stage.says(backend, ANSWER);
        }
        clients.iter_mut().for_each(|client| {
            stage.heard(client);
        });
        let mut newcomer = stage.dial([10, 0, 0, 2].into());
        let said = stage.write(&mut newcomer, request);
        clients.iter_mut().take(5).for_each(|client| {
            stage.write(client, request);
        });
        let (accepted, before) = (stage.stats().accepted, stage.deeds().len());
        stage.settle();
        let asked = stage.stats().accepted - accepted;
        let whole = Deed::Read(request.to_vec());
        let read = stage.deeds()[before..].contains(&(newcomer.wire(), whole));
        if said != Some(request.len()) || asked != 6 || !read {
            continue;
        }
        stage.abort(newcomer);
        stage.settle();
        assert_eq!(stage.census().clients, 6, "seed {seed}");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

/// B4.6, B8.4: the rest of an answer has all the time that its beginning had, however long it took
/// to find who could give it.
#[test]
fn b8_4_the_rest_of_an_answer_is_waited_for_anew() {
    for seed in 0..20 {
        let config = Config { response_idle_ms: 1_000, ..Config::default() };
        let mut stage = stage(seed, config);
        let mut client = stage.dial([10, 0, 0, 1].into());
        stage.says(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut first = stage.accept(0).expect("a connection");
        stage.heard(&mut first);
        let head = b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n\
                     Content-Length: 200\r\n\r\n";
        stage.says(&mut first, head);
        stage.says(&mut first, &[b'x'; 100]);
        assert_eq!(stage.heard(&mut client), head.len() + 100);
        stage.set_entry(0, Entry::Refuses);
        stage.finish(&mut first);
        stage.settle();
        for _ in 0..40 {
            stage.pass(50);
            stage.settle();
        }
        stage.set_entry(0, Entry::Open);
        let mut second = (0..40)
            .find_map(|_| {
                stage.pass(50);
                stage.settle();
                stage.accept(0)
            })
            .expect("a second connection");
        stage.heard(&mut second);
        stage.pass(900);
        stage.settle();
        let rest = b"HTTP/1.1 206 Rest\r\nETag: \"a\"\r\nContent-Length: 100\r\n\
                     Content-Range: bytes 100-199/200\r\n\r\n";
        stage.says(&mut second, rest);
        stage.says(&mut second, &[b'y'; 100]);
        assert_eq!(stage.heard(&mut client), 100, "seed {seed}");
    }
}

/// B4.3: between the last look at a connection and a POST that goes over it, nobody else is served.
#[test]
fn b4_3_a_post_follows_upon_the_last_look() {
    let config =
        Config { reuse_unsafe: ReuseUnsafe::Always, slow_start: false, ..Config::default() };
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let mut looks = 0;
    for seed in 0..50 {
        let mut stage = stage(seed, config.clone());
        let mut clients: Vec<_> = (0..6).map(|_| stage.dial([10, 0, 0, 1].into())).collect();
        clients.iter_mut().for_each(|client| stage.says(client, request));
        let mut backends: Vec<_> = std::iter::from_fn(|| stage.accept(0)).collect();
        for backend in &mut backends {
            stage.heard(backend);
            stage.says(backend, ANSWER);
        }
        for client in &mut clients {
            stage.heard(client);
            stage.write(client, &post[..post.len() - 1]);
        }
        stage.settle();
        for client in &mut clients {
            stage.write(client, &post[post.len() - 1..]);
        }
        let before = stage.deeds().len();
        stage.settle();
        for two in stage.deeds()[before..].windows(2).filter(|two| two[0].1 == Deed::Looked) {
            let follows = two[1].0 == two[0].0 && matches!(two[1].1, Deed::Wrote(_));
            assert!(follows, "seed {seed}: {two:?}");
            looks += 1;
        }
    }
    assert!(looks > 60, "{looks}");
}

/// B8.1: who writes in the third pass does so as soon as somebody has moved all that he may in this
/// turn: what left at the end of a long one would be answered in the turn after the next.
#[test]
fn b8_1_nobody_writes_behind_those_who_move_much() {
    let config =
        Config { reuse_unsafe: ReuseUnsafe::Always, slow_start: false, ..Config::default() };
    let warm = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // Answered by ourselves, each as dear as 8 KiB of payload.
    let much = b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n".repeat(40);
    let texts: [&[u8]; 4] = [
        b"GET /get HTTP/1.1\r\nHost: a\r\n\r\n",
        &much,
        b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut seen = 0;
    for seed in 0..200 {
        let mut stage = stage(seed, config.clone());
        let mut clients: Vec<_> = (0..4).map(|_| stage.dial([10, 0, 0, 1].into())).collect();
        clients.iter_mut().for_each(|client| stage.says(client, warm));
        let mut backends: Vec<_> = std::iter::from_fn(|| stage.accept(0)).collect();
        for backend in &mut backends {
            stage.heard(backend);
            stage.says(backend, ANSWER);
        }
        clients.iter_mut().for_each(|client| {
            stage.heard(client);
        });
        let said = clients.iter_mut().zip(texts).map(|(c, text)| stage.write(c, text));
        if said.collect::<Vec<_>>() != texts.map(|text| Some(text.len())) {
            continue;
        }
        let before = stage.deeds().len();
        stage.turn(true);
        let deeds = &stage.deeds()[before..];
        let at = |word: &str, reads: bool| {
            deeds.iter().position(|(_, deed)| match deed {
                Deed::Read(bytes) if reads => bytes.starts_with(word.as_bytes()),
                Deed::Wrote(bytes) if !reads => bytes.starts_with(word.as_bytes()),
                _ => false,
            })
        };
        let order = ["GET /get", "OPTIONS", "POST /post"].map(|word| at(word, true));
        let is_answer = |(_, deed): &&(usize, Deed)| match deed {
            Deed::Wrote(bytes) => bytes.ends_with(b"as it may.\n"),
            _ => false,
        };
        let answers = deeds.iter().filter(is_answer).count();
        if order.contains(&None) || !order.is_sorted() || answers < 32 {
            continue;
        }
        let (get, post) = (at("GET /get", false), at("POST /post", false));
        assert!(get.is_some() && get < post, "seed {seed}: {get:?}, {post:?}");
        seen += 1;
    }
    assert!(seen > 5, "{seen}");
}

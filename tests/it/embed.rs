//! B10.1, B10.2: the library inside somebody else's program: its own thread, its own turns, a
//! foreign loop, and hooks.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pointsman::{
    Answer, Decision, Edit, Endpoint, Hooks, MemoryRegistry, Outcome, Proxy, Registry, RequestHead,
    ResponseHead, Summary,
};

use crate::harness::{Origin, eventually};
use crate::story::Running;
use crate::wire::{PATIENCE, Wire};

/// A proxy with one service, `s/v1`, and these hooks.
fn build(endpoint: std::net::SocketAddr, hooks: Recorder) -> Proxy {
    let mut registry = MemoryRegistry::default();
    registry.add("s/v1", Endpoint::tcp(endpoint));
    let listen = "127.0.0.1:0".parse().expect("listen");
    Proxy::builder().listen(listen).registry(registry).hooks(hooks).seed(1).build().expect("build")
}

/// `run()` on a thread until a handle from elsewhere stops it; other clones of the handle are
/// harmless then.
#[test]
fn b10_1_run_and_stop() {
    let origin = Origin::polite();
    let addr = origin.addr;
    let proxy = Running::start(move || build(addr, Recorder::default()));
    let mut client = proxy.client();
    assert_eq!(client.get("/s/v1/x").status(), 200);
    let (handle, addr) = (proxy.handle.clone(), proxy.addr);
    let clones: Vec<_> = (0..4).map(|_| handle.clone()).collect();
    let threads: Vec<_> = clones
        .into_iter()
        .enumerate()
        .map(|(n, handle)| {
            std::thread::spawn(move || {
                for i in 0..50 {
                    let endpoint = Endpoint::unix(format!("/nowhere/{n}/{i}"));
                    handle.add("other/v1", endpoint.clone());
                    handle.delete("other/v1", &endpoint);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().expect("a thread"));
    eventually("all is deleted again", || client.get("/other/v1/x").status() == 503);
    drop(proxy);
    handle.add("s/v1", Endpoint::tcp(addr));
    handle.stop();
    assert!(std::net::TcpStream::connect(addr).is_err(), "it listens no more");
}

/// One turn at a time, with a timeout of the caller's choice.
#[test]
fn b10_1_turn_by_turn() {
    let origin = Origin::polite();
    let mut proxy = build(origin.addr, Recorder::default());
    let addr = proxy.addresses()[0].to_string().parse().expect("an address");
    // Nothing to do: the turn ends by its timeout.
    assert!(proxy.turn(Some(Duration::ZERO)).expect("a turn"));
    let client = std::thread::spawn(move || {
        let mut client = Wire::connect(addr);
        (0..20).map(|_| client.get("/s/v1/x").status()).collect::<Vec<_>>()
    });
    let begun = Instant::now();
    while !client.is_finished() {
        assert!(proxy.turn(Some(Duration::from_millis(20))).expect("a turn"));
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(client.join().expect("the client"), [200; 20]);
    proxy.handle().stop();
    while proxy.turn(Some(Duration::from_millis(20))).expect("a turn") {
        assert!(begun.elapsed() < PATIENCE, "stop() ends the turns");
    }
}

/// Inside a foreign mio loop that waits for the proxy's descriptor and its timeout.
#[test]
fn b10_1_a_foreign_loop() {
    let origin = Origin::polite();
    let mut proxy = build(origin.addr, Recorder::default());
    let addr = proxy.addresses()[0].to_string().parse().expect("an address");
    let (mut poll, mut events) = (mio::Poll::new().unwrap(), mio::Events::with_capacity(8));
    let fd = proxy.as_raw_fd();
    let mut source = mio::unix::SourceFd(&fd);
    poll.registry().register(&mut source, mio::Token(7), mio::Interest::READABLE).unwrap();
    let client = std::thread::spawn(move || {
        let mut client = Wire::connect(addr);
        (0..200).map(|_| client.get("/s/v1/x").status()).collect::<Vec<_>>()
    });
    let begun = Instant::now();
    while !client.is_finished() {
        let wait = proxy.timeout().unwrap_or(PATIENCE).min(Duration::from_millis(500));
        poll.poll(&mut events, Some(wait)).unwrap();
        assert!(proxy.turn(Some(Duration::ZERO)).expect("a turn"));
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(client.join().expect("the client"), [200; 200]);
}

/// Hooks that write down what they see, add a field both ways, and answer `/s/v1/here`.
#[derive(Default)]
struct Recorder {
    told: Option<Mutex<Sender<String>>>,
    answered: Arc<AtomicBool>,
}

impl Recorder {
    fn tell(&self, what: String) {
        if let Some(told) = &self.told {
            let _ = told.lock().unwrap().send(what);
        }
    }
}

impl Hooks for Recorder {
    fn request(&mut self, head: &RequestHead<'_>, edit: &mut Edit) -> Decision {
        assert!(edit.add_field("X-Hook", "request"));
        assert!(!edit.add_field("X-Bad", "a\r\nX-Smuggled: b"), "a value cannot break out");
        assert!(!edit.add_field("Content-Length", "7"), "framing is not a hook's");
        edit.remove_field("X-Secret");
        if head.path() == b"/s/v1/here" {
            return Decision::Answer(Answer::new(418, "made here"));
        }
        Decision::Forward
    }

    fn response(&mut self, head: &ResponseHead<'_>, edit: &mut Edit) {
        edit.add_field("X-Hook", &format!("response {}", head.status()));
        edit.remove_field("Server");
    }

    fn own_answer(&mut self, answer: &mut Answer) {
        answer.add_field("X-Own", &answer.status().to_string());
        self.answered.store(true, Ordering::SeqCst);
    }

    fn finished(&mut self, summary: &Summary<'_>) {
        let outcome = match summary.outcome {
            Outcome::Answered => "answered".to_string(),
            Outcome::ClientGone => "gone".to_string(),
            Outcome::Refused(reason) => format!("refused {}", reason.word()),
            Outcome::Cut(reason) => format!("cut {}", reason.word()),
        };
        let (service, status, attempts) = (summary.service, summary.status, summary.attempts);
        assert!(summary.ended >= summary.begun && summary.client.is_some());
        self.tell(format!("{service} {status} {attempts} {outcome}"));
    }
}

/// Fields added cannot be named away by the client (peers.md (b) 51), fields removed are gone,
/// own answers pass the hook, and every exchange is told once when it ends.
#[test]
fn b10_2_hooks() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nServer: s\r\nX-Keep: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let (told, heard) = channel();
    let answered = Arc::new(AtomicBool::new(false));
    let hooks = Recorder { told: Some(Mutex::new(told)), answered: Arc::clone(&answered) };
    let addr = origin.addr;
    let proxy = Running::start(move || build(addr, hooks));
    let mut client = proxy.client();

    let request =
        "GET /s/v1/x HTTP/1.1\r\nHost: t\r\nX-Secret: s\r\nX-Open: o\r\nConnection: X-Hook\r\n\r\n";
    let answer = client.ask(request);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.fields("X-Hook"), ["response 200"]);
    assert_eq!((answer.field("Server"), answer.fields("X-Keep").len()), (None, 1));
    let seen = origin.last();
    assert_eq!(seen.fields("X-Hook"), ["request"], "{}", seen.head_text());
    assert_eq!((seen.fields("X-Secret").len(), seen.fields("X-Open").len()), (0, 1));
    assert_eq!(heard.recv_timeout(PATIENCE).expect("told"), "s/v1 200 1 answered");
    assert!(!answered.load(Ordering::SeqCst));

    let answer = client.get("/s/v1/here");
    assert_eq!((answer.status(), answer.text().as_str()), (418, "made here"));
    assert_eq!(answer.fields("X-Own"), ["418"]);
    assert_eq!(origin.requests().len(), 1, "the endpoint was not asked");
    let said = heard.recv_timeout(PATIENCE).expect("told");
    assert!(said.ends_with(" 418 0 refused hook"), "{said}");

    let answer = client.get("/none/v1/x");
    assert_eq!((answer.status(), answer.fields("X-Own")), (404, vec!["404".into()]));
    assert!(heard.recv_timeout(PATIENCE).expect("told").ends_with(" 404 0 refused not_found"));
}

/// A client that leaves while its request is with the endpoint is told as gone (B8.5).
#[test]
fn b10_2_a_client_that_leaves_is_told_as_gone() {
    let origin = Origin::scripted(|wire| {
        let _ = wire.head();
        let _ = wire.rest();
    });
    let (told, heard) = channel();
    let hooks = Recorder { told: Some(Mutex::new(told)), ..Recorder::default() };
    let addr = origin.addr;
    let proxy = Running::start(move || build(addr, hooks));
    let mut client = proxy.client();
    client.send("GET /s/v1/x HTTP/1.1\r\nHost: t\r\n\r\n");
    eventually("the endpoint is asked", || origin.connections() == 1);
    std::thread::sleep(Duration::from_millis(100));
    client.reset_on_close();
    drop(client);
    let said = heard.recv_timeout(PATIENCE).expect("told");
    assert!(said.starts_with("s/v1 ") && said.ends_with(" 1 gone"), "{said}");
}

/// B1.5, B10.2: building fails with one clear line that names the address.
#[test]
fn b10_2_a_build_error_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let built = Proxy::builder()
        .listen(addr.parse().expect("listen"))
        .registry(MemoryRegistry::default())
        .build();
    let Err(error) = built else { panic!("two listeners on {addr}") };
    let text = error.to_string();
    assert!(text.contains(&addr) && text.contains("in use") && !text.contains('\n'), "{text}");
}

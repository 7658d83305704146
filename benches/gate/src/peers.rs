//! The two peers of the proxy: clients and origin, on sockets that never block, in the same thread.
//!
//! They check what they get and fail loudly: what is counted must be what was asked. They do not
//! know the proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::scenarios::Scenario;

/// How long to look for what may still be on its way through the kernel.
const GRACE: Duration = Duration::from_millis(1);
/// How often to look, a millisecond each, for room in a socket that takes what is small.
const PATIENCE: usize = 10_000;

/// One end of a connection and what has come of a message.
struct End {
    stream: TcpStream,
    seen: Vec<u8>,
    /// Whether the other side has said that it is done.
    ended: bool,
}

struct Client {
    end: Option<End>,
    answered: bool,
}

pub(crate) struct Peers {
    scenario: Scenario,
    proxy: SocketAddr,
    poll: Poll,
    events: Events,
    listeners: Vec<TcpListener>,
    clients: Vec<Client>,
    origins: Vec<Option<End>>,
    answer: Vec<u8>,
    request_body: Vec<u8>,
    answer_body: Vec<u8>,
    space: Vec<u8>,
}

impl Peers {
    /// An origin that listens on as many ports as the scenario has endpoints. Gives where.
    pub(crate) fn new(scenario: Scenario) -> (Peers, Vec<SocketAddr>) {
        let poll = Poll::new().expect("a poll");
        let (mut listeners, mut at) = (Vec::new(), Vec::new());
        for number in 0..scenario.endpoints {
            let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut listener = TcpListener::bind(free).expect("a port, and a descriptor for it");
            let token = Token(number);
            poll.registry().register(&mut listener, token, Interest::READABLE).expect("watched");
            at.push(listener.local_addr().expect("bound"));
            listeners.push(listener);
        }
        let clients = (0..scenario.clients).map(|_| Client { end: None, answered: true });
        let peers = Peers {
            scenario,
            proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            poll,
            events: Events::with_capacity(1024),
            listeners,
            clients: clients.collect(),
            origins: Vec::new(),
            answer: scenario.answer(),
            request_body: scenario.body(),
            answer_body: scenario.answer_body(),
            space: vec![0; 65_536],
        };
        (peers, at)
    }

    /// Where the clients will find the proxy.
    pub(crate) fn meet(&mut self, proxy: SocketAddr) {
        self.proxy = proxy;
    }

    /// Every client writes its request; `warming` is a GET with the body of nothing.
    pub(crate) fn ask(&mut self, warming: bool) {
        let plain = Scenario { body_bytes: 0, ..self.scenario };
        self.request_body = if warming { plain.body() } else { self.scenario.body() };
        for number in 0..self.clients.len() {
            let scenario = &self.scenario;
            let request = if warming { scenario.warming(number) } else { scenario.request(number) };
            if self.clients[number].end.is_none() {
                self.clients[number].end = Some(self.connect(number));
            }
            let client = &mut self.clients[number];
            client.answered = false;
            let end = client.end.as_mut().expect("connected");
            send(&mut end.stream, &request);
        }
    }

    pub(crate) fn all_are_answered(&self) -> bool {
        self.clients.iter().all(|client| client.answered)
    }

    /// Deals with everything that has come, until nothing more comes.
    pub(crate) fn settle(&mut self) {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut grace = GRACE;
        loop {
            match self.poll.poll(&mut events, Some(grace)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.expect("a poll"),
            }
            if events.is_empty() {
                break;
            }
            for event in &events {
                self.handle(event.token().0);
            }
            grace = if self.all_are_answered() { Duration::ZERO } else { GRACE };
        }
        self.events = events;
    }

    fn handle(&mut self, token: usize) {
        let (listeners, clients) = (self.listeners.len(), self.clients.len());
        if token < listeners {
            self.accept(token);
        } else if token < listeners + clients {
            self.read_answer(token - listeners);
        } else {
            self.read_request(token - listeners - clients);
        }
    }

    fn connect(&mut self, number: usize) -> End {
        // A blocking connect: on this machine it is done at once.
        let stream = std::net::TcpStream::connect(self.proxy).expect("the proxy listens");
        stream.set_nonblocking(true).expect("non-blocking");
        stream.set_nodelay(true).expect("no delay");
        self.watch(TcpStream::from_std(stream), self.listeners.len() + number)
    }

    fn watch(&mut self, mut stream: TcpStream, token: usize) -> End {
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(token), Interest::READABLE).expect("watched");
        End { stream, seen: Vec::with_capacity(32_768), ended: false }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("accept: {error}"),
            };
            stream.set_nodelay(true).expect("no delay");
            let number = self.origins.len();
            let token = self.listeners.len() + self.clients.len() + number;
            let end = self.watch(stream, token);
            self.origins.push(Some(end));
            self.read_request(number);
        }
    }

    fn read_request(&mut self, number: usize) {
        let Some(Some(end)) = self.origins.get_mut(number) else { return };
        read(end, &mut self.space);
        if let Some(head) = whole_head(&end.seen, &self.request_body) {
            assert!(self.scenario.is_asked(head), "the origin: {}", show(&end.seen));
            end.seen.clear();
            send(&mut end.stream, &self.answer);
        }
        if end.ended {
            self.origins[number] = None;
        }
    }

    fn read_answer(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(end) = client.end.as_mut() else { return };
        read(end, &mut self.space);
        let close = self.scenario.close;
        if let Some(head) = whole_head(&end.seen, &self.answer_body) {
            assert!(head.starts_with(b"HTTP/1.1 200 "), "the client: {}", show(&end.seen));
            if end.ended == close {
                end.seen.clear();
                client.answered = true;
            }
        }
        assert!(!end.ended || close && client.answered, "the client lost its connection");
        if end.ended {
            client.end = None;
        }
    }
}

/// The head, if it is whole and `body` stands behind it and nothing else.
fn whole_head<'a>(seen: &'a [u8], body: &[u8]) -> Option<&'a [u8]> {
    let at = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let (head, behind) = seen.split_at(at);
    if behind.len() < body.len() {
        return None;
    }
    assert!(behind == body, "not the body that was sent: {}", show(seen));
    Some(head)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}

fn read(end: &mut End, space: &mut [u8]) {
    loop {
        match end.stream.read(space) {
            Ok(0) => {
                end.ended = true;
                return;
            }
            Ok(n) => end.seen.extend_from_slice(&space[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("read: {error}"),
        }
    }
}

fn send(stream: &mut TcpStream, mut bytes: &[u8]) {
    for _ in 0..PATIENCE {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(GRACE),
            Err(error) => panic!("write: {error}"),
        }
        if bytes.is_empty() {
            return;
        }
    }
    panic!("a peer does not take what is small");
}

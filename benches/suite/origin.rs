//! The origin: `suite origin COUNT` listens on so many ports and prints them.
//!
//! One thread, one loop. `/b/N` is answered with N bytes of the pattern, `/f/N` the same if all
//! fields of a browser have arrived, `/u/N` with two bytes if N bytes of body have. What is wrong
//! is answered with 400. It does not know who asks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::browser;
use crate::wire::{Framing, Known, Meta, Outgoing, Reader, bad};

const READ: usize = 262_144;
const BACKLOG: i32 = 4096;
const FIELDS: usize = 128;

struct Connection {
    stream: TcpStream,
    reader: Reader,
    /// The answer under way, and how much of it is written.
    out: Option<(usize, usize)>,
    close: bool,
}

/// Every answer that was ever asked for.
struct Answers {
    /// By the target that asks for it.
    ready: Vec<(String, Outgoing)>,
}

struct Origin {
    poll: Poll,
    connections: Slab<Connection>,
    listeners: Vec<TcpListener>,
    answers: Answers,
    known: Known,
    space: Vec<u8>,
}

pub(crate) fn main(args: &[String]) -> io::Result<()> {
    let count = args.first().and_then(|count| count.parse().ok()).unwrap_or(1);
    let poll = Poll::new()?;
    let mut listeners = Vec::new();
    let mut ports = Vec::new();
    for index in 0..count {
        let mut listener = listen()?;
        ports.push(listener.local_addr()?.port().to_string());
        poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
        listeners.push(listener);
    }
    println!("{}", ports.join(" "));
    let answers = Answers { ready: Vec::new() };
    let (connections, known, space) = (Slab::new(), Known::default(), vec![0; READ]);
    Origin { poll, connections, listeners, answers, known, space }.run()
}

/// The options of a listener are inherited by what it accepts.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Origin {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let Token(token) = event.token();
                if token < self.listeners.len() {
                    self.accept(token)?;
                    continue;
                }
                let key = token - self.listeners.len();
                let read = event.is_readable() || event.is_read_closed();
                if !self.serve(key, read, event.is_read_closed()) {
                    self.connections.try_remove(key);
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let mut stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Gone already, or out of descriptors: the next event tries again.
                Err(_) => return Ok(()),
            };
            let entry = self.connections.vacant_entry();
            let token = Token(self.listeners.len() + entry.key());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both)?;
            entry.insert(Connection { stream, reader: Reader::new(), out: None, close: false });
        }
    }

    /// False if the connection is at its end.
    fn serve(&mut self, key: usize, readable: bool, closed: bool) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return true };
        if !connection.write(&self.answers) {
            return false;
        }
        if !readable {
            return true;
        }
        loop {
            let n = match connection.stream.read(&mut self.space) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            let answers = &mut self.answers;
            let mut judge = |head: &[u8]| answers.judge(head);
            match connection.reader.feed(&self.space[..n], &mut self.known, &mut judge) {
                Ok(None) => {}
                Ok(Some(meta)) => {
                    connection.out = Some((meta.tag, 0));
                    connection.close = meta.close;
                }
                Err(error) => {
                    connection.out = Some((self.answers.refusal(&error), 0));
                    connection.close = true;
                }
            }
            if !connection.write(&self.answers) {
                return false;
            }
            // A short read has emptied the socket, unless the end is already there.
            if n < self.space.len() && !closed {
                return true;
            }
        }
    }
}

impl Connection {
    /// False if the connection is at its end.
    fn write(&mut self, answers: &Answers) -> bool {
        while let Some((answer, at)) = self.out {
            let outgoing = &answers.ready[answer].1;
            match self.stream.write(outgoing.piece(at)) {
                Ok(n) if at + n < outgoing.len() => self.out = Some((answer, at + n)),
                Ok(_) => self.out = None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            if self.out.is_none() && self.close {
                return false;
            }
        }
        true
    }
}

impl Answers {
    fn judge(&mut self, head: &[u8]) -> io::Result<Meta> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(head).map_err(|_| bad("not a request"))?;
        if parsed.is_partial() {
            return Err(bad("not a request"));
        }
        let target = request.path.unwrap_or_default().to_owned();
        let mut framing = Framing::Length(0);
        let mut close = request.version == Some(0);
        for field in &*request.headers {
            let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let length = value.trim().parse().map_err(|_| bad("not a length"))?;
                    framing = Framing::Length(length);
                }
                "transfer-encoding" => framing = Framing::Chunked,
                "connection" => close |= value.trim() == "close",
                _ => {}
            }
        }
        let (kind, number) = target
            .strip_prefix('/')
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| bad("not a target of ours"))?;
        let number: u64 = number.parse().map_err(|_| bad("not a number in the target"))?;
        let (length, expected) = match kind {
            "b" => (number, 0),
            "f" if browser::all_there(request.headers) => (number, 0),
            "u" => (2, number),
            _ => return Err(bad("not what was asked for")),
        };
        Ok(Meta { framing, tag: self.answer(&target, "200 OK", length), expected, close })
    }

    fn refusal(&mut self, error: &io::Error) -> usize {
        eprintln!("origin: {error}");
        self.answer("", "400 Bad Request", 2)
    }

    /// The number of the answer to `target`, which is made if it is new.
    fn answer(&mut self, target: &str, status: &str, length: u64) -> usize {
        if let Some(at) = self.ready.iter().position(|(asked, _)| asked == target) {
            return at;
        }
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
        );
        let body = usize::try_from(length).unwrap_or(0);
        self.ready.push((target.to_owned(), Outgoing::new(&head, body, false)));
        self.ready.len() - 1
    }
}

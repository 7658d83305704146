//! A proxy with its own origin in front of its own load, ready for orders.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Invocation, Setting, invocation};
use crate::load::Reply;
use crate::peers::{Peer, Program};
use crate::process::{Place, Role, Running, free_port, placed};
use crate::shape::{Shape, service_name};

const START_PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_micros(100);

/// Where the three run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) proxy: Place,
    pub(crate) rest: Place,
}

/// What stands behind the proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    pub(crate) endpoints: usize,
    /// The last endpoint is an address where nobody listens.
    pub(crate) dead: bool,
}

pub(crate) struct Stage {
    // Dropped in this order.
    pub(crate) load: Role,
    pub(crate) proxy: Option<Running>,
    _origin: Role,
    pub(crate) port: u16,
    log: PathBuf,
}

/// How a proxy is started: plainly, or below another program.
pub(crate) type Wrap<'a> = &'a dyn Fn(&mut Invocation);

impl Stage {
    pub(crate) fn build(
        peer: &Peer,
        shape: &Shape,
        behind: Behind,
        places: Places,
        dir: &Path,
        wrap: Wrap<'_>,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let log = dir.join("log");
        let (origin, backends) = origin(behind, places.rest, &log)?;
        let mut shape = shape.clone();
        let mut proxy = None;
        if peer.program == Program::Direct {
            shape.port = backends[0];
            shape.services = 0;
        } else {
            shape.port = free_port()?;
            let setting = Setting {
                dir,
                port: shape.port,
                backends: &backends,
                services: shape.services,
                connections: shape.connections,
                inflight: shape.inflight,
                dead: behind.dead,
            };
            let mut invocation = invocation(peer, &setting)?;
            wrap(&mut invocation);
            let mut running = start(&invocation, places.proxy, &log)?;
            await_answer(shape.port, &mut running).map_err(|error| {
                let said = fs::read_to_string(&log).unwrap_or_default();
                io::Error::other(format!("{} does not start: {error}: {said}", peer.name))
            })?;
            proxy = Some(running);
        }
        let args = [vec!["load".to_owned()], shape.args()].concat();
        let load = Role::start(places.rest, &args, &log)?;
        Ok(Self { load, proxy, _origin: origin, port: shape.port, log })
    }

    pub(crate) fn ask(&mut self, order: &str) -> io::Result<Reply> {
        let line = self.load.ask(order).map_err(|error| self.complaint(&error.to_string()))?;
        let reply = Reply::parse(&line);
        let reply = reply.ok_or_else(|| io::Error::other(format!("not a reply: {line}")))?;
        if reply.requests > 0 && reply.lost == reply.requests {
            return Err(self.complaint("every request was lost"));
        }
        Ok(reply)
    }

    /// What went wrong, with what everybody said about it.
    fn complaint(&mut self, what: &str) -> io::Error {
        let ended = self.proxy.as_mut().is_some_and(Running::has_ended);
        let ended = if ended { ", and the proxy has ended" } else { "" };
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        io::Error::other(format!("{}: {what}{ended}: {said}", self.log.display()))
    }

    /// The proxy's process, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.proxy.as_ref().map(Running::id)
    }
}

/// The origin, and its ports as the proxy shall see them.
pub(crate) fn origin(behind: Behind, place: Place, log: &Path) -> io::Result<(Role, Vec<u16>)> {
    let living = behind.endpoints - usize::from(behind.dead);
    let mut role = Role::start(place, &["origin".into(), living.to_string()], log)?;
    let line = role.line()?;
    let mut ports: Vec<u16> = line.split_whitespace().filter_map(|p| p.parse().ok()).collect();
    if behind.dead {
        ports.push(free_port()?);
    }
    Ok((role, ports))
}

pub(crate) fn start(invocation: &Invocation, place: Place, log: &Path) -> io::Result<Running> {
    let mut command = placed(place, &invocation.program, &invocation.args);
    command.envs(invocation.env.iter().map(|(name, value)| (name, value)));
    Running::start(&mut command, log)
}

/// Waits for the first right answer.
pub(crate) fn await_answer(port: u16, running: &mut Running) -> io::Result<()> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        match get(port) {
            Ok(true) => return Ok(()),
            _ if running.has_ended() => return Err(io::Error::other("it has ended")),
            _ if Instant::now() > until => return Err(io::Error::other("no answer")),
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// One GET on a connection of its own: true if the answer is a 200.
pub(crate) fn get(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let name = service_name(0);
    let request = format!("GET /{name}/b/2 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok(&answer == b"HTTP/1.1 200 OK")
}

/// The directory of one proxy in one scenario.
pub(crate) fn place_for(workshop: &Path, scenario: &str, peer: &Peer, what: &str) -> PathBuf {
    workshop.join(format!("{scenario}-{}-{what}", peer.name))
}

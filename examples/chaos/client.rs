//! A client that keeps its connection, as a browser or a service does, and judges what it gets.
//!
//! It does not repeat anything: what fails here is lost. It looks, as good clients do, whether its
//! idle connection has ended before it uses it again.

use std::time::{Duration, Instant};

use crate::backend::long_body;
use crate::http::{Fault, Wire};

/// The first part of every target.
pub(crate) const PREFIX: &str = "/chaos/v1/";

/// Why a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Status(u16),
    Fault(Fault),
    /// A whole answer that was not this request's, or not all of it.
    WrongBody,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) id: String,
    /// It must not be executed twice.
    pub(crate) is_post: bool,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) loss: Option<Loss>,
}

impl Verdict {
    pub(crate) fn took(&self) -> Duration {
        self.ended.saturating_duration_since(self.begun)
    }
}

/// What the body of a good answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Begins with the id of the request.
    Id,
    /// The long body to a GET, the id to a POST.
    Long,
}

pub(crate) struct Client {
    port: u16,
    patience: Duration,
    expected: Expected,
    wire: Option<Wire>,
}

impl Client {
    pub(crate) fn new(port: u16, patience: Duration, expected: Expected) -> Self {
        Self { port, patience, expected, wire: None }
    }

    pub(crate) fn ask(&mut self, is_post: bool, id: &str) -> Verdict {
        let begun = Instant::now();
        let loss = self.exchange(is_post, id, begun + self.patience).err();
        if loss.is_some_and(|loss| !matches!(loss, Loss::Status(_))) {
            self.wire = None;
        }
        Verdict { id: id.to_owned(), is_post, begun, ended: Instant::now(), loss }
    }

    fn exchange(&mut self, is_post: bool, id: &str, until: Instant) -> Result<(), Loss> {
        if self.wire.as_ref().is_some_and(Wire::is_over) {
            self.wire = None;
        }
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.port, self.patience).map_err(fault)?,
        };
        wire.send(&request(is_post, id)).map_err(fault)?;
        let (head, _) = wire.read_final_head(until).map_err(Loss::Fault)?;
        let body = wire.read_answer_body(&head, until);
        if let Some(fault) = body.fault {
            return Err(Loss::Fault(fault));
        }
        if !head.says_close() && head.length().is_some() {
            self.wire = Some(wire);
        }
        if head.status() != 200 {
            return Err(Loss::Status(head.status()));
        }
        let good = if self.expected == Expected::Long && !is_post {
            body.bytes == long_body(id)
        } else {
            body.bytes.starts_with(format!("{id} ").as_bytes())
        };
        if good { Ok(()) } else { Err(Loss::WrongBody) }
    }
}

fn fault(error: std::io::Error) -> Loss {
    Loss::Fault(error.into())
}

pub(crate) fn request(is_post: bool, id: &str) -> Vec<u8> {
    let host = "Host: chaos.test\r\n";
    if is_post {
        let body = format!("order={id}");
        let length = body.len();
        let fields = format!("{host}Content-Length: {length}\r\n");
        return format!("POST {PREFIX}{id} HTTP/1.1\r\n{fields}\r\n{body}").into_bytes();
    }
    format!("GET {PREFIX}{id} HTTP/1.1\r\n{host}\r\n").into_bytes()
}

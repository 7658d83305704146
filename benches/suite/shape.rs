//! What the load is made of: connections, and the requests on them.

use std::fmt::Write;

use crate::browser;

/// Out of many services so many are asked, evenly spread.
const ASKED: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) port: u16,
    pub(crate) connections: usize,
    /// How many requests may be under way at the same time.
    pub(crate) inflight: usize,
    /// The target as the origin shall see it.
    pub(crate) target: String,
    /// Services that the proxy knows; 0: there is no proxy, and nothing to put in front.
    pub(crate) services: usize,
    /// Bytes of body; with any, the request is a POST.
    pub(crate) body: usize,
    pub(crate) chunked: bool,
    /// With the fields of a browser.
    pub(crate) browser: bool,
    /// A connection for each request.
    pub(crate) close: bool,
    /// Bytes of body in the right answer.
    pub(crate) answer: u64,
}

impl Shape {
    /// GET for `bytes` over so many connections.
    pub(crate) fn get(connections: usize, bytes: u64) -> Self {
        Self {
            port: 0,
            connections,
            inflight: connections,
            target: format!("/b/{bytes}"),
            services: 1,
            body: 0,
            chunked: false,
            browser: false,
            close: false,
            answer: bytes,
        }
    }

    pub(crate) fn post(connections: usize, body: usize, chunked: bool) -> Self {
        let target = format!("/u/{body}");
        Self { target, body, chunked, answer: 2, ..Self::get(connections, 0) }
    }

    /// The bytes of body that a request moves, in either direction.
    pub(crate) fn moved(&self) -> u64 {
        self.answer.max(self.body as u64)
    }

    pub(crate) fn args(&self) -> Vec<String> {
        let flag = u8::from;
        [
            format!("port={}", self.port),
            format!("connections={}", self.connections),
            format!("inflight={}", self.inflight),
            format!("target={}", self.target),
            format!("services={}", self.services),
            format!("body={}", self.body),
            format!("chunked={}", flag(self.chunked)),
            format!("browser={}", flag(self.browser)),
            format!("close={}", flag(self.close)),
            format!("answer={}", self.answer),
        ]
        .into()
    }

    pub(crate) fn from_args(args: &[String]) -> Option<Self> {
        let mut shape = Self::get(1, 0);
        for arg in args {
            let (key, value) = arg.split_once('=')?;
            match key {
                "port" => shape.port = value.parse().ok()?,
                "connections" => shape.connections = value.parse().ok()?,
                "inflight" => shape.inflight = value.parse().ok()?,
                "target" => shape.target = value.to_owned(),
                "services" => shape.services = value.parse().ok()?,
                "body" => shape.body = value.parse().ok()?,
                "chunked" => shape.chunked = value == "1",
                "browser" => shape.browser = value == "1",
                "close" => shape.close = value == "1",
                "answer" => shape.answer = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(shape)
    }

    /// The heads to send in turn.
    pub(crate) fn heads(&self) -> Vec<String> {
        if self.services == 0 {
            return vec![self.head("")];
        }
        let asked = ASKED.min(self.services);
        let names = (0..asked).map(|n| service_name(n * self.services / asked));
        names.map(|name| self.head(&format!("/{name}"))).collect()
    }

    fn head(&self, prefix: &str) -> String {
        let method = if self.body > 0 { "POST" } else { "GET" };
        let mut head = format!("{method} {prefix}{} HTTP/1.1\r\n", self.target);
        let _ = write!(head, "Host: 127.0.0.1:{}\r\n", self.port);
        if self.browser {
            for (name, value) in browser::FIELDS {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if self.body > 0 {
            let _ = write!(head, "Content-Length: {}\r\n", self.body);
        }
        head.push_str("\r\n");
        head
    }
}

/// The service of that number, as it stands in a target.
pub(crate) fn service_name(number: usize) -> String {
    if number == 0 { "s/v1".into() } else { format!("s{number}/v1") }
}

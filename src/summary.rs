//! How an exchange ended: the outcome, the reason as one word, and the line that a log or a
//! counter is made from.
//!
//! Every exchange ends in exactly one [`Summary`]. The outcomes are the ledger of `B4.9`:
//! accepted = answered + client gone + refused + cut + in progress. This file does not know how
//! an exchange is run.

use std::net::IpAddr;

use crate::endpoint::{Endpoint, Failure};
use crate::h1::Bad;
use crate::h1::answer::Answer;
use crate::time::Ms;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An endpoint's answer was passed on to its last byte; a tunnel was ended by its sides.
    Answered,
    /// The client went away before its answer was complete, or reset its tunnel.
    ClientGone,
    /// The proxy answered itself.
    Refused(Reason),
    /// The answer had begun and could not be completed: the connection was aborted.
    Cut(Reason),
}

/// Why the proxy answered itself, or cut an answer or a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request was malformed, too large, or asked for what is not served.
    Request(Bad),
    /// The head did not come within `head-timeout`.
    HeadTimeout,
    /// The body stopped coming for `body-idle`.
    BodyTimeout,
    /// No service has this path.
    NotFound,
    /// The service has no endpoint now.
    NoEndpoint,
    /// Every endpoint was tried; the last failed to connect like this.
    Unreached(Failure),
    /// The connection to the endpoint ended before an answer, and the request could not be
    /// repeated.
    Died(Failure),
    /// The answer was malformed.
    Response(Bad),
    /// The endpoint did not begin an answer within `first-byte`.
    FirstByteTimeout,
    /// The endpoint stopped in the middle of its answer for `response-idle`.
    ResponseIdle,
    /// The endpoint took no more bytes of the request for `write-stall`.
    EndpointStalled,
    /// The client took no more bytes of the answer for `write-stall`.
    ClientStalled,
    /// The connection to the endpoint ended in the middle of the answer.
    Incomplete,
    /// No byte passed through a tunnel for `tunnel-idle`.
    TunnelIdle,
    /// Out of descriptors.
    Overloaded,
    /// `Max-Forwards` had come down to 0: the answer is ours (RFC 9110 section 7.6.2).
    LastHop,
    /// A hook answered.
    Hook,
    /// The proxy was stopped.
    Stopped,
}

impl Reason {
    /// The status that says so to the client.
    pub fn status(self) -> u16 {
        match self {
            Reason::Request(bad) => bad.status(),
            Reason::HeadTimeout | Reason::BodyTimeout => 408,
            Reason::NotFound => 404,
            Reason::NoEndpoint | Reason::Overloaded | Reason::Stopped => 503,
            Reason::Unreached(Failure::Timeout) | Reason::Died(Failure::NoAnswer) => 504,
            Reason::FirstByteTimeout | Reason::ResponseIdle | Reason::EndpointStalled => 504,
            Reason::Unreached(_) | Reason::Died(_) | Reason::Response(_) => 502,
            Reason::Incomplete | Reason::ClientStalled | Reason::TunnelIdle => 502,
            Reason::LastHop | Reason::Hook => 200,
        }
    }

    /// One word for logs and counters.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Request(bad) => bad.word(),
            Reason::HeadTimeout => "head_timeout",
            Reason::BodyTimeout => "body_timeout",
            Reason::NotFound => "not_found",
            Reason::NoEndpoint => "no_endpoint",
            Reason::Unreached(failure) => match failure {
                Failure::Refused => "all_refused",
                Failure::Timeout => "all_timed_out",
                _ => "all_unreachable",
            },
            Reason::Died(_) => "died_before_answer",
            Reason::Response(_) => "bad_response",
            Reason::FirstByteTimeout => "first_byte_timeout",
            Reason::ResponseIdle => "response_idle",
            Reason::EndpointStalled => "endpoint_stalled",
            Reason::ClientStalled => "client_stalled",
            Reason::Incomplete => "died_inside_answer",
            Reason::TunnelIdle => "tunnel_idle",
            Reason::Overloaded => "overloaded",
            Reason::LastHop => "last_hop",
            Reason::Hook => "hook",
            Reason::Stopped => "stopped",
        }
    }

    /// The error type of RFC 9209 section 2.3.
    fn proxy_error(self) -> Option<&'static str> {
        Some(match self {
            Reason::Request(_) | Reason::HeadTimeout | Reason::BodyTimeout => "http_request_error",
            Reason::NotFound => "destination_not_found",
            Reason::NoEndpoint => "destination_unavailable",
            Reason::Unreached(Failure::Refused) => "connection_refused",
            Reason::Unreached(Failure::Timeout) => "connection_timeout",
            Reason::Unreached(_) => "destination_ip_unroutable",
            Reason::Died(_) => "connection_terminated",
            Reason::Response(Bad::HeadTooLarge) => "http_response_header_section_size",
            Reason::Response(_) => "http_protocol_error",
            Reason::FirstByteTimeout => "http_response_timeout",
            Reason::ResponseIdle | Reason::TunnelIdle => "connection_read_timeout",
            Reason::EndpointStalled | Reason::ClientStalled => "connection_write_timeout",
            Reason::Incomplete => "http_response_incomplete",
            Reason::Overloaded | Reason::Stopped => "connection_limit_reached",
            Reason::LastHop | Reason::Hook => return None,
        })
    }

    /// What the body says.
    fn text(self) -> &'static str {
        match self {
            Reason::Request(bad) => bad.text(),
            Reason::HeadTimeout => "The request head came too slowly.",
            Reason::BodyTimeout => "The request body came too slowly.",
            Reason::NotFound => "No service has this path.",
            Reason::NoEndpoint => "The service has no endpoint now.",
            Reason::Unreached(_) => "No endpoint of the service could be reached.",
            Reason::Died(_) => "The endpoint closed the connection without an answer.",
            Reason::Response(_) => "The endpoint's answer was malformed.",
            Reason::FirstByteTimeout => "The endpoint did not answer in time.",
            Reason::ResponseIdle => "The endpoint stopped in the middle of its answer.",
            Reason::EndpointStalled => "The endpoint stopped taking the request.",
            Reason::ClientStalled => "The client stopped taking the answer.",
            Reason::Incomplete => "The endpoint died in the middle of its answer.",
            Reason::TunnelIdle => "The tunnel was idle for too long.",
            Reason::Overloaded => "The proxy is out of descriptors.",
            Reason::LastHop => "The request has come as far as it may.",
            Reason::Hook => "",
            Reason::Stopped => "The proxy is stopping.",
        }
    }

    /// The answer that tells the client.
    pub(crate) fn answer(self) -> Answer {
        let mut answer = Answer::new(self.status(), &format!("{}\n", self.text()));
        if self.status() == 503 {
            answer.add_field("Retry-After", "1");
        }
        if self == Reason::Request(Bad::Method) {
            answer.add_field("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH");
        }
        match self.proxy_error() {
            Some(error) => answer.with_error(error),
            None => answer,
        }
    }
}

/// One exchange, when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// The client's address; a Unix socket has none.
    pub client: Option<IpAddr>,
    /// The service, `name/version`, `*` for the catch-all, empty if none was found.
    pub service: &'a str,
    /// The endpoint that was tried last.
    pub endpoint: Option<&'a Endpoint>,
    /// The final status the client was sent; 0 if it was sent none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// How many connections to endpoints were asked to carry it.
    pub attempts: u32,
    /// Bytes of the request as it went on, head included, as far as they were passed.
    pub request_bytes: u64,
    /// Bytes that were written to the client.
    pub response_bytes: u64,
    /// When its first byte was read.
    pub begun: Ms,
    /// When it ended.
    pub ended: Ms,
}

//! What is wrong with a message, judged by its receiver: requests at backends, answers at clients.
//!
//! The expected message is worked out from the plan alone; nothing that the proxy says is trusted.

use super::answer::SHED_LEN;
use super::dice::pattern;
use super::message::{Framing, Head, Incoming};
use super::plan::{ANSWER, REQUEST, Request, SHED};

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) from_proxy: bool,
    /// The endpoint says that it is too busy.
    pub(super) shed: bool,
    pub(super) retry_after: bool,
    pub(super) framing: Framing,
    pub(super) status: u16,
    /// A trailer was announced, and chunks can carry it.
    pub(super) trailer: bool,
    /// The connection ends with it.
    pub(super) last: bool,
}

/// What is wrong with the head of `request` as it reached the backend.
pub(super) fn wrong_request_head(request: &Request, head: &Head, base: &str) -> Option<String> {
    let target = format!("{base}{}", request.rest);
    let wrong = |what: &str| Some(what.to_string());
    if head.word(0) != request.method || head.word(2) != "HTTP/1.1" {
        return wrong("method or version");
    }
    if head.word(1) != target {
        return Some(format!("target is not {target}"));
    }
    let hosts = head.all("host");
    if hosts.len() != 1 || (!request.old && hosts != ["sim.example:80"]) {
        return wrong("host");
    }
    if head.all("x-dup") != ["one", "two"] || !head.fields.iter().any(|(n, _)| n == "x-dUP") {
        return wrong("order or case of fields");
    }
    if ["x-hop", "keep-alive", "proxy-connection"].iter().any(|name| head.get(name).is_some()) {
        return wrong("a hop-by-hop field");
    }
    if head.lists("connection", "x-hop") {
        return wrong("a hop-by-hop option");
    }
    if head.all("x-forwarded-for").len() != 1 {
        return wrong("x-forwarded-for");
    }
    if head.get("idempotency-key").is_some() != request.keyed {
        return wrong("idempotency-key");
    }
    let framing = if request.chunked {
        Some(Framing::Chunked)
    } else if request.wire.len() > request.head_len || matches!(request.method, "PUT" | "POST") {
        Some(Framing::Length(request.body_len))
    } else {
        None
    };
    (head.framing() != Ok(framing)).then(|| "framing".to_string())
}

/// What is wrong with the body of a request that has come to its end.
pub(super) fn wrong_request_body(request: &Request, got: &Incoming) -> Option<&'static str> {
    if got.body != pattern(request.id, REQUEST, request.body_len) {
        return Some("not the bytes that were sent");
    }
    let trailer = request.trailer.then(|| request.id.to_string());
    (got.trailers.get("x-trail") != trailer.as_deref()).then_some("trailer")
}

/// What is wrong with the head of an answer to `request`.
pub(super) fn wrong_answer_head(
    request: &Request,
    head: &Head,
    from_proxy: bool,
) -> Option<&'static str> {
    if head.word(0) != if request.old { "HTTP/1.0" } else { "HTTP/1.1" } {
        return Some("version");
    }
    if request.old && head.get("transfer-encoding").is_some() {
        return Some("chunks for HTTP/1.0");
    }
    if ["x-hop", "keep-alive"].iter().any(|name| head.get(name).is_some()) {
        return Some("a hop-by-hop field");
    }
    if from_proxy {
        return None;
    }
    if head.get("x-sim-id") != Some(&request.id.to_string()) {
        return Some("the answer to another request");
    }
    if head.get("x-sim-shed").is_some() {
        return (head.word(1) != "503").then_some("the status of a busy endpoint");
    }
    if head.word(1) != request.status.to_string() || head.word(2) != "Fine, thanks" {
        return Some("status line");
    }
    if head.all("set-cookie") != ["a", "b"] {
        return Some("order of fields");
    }
    None
}

/// What is wrong with the body of an answer that is said to be whole.
pub(super) fn wrong_answer_body(
    request: &Request,
    answer: &Got,
    incoming: &Incoming,
) -> Option<String> {
    let empty = request.method == "HEAD" || matches!(answer.status, 204 | 304);
    let len = if empty { 0 } else { request.answer_len };
    let (salt, len) = match (answer.shed, empty) {
        (true, false) => (SHED, SHED_LEN),
        _ => (ANSWER, len),
    };
    if incoming.body != pattern(request.id, salt, len) {
        let (framing, here) = (answer.framing, incoming.body.len());
        let what = if here < len && framing == Framing::UntilClose { "[6 truncated] " } else { "" };
        return Some(format!("{what}{here} bytes of {len}, {framing:?}"));
    }
    let trailer = answer.trailer.then(|| request.id.to_string());
    (incoming.trailers.get("x-trail") != trailer.as_deref()).then(|| "trailer".to_string())
}

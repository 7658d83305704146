//! One request and its answer: two halves, and the table that says what a loss means.
//!
//! This file knows neither sockets nor buffers nor time. It is told what happened and says what
//! follows; the engine does it.

use crate::endpoint::Failure;
use crate::h1::body::Body;
use crate::h1::chunk::Wrapping;
use crate::h1::head::{ResponseHead, Search};
use crate::h1::range::Whole;
use crate::h1::request::{Method, RequestFacts};
use crate::h1::response::ResponseFacts;
use crate::h1::{Version, upgrade};
use crate::summary::Reason;

/// Interim responses that are relayed before a final one is due (`B7.7`).
const MAX_INTERIM: u8 = 16;

/// The answer half.
#[derive(Debug)]
pub(crate) enum Download {
    /// No final head yet. `touched`: a byte of an answer has come.
    Waiting { search: Search, touched: bool },
    /// The final head was passed on; this is still to come.
    Body(Body),
    /// The answer broke off, and another endpoint is asked for its last `left` bytes.
    Resuming { search: Search, touched: bool, left: u64 },
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// The request half: what of its body is still to come from the client.
    pub(crate) upload: Body,
    pub(crate) download: Download,
    /// Whether it may be executed twice without harm.
    pub(crate) repeatable: bool,
    /// Only a part of the representation was asked for.
    partial: bool,
    /// What is needed to continue the answer if it breaks off.
    whole: Option<Whole>,
    /// The client holds its body back until it is told to go on (RFC 9110 section 10.1.1).
    pub(crate) expects: bool,
    /// Bytes of the head as it goes on: fewer than this are not a request.
    pub(crate) head_len: usize,
    /// The beginning of the request has left the window: it can never be offered again.
    pub(crate) committed: bool,
    /// A pooled connection has died under it: only fresh ones from here on.
    pub(crate) fresh_only: bool,
    /// Whether the client wants its connection kept.
    client_keep: bool,
    /// What was promised to the client in the answer's head; `None` before.
    promised_keep: Option<bool>,
    /// Whether the upstream connection may carry another request afterwards.
    pub(crate) upstream_keep: bool,
    /// How long the endpoint says it keeps the connection when it is idle.
    pub(crate) idle_limit_ms: Option<u64>,
    /// The protocols that the client would switch to, as a list.
    upgrade: Option<Box<[u8]>>,
    interim: u8,
}

/// How an upstream connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It never stood.
    Connect(Failure),
    /// It stood, and ended before a byte of an answer.
    BeforeAnswer(Failure),
    /// It ended after the first byte of an answer and before the last.
    InsideAnswer,
    /// The same, but nothing of the answer had been passed on.
    Unforwarded,
    /// It has answered with a status that is to be tried elsewhere (`B4.8`).
    Status,
}

/// What follows from a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Offer the request again. `blame`: the endpoint is at fault and is not asked again.
    Again { blame: bool },
    /// Tell the client. `blame` as above.
    Answer { reason: Reason, blame: bool },
    /// The client has the beginning of an answer: abort, so that it cannot look whole.
    Cut(Reason),
}

impl Exchange {
    pub(crate) fn new(facts: RequestFacts) -> Exchange {
        let repeatable = facts.repeatable();
        Exchange {
            method: facts.method,
            version: facts.version,
            upload: facts.body,
            download: Download::Waiting { search: Search::default(), touched: false },
            repeatable,
            partial: facts.partial,
            whole: None,
            expects: facts.expects,
            head_len: 0,
            committed: false,
            fresh_only: false,
            client_keep: facts.keep,
            promised_keep: None,
            upstream_keep: false,
            idle_limit_ms: None,
            upgrade: facts.upgrade,
            interim: 0,
        }
    }

    /// Becomes that of another request, where it is: it is too large to be moved there.
    pub(crate) fn renew(&mut self, facts: RequestFacts) {
        self.repeatable = facts.repeatable();
        self.method = facts.method;
        self.version = facts.version;
        self.upload = facts.body;
        self.download = Download::Waiting { search: Search::default(), touched: false };
        self.partial = facts.partial;
        self.whole = None;
        self.expects = facts.expects;
        self.head_len = 0;
        self.committed = false;
        self.fresh_only = false;
        self.client_keep = facts.keep;
        self.promised_keep = None;
        self.upstream_keep = false;
        self.idle_limit_ms = None;
        self.upgrade = facts.upgrade;
        self.interim = 0;
    }

    /// Whether a 101 with this head may open a tunnel (`B7.8`): it is what the client asked for,
    /// and the request is whole, for in the middle of it nobody can switch.
    pub(crate) fn may_switch(&self, head: &ResponseHead<'_>) -> bool {
        let offered = self.upgrade.as_ref();
        self.upload.is_done()
            && head.version == Version::Http11
            && offered.is_some_and(|offered| upgrade::gives(head.fields, offered))
    }

    /// Whether it may ride a connection that might be dying: it can be offered again whole.
    pub(crate) fn may_reuse(&self) -> bool {
        self.repeatable && self.upload.is_done() && !self.committed && !self.fresh_only
    }

    /// What the client can take of chunked framing.
    pub(crate) fn wrapping(&self) -> Wrapping {
        match self.version {
            Version::Http10 => Wrapping::Strip,
            Version::Http11 => Wrapping::Keep,
        }
    }

    /// Whether a byte of an answer has come.
    pub(crate) fn touched(&self) -> bool {
        !matches!(
            self.download,
            Download::Waiting { touched: false, .. } | Download::Resuming { touched: false, .. }
        )
    }

    /// A byte of an answer has come.
    pub(crate) fn touch(&mut self) {
        if let Download::Waiting { touched, .. } | Download::Resuming { touched, .. } =
            &mut self.download
        {
            *touched = true;
        }
    }

    /// Remembers what is needed to continue the answer.
    pub(crate) fn may_resume(&mut self, whole: Whole) {
        if !self.partial {
            self.whole = Some(whole);
        }
    }

    /// Where the answer goes on, and what it is part of, if it has broken off.
    pub(crate) fn resume_at(&self) -> Option<(u64, &Whole)> {
        match (&self.download, &self.whole) {
            (Download::Resuming { left, .. }, Some(whole)) => Some((whole.total - left, whole)),
            _ => None,
        }
    }

    /// An interim response has come before the head of the rest.
    pub(crate) fn await_rest(&mut self) {
        if let Download::Resuming { search, .. } = &mut self.download {
            *search = Search::default();
        }
    }

    /// The head of the rest has come; its body follows.
    pub(crate) fn resumed(&mut self, facts: &ResponseFacts) {
        self.download = Download::Body(facts.body.clone());
        self.upstream_keep = facts.keep;
    }

    /// How many bytes are missing of an answer that can be continued.
    fn resumable(&self) -> Option<u64> {
        match self.download {
            Download::Body(Body::Length(left)) | Download::Resuming { left, .. } => {
                self.whole.as_ref().filter(|_| !self.committed).map(|_| left)
            }
            _ => None,
        }
    }

    /// Whether the request is here whole, and the beginning of the final answer is not.
    pub(crate) fn is_awaited(&self) -> bool {
        self.upload.is_done() && !self.answering()
    }

    /// Whether the client has been sent the beginning of the final answer.
    pub(crate) fn answering(&self) -> bool {
        self.promised_keep.is_some()
    }

    /// The answer has broken off before a byte of it was passed on: the client need never know
    /// that there was one.
    pub(crate) fn unanswer(&mut self) {
        self.promised_keep = None;
        self.whole = None;
        self.download = Download::Waiting { search: Search::default(), touched: true };
    }

    /// Whether the answer's end is the end of the client's connection.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.download, Download::Body(Body::UntilClose))
            || (self.version == Version::Http10
                && matches!(self.download, Download::Body(Body::Chunked(_))))
    }

    /// Whether the answer is complete.
    pub(crate) fn download_done(&self) -> bool {
        matches!(&self.download, Download::Body(body) if body.is_done())
    }

    /// Whether the client's connection lives on after this exchange, as was promised to it.
    pub(crate) fn keeps_client(&self) -> bool {
        self.promised_keep.unwrap_or(false)
    }

    /// Whether the client itself wants the connection closed: then it sends nothing more.
    pub(crate) fn asked_to_close(&self) -> bool {
        !self.client_keep
    }

    /// Makes the promise of an answer of our own: kept if the whole request is here.
    pub(crate) fn promise_own(&mut self, draining: bool) -> bool {
        let keep = self.client_keep && self.upload.is_done() && !draining;
        self.promised_keep = Some(keep);
        keep
    }

    /// A head of an answer has been read. Gives whether the client's connection is kept.
    ///
    /// The promise is made once, here, because here it is written: an answer that overtakes its
    /// request says `close`, for what is left of the request would be read as the next one.
    pub(crate) fn answered(&mut self, facts: &ResponseFacts, draining: bool) -> Result<bool, ()> {
        self.expects = false;
        if facts.is_interim() {
            self.interim += 1;
            self.download = Download::Waiting { search: Search::default(), touched: true };
            return if self.interim > MAX_INTERIM { Err(()) } else { Ok(true) };
        }
        self.download = Download::Body(facts.body.clone());
        self.upstream_keep = facts.keep;
        self.idle_limit_ms = facts.idle_limit_ms;
        let keep =
            self.client_keep && self.upload.is_done() && !draining && !self.ends_with_connection();
        self.promised_keep = Some(keep);
        Ok(keep)
    }

    /// The whole retry policy (`B4.1`, `B4.4`). `sent`: bytes of the request that were written to
    /// this connection; `reused`: it came from the pool.
    pub(crate) fn lost(&mut self, how: Lost, sent: usize, reused: bool) -> Verdict {
        if self.answering() {
            let Some(left) = self.resumable() else { return Verdict::Cut(Reason::Incomplete) };
            let search = Search::default();
            self.download = Download::Resuming { search, touched: false, left };
            self.fresh_only |= reused;
            return Verdict::Again { blame: !reused };
        }
        match how {
            Lost::Connect(_) => Verdict::Again { blame: true },
            Lost::BeforeAnswer(failure) => {
                self.fresh_only |= reused;
                // Nobody can have acted on half a head, whatever the method.
                let unseen = !self.committed && sent < self.head_len;
                if unseen || (self.repeatable && !self.committed) {
                    Verdict::Again { blame: !reused }
                } else {
                    Verdict::Answer { reason: Reason::Died(failure), blame: !reused }
                }
            }
            Lost::Unforwarded if self.repeatable && !self.committed => {
                self.fresh_only |= reused;
                self.download = Download::Waiting { search: Search::default(), touched: false };
                Verdict::Again { blame: true }
            }
            Lost::InsideAnswer | Lost::Unforwarded => {
                Verdict::Answer { reason: Reason::Incomplete, blame: true }
            }
            Lost::Status => {
                self.download = Download::Waiting { search: Search::default(), touched: false };
                Verdict::Again { blame: true }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(method: Method, key: bool) -> Exchange {
        let mut exchange = Exchange::new(request(method, key));
        exchange.head_len = 40;
        exchange
    }

    fn request(method: Method, key: bool) -> RequestFacts {
        RequestFacts {
            method,
            version: Version::Http11,
            body: Body::Length(10),
            keep: true,
            te_trailers: false,
            idempotency_key: key,
            partial: false,
            expects: false,
            max_forwards: None,
            names_fields: false,
            upgrade: None,
        }
    }

    /// An exchange in the memory of another is as one of its own.
    #[test]
    fn nothing_is_left_of_the_exchange_before() {
        let mut facts = request(Method::Put, true);
        let mut used = Exchange::new(RequestFacts {
            version: Version::Http10,
            keep: false,
            partial: false,
            expects: true,
            upgrade: Some(b"echo".to_vec().into()),
            ..facts.clone()
        });
        used.answered(&response(200, Body::Length(5)), false).unwrap();
        used.may_resume(Whole { etag: b"\"a\"".to_vec(), total: 5 });
        (used.head_len, used.committed, used.fresh_only) = (9, true, true);
        (used.idle_limit_ms, used.interim) = (Some(1), 1);
        for partial in [false, true] {
            facts.partial = partial;
            used.renew(facts.clone());
            assert_eq!(format!("{used:?}"), format!("{:?}", Exchange::new(facts.clone())));
        }
    }

    fn response(status: u16, body: Body) -> ResponseFacts {
        ResponseFacts {
            status,
            body,
            keep: true,
            idle_limit_ms: None,
            hide_length: false,
            names_fields: false,
            upgrade: false,
        }
    }

    /// B4.1, B4.4: every row of the verdict table.
    #[test]
    fn the_verdict_table() {
        let died = Lost::BeforeAnswer(Failure::Closed);
        let again = |blame| Verdict::Again { blame };
        let answer = |blame| Verdict::Answer { reason: Reason::Died(Failure::Closed), blame };
        // (method, key, committed, how, sent, reused, verdict)
        for (method, key, committed, how, sent, reused, verdict) in [
            (Method::Other, false, false, Lost::Connect(Failure::Refused), 0, false, again(true)),
            (Method::Get, false, false, Lost::Connect(Failure::Timeout), 0, false, again(true)),
            (Method::Other, false, false, died, 39, false, again(true)),
            (Method::Other, false, false, died, 39, true, again(false)),
            (Method::Other, false, false, died, 40, false, answer(true)),
            (Method::Other, false, false, died, 40, true, answer(false)),
            (Method::Other, true, false, died, 50, false, again(true)),
            (Method::Get, false, false, died, 50, true, again(false)),
            (Method::Put, false, false, died, 50, false, again(true)),
            (Method::Put, false, true, died, 5, false, answer(true)),
            (Method::Put, false, true, died, 5, true, answer(false)),
        ] {
            let mut exchange = exchange(method, key);
            exchange.committed = committed;
            assert_eq!(
                exchange.lost(how, sent, reused),
                verdict,
                "{method:?} key {key} committed {committed} {how:?} sent {sent} reused {reused}"
            );
            assert_eq!(exchange.fresh_only, reused, "a list of dead connections is left alone");
        }
        let mut begun = exchange(Method::Get, false);
        let incomplete = Verdict::Answer { reason: Reason::Incomplete, blame: true };
        assert_eq!(begun.lost(Lost::InsideAnswer, 50, false), incomplete);
        begun.answered(&response(200, Body::Length(5)), false).unwrap();
        begun.unanswer();
        assert_eq!(begun.lost(Lost::Unforwarded, 50, false), again(true));
        let mut unsafe_one = exchange(Method::Other, false);
        assert_eq!(unsafe_one.lost(Lost::Unforwarded, 50, false), incomplete);
        begun.answered(&response(200, Body::Length(5)), false).unwrap();
        assert_eq!(begun.lost(Lost::InsideAnswer, 50, false), Verdict::Cut(Reason::Incomplete));
        let etag = b"\"a\"".to_vec();
        begun.may_resume(Whole { etag, total: 5 });
        begun.download = Download::Body(Body::Length(3));
        assert_eq!(begun.lost(Lost::InsideAnswer, 50, false), again(true), "B4.6");
        assert_eq!(begun.resume_at().map(|(from, _)| from), Some(2));
        assert_eq!(begun.lost(Lost::Connect(Failure::Refused), 0, false), again(true));
        begun.committed = true;
        assert_eq!(begun.lost(Lost::InsideAnswer, 9, false), Verdict::Cut(Reason::Incomplete));
        let mut status = exchange(Method::Get, false);
        status.touch();
        assert_eq!(status.lost(Lost::Status, 50, false), again(true), "B4.8");
        assert!(!status.touched(), "what was said is forgotten");
    }

    /// B4.3 as far as pooled connections go: only what can be repeated whole rides them.
    #[test]
    fn only_repeatable_whole_requests_ride_the_pool() {
        let mut get = exchange(Method::Get, false);
        assert!(!get.may_reuse(), "its body is not here yet");
        get.upload = Body::NONE;
        assert!(get.may_reuse());
        get.fresh_only = true;
        assert!(!get.may_reuse());
        let mut post = exchange(Method::Other, false);
        post.upload = Body::NONE;
        assert!(!post.may_reuse());
    }

    /// B7.6, B7.7: keep-alive is promised once, and an answer that overtakes says close.
    #[test]
    fn promises() {
        let mut early = exchange(Method::Put, false);
        assert_eq!(early.answered(&response(200, Body::Length(5)), false), Ok(false));
        let mut whole = exchange(Method::Get, false);
        whole.upload = Body::NONE;
        assert_eq!(whole.answered(&response(103, Body::NONE), false), Ok(true));
        assert!(whole.touched() && !whole.answering());
        assert_eq!(whole.answered(&response(200, Body::Length(5)), false), Ok(true));
        assert!(whole.keeps_client() && !whole.download_done());
        let mut until_close = exchange(Method::Get, false);
        until_close.upload = Body::NONE;
        assert_eq!(until_close.answered(&response(200, Body::UntilClose), false), Ok(false));
        let mut chatty = exchange(Method::Get, false);
        for _ in 0..MAX_INTERIM {
            assert!(chatty.answered(&response(102, Body::NONE), false).is_ok());
        }
        assert!(chatty.answered(&response(102, Body::NONE), false).is_err());
    }
}

//! What is asked, as a table. It does not know what is counted.

use crate::browser;

/// One kind of load: so many clients at once, so often.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As it stands in the table of accepted figures.
    pub name: &'static str,
    /// Requests under way at the same time; each is a client's.
    pub clients: usize,
    /// How often every client asks while it is counted.
    pub rounds: usize,
    /// How often before: every connection, buffer and pool is there when the count begins.
    pub warm_rounds: usize,
    /// Services that the proxy knows. The clients ask for as many of them as they can.
    pub services: usize,
    /// Endpoints of each service.
    pub endpoints: usize,
    /// Bytes of an answer's body.
    pub answer_bytes: usize,
    /// Bytes of a request's body. With any it is a POST.
    pub body_bytes: usize,
    /// Thirty header fields, as a browser sends them.
    pub browser: bool,
    /// A connection for each request.
    pub close: bool,
}

const SMALL: Scenario = Scenario {
    name: "small",
    clients: 64,
    rounds: 10,
    warm_rounds: 10,
    services: 1,
    endpoints: 2,
    answer_bytes: 128,
    body_bytes: 0,
    browser: false,
    close: false,
};

/// All of them.
///
/// - `post1k` has one endpoint: with two, a connection that chance leaves out for a second may no
///   longer carry a POST (B4.3), and it would depend on the machine how often that happens.
/// - `endpoints1k` has one client, as `one`: with more, chance would now and then put two requests
///   on an endpoint for the first time, and connects would be counted with them.
pub const ALL: [Scenario; 8] = [
    SMALL,
    Scenario { name: "one", clients: 1, rounds: 640, warm_rounds: 100, ..SMALL },
    Scenario { name: "fields30", browser: true, ..SMALL },
    Scenario { name: "close", close: true, ..SMALL },
    Scenario { name: "post1k", endpoints: 1, body_bytes: 1024, answer_bytes: 2, ..SMALL },
    Scenario { name: "mid16k", answer_bytes: 16_384, ..SMALL },
    Scenario { name: "services10k", services: 10_000, ..SMALL },
    Scenario { name: "endpoints1k", clients: 1, rounds: 640, endpoints: 1000, ..SMALL },
];

impl Scenario {
    /// The one of that name.
    pub fn named(name: &str) -> Option<Scenario> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// Requests that are counted.
    pub fn requests(&self) -> usize {
        self.clients * self.rounds
    }

    /// The service that a client asks for.
    pub fn service(&self, client: usize) -> String {
        service_name(client * self.services / self.clients % self.services)
    }

    /// The request of a client.
    pub fn request(&self, client: usize) -> Vec<u8> {
        let mut bytes = self.head(client, if self.body_bytes > 0 { "POST" } else { "GET" });
        bytes.extend(self.body());
        bytes
    }

    /// A GET of the same client, for connections that shall be used before a POST may have them.
    pub fn warming(&self, client: usize) -> Vec<u8> {
        Scenario { body_bytes: 0, ..*self }.head(client, "GET")
    }

    fn head(&self, client: usize, method: &str) -> Vec<u8> {
        let mut head = format!("{method} /{}/hello HTTP/1.1\r\n", self.service(client));
        head.push_str("Host: shop.example.org\r\n");
        if self.browser {
            browser::FIELDS.iter().for_each(|(name, value)| {
                head.push_str(&format!("{name}: {value}\r\n"));
            });
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        if self.body_bytes > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body_bytes));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body of every request.
    pub fn body(&self) -> Vec<u8> {
        vec![b'b'; self.body_bytes]
    }

    /// The body of every answer.
    pub fn answer_body(&self) -> Vec<u8> {
        vec![b'a'; self.answer_bytes]
    }

    /// What the origin answers.
    pub fn answer(&self) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            self.answer_bytes
        );
        [head.into_bytes(), self.answer_body()].concat()
    }

    /// Whether a head that arrived at the origin is what this scenario asks.
    pub fn is_asked(&self, head: &[u8]) -> bool {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let whole = request.parse(head).is_ok_and(|status| status.is_complete());
        let fields_there = !self.browser || browser::all_there(request.headers);
        whole && request.path == Some("/hello") && fields_there
    }
}

/// The service of that number, as it stands in a target.
pub fn service_name(number: usize) -> String {
    format!("s{number}/v1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_services_are_asked_evenly_and_one_by_all() {
        let many = Scenario::named("services10k").unwrap();
        assert_eq!((many.service(0), many.service(63)), ("s0/v1".into(), "s9843/v1".into()));
        assert_eq!(SMALL.service(63), "s0/v1");
    }

    #[test]
    fn a_request_without_its_fields_is_not_what_was_asked() {
        let browser = Scenario::named("fields30").unwrap();
        let target = |text: Vec<u8>| String::from_utf8(text).unwrap().replace("/s0/v1", "");
        assert!(browser.is_asked(target(browser.request(0)).as_bytes()));
        assert!(!browser.is_asked(target(SMALL.request(0)).as_bytes()));
        assert!(SMALL.is_asked(target(SMALL.request(0)).as_bytes()));
        assert!(!SMALL.is_asked(&SMALL.request(0)), "the prefix is cut off");
    }
}

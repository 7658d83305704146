//! What the names of endpoints stand for: the last good answer for each, and what a new one
//! changes.
//!
//! An answer is always taken as the whole: what it no longer holds is gone. Asking is somebody
//! else's business; this file knows no resolver, thread or clock.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::endpoint::Endpoint;
use crate::spec::{EndpointSpec, RouteSpec};

/// Services, their endpoints as written, and the addresses that these stand for.
#[derive(Clone, Debug)]
pub struct Names {
    services: Vec<Service>,
}

#[derive(Clone, Debug)]
struct Service {
    name: String,
    entries: Vec<Entry>,
}

/// An endpoint as it was written, and the endpoints that it last stood for.
#[derive(Clone, Debug)]
struct Entry {
    spec: EndpointSpec,
    found: Vec<Endpoint>,
}

/// What a registry must be told, so that it knows what we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add { service: String, endpoint: Endpoint },
    Delete { service: String, endpoint: Endpoint },
}

impl Names {
    /// Asks `lookup` once for the addresses of every name in `routes`; every address is an
    /// endpoint. A literal address is not asked for.
    ///
    /// The first name without an address is an error, and so is an endpoint that comes out twice
    /// with two weights: one of them would be lost in silence.
    pub fn resolve(
        routes: Vec<RouteSpec>,
        mut lookup: impl FnMut(&str) -> io::Result<Vec<IpAddr>>,
    ) -> Result<Names, NameError> {
        let mut answers: HashMap<String, Vec<IpAddr>> = HashMap::new();
        let mut services = Vec::new();
        for RouteSpec { service: name, endpoints } in routes {
            let mut service = Service { name, entries: Vec::new() };
            for spec in endpoints {
                let wrong = |why| NameError {
                    service: service.name.clone(),
                    index: service.entries.len(),
                    why,
                };
                let mut entry = Entry { spec, found: Vec::new() };
                match entry.name().map(str::to_owned) {
                    None => entry.learn(&[]),
                    Some(host) => {
                        if !answers.contains_key(&host) {
                            let found = lookup(&host).and_then(some_address);
                            let found = found.map_err(|why| wrong(entry.unresolved(&why)))?;
                            answers.insert(host.clone(), found);
                        }
                        entry.learn(answers.get(&host).map_or(&[], Vec::as_slice));
                    }
                }
                service.check_weights(&entry).map_err(wrong)?;
                service.entries.push(entry);
            }
            services.push(service);
        }
        Ok(Names { services })
    }

    /// Every service with its endpoints, in the order in which they were written.
    pub fn services(&self) -> impl Iterator<Item = (&str, Vec<Endpoint>)> {
        self.services.iter().map(|service| (service.name.as_str(), service.view()))
    }

    /// Every name that can have other addresses tomorrow, each once, as they were written.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.all_hosts().filter(|host| seen.insert(*host)).collect()
    }

    /// Whether `host` is one of those names.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.all_hosts().any(|known| known == host)
    }

    fn all_hosts(&self) -> impl Iterator<Item = &str> {
        self.services.iter().flat_map(|service| &service.entries).filter_map(Entry::name)
    }

    /// `host` now has these addresses and no others; what that changes.
    pub(crate) fn learn(&mut self, host: &str, addresses: &[IpAddr]) -> Vec<Change> {
        let mut changes = Vec::new();
        for service in &mut self.services {
            let before = service.view();
            for entry in &mut service.entries {
                if entry.name() == Some(host) {
                    entry.learn(addresses);
                }
            }
            changes.extend(difference(&service.name, &before, &service.view()));
        }
        changes
    }

    /// From now on it is `new` that holds; what that changes.
    pub(crate) fn replace(&mut self, new: Names) -> Vec<Change> {
        let old = std::mem::replace(self, new);
        let mut changes = Vec::new();
        for (name, after) in self.services() {
            let before = old.view_of(name);
            changes.extend(difference(name, &before, &after));
        }
        for (name, before) in old.services() {
            if !self.services.iter().any(|service| service.name == name) {
                changes.extend(difference(name, &before, &[]));
            }
        }
        changes
    }

    fn view_of(&self, name: &str) -> Vec<Endpoint> {
        let service = self.services.iter().find(|service| service.name == name);
        service.map(Service::view).unwrap_or_default()
    }
}

impl Service {
    /// All its endpoints, each once. Two entries may mean the same one (`localhost` and
    /// `127.0.0.1`); then the first says its weight.
    fn view(&self) -> Vec<Endpoint> {
        let mut view: Vec<Endpoint> = Vec::new();
        for endpoint in self.entries.iter().flat_map(|entry| &entry.found) {
            if !view.contains(endpoint) {
                view.push(endpoint.clone());
            }
        }
        view
    }

    fn check_weights(&self, entry: &Entry) -> Result<(), String> {
        let view = self.view();
        for new in &entry.found {
            let known = view.iter().find(|known| *known == new);
            if let Some(known) = known.filter(|known| known.weight() != new.weight()) {
                let (at, one, two) = (new.address(), known.weight(), new.weight());
                return Err(format!("{at} has two weights, {one} and {two}"));
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The name in it; `None` if it says where it is by itself.
    fn name(&self) -> Option<&str> {
        let (host, _) = self.spec.host_port()?;
        if host.parse::<IpAddr>().is_ok() { None } else { Some(host) }
    }

    fn learn(&mut self, addresses: &[IpAddr]) {
        let Some((host, port)) = self.spec.host_port() else {
            self.found = self.spec.unix_endpoint().into_iter().collect();
            return;
        };
        let at = |ip: IpAddr| self.spec.endpoint(SocketAddr::new(ip, port));
        self.found = match host.parse() {
            Ok(literal) => vec![at(literal)],
            Err(_) => addresses.iter().copied().map(at).collect(),
        };
    }

    fn unresolved(&self, why: &io::Error) -> String {
        let (host, port) = self.spec.host_port().unwrap_or_default();
        format!("{host}:{port}: cannot resolve the name: {why}")
    }
}

/// The addresses, of which there must be one: a name that stands for nothing is not resolved.
pub(crate) fn some_address(addresses: Vec<IpAddr>) -> io::Result<Vec<IpAddr>> {
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// What leads from the endpoints `before` to those `after`.
///
/// What is new comes before what goes, so that a service is never empty in between. An endpoint
/// with another weight is added again, which tells the weight; one with another authority, which
/// adding does not change, goes and comes.
fn difference(service: &str, before: &[Endpoint], after: &[Endpoint]) -> Vec<Change> {
    let add = |new: &Endpoint| Change::Add { service: service.to_owned(), endpoint: new.clone() };
    let delete =
        |old: &Endpoint| Change::Delete { service: service.to_owned(), endpoint: old.clone() };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for new in after {
        match before.iter().find(|old| *old == new) {
            Some(old) if old.authority() != new.authority() => last.extend([delete(new), add(new)]),
            Some(old) if old.weight() == new.weight() => {}
            _ => first.push(add(new)),
        }
    }
    first.extend(before.iter().filter(|old| !after.contains(old)).map(delete));
    first.append(&mut last);
    first
}

/// An endpoint whose name cannot be used. Its text is one line that names service and endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// The service.
    pub service: String,
    /// Which of its endpoints, counted from 0 in the order in which they were written.
    pub index: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.why)
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A resolver with three names: one address, two addresses, none.
    fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "one" => Ok(ips(&["127.0.0.1"])),
            "two" => Ok(ips(&["::1", "127.0.0.1"])),
            "none" => Ok(Vec::new()),
            _ => Err(io::Error::other("name or service not known")),
        }
    }

    fn names(routes: &str) -> Result<Names, NameError> {
        let routes = routes.split_whitespace().map(|route| route.parse().unwrap()).collect();
        Names::resolve(routes, lookup)
    }

    fn shown(changes: Vec<Change>) -> String {
        let one = |change: &Change| match change {
            Change::Add { service, endpoint } => {
                format!("+{service} {endpoint} {}", endpoint.weight())
            }
            Change::Delete { service, endpoint } => format!("-{service} {endpoint}"),
        };
        changes.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn views(names: &Names) -> String {
        let join = |list: Vec<Endpoint>| {
            list.iter().map(|e| format!("{e};{}", e.weight())).collect::<Vec<_>>().join(",")
        };
        let all: Vec<_> =
            names.services().map(|(name, list)| format!("{name}={}", join(list))).collect();
        all.join(" ")
    }

    // B6.4, B1.3
    #[test]
    fn every_address_of_a_name_is_an_endpoint() {
        for (routes, want) in [
            ("a/v1=two:80", "a/v1=[::1]:80;1,127.0.0.1:80;1"),
            ("a/v1=two:80,one:80", "a/v1=[::1]:80;1,127.0.0.1:80;1"),
            ("a/v1=one:80,two:80", "a/v1=127.0.0.1:80;1,[::1]:80;1"),
            ("a/v1=one:80,one:81", "a/v1=127.0.0.1:80;1,127.0.0.1:81;1"),
            ("a/v1=unix:/run/a.sock", "a/v1=unix:/run/a.sock;1"),
            ("a/v1=[::2]:8,10.0.0.1:8", "a/v1=[::2]:8;1,10.0.0.1:8;1"),
            (
                "a/v1=http://one:80/b?k;weight=3 *=two:8",
                "a/v1=127.0.0.1:80/b?k;3 *=[::1]:8;1,127.0.0.1:8;1",
            ),
        ] {
            assert_eq!(views(&names(routes).unwrap()), want, "{routes}");
        }
    }

    // B1.5
    #[test]
    fn what_cannot_be_resolved_is_named() {
        for (routes, index, said) in [
            ("a/v1=x:80", 0, "a/v1: x:80: cannot resolve the name: name or service not known"),
            ("a/v1=one:80 b/v2=one:1,none:81", 1, "b/v2: none:81: cannot resolve the name: the"),
            ("a/v1=one:80;weight=1,two:80;weight=2", 1, "127.0.0.1:80 has two weights, 1 and 2"),
        ] {
            let error = names(routes).unwrap_err();
            assert!(error.to_string().contains(said), "{routes}: {error}");
            assert_eq!(error.index, index, "{routes}");
        }
    }

    // B6.4: a name is asked for once, an address never.
    #[test]
    fn what_is_asked_for() {
        let mut asked = Vec::new();
        let routes = ["a/v1=one:1,127.0.0.1:2,unix:/p", "b/v1=http://one:3/,[::1]:1,two:2"];
        let names = Names::resolve(routes.map(|r| r.parse().unwrap()).into(), |host| {
            asked.push(host.to_owned());
            lookup(host)
        })
        .unwrap();
        assert_eq!(asked, ["one", "two"]);
        assert_eq!(names.hosts(), ["one", "two"]);
    }

    // B6.4: the whole view is compared with what was handed out.
    #[test]
    fn what_an_answer_changes() {
        for (routes, host, addresses, changes) in [
            ("a/v1=one:80", "one", &["127.0.0.1"][..], ""),
            ("a/v1=two:80", "two", &["127.0.0.1", "::1"], ""),
            ("a/v1=one:80", "two", &["10.0.0.1"], ""),
            ("a/v1=one:80", "one", &["10.0.0.1"], "+a/v1 10.0.0.1:80 1, -a/v1 127.0.0.1:80"),
            ("a/v1=two:80", "two", &["::1"], "-a/v1 127.0.0.1:80"),
            ("a/v1=one:80", "one", &["127.0.0.1", "::1", "::1"], "+a/v1 [::1]:80 1"),
            // Another entry still stands for it, under another authority or the same.
            (
                "a/v1=two:80,127.0.0.1:80",
                "two",
                &["::1"],
                "-a/v1 127.0.0.1:80, +a/v1 127.0.0.1:80 1",
            ),
            ("a/v1=two:80,one:80", "one", &["::1"], ""),
            // Two services and two ports by one name.
            (
                "a/v1=one:80;weight=2,one:81 b/v1=one:80",
                "one",
                &["::2", "127.0.0.1"],
                "+a/v1 [::2]:80 2, +a/v1 [::2]:81 1, +b/v1 [::2]:80 1",
            ),
        ] {
            let mut names = names(routes).unwrap();
            assert_eq!(shown(names.learn(host, &ips(addresses))), changes, "{routes}");
            assert_eq!(shown(names.learn(host, &ips(addresses))), "", "{routes}, again");
        }
        // The first entry says weight and authority; when it stands for it no more, the next does.
        let mut names = names("a/v1=one:80;weight=5,10.0.0.1:80").unwrap();
        let both = ips(&["127.0.0.1", "10.0.0.1"]);
        assert_eq!(shown(names.learn("one", &both)), "-a/v1 10.0.0.1:80, +a/v1 10.0.0.1:80 5");
        assert_eq!(shown(names.learn("one", &both[..1])), "-a/v1 10.0.0.1:80, +a/v1 10.0.0.1:80 1");
    }

    // B9.1: what another configuration changes.
    #[test]
    fn what_other_names_change() {
        for (before, after, changes) in [
            ("a/v1=one:1", "a/v1=127.0.0.1:1", "-a/v1 127.0.0.1:1, +a/v1 127.0.0.1:1 1"),
            ("a/v1=one:1", "a/v1=one:1", ""),
            ("a/v1=one:1", "a/v1=one:1;weight=2", "+a/v1 127.0.0.1:1 2"),
            ("a/v1=one:1", "a/v1=one:2", "+a/v1 127.0.0.1:2 1, -a/v1 127.0.0.1:1"),
            ("a/v1=one:1", "b/v1=one:1", "+b/v1 127.0.0.1:1 1, -a/v1 127.0.0.1:1"),
            ("a/v1=unix:/a b/v1=one:1", "b/v1=one:1", "-a/v1 unix:/a"),
        ] {
            let mut known = names(before).unwrap();
            assert_eq!(shown(known.replace(names(after).unwrap())), changes, "{before} {after}");
            assert_eq!(views(&known), views(&names(after).unwrap()));
        }
    }
}

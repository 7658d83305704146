//! From the text of a configuration file to what it says.
//!
//! TOML, with the names of the command line: `listen`, `balance`, every key of [`Config`], and the
//! services. Every complaint is one line, `FILE:LINE:COLUMN: KEY: what is wrong`. This file does
//! not know what arguments say.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use pointsman::{Config, RouteSpec};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::draft::{At, Balancing, Draft, Service, nearest, one_line};

/// More than anybody writes; `/dev/zero` is no configuration.
const MAX_BYTES: u64 = 16 << 20;

/// The keys that are not of [`Config`].
const TOP: [&str; 4] = ["listen", "balance", "workers", "services"];
const OF_A_SERVICE: [&str; 2] = ["endpoints", "balance"];

/// The text of the file at `path`. An error is one line that names it.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let got = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    let text = got.and_then(|_| match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other("the file is too large")),
        false => Ok(()),
    });
    text.map_err(|why| one_line(format!("{}: {why}", path.display())))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default());
        one_line(format!("{}: the text is not UTF-8", position(path, &before)))
    })
}

/// What `text`, the content of the file at `path`, says.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Draft, String> {
    let mut reader = Reader { path, text, draft: Draft::default() };
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let (place, found) = (reader.place(span.clone()), text.get(span).unwrap_or_default());
        let found = if found.is_empty() { String::new() } else { format!(" {found}:") };
        one_line(format!("{place}:{found} {}", error.message()))
    })?;
    for Entry { key, name, value } in entries(table.get_ref()) {
        reader.top(&key, name, value)?;
    }
    Ok(reader.draft)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    draft: Draft,
}

struct Entry<'a> {
    /// Where the key stands.
    key: Range<usize>,
    name: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

/// The entries of a table in the order in which they were written.
fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let entry = |(key, value): (&'a Spanned<_>, _)| {
        let name: &std::borrow::Cow<'a, str> = key.get_ref();
        Entry { key: key.span(), name, value }
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key.start);
    entries
}

impl Reader<'_> {
    fn top(
        &mut self,
        key: &Range<usize>,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), String> {
        match name {
            "listen" => {
                for (text, at) in self.strings(name, value)? {
                    self.draft.listen(&text, &at)?;
                }
                Ok(())
            }
            "balance" => {
                self.draft.balancing = Some(self.balancing(name, value)?);
                Ok(())
            }
            "workers" => {
                let (at, found) = (self.at(value.span(), name), value.get_ref());
                let wrong = || at.says(format!("takes a number; this is: {}", found.type_str()));
                let count = word(found).ok_or_else(wrong)?;
                self.draft.workers(&count, at)
            }
            "services" => self.services(value),
            _ if Config::keys().any(|(known, ..)| known == name) => self.setting(name, value),
            _ => {
                let known = TOP.into_iter().chain(Config::keys().map(|(key, ..)| key));
                Err(self.at(key.clone(), name).says(unknown(name, known)))
            }
        }
    }

    /// A key of [`Config`]: a string as in an argument, or what TOML has for it.
    fn setting(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let at = self.at(value.span(), name);
        let text = match value.get_ref() {
            DeValue::Array(items) => self.list(name, items.iter(), &at)?,
            DeValue::Boolean(_) => {
                let text = word(value.get_ref()).unwrap_or_default();
                match Config::default().set(name, &text) {
                    Ok(()) => text,
                    Err(_) => return Err(at.says(wrong_type(name, value.get_ref()))),
                }
            }
            other => word(other).ok_or_else(|| at.says(wrong_type(name, other)))?,
        };
        self.draft.set(name, &text, at)
    }

    /// Several values as one text, by comma. A key takes a list if it takes an empty one: `none`.
    fn list<'v>(
        &self,
        name: &str,
        items: impl Iterator<Item = &'v Spanned<DeValue<'v>>>,
        at: &At,
    ) -> Result<String, String> {
        let empty = "none".to_owned();
        if Config::default().set(name, &empty).is_err() {
            return Err(at.says("takes one value, not an array"));
        }
        let mut words = Vec::new();
        for item in items {
            let at = self.at(item.span(), name);
            let word = word(item.get_ref());
            let word = word.ok_or_else(|| at.says(wrong_type(name, item.get_ref())))?;
            Draft::default().set(name, &word, at)?;
            words.push(word);
        }
        Ok(if words.is_empty() { empty } else { words.join(",") })
    }

    fn services(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let DeValue::Table(table) = value.get_ref() else {
            let found = value.get_ref().type_str();
            let why = format!("takes tables, as in [services.\"name/version\"]; this is: {found}");
            return Err(self.at(value.span(), "services").says(why));
        };
        for Entry { key, name, value } in entries(table) {
            let at = self.at(key, &format!("services.{name:?}"));
            let route = RouteSpec::new(name).map_err(|why| at.says(why))?;
            let service = self.service(route, value, &at)?;
            self.draft.services.push(service);
        }
        Ok(())
    }

    fn service(
        &self,
        route: RouteSpec,
        value: &Spanned<DeValue<'_>>,
        at: &At,
    ) -> Result<Service, String> {
        let DeValue::Table(table) = value.get_ref() else {
            let found = value.get_ref().type_str();
            return Err(at.says(format!("takes a table with endpoints = [...]; this is: {found}")));
        };
        let prefix = format!("services.{:?}", route.service);
        let mut service = Service { route, places: Vec::new(), balancing: None };
        for Entry { key, name, value } in entries(table) {
            let whole = format!("{prefix}.{name}");
            match name {
                "endpoints" => {
                    for (text, at) in self.strings(&whole, value)? {
                        service.route.add(&text).map_err(|why| at.says(why))?;
                        service.places.push(at);
                    }
                }
                "balance" => service.balancing = Some(self.balancing(&whole, value)?),
                _ => {
                    let why = match Config::keys().any(|(known, ..)| known == name) {
                        true => "belongs to the top of the file, above the first [...]".to_owned(),
                        false => unknown(name, OF_A_SERVICE.into_iter()),
                    };
                    return Err(self.at(key, &whole).says(why));
                }
            }
        }
        if service.places.is_empty() {
            return Err(at.says("has no endpoint; write endpoints = [\"host:port\"]"));
        }
        Ok(service)
    }

    fn balancing(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Balancing, String> {
        let at = self.at(value.span(), key);
        let found = value.get_ref();
        let name = found.as_str().ok_or_else(|| {
            at.says(format!("takes a string, as in \"p2c\"; this is: {}", found.type_str()))
        })?;
        Balancing::read(name, &at)
    }

    /// The strings of an array, each with its place.
    fn strings(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(String, At)>, String> {
        let wrong = |value: &Spanned<DeValue<'_>>| {
            let found = value.get_ref().type_str();
            let why = format!("takes an array of strings, as in [\"HOST:PORT\"]; this is: {found}");
            self.at(value.span(), key).says(why)
        };
        let items = value.get_ref().as_array().ok_or_else(|| wrong(value))?;
        let mut strings = Vec::new();
        for item in items.iter() {
            let text = item.get_ref().as_str().ok_or_else(|| wrong(item))?;
            strings.push((text.to_owned(), self.at(item.span(), key)));
        }
        Ok(strings)
    }

    fn at(&self, span: Range<usize>, key: &str) -> At {
        At::File { place: self.place(span), key: key.to_owned() }
    }

    fn place(&self, span: Range<usize>) -> String {
        position(self.path, self.text.get(..span.start).unwrap_or(self.text))
    }
}

/// `FILE:LINE:COLUMN` of what stands behind `before`; both count from 1, columns in letters.
fn position(path: &Path, before: &str) -> String {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!("{}:{line}:{column}", path.display())
}

/// A single value as an argument would say it.
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(decimal(number)),
        DeValue::Boolean(yes) => Some(if *yes { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

fn decimal(number: &DeInteger<'_>) -> String {
    // What does not fit is refused as it stands, by who knows what the number is for.
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.to_string(), |value| value.to_string())
}

fn wrong_type(name: &str, value: &DeValue<'_>) -> String {
    let default = Config::keys().find(|(key, ..)| *key == name).map_or("", |(_, it, _)| it);
    format!("takes a string, as in {name} = {default:?}; this is: {}", value.type_str())
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = nearest(name, known).map_or("none", |(_, word)| word);
    format!("there is no such key; the nearest is {nearest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Draft, String> {
        parse(Path::new("f.toml"), text)
    }

    // B1.4: a value may be written as TOML has it, or as an argument has it.
    #[test]
    fn b1_4_values() {
        for (text, same) in [
            ("connect = '250ms'", ("connect", "250ms")),
            ("memory = 33_554_432", ("memory", "33554432")),
            ("memory = 0x2000000", ("memory", "32MiB")),
            ("memory = '32MiB'", ("memory", "32MiB")),
            ("max-connections = 7", ("max-connections", "7")),
            ("max-connections = '7'", ("max-connections", "7")),
            ("via = true", ("via", "on")),
            ("via = false", ("via", "off")),
            ("via = 'on'", ("via", "on")),
            ("trusted = '10.0.0.0/8, ::1'", ("trusted", "10.0.0.0/8,::1")),
            ("trusted = ['10.0.0.0/8', '::1']", ("trusted", "10.0.0.0/8,::1")),
            ("trusted = ['::1']", ("trusted", "::1")),
            ("trusted = []", ("trusted", "none")),
            ("retry-status = [502, 504]", ("retry-status", "502,504")),
            ("retry-status = 502", ("retry-status", "502")),
            ("resume = false", ("resume", "off")),
            ("health-check = '/a,/b'", ("health-check", "/a,/b")),
        ] {
            let mut want = Config::default();
            want.set(same.0, same.1).unwrap();
            let config = read(text).unwrap_or_else(|e| panic!("{text}: {e}")).config();
            assert_eq!(config, Ok(want), "{text}");
        }
    }

    #[test]
    fn b1_4_services_keep_their_order() {
        let text = "\
            [services.\"z/v1\"]\n\
            endpoints = [\n  'localhost:1', # a comment\n  'http://localhost:2/a,b;weight=2',\n]\n\
            [services]\n\"a/v1\".endpoints = [\"unix:/p\"]\n\"*\" = { endpoints = ['[::1]:1'], \
            balance = 'hash:X-User' }";
        let draft = read(text).unwrap();
        let shown = draft.services.iter().map(|service| {
            let name = service.balancing.as_ref().map_or("", |own| &own.name);
            (service.route.service.as_str(), service.places.len(), name)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [("z/v1", 2, ""), ("a/v1", 1, ""), ("*", 1, "hash:X-User")]
        );
    }

    // The example is the reference: it cannot miss a key or be wrong about a default.
    #[test]
    fn b1_4_the_example_says_every_key_and_its_default() {
        let text = include_str!("../../../docs/pointsman.example.toml");
        let table = DeTable::parse(text).unwrap();
        for (key, default, _) in Config::keys() {
            let named = table.get_ref().contains_key(key);
            assert!(named, "docs/pointsman.example.toml lacks: {key} = {default:?}");
        }
        let draft = read(text).unwrap();
        assert_eq!(draft.config(), Ok(Config::default()));
        let listen: Vec<_> = draft.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, [crate::cli::DEFAULT_LISTEN]);
        let balancing = draft.balancing.map(|balancing| balancing.name);
        assert_eq!(balancing.as_deref(), Some(crate::cli::DEFAULT_BALANCE));
        assert_eq!(draft.services.len(), 2);
    }

    /// A text, and the line that says what is wrong with it.
    const WRONG: &[(&str, &str)] = &[
        ("conect = '1s'", "1:1: conect: there is no such key; the nearest is connect"),
        ("\n\n  max_head = '1s'", "3:3: max_head: there is no such key; the nearest is max-head"),
        ("service = 1", "1:1: service: there is no such key; the nearest is services"),
        ("demo = true", "1:1: demo: there is no such key; the nearest is "),
        ("connect = 5", "1:11: connect: \"5\": a time needs a unit, as in 250ms, 5s, 2m or 1h"),
        ("connect = 'soon'", "1:11: connect: \"soon\": a time needs a unit"),
        ("connect = true", "1:11: connect: takes a string, as in connect = \"1s\"; this is: bool"),
        ("connect = 1.5", "1:11: connect: takes a string, as in connect = \"1s\"; this is: float"),
        ("connect = ['1s']", "1:11: connect: takes one value, not an array"),
        ("connect = ['1s', '2s']", "1:11: connect: takes one value, not an array"),
        ("health-check = ['/a']", "1:16: health-check: takes one value, not an array"),
        (
            "health-check = true",
            "1:16: health-check: takes a string, as in health-check = \"off\"; ",
        ),
        ("retry-status = [502, 500]", "1:22: retry-status: \"500\": is none of: 502, 503, 504"),
        ("connect = []", "1:11: connect: takes one value, not an array"),
        ("connect = {}", "1:11: connect: takes a string, as in connect = \"1s\"; this is: table"),
        ("[connect]", "connect: takes a string"),
        ("via = 1979-05-27", "1:7: via: takes a string, as in via = \"off\"; this is: datetime"),
        ("max-connections = -1", "1:19: max-connections: \"-1\": is not a whole number"),
        ("max-connections = 99999999999999999999", "\"99999999999999999999\": is too large"),
        ("memory = 0", "1:10: memory: \"0\": must not be 0"),
        ("trusted = ['::1',\n 'friends']", "2:2: trusted: \"friends\": "),
        ("trusted = [['::1']]", "1:12: trusted: takes a string, as in trusted = \"none\"; this is"),
        ("listen = '127.0.0.1:1'", "1:10: listen: takes an array of strings"),
        ("listen = [1]", "1:11: listen: takes an array of strings, as in [\"HOST:PORT\"]; this is"),
        ("listen = ['x']", "1:11: listen: \"x\": "),
        ("listen = ['[::]:1',\n'[::]:1']", "2:1: listen: \"[::]:1\": is given twice"),
        ("balance = 'best'", "1:11: balance: \"best\": "),
        ("balance = 1", "1:11: balance: takes a string, as in \"p2c\"; this is: integer"),
        ("services = 1", "1:12: services: takes tables, as in [services.\"name/version\"]; this"),
        ("[[services]]", "services: takes tables"),
        ("[services]\n'a/v1' = ['h:1']", "2:1: services.\"a/v1\": takes a table with endpoints"),
        ("[services.a]", "1:11: services.\"a\": route \"a\" is not a service; write service/ver"),
        ("[services.'a/v1']", "1:11: services.\"a/v1\": has no endpoint; write endpoints = ["),
        ("[services.'a/v1']\nendpoints = []", "1:11: services.\"a/v1\": has no endpoint"),
        ("[services.'a/v1']\nendpoints = 'h:1'", "2:13: services.\"a/v1\".endpoints: takes an ar"),
        (
            "[services.'a/v1']\nendpoints = ['h:1', 'é:1']",
            "2:21: services.\"a/v1\".endpoints: endpoint \"é:1\": \"é\" is not a host name",
        ),
        (
            "[services.'a/v1']\nendpoints = [\n'h:1',\n'H:1']",
            "4:1: services.\"a/v1\".endpoints: route \"a/v1\" has the endpoint \"H:1\" twice",
        ),
        (
            "[services.'a/v1']\nendpoint = ['h:1']",
            "2:1: services.\"a/v1\".endpoint: there is no such key; the nearest is endpoints",
        ),
        (
            "[services.'a/v1']\nendpoints = ['h:1']\nconnect = '1s'",
            "3:1: services.\"a/v1\".connect: belongs to the top of the file",
        ),
        ("[services.'a/v1']\nbalance = 'x'", "2:11: services.\"a/v1\".balance: \"x\": "),
        ("via = true\nvia = true", "2:1: via: duplicate key"),
        ("[services.'a/v1']\n[services.'a/v1']", "2:11: 'a/v1': duplicate key"),
        ("via = ", "1:"),
        ("via = 'on", "1:"),
        ("[services.a/v1]", "1:12: /: invalid unquoted key"),
        ("\"\\u001b[31m\\n\" = 1", "1:1: \\u{1b}[31m\\n: there is no such key"),
        ("é = 1", "1:1: "),
        ("'é' = 'é', 1", "1:10: "),
    ];

    #[test]
    fn b1_5_a_wrong_file_is_one_line_with_its_place() {
        for (text, said) in WRONG {
            let error = match read(text) {
                Err(error) => error,
                Ok(draft) => panic!("{text:?} was taken: {draft:?}"),
            };
            assert!(error.starts_with("f.toml:") && error.contains(said), "{text:?}: {error}");
            assert!(!error.contains(char::is_control), "{text:?}: {error:?}");
        }
    }
}

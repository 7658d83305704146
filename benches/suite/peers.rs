//! The proxies: what each is called, where it is found, and its variants. How each is configured
//! is in `config.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Pointsman,
    Nginx,
    Haproxy,
    Caddy,
    Go,
    /// No proxy: the load speaks to the origin.
    Direct,
}

/// A proxy with settings.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) program: Program,
    /// What makes a variant: words that `config.rs` understands, or arguments of pointsman.
    pub(crate) extra: &'static [&'static str],
    pub(crate) path: PathBuf,
}

/// Names, programs, and what is different in a variant.
const PEERS: [(&str, Program, &[&str]); 13] = [
    ("pointsman", Program::Pointsman, &[]),
    ("pointsman-bare", Program::Pointsman, &["--forwarded", "off"]),
    ("pointsman-fresh", Program::Pointsman, &["--reuse-unsafe", "fresh"]),
    ("pointsman-always", Program::Pointsman, &["--reuse-unsafe", "always"]),
    ("nginx", Program::Nginx, &[]),
    ("nginx-4k", Program::Nginx, &["client_header_buffer_size 4k;"]),
    (
        "nginx-32k",
        Program::Nginx,
        &["proxy_buffer_size 32k;", "proxy_buffers 8 32k;", "proxy_busy_buffers_size 64k;"],
    ),
    ("haproxy", Program::Haproxy, &[]),
    ("haproxy-32k", Program::Haproxy, &["tune.bufsize 32768"]),
    ("haproxy-splice", Program::Haproxy, &["splice"]),
    ("caddy", Program::Caddy, &[]),
    ("go", Program::Go, &[]),
    ("direct", Program::Direct, &[]),
];

/// Programs that are not on the path of every user.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];

impl Peer {
    pub(crate) fn version(&self) -> String {
        let argument = match self.program {
            Program::Pointsman => "--version",
            Program::Nginx | Program::Haproxy => "-v",
            Program::Caddy => "version",
            Program::Go => return go_version(),
            Program::Direct => return String::new(),
        };
        said(Command::new(&self.path).arg(argument))
    }
}

fn go_version() -> String {
    said(Command::new("go").arg("version")).replace("go", "")
}

/// The first word with a number in what a command says.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "?".into() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let digits =
        |w: &&str| w.trim_start_matches("go").trim_start_matches('v').starts_with(char::is_numeric);
    text.split([' ', '/', '\n']).find(digits).unwrap_or("?").trim_start_matches('v').to_owned()
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whoever is here, and the names of those who are not.
pub(crate) fn gather(
    pointsman: &Path,
    also: &[(String, PathBuf)],
    workshop: &Path,
) -> (Vec<Peer>, Vec<String>) {
    let go = build_go(workshop);
    let mut missing = Vec::new();
    let mut peers = Vec::new();
    for (name, program, extra) in PEERS {
        let path = match program {
            Program::Pointsman => Some(pointsman.to_path_buf()),
            Program::Nginx => find("nginx"),
            Program::Haproxy => find("haproxy"),
            Program::Caddy => find("caddy"),
            Program::Go => go.clone(),
            Program::Direct => Some(PathBuf::new()),
        };
        match path {
            Some(path) => peers.push(Peer { name: name.to_owned(), program, extra, path }),
            None => missing.push(name.to_owned()),
        }
        if name == "pointsman" {
            peers.extend(also.iter().map(|(name, path)| Peer {
                name: format!("pointsman-{name}"),
                program: Program::Pointsman,
                extra: &[],
                path: path.clone(),
            }));
        }
    }
    (peers, missing)
}

/// The Go proxy, if there is a Go.
fn build_go(workshop: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/suite/goproxy/main.go");
    let program = workshop.join("goproxy");
    let mut command = Command::new(find("go")?);
    command.args(["build", "-o"]).arg(&program).arg(source);
    // A cache that stays, so that only the first run takes its time.
    command.env("GOCACHE", std::env::temp_dir().join("pointsman-suite-go"));
    command.env("GO111MODULE", "off").env("GOFLAGS", "");
    command.status().ok().filter(|status| status.success()).map(|_| program)
}

/// Installs what is missing from Debian's packages, where that can be done.
pub(crate) fn install() {
    let wanted = [
        ("nginx", "nginx-light"),
        ("haproxy", "haproxy"),
        ("caddy", "caddy"),
        ("go", "golang-go"),
        ("strace", "strace"),
        ("valgrind", "valgrind"),
    ];
    let missing: Vec<&str> =
        wanted.iter().filter(|(p, _)| find(p).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() || find("apt-get").is_none() {
        return;
    }
    println!("installing {}", missing.join(" "));
    let line = format!(
        "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
         --no-install-recommends {} >/dev/null",
        missing.join(" ")
    );
    let root = said(Command::new("id").arg("-u")) == "0";
    let mut command = Command::new(if root { "sh" } else { "sudo" });
    if !root {
        command.args(["-n", "sh"]);
    }
    match command.args(["-c", &line]).status() {
        Ok(status) if status.success() => {}
        _ => println!("that failed: going on without"),
    }
}

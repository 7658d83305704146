//! How each proxy is configured for the job: one worker, kept connections to the origin, HTTP/1.1,
//! no log, and the first two segments of the path cut off.
//!
//! What each one's documentation recommends is set; what would only make a number smaller and a
//! proxy useless is not. It does not know what is measured.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::peers::{Peer, Program};
use crate::shape::service_name;

/// What a proxy has in front of it and behind it.
pub(crate) struct Setting<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) port: u16,
    pub(crate) backends: &'a [u16],
    pub(crate) services: usize,
    /// Clients at the same time.
    pub(crate) connections: usize,
    /// Requests at the same time.
    pub(crate) inflight: usize,
    /// One of the endpoints is known not to live: what a proxy has against that is switched on.
    pub(crate) dead: bool,
}

/// A program, its arguments, and what belongs into its environment.
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// Connections to the origin that are kept, at least; for more requests at once, more.
const KEPT: usize = 256;
/// Nobody shall be refused: so many more clients are allowed than will come.
const SPARE: usize = 200;
/// pointsman's buffers, of two times 16 KiB for each request under way.
const BUFFERS: usize = 32_768;
const LEAST_MEMORY: usize = 64 << 20;

impl Setting<'_> {
    fn kept(&self) -> usize {
        KEPT.max(2 * self.inflight).max(2 * self.backends.len())
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.services).map(service_name)
    }

    fn file(&self, name: &str, text: &str) -> io::Result<String> {
        let file = self.dir.join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    }

    fn each_backend(&self, line: impl Fn(usize, u16) -> String) -> String {
        self.backends.iter().enumerate().map(|(at, port)| line(at, *port)).collect()
    }
}

pub(crate) fn invocation(peer: &Peer, setting: &Setting<'_>) -> io::Result<Invocation> {
    let (args, env) = match peer.program {
        Program::Pointsman => (pointsman(peer, setting)?, Vec::new()),
        Program::Nginx => (nginx(peer, setting)?, Vec::new()),
        Program::Haproxy => (haproxy(peer, setting)?, Vec::new()),
        Program::Caddy => {
            let dir = setting.dir.display().to_string();
            let homes = ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"];
            let mut env: Vec<_> = homes.into_iter().map(|name| (name, dir.clone())).collect();
            env.push(("GOMAXPROCS", "1".into()));
            (caddy(setting)?, env)
        }
        Program::Go => {
            let list = setting.each_backend(|_, port| format!("127.0.0.1:{port},"));
            let list = list.trim_end_matches(',').to_owned();
            let args = vec![setting.port.to_string(), setting.services.to_string(), list];
            (args, vec![("GOMAXPROCS", "1".into())])
        }
        Program::Direct => return Err(io::Error::other("nothing to start")),
    };
    Ok(Invocation { program: peer.path.clone(), args, env })
}

fn pointsman(peer: &Peer, setting: &Setting<'_>) -> io::Result<Vec<String>> {
    let memory = LEAST_MEMORY.max((setting.inflight + 64) * BUFFERS);
    let list: Vec<_> = setting.backends.iter().map(|p| format!("\"127.0.0.1:{p}\"")).collect();
    let mut text = format!(
        "listen = [\"127.0.0.1:{}\"]\nmax-connections = {}\nmemory = \"{memory}\"\n\
         idle-per-endpoint = {}\nidle-total = {}\nupstream-idle = \"10m\"\nclient-idle = \"10m\"\n",
        setting.port,
        setting.connections.max(10_000) + SPARE,
        setting.kept(),
        setting.kept(),
    );
    for name in setting.names() {
        let _ = write!(text, "[services.\"{name}\"]\nendpoints = [{}]\n", list.join(", "));
    }
    let mut args = vec!["--config".to_owned(), setting.file("pointsman.toml", &text)?];
    args.extend(peer.extra.iter().map(|word| (*word).to_owned()));
    Ok(args)
}

/// A location for each service: they are found in a tree.
fn nginx(peer: &Peer, setting: &Setting<'_>) -> io::Result<Vec<String>> {
    // By default an endpoint that fails is left alone for ten seconds.
    let fails = if setting.dead { "" } else { " max_fails=0" };
    let servers = setting.each_backend(|_, port| format!("server 127.0.0.1:{port}{fails}; "));
    let mut locations = String::new();
    for name in setting.names() {
        let _ = writeln!(locations, "    location /{name}/ {{ proxy_pass http://endpoints/; }}");
    }
    let text = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile {files};
pid {place}/nginx.pid; error_log {place}/nginx.log crit;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  keepalive_timeout 600s; keepalive_requests 1000000000; client_max_body_size 0;
  {extra}
  upstream endpoints {{
    {servers}
    keepalive {kept}; keepalive_requests 1000000000; keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
{locations}  }}
}}
",
        files = 2 * (setting.connections + setting.kept() + SPARE),
        place = setting.dir.display(),
        extra = peer.extra.join(" "),
        kept = setting.kept(),
        port = setting.port,
    );
    let file = setting.file("nginx.conf", &text)?;
    Ok(vec!["-p".into(), setting.dir.display().to_string(), "-c".into(), file])
}

fn haproxy(peer: &Peer, setting: &Setting<'_>) -> io::Result<Vec<String>> {
    let check = if setting.dead { " check inter 500ms fall 1" } else { "" };
    let servers =
        setting.each_backend(|at, port| format!("  server s{at} 127.0.0.1:{port}{check}\n"));
    let splice = peer.extra == ["splice"];
    let global = if splice { String::new() } else { peer.extra.join("\n  ") };
    let splice = if splice { "option splice-request\n  option splice-response" } else { "" };
    let map: String = setting.names().map(|name| format!("{name} endpoints\n")).collect();
    let map = setting.file("services.map", &map)?;
    // One service has a prefix of a known length; of many, the map says which is which.
    let (choose, cut) = if setting.services == 1 {
        ("use_backend endpoints if { path_beg /s/v1/ }".to_owned(), "%[path,bytes(5)]")
    } else {
        (format!("use_backend %[path,field(2,/,2),map_str({map})]"), "/%[path,field(4,/,0)]")
    };
    let text = format!(
        "global
  nbthread 1
  maxconn {clients}
  no strict-limits
  tune.pool-high-fd-ratio 90
  tune.pool-low-fd-ratio 80
  {global}
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-no-delay
  option redispatch 1
  retries 3
  {splice}
frontend in
  bind 127.0.0.1:{port} backlog 4096
  {choose}
backend endpoints
  balance roundrobin
  http-reuse always
  http-request set-path {cut}
  default-server pool-max-conn {kept} pool-low-conn {kept} pool-purge-delay 600s
{servers}",
        clients = setting.connections + setting.kept() + SPARE,
        port = setting.port,
        kept = setting.kept(),
    );
    Ok(vec!["-db".into(), "-f".into(), setting.file("haproxy.cfg", &text)?])
}

fn caddy(setting: &Setting<'_>) -> io::Result<Vec<String>> {
    let upstreams = setting.each_backend(|_, port| format!(" 127.0.0.1:{port}"));
    let dead = "lb_try_duration 5s
    lb_try_interval 10ms
    fail_duration 10s";
    let mut routes = String::new();
    for name in setting.names() {
        let _ = write!(routes, "  handle_path /{name}/* {{\n    import endpoints\n  }}\n");
    }
    let text = format!(
        "{{
  admin off
  auto_https off
  log {{
    level ERROR
  }}
  servers {{
    protocols h1
  }}
}}
(endpoints) {{
  reverse_proxy{upstreams} {{
    lb_policy round_robin
    {dead}
    transport http {{
      compression off
      keepalive 600s
      keepalive_idle_conns_per_host {kept}
    }}
  }}
}}
http://:{port} {{
  bind 127.0.0.1
{routes}}}
",
        dead = if setting.dead { dead } else { "" },
        kept = setting.kept(),
        port = setting.port,
    );
    let file = setting.file("Caddyfile", &text)?;
    Ok(vec!["run".into(), "--adapter".into(), "caddyfile".into(), "--config".into(), file])
}

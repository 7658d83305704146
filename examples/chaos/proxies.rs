//! The proxies: how each is found, configured so that it loses as little as its documentation can
//! make it lose, started and reloaded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Running, await_port, free_port};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Pointsman,
    Nginx,
    /// Repeats idempotent requests only.
    HaproxySafe,
    /// `retry-on all-retryable-errors`: repeats whatever it has in its buffer.
    HaproxyAll,
    Caddy,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Pointsman, Self::Nginx, Self::HaproxySafe, Self::HaproxyAll, Self::Caddy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pointsman => "pointsman",
            Self::Nginx => "nginx",
            Self::HaproxySafe => "haproxy-safe",
            Self::HaproxyAll => "haproxy-all",
            Self::Caddy => "caddy",
        }
    }

    /// The version, if it is installed.
    pub(crate) fn version(self, pointsman: &Path) -> Option<String> {
        let (program, argument) = match self {
            Self::Pointsman => (pointsman.to_path_buf(), "--version"),
            Self::Nginx => ("nginx".into(), "-v"),
            Self::HaproxySafe | Self::HaproxyAll => ("haproxy".into(), "-v"),
            Self::Caddy => ("caddy".into(), "version"),
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let digits = |word: &&str| word.trim_start_matches('v').starts_with(char::is_numeric);
        let words = text.split([' ', '/', '\n']);
        words.into_iter().find(digits).map(|word| word.trim_start_matches('v').to_owned())
    }
}

/// A proxy that runs.
pub(crate) struct Proxy {
    kind: Kind,
    running: Running,
    pub(crate) port: u16,
    /// Where caddy takes orders.
    admin: u16,
    dir: PathBuf,
}

impl Proxy {
    /// Starts it in front of `backends` and waits until it listens.
    pub(crate) fn start(
        kind: Kind,
        pointsman: &Path,
        dir: &Path,
        backends: &[u16],
    ) -> io::Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let mut command = match kind {
            Kind::Pointsman => pointsman_command(pointsman, dir, port, backends)?,
            Kind::Nginx => nginx_command(dir, port, backends)?,
            Kind::HaproxySafe => haproxy_command(dir, port, backends, SAFE)?,
            Kind::HaproxyAll => haproxy_command(dir, port, backends, ALL)?,
            Kind::Caddy => caddy_command(dir, port, admin, backends)?,
        };
        let running = Running::start(&mut command, &dir.join("proxy.log"))?;
        await_port(port, Duration::from_secs(5)).map_err(|error| {
            io::Error::other(format!("{} does not start: {error}", kind.name()))
        })?;
        Ok(Self { kind, running, port, admin, dir: dir.to_path_buf() })
    }

    /// The same configuration again, in the proxy's own way.
    pub(crate) fn reload(&self) -> io::Result<()> {
        match self.kind {
            Kind::Pointsman | Kind::Nginx => self.running.signal("HUP"),
            Kind::HaproxySafe | Kind::HaproxyAll => self.running.signal("USR2"),
            Kind::Caddy => {
                let address = format!("127.0.0.1:{}", self.admin);
                let mut command = Command::new("caddy");
                command.args(["reload", "--force", "--address", &address, "--config"]);
                command.arg(self.dir.join("Caddyfile")).stdout(Stdio::null());
                command.stderr(Stdio::null()).status().map(drop)
            }
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }
}

fn each(backends: &[u16], line: impl Fn(usize, u16) -> String) -> String {
    backends.iter().enumerate().map(|(index, port)| line(index, *port)).collect()
}

/// With nothing set: what pointsman promises, it promises by default.
fn pointsman_command(
    program: &Path,
    dir: &Path,
    port: u16,
    backends: &[u16],
) -> io::Result<Command> {
    let mut command = Command::new(program);
    let help = Command::new(program).arg("--help").output()?;
    let listen = format!("127.0.0.1:{port}");
    let endpoints: Vec<_> = backends.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    if String::from_utf8_lossy(&help.stdout).contains("--config") {
        let file = dir.join("pointsman.toml");
        let quoted: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        let list = quoted.join(", ");
        let text = format!("listen = [\"{listen}\"]\n\n[services]\n\"chaos/v1\" = [{list}]\n");
        fs::write(&file, text)?;
        command.arg("--config").arg(file);
    } else {
        command.args(["--listen", &listen, &format!("chaos/v1={}", endpoints.join(","))]);
    }
    Ok(command)
}

fn nginx_command(dir: &Path, port: u16, backends: &[u16]) -> io::Result<Command> {
    let servers = each(backends, |_, port| format!("server 127.0.0.1:{port} max_fails=0; "));
    let place = dir.display();
    let text = format!(
        "daemon off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  keepalive_requests 1000000; client_max_body_size 0;
  upstream endpoints {{ {servers} keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /chaos/v1/ {{
      proxy_pass http://endpoints/;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_connect_timeout 1s;
      proxy_next_upstream error timeout;
      proxy_buffering off;
    }}
  }}
}}
"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(file);
    Ok(command)
}

/// What is not idempotent is not repeated once it was written.
const SAFE: &str = "retry-on conn-failure empty-response response-timeout
  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }";
const ALL: &str = "retry-on all-retryable-errors";

fn haproxy_command(dir: &Path, port: u16, backends: &[u16], retries: &str) -> io::Result<Command> {
    let servers = each(backends, |index, port| format!("  server s{index} 127.0.0.1:{port}\n"));
    let text = format!(
        "global
  nbthread 1
  maxconn 8192
  tune.pool-high-fd-ratio 80
  tune.pool-low-fd-ratio 60
  hard-stop-after 30s
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout queue 5s
  option redispatch 1
  retries 3
  option http-no-delay
  option abortonclose
  option idle-close-on-response
frontend in
  bind 127.0.0.1:{port}
  default_backend endpoints
backend endpoints
  balance roundrobin
  http-reuse safe
  {retries}
  http-request replace-path /chaos/v1(/.*) \\1
  default-server pool-max-conn 512 pool-low-conn 64 pool-purge-delay 60s
{servers}"
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-W").arg("-f").arg(file);
    Ok(command)
}

fn caddy_command(dir: &Path, port: u16, admin: u16, backends: &[u16]) -> io::Result<Command> {
    let upstreams = each(backends, |_, port| format!(" 127.0.0.1:{port}"));
    let text = format!(
        "{{
  admin 127.0.0.1:{admin}
  auto_https off
  log {{
    level ERROR
  }}
}}
http://:{port} {{
  bind 127.0.0.1
  handle_path /chaos/v1/* {{
    reverse_proxy{upstreams} {{
      lb_policy round_robin
      lb_try_duration 5s
      lb_try_interval 50ms
      fail_duration 1s
      max_fails 5
      flush_interval -1
      transport http {{
        dial_timeout 1s
        keepalive 30s
        keepalive_idle_conns_per_host 512
      }}
    }}
  }}
}}
"
    );
    let file = dir.join("Caddyfile");
    fs::write(&file, text)?;
    let mut command = Command::new("caddy");
    command.arg("run").arg("--config").arg(file);
    command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    Ok(command)
}

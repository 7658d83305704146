//! The sentences of the page. The numbers come from `page.rs`.

pub(crate) const OPENING: &str = "\
# Benchmarks

What a request costs in pointsman, and in other proxies on the same machine in the same run. One
command repeats all of it; missing peers are installed from Debian's packages where that is allowed:

```sh
cargo bench --bench suite
```

`cargo bench --bench suite -- small fields30` runs two scenarios only, `--only pointsman,nginx` two
proxies only, `--list` says what there is, `--write` makes this page anew. It is written by the
suite (`benches/suite`) from [benchmarks/results.tsv](benchmarks/results.tsv); nobody edits it.
A cell is the median of the rounds, with the least and the most.
";

pub(crate) const MARKS: &str = "
## Marks

They were set before the first measurement. A ratio is pointsman's median over the one it is held
against.

";

pub(crate) const CPU: &str = "
## CPU time for each request

Load, origin and proxy take turns on one core, so that every proxy is measured busy. Microseconds of
the proxy's own CPU time, kernel included.

Again, with the long bodies and POSTs below: `cargo bench --bench suite -- --ask cpu`
";

pub(crate) const ONE: &str = "
One connection, one request at a time: the time until the answer, and what the proxy adds to it,
µs, median.

Again: `cargo bench --bench suite -- one`
";

pub(crate) const LONG: &str = "
## Long bodies

CPU seconds of the proxy for each GiB that it passes on, four clients at a time.

Where the machine's congestion control is BBR (see above), it paces the loopback as well. pointsman
asks for reno there, the others do not: much of its lead below is that. Where everybody has reno it
was 0.62 of HAProxy with splice down, and 0.52 up ([notes](performance-notes.md)).

Again: `cargo bench --bench suite -- down10m up10m upchunked10m`
";

pub(crate) const POSTS: &str = "
## POST with 1 KiB of body

In each setting of `reuse-unsafe`. The row without a suffix is `auto`, the default; its endpoints
have earned trust by GETs before the first round. The others put a POST on any kept connection.

Again: `cargo bench --bench suite -- post1k`
";

pub(crate) const APART: &str = "
## Throughput and latency

The proxy alone on one core, load and origin together on the other. Where the proxy's core is not
busy, load and origin are the limit, and the requests a second are theirs: `direct` shows how many
they reach without any proxy. Latency is measured at half of each one's own highest load and at a
rate that all can keep, from the time at which a request was meant to leave.

Again: `cargo bench --bench suite -- small mid16k`
";

pub(crate) const COUNTS: &str = "
## System calls and instructions

System calls under `strace -c`, instructions under callgrind, both of a proxy that has served
thousands of requests before the count begins. Noise does not touch them. callgrind runs no Go.

Again: `cargo bench --bench suite -- small close fields30`
";

pub(crate) const FOOTPRINT: &str = "
## Footprint

Memory of a master and its worker counts together. An idle client is one of 10,000, or of as many as
the descriptor limit allows, that each sent one request and stay; 64 others had warmed the proxy up
before. A wake-up is a return from sleep, counted by the kernel for 4 s, 6 s after the last request:
connections to the origin are kept for a while (ours for 4 s), and closing them is a wake-up.

Again: `cargo bench --bench suite -- start idle10k`

";

pub(crate) const CLOSING: &str = "
## How it is measured

- **The figure.** `/proc/PID/task/*/schedstat` of the proxy's processes, before and after a round;
  the load is at rest at both moments. Divided by the number of answers.
- **Turns.** `taskset` puts load, origin and proxy on the last core, `chrt -b 0` makes them batch
  tasks: none interrupts another. A fast proxy on a core of its own would sleep more often, and pay
  for its wake-ups.
- **Rounds.** All proxies of a scenario run at the same time, asleep. A round is given to one after
  the other, then again. Each begins with a part that does not count.
- **Checks.** The origin compares every body that it receives, the load every body that it gets,
  byte by byte. What differs in anything, or is not a 200, is lost, and shown.
- **The checks are checked.** Before each run the comparison is shown right messages, cut in two at
  every place, and wrong ones, each of which it must refuse.
- **Load and origin** are in `benches/suite`, a thread each, epoll. A head that was judged once is
  compared and not parsed again.
- **Latency at a fixed rate** counts from the time that was fixed beforehand. A pause is seen by
  every request that it holds up.

## Settings

`benches/suite/config.rs` has them all. Everybody: one worker or thread, HTTP/1.1 to the origin,
kept connections for twice as many requests as there can be, no log, `/s/v1` cut off, two endpoints.

- pointsman: defaults; limits of connections, idle connections and buffers as large as the scenario
  needs. It adds three `X-Forwarded-` fields, which nginx and HAProxy do not unless told to;
  `pointsman-bare` does without (`--forwarded off`).
- nginx: no spooling to disk, neither way. `nginx-4k` has `client_header_buffer_size 4k`,
  `nginx-32k` proxy buffers of 32 KiB.
- HAProxy: `http-reuse always`, pool limits raised. `haproxy-32k` has `tune.bufsize 32768`,
  `haproxy-splice` `option splice-request` and `splice-response`.
- Caddy and the Go proxy: `GOMAXPROCS=1`, no compression. The Go proxy is `ReverseProxy` of the
  standard library with a registry and a `Dial` of its own (`benches/suite/goproxy`).
- One endpoint dead: nginx with its default `max_fails=1`, HAProxy with `check`, Caddy with
  `fail_duration` and `lb_try_duration`.
";

#!/usr/bin/env bash
# System calls per warm keep-alive GET: the release program under `strace -c`, one table.
#
# Fails if a request costs more than 4.05 recv and send together, or if any other call that a
# warm request has no business making comes more than once in a hundred requests.
# Needs cargo and strace. REQUESTS and CONNECTIONS may be set from outside.
set -euo pipefail
cd "$(dirname "$0")/.."

requests=${REQUESTS:-40000}
connections=${CONNECTIONS:-64}
target=${CARGO_TARGET_DIR:-target}
source benches/started.sh

load() {
    "$target/release/examples/load" "$proxy" /s/v1/hello -c "$connections" -n "$1"
}

command -v strace >/dev/null || { echo "syscalls: strace is not installed" >&2; exit 1; }
cargo build --release --quiet --bin pointsman --examples

for n in 1 2; do
    "$target/release/examples/origin" 0 >"$work/origin$n" &
    started+=($!)
done
first=$(address_in "$work/origin1")
second=$(address_in "$work/origin2")

# Every connection of the load may be idle in the pool at once, so that none is closed for room.
"$target/release/pointsman" -l 127.0.0.1:0 --idle-per-endpoint 512 --idle-total 1024 \
    "s/v1=$first,$second" 2>"$work/proxy" &
pid=$!
started+=("$pid")
proxy=$(address_in "$work/proxy")

load 20000 >/dev/null
strace -f -c -U name,calls -o "$work/counts" -p "$pid" 2>"$work/strace" &
tracer=$!
for _ in $(seq 100); do
    grep -q attached "$work/strace" && break
    sleep 0.05
done
grep -q attached "$work/strace" || { cat "$work/strace" >&2; exit 1; }
load "$requests"
kill -INT "$tracer"
wait "$tracer" || true

awk -v requests="$requests" '
    BEGIN { printf "%-16s %10s %12s\n", "system call", "calls", "a request" }
    $2 !~ /^[0-9]+$/ || $1 == "total" { next }
    {
        each = $2 / requests
        printf "%-16s %10d %12.4f\n", $1, $2, each
        if ($1 ~ /^(recv|recvfrom|read|readv|recvmsg|send|sendto|write|writev|sendmsg)$/) moved += each
        else if ($1 !~ /^epoll_p?wait2?$/ && each > 0.01) strange = strange " " $1
    }
    END {
        printf "recv and send together: %.4f a request\n", moved
        if (moved < 3.9) { print "FAILED: too few calls were counted"; exit 1 }
        if (moved > 4.05) { print "FAILED: more than 4.05"; exit 1 }
        if (strange) { print "FAILED: more than 0.01 a request:" strange; exit 1 }
    }' "$work/counts"

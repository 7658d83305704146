#!/usr/bin/env bash
# The program for small hosts: built for musl, asked once, its size and what it holds resident.
#
# Fails if it needs a library, does not answer, or holds more than 2.5 MB. Needs cargo, curl and the
# target: rustup target add x86_64-unknown-linux-musl (or that of another processor).
set -euo pipefail
cd "$(dirname "$0")/.."

musl=$(uname -m)-unknown-linux-musl
target=${CARGO_TARGET_DIR:-target}
program=$target/$musl/release/pointsman
source benches/started.sh

cargo build --release --quiet --target "$musl" --bin pointsman
cargo build --release --quiet --example origin
needs=$(ldd "$program" 2>&1 || true)
if [[ $needs != *"statically linked"* && $needs != *"not a dynamic executable"* ]]; then
    echo "static: $program needs libraries: $needs" >&2
    exit 1
fi

"$target/release/examples/origin" 0 >"$work/origin" &
started+=($!)
"$program" -l 127.0.0.1:0 "s/v1=$(address_in "$work/origin")" 2>"$work/proxy" &
pid=$!
started+=("$pid")
answer=$(curl -sS --max-time 10 "http://$(address_in "$work/proxy")/s/v1/hello")
[[ $answer == *" GET /hello "* ]] || { echo "static: the answer is '$answer'" >&2; exit 1; }

bytes=$(stat -c %s "$program")
resident_kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
echo "$program: $bytes bytes, $((resident_kib * 1024)) resident after its first answer"
((resident_kib * 1024 <= 2500000)) || { echo "static: more than 2.5 MB" >&2; exit 1; }

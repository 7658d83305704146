#!/usr/bin/env bash
# What a second worker gives, and how evenly clients are spread: the release program before nginx,
# under wrk, all on the same cores, with WORKERS (1 2) in turns, ROUNDS times.
#
# For each run: requests per second, processor time per request and in seconds of each worker's
# thread, and the sockets that each worker's epoll holds in the middle of the run (clients,
# connections to the origin, a listener and a waker). CLOSE=1 makes a connection for each request.
# Needs cargo, nginx and wrk.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-5}
rounds=${ROUNDS:-3}
connections=${CONNECTIONS:-64}
counts=${WORKERS:-1 2}
close=${CLOSE:-}
target=${CARGO_TARGET_DIR:-target}
binary=${BINARY:-$target/release/pointsman}
source benches/started.sh

[[ -n ${BINARY:-} ]] || cargo build --release --quiet --bin pointsman

# No port is to be had from the kernel for nginx: a Unix socket serves as well.
cat >"$work/nginx.conf" <<CONF
daemon off; worker_processes 1; error_log stderr crit; pid $work/nginx.pid;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000; keepalive_timeout 60s;
    client_body_temp_path $work/a; proxy_temp_path $work/b; fastcgi_temp_path $work/c;
    uwsgi_temp_path $work/d; scgi_temp_path $work/e;
    server { listen unix:$work/origin backlog=4096; location / { return 200 "$(printf '%0128d' 0)"; } }
}
CONF
nginx -p "$work" -c "$work/nginx.conf" 2>"$work/nginx.log" &
started+=($!)
for _ in $(seq 100); do [[ -S $work/origin ]] && break; sleep 0.05; done

# user+system ticks of each thread that serves.
threads() {
    local task
    for task in "/proc/$1/task/"*; do
        read -r name <"$task/comm"
        case $name in
        worker*) sed 's/.*) //' "$task/stat" | awk '{print $12 + $13}' ;;
        esac
    done
    if ! grep -qs '^worker' "/proc/$1/task/"*/comm; then
        sed 's/.*) //' "/proc/$1/task/$1/stat" | awk '{print $12 + $13}'
    fi
}

# Sockets in each epoll. Every worker has two descriptors of its own epoll.
epolls() {
    local fd
    for fd in "/proc/$1/fd/"*; do
        case $(readlink "$fd" || true) in
        *eventpoll*) grep -c '^tfd' "/proc/$1/fdinfo/${fd##*/}" ;;
        esac
    done | awk 'NR % 2 == 1' | tr '\n' ' '
}

header=()
[[ -z $close ]] || header=(-H "Connection: close")
printf '%-8s %-10s %-8s %-16s %s\n' workers requests/s "us each" "CPU s of each" "sockets of each"
for _ in $(seq "$rounds"); do
    for count in $counts; do
        log=$work/proxy$RANDOM
        "$binary" -l 127.0.0.1:0 --workers "$count" --slow-start off "*=unix:$work/origin" 2>"$log" &
        proxy=$!
        started+=("$proxy")
        for _ in $(seq 100); do grep -qs 'listening on' "$log" && break; sleep 0.05; done
        address=$(sed -n 's/.*listening on //p' "$log" | head -n 1)
        before=($(threads "$proxy"))
        wrk -t1 -c"$connections" -d"${seconds}s" "${header[@]}" "http://$address/" >"$work/wrk" &
        load=$!
        sleep $((seconds / 2 + 1))
        spread=$(epolls "$proxy")
        wait "$load"
        after=($(threads "$proxy"))
        cpu=""
        for n in "${!before[@]}"; do
            cpu+=$(awk -v a="${before[$n]}" -v b="${after[$n]}" 'BEGIN {printf "%.2f ", (b - a) / 100}')
        done
        rate=$(awk '/^Requests\/sec/ {print $2}' "$work/wrk")
        bad=$(grep -E 'Non-2xx|Socket errors' "$work/wrk" || true)
        each=$(awk -v cpu="$cpu" '/requests in/ {
            n = split(cpu, part, " "); for (i = 1; i <= n; i++) sum += part[i]
            printf "%.1f", sum * 1e6 / $1 }' "$work/wrk")
        printf '%-8s %-10s %-8s %-16s %s %s\n' "$count" "$rate" "$each" "$cpu" "$spread" "$bad"
        kill "$proxy"
        wait "$proxy" || true
    done
done

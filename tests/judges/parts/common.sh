# What the parts share: starting, stopping, and saying what was seen.

finish() {
    stop_all
    rm -rf "$work"
}

# Ends everything that was started, by its id.
stop_all() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${started[@]}"; do end "$pid"; done
    started=()
}

# Ends one process: asked first, killed after 5 s.
end() {
    kill "$1" 2>/dev/null
    local n
    for ((n = 0; n < 100; n++)); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.05
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# start NAME COMMAND...: runs it in the background. Its output is $work/NAME, its id $last.
start() {
    local name=$1
    shift
    # At once, so that nobody reads what an earlier one of that name has said.
    : >"$work/$name"
    "$@" >>"$work/$name" 2>&1 </dev/null &
    last=$!
    started+=("$last")
}

# The address that stands after "listening on" in the output of NAME, as soon as it is there.
address_of() {
    local n
    for ((n = 0; n < 300; n++)); do
        if grep -q 'listening on .*:[0-9]' "$work/$1"; then
            sed -n 's/.*listening on //p' "$work/$1" | head -n 1
            return
        fi
        sleep 0.05
    done
    say FAIL "$1 does not listen: $(tail -n 3 "$work/$1")"
    return 1
}

# say ok|FAIL TEXT
say() { printf '%-4s %s\n' "$1" "$2" | tee -a "$results"; }

# check NAME SEEN WANTED
check() {
    if [[ $2 == "$3" ]]; then say ok "$1"; else say FAIL "$1: saw '${2:0:300}', not '$3'"; fi
}

# judged SECONDS COMMAND...: runs a judge that says ok and FAIL itself. One that ends badly without
# a FAIL, or without a word, is a failure too.
judged() {
    local limit=$1 before=$(wc -l <"$results") status lines
    shift
    timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$work/said" | grep -E --line-buffered '^(ok|FAIL) ' |
        tee -a "$results"
    status=${PIPESTATUS[0]}
    lines=$(tail -n "+$((before + 1))" "$results")
    if [[ -z $lines ]] || { ((status)) && ! grep -q '^FAIL' <<<"$lines"; }; then
        say FAIL "$* ended with $status: $(tail -n 3 "$work/said" | tr '\n' ' ')"
    fi
}

# The proxy, before ROUTE=ENDPOINT...; its address is $proxy, its id $proxy_pid.
start_proxy() {
    start proxy "$pointsman" -l 127.0.0.1:0 "$@"
    proxy_pid=$last
    proxy=$(address_of proxy) || return 1
}

# Ends the proxy, and sees that it was well until then.
end_proxy() {
    if ! kill -0 "$proxy_pid" 2>/dev/null; then
        say FAIL "$1: the proxy died: $(tail -n 3 "$work/proxy")"
    elif grep -q -i panic "$work/proxy"; then
        say FAIL "$1: $(grep -i -m 1 panic "$work/proxy")"
    fi
    end "$proxy_pid"
}

# The three origins: $origin_go, $origin_node, $origin_py.
start_origins() {
    start go "$judge" serve 0
    start node node "$here/node/server.mjs" 0
    start py python3 "$here/python/server.py" 0
    origin_go=$(address_of go) && origin_node=$(address_of node) && origin_py=$(address_of py)
}

# nginx with files of the pattern; its address is $origin_nginx. The kernel cannot choose its port,
# so that a free one is asked for, and the next one if somebody was faster.
start_nginx() {
    local port
    mkdir -p "$work/www"
    python3 -c "import sys; sys.path.insert(0, '$here/python'); import common
for n in (100, 16384, 5000000):
    open(f'$work/www/{n}', 'wb').write(common.pattern(n))"
    for _ in 1 2 3; do
        port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')
        cat >"$work/nginx.conf" <<END
daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx.log;
events { worker_connections 8192; }
http { access_log off; sendfile on; keepalive_requests 1000000; client_body_temp_path $work/t1;
  proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4;
  scgi_temp_path $work/t5;
  server { listen 127.0.0.1:$port backlog=4096 ${nginx_listen:-}; root $work/www;
    location /post { client_max_body_size 10m; return 200 "posted\n"; } } }
END
        start nginx nginx -p "$work" -c "$work/nginx.conf"
        for _ in $(seq 100); do
            curl -q -sS -o "$work/one" "http://127.0.0.1:$port/100" 2>/dev/null && break
            kill -0 "$last" 2>/dev/null || break
            sleep 0.05
        done
        if kill -0 "$last" 2>/dev/null; then
            origin_nginx=127.0.0.1:$port
            return
        fi
    done
    say FAIL "nginx does not start: $(tail -n 3 "$work/nginx" "$work/nginx.log")"
    return 1
}

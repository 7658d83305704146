# slowhttptest: slow heads, slow bodies and slow readers, 2,000 connections each, while a normal
# client goes on. Its own word for that is "service available".

# used: KiB of memory and descriptors of the proxy.
used() {
    echo "$(awk '/VmRSS/ { printf "%d MiB", $2 / 1024 }' "/proc/$proxy_pid/status")," \
        "$(ls "/proc/$proxy_pid/fd" | wc -l) descriptors"
}

# slow_judge NAME ARGUMENTS...
slow_judge() {
    local name=$1 text most
    shift
    judged 60 python3 "$here/python/calm.py" "normal requests beside 2,000 $name" "$url" \
        "http://$origin_nginx" 17 "$proxy_pid" &
    local calm=$!
    sleep 1
    timeout 60 slowhttptest -c 2000 -r 500 -l 14 -p 3 "$@" >"$work/slow" 2>&1
    wait "$calm"
    # It colours its words.
    text=$(sed 's/\x1b\[[0-9;]*m//g' "$work/slow")
    most=$(sed -n 's/^connected: *//p' <<<"$text" | sort -n | tail -n 1)
    if grep -q 'service available: *NO' <<<"$text"; then
        say FAIL "slowhttptest, $name: the service was not available"
    elif ((${most:-0} < 1900)) || ! grep -q 'service available: *YES' <<<"$text"; then
        say FAIL "slowhttptest, $name: only ${most:-0} were connected: $(tail -n 5 <<<"$text")"
    else
        say ok "slowhttptest, $name: available throughout, up to $most connected"
    fi
    for _ in $(seq 60); do
        (($(ls "/proc/$proxy_pid/fd" | wc -l) < descriptors + 40)) && break
        sleep 0.5
    done
    if (($(ls "/proc/$proxy_pid/fd" | wc -l) < descriptors + 40)); then
        say ok "the proxy after 2,000 $name: $(used)"
    else
        say FAIL "the proxy after 2,000 $name: $(used), $descriptors before"
    fi
}

# With the defaults, and before endpoints that have answered nothing yet.
nginx_listen=sndbuf=128k
start_nginx && start go "$judge" serve 0 && origin_go=$(address_of go) &&
    start_proxy "web/v1=$origin_nginx" "go/v1=$origin_go" && {
    url=http://$proxy/web/v1
    descriptors=$(ls "/proc/$proxy_pid/fd" | wc -l)
    slow_judge "slow heads" -H -i 5 -t GET -u "$url/100"
    # Go's server waits for the whole body; nginx would answer without it.
    slow_judge "slow bodies" -B -i 5 -s 8192 -x 10 -t POST -u "http://$proxy/go/v1/echo"
    slow_judge "slow readers" -X -w 512 -y 1024 -n 5 -z 32 -k 1 -u "$url/5000000"
}
end_proxy slow
nginx_listen=

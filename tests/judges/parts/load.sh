# wrk and h2load, short and bounded: what they count as an error is one.

# wrk_judge NAME ARGUMENTS...
wrk_judge() {
    local name=$1 text
    shift
    text=$(timeout 30 wrk --latency --timeout 5s "$@" 2>&1)
    if grep -q -E 'Socket errors|Non-2xx|unable' <<<"$text" ||
        ! grep -q -E '^ *[1-9][0-9]* requests in' <<<"$text"; then
        say FAIL "wrk, $name: $(tr -s ' \n' ' ' <<<"$text")"
    else
        say ok "wrk, $name: $(awk '/requests in/ { n = $1 } /Requests\/sec/ { r = $2 }
            $1 == "99%" { p = $2 } END { print n " requests, " r " a second, p99 " p }' \
            <<<"$text")"
    fi
}

# h2load_judge NAME REQUESTS ARGUMENTS...
h2load_judge() {
    local name=$1 n=$2 text
    shift 2
    text=$(timeout 60 h2load --h1 -t 1 -n "$n" "$@" 2>&1)
    if grep -q "$n done, $n succeeded, 0 failed, 0 errored, 0 timeout" <<<"$text" &&
        grep -q "status codes: $n 2xx" <<<"$text"; then
        say ok "h2load, $name: $n requests, $(sed -n 's/^finished in \(.*\)/\1/p' <<<"$text")"
    else
        say FAIL "h2load, $name: $(grep -E '^(requests|status|finished)' <<<"$text" | tr '\n' ' ')"
    fi
}

start_nginx && start_proxy "web/v1=$origin_nginx" && {
    url=http://$proxy/web/v1
    wrk_judge "64 connections, 100 bytes" -t 2 -c 64 -d 3s "$url/100"
    wrk_judge "256 connections, 16 KiB" -t 2 -c 256 -d 3s "$url/16384"
    wrk_judge "8 connections, 5 MB" -t 2 -c 8 -d 2s "$url/5000000"
    wrk_judge "a connection for each request" -t 1 -c 8 -d 1s -H 'Connection: close' "$url/100"
    cat >"$work/pipeline.lua" <<'END'
init = function(args)
  local all = {}
  for i = 1, 16 do all[i] = wrk.format() end
  together = table.concat(all)
end
request = function() return together end
END
    wrk_judge "16 requests in one piece" -t 2 -c 16 -d 3s -s "$work/pipeline.lua" "$url/100"
    h2load_judge "50 connections" 20000 -c 50 "$url/100"
    h2load_judge "10 connections, 5 MB" 200 -c 10 "$url/5000000"
    h2load_judge "POST of 16 KiB" 5000 -c 20 -d "$work/www/16384" "$url/post"
}
end_proxy load

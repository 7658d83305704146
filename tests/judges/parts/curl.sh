# curl, and what it cannot do any more: pipelining.

# fetch ARGUMENTS...: curl without anybody's configuration; the body goes to $work/body.
fetch() { curl -q -sS --max-time 30 -o "$work/body" "$@" 2>"$work/curl"; }
# sum [FILE]
sum() { sha256sum "${1:-$work/body}" | cut -d' ' -f1; }
# told KEY: one word of what an origin says that it has seen.
told() { python3 -c "import json; print(json.load(open('$work/body'))['$1'])"; }
# made N [START]: a file of the pattern.
made() {
    python3 -c "import sys; sys.path.insert(0, '$here/python'); import common
open('$work/made', 'wb').write(common.pattern($1, ${2:-0}))"
}

curl_checks() {
    local url=http://$proxy/go/v1 web=http://$proxy/web/v1 n seen
    seen=$(fetch -w '%{http_code} %{num_connects} ' "$url/bytes/10" -o "$work/two" "$url/echo")
    check "curl, keep-alive: two URLs over one connection" "$seen" "200 1 200 0 "

    made 3000000 7
    for n in "-T $work/made" "-T $work/made -H Transfer-Encoding:chunked" \
        "--data-binary @$work/made" "--data-binary @$work/made -H Expect:100-continue" \
        "--data-binary @$work/made -H Transfer-Encoding:chunked" \
        "-0 --data-binary @$work/made -H Expect:" "-T $work/made -H Connection:close"; do
        # shellcheck disable=SC2086
        fetch $n "$url/echo"
        check "curl, upload by ${n//$work\//}" "$(told length) $(told sum)" \
            "3000000 $(sum "$work/made")"
    done
    cat "$work/made" | fetch -T - "$url/echo"
    check "curl, upload of a pipe, in chunks" "$(told sum)" "$(sum "$work/made")"
    fetch -v --data-binary "@$work/made" -H 'Expect: 100-continue' "$url/echo"
    seen=$(grep -c '^< HTTP/1.1 100' "$work/curl")
    check "curl, 100-continue is answered before the body" "$seen" 1
    fetch -F "file=@$work/made" -F a=b "$url/echo"
    check "curl, a form of several parts" "$(told method)" POST
    seen=$(fetch -w '%{http_code}' --data-binary "@$work/made" "$url/early")
    check "curl, 413 during an upload" "$seen $(<"$work/body")" "413 too large"
    seen=$(fetch -w '%{http_code}' --data-binary "@$work/made" -H Expect:100-continue "$url/never")
    check "curl, 417 instead of 100" "$seen $(<"$work/body")" "417 not this"

    made 100000 1000000
    for n in "$url/bytes" "$web"; do
        seen=$(fetch -w '%{http_code}' -r 1000000-1099999 "$n/5000000")
        check "curl, a range of ${n#*"$proxy"}" "$seen $(sum)" "206 $(sum "$work/made")"
    done
    check "curl, a range beyond the end" "$(fetch -w '%{http_code}' -r 5000000- "$web/5000000")" 416
    head -c 2000000 "$work/www/5000000" >"$work/part"
    curl -q -sS --max-time 30 -C - -o "$work/part" "$web/5000000"
    check "curl, a download is continued" "$(sum "$work/part")" "$(sum "$work/www/5000000")"
    fetch --etag-save "$work/etag" "$web/16384"
    check "curl, If-None-Match" \
        "$(fetch -w '%{http_code}' --etag-compare "$work/etag" "$web/16384")" 304

    made 30000
    seen=$(fetch -0 -w '%{http_version}' "$url/chunked/30000")
    check "curl, HTTP/1.0 gets no chunks" "$seen $(sum)" "1 $(sum "$work/made")"
    seen=$(fetch -0 -H 'Connection: keep-alive' -w '%{num_connects}' "$url/bytes/9" \
        -o "$work/two" "$url/bytes/9")
    check "curl, HTTP/1.0 with keep-alive" "$seen" 10
    seen=$(fetch -I -w '%{http_code} %header{content-length}' "$url/bytes/5000000")
    check "curl, HEAD" "$seen" "200 5000000"
    seen=$(fetch --path-as-is -w '%{http_code}' "http://$proxy/go/v1/a/../../../x")
    check "curl, dot segments that climb" "$seen" 400
    seen=$(fetch --path-as-is -w '%{http_code}' "http://$proxy/go/v1/%2e%2e/x")
    check "curl, dot segments that climb, escaped" "$seen" 400
    made 100000
    fetch --compressed "$url/gzip"
    check "curl, --compressed" "$(sum)" "$(sum "$work/made")"
    fetch --tr-encoding "$url/echo"
    check "curl, --tr-encoding: TE stays here" "$(grep -c '"TE"' "$work/body")" 0
    seen=$(fetch --http2 -w '%{http_code} %{http_version}' "$url/bytes/5000000")
    check "curl, an upgrade to h2c is not taken" "$seen $(sum)" \
        "200 1.1 $(sum "$work/www/5000000")"
    seen=$(fetch -H 'Connection: close' -w '%{http_code} %{num_connects} ' "$url/bytes/10" \
        -o "$work/two" "$url/bytes/10")
    check "curl, Connection: close" "$seen" "200 1 200 1 "
    seen=$(fetch -L --max-redirs 1 -w '%{http_code} %{url_effective}' "$url/moved/302")
    check "curl, a redirect goes where the origin said" "$seen" \
        "404 http://$proxy/else/where?a=%20b#c"
    seen=$(fetch -N -w '%{http_code}' "$url/drip")
    check "curl, an event stream" "$seen $(grep -c piece "$work/body")" "200 6"
    curl -q -sS --max-time 30 -Z --parallel-max 50 -o "$work/z#1" -w '%{http_code}\n' \
        "$web/16384?[1-200]" >"$work/codes" 2>"$work/curl"
    seen=$(sort "$work/codes" | uniq -c | tr -s ' ')
    check "curl, 200 in parallel" "$seen $(cat "$work"/z* | sha256sum | cut -d' ' -f1)" \
        " 200 200 $(for n in $(seq 200); do cat "$work/www/16384"; done | sha256sum |
            cut -d' ' -f1)"
}

start_nginx && start_origins &&
    start_proxy "go/v1=$origin_go" "node/v1=$origin_node" "py/v1=$origin_py" \
        "web/v1=$origin_nginx" && {
    curl_checks
    for server in go node py; do
        judged 40 python3 "$here/python/pipeline.py" "$server" "http://$proxy/$server/v1"
    done
}
end_proxy curl

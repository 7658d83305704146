# The only server of a service is killed or asked to end, and started again on the same port, again
# and again, while a client asks all the time: no request may be lost.

# begin KIND PORT: starts a server; its id is $server.
begin() {
    case $1 in
        go) start go "$judge" serve "$2" ;;
        node) start node node "$here/node/server.mjs" "$2" ;;
    esac
    server=$last
}

for kind in go node; do
    begin "$kind" 0
    origin=$(address_of "$kind") && start_proxy "s/v1=$origin" || continue
    for client in go node; do
        ask=("$judge")
        [[ $client == node ]] && ask=(node "$here/node/client.mjs")
        judged 30 "${ask[@]}" steady "$kind" "http://$proxy/s/v1" 5 &
        asking=$!
        for signal in KILL TERM KILL; do
            sleep 1
            kill "-$signal" "$server"
            { wait "$server"; } 2>/dev/null
            begin "$kind" "${origin##*:}"
            address_of "$kind" >/dev/null || break
        done
        wait "$asking"
    done
    end_proxy "restarts of $kind"
    end "$server"
done

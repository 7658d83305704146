# Node's, Go's and Python's clients, each before Node's, Go's and Python's servers.

start_origins && start_proxy "go/v1=$origin_go" "node/v1=$origin_node" "py/v1=$origin_py" &&
    for server in go node py; do
        direct=origin_$server
        at=("$server" "http://$proxy/$server/v1" "http://${!direct}")
        judged 120 "$judge" client "${at[@]}"
        judged 120 node "$here/node/client.mjs" client "${at[@]}"
        judged 120 python3 "$here/python/client.py" "${at[@]}"
    done
end_proxy matrix

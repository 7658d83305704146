# Python's `websockets` and Node's `ws`, crosswise, through a tunnel.

start node node "$here/node/sockets_server.mjs" 0
start py python3 "$here/python/sockets_server.py" 0
origin_node=$(address_of node) && origin_py=$(address_of py) &&
    start_proxy "node/v1=$origin_node" "py/v1=$origin_py" && {
    for server in node py; do
        judged 120 python3 "$here/python/sockets_client.py" "$server" "ws://$proxy/$server/v1"
        judged 120 node "$here/node/sockets_client.mjs" "$server" "ws://$proxy/$server/v1"
    done
}
end_proxy websocket

"""Python's `websockets` as a server: `sockets_server.py PORT`. What it does is in ../ORIGIN.md."""

import asyncio
import http
import signal
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

# Path to how its socket ended: a check asks for its own, others may still be ending.
ENDED = {}


def refuse(connection, request):
    """A path that is not upgraded gets an answer of HTTP."""
    if request.path.startswith("/refuse/"):
        status = http.HTTPStatus(int(request.path.rpartition("/")[2]))
        return connection.respond(status, "not here\n")
    return None


async def handle(socket):
    path = socket.request.path
    if path.startswith("/hello"):
        await socket.send("hello")
    elif path.startswith("/close"):
        await socket.close(4001, "enough")
        return
    elif path.startswith("/ended"):
        await socket.send(ENDED.get(path.replace("/ended", "/echo"), "not yet"))
        return
    elif path.startswith("/ping"):
        waiter = await socket.ping(b"are you there")
        await asyncio.wait_for(waiter, 10)
        await socket.send("the pong came")
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass  # any end but 1000 and 1001
    ENDED[path] = f"{socket.close_code} {socket.close_reason}"


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    options = {"max_size": 2 << 20, "process_request": refuse, "ping_interval": None}
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), **options) as server:
        print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await stop


asyncio.run(main())

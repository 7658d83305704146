"""The `websockets` library as a client: `sockets_client.py LABEL URL`, checks through the proxy."""

import asyncio
import http.client
import random
import sys
import urllib.parse

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from common import Wrong, judge, leave, pattern, same

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20)
OPTIONS = {"max_size": 2 << 20, "ping_interval": None, "open_timeout": 10, "proxy": None}


def frames(count, seed):
    """Messages of 0 B to 1 MiB, every magnitude alike, text and bytes in turn."""
    dice = random.Random(seed)
    for n in range(count):
        size = SIZES[n] if n < len(SIZES) else int(2 ** dice.uniform(0, 20))
        body = pattern(size, n)
        yield body.hex()[:size] if n % 2 else body


async def echoed(url, count, compression):
    messages = list(frames(count, 1))
    async with connect(url + "/echo", compression=compression, **OPTIONS) as socket:

        async def ask():
            for message in messages:
                await socket.send(message)

        asking = asyncio.create_task(ask())
        for n, message in enumerate(messages):
            back = await asyncio.wait_for(socket.recv(), 20)
            if back != message:
                raise Wrong(f"frame {n}: {len(back)} of {len(message)}, or other bytes")
        await asking
    return f"{sum(len(message) for message in messages)} bytes each way"


async def pings(url):
    async with connect(url + "/echo", **OPTIONS) as socket:
        for n in range(20):
            await asyncio.wait_for(await socket.ping(b"ping %d" % n), 5)
    async with connect(url + "/ping", **OPTIONS) as socket:
        same("the server's ping", await asyncio.wait_for(socket.recv(), 5), "the pong came")


async def ended(url, name):
    """How the server saw the end of `/echo?NAME`, as soon as it has."""
    for _ in range(40):
        await asyncio.sleep(0.05)
        async with connect(url + f"/ended?{name}", **OPTIONS) as socket:
            seen = await socket.recv()
        if seen != "not yet":
            return seen
    raise Wrong("the server did not see it within 2 s")


async def closes(url):
    async with connect(url + "/echo?python-closes", **OPTIONS) as socket:
        await socket.close(4567, "I have seen enough")
        same("our own", socket.close_code, 4567)
    same("as the server saw it", await ended(url, "python-closes"), "4567 I have seen enough")


async def closed(url):
    async with connect(url + "/close", **OPTIONS) as socket:
        try:
            await asyncio.wait_for(socket.recv(), 5)
        except ConnectionClosed as end:
            same("close", (end.rcvd.code, end.rcvd.reason), (4001, "enough"))
        else:
            raise Wrong("a message came")


async def first(url):
    for n in range(20):
        async with connect(url + f"/hello?{n}", **OPTIONS) as socket:
            same("first", await asyncio.wait_for(socket.recv(), 5), "hello")
            await socket.send("after it")
            same("second", await asyncio.wait_for(socket.recv(), 5), "after it")


async def refused(url):
    for status in (403, 426):
        try:
            async with connect(url + f"/refuse/{status}", **OPTIONS):
                raise Wrong("it was upgraded")
        except InvalidStatus as answer:
            same("status", answer.response.status_code, status)
    # http.client asks on, over the connection that was refused an upgrade.
    parts = urllib.parse.urlsplit(url)
    plain = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    ports = set()
    for n in range(5):
        plain.request("GET", f"{parts.path}/refuse/403", headers=upgrade)
        ports.add(plain.sock.getsockname())
        answer = plain.getresponse()
        same("answer", (answer.status, answer.read()), (403, b"not here\n"))
    same("connections", len(ports), 1)


async def idle(url):
    async with connect(url + "/echo", **OPTIONS) as socket:
        for n in range(2):
            await asyncio.sleep(4)
            await socket.send("still here")
            same("back", await asyncio.wait_for(socket.recv(), 5), "still here")


async def crowd(url):
    async def one(n):
        async with connect(url + f"/echo?{n}", **OPTIONS) as socket:
            for m in range(20):
                text = f"{n} {m} " * (m + 1)
                await socket.send(text)
                same("back", await asyncio.wait_for(socket.recv(), 20), text)

    await asyncio.gather(*(one(n) for n in range(100)))


async def vanishes(url):
    """A client that goes without a word is seen by the server: 1006, no close frame."""
    socket = await connect(url + "/echo?python-vanishes", **OPTIONS)
    await socket.send("x")
    await socket.recv()
    socket.transport.abort()
    same("code", (await ended(url, "python-vanishes")).split(" ")[0], "1006")


CHECKS = [
    ("1,000 echo frames of 0 B to 1 MB", lambda url: echoed(url, 1000, None)),
    ("100 echo frames, compressed", lambda url: echoed(url, 100, "deflate")),
    ("ping and pong, both ways", pings),
    ("the client closes: code and reason", closes),
    ("the server closes: code and reason", closed),
    ("a frame with the 101", first),
    ("an upgrade is refused, HTTP goes on", refused),
    ("100 sockets at once", crowd),
    ("a client vanishes", vanishes),
    ("8 s of idleness", idle),
]


def main():
    label, url = sys.argv[1:]
    for name, check in CHECKS:
        run = lambda: asyncio.run(asyncio.wait_for(check(url), 60))
        judge(f"websocket, python client, {label} server, {name}", run)
    leave()


main()

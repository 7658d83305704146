"""Python's http.server as an origin: `server.py PORT`. What it answers is in ../ORIGIN.md."""

import gzip
import http.server
import json
import re
import select
import signal
import socket
import sys
import threading
import time

from common import checksum, pattern

GONE = 0
GZIPPED = gzip.compress(pattern(100_000), mtime=0)


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def __getattr__(self, name):
        # http.server asks for `do_` and the method: here every method is served alike.
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        if self.path.startswith("/never"):
            self.close_connection = True
            self.answer(417, b"not this\n", [("Connection", "close")])
            return False
        return super().handle_expect_100()

    def serve(self):
        first, _, rest = self.path[1:].partition("/")
        first = first.partition("?")[0]
        handler = getattr(self, "on_" + first, None)
        if handler is None:
            self.answer(404, b"nothing here\n")
        else:
            handler(rest)

    # The answers, by the first word of the path.

    def on_bytes(self, rest):
        self.read_body()
        total = int(rest)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or not any(asked.groups()):
            self.answer(200, pattern(total), [("Accept-Ranges", "bytes")])
            return
        first, last = asked.groups()
        start = int(first) if first else max(total - int(last), 0)
        end = min(int(last) + 1, total) if first and last else total
        if start >= total:
            self.answer(416, b"", [("Content-Range", f"bytes */{total}")])
            return
        self.answer(
            206,
            pattern(end - start, start),
            [("Accept-Ranges", "bytes"), ("Content-Range", f"bytes {start}-{end - 1}/{total}")],
        )

    def on_chunked(self, rest):
        self.read_body()
        body = pattern(int(rest))
        self.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Length, X-Sum")])
        for at in range(0, len(body), 10_000):
            self.chunk(body[at : at + 10_000])
        trailers = f"X-Length: {len(body)}\r\nX-Sum: {checksum(body)}\r\n"
        self.wfile.write(b"0\r\n" + trailers.encode() + b"\r\n")

    def on_echo(self, _):
        body, trailers = self.read_body()
        seen = {
            "method": self.command,
            "target": self.path,
            "length": len(body),
            "sum": checksum(body),
            "fields": self.headers.items(),
            "trailers": trailers,
        }
        self.answer(200, json.dumps(seen).encode(), [("Content-Type", "application/json")])

    def on_mirror(self, _):
        self.answer(200, self.read_body()[0])

    def on_status(self, rest):
        self.read_body()
        status = int(rest)
        if status in (204, 304):
            self.head(status, [("ETag", '"judge"')])
        else:
            self.answer(status, f"status {status}\n".encode())

    def on_moved(self, rest):
        self.read_body()
        self.answer(int(rest), b"moved\n", [("Location", "/else/where?a=%20b#c")])

    def on_early(self, _):
        self.close_connection = True
        self.answer(413, b"too large\n", [("Connection", "close")])

    def on_never(self, _):
        self.read_body()
        self.answer(200, b"asked without Expect\n")

    def on_gzip(self, _):
        self.read_body()
        more = [("Content-Encoding", "gzip"), ("X-Sum", checksum(GZIPPED))]
        self.answer(200, GZIPPED, more)

    def on_fields(self, _):
        self.read_body()
        more = [("Set-Cookie", "a=1"), ("X-Large", "x" * 16_000), ("Set-Cookie", "b=2")]
        self.answer(200, b"fields\n", [*more, ("x-lower", "1")])

    def on_hints(self, _):
        self.read_body()
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        self.answer(200, b"hinted\n")

    def on_drip(self, _):
        self.read_body()
        self.head(200, [("Transfer-Encoding", "chunked"), ("Content-Type", "text/event-stream")])
        for n in range(6):
            self.chunk(f"piece {n}\n".encode())
            time.sleep(0.06)
        self.wfile.write(b"0\r\n\r\n")

    def on_hang(self, _):
        global GONE
        self.close_connection = True
        ready, _, _ = select.select([self.connection], [], [], 20)
        if ready and self.connection.recv(1, socket.MSG_PEEK) == b"":
            GONE += 1

    def on_gone(self, _):
        self.answer(200, str(GONE).encode())

    # How they are written and read.

    def head(self, status, fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status, body, fields=()):
        self.head(status, [*fields, ("Content-Length", str(len(body)))])
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, piece):
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def read_body(self):
        """The whole body and its trailers; http.server leaves both to its user."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0))), []
        pieces, trailers = [], []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            trailers.append([name, value.strip()])
        return b"".join(pieces), trailers


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # a connection that ended; what matters is what the clients see


def main():
    server = Server(("127.0.0.1", int(sys.argv[1])), Origin)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on 127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.05)


main()

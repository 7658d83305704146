"""Pipelining, which no client of others offers any more: `pipeline.py LABEL URL` sends 300 requests
of every kind in one piece and reads the answers with http.client."""

import http.client
import io
import json
import socket
import sys
import threading
import urllib.parse

from common import checksum, judge, leave, pattern, same


class Input(io.BufferedReader):
    """What comes over one connection, read by one HTTPResponse after the other."""

    def close(self):
        pass  # each of them closes what it has read from

    def makefile(self, _):
        return self


def kinds(n, prefix):
    """The nth request as bytes, its method, and what must be true of its answer."""
    line = f"{prefix}/echo/{n} HTTP/1.1\r\nHost: t\r\n"
    body = pattern(n * 37, n)

    def told(method, length=0, content=b""):
        def right(answer, text):
            seen = json.loads(text)
            wanted = (method, f"/echo/{n}", length, checksum(content))
            same("seen", tuple(seen[k] for k in ("method", "target", "length", "sum")), wanted)

        return right

    def status(wanted, size=None):
        def right(answer, text):
            same("answer", (answer.status, text), (wanted, pattern(size or 0)))

        return right

    match n % 7:
        case 0:
            return f"GET {line}\r\n".encode(), "GET", told("GET")
        case 1:
            head = f"POST {line}Content-Length: {len(body)}\r\n\r\n".encode()
            return head + body, "POST", told("POST", len(body), body)
        case 2:
            chunks = b"%x;x=1\r\n%b\r\n0\r\nX-End: 1\r\n\r\n" % (len(body), body)
            head = f"PUT {line}Transfer-Encoding: chunked\r\n\r\n".encode()
            return head + chunks, "PUT", told("PUT", len(body), body)
        case 3:
            text = f"HEAD {prefix}/bytes/777 HTTP/1.1\r\nHost: t\r\n\r\n"
            return text.encode(), "HEAD", status(200)
        case 4:
            text = f"GET {prefix}/status/{204 if n % 2 else 304} HTTP/1.1\r\nHost: t\r\n\r\n"
            return text.encode(), "GET", status(204 if n % 2 else 304)
        case 5:
            text = f"GET {prefix}/chunked/{n * 11} HTTP/1.1\r\nHost: t\r\n\r\n"
            return text.encode(), "GET", status(200, n * 11)
        case _:
            # An empty line before a request is to be skipped.
            text = f"\r\nGET {prefix}/bytes/{n * 13} HTTP/1.1\r\nHost: t\r\n\r\n"
            return text.encode(), "GET", status(200, n * 13)


def pipelined(url):
    parts = urllib.parse.urlsplit(url)
    requests = [kinds(n, parts.path) for n in range(1, 301)]
    everything = b"".join(text for text, _, _ in requests)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as plain:
        # Written beside the reading: the answers do not wait for the last request.
        writer = threading.Thread(target=plain.sendall, args=(everything,), daemon=True)
        writer.start()
        source = Input(socket.SocketIO(plain, "r"))
        for _, method, right in requests:
            answer = http.client.HTTPResponse(source, method=method)
            answer.begin()
            right(answer, answer.read())
        writer.join(5)
    return f"300 requests, {len(everything)} bytes"


judge(f"pipelining, {sys.argv[1]} server, 300 requests in one piece", pipelined, sys.argv[2])
leave()

"""Python's http.client as a judge: `client.py LABEL PROXIED DIRECT` checks what comes through the
proxy against what comes without it."""

import http.client
import json
import socket
import struct
import sys
import threading
import time
import urllib.parse

from common import Wrong, checksum, judge, leave, pattern, same


class Side:
    """One way to reach an origin, over one connection that http.client opens when it must."""

    def __init__(self, base):
        parts = urllib.parse.urlsplit(base)
        self.address = (parts.hostname, parts.port)
        self.prefix = parts.path
        self.http = http.client.HTTPConnection(*self.address, timeout=20)
        self.opened = 0

    def ask(self, method, path, body=None, fields=None, **options):
        if self.http.sock is None:
            self.opened += 1
        self.http.request(method, self.prefix + path, body, fields or {}, **options)
        return self.answer()

    def answer(self):
        answer = self.http.getresponse()
        answer.whole = answer.read()
        return answer

    def get(self, path):
        return self.ask("GET", path)

    def echo(self, method, path, body=None, fields=None, **options):
        answer = self.ask(method, path, body, fields, **options)
        same("status", answer.status, 200)
        return json.loads(answer.whole)

    def raw(self):
        """A socket of its own, for what http.client has no word for."""
        plain = socket.create_connection(self.address, timeout=20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain


def values(told, name):
    return [value for n, value in told["fields"] if n.lower() == name.lower()]


def gets(p, _):
    for n in (0, 1, 11, 16_384, 65_537, 5_000_000):
        answer = p.get(f"/bytes/{n}")
        same(f"{n} bytes", (answer.status, answer.whole == pattern(n)), (200, True))


def head(p, _):
    for _ in range(3):
        answer = p.ask("HEAD", "/bytes/5000000")
        same("HEAD", (answer.getheader("Content-Length"), answer.whole), ("5000000", b""))
        same("the GET after it", p.get("/bytes/11").whole, pattern(11))
    same("connections", p.opened, 1)


def alike(p, d):
    def lasting(answer):
        own = ("date", "connection", "keep-alive")
        return [pair for pair in answer.getheaders() if pair[0].lower() not in own]

    for path in ("/bytes/100", "/fields", "/gzip", "/moved/301", "/status/404", "/status/204",
                 "/status/304", "/chunked/30000", "/nothing"):
        one, two = p.get(path), d.get(path)
        same(path, (one.status, one.reason, one.version), (two.status, two.reason, two.version))
        same(path, lasting(one), lasting(two))
        same(path, one.whole == two.whole, True)


def statuses(p, _):
    for n in (200, 204, 304, 404, 410, 500, 503, 204, 299):
        answer = p.get(f"/status/{n}")
        body = b"" if n in (204, 304) else f"status {n}\n".encode()
        same("answer", (answer.status, answer.whole), (n, body))


def chunks(p, _):
    for n in (0, 1, 9_999, 1_000_000):
        answer = p.get(f"/chunked/{n}")
        same(f"{n} bytes", (answer.chunked, answer.whole == pattern(n)), (True, True))
    # http.client drops trailers: they are read by hand.
    with p.raw() as plain:
        plain.sendall(f"GET {p.prefix}/chunked/20 HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        text = until(plain, b"\r\n\r\n", 2)
    trailers = f"X-Length: 20\r\nX-Sum: {checksum(pattern(20))}\r\n\r\n".encode()
    same("trailers", text[-len(trailers) :], trailers)


def until(plain, end, times=1):
    """What is read up to and with the `times`th `end`."""
    text = b""
    while text.count(end) < times:
        more = plain.recv(65536)
        if not more:
            raise Wrong(f"the connection ended after {text!r}")
        text += more
    return text


def posts(p, _):
    for n in (0, 1, 16_384, 5_000_000):
        body = pattern(n, 7)
        told = p.echo("POST", "/echo/post", body)
        seen = (told["method"], told["length"], told["sum"])
        same("seen", seen, ("POST", n, checksum(body)))
        same("mirror", p.ask("POST", "/mirror", body).whole == body, True)


def chunked_posts(p, _):
    for n in (0, 1, 16_384, 5_000_000):
        body = pattern(n, 7)
        pieces = (body[at : at + 7001] for at in range(0, n, 7001))
        coded = {"Transfer-Encoding": "chunked"}
        told = p.echo("POST", "/echo/post", pieces, coded, encode_chunked=True)
        seen = (told["method"], told["length"], told["sum"])
        same("seen", seen, ("POST", n, checksum(body)))
    with p.raw() as plain:
        head = f"POST {p.prefix}/echo/t HTTP/1.1\r\nHost: t\r\nTrailer: X-End\r\n"
        coded = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        plain.sendall((head + coded + "3\r\nabc\r\n0\r\nX-End: of it\r\n\r\n").encode())
        answer = http.client.HTTPResponse(plain)
        answer.begin()
        told = json.loads(answer.read())
    seen = (told["length"], told["trailers"])
    same("trailers", seen, (3, [["X-End", "of it"]]))


def methods(p, _):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "SEARCH"):
        told = p.echo(method, "/echo/m", b"a body")
        seen = (told["method"], told["length"], told["sum"])
        same("seen", seen, (method, 6, checksum(b"a body")))


def verbatim(p, d):
    def ask(side, target):
        # Dup is sent twice, which `request` cannot.
        side.http.putrequest("GET", side.prefix + target, skip_host=True)
        for name, value in (("Host", "an.example:81"), ("X-Dup", "one"), ("x-DUP", "two, three"),
                            ("X-Odd", b'a\tb  c;"\xe4"'), ("Authorization", "Basic eDp5")):
            side.http.putheader(name, value)
        side.http.endheaders()
        return json.loads(side.answer().whole)

    for target in ("/echo/a%2Fb//c;x=1?q=%20&r=a+b&&=", "/echo/%41%c3%bc/~u/(x)!$,", "/echo/?",
                   "/echo/a/./b?../x"):
        one, two = ask(p, target), ask(d, target)
        same("target", (one["target"], two["target"]), (target, target))
        added = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
        own = [pair for pair in one["fields"] if pair[0].lower() not in added]
        same("fields", sorted(own), sorted(two["fields"]))
        same("added", len(one["fields"]) - len(own), 3)


def redirects(p, _):
    for n in (301, 302, 303, 307, 308):
        answer = p.ask("POST", f"/moved/{n}", b"x")
        seen = (answer.status, answer.getheader("Location"), answer.whole)
        same("answer", seen, (n, "/else/where?a=%20b#c", b"moved\n"))


def ranges(p, _):
    whole = pattern(1_000_000)
    for asked, start, end in (("0-0", 0, 1), ("500000-", 500_000, 1_000_000),
                              ("100-70099", 100, 70_100), ("-10", 999_990, 1_000_000)):
        answer = p.ask("GET", "/bytes/1000000", None, {"Range": f"bytes={asked}"})
        said = f"bytes {start}-{end - 1}/1000000"
        same("answer", (answer.status, answer.getheader("Content-Range")), (206, said))
        same("part", answer.whole == whole[start:end], True)
    same("beyond", p.ask("GET", "/bytes/10", None, {"Range": "bytes=10-"}).status, 416)


def gzipped(p, _):
    answer = p.ask("GET", "/gzip", None, {"Accept-Encoding": "gzip"})
    same("coding", answer.getheader("Content-Encoding"), "gzip")
    same("sum", checksum(answer.whole), answer.getheader("X-Sum"))


def cookie(p, _):
    value = "c=" + "0123456789abcdef" * 1024
    same("cookie", values(p.echo("GET", "/echo/c", None, {"Cookie": value}), "Cookie"), [value])
    answer = p.get("/fields")
    same("X-Large", len(answer.getheader("X-Large")), 16_000)
    same("Set-Cookie", answer.msg.get_all("Set-Cookie"), ["a=1", "b=2"])


def kept(p, _):
    before = p.opened
    p.http.close()
    for n in range(200):
        same("target", p.echo("GET", f"/echo/{n}")["target"], f"/echo/{n}")
    same("connections", p.opened - before, 1)


def many(p, _):
    wrongs = []

    def work(worker):
        side = Side(f"http://{p.address[0]}:{p.address[1]}{p.prefix}")
        try:
            for n in range(50):
                target = f"/echo/{worker}/{n}"
                body = pattern(n * 997, worker) if n % 3 == 1 else b""
                method = "POST" if body else "GET"
                told = side.echo(method, target, body or None)
                seen = (told["target"], told["method"], told["sum"])
                same("seen", seen, (target, method, checksum(body)))
        except Exception as error:
            wrongs.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if wrongs:
        raise wrongs[0]


def expect(p, _):
    body = pattern(300_000, 3)
    with p.raw() as plain:
        for _ in range(3):
            head = f"POST {p.prefix}/echo/expect HTTP/1.1\r\nHost: t\r\n"
            more = f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
            plain.sendall((head + more).encode())
            interim = until(plain, b"\r\n\r\n")
            same("interim", interim[:12], b"HTTP/1.1 100")
            plain.sendall(body)
            answer = http.client.HTTPResponse(plain)
            answer.begin()
            told = json.loads(answer.read())
            seen = (told["sum"], values(told, "Expect"))
            same("seen", seen, (checksum(body), ["100-continue"]))


def refused(p, _):
    with p.raw() as plain:
        head = f"POST {p.prefix}/never HTTP/1.1\r\nHost: t\r\n"
        plain.sendall((head + "Expect: 100-continue\r\nContent-Length: 300000\r\n\r\n").encode())
        answer = http.client.HTTPResponse(plain)
        answer.begin()
        same("answer", (answer.status, answer.read()), (417, b"not this\n"))
    same("after it", p.get("/bytes/11").whole, pattern(11))


def early(p, _):
    for _ in range(3):
        side = Side(f"http://{p.address[0]}:{p.address[1]}{p.prefix}")
        try:
            answer = side.ask("POST", "/early", pattern(8_000_000))
        except (BrokenPipeError, ConnectionResetError):
            # It sends all before it looks; what has come is still there.
            answer = http.client.HTTPResponse(side.http.sock, method="POST")
            answer.begin()
            answer.whole = answer.read()
        same("answer", (answer.status, answer.whole), (413, b"too large\n"))
        side.http.close()


def hints(p, _):
    with p.raw() as plain:
        plain.sendall(f"GET {p.prefix}/hints HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        text = until(plain, b"hinted\n")
    interim, _, rest = text.partition(b"\r\n\r\n")
    same("interim", interim[:12], b"HTTP/1.1 103")
    same("Link", b"link: </a.css>; rel=preload" in interim.lower(), True)
    same("answer", rest[:12], b"HTTP/1.1 200")


def drip(p, _):
    p.http.request("GET", p.prefix + "/drip")
    answer = p.http.getresponse()
    text, times = b"", []
    while piece := answer.read1(100):
        text += piece
        times.append(time.monotonic())
    same("text", text, b"".join(b"piece %d\n" % n for n in range(6)))
    if times[-1] - times[0] < 0.2:
        raise Wrong(f"all came within {times[-1] - times[0]:.3f} s")


def hang(p, _):
    before = int(p.get("/gone").whole)
    plain = p.raw()
    plain.sendall(f"GET {p.prefix}/hang HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    time.sleep(0.2)
    # Closing shall be a reset: a FIN would be a half-close (B8.5).
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()
    for _ in range(40):
        if int(p.get("/gone").whole) == before + 1:
            return
        time.sleep(0.05)
    raise Wrong("not noticed within 2 s")


def closing(p, _):
    p.http.close()
    before = p.opened
    for _ in range(3):
        answer = p.ask("GET", "/bytes/16384", None, {"Connection": "close"})
        seen = (answer.getheader("Connection"), answer.whole == pattern(16_384))
        same("answer", seen, ("close", True))
    same("connections", p.opened - before, 3)


CHECKS = [
    ("GET of 0 B to 5 MB", gets),
    ("HEAD, then GET on its connection", head),
    ("answers as without the proxy, in order and case", alike),
    ("statuses with and without a body", statuses),
    ("chunked answers and trailers", chunks),
    ("POST with a length", posts),
    ("POST in chunks, with trailers", chunked_posts),
    ("methods", methods),
    ("targets and fields arrive as sent", verbatim),
    ("redirects pass", redirects),
    ("ranges", ranges),
    ("gzip untouched", gzipped),
    ("16 KiB of Cookie", cookie),
    ("200 requests on one connection", kept),
    ("16 clients with 50 requests each", many),
    ("100-continue", expect),
    ("417 instead of 100", refused),
    ("413 during an upload of 8 MB", early),
    ("103 comes through", hints),
    ("a drip is not held back", drip),
    ("a reset is passed on", hang),
    ("Connection: close", closing),
]


def main():
    label, proxied, direct = sys.argv[1:]
    for name, check in CHECKS:
        sides = Side(proxied), Side(direct)
        judge(f"python client, {label} server, {name}", check, *sides)
        for side in sides:
            side.http.close()
    leave()


main()

"""A normal client beside an attack: `calm.py LABEL URL DIRECT SECONDS PID` sends 50 requests a
second through the proxy, every second one over a fresh connection, and as many to the origin
without it. It says how late the answers were, and what the process PID used at most meanwhile.

How late: counted from when a request was due, so that whatever stalls one of them stalls all that
were due meanwhile. What the machine does to everybody shows in the times without the proxy.
"""

import http.client
import os
import sys
import threading
import time
import urllib.parse

from common import Wrong, judge, leave, pattern

A_SECOND = 50
TOO_LATE_MS = 1000


def used(pid):
    """KiB of memory and open descriptors of a process."""
    with open(f"/proc/{pid}/status") as status:
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


class Client(threading.Thread):
    def __init__(self, url, seconds):
        super().__init__()
        self.parts = urllib.parse.urlsplit(url)
        self.count = int(seconds * A_SECOND)
        self.late_ms, self.wrong = [], []

    def run(self):
        kept = self.connect()
        began = time.monotonic()
        for n in range(self.count):
            due = began + n / A_SECOND
            time.sleep(max(0, due - time.monotonic()))
            http_client = self.connect() if n % 2 else kept
            self.ask(http_client, 16_384 if n % 4 < 2 else 100)
            if http_client is not kept:
                http_client.close()
            self.late_ms.append(1000 * (time.monotonic() - due))
        kept.close()
        self.late_ms.sort()

    def connect(self):
        return http.client.HTTPConnection(self.parts.hostname, self.parts.port, timeout=10)

    def ask(self, connection, size):
        try:
            connection.request("GET", f"{self.parts.path}/{size}")
            answer = connection.getresponse()
            whole = answer.read()
            if answer.status != 200 or whole != pattern(size):
                self.wrong.append(f"status {answer.status}, {len(whole)} bytes")
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{type(error).__name__} {error}")
            connection.close()

    def late(self, part):
        return self.late_ms[int(len(self.late_ms) * part)]


def calm(url, direct, seconds, pid):
    proxied, control = Client(url, seconds), Client(direct, seconds)
    before = peak = used(pid)
    proxied.start()
    control.start()
    while proxied.is_alive():
        peak = tuple(map(max, peak, used(pid)))
        proxied.join(0.2)
    control.join()
    if proxied.wrong:
        raise Wrong(f"{len(proxied.wrong)} of {proxied.count} failed: {proxied.wrong[0]}")
    times = (
        f"p50 {proxied.late(0.5):.1f} ms, p99 {proxied.late(0.99):.1f} ms"
        f" (without the proxy {control.late(0.5):.1f} and {control.late(0.99):.1f})"
    )
    if proxied.late(0.99) > max(TOO_LATE_MS, 2 * control.late(0.99)):
        raise Wrong(f"late: {times}")
    return (
        f"{proxied.count} requests, 0 failed, {times}; the proxy: {before[0] // 1024} MiB and"
        f" {before[1]} descriptors before, {peak[0] // 1024} MiB and {peak[1]} at most"
    )


label, url, direct, seconds, pid = sys.argv[1:]
judge(label, calm, url, direct, float(seconds), int(pid))
leave()

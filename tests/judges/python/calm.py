"""A normal client beside an attack: `calm.py LABEL URL SECONDS PID` sends 50 requests a second,
every second one over a fresh connection, and says how long the answers took, and what the process
PID used at most meanwhile."""

import http.client
import os
import sys
import time
import urllib.parse

from common import Wrong, judge, leave, pattern

A_SECOND = 50
TOO_LATE_S = 1.0


def used(pid):
    """KiB of memory and open descriptors of a process."""
    with open(f"/proc/{pid}/status") as status:
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return memory, len(os.listdir(f"/proc/{pid}/fd"))


def calm(url, seconds, pid):
    parts = urllib.parse.urlsplit(url)

    def connect():
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)

    kept, took, wrong = connect(), [], []
    before = peak = used(pid)
    began = time.monotonic()
    for n in range(int(seconds * A_SECOND)):
        time.sleep(max(0, began + n / A_SECOND - time.monotonic()))
        size = 16_384 if n % 4 < 2 else 100
        asked = time.monotonic()
        fresh = connect() if n % 2 else kept
        try:
            fresh.request("GET", f"{parts.path}/{size}")
            answer = fresh.getresponse()
            whole = answer.read()
            if answer.status != 200 or whole != pattern(size):
                wrong.append(f"status {answer.status}, {len(whole)} bytes")
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"{type(error).__name__} {error}")
            fresh.close()
        if fresh is not kept:
            fresh.close()
        took.append(time.monotonic() - asked)
        if n % 25 == 0:
            peak = tuple(map(max, peak, used(pid)))
    took.sort()
    p50, p99, most = (1000 * took[int(len(took) * part)] for part in (0.5, 0.99, 0.9999))
    if wrong:
        raise Wrong(f"{len(wrong)} of {len(took)} failed: {wrong[0]}")
    if most > 1000 * TOO_LATE_S:
        raise Wrong(f"an answer took {most:.0f} ms")
    times = f"{len(took)} requests, 0 failed, p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"
    return (
        f"{times}; the proxy: {before[0] // 1024} MiB and {before[1]} descriptors before,"
        f" {peak[0] // 1024} MiB and {peak[1]} at most"
    )


label, url, seconds, pid = sys.argv[1:]
judge(label, calm, url, float(seconds), int(pid))
leave()

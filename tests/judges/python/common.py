"""What Python's judges share: the bytes that everybody makes, and how a verdict is said."""

import hashlib
import sys
import threading
import time
import traceback

BLOCK = bytes((i * 31 + (i >> 8) * 17) & 255 for i in range(65521))


def pattern(n, start=0):
    """Bytes `start` to `start + n` of the pattern: 65,521 bytes in which every shift shows."""
    first = start % len(BLOCK)
    return (BLOCK * ((first + n) // len(BLOCK) + 1))[first : first + n]


def checksum(body):
    return hashlib.sha256(body).hexdigest()


class Wrong(Exception):
    """What was seen is not what must be seen."""


def same(what, seen, wanted):
    if seen != wanted:
        raise Wrong(f"{what}: saw {short(seen)}, not {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}... ({len(text)} long)"


FAILED = []
SAYING = threading.Lock()


def verdict(name, failure=None, detail=""):
    with SAYING:
        if failure is None:
            print(f"ok   {name}{': ' + detail if detail else ''}", flush=True)
        else:
            FAILED.append(name)
            print(f"FAIL {name}: {failure}", flush=True)


def judge(name, check, *arguments):
    """Runs one check; whatever it raises is its failure."""
    began = time.monotonic()
    try:
        detail = check(*arguments)
    except Wrong as wrong:
        verdict(name, str(wrong))
    except Exception as error:  # a judge must say what happened, and go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        verdict(name, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})")
    else:
        took = f"{time.monotonic() - began:.2f} s"
        verdict(name, None, f"{detail}, {took}" if detail else took)


def leave():
    sys.exit(1 if FAILED else 0)

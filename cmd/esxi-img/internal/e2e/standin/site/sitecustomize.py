"""Gives the Python under test the stand-in's clock: sleeping takes no time.
And keeps what it has compiled of our package, which the host itself compiles
anew for each script."""
import _posixsubprocess
import fcntl
import marshal
import os
import time
from importlib.machinery import SourceFileLoader

PATH = "/standin/clock"
EPOCH = 1700000000.0
MAX = 6 * 3600.0


def _advance(seconds):
    with open(PATH, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        now = float(f.read() or 0) + seconds
        f.truncate(0)
        f.write(repr(now))
    return now


def _now():
    try:
        with open(PATH) as f:
            fcntl.flock(f, fcntl.LOCK_SH)
            return float(f.read() or 0)
    except (OSError, ValueError):
        return 0.0


def _sleep(seconds, really=time.sleep):
    if seconds <= 0.05:
        # Python's own way to wait for a process: that does take time.
        really(seconds)
    if _advance(max(0.0, seconds)) > STARTED + MAX:
        os.write(2, b"stand-in: six hours have passed, this never ends\n")
        os._exit(99)


COMPILED = "/standin/compiled"
OURS = "/esxiimg/"


def _get_code(self, fullname, really=SourceFileLoader.get_code):
    path = self.get_filename(fullname)
    if not path.startswith(OURS):
        return really(self, fullname)
    source, kept = self.get_data(path), os.path.join(COMPILED, fullname)
    try:
        with open(kept, "rb") as f:
            from_source, code = marshal.loads(f.read())
        if from_source == source:
            return code
    except (OSError, ValueError, EOFError, TypeError):
        pass
    code = self.source_to_code(source, path)
    with open(kept, "wb") as f:
        f.write(marshal.dumps((source, code)))
    return code


def _fork_exec(args, candidates, *more, really=_posixsubprocess.fork_exec):
    if not any(os.access(c, os.X_OK) for c in candidates):
        with open("/standin/missing", "ab") as f:
            f.write(b" ".join(os.fsencode(a) for a in args) + b"\n")
    return really(args, candidates, *more)


STARTED = _now()
if os.path.exists(PATH):
    _posixsubprocess.fork_exec = _fork_exec
    SourceFileLoader.get_code = _get_code
    time.sleep = _sleep
    time.time = lambda: EPOCH + _now()
    time.monotonic = _now

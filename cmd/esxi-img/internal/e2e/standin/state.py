"""The state of the modelled host, which commands change one after the other,
and a clock that only sleeping moves."""
import fcntl
import os

MAX_SECONDS = 6 * 3600.0  # of virtual time after a boot: who sleeps longer never ends


class PowerLost(Exception):
    """The scenario's power failure."""


class NeverEnds(Exception):
    """A script that does not end by itself."""


class Refused(Exception):
    """What the host refuses, as it would: exit code 1 and a message, after
    what was printed before."""

    def __init__(self, message, printed=""):
        super().__init__(message)
        self.printed = printed


class NotYet(Refused):
    """hostd does not answer: to be expected for some time after a boot."""


class Unknown(Refused):
    """A command, subcommand or option that the model doesn't know. It is never
    forgiven: each one is a failure of the scenario."""


class Clock(object):
    """Virtual seconds since the machine was switched on."""

    def __init__(self, path):
        self.path = path

    def now(self):
        try:
            with open(self.path) as f:
                fcntl.flock(f, fcntl.LOCK_SH)
                return float(f.read() or 0)
        except OSError:
            return 0.0

    def advance(self, seconds):
        with open(self.path, "a+") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            f.seek(0)
            now = float(f.read() or 0) + max(0.0, seconds)
            f.truncate(0)
            f.write(repr(now))
        return now


class State(object):
    """data is what the machine knows of itself; root the folder that it runs
    in, None where it is only looked at."""

    def __init__(self, root, data):
        self.root, self.data = root, data
        self.clock = Clock(os.path.join(root or "/nowhere", "standin/clock"))
        self.input = ""  # of the command that is being answered

    def path(self, name):
        """The file of the root that a name on the host leads to: links there
        are absolute, and know nothing of the root."""
        done, left = [], [p for p in name.split("/") if p]
        for _ in range(256):
            if not left:
                break
            part = left.pop(0)
            if part in (".", ".."):
                done = done[:-1] if part == ".." else done
                continue
            here = os.path.join(self.root, *(done + [part]))
            if os.path.islink(here):
                target = os.readlink(here)
                left = [p for p in target.split("/") if p] + left
                done = [] if target.startswith("/") else done
                continue
            done.append(part)
        return os.path.join(self.root, *done)

    @property
    def host(self):
        return self.data["host"]

    def note(self, kind, **what):
        """Adds to what the scenario's result reports."""
        what["at"] = round(self.clock.now(), 1)
        self.data.setdefault(kind, []).append(what)

    def hazard(self, text):
        """Allowed by the host, and still nothing that anybody wants."""
        if text not in [h["what"] for h in self.data.get("hazards", [])]:
            self.note("hazards", what=text)

    def since_boot(self):
        return self.clock.now() - self.data.get("booted_at", 0.0)

    def never_ends(self):
        return self.since_boot() > MAX_SECONDS

    def hostd_ready(self):
        ready = self.data.get("hostd_ready_after")
        return self.data["phase"] == "host" and ready is not None and self.since_boot() >= ready

    def nic(self, name):
        for nic in self.data["nics"]:
            if nic["name"] == name:
                return nic
        return None

    def injected(self, line):
        """Whether this command is to fail now, as the scenario asks."""
        for rule in self.data.get("fail", []):
            if rule["match"] in line and rule.get("times", -1) != 0 and rule.get("boot", self.data["boot"]) == self.data["boot"]:
                if rule.get("times", -1) > 0:
                    rule["times"] -= 1
                self.note("injected", command=rule["match"])
                if rule.get("power"):
                    self.data["power"] = "lost"
                return rule.get("message", "Connection to the host was lost")
        return None

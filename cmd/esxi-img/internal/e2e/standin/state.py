"""The state of the modelled host: one JSON file that every command loads,
changes and saves under a lock, and a clock that only sleeping moves."""
import fcntl
import json
import os

HERE = os.environ.get("STANDIN_DIR", "/standin")
SECONDS_A_COMMAND = 0.2
MAX_SECONDS = 6 * 3600.0  # of virtual time: who sleeps longer never ends


class Refused(Exception):
    """What the host refuses, as it would: exit code 1 and a message."""


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
    def __init__(self, here=HERE):
        self.here = here
        self.clock = Clock(os.path.join(here, "clock"))
        self.data = {}
        self.lock = None

    def __enter__(self):
        self.lock = open(os.path.join(self.here, "lock"), "a")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(os.path.join(self.here, "state.json")) as f:
            self.data = json.load(f)
        return self

    def __exit__(self, kind, value, trace):
        self.save()
        self.lock.close()
        return False

    def save(self):
        part = os.path.join(self.here, "state.json.part")
        with open(part, "w") as f:
            json.dump(self.data, f, indent=1, sort_keys=True)
        os.rename(part, os.path.join(self.here, "state.json"))

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
            if rule["match"] in line and rule.get("times", -1) != 0:
                if rule.get("times", -1) > 0:
                    rule["times"] -= 1
                self.note("injected", command=rule["match"])
                if rule.get("power"):
                    self.data["power"] = "lost"
                return rule.get("message", "Connection to the host was lost")
        return None

"""What was done on the first boot: said as it happens, and kept as JSON.

The file is complete after every step, so that a host that stops half-way
tells how far it came. It holds no secrets.
"""
import json
import os
import time

from esxi_netinit import report

PATH = "/var/log/esxi-img.json"
MAX_FILE = 4 << 20
MAX_ERROR = 300  # characters of a command's output
FAILED = ("failed", "skipped", "rolled back")


class Journal(object):
    def __init__(self, root, data=None, say=None, clock=time.time):
        self.root = root
        self.clock = clock
        self.tell = say or (lambda text: report.say(root, text))
        self.data = data if data is not None else {
            "version": 1, "started": stamp(clock()), "finished": None, "result": "running",
            "steps": [], "problems": [], "notes": [], "events": [],
        }

    def event(self, text):
        self.tell(text)
        self.data["events"].append({"time": stamp(self.clock()), "text": report.printable(text)})
        self.save()

    def plan(self, plan):
        for kind in ("problems", "notes"):
            found = list(getattr(plan, kind))
            self.data[kind] = self.data[kind] + found
            for entry in found:
                self.tell("%s: %s: %s" % (kind[:-1], entry["path"], entry["message"]))
        self.save()

    def problem(self, path, message):
        self.data["problems"].append({"path": path, "message": message})
        self.tell("problem: %s: %s" % (path, message))
        self.save()

    def step(self, step, result, tries=0, seconds=0, error=""):
        error = "" if step.sensitive and not error.startswith("exit code") else report.printable(error.strip()[-MAX_ERROR:])
        entry = {
            "id": step.id, "stage": step.stage, "description": step.description, "result": result, "tries": tries,
            "seconds": round(seconds, 1), "command": None if step.sensitive or step.command is None else step.command,
        }
        if error:
            entry["error"] = error
        # A step that is done again replaces what was said of it before.
        self.data["steps"] = [e for e in self.data["steps"] if e["id"] != step.id] + [entry]
        loud = result.upper() if result in FAILED else result
        self.tell("%s: %s%s" % (step.description, loud, ": " + error if error and result in FAILED else ""))
        self.save()

    def mark(self, ids, result):
        for entry in self.data["steps"]:
            if entry["id"] in ids:
                entry["result"] = result
        self.save()

    def failures(self):
        """What went wrong, in lines: steps, and what could not be planned."""
        out = ["%s: %s" % (e["description"], e["result"]) for e in self.data["steps"] if e["result"] in FAILED]
        return out + ["%s %s" % (p["path"], p["message"]) for p in self.data["problems"]]

    def close(self):
        self.data["finished"] = stamp(self.clock())
        self.data["result"] = "failed" if self.failures() else "ok"
        self.save()

    def save(self):
        """Never stops a first boot: the log may be full."""
        path = self.root + PATH
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".part", "w") as f:
                json.dump(self.data, f, indent=1, sort_keys=True)
                f.write("\n")
            os.rename(path + ".part", path)
        except OSError:
            pass


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def load(root, say=None, clock=time.time):
    """The journal of a run before, None if there is none."""
    try:
        with open(root + PATH) as f:
            data = json.loads(f.read(MAX_FILE))
    except (OSError, ValueError):
        return None
    wanted = {"steps": list, "problems": list, "notes": list, "events": list, "result": str}
    if not isinstance(data, dict) or any(not isinstance(data.get(key), kind) for key, kind in wanted.items()):
        return None
    data.setdefault("finished", None)
    return Journal(root, data, say, clock)

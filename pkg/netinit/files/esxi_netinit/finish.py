"""The end of the first boot: what has to survive is saved, our files leave the
boot bank, somebody is told, and the host boots anew, once.

The record on the boot bank is the mark that this was done. Without it there is
no reboot: a first boot that began again each time would never end.
"""
import json
import os

from esxi_netinit import bootbank, esx, report

BANK = "/bootbank"
RECORD = "esxiimg.jsn"  # 8.3
MAX_RECORD = 256 << 10  # bytes
MAX_RUNS = 3
TRIES = 3
PAUSE_SECONDS = 5
PORTS = ("80", "443")  # of the firewall's httpClient


def begin(root):
    """How often the first boot has begun, this time included; None once it
    has ended."""
    record = read_record(root)
    if record.get("finished"):
        return None
    runs = record.get("runs", 0) if isinstance(record.get("runs", 0), int) else 0
    write_record(root, {"version": 1, "finished": None, "runs": runs + 1})
    return runs + 1


def read_record(root):
    try:
        with open(os.path.join(root + BANK, RECORD)) as f:
            data = json.loads(f.read(MAX_RECORD))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_record(root, data):
    """True if it is on the boot bank."""
    text = json.dumps(data, indent=1, sort_keys=True).encode("ascii") + b"\n"
    try:
        bootbank.write(os.path.join(root + BANK, RECORD), text)
    except OSError:
        return False
    return True


class Finish(object):
    def __init__(self, host, model, journal):
        self.host, self.model, self.journal = host, model, journal
        self.ok = True

    def run(self):
        """True if everything here worked."""
        model, journal = self.model, self.journal
        self.command("/sbin/auto-backup.sh")
        if model.options["keep"]:
            journal.event("our modules stay on the boot bank, as asked")
        else:
            self.remove_modules()
        marked = self.mark()
        if model.options["maintenance_mode"]:
            # Before the state is saved, which has to know of it.
            self.maintenance()
        self.command("/sbin/backup.sh", "1")
        self.phone_home()
        if not model.options["reboot"]:
            journal.event("no reboot, as asked; some settings need one")
        elif not marked:
            self.failed("no reboot: the boot bank can't be written, and the first boot might begin again for ever")
        else:
            self.reboot()
        return self.ok

    def failed(self, text):
        self.ok = False
        self.journal.event(text)

    def command(self, *argv):
        for attempt in range(TRIES):
            if attempt:
                self.host.sleep(PAUSE_SECONDS)
            code, text = self.host.run(argv)
            if code == 0:
                return True
        self.failed("%s: exit code %d: %s" % (" ".join(argv), code, text.strip()[-200:]))
        return False

    def remove_modules(self):
        """boot.cfg first: a module that it lists has to be there."""
        folder = self.host.root + BANK
        path = os.path.join(folder, "boot.cfg")
        names = (bootbank.OURS, bootbank.METADATA)
        try:
            text = bootbank.read(path)
            edited = without(text, names)
            if edited != text:
                bootbank.write(path, edited)
            for name in names:
                if os.path.exists(os.path.join(folder, name)):
                    os.remove(os.path.join(folder, name))
        except (OSError, bootbank.Refused) as err:
            self.failed("our modules stay on the boot bank: %s" % (getattr(err, "strerror", None) or err))
            return
        self.journal.event("our modules have left the boot bank")

    def mark(self):
        """The whole report, which survives where the logs are in memory; at
        least the mark, where that is too much."""
        self.journal.close()
        record = {"version": 1, "finished": self.journal.data["finished"], "result": self.journal.data["result"], "report": self.journal.data}
        if len(json.dumps(record)) > MAX_RECORD // 2:
            del record["report"]
        for attempt in range(TRIES):
            if attempt:
                self.host.sleep(PAUSE_SECONDS)
            if write_record(self.host.root, record):
                return True
        return False

    def phone_home(self):
        where = self.model.phone_home
        if where is None:
            return
        opened = self.open_firewall(where["url"])
        failures = self.journal.failures()
        sent = report.phone_home(self.model, "configured", not failures and self.ok, failures, root=self.host.root, pause=self.host.sleep)
        if opened:
            self.host.run(ruleset("false"))
        if sent:
            self.journal.event("the report was sent to phone_home")
        else:
            self.failed("the report could not be sent to phone_home")

    def open_firewall(self, url):
        """Whether the host's firewall was opened, and has to be closed again.
        It lets nothing out to web servers by itself."""
        scheme, _, rest = url.partition("://")
        port = rest.partition("/")[0].rpartition(":")[2]
        if not port.isdigit():
            port = "443" if scheme == "https" else "80"
        if port not in PORTS:
            self.journal.event("phone_home goes to port %s, which the host's firewall may not let through" % port)
            return False
        found = self.host.ask_once("esxcli", "network", "firewall", "ruleset", "list") or ""
        enabled = [row for row in esx.table(found) if row.get("Name") == "httpClient" and esx.truth(row.get("Enabled"))]
        return not enabled and self.host.run(ruleset("true"))[0] == 0

    def maintenance(self):
        found = self.host.ask_once("esxcli", "system", "maintenanceMode", "get") or ""
        if found.strip().lower() != "enabled":
            self.command("esxcli", "system", "maintenanceMode", "set", "--enable", "true")

    def reboot(self):
        if self.model.options["quick_boot"] and not self.command("loadESXEnable", "-e"):
            self.journal.event("there is no Quick Boot: the host boots as usual")
        self.journal.event("rebooting")
        self.command("/sbin/reboot")


def ruleset(enabled):
    return ("esxcli", "network", "firewall", "ruleset", "set", "--enabled", enabled, "--ruleset-id", "httpClient")


def without(text, names):
    """boot.cfg without those modules. Every other byte stays."""
    lines = text.splitlines(True)
    i = bootbank.find_line(lines, b"modules")
    if i is None:
        raise bootbank.Refused("boot.cfg has no modules line")
    bare = lines[i].rstrip(b"\r\n")
    key, _, value = bare.partition(b"=")
    wanted = [name.encode("ascii") for name in names]
    parts = [part for part in value.split(b"---") if not part.split() or part.split()[0].rpartition(b"/")[2].lower() not in wanted]
    if len(parts) != len(value.split(b"---")):
        lines[i] = key + b"=" + b"---".join(parts).rstrip() + lines[i][len(bare):]
    return b"".join(lines)

"""The end of the first boot: what has to survive is saved, our files leave the
boot bank, somebody is told, and the host boots anew, once.

The record on the boot bank is the mark that this was done. Without it there is
no reboot: a first boot that began again each time would never end. And while
nobody could log in, or the state can't be saved, nothing is done: our files
stay, and the next boot tries again.
"""
import json
import os

from esxi_netinit import again, bootbank, esx, report
from esxi_netinit.model import Model

BANK = "/bootbank"
RECORD = "esxiimg.jsn"  # 8.3
MAX_RECORD = 256 << 10  # bytes
MAX_RUNS = 3
TRIES = 3
PAUSE_SECONDS = 5
PORTS = ("80", "443")  # of the firewall's httpClient
LOGS = ("/var/log/esxi-img.json", "/var/log/esxi-img-installer.log")
KEPT_LOGS = "/scratch/log"  # on a disk, where the host has one for it
MAX_LOG = 8 << 20  # bytes


class Record(object):
    """What is known over boots: the mark, and which of the user's commands
    have begun and ended."""

    def __init__(self, root):
        self.root = root
        self.data = read_record(root)
        self.runs = self.data.get("runs") if isinstance(self.data.get("runs"), int) else 0
        if not isinstance(self.data.get("commands"), dict):
            self.data["commands"] = {}
        self.kept = False  # whether it is on the boot bank

    def finished(self):
        return bool(self.data.get("finished"))

    def begin(self):
        """One more first boot."""
        self.runs += 1
        return self.write({"version": 1, "finished": None, "runs": self.runs, "commands": self.data["commands"]})

    def write(self, data):
        self.data = data
        self.kept = write_record(self.root, data)
        return self.kept

    def state(self, id):
        return self.data["commands"].get(id)

    def note(self, id, state):
        self.data["commands"][id] = state
        if self.kept:
            write_record(self.root, self.data)


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


def arm(root, begun):
    """Lets the next boot begin the first boot again, should this one not end.
    Why it can't be, "" where it can."""
    try:
        again.arm(root, root + BANK, begun)
    except bootbank.Refused as err:
        return str(err)
    except OSError as err:
        return err.strerror or "input/output error"
    return ""


def armed(root):
    try:
        return again.ONETIME.encode("ascii") in bootbank.modules(bootbank.read(os.path.join(root + BANK, "boot.cfg")))
    except (OSError, bootbank.Refused):
        return False


class Finish(object):
    """locked is why nobody could log in to the host, "" where somebody can.
    last says that this was the last try."""

    def __init__(self, host, model, journal, locked="", last=False):
        self.host, self.model, self.journal = host, model, journal
        self.locked, self.last = locked, last
        self.record = Record(host.root)
        self.told = None  # how phone_home went
        self.ok = True

    def run(self):
        """True if everything here worked."""
        model, journal = self.model, self.journal
        if model.options["maintenance_mode"] and not self.locked:
            # Before the state is saved, which has to know of it.
            self.maintenance()
        saved = self.save()
        if self.locked:
            return self.undone("nobody could log in, since the root password is random: %s" % self.locked)
        if not saved and not self.last:
            return self.undone("the state of the host can't be saved: a reboot would lose it")
        self.remove_modules()
        if saved:
            self.command("/sbin/backup.sh", "1")
        marked = self.mark()
        self.copy_logs()
        self.phone_home()
        if marked and self.told is not None:
            # The mark is there; this is for whoever reads it.
            self.mark(1)
        if self.last:
            self.failed("the first boot has begun %d times and never ended: it is given up, without a reboot" % self.record.runs)
        elif not model.options["reboot"]:
            journal.event("no reboot, as asked; some settings need one")
        elif not marked:
            self.failed("no reboot: the boot bank can't be written, and the first boot might begin again for ever")
        else:
            self.reboot()
        self.copy_logs()
        return self.ok

    def undone(self, reason):
        """Everything stays as it is: the next boot begins again."""
        self.journal.problem("first boot", reason)
        text = "the next boot tries again" if armed(self.host.root) else "no other boot tries again by itself"
        self.failed("NOT DONE: %s. Our modules stay on the boot bank, there is no reboot, and %s" % (reason, text))
        self.journal.close()
        self.copy_logs()
        self.phone_home()
        self.record.write(self.report(dict(self.record.data, undone=report.printable(reason)), None))
        self.copy_logs()
        return False

    def save(self):
        """Whether what was configured is there after a reboot."""
        if self.tried("/sbin/auto-backup.sh") or self.tried("/sbin/backup.sh", "1"):
            return True
        self.ok = False
        return False

    def failed(self, text):
        self.ok = False
        self.journal.event(text)

    def command(self, *argv):
        if self.tried(*argv):
            return True
        self.ok = False
        return False

    def tried(self, *argv):
        for attempt in range(TRIES):
            if attempt:
                self.host.sleep(PAUSE_SECONDS)
            code, text = self.host.run(argv)
            if code == 0:
                return True
        self.journal.event("%s: exit code %d: %s" % (" ".join(argv), code, text.strip()[-200:]))
        return False

    def remove_modules(self):
        """boot.cfg first: a module that it lists has to be there."""
        folder = self.host.root + BANK
        path = os.path.join(folder, "boot.cfg")
        names = (again.ONETIME,) if self.model.options["keep"] else (bootbank.OURS, bootbank.METADATA, again.ONETIME)
        try:
            text = bootbank.read(path)
            edited = without(text, names)
            if edited != text:
                bootbank.write(path, edited)
            for name in names:
                remove(os.path.join(folder, name))
            if self.model.options["keep"]:
                scrub(folder, self.model)
        except (OSError, bootbank.Refused) as err:
            self.failed("our modules stay on the boot bank: %s" % (getattr(err, "strerror", None) or err))
            return
        self.journal.event("our modules stay on the boot bank, as asked" if self.model.options["keep"] else "our modules have left the boot bank")

    def mark(self, tries=TRIES):
        """The whole report, which survives where the logs are in memory; at
        least the mark, where that is too much."""
        self.journal.close()
        for attempt in range(tries):
            if attempt:
                self.host.sleep(PAUSE_SECONDS)
            if self.record.write(self.report({"version": 1}, self.journal.data["finished"])):
                return True
        return False

    def report(self, record, finished):
        record.update(finished=finished, result=self.journal.data["result"], phone_home=self.told, report=self.journal.data)
        if len(json.dumps(record)) > MAX_RECORD // 2:
            del record["report"]
        return record

    def copy_logs(self):
        """/var/log may be in memory."""
        root, folder = self.host.root, self.host.root + KEPT_LOGS
        if not os.path.isdir(folder):
            return
        for name in LOGS:
            target = os.path.join(folder, os.path.basename(name))
            try:
                if os.path.exists(target) and os.path.samefile(root + name, target):
                    continue
                with open(root + name, "rb") as f:
                    data = f.read(MAX_LOG)
                with open(target, "wb") as f:
                    f.write(data)
            except OSError:
                continue  # the report on the boot bank has all of it

    def phone_home(self):
        where = self.model.phone_home
        if where is None:
            return
        opened = self.open_firewall(where["url"])
        failures = self.journal.failures()
        sent = report.phone_home(self.model, "configured", not failures and self.ok, failures, root=self.host.root, pause=self.host.sleep)
        if opened:
            self.host.run(ruleset("false"))
        self.told = "sent" if sent else "not sent"
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


def remove(path):
    """Overwritten first: a license key and the user's own commands were in it,
    and what a file system forgets is still on its disk."""
    if not os.path.exists(path):
        return
    try:
        with open(path, "r+b") as f:
            f.write(bytes(os.path.getsize(path)))
            f.flush()
            os.fsync(f.fileno())
    except OSError:
        pass
    os.remove(path)


def scrub(folder, model):
    """What is kept on the boot bank for good has none of it either."""
    path = os.path.join(folder, bootbank.METADATA)
    if os.path.exists(path):
        bare = Model.from_dict(model.to_dict())
        bare.license, bare.commands, bare.write_files = None, [], []
        bootbank.write(path, bootbank.pack({bootbank.MODEL: bootbank.dump(bare)}))

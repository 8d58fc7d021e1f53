"""--plan: what would come of a folder of metadata, seen from a machine that is
no ESXi. Nothing is run or written.

What an image carries itself (a hash of the root password, a disk, options) is
not known here.
"""
import json
import sys

from esxi_netinit import baseline, bootbank, disks, installer, loader, plan as planning, schema, weasel
from esxi_netinit.errors import MetadataError
from esxi_netinit.stage import Image, Refused

OK, UNUSABLE, PROBLEMS = 0, 3, 4
UNKNOWN_DISK = "DISK"  # its name is only known on the host


class Installer(object):
    """What the installer decides before it touches a disk, by its own code."""

    def __init__(self, model, secrets, secure_boot):
        self.model, self.secure = model, secure_boot
        self.notes = []  # (path, message)
        self.rootpw = self.password(secrets)
        self.install = self.disk()
        self.kernel_options = bootbank.kernel_options(model, Image())

    # What installer.password asks of a stage.

    def note(self, text):
        self.notes.append(("installer", text))

    say = note

    def secure_boot(self):
        return "on" if self.secure else "off"

    def password(self, secrets):
        """The command without the hash, None where the installer stops."""
        try:
            line, origin = installer.password(self, Image(), self.model, secrets)
        except Refused as err:
            self.note("stops before a disk is touched, unless the image carries a hash of root's password: %s" % err)
            return None
        if origin.startswith("random"):
            origin += ", unless the image carries a hash"
        return "%s ... (%s)" % (line.rpartition(" ")[0], origin)

    def disk(self):
        wanted, settings = self.model.install["disk"], self.model.install
        if wanted is not None and wanted["firstdisk"]:
            return weasel.install(disks.Choice(firstdisk=wanted["firstdisk"]), settings)
        line = weasel.install(disks.Choice(disk=_Unseen(wanted), reason=""), settings)
        told = ["the disk " + chosen(wanted)]
        if settings["overwritevmfs"] is None:
            told.append("stops if a VMFS datastore is on it")
        told.append("adds --overwritevsan if vSAN has claimed it" if settings["overwritevsan"] else "stops if vSAN has claimed it")
        return "%s (%s)" % (line, "; ".join(told))

    def to_dict(self, network):
        return {"rootpw": self.rootpw, "network": network, "install": self.install, "kernel_options": self.kernel_options,
                "kernel_options_applied": not self.secure}


class _Unseen(object):
    """A disk of which nothing is known but how it is chosen."""

    problem = None

    def __init__(self, wanted):
        path = wanted["path"] if wanted is not None else None
        self.name = UNKNOWN_DISK if path is None else path.rsplit("/", 1)[-1]

    @staticmethod
    def has(_):
        return False


def chosen(wanted):
    """How a disk is chosen, as the rest of a sentence."""
    if wanted is None or wanted["image"]:
        return "that carries the image"
    out = ["of %s %s" % (key, wanted[key]) for key in ("serial", "wwn", "path", "vendor", "model") if wanted[key] is not None]
    if wanted["min_bytes"] is not None:
        out.append("of at least %d GiB" % (wanted["min_bytes"] >> 30))
    if wanted["size"] is not None:
        out.append("that is the %s of those" % wanted["size"] if out else "that is the %s" % wanted["size"])
    return " and ".join(out)


def show(options, out):
    """Prints the plan. Returns the exit code."""
    try:
        model, secrets, problems = loader.load_reported(options.metadata)
        nics = baseline.read_nics(options.nics)
    except (MetadataError, baseline.Refused) as err:
        sys.stderr.write("%s\n" % err)
        return UNUSABLE
    state, network, notes = baseline.installed(model, nics)
    before = Installer(model, secrets, options.secure_boot)
    plan = planning.make(model, state)
    for note in notes:
        plan.note("installer", note)
    for path, note in before.notes:
        plan.note(path, note)
    left_out(plan, problems)
    if options.json:
        data = plan.to_dict(state)
        data.update(secure_boot=options.secure_boot, installer=before.to_dict(network))
        out.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
    else:
        todo = [step for step in plan.steps if step.pending(state)]
        out.write(text(plan, todo, before, network))
    return PROBLEMS if plan.problems else OK


def left_out(plan, problems):
    """A model only has notes, so that it can be kept. What is broken in the
    metadata, and therefore missing in the model, is more than a note here."""
    for severity, path, message in problems.found:
        if severity == "error":
            entry = {"path": path[:schema.MAX_PATH], "message": message[:schema.MAX_MESSAGE]}
            plan.notes[:] = [note for note in plan.notes if note != entry]
            plan.problem(path, message)


def text(plan, todo, before, network):
    out = ["# the installer: " + line for line in (before.rootpw, network, before.install) if line is not None]
    if before.secure:
        out += secure_boot(todo, before.kernel_options)
    elif before.kernel_options:
        out.append("# the installer: kernel options of the host: " + " ".join(before.kernel_options))
    stage = None
    for step in todo:
        if step.stage != stage:
            stage = step.stage
            out += ["", "# " + stage]
        shown = step.shown() if step.command is not None and not step.sensitive else "# %s: %s" % (step.description, step.shown())
        out.append("# not applied: " + shown if before.secure else shown)
    out.append("")
    for kind, entries in (("problem", plan.problems), ("note", plan.notes)):
        out += ["# %s: %s: %s" % (kind, entry["path"], entry["message"]) for entry in entries]
    return "\n".join(printable(line) for line in out).rstrip() + "\n"


def printable(line):
    """ASCII without control characters, whatever the terminal is."""
    return "".join(char if " " <= char <= "~" else "?" for char in line)


def secure_boot(todo, options):
    what = ["%d steps" % len(todo)] if todo else []
    if options:
        what.append("kernel options")
    if not what:
        return ["# Secure Boot: there is no first boot. Nothing is left undone."]
    out = ["# Secure Boot: there is no first boot. These %s are not applied:" % " and ".join(what)]
    if options:
        out.append("# not applied: kernel options of the host: " + " ".join(options))
    return out

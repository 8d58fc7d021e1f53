"""%firstboot: configures the host from the model that %post left.

    main.py                       configure the host
    main.py --finish              save, clean up, tell, and reboot
    main.py --plan --metadata DIR --nics FILE [--secure-boot] [--json]
                                  print the steps; nothing is run

Exit codes: 0 done; 1 some steps failed; 2 usage; of --plan, 3 what can't be
read, 4 a plan with problems.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from esxi_netinit import access, esx, finish, journal, plan as planning, report  # noqa: E402
from esxi_netinit.apply import Apply  # noqa: E402
from esxi_netinit.model import MetadataError, Model  # noqa: E402
from esxi_netinit.stage import line_of  # noqa: E402

MODEL = "/esxiimg/metadata/model.json"
INSTALLER = "/esxiimg/metadata/installer.json"
INSTALLER_LOG = "/var/log/esxi-img-installer.log"
MAX_MODEL = 16 << 20  # bytes


class NoModel(Exception):
    """There is no model: nothing is wrong, and nothing is to be done."""


class BadModel(Exception):
    """A model that can't be used."""


def read_model(root):
    path = root + MODEL
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_MODEL + 1)
    except FileNotFoundError:
        raise NoModel("there is no metadata to configure the host from")
    except OSError as err:
        raise BadModel("%s: %s" % (MODEL, err.strerror))
    try:
        return Model.from_dict(json.loads(raw.decode("utf-8")))
    except MetadataError as err:
        raise BadModel("%s can't be used: %s" % (MODEL, err))
    except (ValueError, RecursionError):
        raise BadModel("%s is not JSON" % MODEL)


class Told(object):
    """What the installer left for the first boot besides the model."""

    def __init__(self, root):
        try:
            with open(root + INSTALLER, "rb") as f:
                data = json.loads(f.read(MAX_MODEL).decode("utf-8"))
        except (OSError, ValueError, RecursionError):
            data = {}
        data = data if isinstance(data, dict) else {}
        self.random = data.get("random_password") is True
        self.notes, self.log = texts(data.get("notes")), texts(data.get("log"))


def texts(value):
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def configure(host):
    """Runs the plan. Returns the exit code."""
    root, told = host.root, Told(host.root)
    record = finish.Record(root)
    if record.finished():
        report.say(root, "the first boot has been done already: nothing is changed")
        return 0
    kept = record.begin()
    late = record.runs > finish.MAX_RUNS
    if late and not told.random:
        report.say(root, "the first boot has begun %d times and never ended: nothing is changed" % record.runs)
        return 1
    log = journal.Journal(root, clock=host.clock)
    log.data["run"] = record.runs
    keep_log(root, told)
    arm(root, log, kept, False)
    if record.runs > 1:
        log.event("the first boot begins for time number %d: it did not end before" % record.runs)
    # What broke three boots is left alone; that somebody can log in is not.
    only_access, code = late, 0
    try:
        model = read_model(root)
    except NoModel as err:
        log.event(str(err))
        model, only_access = None, True
    except BadModel as err:
        log.problem(MODEL, str(err))
        model, only_access, code = None, True, 1
    if model is None:
        if not told.random:
            log.close()
            return code
        # The keys are there by another way: see access.script.
        model = Model()
        model.ssh["enable"] = True
    log.data.update(source=model.source, instance_id=model.instance_id)
    if not host.wait():
        log.event("hostd does not answer after %d seconds: going on with localcli" % esx.HOSTD_SECONDS)
    state = read_state(host, log)
    plan = planning.make(model, state)
    if only_access:
        plan.steps, plan.check = plan.stage("access"), None
    for note in told.notes:
        if not note.startswith("metadata: "):  # those are the model's own
            plan.note("installer", note)
    log.plan(plan)
    Apply(host, plan, state, log, record).run()
    if told.random:
        locked = access.missing(root, model, log)
        if locked:
            log.problem("ssh", "nobody could log in: %s" % locked)
    log.close()
    # The scripts of the user's own come next: whatever those have done, they
    # are not begun again.
    arm(root, log, kept, True)
    failures = log.failures()
    for line in failures:
        report.say(root, "FAILED: " + line)
    report.say(root, "%d failed, of %d steps" % (len(failures), len(plan.steps)) if failures else "the host is configured")
    return 1 if failures else 0


def arm(root, log, kept, begun):
    """Should the power fail, the next boot begins again: as often as the
    record on the boot bank can count it."""
    problem = finish.arm(root, begun) if kept else "the boot bank can't be written"
    if problem:
        log.event("should this boot not end, no other begins it again: %s" % problem)


def keep_log(root, told):
    if not told.log:
        return
    try:
        os.makedirs(os.path.dirname(root + INSTALLER_LOG), exist_ok=True)
        with open(root + INSTALLER_LOG, "w") as f:
            f.write("".join(report.printable(line) + "\n" for line in told.log))
    except OSError:
        pass  # a full log stops nothing


def read_state(host, log):
    """A state without a network is planned without one."""
    for _ in range(2):
        try:
            return esx.read_state(host)
        except esx.Unreadable as err:
            log.event("the network can't be read: %s" % err)
        except Exception as err:
            log.event("the host's state can't be understood (%s in %s)" % (type(err).__name__, line_of(err)))
        host.hostd = False
    state = esx.State()
    state.unread = True
    try:
        esx.read_services(host, state)
    except Exception as err:
        log.event("the host's services can't be understood (%s in %s)" % (type(err).__name__, line_of(err)))
    return state


def end(host):
    """Runs after all other scripts of %firstboot. Returns the exit code."""
    root, told = host.root, Told(host.root)
    record = finish.Record(root)
    if record.finished():
        report.say(root, "the first boot has been done already: no reboot")
        return 0
    log = journal.load(root, clock=host.clock)
    # Where there is no record, the boot bank could not be written.
    if log is not None and record.runs and log.data.get("run") != record.runs:
        log = None  # of a boot before
    missing = log is None or log.data["finished"] is None
    log = log or journal.Journal(root, clock=host.clock)
    try:
        model = read_model(root)
    except (NoModel, BadModel) as err:
        # Nothing was configured, and a reboot would change nothing.
        log.event(str(err))
        model = Model()
        model.options["reboot"] = False
    else:
        if missing:
            log.problem("first boot", "it has left no report of its end")
    locked = access.missing(root, model, log) if told.random else ""
    last = record.runs > finish.MAX_RUNS and not locked
    return 0 if finish.Finish(host, model, log, locked, last).run() else 1


def main(argv, root="", out=sys.stdout):
    parser = argparse.ArgumentParser(prog="main.py")
    parser.add_argument("--finish", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--metadata")
    parser.add_argument("--nics")
    parser.add_argument("--secure-boot", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.plan:
        if not options.metadata or not options.nics:
            parser.error("--plan needs --metadata and --nics")
        # Not on a host: it reads raw metadata, and the installer's modules.
        from esxi_netinit import trial
        return trial.show(options, out)
    host = esx.Host(root)
    try:
        return end(host) if options.finish else configure(host)
    except Exception as err:
        # Not the text: it may quote the metadata.
        report.say(root, "the first boot broke off: %s in %s" % (type(err).__name__, line_of(err)))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.get("ESXI_ROOT", "")))

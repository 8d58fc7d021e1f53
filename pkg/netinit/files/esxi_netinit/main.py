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

from esxi_netinit import baseline, esx, finish, journal, plan as planning, report  # noqa: E402
from esxi_netinit.apply import Apply  # noqa: E402
from esxi_netinit.model import MetadataError, Model, load  # noqa: E402

MODEL = "/esxiimg/metadata/model.json"
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


def configure(host):
    """Runs the plan. Returns the exit code."""
    root = host.root
    runs = finish.begin(root)
    if runs is None:
        report.say(root, "the first boot has been done already: nothing is changed")
        return 0
    if runs > finish.MAX_RUNS:
        report.say(root, "the first boot has begun %d times and never ended: nothing is changed" % runs)
        return 1
    log = journal.Journal(root, clock=host.clock)
    try:
        model = read_model(root)
    except NoModel as err:
        log.event(str(err))
        log.close()
        return 0
    except BadModel as err:
        log.problem(MODEL, str(err))
        log.close()
        return 1
    log.data.update(source=model.source, instance_id=model.instance_id)
    if not host.wait():
        log.event("hostd does not answer after %d seconds: going on with localcli" % esx.HOSTD_SECONDS)
    state = read_state(host, log)
    plan = planning.make(model, state)
    log.plan(plan)
    Apply(host, plan, state, log).run()
    log.close()
    failures = log.failures()
    for line in failures:
        report.say(root, "FAILED: " + line)
    report.say(root, "%d of %d steps failed" % (len(failures), len(plan.steps)) if failures else "the host is configured")
    return 1 if failures else 0


def read_state(host, log):
    """A state without a network is planned without one."""
    for _ in range(2):
        try:
            return esx.read_state(host)
        except esx.Unreadable as err:
            log.event("the network can't be read: %s" % err)
            host.hostd = False
    state = esx.State()
    state.unread = True
    esx.read_services(host, state)
    return state


def end(host):
    """Runs after all other scripts of %firstboot. Returns the exit code."""
    root = host.root
    if finish.read_record(root).get("finished"):
        report.say(root, "the first boot has been done already: no reboot")
        return 0
    log = journal.load(root, clock=host.clock)
    try:
        model = read_model(root)
    except (NoModel, BadModel) as err:
        # Nothing was configured, and a reboot would change nothing.
        log = log or journal.Journal(root, clock=host.clock)
        log.event(str(err))
        model = Model()
        model.options["reboot"] = False
    if log is None:
        log = journal.Journal(root, clock=host.clock)
        log.problem("first boot", "it has left no report")
    return 0 if finish.Finish(host, model, log).run() else 1


def show(options, out):
    """--plan. Returns the exit code."""
    try:
        model, _ = load(options.metadata)
        nics = baseline.read_nics(options.nics)
    except (MetadataError, baseline.Refused) as err:
        sys.stderr.write("%s\n" % err)
        return 3
    state, line, notes = baseline.installed(model, nics)
    plan = planning.make(model, state)
    for note in notes:
        plan.note("installer", note)
    todo = [step for step in plan.steps if step.pending(state)]
    if options.json:
        data = plan.to_dict(state)
        data.update(secure_boot=options.secure_boot, installer={"network": line})
        out.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
    else:
        out.write(text(plan, todo, line, options.secure_boot))
    return 4 if plan.problems else 0


def text(plan, todo, line, secure_boot):
    out = ["# the installer: " + line]
    if secure_boot:
        out.append("# Secure Boot: there is no first boot. %s" % ("These %d steps are not applied:" % len(todo) if todo else "Nothing is left undone."))
    stage = None
    for step in todo:
        if step.stage != stage:
            stage = step.stage
            out += ["", "# " + stage]
        shown = step.shown() if step.command is not None and not step.sensitive else "# %s: %s" % (step.description, step.shown())
        out.append(report.printable("# not applied: " + shown if secure_boot else shown))
    out.append("")
    for kind, entries in (("problem", plan.problems), ("note", plan.notes)):
        out += ["# %s: %s: %s" % (kind, report.printable(e["path"]), report.printable(e["message"])) for e in entries]
    return "\n".join(out).rstrip() + "\n"


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
        return show(options, out)
    host = esx.Host(root)
    return end(host) if options.finish else configure(host)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.get("ESXI_ROOT", "")))

"""%firstboot: configures the host from the model that %post left."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from esxi_netinit import metadata  # noqa: E402
from esxi_netinit.host import Failed, Host  # noqa: E402

MODEL = "/esximeta/model.json"


def steps(model):
    """What is to be done: a list of (what, method of Host, arguments)."""
    out = []
    name = model.get("hostname")
    if name and metadata.is_host_name(name):
        out.append(("host name %s" % name, "set_host_name", (name,)))
    keys = []
    if isinstance(model.get("ssh_keys"), list):
        keys = [key for key in model["ssh_keys"] if metadata.ssh_key(key) == key]
    if keys:
        # Keys first: SSH is of use only with them.
        out.append(("%d SSH keys" % len(keys), "authorize", (keys,)))
        out.append(("SSH", "enable_ssh", ()))
    if out:
        out.append(("saving the state", "save", ()))
    return out


def apply(host, todo, say):
    """Carries out all steps, whatever fails, and returns the failed ones."""
    failed = []
    try:
        host.wait()
    except Failed as err:
        # Some steps work without hostd.
        say("%s; going on" % err)
    for what, method, arguments in todo:
        try:
            getattr(host, method)(*arguments)
            say("%s: done" % what)
        except (Failed, OSError) as err:
            say("%s: FAILED: %s" % (what, err))
            failed.append(what)
    return failed


def report(text):
    """To the console and to the host's log."""
    print("esxi-img: " + text)
    sys.stdout.flush()
    try:
        subprocess.call(["logger", "-t", "esxi-img", text])
    except OSError:
        pass


def main(root=""):
    try:
        model = metadata.load(root + MODEL)
    except metadata.Refused as err:
        report(str(err))
        return 1
    todo = steps(model)
    if not todo:
        report("there is no metadata to configure the host from")
        return 0
    failed = apply(Host(root), todo, report)
    if failed:
        report("%d of %d steps failed: %s" % (len(failed), len(todo), ", ".join(failed)))
        return 1
    report("the host is configured")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ.get("ESXI_ROOT", "")))

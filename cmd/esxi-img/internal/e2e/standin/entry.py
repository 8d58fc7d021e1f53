"""Every command of the stand-in begins here: esxcli, vim-cmd and the rest are
small scripts in the root that call main with their own name."""
import json
import os
import sys

from state import NotYet, Refused, State, Unknown


def main(name):
    args = sys.argv[1:]
    line = " ".join([os.path.basename(name)] + args)
    code, out, problem = 0, "", ""
    with State() as state:
        with open(os.path.join(state.here, "calls"), "a") as f:
            f.write(json.dumps([name] + args) + "\n")
        state.clock.advance(0.2)
        failure = state.injected(line)
        if failure is not None:
            code, problem = 1, failure
        else:
            try:
                out = run(state, name, args)
            except Unknown as err:
                code, problem = 1, str(err)
                state.note("unknown", command=line, message=problem)
            except NotYet as err:
                code, problem = 1, str(err)
            except Refused as err:
                code, problem = 1, str(err)
                if problem and not quiet(state, name, args):
                    state.note("refused", command=line, message=problem)
        serve_mounts(state)
        lost = state.data.get("power") == "lost"
    if lost:
        # The tracer sees it at the next program that is started.
        open("/standin/power-lost", "w").close()
        os.execv("/bin/busybox", ["sh", "-c", "while true; do /bin/busybox true; done"])
    sys.stdout.write(out)
    if problem:
        # esxcli says its errors on standard output.
        (sys.stdout if name in ("esxcli", "localcli") else sys.stderr).write(problem + "\n")
    sys.stdout.flush()
    sys.exit(code)


def run(state, name, args):
    if name in ("esxcli", "localcli"):
        import system

        if name == "esxcli" and not state.hostd_ready():
            state.clock.advance(2)
            raise NotYet("Connect to localhost failed: Connection failure")
        return system.tree.execute(state, args, name)
    import parted  # noqa: F401
    import tools

    return tools.PROGRAMS[name](state, args)


def quiet(state, name, args):
    """Refusals that are part of looking for something, not mistakes."""
    if name == "vsish" or "module load" in " ".join(args):
        return True
    return name in ("partedUtil", "vmkping", "ping", "ping6") or args[-1:] == ["get"] or "list" in args


def serve_mounts(state):
    """Mounts and unmounts volumes as links under /vmfs/volumes."""
    for device in state.data.pop("mount_requests", []):
        label = state.data["volumes"][device]["label"]
        if not os.path.lexists("/vmfs/volumes/" + label):
            os.symlink("/standin/volumes/" + device, "/vmfs/volumes/" + label)
    for device in state.data.pop("umount_requests", []):
        path = "/vmfs/volumes/" + state.data["volumes"][device]["label"]
        if os.path.islink(path):
            os.remove(path)

"""How a command of the modelled host is answered."""
import json
import os

import parted  # noqa: F401  registers partedUtil
import system
import tools
from state import NeverEnds, NotYet, PowerLost, Refused, Unknown


def wants_input(name, args):
    return name == "logger" and tools.from_input(args)


def answer(state, name, args, text):
    """(exit code, standard output, standard error)"""
    line = " ".join([os.path.basename(name)] + args)
    with open(os.path.join(state.root, "standin/calls"), "a") as f:
        f.write(json.dumps([name] + args) + "\n")
    state.clock.advance(0.2)
    if state.never_ends():
        raise NeverEnds("six hours have passed, this never ends: " + line)
    code, out, problem = 0, "", state.injected(line)
    if state.data.get("power") == "lost":
        raise PowerLost()
    if problem is not None:
        code = 1
    else:
        try:
            out = run(state, name, args, text)
        except Unknown as err:
            code, problem = 1, str(err)
            state.note("unknown", command=line, message=problem)
        except NotYet as err:
            code, problem = 1, str(err)
        except Refused as err:
            code, problem, out = 1, str(err), err.printed
            if problem and not quiet(name, args):
                state.note("refused", command=line, message=problem)
    serve_mounts(state)
    problem = problem + "\n" if problem else ""
    # esxcli says its errors on standard output.
    return (code, out + problem, "") if name in ("esxcli", "localcli") else (code, out, problem)


def run(state, name, args, text):
    if name in ("esxcli", "localcli"):
        if name == "esxcli" and not state.hostd_ready():
            state.clock.advance(2)
            raise NotYet("Connect to localhost failed: Connection failure")
        return system.tree.execute(state, args, name)
    state.input = text
    return tools.PROGRAMS[name](state, args)


def quiet(name, args):
    """Refusals that are part of looking for something, not mistakes."""
    if name == "vsish" or "module load" in " ".join(args):
        return True
    return name in ("partedUtil", "vmkping", "ping", "ping6") or args[-1:] == ["get"] or "list" in args


def serve_mounts(state):
    """Mounts and unmounts volumes as links under /vmfs/volumes."""
    for device in state.data.pop("mount_requests", []):
        path = state.path("/vmfs/volumes/" + state.data["volumes"][device]["label"])
        if not os.path.lexists(path):
            os.symlink("/standin/volumes/" + device, path)
    for device in state.data.pop("umount_requests", []):
        path = os.path.join(state.path("/vmfs/volumes"), state.data["volumes"][device]["label"])
        if os.path.islink(path):
            os.remove(path)

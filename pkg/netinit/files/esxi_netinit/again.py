"""Lets a first boot that did not end begin again at the next one.

ESXi takes onetime.tgz off the boot bank before it runs the scripts of
%firstboot. While ours are not done, one with nothing but scripts is there:
never what else the installer's own may hold, such as the state of the host and
root's password.
"""
import os

from esxi_netinit import bootbank

ONETIME = "onetime.tgz"
FOLDER = "var/lib/vmware/firstboot"  # where onetime.tgz has its scripts
OURS = b"esxi_netinit/main.py"  # what only scripts of ours name
MAX_SCRIPT = 4 << 20  # bytes
MAX_SCRIPTS = 64


def arm(root, bank, begun):
    """Puts the scripts on the boot bank. begun says that the user's own may
    have begun: then ours alone, since nobody knows what those have done.
    OSError or bootbank.Refused where it can't be."""
    files = scripts(root, begun)
    if not files:
        raise bootbank.Refused("the scripts of %firstboot are not where they are looked for")
    bootbank.write(os.path.join(bank, ONETIME), bootbank.pack(files))
    config = os.path.join(bank, "boot.cfg")
    text = bootbank.read(config)
    edited = bootbank.add_modules(text, [ONETIME])
    if edited != text:
        bootbank.write(config, edited)


def scripts(root, begun):
    """{path: text}. Those before ours, of a kickstart of the user's own, have
    begun in any case."""
    found, ours = {}, []
    try:
        names = sorted(os.listdir(os.path.join(root + "/", FOLDER)))[:MAX_SCRIPTS]
    except OSError:
        return {}
    for name in names:
        path = os.path.join(root + "/", FOLDER, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as f:
            data = f.read(MAX_SCRIPT + 1)
        if len(data) > MAX_SCRIPT:
            continue
        found[name] = data
        if OURS in data:
            ours.append(name)
    if not ours:
        return {}
    return dict((FOLDER + "/" + name, data) for name, data in found.items() if name in ours or not begun and name > ours[0])

"""%post: what the first boot needs is put on the new boot bank."""
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

from esxi_netinit import metadata

OURS = "esxiimg.tgz"
METADATA = "esximeta.tgz"
MODEL = "esximeta/model.json"
MAX_BOOT_CFG = 1 << 20  # bytes
MAX_VOLUMES = 256
MAX_MODULES = 200  # more are in danger in the boot loader
SECURE_BOOT = "/usr/lib/vmware/secureboot/bin/secureBoot.py"
SECURE_BOOT_SECONDS = 60


class Refused(Exception):
    """Why the boot bank is left as it is."""


def say(text):
    print("esxi-img: " + text)


def main(root):
    """Nothing is changed unless all of it can be."""
    if secure_boot(root) != "off":
        say("Secure Boot is on, or can't be told to be off: nothing is added to the boot bank.")
        say("Host name and SSH keys of the metadata are not applied.")
        return False
    try:
        bank = find(root)
        config = os.path.join(bank, "boot.cfg")
        text = read(config)
        edited = add_modules(text, [OURS, METADATA])
        pack_ours(root, bank)
        pack_metadata(root, bank)
        if edited != text:
            replace(config, edited)
    except (Refused, metadata.Refused) as err:
        say("the boot bank is left as it is: %s" % err)
        return False
    except OSError as err:
        say("the boot bank is left as it is: %s" % err.strerror)
        return False
    say("%s and %s are on the boot bank %s" % (OURS, METADATA, bank))
    return True


def secure_boot(root):
    """"on", "off" or "unknown". Only a plain "Disabled" is off: a module that
    is of no VIB may stop a host under Secure Boot for good."""
    script = root + SECURE_BOOT
    if not os.path.exists(script):
        return "unknown"
    try:
        out = subprocess.check_output(
            [sys.executable or "python", script, "-s"], stderr=subprocess.STDOUT, timeout=SECURE_BOOT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    words = out.decode("ascii", "replace").lower().split()
    if "enabled" in words:
        return "on"
    return "off" if "disabled" in words else "unknown"


def find(root):
    """The boot bank that was just installed: the one whose boot.cfg lists
    onetime.tgz. The label BOOTBANK1 is no help where a second disk holds an
    ESXi, and so are two that wait for their first boot."""
    volumes = root + "/vmfs/volumes"
    banks = []
    for name in sorted(os.listdir(volumes))[:MAX_VOLUMES]:
        volume = os.path.join(volumes, name)
        # Labels are links to the volumes.
        if os.path.islink(volume) or not os.path.isfile(os.path.join(volume, "boot.cfg")):
            continue
        try:
            if b"onetime.tgz" in modules(read(os.path.join(volume, "boot.cfg"))):
                banks.append(volume)
        except Refused:
            continue
    if len(banks) != 1:
        raise Refused("%d boot banks list onetime.tgz, one is wanted" % len(banks))
    return banks[0]


def read(path):
    with open(path, "rb") as f:
        text = f.read(MAX_BOOT_CFG + 1)
    if len(text) > MAX_BOOT_CFG:
        raise Refused("%s has more than %d bytes" % (path, MAX_BOOT_CFG))
    return text


def modules_line(lines):
    """The index of the line that counts, which is the last of its kind."""
    found = None
    for i, line in enumerate(lines):
        if line.lstrip().lower().startswith(b"modules="):
            found = i
    if found is None:
        raise Refused("boot.cfg has no modules line")
    return found


def modules(text):
    """The names of the modules, without folder and arguments."""
    lines = text.splitlines()
    line = lines[modules_line(lines)].partition(b"=")[2]
    return [part.split()[0].rpartition(b"/")[2].lower() for part in line.split(b"---") if part.split()]


def add_modules(text, names):
    """boot.cfg with the modules appended, each once. Every other byte stays:
    the first boot removes " --- onetime.tgz" as a string."""
    present = modules(text)
    missing = [name.encode("ascii") for name in names if name.encode("ascii") not in present]
    if len(present) + len(missing) > MAX_MODULES:
        raise Refused("boot.cfg would list more than %d modules" % MAX_MODULES)
    lines = text.splitlines(True)
    i = modules_line(lines)
    bare = lines[i].rstrip(b"\r\n")
    end = lines[i][len(bare):]
    lines[i] = bare.rstrip() + b"".join(b" --- " + name for name in missing) + end if missing else lines[i]
    return b"".join(lines)


def pack_ours(root, bank):
    """The loader has unpacked the module: pack it again."""
    with open(root + "/tardisks/" + OURS, "rb") as source:
        head = source.read(2)
        source.seek(0)
        if head == b"\x1f\x8b":
            # Not seen, and then it is packed already.
            write(os.path.join(bank, OURS), lambda out: shutil.copyfileobj(source, out))
        else:
            write(os.path.join(bank, OURS), lambda out: packed(source, out))


def pack_metadata(root, bank):
    model, notes = metadata.model(root + "/tmp/config-2")
    for note in notes:
        say("metadata: " + note)
    source = io.BytesIO(archive(MODEL, json.dumps(model, indent=1, sort_keys=True).encode("ascii") + b"\n"))
    write(os.path.join(bank, METADATA), lambda out: packed(source, out))


def archive(path, data):
    """An old GNU tar with one file, its folder before it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo(os.path.dirname(path))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(data), 0o644
        tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def packed(source, out):
    """One gzip member without a name or a time."""
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as z:
        shutil.copyfileobj(source, z)


def write(path, fill):
    """Under its name only when it is complete; the temporary name is 8.3."""
    part = os.path.splitext(path)[0] + ".new"
    try:
        with open(part, "wb") as out:
            fill(out)
            out.flush()
            os.fsync(out.fileno())
        os.rename(part, path)
    except OSError:
        if os.path.exists(part):
            os.remove(part)
        raise


def replace(path, text):
    write(path, lambda out: out.write(text))

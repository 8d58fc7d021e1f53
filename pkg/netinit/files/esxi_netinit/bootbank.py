"""%post: what the first boot needs is put on the new boot bank, and the
host's kernel options into its boot.cfg.

Nothing is changed unless all of it can be, and nothing at all under Secure
Boot: a module that is of no VIB may stop such a host for good.
"""
import errno
import gzip
import io
import json
import os
import re
import tarfile

from esxi_netinit import access
from esxi_netinit.stage import Refused

OURS, METADATA = "esxiimg.tgz", "esximeta.tgz"
PACKAGE = "esxiimg/esxi_netinit"
MODEL = "esxiimg/metadata/model.json"
INSTALLER = "esxiimg/metadata/installer.json"  # what the installer tells the first boot
VOLUMES = "/vmfs/volumes"
MAX_BOOT_CFG = 1 << 20  # bytes
MAX_SOURCE = 4 << 20  # bytes of our package
MAX_VOLUMES = 256
MAX_MODULES = 200  # more are in danger in the boot loader
MAX_KERNELOPT = 2000  # bytes; the loader takes 4 KiB together with the kernel's path
SPARE = 4 << 20  # bytes that stay free for the host's own state
# What a boot bank surely has left after an installation: 6.x has 250 MiB and
# fills most of them, later ones have 500 MiB or more.
ROOM, ROOM_6 = 64 << 20, 16 << 20
SERIAL_CONSOLE = ("text", "nofb", "com1_baud=115200", "com1_Port=0x3f8", "tty2Port=com1", "gdbPort=none", "logPort=none")
_RELEASE = re.compile(r"ESXi ([0-9]+)\.")
_SPANNED = re.compile(r"Partitions spanned[^\n]*\n\s*(\S+):[0-9]+\s*$", re.MULTILINE)


def rehearse(stage, model):
    """In %pre: Refused or an OSError where what is known by then says that the
    boot bank can't take it."""
    needed = sum(len(data) for _, data in files_of(stage, model))
    code, text = stage.command(["vmware", "-v"])
    match = _RELEASE.search(text) if code == 0 else None
    most = ROOM if match and int(match.group(1)) >= 7 else ROOM_6
    if needed > most:
        raise Refused("the first boot needs %d KiB of the boot bank, which has %d KiB or little more" % (needed >> 10, most >> 10))


def add(stage):
    """Whether the first boot will find what it needs. Refused or an OSError
    where the boot bank does not take it."""
    model, image = stage.model(), stage.image()
    model.options["keep"] = model.options["keep"] or image.keep
    options = kernel_options(model, image)
    secure = stage.secure_boot()
    if secure != "off":
        stage.note("Secure Boot is %s: nothing is added to the host, and its first boot applies nothing of the metadata but"
                   " root password and management network" % secure)
        for what in left_out(model, options):
            stage.note("not applied: " + what)
        return False
    bank = find(stage)
    try:
        fill(stage, bank, model, options)
    except (Refused, OSError):
        tidy(bank)
        raise
    stage.say("%s and %s are on the boot bank %s" % (OURS, METADATA, os.path.basename(bank)))
    return True


def left_out(model, options):
    """What of a model needs the first boot, for the report. No values: a
    license is among them."""
    have = (
        ("the host name", model.hostname or model.fqdn), ("SSH keys", model.ssh_keys),
        ("networks and links beyond the management network", len(model.networks) > 1 or len(model.links) > 1),
        ("DNS", model.dns["servers"] or model.dns["search"]), ("NTP", model.ntp), ("the syslog host", model.syslog),
        ("the license", model.license), ("commands", model.commands), ("files", model.write_files),
        ("certificates", model.ca_certs), ("kernel options: " + " ".join(options), options),
    )
    return [what for what, there in have if there]


def kernel_options(model, image):
    """The image's and the host's own; the host's metadata prevails."""
    options = list(image.kernel_options) + list(model.kernel_options)
    serial = image.serial_console if model.serial_console is None else model.serial_console
    return options + list(SERIAL_CONSOLE) if serial else options


def fill(stage, bank, model, options):
    config = os.path.join(bank, "boot.cfg")
    text = read(config)
    edited = add_modules(text, [OURS, METADATA])
    try:
        edited = set_options(edited, options)
    except Refused as err:
        # The keys and networks of the host count for more.
        stage.note("the kernel options are not set: %s" % err)
    files = files_of(stage, model)
    room(bank, sum(len(data) for _, data in files) + len(edited))
    for name, data in files:
        write(os.path.join(bank, name), data)
    # Last: until now the host boots as if we had not been here.
    if edited != text:
        write(config, edited)


def files_of(stage, model):
    """[(name, bytes)]: our package, and what it needs to know."""
    return [(OURS, pack(sources(stage))), (METADATA, pack({MODEL: dump(model), INSTALLER: told(stage.state)}))]


def told(state):
    """What the installer tells the first boot, in JSON. No secrets: all of it
    was on the console, but for what becomes of the password."""
    data = {
        "version": 1, "random_password": str(state.get("password", "")).startswith(access.RANDOM),
        "notes": state.get("notes", []), "log": state.get("log", []),
    }
    return json.dumps(data, indent=1, sort_keys=True).encode("ascii") + b"\n"


def tidy(bank):
    """What is of no use there only takes room away."""
    try:
        listed = modules(read(os.path.join(bank, "boot.cfg")))
        for name in (OURS, METADATA):
            path = os.path.join(bank, name)
            if name.encode("ascii") not in listed and os.path.exists(path):
                os.remove(path)
    except (OSError, Refused):
        pass


def dump(model):
    return json.dumps(model.to_dict(), indent=1, sort_keys=True).encode("ascii") + b"\n"


def find(stage):
    """The boot bank that was just installed: the one whose boot.cfg lists
    onetime.tgz, on the disk that was chosen. The label BOOTBANK1 is no help
    where a second disk holds an ESXi."""
    banks = []
    for name in sorted(os.listdir(stage.path(VOLUMES)))[:MAX_VOLUMES]:
        volume = os.path.join(stage.path(VOLUMES), name)
        # Labels are links to the volumes.
        if os.path.islink(volume) or not os.path.isfile(os.path.join(volume, "boot.cfg")):
            continue
        try:
            if b"onetime.tgz" in modules(read(os.path.join(volume, "boot.cfg"))):
                banks.append(volume)
        except (OSError, Refused):
            continue  # one that can't be read is not the one that was just written
    wanted = stage.state.get("install", {}).get("disk")
    if wanted is not None:
        # Where the disk of a bank can't be told, the bank may be it.
        known = [(bank, disk_of(stage, bank)) for bank in banks]
        banks = [bank for bank, disk in known if disk == wanted] or [bank for bank, disk in known if disk is None]
    if len(banks) != 1:
        raise Refused("%d boot banks list onetime.tgz, one is wanted" % len(banks))
    return banks[0]


def disk_of(stage, bank):
    """The name of the disk that a volume is on, None if nothing tells."""
    code, text = stage.command(["vmkfstools", "-P", bank])
    match = _SPANNED.search(text) if code == 0 else None
    return match.group(1) if match else None


def read(path):
    with open(path, "rb") as f:
        text = f.read(MAX_BOOT_CFG + 1)
    if len(text) > MAX_BOOT_CFG:
        raise Refused("boot.cfg has more than %d bytes" % MAX_BOOT_CFG)
    return text


def find_line(lines, key):
    """The index of the line that counts, which is the last of its kind."""
    found = None
    for i, line in enumerate(lines):
        name, equals, _ = line.partition(b"=")
        if equals and name.strip().lower() == key:
            found = i
    return found


def modules(text):
    """The names of the modules, without folder and arguments."""
    lines = text.splitlines()
    i = find_line(lines, b"modules")
    if i is None:
        raise Refused("boot.cfg has no modules line")
    parts = lines[i].partition(b"=")[2].split(b"---")
    return [part.split()[0].rpartition(b"/")[2].lower() for part in parts if part.split()]


def add_modules(text, names):
    """boot.cfg with the modules appended, each once. Every other byte stays:
    the first boot removes " --- onetime.tgz" as a string."""
    present = modules(text)
    missing = [name.encode("ascii") for name in names if name.encode("ascii") not in present]
    if len(present) + len(missing) > MAX_MODULES:
        raise Refused("boot.cfg would list more than %d modules" % MAX_MODULES)
    return append(text, b"modules", b"".join(b" --- " + name for name in missing))


def set_options(text, options):
    """boot.cfg with the kernel options: one of the same name is replaced."""
    if not options:
        return text
    lines = text.splitlines(True)
    i = find_line(lines, b"kernelopt")
    if i is None:
        raise Refused("boot.cfg has no kernelopt line")
    key, _, value = lines[i].rstrip(b"\r\n").partition(b"=")
    end = lines[i][len(lines[i].rstrip(b"\r\n")):]
    out = value.decode("latin-1").split()
    for option in options:
        name = option.partition("=")[0]
        if option not in out:
            out = [old for old in out if old.partition("=")[0] != name] + [option]
    line = key + b"=" + " ".join(out).encode("latin-1")
    if len(line) > MAX_KERNELOPT:
        raise Refused("the kernel options have more than %d bytes" % MAX_KERNELOPT)
    lines[i] = line + end
    return b"".join(lines)


def append(text, key, more):
    if not more:
        return text
    lines = text.splitlines(True)
    i = find_line(lines, key)
    bare = lines[i].rstrip(b"\r\n")
    lines[i] = bare.rstrip() + more + lines[i][len(bare):]
    return b"".join(lines)


def sources(stage):
    """Our package and nothing else: the folder that it lies in also has the
    kickstart, and may have raw metadata."""
    out, total = {}, 0
    folder = stage.path("/" + PACKAGE)
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".py"):
            continue
        with open(os.path.join(folder, name), "rb") as f:
            data = f.read(MAX_SOURCE)
        total += len(data)
        if total >= MAX_SOURCE:
            raise Refused("our own module has more than %d bytes" % MAX_SOURCE)
        out[PACKAGE + "/" + name] = data
    if PACKAGE + "/main.py" not in out:
        raise Refused("our own module is not loaded")
    return out


def pack(files):
    """A module as the loader takes it: an old GNU tar, each folder before
    what is in it, in one gzip member without a name or a time."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            made = set()
            for path in sorted(files):
                for i, char in enumerate(path):
                    if char == "/" and path[:i] not in made:
                        made.add(path[:i])
                        tar.addfile(info(path[:i], tarfile.DIRTYPE, 0o755, 0))
                tar.addfile(info(path, tarfile.REGTYPE, 0o644, len(files[path])), io.BytesIO(files[path]))
    return out.getvalue()


def info(path, kind, mode, size):
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size = kind, mode, size
    return entry


def room(bank, needed):
    """The bank must hold the new files and the host's own state."""
    try:
        free = os.statvfs(bank)
    except (OSError, AttributeError):
        return  # then writing will tell
    if free.f_blocks and free.f_bavail * free.f_frsize < needed + SPARE:
        raise Refused("the boot bank has %d KiB free, %d are needed" % (free.f_bavail * free.f_frsize >> 10, needed + SPARE >> 10))


def write(path, data):
    """Under its name only when it is complete; the temporary name is 8.3."""
    part = os.path.splitext(path)[0] + ".new"
    try:
        with open(part, "wb") as out:
            out.write(data)
            out.flush()
            try:
                os.fsync(out.fileno())
            except OSError as err:
                # A file system may not know it; what counts is read back.
                if err.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
                    raise
        with open(part, "rb") as f:
            if f.read() != data:
                raise OSError(5, "what was written can't be read back")
        os.rename(part, path)
    except OSError:
        if os.path.exists(part):
            os.remove(part)
        raise

"""Modules and boot banks: what the loader takes, what the installer writes,
what the first boot finds."""
import gzip
import io
import os
import re
import tarfile

MAX_MODULES = 255
STOCK = b"synthetic module"  # each one of the installed host's own


class Bad(Exception):
    """What the loader or the kernel stops at."""


def parse_boot_cfg(text):
    """Keys and values; the last of a kind counts."""
    out = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#") and "=" in line:
            key, _, value = line.partition("=")
            out[key.strip().lower()] = value.strip()
    for key in ("kernel", "modules", "kernelopt"):
        if key not in out:
            raise Bad("boot.cfg has no %s" % key)
    return out


def module_names(config):
    names = [m.split()[0] for m in config["modules"].split(" --- ") if m.strip()]
    if any("---" in n for n in names):
        raise Bad("boot.cfg: modules are not parted by ' --- '")
    if len(names) > MAX_MODULES:
        raise Bad("boot.cfg lists %d modules" % len(names))
    return names


def find(folder, name):
    """The file of a module on a FAT volume: case does not count there."""
    here = folder
    for part in [p for p in name.split("/") if p]:
        entries = {e.lower(): e for e in os.listdir(here)}
        if part.lower() not in entries:
            raise Bad("error loading %s: not found" % name)
        here = os.path.join(here, entries[part.lower()])
    stem, _, suffix = os.path.basename(name).partition(".")
    if not 1 <= len(stem) <= 8 or len(suffix) > 3:
        raise Bad("%s is not an 8.3 name" % name)
    return here


def unpack(data, name, root, ours):
    """Unpacks a module over the root as the kernel does, and shows it under
    /tardisks. What isn't ours may be anything."""
    if data == STOCK:
        return False
    try:
        raw = gzip.decompress(data)
    except (OSError, EOFError):
        if ours:
            raise Bad("%s is not gzip" % name)
        return False
    if raw[257:265] == b"ustar  \0":
        members(raw, name, root)
    elif ours:
        raise Bad("%s is not a tar of the old GNU kind" % name)
    else:
        return False
    with open(root.at("tardisks/" + os.path.basename(name)), "wb") as f:
        f.write(raw)
    return True


def members(raw, name, root):
    seen = {""}
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        for member in tar:
            path = member.name.rstrip("/")
            if member.pax_headers or not (member.isdir() or member.isreg()):
                raise Bad("%s: %s is neither a file nor a folder" % (name, path))
            if member.uid or member.gid or member.mode != (0o755 if member.isdir() else 0o644):
                raise Bad("%s: %s has owner %d:%d, mode %o" % (name, path, member.uid, member.gid, member.mode))
            if os.path.dirname(path) not in seen:
                raise Bad("%s: %s comes before its folder" % (name, path))
            if len(path) >= 100 or not path.isprintable() or ".." in path.split("/") or path.startswith("/") or not all(ord(c) < 128 for c in path):
                raise Bad("%s: the name %s" % (name, path))
            if member.isdir():
                seen.add(path)
                os.makedirs(root.at(path), exist_ok=True)
                continue
            root.put(path, tar.extractfile(member).read())


def write_bank(folder, release, stock, scripts):
    """A boot bank as the installer leaves it before %post."""
    os.makedirs(folder)
    with open(os.path.join(folder, "b.b00"), "wb") as f:
        f.write(STOCK)
    names = [os.path.basename(n) for n in stock if not os.path.basename(n).startswith(("weaselin", "esxiimg", "esxiks"))]
    # One file with many names: a boot bank has more modules than matter here.
    for name in names:
        os.link(os.path.join(folder, "b.b00"), os.path.join(folder, name))
    with open(os.path.join(folder, "boot.cfg"), "w") as f:
        f.write("bootstate=0\ntitle=Loading VMware ESXi\ntimeout=5\nprefix=\nkernel=b.b00\nkernelopt=installerDiskDumpSlotSize=2560 no-auto-partition "
                "bootUUID=0123456789abcdef\nmodules=%s\nbuild=%s-0.0.1\nupdated=1\n" % (" --- ".join(names + ["onetime.tgz"]), release))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for parent in ("var", "var/lib", "var/lib/vmware", "var/lib/vmware/firstboot"):
            info = tarfile.TarInfo(parent)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for i, script in enumerate(scripts, 1):
            body = script.body.encode()
            info = tarfile.TarInfo("var/lib/vmware/firstboot/%03d.%s" % (i, script.interpreter))
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    with open(os.path.join(folder, "onetime.tgz"), "wb") as f:
        f.write(packed.getvalue())
    return names


def drop_onetime(folder):
    """What the first boot does: a replacement of that very string."""
    path = os.path.join(folder, "boot.cfg")
    with open(path, encoding="ascii") as f:
        text = f.read()
    if " --- onetime.tgz" not in text:
        raise Bad("boot.cfg has no ' --- onetime.tgz': %firstboot would run at every boot")
    with open(path, "w") as f:
        f.write(text.replace(" --- onetime.tgz", "", 1))
    os.remove(os.path.join(folder, "onetime.tgz"))


def firstboot_scripts(folder):
    with tarfile.open(os.path.join(folder, "onetime.tgz"), "r:gz") as tar:
        return [(m.name.rpartition(".")[2], tar.extractfile(m).read().decode()) for m in tar if m.isreg()]


def secrets_in(folder, canaries):
    """Where in a boot bank a canary is found, packed or not."""
    found = []
    for base, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                data = f.read()
            found += ["%s in %s" % (what, os.path.relpath(path, folder)) for what in hits(data, canaries)]
    return found


def hits(data, canaries):
    """The names of the canaries in some bytes, also where those are gzip."""
    forms = [data]
    if data[:2] == b"\x1f\x8b":
        try:
            forms.append(gzip.decompress(data))
        except (OSError, EOFError):
            pass
    # Encodings that hide a password from a plain search.
    import base64

    out = []
    for form in forms:
        for name, canary in canaries.items():
            raw = canary.encode()
            # In base64 a text looks in three ways; its middle is enough.
            coded = [base64.b64encode(b"\0" * i + raw)[4 if i else 0:-4] for i in range(3)]
            if any(c in form for c in [raw, raw.hex().encode()] + [c for c in coded if len(c) > 8]):
                out.append(name)
        if re.search(rb"\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86}", form):
            out.append("a password's hash")
    return out

"""The machine's disks: files whose partitions are seen twice, as ESXi shows
them; what is on them; and what the firmware would boot."""
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import uuid

import parted
from parted import BASIC, ESP, SECTOR, VMFS, VSAN, Table

SEEK_DATA, SEEK_HOLE = 3, 4
MIB = 1 << 20


def tool(*args, ok=(0,)):
    process = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if process.returncode not in ok:
        raise SystemExit("stand-in: %s: %s" % (" ".join(str(a) for a in args), process.stdout.decode("utf-8", "replace")))
    return process.stdout.decode("utf-8", "replace")


def sparse_copy(source, start, length, target, at):
    """Copies what isn't a hole."""
    with open(source, "rb") as src, open(target, "r+b") as dst:
        for data, size in extents(src, start, length):
            src.seek(data)
            dst.seek(at + data - start)
            while size > 0:
                piece = src.read(min(MIB, size))
                dst.write(piece)
                size -= len(piece)


def blank(path, size):
    with open(path, "wb") as f:
        f.truncate(size)


def differing(path, old, at=0):
    """Whether a file differs from the same-sized part of another."""
    size = os.path.getsize(path)
    with open(path, "rb") as a, open(old, "rb") as b:
        position = 0
        while position < size:
            step = min(MIB, size - position)
            a.seek(position)
            b.seek(at + position)
            if a.read(step) != b.read(step):
                return True
            position += step
    return False


def medium(kind, label, folder, target):
    """A config drive's file system from a folder of files."""
    if kind == "iso9660":
        tool("xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-J", "-r", "-o", target, folder)
        return
    if kind != "vfat":
        raise SystemExit("stand-in: no such file system: " + kind)
    blank(target, 8 * MIB)
    tool("mkfs.vfat", "-n", label[:11], target)
    names = sorted(os.listdir(folder))
    if names:
        tool("mcopy", "-s", "-i", target, *([os.path.join(folder, n) for n in names] + ["::/"]))


class Disks(object):
    """All disks in a folder, one file each."""

    def __init__(self, folder, specs):
        self.folder, self.specs = folder, specs
        os.makedirs(folder, exist_ok=True)
        self.drives = {}  # device → type, label and folder of a config drive
        self.shown = {}
        self.before = {}  # disk → when it was last written to

    def path(self, name):
        return os.path.join(self.folder, name)

    def build(self, image, drive):
        """drive: where and how the metadata is presented, or None."""
        for spec in self.specs:
            spec["size_mb"] = spec.get("size_gb", 32) * 1024
            path = self.path(spec["name"])
            blank(path, spec["size_mb"] * MIB)
            content = spec.get("content", "blank")
            if content == "image":
                sparse_copy(image, 0, os.path.getsize(image), path, 0)
            elif content in ("vmfs", "vsan", "esxi"):
                self.foreign(path, content)
            spec["vsan"] = content == "vsan"
            if drive and drive.get("on") == spec["name"]:
                self.put_drive(spec["name"], drive)

    def put_drive(self, name, drive):
        made = self.path(".drive")
        medium(drive["type"], drive["label"], drive["folder"], made)
        path, size = self.path(name), os.path.getsize(made)
        if drive.get("whole"):
            sparse_copy(made, 0, size, path, 0)
            device = name
        else:
            # As Ironic does it: the table's copy moves to the end of the disk,
            # and a partition is added before it. A volume that is labelled so
            # is written over.
            table = parted.usable(path)
            sectors = os.path.getsize(path) // SECTOR
            number, room = self.labelled(path, table, drive["label"])
            if number is None:
                last = sectors - 2048 - 1
                first = (last - size // SECTOR) // 2048 * 2048
                number = max(table.entries) + 1
                table.entries[number] = (BASIC, str(uuid.uuid4()), first, last, "config-2")
            elif size > room:
                raise SystemExit("stand-in: a config drive of %d bytes on a partition of %d" % (size, room))
            parted.write_table(path, table)
            first = table.entries[number][2]
            with open(made, "rb") as src, open(path, "r+b") as dst:
                dst.seek(first * SECTOR)
                shutil.copyfileobj(src, dst)
            device = "%s:%d" % (name, number)
        os.remove(made)
        self.drives[device] = {"type": drive["type"], "label": drive["label"], "folder": drive["folder"]}

    def labelled(self, path, table, label):
        """The number and the size of the partition whose volume has a label,
        as the tools on Ironic's ramdisk see it."""
        for number, (_, _, first, last, _) in sorted(table.entries.items()):
            size = (last - first + 1) * SECTOR
            found = tool("blkid", "-p", "-O", str(first * SECTOR), "-S", str(size), "-s", "LABEL", "-o", "value", path, ok=(0, 2)).strip()
            if found.lower() == label.lower():
                return number, size
        return None, 0

    def drives_left(self):
        """The disks that have a partition for a config drive."""
        return [spec["name"] for spec in self.specs if any(entry[4] == "config-2" for entry in self.partitions(spec["name"]).values())]

    def foreign(self, path, content):
        """A disk that somebody else's ESXi, datastore or vSAN is on."""
        sectors = os.path.getsize(path) // SECTOR
        entries = {1: (ESP, str(uuid.uuid4()), 64, 204863, "")} if content == "esxi" else {}
        kind = VSAN if content == "vsan" else VMFS
        entries[8] = (kind, str(uuid.uuid4()), 1 << 22, sectors - 2048, "")
        parted.write_table(path, Table(str(uuid.uuid4()), entries))

    def partitions(self, name):
        table = parted.usable(self.path(name))
        return {} if table is None else table.entries

    def show(self, folder, raw=True):
        """Puts the disks and their partitions into /dev/disks. Partitions are
        copies: take must be called after every script."""
        self.shown = {}
        for spec in self.specs:
            name = spec["name"]
            target = os.path.join(folder, name)
            if not raw:
                for device in [name] + [d for d in self.drives if d.startswith(name + ":")]:
                    # There to be seen, and an error when it is opened.
                    os.mknod(os.path.join(folder, device), 0o600 | stat.S_IFBLK, os.makedev(240, 0))
                continue
            self.before[name] = os.stat(self.path(name)).st_mtime_ns
            os.link(self.path(name), target)
            if spec.get("vml"):
                os.symlink(name, os.path.join(folder, spec["vml"]))
            self.show_partitions(folder, name)

    def show_partitions(self, folder, name):
        for number, entry in self.partitions(name).items():
            part = os.path.join(folder, "%s:%d" % (name, number))
            length = (entry[3] - entry[2] + 1) * SECTOR
            if entry[0] in (VMFS, VSAN) or entry[2] * SECTOR + length > os.path.getsize(self.path(name)):
                continue
            blank(part, length)
            sparse_copy(self.path(name), entry[2] * SECTOR, length, part, 0)
            self.shown[part] = (name, entry[2] * SECTOR, os.stat(part).st_mtime_ns)

    def take(self, state):
        """What was written to partitions is written to their disks."""
        for part, (name, offset, before) in list(self.shown.items()):
            now = os.stat(part).st_mtime_ns if os.path.exists(part) else None
            if now in (before, None):
                continue
            if differing(part, self.path(name), offset):
                with open(part, "rb") as f, open(self.path(name), "r+b") as disk:
                    disk.seek(offset)
                    shutil.copyfileobj(f, disk, MIB)
            self.shown[part] = (name, offset, now)
        for name in list(self.before):
            self.seen(name, state)

    def seen(self, name, state=None):
        """Notes that a disk was written to, unless it was by the stand-in."""
        now = os.stat(self.path(name)).st_mtime_ns
        if state is not None and now != self.before[name]:
            state.note("disk_writes", by="write", disk=name)
        self.before[name] = now

    def installer(self, name, kept):
        """The folder with the files of an installer volume that the firmware
        would boot from this disk; None where there is none. Any FAT partition
        of either copy of the table will do: firmware is not choosy. kept is
        where volumes are unpacked, by what is in them."""
        path = self.path(name)
        tables = [parted.read_table(path), parted.read_table(path, os.path.getsize(path) // SECTOR - 1)]
        for table in tables:
            for number, entry in sorted(table.entries.items()) if table else []:
                volume = "%s@@%d" % (path, entry[2] * SECTOR)
                found = subprocess.run(["mdir", "-b", "-i", volume, "::/EFI/BOOT"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                if found.returncode == 0 and b"BOOTX64.EFI" in found.stdout.upper():
                    return unpacked(path, entry[2] * SECTOR, (entry[3] - entry[2] + 1) * SECTOR, kept)
        return None


def unpacked(path, start, length, kept):
    """The folder with the files of a volume on a disk, which must not be
    changed: machines with the same image share it."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for at, size in extents(f, start, length):
            digest.update(b"%d %d " % (at - start, size))
            f.seek(at)
            while size > 0:
                piece = f.read(min(MIB, size))
                digest.update(piece)
                size -= len(piece)
    folder = os.path.join(kept, digest.hexdigest())
    if not os.path.isdir(folder):
        made = tempfile.mkdtemp(dir=kept)
        tool("mcopy", "-s", "-n", "-i", "%s@@%d" % (path, start), "::/*", made + "/")
        try:
            os.rename(made, folder)
        except OSError:  # somebody else has made it meanwhile
            shutil.rmtree(made)
    return folder


def extents(f, start, length):
    """(offset, length) of what isn't a hole in a part of a file."""
    position, end = start, min(start + length, os.fstat(f.fileno()).st_size)
    while position < end:
        try:
            data = os.lseek(f.fileno(), position, SEEK_DATA)
        except OSError:
            return
        if data >= end:
            return
        position = min(os.lseek(f.fileno(), data, SEEK_HOLE), end)
        yield data, position - data

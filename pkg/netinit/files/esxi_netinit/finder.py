"""Finds a host's metadata and copies it to memory, before the installer
erases the disk that it may lie on.

Looked for, best first: a config drive (label config-2) or a NoCloud drive
(label cidata) as a partition of the disk that carries our image, on a whole
disk or in a drive, as a partition elsewhere; then what the image itself
carries. Drives are read raw. The kernel's own file systems are the fall-back
where that fails.
"""
import os
import re
import time

from esxi_netinit import disks, fatfs, isofs, parttable
from esxi_netinit.rawdev import Device, Entry, Tree, Unreadable, VolumeError
from esxi_netinit.stage import Refused

LABELS = {"config-2": "openstack", "cidata": "nocloud"}
IMAGE = "/esxiimg/metadata"
VOLUMES = "/vmfs/volumes"
MAX_VOLUMES = 512
MAX_FILES = 256
MAX_TOTAL = 64 << 20  # bytes; OpenStack's own limit of a config drive
MAX_MOUNTED = 512  # devices that the fall-back tries
MOUNT_SECONDS = 600  # for all of them: one command may take a minute
OPENSTACK = ("meta_data.json", "network_data.json", "user_data", "vendor_data.json", "vendor_data2.json")
NOCLOUD = ("meta-data", "user-data", "vendor-data", "network-config")
_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}\Z")
_CONTENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\Z")


class Found(object):
    """A set of files: where they come from and what they are."""

    def __init__(self, rank, kind, where, files):
        self.rank, self.kind, self.where, self.files = rank, kind, where, files


class Folder(Tree):
    """A mounted volume, or the image's own folder."""

    def __init__(self, path):
        self.path = path

    def root(self):
        return Entry("", True, 0, self.path)

    def entries(self, folder):
        out = []
        try:
            for name in sorted(os.listdir(folder.where))[:4096]:
                path = os.path.join(folder.where, name)
                if not os.path.islink(path):
                    is_dir = os.path.isdir(path)
                    out.append(Entry(name, is_dir, 0 if is_dir else os.stat(path).st_size, path))
        except OSError as err:
            raise VolumeError("can't be listed: %s" % err.strerror)
        return out

    def data(self, entry):
        try:
            with open(entry.where, "rb") as f:
                return f.read(entry.size)
        except OSError as err:
            raise VolumeError("can't be read: %s" % err.strerror)


def find(stage, present, image):
    """The best Found, or None. Two drives of the same rank that differ are
    Refused: taking the wrong one's network would cut off another host."""
    found, broken = drives(stage, present, image)
    mounted = volumes(stage)
    if not found and not mounted and (broken or any(disk.problem for disk in present)):
        mounted = mount_all(stage)
    # Seen by the kernel and not by us: as good as a partition elsewhere.
    found = found or mounted
    if not found:
        files = own(stage)
        return Found(9, "image", "the image", files) if files else None
    best = min((f.rank, f.kind != "openstack") for f in found)
    same = [f for f in found if (f.rank, f.kind != "openstack") == best]
    if any(f.files != same[0].files for f in same):
        raise Refused("%d drives with metadata differ: %s" % (len(same), ", ".join(f.where for f in same[:8])))
    return same[0]


def own(stage):
    """What the image itself carries, in either layout or in both."""
    files, folder = {}, Folder(stage.path(IMAGE))
    if os.path.isdir(folder.path):
        for kind in ("nocloud", "openstack"):
            files.update(collect(stage, folder, kind, IMAGE))
    return files


def drives(stage, present, image):
    """All drives that can be read raw, and whether one could not."""
    out, broken = [], False
    for disk in present:
        if disk.problem:
            # Its partitions are devices of their own, and may do.
            more, bad = partitions(stage, disk)
            out, broken = out + more, broken or bad
            continue
        try:
            with Device(disk.path) as device:
                for number, source in sources(device, disk):
                    where = disk.name if number is None else "%s:%d" % (disk.name, number)
                    rank = 1 if number is None else 0 if disk.carries(image) else 2
                    found, bad = look(stage, source, rank, where)
                    out, broken = out + found, broken or bad
        except VolumeError as err:
            stage.say("%s: %s" % (disk.name, err))
            disk.problem = str(err)
    return out, broken


def partitions(stage, disk):
    """As drives, of the partitions of a disk that can't be read as a whole.
    Whether it carries our image is not known."""
    out, broken = [], False
    for folder in disks.FOLDERS:
        for name, path in disks.nodes(stage, folder, True):
            if not name.startswith(disk.name + ":") or os.path.dirname(path) != os.path.dirname(disk.path):
                continue
            try:
                with Device(path) as device:
                    found, bad = look(stage, device, 2, name)
                    out, broken = out + found, broken or bad
            except VolumeError:
                broken = True
    return out, broken


def look(stage, source, rank, where):
    """([Found], whether there may be one that can't be read)"""
    try:
        tree, kind = open_volume(source)
        if tree is None:
            return [], kind is not None
        files = collect(stage, tree, kind, where)
        return ([Found(rank, kind, where, files)] if files else []), False
    except VolumeError as err:
        stage.note("the drive with metadata on %s: %s" % (where, err))
    except Exception as err:
        # A mistake of ours about one volume must not hide the others.
        stage.note("what is on %s can't be understood (%s)" % (where, type(err).__name__))
    return [], True


def sources(device, disk):
    """The whole device and its partitions, as (number, source)."""
    yield None, device
    for partition in disk.table.partitions if disk.table else []:
        yield partition.index, parttable.section(device, partition)


def open_volume(source):
    """(file system, kind) where the label says that it holds metadata. Where
    such a label is seen and the file system can't be read: (None, kind); and
    where the device does not even tell the label: (None, "unknown")."""
    unknown = None
    for reader in (isofs.Volume, fatfs.Volume):
        try:
            tree = reader(source)
        except Unreadable:
            unknown = "unknown"
            continue
        except VolumeError:
            continue
        for label in tree.labels:
            if label.lower() in LABELS:
                return tree, LABELS[label.lower()]
    return None, labelled(source) or unknown


def labelled(source):
    """What the label of a volume says whose rest can't be read: ISO 9660's,
    or that of FAT's boot sector (12 and 16, then 32)."""
    for at, mark, offset, label in ((16 * isofs.SECTOR, b"CD001", 1, 40), (0, b"\x29", 38, 43), (0, b"\x29", 66, 71)):
        try:
            block = source.read(at, 512)
        except VolumeError:
            continue
        if block[offset:offset + len(mark)] == mark:
            text = isofs.decode(block[label:label + (32 if at else 11)], "latin-1")
            if text.strip().lower() in LABELS:
                return LABELS[text.strip().lower()]
    return None


def collect(stage, tree, kind, where):
    """The files that count, by the path that they get: never more than these,
    since the folders of older versions repeat the same passwords."""
    files = {}
    if kind == "nocloud":
        for name in NOCLOUD:
            # Plain ISO 9660 has no dashes.
            data = first(tree, [name, name.replace("-", "_")])
            if data is not None:
                files[name] = data
        if "meta-data" not in files and "user-data" not in files:
            files = {}
    else:
        version = newest(tree)
        for name in OPENSTACK if version else ():
            data = tree.read("openstack/%s/%s" % (version, name), MAX_TOTAL)
            if data is not None:
                files["openstack/latest/" + name] = data
        for entry in tree.list("openstack/content")[:MAX_FILES] if files else ():
            if not entry.is_dir and _CONTENT.match(entry.name):
                files["openstack/content/" + entry.name] = tree.contents(entry, MAX_TOTAL)
    if sum(len(data) for data in files.values()) > MAX_TOTAL:
        raise VolumeError("has more than %d bytes of metadata" % MAX_TOTAL)
    if not files and where != IMAGE:
        stage.note("%s is labelled as a drive with metadata and has none" % where)
    return files


def first(tree, names):
    for name in names:
        data = tree.read(name, MAX_TOTAL)
        if data is not None:
            return data
    return None


def newest(tree):
    """latest, else the youngest version."""
    names = dict((entry.name.lower(), entry.name) for entry in tree.list("openstack") if entry.is_dir)
    if "latest" in names:
        return names["latest"]
    return max([name for name in names if _VERSION.match(name)] or [None], key=str)


def volumes(stage):
    """Volumes that the kernel has mounted already, by their label."""
    out = []
    try:
        names = sorted(os.listdir(stage.path(VOLUMES)))[:MAX_VOLUMES]
    except OSError:
        return out
    for name in names:
        kind, path = LABELS.get(name.lower()), os.path.join(stage.path(VOLUMES), name)
        if kind is None or not os.path.isdir(path):
            continue
        try:
            files = collect(stage, Folder(path), kind, name)
        except VolumeError as err:
            stage.note("volume %s: %s" % (name, err))
            continue
        if files:
            out.append(Found(3, kind, "volume " + name, files))
    return out


def mount_all(stage):
    """Mounts one device after the other as ISO 9660, partitions included,
    then lets the kernel mount what is FAT."""
    stage.command(["localcli", "system", "module", "load", "--module", "iso9660"])
    end = time.time() + MOUNT_SECONDS
    for name in [name for folder in disks.FOLDERS for name, _ in disks.nodes(stage, folder, True)][:MAX_MOUNTED]:
        if time.time() > end:
            stage.note("mounting takes too long: not all devices were tried")
            break
        # Fails for what is no ISO 9660, which is most.
        stage.command(["vsish", "-e", "set", "/vmkModules/iso9660/mount", name])
        found = volumes(stage)
        stage.command(["vsish", "-e", "set", "/vmkModules/iso9660/umount", name])
        if found:
            return found
    stage.command(["localcli", "system", "module", "load", "--module", "vfat"])
    stage.command(["localcli", "storage", "filesystem", "automount"])
    return volumes(stage)


def store(stage, found, folder):
    """Copies the files to memory, readable by root alone."""
    for path in sorted(found.files):
        stage.write(folder + "/" + path, found.files[path])

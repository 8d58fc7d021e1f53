"""The disks of a host: what there is, which one carries this image, and which
one is to be installed on."""
import binascii
import os
import re

from esxi_netinit import parttable
from esxi_netinit.rawdev import Device, VolumeError
from esxi_netinit.stage import Refused

FOLDERS = ("/dev/disks", "/dev/cdrom")
MAX_DEVICES = 1024
MAX_NODES = 16384  # a device has up to 128 partitions
MIN_BYTES = 8 << 30  # smaller ones are no choice for "smallest": cards and sticks
_PARTITION = re.compile(r"(.+):([0-9]{1,3})\Z")
_RUNTIME = re.compile(r"vmhba[0-9]+:C[0-9]+:T[0-9]+:L[0-9]+\Z")
_DEVICE_NAME = re.compile(r"[A-Za-z0-9._:-]{3,200}\Z")
_FIELD = re.compile(r"   ([A-Za-z][^:]*):(.*)\Z")


class Disk(object):
    def __init__(self, name, path, cdrom=False):
        self.name, self.path, self.cdrom = name, path, cdrom
        self.size, self.table, self.problem = 0, None, None
        self.info = {}  # of "storage core device list", keys in lower case

    def read_table(self):
        try:
            self.table, self.problem = None, None
            with Device(self.path) as device:
                self.size = device.size
                self.table = None if self.cdrom else parttable.read(device)
        except VolumeError as err:
            self.problem = str(err)
        except Exception as err:
            # A mistake of ours about one disk must not hide the others.
            self.problem = "can't be understood (%s)" % type(err).__name__

    def carries(self, image):
        """Whether this is (still) the disk that the image was written to. The
        GUID of its partition counts as well as its own: an installation onto
        the disk may keep the one, and a copying tool may change the other."""
        return self.image_partition(image) is not None

    def image_partition(self, image):
        if self.table is None or self.table.guid is None or image.partition is None:
            return None
        for partition in self.table.partitions:
            if partition.guid == image.partition:
                return partition
        return None

    def flag(self, key):
        return self.info.get(key, "").lower() == "true"

    def has_medium(self):
        """Whether anything can be on it: readers of cards show up without."""
        return self.info.get("size", "") != "0"

    def has(self, kinds):
        return self.table is not None and self.table.has(kinds)


def scan(stage):
    """All disks and optical drives, sorted by name, with their tables."""
    out = []
    for folder in FOLDERS:
        for name, path in nodes(stage, folder):
            if len(out) == MAX_DEVICES:
                stage.note("more than %d devices: the others are not looked at" % MAX_DEVICES)
                return out
            disk = Disk(name, path, folder == "/dev/cdrom")
            disk.read_table()
            out.append(disk)
    return out


def nodes(stage, folder, partitions=False):
    """Whole devices, and partitions if wanted; no links (vml.* lead to the
    others)."""
    try:
        names = sorted(os.listdir(stage.path(folder)))[:MAX_NODES]
    except OSError:
        return []
    known, out = set(names), []
    for name in names:
        path = os.path.join(stage.path(folder), name)
        match = _PARTITION.match(name)
        if match and match.group(1) in known and not partitions or os.path.islink(path) or not os.path.exists(path) or os.path.isdir(path):
            continue
        out.append((name, path))
    return out


def carriers(disks, image):
    return [disk for disk in disks if disk.carries(image)]


def describe(stage, disks):
    """Adds vendor, model and the like, as the kernel knows them."""
    code, text = stage.command(["localcli", "storage", "core", "device", "list"])
    if code != 0:
        stage.say("the kernel's list of devices can't be had (exit code %s)" % code)
        return
    by_name = dict((disk.name, disk) for disk in disks)
    info = {}
    for line in text.splitlines():
        if line and not line[0].isspace():
            disk = by_name.get(line.rstrip().rstrip(":"))
            info = disk.info if disk is not None else {}
            continue
        match = _FIELD.match(line)
        if match:
            info[match.group(1).strip().lower()] = match.group(2).strip()


class Choice(object):
    """Where to install: disk, or filters for --firstdisk."""

    def __init__(self, disk=None, firstdisk=None, reason=""):
        self.disk, self.firstdisk, self.reason = disk, firstdisk, reason


def choose(stage, disks, image, wanted):
    """wanted is install.disk of a model or None. Refused where there is no
    disk or more than one that fits."""
    if wanted is not None and wanted["firstdisk"]:
        return Choice(firstdisk=wanted["firstdisk"], reason="the first that fits --firstdisk")
    if wanted is None or wanted["image"]:
        return _carrier(disks, image)
    fit, reasons = [disk for disk in disks if not disk.cdrom], []
    for key, fits in (("path", _path), ("wwn", _wwn), ("serial", _serial), ("vendor", _vendor), ("model", _model)):
        if wanted[key] is not None:
            value = _resolve(stage, wanted[key]) if key == "path" else wanted[key]
            fit = [disk for disk in fit if fits(disk, value)]
            reasons.append(key)
    if wanted["min_bytes"] is not None:
        fit = [disk for disk in fit if disk.size >= wanted["min_bytes"]]
        reasons.append("min_bytes")
    if wanted["size"] is not None:
        # What can be pulled out is chosen by name only; so is what the kernel
        # says nothing of, which may be just that.
        fit = [disk for disk in fit if disk.size >= MIN_BYTES and disk.info and not disk.flag("is removable") and not disk.flag("is usb")]
        if fit:
            best = (min if wanted["size"] == "smallest" else max)(disk.size for disk in fit)
            fit = [disk for disk in fit if disk.size == best]
        reasons.append("size")
    what = "chosen by " + " and ".join(reasons)
    if not fit:
        raise Refused("no disk fits the one that is %s (%d disks looked at)" % (what, len(disks)))
    if len(fit) > 1:
        # Of equal ones that which we were started from is meant.
        ours = carriers(fit, image)
        if len(ours) != 1:
            raise Refused("%d disks fit the one that is %s: %s" % (len(fit), what, names(fit)))
        fit = ours
    return Choice(disk=fit[0], reason=what)


def _carrier(disks, image):
    if image.disk is None:
        return None
    found = carriers(disks, image)
    if not found:
        unread = [disk for disk in disks if disk.problem]
        more = "; not readable: " + names(unread) if unread else ""
        raise Refused("none of %d disks carries this image (GPT %s)%s" % (len(disks), image.disk, more))
    if len(found) > 1:
        raise Refused("%d disks carry this image: %s; choose one with esxi_install_disk in the metadata" % (len(found), names(found)))
    return Choice(disk=found[0], reason="which carries this image")


def names(disks):
    shown = ", ".join(disk.name for disk in disks[:8])
    return shown + ", ..." if len(disks) > 8 else shown


def _resolve(stage, path):
    """The device's name for /vmfs/devices/disks/NAME, a link, or a path such
    as vmhba0:C0:T1:L0."""
    name = path.rsplit("/", 1)[-1]
    if _RUNTIME.match(name):
        code, text = stage.command(["localcli", "storage", "core", "path", "list"])
        if code == 0:
            runtime = None
            for line in text.splitlines():
                key, _, value = line.strip().partition(":")
                if key == "Runtime Name":
                    runtime = value.strip()
                elif key == "Device" and runtime == name:
                    return value.strip()
        return name
    link = os.path.join(stage.path(FOLDERS[0]), name)
    if _DEVICE_NAME.match(name) and os.path.islink(link):
        return os.path.basename(os.readlink(link))
    return name


def _path(disk, name):
    return disk.name == name


def _wwn(disk, wwn):
    """0x5000... is naa.5000...; a WWN with its vendor's extension is longer
    than one without."""
    digits = wwn[2:]
    kind, _, rest = disk.name.lower().partition(".")
    if kind in ("naa", "eui"):
        return rest == digits or len(rest) == 32 and rest[:16] == digits
    return any(uid.lower().partition(".")[2] == digits for uid in disk.info.get("other uids", "").split(","))


def _serial(disk, serial):
    want = squeeze(serial)
    for key in ("serial number", "serial"):
        if key in disk.info and squeeze(disk.info[key]) == want:
            return True
    # t10.ATA_____MODEL_____SERIAL: blanks are underscores.
    if disk.name.startswith("t10."):
        if want in [squeeze(part) for part in re.split("_{2,}", disk.name[4:])] or squeeze(disk.name).endswith(want) and len(want) >= 8:
            return True
    # vml.01 + 8 digits + serial number and start of the model, in hex.
    for uid in [disk.info.get("other uids", "")] + disk.info.get("other uids", "").split(","):
        if vml_serial(uid.strip(), want):
            return True
    return False


def vml_serial(uid, want):
    if not uid.startswith("vml.01"):
        return False
    try:
        text = binascii.unhexlify(uid[len("vml.0100000000"):].encode("ascii")).decode("ascii")
    except ValueError:
        return False
    # The last six characters are of the model.
    return squeeze(text[:-6]) == want


def squeeze(text):
    return re.sub("[ _]", "", text).upper()


def _vendor(disk, vendor):
    return disk.info.get("vendor", "").lower() == vendor.strip().lower()


def _model(disk, model):
    """The kernel cuts models to 16 characters."""
    have, want = disk.info.get("model", "").lower(), model.strip().lower()
    return bool(have) and (have == want or len(have) == 16 and want[:16].strip() == have)

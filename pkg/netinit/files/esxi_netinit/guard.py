"""Keeps an image from installing its host for ever.

Where another disk than the image's was installed on, the firmware may start
the image again. So %post makes the image's EFI system partition unbootable:
the two boot sectors of its FAT volume are overwritten, and everything else
stays as it is. Whether that will be possible is tried before the installer
touches any disk.
"""
import os

from esxi_netinit import fatfs, parttable
from esxi_netinit.rawdev import Device, Unreadable, VolumeError
from esxi_netinit.stage import Refused

SECTORS = (0, 6)  # boot sector and its backup, in sectors of the volume
BLOCK = 4096  # bytes written at once: a multiple of every disk's sector
OURS = "ESXIKS.TGZ"
OLD = b"esxi-img: made unbootable after the installation"


def rehearse(carriers, chosen, image):
    """Writes what is there already, to each disk with our image that is not
    the one to be installed on."""
    for disk in carriers:
        if disk is chosen:
            continue
        try:
            write(disk, read(disk, disk.image_partition(image).offset))
        except (OSError, VolumeError):
            raise Refused("%s carries this image and can't be written to, and another disk is to be installed on:"
                          " the host would install itself again and again" % disk.name)


def apply(stage, present, image):
    """Makes every image that can still be started unbootable. True if none is
    left."""
    clean = True
    for disk in present:
        found = disk.image_partition(image)
        if found is None or bootable(disk, found) is False:
            continue
        try:
            done = disable(stage, disk, found, image)
        except Exception as err:
            # The other disks have their turn all the same.
            stage.say("%s: %s" % (disk.name, type(err).__name__))
            done = False
        if done:
            stage.say("%s: the image on it can't be started any more" % disk.name)
        else:
            stage.note("%s STILL STARTS THE INSTALLER: remove it, or the host may install itself again" % disk.name)
            clean = False
    problems = dict((disk.name, disk.problem) for disk in present)
    chosen = stage.state.get("install", {}).get("disk")
    for name in stage.state.get("image_disks", []):
        if name != chosen and problems.get(name, "gone"):
            stage.note("%s carried the image and can't be looked at any more: IF IT STILL STARTS THE INSTALLER, the host may install"
                       " itself again; remove it" % name)
            clean = clean and name not in problems
    return clean


def bootable(disk, found):
    """Whether the partition has a FAT volume with our files in it; None where
    the device does not tell."""
    try:
        with Device(disk.path) as device:
            return fatfs.Volume(parttable.section(device, found)).find(OURS) is not None
    except Unreadable:
        return None
    except VolumeError:
        return False


def disable(stage, disk, found, image):
    try:
        blocks = read(disk, found.offset)
        write(disk, [(at, erased(at - found.offset, data)) for at, data in blocks])
    except (OSError, VolumeError) as err:
        stage.say("%s: %s" % (disk.name, getattr(err, "strerror", None) or "can't be read"))
    if bootable(disk, found) is False:
        return True
    # The kernel may hold on to the volume; its own tool may still do it.
    stage.command(["partedUtil", "delete", disk.path, str(found.index)])
    disk.read_table()
    if disk.problem:
        return False
    left = disk.image_partition(image)
    return left is None or bootable(disk, left) is False


def erased(offset, data):
    """A block of the volume without the boot sectors that lie in it, whatever
    the size of its sectors: 512 and 4096 are both told by the first."""
    out = bytearray(data)
    for sector in (512, 4096):
        for number in SECTORS:
            at = number * sector - offset
            if 0 <= at < len(out) and out[at + 510:at + 512] == b"\x55\xaa" and out[at + 11:at + 13] == size_field(sector):
                out[at:at + 512] = OLD + bytes(512 - len(OLD))
    return bytes(out)


def size_field(sector):
    return bytes(bytearray((sector & 0xFF, sector >> 8)))


def read(disk, offset):
    """[(offset on the disk, block)] with both boot sectors, for both sizes of
    sectors."""
    with Device(disk.path) as device:
        return [(offset + at, device.read(offset + at, BLOCK)) for at in (0, 6 * 4096)]


def write(disk, blocks):
    fd = os.open(disk.path, os.O_WRONLY)
    try:
        for at, data in blocks:
            os.lseek(fd, at, os.SEEK_SET)
            done = os.write(fd, data)
            if done != len(data):
                raise OSError(5, "only %d of %d bytes were written" % (done, len(data)))
        try:
            os.fsync(fd)
        except OSError:
            pass  # raw devices may not know it; what counts is read back
    finally:
        os.close(fd)
    with Device(disk.path) as device:
        for at, data in blocks:
            if device.read(at, len(data)) != data:
                raise OSError(5, "what was written can't be read back")

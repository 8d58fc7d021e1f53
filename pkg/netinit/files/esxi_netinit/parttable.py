"""Reads the partition table of a disk: GPT (UEFI 2.10 chapter 5) or MBR."""
import binascii
import struct

from esxi_netinit.rawdev import Section, VolumeError

MAX_ENTRIES = 1024  # of a GPT; 128 is what everybody writes
MAX_LOGICAL = 32  # partitions in an extended one
EXTENDED = (0x05, 0x0F, 0x85)

# Types of partitions: a GPT's GUID, or an MBR's byte.
VMFS = ("aa31e02a-400f-11db-9590-000c2911d1b8", "fb")
VSAN = ("381cfccc-7288-11e0-92ee-000c2911d0b2", "77719a0c-a4a0-11e3-a47e-000c29745a24")


class Partition(object):
    def __init__(self, index, kind, guid, offset, size):
        self.index, self.kind, self.guid = index, kind, guid
        self.offset, self.size = offset, size  # bytes


class Table(object):
    """guid is None for an MBR. damaged says that a GPT's copies are not both
    where they belong, as on a disk larger than the image written to it."""

    def __init__(self, guid, partitions, damaged=False):
        self.guid, self.partitions, self.damaged = guid, partitions, damaged

    def has(self, kinds):
        return any(p.kind in kinds for p in self.partitions)


def read(device):
    """The table of a disk, None if it has none."""
    for sector in (512, 4096):
        if device.size < 3 * sector:
            continue
        last = device.size // sector - 1
        primary = _gpt(device, sector, 1)
        backup = _gpt(device, sector, last)
        if primary is not None:
            primary.damaged = backup is None or backup.guid != primary.guid
            return primary
        if backup is not None:
            backup.damaged = True
            return backup
    return _mbr(device)


def _gpt(device, sector, lba):
    try:
        return _parse_gpt(device, sector, lba)
    except VolumeError:
        return None


def _parse_gpt(device, sector, lba):
    head = device.read(lba * sector, 512)
    if head[:8] != b"EFI PART":
        return None
    size, crc = struct.unpack_from("<II", head, 12)
    if not 92 <= size <= 512:
        return None
    if binascii.crc32(head[:16] + b"\0\0\0\0" + head[20:size]) & 0xFFFFFFFF != crc:
        return None
    if struct.unpack_from("<Q", head, 24)[0] != lba:
        return None
    start, count, length, entries_crc = struct.unpack_from("<QIII", head, 72)
    if not 1 <= count <= MAX_ENTRIES or length < 128 or length > 4096 or length % 128:
        return None
    raw = device.read(start * sector, count * length)
    if binascii.crc32(raw) & 0xFFFFFFFF != entries_crc:
        return None
    partitions = []
    for i in range(count):
        entry = raw[i * length:(i + 1) * length]
        first, last = struct.unpack_from("<QQ", entry, 32)
        if entry[:16] == bytes(16) or last < first or (last + 1) * sector > device.size:
            continue
        partitions.append(Partition(i + 1, guid_text(entry[:16]), guid_text(entry[16:32]),
                                    first * sector, (last - first + 1) * sector))
    return Table(guid_text(head[56:72]), partitions)


def guid_text(raw):
    """A GUID as people write it; its first three fields are little-endian."""
    a, b, c = struct.unpack_from("<IHH", raw, 0)
    tail = binascii.hexlify(raw[8:16]).decode("ascii")
    return "%08x-%04x-%04x-%s-%s" % (a, b, c, tail[:4], tail[4:])


def _mbr(device):
    try:
        head = device.read(0, 512)
    except VolumeError:
        return None
    if head[510:512] != b"\x55\xaa":
        return None
    partitions, extended = [], None
    for i, (kind, first, count) in enumerate(_mbr_entries(head)):
        if kind in EXTENDED and extended is None:
            extended = first
        elif kind not in (0, 0xEE):
            _add(device, partitions, i + 1, kind, first, count)
    if extended is not None:
        _logical(device, partitions, extended)
    return Table(None, partitions) if partitions else None


def _mbr_entries(sector):
    # A volume's own boot sector ends in 55 AA as well: status bytes tell.
    if any(sector[at] not in (0x00, 0x80) for at in range(446, 510, 16)):
        return []
    return [(sector[at + 4],) + struct.unpack_from("<II", sector, at + 8) for at in range(446, 510, 16)]


def _logical(device, partitions, extended):
    """Each logical partition has a table with itself and the next table."""
    at = extended
    for number in range(MAX_LOGICAL):
        try:
            sector = device.read(at * 512, 512)
        except VolumeError:
            return
        if sector[510:512] != b"\x55\xaa":
            return
        entries = _mbr_entries(sector)
        if not entries:
            return
        kind, first, count = entries[0]
        if kind:
            _add(device, partitions, 5 + number, kind, at + first, count)
        kind, first, count = entries[1]
        if kind not in EXTENDED:
            return
        at = extended + first


def _add(device, partitions, index, kind, first, count):
    if count and first and (first + count) * 512 <= device.size:
        partitions.append(Partition(index, "%02x" % kind, None, first * 512, count * 512))


def section(device, partition):
    return Section(device, partition.offset, partition.size)

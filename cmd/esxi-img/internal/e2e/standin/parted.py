"""partedUtil, and the little of GPT that the whole stand-in needs."""
import binascii
import os
import struct
import uuid

from net import need
from state import Unknown
from tools import program

SECTOR = 512
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BASIC = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
VMFS = "aa31e02a-400f-11db-9590-000c2911d1b8"
VSAN = "381cfccc-7288-11e0-92ee-000c2911d0b2"
NAMES = {ESP: "systemPartition", BASIC: "linuxNative", VMFS: "vmfs", VSAN: "vsan"}


class Table(object):
    """One copy of a GPT."""

    def __init__(self, guid, entries, backup_lba=None):
        self.guid = guid
        self.entries = entries  # number → (type, guid, first, last, name)
        self.backup_lba = backup_lba


def read_table(path, at=1):
    """The GPT whose header lies in that sector; None where there is none."""
    try:
        with open(path, "rb") as f:
            f.seek(at * SECTOR)
            header = f.read(SECTOR)
            if len(header) < 92 or header[:8] != b"EFI PART":
                return None
            size, crc = struct.unpack_from("<II", header, 12)
            if not 92 <= size <= SECTOR or binascii.crc32(header[:16] + b"\0\0\0\0" + header[20:size]) & 0xFFFFFFFF != crc:
                return None
            my, other = struct.unpack_from("<QQ", header, 24)
            start, count, length, table_crc = struct.unpack_from("<QIII", header, 72)
            if my != at or length != 128 or count > 128:
                return None
            f.seek(start * SECTOR)
            raw = f.read(count * length)
    except OSError:
        return None
    if binascii.crc32(raw) & 0xFFFFFFFF != table_crc:
        return None
    entries = {}
    for i in range(count):
        one = raw[i * 128:i * 128 + 128]
        kind = uuid.UUID(bytes_le=one[:16])
        if kind.int:
            first, last = struct.unpack_from("<QQ", one, 32)
            entries[i + 1] = (str(kind), str(uuid.UUID(bytes_le=one[16:32])), first, last, one[56:].decode("utf-16-le").rstrip("\0"))
    return Table(str(uuid.UUID(bytes_le=header[56:72])), entries, other)


def write_table(path, table):
    """Protective MBR and both copies, the second at the disk's end."""
    sectors = os.path.getsize(path) // SECTOR
    raw = bytearray(128 * 128)
    for number, (kind, guid, first, last, name) in table.entries.items():
        one = uuid.UUID(kind).bytes_le + uuid.UUID(guid).bytes_le + struct.pack("<QQQ", first, last, 0) + name.encode("utf-16-le").ljust(72, b"\0")
        raw[(number - 1) * 128:number * 128] = one
    mbr = bytearray(SECTOR)
    mbr[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
    mbr[510:512] = b"\x55\xaa"
    with open(path, "r+b") as f:
        f.write(mbr)
        for my, other, start in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)):
            header = bytearray(SECTOR)
            struct.pack_into("<8sIIIIQQQQ16sQIII", header, 0, b"EFI PART", 0x10000, 92, 0, 0, my, other, 34, sectors - 34,
                             uuid.UUID(table.guid).bytes_le, start, 128, 128, binascii.crc32(bytes(raw)) & 0xFFFFFFFF)
            struct.pack_into("<I", header, 16, binascii.crc32(bytes(header[:92])) & 0xFFFFFFFF)
            f.seek(my * SECTOR)
            f.write(header)
            f.seek(start * SECTOR)
            f.write(raw)


def usable(path):
    """The table as firmware takes it: the first copy, or the one at the end."""
    table = read_table(path)
    return table or read_table(path, os.path.getsize(path) // SECTOR - 1)


@program("partedUtil")
def parted_util(state, args):
    if not args:
        raise Unknown("Usage: partedUtil COMMAND DISK")
    verb, rest = args[0], args[1:]
    if verb not in ("getptbl", "get", "getUsableSectors", "fix", "fixGpt", "delete", "mklabel", "setptbl"):
        raise Unknown("partedUtil: unknown command %s" % verb)
    if verb in ("setptbl", "mklabel"):
        raise Unknown("partedUtil %s: the stand-in has no such command, nobody is to need it" % verb)
    need(rest, "Not enough arguments")
    path = state.path(rest[0])
    name = os.path.basename(path)
    disk = next((d for d in state.data["disks"] if d["name"] == name), None)
    need(disk is not None and os.path.isfile(path), "Error: Could not stat device %s - No such file or directory.", rest[0])
    sectors = os.path.getsize(path) // SECTOR
    geometry = "%d 255 63 %d" % (sectors // 16065, sectors)
    table = usable(path)
    if verb == "getUsableSectors":
        return "34 %d\n" % (sectors - 34)
    need(table is not None, "Error: Unable to read partition table of device %s", path)
    if verb in ("fix", "fixGpt"):
        write_table(path, table)
        return ""
    if verb == "delete":
        need(len(rest) == 2 and rest[1].isdigit() and int(rest[1]) in table.entries, "Error: no such partition")
        del table.entries[int(rest[1])]
        write_table(path, table)
        return ""
    warning = ""
    if table.backup_lba != sectors - 1:
        warning = "Error: The backup GPT table is not at the end of the disk, as it should be. Fix, by moving the backup to the end.\n"
    lines = [geometry] if verb == "get" else ["gpt", geometry]
    for number, (kind, guid, first, last, _) in sorted(table.entries.items()):
        if verb == "get":
            lines.append("%d %d %d 0 0" % (number, first, last))
        else:
            lines.append("%d %d %d %s %s 0" % (number, first, last, kind.replace("-", "").upper(), NAMES.get(kind, "unknown")))
    return warning + "\n".join(lines) + "\n"

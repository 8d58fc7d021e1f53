"""Helpers of the tests: volumes made by foreign tools, and disks around them."""
import binascii
import os
import shutil
import struct
import subprocess
import tempfile
import uuid

DISK, PARTITION = "11111111-2222-8333-8444-555555555555", "aaaaaaaa-bbbb-8ccc-8ddd-eeeeeeeeeeee"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BASIC = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
VMFS = "aa31e02a-400f-11db-9590-000c2911d1b8"
VSAN = "381cfccc-7288-11e0-92ee-000c2911d0b2"


def tool(*argv):
    """Runs a foreign program that has to be there."""
    env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin", MTOOLS_SKIP_CHECK="1", SOURCE_DATE_EPOCH="0")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
    out = process.communicate(timeout=120)[0]
    if process.returncode:
        raise AssertionError("%s: exit code %d: %s" % (argv[0], process.returncode, out.decode("utf-8", "replace")))


class Work(object):
    """A folder that is removed at the end."""

    def __init__(self, test):
        self.folder = tempfile.mkdtemp()
        test.addCleanup(shutil.rmtree, self.folder)

    def tree(self, files, name="tree"):
        for path in files:
            full = os.path.join(self.folder, name, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as f:
                f.write(files[path])
        return os.path.join(self.folder, name)

    def image(self, name="volume"):
        with open(os.path.join(self.folder, name), "rb") as f:
            return f.read()

    def iso(self, files, label, program="xorriso", options=("-J", "-r")):
        folder, out = self.tree(files), os.path.join(self.folder, "volume")
        argv = ["xorriso", "-as", "mkisofs"] if program == "xorriso" else [program]
        tool(*(argv + ["-quiet", "-V", label] + list(options) + ["-o", out, folder]))
        return self.image()

    def fat(self, files, label, bits=16, kib=16384, cluster=1, sector=512):
        folder, out = self.tree(files), os.path.join(self.folder, "volume")
        with open(out, "wb") as f:
            f.truncate(kib << 10)
        tool("mkfs.vfat", "-F", str(bits), "-s", str(cluster), "-S", str(sector), "-n", label, out)
        for entry in sorted(os.listdir(folder)):
            tool("mcopy", "-s", "-i", out, os.path.join(folder, entry), "::")
        return self.image()


def guid_bytes(text):
    return uuid.UUID(text).bytes_le


def gpt(size, partitions, disk=DISK, sector=512, backup=True):
    """A disk of that many bytes: partitions are (type, GUID, offset, data or
    size)."""
    out = bytearray(size)
    entries = bytearray(128 * 128)
    for i, (kind, guid, offset, data) in enumerate(partitions):
        length = data if isinstance(data, int) else len(data)
        last = (offset + length + sector - 1) // sector - 1
        entries[i * 128:i * 128 + 48] = guid_bytes(kind) + guid_bytes(guid) + struct.pack("<QQ", offset // sector, last)
        if not isinstance(data, int):
            out[offset:offset + length] = data
    last = size // sector - 1
    table = 128 * 128 // sector
    places = [(1, last, 2)] + ([(last, 1, last - table)] if backup else [])
    for at, other, start in places:
        out[start * sector:start * sector + len(entries)] = entries
        head = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, at, other, 2 + table, last - table - 1,
                                     guid_bytes(disk), start, 128, 128, crc(entries)))
        head[16:20] = struct.pack("<I", crc(head))
        out[at * sector:at * sector + len(head)] = head
    out[510:512] = b"\x55\xaa"
    out[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    return bytes(out)


def mbr(size, partitions):
    """partitions are (type, first sector, data)."""
    out = bytearray(size)
    out[510:512] = b"\x55\xaa"
    for i, (kind, first, data) in enumerate(partitions):
        out[446 + 16 * i:462 + 16 * i] = struct.pack("<B3sB3sII", 0, b"\0\0\0", kind, b"\0\0\0", first, (len(data) + 511) // 512)
        out[first * 512:first * 512 + len(data)] = data
    return bytes(out)


def crc(data):
    return binascii.crc32(bytes(data)) & 0xFFFFFFFF

"""Helpers of the tests: volumes made by foreign tools, and disks around them."""
import atexit
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


class Kept(object):
    """In the place of a test, for what more than one needs."""

    addCleanup = staticmethod(atexit.register)


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

    def fat(self, *args, **options):
        self.fat_file(*args, **options)
        return self.image()

    def fat_file(self, files, label, bits=16, kib=16384, cluster=1, sector=512):
        """Its path; most of it is a hole."""
        folder, out = self.tree(files), os.path.join(self.folder, "volume")
        with open(out, "wb") as f:
            f.truncate(kib << 10)
        tool("mkfs.vfat", "-F", str(bits), "-s", str(cluster), "-S", str(sector), "-n", label, out)
        for entry in sorted(os.listdir(folder)):
            tool("mcopy", "-s", "-i", out, os.path.join(folder, entry), "::")
        return out


def guid_bytes(text):
    return uuid.UUID(text).bytes_le


def store(path, data):
    """Writes a file, with holes where there is nothing but zeros: volumes are
    large and nearly empty."""
    with open(path, "wb") as f:
        f.truncate(len(data))
        for at in range(0, len(data), 1 << 16):
            piece = data[at:at + (1 << 16)]
            if piece.count(0) != len(piece):
                f.seek(at)
                f.write(piece)


def gpt(size, partitions, disk=DISK, sector=512, backup=True):
    """A disk of that many bytes: partitions are (type, GUID, offset, data, or
    the name of a file with the data, or size)."""
    out = bytearray(size)
    for at, data in pieces(size, partitions, disk, sector, backup):
        out[at:at + len(data)] = data
    return bytes(out)


def gpt_file(path, size, partitions, sector=512):
    """As gpt, into a file: only what isn't zeros is written."""
    with open(path, "wb") as f:
        f.truncate(size)
        for at, data in pieces(size, partitions, DISK, sector, True):
            f.seek(at)
            f.write(data)


def extents(path):
    """(offset, bytes) of what isn't a hole in a file."""
    with open(path, "rb") as f:
        end = 0
        while True:
            try:
                at = os.lseek(f.fileno(), end, os.SEEK_DATA)
            except OSError:  # there is no more
                return
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            f.seek(at)
            yield at, f.read(end - at)


def pieces(size, partitions, disk, sector, backup):
    """(offset, bytes) of all that isn't zero."""
    entries = bytearray(128 * 128)
    for i, (kind, guid, offset, data) in enumerate(partitions):
        length = data if isinstance(data, int) else os.path.getsize(data) if isinstance(data, str) else len(data)
        last = (offset + length + sector - 1) // sector - 1
        entries[i * 128:i * 128 + 48] = guid_bytes(kind) + guid_bytes(guid) + struct.pack("<QQ", offset // sector, last)
        if isinstance(data, bytes):
            yield offset, data
        elif isinstance(data, str):
            for at, piece in extents(data):
                yield offset + at, piece
    last = size // sector - 1
    table = 128 * 128 // sector
    places = [(1, last, 2)] + ([(last, 1, last - table)] if backup else [])
    for at, other, start in places:
        yield start * sector, entries
        head = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, at, other, 2 + table, last - table - 1,
                                     guid_bytes(disk), start, 128, 128, crc(entries)))
        head[16:20] = struct.pack("<I", crc(head))
        yield at * sector, head
    yield 446, struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    yield 510, b"\x55\xaa"


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

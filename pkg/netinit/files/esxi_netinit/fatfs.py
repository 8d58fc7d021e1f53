"""A small read-only reader of FAT12, FAT16 and FAT32 with long names.

Numbers of the comments are those of Microsoft's specification (fatgen103).
Everything that is read from the volume is bounded.
"""
import struct

from esxi_netinit.rawdev import Entry, Tree, VolumeError

MAX_FOLDER = 2 << 20  # bytes: 65,536 entries, the specification's limit
MAX_FILE = 64 << 20  # bytes
MAX_LONG = 20  # entries of 13 characters that a long name may have

READ_ONLY, HIDDEN, SYSTEM, LABEL, FOLDER = 0x01, 0x02, 0x04, 0x08, 0x10
LONG = READ_ONLY | HIDDEN | SYSTEM | LABEL


class Volume(Tree):
    """source is a rawdev.Device, Section or Memory."""

    def __init__(self, source):
        self.source = source
        boot = source.read(0, 512)
        self._geometry(boot)
        # FAT32 has further fields before the label of the boot sector.
        extended = 66 if self.bits == 32 else 38
        self.labels = []
        if boot[extended] == 0x29:
            self.labels.append(text(boot[extended + 5:extended + 16]))
        self.top = Entry("", True, 0, boot_root(boot) if self.bits == 32 else None)
        for raw in self._raw_entries(self.top):
            if raw[11] & 0x3F != LONG and raw[11] & LABEL and raw[0] not in (0x00, 0xE5):
                self.labels.insert(0, text(raw[:11]))
                break

    def root(self):
        return self.top

    def _geometry(self, boot):
        if boot[510:512] != b"\x55\xaa":
            raise VolumeError("is no FAT volume")
        sector, per_cluster, reserved, fats, root_entries, total16 = struct.unpack_from("<HBHBHH", boot, 11)
        fat_sectors = struct.unpack_from("<H", boot, 22)[0] or struct.unpack_from("<I", boot, 36)[0]
        total = total16 or struct.unpack_from("<I", boot, 32)[0]
        if sector not in (512, 1024, 2048, 4096) or per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise VolumeError("is no FAT volume")
        if reserved == 0 or fats not in (1, 2) or fat_sectors == 0 or total * sector > self.source.size:
            raise VolumeError("is no FAT volume, or it is cut off")
        root_sectors = (root_entries * 32 + sector - 1) // sector
        first = reserved + fats * fat_sectors + root_sectors
        if first >= total:
            raise VolumeError("is a FAT volume without room")
        self.clusters = (total - first) // per_cluster
        # The number of clusters alone says which kind it is (page 14).
        self.bits = 12 if self.clusters < 4085 else 16 if self.clusters < 65525 else 32
        if self.bits != 32 and root_entries == 0:
            # Small volumes that mkfs.vfat -F 32 was forced to make.
            self.bits = 32
        if self.bits == 32 and root_entries:
            raise VolumeError("is a FAT32 volume with another kind's root folder")
        if fat_sectors * sector * 8 < (self.clusters + 2) * self.bits:
            raise VolumeError("its FAT is smaller than its clusters")
        self.cluster = sector * per_cluster
        self.fat = reserved * sector
        self.fixed_root = ((reserved + fats * fat_sectors) * sector, root_entries * 32)
        self.data_start = first * sector

    def _next(self, cluster):
        """The cluster after one, None at the end of the chain."""
        if self.bits == 12:
            value = struct.unpack("<H", self.source.read(self.fat + cluster * 3 // 2, 2))[0]
            value = value >> 4 if cluster & 1 else value & 0x0FFF
        elif self.bits == 16:
            value = struct.unpack("<H", self.source.read(self.fat + cluster * 2, 2))[0]
        else:
            value = struct.unpack("<I", self.source.read(self.fat + cluster * 4, 4))[0] & 0x0FFFFFFF
        if value >= (0x0FFFFFF8 if self.bits == 32 else 0xFFF8 if self.bits == 16 else 0x0FF8):
            return None
        return value

    def _chain(self, cluster, limit):
        """The bytes of a chain of clusters, at most limit."""
        parts, length = [], 0
        while cluster is not None and length < limit:
            if not 2 <= cluster < self.clusters + 2:
                raise VolumeError("a chain leads to cluster %d of %d" % (cluster, self.clusters))
            size = min(self.cluster, limit - length)
            parts.append(self.source.read(self.data_start + (cluster - 2) * self.cluster, size))
            length += size
            cluster = self._next(cluster)
        return b"".join(parts), cluster is None

    def _raw_entries(self, folder):
        if folder.where is None:
            data = self.source.read(*self.fixed_root)
        else:
            data, ended = self._chain(folder.where, MAX_FOLDER)
            if not ended:
                raise VolumeError("a folder has more than %d bytes, or goes in a circle" % MAX_FOLDER)
        for at in range(0, len(data) - 31, 32):
            raw = data[at:at + 32]
            if raw[0] == 0:
                return
            yield raw

    def entries(self, folder):
        out, long_name = [], LongName()
        for raw in self._raw_entries(folder):
            if raw[0] == 0xE5:
                long_name = LongName()
            elif raw[11] & 0x3F == LONG:
                long_name.add(raw)
            elif raw[11] & LABEL:
                long_name = LongName()
            else:
                name = long_name.of(raw) or short_name(raw)
                long_name = LongName()
                if name in (".", ".."):
                    continue
                cluster, size = struct.unpack_from("<HI", raw, 26)
                if self.bits == 32:
                    cluster |= struct.unpack_from("<H", raw, 20)[0] << 16
                is_dir = bool(raw[11] & FOLDER)
                out.append(Entry(name, is_dir, 0 if is_dir else size, cluster))
        return out

    def data(self, entry):
        if entry.size == 0:
            return b""
        if entry.size > MAX_FILE:
            raise VolumeError("a file has %d bytes, more than %d" % (entry.size, MAX_FILE))
        data, _ = self._chain(entry.where, entry.size)
        if len(data) < entry.size:
            raise VolumeError("a file ends after %d of %d bytes" % (len(data), entry.size))
        return data


class LongName(object):
    """Collects the entries of a long name, which come last part first."""

    def __init__(self):
        self.parts, self.left, self.sum = [], None, None

    def add(self, raw):
        order = raw[0]
        if order & 0x40:
            self.parts, self.left, self.sum = [], order & 0x3F, raw[13]
        elif self.left is None or order != self.left or raw[13] != self.sum:
            self.left = None
            return
        if not 1 <= self.left <= MAX_LONG:
            self.left = None
            return
        self.parts.append(raw[1:11] + raw[14:26] + raw[28:32])
        self.left -= 1

    def of(self, short):
        """The name for the short entry after it, None if they don't belong
        together."""
        if self.left != 0 or checksum(short[:11]) != self.sum:
            return None
        name = b"".join(reversed(self.parts)).decode("utf-16-le", "replace")
        return name.partition("\0")[0].rstrip("\uffff") or None


def checksum(name):
    total = 0
    for byte in name:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def short_name(raw):
    """The 8.3 name; Windows NT and mtools say in byte 12 what is lower case."""
    first = b"\xe5" + raw[1:8] if raw[0] == 0x05 else raw[:8]
    base, suffix = text(first), text(raw[8:11])
    base = base.lower() if raw[12] & 0x08 else base
    suffix = suffix.lower() if raw[12] & 0x10 else suffix
    return base + "." + suffix if suffix else base


def text(raw):
    return raw.decode("latin-1").rstrip(" \0")


def boot_root(boot):
    return struct.unpack_from("<I", boot, 44)[0]

"""A small read-only reader of ISO 9660 (ECMA-119) with Rock Ridge and Joliet.

Names are Rock Ridge's where the volume has them, else Joliet's, else the plain
ones without version. Everything that is read from the volume is bounded.
"""
import struct

from esxi_netinit.rawdev import Entry, Tree, VolumeError

SECTOR = 2048
MAX_DESCRIPTORS = 32  # a volume has three or four
MAX_FOLDER = 1 << 20  # bytes of one folder
MAX_ENTRIES = 8192  # of one folder
MAX_EXTENTS = 64  # of one file; each has up to 4 GiB
MAX_CONTINUATIONS = 16  # of one record's Rock Ridge entries
MAX_NAME = 255

FOLDER, ASSOCIATED, MORE = 0x02, 0x04, 0x80  # file flags, ECMA-119 9.1.6
JOLIET = (b"%/@", b"%/C", b"%/E")


class Volume(Tree):
    """source is a rawdev.Device, Section or Memory."""

    def __init__(self, source):
        self.source = source
        primary, joliet = self._descriptors()
        self.labels = [decode(primary[40:72], "ascii")]
        if joliet is not None:
            self.labels.append(decode(joliet[40:72], "utf-16-be"))
        record = self._top(primary)
        self.skip = self._rock_ridge(record)
        self.joliet = joliet is not None and self.skip is None
        if self.joliet:
            record = self._top(joliet)
        self.top = Entry("", True, record.size, [(record.block, record.size)])

    def root(self):
        return self.top

    def _descriptors(self):
        primary = joliet = None
        for number in range(16, 16 + MAX_DESCRIPTORS):
            block = self.source.read(number * SECTOR, SECTOR)
            if block[1:6] != b"CD001":
                break
            if block[0] == 255:
                break
            if block[0] == 1 and primary is None:
                primary = block
            if block[0] == 2 and block[88:91] in JOLIET:
                joliet = block
        if primary is None:
            raise VolumeError("is no ISO 9660 volume")
        for block in (primary, joliet):
            if block is not None and struct.unpack_from("<H", block, 128)[0] != SECTOR:
                raise VolumeError("has blocks of another size than %d" % SECTOR)
        return primary, joliet

    def _top(self, descriptor):
        record = self._record(descriptor[156:190], 0)
        if record is None:
            raise VolumeError("has no root folder")
        return record

    def _rock_ridge(self, root):
        """How many bytes to skip in every system use field (SUSP 5.3), None
        where the volume has no Rock Ridge names."""
        if root.size < 34 or root.size > MAX_FOLDER:
            raise VolumeError("the root folder has %d bytes" % root.size)
        folder = self._extent(root.block, min(root.size, SECTOR))
        dot = self._record(folder, 0)
        if dot is None or len(dot.use) < 7 or dot.use[:2] != b"SP" or dot.use[4:6] != b"\xbe\xef":
            return None
        return dot.use[6]

    def _extent(self, block, length):
        return self.source.read(block * SECTOR, length)

    def _record(self, folder, at):
        """The record at an offset; None at the end of a sector's records."""
        length = folder[at] if at < len(folder) else 0
        if length == 0:
            return None
        if length < 34 or at + length > len(folder):
            raise VolumeError("a directory record has %d bytes" % length)
        return Record(folder[at:at + length])

    def entries(self, folder):
        block, size = folder.where[0]
        if size > MAX_FOLDER:
            raise VolumeError("a folder has %d bytes, more than %d" % (size, MAX_FOLDER))
        data = self._extent(block, size)
        out, open_file, at, seen = [], None, 0, 0
        while at < len(data):
            record = self._record(data, at)
            if record is None:
                at = (at // SECTOR + 1) * SECTOR
                continue
            at += record.length
            seen += 1
            if seen > MAX_ENTRIES:
                raise VolumeError("a folder has more than %d entries" % MAX_ENTRIES)
            if record.raw_name in (b"\0", b"\1") or record.flags & ASSOCIATED:
                continue
            entry = open_file
            if entry is None:
                name = self._name(record)
                if name is None:
                    continue
                entry = Entry(name, bool(record.flags & FOLDER), 0, [])
                out.append(entry)
            entry.where.append((record.block, record.size))
            entry.size += record.size
            if len(entry.where) > MAX_EXTENTS:
                raise VolumeError("a file has more than %d extents" % MAX_EXTENTS)
            open_file = entry if record.flags & MORE and not entry.is_dir else None
        return out

    def data(self, entry):
        return b"".join(self._extent(block, size) for block, size in entry.where)

    def _name(self, record):
        """None for what is neither a file nor a folder."""
        if self.joliet:
            return plain(decode(record.raw_name, "utf-16-be"))
        if self.skip is not None:
            name, special = self._susp(record)
            if special:
                return None
            if name:
                return decode(name, "utf-8")
        return plain(decode(record.raw_name, "latin-1"))

    def _susp(self, record):
        """The Rock Ridge name, and whether this is a link or a relocated
        folder."""
        name, special = b"", False
        area, continuations = record.use[self.skip:], 0
        while area:
            following = b""
            at = 0
            while at + 4 <= len(area):
                kind, length = area[at:at + 2], area[at + 2]
                if length < 4 or at + length > len(area):
                    break
                body = area[at + 4:at + length]
                at += length
                if kind == b"NM" and body:
                    # Bits 1 and 2: the names . and .. of this folder.
                    if not body[0] & 0x06 and len(name) + len(body) <= MAX_NAME + 1:
                        name += body[1:]
                elif kind in (b"SL", b"CL", b"RE"):
                    special = True
                elif kind == b"CE" and len(body) >= 24:
                    block, offset, size = (struct.unpack_from("<I", body, i)[0] for i in (0, 8, 16))
                    if offset + size > SECTOR or continuations == MAX_CONTINUATIONS:
                        raise VolumeError("a Rock Ridge continuation is out of bounds")
                    continuations += 1
                    following = self.source.read(block * SECTOR + offset, size)
                elif kind == b"ST":
                    break
            area = following
        return name, special


class Record(object):
    """A directory record, ECMA-119 9.1."""

    def __init__(self, raw):
        self.length = len(raw)
        # A second extended attribute record would lie before the data.
        self.block = struct.unpack_from("<I", raw, 2)[0] + raw[1]
        self.size = struct.unpack_from("<I", raw, 10)[0]
        self.flags = raw[25]
        if raw[26]:
            raise VolumeError("an interleaved file")
        length = raw[32]
        if 33 + length > len(raw):
            raise VolumeError("the name of a directory record is cut off")
        self.raw_name = raw[33:33 + length]
        self.use = raw[33 + length + (length + 1) % 2:]


def decode(raw, encoding):
    return raw.decode(encoding, "replace").rstrip("\0 ")


def plain(name):
    """Without version, and without the dot of a name without suffix."""
    name = name.partition(";")[0]
    return name[:-1] if name.endswith(".") else name

"""Read-only access to raw disks and partitions.

ESXi wants aligned reads of whole sectors from a device, and readers of file
systems want any bytes: a Device stands between them. What lies outside the
device, or can't be read, is a VolumeError that names the place and nothing of
the content.
"""
import os
import stat

ALIGN = 4096  # bytes; a multiple of every sector size
CHUNK = 64 << 10  # bytes read at once
CACHED = 64  # chunks kept in memory
MAX_READ = 64 << 20  # bytes of one read


class VolumeError(Exception):
    """A device or a file system that can't be read."""


class Unreadable(VolumeError):
    """The device itself gives an error: what is on it can't be told."""


class Device(object):
    """An open device or image file of a known size in bytes."""

    def __init__(self, path):
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY)
        except OSError as err:
            raise Unreadable("can't be opened: %s" % err.strerror)
        try:
            self.size = size_of(self.fd)
        except OSError as err:
            os.close(self.fd)
            raise VolumeError("has no size: %s" % err.strerror)
        self.chunks = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def read(self, offset, length):
        """Exactly length bytes from offset."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise VolumeError("bytes %d to %d lie outside of %d bytes" % (offset, offset + length, self.size))
        if length > MAX_READ:
            raise VolumeError("%d bytes are more than is read at once" % length)
        parts = []
        while length > 0:
            number, skip = divmod(offset, CHUNK)
            part = self._chunk(number)[skip:skip + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)

    def _chunk(self, number):
        data = self.chunks.get(number)
        if data is None:
            start = number * CHUNK
            data = self._raw(start, min(CHUNK, self.size - start))
            if len(self.chunks) >= CACHED:
                self.chunks.clear()
            self.chunks[number] = data
        return data

    def _raw(self, start, length):
        data = b""
        try:
            while len(data) < length:
                os.lseek(self.fd, start + len(data), os.SEEK_SET)
                part = os.read(self.fd, length - len(data))
                if not part:
                    raise VolumeError("ends at byte %d" % (start + len(data)))
                # Stay aligned, should a device ever return less than asked for.
                if len(data) + len(part) < length:
                    part = part[:len(part) // ALIGN * ALIGN]
                    if not part:
                        raise VolumeError("reads less than %d bytes" % ALIGN)
                data += part
        except OSError as err:
            raise Unreadable("byte %d can't be read: %s" % (start, err.strerror))
        return data


class Section(object):
    """A part of a device, such as a partition, read as if it were one."""

    def __init__(self, device, offset, size):
        if offset < 0 or size < 0 or offset + size > device.size:
            raise VolumeError("a part of the device lies outside of it")
        self.device, self.offset, self.size = device, offset, size

    def read(self, offset, length):
        if offset < 0 or length < 0 or offset + length > self.size:
            raise VolumeError("bytes %d to %d lie outside of %d bytes" % (offset, offset + length, self.size))
        return self.device.read(self.offset + offset, length)


class Memory(object):
    """Bytes in memory, for tests and small images."""

    def __init__(self, data):
        self.data, self.size = data, len(data)

    def read(self, offset, length):
        if offset < 0 or length < 0 or offset + length > self.size:
            raise VolumeError("bytes %d to %d lie outside of %d bytes" % (offset, offset + length, self.size))
        return self.data[offset:offset + length]


def size_of(fd):
    """ESXi's device nodes say their size as files do; others are asked by
    seeking to the end."""
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) or info.st_size > 0:
        return info.st_size
    return os.lseek(fd, 0, os.SEEK_END)


class Entry(object):
    """A file or a folder in a file system."""

    def __init__(self, name, is_dir, size, where):
        self.name, self.is_dir, self.size = name, is_dir, size
        self.where = where  # the reader's own: extents or the first cluster


class Tree(object):
    """Paths on top of a reader of folders. A reader has root() and
    entries(entry), which lists a folder; and data(entry, limit)."""

    MAX_DEPTH = 16

    def root(self):
        raise NotImplementedError

    def entries(self, folder):
        raise NotImplementedError

    def data(self, entry):
        raise NotImplementedError

    def find(self, path):
        """The entry of a path, None if there is none. Names are compared
        exactly first, then without case."""
        entry = self.root()
        parts = [part for part in path.split("/") if part]
        if len(parts) > self.MAX_DEPTH:
            raise VolumeError("a path is deeper than %d folders" % self.MAX_DEPTH)
        for part in parts:
            if not entry.is_dir:
                return None
            entry = pick(self.entries(entry), part)
            if entry is None:
                return None
        return entry

    def list(self, path):
        """The entries of a folder, [] if there is no such folder."""
        entry = self.find(path)
        return self.entries(entry) if entry is not None and entry.is_dir else []

    def read(self, path, limit):
        """A file's bytes, None if there is no such file."""
        entry = self.find(path)
        if entry is None or entry.is_dir:
            return None
        return self.contents(entry, limit)

    def contents(self, entry, limit):
        if entry.size > limit:
            raise VolumeError("a file has %d bytes, more than %d" % (entry.size, limit))
        return self.data(entry)


def pick(entries, name):
    loose = None
    for entry in entries:
        if entry.name == name:
            return entry
        if loose is None and entry.name.lower() == name.lower():
            loose = entry
    return loose

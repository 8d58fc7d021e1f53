"""Files of metadata, read with limits."""
import json
import os
import re
from collections import OrderedDict

from esxi_netinit.errors import MetadataError
from esxi_netinit.node import wrap

MAX_FILE = 1 << 20  # bytes; real ones have a few KiB
MAX_DEPTH = 32  # objects and lists within each other
MAX_VALUES = 50000  # in one file
MAX_DIGITS = 18  # of a number; more would cost Python seconds to convert
MAX_NAMES = 4096  # of a folder

# A text, even one that does not end: else each of its quotes would be tried.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[][{},]', re.DOTALL)


def find(directory, *names):
    """The path of a file or folder below, in any case of letters: FAT and ISO
    9660 may show upper case. None where there is none."""
    for name in names:
        try:
            present = sorted(os.listdir(directory))[:MAX_NAMES]
        except OSError:
            return None
        exact = [n for n in present if n == name] or [n for n in present if n.lower() == name.lower()]
        if not exact:
            return None
        directory = os.path.join(directory, exact[0])
    return directory


def read(path, name):
    """The bytes of a file; b"" where path is None. name is for errors."""
    if path is None:
        return b""
    try:
        # A pipe would wait for ever.
        if not os.path.isfile(path):
            raise MetadataError(name, "is not a file")
        with open(path, "rb") as f:
            raw = f.read(MAX_FILE + 1)
    except OSError as err:
        raise MetadataError(name, err.strerror or "can't be read")
    if len(raw) > MAX_FILE:
        raise MetadataError(name, "has more than %d bytes" % MAX_FILE)
    return raw


def decode(raw, name):
    """Text of UTF-8, without a byte order mark, lines ended by line feeds."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise MetadataError(name, "byte %d is not UTF-8" % err.start)
    return text.replace("\r\n", "\n")


def parse_json(text, name):
    """A node. Too deep, too large and not quite JSON (NaN) are errors."""
    _check_depth(text, name)
    problem = None
    try:
        value = json.loads(
            text, object_pairs_hook=OrderedDict, parse_int=_whole, parse_float=_fraction, parse_constant=_constant
        )
    except _Refused as err:
        problem = str(err)
    except (ValueError, RecursionError) as err:
        # The error's own text may show a piece of the file.
        line = getattr(err, "lineno", None)
        problem = "is not JSON" if line is None else "is not JSON (line %d, column %d)" % (line, err.colno)
    if problem is not None:
        # Raised here, not above: a chained error would keep the text.
        raise MetadataError(name, problem)
    return wrap(value, name + ":$")


class _Refused(ValueError):
    pass


def _whole(digits):
    if len(digits) > MAX_DIGITS + 1:
        raise _Refused("has a number of more than %d digits" % MAX_DIGITS)
    return int(digits)


def _fraction(digits):
    if len(digits) > 40:
        raise _Refused("has a number of more than 40 characters")
    return float(digits)


def _constant(name):
    raise _Refused("is not JSON (NaN or Infinity)")


def _check_depth(text, name):
    depth = values = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in ("]", "}"):
            depth -= 1
        elif token in ("[", "{", ","):
            values += 1
            depth += token != ","
        if depth > MAX_DEPTH:
            raise MetadataError(name, "has more than %d levels" % MAX_DEPTH)
        if values > MAX_VALUES:
            raise MetadataError(name, "has more than %d values" % MAX_VALUES)


class Problems(object):
    """What was found wrong or is not supported, in the order of finding.

    One broken element must not cost a host its other ones: it is remembered,
    left out, and reading goes on. With strict, it is raised."""

    MAX = 1000

    def __init__(self, strict=False):
        self.strict = strict
        self.found = []  # (severity, path, message), severity "error" or "note"
        self.unread = []  # MetadataErrors of files that can't be read as a whole
        self._seen = set()

    def note(self, path, message):
        """Something that is not supported, or will be done differently."""
        self._add("note", path, message)

    def error(self, err):
        """A MetadataError about something that is left out."""
        if self.strict:
            raise err
        self._add("error", err.path, err.message)

    def attempt(self, function, *args):
        """What the function returns, or None after an error of the metadata."""
        try:
            return function(*args)
        except MetadataError as err:
            self.error(err)
            return None

    def whole(self, function, *args):
        """As attempt, for reading a file: nothing of it is left."""
        try:
            return function(*args)
        except MetadataError as err:
            self.unread.append(err)
            self.error(err)
            return None

    def _add(self, *entry):
        if entry not in self._seen and len(self.found) < self.MAX:
            self._seen.add(entry)
            self.found.append(entry)

    def leftover(self, node, known, what="is not supported"):
        """Notes members that nobody reads."""
        for name, member in node.members().items():
            if name not in known and not member.is_null():
                self.note(member.path, what)

"""A read JSON or YAML value that knows where it stood."""
import re
from collections import OrderedDict

from esxi_netinit.checks import printable
from esxi_netinit.errors import MetadataError, child

TRUE = ("true", "yes", "on", "y")
FALSE = ("false", "no", "off", "n")
NULL = ("", "~", "null")
NAMES = {
    "map": "an object", "seq": "a list", "text": "a text", "plain": "a text", "number": "a number",
    "bool": "a boolean", "null": "null",
}
_DIGITS = re.compile(r"[0-9]{1,18}\Z")


class Node(object):
    """kind is a key of NAMES; plain is a YAML scalar without quotes, whose
    type is the one that its reader asks for: a password of digits stays as it
    was written. path says where it stood, for errors and notes."""

    __slots__ = ("kind", "value", "path")

    def __init__(self, kind, value, path):
        self.kind = kind
        self.value = value
        self.path = path

    def wrong(self, message):
        """The error to raise about this value."""
        return MetadataError(self.path, message)

    def wanted(self, what):
        return self.wrong("is %s, %s is wanted" % (NAMES[self.kind], what))

    def is_null(self):
        return self.kind == "null" or (self.kind == "plain" and self.value.lower() in NULL)

    def is_text(self):
        return self.kind in ("text", "plain")

    def members(self):
        """An ordered dictionary of names to nodes."""
        if self.kind != "map":
            raise self.wanted("an object")
        return self.value

    def elements(self):
        if self.kind != "seq":
            raise self.wanted("a list")
        return self.value

    def get(self, *names):
        """The first member of those names that is there and not null."""
        members = self.members()
        for name in names:
            node = members.get(name)
            if node is not None and not node.is_null():
                return node
        return None

    def text(self, limit=4096, lines=False):
        """Text without control characters; with lines, of several lines."""
        if self.kind == "number" and isinstance(self.value, int):
            return str(self.value)
        if not self.is_text():
            raise self.wanted("a text")
        if len(self.value) > limit:
            raise self.wrong("has more than %d characters" % limit)
        if not printable(self.value, "\n\r\t" if lines else ""):
            raise self.wrong("has a control character or half a character")
        return self.value

    def boolean(self):
        if self.kind == "bool":
            return self.value
        if self.is_text():
            word = self.value.strip().lower()
            if word in TRUE or word in FALSE:
                return word in TRUE
        raise self.wrong("is neither true nor false")

    def integer(self, low, high):
        value = self.value
        if self.is_text() and _DIGITS.match(value.strip()):
            value = int(value)
        elif self.kind != "number" or value != value or value in (float("inf"), float("-inf")) or value != int(value):
            raise self.wrong("is not a whole number")
        value = int(value)
        if not low <= value <= high:
            raise self.wrong("is not between %d and %d" % (low, high))
        return value

    def convert(self, function, limit=4096):
        """The text as a function of addresses.py gives it."""
        try:
            return function(self.text(limit).strip())
        except ValueError as err:
            raise self.wrong("is %s" % err)


def wrap(value, path):
    """Nodes of what json.loads gave, objects as OrderedDict."""
    if isinstance(value, dict):
        members = OrderedDict()
        for key in value:
            members[key] = wrap(value[key], child(path, key))
        return Node("map", members, path)
    if isinstance(value, list):
        return Node("seq", [wrap(item, child(path, i)) for i, item in enumerate(value)], path)
    if value is None:
        return Node("null", None, path)
    if isinstance(value, bool):
        return Node("bool", value, path)
    if isinstance(value, (int, float)):
        return Node("number", value, path)
    return Node("text", value, path)


def merge(below, above):
    """Two nodes as one: objects by member, everything else is above's, as
    cloud-init lets user-data prevail over vendor-data."""
    if below is None or above is None or below.kind != "map" or above.kind != "map":
        return below if above is None else above
    members = OrderedDict(above.value)
    for name in below.value:
        members[name] = merge(below.value[name], above.value.get(name))
    return Node("map", members, above.path)

"""Small checkers from which schema.py is put together.

A checker is a function of (value, path) that returns the checked value as a
copy, or raises MetadataError with the path. None of them quotes a value.
"""
import re

from esxi_netinit.errors import MetadataError, child

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff]")


class Required(object):
    """Marks a member that has no default."""


def nullable(checker):
    return lambda value, path: None if value is None else checker(value, path)


def text(limit, lines=False, empty=True):
    """Text without control characters; with lines, line feeds and tabs."""
    allowed = "\n\r\t" if lines else ""

    def check(value, path):
        if not isinstance(value, str):
            raise MetadataError(path, "is %s, a text is wanted" % kind(value))
        if len(value) > limit:
            raise MetadataError(path, "has more than %d characters" % limit)
        if not value and not empty:
            raise MetadataError(path, "is empty")
        if not printable(value, allowed):
            raise MetadataError(path, "has a control character or half a character")
        return value

    return check


def printable(value, allowed=""):
    """Whether a text has neither control characters nor lone surrogates."""
    return all(char in allowed for char in _UNPRINTABLE.findall(value))


def matching(pattern, what, limit=255):
    """Text that a compiled regular expression matches."""
    plain = text(limit)

    def check(value, path):
        if not pattern.match(plain(value, path)):
            raise MetadataError(path, "is not %s" % what)
        return value

    return check


def converted(convert, limit=255):
    """Text in the form that a function of addresses.py gives it, no other."""
    plain = text(limit)

    def check(value, path):
        try:
            same = convert(plain(value, path)) == value
        except ValueError as err:
            raise MetadataError(path, str(err))
        if not same:
            raise MetadataError(path, "is not in its usual form")
        return value

    return check


def number(low, high):
    def check(value, path):
        if not isinstance(value, int) or isinstance(value, bool):
            raise MetadataError(path, "is %s, a number is wanted" % kind(value))
        if not low <= value <= high:
            raise MetadataError(path, "is not between %d and %d" % (low, high))
        return value

    return check


def boolean(value, path):
    if not isinstance(value, bool):
        raise MetadataError(path, "is %s, true or false is wanted" % kind(value))
    return value


def one_of(*values):
    def check(value, path):
        # 1 == True: compare the types too.
        if not any(type(value) is type(v) and value == v for v in values):
            raise MetadataError(path, "is none of %s" % ", ".join(str(v) for v in values))
        return value

    return check


def list_of(checker, limit, least=0):
    def check(value, path):
        if not isinstance(value, list):
            raise MetadataError(path, "is %s, a list is wanted" % kind(value))
        if len(value) > limit:
            raise MetadataError(path, "has more than %d elements" % limit)
        if len(value) < least:
            raise MetadataError(path, "has fewer than %d elements" % least)
        return [checker(item, child(path, i)) for i, item in enumerate(value)]

    return check


def struct(members):
    """An object with just these members: name -> (checker, default). A default
    that is a function makes a fresh one; Required must be there."""

    def check(value, path):
        if not isinstance(value, dict):
            raise MetadataError(path, "is %s, an object is wanted" % kind(value))
        for key in value:
            if key not in members:
                where = child(path, key) if isinstance(key, str) else path
                raise MetadataError(where, "is not known")
        out = {}
        for key in sorted(members):
            checker, default = members[key]
            if key in value:
                out[key] = checker(value[key], child(path, key))
            elif default is Required:
                raise MetadataError(child(path, key), "is missing")
            else:
                out[key] = default() if callable(default) else default
        return out

    return check


def kind(value):
    """A value's type in JSON's words."""
    names = ((type(None), "null"), (bool, "a boolean"), (int, "a number"), (float, "a number"),
             (str, "a text"), (list, "a list"), (dict, "an object"))
    for of, name in names:
        if isinstance(value, of):
            return name
    return "of an unknown type"

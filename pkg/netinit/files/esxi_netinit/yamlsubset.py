"""The part of YAML that people write in cloud-config, and nothing else.

Read: block mappings and sequences, flow ones (over several lines too), plain
texts of one line, both quotes, literal (|) and folded (>) texts, comments, one
document. Refused, with the number of the line: anchors, aliases, tags, merge
keys, complex keys, directives, several documents, plain or quoted texts over
several lines, tabs as indentation, duplicate keys. What is read means the same
as in YAML 1.1; types are left to the reader of the value (node.Node).

No error quotes the text: it may be a password.
"""
import re
from collections import OrderedDict

from esxi_netinit.checks import printable
from esxi_netinit.errors import MetadataError, child
from esxi_netinit.node import Node

MAX_TEXT = 1 << 20  # characters
MAX_DEPTH = 32
MAX_VALUES = 20000
MAX_KEY = 128  # characters; YAML itself allows 1024

_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b", " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}
_HEX = {"x": 2, "u": 4, "U": 8}
_HEADER = re.compile(r"[|>](?:([+-])([1-9])?|([1-9])([+-])?)? *(?: #.*)?\Z")
_MARK = re.compile(r"(---|\.\.\.)([ \t]|\Z)")
_COLON = re.compile(r":(?=[ \t]|\Z)")
# Not [ \t]+#: a long line of blanks would be searched once for each of them.
_COMMENT = re.compile(r"(?:(?<=[ \t])|\A)#.*\Z")
_REFUSED = {
    "&": "an anchor", "*": "an alias", "!": "a tag", "@": "a reserved character", "`": "a reserved character",
    "%": "a directive", ",": "a comma", "]": "a bracket that was not opened", "}": "a brace that was not opened",
}


def parse(text, name):
    """A node with paths like name:LINE:$.key[0]; the document's own, and those
    of errors in the reading, are name:LINE. An empty one is a null node."""
    if len(text) > MAX_TEXT:
        raise MetadataError(name, "has more than %d characters" % MAX_TEXT)
    root = _Reader(text, name).document()
    _name_members(root, "$")
    return root


def _name_members(node, where):
    """A line may hold several keys, and on a host there is no file to look at."""
    if node.kind not in ("map", "seq"):
        return
    for key, member in node.value.items() if node.kind == "map" else enumerate(node.value):
        here = child(where, key)
        member.path += ":" + here
        _name_members(member, here)


class _Reader(object):
    def __init__(self, text, name):
        self.name = name
        self.lines = text.split("\n")
        for i, line in enumerate(self.lines):
            if not printable(line, "\t"):
                raise MetadataError("%s:%d" % (name, i + 1), "has a control character")
        self.at = 0  # index of the line that is read next
        self.values = 0
        self.depth = 0

    # Places and limits.

    def path(self, at=None):
        return "%s:%d" % (self.name, (self.at if at is None else at) + 1)

    def refuse(self, message, at=None):
        raise MetadataError(self.path(at), message)

    def node(self, kind, value, at):
        self.values += 1
        if self.values > MAX_VALUES:
            self.refuse("more than %d values" % MAX_VALUES, at)
        return Node(kind, value, self.path(at))

    def deeper(self):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.refuse("more than %d levels" % MAX_DEPTH)

    # Lines.

    def indent(self):
        """Moves to the next line with content: its indentation, None at the
        end of the document."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            bare = line.lstrip(" ")
            if not bare.strip(" \t") or bare.startswith("#"):
                self.at += 1
                continue
            if _MARK.match(line):
                return None
            if bare.startswith("\t"):
                if bare.lstrip(" \t").startswith("#"):
                    self.at += 1
                    continue
                self.refuse("is indented with a tab")
            return len(line) - len(bare)
        return None

    def document(self):
        self.skip_empty()
        if self.at < len(self.lines) and self.lines[self.at].startswith("%"):
            self.refuse("a directive is not supported")
        if self.at < len(self.lines) and _MARK.match(self.lines[self.at]):
            if not self.lines[self.at].startswith("---"):
                self.refuse("an end of a document that did not begin")
            if _COMMENT.sub("", self.lines[self.at][3:]).strip(" \t"):
                self.refuse("content behind --- is not supported")
            self.at += 1
        indent = self.indent()
        root = self.node("null", None, min(self.at, len(self.lines) - 1)) if indent is None else self.block(indent, -1)
        if self.indent() is not None:
            self.refuse("is indented less than the document, or follows its end")
        self.end()
        return root

    def skip_empty(self):
        while self.at < len(self.lines):
            bare = self.lines[self.at].strip(" \t")
            if bare and not bare.startswith("#"):
                return
            self.at += 1

    def end(self):
        """Nothing but comments may follow the document."""
        if self.at < len(self.lines) and self.lines[self.at].startswith("..."):
            if _COMMENT.sub("", self.lines[self.at][3:]).strip(" \t"):
                self.refuse("content behind ... is not supported")
            self.at += 1
            self.skip_empty()
        if self.at < len(self.lines):
            self.refuse("a second document is not supported")

    # Blocks.

    def block(self, indent, parent):
        """The value whose first line, the current one, has that indentation,
        in a block with parent's."""
        self.deeper()
        line = self.lines[self.at]
        if _is_item(line[indent:]):
            value = self.sequence(indent)
        elif self.key(line, indent) is not None:
            value = self.mapping(indent)
        else:
            value = self.value(line, indent, parent)
        self.depth -= 1
        return value

    def sequence(self, indent):
        items, start = [], self.at
        while self.indent() == indent and _is_item(self.lines[self.at][indent:]):
            line, at = self.lines[self.at], self.at
            rest = line[indent + 1:]
            inner = indent + 1 + len(rest) - len(rest.lstrip(" "))
            if _is_item(line[inner:]) or self.key(line, inner) is not None:
                # A block that begins behind the dash: read it as if it were
                # alone in its line.
                self.lines[at] = " " * inner + line[inner:]
                items.append(self.block(inner, indent))
            else:
                items.append(self.value(line, indent + 1, indent))
        self.no_deeper(indent)
        return self.node("seq", items, start)

    def mapping(self, indent):
        members, start = OrderedDict(), self.at
        while self.indent() == indent:
            line, at = self.lines[self.at], self.at
            if _is_item(line[indent:]):
                self.refuse("an element of a list among the members of an object")
            found = self.key(line, indent)
            if found is None:
                self.refuse("is neither a key with a colon nor a value")
            name, after = found
            if name == "<<":
                self.refuse("a merge key is not supported")
            if name in members:
                self.refuse("a key is there twice")
            value = self.value(line, after, indent, True)
            value.path = self.path(at)
            members[name] = value
        self.no_deeper(indent)
        return self.node("map", members, start)

    def no_deeper(self, indent):
        found = self.indent()
        if found is not None and found > indent:
            self.refuse("has a wrong indentation; texts over several lines need | or >")

    def key(self, line, start):
        """(key, position behind its colon), None where there is no key."""
        rest = line[start:]
        if rest[:1] in ("'", '"'):
            name, end = self.quoted(line, start, True)
            if end is None:
                return None
            colon = _COLON.match(line, _skip(line, end))
            if colon is None:
                return None
        else:
            if rest[:1] in tuple("[]{},|>#") or not rest:
                return None
            if rest[:2] in ("? ", "?"):
                self.refuse("a complex key is not supported")
            colon = _COLON.search(_COMMENT.sub("", line), start)
            if colon is None:
                return None
            name = line[start:colon.start()].rstrip(" \t")
            if name[:1] in _REFUSED:
                self.refuse("%s is not supported" % _REFUSED[name[0]])
        if not name:
            self.refuse("an empty key is not supported")
        if len(name) > MAX_KEY:
            self.refuse("a key has more than %d characters" % MAX_KEY)
        return name, colon.end()

    def value(self, line, start, indent, of_key=False):
        """What stands behind a colon or a dash, or below it. indent is that of
        the block that the colon or dash belongs to."""
        at = self.at
        start = _skip(line, start)
        rest = _COMMENT.sub("", line[start:]) if line[start:start + 1] == "#" else line[start:]
        if not rest.strip(" \t"):
            return self.below(indent, of_key)
        first = rest[0]
        if first in "|>":
            return self.block_text(rest, indent)
        if first in "[{":
            node, end = self.flow(at, start)
            self.nothing_behind(self.lines[self.at], end)
        elif first in "'\"":
            text, end = self.quoted(line, start)
            self.nothing_behind(line, end)
            node = self.node("text", text, at)
        else:
            text = _COMMENT.sub("", rest).rstrip(" \t")
            self.check_plain(text)
            if _COLON.search(text):
                self.refuse("has a second colon; put the text in quotes")
            node = self.node("plain", text, at)
        self.at += 1
        return node

    def below(self, indent, of_key):
        """The block below a line that ends in a colon or a dash."""
        at = self.at
        self.at += 1
        found = self.indent()
        if found is not None and found > indent:
            return self.block(found, indent)
        if found == indent and of_key and _is_item(self.lines[self.at][found:]):
            # Lists may stand as far left as their key.
            self.deeper()
            value = self.sequence(found)
            self.depth -= 1
            return value
        return self.node("null", None, at)

    def check_plain(self, text):
        if text[0] in _REFUSED:
            self.refuse("%s is not supported; put the text in quotes" % _REFUSED[text[0]])
        if text[:2] in ("- ", "-", "? ", "?", ": ", ":", "-\t", "?\t", ":\t"):
            self.refuse("a list, a complex key or a colon can't stand here")

    def nothing_behind(self, line, end):
        rest = line[end:]
        if _COMMENT.sub("", rest).strip(" \t"):
            self.refuse("has something behind the end of the value")

    # Texts.

    def quoted(self, line, start, maybe_key=False):
        """(text, position behind it) of a text in quotes, within one line."""
        quote, out, i = line[start], [], start + 1
        while i < len(line):
            char = line[i]
            if char == quote:
                if quote == "'" and line[i + 1:i + 2] == "'":
                    out.append("'")
                    i += 2
                    continue
                return "".join(out), i + 1
            if char == "\\" and quote == '"':
                text, i = self.escape(line, i + 1)
                out.append(text)
                continue
            out.append(char)
            i += 1
        if maybe_key:
            return None, None
        self.refuse("a text in quotes does not end in its line")

    def escape(self, line, i):
        char = line[i:i + 1]
        if char in _HEX:
            digits = line[i + 1:i + 1 + _HEX[char]]
            if re.match(r"[0-9A-Fa-f]{%d}\Z" % _HEX[char], digits):
                code = int(digits, 16)
                if code <= 0x10FFFF and not 0xD800 <= code < 0xE000:
                    return chr(code), i + 1 + _HEX[char]
        elif char and char in _ESCAPES:
            return _ESCAPES[char], i + 1
        self.refuse("has an escape that is not known")

    def block_text(self, header, indent):
        """A literal or folded text; header begins with | or >."""
        match = _HEADER.match(header)
        if match is None:
            self.refuse("has something behind | or >")
        chomp = match.group(1) or match.group(4) or ""
        given = match.group(2) or match.group(3)
        at = self.at
        self.at += 1
        indent = max(indent, 0)
        width = indent + int(given) if given else self.block_width(indent)
        lines = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            bare = line.lstrip(" ")
            if not bare:
                lines.append(line[width:])
            elif len(line) - len(bare) >= width:
                lines.append(line[width:])
            else:
                break
            self.at += 1
        if self.at == len(self.lines) and lines:
            # A file that ends in a line feed has no line after it; where it
            # does not, neither does the text.
            if not lines[-1]:
                lines.pop()
            else:
                chomp = "-"
        return self.node("text", _text_of(lines, header[0] == ">", chomp), at)

    def block_width(self, indent):
        """The indentation of a text: that of its first line, but at least one
        more than that of its key."""
        at, longest = self.at, 0
        while at < len(self.lines) and not self.lines[at].strip(" "):
            longest = max(longest, len(self.lines[at]))
            at += 1
        if at < len(self.lines):
            line = self.lines[at]
            width = len(line) - len(line.lstrip(" "))
            if width > indent:
                if longest > width:
                    self.refuse("an empty line is indented more than the text", at)
                return width
        # No text at all.
        return max(indent + 1, longest)

    # Flow collections, over several lines. The place is (self.at, column).

    def flow(self, start, column):
        self.deeper()
        line = self.lines[self.at]
        close = "]" if line[column] == "[" else "}"
        items, members, first = [], OrderedDict(), True
        column = self.flow_skip(column + 1)
        while self.lines[self.at][column] != close:
            if not first:
                if self.lines[self.at][column] != ",":
                    self.refuse("a comma or the end of the list or object is wanted")
                column = self.flow_skip(column + 1)
                if self.lines[self.at][column] == close:
                    break
            first = False
            if close == "]":
                node, column = self.flow_value(column, ",]")
                items.append(node)
            else:
                column = self.flow_member(members, column)
            column = self.flow_skip(column)
        self.depth -= 1
        node = self.node("seq", items, start) if close == "]" else self.node("map", members, start)
        return node, column + 1

    def flow_member(self, members, column):
        line = self.lines[self.at]
        if line[column] in "'\"":
            name, end = self.quoted(line, column)
            adjacent = True
        else:
            name, end = self.flow_plain(line, column)
            adjacent = False
        at, end = self.at, _skip(line, end)
        if line[end:end + 1] != ":" or not (adjacent or line[end + 1:end + 2] in ("", " ", "\t", ",", "}")):
            self.refuse("a key without a colon")
        if name in members:
            self.refuse("a key is there twice")
        if not name or name == "<<" or len(name) > MAX_KEY:
            self.refuse("an empty key, a long one or a merge key is not supported")
        column = self.flow_skip(end + 1)
        if self.lines[self.at][column] in ",}":
            members[name] = self.node("null", None, at)
            return column
        members[name], column = self.flow_value(column, ",}")
        return column

    def flow_value(self, column, ends):
        line, at = self.lines[self.at], self.at
        if line[column] in "[{":
            return self.flow(at, column)
        if line[column] in "'\"":
            text, end = self.quoted(line, column)
            node = self.node("text", text, at)
        else:
            text, end = self.flow_plain(line, column)
            node = self.node("plain", text, at)
        end = self.flow_skip(end)
        if self.lines[self.at][end] not in ends:
            self.refuse("a comma or the end of the list or object is wanted; a text must end in its line")
        return node, end

    def flow_plain(self, line, column):
        end = column
        while end < len(line):
            char, following = line[end], line[end + 1:end + 2]
            if char in ",[]{}" or (char == "#" and end > 0 and line[end - 1] in " \t"):
                break
            if char == ":" and (not following or following in " \t,[]{}"):
                break
            end += 1
        text = line[column:end].rstrip(" \t")
        if not text:
            self.refuse("a value is missing")
        self.check_plain(text)
        if text[0] in "|>#?:":
            self.refuse("%s can't stand here in a list or object in brackets" % text[0])
        return text, end

    def flow_skip(self, column):
        """The column of the next character, perhaps in a later line."""
        while True:
            line = self.lines[self.at]
            column = _skip(line, column)
            if column < len(line) and not (line[column] == "#" and (column == 0 or line[column - 1] in " \t")):
                return column
            if self.at + 1 >= len(self.lines) or _MARK.match(self.lines[self.at + 1]):
                self.refuse("a list or object does not end")
            self.at += 1
            column = 0


def _is_item(text):
    return text[:2] in ("- ", "-", "-\t")


def _skip(line, column):
    while column < len(line) and line[column] in " \t":
        column += 1
    return column


def _text_of(lines, folded, chomp):
    trailing = 0
    while lines and not lines[-1]:
        lines.pop()
        trailing += 1
    text = _fold(lines) if folded else "\n".join(lines)
    if chomp == "-":
        return text
    if chomp == "+":
        return text + "\n" * (trailing + (1 if lines else 0))
    return text + "\n" if lines else ""


def _fold(lines):
    """Line feeds become blanks, but not around lines that are indented more,
    and n empty lines are n line feeds."""
    out, breaks, before = [], 0, None
    for line in lines:
        if not line:
            breaks += 1
            continue
        if before is not None:
            if line[0] in " \t" or before[0] in " \t":
                out.append("\n" * (breaks + 1))
            else:
                out.append("\n" * breaks if breaks else " ")
        else:
            out.append("\n" * breaks)
        out.append(line)
        before, breaks = line, 0
    return "".join(out)

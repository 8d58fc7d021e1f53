"""How esxcli reads its command line and prints its answers."""
import json

from state import Refused, Unknown

BOOLS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Option(object):
    """From "v|vswitch-name s!": short name, long name, kind, required.
    Kinds: s text, i number, b true or false, l texts (repeatable), f a flag
    without a value."""

    def __init__(self, spec):
        names, kind = spec.split()
        self.short, self.long = names.split("|")
        self.required = kind.endswith("!")
        self.kind = kind[0]

    def read(self, value):
        if self.kind == "i":
            try:
                return int(value, 10)
            except ValueError:
                raise Refused("Error: Invalid value for --%s: %s is not a number" % (self.long, value))
        if self.kind == "b":
            if value.lower() not in BOOLS:
                raise Refused("Error: Invalid value for --%s: %s is not a boolean" % (self.long, value))
            return BOOLS[value.lower()]
        return value


class Command(object):
    def __init__(self, path, options, run):
        self.path = path
        self.options = [Option(o) for o in options]
        self.run = run

    def parse(self, words):
        """The options by long name; the kinds of mistakes esxcli tells apart."""
        values, rest = {}, list(words)
        while rest:
            word = rest.pop(0)
            option, value = self.find(word)
            if option is None:
                raise Unknown("Error: Invalid option %s" % word)
            if option.kind == "f":
                if value is not None:
                    raise Unknown("Error: Option %s takes no value" % word)
                values[option.long] = True
                continue
            if value is None:
                if not rest:
                    raise Unknown("Error: Option %s wants a value" % word)
                value = rest.pop(0)
            if option.kind == "l":
                values.setdefault(option.long, []).append(value)
            elif option.long in values:
                raise Unknown("Error: Option %s was given twice" % word)
            else:
                values[option.long] = option.read(value)
        for option in self.options:
            if option.required and option.long not in values:
                raise Unknown("Error: Missing required parameter -%s|--%s" % (option.short, option.long))
        return values

    def find(self, word):
        name, equals, value = word.partition("=")
        for option in self.options:
            if name == "--" + option.long or (len(option.short) == 1 and name == "-" + option.short):
                return option, value if equals else None
        return None, None


class Tree(object):
    def __init__(self):
        self.commands = {}

    def add(self, path, *options):
        def register(run):
            self.commands[path] = Command(path, options, run)
            return run

        return register

    def find(self, words):
        """The command that the first words name, and the words after it."""
        for n in range(len(words), 0, -1):
            command = self.commands.get(" ".join(words[:n]))
            if command is not None:
                return command, words[n:]
        raise Unknown("Error: Unknown command or namespace %s" % " ".join(words))

    def execute(self, state, words, name="esxcli"):
        """What the command prints."""
        formatter, debug = None, False
        words = list(words)
        while words and words[0].startswith("-"):
            word = words.pop(0)
            if word == "--debug" or word == "-d":
                debug = True
            elif word.startswith("--formatter"):
                formatter = word.partition("=")[2] or (words.pop(0) if words else "")
            else:
                raise Unknown("Error: Invalid option %s" % word)
        if formatter not in (None, "csv", "json", "keyvalue", "xml"):
            raise Unknown("Error: Invalid formatter %s" % formatter)
        if formatter in ("xml", "keyvalue"):
            raise Unknown("Error: the stand-in has no formatter %s" % formatter)
        if formatter == "json" and not debug and state.data["release"].startswith("6."):
            raise Refused("Error: Invalid formatter json")
        command, rest = self.find(words)
        answer = command.run(state, command.parse(rest))
        return render(answer, formatter)


class Table(object):
    """Rows of the same columns, as "list" prints them."""

    def __init__(self, columns, rows):
        self.columns = columns
        self.rows = rows


class Blocks(object):
    """A heading and indented lines for each thing."""

    def __init__(self, items):
        self.items = items  # (heading or None, [(name, value)])


def text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(text(v) for v in value)
    return str(value)


def render(answer, formatter):
    if answer is None:
        return ""
    if isinstance(answer, str):
        if formatter == "json":
            return json.dumps(answer) + "\n"
        return answer + "\n"
    if formatter:
        return structured(answer, formatter)
    if isinstance(answer, Blocks):
        out = []
        for heading, fields in answer.items:
            if heading is not None:
                out.append(heading)
            indent = "   "
            out += ["%s%s: %s" % (indent, name, text(value)) for name, value in fields]
            out.append("")
        return "\n".join(out[:-1]) + "\n" if out else ""
    if not answer.rows:
        return ""
    widths, right = [], []
    for i, name in enumerate(answer.columns):
        cells = [row[i] for row in answer.rows]
        widths.append(max([len(name)] + [len(text(c)) for c in cells]))
        right.append(all(isinstance(c, (int, bool)) for c in cells))
    lines = ["  ".join(name.ljust(w) for name, w in zip(answer.columns, widths)).rstrip()]
    lines.append("  ".join("-" * w for w in widths))
    for row in answer.rows:
        cells = [text(c).rjust(w) if r else text(c).ljust(w) for c, w, r in zip(row, widths, right)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def structured(answer, formatter):
    if isinstance(answer, Table):
        rows = [dict(zip(answer.columns, row)) for row in answer.rows]
    else:
        rows = [dict(fields) for _, fields in answer.items]
    rows = [dict((name.replace(" ", ""), value) for name, value in row.items()) for row in rows]
    if formatter == "json":
        if isinstance(answer, Blocks) and len(rows) == 1 and answer.items[0][0] is None:
            return json.dumps(rows[0], indent=2) + "\n"
        return json.dumps(rows, indent=2) + "\n"
    if not rows:
        return ""
    names = sorted(rows[0])
    lines = [",".join(names) + ","]
    for row in rows:
        cells = []
        for name in names:
            cell = ",".join(text(v) for v in row[name]) if isinstance(row[name], list) else text(row[name])
            cells.append('"%s"' % cell.replace('"', '""') if set(cell) & set(',"\n') else cell)
        lines.append(",".join(cells) + ",")
    return "\n".join(lines) + "\n"

"""The subset of YAML: what it reads, what it refuses, and in which line."""
import os
import random
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "files"))

from esxi_netinit import yamlsubset  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402

FUZZ_SECONDS = float(os.environ.get("ESXI_FUZZ_SECONDS", "0"))
PART, PARTS = (int(n) for n in os.environ.get("ESXI_FUZZ_PART", "0/1").split("/"))  # other parts are others' business
FUZZ_ROUNDS = 6000 // PARTS

# (text, value): what YAML 1.1 makes of it, with all scalars as texts.
READ = [
    ("", ""), ("# only a comment\n\n", ""), ("---\n", ""), ("a: b", {"a": "b"}), ("---\na: b\n...\n", {"a": "b"}),
    ("a:\nb: ~\n", {"a": "", "b": "~"}), ("a: 0123\nb: 1_000\n", {"a": "0123", "b": "1_000"}),
    ("a: b # c\nd: e#f\n", {"a": "b", "d": "e#f"}), ("a:    b   c  \n", {"a": "b   c"}),
    ("a: http://x:80/y?z#w\n", {"a": "http://x:80/y?z#w"}), ("a: -1\nb: :x\nc: ?y\n", {"a": "-1", "b": ":x", "c": "?y"}),
    ("- a\n-\n- - b\n  - c\n", ["a", "", ["b", "c"]]), ("- a: b\n  c: d\n- e: f\n", [{"a": "b", "c": "d"}, {"e": "f"}]),
    ("a:\n- b\n- c\nd: e\n", {"a": ["b", "c"], "d": "e"}), ("a:\n    - b\n    - c:\n        d\n", {"a": ["b", {"c": "d"}]}),
    ("a: 'it''s'\nb: \"x\\ty\\u0041\\\\\"\n", {"a": "it's", "b": "x\tyA\\"}), ("'a b': c\n\"d: e\": f\n", {"a b": "c", "d: e": "f"}),
    ("a: {b: c, 'd': e, \"f\":g, h: }\n", {"a": {"b": "c", "d": "e", "f": "g", "h": ""}}), ("a: []\nb: {}\n", {"a": [], "b": {}}),
    ("a: [b, [c, {d: e}],\n  f, # g\n  'h',\n]\n", {"a": ["b", ["c", {"d": "e"}], "f", "h"]}),
    ("a: |\n  b\n    c\n\n  d\n\ne: f\n", {"a": "b\n  c\n\nd\n", "e": "f"}), ("a: |-\n  b\n\n", {"a": "b"}), ("a: |+\n  b\n\nc: d\n", {"a": "b\n\n", "c": "d"}),
    ("a: |2\n    b\n  c\n", {"a": "  b\nc\n"}), ("a: >\n  b\n  c\n\n  d\n   e\n  f\n", {"a": "b c\nd\n e\nf\n"}), ("a: |", {"a": ""}),
    ("a: |\n  b", {"a": "b"}), ("- |\n a: b\n # c\n- d\n", ["a: b\n# c\n", "d"]), ("a: |  # c\n  #!/bin/sh\n", {"a": "#!/bin/sh\n"}),
    ("a:\n  >2\n    b\n", {"a": "  b\n"}), ("a: b: c".replace(": c", ":c"), {"a": "b:c"}), ("a:\t b\n", {"a": "b"}), ("\"a\": 'b' # c\n", {"a": "b"}),
    ("- [sh, -c, \"echo 'a: b'\"]\n", [["sh", "-c", "echo 'a: b'"]]), ("a: \"#b\"\n", {"a": "#b"}), ("plain text", "plain text"),
]

# (text, line)
REFUSED = [
    ("a: &b c\n", 1), ("a: *b\n", 1), ("a: !!str b\n", 1), ("&a b: c\n", 1), ("a: b\n<<: c\n", 2), ("? a\n: b\n", 1), ("%YAML 1.1\n---\na: b\n", 1),
    ("a: b\n---\nc: d\n", 2), ("--- a: b\n", 1), ("a: b\n...\nc: d\n", 3), ("a: b\n  c\n", 2), ("a: 'b\n  c'\n", 1), ("a: \"b\n", 1), ("\ta: b\n", 1),
    ("a:\n\tb: c\n", 2), ("a: b\na: c\n", 2), ("a: b: c\n", 1), ("a: - b\n", 1), ("a: @b\n", 1), ("a: `b`\n", 1), ("a: %b\n", 1), ("a: [b\nc: d\n", 2),
    ("a: [b c, d: e]\n", 1), ("a: {b}\n", 1), ("a: [b] c\n", 1), ("a: 'b' c\n", 1), ("a: |x\n  b\n", 1), ("  a: b\nc: d\n", 2), ("a:\n  b: c\n d: e\n", 3),
    ("a: \"\\q\"\n", 1), ("a: \"\\ud800\"\n", 1), ("a: b\x00\n", 1), ("a: b\u0085c\n", 1), ("a\n b: c\n", 2), ("- a\nb: c\n", 2), ("a: b\n- c\n", 2),
    ("a: {b: c, b: d}\n", 1), ("a: [b,,c]\n", 1), ("a: |\n    \n  b\n", 3), (": a\n", 1), ("a: ]\n", 1), ("a: [>b]\n", 1), ("a: b\n\n\n c: d\n", 4),
    ("x" * 200 + ": a\n", 1),
]


def tree(node):
    if node.kind == "map":
        return {key: tree(value) for key, value in node.value.items()}
    if node.kind == "seq":
        return [tree(value) for value in node.value]
    return "" if node.kind == "null" else node.value


class TestYAML(unittest.TestCase):
    def test_read(self):
        for text, want in READ:
            try:
                got = tree(yamlsubset.parse(text, "f"))
            except MetadataError as err:
                self.fail("%r: %s" % (text, err))
            self.assertEqual(got, want, repr(text))

    def test_refused(self):
        for text, line in REFUSED:
            try:
                got = tree(yamlsubset.parse(text, "f"))
            except MetadataError as err:
                self.assertEqual(err.path, "f:%d" % line, "%r: %s" % (text, err))
            else:
                self.fail("%r was read as %r" % (text, got))

    def test_lines(self):
        root = yamlsubset.parse("# c\na:\n  - b\n  - c: |\n      d\n    e: [f,\n      g]\n", "f")
        items = root.value["a"].value
        self.assertEqual(
            [root.path, root.value["a"].path, items[0].path, items[1].path, items[1].value["c"].path, items[1].value["e"].value[1].path],
            ["f:2", "f:2:$.a", "f:3:$.a[0]", "f:4:$.a[1]", "f:4:$.a[1].c", "f:7:$.a[1].e[1]"])
        # What may be anything is not shown, a VLAN of a card is.
        odd = yamlsubset.parse("{bond0.100: {mtu: 1}, 'my key': 2}", "f")
        self.assertEqual([odd.value["bond0.100"].value["mtu"].path, odd.value["my key"].path], ['f:1:$["bond0.100"].mtu', "f:1:$.<a key of 6 characters>"])

    def test_limits(self):
        for text in ("- " * 40 + "a", "[" * 40, "a: {" * 40, "\n".join(" " * i + "a:" for i in range(40)), "- a\n" * 30000, "a" * (2 << 20)):
            self.assertRaises(MetadataError, yamlsubset.parse, text, "f")

    def test_time(self):
        """What makes a careless reader slow: one long line of anything."""
        n = 1 << 17
        for text in (" " * n + "a: b", "a: " + " " * n + "b", "a: b" + " " * n + "c", "a: '" + "''" * n, "a: \"" + "\\n" * n, "a: [" + "b," * 15000,
                     "- " * n, "a: |\n" + "\n" * n, "a: >\n" + " b\n" * (n // 4), "#" * n, "\n" * n, "a:" * n, "a: " + "#" * n, "a: " + " #" * n, "{" * n,
                     "a: {" + "b: {}, " * 9, "\n".join("a%d: |\n" % i for i in range(15000)), "\t" * n, "a:\t" + "\t" * n + "b", "'" * n, "\"" * n, "? " * n):
            start = time.time()
            try:
                yamlsubset.parse(text, "f")
            except MetadataError:
                pass
            self.assertLess(time.time() - start, 8, repr(text[:40]))

    def test_mutations(self):
        """Whatever comes in: a node or a MetadataError with a line."""
        pieces = ["\n", "  ", ": ", "- ", "#", " #", "'", "\"", "|", "|-\n", ">", "{", "}", "[", "]", ",", ":", "b: c", "\t", "---", "&a", "\\", "? ", "\n  - ", "\u20ac"]
        rand, end, done = random.Random(20 + PART), time.time() + FUZZ_SECONDS, 0
        while time.time() < end or done < FUZZ_ROUNDS:
            text = rand.choice(READ)[0] + rand.choice(("", "\n")) + rand.choice(READ)[0]
            for _ in range(rand.randrange(6)):
                i = rand.randrange(len(text) + 1)
                j = min(len(text), i + rand.randrange(8))
                text = rand.choice((text[:i] + rand.choice(pieces) + text[i:], text[:i] + text[j:], text[:i] + text[i:j] * 2 + text[j:]))
            try:
                yamlsubset.parse(text, "f")
            except MetadataError as err:
                self.assertTrue(err.path.startswith("f:") and 1 <= int(err.path[2:]) <= text.count("\n") + 1, (text, err))
            done += 1


if __name__ == "__main__":
    unittest.main()

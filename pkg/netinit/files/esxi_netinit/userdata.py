"""user-data and vendor-data: which kind they are, and what they hold."""
import re

from esxi_netinit import schema, yamlsubset
from esxi_netinit.errors import MetadataError
from esxi_netinit.readers import decode, parse_json

# The file name of an interpreter -> what runs it on ESXi. There is no bash.
INTERPRETERS = {"sh": "sh", "ash": "sh", "dash": "sh", "python": "python", "python3": "python"}
_VERSIONED = re.compile(r"python3\.[0-9]{1,2}\Z")
_MIME = re.compile(r"(content-type:|mime-version:|from:|content-transfer-encoding:)", re.IGNORECASE)
KINDS = (
    ("## template: jinja", "a Jinja template"), ("#include", "a list of URLs to include"),
    ("#cloud-boothook", "a boot hook"), ("#cloud-config-archive", "an archive of cloud-configs"),
    ("#cloud-config-jsonp", "a JSON patch of cloud-config"), ("#part-handler", "a part handler"),
    ("#upstart-job", "an upstart job"),
)


def read(raw, name, problems):
    """(node of cloud-config or None, script command or None) of the bytes."""
    if raw[:2] == b"\x1f\x8b":
        problems.note(name, "is compressed: not supported")
        return None, None
    return classify(decode(raw, name), name, problems)


def classify(text, name, problems):
    """The same of a text."""
    text = text.replace("\r\n", "\n")
    if not text.strip():
        return None, None
    first = text.lstrip().split("\n", 1)[0].strip()
    if first.startswith("#!"):
        # The file was read; that nothing here runs it is another matter.
        return None, problems.attempt(script, text.lstrip(), first, name)
    for begin, what in KINDS:
        if first.startswith(begin):
            problems.note(name, "is %s: not supported" % what)
            return None, None
    if _MIME.match(first):
        problems.note(name, "is a MIME message of several parts: not supported")
        return None, None
    # Without its first line too: the predecessor's user_data has none.
    return config(text, name), None


def script(text, first, name):
    """A command that is run through its interpreter: ESXi starts nothing that
    is not of a VIB."""
    words = first[2:].split()
    program = words[0].rsplit("/", 1)[-1] if words else ""
    if program in ("env", "busybox") and len(words) > 1:
        program = words[1].rsplit("/", 1)[-1]
    interpreter = "python" if _VERSIONED.match(program) else INTERPRETERS.get(program)
    if interpreter is None:
        raise MetadataError(name + ":1", "wants an interpreter that ESXi lacks; it has sh (busybox ash) and python")
    return {
        "when": "run", "interpreter": interpreter, "text": schema.script_text(text, name),
        "origin": name[:schema.MAX_PATH],
    }


def config(text, name):
    """A node of JSON or of the subset of YAML, both an object."""
    body = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    if body.lstrip().startswith("{"):
        try:
            return parse_json(body, name)
        except MetadataError:
            # A flow mapping of YAML may look like JSON.
            pass
    node = yamlsubset.parse(text, name)
    if node.is_null():
        return None
    if node.kind != "map":
        raise node.wrong("is neither #cloud-config nor a script")
    return node


def from_vendor(node, problems):
    """The texts of vendor_data.json: [(text, path)]. Nova gives an object
    with "cloud-init", or what the operator put there."""
    if node.is_null():
        return []
    if node.kind == "text":
        return [(node.text(1 << 20, True), node.path)]
    if node.kind == "seq":
        return [(item.text(1 << 20, True), item.path) for item in node.value]
    inner = node.get("cloud-init")
    static = node.get("static")
    if inner is None and static is not None and static.kind == "map":
        inner = static.get("cloud-init")
    if inner is None:
        if node.value:
            problems.note(node.path, "holds nothing for cloud-init")
        return []
    return from_vendor(inner, problems) if inner.kind != "map" else []

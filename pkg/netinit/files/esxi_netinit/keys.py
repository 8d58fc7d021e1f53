"""SSH public keys of all the places that metadata has for them."""
from esxi_netinit import schema
from esxi_netinit.errors import MetadataError


def add(node, model, problems):
    """Adds keys from a text of one or more lines, a list, or an object whose
    values are such (names to keys)."""
    if node is None or node.is_null():
        return
    if node.kind == "seq":
        for item in node.value:
            add_text(item, model, problems)
    elif node.kind == "map":
        # EC2's form is {"0": {"openssh-key": ...}}.
        for member in node.value.values():
            inner = member.get("openssh-key") if member.kind == "map" else member
            if inner is None:
                problems.error(member.wrong("is not an SSH public key"))
            elif inner.kind == "seq":
                add(inner, model, problems)
            else:
                add_text(inner, model, problems)
    else:
        add_text(node, model, problems)


def add_text(node, model, problems):
    text = problems.attempt(node.text, schema.MAX_KEYS * schema.MAX_KEY, True)
    for line in (text or "").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            key = schema.ssh_key(normal(line), node.path)
        except MetadataError as err:
            problems.error(err)
            continue
        if key in model.ssh_keys:
            continue
        if len(model.ssh_keys) >= schema.MAX_KEYS:
            problems.note(node.path, "has more keys than the %d that are taken" % schema.MAX_KEYS)
            return
        model.ssh_keys.append(key)


def normal(line):
    """Kind, key and comment with one blank between; a comment that is not
    ASCII goes, since the key is what counts."""
    words = line.split(None, 2)
    if len(words) == 3 and any(not 0x20 <= ord(char) < 0x7F for char in words[2]):
        words = words[:2]
    return " ".join(words)

"""Root's password from cloud-config: the only reader that fills Secrets.

No message shows a value, and none tells more of it than its length's limit.
"""
import re

from esxi_netinit.checks import printable

MAX_PASSWORD = 255  # characters
# What the installer is given behind rootpw --iscrypted. MD5 ($1$), which it may
# take as well, is not: later releases need not let anybody in with it.
HASH = re.compile(r"\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86}\Z")
# What is meant as a hash: as a plain text it would let nobody in who has the
# password. More kinds than cloud-init's.
LOOKS_HASHED = re.compile(r"\$(1|2|2[abxy]|5|6|7|y|gy)(\$.+){2}\Z")
NO_HASH = (
    "is not a hash that the installer takes: only $6$ without rounds= and with a salt of at most 16 characters"
    " (\"openssl passwd -6\" makes one); it is not used"
)
ROOT = "root"


def set_plain(node, secrets):
    """Sets a plain-text password."""
    value = node.text(MAX_PASSWORD)
    if not value:
        raise node.wrong("is empty")
    if not printable(value):
        raise node.wrong("has a control character")
    secrets.root_password, secrets.root_hash = value, None


def set_hash(node, secrets):
    """Sets a hash. One that the installer refuses leaves the password as it
    was: another one elsewhere in the metadata still lets somebody in."""
    value = node.text(MAX_PASSWORD)
    if not HASH.match(value):
        raise node.wrong(NO_HASH)
    secrets.root_password, secrets.root_hash = None, value


def set_either(node, secrets):
    """As chpasswd: what looks like a hash is one."""
    (set_hash if LOOKS_HASHED.match(node.text(MAX_PASSWORD)) else set_plain)(node, secrets)


def chpasswd(node, secrets, problems):
    """chpasswd: {list: "root:PW\\n..." or ["root:PW"], users: [{name, password,
    type}], expire}."""
    problems.leftover(node, ("list", "users", "expire"))
    expire = node.get("expire")
    if expire is not None and problems.attempt(expire.boolean):
        problems.note(expire.path, "ESXi has no passwords that expire at once: ignored")
    listed = node.get("list")
    if listed is not None:
        items = listed.value if listed.kind == "seq" else [listed]
        for item in items:
            problems.attempt(_list_item, item, secrets, problems)
    users = node.get("users")
    for item in [] if users is None else problems.attempt(users.elements) or []:
        problems.attempt(_chpasswd_user, item, secrets, problems)


def _list_item(node, secrets, problems):
    for line in node.text(16 << 10, True).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not colon:
            raise node.wrong("has a line without a colon")
        if user.strip() != ROOT:
            problems.note(node.path, "has another user than root: ignored")
        elif password.strip() in ("R", "RANDOM"):
            problems.note(node.path, "wants a random password: ignored")
        else:
            problems.attempt(set_either, _like(node, password), secrets)


def _like(node, value):
    return type(node)("text", value, node.path)


def _chpasswd_user(node, secrets, problems):
    problems.leftover(node, ("name", "password", "type"))
    name, password, kind = node.get("name"), node.get("password"), node.get("type")
    if name is None or name.text(64) != ROOT:
        problems.note(node.path, "is another user than root: ignored")
        return
    kind = "hash" if kind is None else kind.text(16)
    if kind == "RANDOM":
        problems.note(node.path, "wants a random password: ignored")
    elif kind not in ("hash", "text"):
        raise node.get("type").wrong("is neither hash, text nor RANDOM")
    elif password is None:
        raise node.wrong("has no password")
    elif kind == "hash":
        set_either(password, secrets)
    else:
        set_plain(password, secrets)


def user(node, secrets, problems):
    """The passwords of an entry of users: that is root's."""
    for name, setter in (("passwd", set_hash), ("hashed_passwd", set_hash), ("plain_text_passwd", set_plain)):
        found = node.get(name)
        if found is not None:
            problems.attempt(setter, found, secrets)

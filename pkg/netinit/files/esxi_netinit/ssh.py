"""root's authorized_keys."""
import os

KEYS = "/etc/ssh/keys-root/authorized_keys"
MAX_FILE = 4 << 20


def authorize(root, keys):
    """Appends the keys that are not there yet. Returns how many were new."""
    path = root + KEYS
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path, "rb") as f:
            before = f.read(MAX_FILE)
    except FileNotFoundError:
        before = b""
    lines = before.decode("utf-8", "surrogateescape").splitlines()
    known = set(bare(line) for line in lines)
    new = []
    for key in keys:
        if bare(key) not in known:
            known.add(bare(key))
            new.append(key)
    after = "".join(line + "\n" for line in lines + new).encode("utf-8", "surrogateescape")
    if new or after != before:
        # Written in place: ESXi keeps the files of this folder over a reboot
        # by a mark on the file itself.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(after)
    if os.stat(path).st_mode & 0o077:
        os.chmod(path, 0o600)
    return len(new)


def bare(line):
    """A key without its comment: that does not make another key of it."""
    words = line.split()
    return " ".join(words[:2]) if words and not line.lstrip().startswith("#") else line.strip()

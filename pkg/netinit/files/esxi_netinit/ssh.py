"""root's authorized_keys."""
import os
import stat

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
        try:
            replace(path, after)
        except OSError:
            # Without room, the keys that were there are better than none.
            replace(path, before)
            raise
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        os.chmod(path, mode & ~0o077)
    return len(new)


def replace(path, data):
    """In place: ESXi keeps the files of this folder over a reboot by a mark on
    the file itself."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as f:
        f.write(data)
    with open(path, "rb") as f:
        if f.read(len(data) + 1) != data:
            raise OSError(5, "what was written can't be read back")


def present(root, keys):
    """Whether root has one of the keys; without keys, any."""
    try:
        with open(root + KEYS, "rb") as f:
            lines = f.read(MAX_FILE).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    have = set(bare(line) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return any(bare(key) in have for key in keys) if keys else bool(have)


def bare(line):
    """A key without its comment: that does not make another key of it."""
    words = line.split()
    return " ".join(words[:2]) if words and not line.lstrip().startswith("#") else line.strip()

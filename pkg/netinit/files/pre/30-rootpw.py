# Writes the rootpw command for the password in the metadata (admin_pass).
# Without one the installation stops here, before a disk is touched.
# writes: /tmp/rootpw
#
# The password is never printed: the installer logs what scripts say.
import json
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
META_DATA = ROOT + "/tmp/config-2/openstack/latest/meta_data.json"
TARGET = ROOT + "/tmp/rootpw"
MAX_META_DATA = 1 << 20  # bytes; real ones have a few KiB
MAX_PASSWORD = 255  # characters


class Refused(Exception):
    """The message says why there is no password, and doesn't show it."""


def already_set(path):
    """Whether an earlier script has written a command."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = f.read(MAX_META_DATA).splitlines()
    except OSError:
        return False
    return any(line.strip() and not line.lstrip().startswith("#") for line in lines)


def read_password(path):
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_META_DATA + 1)
    except OSError as err:
        raise Refused("there is no metadata: %s: %s" % (path, err.strerror))
    if len(raw) > MAX_META_DATA:
        raise Refused("%s has more than %d bytes" % (path, MAX_META_DATA))
    try:
        data = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        # The error's own text may show a piece of the file.
        raise Refused("%s is not JSON" % path)
    if not isinstance(data, dict):
        raise Refused("%s is not a JSON object" % path)
    if data.get("admin_pass") in (None, ""):
        raise Refused("%s has no admin_pass" % path)
    return data["admin_pass"]


def check(password):
    """Refuses what the installer would not read as this password."""
    if not isinstance(password, str):
        raise Refused("admin_pass is not a text")
    if len(password) > MAX_PASSWORD:
        raise Refused("admin_pass has more than %d characters" % MAX_PASSWORD)
    for char in password:
        if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or char in "\u2028\u2029":
            raise Refused("admin_pass has a line feed or another control character")
        if 0xD800 <= ord(char) < 0xE000:
            raise Refused("admin_pass has half a character (a lone surrogate)")
    if password.split("=", 1)[0] == "--iscrypted":
        raise Refused("admin_pass is an option of rootpw")


def quote(word):
    """In single quotes, which the installer's splitting leaves as it is."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def write(path, line):
    """Readable by root alone; nobody sees half of it."""
    part = path + ".part"
    if os.path.lexists(part):
        os.remove(part)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as f:
        f.write(line.encode("utf-8"))
    os.rename(part, path)


def main():
    if already_set(TARGET):
        print("esxi-img: %s is set already, kept" % TARGET)
        return 0
    try:
        password = read_password(META_DATA)
        check(password)
        write(TARGET, "rootpw " + quote(password) + "\n")
    except Refused as err:
        print("esxi-img: no root password: %s" % err)
        print("esxi-img: the installation stops here; no disk was touched. Give the host a config drive")
        print("esxi-img: with admin_pass, or build the image with a kickstart that has its own rootpw.")
        return 1
    except OSError as err:
        print("esxi-img: %s can't be written: %s; no disk was touched" % (TARGET, err.strerror))
        return 1
    print("esxi-img: root password taken from the metadata")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What no command of the host does. An action returns (exit code, message);
messages hold nothing of a file's or a script's content."""
import base64
import os
import stat
import tempfile

from esxi_netinit import ssh

CA_STORE = "/etc/vmware/ssl/castore.pem"
NTP_CONF = "/etc/ntp.conf"
MAX_STORE = 8 << 20
# A host that boots, and its devices, are nobody's to overwrite from here.
FORBIDDEN = ("/bootbank/", "/altbootbank/", "/dev/", "/proc/", "/vmfs/devices/", "/tardisks/")


def perform(host, name, argument, seconds):
    return ACTIONS[name](host, argument, seconds)


def ssh_keys(host, keys, _):
    new = ssh.authorize(host.root, keys)
    return 0, "%d new" % new


def write_file(host, entry, _):
    if forbidden(entry["path"]):
        return 1, "files are not written there"
    path = host.root + entry["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    mode = int(entry["mode"], 8)
    # In place, as for all files that ESXi keeps; closed to others until it is
    # complete.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as f:
        f.write(base64.b64decode(entry["content_b64"]))
    have = stat.S_IMODE(os.stat(path).st_mode)
    if have & 0o777 != mode:
        # The other bits are ESXi's: by the sticky one it keeps a file.
        os.chmod(path, have & ~0o777 | mode)
    return 0, ""


def forbidden(path):
    return (path + "/").startswith(FORBIDDEN)


def ca_certificate(host, pem, _):
    path = host.root + CA_STORE
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(path, "rb") as f:
            have = f.read(MAX_STORE)
    except FileNotFoundError:
        have = b""
    wanted = pem.strip().encode("ascii") + b"\n"
    if wanted in have:
        return 0, "already there"
    with open(path, "ab") as f:
        f.write((b"" if not have or have.endswith(b"\n") else b"\n") + wanted)
    return 0, ""


def ntp_conf(host, servers, _):
    text = "restrict default nomodify notrap nopeer noquery\nrestrict 127.0.0.1\n"
    text += "".join("server %s\n" % server for server in servers) + "driftfile /etc/ntp.drift\n"
    os.makedirs(os.path.dirname(host.root + NTP_CONF), exist_ok=True)
    with open(host.root + NTP_CONF, "w") as f:
        f.write(text)
    return 0, ""


def command(host, what, seconds):
    """The user's own. What it prints is not kept: it may print secrets."""
    if "argv" in what:
        return host.run(what["argv"], seconds)[0], ""
    folder = host.root + "/tmp"
    os.makedirs(folder, exist_ok=True)
    # In a file, since a process list shows arguments.
    fd, path = tempfile.mkstemp(prefix="esxi-img-", dir=folder)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(what["text"].encode("utf-8"))
        return host.run(("python" if what["interpreter"] == "python" else "sh", path), seconds)[0], ""
    finally:
        os.remove(path)


ACTIONS = {
    "ssh-keys": ssh_keys, "write-file": write_file, "ca-certificate": ca_certificate, "ntp-conf": ntp_conf, "command": command,
}

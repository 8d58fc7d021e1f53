"""Tells how far an installation is: on the console, in the log, and to a
server if the metadata asks for it."""
import os
import socket
import subprocess
import time

LOGGER_SECONDS = 10
CONSOLE = "/dev/console"
MAX_LINE = 500  # characters
POST_SECONDS = 10
POST_PAUSE = 3  # seconds
MAX_NOTES = 20
KEYS = (("pub_key_rsa", "ssh_host_rsa_key.pub"), ("pub_key_ecdsa", "ssh_host_ecdsa_key.pub"), ("pub_key_ed25519", "ssh_host_ed25519_key.pub"))


def say(root, text):
    """To standard output, which the installer logs, to the system's log, and
    to the console if there is one."""
    line = "esxi-img: " + printable(text)
    try:
        print(line, flush=True)
    except (OSError, ValueError):
        pass  # nobody reads it, or the log is full
    try:
        subprocess.call(["logger", "-t", "esxi-img", line[len("esxi-img: "):]], timeout=LOGGER_SECONDS,
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        # Not created where it is missing, and never waited for.
        fd = os.open(root + CONSOLE, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return
    try:
        os.write(fd, (line + "\r\n").encode("ascii"))
    except OSError:
        pass
    finally:
        os.close(fd)


def printable(text):
    """One line of ASCII: text of a file system or of a program may hold
    anything, and what has no encoding would stop print."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:MAX_LINE]


def phone_home(model, stage, ok, notes=(), tries=None, root="", pause=time.sleep):
    """Posts a form with the fields that cloud-init's phone_home has, and how
    the stage ended. True if the server took it. Without a phone_home in the
    metadata nothing is done, and that is True too."""
    where = model.phone_home
    if where is None:
        return True
    try:
        from urllib import parse
    except ImportError:  # a Python without its network modules still installs
        return False
    fields = dict((key, value) for key, value in known_fields(model, root).items() if key in where["post"] or not where["post"])
    fields.update({"stage": stage, "result": "success" if ok else "failure"})
    if notes:
        fields["notes"] = "\n".join(printable(note) for note in list(notes)[:MAX_NOTES])
    body = parse.urlencode(fields).encode("ascii")
    for attempt in range(where["tries"] if tries is None else tries):
        if attempt:
            pause(POST_PAUSE)
        if _post(where["url"], body):
            return True
    return False


def known_fields(model, root):
    fields = {"instance_id": model.instance_id or "", "hostname": model.hostname or "", "fqdn": model.fqdn or model.hostname or ""}
    for field, name in KEYS:
        try:
            with open(root + "/etc/ssh/" + name, "rb") as f:
                fields[field] = f.read(16 << 10).decode("ascii", "replace").strip()
        except OSError:
            pass
    return fields


def _post(url, body):
    # Here, since most stages get by without: they are slow to load.
    try:
        from urllib import error as urlerror, request as urlrequest
    except ImportError:
        return False
    # Redirects are followed by GET and lose the body; no proxy is known here.
    opener = urlrequest.build_opener(urlrequest.ProxyHandler({}))
    try:
        answer = opener.open(urlrequest.Request(url, data=body), timeout=POST_SECONDS)
        try:
            return 200 <= answer.getcode() < 300
        finally:
            answer.close()
    except (urlerror.URLError, socket.error, ValueError, EOFError):
        return False
    except Exception:
        # http.client has errors of its own, and none may stop an installation.
        return False

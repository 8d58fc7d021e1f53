"""Commands on the host, and the files that they don't cover."""
import os
import subprocess
import time

COMMAND_SECONDS = 120
TRIES = 5
PAUSE_SECONDS = 5
HOSTD_SECONDS = 600  # a slow host takes some minutes


class Failed(Exception):
    """A step that did not work however often it was tried."""


class Host(object):
    """The host under root; tests give another root, runner and clock."""

    def __init__(self, root="", run=None, sleep=time.sleep, clock=time.time):
        self.root = root
        self.run = run or run_command
        self.sleep = sleep
        self.clock = clock

    def command(self, *args):
        """Runs a command, again where it fails: hostd is not always there."""
        for attempt in range(TRIES):
            if attempt:
                self.sleep(PAUSE_SECONDS)
            code, text = self.run(args)
            if code == 0:
                return text
        raise Failed("%s: exit code %s: %s" % (" ".join(args), code, text.strip()[-500:]))

    def wait(self):
        """Until hostd answers, or its time is up."""
        end = self.clock() + HOSTD_SECONDS
        while self.run(("vim-cmd", "hostsvc/runtimeinfo"))[0] != 0:
            if self.clock() >= end:
                raise Failed("hostd does not answer after %d seconds" % HOSTD_SECONDS)
            self.sleep(PAUSE_SECONDS)

    def set_host_name(self, name):
        option = "--fqdn" if "." in name else "--host"
        self.command("esxcli", "system", "hostname", "set", "%s=%s" % (option, name))

    def enable_ssh(self):
        self.command("vim-cmd", "hostsvc/enable_ssh")
        self.command("vim-cmd", "hostsvc/start_ssh")

    def authorize(self, keys):
        """Appends keys that are not there yet."""
        path = self.root + "/etc/ssh/keys-root/authorized_keys"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path, "rb") as f:
                before = f.read()
        except FileNotFoundError:
            before = b""
        lines = before.decode("utf-8", "surrogateescape").splitlines()
        known = set(line.strip() for line in lines)
        lines += [key for key in keys if key not in known]
        after = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
        if after != before:
            # Written in place: ESXi keeps the files of this folder over a
            # reboot by a mark on the file itself.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as f:
                f.write(after)
        if os.stat(path).st_mode & 0o077:
            os.chmod(path, 0o600)

    def save(self):
        """The state that survives a reboot is written now and not in an hour."""
        self.command(self.root + "/sbin/auto-backup.sh")


def run_command(args):
    """Exit code and output; a command that hangs or is missing has failed."""
    try:
        process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as err:
        return 127, err.strerror or "cannot be started"
    try:
        out = process.communicate(timeout=COMMAND_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, "no end after %d seconds" % COMMAND_SECONDS
    return process.returncode, out.decode("utf-8", "replace")

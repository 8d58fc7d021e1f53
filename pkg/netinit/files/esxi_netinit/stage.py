"""What the stages of an installation share: the root that they work under,
commands, the image's own settings, and what one stage leaves for the next.

Nothing here knows a password, and no exception's text of another module is
printed unless that module vouches for it.
"""
import json
import os
import subprocess
import sys
import time

from esxi_netinit import report
from esxi_netinit.errors import MetadataError
from esxi_netinit.model import Model

FOLDER = "/tmp/esxi-img"
IMAGE = "/esxiimg/image.json"
MAX_FILE = 1 << 20  # bytes of a file of ours
MAX_MODEL = 16 << 20  # bytes; commands and files of the metadata are in it
MAX_NOTES = 200
MAX_LOG = 500  # lines
COMMAND_SECONDS = 60
ALWAYS, REFUSED, NEVER = "always", "refused", "never"
SECURE_BOOT = "/usr/lib/vmware/secureboot/bin/secureBoot.py"


class Refused(Exception):
    """Why something is not done. The text holds no secrets."""


class Image(object):
    """What the image says of itself: /esxiimg/image.json. On an installer
    that was not started from a disk image there is none, and disk is None."""

    def __init__(self, data=None):
        data = {} if data is None else data
        if not isinstance(data, dict) or data and data.get("version") != 1:
            raise Refused("image.json is of an unknown version")
        self.disk = lower(data.get("disk"))
        self.partition = lower(data.get("partition"))
        self.metadata_required = data.get("metadata") == "required"
        self.root_hash = data.get("root_hash")
        self.keep = data.get("keep") is True
        # The same form and the same checks as a host's metadata.
        try:
            model = Model.from_dict({
                "version": 1, "install": data.get("install", {}), "kernel_options": data.get("kernelopts", []),
                "serial_console": data.get("serial_console"),
            })
        except MetadataError as err:
            raise Refused("image.json: %s" % err)
        self.install, self.kernel_options, self.serial_console = model.install, model.kernel_options, model.serial_console


class Stage(object):
    """One run of one script. Tests give another root and runner."""

    def __init__(self, root="", run=None):
        self.root = root
        self.command = run or run_command
        self.strict = False  # any failure stops the installation
        self.state = self._load(FOLDER + "/state.json") or {}

    def path(self, name):
        return self.root + name

    def say(self, text):
        report.say(self.root, text)
        self.remember(text)

    def remember(self, text):
        """The lines that were said go to the installed host as well."""
        log = self.state.setdefault("log", [])
        if len(log) < MAX_LOG:
            log.append(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + report.printable(text))

    def note(self, text):
        """Said now, and again in the report at the end."""
        self.say(text)
        notes = self.state.setdefault("notes", [])
        if text not in notes and len(notes) < MAX_NOTES:
            notes.append(text)

    def save(self):
        self.write(FOLDER + "/state.json", json.dumps(self.state, indent=1, sort_keys=True))

    def image(self):
        return Image(self._load(IMAGE))

    def model(self):
        """The model that the first stage left; an empty one if it left none."""
        data = self._load(FOLDER + "/model.json", MAX_MODEL)
        return Model() if data is None else Model.from_dict(data)

    def save_model(self, model):
        self.write(FOLDER + "/model.json", json.dumps(model.to_dict(), indent=1, sort_keys=True))

    def write(self, name, text):
        """Nobody but root may read it, and nobody sees half of it."""
        path = self.path(name)
        part = path + ".part"
        before = os.umask(0o077)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(part):
                os.remove(part)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        finally:
            os.umask(before)
        with os.fdopen(fd, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode("utf-8"))
        os.rename(part, path)

    def _load(self, name, limit=MAX_FILE):
        """A JSON file of ours, None if it is not there."""
        try:
            with open(self.path(name), "rb") as f:
                raw = f.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(raw) > limit:
            raise Refused("%s has more than %d bytes" % (name, limit))
        try:
            return json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise Refused("%s is not JSON" % name)

    def written(self, name):
        """Whether an earlier script has written a command to a file that the
        kickstart includes. Our defaults say that they are none."""
        try:
            with open(self.path(name), "rb") as f:
                lines = f.read(MAX_FILE).splitlines()
        except OSError:
            return False
        if lines and lines[0].startswith(b"# default"):
            return False
        return any(line.strip() and not line.lstrip().startswith(b"#") for line in lines)

    def secure_boot(self):
        """"on", "off" or "unknown". Only a plain "Disabled" is off: a module
        that is of no VIB may stop a host under Secure Boot for good."""
        script = self.path(SECURE_BOOT)
        if not os.path.exists(script):
            return "unknown"
        code, out = self.command([sys.executable or "python", script, "-s"])
        if code != 0:
            return "unknown"
        words = out.lower().split()
        if "enabled" in words:
            return "on"
        return "off" if "disabled" in words else "unknown"


def lower(value):
    return value.lower() if isinstance(value, str) else None


def run_command(argv, seconds=COMMAND_SECONDS):
    """Exit code and output; a command that hangs or is missing has failed."""
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as err:
        return 127, err.strerror or "can't be started"
    try:
        out = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, "no end after %d seconds" % seconds
    return process.returncode, out.decode("utf-8", "replace")


def run(root, work, name, stops):
    """Runs a stage and gives its exit code. A Refused is a stage's own
    decision; anything else that goes wrong in it is a mistake, of ours or of
    the metadata. It is said, and stops says what it means for the
    installation: ALWAYS, REFUSED or NEVER stop it."""
    stage, stop = None, stops == ALWAYS
    try:
        stage = Stage(root)
        work(stage)
        stage.save()
        return 0
    except Refused as err:
        reason, stop = str(err), stops != NEVER
    except MetadataError as err:
        reason = str(err)
    except OSError as err:
        # Not str(err), which may repeat a file's name of anybody's choice.
        reason = "%s in %s" % (err.strerror or type(err).__name__, line_of(err))
    except Exception as err:
        # Not the text: it may quote the metadata.
        reason = "%s in %s" % (type(err).__name__, line_of(err))
    report.say(root, "%s: %s" % (name, reason))
    if stop or stage is not None and stage.strict:
        report.say(root, "the installation stops here; no disk was touched")
        return 1
    if stage is not None:
        try:
            stage.remember("%s: %s" % (name, reason))
            stage.state.setdefault("notes", []).append("%s: %s" % (name, reason))
            stage.save()
        except Exception:
            pass  # the file that stages leave for each other is of no use any more
    return 0


def line_of(err):
    """The place where an error came from, such as finder.py:31."""
    trace, place = err.__traceback__, "?"
    while trace is not None:
        place = "%s:%d" % (os.path.basename(trace.tb_frame.f_code.co_filename), trace.tb_lineno)
        trace = trace.tb_next
    return place

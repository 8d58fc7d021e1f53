"""Whoever chooses a password that nobody knows answers for another way in.

The keys of such a host travel twice: in the model, which %post puts on the
boot bank, and in a script of %firstboot that %pre writes and the kickstart
includes. That one the installer itself puts on the boot bank, so it is there
even where nothing of ours was taken.
"""
from esxi_netinit import ssh
from esxi_netinit.model import MetadataError

RANDOM = "random"  # how the origin of such a password begins
SCRIPT = "/tmp/firstboot"  # what the kickstart includes
KICKSTART = "/esxiimg/KS.CFG"
STEPS = ("enable:ssh", "start:ssh")
MAX_KICKSTART = 4 << 20  # bytes
_BODY = r"""%%firstboot --interpreter=busybox
# root's SSH keys: nobody knows the password of this host.
: "${ESXI_ROOT:=}"
keys=$ESXI_ROOT/etc/ssh/keys-root/authorized_keys
umask 077
mkdir -p "${keys%%/*}"
if [ -s "$keys" ] && [ -n "$(tail -c 1 "$keys")" ]; then
    echo >>"$keys"
fi
add() {
    grep -qxF -- "$1" "$keys" 2>/dev/null || printf '%%s\n' "$1" >>"$keys"
}
%s
chmod go-rwx "$keys"

# The script after this one does the rest, where the boot bank has taken it.
[ ! -f "$ESXI_ROOT/esxiimg/esxi_netinit/main.py" ] || exit 0
logger -t esxi-img "the boot bank has nothing of ours: only SSH and its keys are set up"
tries=0
until vim-cmd hostsvc/enable_ssh >/dev/null 2>&1 && vim-cmd hostsvc/start_ssh >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
        logger -t esxi-img "hostd does not answer: SSH is started without it"
        chkconfig SSH on
        "$ESXI_ROOT/etc/init.d/SSH" start
        break
    fi
    sleep 10
done
"$ESXI_ROOT/sbin/auto-backup.sh" || logger -t esxi-img "the state could not be saved: SSH keys may be gone after a reboot"
"""


def script(keys):
    """The section of the kickstart that sets up keys without our module."""
    return _BODY % "\n".join("add " + quote(key) for key in keys)


def quote(word):
    return "'" + word.replace("'", "'\"'\"'") + "'"


def included(stage):
    """Whether the kickstart includes the script, as far as it can be seen: one
    that the installer was given in another way is nowhere."""
    try:
        with open(stage.path(KICKSTART), "rb") as f:
            lines = f.read(MAX_KICKSTART).splitlines()
    except OSError:
        return True
    return any(line.split() == [b"%include", SCRIPT.encode("ascii")] for line in lines)


def missing(root, model, journal):
    """Why nobody can log in with a key after a first boot, "" if one can."""
    if not ssh.present(root, model.ssh_keys):
        return "root has no SSH key"
    results = dict((entry["id"], entry) for entry in journal.data["steps"])
    for id in STEPS:
        entry = results.get(id)
        if entry is None or entry["result"] not in ("done", "already"):
            return "SSH is not enabled" if entry is None else "%s: %s" % (entry["description"], entry["result"])
    return ""


def check(stage, rehearse):
    """Why keys would not be set up on the first boot, "" where nothing speaks
    against it. rehearse raises what it finds."""
    try:
        carried = stage.model()
    except MetadataError as err:
        return str(err)
    if not carried.ssh_keys or not carried.ssh["enable"]:
        return "they are not in what the host is given"
    if not included(stage):
        return "the kickstart does not include %s" % SCRIPT
    try:
        rehearse(stage, carried)
    except OSError as err:
        return err.strerror or type(err).__name__
    return ""

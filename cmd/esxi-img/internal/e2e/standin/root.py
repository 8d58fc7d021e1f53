"""The root folder of the modelled machine: a busybox with the applets that
ESXi has and no others, a Python, and the stand-in's own commands."""
import ctypes
import os
import shutil
import stat
import subprocess
import sys

import parted  # noqa: F401
import tools
import trace

HERE = os.path.dirname(os.path.abspath(__file__))

# The applets of ESXi's busybox, but those that are commands of the stand-in.
APPLETS = ("[ [[ ash awk basename busybox cat chmod cp cut date dd df du echo egrep env expr false find grep gunzip gzip head kill ln ls "
           "md5sum mkdir mktemp mv nc nslookup od printf ps readlink rm sed seq sh sha256sum sort stat tail tar tee test timeout touch "
           "true uniq unzip vi wc wget which xargs xz zcat").split()
SBIN = ("backup.sh", "auto-backup.sh", "generate-certificates", "reboot", "esxcli", "localcli", "partedUtil", "vsish", "vmkping", "chkconfig")
ELSEWHERE = {"loadESX.py": "/usr/lib/vmware/loadesx/bin/loadESX.py"}
PATH = "/bin:/sbin"

MS_REC, MS_PRIVATE, MS_BIND, MS_REMOUNT, MS_NOEXEC = 0x4000, 1 << 18, 0x1000, 0x20, 8
CLONE_NEWNS = 0x20000


def fenced_busybox(source, target):
    """Copies busybox, with the names of all applets that ESXi lacks changed:
    its shell runs its own applets before it looks at PATH, and so would find
    them whatever is in the root."""
    with open(source, "rb") as f:
        program = bytearray(f.read())
    start = bytes(program).find(b"\0[\0[[\0") + 1
    if start == 0 or bytes(program).count(b"\0[\0[[\0") != 1:
        raise SystemExit("stand-in: the table of applets was not found in " + source)
    end = bytes(program).find(b"\0\0", start)
    names = bytes(program[start:end]).split(b"\0")
    offset, changed = start, []
    for name in names:
        new = name
        # One letter is left alone (w): there is no other name for it.
        if name.decode() not in APPLETS and len(name) > 1:
            new = name_after(changed[-1], len(name), names)
            program[offset:offset + len(name)] = new
        changed.append(new)
        offset += len(name) + 1
    if changed != sorted(changed) or len(set(changed)) != len(changed):
        raise SystemExit("stand-in: the applets of %s can't be fenced off" % source)
    missing = set(APPLETS) - set(n.decode() for n in changed)
    if missing:
        raise SystemExit("stand-in: %s lacks applets: %s" % (source, " ".join(sorted(missing))))
    with open(target, "wb") as f:
        f.write(program)
    os.chmod(target, 0o755)
    out = subprocess.run([target, "ash", "-c", "echo x | tr x y; seq 1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PATH": "/nowhere"})
    if out.stdout != b"1\n" or b"tr: not found" not in out.stderr:
        raise SystemExit("stand-in: the fence around busybox's applets has a hole: %r" % (out,))


def name_after(before, length, names):
    """The first name of a length after another that nobody has. The table of
    applets is searched as a sorted one, so it stays sorted."""
    new = bytearray(before[:length].ljust(length, b"\x01"))
    while bytes(new) <= before or bytes(new) in names:
        new[-1] += 1
    return bytes(new)


def python_tree(python, cache):
    """Copies a Python with its libraries, under its own paths, to cache."""
    done = os.path.join(cache, ".done")
    if os.path.exists(done):
        return
    facts = subprocess.check_output([python, "-c", (
        "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'));"
        "print(sysconfig.get_config_var('LIBDIR'))")]).decode().split("\n")
    executable, stdlib = facts[0], facts[1]
    skip = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "site-packages", "dist-packages", "ensurepip", "lib2to3", "config-*",
                                  "*.exe", "turtledemo", "*.opt-*.pyc")
    shutil.copytree(stdlib, cache + stdlib, ignore=skip, symlinks=False)
    libraries = {executable}
    for folder, _, files in os.walk(os.path.join(stdlib, "lib-dynload")):
        libraries |= set(os.path.join(folder, f) for f in files if f.endswith(".so") and "tkinter" not in f)
    needed = {executable}
    out = subprocess.run(["ldd"] + sorted(libraries), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    for line in out.split("\n"):
        needed |= set(w for w in line.split() if w.startswith("/") and not w.endswith(":"))
    for name in sorted(needed):
        os.makedirs(cache + os.path.dirname(name), exist_ok=True)
        shutil.copy2(os.path.realpath(name), cache + name)
    with open(done, "w") as f:
        f.write(executable)


class Root(object):
    def __init__(self, path, cache, facts):
        """An empty machine: programs, devices and folders. facts tells Secure
        Boot."""
        self.path, self.facts = path, facts
        shutil.copytree(cache, path, copy_function=os.link, ignore=shutil.ignore_patterns(".done", "busybox.fenced"))
        with open(os.path.join(cache, ".done")) as f:
            self.python = f.read()
        for folder in ("bin", "sbin", "tmp", "var/log", "var/run", "etc/init.d", "etc/ssh/keys-root", "etc/vmware/ssl", "dev/disks", "vmfs/volumes",
                       "tardisks", "standin/volumes", "usr/lib/vmware/secureboot/bin", "scratch/log", "opt"):
            os.makedirs(self.at(folder), exist_ok=True)
        os.chmod(self.at("tmp"), 0o1777)
        self.devices()
        os.link(os.path.join(cache, "busybox.fenced"), self.at("bin/busybox"))
        for applet in APPLETS:
            if applet != "busybox":
                os.symlink("busybox", self.at("bin/" + applet))
        os.symlink(self.python, self.at("bin/python"))
        self.programs()
        self.write("etc/ntp.conf", "driftfile /etc/ntp.drift\n")
        self.write("etc/hosts", "127.0.0.1 localhost.localdomain localhost\n::1 localhost.localdomain localhost\n")
        self.write("etc/rc.local.d/local.sh", "#!/bin/sh\nexit 0\n")
        self.write("usr/lib/vmware/secureboot/bin/secureBoot.py", SECURE_BOOT % (facts["secure_boot"],))
        os.makedirs(self.at("vmfs/devices"), exist_ok=True)
        os.symlink("/dev/disks", self.at("vmfs/devices/disks"))

    def at(self, name):
        return os.path.join(self.path, name.lstrip("/"))

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "w") as f:
            f.write(text)

    def devices(self):
        for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            path = self.at("dev/" + name)
            try:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
                os.chmod(path, 0o666)
            except OSError as err:
                raise SystemExit("stand-in: device nodes can't be made here (%s): it wants root" % err)
        self.write("dev/console", "")

    def programs(self):
        """Scripts that hand over to entry.py, on the same Python without its
        environment: the stand-in has no part in what is measured."""
        for name in sorted(tools.PROGRAMS) + ["esxcli", "localcli"]:
            places = [ELSEWHERE[name]] if name in ELSEWHERE else [name] if name.startswith("/") else ["/bin/" + name]
            places += ["/sbin/" + name] if name in SBIN else []
            for place in places:
                self.write(place, "#!%s -IS\nimport sys\nsys.path.insert(0, '/standin/lib')\nimport entry\nentry.main(%r)\n" % (self.python, name))
                os.chmod(self.at(place), 0o755)

    def fence(self):
        """Files that nobody's VIB brought don't run, except through an
        interpreter. Needs a mount namespace; false where there is none."""
        libc = trace.libc
        if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
            return False
        for folder in ("tmp", "esxiimg", "esximeta", "vmfs", "var", "opt", "etc/ssh", "scratch"):
            path = self.at(folder).encode()
            os.makedirs(path, exist_ok=True)
            for flags in (MS_BIND, MS_BIND | MS_REMOUNT | MS_NOEXEC):
                if libc.mount(path, path, None, flags, None) != 0:
                    raise SystemExit("stand-in: %s can't be mounted without exec: %s" % (folder, os.strerror(ctypes.get_errno())))
        return True

    def unfence(self):
        for folder in ("tmp", "esxiimg", "esximeta", "vmfs", "var", "opt", "etc/ssh", "scratch"):
            trace.libc.umount2(self.at(folder).encode(), 2)

    def run(self, interpreter, script, log):
        """Runs a script as the installer does. Exit code, output, command lines."""
        argv = ["/bin/python" if interpreter == "python" else "/bin/sh", script]
        env = {"PATH": PATH, "HOME": "/", "PYTHONPATH": "/standin/site", "TERM": "linux"}
        before = os.path.getsize(log) if os.path.exists(log) else 0
        code, seen = trace.run(self.path, argv, env, log)
        with open(log, "rb") as f:
            f.seek(before)
            out = f.read().decode("utf-8", "replace")
        return code, out, seen


# What the real one prints with -s; its other options are for people.
SECURE_BOOT = """import sys
if sys.argv[1:] != ["-s"]:
    print("usage: secureBoot.py [-h] [-a | -c | -s]")
    sys.exit(2)
print("Enabled" if %r else "Disabled")
"""


def prepare(python, busybox, cache):
    """Fills the cache that every root is linked from."""
    os.makedirs(cache, exist_ok=True)
    python_tree(python, cache)
    own = os.path.join(cache, "standin")
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(os.path.join(HERE, "site"), os.path.join(own, "site"))
    shutil.copytree(HERE, os.path.join(own, "lib"), ignore=shutil.ignore_patterns("site", "__pycache__"))
    subprocess.check_call([python, "-m", "compileall", "-q", own])
    if not os.path.exists(os.path.join(cache, "busybox.fenced")):
        fenced_busybox(busybox, os.path.join(cache, "busybox.fenced"))


if __name__ == "__main__":
    prepare(*sys.argv[1:4])

"""The root folder of the modelled machine: a busybox with the applets that
ESXi has and no others, a Python, and the stand-in's own commands."""
import ctypes
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile

import parted  # noqa: F401  registers partedUtil
import tools
import trace

HERE = os.path.dirname(os.path.abspath(__file__))

# The applets of ESXi's busybox, but those that are commands of the stand-in.
APPLETS = ("[ [[ ash awk basename busybox cat chmod cp cut date dd df du echo egrep env expr false find grep gunzip gzip head kill ln ls "
           "md5sum mkdir mktemp mv nc nslookup od printf ps readlink rm sed seq sh sha256sum sort stat tail tar tee test timeout touch "
           "true uniq unzip vi wc wget which xargs xz zcat").split()
SBIN = ("backup.sh", "auto-backup.sh", "generate-certificates", "reboot", "esxcli", "localcli", "partedUtil", "vsish", "vmkping", "chkconfig")
PATH = "/bin:/sbin"

MS_REC, MS_PRIVATE, MS_BIND, MS_REMOUNT, MS_NOEXEC, MS_RDONLY = 0x4000, 1 << 18, 0x1000, 0x20, 8, 1
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


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
    """Copies a Python to the cache, its library by itself. Gives their names."""
    facts = subprocess.check_output([python, "-c", (
        "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'));"
        "print(sysconfig.get_config_var('LIBDIR'))")]).decode().split("\n")
    executable, stdlib = facts[0], facts[1]
    skip = shutil.ignore_patterns("test", "tests", "idlelib", "tkinter", "site-packages", "dist-packages", "ensurepip", "lib2to3", "config-*",
                                  "*.exe", "turtledemo", "*.opt-*.pyc")
    shutil.copytree(stdlib, os.path.join(cache, ".library"), ignore=skip, symlinks=False)
    libraries = {executable}
    for folder, _, files in os.walk(os.path.join(stdlib, "lib-dynload")):
        libraries |= set(os.path.join(folder, f) for f in files if f.endswith(".so") and "tkinter" not in f)
    needed = {executable}
    out = subprocess.run(["ldd"] + sorted(libraries), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    for line in out.split("\n"):
        needed |= set(w for w in line.split() if w.startswith("/") and not w.endswith(":"))
    for name in sorted(needed):
        os.makedirs(cache + "/.base" + os.path.dirname(name), exist_ok=True)
        shutil.copy2(os.path.realpath(name), cache + "/.base" + name)
    return executable, stdlib


class Root(object):
    def __init__(self, path, cache, facts):
        """An empty machine: programs, devices and folders. facts tells Secure
        Boot."""
        self.path, self.cache, self.facts = path, cache, facts
        shutil.copytree(os.path.join(cache, ".base"), path, copy_function=os.link, symlinks=True)
        with open(os.path.join(cache, ".done")) as f:
            self.python, self.stdlib = f.read().split("\n")
        self.library, self.limited = self.borrow(), []
        # What is written to must be this root's own.
        self.write("dev/console", "")
        self.write("etc/ntp.conf", "driftfile /etc/ntp.drift\n")
        self.write("etc/hosts", "127.0.0.1 localhost.localdomain localhost\n::1 localhost.localdomain localhost\n")
        self.write("etc/rc.local.d/local.sh", "#!/bin/sh\nexit 0\n")
        self.write("usr/lib/vmware/secureboot/bin/secureBoot.py", SECURE_BOOT % (facts["secure_boot"],))

    def borrow(self):
        """Python's library, and what it has compiled of our package, are some
        thousand files: they go from root to root, and are linked only where
        none is free."""
        pool = os.path.join(self.cache, ".free")
        for name in sorted(os.listdir(pool)):
            mine = os.path.join(self.cache, ".used", name)
            try:
                os.rename(os.path.join(pool, name), mine)
            except OSError:
                continue
            break
        else:
            mine = tempfile.mkdtemp(dir=os.path.join(self.cache, ".used"))
            shutil.copytree(os.path.join(self.cache, ".library"), os.path.join(mine, "library"), copy_function=os.link)
            for part in ("compiled", "modules"):
                os.mkdir(os.path.join(mine, part))
        os.makedirs(os.path.dirname(self.at(self.stdlib)), exist_ok=True)
        os.rename(os.path.join(mine, "library"), self.at(self.stdlib))
        os.rename(os.path.join(mine, "compiled"), self.at("standin/compiled"))
        return mine

    def give_back(self):
        os.rename(self.at(self.stdlib), os.path.join(self.library, "library"))
        os.rename(self.at("standin/compiled"), os.path.join(self.library, "compiled"))
        os.rename(self.library, os.path.join(self.cache, ".free", os.path.basename(self.library)))

    def put(self, name, data):
        """A file of a module. Those of our package are the same each time, and
        to link one is much cheaper than to make one."""
        kept = os.path.join(self.library, "modules", name.replace("/", "_"))
        try:
            with open(kept, "rb") as f:
                same = f.read() == data
        except OSError:
            same = False
        if not same:
            if os.path.lexists(kept):
                os.remove(kept)
            with open(kept, "wb") as f:
                f.write(data)
            os.chmod(kept, 0o644)
        if os.path.lexists(self.at(name)):
            os.remove(self.at(name))
        os.link(kept, self.at(name))

    def at(self, name):
        return os.path.join(self.path, name.lstrip("/"))

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "w") as f:
            f.write(text)

    def limit(self, folder, how):
        """Makes a boot bank small (how is the bytes that are free) or one that
        can't be written to ("read-only")."""
        path = self.at(folder).encode()
        if how == "read-only":
            mounts = [(path, path, None, MS_BIND, None), (path, path, None, MS_BIND | MS_REMOUNT | MS_RDONLY, None)]
        else:
            files = dict((name, read(os.path.join(self.at(folder), name))) for name in os.listdir(self.at(folder)))
            size = sum((len(data) + 4095 & ~4095) for data in files.values()) + how
            mounts = [(b"tmpfs", path, b"tmpfs", MS_NOEXEC, b"size=%d" % size)]
        for one in mounts:
            if trace.libc.mount(*one) != 0:
                raise SystemExit("stand-in: a boot bank can't be limited here: %s" % os.strerror(ctypes.get_errno()))
        self.limited.append((folder, how))
        if how != "read-only":
            for name, data in files.items():
                with open(os.path.join(self.at(folder), name), "wb") as f:
                    f.write(data)

    def unlimit(self):
        """What is in a small boot bank is put where it would be."""
        while self.limited:
            folder, how = self.limited.pop()
            if how == "read-only":
                trace.libc.umount2(self.at(folder).encode(), 2)
                continue
            files = dict((name, read(os.path.join(self.at(folder), name))) for name in os.listdir(self.at(folder)))
            trace.libc.umount2(self.at(folder).encode(), 2)
            for name in set(os.listdir(self.at(folder))) | set(files):
                path = os.path.join(self.at(folder), name)
                if name not in files:
                    os.remove(path)
                elif not os.path.exists(path) or read(path) != files[name]:
                    if os.path.exists(path):
                        os.remove(path)
                    with open(path, "wb") as f:
                        f.write(files[name])

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

    def run(self, tracer, interpreter, script, log):
        """Runs a script as the installer does. Exit code, output, command lines."""
        argv = ["/bin/python" if interpreter == "python" else "/bin/sh", script]
        env = {"PATH": PATH, "HOME": "/", "PYTHONPATH": "/standin/site", "TERM": "linux"}
        before = os.path.getsize(log) if os.path.exists(log) else 0
        code, seen = tracer.run(self.path, argv, env, log)
        with open(log, "rb") as f:
            f.seek(before)
            out = f.read().decode("utf-8", "replace")
        return code, out, seen


def read(path):
    with open(path, "rb") as f:
        return f.read()


def own_network():
    """A network that only this process and its children are in, with nothing
    but a loopback; false where that can't be had."""
    if trace.libc.unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    return True


# What the real one prints with -s; its other options are for people.
SECURE_BOOT = """import sys
if sys.argv[1:] != ["-s"]:
    print("usage: secureBoot.py [-h] [-a | -c | -s]")
    sys.exit(2)
print("Enabled" if %r else "Disabled")
"""


FOLDERS = ("bin", "sbin", "tmp", "var/log", "var/run", "etc/init.d", "etc/rc.local.d", "etc/ssh/keys-root", "etc/vmware/ssl", "dev/disks", "vmfs/volumes",
           "vmfs/devices", "tardisks", "standin/volumes", "usr/lib/vmware/secureboot/bin", "scratch/log", "opt", "esxiimg", "esximeta")


def base(python, client, busybox, folder):
    """What is the same in every root, which gets it as links: to make files is
    slow."""
    for name in FOLDERS:
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    os.chmod(os.path.join(folder, "tmp"), 0o1777)
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        path = os.path.join(folder, "dev", name)
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            os.chmod(path, 0o666)
        except OSError as err:
            raise SystemExit("stand-in: device nodes can't be made here (%s): it wants root" % err)
    shutil.copy2(busybox, os.path.join(folder, "bin/busybox"))
    for applet in APPLETS:
        if applet != "busybox":
            os.link(os.path.join(folder, "bin/busybox"), os.path.join(folder, "bin", applet))
    os.symlink(python, os.path.join(folder, "bin/python"))
    os.symlink("/dev/disks", os.path.join(folder, "vmfs/devices/disks"))
    shutil.copy2(client, os.path.join(folder, "standin/client"))
    for name in sorted(tools.PROGRAMS) + ["esxcli", "localcli"]:
        places = [name] if name.startswith("/") else ["/bin/" + name]
        places += ["/sbin/" + name] if name in SBIN else []
        for place in places:
            program(name, folder + place, os.path.join(folder, "standin/client"))


def program(name, path, client):
    """A link to the client. What is a script on ESXi is one here, since it may
    be run through its interpreter."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith(".sh") or "/init.d/" in path:
        text = "#!/bin/sh\nexec /standin/client %s \"$@\"\n" % name
    else:
        os.link(client, path)
        return
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o755)


def prepare(python, busybox, client, cache):
    """Makes the folder that every root is made from."""
    shutil.rmtree(cache, ignore_errors=True)
    for folder in (".free", ".used", ".volumes", ".base/standin"):
        os.makedirs(os.path.join(cache, folder))
    executable, stdlib = python_tree(python, cache)
    site = os.path.join(cache, ".base/standin/site")
    shutil.copytree(os.path.join(HERE, "site"), site, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.check_call([python, "-m", "compileall", "-q", site])
    fenced_busybox(busybox, os.path.join(cache, "busybox"))
    base(executable, client, os.path.join(cache, "busybox"), os.path.join(cache, ".base"))
    with open(os.path.join(cache, ".done"), "w") as f:
        f.write(executable + "\n" + stdlib)


if __name__ == "__main__":
    prepare(*sys.argv[1:5])

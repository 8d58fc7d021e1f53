"""Runs a program in the root folder and notes the command line of every
process that it and its children start: what a process list would show."""
import ctypes
import errno
import os
import signal
import threading

from state import NeverEnds, PowerLost

TRACEME, CONT, SETOPTIONS, KILL = 0, 7, 0x4200, 8
FORK, VFORK, CLONE, EXEC = 1, 2, 3, 4
OPTIONS = 1 << FORK | 1 << VFORK | 1 << CLONE | 1 << EXEC | 1 << 20  # the last: kill them when the tracer dies
WALL = 0x40000000
SECONDS = 240  # of real time for one script
GRACE = 10

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) != 0:
        number = ctypes.get_errno()
        if number != errno.ESRCH:
            raise OSError(number, "ptrace: " + os.strerror(number))


class Tracer(object):
    """Runs programs, in the thread that makes it. interrupt may be called in
    another one: what runs is killed, and run raises that error."""

    def __init__(self):
        self.thread = threading.get_ident()
        self.running, self.error = False, None
        signal.signal(signal.SIGALRM, self.woken)
        signal.signal(signal.SIGUSR1, self.woken)

    def interrupt(self, error):
        self.error = error
        signal.pthread_kill(self.thread, signal.SIGUSR1)

    def woken(self, number, _):
        if self.running:
            self.running = False
            raise TimeoutError() if number == signal.SIGALRM else self.error

    def run(self, root, argv, env, log):
        """The exit code, and the command lines of all processes. Output goes
        to the file log."""
        pid = os.fork()
        if pid == 0:
            child(root, argv, env, log)
        seen, alive, code = [], {pid}, None
        try:
            self.running = True
            os.waitpid(pid, WALL)
            ptrace(SETOPTIONS, pid, OPTIONS)
            ptrace(CONT, pid)
            signal.alarm(SECONDS)
            while alive:
                try:
                    one, status = os.waitpid(-1, WALL)
                except ChildProcessError:
                    break
                if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                    alive.discard(one)
                    if one == pid:
                        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                        signal.alarm(GRACE)  # for what it left running
                    continue
                alive.add(one)
                on_stop(one, status, seen)
            self.running = False
        except TimeoutError:
            stop(alive)
            if code is None:
                raise NeverEnds("%s: no end after %d seconds; processes: %s" % (argv, SECONDS, seen[-5:]))
        except (PowerLost, NeverEnds):
            stop(alive)
            raise
        finally:
            signal.alarm(0)
        return code, seen


def on_stop(pid, status, seen):
    event, deliver = status >> 16, os.WSTOPSIG(status)
    if event == EXEC:
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                seen.append([w.decode("utf-8", "replace") for w in f.read().split(b"\0")[:-1]])
        except OSError:
            pass
    # A new process begins with a SIGSTOP of the tracer's.
    if event or deliver in (signal.SIGSTOP, signal.SIGTRAP):
        deliver = 0
    ptrace(CONT, pid, int(deliver))


def stop(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    while True:
        try:
            os.waitpid(-1, WALL)
        except ChildProcessError:
            return


def child(root, argv, env, log):
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.closerange(3, 64)
        os.chroot(root)
        os.chdir("/")
        os.umask(0o022)
        if libc.ptrace(TRACEME, 0, None, None) != 0:
            os._exit(126)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execve(argv[0], argv, env)
    finally:
        os._exit(127)

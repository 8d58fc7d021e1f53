"""The model answers here: every program of the stand-in's in the root is a
small client (client/main.go) that asks over a socket. One state, one process,
and no interpreter to be started for each command."""
import os
import socketserver
import struct
import threading

import entry
from state import NeverEnds, PowerLost

MAX_FRAME = 16 << 20


class Server(socketserver.ThreadingUnixStreamServer):
    """Answers for the state of one root. interrupt(error) is called, in the
    thread that asked, where no command is answered any more."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, state, interrupt):
        self.state, self.interrupt = state, interrupt
        self.lock = threading.Lock()
        self.over = False  # nobody is answered any more
        self.trouble = None  # what the stand-in itself did wrong
        # The name of a socket is short; the folder's is not.
        folder = os.open(os.path.join(state.root, "standin"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            super().__init__("/proc/self/fd/%d/socket" % folder, Handler)
        finally:
            os.close(folder)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        kind, data = self.receive()
        if kind != b"a":
            return
        words = data.decode("utf-8", "surrogateescape").split("\0")
        name, args = os.path.basename(words[0]), words[1:]
        if name == "client":  # from a script of that name
            name, args = args[0], args[1:]
        text = self.text() if entry.wants_input(name, args) else ""
        server = self.server
        with server.lock:
            if server.over:
                return self.hang()
            try:
                code, out, problem = entry.answer(server.state, name, args, text)
            except (PowerLost, NeverEnds) as err:
                server.over = True
                server.interrupt(err)
                return self.hang()
            except Exception as err:
                server.trouble = server.trouble or err
                code, out, problem = 125, "", "stand-in: %s: %r" % (name, err)
        for kind, data in ((b"o", out), (b"e", problem)):
            if data:
                self.send(kind, data.encode("utf-8", "surrogateescape"))
        self.send(b"x", bytes([code]))

    def text(self):
        self.send(b"i", b"")
        return self.receive()[1].decode("utf-8", "surrogateescape")

    def hang(self):
        """No answer, until the one who asked is killed."""
        try:
            self.request.recv(1)
        except OSError:
            pass

    def send(self, kind, data):
        try:
            self.request.sendall(kind + struct.pack(">I", len(data)) + data)
        except OSError:
            pass  # killed meanwhile

    def receive(self):
        head = self.exactly(5)
        length = struct.unpack(">I", head[1:])[0] if len(head) == 5 else 0
        return head[:1], self.exactly(min(length, MAX_FRAME))

    def exactly(self, length):
        out = b""
        while len(out) < length:
            try:
                piece = self.request.recv(length - len(out))
            except OSError:
                piece = b""
            if not piece:
                return b""
            out += piece
        return out

"""What the tests of wssink share: starting it on a file, a pipe or a
socketpair, its reverse channel, and a server's end of a connection done by
hand, for where a server has to be broken or hostile.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import struct
import subprocess

from support import FINAL, PATIENCE, Frames, Process, program


GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# Tries to connect follow each other at once, so that no test waits for one.
QUICK = ("--backoff-max", "0.1")

# What a proxy of this machine would do is not what is tested.
ENVIRONMENT = {k: v for k, v in os.environ.items()
               if not k.lower().endswith("_proxy")}


def event(n, size=0):
    """Event n, filled up to `size` bytes."""
    text = b'{"id": %d' % n
    fill = size - len(text) - len(', "x": ""}')
    return text + (b', "x": "' + b"x" * fill + b'"}' if fill >= 0 else b"}")


def ids_of(messages):
    return [m["id"] for m in messages]


def firsts(numbers):
    """Each number once, where it came first."""
    return list(dict.fromkeys(numbers))


def options_of(ack):
    """What t/ws_server.py needs for an ack level."""
    return ["--app-ack"] if ack == "app" else []


def sink(tmp_path, url, *options, name="wssink", environment=(), **popen):
    """A running wssink; `environment` comes on top of what the tests leave of
    their own."""
    return Process([program("wssink"), "-u", url, *options],
                   tmp_path / f"{name}.log",
                   env={**ENVIRONMENT, **dict(environment)}, **popen)


def fed(tmp_path, url, data, *options, **popen):
    """A running wssink with `data` as a file on its standard input."""
    path = tmp_path / "input"
    path.write_bytes(data)
    with open(path, "rb") as stdin:
        return sink(tmp_path, url, *options, stdin=stdin, **popen)


@contextlib.contextmanager
def piped(tmp_path, url, *options):
    """A running wssink on a socketpair, as walproc would have it: gives the
    process and our end."""
    ours, theirs = socket.socketpair()
    with ours, sink(tmp_path, url, *options, stdin=theirs) as process:
        theirs.close()
        yield process, ours


def basic(user):
    """What is sent of user:password."""
    if isinstance(user, str):
        user = user.encode()
    return "Basic " + base64.b64encode(user).decode()


def usage(*arguments):
    """What a wrong command line says in its one line."""
    done = subprocess.run(
        [program("wssink"), *arguments], text=True, stdin=subprocess.DEVNULL,
        capture_output=True, env=ENVIRONMENT, timeout=PATIENCE)
    assert done.returncode == FINAL, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class Reverse:
    """The reverse channel: keeps all that came."""

    def __init__(self, sock):
        self.frames = Frames(sock)
        self.messages = []

    def until(self, wanted):
        """Reads up to a message for which wanted(message) is true."""
        while True:
            payload = self.frames.next()
            assert payload is not None, f"ended after {self.messages}"
            self.messages.append(json.loads(payload))
            if wanted(self.messages[-1]):
                return self.messages[-1]

    def until_ack(self, n):
        self.until(lambda m: m.get("ack", -1) >= n)
        acks = self.acks()
        assert acks == sorted(acks) and acks[-1] == n
        return acks

    def acks(self):
        return [m["ack"] for m in self.messages if "ack" in m]

    def last_ack(self):
        return (self.acks() or [0])[-1]

    def rejects(self):
        return [m["reject"] for m in self.messages if "reject" in m]

    def breaker(self):
        return [m["breaker"] for m in self.messages if "breaker" in m]


class Peer:
    """The server's end of one connection, done by hand."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.data = b""
        self.ask()

    def ask(self):
        """Reads a request."""
        self.request = self.until(b"\r\n\r\n").decode()

    def until(self, end):
        while end not in self.data:
            self.more()
        at = self.data.index(end) + len(end)
        head, self.data = self.data[:at], self.data[at:]
        return head

    def more(self):
        more = self.sock.recv(1 << 16)
        if not more:
            raise EOFError
        self.data += more

    def take(self, n):
        while len(self.data) < n:
            self.more()
        head, self.data = self.data[:n], self.data[n:]
        return head

    def header(self, name):
        found = re.findall(rf"(?mi)^{name}: *(.*?)\r$", self.request)
        return found[0] if found else None

    def answer(self):
        key = self.header("Sec-WebSocket-Key").encode()
        return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()

    def response(self, *more, accept=None):
        """The one that takes the Upgrade."""
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket",
                 "Connection: Upgrade",
                 f"Sec-WebSocket-Accept: {accept or self.answer()}", *more]
        return "".join(f"{s}\r\n" for s in [*lines, ""]).encode()

    def upgrade(self, *more, accept=None):
        self.sock.sendall(self.response(*more, accept=accept))
        return self

    def tunnel(self):
        """As a proxy that was asked for one; the next request is the one to
        the server."""
        self.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self.ask()
        return self

    def next(self):
        """The next frame of the client: opcode and payload."""
        first, second = self.take(2)
        assert first & 0x80 and not first & 0x70, "a fragment, or a bit set"
        assert second & 0x80, "not masked"
        size = second & 0x7f
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        mask = int.from_bytes(self.take(4) * (size // 4 + 1), "big")
        payload = self.take(size)
        fill = 4 * (size // 4 + 1) - size
        clear = int.from_bytes(payload + bytes(fill), "big") ^ mask
        return first & 0x0f, clear.to_bytes(size + fill, "big")[:size]

    def until_opcode(self, wanted):
        """The payload of the next frame of that kind; others are dropped."""
        while True:
            opcode, payload = self.next()
            if opcode == wanted:
                return payload

    def send(self, opcode, payload, first=0x80):
        assert len(payload) < 126
        self.sock.sendall(
            bytes([first | opcode, len(payload)]) + payload)

    def at_end(self):
        """Waits until the client has hung up."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                self.more()

    def close(self):
        self.sock.close()


def listen(host="127.0.0.1", port=0, **options):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, **options)


class RawServer:
    """A listener whose connections a test serves by hand."""

    def __init__(self, host="127.0.0.1", port=0):
        self.listener = listen(host, port)
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"

    def accept(self):
        return Peer(self.listener.accept()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

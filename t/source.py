"""A source for tests, run in the metronome's place: it numbers its events, and
what it may forget is only what was acked.

Usage: source.py FILE [--forget]. FILE gets a line for each ack that came, with
the count of events acked in all. A new source on the same FILE goes on with
the first event that is not acked there, as a sender must; it never has more
than WINDOW events under way, and its own SPEED. Reads acks from its standard
output, a socket. On a control channel it waits for another reader when it
loses one, and sends again what is not acked; with --forget it does not, which
no source may do.
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

WINDOW = 20
SPEED = 0.001
CONTROL_FD = 3
DONE, AGAIN = 0, 111


def acked_before(path):
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        return int(lines[-1]) if lines else 0
    except FileNotFoundError:
        return 0


def open_control():
    """The control channel, or None where nobody has given one."""
    try:
        control = socket.socket(fileno=CONTROL_FD)
    except OSError:
        return None
    with contextlib.suppress(OSError, ValueError):
        if control.type == socket.SOCK_SEQPACKET and \
                json.loads(control.recv(1 << 13)) == {"control": 1}:
            return control
    control.detach()
    return None


class Source:
    def __init__(self, path, forgets):
        self.total = acked_before(path)
        self.out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.forgets = forgets
        self.control = open_control()
        self.next = self.total
        self.reader = None
        self.begin(socket.socket(fileno=1))
        self.tell({"ready": True})

    def tell(self, message):
        if self.control is not None:
            self.control.send(json.dumps(message).encode())

    def begin(self, reader):
        """A new stream, which counts from 0."""
        self.reader = reader
        self.can_write = True
        if self.forgets:
            self.total = self.next
        self.next = self.base = self.total
        self.is_paused = False
        self.data = b""

    def has_room(self):
        return self.reader is not None and self.can_write and \
            not self.is_paused and self.next - self.total < WINDOW

    def send(self):
        payload = b'{"n":%d}' % self.next
        try:
            self.reader.sendall(struct.pack(">I", len(payload)) + payload)
            self.next += 1
        except (BrokenPipeError, ConnectionResetError):
            # Its last acks may still be there to be read.
            self.can_write = False

    def hear(self):
        """Reads the reader's answers."""
        try:
            more = self.reader.recv(1 << 16)
        except ConnectionResetError:
            more = b""
        if not more:
            self.lose()
            return
        self.data += more
        while len(self.data) >= 4:
            end = 4 + int.from_bytes(self.data[:4], "big")
            if len(self.data) < end:
                return
            message, self.data = self.data[4:end], self.data[end:]
            self.obey(json.loads(message))

    def obey(self, message):
        if "ack" in message:
            self.total = self.base + message["ack"]
            os.write(self.out, b"%d\n" % self.total)
        if "breaker" in message:
            self.is_paused = message["breaker"] == "open"

    def lose(self):
        if self.control is None:
            os._exit(AGAIN)
        # Number 1 stays taken: the next reader's place.
        self.reader.detach()
        self.reader = None

    def take_control(self):
        size = array.array("i").itemsize
        data, passed, _, _ = self.control.recvmsg(
            1 << 13, socket.CMSG_SPACE(size))
        if not data:
            os._exit(AGAIN)
        message = json.loads(data)
        if message.get("attach") == "out":
            self.attach(array.array("i", passed[0][2])[0])
        elif message.get("ask") == "report":
            self.tell({"report": {
                "events": self.next, "acked": self.total,
                "unacked": self.next - self.total,
                "breaker": "open" if self.is_paused else "closed",
                "reader": self.reader is not None, "rate": 0.0}})

    def attach(self, fd):
        while self.reader is not None and \
                select.select([self.reader], [], [], 0)[0]:
            self.hear()
        if self.reader is not None:
            self.reader.detach()
        os.dup2(fd, 1)
        os.close(fd)
        self.begin(socket.socket(fileno=1))

    def turn(self):
        peers = [p for p in (self.control, self.reader) if p is not None]
        wait = 0 if self.has_room() else None
        ready = select.select(peers, [], [], wait)[0]
        # The old reader's last acks come before the new one.
        if self.reader in ready:
            self.hear()
        elif self.control in ready:
            self.take_control()
        elif self.has_room():
            self.send()
            time.sleep(SPEED)


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(DONE))
    source = Source(sys.argv[1], "--forget" in sys.argv[2:])
    while True:
        source.turn()


try:
    main()
except (BrokenPipeError, ConnectionResetError):
    os._exit(AGAIN)

"""What the tests of refusals, poison events and replays share: HTTP answers,
lines of the log, and servers done by hand that serve one connection after the
other in a thread of the test.
"""

import contextlib
import re
import socket
import struct
import subprocess
import threading
import time

from sinks import (CLOSE, ENVIRONMENT, PING, PONG, QUICK, TEXT, RawServer,
                   event)
from support import DONE, PATIENCE, program, reset_on_close, wait_until


def http(status, body=b"", headers=(), version="1.1"):
    """A response of HTTP, whole."""
    lines = [f"HTTP/{version} {status}", *headers,
             f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def log_lines(process, words):
    """The lines of the log with these words in them."""
    return [line for line in process.text().splitlines() if words in line]


def wait_line(process, words, count=1):
    """Waits for that many lines with these words; returns the last."""
    wait_until(lambda: len(log_lines(process, words)) >= count,
               f"{count} of {words!r} in the log:\n{process.text()}")
    return log_lines(process, words)[count - 1]


def next_ms(line):
    """How long the line says that the next try is away."""
    return int(re.search(r"(?:next|again) in (\d+) ms", line)[1])


def is_clean(line):
    """Whether a line of the log is short and printable."""
    return len(line) < 1024 and all(32 <= ord(c) < 127 for c in line)


class Application(RawServer):
    """A websocket server in a thread, one connection at a time. What it does
    with each event says `decide(n, connection)`: None takes it; an int closes
    with that code; "eof" and "reset" hang up without a word; "keep" goes on
    but answers no ping from there on. What was read is in `seen`, a list of
    numbers for each connection, and all that was taken in `taken`.
    """

    def __init__(self, decide, app_ack=False, is_open_handed=True):
        super().__init__()
        self.decide = decide
        self.app_ack = app_ack
        self.is_open_handed = is_open_handed
        self.seen = []
        self.taken = []
        self.times = []        # of the accept of each connection
        self.is_over = False
        self.current = None
        self.fault = None
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        while not self.is_over:
            try:
                peer = self.accept()
            except (OSError, EOFError):
                continue
            self.current = peer.sock
            self.times.append(time.monotonic())
            self.seen.append([])
            try:
                self.one(peer, len(self.seen) - 1)
            except (OSError, EOFError):
                pass
            except Exception as fault:
                self.fault = fault
            peer.close()

    def one(self, peer, connection):
        peer.upgrade()
        count, is_keeping = 0, False
        while True:
            opcode, payload = peer.next()
            if opcode == PING and not is_keeping:
                peer.send(PONG, payload)
            elif opcode == CLOSE:
                peer.send(CLOSE, payload)
                return
            elif opcode == TEXT:
                count += 1
                n = number_of(payload)
                self.seen[connection].append(n)
                what = self.decide(n, connection)
                if what == "keep":
                    is_keeping = True
                elif what is not None:
                    hang_up(peer, what)
                    return
                if is_keeping:
                    continue
                self.taken.append(n)
                if self.app_ack:
                    peer.send(TEXT, b'{"ack":%d}' % count)

    def wait_connections(self, count):
        wait_until(lambda: len(self.seen) >= count,
                   f"{count} connections, {len(self.seen)} came")

    def wait_taken(self, numbers):
        """Waits until each of the numbers was taken."""
        wait_until(lambda: set(numbers) <= set(self.taken),
                   f"{numbers} taken, missing "
                   f"{sorted(set(numbers) - set(self.taken))[:9]}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        if self.current is not None:
            with contextlib.suppress(OSError):
                self.current.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        super().__exit__()
        assert self.fault is None, self.fault


def number_of(payload):
    """The number of an event of sinks.event."""
    return int(re.match(rb'\{"id": (\d+)', payload)[1])


def hang_up(peer, how):
    """Ends a connection: with a code, "eof" or "reset"."""
    if how == "reset":
        reset_on_close(peer.sock)
    elif how == "eof":
        # What was not read would make the close a reset.
        peer.sock.shutdown(socket.SHUT_WR)
        peer.at_end()
    else:
        peer.send(CLOSE, struct.pack(">H", how) + b"no")
        peer.until_opcode(CLOSE)


def events_in(count, first=0, size=0):
    """Events as lines of a file."""
    return b"".join(event(n, size) + b"\n"
                    for n in range(first, first + count))


def deliver(tmp_path, url, options=""):
    """Lets the events in the file `in` go through a log and a wssink, as in a
    shell: the log is in `wal`, and all are ended."""
    done = subprocess.run(
        ["sh", "-c", '"$WALPROC" -d wal --acks wal/acks < in | "$WSSINK" '
         f'--acks wal/acks -u "$URL" {" ".join(QUICK)} {options}'],
        cwd=tmp_path, capture_output=True, timeout=PATIENCE,
        env=dict(ENVIRONMENT, WALPROC=program("walproc"),
                 WSSINK=program("wssink"), URL=url))
    assert done.returncode == DONE, done.stderr.decode()


def refuse(peer, status="401 Unauthorized"):
    peer.sock.sendall(http(status, b"who?"))
    peer.sock.shutdown(socket.SHUT_WR)
    peer.at_end()
    peer.close()


def all_headers(peer, name):
    start = f"{name.lower()}:"
    return [line.split(":", 1)[1].strip()
            for line in peer.request.split("\r\n")
            if line.lower().startswith(start)]

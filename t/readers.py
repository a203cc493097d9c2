"""The reader of a source, played by a test: it takes events from a socket and
answers them.
"""

import os
import select
import subprocess

from control import Stage, stream
from support import PATIENCE, Frames, frame, wait_asleep


class Answers:
    """What a reader says to its source."""

    def __init__(self, sock):
        self.sock = sock

    def ack(self, count):
        self.sock.sendall(frame({"ack": count}))

    def breaker(self, state):
        self.sock.sendall(frame({"breaker": state, "reason": "test"}))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class FrameReader(Answers):
    """Takes events in `length` framing."""

    def __init__(self, sock):
        super().__init__(sock)
        self.frames = Frames(sock)

    def next(self):
        return self.frames.next()


class LineReader(Answers):
    """Takes lines; those that came stay in `data` until they are taken."""

    def __init__(self, sock):
        super().__init__(sock)
        self.data = bytearray()
        self.searched = 0

    def more(self, timeout=PATIENCE):
        """Waits for bytes; False at the end."""
        assert select.select([self.sock], [], [], timeout)[0], "no bytes"
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            return False
        self.data += data
        return bool(data)

    def next(self):
        """The next line without its end, or None at the end of the stream."""
        while (end := self.data.find(b"\n", self.searched)) == -1:
            self.searched = len(self.data)
            if not self.more():
                assert not self.data, "ended within a line"
                return None
        line = bytes(self.data[:end])
        del self.data[:end + 1]
        self.searched = 0
        return line

    def take(self, count):
        return [self.next() for _ in range(count)]


class PipedInput:
    """Our end of a pipe that a program reads, as `input`."""

    def __init__(self):
        self.theirs, self.input = os.pipe()

    def write(self, data):
        while data:
            data = data[os.write(self.input, data):]

    def fill(self, pid, lines, reader=None):
        """Writes them again and again until the process `pid` takes no more,
        and sleeps; returns how many bytes that were. What comes out is read,
        where there is a reader."""
        os.set_blocking(self.input, False)
        written = 0

        def goes_on(seconds):
            outputs = [] if reader is None else [reader.sock]
            return any(select.select(outputs, [self.input], [], seconds))

        while True:
            try:
                written += os.write(self.input, lines)
            except BlockingIOError:
                if not goes_on(0.1):
                    wait_asleep(pid, 0.1)
                    if not goes_on(0):
                        return written
            while reader is not None and not is_silent(reader.sock, 0):
                assert reader.more()

    def end(self):
        if self.input != -1:
            os.close(self.input)
        self.input = -1


def start(directory, name, *options, reader, stdin=subprocess.DEVNULL,
          env=None):
    """A source under control, and its first reader; None without one."""
    ours, theirs, _ = stream()
    if reader is None:
        ours.close()
    stage = Stage(directory / "log", name, "-v", *options, stdin=stdin,
                  stdout=theirs, env=env)
    theirs.close()
    return stage, reader and reader(ours)


def is_silent(sock, seconds=0.2):
    return not select.select([sock], [], [], seconds)[0]

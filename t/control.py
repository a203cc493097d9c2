"""A stage that runs as under a supervisor: the test holds the other end of its
control channel, and of its streams.
"""

import array
import json
import os
import select
import socket
import time

from support import PATIENCE, Frames, Process, program

CONTROL_FD = 3


def reserve_control_fd():
    """Keeps the number from being given to anything of this process."""
    if CONTROL_FD not in map(int, os.listdir("/proc/self/fd")):
        null = os.open("/dev/null", os.O_RDONLY)
        if null != CONTROL_FD:
            os.dup2(null, CONTROL_FD, inheritable=False)
            os.close(null)


class Stage(Process):
    """A stage with a control channel. `stdin` and `stdout` are what Popen
    takes; an end that is a socket of ours is made by `stream`."""

    def __init__(self, log, name, *options, stdin, stdout, env=None):
        self.control, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.send(b'{"control":1}')
        reserve_control_fd()
        super().__init__(
            [program(name), *options], log, stdin=stdin, stdout=stdout,
            env=env, close_fds=False,
            preexec_fn=lambda: os.dup2(theirs.fileno(), CONTROL_FD))
        theirs.close()
        self.reports = []
        self.is_ready = False

    def tell(self, message, fd=None):
        """Sends a message, with a descriptor if one is given."""
        passed = [] if fd is None else [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.control.sendmsg([json.dumps(message).encode()], passed)

    def attach(self, which, name=None):
        """Gives the stage a new socket, "in" or "out", of the neighbour of
        that name if it has one; returns our end."""
        ours, theirs = socket.socketpair()
        message = {"attach": which}
        if name is not None:
            message["name"] = name
        with theirs:
            self.tell(message, theirs.fileno())
        return ours

    def name_streams(self, sources, sinks):
        self.tell({"streams": {"in": list(sources), "out": list(sinks)}})

    def drain(self):
        self.tell({"drain": True})

    def take(self, timeout=PATIENCE):
        """Takes the next message; None at the end of the channel."""
        if not select.select([self.control], [], [], timeout)[0]:
            raise AssertionError(f"no message; log:\n{self.text()}")
        data = self.control.recv(1 << 16)
        if not data:
            return None
        message = json.loads(data)
        self.is_ready = self.is_ready or message.get("ready", False)
        if "report" in message:
            self.reports.append(message["report"])
        return message

    def wait_ready(self):
        while not self.is_ready:
            assert self.take() is not None, self.text()

    def report(self):
        """Asks for a report and returns it."""
        self.tell({"ask": "report"})
        count = len(self.reports)
        while len(self.reports) == count:
            assert self.take() is not None, self.text()
        return self.reports[-1]

    def wait_report(self, condition, timeout=PATIENCE):
        """Asks until a report is as wanted, and returns it."""
        deadline = time.monotonic() + timeout
        while True:
            report = self.report()
            if condition(report):
                return report
            assert time.monotonic() < deadline, report
            time.sleep(0.01)

    def last_report(self):
        """The report that the stage sent before it ended."""
        while self.take() is not None:
            pass
        return self.reports[-1]

    def __exit__(self, *_):
        super().__exit__()
        self.control.close()


def stream():
    """A socketpair for a stage's stdin or stdout: our end, and theirs, to be
    closed once the stage runs; and frames read from ours."""
    ours, theirs = socket.socketpair()
    return ours, theirs, Frames(ours)

"""Numbered events that flow through a wssink on a socketpair, and what became
of them: each ack is held against the server's file in the moment in which it
comes.
"""

import json
import re
import socket
import threading
import time

from sinks import event, sink
from support import DONE, PATIENCE, Frames, frame, status_of, wait_until

# As many as wssink holds, and may send again after one loss.
WINDOW = 4096


def outlive(ours, reverse, total, bounds, interrupt):
    """Feeds `total` events without a pause, and interrupts their way each time
    that a bound of acks is reached. In the end all are acked."""
    def feed():
        for n in range(total):
            ours.sendall(frame(event(n, 200)))
        ours.shutdown(socket.SHUT_WR)

    feeder = threading.Thread(target=feed)
    feeder.start()
    for bound in bounds:
        if reverse.last_ack() < bound:
            reverse.until(lambda m, n=bound: m.get("ack", 0) >= n)
        interrupt()
    if reverse.last_ack() < total:
        reverse.until_ack(total)
    feeder.join()
    acks = reverse.acks()
    assert acks == sorted(acks) and acks[-1] == total


def assert_sent_again_in_order(ids, total, times):
    """Nothing is missing, and each time that some came again it was those
    from some number on."""
    assert set(ids) == set(range(total))
    assert [(a, b) for a, b in zip(ids, ids[1:]) if b > a + 1] == []
    assert sum(1 for a, b in zip(ids, ids[1:]) if b <= a) <= times


class Arrivals:
    """The numbers of the events in the file that a server appends to."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.ids = []       # as they came
        self.first = []     # without those that had come before
        self.known = set()
        self.lock = threading.Lock()

    def read(self):
        """Takes what has come since; only whole lines are there for good."""
        with self.lock:
            try:
                with open(self.path, "rb") as file:
                    file.seek(self.offset)
                    data = file.read()
            except FileNotFoundError:
                return self
            data = data[:data.rfind(b"\n") + 1]
            self.offset += len(data)
            for found in re.finditer(rb'(?m)^\{"(?:on.*?)?id": ?(\d+)', data):
                n = int(found[1])
                self.ids.append(n)
                if n not in self.known:
                    self.known.add(n)
                    self.first.append(n)
        return self


def faults_of(arrivals, total):
    """What is wrong with what came of the events 0 .. total-1: a list that is
    empty if none is missing and each came behind those in front of it."""
    wrong = []
    missing = sorted(set(range(total)) - arrivals.known)
    if missing:
        wrong.append(f"{len(missing)} missing, the first is {missing[0]}")
    if arrivals.known - set(range(total)):
        wrong.append("some came that were never sent")
    jumps = [(a, b) for a, b in zip([-1] + arrivals.first, arrivals.first)
             if b != a + 1]
    if jumps:
        wrong.append(f"out of order: {jumps[:3]}")
    return wrong


class Flow:
    """A wssink that is fed without end, `burst` events every `pause` seconds,
    until finish(); or `limit` of them, if that is given. A thread writes, and
    one reads the acks; what they find wrong is kept in self.wrong.

    The wssink is started by the thread that makes the Flow, and so in its
    network namespace."""

    def __init__(self, tmp_path, url, arrivals, *options, burst=50,
                 pause=0.01, size=200, limit=None, name="wssink", start=sink):
        self.ours, theirs = socket.socketpair()
        with theirs:
            self.process = start(tmp_path, url, *options, name=name,
                                 stdin=theirs)
        self.arrivals = arrivals
        self.burst, self.pause, self.size = burst, pause, size
        self.limit = limit
        self.sent = 0       # written whole
        self.offered = 0    # or begun
        self.acked = 0
        self.rejected = []
        self.breaker = []
        self.wrong = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=t)
                        for t in (self.feed, self.listen)]
        for thread in self.threads:
            thread.start()

    def feed(self):
        try:
            while not self.stop.is_set() and self.offered != self.limit:
                end = self.sent + self.burst
                if self.limit is not None:
                    end = min(end, self.limit)
                self.offered = end
                self.ours.sendall(b"".join(
                    frame(event(n, self.size))
                    for n in range(self.sent, end)))
                self.sent = end
                # The load's own speed.
                time.sleep(self.pause)
        except OSError:
            pass

    def listen(self):
        frames = Frames(self.ours)
        while True:
            try:
                data = frames.next(timeout=3600)
            except OSError:
                return
            if data is None:
                return
            message = json.loads(data)
            if "ack" in message:
                self.take_ack(message["ack"])
            elif "reject" in message:
                self.rejected.append(message)
                self.wrong.append(f"rejected: {message}")
            else:
                self.breaker.append(message["breaker"])

    def take_ack(self, n):
        if n <= self.acked:
            self.wrong.append(f"ack {n} after ack {self.acked}")
        if n > self.offered:
            self.wrong.append(f"ack {n} of {self.offered} events")
        before = self.acked
        known = self.arrivals.read().known
        absent = [i for i in range(before, n) if i not in known]
        if absent:
            self.wrong.append(f"ack {n}, and {len(absent)} are not there, "
                              f"the first is {absent[0]}")
        self.acked = n

    def wait_acked(self, count, timeout=PATIENCE):
        wait_until(lambda: self.acked >= count or not self.is_running(),
                   f"{count} acks; {self.state()}", timeout)
        assert self.is_running(), self.process.text()

    def wait_more(self, count=200):
        """Waits until `count` events more are acked than now."""
        self.wait_acked(self.acked + count)

    def is_running(self):
        return self.process.is_running()

    def state(self):
        return (f"sent={self.sent} acked={self.acked} wrong={self.wrong} "
                f"log:\n{self.process.text()[-3000:]}")

    def losses(self):
        """How often the log says that a connection was lost."""
        return self.process.text().count("lost ws")

    def dials(self):
        return self.process.text().count("connected to ws")

    def peak_bytes(self):
        """How much memory wssink had at most."""
        return status_of(self.process.pid, "VmHWM")

    def finish(self):
        """Ends the input, waits until all is acked and wssink has ended, and
        returns what is wrong, a list."""
        self.stop.set()
        self.threads[0].join(PATIENCE)
        assert not self.threads[0].is_alive(), self.state()
        assert self.is_running(), self.process.text()
        self.peak_bytes_at_end = self.peak_bytes()
        self.ours.shutdown(socket.SHUT_WR)
        assert self.process.wait() == DONE, self.process.text()
        self.threads[1].join(PATIENCE)
        if self.acked != self.sent:
            self.wrong.append(f"{self.acked} acked of {self.sent}")
        return self.wrong + faults_of(self.arrivals.read(), self.sent)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.process.kill()
        try:
            self.ours.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self.threads:
            thread.join(PATIENCE)
        self.ours.close()

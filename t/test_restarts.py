"""A real walproc and a real wssink, each started again alone, as a supervisor
does, which the test is: the one that lives on gets a new stream, and whatever
was killed when, no event is lost and none comes before those in front of it.
The test is the source as well.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess

import pytest

from control import Stage
from sinks import ENVIRONMENT, QUICK, event, firsts, ids_of, options_of
from support import DONE, Frames, Server, frame

KILLS = int(os.environ.get("RESTARTS_KILLS", "30"))
SEED = int(os.environ.get("RESTARTS_SEED", "1"))
# Events that the source has under way.
UNACKED = 100


class Chain:
    """The two stages between a source, which is here, and a server."""

    def __init__(self, tmp_path, url, *options):
        self.tmp_path = tmp_path
        self.url = url
        self.options = options
        self.sized = random.Random(SEED)
        self.kept = {}      # made and not acked, by number
        self.made = 0
        self.acked = 0
        self.source = self.wal = self.sink = None
        link = socket.socketpair()
        self.start_wal(link[0])
        self.start_sink(link[1])
        for end in link:
            end.close()

    def start_wal(self, link):
        """With a new stream from the source, which sends what was not acked
        again."""
        self.source, theirs = socket.socketpair()
        with theirs:
            self.wal = Stage(
                self.tmp_path / "walproc.log", "walproc", "-d",
                self.tmp_path / "wal", "--max-elements", "100000",
                stdin=theirs, stdout=link)
        self.answers = Frames(self.source)
        self.base = self.sent = self.acked

    def start_sink(self, link):
        self.sink = Stage(
            self.tmp_path / "wssink.log", "wssink", "-u", self.url, *QUICK,
            *self.options, stdin=link, stdout=subprocess.DEVNULL,
            env=ENVIRONMENT)

    def kill_wal(self):
        self.wal.kill()
        self.wal.control.close()
        self.source.close()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.start_wal(ours)
            self.sink.tell({"attach": "in"}, theirs.fileno())

    def kill_sink(self):
        self.sink.kill()
        self.sink.control.close()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.wal.tell({"attach": "out"}, ours.fileno())
            self.start_sink(theirs)

    def kill_both(self):
        """The sink while the log is away."""
        self.wal.kill()
        self.sink.kill()
        self.wal.control.close()
        self.sink.control.close()
        self.source.close()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.start_wal(ours)
            self.start_sink(theirs)

    def give(self):
        """Sends what the source may send."""
        while self.sent < self.acked + UNACKED:
            if self.sent not in self.kept:
                self.kept[self.sent] = frame(
                    event(self.sent, self.sized.randrange(5000)))
                self.made = self.sent + 1
            self.source.sendall(self.kept[self.sent])
            self.sent += 1

    def take(self):
        """Takes one answer."""
        answer = json.loads(self.answers.next())
        while self.acked < self.base + answer.get("ack", 0):
            del self.kept[self.acked]
            self.acked += 1

    def pump(self, count):
        """Lets events flow until that many more are acked."""
        end = self.acked + count
        while self.acked < end:
            self.give()
            self.take()

    def finish(self):
        """Gives the rest, and ends both in order."""
        while self.acked < self.made:
            while self.sent < self.made:
                self.source.sendall(self.kept[self.sent])
                self.sent += 1
            self.take()
        self.wal.drain()
        self.source.close()
        assert self.wal.wait() == DONE, self.wal.text()
        self.sink.drain()
        self.last = self.sink.last_report()
        assert self.sink.wait() == DONE, self.sink.text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stage in self.wal, self.sink:
            with contextlib.suppress(OSError):
                stage.__exit__()
        self.source.close()


def kill_server(server, chain):
    """While it reads nothing, so that what it was sent dies with it."""
    server.process.signal(signal.SIGSTOP)
    chain.pump(10)
    server.restart()


def kill_believed_server(server, chain):
    """The same, once wssink takes events for confirmed meanwhile."""
    chain.sink.wait_report(lambda report: report["connection"] == "open")
    server.process.signal(signal.SIGSTOP)
    count = chain.sink.report()["confirmed"] + 10
    chain.pump(50)
    chain.sink.wait_report(lambda report: report["confirmed"] >= count)
    server.restart()


def missing(server, total):
    return sorted(set(range(total)) - set(ids_of(server.events())))


@pytest.mark.parametrize("ack", ["pong", "app"])
def test_nothing_is_lost_and_the_order_stays(tmp_path, ack):
    chance = random.Random(SEED)
    with Server(tmp_path, *options_of(ack)) as server, \
            Chain(tmp_path, server.url, "--ack", ack) as chain:
        kinds = [chain.kill_wal, chain.kill_wal, chain.kill_sink,
                 chain.kill_both,
                 lambda: kill_server(server, chain)]
        for _ in range(KILLS):
            chain.pump(chance.randrange(1, 200))
            chance.choice(kinds)()
        chain.pump(200)
        chain.finish()
        ids = ids_of(server.events())
        assert firsts(ids) == list(range(chain.made))
        assert chain.last["unconfirmed"] == 0
        # They come again from some event on, once for each kill: of the
        # log, for which the source repeats some and it does others.
        jumps = [n for a, n in itertools.pairwise(ids) if n <= a]
        assert len(jumps) <= 2 * KILLS


def test_events_that_are_acked_early_are_lost(tmp_path):
    """The negative control: at ack level write, to the same test."""
    with Server(tmp_path) as server, \
            Chain(tmp_path, server.url, "--ack", "write") as chain:
        for _ in range(3):
            chain.pump(50)
            kill_believed_server(server, chain)
            chain.kill_wal()
        chain.pump(50)
        chain.finish()
        assert missing(server, chain.made)


def test_the_connection_outlives_the_log(tmp_path):
    """However often the log is killed; and the server gets everything over
    it."""
    with Server(tmp_path) as server, \
            Chain(tmp_path, server.url) as chain:
        chain.pump(50)
        for _ in range(KILLS):
            chain.kill_wal()
            chain.pump(20)
        chain.finish()
        assert chain.last["connects"] == 1
        assert firsts(ids_of(server.events())) == list(range(chain.made))

"""wssink and servers as they are: killed and back at once, hung, deaf, slow.
Nothing that was acked is lost, and what hangs is left in time.
"""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from flow import WINDOW, Arrivals, Flow
from sinks import ENVIRONMENT, QUICK, RawServer, options_of
from support import (DONE, Process, Server, acked_seq, is_sanitized, program,
                     wait_until)

LEVELS = ("pong", "app")
BOUNCES = int(os.environ.get("BOUNCES", "5"))


@contextlib.contextmanager
def flowing(tmp_path, ack, *options, **flow):
    """A server, and events that flow to it."""
    with Server(tmp_path, *options_of(ack)) as server, \
            Flow(tmp_path, server.url, Arrivals(server.out), "--ack", ack,
                 *options, **flow) as events:
        yield server, events


# Killed, and back at once.

@pytest.mark.parametrize("ack", LEVELS)
def test_a_server_that_bounces_at_100_events_a_second(tmp_path, ack):
    with flowing(tmp_path, ack, *QUICK, burst=1) as (server, flow):
        acked, came = [], []
        for _ in range(BOUNCES):
            flow.wait_more(20)
            acked.append(flow.acked)
            server.kill()
            came.append(len(flow.arrivals.read().ids))
            server.start()
        flow.wait_more(20)
        assert flow.finish() == []
        assert flow.dials() == BOUNCES + 1
        # What was confirmed is not sent again.
        for before, at in zip(acked, came):
            assert flow.arrivals.ids[at] >= before


@pytest.mark.parametrize("ack", LEVELS)
def test_a_pipe_of_programs_outlives_a_server_that_bounces(tmp_path, ack):
    """metronome | walproc | wssink, the acks in a FIFO."""
    wal, acks = tmp_path / "wal", tmp_path / "wal" / "acks"
    with Server(tmp_path, *options_of(ack)) as server, \
            contextlib.ExitStack() as stack:
        def run(name, *options, stdin):
            return stack.enter_context(Process(
                [program(name), *options], tmp_path / f"{name}.log",
                stdin=stdin, stdout=subprocess.PIPE, env=ENVIRONMENT))

        source = run("metronome", "-i", "10", stdin=subprocess.DEVNULL)
        log = run("walproc", "-d", wal, "--acks", acks,
                  stdin=source.child.stdout)
        sink = run("wssink", "-u", server.url, "--acks", acks, "--ack", ack,
                   *QUICK, stdin=log.child.stdout)
        # Their ends are the programs' alone.
        source.child.stdout.close()
        log.child.stdout.close()
        arrivals = Arrivals(server.out)

        def wait_more():
            count = len(arrivals.read().first)
            wait_until(lambda: len(arrivals.read().first) >= count + 20,
                       "20 events more")

        for _ in range(BOUNCES):
            wait_more()
            server.restart()
        wait_more()
        source.stop()
        assert log.wait() == DONE, log.text()
        assert sink.wait() == DONE, sink.text()
        sink.child.stdout.close()
        first = arrivals.read().first
        assert first == list(range(len(first)))
        assert acked_seq(wal) == len(first)
        assert f"confirmed={len(first)} refused=0" in sink.text()


# Hung.

HANG_S, AWAY_S = 2, 3


@pytest.mark.parametrize("ack, loses", [
    ("pong", False), ("app", False), ("write", True)])
def test_a_server_that_hangs_is_killed_and_comes_back(tmp_path, ack, loses):
    """At full speed. At the level that promises least the same scenario loses
    events: the negative control."""
    with flowing(tmp_path, ack, "--backoff-max", "0.3", "--ping-timeout",
                 "600", pause=0) as (server, flow):
        flow.wait_acked(1000)
        server.process.signal(signal.SIGSTOP)
        # It hangs, which wssink, with so much patience, does not see.
        time.sleep(HANG_S)
        assert flow.losses() == 0
        server.kill()
        time.sleep(AWAY_S)
        wait_until(lambda: flow.losses() == 1, "the loss")
        server.start()
        flow.wait_more(1000)
        wrong = flow.finish()
        assert any("missing" in w for w in wrong) == loses, wrong
        assert bool(wrong) == loses, wrong
        again = len(flow.arrivals.ids) - len(flow.arrivals.first)
        assert again <= WINDOW


@pytest.mark.parametrize("ack", LEVELS)
def test_a_server_that_hangs_is_left_and_comes_to_again(tmp_path, ack):
    """It reads what it was sent before and after it was left at the same
    time: twice, but in order."""
    with flowing(tmp_path, ack, *QUICK, "--ping-timeout", "0.5",
                 "--ping-interval", "0.2", "--connect-timeout",
                 "0.5") as (server, flow):
        flow.wait_acked(500)
        losses = flow.losses()
        server.process.signal(signal.SIGSTOP)
        wait_until(lambda: flow.losses() > losses, "the loss")
        flow.process.wait_log("the Upgrade was not answered in time")
        server.process.signal(signal.SIGCONT)
        flow.wait_more(500)
        assert flow.finish() == []


@pytest.mark.parametrize("ack", [*LEVELS, "write"])
def test_a_pause_shorter_than_the_ping_timeout_changes_nothing(tmp_path, ack):
    """At full speed, so that all that can hold bytes is full of them."""
    with flowing(tmp_path, ack, *QUICK, "--ping-timeout", "6", pause=0,
                 size=2000) as (server, flow):
        flow.wait_more(1000)
        server.process.signal(signal.SIGSTOP)
        # More than half of it.
        time.sleep(3.5)
        server.process.signal(signal.SIGCONT)
        flow.wait_more(1000)
        wrong = flow.finish()
        if ack != "write":
            assert wrong == []
        assert flow.losses() == 0 and flow.dials() == 1
        wait_until(lambda: len(flow.arrivals.read().ids) >= flow.sent)
        assert flow.arrivals.ids == list(range(flow.sent))


# Deaf.

class Deaf:
    """A server that takes connections and reads nothing: the system takes
    them ("backlog"), or it does itself ("accepted"), or it even does the
    Upgrade ("upgraded"). It keeps them all, as one that hangs does."""

    def __init__(self, how):
        self.how = how
        self.raw = RawServer()
        self.peers = []
        self.url = self.raw.url

    def serve(self, count):
        """Takes so many connections."""
        for _ in range(count if self.how != "backlog" else 0):
            if self.how == "accepted":
                self.peers.append(self.raw.listener.accept()[0])
            else:
                self.peers.append(self.raw.accept().upgrade())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.listener.close()
        for peer in self.peers:
            peer.close()


@pytest.mark.parametrize("ack", LEVELS)
@pytest.mark.parametrize("how, words", [
    ("backlog", "the Upgrade was not answered in time"),
    ("accepted", "the Upgrade was not answered in time"),
    ("upgraded", "lost ws"),
])
def test_a_server_that_never_reads_is_left_for_a_better_one(
        tmp_path, how, words, ack):
    total = 20_000
    with Deaf(how) as deaf:
        out = tmp_path / "server.ndjson"
        with Flow(tmp_path, deaf.url, Arrivals(out), "--ack", ack, "-v",
                  "--backoff-max", "0.3", "--ping-timeout", "0.5",
                  "--ping-interval", "0.2", "--connect-timeout", "0.5",
                  pause=0, size=250, limit=total) as flow:
            # It is left, and tried again.
            deaf.serve(2)
            flow.process.wait_log(words)
            assert flow.acked == 0
            # It reads no more than it holds.
            assert flow.offered < total
            if not is_sanitized():
                assert flow.peak_bytes() < 40 << 20
            deaf.raw.listener.close()
            with Server(tmp_path, *options_of(ack), port=deaf.raw.port):
                flow.wait_acked(total)
                assert flow.finish() == []
            assert flow.sent == total


def test_bytes_that_wait_in_the_system_are_no_reason_to_leave(tmp_path):
    """A server that reads nothing for longer than the ping timeout, while the
    system holds all that was sent: the ping behind 3 MiB has 3 s more."""
    with RawServer() as raw:
        out = tmp_path / "none"
        with Flow(tmp_path, raw.url, Arrivals(out), "--ping-timeout", "1",
                  *QUICK, limit=1, size=3 << 20) as flow:
            peer = raw.accept().upgrade()
            # The pause of the scenario.
            time.sleep(2)
            assert len(peer.next()[1]) == 3 << 20
            assert flow.losses() == 0, flow.state()
            peer.close()

"""wssink over a network that fails in each way that a network has, while
numbered events flow: nothing is lost, nothing comes out of order, it is there
again when the network is, and its memory has a bound.

NETWORK_STEPS says how many faults follow each other in a random order, and
NETWORK_SEED which.
"""

import os
import random
import re
import time

import pytest

from fault_proxy import DOWN, UP, Cut, FaultProxy
from flow import WINDOW, Arrivals, Flow, faults_of
from sinks import options_of
from support import Server, is_sanitized, wait_until

STEPS = int(os.environ.get("NETWORK_STEPS", "12"))
SEED = int(os.environ.get("NETWORK_SEED", "1"))
LEVELS = ("pong", "app")

BACKOFF_MAX_S = 0.3
PATIENT = ("--backoff-max", BACKOFF_MAX_S)
# For faults that only time shows.
HASTY = (*PATIENT, "--ping-timeout", "0.5", "--ping-interval", "0.2",
         "--connect-timeout", "1")


class Field:
    """A server, the proxy before it, and a flow of events to it."""

    def __init__(self, tmp_path, ack, *options, **flow):
        self.server = Server(tmp_path, *options_of(ack))
        try:
            self.proxy = FaultProxy(self.server.port)
        except BaseException:
            self.server.kill()
            raise
        self.arrivals = Arrivals(self.server.out)
        self.flow = Flow(tmp_path, self.proxy.url, self.arrivals, "--ack",
                         ack, "-v", *options, **flow)

    def redialled_by(self, count):
        """Waits until the `count`th connection."""
        wait_until(lambda: len(self.proxy.dials) >= count,
                   f"connection {count}; {self.flow.state()}")
        self.check_waits()

    def check_waits(self):
        """Each wait for a next try, as it was told, is within the bound;
        without one they would double to tens of seconds."""
        waits = re.findall(r"(?:next|again) in (\d+) ms",
                           self.flow.process.text())
        assert waits and max(map(int, waits)) <= BACKOFF_MAX_S * 1000

    def finish(self):
        """Lets all events arrive; each once for each connection, at most."""
        self.proxy.calm()
        assert self.flow.finish() == []
        again = len(self.arrivals.ids) - len(self.arrivals.first)
        assert again <= WINDOW * self.flow.losses()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.flow.__exit__(*failure)
        self.proxy.__exit__(*failure)
        self.server.kill()


# Faults that a connection survives.

@pytest.mark.parametrize("ack", LEVELS)
def test_a_slow_network_is_no_reason_to_reconnect(tmp_path, ack):
    with Field(tmp_path, ack, *PATIENT) as field:
        field.flow.wait_acked(200)
        field.proxy.set(delay={UP: 0.15, DOWN: 0.05})
        field.flow.wait_more(1000)
        # So long nothing moves at all, in either direction.
        field.proxy.set(is_stalled=True)
        time.sleep(0.5)
        field.proxy.calm()
        field.flow.wait_more(1000)
        field.finish()
        assert len(field.proxy.dials) == 1
        assert field.arrivals.ids == field.arrivals.first


@pytest.mark.parametrize("ack", LEVELS)
def test_bytes_that_come_one_by_one(tmp_path, ack):
    with Field(tmp_path, ack, *PATIENT, limit=300, size=140) as field:
        field.proxy.set(is_bytewise=True)
        field.flow.wait_acked(300)
        # From the request for the Upgrade on, too.
        field.proxy.end()
        field.redialled_by(2)
        field.proxy.calm()
        field.finish()


# Faults that end it.

def reset(field):
    field.proxy.end(resets=(UP, DOWN))


def reset_the_client(field):
    field.proxy.end(resets=(DOWN,))


def reset_the_server(field):
    field.proxy.end(resets=(UP,))


def close(field):
    field.proxy.end(resets=())


def half_close_to_the_server(field):
    field.proxy.half_close(UP)


def half_close_to_the_client(field):
    field.proxy.half_close(DOWN)


def reset_while_much_is_on_its_way(field):
    field.proxy.set(is_stalled=True)
    offered = field.flow.offered
    wait_until(lambda: field.flow.offered >= offered + 500)
    field.proxy.end()


ENDS = (reset, reset_the_client, reset_the_server, close,
        half_close_to_the_server, half_close_to_the_client,
        reset_while_much_is_on_its_way)


@pytest.mark.parametrize("ack", LEVELS)
@pytest.mark.parametrize("end", ENDS, ids=lambda f: f.__name__)
def test_a_connection_that_is_ended(tmp_path, end, ack):
    with Field(tmp_path, ack, *PATIENT) as field:
        for dials in 1, 2:
            field.flow.wait_more(300)
            assert len(field.proxy.dials) == dials
            end(field)
            field.redialled_by(dials + 1)
            field.proxy.calm()
        field.finish()
        assert field.flow.breaker.count("open") == 3


def to_the_server(field):
    field.proxy.set(swallow=(UP,))


def to_the_client(field):
    field.proxy.set(swallow=(DOWN,))


def both_ways(field):
    field.proxy.set(swallow=(UP, DOWN))


def held_up(field):
    """What was held comes after all, when others have been sent again."""
    field.proxy.set(is_stalled=True)


HOLES = (to_the_server, to_the_client, both_ways, held_up)


@pytest.mark.parametrize("ack", LEVELS)
@pytest.mark.parametrize("hole", HOLES, ids=lambda f: f.__name__)
def test_a_connection_that_goes_quiet(tmp_path, hole, ack):
    """Nobody says that it has ended. The connections after it are the same,
    for a while."""
    with Field(tmp_path, ack, *HASTY) as field:
        field.flow.wait_acked(300)
        losses = field.flow.losses()
        hole(field)
        wait_until(lambda: field.flow.losses() > losses, "the loss")
        acked = field.flow.acked
        field.flow.process.wait_log("cannot connect")
        assert field.flow.acked == acked
        field.proxy.calm()
        field.proxy.end()
        field.flow.wait_more(300)
        field.finish()


CUTS = (
    Cut(UP, 20, False),     # in the request
    Cut(UP, -1),            # in its last line
    Cut(UP, 0),             # behind it
    Cut(DOWN, 20, False),   # in the response
    Cut(DOWN, 0),           # behind it
    Cut(UP, 1),             # in the header of a frame
    Cut(UP, 3),             # in its length
    Cut(UP, 6),             # in its mask
    Cut(UP, 8),             # behind it
    Cut(UP, 100),           # in an event
    Cut(UP, 208),           # before the next
    Cut(DOWN, 1),           # in a header of the server
    Cut(DOWN, 5),           # in an answer
    *(Cut(way, 1 << n) for n, way in enumerate([UP, DOWN] * 5)),
)


# No event may be sent in vain more often than this without one confirmed in
# between: it would be taken for what breaks the connections, and rejected.
IN_A_ROW = 5


@pytest.mark.parametrize("ack", LEVELS)
def test_a_connection_that_is_cut_anywhere(tmp_path, ack):
    """No connection lasts, so the waits reach their bound soon. At one level
    the one half of the cuts are resets, at the other the other."""
    cuts = [cut._replace(how=("reset", "close")[(n + (ack == "app")) % 2])
            for n, cut in enumerate(CUTS)]
    with Field(tmp_path, ack, *PATIENT) as field:
        while cuts:
            field.flow.wait_more(300)
            some, cuts = cuts[:IN_A_ROW - 1], cuts[IN_A_ROW - 1:]
            field.proxy.cut_next(*some)
            dials = len(field.proxy.dials)
            field.proxy.end()
            for n in range(len(some) + 1):
                field.redialled_by(dials + n + 1)
        field.flow.wait_more(300)
        field.finish()


@pytest.mark.parametrize("ack", LEVELS)
def test_a_network_that_lets_nobody_in(tmp_path, ack):
    """It refuses, then it accepts and leads nowhere."""
    with Field(tmp_path, ack, *PATIENT, "--connect-timeout", "1") as field:
        def tries():
            return field.flow.process.text().count("cannot connect")

        field.flow.wait_acked(300)
        field.proxy.refuse()
        field.proxy.end()
        # By then the waits are at their bound.
        wait_until(lambda: tries() >= 8, "8 tries")
        field.proxy.set(is_mute=True)
        field.proxy.listen()
        field.redialled_by(2)
        field.flow.process.wait_log("the Upgrade was not answered in time")
        wait_until(lambda: len(field.proxy.dials) >= 3, "one more")
        field.proxy.calm()
        field.flow.wait_more(300)
        field.finish()
        assert field.flow.dials() == 2


# Memory.

def stall(field):
    field.proxy.set(is_stalled=True)


def mute(field):
    field.proxy.set(is_mute=True)
    field.proxy.end()


def away(field):
    field.proxy.refuse()
    field.proxy.end()


@pytest.mark.skipif(is_sanitized(), reason="a sanitizer takes memory")
@pytest.mark.parametrize("ack", LEVELS)
@pytest.mark.parametrize("fault", [stall, mute, away],
                         ids=lambda f: f.__name__)
def test_memory_is_bounded_while_events_wait(tmp_path, fault, ack):
    """200000 of them; wssink takes no more than its window, and the socket
    what a socket holds."""
    total, size = 200_000, 400
    with Field(tmp_path, ack, *PATIENT, limit=total, size=size, burst=100,
               pause=0) as field:
        field.flow.wait_acked(100)
        fault(field)

        def has_stopped():
            """Nothing is read for as long as it takes to read all."""
            before = field.flow.offered
            time.sleep(1)
            return field.flow.offered == before

        wait_until(has_stopped, "the input not to be read")
        waiting = field.flow.offered - field.flow.acked
        assert WINDOW <= waiting < total / 2
        # 8 MiB of events at most, a queue to the socket, and libraries.
        assert field.flow.peak_bytes() < 40 << 20
        field.flow.stop.set()
        field.proxy.calm()
        field.proxy.listen()
        field.finish()
        assert field.flow.peak_bytes_at_end < 40 << 20


# All of it.

@pytest.mark.parametrize("ack", LEVELS)
def test_faults_in_any_order(tmp_path, ack):
    rng = random.Random(f"{SEED} {ack}")
    with Field(tmp_path, ack, *HASTY) as field:
        def cut():
            field.proxy.cut_next(Cut(
                rng.choice((UP, DOWN)), rng.randrange(5000),
                rng.random() < 0.8, rng.choice(("reset", "close"))))
            field.proxy.end()

        def slow():
            field.proxy.set(delay={UP: rng.random() / 5,
                                   DOWN: rng.random() / 5})

        def crumbs():
            field.proxy.set(is_bytewise=True)

        def refuse():
            field.proxy.refuse()
            rng.choice(ENDS[:4])(field)

        choices = [cut, slow, crumbs, refuse, lambda: mute(field)] + [
            lambda f=f: f(field) for f in ENDS[:-1] + HOLES]
        is_calm = True
        for _ in range(STEPS):
            rng.choice(choices)()
            # So long it lasts; some show in that time, others do not.
            time.sleep(rng.choice((0, 0.1, 1)))
            # Two on top of each other at most; see IN_A_ROW.
            is_calm = not is_calm or rng.random() < 0.7
            if is_calm:
                field.proxy.calm()
                field.proxy.listen()
                field.flow.wait_more(rng.randrange(1, 300))
        field.proxy.calm()
        field.proxy.end()
        field.proxy.listen()
        field.flow.wait_more(300)
        field.finish()


# The checks can fail.

@pytest.mark.parametrize("ack, loses", [
    ("pong", False), ("app", False), ("write", True)])
def test_the_negative_control_write_acks_lose_what_was_cut(
        tmp_path, ack, loses):
    with Field(tmp_path, ack, *PATIENT) as field:
        field.flow.wait_acked(300)
        field.proxy.set(is_stalled=True)
        offered = field.flow.offered
        if loses:
            field.flow.wait_acked(offered + 300)
        else:
            wait_until(lambda: field.flow.offered > offered + 300)
        field.proxy.end()
        field.proxy.calm()
        field.flow.wait_more(300)
        wrong = field.flow.finish()
    assert any("missing" in w for w in wrong) == loses, wrong
    assert any("are not there" in w for w in wrong) == loses, wrong
    assert bool(wrong) == loses, wrong


def test_the_negative_control_a_line_that_is_gone_is_missed(tmp_path):
    out = tmp_path / "out"
    lines = [b'{"id":%d}\n' % n for n in (0, 1, 2, 1, 2, 3)]
    out.write_bytes(b"".join(lines))
    assert faults_of(Arrivals(out).read(), 4) == []
    assert faults_of(Arrivals(out).read(), 5) == [
        "1 missing, the first is 4"]
    out.write_bytes(b"".join(lines[:5]))
    assert faults_of(Arrivals(out).read(), 4) == [
        "1 missing, the first is 3"]
    out.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert faults_of(Arrivals(out).read(), 4) == [
        "out of order: [(0, 2), (2, 1), (1, 3)]"]

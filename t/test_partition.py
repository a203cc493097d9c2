"""wssink and a network that falls silent: the kernel drops packets, in one
direction or both, and nobody sends an RST. It is noticed within the ping
timeout, and when the network is back all goes on.
"""

import contextlib
import time

import pytest

import netns
from flow import Arrivals, Flow
from sinks import QUICK, options_of
from support import Process, Server, program, shimmed, wait_until

PING_TIMEOUT_S = 2
# TCP's timers are coarse, by up to so much.
TIMERS_S = 2
# By then it would be noticed. How much later it is on a loaded machine does
# not matter: without what is tested here nothing is for ten minutes.
NOTICED_S = 2 * (PING_TIMEOUT_S + TIMERS_S)

BOTH = ("to the server", "to the client")
# No ping shows that nobody is there, unless an event asks for one.
OPTIONS = ("--ping-timeout", PING_TIMEOUT_S, "--ping-interval", "600",
           "--connect-timeout", "1", *QUICK)


@pytest.fixture(scope="module", autouse=True)
def namespaces():
    why = netns.why_not()
    if why:
        pytest.skip(why)


class Field:
    """A server at one end of the cable, and a wssink at the other that takes
    20 events a second, or 20 and no more: so few that the system has room for
    them, and what waits to be written shows nothing."""

    def __init__(self, tmp_path, ends, ack, idle, **flow):
        self.at_server, self.at_client = ends
        with self.at_server.inside():
            self.server = Server(tmp_path, "--host", self.at_server.address,
                                 *options_of(ack))
        url = f"ws://{self.at_server.address}:{self.server.port}/"
        with self.at_client.inside():
            self.flow = Flow(tmp_path, url, Arrivals(self.server.out),
                             "--ack", ack, *OPTIONS, burst=20 if idle else 1,
                             pause=0.05, limit=20 if idle else None, **flow)
        self.flow.wait_acked(20)
        self.server.wait_count(20)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.flow.__exit__(*failure)
        self.server.kill()


@pytest.fixture
def ends():
    with netns.cabled() as both:
        yield both


def feed_on(flow, count):
    """More for one that was idle."""
    flow.limit = None
    flow.threads[0].join()
    flow.limit = flow.sent + count
    flow.feed()


CASES = [(ack, idle, BOTH) for ack in ("pong", "app", "write")
         for idle in (False, True)]
CASES += [(ack, idle, (way,)) for ack, idle in
          (("pong", False), ("app", False), ("write", True)) for way in BOTH]


@pytest.mark.parametrize(
    "ack, idle, ways", CASES,
    ids=[f"{ack}-{'idle' if idle else 'flowing'}-{'-'.join(ways)}"
         for ack, idle, ways in CASES])
def test_silence_is_noticed(tmp_path, ends, ack, idle, ways):
    with Field(tmp_path, ends, ack, idle) as field:
        flow = field.flow
        ends[0].drop(*ways)
        since = time.monotonic()
        offered = flow.offered
        wait_until(lambda: flow.losses() == 1, flow.state())
        assert time.monotonic() - since > PING_TIMEOUT_S / 2, "too early"
        if not idle:
            # They go on, and wait.
            wait_until(lambda: flow.offered > offered + 50)
            assert ack == "write" or flow.acked < flow.offered - 40
        flow.process.wait_log("cannot connect")
        ends[0].drop()
        wait_until(lambda: flow.dials() == 2, "a connection")
        if idle:
            feed_on(flow, 20)
        flow.wait_acked(40 if idle else flow.acked + 20)
        wrong = flow.finish()
        assert flow.losses() == 1
        if ack == "write":
            # What was on its way is lost; what came later is there.
            wait_until(lambda: flow.sent - 1 in flow.arrivals.read().known)
        else:
            assert wrong == []


def test_a_host_that_is_not_reached_is_no_fault_of_an_event(tmp_path, ends):
    """TCP gives up for what a router said, and the same event is the first
    each time, for this server acks none: no reason to suspect the event."""
    with ends[0].inside():
        server = Server(tmp_path, "--host", ends[0].address)
    url = f"ws://{ends[0].address}:{server.port}/"
    with server, contextlib.ExitStack() as stack:
        with ends[1].inside():
            flow = stack.enter_context(Flow(
                tmp_path, url, Arrivals(server.out), "--ack", "app",
                *OPTIONS, burst=1))
        for losses in range(1, 5):
            server.wait_count(len(server.lines()) + 1)
            ends[0].be_unreachable()
            wait_until(lambda: flow.losses() == losses, "the loss")
            ends[0].drop()
        flow.process.wait_log("No route to host")
        assert "one by one" not in flow.process.text()
        assert flow.rejected == []


def deaf_sink(tmp_path, url, *options, name, stdin):
    """A wssink whose sockets do not watch over their connections."""
    return Process([program("wssink"), "-u", url, *options],
                   tmp_path / f"{name}.log", stdin=stdin,
                   env=shimmed("shim_socket"))


@pytest.mark.parametrize("ack, idle", [("pong", True), ("write", False)])
def test_the_negative_control_without_tcps_help_it_is_not_noticed(
        tmp_path, ends, ack, idle):
    """In a time in which it would be. Then it goes on as if nothing had
    been."""
    with Field(tmp_path, ends, ack, idle, start=deaf_sink) as field:
        flow = field.flow
        ends[0].drop(*BOTH)
        with pytest.raises(AssertionError, match="timed out"):
            wait_until(lambda: flow.losses() > 0, "a loss", NOTICED_S)
        ends[0].drop()
        if idle:
            feed_on(flow, 20)
            assert flow.finish() == []
        assert flow.dials() == 1

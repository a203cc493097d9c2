"""What each ack level of wssink loses when the server is killed: numbered
events flow in bursts, and kill -9 ends the server in the middle of one,
LOSS_KILLS times. An event is lost that wssink has acked and the server's file
has not.

`pytest -s` shows how many were lost for each kill.
"""

import contextlib
import os
import random
import select
import socket
import statistics
import time

import pytest

from sinks import (QUICK, Reverse, event, firsts, ids_of, options_of,
                   piped)
from support import DONE, PATIENCE, Server, frame, wait_until

KILLS = int(os.environ.get("LOSS_KILLS", "50"))
SEED = int(os.environ.get("LOSS_SEED", "1"))
HELD = 32
# Python's websockets reads as many ahead of its application.
QUEUE = 32
EVENT_BYTES = 200
LINE_BYTES = EVENT_BYTES + 1
# Events of the longest burst.
BURST = int(os.environ.get("LOSS_BURST", "3000"))
# Between two looks: what may be lost is gone in some milliseconds.
CLOSELY = 0.0002
# A slow program, and bursts that keep it busy for a while only.
LATE = ["--late", "0.001"]
LATE_BURST = 300


def received(server):
    """How many messages the server has written."""
    try:
        return os.stat(server.out).st_size // LINE_BYTES
    except FileNotFoundError:
        return 0


def wait_ack(reverse, n):
    if reverse.last_ack() < n:
        reverse.until(lambda m: m.get("ack", -1) >= n)


def read_acks(reverse, ours, seconds=0):
    """Waits so long for an ack, and reads it. Who does not read them is sent
    no more of them, and then has no events taken either."""
    if select.select([ours], [], [], seconds)[0]:
        reverse.until(lambda m: True)


def feed(reverse, ours, data):
    while data:
        if select.select([], [ours], [], CLOSELY)[1]:
            with contextlib.suppress(BlockingIOError):
                data = data[ours.send(data, socket.MSG_DONTWAIT):]
        read_acks(reverse, ours)


def wait_received(server, count, reverse, ours):
    deadline = time.monotonic() + PATIENCE
    while received(server) < count:
        assert time.monotonic() < deadline, f"{received(server)} of {count}"
        read_acks(reverse, ours, CLOSELY)


def kill_in_a_burst(random_, server, reverse, ours, first, longest):
    """Sends a burst, and kills the server after it has got some of it, or
    after a moment. Returns the number behind the burst."""
    before = received(server)
    # Long ones and short ones alike.
    count = int(longest ** random_.uniform(0.3, 1))
    feed(reverse, ours, memoryview(b"".join(
        frame(event(n, EVENT_BYTES)) for n in range(first, first + count))))
    if random_.random() < 0.5:
        wait_received(server, before + random_.randrange(count), reverse, ours)
    else:
        # The moment is what varies: it may fall before the first one too.
        time.sleep(random_.uniform(0, 0.02))
    server.kill()
    return first + count


def story(tmp_path, server, kills, longest, *options):
    """Kills the server so often. Returns how many events were fed, and how
    many of them were acked on the connections up to each kill."""
    random_ = random.Random(SEED)
    fed, bounds = 0, [0]
    with piped(tmp_path, server.url, *QUICK, *options) as (process, ours):
        reverse = Reverse(ours)
        reverse.until(lambda m: m.get("breaker") == "closed")
        for _ in range(kills):
            # Else the socket fills up while there is no server.
            wait_ack(reverse, fed - longest // 2)
            fed = kill_in_a_burst(random_, server, reverse, ours, fed,
                                  longest)
            server.start()
            reverse.until(lambda m: m.get("breaker") == "closed")
            bounds.append(reverse.last_ack())
        # One that nothing can happen to.
        ours.sendall(frame(event(fed, EVENT_BYTES)))
        fed += 1
        wait_ack(reverse, fed)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        acks = reverse.acks()
        assert acks == sorted(acks) and acks[-1] == fed
    return fed, bounds


def losses(server, fed, bounds):
    """How many are missing of those acked up to each kill. Those acked later
    must all be there."""
    missing = sorted(set(range(fed)) - set(ids_of(server.events())))
    counts = [sum(1 for n in missing if low <= n < high)
              for low, high in zip(bounds, bounds[1:])]
    assert sum(counts) == len(missing), "lost after the last kill"
    return counts


def measure(tmp_path, name, server_options, sink_options, kills=KILLS,
            longest=BURST):
    with Server(tmp_path, *server_options) as server:
        fed, bounds = story(tmp_path, server, kills, longest, *sink_options)
        # Nobody kills it any more: what it holds it writes.
        last = event(fed - 1, EVENT_BYTES)
        wait_until(lambda: server.lines()[-1:] == [last], "the last event")
        got = ids_of(server.events())
        lost = losses(server, fed, bounds)
    print(f"\n{name:<20} kills={kills} events={fed} lost: min={min(lost)} "
          f"median={statistics.median(lost):g} max={max(lost)} "
          f"total={sum(lost)} kills_with_loss={sum(map(bool, lost))} "
          f"sent_twice={len(got) - len(set(got))}")
    return lost, firsts(got)


# The server's file has each message before a ping behind it is answered.

@pytest.mark.parametrize("ack", ["pong", "app"])
def test_nothing_is_lost_of_what_was_written(tmp_path, ack):
    lost, arrived = measure(tmp_path, ack, options_of(ack), ["--ack", ack])
    assert sum(lost) == 0
    assert arrived == sorted(arrived), "what came first came out of order"


def test_write_loses_what_is_in_the_sockets(tmp_path):
    """The negative control of the one above."""
    lost, _ = measure(tmp_path, "write", [], ["--ack", "write"])
    assert sum(lost) > 0
    assert max(lost) <= BURST


# The server has read messages that are not in its file yet.

UNWRITTEN = {
    "held": dict(server_options=["--hold", HELD], kills=KILLS // 2),
    "late": dict(server_options=LATE, kills=KILLS // 2, longest=LATE_BURST),
}

# A program that is busy with a message has taken it out of the queue.
MOST = [("held", HELD - 1), ("late", QUEUE + 1)]


@pytest.mark.parametrize("how, most", MOST)
def test_pong_loses_what_is_not_written(tmp_path, how, most):
    """What a program keeps back, or the library reads ahead of one that is
    slow."""
    lost, _ = measure(tmp_path, f"pong, {how}", sink_options=[],
                      **UNWRITTEN[how])
    assert 0 < max(lost) <= most


@pytest.mark.parametrize("how, most", MOST)
def test_a_replay_makes_good_what_was_not_written(tmp_path, how, most):
    lost, _ = measure(tmp_path, f"pong, {how}, replay",
                      sink_options=["--on-connect-replay", most],
                      **UNWRITTEN[how])
    assert sum(lost) == 0


def test_app_loses_nothing_that_is_held(tmp_path):
    lost, _ = measure(tmp_path, "app, held",
                      ["--hold", HELD, "--app-ack"], ["--ack", "app"],
                      kills=KILLS // 2)
    assert sum(lost) == 0

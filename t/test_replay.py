"""What is sent again on demand, and how fast: --on-connect-replay for servers
that lose what they have confirmed, and --rate.
"""

import random
import select
import socket
import struct
import threading
import time

import pytest

from damages import inspect
from peers import Application, deliver, events_in, http, number_of
from sinks import (CLOSE, PING, PONG, QUICK, TEXT, Reverse, event, fed, firsts,
                   ids_of, piped, usage)
from support import (AGAIN, DONE, PATIENCE, frame, status_of, ticks_of,
                     wait_until)


def give(ours, first, count, size=0):
    ours.sendall(b"".join(
        frame(event(n, size)) for n in range(first, first + count)))


def seen_after(tmp_path, ends, *options, confirmed=20, **application):
    """What a second connection sees, whose first one ended so upon the event
    behind those that were confirmed; and all acks."""
    with Application(lambda n, at: ends if (n, at) == (confirmed, 0)
                     else None, **application) as app, \
            piped(tmp_path, app.url, *options, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, confirmed)
        reverse.until_ack(confirmed)
        give(ours, confirmed, 1)
        reverse.until_ack(confirmed + 1)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        assert f"confirmed={confirmed + 1} " in process.text()
        assert len(app.seen) == 2
        acks = reverse.acks()
        assert acks == sorted(set(acks))
        return app.seen[1]


# Replays.

@pytest.mark.parametrize("options", [[], ["--on-connect-replay", "0"]])
def test_by_default_nothing_confirmed_is_sent_again(tmp_path, options):
    assert seen_after(tmp_path, "eof", *options) == [20]


@pytest.mark.parametrize("ends", ["eof", "reset", 1002, 1003, 1008, 1009,
                                  1011, 1013, 1014, 3000, 4999])
def test_an_abnormal_end_is_followed_by_the_last_k(tmp_path, ends):
    assert seen_after(tmp_path, ends, "--on-connect-replay", "5") == \
        list(range(15, 21))


@pytest.mark.parametrize("ends", [1000, 1001, 1012])
def test_a_clean_end_is_not(tmp_path, ends):
    assert seen_after(tmp_path, ends, "--on-connect-replay", "5") == [20]


def test_no_more_than_there_were(tmp_path):
    assert seen_after(tmp_path, "eof", "--on-connect-replay", "4096",
                      confirmed=7) == list(range(8))


@pytest.mark.parametrize("k, first", [("1", 19), ("20", 0), ("21", 0)])
def test_k_at_its_bounds(tmp_path, k, first):
    assert seen_after(tmp_path, "eof", "--on-connect-replay", k) == \
        list(range(first, 21))


def test_at_ack_level_app(tmp_path):
    """The server counts what is sent again, too; no ack of it is told."""
    assert seen_after(tmp_path, "eof", "--on-connect-replay", "5", "--ack",
                      "app", app_ack=True) == list(range(15, 21))


def test_at_ack_level_write(tmp_path):
    with Application(lambda n, at: "eof" if (n, at) == (19, 0)
                     else None) as app, \
            piped(tmp_path, app.url, "--ack", "write",
                  "--on-connect-replay", "5", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 20)
        reverse.until_ack(20)
        app.wait_connections(2)
        give(ours, 20, 1)
        assert reverse.until_ack(21)[-1] == 21
        app.wait_taken([20])
        assert app.seen[1] == list(range(15, 21))


def test_a_server_that_answers_no_ping(tmp_path):
    """Left by wssink, without a Close of the server."""
    assert seen_after(tmp_path, "keep", "--on-connect-replay", "5",
                      "--ping-timeout", "0.2") == list(range(15, 21))


def test_what_was_refused_is_not_sent_again(tmp_path):
    """Neither input that is no JSON, nor poison; K counts the others."""
    def decide(n, at):
        if n == 8:
            return 1009
        return "eof" if n == 12 and app.seen[:at] and not any(
            12 in seen for seen in app.seen[:at]) else None

    with Application(decide) as app, \
            piped(tmp_path, app.url, "--on-connect-replay", "6",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(12):
            ours.sendall(frame(event(n)) + frame(b"bad"))
        reverse.until_ack(24)
        give(ours, 12, 1)
        reverse.until_ack(25)
        assert app.seen[-1] == [5, 6, 7, 9, 10, 11, 12]
        assert sorted(reverse.rejects()) == sorted(
            [2 * n for n in range(1, 13)] + [17])


def test_what_is_behind_a_refused_event_waits_for_the_replay(tmp_path, raw):
    """While events are sent one by one."""
    with piped(tmp_path, raw.url, "--on-connect-replay", "2",
               *QUICK) as (process, ours):
        give(ours, 0, 8)
        refusals = 0
        while "event 4 refused" not in process.text():
            peer = raw.accept().upgrade()
            opcode, payload = peer.next()
            while payload != event(3):
                if opcode == PING:
                    peer.send(PONG, payload)
                opcode, payload = peer.next()
            peer.close()
            refusals += 1
            wait_until(lambda n=refusals: process.text().count("lost ") == n,
                       "the end of the connection")
        peer = raw.accept().upgrade()
        peer.send(PONG, peer.until_opcode(PING))
        seen = [peer.next() for _ in range(3)]
        assert seen[:2] == [(TEXT, event(1)), (TEXT, event(2))]
        assert seen[2][0] == PING
        peer.send(PONG, seen[2][1])
        assert peer.until_opcode(TEXT) == event(4)
        peer.close()


def test_what_dies_of_a_replay_is_held_against_no_other_event(tmp_path, raw):
    """A server that answers pings while it is busy with an event that it then
    dies of: of event 3, which it has confirmed, each time that it comes."""
    with piped(tmp_path, raw.url, "--on-connect-replay", "4", "--rate", "20",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 4)
        handled = []
        while 9 not in handled:
            peer = raw.accept().upgrade()
            opcode, payload = peer.next()
            while payload not in (event(3), event(9)):
                if opcode == PING:
                    peer.send(PONG, payload)
                else:
                    handled.append(number_of(payload))
                opcode, payload = peer.next()
            opcode, ping = peer.next()
            while opcode != PING:
                # On a slow machine the next one may come before it.
                handled.append(number_of(ping))
                opcode, ping = peer.next()
            peer.send(PONG, ping)
            if payload == event(9):
                handled.append(9)
            elif reverse.last_ack() < 4:
                reverse.until_ack(4)
                give(ours, 4, 6)
            if payload == event(3):
                # The next event comes, and is not read.
                assert select.select([peer.sock], [], [], PATIENCE)[0]
            else:
                reverse.until_ack(10)
            peer.close()
        assert reverse.rejects() == []
        assert firsts(n for n in handled if n > 3) == [4, 5, 6, 7, 8, 9]


def test_each_abnormal_end_has_its_replay(tmp_path):
    """Also one that comes before all of it was confirmed, and one before an
    Upgrade that fails; what was confirmed meanwhile counts."""
    with Application(lambda n, at: "eof" if (n, at) in (
            (10, 0), (9, 1), (20, 2)) else None) as app, \
            piped(tmp_path, app.url, "--on-connect-replay", "4",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 10)
        reverse.until_ack(10)
        give(ours, 10, 10)
        reverse.until_ack(20)
        give(ours, 20, 5)
        reverse.until_ack(25)
        assert app.seen[1] == [6, 7, 8, 9]
        assert app.seen[2] == [6, 7, 8, 9, *range(10, 21)]
        assert app.seen[3] == [16, 17, 18, 19, *range(20, 25)]


def test_a_refused_upgrade_does_not_forget_it(tmp_path, raw):
    with piped(tmp_path, raw.url, "--on-connect-replay", "1",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 1)
        peer = raw.accept().upgrade()
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(1)
        peer.close()
        for _ in range(2):
            peer = raw.accept()
            peer.sock.sendall(http("503 No"))
            peer.close()
        peer = raw.accept().upgrade()
        # Nothing is sent again before the connection has shown itself sound.
        peer.send(PONG, peer.until_opcode(PING))
        assert peer.until_opcode(TEXT) == event(0)
        # Confirmed again: a clean end has nothing to make up for.
        peer.send(PONG, peer.until_opcode(PING))
        give(ours, 1, 1)
        assert peer.until_opcode(TEXT) == event(1)
        peer.send(CLOSE, struct.pack(">H", 1001))
        peer.close()
        # Nor has a refusal anything to do with what was confirmed.
        peer = raw.accept()
        peer.sock.sendall(http("503 No"))
        peer.close()
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(1)
        assert reverse.acks() == [1]
        peer.close()


def test_an_idle_connection_that_is_lost_is_followed_by_it_too(tmp_path, raw):
    with piped(tmp_path, raw.url, "--on-connect-replay", "9",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 3)
        peer = raw.accept().upgrade()
        while reverse.acks()[-1:] != [3]:
            peer.send(PONG, peer.until_opcode(PING))
            reverse.until(lambda m: "ack" in m)
        peer.close()
        peer = raw.accept().upgrade()
        peer.send(PONG, peer.until_opcode(PING))
        for n in range(3):
            assert peer.until_opcode(TEXT) == event(n)
        peer.close()


def test_a_new_wssink_has_none(tmp_path):
    with Application(lambda n, at: None) as app:
        for n in range(2):
            with fed(tmp_path, app.url, events_in(3, 10 * n),
                     "--on-connect-replay", "9", *QUICK,
                     name=str(n)) as process:
                assert process.wait() == DONE
        assert app.seen == [[0, 1, 2], [10, 11, 12]]


BUFFER = 8


def lost_by_a_buffer(tmp_path, *options):
    """Which events a server has lost that answers pings at once, holds the
    last BUFFER events in memory and dies with them at random."""
    rng = random.Random(3)
    held, stored = [], []
    total, deaths = 600, 0

    def decide(n, _):
        nonlocal deaths
        held.append(n)
        if len(held) > BUFFER:
            stored.append(held.pop(0))
        if deaths < 20 and rng.random() < 0.04:
            deaths += 1
            held.clear()
            return rng.choice(["eof", "reset"])
        return None

    with Application(decide) as app, \
            piped(tmp_path, app.url, *options, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(0, total, 20):
            give(ours, n, 20)
            reverse.until(lambda m, n=n: m.get("ack", 0) >= n + 20)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        assert reverse.rejects() == []
    assert deaths >= 10
    got = stored + held
    if options:
        assert firsts(got) == sorted(set(got))
    return sorted(set(range(total)) - set(got))


def test_a_server_that_buffers_loses_nothing(tmp_path):
    assert lost_by_a_buffer(tmp_path, "--on-connect-replay",
                            str(BUFFER)) == []


def test_a_server_that_buffers_and_dies_of_an_event(tmp_path):
    """Poison costs that event only, not those that the server held: also not
    those that it had taken one by one."""
    held, stored = [], []

    def decide(n, _):
        if n in (50, 70):
            held.clear()
            return "eof"
        held.append(n)
        if len(held) > BUFFER:
            stored.append(held.pop(0))
        return None

    with Application(decide) as app, \
            piped(tmp_path, app.url, "--on-connect-replay", str(BUFFER),
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 100)
        reverse.until_ack(100)
        assert reverse.rejects() == [51, 71]
    assert sorted(set(range(100)) - set(stored + held)) == [50, 70]


def test_the_negative_control_without_it_events_are_lost(tmp_path):
    assert len(lost_by_a_buffer(tmp_path)) >= 10


def test_with_a_log_behind_each_event_counts_once(tmp_path):
    total = 300
    (tmp_path / "in").write_bytes(events_in(total))
    with Application(lambda n, at: "reset" if n == 50 * (at + 1)
                     else None) as app:
        deliver(tmp_path, app.url, "--on-connect-replay 10 --rate 1000")
        assert firsts(app.taken) == list(range(total))
        assert len(app.taken) > total, "nothing came again"
    counters = inspect(tmp_path / "wal")["counters"]
    assert counters["delivered"] == counters["taken"] == total


@pytest.mark.parametrize("ack", ["pong", "write", "app"])
def test_as_many_as_can_be_kept(tmp_path, ack):
    """And as many again behind them that wait."""
    with Application(lambda n, at: "eof" if (n, at) == (5000, 0) else None,
                     app_ack=ack == "app") as app, \
            piped(tmp_path, app.url, "--on-connect-replay", "4096", "--ack",
                  ack, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 5000)
        reverse.until_ack(5000)
        feeder = threading.Thread(target=give, args=(ours, 5000, 5000))
        feeder.start()
        reverse.until_ack(10000)
        feeder.join()
        app.wait_taken([9999])
        assert app.seen[1][0] in range(5000 - 4096, 10000)
        if ack != "write":
            assert app.seen[1] == list(range(app.seen[1][0], 10000))
            assert firsts(app.taken) == list(range(10000))


@pytest.mark.parametrize("size, most", [(1 << 20, 8), (12 << 20, 1)])
def test_large_events_are_kept_within_bounds(tmp_path, size, most):
    """8 MiB of them, or one that is longer."""
    count = 20 if most > 1 else 3
    with Application(lambda n, at: "eof" if (n, at) == (count, 0)
                     else None) as app, \
            piped(tmp_path, app.url, "--on-connect-replay", "4096",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(count):
            give(ours, n, 1, size)
            reverse.until_ack(n + 1)
        give(ours, count, 1)
        reverse.until_ack(count + 1)
        again = app.seen[1][:-1]
        assert 1 <= len(again) <= most
        assert again == list(range(count - len(again), count))
        assert status_of(process.pid, "VmHWM") < 160 << 20


# The rate.

class Clocked(Application):
    """Notes when each event was received, over all connections."""

    def __init__(self, decide=lambda n, at: None, **options):
        self.at = []
        super().__init__(self.note, **options)
        self.real = decide

    def note(self, n, connection):
        self.at.append(time.monotonic())
        return self.real(n, connection)


def check_pace(times, start, rate):
    """None came before a pace of `rate` from `start` on allows it, with a
    tenth of a second's events, or one, at once. Nothing that delays a
    receiver can break this."""
    burst = max(rate // 10, 1)
    early = [n for n, at in enumerate(times)
             if at - start < (n + 1 - burst) / rate - 0.002]
    assert early == [], f"{len(early)} of {len(times)} came too early"


@pytest.mark.parametrize("ack", ["pong", "write", "app"])
@pytest.mark.parametrize("rate, count", [(100, 120), (2000, 2200)])
def test_no_more_than_the_rate(tmp_path, rate, count, ack):
    with Clocked(app_ack=ack == "app") as app, \
            piped(tmp_path, app.url, "--rate", str(rate), "--ack", ack,
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        start = time.monotonic()
        feeder = threading.Thread(target=give, args=(ours, 0, count))
        feeder.start()
        reverse.until_ack(count)
        feeder.join()
        app.wait_taken([count - 1])
        check_pace(app.at, start, rate)
        # Less than the ten seconds after which a ping would wake it.
        assert app.at[-1] - start < 6 + 2 * count / rate, "much too slow"
        assert app.taken == list(range(count))


def test_idle_time_is_not_saved_up(tmp_path):
    with Clocked() as app, \
            piped(tmp_path, app.url, "--rate", "100",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 1)
        reverse.until_ack(1)
        # The scenario: time in which a hundred more might have gone.
        time.sleep(1)
        start = time.monotonic()
        give(ours, 1, 80)
        reverse.until_ack(81)
        check_pace(app.at[1:], start, 100)


def test_one_a_second(tmp_path):
    """Each is confirmed while the next one waits."""
    with Clocked() as app, \
            piped(tmp_path, app.url, "--rate", "1", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        start = time.monotonic()
        give(ours, 0, 3)
        assert reverse.until_ack(3) == [1, 2, 3]
        check_pace(app.at, start, 1)


def test_what_is_sent_again_counts(tmp_path):
    """A server that reads 30 and hangs up, each time, and then does not: a
    backlog after an outage, and resends of what it had not confirmed."""
    with Clocked(lambda n, at: "eof" if at < 2 and
                 len(app.seen[at]) == 30 else None) as app, \
            piped(tmp_path, app.url, "--rate", "100", "--ack", "app",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        start = time.monotonic()
        give(ours, 0, 60)
        app.wait_taken([59])
        assert reverse.acks() == []
        assert len(app.at) == 120
        check_pace(app.at, start, 100)


def test_a_replay_counts(tmp_path):
    with Clocked(lambda n, at: "eof" if (n, at) == (40, 0) else None) as app, \
            piped(tmp_path, app.url, "--rate", "100", "--on-connect-replay",
                  "40", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        start = time.monotonic()
        give(ours, 0, 41)
        reverse.until_ack(41)
        assert len(app.at) >= 60
        check_pace(app.at, start, 100)


def test_waiting_takes_no_time_of_a_processor(tmp_path):
    """Nor does it keep a signal waiting."""
    with Clocked() as app, \
            piped(tmp_path, app.url, "--rate", "2", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        give(ours, 0, 500)
        reverse.until_ack(1)
        before = ticks_of(process.pid)
        reverse.until_ack(4)
        # A busy loop would take about 150.
        assert ticks_of(process.pid) - before < 40
        assert process.stop() == DONE


def test_a_high_rate_is_no_hindrance(tmp_path, server):
    for rate in "1000000", "1000000000":
        with fed(tmp_path, server.url, events_in(20000), "--rate", rate,
                 name=rate) as process:
            assert process.wait() == DONE
    assert ids_of(server.events()) == 2 * list(range(20000))


def test_a_drain_timeout_ends_a_slow_drain(tmp_path, server):
    with piped(tmp_path, server.url, "--rate", "1", "--drain-timeout", "0.5",
               *QUICK) as (process, ours):
        give(ours, 0, 100)
        server.wait_count(1)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == AGAIN
    # All would take a hundred seconds.
    assert len(server.lines()) < 100


# Usage.

@pytest.mark.parametrize("option, value", [
    *[("--rate", v) for v in ("0", "-1", "1.5", "x", "", "1000000001", "1e3",
                              " 5", "99999999999999999999999")],
    *[("--on-connect-replay", v) for v in ("-1", "4097", "x", "", "1.5",
                                           "18446744073709551617")]])
def test_wrong_numbers(option, value):
    assert f"{option} '{value}'" in usage("-u", "ws://127.0.0.1:1/", option,
                                          value)


@pytest.mark.parametrize("option", [
    "--rate", "--on-connect-replay", "--bearer-auth-file",
    "--proxy-auth-file"])
def test_a_value_that_is_missing(option):
    assert f"{option}: its value is missing" in usage(
        "-u", "ws://127.0.0.1:1/", option)

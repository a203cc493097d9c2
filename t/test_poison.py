"""Poison events: one upon which the server ends the connection, each time, is
found, and goes to the dead letters, so that those behind it get through. A
server that merely fails costs no event.
"""

import base64
import contextlib
import os
import random
import select
import shutil
import socket
import struct
import threading
import time

import pytest

from damages import inspect
from peers import (Application, deliver, events_in, http, log_lines, number_of,
                   wait_line)
from sinks import (CLOSE, PING, PONG, QUICK, TEXT, Reverse, event, fed, firsts,
                   ids_of, options_of, piped)
from support import (AGAIN, BIN, DONE, HERE, PATIENCE, PYTHON, Process, Server,
                     events_of, frame, reset_on_close)

KILLS = int(os.environ.get("POISON_KILLS", "12"))
POSITIONS = {"first": [0], "middle": [11], "last": [29], "two in a row":
             [11, 12], "two apart": [3, 20], "five in a row":
             [10, 11, 12, 13, 14], "first and last": [0, 29]}
ALL = 30


def others(poison, count=ALL):
    return [n for n in range(count) if n not in poison]


def check_reverse(reverse):
    """A rejection is told before the ack that counts it, and acks never
    fall: what reads them may forget what is acked."""
    acked = 0
    for message in reverse.messages:
        if "reject" in message:
            assert message["reject"] > acked
        if "ack" in message:
            assert message["ack"] >= acked
            acked = message["ack"]


def refuses(poison, how):
    """A server's decision: these events end the connection so."""
    return lambda n, _: how if n in poison else None


# A peer done by hand.

@pytest.mark.parametrize("where, how", [
    *[(where, how) for where in POSITIONS for how in (1009, "eof")],
    *[("two apart", how) for how in (1007, 1008, "reset")]])
def test_poison_is_rejected_and_the_rest_arrives(tmp_path, where, how):
    poison = POSITIONS[where]
    with Application(refuses(poison, how)) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        reverse.until_ack(ALL)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        assert reverse.rejects() == [n + 1 for n in poison]
        check_reverse(reverse)
        assert firsts(app.taken) == others(poison)
        reasons = [m["reason"] for m in reverse.messages if "reject" in m]
        if isinstance(how, int):
            assert all(f'{how} "no"' in reason for reason in reasons)
        assert all(reasons)
        assert f"confirmed={ALL - len(poison)} refused={len(poison)} " \
            "unconfirmed=0" in process.text()


@pytest.mark.parametrize("how", [1009, "eof"])
def test_poison_at_ack_level_app(tmp_path, how):
    poison = [0, 11, 12, 29]
    with Application(refuses(poison, how), app_ack=True) as app, \
            piped(tmp_path, app.url, "--ack", "app",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        reverse.until_ack(ALL)
        assert reverse.rejects() == [n + 1 for n in poison]
        check_reverse(reverse)
        assert firsts(app.taken) == others(poison)


def test_at_ack_level_write_nothing_is_poison(tmp_path):
    """It was confirmed before the server has read it."""
    with Application(refuses([3], 1009)) as app, \
            piped(tmp_path, app.url, "--ack", "write",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        reverse.until_ack(ALL)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        assert reverse.rejects() == []


def test_at_ack_level_write_it_may_be_refused_while_it_is_written(tmp_path):
    """More than the sockets hold, so that it is not confirmed yet."""
    with Server(tmp_path, "--max-size", "1000") as server, \
            piped(tmp_path, server.url, "--ack", "write",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        feeder = threading.Thread(target=ours.sendall, args=(
            b"".join(frame(event(n, (15 << 20) if n == 1 else 0))
                     for n in range(3)),))
        feeder.start()
        reverse.until_ack(3)
        feeder.join()
        assert reverse.rejects() == [2]
        server.wait_count(2)
        assert ids_of(server.events()) == [0, 2]


@pytest.mark.parametrize("how, alone", [(1007, 1), (1008, 1), (1009, 1),
                                        ("eof", 3), ("reset", 3)])
def test_how_many_strikes_it_takes(tmp_path, how, alone):
    """Three, and then those that it takes alone: nothing is behind it."""
    with Application(refuses([0], how)) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        reverse.until_ack(ALL)
        assert app.seen[:3 + alone] == [[0]] * (3 + alone)
        assert len(app.seen) == 3 + alone + 1


def strikes(raw, count=3, code=1008, first=0):
    """Refuses event `first` that often; gives the connection behind it."""
    for _ in range(count):
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(first)
        peer.send(CLOSE, struct.pack(">H", code) + b"no")
        peer.until_opcode(CLOSE)
        peer.close()
    return raw.accept().upgrade()


def is_silent(peer):
    """Whether nothing comes but what is there, in a time in which it would;
    the time is the scenario."""
    return peer.data == b"" and \
        not select.select([peer.sock], [], [], 0.3)[0]


@pytest.mark.parametrize("ack", ["pong", "app"])
def test_alone_means_alone(tmp_path, raw, ack):
    """No event before a ping was answered, and none behind the first until
    that one is confirmed. One that is taken, alone, is not rejected."""
    with piped(tmp_path, raw.url, "--ack", ack,
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(20)))
        peer = strikes(raw)
        opcode, payload = peer.next()
        assert opcode == PING, "an event before the ping was answered"
        assert is_silent(peer)
        peer.send(PONG, payload)
        assert peer.next() == (TEXT, event(0))
        if ack == "pong":
            opcode, payload = peer.next()
            assert opcode == PING
        assert is_silent(peer), "something came behind the suspect"
        assert reverse.acks() == []
        got = 1
        if ack == "app":
            peer.send(TEXT, b'{"ack":1}')
        else:
            peer.send(PONG, payload)
        while got < 20:
            opcode, payload = peer.next()
            if opcode == PING:
                peer.send(PONG, payload)
            elif opcode == TEXT:
                assert payload == event(got)
                got += 1
                if ack == "app":
                    peer.send(TEXT, b'{"ack":%d}' % got)
        if ack == "pong":
            peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(20)
        assert reverse.rejects() == []
        peer.close()


def test_afterwards_events_are_sent_together_again(tmp_path, raw):
    """Once all that may have been the cause are ended."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(20)))
        peer = strikes(raw)
        peer.send(PONG, peer.until_opcode(PING))
        assert peer.until_opcode(TEXT) == event(0)
        peer.send(CLOSE, struct.pack(">H", 1008))
        peer.close()
        peer = raw.accept().upgrade()
        assert reverse.until(lambda m: "reject" in m)["reject"] == 1
        # Those that were sent behind it may each be the one: one by one.
        for n in range(1, 20):
            payload = b""
            while number_of_text(payload) != n:
                opcode, payload = peer.next()
                if opcode == PING:
                    peer.send(PONG, payload)
            peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(20)
        ours.sendall(b"".join(frame(event(n)) for n in range(20, 40)))
        for n in range(20, 40):
            assert peer.until_opcode(TEXT) == event(n)
        peer.close()


def number_of_text(payload):
    return number_of(payload) if payload.startswith(b'{"id"') else None


def test_two_strikes_are_none(tmp_path):
    """Each event fails twice and is then taken: nothing is sent alone."""
    failed = {}

    def decide(n, _):
        failed[n] = failed.get(n, 0) + 1
        return 1008 if failed[n] <= 2 else None

    with Application(decide) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(8):
            ours.sendall(frame(event(n)))
            reverse.until_ack(n + 1)
        assert reverse.rejects() == []
        assert "one by one" not in process.text()
        assert firsts(app.taken) == list(range(8))


def test_numbers_count_what_was_refused_before(tmp_path):
    """Input that is no JSON has a number, too."""
    with Application(refuses([2], 1009)) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(b"bad") + frame(event(0)) + frame(b"bad")
                     + frame(event(1)) + frame(event(2)) + frame(b"bad")
                     + frame(event(3)) + frame(b"bad"))
        reverse.until_ack(8)
        assert sorted(reverse.rejects()) == [1, 3, 5, 6, 8]
        assert firsts(app.taken) == [0, 1, 3]


def test_the_reason_is_escaped_and_short(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        for alone in (False, False, False, True):
            peer = raw.accept().upgrade()
            if alone:
                peer.send(PONG, peer.until_opcode(PING))
            peer.until_opcode(TEXT)
            peer.send(CLOSE, struct.pack(">H", 1008) + b"\x1b[31m\"\\" * 15)
            peer.until_opcode(CLOSE)
            peer.close()
        told = reverse.until(lambda m: "reject" in m)
        assert all(32 <= ord(c) < 127 for c in told["reason"])
        assert r"\x1b[31m" in told["reason"]
        assert all(len(line) < 1024 for line in process.text().splitlines())


# No reverse channel.

@pytest.mark.parametrize("how", [1009, "reset"])
def test_without_a_reverse_channel_it_is_logged(tmp_path, how):
    with Application(refuses([4, 20], how)) as app, \
            fed(tmp_path, app.url, events_in(ALL), *QUICK) as process:
        assert process.wait() == AGAIN
        assert firsts(app.taken) == others([4, 20])
    for number in (5, 21):
        assert len(log_lines(process, f"event {number} refused: ")) == 1
    assert "refused events that nobody was told of: 2" in process.text()


# What is no strike.

@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1010, 1011, 1012,
                                  1013, 4000])
def test_other_codes_never_reject(tmp_path, code):
    """The negative control, too: the event holds up those behind it, here
    until the server thinks better of it. Those in front get through alone."""
    with Application(refuses([3], code)) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        app.wait_connections(12)
        assert max(app.taken) < 3
        reverse.until_ack(3)
        app.decide = lambda n, _: None
        reverse.until_ack(ALL)
        assert reverse.rejects() == []
        assert firsts(app.taken) == list(range(ALL))


class Cutter:
    """A server behind something that cuts each connection at an age of
    `seconds`, without a word, which is too soon for it to confirm an event: it
    answers pings with none in front of them. After `cuts` of them nothing cuts
    any more."""

    def __init__(self, raw, seconds, cuts):
        self.raw, self.seconds, self.cuts = raw, seconds, cuts
        self.taken = []
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        for _ in range(self.cuts):
            with contextlib.suppress(EOFError, OSError):
                self.one(self.raw.accept().upgrade(), self.seconds)
        with contextlib.suppress(EOFError, OSError):
            self.one(self.raw.accept().upgrade(), PATIENCE)

    def one(self, peer, seconds):
        end = time.monotonic() + seconds
        acked = 0
        try:
            while True:
                peer.sock.settimeout(max(end - time.monotonic(), 0.001))
                opcode, payload = peer.next()
                if opcode == TEXT:
                    acked += 1
                    self.taken.append(number_of(payload))
                if acked > 0 and seconds != PATIENCE:
                    continue
                if opcode == PING:
                    peer.send(PONG, payload)
                elif opcode == TEXT:
                    peer.send(TEXT, b'{"ack":%d}' % acked)
        finally:
            peer.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.raw.listener.close()
        self.thread.join()


@pytest.mark.parametrize("ack", ["app", "pong"])
def test_what_cuts_connections_is_no_fault_of_an_event(tmp_path, raw, ack):
    with Cutter(raw, 0.2, cuts=20) as cutter, \
            piped(tmp_path, raw.url, "--ack", ack, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(3)))
        reverse.until_ack(3)
        assert reverse.rejects() == []
        assert firsts(cutter.taken) == [0, 1, 2]
        assert "one by one" in process.text()
        process.stop()


def test_a_timeout_never_rejects(tmp_path):
    with Application(refuses([3], "keep")) as app, \
            piped(tmp_path, app.url, "--ping-timeout", "0.2",
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        app.wait_connections(9)
        assert "one by one" not in process.text()
        app.decide = lambda n, _: None
        reverse.until_ack(ALL)
        assert reverse.rejects() == []


def test_a_refused_upgrade_is_no_strike(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)) + frame(event(1)))
        peer = strikes(raw, 1)
        peer.close()
        for n in range(12):
            peer = raw.accept()
            if n % 2:
                peer.sock.sendall(http("503 No"))
            peer.close()
        app = raw.accept().upgrade()
        assert app.next() == (TEXT, event(0))
        assert app.next() == (TEXT, event(1)), "it was sent alone"
        assert reverse.rejects() == []
        app.close()


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_server_that_drops_each_connection_costs_nothing(tmp_path, raw,
                                                           is_reset):
    """At once after the Upgrade, as a proxy without a backend does; in the
    end it is well again."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        for _ in range(40):
            peer = raw.accept().upgrade()
            if is_reset:
                reset_on_close(peer.sock)
            peer.close()
        peer = raw.accept().upgrade()
        got = []
        while got[-1:] != [ALL - 1]:
            opcode, payload = peer.next()
            if opcode == PING:
                peer.send(PONG, payload)
            else:
                got.append(number_of(payload))
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(ALL)
        assert got == list(range(ALL))
        assert reverse.rejects() == []
        peer.close()


def test_a_server_that_dies_at_random_rejects_nothing(tmp_path):
    """It dies 50 times upon some event or other."""
    rng = random.Random(1)
    deaths = []

    def decide(n, connection):
        if len(deaths) < 50 and rng.random() < 0.05:
            deaths.append(n)
            return rng.choice(["reset", "eof"])
        return None

    with Application(decide) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        total = 0
        while len(deaths) < 50 or total == 0:
            ours.sendall(b"".join(
                frame(event(n)) for n in range(total, total + 20)))
            total += 20
            reverse.until(lambda m, n=total: m.get("ack", 0) >= n)
        assert reverse.rejects() == []
        assert firsts(app.taken) == list(range(total))


def test_a_server_that_is_killed_at_random_rejects_nothing(tmp_path):
    rng = random.Random(2)
    with Server(tmp_path) as server, \
            piped(tmp_path, server.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        total = 0
        for _ in range(KILLS):
            more = rng.randrange(50, 400)
            before = len(server.lines())
            ours.sendall(b"".join(
                frame(event(n)) for n in range(total, total + more)))
            total += more
            server.wait_count(before + rng.randrange(40))
            server.restart()
            # Who reads no acks has no events taken in the end.
            while select.select([ours], [], [], 0)[0]:
                reverse.until(lambda m: True)
        reverse.until(lambda m: m.get("ack", 0) >= total)
        assert reverse.rejects() == []
        assert firsts(ids_of(server.events())) == list(range(total))


# A server that refuses everything.

def rejections(app, reverse, count):
    """How many connections each of that many rejections took."""
    took = []
    for _ in range(count):
        reverse.until(lambda m: "reject" in m)
        took.append(len(app.seen) - sum(took))
    return took


def test_a_server_that_refuses_all_empties_the_log_slowly(tmp_path):
    """1008 may mean us, not the event; what it takes doubles."""
    with Application(lambda n, _: 1008) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(ALL)))
        took = rejections(app, reverse, 5)
        assert reverse.rejects() == [1, 2, 3, 4, 5]
        assert max(took[:3]) <= 6
        assert took[3] >= 1.5 * took[2] and took[4] >= 1.5 * took[3], took
        # It takes one: what comes then is taken as at first.
        app.decide = refuses([8], 1008)
        app.wait_taken([7])
        before = len(app.seen)
        reverse.until_ack(ALL)
        assert len(app.seen) - before <= 6
        assert reverse.rejects()[-1] == 9
        assert set(app.taken) == set(range(ALL)) - {
            n - 1 for n in reverse.rejects()}


@pytest.mark.parametrize("code", [1007, 1009])
def test_a_code_that_means_the_message_is_believed(tmp_path, code):
    with Application(lambda n, _: code) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(6)))
        assert max(rejections(app, reverse, 6)) <= 6
        assert reverse.rejects() == list(range(1, 7))


def test_what_is_taken_between_rejections_keeps_them_quick(tmp_path):
    """Every second event is refused with 1008."""
    with Application(lambda n, _: None if n % 2 else 1008) as app, \
            piped(tmp_path, app.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(14)))
        assert max(rejections(app, reverse, 7)) <= 6
        reverse.until_ack(14)
        assert set(app.taken) == set(range(1, 14, 2))


# The end, meanwhile.

def test_a_signal_while_an_event_is_tried_alone(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        ours.sendall(frame(event(0)) + frame(event(1)))
        peer = strikes(raw)
        peer.send(PONG, peer.until_opcode(PING))
        assert peer.until_opcode(TEXT) == event(0)
        assert process.stop() == DONE
        assert "unconfirmed=2" in process.text()
        peer.close()


def test_a_drain_timeout_while_events_are_tried(tmp_path):
    with Application(refuses(range(ALL), 1008)) as app, \
            fed(tmp_path, app.url, events_in(ALL), "--drain-timeout", "1",
                *QUICK) as process:
        assert process.wait() == AGAIN
        assert "the drain timeout has passed" in process.text()


# Servers that nobody here wrote.

def sized(big, count=ALL):
    return [event(n, 5000 if n in big else 0) for n in range(count)]


@pytest.mark.parametrize("ack", ["pong", "app"])
@pytest.mark.parametrize("where", ["two apart", "five in a row"])
def test_websockets_refuses_what_is_too_big(tmp_path, where, ack):
    """1009 by the library."""
    big = POSITIONS[where]
    with Server(tmp_path, "--max-size", "1000", *options_of(ack)) as server:
        data = b"\n".join(sized(big)) + b"\n"
        with fed(tmp_path, server.url, data, "--ack", ack,
                 *QUICK) as process:
            assert process.wait() == AGAIN
        assert firsts(ids_of(server.events())) == others(big)
    line = wait_line(process, f"event {big[0] + 1} refused: ")
    assert "1009" in line
    assert f"refused={len(big)} unconfirmed=0" in process.text()


class Crashing(Server):
    """t/ws_crash.py, started again whenever it has died."""

    command = PYTHON, HERE / "ws_crash.py"

    def __init__(self, directory, on):
        self.deaths = 0
        self.is_over = threading.Event()
        super().__init__(directory, "--on", on)
        self.keeper = threading.Thread(target=self.keep)

    def keep(self):
        while not self.is_over.wait(0.01):
            if not self.process.is_running():
                self.deaths += 1
                self.restart()

    def __enter__(self):
        self.keeper.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.keeper.join()
        super().__exit__()


def test_an_application_that_dies_of_an_event(tmp_path):
    with Crashing(tmp_path, '"id": 7}') as server, \
            piped(tmp_path, server.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(20)))
        reverse.until_ack(20)
        assert reverse.rejects() == [8]
        assert 6 <= server.deaths <= 9
        assert firsts(ids_of(server.events())) == others([7], 20)


# In a pipeline.

def check_letters(directory, big, events):
    letters = events_of(directory / "dead-letters.ndjson")
    assert [base64.b64decode(m["bytes"]) for m in letters] == \
        [events[n] for n in big]
    assert all("1009" in m["reason"] for m in letters)
    counters = inspect(directory)["counters"]
    assert counters["rejected"] == counters["dead_lettered"] == len(big)
    assert counters["delivered"] == len(events) - len(big)
    assert counters["stored"] == 0


def test_in_a_shell_pipe_it_becomes_a_dead_letter(tmp_path):
    big = [5, 6, 25]
    (tmp_path / "in").write_bytes(b"\n".join(sized(big)) + b"\n")
    with Server(tmp_path, "--max-size", "1000") as server:
        deliver(tmp_path, server.url)
        assert firsts(ids_of(server.events())) == others(big)
    check_letters(tmp_path / "wal", big, sized(big))


PIPELINE = """\
state_dir: state
onramp:
  - id: metronome
    type: metronome
    config: {{ interval: 1000, count: {count} }}
pipeline:
  - id: main
    wal: {{ read_count: 20, max_elements: 1000, max_bytes: 10485760 }}
offramp:
  - id: ws
    type: ws
    config: {{ url: "{url}", backoff_max: 0.1 }}
"""


def test_supervised_it_becomes_a_dead_letter(tmp_path):
    """The source is a file, in the metronome's place."""
    big = [0, 13]
    (tmp_path / "in").write_bytes(b"".join(frame(e) for e in sized(big)))
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("walproc", "wssink", "supervisor"):
        shutil.copy2(BIN / name, bin_dir / name)
    (bin_dir / "metronome").write_text(
        f"#!/bin/sh\nexec cat '{tmp_path}/in'\n")
    (bin_dir / "metronome").chmod(0o755)
    with Server(tmp_path, "--max-size", "1000") as server:
        (tmp_path / "pipeline.yaml").write_text(
            PIPELINE.format(url=server.url, count=ALL))
        with Process([bin_dir / "supervisor", "-c",
                      tmp_path / "pipeline.yaml"],
                     tmp_path / "supervisor.log") as process:
            assert process.wait() == DONE, process.text()
        assert firsts(ids_of(server.events())) == others(big)
    check_letters(tmp_path / "state" / "01" / "main", big, sized(big))

"""The metronome under a supervisor, which the test plays: readers leave and
others take their place.
"""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from control import CONTROL_FD, reserve_control_fd
from readers import FrameReader, is_silent, start
from support import (AGAIN, DONE, PATIENCE, assert_sleeps, fds_of, frame,
                     has_stayed_below, program, slow_clock, wait_asleep,
                     wait_fds)


@pytest.fixture(name="begin")
def fixture_begin(tmp_path):
    stages = []

    def begin(*options, reader=FrameReader, env=None):
        stage, first = start(tmp_path, "metronome", *options, reader=reader,
                             env=env)
        stages.append(stage)
        return stage, first

    yield begin
    for stage in stages:
        stage.__exit__()


def attach(stage):
    return FrameReader(stage.attach("out"))


def ids(reader, count):
    return [json.loads(reader.next())["id"] for _ in range(count)]


# What it says to the supervisor.

def test_ready_at_once_and_reports(begin):
    stage, reader = begin("-i", "86400000")
    stage.wait_ready()
    reader.next()
    report = stage.wait_report(lambda r: r["events"] == 1)
    assert report == {"events": 1, "acked": 0, "unacked": 1,
                      "breaker": "closed", "reader": True,
                      "rate": report["rate"]}
    reader.breaker("open")
    reader.ack(1)
    stage.wait_report(lambda r: r["breaker"] == "open" and r["acked"] == 1
                      and r["unacked"] == 0)


def test_rate(begin):
    stage, reader = begin("-i", "10")
    report = stage.wait_report(lambda r: r["rate"] > 5)
    # One that was due a moment earlier may be the first of a second.
    assert report["rate"] <= 101
    reader.close()


def test_last_report(begin):
    stage, reader = begin("-n", "3", "-i", "0")
    assert ids(reader, 3) == [0, 1, 2]
    reader.ack(3)
    last = stage.last_report()
    assert (last["events"], last["acked"], last["unacked"]) == (3, 3, 0)
    assert stage.wait() == DONE


def test_supervisor_is_gone(begin):
    stage, reader = begin("-i", "86400000")
    reader.next()
    stage.control.close()
    assert stage.wait() == AGAIN
    assert "supervisor is gone" in stage.text()


def test_what_it_does_not_know_is_ignored(begin):
    stage, reader = begin("-i", "86400000")
    reader.next()
    before = fds_of(stage.pid)
    stage.control.send(b"garbage")
    stage.control.send(b"{")
    stage.tell({"later": 1}, stage.control.fileno())
    stage.tell({"attach": "in"}, stage.control.fileno())
    stage.tell({"attach": "out"})
    stage.drain()
    with open("/dev/null", encoding="ascii") as null:
        stage.tell({"attach": "out"}, null.fileno())
    assert stage.report()["reader"]
    wait_fds(stage.pid, before)
    reader.ack(1)
    stage.wait_report(lambda r: r["acked"] == 1)


# Readers that leave.

def test_next_reader_gets_what_was_not_acked(begin):
    stage, reader = begin("-i", "1")
    assert ids(reader, 10) == list(range(10))
    reader.ack(4)
    reader.close()
    for first in 4, 14:
        reader = attach(stage)
        assert ids(reader, 20) == list(range(first, first + 20))
        reader.ack(10)
        reader.close()


def test_acks_that_a_reader_left_behind_count(begin):
    """The acks, more of them than are read at once, the end and the next
    reader come all together."""
    stage, reader = begin("-n", "20", "-i", "0")
    assert ids(reader, 20) == list(range(20))
    stage.signal(signal.SIGSTOP)
    reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    reader.sock.settimeout(PATIENCE)
    reader.sock.sendall(frame(b'{"ack":1}'.ljust(2000)) * 150)
    reader.ack(17)
    reader.close()
    reader = attach(stage)
    stage.signal(signal.SIGCONT)
    assert ids(reader, 3) == [17, 18, 19]
    reader.ack(3)
    assert stage.wait() == DONE


def test_reader_is_absent_at_the_start(begin):
    stage, _ = begin("-i", "5", reader=None)
    stage.wait_ready()
    assert not stage.wait_report(lambda r: not r["reader"])["reader"]
    assert ids(attach(stage), 5) == [0, 1, 2, 3, 4]


def test_reader_leaves_at_every_byte(begin):
    """Whatever a reader has read of it, the next one's stream is whole."""
    stage, reader = begin("-n", "4", "-i", "0")
    whole = b"".join(frame(reader.next()) for _ in range(4))
    for cut in range(len(whole) + 1):
        reader.close()
        reader = attach(stage)
        data = b""
        while len(data) < cut:
            more = reader.sock.recv(cut - len(data))
            assert more
            data += more
        assert data == whole[:cut]
    reader.close()
    with attach(stage) as reader:
        assert ids(reader, 4) == [0, 1, 2, 3]
        reader.ack(4)
        assert stage.wait() == DONE


def test_no_event_is_made_without_a_reader(begin):
    stage, reader = begin("-i", "20")
    reader.next()
    reader.close()
    made = stage.wait_report(lambda r: not r["reader"])["events"]
    # Not only until what it keeps is full: ten ticks go by.
    assert_sleeps(stage.pid, 0.2)
    assert stage.report()["events"] == made
    before = time.time_ns()
    reader = attach(stage)
    events = [json.loads(reader.next()) for _ in range(made + 5)]
    assert [e["id"] for e in events] == list(range(made + 5))
    fresh = [e["ingest_ns"] for e in events[made:]]
    assert all(ns > before for ns in fresh)
    # The ticks of that time are not made up for.
    assert fresh[-1] - fresh[0] > 60_000_000


def test_what_is_kept_is_bounded(begin):
    stage, reader = begin("-i", "0", "--id", "\x01" * 255)
    stage.wait_report(lambda r: r["events"] > 100)
    wait_asleep(stage.pid)
    while not is_silent(reader.sock, 0):
        reader.sock.recv(1 << 20)
        if is_silent(reader.sock, 0):
            wait_asleep(stage.pid)
    report = stage.report()
    size = 1 << 20
    assert 0.9 * size < report["unacked"] * 1600 < 1.1 * size
    for _ in range(20):
        reader.close()
        reader = attach(stage)
        ids(reader, 50)
    assert stage.report()["events"] == report["events"]
    assert has_stayed_below(stage.pid, 16 << 20)


def test_breaker_of_a_reader_ends_with_it(begin):
    stage, reader = begin("-i", "5")
    reader.next()
    reader.breaker("open")
    stage.wait_report(lambda r: r["breaker"] == "open")
    reader.close()
    reader = attach(stage)
    reader.next()
    report = stage.report()
    assert report["breaker"] == "closed"
    stage.wait_report(lambda r: r["events"] > report["events"])


def test_new_reader_while_the_old_one_is_there(begin):
    stage, reader = begin("-i", "5")
    ids(reader, 3)
    reader.ack(2)
    with attach(stage) as other:
        assert json.loads(other.next())["id"] == 2
        while reader.next() is not None:
            pass


def test_hundred_readers_leak_nothing(begin):
    stage, reader = begin("-i", "1")
    reader.next()
    before, acked = fds_of(stage.pid), 0
    for _ in range(100):
        reader.close()
        reader = attach(stage)
        assert ids(reader, 3) == [acked, acked + 1, acked + 2]
        reader.ack(2)
        acked += 2
    assert stage.report()["reader"]
    wait_fds(stage.pid, before)


# Readers that break the protocol.

@pytest.mark.parametrize("data", [
    frame({"ack": 99}), frame({"reject": 0}), frame(b"{"), b"\xff" * 10,
    frame({"ack": 2}) + frame({"ack": 1})])
def test_mad_reader_is_shut_out(begin, data):
    stage, reader = begin("-n", "3", "-i", "0")
    ids(reader, 3)
    reader.sock.sendall(data)
    while reader.next() is not None:
        pass
    stage.wait_report(lambda r: not r["reader"])
    assert stage.text().count("broke the protocol") == 1
    acked = stage.report()["acked"]
    with attach(stage) as other:
        assert ids(other, 3 - acked) == [0, 1, 2][acked:]
        other.ack(3 - acked)
        assert stage.wait() == DONE


# How it ends.

def test_reader_leaves_while_the_last_acks_are_due(begin):
    stage, reader = begin("-n", "3", "-i", "0")
    for acked in range(3):
        assert ids(reader, 3 - acked) == [0, 1, 2][acked:]
        assert reader.next() is None
        reader.ack(1)
        if acked < 2:
            reader.close()
            reader = attach(stage)
    assert stage.wait() == DONE


def test_ends_without_a_reader_when_all_is_acked(begin):
    stage, reader = begin("-n", "3", "-i", "0")
    ids(reader, 3)
    stage.signal(signal.SIGSTOP)
    reader.ack(3)
    reader.close()
    stage.signal(signal.SIGCONT)
    assert stage.wait() == DONE


def test_stop_waits_for_the_acks(begin):
    stage, reader = begin("-i", "86400000", env=slow_clock())
    reader.next()
    stage.signal(signal.SIGTERM)
    assert reader.next() is None
    assert stage.is_running()
    reader.ack(1)
    assert stage.last_report()["acked"] == 1
    assert stage.wait() == DONE
    assert " warn " not in stage.text()


def test_stop_waits_no_longer_than_a_second(begin):
    stage, reader = begin("-i", "86400000")
    reader.next()
    begun = time.monotonic()
    stage.signal(signal.SIGTERM)
    assert stage.wait() == DONE
    assert 0.9 < time.monotonic() - begun
    assert stage.last_report()["unacked"] == 1
    assert "without all acks" in stage.text()


@pytest.mark.parametrize("why", ["breaker", "no reader", "all is acked"])
def test_stop_does_not_wait_for_what_cannot_come(begin, why):
    # If it waited, it would for longer than the test.
    stage, reader = begin("-i", "86400000", env=slow_clock())
    reader.next()
    if why == "breaker":
        reader.breaker("open")
        stage.wait_report(lambda r: r["breaker"] == "open")
    elif why == "no reader":
        reader.close()
        stage.wait_report(lambda r: not r["reader"])
    else:
        reader.ack(1)
        stage.wait_report(lambda r: r["acked"] == 1)
    stage.signal(signal.SIGTERM)
    assert stage.wait() == DONE


def test_stop_with_a_new_reader_within_the_second(begin):
    stage, reader = begin("-n", "2", "-i", "0", env=slow_clock())
    ids(reader, 2)
    stage.signal(signal.SIGSTOP)
    stage.signal(signal.SIGTERM)
    with attach(stage) as other:
        stage.signal(signal.SIGCONT)
        assert ids(other, 2) == [0, 1]
        other.ack(2)
        assert stage.last_report()["acked"] == 2
        assert stage.wait() == DONE


# What it does with nothing to do.

@pytest.mark.parametrize("state", ["no reader", "breaker", "last acks"])
def test_idle_is_asleep(begin, state):
    stage, reader = begin("-i", "1", "-n", "1" if state == "last acks"
                          else "1000000")
    reader.next()
    if state == "no reader":
        reader.close()
    elif state == "breaker":
        reader.breaker("open")
        stage.wait_report(lambda r: r["breaker"] == "open")
    assert_sleeps(stage.pid)


# Without a supervisor.

def test_other_sockets_on_the_number_are_left_alone():
    """A descriptor 3 that says no hello is none of ours."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.send(b'{"drain":true}')
    reserve_control_fd()
    done = subprocess.run(
        [program("metronome"), "-n", "3", "-i", "0"], capture_output=True,
        close_fds=False, timeout=PATIENCE, check=True,
        preexec_fn=lambda: os.dup2(theirs.fileno(), CONTROL_FD))
    assert len(done.stdout.splitlines()) == 3
    assert theirs.recv(100) == b'{"drain":true}'
    ours.close()
    theirs.close()

"""The onramp under a supervisor, which the test plays: readers leave and
others take their place, a real walproc among them that is killed again and
again.
"""

import json
import os
import random
import signal
import socket
import threading

import pytest

from readers import LineReader, PipedInput, is_silent, start
from support import (AGAIN, DONE, Frames, Process, fds_of, frame,
                     has_stayed_below, program, slow_clock, wait_asleep,
                     wait_fds)

LONGEST = 16777215
KILLS = 25


class Ramp(PipedInput):
    """A controlled onramp that reads a pipe of ours."""

    def __init__(self, directory, *options, reader=LineReader, env=None):
        super().__init__()
        self.stage, self.reader = start(directory, "onramp", *options,
                                        stdin=self.theirs, reader=reader,
                                        env=env)
        os.close(self.theirs)
        self.pid = self.stage.pid

    def next_reader(self):
        """The reader leaves; another one comes."""
        self.leave()
        return self.attach()

    def attach(self):
        self.reader = LineReader(self.stage.attach("out"))
        return self.reader

    def leave(self):
        if self.reader is not None:
            self.reader.close()
        self.reader = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stage.__exit__()
        self.end()
        self.leave()


@pytest.fixture(name="ramp")
def fixture_ramp(tmp_path):
    with Ramp(tmp_path) as ramp:
        yield ramp


def numbers(first, count):
    return b"".join(b"%d\n" % n for n in range(first, first + count))


def take(reader, count):
    return [int(line) for line in reader.take(count)]


# What it says to the supervisor.

def test_ready_at_once_and_reports(ramp):
    ramp.stage.wait_ready()
    ramp.write(b"1\n\n333\n")
    ramp.reader.take(3)
    report = ramp.stage.report()
    assert report == {"events": 3, "acked": 0, "unacked": 3,
                      "unacked_bytes": 7, "breaker": "closed", "reader": True,
                      "input": "open", "rate": report["rate"]}
    ramp.reader.ack(2)
    ramp.reader.breaker("open")
    ramp.stage.wait_report(lambda r: (
        r["acked"], r["unacked"], r["unacked_bytes"], r["breaker"]) == (
            2, 1, 4, "open"))
    ramp.stage.wait_report(lambda r: r["rate"] > 0)
    ramp.reader.breaker("closed")
    ramp.end()
    assert ramp.reader.next() is None
    ramp.stage.wait_report(lambda r: r["input"] == "ended")
    ramp.reader.ack(3)
    last = ramp.stage.last_report()
    assert (last["acked"], last["unacked"]) == (3, 0)
    assert ramp.stage.wait() == DONE


def test_supervisor_is_gone(ramp):
    ramp.write(b"1\n")
    ramp.reader.next()
    ramp.stage.control.close()
    assert ramp.stage.wait() == AGAIN


def test_hundred_readers_leak_nothing(ramp):
    ramp.write(numbers(0, 300))
    take(ramp.reader, 3)
    before = fds_of(ramp.pid)
    for acked in range(0, 200, 2):
        ramp.next_reader()
        assert take(ramp.reader, 3) == [acked, acked + 1, acked + 2]
        ramp.reader.ack(2)
    assert ramp.stage.report()["reader"]
    wait_fds(ramp.pid, before)


def test_confined_it_still_takes_readers(tmp_path):
    with Ramp(tmp_path, "--sandbox") as ramp:
        ramp.write(numbers(0, 10))
        for acked in range(9):
            assert take(ramp.reader, 2) == [acked, acked + 1]
            ramp.reader.ack(1)
            ramp.next_reader()
        assert ramp.stage.report()["unacked"] == 1


# Readers that leave.

def test_reader_is_absent_at_the_start(tmp_path):
    with Ramp(tmp_path, reader=None) as ramp:
        ramp.write(b"1\n2")
        ramp.end()
        ramp.stage.wait_report(lambda r: not r["reader"] and r["events"] == 2)
        assert ramp.attach().take(2) == [b"1", b"2"]
        assert ramp.reader.next() is None
        ramp.reader.ack(2)
        assert ramp.stage.wait() == DONE


def test_reader_leaves_at_every_byte(ramp):
    data = b"1\n\n" + b"x" * 50 + b"\n\r\n{}\n"
    ramp.write(data)
    for cut in range(len(data) + 1):
        ramp.next_reader()
        got = b""
        while len(got) < cut:
            more = ramp.reader.sock.recv(cut - len(got))
            assert more
            got += more
        assert got == data[:cut]
    ramp.next_reader()
    assert ramp.reader.take(5) == data.split(b"\n")[:-1]


def test_random_readers(ramp):
    """Lines of many lengths, readers that ack here and there and leave at any
    byte: what is acked never comes again, all else does, in order."""
    dice = random.Random(5)
    lines = [b"%d " % n + b"x" * dice.choice([0, 9, 500, 70000])
             for n in range(300)]
    writer = threading.Thread(
        target=lambda: ramp.write(b"".join(x + b"\n" for x in lines)))
    writer.start()
    acked = 0
    while acked < len(lines):
        count = min(dice.randrange(12), len(lines) - acked)
        assert ramp.reader.take(count) == lines[acked:acked + count]
        here = dice.randrange(count + 1)
        ramp.reader.ack(here)
        acked += here
        ramp.next_reader()
    writer.join()
    ramp.end()
    assert ramp.stage.wait() == DONE


def test_acks_that_a_reader_left_behind_count(ramp):
    ramp.write(numbers(0, 20))
    take(ramp.reader, 20)
    ramp.stage.signal(signal.SIGSTOP)
    ramp.reader.ack(17)
    ramp.next_reader()
    ramp.stage.signal(signal.SIGCONT)
    assert take(ramp.reader, 3) == [17, 18, 19]


def test_input_is_read_on_without_a_reader(ramp):
    """Up to what is kept; and it sleeps then."""
    ramp.leave()
    written = ramp.fill(ramp.pid, b"x" * 999 + b"\n")
    report = ramp.stage.report()
    assert 0.9 * (1 << 20) < report["unacked_bytes"] <= 1 << 20
    assert written < 2 << 20
    assert has_stayed_below(ramp.pid, 12 << 20)
    ramp.attach()
    for count in range(written // 1000):
        assert len(ramp.reader.next()) == 999
        ramp.reader.ack(count + 1)


def test_breaker_of_a_reader_ends_with_it(ramp):
    ramp.reader.breaker("open")
    ramp.stage.wait_report(lambda r: r["breaker"] == "open")
    ramp.write(b"1\n")
    wait_asleep(ramp.pid)
    assert ramp.stage.report()["events"] == 0
    ramp.leave()
    ramp.stage.wait_report(lambda r: r["events"] == 1)
    assert ramp.attach().next() == b"1"


@pytest.mark.parametrize("data", [
    frame({"ack": 99}), frame({"reject": 4}), frame(b"{"), b"\xff" * 10,
    frame({"ack": 2}) + frame({"ack": 1})])
def test_mad_reader_is_shut_out(ramp, data):
    ramp.write(numbers(0, 3))
    take(ramp.reader, 3)
    ramp.reader.sock.sendall(data)
    assert ramp.reader.next() is None
    ramp.stage.wait_report(lambda r: not r["reader"])
    acked = ramp.stage.report()["acked"]
    ramp.next_reader()
    assert take(ramp.reader, 3 - acked) == [0, 1, 2][acked:]
    assert ramp.stage.text().count("broke the protocol") == 1


# The end.

def test_end_without_a_drain(ramp):
    """Its input never comes again, so nobody has to say so."""
    ramp.write(b"1\n2\n3")
    ramp.end()
    ramp.reader.take(3)
    assert ramp.reader.next() is None
    ramp.reader.ack(1)
    ramp.next_reader()
    assert ramp.reader.take(2) == [b"2", b"3"]
    assert ramp.reader.next() is None
    ramp.reader.ack(2)
    assert ramp.stage.wait() == DONE


@pytest.mark.parametrize("why", ["breaker", "no reader"])
def test_stop_does_not_wait_for_what_cannot_come(tmp_path, why):
    # If it waited, it would for longer than the test.
    with Ramp(tmp_path, env=slow_clock()) as ramp:
        ramp.write(b"1\n")
        ramp.reader.next()
        if why == "breaker":
            ramp.reader.breaker("open")
            ramp.stage.wait_report(lambda r: r["breaker"] == "open")
        else:
            ramp.leave()
            ramp.stage.wait_report(lambda r: not r["reader"])
        ramp.stage.signal(signal.SIGTERM)
        assert ramp.stage.last_report()["unacked"] == 1
        assert ramp.stage.wait() == DONE
        assert "without all acks" in ramp.stage.text()


# Lines too long to be kept.

@pytest.mark.parametrize("size", [LONGEST, LONGEST + 2])
def test_longest_line_comes_again_and_a_longer_one_does_not(ramp, size):
    long = b"x" * size
    writer = threading.Thread(
        target=lambda: ramp.write(b"1\n" + long + b"\n2\n"))
    writer.start()
    assert ramp.reader.next() == b"1"
    ramp.reader.ack(1)
    while len(ramp.reader.data) < 1 << 20:
        assert ramp.reader.more()
    ramp.next_reader()
    if size == LONGEST:
        assert ramp.reader.next() == long
        ramp.reader.ack(1)
        assert ramp.reader.next() == b"2"
    else:
        assert ramp.reader.next() == b"2"
        assert "the line is lost" in ramp.stage.text()
    writer.join()


def test_long_line_that_nobody_acked_is_told(ramp):
    long = b"x" * (LONGEST + 2)
    writer = threading.Thread(target=lambda: ramp.write(long + b"\n2\n"))
    writer.start()
    assert ramp.reader.take(2) == [long, b"2"]
    writer.join()
    report = ramp.stage.report()
    assert (report["unacked"], report["unacked_bytes"]) == (2, 2)
    ramp.next_reader()
    assert ramp.reader.next() == b"2"
    assert "too long to be kept are lost: events=1" in ramp.stage.text()
    ramp.reader.ack(1)
    ramp.end()
    assert ramp.stage.wait() == DONE


def test_long_line_waits_for_what_is_before_it(ramp):
    writer = threading.Thread(
        target=lambda: ramp.write(b"1\n2\n" + b"x" * 40_000_000 + b"\n3\n"))
    writer.start()
    assert ramp.reader.take(2) == [b"1", b"2"]
    ramp.reader.ack(1)
    assert is_silent(ramp.reader.sock)
    ramp.next_reader()
    assert ramp.reader.next() == b"2"
    ramp.reader.ack(1)
    assert len(ramp.reader.next()) == 40_000_000
    assert ramp.reader.next() == b"3"
    writer.join()
    assert has_stayed_below(ramp.pid, 60 << 20)
    ramp.reader.ack(3)
    ramp.end()
    assert ramp.stage.wait() == DONE


# A walproc that is killed.

class Flow:
    """Numbered lines into a pipe, as fast as it takes them, until told."""

    def __init__(self, fd):
        self.fd = fd
        self.count = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over.is_set():
            os.write(self.fd, b'{"n":%d}\n' % self.count)
            self.count += 1
        os.close(self.fd)


class Wal:
    """A walproc, and the sink that it delivers to."""

    def __init__(self, directory, source):
        self.sink, theirs = socket.socketpair()
        self.process = Process(
            [program("walproc"), "-q", "-d", directory / "wal",
             "--max-elements", "2000", "--read-count", "50"],
            directory / "wal.log", stdin=source, stdout=theirs)
        theirs.close()
        self.frames = Frames(self.sink)
        self.count = 0

    def take(self, received, count=None):
        """Takes events, `count` or all; acks each."""
        while count is None or count > 0:
            payload = self.frames.next()
            if payload is None:
                return
            self.count += 1
            self.sink.sendall(frame({"ack": self.count}))
            received.append(json.loads(payload)["n"])
            count = None if count is None else count - 1

    def kill(self):
        self.process.kill()
        self.sink.close()


def first_times(received):
    return list(dict.fromkeys(received))


def killed_flow(begin, attach):
    """Lines through walprocs that are killed: those that were delivered, and
    how many there were. `begin` starts the first, `attach` each other."""
    dice = random.Random(3)
    received = []
    wal, flow = begin()
    for _ in range(KILLS):
        wal.take(received, dice.randrange(50, 400))
        wal.kill()
        wal = attach()
    # It waits for room in the log, so for the sink.
    flow.is_over.set()
    wal.take(received)
    flow.thread.join()
    assert wal.process.wait() == DONE, wal.process.text()
    wal.sink.close()
    return received, flow.count


def test_walproc_is_killed_and_nothing_is_lost(tmp_path):
    with Ramp(tmp_path, reader=None) as ramp:
        def attach():
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ramp.stage.tell({"attach": "out"}, ours.fileno())
                return Wal(tmp_path, theirs)

        def begin():
            fd, ramp.input = ramp.input, -1
            return attach(), Flow(fd)

        received, count = killed_flow(begin, attach)
        assert first_times(received) == list(range(count))
        assert len(received) < 2 * count
        assert ramp.stage.wait() == DONE
        last = ramp.stage.last_report()
        assert (last["events"], last["acked"]) == (count, count)


def test_control_without_an_onramp_lines_are_lost(tmp_path):
    """What one walproc had read and not made safe, the next one never sees."""
    read, write = os.pipe()
    received, count = killed_flow(
        lambda: (Wal(tmp_path, read), Flow(write)),
        lambda: Wal(tmp_path, read))
    os.close(read)
    numbers_seen = first_times(received)
    assert len(numbers_seen) < count

"""The onramp as a shell user runs it, and before a real walproc."""

import os
import random
import signal
import socket
import subprocess

import pytest

from neighbours import dead_letters
from readers import LineReader, PipedInput, is_silent
from support import (AGAIN, DONE, FINAL, PATIENCE, Frames, Process,
                     assert_sleeps, frame, has_stayed_below, program,
                     slow_clock, stored_events, wait_asleep)

ONRAMP = program("onramp")
LONGEST = 16777215


def run(data, *options, **more):
    return subprocess.run([ONRAMP, *options], input=data, check=False,
                          capture_output=True, timeout=PATIENCE, **more)


class Piped(PipedInput):
    """An onramp that reads a pipe and writes to a socket of ours."""

    def __init__(self, directory, *options, env=None):
        super().__init__()
        ours, theirs = socket.socketpair()
        self.process = Process([ONRAMP, "-v", *options], directory / "log",
                               stdin=self.theirs, stdout=theirs, env=env)
        theirs.close()
        os.close(self.theirs)
        self.reader = LineReader(ours)

    def fill_up(self, lines):
        return self.fill(self.process.pid, lines, self.reader)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.end()
        self.reader.close()


# In a shell pipe.

@pytest.mark.parametrize("data", [
    b"", b"1\n", b"1", b"\n", b"\n\n", b"1\r\n2\r\n", b"a\rb\n", b"no json\n",
    b"\xff\xfe\n", b"a\0b\n", b"x" * 5000 + b"\n1\n", b"1\n" * 100000,
    b"x" * LONGEST + b"\n", b"x" * (LONGEST + 1) + b"\n2\n",
    b"x" * (LONGEST + 2) + b"\n2\n", b"x" * (LONGEST + 2),
    b"1\n" + b"y" * 40_000_000 + b"\n2\n"], ids=range(17))
def test_lines_pass_as_they_are(data):
    done = run(data)
    assert done.returncode == DONE
    wanted = data if not data or data.endswith(b"\n") else data + b"\n"
    assert done.stdout == wanted
    assert b" warn " not in done.stderr and b" error " not in done.stderr


def test_shell_pipe():
    done = subprocess.run(f"printf '1\\n2\\n3' | {ONRAMP} -q | cat",
                          shell=True, capture_output=True, check=True,
                          timeout=PATIENCE)
    assert (done.stdout, done.stderr) == (b"1\n2\n3\n", b"")


def test_file_to_file(tmp_path):
    lines = b"".join(b"%d\n" % n for n in range(100000))
    (tmp_path / "in").write_bytes(lines)
    with open(tmp_path / "in", "rb") as given, \
            open(tmp_path / "out", "wb") as out:
        subprocess.run([ONRAMP], stdin=given, stdout=out, check=True,
                       timeout=PATIENCE)
    assert (tmp_path / "out").read_bytes() == lines


def test_terminal():
    """Lines come as they are typed; Ctrl-D ends the input."""
    ours, theirs = os.openpty()
    with subprocess.Popen([ONRAMP], stdin=theirs, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as child:
        os.close(theirs)
        for n in range(3):
            os.write(ours, b"%d\n" % n)
            assert child.stdout.readline() == b"%d\n" % n
        os.write(ours, b"\x04")
        assert child.stdout.read() == b""
        assert child.wait(PATIENCE) == DONE
    os.close(ours)


def test_input_that_cannot_be_read():
    directory = os.open("/", os.O_RDONLY)
    done = subprocess.run([ONRAMP], stdin=directory, capture_output=True,
                          timeout=PATIENCE, check=False)
    os.close(directory)
    assert done.returncode == AGAIN
    assert b"input: Is a directory" in done.stderr


def test_reader_of_a_pipe_leaves():
    done = subprocess.run(f"yes | ({ONRAMP}; echo $? >&2) | head -1",
                          shell=True, capture_output=True, check=True,
                          timeout=PATIENCE)
    assert done.stdout == b"y\n"
    assert done.stderr.endswith(b"111\n")
    assert done.stderr.count(b" error ") == 1


@pytest.mark.parametrize("closed", [0, 1])
def test_closed_descriptor_is_final(closed):
    done = subprocess.run([ONRAMP], stderr=subprocess.PIPE, check=False,
                          timeout=PATIENCE,
                          preexec_fn=lambda: os.close(closed))
    assert done.returncode == FINAL
    assert b"is not open" in done.stderr


@pytest.mark.parametrize("options", [
    ["-x"], ["--nothing"], ["--drain-timeout"], ["--drain-timeout", "-1"],
    ["word"], ["--quiet=1"], ["-i", "5"]])
def test_usage_error_is_one_line_and_final(options):
    done = run(b"1\n", *options)
    assert done.returncode == FINAL
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b" error " in done.stderr


@pytest.mark.parametrize("options, words", [
    (["-h"], b"usage: onramp"), (["--version"], b"onramp ")])
def test_questions_are_answered_on_stdout(options, words):
    done = run(b"", *options)
    assert done.returncode == DONE
    assert words in done.stdout
    assert done.stderr == b""


def test_confined(tmp_path):
    with Piped(tmp_path, "--sandbox") as piped:
        piped.write(b"1\n2")
        piped.end()
        assert piped.reader.take(2) == [b"1", b"2"]
        piped.reader.ack(2)
        assert piped.process.wait() == DONE


# Before a socket.

def test_acks_are_waited_for(tmp_path):
    with Piped(tmp_path) as piped:
        piped.write(b"1\n2\n")
        assert piped.reader.take(2) == [b"1", b"2"]
        piped.end()
        assert piped.reader.next() is None
        piped.reader.ack(1)
        assert piped.process.is_running()
        piped.reader.ack(2)
        assert piped.process.wait() == DONE


def test_acks_do_not_come_in_time(tmp_path):
    with Piped(tmp_path, "--drain-timeout", "0.1") as piped:
        piped.write(b"1\n")
        piped.end()
        assert piped.process.wait() == AGAIN
        assert "drain timeout" in piped.process.text()


def test_input_that_trickles(tmp_path):
    """Half a line is not passed on; a whole one is at once."""
    with Piped(tmp_path) as piped:
        for byte in b"12345":
            piped.write(bytes([byte]))
            assert is_silent(piped.reader.sock, 0.02)
        piped.write(b"\n\n6")
        assert piped.reader.take(2) == [b"12345", b""]
        assert is_silent(piped.reader.sock, 0.02)
        piped.end()
        assert piped.reader.next() == b"6"


def test_reader_leaves(tmp_path):
    with Piped(tmp_path) as piped:
        piped.write(b"1\n")
        piped.reader.next()
        piped.reader.close()
        assert piped.process.wait() == AGAIN


def test_reader_that_never_acks(tmp_path):
    """No more than 1 MiB is taken from it, and not much memory."""
    line = b"x" * 999 + b"\n"
    with Piped(tmp_path) as piped:
        taken = piped.fill_up(line * 4)
        assert 0.9 * (1 << 20) < len(piped.reader.data) <= 1 << 20
        assert taken < 2 << 20
        assert has_stayed_below(piped.process.pid, 12 << 20)


def test_open_breaker_stops_the_reading(tmp_path):
    with Piped(tmp_path) as piped:
        piped.write(b"1\n")
        assert piped.reader.next() == b"1"
        piped.reader.breaker("open")
        piped.process.wait_log("breaker is open")
        piped.write(b"2\n")
        wait_asleep(piped.process.pid)
        assert is_silent(piped.reader.sock, 0)
        # Not even taken from the pipe.
        written = piped.fill_up(b"x" * 4095 + b"\n")
        assert written <= 1 << 16
        piped.reader.breaker("closed")
        assert piped.reader.next() == b"2"


@pytest.mark.parametrize("state", [
    "no input", "breaker", "never acked", "last acks", "half a line"])
def test_idle_is_asleep(tmp_path, state):
    with Piped(tmp_path) as piped:
        piped.write(b"1\n")
        piped.reader.next()
        if state == "breaker":
            piped.reader.breaker("open")
            piped.process.wait_log("breaker is open")
            piped.write(b"2\n")
        elif state == "never acked":
            piped.fill_up(b"x\n" * 2000)
        elif state == "last acks":
            piped.end()
        elif state == "half a line":
            piped.write(b"2")
        assert_sleeps(piped.process.pid)


# Told to stop.

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_waits_for_the_acks(tmp_path, number):
    with Piped(tmp_path, env=slow_clock()) as piped:
        piped.write(b"1\n2\n")
        piped.reader.take(2)
        piped.process.signal(number)
        assert piped.reader.next() is None
        piped.reader.ack(2)
        assert piped.process.wait() == DONE
        assert " warn " not in piped.process.text()


def test_stop_says_what_it_had_read(tmp_path):
    with Piped(tmp_path, env=slow_clock()) as piped:
        piped.write(b"1\nhalf")
        assert piped.reader.next() == b"1"
        piped.process.signal(signal.SIGTERM)
        assert piped.reader.next() is None
        piped.reader.ack(1)
        assert piped.process.wait() == DONE
        assert "not passed on: bytes=4" in piped.process.text()


def test_stop_with_more_than_is_kept(tmp_path):
    """The reader does not ack before it is told; what was read and had no
    room is passed on then, and only behind it comes the end."""
    with Piped(tmp_path, env=slow_clock()) as piped:
        piped.fill_up(b"x" * 999 + b"\n")
        before = len(piped.reader.data) // 1000
        piped.process.signal(signal.SIGTERM)
        piped.process.wait_log("stopping")
        assert is_silent(piped.reader.sock)
        piped.reader.ack(before)
        # All of it: the second for the acks does not pass.
        while piped.reader.more():
            piped.reader.ack(len(piped.reader.data) // 1000)
        assert piped.process.wait() == DONE, piped.process.text()
        assert len(piped.reader.data) > 1000 * before
        assert len(piped.reader.data) % 1000 == 0
        assert " error " not in piped.process.text()


def test_stop_at_any_moment(tmp_path):
    """What is passed is whole and in order; of the rest it tells."""
    dice = random.Random(7)
    for _ in range(30):
        with Piped(tmp_path, env=slow_clock()) as piped:
            data = b"".join(b"%d\n" % n for n in range(5000))
            piped.write(b"0\n")
            assert piped.reader.next() == b"0"
            piped.write(data[2:dice.randrange(1, len(data))])
            piped.process.signal(signal.SIGTERM)
            lines = [0]
            while (line := piped.reader.next()) is not None:
                lines.append(int(line))
            assert lines == list(range(len(lines)))
            piped.reader.ack(len(lines))
            assert piped.process.wait() == DONE


# Before a walproc.

def wal_pair(directory, data, *options):
    """onramp and walproc on a socketpair; the test is the sink. Returns what
    the sink got."""
    up, down = socket.socketpair()
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with Process([ONRAMP], directory / "onramp.log", stdin=read,
                 stdout=up) as onramp, \
            Process([program("walproc"), "-d", directory / "wal",
                     "--max-bytes", "200000000", *options],
                    directory / "wal.log", stdin=down,
                    stdout=theirs) as wal, \
            os.fdopen(write, "wb") as given:
        for end in up, down, theirs:
            end.close()
        os.close(read)
        given.write(data)
        given.close()
        frames, events = Frames(ours), []
        while (event := frames.next()) is not None:
            events.append(event)
            ours.sendall(frame({"ack": len(events)}))
        assert onramp.wait() == DONE, onramp.text()
        assert wal.wait() == DONE, wal.text()
        assert " error " not in onramp.text()
    ours.close()
    return events


def test_lines_count_as_walproc_counts_them(tmp_path):
    """Each is acked once, the bad ones too: else onramp would not end."""
    text = b'"' + b"x" * (LONGEST - 2) + b'"'
    odd = [b"1", b"", b" 2 ", b"\r", b"3\r", b"nul", b"\0\0\0\1", b"\xff",
           text, text + b"\r", text + b" ", b"4", b"z" * 40_000_000, b"5"]
    events = wal_pair(tmp_path, b"\n".join(odd))
    assert events == [b"1", b" 2 ", b"3", text, text, b"4", b"5"]
    letters = [data for _, data in dead_letters(tmp_path)]
    assert letters == [b"", b"", b"nul", b" \0\0\0\1", b"\xff", text + b" ",
                       odd[-2]]


@pytest.mark.parametrize("first", [b"\0", b"\0\0\0\2{}", b"\0{}"])
def test_zero_byte_at_the_start_is_no_other_framing(tmp_path, first):
    assert wal_pair(tmp_path, first + b"\n1\n") == [b"1"]
    assert [d for _, d in dead_letters(tmp_path)] == [b" " + first]


def test_shell_pipe_into_walproc(tmp_path):
    subprocess.run(
        f"printf '1\\n2\\n3' | {ONRAMP} -q | {program('walproc')} -q"
        f" -d {tmp_path}/wal --max-elements 10 --acks none >{tmp_path}/out",
        shell=True, check=True, timeout=PATIENCE)
    assert (tmp_path / "out").read_bytes() == b"1\n2\n3\n"
    assert list(stored_events(tmp_path / "wal").values()) in (
        [], [b"1", b"2", b"3"])

"""The metronome, run as a user or a supervisor runs it: its standard output a
pipe, a file or one end of a socketpair.
"""

import fcntl
import json
import os
import random
import select
import signal
import socket
import subprocess
import time

import pytest

from support import (AGAIN, DONE, FINAL, PATIENCE, Frames, Process, events_of,
                     frame, program, slow_clock, wait_asleep)

METRONOME = program("metronome")
MS = 1_000_000
UNACKED = 8192


class Peer:
    """A metronome on a socketpair, and the other end of it."""

    def __init__(self, directory, *options, env=None):
        self.sock, theirs = socket.socketpair()
        self.process = Process([METRONOME, "-v", *options],
                               directory / "log", stdout=theirs, env=env)
        theirs.close()
        self.frames = Frames(self.sock)

    def event(self):
        return json.loads(self.frames.next())

    def events_so_far(self):
        """What was sent and not read until now."""
        while select.select([self.sock], [], [], 0)[0]:
            self.frames.data += self.sock.recv(1 << 20)
        events = []
        while self.frames.data:
            events.append(self.event())
        return events

    def send(self, message):
        self.sock.sendall(frame(message))

    def wait(self):
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.sock.close()


class Pipe:
    """A metronome that writes to a pipe; its lines are read one by one."""

    def __init__(self, directory, *options, size=None):
        read, write = os.pipe()
        if size:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, size)
        self.process = Process([METRONOME, *options], directory / "log",
                               stdout=write)
        os.close(write)
        self.file = os.fdopen(read, "rb")

    def event(self):
        ready = select.select([self.file], [], [], PATIENCE)[0]
        assert ready or self.file.peek(1), "no event"
        return json.loads(self.file.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.file.close()


def run(*options, **more):
    """Runs a metronome to its end."""
    return subprocess.run([METRONOME, *options], capture_output=True,
                          timeout=PATIENCE, check=False, **more)


def errors(process):
    return [line for line in process.text().splitlines() if " error " in line]


# What it sends.

def test_pipe_into_jq():
    done = subprocess.run(f"{METRONOME} -q -n 5 -i 0 | jq .id", shell=True,
                          capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [b"0", b"1", b"2", b"3", b"4"]
    assert done.stderr == b""


def test_event_has_name_id_and_wall_clock():
    before = time.time_ns()
    line = run("-n", "1").stdout
    event = json.loads(line)
    assert list(event) == ["onramp", "id", "ingest_ns"]
    assert line == json.dumps(event, separators=(",", ":")).encode() + b"\n"
    assert (event["onramp"], event["id"]) == ("metronome", 0)
    assert before <= event["ingest_ns"] <= time.time_ns()


@pytest.mark.parametrize("name", [
    "sensor 7", 'a"b\\c', "tab\there", "Grüße €😀", "", "\x01" * 255])
def test_id_becomes_a_json_string(name):
    done = run("-n", "2", "-i", "0", "--id", name)
    assert done.returncode == DONE
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(e["onramp"], e["id"]) for e in events] == [(name, 0), (name, 1)]


@pytest.mark.parametrize("size", [80, 120, 1024, 65536])
def test_short_events_are_filled_up(size):
    done = run("-n", "12", "-i", "0", "--size", str(size))
    lines = done.stdout.splitlines()
    assert [len(line) for line in lines] == 12 * [size]
    for number, line in enumerate(lines):
        event = json.loads(line)
        assert list(event) == ["onramp", "id", "ingest_ns", "pad"]
        assert event["id"] == number
        assert set(event["pad"]) == {"x"}


@pytest.mark.parametrize("size", [1, 55, 60])
def test_events_with_no_room_for_a_pad_stay_as_they_are(size):
    done = run("-n", "2", "-i", "0", "--id", "m", "--size", str(size))
    assert [list(json.loads(line)) for line in done.stdout.splitlines()] == (
        2 * [["onramp", "id", "ingest_ns"]])


def test_interval_zero_keeps_every_id_in_order():
    done = run("-q", "-n", "200000", "-i", "0")
    ids = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert done.returncode == DONE
    assert ids == list(range(200000))


def test_stdin_is_ignored():
    done = run("-n", "3", "-i", "1", input=b"not for me\n")
    assert done.returncode == DONE
    assert len(done.stdout.splitlines()) == 3


# When it sends.

def test_first_event_comes_at_once(tmp_path):
    with Pipe(tmp_path, "-i", "86400000") as pipe:
        assert pipe.event()["id"] == 0


def test_no_tick_is_early():
    before = time.time_ns()
    done = run("-n", "40", "-i", "10")
    for line in done.stdout.splitlines():
        event = json.loads(line)
        # The wall clock may be slewed against the one that ticks.
        assert event["ingest_ns"] >= before + event["id"] * 10 * MS - MS


def test_schedule_is_kept_after_a_delay(tmp_path):
    """A process that was held up for two and a half intervals ticks on where
    its schedule was, not where it was let go, and makes up for nothing."""
    step = 100 * MS
    with Pipe(tmp_path, "-i", "100") as pipe:
        early = [pipe.event() for _ in range(5)]
        pipe.process.signal(signal.SIGSTOP)
        time.sleep(0.25)
        pipe.process.signal(signal.SIGCONT)
        late = [pipe.event() for _ in range(8)]

        def apart():
            """How far from the schedule the events behind the delay are, at
            best: what the machine adds is noise, what is common to all is
            drift."""
            offsets = [(after["ingest_ns"] - before["ingest_ns"]) % step
                       for before in early for after in late[1:]]
            return min(min(x, step - x) for x in offsets)

        # More of them where the machine is noisy.
        while apart() >= 20 * MS and len(late) < 100:
            late.append(pipe.event())
    assert apart() < 20 * MS
    events = early + late
    assert [e["id"] for e in events] == list(range(len(events)))
    assert (late[-1]["ingest_ns"] - late[0]["ingest_ns"]
            > (len(late) - 3) * step)


# How it frames.

def test_pipe_and_file_get_lines(tmp_path):
    assert run("-n", "1").stdout.startswith(b"{")
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([METRONOME, "-n", "3", "-i", "0"], stdout=out,
                       timeout=PATIENCE, check=True)
    assert [e["id"] for e in events_of(tmp_path / "out")] == [0, 1, 2]


def test_socket_gets_length_frames(tmp_path):
    with Peer(tmp_path, "-n", "3", "-i", "0") as peer:
        assert [peer.event()["id"] for _ in range(3)] == [0, 1, 2]


def test_length_frames_on_a_pipe():
    out = run("-n", "2", "-i", "0", "--framing", "length").stdout
    size = int.from_bytes(out[:4], "big")
    assert json.loads(out[4:4 + size])["id"] == 0
    assert json.loads(out[8 + size:])["id"] == 1


def test_lines_on_a_socket(tmp_path):
    with Peer(tmp_path, "-n", "2", "-i", "0", "--framing=ndjson") as peer:
        lines = peer.sock.makefile("rb")
        assert [json.loads(line)["id"] for line in lines] == [0, 1]
        peer.send({"ack": 2})
        assert peer.wait() == DONE


# When it holds.

def test_open_breaker_stops_events_and_no_id_is_lost(tmp_path):
    with Peer(tmp_path, "-i", "20") as peer:
        peer.event()
        peer.send({"breaker": "open", "reason": "full"})
        peer.process.wait_log("breaker is open")
        wait_asleep(peer.process.pid)
        before = peer.events_so_far()
        peer.send({"breaker": "closed"})
        after = [peer.event() for _ in range(10)]
    ids = [e["id"] for e in before + after]
    assert ids == list(range(1, len(ids) + 1))
    # No burst makes up for the ticks that were skipped.
    assert after[-1]["ingest_ns"] - after[0]["ingest_ns"] > 5 * 20 * MS


def test_full_pipe_skips_ticks_and_no_id(tmp_path):
    with Pipe(tmp_path, "-i", "1", size=4096) as pipe:
        wait_asleep(pipe.process.pid)
        resumed = time.time_ns()
        events = [pipe.event()]
        while events[-1]["ingest_ns"] < resumed:
            events.append(pipe.event())
        after = [pipe.event() for _ in range(20)]
    assert [e["id"] for e in events] == list(range(len(events)))
    assert events[-1]["ingest_ns"] - events[-2]["ingest_ns"] > 100 * MS
    assert after[0]["id"] == len(events)
    assert after[-1]["ingest_ns"] - after[0]["ingest_ns"] > 10 * MS


def test_unacked_events_are_bounded(tmp_path):
    with Peer(tmp_path, "-i", "0") as peer:
        for i in range(UNACKED):
            assert peer.event()["id"] == i
        wait_asleep(peer.process.pid)
        assert not select.select([peer.sock], [], [], 0)[0]
        peer.send({"ack": 10})
        for i in range(10):
            assert peer.event()["id"] == UNACKED + i
        wait_asleep(peer.process.pid)
        assert not select.select([peer.sock], [], [], 0)[0]


def test_no_tick_wakes_a_metronome_that_waits(tmp_path):
    with Peer(tmp_path, "-i", "1", "-n", "1") as peer:
        peer.event()
        wait_asleep(peer.process.pid)
        assert peer.process.is_running()


# How it ends.

def test_end_of_stream_is_told_before_the_last_ack(tmp_path):
    with Peer(tmp_path, "-n", "5", "-i", "0") as peer:
        for _ in range(5):
            peer.event()
        assert peer.frames.next() is None
        peer.send({"ack": 3})
        assert peer.process.is_running()
        peer.send({"ack": 5})
        assert peer.wait() == DONE


def test_last_ack_comes_with_the_news_that_the_reader_left(tmp_path):
    with Peer(tmp_path, "-n", "2", "-i", "0") as peer:
        while peer.frames.next() is not None:
            pass
        peer.send({"ack": 2})
        peer.sock.close()
        assert peer.wait() == DONE


def test_acks_byte_by_byte(tmp_path):
    with Peer(tmp_path, "-n", "2", "-i", "0") as peer:
        while peer.frames.next() is not None:
            pass
        for byte in frame({"ack": 1}) + frame({"ack": 2}):
            peer.sock.sendall(bytes([byte]))
        assert peer.wait() == DONE


@pytest.mark.parametrize("timeout", ["0", "0.1"])
def test_acks_do_not_come_in_time(tmp_path, timeout):
    with Peer(tmp_path, "-n2", "-i0", "--drain-timeout", timeout) as peer:
        assert peer.wait() == AGAIN
        assert len(errors(peer.process)) == 1
        assert "drain timeout" in peer.process.text()


def test_reader_of_a_full_pipe_does_not_come_back_in_time(tmp_path):
    with Pipe(tmp_path, "-i", "0", "-n", "500", "--drain-timeout", "0.1",
              size=4096) as pipe:
        assert pipe.process.wait() == AGAIN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_without_acks(tmp_path, number):
    with Peer(tmp_path, "-i", "10") as peer:
        peer.event()
        peer.process.signal(number)
        assert peer.wait() == DONE
        assert not errors(peer.process)


def test_signal_waits_for_acks_that_come(tmp_path):
    with Peer(tmp_path, "-i", "86400000", env=slow_clock()) as peer:
        peer.event()
        peer.process.signal(signal.SIGTERM)
        assert peer.frames.next() is None
        peer.send({"ack": 1})
        assert peer.wait() == DONE
        assert " warn " not in peer.process.text()


def test_signal_while_it_waits_for_acks(tmp_path):
    with Peer(tmp_path, "-n", "1") as peer:
        while peer.frames.next() is not None:
            pass
        peer.process.signal(signal.SIGTERM)
        assert peer.wait() == DONE


def test_signal_leaves_whole_lines_in_a_full_pipe(tmp_path):
    with Pipe(tmp_path, "-i", "0") as pipe:
        wait_asleep(pipe.process.pid)
        pipe.process.signal(signal.SIGTERM)
        assert pipe.process.wait() == DONE
        data = pipe.file.read()
    assert data.endswith(b"\n")
    ids = [json.loads(line)["id"] for line in data.splitlines()]
    assert ids == list(range(len(ids)))


def test_kill_leaves_whole_lines(tmp_path):
    with Pipe(tmp_path, "-i", "0") as pipe:
        for _ in range(1000):
            pipe.event()
        pipe.process.kill()
        data = pipe.file.read()
    assert data.endswith(b"\n")


def test_reader_of_a_pipe_leaves(tmp_path):
    """It shows at once, even if no tick is due for a day."""
    with Pipe(tmp_path, "-i", "86400000") as pipe:
        pipe.event()
        pipe.file.close()
        assert pipe.process.wait() == AGAIN
        assert len(errors(pipe.process)) == 1


def test_reader_of_a_pipe_leaves_under_load(tmp_path):
    with Pipe(tmp_path, "-i", "0") as pipe:
        pipe.event()
        pipe.file.close()
        assert pipe.process.wait() == AGAIN
        assert len(errors(pipe.process)) == 1


@pytest.mark.parametrize("interval", ["0", "5", "86400000"])
def test_reader_of_a_socket_leaves(tmp_path, interval):
    with Peer(tmp_path, "-i", interval) as peer:
        peer.event()
        peer.sock.close()
        assert peer.wait() == AGAIN
        assert len(errors(peer.process)) == 1


def test_acks_end_before_all_came(tmp_path):
    with Peer(tmp_path, "-n", "2", "-i", "0") as peer:
        peer.event()
        peer.send({"ack": 1})
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.wait() == AGAIN
        assert len(errors(peer.process)) == 1


def test_full_disk(tmp_path):
    with open("/dev/full", "wb") as full, \
            Process([METRONOME], tmp_path / "log", stdout=full) as process:
        assert process.wait() == AGAIN
        assert len(errors(process)) == 1
        assert "No space left" in process.text()


# What it takes from its reader.

@pytest.mark.parametrize("message", [
    {}, {"future": [1, {"x": None}]}, {"ack": 0}, {"ack": 1, "more": "\0"},
    {"reject": 1, "reason": "too big"}, {"breaker": "closed"},
    b' {"x":"\\ud800"} ', b'{"x":' + b"1" * 100 + b"}"])
def test_message_is_taken_or_ignored(tmp_path, message):
    with Peer(tmp_path, "-n", "2", "-i", "0") as peer:
        peer.event()
        peer.send(message)
        peer.send({"ack": 2})
        assert peer.wait() == DONE


@pytest.mark.parametrize("messages", [
    [{"ack": 2}, {"ack": 1}], [{"ack": 4}], [{"ack": 1 << 53}],
    [{"ack": 1 << 60}], [{"reject": 0}], [{"reject": 4}]])
def test_count_that_cannot_be(tmp_path, messages):
    with Peer(tmp_path, "-n", "3", "-i", "0") as peer:
        peer.event()
        for message in messages:
            peer.send(message)
        assert peer.wait() == AGAIN
        assert len(errors(peer.process)) == 1
        assert "broke the protocol" in peer.process.text()


@pytest.mark.parametrize("data", [
    b'{"ack":1}\n', b"\xff" * 100, b"\0\xff\xff\xff", b"\0\0\x08\x01",
    frame(b""), frame(b" "), frame(b"[1]"), frame(b"1"), frame(b"nil"),
    frame(b'{"ack":01}'), frame(b'{"ack":-1}'), frame(b'{"ack":1.5}'),
    frame(b'{"ack":"1"}'), frame(b'{"ack":null}'), frame(b'{"ack":1e999}'),
    frame(b'{"ack":1}}'), frame(b'{"ack":1'), frame(b'{"x":"\xff"}'),
    frame(b'{"breaker":1}'), frame(b'{"breaker":"Open"}'),
    frame(b'{"reject":{}}'), frame(b"[" * 2000)])
def test_bytes_that_are_no_message(tmp_path, data):
    with Peer(tmp_path, "-i", "86400000") as peer:
        peer.event()
        peer.sock.sendall(data)
        assert peer.wait() == AGAIN
        assert len(errors(peer.process)) == 1


def test_random_bytes_end_it_in_order(tmp_path):
    dice = random.Random(11)
    for _ in range(20):
        with Peer(tmp_path, "-i", "1") as peer:
            try:
                peer.sock.sendall(dice.randbytes(dice.randrange(1, 300)))
            except (BrokenPipeError, ConnectionResetError):
                pass
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.wait() == AGAIN


# What it takes from its user.

@pytest.mark.parametrize("options", [
    ["-x"], ["-vx"], ["--nothing"], ["-i"], ["--count"], ["-i", ""],
    ["-i", "-1"], ["-i", "1.5"], ["-i", "10ms"], ["-i", "86400001"],
    ["-i", "99999999999999999999"], ["-n", "0"], ["-n", "x"],
    ["--id", "\udcff"], ["--id", "x" * 256], ["--id"],
    ["--size", "0"], ["--size", "65537"], ["--size", "1k"],
    ["--framing", "auto"], ["--framing", ""], ["--drain-timeout", "-1"],
    ["--drain-timeout", "1.0001"], ["--drain-timeout", "soon"],
    ["word"], ["--", "word"], ["-"], ["--quiet=1"]])
def test_usage_error_is_one_line_and_final(options):
    done = run(*options)
    assert done.returncode == FINAL
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b" error " in done.stderr


def test_closed_output_is_final():
    done = subprocess.run([METRONOME], capture_output=False, check=False,
                          stderr=subprocess.PIPE, timeout=PATIENCE,
                          preexec_fn=lambda: os.close(1))
    assert done.returncode == FINAL
    assert b"standard output" in done.stderr


@pytest.mark.parametrize("options, words", [
    (["-h"], b"usage: metronome"), (["--help"], b"--drain-timeout"),
    (["--version"], b"metronome ")])
def test_questions_are_answered_on_stdout(options, words):
    done = run(*options)
    assert done.returncode == DONE
    assert words in done.stdout
    assert done.stderr == b""


def test_quiet_and_verbose():
    assert run("-q", "-n", "1").stderr == b""
    assert b" info " in run("-n", "1").stderr
    assert b" debug " in run("-v", "-n", "1").stderr

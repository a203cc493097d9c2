"""What comes into walproc: framings, what it inserts, bad input and the dead
letters, and what a pipe still holds when it is told to stop.
"""

import json
import os
import socket
import subprocess

import pytest
from bad_input import BAD_INPUT
from neighbours import Wal, dead_letters, run_pipe, start_piped
from support import AGAIN, DONE, Process, events_of, frame, program, wait_until


def test_an_event_that_can_never_fit_is_a_dead_letter(tmp_path):
    with Wal(tmp_path, "--max-bytes", "16384") as wal:
        wal.send({"x": "y" * 20000}, {"n": 1})
        wal.wait_acked(2)
        assert wal.event() == {"n": 1}
    assert dead_letters(tmp_path)[0][0] == "does not fit into --max-bytes"


@pytest.mark.parametrize("data", [
    b'{"n":1}\n{"n":2}\n', b'{"n":1}\r\n{"n":2}', frame(b'{"n":1}') +
    frame(b'{"n":2}')])
def test_a_pipe_in_either_framing(tmp_path, data):
    code, out, _ = run_pipe(tmp_path, data)
    assert (code, out) == (DONE, b'{"n":1}\n{"n":2}\n')


def test_an_event_with_raw_line_ends_stays_one_line(tmp_path):
    code, out, _ = run_pipe(tmp_path, frame(b'{\n"a" :\r\n"b"}'))
    assert (code, out) == (DONE, b'{ "a" :  "b"}\n')


def test_insert_and_upsert_with_placeholders(tmp_path):
    env = dict(os.environ, WALPIPE_SITE='a"b')
    code, out, _ = run_pipe(
        tmp_path, b'{"id":1,"v":0}\n', "--insert", "hostname=${hostname}",
        "--insert", "site=${env:WALPIPE_SITE}", "--insert", "seq=${seq}",
        "--insert", "at=${ingest_ns}", "--insert", "in=${instance}",
        "--upsert", "v=[1,2]", "--instance", "07", env=env)
    assert code == DONE
    event = json.loads(out)
    assert list(event) == ["id", "v", "hostname", "site", "seq", "at", "in"]
    assert event["hostname"] == socket.gethostname()
    assert event["site"] == 'a"b' and event["v"] == [1, 2]
    assert event["seq"] == 1 and event["in"] == "07"
    assert event["at"] > 1_600_000_000_000_000_000


@pytest.mark.parametrize("name", BAD_INPUT)
@pytest.mark.parametrize("framing", ["ndjson", "length"])
def test_bad_input_is_kept_apart_and_good_goes_on(tmp_path, name, framing):
    bad, reason = BAD_INPUT[name]
    events = [b'{"n":0}', bad, b'{"n":2}']
    if framing == "length":
        data = b"".join(frame(e) for e in events)
    else:
        data = b"\n".join(events) + b"\n"
    code, out, log = run_pipe(tmp_path, data, "--insert",
                              "hostname=${hostname}")
    assert code == DONE
    assert [json.loads(line)["n"] for line in out.splitlines()] == [0, 2]
    assert dead_letters(tmp_path) == [(reason, bad)]
    assert "event 2 of the input: " in log


def test_a_line_of_16_mib_is_kept_apart(tmp_path):
    line = b'{"a":"' + b"x" * (16 << 20) + b'"}'
    code, out, _ = run_pipe(tmp_path, b'{"n":0}\n' + line + b'\n{"n":2}\n')
    assert (code, out) == (DONE, b'{"n":0}\n{"n":2}\n')
    assert dead_letters(tmp_path) == [("longer than an event may be", line)]


def test_a_last_line_of_16_mib_without_its_end_is_kept_apart(tmp_path):
    line = b"y" * ((16 << 20) + 7)
    code, out, _ = run_pipe(tmp_path, b'{"n":0}\n' + line)
    assert (code, out) == (DONE, b'{"n":0}\n')
    assert dead_letters(tmp_path) == [("longer than an event may be", line)]


def test_the_largest_event_goes_through(tmp_path):
    line = b'{"a":"' + b"x" * ((1 << 24) - 1 - 8) + b'"}'
    assert len(line) == (1 << 24) - 1
    code, out, _ = run_pipe(tmp_path, line + b"\n", "--max-elements", "10")
    assert (code, out) == (DONE, line + b"\n")


def test_max_event_bytes(tmp_path):
    code, out, _ = run_pipe(tmp_path, b'{"a":12}\n{"a":123}\n',
                            "--max-event-bytes", "8")
    assert (code, out) == (DONE, b'{"a":12}\n')
    assert dead_letters(tmp_path) == [("longer than 8 bytes", b'{"a":123}')]


@pytest.mark.parametrize("tail", [
    b"\x00\x00\x00\x05{}", b"\x00\x00", b"not a frame at all"])
def test_length_framing_that_breaks_off_keeps_what_is_there(tmp_path, tail):
    code, out, log = run_pipe(tmp_path, frame(b'{"n":0}') + tail)
    assert (code, out) == (AGAIN, b'{"n":0}\n')
    assert [e for _, e in dead_letters(tmp_path)] == [tail]
    assert "error input: " in log


def test_a_half_written_dead_letter_is_cut(tmp_path):
    run_pipe(tmp_path, b"bad\n")
    path = tmp_path / "wal" / "dead-letters.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time":"2026-')
    run_pipe(tmp_path, b"")
    assert path.read_bytes() == whole


def test_sigterm_keeps_what_it_cannot_take(tmp_path):
    """Half an event, and what there was no room for, go to the dead letters;
    that is no failure."""
    process, pipe = start_piped(tmp_path)
    os.write(pipe, b'{"n":0}\n{"n":')
    wait_until(lambda: events_of(tmp_path / "out"), "the first event")
    assert process.stop() == DONE
    os.close(pipe)
    assert dead_letters(tmp_path) == [("stopped within it", b'{"n":')]


def test_sigterm_within_a_line_that_is_too_long(tmp_path):
    line = b"z" * (17 << 20)
    process, pipe = start_piped(tmp_path)
    left = memoryview(line)
    while left:
        left = left[os.write(pipe, left):]
    assert process.stop() == DONE
    os.close(pipe)
    [(reason, kept)] = dead_letters(tmp_path)
    # What was still in the pipe itself when it stopped is nobody's.
    assert reason in ("longer than an event may be", "stopped within it")
    assert line.startswith(kept) and len(kept) > len(line) - (1 << 17)


def test_a_stop_with_the_log_full_keeps_what_was_read(tmp_path):
    acks = tmp_path / "acks"
    read_end, pipe = os.pipe()
    process = Process(
        [program("walproc"), "-d", tmp_path / "wal", "--acks", acks,
         "--max-elements", "3"], tmp_path / "log", stdin=read_end,
        stdout=subprocess.PIPE)
    os.close(read_end)
    os.write(pipe, b"".join(b'{"n":%d}\n' % n for n in range(10)))
    process.wait_log("log full: 3 events")
    assert process.stop() == DONE
    os.close(pipe)
    process.child.stdout.close()
    assert dead_letters(tmp_path) == [
        ("stopped before there was room for it", b'{"n":%d}' % n)
        for n in range(3, 10)]


def test_an_output_file_cut_off_within_a_line(tmp_path):
    (tmp_path / "out").write_bytes(b'{"n":0}\n{"n":1,"x":"yy')
    process, pipe = start_piped(tmp_path)
    os.write(pipe, b'{"n":1}\n')
    os.close(pipe)
    assert process.wait() == DONE
    assert (tmp_path / "out").read_bytes() == (
        b'{"n":0}\n{"n":1,"x":"yy\n{"n":1}\n')


def test_dead_letters_can_be_moved_away_at_any_time(tmp_path):
    letters = tmp_path / "wal" / "dead-letters.ndjson"
    with Wal(tmp_path) as wal:
        for n, move in enumerate((
                lambda: letters.rename(tmp_path / "moved"),
                letters.unlink,
                lambda: os.truncate(letters, 0),
                lambda: None)):
            wal.send(b"bad%d" % n)
            wal.wait_acked(n + 1)
            assert dead_letters(tmp_path) == [
                ("value expected", b"bad%d" % n)]
            move()


def test_sigterm_takes_in_what_the_pipe_holds(tmp_path):
    """A source behind a pipe cannot send again, so nothing that it wrote
    before the signal is left behind."""
    read_end, write_end = os.pipe()
    with open(tmp_path / "out", "wb") as out:
        process = Process(
            [program("walproc"), "-d", tmp_path / "wal", "--acks", "none"],
            tmp_path / "log", stdin=read_end, stdout=out)
    os.close(read_end)
    process.wait_log("events stored")
    os.write(write_end, b"".join(b'{"n":%d}\n' % n for n in range(900)))
    assert process.stop() == DONE
    os.close(write_end)
    code, out, _ = run_pipe(tmp_path, b"")
    seen = events_of(tmp_path / "out") + [json.loads(x)
                                          for x in out.splitlines()]
    assert {e["n"] for e in seen} == set(range(900))

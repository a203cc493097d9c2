"""walproc alone, between a source and a sink that this test plays over real
sockets and pipes: what it promises to each, and that it keeps it over kill -9.
"""

import json
import os
import signal
import socket
import struct
import subprocess

import pytest
from neighbours import (Wal, assert_silent, dead_letters, drain, numbered,
                        run_pipe)
from support import (AGAIN, DONE, FINAL, Process, events_of, frame, program,
                     shimmed, wait_until)


def marks_of(directory):
    """How many commit marks the log's segments have; see walseg(5)."""
    count = 0
    for path in (directory / "wal").glob("*.seg"):
        data = path.read_bytes()
        at = 4608
        while data[at:at + 4] == b"WPBH":
            body, records = struct.unpack_from(">II", data, at + 4)
            count += records == 0
            at += (48 + body + 7) // 8 * 8
    return count


def wal_files(directory):
    return sorted(p.name for p in (directory / "wal").iterdir())


def test_events_flow_through_and_are_acked_each_way(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 5))
        wal.wait_acked(5)
        assert [wal.event() for _ in range(5)] == numbered(0, 5)
        wal.ack(5)
        wal.end_input()
        assert wal.process.wait() == DONE
        assert wal.event() is None


def test_the_source_is_acked_while_the_sink_takes_nothing(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 100))
        wal.wait_acked(100)


def test_an_event_keeps_its_bytes(tmp_path):
    event = b'{ "b" : 1.50E+3, "a":[1 , "\\u00e4\xc3\xa4"],\t"b":null }'
    with Wal(tmp_path) as wal:
        wal.send(event)
        assert wal.events.next() == event


def test_the_sink_is_given_at_most_read_count_events(tmp_path):
    with Wal(tmp_path, "--read-count", "3") as wal:
        wal.send(*numbered(0, 10))
        wal.wait_acked(10)
        assert [wal.event()["n"] for _ in range(3)] == [0, 1, 2]
        assert_silent(wal.events)
        wal.ack(2)
        assert [wal.event()["n"] for _ in range(2)] == [3, 4]
        assert_silent(wal.events)


def test_unacked_events_come_again_first_after_a_restart(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 10))
        wal.wait_acked(10)
        assert [wal.event()["n"] for _ in range(10)] == list(range(10))
        wal.ack(4)
        wal.process.signal(signal.SIGTERM)
        assert wal.process.wait() == DONE
    with Wal(tmp_path) as wal:
        wal.send({"n": 10})
        assert [wal.event()["n"] for _ in range(7)] == list(range(4, 11))


def test_numbers_in_the_log_are_never_used_again(tmp_path):
    seen = []
    for _ in range(4):
        with Wal(tmp_path, "--insert", "seq=${seq}", "--insert",
                 "log=${log_id}") as wal:
            wal.send({}, {}, {})
            wal.wait_acked(3)
            for n in range(3):
                seen.append(wal.event())
                wal.ack(n + 1)
            wal.end_input()
            assert wal.process.wait() == DONE
    assert [e["seq"] for e in seen] == list(range(1, 13))
    assert len({e["log"] for e in seen}) == 1


def has_all(received, acked):
    """The oracle: every event that was acked came out."""
    return set(range(acked)) <= set(received)


@pytest.mark.parametrize("seed", range(3))
def test_kill_at_any_moment_loses_nothing_that_was_acked(tmp_path, seed):
    """The source sends on and resends what was not acked; the sink acks now
    and then; walproc is killed in between, 20 times."""
    acked = 0
    received = []
    for round_ in range(20):
        with Wal(tmp_path, "--max-elements", "100000") as wal:
            batch = numbered(acked, 50 + (seed * 7 + round_ * 13) % 200)
            wal.send(*batch)
            while wal.acked < len(batch) * (round_ % 4) // 4:
                wal.acked = wal.answer().get("ack", wal.acked)
            for count in range((seed + round_ * 5) % 30):
                received.append(wal.event()["n"])
                if count % 3 == 0:
                    wal.ack(count + 1)
            wal.process.kill()
            # An ack that was sent before the death counts.
            while (answer := wal.answers.next()) is not None:
                wal.acked = json.loads(answer).get("ack", wal.acked)
            acked += wal.acked
    drain(tmp_path, received)
    assert has_all(received, acked)
    # Order: the first time that each number came is in order.
    firsts = list(dict.fromkeys(received))
    assert firsts == sorted(firsts)
    assert acked > 500


@pytest.mark.parametrize("lose, is_whole", [(0, True), (2, False)])
def test_the_negative_control_a_log_that_acks_what_it_has_not(
        tmp_path, lose, is_whole):
    """The oracle on a log of which every second batch was never written must
    see what is missing. Each event waits for the ack of the one before, so
    that each is a batch."""
    with Wal(tmp_path, env=shimmed(SHIM_LOSE_BATCH=lose)) as wal:
        for n in range(10):
            wal.send({"n": n})
            wal.wait_acked(n + 1)
        wal.process.kill()
    received = []
    drain(tmp_path, received)
    assert has_all(received, acked=10) == is_whole


def early(trace):
    """Where in a trace (t/shim.c) an ack or an event left before what it
    stands for was durable, a segment got its name before its header was, or
    was unlinked before the cursor was: line numbers and what was missing."""
    pending = {}
    cursor_is_synced = False
    found = []
    for number, line in enumerate(trace, 1):
        call, *words = line.split()
        if call == "pwrite" and (words[1] == "batch" or words[0] in (
                "dead-letters.ndjson", "spare.tmp")):
            pending[words[0]] = "fdatasync"
        if words and words[0] == "cursor":
            cursor_is_synced = call == "fdatasync"
        if call == "unlink" and words[0].endswith(".seg") and \
                not cursor_is_synced:
            found.append((number, call, "cursor"))
        if call == "fdatasync":
            pending.pop(words[0], None)
        if call == "rename" and words[1].endswith(".seg"):
            if "spare.tmp" in pending:
                found.append((number, call, dict(pending)))
            pending["wal"] = "fsync"
        if call == "fsync":
            pending.pop(words[0], None)
        if call in ("ack", "event") and pending:
            found.append((number, call, dict(pending)))
    return found


def test_no_ack_and_no_event_leaves_before_its_sync(tmp_path):
    """In the order of the system calls, over rolls and dead letters. And with
    any kind of sync left out of the trace the same check finds it missing."""
    trace = tmp_path / "trace"
    with Wal(tmp_path, "--segment-bytes", "16384",
             env=shimmed(SHIM_TRACE=trace)) as wal:
        for n in range(0, 60, 2):
            wal.send({"n": n, "x": "y" * 1000}, b"bad")
            wal.wait_acked(n + 2)
            assert wal.event()["n"] == n
            wal.ack(n // 2 + 1)
    lines = trace.read_text().splitlines()
    assert early(lines) == []
    kinds = {line.split()[0] for line in lines}
    assert kinds == {"pwrite", "fdatasync", "fsync", "rename", "unlink", "ack",
                     "event"}
    # The directory's own name was made durable, before the first ack.
    assert f"fsync {tmp_path.name}" in lines[:lines.index("ack")]
    for gone in ("fsync", "fdatasync dead-letters", "fdatasync 0",
                 "fdatasync cursor", "fdatasync spare"):
        assert early([x for x in lines if not x.startswith(gone)]), gone


def test_a_full_disk_pauses_the_intake_only(tmp_path):
    """What is there is delivered, nothing is acked that is not on disk, no
    half written letter stays, and all goes on when there is room again."""
    full = tmp_path / "full"
    with Wal(tmp_path, "--segment-bytes", "16384",
             env=shimmed(SHIM_FULL=full)) as wal:
        wal.send(*({"n": n, "x": "y" * 300} for n in range(5)))
        wal.wait_acked(5)
        full.touch()
        wal.send(b"bad", *({"n": n, "x": "y" * 900} for n in range(5, 40)))
        answer = wal.answer()
        assert answer == {"breaker": "open", "reason": "disk full"}
        assert [wal.event()["n"] for _ in range(5)] == list(range(5))
        wal.ack(5)
        wal.process.wait_log("disk full")
        assert wal.process.is_running()
        assert dead_letters(tmp_path) == []
        full.unlink()
        while (answer := wal.answer()) != {"breaker": "closed"}:
            pass
        wal.wait_acked(41)
        wal.end_input()
        for n in range(5, 40):
            assert wal.event()["n"] == n
            wal.ack(n + 1)
        assert wal.process.wait() == DONE
    assert dead_letters(tmp_path) == [("value expected", b"bad")]


def test_a_disk_that_is_full_from_the_start(tmp_path):
    full = tmp_path / "full"
    with Wal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wal.process.kill()
    full.touch()
    with Wal(tmp_path, env=shimmed(SHIM_FULL=full)) as wal:
        wal.send({"n": 1})
        assert wal.answer()["breaker"] == "open"
        full.unlink()
        wal.wait_acked(1)
        assert [wal.event()["n"] for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_failed_sync_is_not_acked_and_nothing_acked_is_lost(tmp_path, nth):
    """Whichever fdatasync fails, be it of a batch, the cursor or a new
    segment: exit 111, no ack for what it stood for, and what was acked before
    comes out of the next run."""
    acked = sent = 0
    with Wal(tmp_path, env=shimmed(SHIM_FAIL_SYNC=nth)) as wal:
        try:
            for sent in range(1, 12):
                wal.send({"n": sent - 1})
                while wal.acked < sent:
                    wal.acked = wal.answer().get("ack", wal.acked)
        except (TypeError, BrokenPipeError, ConnectionResetError):
            pass
        acked = wal.acked
        assert wal.process.wait() == AGAIN
        assert "Input/output error" in wal.process.text()
    # Every event has a sync of its own here, so the failed one shows.
    assert acked < sent
    with Wal(tmp_path) as wal:
        wal.end_input()
        received = []
        while (event := wal.event()) is not None:
            received.append(event["n"])
            wal.ack(len(received))
        assert wal.process.wait() == DONE
    assert received[:acked] == list(range(acked))
    assert received in (list(range(acked)), list(range(sent)))


def test_max_elements_is_exact_and_the_breaker_opens_and_closes(tmp_path):
    with Wal(tmp_path, "--max-elements", "10", "--read-count", "1") as wal:
        wal.send(*numbered(0, 25))
        answers = []
        while not any("breaker" in a for a in answers):
            answers.append(wal.answer())
        if "ack" not in answers[-1]:
            answers.append(wal.answer())
        assert {"ack": 10} in answers
        opened = [a for a in answers if "breaker" in a]
        assert [a["breaker"] for a in opened] == ["open"]
        assert "10 events" in opened[0]["reason"]
        # Below 90 % means 8 of 10: not at 9.
        assert wal.event()["n"] == 0
        wal.ack(1)
        assert wal.event()["n"] == 1
        assert_silent(wal.answers)
        wal.ack(2)
        assert wal.answer() == {"breaker": "closed"}


def test_the_breaker_opens_with_the_last_event_that_fits(tmp_path):
    """Not with the next one, which the source should not make in vain."""
    with Wal(tmp_path, "--max-elements", "10") as wal:
        wal.send(*numbered(0, 10))
        answers = [wal.answer(), wal.answer()]
        assert {"ack": 10} in answers
        assert {a.get("breaker") for a in answers} == {None, "open"}


def test_max_bytes_is_hard_on_disk(tmp_path):
    limit, segment = 200_000, 65536
    with Wal(tmp_path, "--max-bytes", str(limit)) as wal:
        wal.send(*({"n": n, "x": "y" * 1000} for n in range(220)))
        while wal.answer().get("breaker") != "open":
            pass
        used = sum(p.stat().st_size for p in (tmp_path / "wal").iterdir()
                   if p.is_file())
        assert limit * 0.9 < used < limit + 2 * segment + 65536


def test_a_rejected_event_goes_to_the_dead_letters(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 4))
        wal.wait_acked(4)
        for _ in range(4):
            wal.event()
        wal.sink.sendall(frame({"reject": 2, "reason": "too big"}))
        wal.ack(4)
        wal.end_input()
        assert wal.process.wait() == DONE
    assert dead_letters(tmp_path) == [("too big", b'{"n": 1}')]
    letters = events_of(tmp_path / "wal" / "dead-letters.ndjson")
    assert letters[0]["seq"] == 2


def test_a_reject_while_a_line_that_is_too_long_still_comes(tmp_path):
    """Each letter is whole; a peer's words neither end a log line nor reach
    the terminal as they are."""
    line = b"z" * (17 << 20)
    with Wal(tmp_path) as wal:
        wal.source.sendall(b'{"n":0}\n' + line[:1 << 20])
        assert wal.event() == {"n": 0}
        wal.source.sendall(line[1 << 20:-5])
        wal.sink.sendall(frame({"reject": 1, "reason": "a\n\x1b[31mb\""}))
        wait_until(lambda: dead_letters(tmp_path), "the first letter")
        wal.source.sendall(line[-5:] + b'\n{"n":1}\n')
        assert wal.event() == {"n": 1}
        assert dead_letters(tmp_path) == [
            ('a[31mb"', b'{"n":0}'), ("longer than an event may be", line)]
        assert "by the sink: a\\x0a\\x1b[31mb\"" in wal.process.text()


def test_the_sinks_breaker_stops_the_delivery(tmp_path):
    with Wal(tmp_path) as wal:
        wal.sink.sendall(frame({"breaker": "open", "reason": "x"}))
        wal.sink.sendall(frame({"unknown": [1]}))
        wal.process.child.poll()
        wal.send({"n": 0})
        wal.wait_acked(1)
        # The breaker may have come after the first event was given; then
        # the second shows it.
        wal.send({"n": 1})
        wal.wait_acked(2)
        wal.sink.sendall(frame({"breaker": "closed"}))
        assert wal.event()["n"] == 0
        assert wal.event()["n"] == 1


@pytest.mark.parametrize("hostile", [
    frame({"ack": 5}), frame({"ack": -1}), frame({"ack": 1.5}),
    frame({"ack": "1"}), frame(b"{"), frame(b"[]"), b"GET / HTTP/1.1\r\n\r\n",
    frame({"reject": 1}), frame({"breaker": "maybe"}), b"\0\xff\xff\xff",
])
def test_a_sink_that_answers_nonsense_ends_the_run_and_loses_nothing(
        tmp_path, hostile):
    with Wal(tmp_path) as wal:
        wal.sink.sendall(hostile)
        assert wal.process.wait() == AGAIN
        assert "sink: " in wal.process.text()
    with Wal(tmp_path) as wal:
        wal.send({"n": 1})
        wal.wait_acked(1)
        assert wal.event() == {"n": 1}


def test_acks_that_fall_are_nonsense(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        for _ in range(3):
            wal.event()
        wal.ack(2)
        wal.ack(1)
        assert wal.process.wait() == AGAIN


def test_a_sink_that_leaves_ends_the_run(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wal.sink.close()
        assert wal.process.wait() == AGAIN
        assert "sink left: 1 events stay in the log" in wal.process.text()


def test_end_of_input_delivers_the_rest_and_waits_for_the_acks(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 50))
        wal.end_input()
        for n in range(50):
            assert wal.event() == {"n": n}
            assert wal.process.is_running()
            wal.ack(n + 1)
        assert wal.process.wait() == DONE


def test_drain_timeout_leaves_the_rest_in_the_log(tmp_path):
    with Wal(tmp_path, "--drain-timeout", "0.1") as wal:
        wal.send(*numbered(0, 5))
        wal.end_input()
        assert wal.process.wait() == AGAIN
        assert "5 events stay in the log" in wal.process.text()
    with Wal(tmp_path) as wal:
        assert wal.event() == {"n": 0}


def test_a_frame_cut_off_by_the_source_is_sent_again_by_it(tmp_path):
    with Wal(tmp_path) as wal:
        wal.source.sendall(frame({"n": 0}) + frame({"n": 1})[:-1])
        wal.wait_acked(1)
        wal.source.shutdown(socket.SHUT_WR)
        assert wal.event() == {"n": 0}
        wal.ack(1)
        assert wal.process.wait() == AGAIN
        assert "ended within a frame" in wal.process.text()
    assert dead_letters(tmp_path) == []


def test_a_second_walproc_is_told_who_has_the_log(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        code, _, log = run_pipe(tmp_path, b"")
        assert code == FINAL
        assert f"pid {wal.process.pid}" in log


def test_directory_and_files_are_private(tmp_path):
    os.umask(0)
    run_pipe(tmp_path, b'{"n":1}\nbad\n')
    assert (tmp_path / "wal").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "wal").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_output_without_a_way_back_is_refused(tmp_path):
    done = subprocess.run([program("walproc"), "-d", tmp_path / "wal"],
                          input=b"", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert done.returncode == FINAL
    assert b"--acks PATH" in done.stderr and b"--acks none" in done.stderr
    assert not (tmp_path / "wal").exists()


def test_a_reject_that_finds_the_disk_full_waits(tmp_path):
    full = tmp_path / "full"
    with Wal(tmp_path, env=shimmed(SHIM_FULL=full)) as wal:
        wal.send(*numbered(0, 3))
        for n in range(3):
            assert wal.event()["n"] == n
        full.touch()
        wal.sink.sendall(frame({"reject": 1, "reason": "no"}))
        wal.ack(3)
        wal.process.wait_log("disk full")
        full.unlink()
        wal.end_input()
        assert wal.process.wait() == DONE
    assert dead_letters(tmp_path) == [("no", b'{"n": 0}')]


def test_damage_to_the_last_event_is_no_torn_tail(tmp_path):
    """The commit mark proves the last batch too, without a clean stop."""
    with Wal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wait_until(lambda: marks_of(tmp_path) == 1, "the mark")
        wal.process.kill()
    [segment] = (tmp_path / "wal").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b'{"n": 0}') + 1] ^= 1
    segment.write_bytes(data)
    with Wal(tmp_path) as wal:
        wal.process.wait_log("1 events from 1 on are damaged")
        wal.end_input()
        assert wal.process.wait() == DONE
    assert list((tmp_path / "wal" / "quarantine").iterdir())


def test_damage_alone_does_not_keep_it_waiting(tmp_path):
    """All that is left in the log is damaged: it is counted, and the run goes
    on and ends."""
    with Wal(tmp_path, "--max-elements", "3") as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        wal.process.signal(signal.SIGTERM)
        assert wal.process.wait() == DONE
    [segment] = (tmp_path / "wal").glob("*.seg")
    data = bytearray(segment.read_bytes())
    for n in range(3):
        at = data.index(b'{"n": %d}' % n)
        data[at + 1] ^= 1
    segment.write_bytes(data)
    with Wal(tmp_path, "--max-elements", "3") as wal:
        wal.send({"n": 3})
        assert wal.event() == {"n": 3}
        wal.ack(1)
        wal.end_input()
        assert wal.process.wait() == DONE
        assert "are damaged" in wal.process.text()
    assert list((tmp_path / "wal" / "quarantine").iterdir())


def test_acks_through_a_fifo(tmp_path):
    acks = tmp_path / "wal" / "acks"
    process = Process(
        [program("walproc"), "-d", tmp_path / "wal", "--acks", acks],
        tmp_path / "log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.child.stdin.write(b'{"n":1}\n{"n":2}\n')
    process.child.stdin.close()
    wait_until(acks.is_fifo, "the FIFO")
    with open(acks, "wb", buffering=0) as fifo:
        assert process.child.stdout.readline() == b'{"n":1}\n'
        assert process.child.stdout.readline() == b'{"n":2}\n'
        fifo.write(frame({"ack": 1}))
        fifo.write(frame({"ack": 2}))
        assert process.wait() == DONE
    process.child.stdout.close()


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_input_or_output_is_refused(tmp_path, closed):
    done = subprocess.run(
        ["sh", "-c", f"{program('walproc')} -d {tmp_path}/wal --acks none "
         f"{closed}"], input=b'{"n":1}\n', stderr=subprocess.PIPE)
    assert done.returncode == FINAL and b"is closed" in done.stderr
    assert not (tmp_path / "wal").exists()


def test_help_that_cannot_be_written(tmp_path):
    for word in ("--help", "--version"):
        with open("/dev/full", "wb") as full:
            assert subprocess.run([program("walproc"), word],
                                  stdout=full).returncode == AGAIN
        assert subprocess.run([program("walproc"), word],
                              stdout=subprocess.PIPE).returncode == DONE


def test_acks_at_a_path_that_is_no_fifo_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    code, _, log = run_pipe(tmp_path, b"", "--acks", tmp_path / "file")
    assert code == FINAL and "no FIFO" in log
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("options, words", [
    (["--read-count", "0"], "--read-count 0: a whole number from 1"),
    (["--read-count", "x"], "--read-count x: "),
    (["--max-elements", "-1"], "--max-elements -1: "),
    (["--max-bytes", "100"], "--max-bytes 100: "),
    (["--max-event-bytes", "16777216"], "--max-event-bytes 16777216: "),
    (["--insert", "novalue"], "--insert novalue: KEY=VALUE expected"),
    (["--insert", "a=${what}"], "unknown placeholder ${what}"),
    (["--insert", "a=${env:NO_SUCH_VARIABLE}"], "NO_SUCH_VARIABLE is not set"),
    (["--update", "a"], "--update a: KEY=VALUE expected"),
    (["--erase", ""], "--erase : KEY expected"),
    (["--merge", "a=[1]"], "--merge a=[1]: a record is expected"),
    (["--merge-event", "a"], "a JSON object: value expected at byte 0"),
    (["--merge-event", '{"a":1,"a":2}'], 'the record has the key "a" twice'),
    (["--framing", "xml"], "--framing xml: "),
    (["--drain-timeout", "soon"], "--drain-timeout soon: "),
    (["--sync", "now"], "--sync now: always, never or interval:MS"),
    (["--sync", "interval:0"], "--sync interval:0: always, never or"),
    (["--on-full", "drop"], "--on-full drop: pause, drop_oldest or"),
    (["--max-age", "0"], "--max-age 0: seconds"),
    (["--max-bytes", "20000", "--segment-bytes", "20001"],
     "larger than --max-bytes"),
    (["--segment-bytes", "16383"], "--segment-bytes 16383"),
    (["--nonsense"], "--nonsense: unknown option"),
    (["--read-count"], "--read-count: its value is missing"),
    (["more"], "more: not expected"),
])
def test_wrong_usage_is_refused(tmp_path, options, words):
    code, _, log = run_pipe(tmp_path, b"", *options)
    assert code == FINAL
    assert words in log
    assert not (tmp_path / "wal").exists()

"""The cursors of several sinks of a walproc over crashes: what each sink had
ended stays so, and what it had not is not skipped, whatever is lost.
"""

import os
import shutil
import signal

import pytest
from fanned import FanWal, assert_adds_up
from neighbours import numbered
from support import DONE, lines_of, shimmed


def kill(wal):
    os.kill(wal.process.pid, signal.SIGKILL)
    wal.process.wait()


def make_log(directory, **acked):
    """A log of 12 events with these sinks, each of which has acked so many;
    walproc is killed."""
    with FanWal(directory, ["s"], acked) as wal:
        source = wal.source("s")
        source.send(*numbered(0, 12))
        source.wait_acked(12)
        for name, count in acked.items():
            sink = wal.sink(name)
            assert sink.take(12) == list(range(12))
            sink.ack(count)
            wal.wait_sink(name, delivered=count)
        kill(wal)


def has_named(wal, *streams):
    """Whether it has come to answer after that."""
    try:
        wal.name(*streams)
        wal.process.tell({"ask": "report"})
        while (message := wal.process.take()) is not None:
            if "report" in message:
                return True
    except OSError:
        pass
    return False


@pytest.mark.parametrize("names", [["a"], ["b"], ["a", "c"]], ids="-".join)
def test_a_crash_at_any_call_while_sinks_are_named(tmp_path, names):
    """Nobody starts further on than where he was, nor anywhere else."""
    made = tmp_path / "made"
    made.mkdir()
    make_log(made, a=10, b=5)
    for call in range(1, 200):
        place = tmp_path / str(call)
        shutil.copytree(made, place)
        with FanWal(place, None, None,
                    env=shimmed("shim_tools", SHIM_STOP_AT=call)) as wal:
            is_over = has_named(wal, ["s"], names)
        with FanWal(place, ["s"], [*names, "d"]) as wal:
            ends = {"a": {10}, "b": {5}, "c": {5}}
            # One that comes is given what was left.
            least = min(min(ends[name]) for name in names)
            for name in names:
                assert wal.sink(name).take(1)[0] in ends[name], call
            assert wal.sink("d").take(1)[0] in {5, least}, call
            assert_adds_up(wal.process.report())
        shutil.rmtree(place)
        if is_over:
            break
    assert is_over and call > 10


def test_what_a_sink_knows_to_be_durable_is_no_torn_tail(tmp_path):
    """Where the log's own cursor was written before it."""
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source, a = wal.source("s"), wal.sink("a")
        wal.process.wait_report(lambda r: len(r["sinks"]) == 2)
        cursor = tmp_path / "wal/cursor"
        before = cursor.read_bytes()
        for n in range(4):
            source.send({"n": n})
            source.wait_acked(n + 1)
        assert a.take(4) == [0, 1, 2, 3]
        a.ack(3)
        wal.wait_sink("a", delivered=3)
        kill(wal)
    cursor.write_bytes(before)
    path, = (tmp_path / "wal").glob("*.seg")
    data = path.read_bytes()
    at = data.rindex(b"WPBH", 0, data.rindex(b'"n": 2'))
    path.write_bytes(data[:at] + bytes(len(data) - at))
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        wal.source("s").send({"n": 4})
        assert wal.sink("a").take(1) == [4]
        b = wal.sink("b")
        assert b.take(3) == [0, 1, 4]
        b.ack(3)
        wal.wait_sink("b", delivered=3, quarantined=2)
        wal.wait_sink("a", delivered=3, quarantined=1, stored=1)
        assert_adds_up(wal.process.report())


def test_another_logs_cursor_counts_for_nothing_beside_a_lost_one(tmp_path):
    """Without the log's own nothing but the segments says which log it is."""
    for name in "one", "other":
        (tmp_path / name).mkdir()
    make_log(tmp_path / "one", a=10, b=5)
    make_log(tmp_path / "other", a=12, b=12)
    wal_dir = tmp_path / "one/wal"
    (wal_dir / "cursor").unlink()
    shutil.copy(tmp_path / "other/wal/cursor.b", wal_dir / "cursor.b")
    with FanWal(tmp_path / "one", ["s"], ["a", "b"]) as wal:
        assert wal.sink("a").take(2) == [10, 11]
        assert wal.sink("b").take(12) == list(range(12))


def test_a_cursor_of_a_newer_version_is_made_anew(tmp_path):
    make_log(tmp_path, a=10, b=5)
    with FanWal(tmp_path, ["s"], ["a", "b"],
                env=shimmed("shim_tools", SHIM_NEWER="cursor.b")) as wal:
        assert wal.sink("b").take(7) == list(range(5, 12))
        a = wal.sink("a")
        assert a.take(2) == [10, 11]
        assert wal.process.stop() == DONE
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        assert wal.sink("b").take(7) == list(range(5, 12))


def test_what_is_written_of_the_cursors_and_when(tmp_path):
    trace = tmp_path / "trace"
    with FanWal(tmp_path, ["s"], ["a", "b", "c"],
                env=shimmed(SHIM_TRACE=trace)) as wal:
        source, a = wal.source("s"), wal.sink("a")
        wal.process.wait_report(lambda r: len(r["sinks"]) == 3)
        start = len(lines_of(trace))
        for n in range(10):
            source.send({"n": n})
            assert a.take(1) == [n]
            a.ack(n + 1)
            wal.wait_sink("a", delivered=n + 1)
        seen = lines_of(trace)[start:]
        # Only that of who has ended something, and not durably.
        assert seen.count(b"pwrite cursor.a other") == 10
        assert b"pwrite cursor.b other" not in seen
        assert b"fdatasync cursor.a" not in seen
        # A name that is taken away cannot come back.
        start = len(lines_of(trace))
        wal.name(["s"], ["a", "b"])
        wal.process.wait_report(lambda r: len(r["sinks"]) == 2)
        assert b"fsync wal" in lines_of(trace)[start:]
        start = len(lines_of(trace))
        assert wal.process.stop() == DONE
        assert b"fdatasync cursor.a" in lines_of(trace)[start:]


def test_how_events_ended_that_only_a_removed_sink_held_back(tmp_path):
    """As it is for the one that is left: no more of them than there are."""
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source, a, b = wal.source("s"), wal.sink("a"), wal.sink("b")
        source.send(*numbered(0, 10))
        assert a.take(10) == b.take(10) == list(range(10))
        for n in 1, 2, 3, 4, 10:
            a.say({"reject": n, "reason": "no"})
        a.ack(10)
        wal.wait_sink("a", delivered=5, rejected=5)
        b.ack(7)
        wal.wait_sink("b", delivered=7)
        wal.name(["s"], ["a"])
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert (report["delivered"], report["rejected"]) == (7, 3)
        assert_adds_up(report)

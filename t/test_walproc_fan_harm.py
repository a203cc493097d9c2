"""Several sources into one walproc and several sinks out of it, where one of
them is slow, goes, or is hostile, or the disk is: the others have their due.
"""

import fcntl
import os
import signal
import socket
import termios

import pytest
from fanned import FanWal, assert_adds_up
from neighbours import (assert_silent, dead_letters, make_damaged,
                        numbered)
from support import (DONE, PATIENCE, assert_sleeps, fds_of, shimmed, sleeps_of,
                     state_of, ticks_of, wait_fds, wait_until)

LINE_BYTES = 17 << 20
# Of sources that were removed, as walproc(1) has it.
LEAVING_FDS = 128


def make_odd(path, kind):
    """What no cursor can be read from, nor be taken away like a file."""
    if kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    else:
        path.symlink_to(path.name)


@pytest.mark.parametrize("sinks", [["a"], ["a", "b"], ["b"]], ids="-".join)
@pytest.mark.parametrize("kind", ["directory", "socket", "loop"])
def test_what_is_no_cursor_of_a_sink_stops_nothing(tmp_path, sinks, kind):
    with FanWal(tmp_path, ["s"], sinks) as wal:
        source = wal.source("s")
        source.send(*numbered(0, 3))
        source.wait_acked(3)
        assert wal.process.stop() == DONE
    (tmp_path / "wal/cursor.a").unlink(missing_ok=True)
    make_odd(tmp_path / "wal/cursor.a", kind)
    with FanWal(tmp_path, ["s"], sinks) as wal:
        assert wal.sink(sinks[0]).take(3) == [0, 1, 2]
        wal.name(["s"], ["a", "b"])
        wal.process.wait_report(lambda r: len(r["sinks"]) == 2)
        assert (tmp_path / "wal/cursor.a").is_file()
        assert wal.process.stop() == DONE


def test_a_line_without_an_end_holds_up_no_other_source(tmp_path):
    """Each is taken piece by piece, and neither waits for the other one."""
    with FanWal(tmp_path, ["s", "t"], ["a"]) as wal:
        endless, other = wal.source("s"), wal.source("t")
        sink = wal.sink("a")
        other.sock.settimeout(PATIENCE)
        endless.sock.sendall(b"x" * LINE_BYTES)
        other.sock.sendall(b"y" * LINE_BYTES + b"\n{\"n\": 1}\n")
        other.wait_acked(2)
        assert sink.take(1) == [1]
        endless.sock.sendall(b"x\n{\"n\": 2}\n")
        endless.wait_acked(2)
        assert sink.take(1) == [2]
        letters = [event for _, event in dead_letters(tmp_path)]
        assert letters == [b"y" * LINE_BYTES, b"x" * (LINE_BYTES + 1)]


def test_a_source_that_is_removed_has_its_last_acks(tmp_path):
    hold = tmp_path / "hold"
    with FanWal(tmp_path, ["s", "t"], ["a"],
                env=shimmed(SHIM_HOLD_SYNC=hold)) as wal:
        going = wal.source("t")
        going.send({"n": 0})
        going.wait_acked(1)
        hold.touch()
        going.send({"n": 1})
        going.sock.shutdown(socket.SHUT_WR)
        wal.process.wait_report(lambda r: not r["sources"][1]["present"])
        wal.name(["s"], ["a"])
        wal.process.wait_report(lambda r: r["taken"] == 2)
        hold.unlink()
        going.wait_acked(2)
        wal.process.wait_report(lambda r: len(r["sources"]) == 1)
        assert going.hear() is None


def test_a_source_that_comes_as_another_fills_the_log_is_stopped(tmp_path):
    with FanWal(tmp_path, ["s", "t"], ["a"], "--max-elements", "10",
                "--read-count", "100") as wal:
        filling, sink = wal.source("t"), wal.sink("a")
        source = wal.source("s")
        for round_ in range(8):
            # All of it is found in one turn, in which each is the first in
            # some of the rounds: a report takes a turn.
            for _ in range(round_ % 2):
                wal.process.report()
            os.kill(wal.process.pid, signal.SIGSTOP)
            wait_until(lambda: state_of(wal.process.pid) == "T")
            source.close()
            source = wal.source("s")
            filling.send(*numbered(11 * round_, 10))
            os.kill(wal.process.pid, signal.SIGCONT)
            wal.process.wait_report(
                lambda r: r["source_breaker"] == "open" and r["stored"] == 10)
            assert sink.take(10) == list(range(11 * round_, 11 * round_ + 10))
            sink.ack(11 * round_ + 10)
            source.send({"n": 11 * round_ + 10})
            # Once each, and not before it is so.
            assert source.hear()["breaker"] == "open"
            assert source.hear() == {"breaker": "closed"}
            assert source.hear() == {"ack": 1}
            assert sink.take(1) == [11 * round_ + 10]
            sink.ack(11 * round_ + 11)
            wal.process.wait_report(lambda r: r["stored"] == 0)


def test_a_source_that_was_never_there_is_gone_at_once(tmp_path):
    """Also where the log is full."""
    with FanWal(tmp_path, ["s"], ["a"], "--max-elements", "3") as wal:
        wal.source("s").send(*numbered(0, 3))
        wal.process.wait_report(lambda r: r["source_breaker"] == "open")
        wal.name(["s", "t"], ["a"])
        wal.process.wait_report(lambda r: len(r["sources"]) == 2)
        wal.name(["s"], ["a"])
        wal.process.wait_report(lambda r: len(r["sources"]) == 1)


def test_no_end_of_removed_sources_takes_few_descriptors(tmp_path):
    """At a full log, which takes what the last of them sent when it has room:
    who was removed first is lost first, and who sent nothing is no loss.
    """
    with FanWal(tmp_path, ["old"], ["a"], "--max-elements", "1",
                "--read-count", "1000") as wal:
        old, sink = wal.source("old"), wal.sink("a")
        old.send({"n": -1})
        old.wait_acked(1)
        old.send({"n": -2})
        assert sink.take(1) == [-1]
        wal.process.wait_report(lambda r: r["source_breaker"] == "open")
        before = fds_of(wal.process.pid)
        for n in range(300):
            wal.name(["old", f"s{n}"], ["a"])
            source = wal.source(f"s{n}")
            if n % 10 > 0:
                source.send({"n": n})
            source.close()
            # All that may be, and the newest.
            wait_until(lambda: fds_of(wal.process.pid)
                       <= before + LEAVING_FDS + 1, "few descriptors")
        wal.name(["new"], ["a"])
        wal.source("new").send({"n": 300})
        old.close()
        wal.process.wait_report(
            lambda r: fds_of(wal.process.pid) <= before + LEAVING_FDS)
        kept = sorted([-2, 300] + [
            n for n in range(300 - LEAVING_FDS + 1, 300) if n % 10 > 0])
        lost = [n for n in range(300 - LEAVING_FDS + 1) if n % 10 > 0]
        text = wal.process.text()
        assert [f"source s{n} was removed, and" in text
                for n in range(300)] == [n in lost for n in range(300)]
        assert text.count("they are lost") == len(lost)
        sink.ack(1)
        found = []
        while len(found) < len(kept):
            found += sink.take(1)
            sink.ack(1 + len(found))
        assert sorted(found) == kept
        wal.process.wait_report(
            lambda r: r["stored"] == 0
            and [s["name"] for s in r["sources"]] == ["new"])
        assert fds_of(wal.process.pid) <= before


def test_a_removed_source_that_left_a_long_line_is_a_loss(tmp_path):
    """All of it was read, and has no room to be a dead letter."""
    full = tmp_path / "full"
    with FanWal(tmp_path, ["long"], ["a"],
                env=shimmed(SHIM_FULL=full)) as wal:
        source = wal.source("long")
        source.sock.sendall(b"y" * LINE_BYTES)
        # What is not read yet.
        wait_until(lambda: fcntl.ioctl(
            source.sock, termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4,
                   "all to be read")
        wal.process.report()
        full.touch()
        source.close()
        wal.process.wait_report(
            lambda r: r.get("source_breaker_reason") == "disk full")
        for n in range(LEAVING_FDS):
            wal.name([f"s{n}"], ["a"])
            wal.source(f"s{n}").close()
        wal.name(["s"], ["a"])
        wal.process.wait_report(
            lambda r: "long" not in [s["name"] for s in r["sources"]])
        assert "source long was removed, and its" in wal.process.text()
        assert wal.process.text().count("they are lost") == 1


def test_removed_sources_that_only_wait_for_a_turn_lose_nothing(tmp_path):
    """More of them at once than a full log would keep."""
    names, each = 44, 3
    assert names * each > LEAVING_FDS
    with FanWal(tmp_path, ["s"], ["a"]) as wal:
        wal.process.report()
        os.kill(wal.process.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(wal.process.pid) == "T")
        for n in range(names * each):
            if n % each == 0:
                wal.name([f"s{n}"], ["a"])
            source = wal.source(f"s{n - n % each}")
            source.send({"n": n})
            source.close()
        wal.name(["t"], ["a"])
        os.kill(wal.process.pid, signal.SIGCONT)
        wal.process.wait_report(lambda r: r["stored"] == names * each)
        assert " error " not in wal.process.text()


def test_a_report_has_room_for_all_that_are_named(tmp_path):
    """And for no end of sources that are being read to theirs."""
    sinks = [f"{n:02}".ljust(64, "x") for n in range(32)]
    with FanWal(tmp_path, ["s"], sinks, "--max-elements", "3") as wal:
        wal.source("s").send(*numbered(0, 3))
        wal.process.wait_report(lambda r: r["source_breaker"] == "open")
        for i in range(6):
            names = [f"{i}{n:02}".ljust(64, "y") for n in range(32)]
            wal.name(names, sinks)
            # What they have sent waits behind a full log.
            for name in names[:24]:
                source = wal.source(name)
                source.send({"n": 1})
                source.close()
        report = wal.process.report()
        assert [s["name"] for s in report["sinks"]] == sinks
        assert set(names) <= {s["name"] for s in report["sources"]}


def test_what_is_stored_is_right_after_a_start_on_a_full_disk(tmp_path):
    """What a sink has ended stands elsewhere once the tail is settled."""
    full = tmp_path / "full"
    names = ["a", "b"]
    options = "--sync", "never", "--read-count", "100"
    with FanWal(tmp_path, ["s"], names, *options) as wal:
        source, a = wal.source("s"), wal.sink("a")
        # Each in a batch of its own.
        for n in range(40):
            source.send({"n": n})
            source.wait_acked(n + 1)
            assert a.take(1) == [n]
        a.ack(38)
        wal.wait_sink("a", delivered=38)
        os.kill(wal.process.pid, signal.SIGKILL)
        wal.process.wait()
    full.touch()
    with FanWal(tmp_path, ["s"], names, *options,
                env=shimmed(SHIM_FULL=full)) as wal:
        wal.process.wait_report(
            lambda r: r.get("source_breaker_reason") == "disk full")
        full.unlink()
        b = wal.sink("b")
        assert b.take(40) == list(range(40))
        before = wal.process.report()["bytes"]
        b.ack(39)
        report = wal.process.wait_report(lambda r: r["stored"] == 2)
        assert report["bytes"] <= before


def test_sinks_that_come_and_go_leave_no_descriptors(tmp_path):
    with FanWal(tmp_path, ["s"], ["a"], "--segment-bytes", "16384",
                "--read-count", "1") as wal:
        source = wal.source("s")
        source.send(*({"n": n, "x": "y" * 3000} for n in range(60)))
        source.wait_acked(60)
        wal.process.wait_report(lambda r: len(r["sinks"]) == 1)
        before = fds_of(wal.process.pid)
        for i in range(10):
            name = f"b{i}"
            wal.name(["s"], ["a", name])
            sink = wal.sink(name)
            # Each less far than the one before it.
            for n in range(6 * (9 - i)):
                assert sink.take(1) == [n]
                sink.ack(n + 1)
            wal.name(["s"], ["a"])
            wal.process.wait_report(lambda r: len(r["sinks"]) == 1)
        wait_fds(wal.process.pid, before + 1)


def test_the_rate_of_a_sink_is_its_own(tmp_path):
    """Also when another one, which has ended all otherwise, is removed."""
    with FanWal(tmp_path, ["s"], ["a", "b"], "--read-count", "100") as wal:
        source, a, b = wal.source("s"), wal.sink("a"), wal.sink("b")
        source.send(*numbered(0, 60))
        assert a.take(60) == b.take(60) == list(range(60))
        for n in range(50):
            a.say({"reject": n + 1, "reason": "no"})
        a.ack(60)
        wal.wait_sink("a", delivered=10, rejected=50)
        b.ack(60)
        wal.wait_sink("b", delivered=60)
        wal.name(["s"], ["a"])
        source.send({"n": 60})
        assert a.take(1) == [60]
        a.ack(61)
        wal.process.wait_report(lambda r: r["stored"] == 0)
        report = wal.process.wait_report(
            lambda r: r["sinks"][0]["out_rate"] > 0)
        assert report["sinks"][0]["out_rate"] <= 11


def test_inspect_adds_up_where_the_cursor_of_a_sink_is_old(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source = wal.source("s")
        source.send(*numbered(0, 9))
        source.wait_acked(9)
        sinks = [wal.sink("a"), wal.sink("b")]
        for sink in sinks:
            assert sink.take(9) == list(range(9))
        for name, sink in zip("ab", sinks):
            sink.ack(2)
            wal.wait_sink(name, delivered=2)
        path = tmp_path / "wal/cursor.a"
        old = path.read_bytes()
        for name, sink in zip("ab", sinks):
            sink.ack(6)
            wal.wait_sink(name, delivered=6)
        os.kill(wal.process.pid, signal.SIGKILL)
        wal.process.wait()
        path.write_bytes(old)
        for sink in wal.inspect()["sinks"]:
            assert sink["acked_seq"] == 6
            assert sink["delivered"] == 6
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        report = wal.process.wait_report(lambda r: len(r["sinks"]) == 2)
        assert [s["delivered"] for s in report["sinks"]] == [6, 6]
        assert_adds_up(report)


@pytest.mark.parametrize("options", [(), ("--acks", "none")], ids="-".join)
def test_nothing_is_done_while_nobody_is_there(tmp_path, options):
    with FanWal(tmp_path, ["s", "t"], ["a", "b"], *options) as wal:
        source, sink = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 5))
        assert sink.take(5) == list(range(5))
        source.wait_acked(5)
        sink.close()
        wal.wait_sink("a", present=False)
        assert_sleeps(wal.process.pid)
        source.send(*numbered(5, 5))
        source.wait_acked(10)
        source.close()
        wal.name([], [])
        wal.process.wait_report(lambda r: r["sources"] == r["sinks"] == [])
        assert_sleeps(wal.process.pid)


@pytest.mark.parametrize("is_slow", [False, True], ids=["quick", "slow"])
@pytest.mark.parametrize("names", [["s", "t"], ["s", "t", "u"],
                                   ["s", "t", "u", "v"]], ids=len)
def test_what_room_there_is_in_a_full_log_is_everyones(
        tmp_path, names, is_slow):
    """Also theirs who come when it is full, and however many turns it takes
    until there is room again."""
    with FanWal(tmp_path, names, ["a"], "--max-elements", "10") as wal:
        sink = wal.sink("a")
        for name in names:
            wal.source(name).send(*numbered(0, 300))
        for n in range(150):
            sink.take(1)
            sink.ack(n + 1)
            if is_slow:
                wal.wait_sink("a", delivered=n + 1)
        report = wal.process.report()
        assert min(s["taken"] for s in report["sources"]) >= 10


def test_who_left_after_a_fault_is_not_blamed_on_who_came(tmp_path):
    """The supervisor would end the one that is there now."""
    with FanWal(tmp_path, ["s"], ["a"]) as wal:
        source, sink = wal.source("s"), wal.sink("a")
        source.send({"n": 0})
        assert sink.take(1) == [0]
        source.wait_acked(1)
        os.kill(wal.process.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(wal.process.pid) == "T")
        source.sock.sendall(b"\1\2\3\4")
        sink.ack(7)
        source.close()
        sink.close()
        source, sink = wal.source("s"), wal.sink("a")
        os.kill(wal.process.pid, signal.SIGCONT)
        source.send({"n": 1})
        assert sink.take(2) == [0, 1]
        source.wait_acked(1)
        assert "not a length prefix" in wal.process.text()
        assert "acked more events than were sent" in wal.process.text()
        wal.process.tell({"ask": "report"})
        while "report" not in (message := wal.process.take()):
            assert "fault" not in message


def test_damage_waits_for_room_at_each_sink(tmp_path):
    """At rest, and until there is some."""
    make_damaged(tmp_path, 6, 2)
    full = tmp_path / "full"
    full.touch()
    with FanWal(tmp_path, ["s"], ["a", "b", "c"],
                env=shimmed(SHIM_FULL=full)) as wal:
        sinks = [wal.sink("a"), wal.sink("b")]
        for sink in sinks:
            assert sink.take(2) == [0, 1]
        wal.process.wait_report(
            lambda r: r.get("source_breaker_reason") == "disk full")
        sleeps, ticks = sleeps_of(wal.process.pid), ticks_of(wal.process.pid)
        for sink in sinks:
            assert_silent(sink.events)
        assert sleeps_of(wal.process.pid) <= sleeps + 20
        assert ticks_of(wal.process.pid) <= ticks + 10
        full.unlink()
        for sink in sinks:
            assert sink.take(3) == [3, 4, 5]
            sink.ack(5)
        source = wal.source("s")
        source.send({"n": 6})
        source.wait_acked(1)
        wal.wait_sink("a", quarantined=1, delivered=5, stored=1)
        assert_adds_up(wal.process.report())


def test_the_rate_of_a_sink_does_not_wait_for_the_others(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source, sink = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 10))
        assert sink.take(10) == list(range(10))
        source.wait_acked(10)
        sink.ack(10)
        wal.wait_sink("a", delivered=10)
        wal.process.wait_report(lambda r: r["sinks"][0]["out_rate"] > 0)

"""Several sources into one walproc and several sinks out of it: each sink has
its own place in the log, its own window and its own breaker, and an event
leaves the log when all have ended it.
"""

import json
import os
import signal
import subprocess

import pytest
from fanned import FanWal, assert_adds_up
from neighbours import assert_silent, dead_letters, make_damaged, numbered
from support import (DONE, PATIENCE, cursor_of, program, shimmed,
                     wait_until)

NAMES = "a", "b", "c"


def segments(directory):
    return sorted(p.name for p in (directory / "wal").glob("*.seg"))


def sink_cursors(directory):
    return {p.name[len("cursor."):] for p in
            (directory / "wal").glob("cursor.*")}


def test_all_events_of_all_sources_are_given_to_all_sinks(tmp_path):
    with FanWal(tmp_path, NAMES, NAMES, "--read-count", "100") as wal:
        sinks = [wal.sink(name) for name in NAMES]
        sources = [wal.source(name) for name in NAMES]
        for round_ in range(10):
            for i, source in enumerate(sources):
                source.send(*({"n": 100 * i + n, "from": i} for n in range(
                    3 * round_, 3 * round_ + 3)))
        for source in sources:
            source.wait_acked(30)
        seen = [[sink.event() for _ in range(90)] for sink in sinks]
        assert seen[0] == seen[1] == seen[2]
        for i in range(3):
            assert [e["n"] for e in seen[0] if e["from"] == i] == list(
                range(100 * i, 100 * i + 30))
        for sink in sinks:
            sink.ack(90)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert [s["taken"] for s in report["sources"]] == [30, 30, 30]
        assert [s["delivered"] for s in report["sinks"]] == [90, 90, 90]
        assert report["delivered"] == 90
        assert_adds_up(report)


def test_an_event_stays_until_the_last_sink_has_it(tmp_path):
    with FanWal(tmp_path, ["s"], NAMES) as wal:
        source = wal.source("s")
        sinks = {name: wal.sink(name) for name in NAMES}
        source.send(*numbered(0, 6))
        for sink in sinks.values():
            assert sink.take(6) == list(range(6))
        for name, count in (("a", 6), ("b", 2), ("c", 4)):
            sinks[name].ack(count)
            wal.wait_sink(name, delivered=count, stored=6 - count)
        report = wal.process.report()
        assert (report["delivered"], report["stored"]) == (2, 4)
        assert cursor_of(tmp_path / "wal")["acked_seq"] == 2
        seen = wal.inspect()["sinks"]
        assert sorted((s["name"], s["acked_seq"], s["stored"], s["delivered"])
                      for s in seen) == [
            ("a", 6, 0, 6), ("b", 2, 4, 2), ("c", 4, 2, 4)]
        text = subprocess.run(
            [program("walproc"), "inspect", tmp_path / "wal"], check=True,
            stdout=subprocess.PIPE, timeout=PATIENCE).stdout.decode()
        assert "sink           c: ended up to 4, 2 events wait for it\n" in text
        sinks["b"].ack(5)
        wal.process.wait_report(lambda r: r["delivered"] == 4)
        sinks["c"].ack(6)
        sinks["b"].ack(6)
        assert_adds_up(wal.process.wait_report(lambda r: r["stored"] == 0))


def test_one_sink_is_away_for_the_whole_run(tmp_path):
    with FanWal(tmp_path, ["s"], NAMES) as wal:
        source = wal.source("s")
        here = [wal.sink("a"), wal.sink("c")]
        for start in range(0, 500, 10):
            source.send(*numbered(start, 10))
            for sink in here:
                assert sink.take(10) == list(range(start, start + 10))
                sink.ack(start + 10)
        source.wait_acked(500)
        wal.wait_sink("a", delivered=500, breaker="closed", stored=0)
        wal.wait_sink("c", delivered=500, breaker="closed", stored=0)
        away = wal.wait_sink("b", delivered=0, breaker="open", stored=500)
        assert not away["present"]
        late = wal.sink("b")
        assert late.take(20) == list(range(20))
        # Its own window, whatever the others have.
        assert_silent(late.events)
        late.ack(20)
        assert late.take(20) == list(range(20, 40))


def test_a_slow_sink_holds_up_only_itself(tmp_path):
    with FanWal(tmp_path, ["s"], ["quick", "slow"], "--read-count", "4") as wal:
        source = wal.source("s")
        quick, slow = wal.sink("quick"), wal.sink("slow")
        source.send(*numbered(0, 40))
        assert slow.take(4) == [0, 1, 2, 3]
        slow.say({"breaker": "open", "reason": "away"})
        wal.wait_sink("slow", breaker="open")
        for n in range(40):
            assert quick.take(1) == [n]
            quick.ack(n + 1)
        slow.say({"ack": 4})
        wal.wait_sink("slow", delivered=4)
        assert_silent(slow.events)
        slow.say({"breaker": "closed"})
        assert slow.take(4) == [4, 5, 6, 7]


@pytest.mark.parametrize("which", ["source", "quick", "slow"])
def test_each_neighbour_restarts_alone(tmp_path, which):
    with FanWal(tmp_path, ["s"], ["quick", "slow"]) as wal:
        source = wal.source("s")
        quick, slow = wal.sink("quick"), wal.sink("slow")
        source.send(*numbered(0, 10))
        assert quick.take(10) == slow.take(10) == list(range(10))
        source.wait_acked(10)
        quick.ack(8)
        slow.ack(3)
        wal.wait_sink("quick", delivered=8)
        wal.wait_sink("slow", delivered=3)
        if which == "source":
            source.close()
            source = wal.source("s")
        elif which == "quick":
            quick.close()
            quick = wal.sink("quick")
            assert quick.take(2) == [8, 9]
        else:
            slow.close()
            slow = wal.sink("slow")
            assert slow.take(7) == list(range(3, 10))
        source.send({"n": 10})
        assert quick.take(1) == slow.take(1) == [10]
        # Counted from the start of each stream.
        quick.ack(3 if which == "quick" else 11)
        slow.ack(8 if which == "slow" else 11)
        source.wait_acked(1 if which == "source" else 11)
        assert_adds_up(wal.process.wait_report(lambda r: r["stored"] == 0))


def test_each_sink_goes_on_where_it_was_after_a_kill(tmp_path):
    with FanWal(tmp_path, ["s"], NAMES) as wal:
        source = wal.source("s")
        source.send(*numbered(0, 15))
        source.wait_acked(15)
        for name, count in zip(NAMES, (15, 7, 0)):
            sink = wal.sink(name)
            sink.take(15)
            sink.ack(count)
            wal.wait_sink(name, delivered=count)
        os.kill(wal.process.pid, signal.SIGKILL)
        wal.process.wait()
    with FanWal(tmp_path, ["s"], NAMES) as wal:
        sinks = {name: wal.sink(name) for name in NAMES}
        assert sinks["b"].take(8) == list(range(7, 15))
        assert sinks["c"].take(15) == list(range(15))
        wal.source("s").send({"n": 15})
        assert sinks["a"].take(1) == [15]
        report = wal.process.report()
        assert [s["delivered"] for s in report["sinks"]] == [15, 7, 0]
        assert_adds_up(report)


@pytest.mark.parametrize("harm", [
    "gone", "cut", "garbage", "directory", "fifo", "another's", "b's"])
def test_a_lost_cursor_costs_duplicates_only(tmp_path, harm):
    """That of one sink; the other one's is not touched."""
    with FanWal(tmp_path, ["s"], ["a", "b", "c"]) as wal:
        source = wal.source("s")
        source.send(*numbered(0, 12))
        source.wait_acked(12)
        for name, count in ("a", 9), ("b", 5), ("c", 2):
            sink = wal.sink(name)
            sink.take(12)
            sink.ack(count)
            wal.wait_sink(name, delivered=count)
        assert wal.process.stop() == DONE
    path = tmp_path / "wal" / "cursor.a"
    before = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(before[:50])
    elif harm == "garbage":
        path.write_bytes(os.urandom(8192))
    elif harm == "directory":
        path.mkdir()
    elif harm == "fifo":
        os.mkfifo(path)
    elif harm == "b's":
        # It is further than that of c, and would be believed.
        path.write_bytes((tmp_path / "wal/cursor.b").read_bytes())
    elif harm == "another's":
        # What it knows to be durable is nothing to this one.
        (tmp_path / "other").mkdir()
        with FanWal(tmp_path / "other", ["s"], ["a", "b"]) as wal:
            source = wal.source("s")
            source.send(*numbered(0, 30))
            source.wait_acked(30)
            wal.sink("a").ack(0)
            assert wal.process.stop() == DONE
        with FanWal(tmp_path / "other", ["s"], ["a", "b"]) as wal:
            wal.wait_sink("a", stored=30)
        path.write_bytes((tmp_path / "other/wal/cursor.a").read_bytes())
    with FanWal(tmp_path, ["s"], ["a", "b", "c"]) as wal:
        sinks = {name: wal.sink(name) for name in ("a", "b", "c")}
        assert sinks["a"].take(10) == list(range(2, 12))
        assert sinks["b"].take(7) == list(range(5, 12))
        assert sinks["c"].take(10) == list(range(2, 12))
        for name, count in ("a", 10), ("b", 7), ("c", 10):
            sinks[name].ack(count)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert report["quarantined"] == 0
        assert_adds_up(report)
        assert path.is_file()
        told = " cursor.a: " in wal.process.text()
        assert told == (harm != "gone")


def test_a_sink_that_is_added_starts_at_the_oldest_event_stored(tmp_path):
    with FanWal(tmp_path, ["s"], ["a"]) as wal:
        source, first = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 10))
        first.take(10)
        first.ack(4)
        wal.wait_sink("a", delivered=4)
        assert sink_cursors(tmp_path) == set()
        wal.name(["s"], ["a", "b"])
        added = wal.sink("b")
        assert added.take(6) == list(range(4, 10))
        assert sink_cursors(tmp_path) == {"a", "b"}
        # Nothing of that has touched the first.
        first.ack(10)
        source.send({"n": 10})
        assert first.take(1) == added.take(1) == [10]
        wal.wait_sink("a", delivered=10, stored=1)
        wal.wait_sink("b", delivered=4, stored=7)
        assert_adds_up(wal.process.report())


def test_a_sink_that_is_removed_gives_its_space_back(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"], "--segment-bytes", "16384",
                "--max-bytes", "200000") as wal:
        source, sink = wal.source("s"), wal.sink("a")
        gone = wal.sink("b")
        sent = 0
        while True:
            source.send({"n": sent, "x": "y" * 4000})
            sent += 1
            while source.acked < sent and not source.is_stopped:
                source.hear()
            if source.acked < sent:
                break
            assert sink.take(1) == [sent - 1]
            sink.ack(sent)
        assert len(segments(tmp_path)) > 8
        assert wal.process.report()["delivered"] == 0
        wal.name(["s"], ["a"])
        report = wal.process.wait_report(
            lambda r: r["source_breaker"] == "closed")
        assert len(report["sinks"]) == 1
        assert len(segments(tmp_path)) <= 2
        assert sink_cursors(tmp_path) == set()
        # Its stream has ended.
        while gone.event() is not None:
            pass
        source.wait_acked(sent)
        while sink.take(1) != [sent - 1]:
            pass
        sink.ack(sent)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert report["delivered"] == sent
        assert_adds_up(report)


def test_a_sink_that_is_gone_while_no_walproc_ran(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source, sink = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 9))
        assert sink.take(9) == list(range(9))
        sink.ack(9)
        wal.wait_sink("a", delivered=9)
        assert wal.process.stop() == DONE
    with FanWal(tmp_path, ["s"], ["a"]) as wal:
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert report["delivered"] == 9
        wal.source("s").send({"n": 9})
        assert wal.sink("a").take(1) == [9]
        assert sink_cursors(tmp_path) == set()
        # And one of that name starts anew.
        wal.name(["s"], ["a", "b"])
        assert wal.sink("b").take(1) == [9]


def test_limits_are_those_of_the_slowest(tmp_path):
    with FanWal(tmp_path, NAMES, ["a", "b"], "--max-elements", "10") as wal:
        sources = [wal.source(name) for name in NAMES]
        sink = wal.sink("a")
        for i in range(10):
            sources[i % 3].send({"n": i})
            assert sink.take(1) == [i]
            sink.ack(i + 1)
        for source in sources:
            while not source.is_stopped:
                source.hear()
        late = wal.sink("b")
        assert late.take(10) == list(range(10))
        late.ack(5)
        for source in sources:
            while source.is_stopped:
                source.hear()


def test_drop_oldest_drops_only_for_who_has_not_had_it(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"], "--max-elements", "10",
                "--on-full", "drop_oldest") as wal:
        source, sink = wal.source("s"), wal.sink("a")
        for n in range(25):
            source.send({"n": n})
            assert sink.take(1) == [n]
            sink.ack(n + 1)
        source.wait_acked(25)
        wal.wait_sink("a", delivered=25, dropped=0, stored=0)
        wal.wait_sink("b", delivered=0, dropped=15, stored=10)
        late = wal.sink("b")
        assert late.take(10) == list(range(15, 25))
        late.ack(10)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert (report["delivered"], report["dropped"]) == (10, 15)
        assert_adds_up(report)


def test_each_sink_keeps_its_own_counts_over_a_kill(tmp_path):
    """However the last of what it did came to its file."""
    options = "--max-elements", "10", "--on-full", "drop_oldest"
    sent = taken = 0
    for round_ in range(6):
        with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
            source, sink = wal.source("s"), wal.sink("a")
            given = 0
            for _ in range(15):
                source.send({"n": sent})
                sent += 1
                while sink.take(1) != [sent - 1]:
                    given += 1
                given += 1
                sink.ack(given)
            source.wait_acked(15)
            # Each time at another moment: what is acked is so by now or not.
            if round_ % 2:
                wal.wait_sink("a", stored=0)
            os.kill(wal.process.pid, signal.SIGKILL)
            wal.process.wait()
        with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
            report = wal.process.report()
            assert_adds_up(report)
            a, b = report["sinks"]
            assert (a["dropped"], b["delivered"]) == (0, 0)
            assert b["dropped"] == sent - 10
            taken = report["taken"]
    assert taken == sent


def test_a_cursor_that_is_old_has_its_own_counts_still(tmp_path):
    """What a power cut leaves of it: since then all was delivered."""
    options = "--max-elements", "10", "--on-full", "drop_oldest"
    path = tmp_path / "wal/cursor.a"
    with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
        source, sink = wal.source("s"), wal.sink("a")
        for n in range(40):
            source.send({"n": n})
            assert sink.take(1) == [n]
            sink.ack(n + 1)
            if n == 5:
                wal.wait_sink("a", delivered=6)
                old = path.read_bytes()
        wal.wait_sink("a", stored=0)
        assert wal.process.stop() == DONE
    path.write_bytes(old)
    with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
        wal.wait_sink("a", delivered=30, dropped=0, stored=10)
        wal.wait_sink("b", delivered=0, dropped=30, stored=10)
        assert wal.sink("a").take(10) == list(range(30, 40))


def test_inspect_beside_a_running_log_adds_up(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source = wal.source("s")
        sinks = [wal.sink("a"), wal.sink("b")]
        sent = 0
        wal.process.wait_ready()
        for _ in range(40):
            inspecting = subprocess.Popen(
                [program("walproc"), "inspect", "--json", tmp_path / "wal"],
                stdout=subprocess.PIPE)
            while inspecting.poll() is None:
                source.send({"n": sent})
                sent += 1
                for sink in sinks:
                    assert sink.take(1) == [sent - 1]
                    sink.ack(sent)
            seen = json.loads(inspecting.stdout.read())
            for sink in seen["sinks"]:
                assert sink["acked_seq"] + sink["stored"] == seen["last_seq"]
                assert sink["acked_seq"] == sum(
                    sink[name] for name in (
                        "delivered", "rejected", "dropped", "quarantined"))


def test_one_sink_rejects_what_another_takes(tmp_path):
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        source = wal.source("s")
        a, b = wal.sink("a"), wal.sink("b")
        source.send(*numbered(0, 4))
        assert a.take(4) == b.take(4) == list(range(4))
        a.say({"reject": 2, "reason": "no"})
        a.ack(4)
        wal.wait_sink("a", delivered=3, rejected=1, stored=0)
        b.say({"reject": 3, "reason": "never"})
        b.ack(4)
        wal.wait_sink("b", delivered=3, rejected=1, stored=0)
        report = wal.process.report()
        # How the last of them ended it counts in the log.
        assert (report["delivered"], report["rejected"]) == (3, 1)
        assert_adds_up(report)
        assert [r for r, _ in dead_letters(tmp_path)] == [
            "sink a: no", "sink b: never"]


def test_damage_is_told_to_each_sink_and_kept_once(tmp_path):
    make_damaged(tmp_path, 6, 2)
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        sinks = [wal.sink("a"), wal.sink("b")]
        for sink in sinks:
            assert sink.take(5) == [0, 1, 3, 4, 5]
            sink.ack(5)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert [s["quarantined"] for s in report["sinks"]] == [1, 1]
        assert (report["delivered"], report["quarantined"]) == (5, 1)
        assert_adds_up(report)
        assert len([p for p in (tmp_path / "wal/quarantine").iterdir()
                    if ".keep" not in p.name]) == 1


def test_a_neighbour_that_breaks_the_protocol_is_named(tmp_path):
    with FanWal(tmp_path, ["s", "t"], ["a", "b"]) as wal:
        source, other = wal.source("s"), wal.source("t")
        a, b = wal.sink("a"), wal.sink("b")
        wal.process.wait_ready()
        a.ack(7)
        assert wal.process.take() == {"fault": "out", "name": "a"}
        other.sock.sendall(b"\0\0\0\1{\1")
        assert wal.process.take() == {"fault": "in", "name": "t"}
        source.send({"n": 0})
        assert b.take(1) == [0]
        source.wait_acked(1)
        a = wal.sink("a")
        assert a.take(1) == [0]


def test_a_source_that_is_removed_is_read_to_its_end(tmp_path):
    with FanWal(tmp_path, ["s", "t"], ["a"], "--max-elements", "20") as wal:
        source, sink = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 20))
        source.wait_acked(20)
        going = wal.source("t")
        going.send(*numbered(20, 3))
        going.close()
        # It waits behind a full log, and nobody will ever send it again.
        wal.name(["s"], ["a"])
        assert sink.take(20) == list(range(20))
        sink.ack(20)
        assert sink.take(3) == [20, 21, 22]
        wal.process.wait_report(lambda r: len(r["sources"]) == 1)
        # Another of that name is nobody.
        stranger = wal.source("t")
        assert stranger.hear() is None
        assert "source t: attached, but none has that name" in (
            wal.process.text())


def test_strangers_are_not_let_in(tmp_path):
    with FanWal(tmp_path, ["s"], ["a"]) as wal:
        sink = wal.sink("a")
        for stranger in (wal.sink("b"), wal.sink(None)):
            assert stranger.event() is None
        assert wal.source(None).hear() is None
        wal.source("s").send({"n": 1})
        assert sink.take(1) == [1]


def test_the_end_waits_for_each_sink(tmp_path):
    with FanWal(tmp_path, ["s", "t"], ["a", "b"]) as wal:
        source, other = wal.source("s"), wal.source("t")
        a, b = wal.sink("a"), wal.sink("b")
        source.send({"n": 0})
        other.send({"n": 1})
        assert sorted(a.take(2)) == sorted(b.take(2)) == [0, 1]
        source.close()
        wal.process.drain()
        a.ack(2)
        wal.wait_sink("a", delivered=2)
        other.close()
        wal.wait_sink("b", stored=2)
        b.ack(2)
        assert wal.process.wait() == DONE


def test_from_one_sink_to_many_and_back(tmp_path):
    """Each time at a place of its own, over kills."""
    received = {name: set() for name in NAMES}
    sent = 0
    for round_, names in enumerate((
            ["a"], ["a", "b"], ["b", "a", "c"], ["c"], ["c", "b"], ["b"])):
        with FanWal(tmp_path, ["s"], names) as wal:
            source = wal.source("s")
            sinks = {name: wal.sink(name) for name in names}
            source.send(*numbered(sent, 5))
            source.wait_acked(5)
            sent += 5
            for name, sink in sinks.items():
                count = 0
                while True:
                    n, = sink.take(1)
                    count += 1
                    received[name].add(n)
                    if n == sent - 1:
                        break
                # All but one, so that something is left.
                sink.ack(count - 1)
                wal.wait_sink(name, stored=1)
            assert_adds_up(wal.process.report())
            if round_ % 2:
                os.kill(wal.process.pid, signal.SIGKILL)
                wal.process.wait()
            else:
                assert wal.process.stop() == DONE
    assert received["a"] == set(range(15))
    # From where the oldest stored was when they came.
    assert received["b"] >= set(range(4, 15)) | set(range(20, 30))
    assert received["c"] >= set(range(9, 25))


@pytest.mark.parametrize("is_proven", [False, True])
def test_numbers_that_a_sink_has_ended_are_not_used_again(tmp_path, is_proven):
    """Where acks do not wait for the sync and the power goes: what one sink
    has had is gone, and for the other one it is missing, not other events."""
    options = "--sync", "never", "--upsert", "seq=${seq}"
    with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
        source = wal.source("s")
        a, _ = wal.sink("a"), wal.sink("b")
        # Each in a batch of its own.
        for n in range(4):
            source.send({"n": n})
            source.wait_acked(n + 1)
        if is_proven:
            assert wal.process.stop() == DONE
    with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
        source = wal.source("s")
        a, _ = wal.sink("a"), wal.sink("b")
        source.send({"n": 4})
        source.wait_acked(1)
        assert a.take(5) == list(range(5))
        a.ack(5)
        wal.wait_sink("a", delivered=5)
        os.kill(wal.process.pid, signal.SIGKILL)
        wal.process.wait()
    path = tmp_path / "wal" / segments(tmp_path)[-1]
    data = path.read_bytes()
    # The last event did not come to the disk.
    at = data.rindex(b"WPBH", 0, data.rindex(b'"n": 4'))
    path.write_bytes(data[:at] + bytes(len(data) - at))
    with FanWal(tmp_path, ["s"], ["a", "b"], *options) as wal:
        source = wal.source("s")
        a, b = wal.sink("a"), wal.sink("b")
        source.send({"n": 5})
        event = a.event()
        assert event["n"] == 5 and event["seq"] > 5
        assert b.take(5) == [0, 1, 2, 3, 5]
        wal.wait_sink("b", stored=6)
        b.ack(5)
        wal.wait_sink("b", stored=0, quarantined=1)
        assert_adds_up(wal.process.report())


def test_a_disk_without_room_for_a_cursor_costs_duplicates_only(tmp_path):
    """The flow goes on, and the cursors are made when there is room."""
    full = tmp_path / "full"
    with FanWal(tmp_path, ["s"], ["a"],
                env=shimmed(SHIM_FULL=full)) as wal:
        source, a = wal.source("s"), wal.sink("a")
        source.send(*numbered(0, 3))
        assert a.take(3) == [0, 1, 2]
        full.touch()
        wal.name(["s"], ["a", "b"])
        b = wal.sink("b")
        assert b.take(3) == [0, 1, 2]
        a.ack(3)
        b.ack(1)
        wal.wait_sink("a", delivered=3)
        wal.wait_sink("b", delivered=1)
        full.unlink()
        wait_until(lambda: wal.process.report() and
                   len(sink_cursors(tmp_path)) == 2)
        os.kill(wal.process.pid, signal.SIGKILL)
        wal.process.wait()
    with FanWal(tmp_path, ["s"], ["a", "b"]) as wal:
        assert wal.sink("b").take(2) == [1, 2]
        wal.wait_sink("a", stored=0)

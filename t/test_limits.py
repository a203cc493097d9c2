"""What walproc does at its limits and with events that grow old, when it
syncs, and that each event is counted once, whatever became of it.
"""

import os
import signal

import pytest
from neighbours import Wal, assert_silent, drain, numbered
from support import (DONE, acked_seq, cursor_of, events_of, frame, lines_of,
                     shimmed, slow_clock, state_of, stored_events, ticks_of,
                     wait_until)


def assert_exact(directory, taken):
    """Promise 7: each event taken in is counted once. What is stored is
    counted in the files."""
    counts = cursor_of(directory)
    ended = sum(counts[k] for k in ("delivered", "rejected", "dropped",
                                    "quarantined"))
    assert ended == counts["acked_seq"]
    stored = sum(n > counts["acked_seq"] for n in stored_events(directory))
    assert taken == (ended + stored + counts["refused"]
                     + counts["dropped_newest"])


def test_drop_oldest_keeps_the_newest_and_counts_the_rest(tmp_path):
    with Wal(tmp_path, "--max-elements", "10", "--on-full",
             "drop_oldest") as wal:
        for n in range(25):
            wal.send({"n": n})
            wal.wait_acked(n + 1)
        wal.process.kill()
        assert "an event is dropped" in wal.process.text()
    assert cursor_of(tmp_path / "wal")["dropped"] == 15
    assert_exact(tmp_path / "wal", 25)
    received = []
    drain(tmp_path, received)
    assert received == list(range(15, 25))
    assert cursor_of(tmp_path / "wal")["delivered"] == 10
    assert_exact(tmp_path / "wal", 25)


def test_drop_oldest_within_one_batch(tmp_path):
    """All in one write: it is synced as often as the log is full."""
    with Wal(tmp_path, "--max-elements", "10", "--on-full",
             "drop_oldest") as wal:
        wal.send(*numbered(0, 1000))
        wal.wait_acked(1000)
        wal.process.kill()
    received = []
    drain(tmp_path, received)
    assert received == list(range(990, 1000))
    assert_exact(tmp_path / "wal", 1000)


def test_drop_oldest_in_a_small_log_acks_within_a_batch(tmp_path):
    """Not only when all of it is taken, which is a sync for every few."""
    limit = 10
    with Wal(tmp_path, "--max-elements", f"{limit}", "--on-full",
             "drop_oldest") as wal:
        os.kill(wal.process.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(wal.process.pid) == "T", "stop")
        wal.send(*numbered(0, 1000))
        os.kill(wal.process.pid, signal.SIGCONT)
        acks = []
        while not acks or acks[-1] < 1000:
            acks.append(wal.answer()["ack"])
        # So many syncs in a turn, and what came since the last one of them.
        assert all(new - old <= 65 * limit
                   for old, new in zip([0] + acks, acks)), acks


def test_an_answer_to_a_dropped_event_changes_nothing(tmp_path):
    """The sink was given events that were dropped since: it rejects one, acks
    another, and then goes on with what is stored."""
    with Wal(tmp_path, "--max-elements", "10", "--read-count", "4",
             "--on-full", "drop_oldest") as wal:
        wal.send(*numbered(0, 10))
        wal.wait_acked(10)
        assert [wal.event()["n"] for _ in range(4)] == [0, 1, 2, 3]
        wal.send(*numbered(10, 10))
        wal.wait_acked(20)
        wal.sink.sendall(frame({"reject": 2, "reason": "no"}))
        wal.ack(4)
        assert [wal.event()["n"] for _ in range(4)] == [10, 11, 12, 13]
        wal.ack(8)
        assert [wal.event()["n"] for _ in range(4)] == [14, 15, 16, 17]
        wal.ack(12)
        assert [wal.event()["n"] for _ in range(2)] == [18, 19]
        wal.ack(14)
        wal.end_input()
        assert wal.process.wait() == DONE
    counts = cursor_of(tmp_path / "wal")
    assert (counts["dropped"], counts["delivered"]) == (10, 10)
    assert counts["rejected"] == 0
    assert_exact(tmp_path / "wal", 20)


def test_drop_oldest_keeps_the_limit_on_bytes(tmp_path):
    limit, segment = 100_000, 16384
    with Wal(tmp_path, "--max-bytes", limit, "--segment-bytes", segment,
             "--on-full", "drop_oldest") as wal:
        for n in range(100):
            wal.send(*({"n": n * 20 + k, "x": "y" * 500} for k in range(20)))
            wal.wait_acked((n + 1) * 20)
            used = sum(p.stat().st_size
                       for p in (tmp_path / "wal").iterdir() if p.is_file())
            assert used < limit + 2 * segment + 65536
        wal.process.kill()
    received = []
    drain(tmp_path, received)
    assert received == list(range(received[0], 2000))
    assert 100 < len(received) < 200
    assert_exact(tmp_path / "wal", 2000)


def test_drop_newest_keeps_the_oldest_and_counts_the_rest(tmp_path):
    with Wal(tmp_path, "--max-elements", "10", "--on-full",
             "drop_newest") as wal:
        wal.send(*numbered(0, 25))
        wal.wait_acked(25)
        assert [wal.event()["n"] for _ in range(10)] == list(range(10))
        wal.ack(3)
        wait_until(lambda: acked_seq(tmp_path / "wal") == 3)
        wal.send(*numbered(25, 5))
        wal.wait_acked(30)
        wal.process.kill()
    assert cursor_of(tmp_path / "wal")["dropped_newest"] == 17
    assert_exact(tmp_path / "wal", 30)
    received = []
    drain(tmp_path, received)
    assert received == [3, 4, 5, 6, 7, 8, 9, 25, 26, 27]


@pytest.mark.parametrize("options, bad, file", [
    (["--max-elements", "10"], b"{", "dead-letters.ndjson"),
    (["--max-elements", "1", "--on-full", "drop_newest"], b"{}", "cursor"),
])
def test_a_count_is_durable_before_its_ack(tmp_path, options, bad, file):
    """What only the cursor counts is synced there first; an event in the log
    needs no such sync."""
    trace = tmp_path / "trace"
    with Wal(tmp_path, *options, env=shimmed(SHIM_TRACE=trace)) as wal:
        wal.send(b"{}")
        wal.wait_acked(1)
        before = len(lines_of(trace))
        wal.send(bad)
        wal.wait_acked(2)
    calls = [line.decode() for line in lines_of(trace)]
    ack = calls.index("ack", before)
    assert f"fdatasync {file}" in calls[before:ack]
    assert calls[:ack].index("fdatasync cursor", before) > \
        max(i for i in range(before, ack)
            if calls[i].startswith("pwrite cursor"))
    first_ack = calls.index("ack")
    start = calls.index("rename spare.tmp 00000000000000000001.seg")
    assert "fdatasync cursor" not in calls[start:first_ack]


def test_events_too_old_are_dropped_while_the_sink_is_away(tmp_path):
    with Wal(tmp_path, "--max-age", "0.2", "--read-count", "2") as wal:
        wal.send(*numbered(0, 6))
        wal.wait_acked(6)
        wait_until(lambda: cursor_of(tmp_path / "wal")["dropped"] == 6)
        wal.end_input()
        assert wal.process.wait() == DONE
        assert "older than --max-age" in wal.process.text()
    assert_exact(tmp_path / "wal", 6)


def test_events_grow_old_while_nothing_runs(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(*numbered(0, 6))
        wal.wait_acked(6)
        wal.process.kill()
    with Wal(tmp_path, "--max-age", "0.001") as wal:
        wal.send({"n": "new"})
        wal.end_input()
        assert wal.process.wait() == DONE
    counts = cursor_of(tmp_path / "wal")
    assert counts["dropped"] + counts["delivered"] == counts["acked_seq"] == 7
    assert counts["dropped"] >= 6


def test_events_that_are_not_too_old_stay(tmp_path):
    with Wal(tmp_path, "--max-age", "3600") as wal:
        wal.send(*numbered(0, 6))
        wal.wait_acked(6)
        for n in range(6):
            assert wal.event() == {"n": n}
        wal.ack(6)
        wal.end_input()
        assert wal.process.wait() == DONE
    assert cursor_of(tmp_path / "wal")["delivered"] == 6


def test_how_much_of_the_letters_is_durable_is_on_record(tmp_path):
    letters = tmp_path / "wal" / "dead-letters.ndjson"
    with Wal(tmp_path) as wal:
        for n in range(3):
            wal.send(b"bad")
            wal.wait_acked(n + 1)
            assert cursor_of(tmp_path / "wal")["letters_bytes"] == \
                letters.stat().st_size > 0


def syncs_of_segments(calls):
    return [i for i, call in enumerate(calls)
            if call.startswith("fdatasync 0")]


def test_with_an_interval_the_ack_does_not_wait_for_the_sync(tmp_path):
    trace = tmp_path / "trace"
    with Wal(tmp_path, "--sync", "interval:300",
             env=shimmed(SHIM_TRACE=trace)) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        assert [wal.event()["n"] for _ in range(3)] == [0, 1, 2]

        def calls():
            return [line.decode() for line in lines_of(trace)]

        wait_until(lambda: syncs_of_segments(calls()))
        found = calls()
        assert found.index("ack") < syncs_of_segments(found)[0]
        # The sync is on record where a start finds it.
        wait_until(lambda: cursor_of(tmp_path / "wal")["durable_seq"] == 3)
        # And with nothing new there is nothing to sync.
        count = len(syncs_of_segments(calls()))
        wal.ack(3)
        wait_until(lambda: acked_seq(tmp_path / "wal") == 3)
        assert len(syncs_of_segments(calls())) == count


def test_never_syncs_only_where_a_segment_ends_and_at_the_end(tmp_path):
    trace = tmp_path / "trace"
    with Wal(tmp_path, "--sync", "never", "--segment-bytes", "16384",
             "--max-elements", "1000", env=shimmed(SHIM_TRACE=trace)) as wal:
        for n in range(100):
            wal.send({"n": n, "x": "y" * 400})
            wal.wait_acked(n + 1)
        calls = [line.decode() for line in lines_of(trace)]
        rolls = sum(call.startswith("rename spare.tmp") for call in calls)
        assert 3 <= rolls <= 6
        assert len(syncs_of_segments(calls)) == rolls - 1
        wal.process.signal(signal.SIGTERM)
        assert wal.process.wait() == DONE
    assert cursor_of(tmp_path / "wal")["durable_seq"] == 100


def test_the_next_batch_gathers_while_the_last_one_syncs(tmp_path):
    """A sync that does not return holds acks and delivery, not the intake: far
    more is taken than sockets hold. All of it goes into few syncs."""
    hold, trace = tmp_path / "hold", tmp_path / "trace"
    with Wal(tmp_path, "--max-elements", "100000", "--max-bytes", "100000000",
             env=shimmed(SHIM_HOLD_SYNC=hold, SHIM_TRACE=trace)) as wal:
        wal.send({"n": "first"})
        wal.wait_acked(1)
        assert wal.event() == {"n": "first"}
        hold.touch()
        wal.source.settimeout(30)
        wal.send(*({"n": n, "x": "y" * 1000} for n in range(5000)))
        assert_silent(wal.answers)
        assert_silent(wal.events)
        before = len(lines_of(trace))
        # One sync returns; what came meanwhile is in the next.
        (tmp_path / "hold.pass").touch()
        wal.acked = wal.answer()["ack"]
        assert 1 < wal.acked < 5001
        ticks = ticks_of(wal.process.pid)
        assert_silent(wal.answers)
        assert ticks_of(wal.process.pid) - ticks < 10, "it does not wait"
        hold.unlink()
        wal.wait_acked(5001)
        assert wal.event()["n"] == 0
        calls = [line.decode() for line in lines_of(trace)[before:]]
        assert 1 <= len(syncs_of_segments(calls)) <= 4
        wal.process.kill()
    received = []
    drain(tmp_path, received)
    assert received == ["first", *range(5000)]


def test_what_is_on_its_way_when_told_to_stop_is_acked(tmp_path):
    """SIGTERM while a sync is on its way: it is waited for, half a second by
    its clock."""
    hold = tmp_path / "hold"
    with Wal(tmp_path, env=slow_clock(shimmed(SHIM_HOLD_SYNC=hold))) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        hold.touch()
        wal.send({"n": 1})
        wait_until(lambda: 2 in stored_events(tmp_path / "wal"))
        wal.process.signal(signal.SIGTERM)
        wal.process.wait_log("stopping")
        hold.unlink()
        wal.wait_acked(2)
        assert wal.process.wait() == DONE


@pytest.mark.parametrize("sync", ["interval:50", "never"])
def test_kill_9_loses_nothing_however_rarely_it_syncs(tmp_path, sync):
    """What is written outlives the process; only the power cut is bet on."""
    acked, received = 0, []
    for round_ in range(8):
        with Wal(tmp_path, "--sync", sync, "--max-elements", "100000",
                 "--segment-bytes", "16384") as wal:
            wal.send(*numbered(acked, 500))
            while wal.acked < 60 * round_:
                wal.acked = wal.answer().get("ack", wal.acked)
            wal.process.kill()
            acked += wal.acked
    drain(tmp_path, received)
    assert set(range(acked)) <= set(received)
    assert list(dict.fromkeys(received)) == sorted(set(received))


def test_each_event_is_counted_once_over_kills_and_restarts(tmp_path):
    """Delivered, rejected, refused, dropped and stored at once; what the
    source was told is what the log counts, and at most what was on its way
    when it died comes on top."""
    acked = sent = refused = 0
    directory = tmp_path / "wal"
    for round_ in range(12):
        with Wal(tmp_path, "--max-elements", "60", "--on-full",
                 "drop_oldest", "--read-count", "5") as wal:
            wal.send(*numbered(0, 17), b"no json", *numbered(17, 7))
            wal.wait_acked(25)
            refused += 1
            for _ in range(5):
                wal.event()
            wal.sink.sendall(frame({"reject": 2, "reason": "r"}))
            wal.ack(4)
            # That more is given says that the answers were taken.
            for _ in range(4):
                wal.event()
            if round_ % 3 == 2:
                wal.send(b"lost?", *numbered(0, 5))
            wal.process.kill()
            # What it told before it died counts.
            while (answer := wal.answers.next()) is not None:
                assert b"ack" in answer or b"breaker" in answer
            acked += 25
            sent += 31 if round_ % 3 == 2 else 25
        counts = cursor_of(directory)
        assert refused <= counts["refused"] <= refused + round_ // 3 + 1
        refused = counts["refused"]
    counts = cursor_of(directory)
    stored = sum(n > counts["acked_seq"] for n in stored_events(directory))
    taken = counts["acked_seq"] + stored + refused
    assert acked <= taken <= sent
    assert_exact(directory, taken)
    # A letter whose ack the death forestalled may be there, not counted.
    counted = refused + counts["rejected"]
    letters = len(events_of(directory / "dead-letters.ndjson"))
    assert counted <= letters <= counted + 4
    assert counts["dropped"] > 0 and counts["rejected"] > 0
    assert os.path.getsize(directory / "cursor") == 4096 + 120

"""What walproc reports to its supervisor: each event counted once at any
moment, the same that `walproc inspect` says, and how its neighbours stand.
"""

import json
import select
import subprocess
import threading
import time

import pytest
from neighbours import GivenWal, make_damaged, numbered
from support import (AGAIN, DONE, cursor_of, frame, program, shimmed,
                     wait_until)

ENDED = "delivered", "dropped", "dead_lettered", "quarantined"
WHOLE = {*ENDED, "taken", "stored", "rejected", "bytes", "syncs", "in_flight",
         "source", "sink", "source_breaker", "sink_breaker", "in_rate",
         "out_rate", "sources", "sinks"}


def assert_adds_up(report):
    assert report["taken"] == report["stored"] + sum(
        report[name] for name in ENDED), report
    assert report["rejected"] <= report["dead_lettered"]


def inspect(directory):
    return json.loads(subprocess.run(
        [program("walproc"), "inspect", "--json", directory / "wal"],
        check=True, stdout=subprocess.PIPE, timeout=60).stdout)


def now_ms():
    return time.time() * 1000


def test_a_new_log_reports_nothing(tmp_path):
    with GivenWal(tmp_path) as wal:
        report = wal.process.report()
    assert report == {
        "taken": 0, "delivered": 0, "stored": 0, "dropped": 0,
        "dead_lettered": 0, "quarantined": 0, "rejected": 0, "bytes": 0, "syncs": 0,
        "in_flight": 0, "source": True, "sink": True,
        "source_breaker": "closed", "sink_breaker": "closed", "in_rate": 0,
        "out_rate": 0,
        "sources": [{"name": "", "present": True, "taken": 0}],
        "sinks": [{
            "name": "", "present": True, "breaker": "closed", "delivered": 0,
            "stored": 0, "in_flight": 0, "rejected": 0, "dropped": 0,
            "quarantined": 0, "out_rate": 0}]}


def test_a_report_says_how_all_stands(tmp_path):
    with GivenWal(tmp_path, "--read-count", "3", "--max-elements", "8") as wal:
        wal.send(*numbered(0, 7))
        wal.wait_acked(7)
        assert wal.take(3) == [0, 1, 2]
        report = wal.process.report()
        assert set(report) == WHOLE | {"oldest_ms"}
        assert (report["stored"], report["in_flight"]) == (7, 3)
        assert 1 <= report["syncs"] <= 7
        assert report["bytes"] == inspect(tmp_path)["bytes"] > 0
        wal.send({"n": 7})
        report = wal.process.wait_report(
            lambda r: r["source_breaker"] == "open")
        assert set(report) == WHOLE | {"oldest_ms", "source_breaker_reason"}
        assert report["source_breaker_reason"] == "log full: 8 events of 8"
        wal.sink.sendall(frame({"breaker": "open", "reason": "away"}))
        wal.process.wait_report(lambda r: r["sink_breaker"] == "open")
        wal.ack(3)
        report = wal.process.wait_report(lambda r: r["delivered"] == 3)
        assert (report["in_flight"], report["source_breaker"]) == (0, "closed")


def test_the_oldest_event_is_as_old_as_inspect_says(tmp_path):
    """Of what is not ended, after a restart too, and over segments."""
    with GivenWal(tmp_path, "--segment-bytes", "16384") as wal:
        times = [now_ms()]
        for n in range(4):
            wal.send({"n": n, "x": "y" * 9000})
            wal.wait_acked(n + 1)
            # Old enough to be told from the next.
            wal.process.wait_report(lambda r: now_ms() > times[-1] + 50)
            times.append(now_ms())
        assert wal.take(4) == [0, 1, 2, 3]
        for n in range(4):
            start = now_ms()
            low = wal.process.report()["oldest_ms"]
            age = inspect(tmp_path)["oldest_age_ms"]
            high = wal.process.report()["oldest_ms"]
            assert low <= age <= high
            # It was written when it was sent.
            assert start - low - 1 < times[n + 1]
            assert now_ms() - high + 1 > times[n]
            if n < 3:
                wal.ack(n + 1)
                wait_until(lambda: cursor_of(
                    tmp_path / "wal")["acked_seq"] == n + 1)
        assert wal.process.stop() == DONE
        assert wal.process.last_report()["oldest_ms"] >= high
    with GivenWal(tmp_path) as wal:
        assert wal.take(1) == [3]
        assert wal.process.report()["oldest_ms"] > 0
        wal.ack(1)
        report = wal.process.wait_report(lambda r: r["stored"] == 0)
        assert "oldest_ms" not in report


def test_what_is_not_safe_yet_has_no_age(tmp_path):
    hold = tmp_path / "hold"
    with GivenWal(tmp_path, env=shimmed(SHIM_HOLD_SYNC=hold)) as wal:
        wal.send({"n": 0})
        assert wal.take(1) == [0]
        wal.ack(1)
        wal.process.wait_report(lambda r: r["stored"] == 0)
        hold.touch()
        wal.send({"n": 1})
        report = wal.process.wait_report(lambda r: r["taken"] == 2)
        assert_adds_up(report)
        assert "oldest_ms" not in report
        hold.unlink()
        wal.process.wait_report(lambda r: "oldest_ms" in r)


def test_the_age_is_of_the_first_that_can_be_read(tmp_path):
    """A look at what is damaged moves nothing; the delivery does."""
    make_damaged(tmp_path, 3, 0)

    class Stopped(GivenWal):
        """Its sink wants nothing, and says so before it starts."""

        def start(self, log, *argv, **popen):
            self.sink.sendall(frame({"breaker": "open", "reason": "r"}))
            return super().start(log, *argv, **popen)

    with Stopped(tmp_path) as wal:
        report = wal.process.report()
        assert report["stored"] == 3 and report["oldest_ms"] > 0
        assert not (tmp_path / "wal" / "quarantine").exists()
        wal.sink.sendall(frame({"breaker": "closed"}))
        assert wal.take(2) == [1, 2]
        report = wal.process.wait_report(lambda r: r["quarantined"] == 1)
        assert_adds_up(report)
        assert (tmp_path / "wal" / "quarantine").exists()


@pytest.mark.parametrize("on_full", ["pause", "drop_oldest", "drop_newest"])
def test_each_event_is_counted_once_at_any_moment(tmp_path, on_full):
    """Reports in the midst of it: good and bad events, rejects, drops, and
    neighbours that are replaced; and inspect says the same in the end."""
    count = 3000
    with GivenWal(tmp_path, "--max-elements", "50", "--on-full", on_full,
                  "--segment-bytes", "16384") as wal:
        wal.process.wait_ready()
        is_sent = threading.Event()

        def feed():
            for n in range(count):
                wal.send(b"bad" if n % 10 == 3 else {"n": n})
            is_sent.set()

        source = threading.Thread(target=feed)
        source.start()
        reports, given, rounds = [], 0, 0
        while True:
            wal.process.tell({"ask": "report"})
            wal.process.take()
            reports.append(wal.process.reports[-1])
            assert_adds_up(reports[-1])
            if is_sent.is_set() and reports[-1]["stored"] == 0 and \
                    reports[-1]["taken"] == count:
                break
            for _ in range(10):
                if not wal.events.data and \
                        not select.select([wal.sink], [], [], 0)[0]:
                    break
                wal.take(1)
                given += 1
                if given % 7 == 0:
                    wal.sink.sendall(frame({"reject": given, "reason": "r"}))
                else:
                    wal.ack(given)
            rounds += 1
            if rounds % 50 == 0:
                wal.new_sink()
                given = 0
        source.join()
        for old, new in zip(reports, reports[1:]):
            for name in ("taken", *ENDED, "rejected"):
                assert old[name] <= new[name]
        last = reports[-1]
        assert last["dead_lettered"] - last["rejected"] == count // 10
        assert last["delivered"] > 0 and last["rejected"] > 0
        assert (last["dropped"] > 0) == (on_full != "pause")
        assert last["in_rate"] >= 0
        assert wal.process.stop() == DONE
        final = wal.process.last_report()
        assert_adds_up(final)
    counters = inspect(tmp_path)["counters"]
    assert counters["adds_up"]
    for name in ("taken", "stored", *ENDED, "rejected"):
        assert final[name] == counters[name]


def test_the_counts_go_on_over_a_restart(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 5), b"bad")
        wal.wait_acked(6)
        wal.take(5)
        wal.ack(2)
        wal.process.wait_report(lambda r: r["delivered"] == 2)
        assert wal.process.stop() == DONE
        before = wal.process.last_report()
    with GivenWal(tmp_path) as wal:
        after = wal.process.report()
        for name in ("taken", "stored", *ENDED):
            assert after[name] == before[name]
        # What an earlier run did is no rate of this one.
        assert after["in_rate"] == after["out_rate"] == 0


def test_the_rates_are_of_what_came_and_went(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 20))
        wal.wait_acked(20)
        wal.take(20)
        wal.ack(10)
        # Over the whole seconds since the first of them: one, mostly.
        report = wal.process.wait_report(lambda r: r["out_rate"] > 0)
        ages = 20 / report["in_rate"], 10 / report["out_rate"]
        assert 10 >= ages[0] >= ages[1] >= 1
        assert ages == pytest.approx([round(age) for age in ages])


def test_a_run_that_fails_reports_at_its_end(tmp_path):
    with GivenWal(tmp_path, env=shimmed(SHIM_FAIL_SYNC=12)) as wal:
        try:
            for n in range(30):
                wal.send({"n": n})
                wal.wait_acked(n + 1)
        except (TypeError, BrokenPipeError, ConnectionResetError):
            pass
        assert wal.process.wait() == AGAIN
        report = wal.process.last_report()
        assert report["taken"] >= wal.acked > 0
        assert_adds_up(report)

"""walproc under a supervisor, which the test plays: it lives on without its
neighbours, and nothing is lost or out of order, whoever is killed.
"""

import json
import random
import select

import pytest
from neighbours import GivenWal, counts_of, drain, numbered
from support import AGAIN, DONE, Frames, assert_sleeps, frame, shimmed


def test_it_is_ready_and_ends_when_drained(tmp_path):
    with GivenWal(tmp_path) as wal:
        assert wal.process.take() == {"ready": True}
        wal.send(*numbered(0, 5))
        wal.wait_acked(5)
        assert wal.take(5) == list(range(5))
        wal.finish(5)
    assert counts_of(tmp_path) == {"delivered": 5}


def test_it_is_ready_after_the_recovery(tmp_path):
    """Which waits here for a sync, of what was not proven durable."""
    with GivenWal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wal.process.kill()
    hold = tmp_path / "hold"
    hold.touch()
    with GivenWal(tmp_path, env=shimmed(SHIM_HOLD_SYNC=hold)) as wal:
        assert not select.select([wal.process.control], [], [], 0.3)[0]
        hold.unlink()
        wal.process.wait_ready()


def test_without_a_sink_the_intake_goes_on_to_the_limit(tmp_path):
    with GivenWal(tmp_path, "--max-elements", "10") as wal:
        wal.sink.close()
        wal.process.wait_log("sink left: 0 events wait")
        wal.send(*numbered(0, 12))
        answers = [wal.answer(), wal.answer()]
        assert {"ack": 10} in answers
        assert {"breaker": "open",
                "reason": "log full: 10 events of 10"} in answers
        report = wal.process.report()
        assert (report["sink"], report["stored"]) == (False, 10)
        wal.new_sink()
        assert wal.take(10) == list(range(10))
        wal.ack(10)
        assert wal.answer() == {"breaker": "closed"}
        wal.wait_acked(12)
        assert wal.take(2) == [10, 11]
        wal.finish(12)


def test_without_a_source_the_delivery_goes_on(tmp_path):
    with GivenWal(tmp_path, "--read-count", "1") as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        wal.source.close()
        wal.process.wait_log("source left")
        for n in range(3):
            assert wal.take(1) == [n]
            wal.ack(n + 1)
        wal.process.wait_report(lambda r: r["delivered"] == 3)
        assert not wal.process.report()["source"]
        wal.new_source()
        wal.send({"n": 3})
        wal.wait_acked(1)
        assert wal.take(1) == [3]


def test_both_neighbours_may_be_absent_at_the_start(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wal.process.kill()

    class Lonely(GivenWal):
        def start(self, log, *argv, **popen):
            self.source.close()
            self.sink.close()
            return super().start(log, *argv, **popen)

    with Lonely(tmp_path) as wal:
        wal.process.wait_ready()
        wal.process.wait_log("source left")
        wal.process.wait_log("sink left: 1 events wait")
        wal.new_sink()
        assert wal.take(1) == [0]
        wal.new_source()
        wal.send({"n": 1})
        wal.wait_acked(1)
        assert wal.take(1) == [1]
        wal.finish(2)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("first", ["drain", "end"])
def test_drain_ends_it_when_input_and_log_are_done(tmp_path, first, away):
    """Whichever comes first; a sink that is away then is waited for."""
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 4))
        wal.wait_acked(4)
        assert wal.take(4) == list(range(4))
        if away:
            wal.sink.close()
            wal.process.wait_log("sink left")
        if first == "drain":
            wal.process.drain()
            wal.send({"n": 4})
            wal.wait_acked(5)
            wal.source.close()
        else:
            wal.send({"n": 4})
            wal.source.close()
            wal.process.wait_log("source left")
            wal.process.drain()
        if away:
            wal.process.wait_report(lambda r: r["stored"] == 5)
            assert wal.process.is_running()
            wal.new_sink()
            assert wal.take(5) == list(range(5))
        else:
            assert wal.take(1) == [4]
        wal.ack(5)
        assert wal.process.wait() == DONE
        assert wal.process.last_report()["delivered"] == 5


def test_drain_takes_the_source_that_waits(tmp_path):
    """It was attached before; one that comes later is refused."""
    with GivenWal(tmp_path) as wal:
        wal.pause()
        wal.send({"n": 0})
        wal.new_source()
        wal.send({"n": 1})
        wal.process.drain()
        late = wal.process.attach("in")
        wal.resume()
        assert Frames(late).next() is None
        late.close()
        assert wal.take(2) == [0, 1]
        wal.ack(2)
        wal.source.close()
        assert wal.process.wait() == DONE


@pytest.mark.parametrize("answers, words", [
    ([{"ack": 5}], "acked more events than were sent"),
    ([{"ack": 2}, {"ack": 1}], "the count of acked events fell"),
    ([{"reject": 9}], "rejected an event that was acked, or never sent"),
    ([{"reject": 2}, {"reject": 2}], "rejected an event twice"),
    ([b"no json"], "message: "),
    ([{"ack": "many"}], "message: "),
    (None, "message: not a length-prefixed message"),
])
def test_a_sink_that_answers_nonsense_is_cut_off(tmp_path, answers, words):
    """The log goes on, and the next sink gets what this one has not ended."""
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 4))
        assert wal.take(4) == list(range(4))
        data = b"\xff" * 100 if answers is None else b"".join(
            map(frame, answers))
        # What comes behind it does not count.
        wal.sink.sendall(data + frame({"ack": 4}))
        assert wal.events.next() is None
        assert f" error sink: {words}" in wal.process.text()
        assert not wal.process.report()["sink"]
        wal.send({"n": 4})
        wal.wait_acked(5)
        ended = 2 if answers == [{"ack": 2}, {"ack": 1}] else 0
        wal.new_sink()
        left = list(range(ended, 5))
        assert wal.take(len(left)) == left
        wal.finish(len(left))
        assert wal.process.text().count(" error ") == 1
    assert sum(counts_of(tmp_path).values()) == 5


def test_a_source_that_sends_nonsense_is_cut_off(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        wal.source.sendall(frame({"n": 3}) + b"\xff" * 50 + frame({"n": 9}))
        while wal.answers.next() is not None:
            pass
        assert " error input: not a length prefix" in wal.process.text()
        assert not wal.process.report()["source"]
        wal.new_source()
        wal.send({"n": 4})
        wal.wait_acked(1)
        assert wal.take(5) == list(range(5))
        wal.finish(5)


def test_it_ends_when_the_supervisor_is_gone(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        wal.process.control.close()
        assert wal.process.wait() == AGAIN
        assert "the supervisor is gone" in wal.process.text()


@pytest.mark.parametrize("away", ["source", "sink", "both"])
def test_sigterm_ends_it_without_its_neighbours(tmp_path, away):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        if away != "sink":
            wal.source.close()
            wal.process.wait_log("source left")
        if away != "source":
            wal.sink.close()
            wal.process.wait_log("sink left")
        assert wal.process.stop() == DONE
        assert wal.process.last_report()["stored"] == 3


@pytest.mark.parametrize("away", ["none", "source", "sink", "both", "mad"])
def test_while_idle_it_sleeps(tmp_path, away):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        assert wal.take(3) == [0, 1, 2]
        if away in ("source", "both"):
            wal.source.close()
            wal.process.wait_log("source left")
        if away in ("sink", "both"):
            wal.sink.close()
            wal.process.wait_log("sink left")
        if away == "mad":
            wal.sink.sendall(b"\xff" * 100)
            wal.source.sendall(b"\xff" * 100)
            wal.process.wait_log("source left")
            wal.process.wait_log("sink left")
        wal.process.report()
        assert_sleeps(wal.process.pid)


class Feed:
    """A source that keeps what is not acked and sends it again, over any
    number of its own lives and of walproc's, and a sink with gaps in its
    memory."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.acked = 0   # all before this number
        self.first = 0   # in this stream
        self.sent = 0
        self.received = []
        self.given = 0   # in the sink's stream

    def begin_source(self):
        self.first = self.sent = self.acked

    def send(self, wal, count):
        wal.send(*numbered(self.sent, count))
        self.sent += count

    def note(self, answer):
        told = json.loads(answer).get("ack", 0)
        assert self.first + told <= self.sent, "an ack of too much"
        self.acked = max(self.acked, self.first + told)

    def hear(self, wal):
        """Takes the answers that are there, but one at least if one is due."""
        if self.acked < self.sent:
            self.note(wal.answers.next())
        while wal.answers.data or select.select([wal.source], [], [], 0)[0]:
            self.note(wal.answers.next())

    def take(self, wal, count):
        """The sink takes up to `count` events and acks some."""
        for _ in range(count):
            if not select.select([wal.sink], [], [], 0.05)[0] and \
                    not wal.events.data:
                return
            self.received += wal.take(1)
            self.given += 1
            if self.random.random() < 0.4:
                wal.ack(self.given)

    def step(self, wal):
        """Something happens."""
        what = self.random.randrange(8)
        if what < 3:
            self.send(wal, self.random.randrange(1, 60))
        elif what < 5:
            self.take(wal, self.random.randrange(1, 40))
        elif what == 5:
            self.hear(wal)
        elif what == 6:
            self.hear(wal)
            wal.new_source()
            self.begin_source()
        else:
            wal.new_sink()
            self.given = 0

    def run(self, directory, rounds, env=None):
        for _ in range(rounds):
            with GivenWal(directory, "--max-elements", "100000", env=env) \
                    as wal:
                self.begin_source()
                self.given = 0
                self.send(wal, 20)
                for _ in range(self.random.randrange(1, 12)):
                    self.step(wal)
                wal.process.kill()
                # What it acked before it died counts.
                while (answer := wal.answers.next()) is not None:
                    self.note(answer)
        drain(directory, self.received)

    def has_all(self):
        return set(range(self.acked)) <= set(self.received)

    def is_in_order(self):
        firsts = list(dict.fromkeys(self.received))
        return firsts == sorted(firsts)


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_and_neighbours_that_come_and_go_lose_nothing(tmp_path, seed):
    feed = Feed(seed)
    feed.run(tmp_path, rounds=30)
    assert feed.acked > 500
    assert feed.has_all()
    assert feed.is_in_order()


def test_the_negative_control_a_log_that_loses_batches(tmp_path):
    """The same play must see what such a log has acked and has not got."""
    feed = Feed(0)
    feed.run(tmp_path, rounds=10, env=shimmed(SHIM_LOSE_BATCH=2))
    assert not feed.has_all()

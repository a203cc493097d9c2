"""walproc under a supervisor, which the test plays: sources and sinks come and
go while the log stays open, and nothing is lost, doubled without need or out
of order.
"""

import json
import os
import random
import select
import threading

import pytest
from neighbours import GivenWal, assert_silent, dead_letters, drain, numbered
from support import (AGAIN, DONE, cursor_of, frame, shimmed, stored_events,
                     wait_until)


def fds_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def finish(wal, count):
    """The sink acks `count` events of its stream, and all ends well."""
    wal.ack(count)
    wal.process.drain()
    wal.source.close()
    assert wal.process.wait() == DONE, wal.process.text()


def counts_of(directory):
    counts = cursor_of(directory / "wal")
    return {name: counts[name] for name in (
        "delivered", "rejected", "dropped", "quarantined", "refused")
        if counts[name]}


def test_it_is_ready_and_ends_when_drained(tmp_path):
    with GivenWal(tmp_path) as wal:
        assert wal.process.take() == {"ready": True}
        wal.send(*numbered(0, 5))
        wal.wait_acked(5)
        assert wal.take(5) == list(range(5))
        finish(wal, 5)
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


def test_what_the_old_sink_has_acked_is_not_given_to_the_new_one(tmp_path):
    """Its last ack is still in the socket when the next sink is there, and
    half of one more."""
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 10))
        assert wal.take(10) == list(range(10))
        wal.ack(1)
        wal.pause()
        wal.ack(4)
        wal.sink.sendall(frame({"ack": 10})[:9])
        wal.new_sink()
        wal.resume()
        assert wal.take(6) == list(range(4, 10))
        wal.send({"n": 10})
        assert wal.take(1) == [10]
        finish(wal, 7)
    assert counts_of(tmp_path) == {"delivered": 11}


def test_a_sink_that_leaves_many_answers_has_them_read(tmp_path):
    """More than are read at once; then the next one's stream begins."""
    count = 20000
    with GivenWal(tmp_path, "--read-count", "30000", "--max-elements",
                  "30000") as wal:
        source = threading.Thread(target=wal.send, args=numbered(0, count))
        source.start()
        wal.take(count)
        source.join()
        wal.pause()
        wal.sink.setblocking(False)
        told = 0
        try:
            while told < count - 1:
                wal.ack(told + 1)
                told += 1
        except BlockingIOError:
            pass
        assert told > 100
        wal.new_sink()
        wal.resume()
        assert wal.take(1) == [told]


@pytest.mark.parametrize("framing", ["length", "ndjson"])
def test_what_the_old_source_has_sent_comes_first(tmp_path, framing):
    """Half an event at its end is forgotten: the source has it still."""
    def text(events):
        if framing == "length":
            return b"".join(frame(e) for e in events)
        return b"".join(json.dumps(e).encode() + b"\n" for e in events)

    with GivenWal(tmp_path) as wal:
        wal.source.sendall(text(numbered(0, 2)))
        wal.wait_acked(2)
        wal.pause()
        wal.source.sendall(text(numbered(2, 3)) + text([{"n": 5}])[:-2])
        wal.new_source()
        wal.source.sendall(text(numbered(5, 4)))
        wal.resume()
        assert wal.take(9) == list(range(9))
        wal.wait_acked(4)
        assert_silent(wal.answers)
        # The framing is found anew in each stream.
        wal.new_source()
        wal.send({"n": 9})
        wal.wait_acked(1)
        wal.source.close()
        wal.new_source()
        wal.source.sendall(b'{"n":10}\n')
        wal.wait_acked(1)
        assert wal.take(2) == [9, 10]
        finish(wal, 11)
    assert counts_of(tmp_path) == {"delivered": 11}


def test_a_line_too_long_that_its_source_leaves_half_is_one_letter(tmp_path):
    """Nobody keeps it, so what came is kept; the counts of acks stay right."""
    part = b"x" * ((16 << 20) + 4096)
    with GivenWal(tmp_path) as wal:
        wal.source.sendall(b'{"n":0}\n' + part)
        wal.new_source()
        wal.source.sendall(b'{"n":1}\n')
        wal.wait_acked(1)
        assert_silent(wal.answers)
        assert wal.take(2) == [0, 1]
        finish(wal, 2)
    (reason, data), = dead_letters(tmp_path)
    assert reason == "longer than an event may be" and data == part
    assert counts_of(tmp_path) == {"delivered": 2, "refused": 1}


def test_a_sync_of_the_old_stream_acks_nothing_in_the_new_one(tmp_path):
    hold = tmp_path / "hold"
    with GivenWal(tmp_path, env=shimmed(SHIM_HOLD_SYNC=hold)) as wal:
        wal.send({"n": 0})
        wal.wait_acked(1)
        hold.touch()
        wal.send({"n": 1}, {"n": 2})
        wait_until(lambda: len(stored_events(tmp_path / "wal")) == 3)
        # Not written before the next sync, which then is of both streams.
        wal.send({"n": 3})
        wal.new_source()
        wal.process.wait_log("source attached")
        wal.send(*numbered(4, 3))
        assert_silent(wal.answers)
        hold.unlink()
        assert wal.answer() == {"ack": 3}
        wal.send({"n": 7})
        assert wal.answer() == {"ack": 4}
        assert wal.take(8) == list(range(8))
        finish(wal, 8)


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
        finish(wal, 12)


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
        finish(wal, 2)


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
        assert late.recv(1) == b""
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
        finish(wal, len(left))
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
        finish(wal, 5)


def test_damage_that_two_sinks_meet_is_counted_once(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 4))
        wal.wait_acked(4)
        wait_until(lambda: cursor_of(tmp_path / "wal")["durable_seq"] == 4)
        wal.process.kill()
    path, = (tmp_path / "wal").glob("*.seg")
    path.write_bytes(path.read_bytes().replace(b'{"n": 1}', b'{"n": 9}'))
    with GivenWal(tmp_path) as wal:
        assert wal.take(3) == [0, 2, 3]
        wal.new_sink()
        assert wal.take(3) == [0, 2, 3]
        wal.ack(1)
        wal.process.wait_report(lambda r: r["quarantined"] == 1)
        wal.new_sink()
        assert wal.take(2) == [2, 3]
        finish(wal, 2)
    assert counts_of(tmp_path) == {"delivered": 3, "quarantined": 1}
    assert len(list((tmp_path / "wal" / "quarantine").iterdir())) == 1


def test_what_is_dropped_between_two_sinks_is_not_given(tmp_path):
    with GivenWal(tmp_path, "--max-elements", "4", "--on-full",
                  "drop_oldest") as wal:
        wal.send(*numbered(0, 4))
        assert wal.take(4) == list(range(4))
        wal.sink.close()
        wal.process.wait_log("sink left")
        wal.send(*numbered(4, 3))
        wal.wait_acked(7)
        wal.new_sink()
        assert wal.take(4) == [3, 4, 5, 6]
        # And again while the second sink has them.
        wal.send(*numbered(7, 4))
        wal.wait_acked(11)
        wal.sink.sendall(frame({"reject": 1, "reason": "r"}))
        wal.ack(4)
        assert wal.take(4) == [7, 8, 9, 10]
        finish(wal, 8)
    assert counts_of(tmp_path) == {"delivered": 4, "dropped": 7}


def test_what_grows_too_old_between_two_sinks_is_not_given(tmp_path):
    with GivenWal(tmp_path, "--max-age", "0.3") as wal:
        wal.send(*numbered(0, 3))
        assert wal.take(3) == [0, 1, 2]
        wal.sink.close()
        wal.process.wait_report(lambda r: r["dropped"] == 3)
        wal.new_sink()
        wal.send({"n": 3})
        assert wal.take(1) == [3]
        finish(wal, 1)
    assert counts_of(tmp_path) == {"delivered": 1, "dropped": 3}


def test_a_source_that_comes_to_a_full_log_is_told(tmp_path):
    """What the one before it has sent is first; then it is told to go on."""
    with GivenWal(tmp_path, "--max-elements", "4") as wal:
        wal.send(*numbered(0, 6))
        wal.process.wait_log("intake paused")
        wal.new_source()
        assert wal.answer() == {"breaker": "open",
                                "reason": "log full: 4 events of 4"}
        # One that was told and is in a hurry is not lost for it.
        wal.send({"n": 6})
        assert_silent(wal.answers)
        assert wal.take(4) == list(range(4))
        wal.ack(4)
        answers = [wal.answer(), wal.answer()]
        assert answers == [{"breaker": "closed"}, {"ack": 1}]
        assert wal.take(3) == [4, 5, 6]
        finish(wal, 7)


def test_sources_that_come_and_go_at_a_full_log_take_few_descriptors(
        tmp_path):
    """Those that sent nothing leave nothing; what the others sent is taken in
    their order, but for more of them than can wait, which is told."""
    with GivenWal(tmp_path, "--max-elements", "1") as wal:
        wal.send({"n": 0})
        wal.process.wait_log("intake paused")
        before = fds_of(wal.process.pid)
        for _ in range(100):
            wal.new_source()
            assert wal.answer()["breaker"] == "open"
        assert fds_of(wal.process.pid) <= before + 2
        assert " error " not in wal.process.text()
        for n in range(1, 20):
            wal.new_source()
            wal.send({"n": n})
            assert wal.answer()["breaker"] == "open"
        wal.new_source()
        assert fds_of(wal.process.pid) <= before + 17
        assert wal.answer()["breaker"] == "open"
        lost = wal.process.text().count("those of the first are lost")
        assert lost == 4
        # The first three, and so on, are lost; the others keep their order.
        assert wal.take(1) == [0]
        received = [0]
        while received[-1] != 19:
            wal.ack(len(received))
            received += wal.take(1)
        assert received == [0, *range(1 + lost, 20)]
        finish(wal, len(received))


def test_a_source_that_comes_to_a_full_disk_is_told(tmp_path):
    full = tmp_path / "full"
    with GivenWal(tmp_path, "--segment-bytes", "16384",
                  env=shimmed(SHIM_FULL=full)) as wal:
        wal.send({"n": 0, "x": "y" * 9000})
        wal.wait_acked(1)
        full.touch()
        wal.send(*({"n": n, "x": "y" * 9000} for n in (1, 2)))
        while wal.answer() != {"breaker": "open", "reason": "disk full"}:
            pass
        wal.new_source()
        assert wal.answer() == {"breaker": "open", "reason": "disk full"}
        assert wal.process.report()["source_breaker_reason"] == "disk full"
        full.unlink()
        assert wal.answer() == {"breaker": "closed"}
        wal.send({"n": 3})
        wal.wait_acked(1)
        assert wal.take(4) == [0, 1, 2, 3]
        finish(wal, 4)


def test_a_reject_that_a_full_disk_held_is_the_next_sinks_to_make(tmp_path):
    """One letter, and one count, though two sinks have rejected it."""
    full = tmp_path / "full"
    with GivenWal(tmp_path, env=shimmed(SHIM_FULL=full)) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        assert wal.take(3) == [0, 1, 2]
        full.touch()
        wal.sink.sendall(frame({"reject": 2, "reason": "first"}))
        wal.process.wait_log("disk full")
        wal.new_sink()
        assert wal.take(3) == [0, 1, 2]
        wal.sink.sendall(frame({"reject": 2, "reason": "second"}))
        full.unlink()
        finish(wal, 3)
    assert dead_letters(tmp_path) == [("second", b'{"n": 1}')]
    assert counts_of(tmp_path) == {"delivered": 2, "rejected": 1}


def test_the_breaker_of_a_sink_that_left_is_forgotten(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.sink.sendall(frame({"breaker": "open", "reason": "away"}))
        wal.process.wait_log("breaker open: away")
        wal.send({"n": 0})
        wal.wait_acked(1)
        assert_silent(wal.events)
        assert wal.process.report()["sink_breaker"] == "open"
        wal.new_sink()
        assert wal.take(1) == [0]
        assert wal.process.report()["sink_breaker"] == "closed"


def test_sinks_that_come_quickly_one_after_the_other(tmp_path):
    """Only the last of them is there; its predecessors were given nothing."""
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        assert wal.take(3) == [0, 1, 2]
        wal.pause()
        passed = [wal.process.attach("out") for _ in range(5)]
        wal.new_sink()
        wal.resume()
        assert wal.take(3) == [0, 1, 2]
        for sink in passed:
            assert sink.recv(1) == b""
            sink.close()
        finish(wal, 3)


def test_two_hundred_neighbours_leave_no_descriptor(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.process.wait_ready()
        wal.send({"n": 0})
        assert wal.take(1) == [0]
        before = fds_of(wal.process.pid)
        for n in range(1, 101):
            wal.new_source()
            wal.new_sink()
            wal.send({"n": n})
            wal.wait_acked(1)
            assert wal.take(2) == [n - 1, n]
            wal.ack(1)
        assert fds_of(wal.process.pid) == before
        finish(wal, 2)
    assert counts_of(tmp_path) == {"delivered": 101}


def test_what_is_no_socket_is_not_attached(tmp_path):
    with GivenWal(tmp_path) as wal, open("/dev/zero", "rb") as zero:
        wal.process.wait_ready()
        before = fds_of(wal.process.pid)
        for which in ("in", "out"):
            wal.process.tell({"attach": which}, zero.fileno())
        wal.process.wait_log("sink: attached, but no socket")
        assert fds_of(wal.process.pid) == before
        wal.send({"n": 0})
        assert wal.take(1) == [0]


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

        def switches():
            with open(f"/proc/{wal.process.pid}/status",
                      encoding="ascii") as lines:
                return [x for x in lines if "ctxt_switches" in x]

        # What it does last is done, and then nothing for a second.
        wait_until(lambda: switches() == (
            select.select([], [], [], 0.1), switches())[1])
        before = switches()
        select.select([], [], [], 1)
        assert switches() == before


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

"""The streams of a walproc that is given one source and one sink after the
other: where each begins, and what becomes of what was on its way.
"""

import json
import select
import socket

import pytest
from neighbours import (GivenWal, assert_silent, counts_of, dead_letters,
                        make_damaged, numbered)
from support import (Frames, fds_of, frame, shimmed, stored_events, wait_fds,
                     wait_until)


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
        wal.finish(7)
    assert counts_of(tmp_path) == {"delivered": 11}


def test_a_neighbour_that_is_still_there_is_not_disturbed(tmp_path):
    """The next one's turn comes when it has left."""
    with GivenWal(tmp_path) as wal:
        wal.send(*numbered(0, 3))
        assert wal.take(3) == [0, 1, 2]
        next_source = wal.process.attach("in")
        next_source.sendall(frame({"n": 4}))
        next_sink = wal.process.attach("out")
        wal.process.report()
        wal.send({"n": 3})
        wal.wait_acked(4)
        assert wal.take(1) == [3]
        wal.ack(2)
        wal.process.wait_report(lambda r: r["delivered"] == 2)
        assert not select.select([next_sink, next_source], [], [], 0.2)[0]
        wal.sink.close()
        wal.sink, wal.events = next_sink, Frames(next_sink)
        assert wal.take(2) == [2, 3]
        wal.source.close()
        wal.source = next_source
        assert wal.take(1) == [4]
        wal.finish(3)


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
        wal.finish(11)
        assert " error " not in wal.process.text()
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
        wal.finish(2)
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
        wal.finish(8)


def test_damage_that_two_sinks_meet_is_counted_once(tmp_path):
    make_damaged(tmp_path, 4, 1)
    with GivenWal(tmp_path) as wal:
        assert wal.take(3) == [0, 2, 3]
        wal.new_sink()
        assert wal.take(3) == [0, 2, 3]
        wal.ack(1)
        wal.process.wait_report(lambda r: r["quarantined"] == 1)
        wal.new_sink()
        assert wal.take(2) == [2, 3]
        wal.finish(2)
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
        wal.finish(8)
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
        wal.finish(1)
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
        wal.finish(7)


def test_sources_that_come_and_go_at_a_full_log_take_few_descriptors(
        tmp_path):
    """Those that sent nothing leave nothing; what the others sent is taken in
    their order, but for more of them than can wait, which is told."""
    with GivenWal(tmp_path, "--max-elements", "1") as wal:
        wal.send({"n": 0})
        wal.process.wait_log("intake paused")
        before = fds_of(wal.process.pid)
        for n in range(100):
            wal.new_source()
            # Not each one lives to read it.
            assert select.select([wal.source], [], [], 30)[0]
            assert n % 2 or wal.answer()["breaker"] == "open"
        wait_fds(wal.process.pid, before + 1)
        assert " error " not in wal.process.text()
        for n in range(1, 20):
            wal.new_source()
            wal.send({"n": n})
            assert wal.answer()["breaker"] == "open"
        wal.new_source()
        wait_fds(wal.process.pid, before + 17)
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
        wal.finish(len(received))


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
        wal.finish(4)


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
        wal.finish(3)
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


def test_a_sink_that_will_not_answer_is_given_no_more(tmp_path):
    with GivenWal(tmp_path) as wal:
        wal.send({"n": 0})
        assert wal.take(1) == [0]
        wal.sink.shutdown(socket.SHUT_WR)
        wal.process.wait_log("sink left: 1 events wait")
        # Where nobody is nothing flows.
        assert wal.process.report()["sink_breaker"] == "open"
        wal.send({"n": 1})
        wal.wait_acked(2)
        assert_silent(wal.events)
        report = wal.process.report()
        assert (report["sink"], report["in_flight"]) == (False, 0)
        wal.new_sink()
        assert wal.take(2) == [0, 1]
        wal.finish(2)


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
            assert Frames(sink).next() is None
            sink.close()
        wal.finish(3)


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
        wait_fds(wal.process.pid, before)
        wal.finish(2)
        assert " 101 acked by the sink" in wal.process.text()
    assert counts_of(tmp_path) == {"delivered": 101}


def test_what_is_no_socket_is_not_attached(tmp_path):
    with GivenWal(tmp_path) as wal, open("/dev/zero", "rb") as zero:
        wal.process.wait_ready()
        before = fds_of(wal.process.pid)
        for which in ("in", "out"):
            wal.process.tell({"attach": which}, zero.fileno())
        wal.process.wait_log("sink: attached, but no socket")
        wait_fds(wal.process.pid, before)
        wal.send({"n": 0})
        assert wal.take(1) == [0]

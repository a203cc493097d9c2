"""wssink under a supervisor, which the test is, as it is the writer of the
events: one stream follows the other, and the connection stays.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from control import Stage, stream
from peers import Application
from sinks import (CLOSE, ENVIRONMENT, PING, PONG, QUICK, TEXT, Reverse, event,
                   ids_of, options_of)
from support import (AGAIN, DONE, FINAL, Server, frame, free_port, status_of,
                     wait_until)

COUNTS = {"connection_ms", "confirmed", "rejected", "unconfirmed", "connects"}
WORDS = {"connection", "url"}


@contextlib.contextmanager
def controlled(tmp_path, url, *options):
    """A wssink that has said that it is ready, and our end of its first
    stream."""
    ours, theirs, _ = stream()
    with ours, Stage(tmp_path / "wssink.log", "wssink", "-u", url, *options,
                     stdin=theirs, stdout=subprocess.DEVNULL,
                     env=ENVIRONMENT) as stage:
        theirs.close()
        stage.wait_ready()
        yield stage, ours


def frames_of(first, count):
    return b"".join(frame(event(n)) for n in range(first, first + count))


def holds(stage, count):
    """Waits until that many events are held."""
    stage.wait_report(lambda report: report["unconfirmed"] == count)


def is_read(sock):
    """Whether all that was written to a socket was read at its other end."""
    return fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) == bytes(4)


def fds_of(stage):
    return len(os.listdir(f"/proc/{stage.pid}/fd"))


def is_asleep(stage):
    with open(f"/proc/{stage.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def wakeups_of(stage):
    with open(f"/proc/{stage.pid}/status") as lines:
        for line in lines:
            if line.startswith("voluntary_ctxt_switches"):
                return int(line.split()[1])
    raise AssertionError("no such line")


def take_events(peer, numbers):
    """Reads these events, and nothing between them but pings; returns the
    payload of the ping behind them."""
    for n in numbers:
        assert peer.until_opcode(TEXT) == event(n)
    return peer.until_opcode(PING)


# Ready, and reports.

def test_it_is_ready_before_there_is_a_connection(tmp_path):
    port = free_port()
    with controlled(tmp_path, f"ws://127.0.0.1:{port}/in",
                    *QUICK) as (stage, ours):
        report = stage.wait_report(lambda r: "why" in r)
        assert report["connection"] in ("waiting", "connecting")
        assert report["url"] == f"ws://127.0.0.1:{port}/in"
        assert "onnect" in report["why"], report
        assert report["connects"] == 0
        with Server(tmp_path, port=port):
            stage.wait_report(lambda r: r["connects"] == 1)


def test_a_report_while_the_server_does_not_answer(tmp_path, raw):
    with controlled(tmp_path, raw.url) as (stage, ours):
        peer = raw.accept()
        report = stage.report()
        assert report["connection"] == "connecting"
        assert "why" not in report
        time.sleep(0.05)
        assert stage.report()["connection_ms"] >= 50
        peer.upgrade()
        stage.wait_report(lambda r: r["connection"] == "open"
                          and r["connection_ms"] < 50)
        peer.send(CLOSE, struct.pack(">H", 1001) + b"bye")
        report = stage.wait_report(lambda r: r["connection"] == "closing")
        assert "why" not in report
        peer.close()
        report = stage.wait_report(lambda r: "why" in r)
        assert report["why"] == 'the server closed: 1001 "bye"'
        raw.accept().close()


def test_a_report_has_these_fields(tmp_path, server):
    """And the URL of one shows no secret."""
    url = f"ws://user:secret@127.0.0.1:{server.port}/in?token=secret"
    with controlled(tmp_path, url) as (stage, ours):
        reverse = Reverse(ours)
        ours.sendall(frames_of(0, 5) + frame(b"nope"))
        reverse.until_ack(6)
        report = stage.wait_report(lambda r: r["rate"] > 0)
        assert report.keys() == COUNTS | WORDS | {"rate"}
        assert all(isinstance(report[name], int) for name in COUNTS)
        assert 0 < report.pop("rate") <= 0.5
        assert report.pop("connection_ms") < 60000
        assert report == {
            "connection": "open", "url": f"ws://127.0.0.1:{server.port}/in",
            "confirmed": 5, "rejected": 1, "unconfirmed": 0, "connects": 1}
        stage.signal(signal.SIGTERM)
        last = stage.last_report()
        assert (last["confirmed"], last["rejected"]) == (5, 1)
        assert stage.wait() == DONE


def test_a_report_counts_connections(tmp_path, server):
    with controlled(tmp_path, server.url, *QUICK) as (stage, ours):
        stage.wait_report(lambda r: r["connects"] == 1)
        server.restart()
        report = stage.wait_report(lambda r: r["connects"] == 2)
        assert report["why"]


# One stream after the other.

@pytest.mark.parametrize("ack", ["pong", "write", "app"])
def test_a_new_stream_on_the_same_connection(tmp_path, ack):
    with Server(tmp_path, *options_of(ack)) as server, \
            controlled(tmp_path, server.url, "--ack", ack) as (stage, ours):
        for n in range(5):
            reverse = Reverse(ours)
            ours.sendall(frames_of(10 * n, 10))
            reverse.until_ack(10)
            assert reverse.breaker() == (["open", "closed"] if n == 0 else [])
            ours.close()
            stage.wait_log("the input has ended; waiting for another")
            ours = stage.attach("in")
        ours.close()
        server.wait_count(50)
        assert ids_of(server.events()) == list(range(50))
        report = stage.report()
        assert (report["connects"], report["confirmed"]) == (1, 50)
        assert stage.stop() == DONE


def test_a_new_stream_while_the_old_one_has_not_ended(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, old):
        old.sendall(frames_of(0, 3))
        Reverse(old).until_ack(3)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(3, 3))
            reverse.until_ack(3)
            assert old.recv(1 << 16) == b"", "the old one is closed"
        assert ids_of(server.events()) == list(range(6))


def test_at_the_start_the_writer_may_be_gone(tmp_path, server):
    ours, theirs, _ = stream()
    ours.close()
    with Stage(tmp_path / "wssink.log", "wssink", "-u", server.url,
               stdin=theirs, stdout=subprocess.DEVNULL,
               env=ENVIRONMENT) as stage:
        theirs.close()
        stage.wait_ready()
        stage.wait_log("waiting for another")
        with stage.attach("in") as new:
            new.sendall(frames_of(0, 1))
            Reverse(new).until_ack(1)


def test_what_was_not_sent_is_dropped(tmp_path, raw):
    """There is no connection yet; of the new stream the writer is told."""
    with controlled(tmp_path, raw.url) as (stage, old):
        peer = raw.accept()
        old.sendall(frames_of(0, 10))
        holds(stage, 10)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            reverse.until(lambda m: m.get("breaker") == "open")
            assert stage.report()["unconfirmed"] == 0
            new.sendall(frames_of(20, 2))
            holds(stage, 2)
            peer.upgrade()
            peer.send(PONG, take_events(peer, [20, 21]))
            assert reverse.until_ack(2) == [2]
            assert reverse.breaker() == ["open", "closed"]
            assert "unsent=10 unconfirmed=0" in stage.text()
            peer.close()


def test_what_was_sent_is_waited_for(tmp_path, raw):
    """The new stream is not read before: its acks are its own."""
    with controlled(tmp_path, raw.url) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 3))
        ping = take_events(peer, [0, 1, 2])
        old.close()
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            holds(stage, 3)
            stage.report()
            assert not is_read(new)
            peer.send(PONG, ping)
            ping = take_events(peer, [10, 11])
            assert stage.report()["confirmed"] == 3
            peer.send(PONG, ping)
            assert reverse.until_ack(2) == [2]
            assert reverse.breaker() == []
        peer.close()


def test_what_was_sent_is_dropped_with_the_connection(tmp_path, raw):
    with controlled(tmp_path, raw.url, *QUICK) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 3))
        take_events(peer, [0, 1, 2])
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            holds(stage, 3)
            peer.close()
            peer = raw.accept().upgrade()
            peer.send(PONG, take_events(peer, [10, 11]))
            assert reverse.until_ack(2) == [2]
            assert reverse.breaker() == ["open", "closed"]
        peer.close()


def test_some_were_sent_and_some_were_not(tmp_path, raw):
    """One event a second leaves; so one was sent when the stream changes."""
    with controlled(tmp_path, raw.url, "--rate", "1") as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 5))
        ping = take_events(peer, [0])
        holds(stage, 5)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            holds(stage, 1)
            assert "unsent=4 unconfirmed=1" in stage.text()
            peer.send(PONG, ping)
            begin = time.monotonic()
            peer.send(PONG, take_events(peer, [10]))
            reverse.until_ack(1)
            peer.send(PONG, take_events(peer, [11]))
            assert reverse.until_ack(2) == [1, 2]
            assert time.monotonic() - begin > 0.9, "the pace is kept"
        peer.close()


def test_a_server_that_confirms_late_is_waited_for_no_longer(tmp_path, raw):
    """At ack level app, which may take for ever. What it confirms then counts
    for no event of the new stream."""
    with controlled(tmp_path, raw.url, "--ack", "app", "--ping-timeout",
                    "0.5", *QUICK) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 3))
        for n in range(3):
            assert peer.next() == (TEXT, event(n))
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 3))
            begin = time.monotonic()
            assert peer.next() == (TEXT, event(10))
            assert time.monotonic() - begin > 0.3
            assert stage.report()["confirmed"] == 0
            peer.send(TEXT, b'{"ack":2}')
            peer.send(TEXT, b'{"ack":3}')
            peer.send(TEXT, b'{"ack":4}')
            assert reverse.until_ack(1) == [1]
            peer.send(TEXT, b'{"ack":5}')
            assert reverse.until_ack(2) == [1, 2]
            assert stage.report()["confirmed"] == 2
            peer.close()
            peer = raw.accept().upgrade()
            assert peer.until_opcode(TEXT) == event(12)
            peer.send(TEXT, b'{"ack":1}')
            assert reverse.until_ack(3) == [1, 2, 3]
        peer.close()


def test_another_stream_while_one_is_held(tmp_path, raw):
    """It takes the place of that one, of which nothing was read."""
    with controlled(tmp_path, raw.url) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 2))
        ping = take_events(peer, [0, 1])
        with stage.attach("in") as second, stage.attach("in") as third:
            second.sendall(frames_of(10, 2))
            third.sendall(frames_of(20, 2))
            holds(stage, 2)
            peer.send(PONG, ping)
            peer.send(PONG, take_events(peer, [20, 21]))
            assert Reverse(third).until_ack(2) == [2]
            assert stage.report()["confirmed"] == 4
        peer.close()


@pytest.mark.parametrize("dead", [
    frame(event(0)) + frame(event(1))[:9], frame(event(0)) + b"\0\0",
    event(0) + b"\n" + b'12'])
def test_half_an_event_of_a_dead_writer_is_forgotten(tmp_path, server, dead):
    with controlled(tmp_path, server.url) as (stage, old):
        old.sendall(dead)
        server.wait_count(1)
        old.close()
        stage.wait_log("waiting for another")
        with stage.attach("in") as new:
            new.sendall(frames_of(1, 2))
            Reverse(new).until_ack(2)
        assert server.lines() == [event(0), event(1), event(2)]


def test_a_line_that_is_too_long_ends_with_its_stream(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, old):
        reverse = Reverse(old)
        old.sendall(b"1\n" + b"x" * (1 << 24) + b"x")
        reverse.until(lambda m: "reject" in m)
        old.close()
        stage.wait_log("waiting for another")
        with stage.attach("in") as new:
            new.sendall(b"2\n" + b"nope\n" + b"3\n")
            reverse = Reverse(new)
            reverse.until_ack(3)
            assert reverse.rejects() == [2]
        assert server.lines() == [b"1", b"2", b"3"]


def test_refused_events_between_the_streams(tmp_path, raw):
    """They are behind one that is not confirmed, or have ended at once."""
    with controlled(tmp_path, raw.url) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frame(b"nope") + frames_of(0, 1) + frame(b"nope"))
        ping = take_events(peer, [0])
        Reverse(old).until(lambda m: m.get("reject") == 3)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frame(b"nope") + frames_of(10, 2))
            holds(stage, 2)
            stage.report()
            assert not is_read(new)
            peer.send(PONG, ping)
            peer.send(PONG, take_events(peer, [10, 11]))
            assert reverse.until_ack(3)[-1] == 3
            assert reverse.rejects() == [1]
            assert stage.report()["rejected"] == 3
        peer.close()


def test_100_streams_leave_nothing_behind(tmp_path, server):
    """With events in all states; each second one has no writer any more."""
    with controlled(tmp_path, server.url) as (stage, ours):
        stage.wait_report(lambda r: r["connects"] == 1)
        before = fds_of(stage)
        for n in range(100):
            ours.close()
            ours = stage.attach("in")
            ours.sendall(frames_of(n, 1) + frame(event(n))[:n % 12])
            if n % 2 == 0:
                Reverse(ours).until_ack(1)
        ours.close()
        with stage.attach("in") as last:
            last.sendall(frames_of(100, 1))
            Reverse(last).until_ack(1)
            assert fds_of(stage) == before
        ids = ids_of(server.events())
        assert set(range(0, 101, 2)) <= set(ids) and ids == sorted(ids)
        assert stage.report()["connects"] == 1


def test_what_wssink_does_not_take_is_closed(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, ours):
        with stage.attach("out") as other:
            assert other.recv(1) == b""
        ours.sendall(frames_of(0, 1))
        Reverse(ours).until_ack(1)


def test_while_nothing_happens_nothing_wakes_it(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, ours):
        ours.sendall(frames_of(0, 1))
        Reverse(ours).until_ack(1)
        for end in "old", "new":
            stage.report()
            wait_until(lambda: is_asleep(stage), "sleep")
            before = wakeups_of(stage)
            # A time in which something would.
            time.sleep(0.7)
            assert wakeups_of(stage) == before, end
            ours.close()
            stage.wait_log("waiting for another")


# What the delivery knows stays right.

def test_a_poison_event_is_found_in_another_stream(tmp_path):
    """It was suspected in the first one. Its number is another's there, who
    is not taken for it; and it is sent alone still, and rejected."""
    with Application(lambda n, _: 1009 if n == 5 else None) as app, \
            controlled(tmp_path, app.url, *QUICK) as (stage, old):
        old.sendall(frames_of(0, 10))
        stage.wait_log("sending events one by one")
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(3, 10))
            reverse.until_ack(10)
            assert reverse.rejects() == [3]
            assert stage.text().count("sending events one by one") == 1
        assert set(range(13)) - {5} == set(app.taken)


def test_streams_that_change_while_a_server_hangs_up_reject_nothing(tmp_path):
    """The server hangs up upon each first event for a while; the streams
    change meanwhile, so that different events have one number."""
    with Application(lambda n, connection: "eof" if connection < 12 else None
                     ) as app, \
            controlled(tmp_path, app.url, *QUICK) as (stage, ours):
        for n in range(6):
            ours.sendall(frames_of(10 * n, 3))
            app.wait_connections(2 * n + 1)
            ours.close()
            ours = stage.attach("in")
        reverse = Reverse(ours)
        ours.sendall(frames_of(100, 3))
        reverse.until_ack(3)
        assert reverse.rejects() == []
        assert stage.report()["rejected"] == 0
        ours.close()


def test_confirmed_events_are_replayed_in_another_stream(tmp_path, raw):
    with controlled(tmp_path, raw.url, "--on-connect-replay", "3",
                    *QUICK) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 5))
        peer.send(PONG, take_events(peer, range(5)))
        Reverse(old).until_ack(5)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            take_events(peer, [10, 11])
            peer.close()
            peer = raw.accept().upgrade()
            peer.send(PONG, peer.until_opcode(PING))
            peer.send(PONG, take_events(peer, [2, 3, 4, 10, 11]))
            assert reverse.until_ack(2) == [2]
        peer.close()


def test_a_stream_that_changes_during_a_replay(tmp_path, raw):
    """The replay goes on; what it confirms counts for nothing, and what had
    not been sent of the old stream is dropped."""
    with controlled(tmp_path, raw.url, "--on-connect-replay", "3",
                    *QUICK) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 4))
        peer.send(PONG, take_events(peer, range(4)))
        Reverse(old).until_ack(4)
        old.sendall(frames_of(4, 2))
        take_events(peer, [4, 5])
        peer.close()
        peer = raw.accept().upgrade()
        ping = peer.until_opcode(PING)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            holds(stage, 2)
            peer.send(PONG, ping)
            peer.send(PONG, take_events(peer, [1, 2, 3, 10, 11]))
            assert reverse.until_ack(2) == [2]
        peer.close()


# The end.

def test_drain_before_the_end_of_the_input(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, ours):
        reverse = Reverse(ours)
        stage.drain()
        ours.sendall(frames_of(0, 3))
        reverse.until_ack(3)
        ours.sendall(frames_of(3, 3))
        ours.shutdown(socket.SHUT_WR)
        reverse.until_ack(6)
        last = stage.last_report()
        assert stage.wait() == DONE
        assert (last["confirmed"], last["unconfirmed"]) == (6, 0)
        assert ids_of(server.events()) == list(range(6))


def test_drain_after_the_end_of_the_input(tmp_path):
    """All that was read is delivered, though nobody reads the acks, and what
    was not whole is not."""
    port = free_port()
    with controlled(tmp_path, f"ws://127.0.0.1:{port}/",
                    *QUICK) as (stage, ours):
        ours.sendall(frames_of(0, 3) + frame(event(3))[:7])
        ours.close()
        stage.wait_log("waiting for another")
        stage.drain()
        holds(stage, 3)
        with Server(tmp_path, port=port) as server:
            assert stage.wait() == DONE
            assert ids_of(server.events()) == [0, 1, 2]
        assert "ends within" not in stage.text()


def test_drain_when_all_is_done(tmp_path, raw):
    with controlled(tmp_path, raw.url) as (stage, ours):
        peer = raw.accept().upgrade()
        ours.close()
        stage.wait_log("waiting for another")
        assert stage.is_running()
        stage.drain()
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1000)
        peer.send(CLOSE, struct.pack(">H", 1000))
        peer.close()
        assert stage.wait() == DONE


def test_a_new_stream_after_drain_is_the_last(tmp_path, raw):
    with controlled(tmp_path, raw.url, "-v") as (stage, ours):
        peer = raw.accept()
        ours.sendall(frames_of(0, 2))
        ours.shutdown(socket.SHUT_WR)
        holds(stage, 2)
        stage.drain()
        stage.wait_log("draining, was running")
        with stage.attach("in") as new:
            new.sendall(frames_of(10, 2))
            new.shutdown(socket.SHUT_WR)
            peer.upgrade()
            peer.send(PONG, take_events(peer, [10, 11]))
            Reverse(new).until_ack(2)
            peer.until_opcode(CLOSE)
            peer.close()
            assert stage.wait() == DONE


@pytest.mark.parametrize("count, words", [
    (3, "drain timeout has passed; undelivered=3"),
    (4097, "nothing was confirmed; undelivered=4096")])
def test_the_drain_timeout_begins_with_drain(tmp_path, count, words):
    """With more than is held the end of the input is not seen yet."""
    with controlled(tmp_path, f"ws://127.0.0.1:{free_port()}/",
                    "--drain-timeout", "0.3", *QUICK) as (stage, ours):
        ours.sendall(frames_of(0, count))
        ours.close()
        holds(stage, min(count, 4096))
        # Longer than that.
        time.sleep(0.5)
        assert stage.is_running()
        stage.drain()
        assert stage.wait() == AGAIN
        assert words in stage.text()


def test_the_supervisor_is_gone(tmp_path, raw):
    with controlled(tmp_path, raw.url) as (stage, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frames_of(0, 1))
        take_events(peer, [0])
        stage.control.close()
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1001)
        peer.close()
        assert stage.wait() == AGAIN
        assert "the supervisor is gone" in stage.text()


def test_sigterm(tmp_path, raw):
    with controlled(tmp_path, raw.url) as (stage, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frames_of(0, 2))
        take_events(peer, [0, 1])
        with stage.attach("in"):
            stage.signal(signal.SIGTERM)
            assert peer.until_opcode(CLOSE) == struct.pack(">H", 1001)
            # It leaves: nothing is taken any more, but all is closed.
            assert stage.report()["connection"] == "closing"
            with stage.attach("in") as late:
                assert late.recv(1) == b""
            peer.close()
            last = stage.last_report()
            assert (last["connection"], last["confirmed"]) == ("waiting", 0)
            assert stage.wait() == DONE


def test_a_writer_that_is_not_framed_ends_it(tmp_path, server):
    """It is started again then, with a new stream."""
    with controlled(tmp_path, server.url) as (stage, ours):
        ours.sendall(frames_of(0, 1) + b"{}\n")
        assert stage.wait() == AGAIN
        assert "after event 1 is not in length framing" in stage.text()


def test_acks_elsewhere_are_refused(tmp_path):
    ours, theirs, _ = stream()
    with ours, theirs, Stage(
            tmp_path / "wssink.log", "wssink", "-u", "ws://127.0.0.1:1/",
            "--acks", tmp_path / "acks", stdin=theirs,
            stdout=subprocess.DEVNULL, env=ENVIRONMENT) as stage:
        assert stage.wait() == FINAL
        assert "--acks: under a supervisor" in stage.text()


def test_many_streams_take_no_memory(tmp_path, raw):
    """Each brings what fills the window, and nothing is confirmed."""
    with controlled(tmp_path, raw.url) as (stage, ours):
        peer = raw.accept()
        data = frame(event(0, 1 << 20)) * 8
        for n in range(30):
            ours.sendall(data)
            holds(stage, 8)
            ours.close()
            ours = stage.attach("in")
            if n == 9:
                early = status_of(stage.pid, "VmHWM")
        assert status_of(stage.pid, "VmHWM") < early + (8 << 20)
        ours.close()
        peer.close()

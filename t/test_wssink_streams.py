"""wssink under a supervisor, which the test is, as it is the writer of the
events: one stream follows the other, and the connection stays.
"""

import fcntl
import select
import subprocess
import termios
import time

import pytest

from control import Stage, stream
from peers import Application, hang_up
from sinks import (ENVIRONMENT, PING, PONG, QUICK, TEXT, Reverse, event,
                   ids_of, options_of)
from streams import controlled, frames_of, holds, take_events
from support import (DONE, Server, fds_of, frame, is_sanitized, status_of,
                     wait_fds)


def is_read(sock):
    """Whether all that was written to a socket was read at its other end."""
    return fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) == bytes(4)


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
        begin = time.monotonic()
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 3))
            assert peer.next() == (TEXT, event(10))
            assert time.monotonic() - begin >= 0.5
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
        with stage.attach("in") as second:
            # Before the third, which closes it.
            second.sendall(frames_of(10, 2))
            with stage.attach("in") as third:
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


def test_what_wssink_does_not_take_is_closed(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, ours):
        with stage.attach("out") as other:
            assert other.recv(1) == b""
        ours.sendall(frames_of(0, 1))
        Reverse(ours).until_ack(1)


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


def refuse(raw, *numbers):
    """A connection that ends with 1009 upon the last of these events."""
    peer = raw.accept().upgrade()
    for n in numbers:
        assert peer.until_opcode(TEXT) == event(n)
    hang_up(peer, 1009)
    peer.close()


def test_what_was_dropped_may_be_why_a_connection_ends(tmp_path, raw):
    """So that is not held against an event behind it."""
    with controlled(tmp_path, raw.url, "--ack", "app", "--ping-timeout",
                    "0.3", *QUICK) as (stage, old):
        peer = raw.accept().upgrade()
        old.sendall(frames_of(0, 1))
        assert peer.until_opcode(TEXT) == event(0)
        with stage.attach("in") as new:
            new.sendall(frames_of(10, 1))
            assert peer.until_opcode(TEXT) == event(10)
            hang_up(peer, 1009)
            peer.close()
            refuse(raw, 10)
            refuse(raw, 10)
            peer = raw.accept()
            assert "one by one" not in stage.text()
            peer.upgrade()
            assert peer.until_opcode(TEXT) == event(10)
            hang_up(peer, 1009)
            peer.close()
            stage.wait_log("connections end at event 1, or behind it: "
                           "sending events one by one")


def test_alone_is_alone_behind_what_was_dropped_too(tmp_path, raw):
    with controlled(tmp_path, raw.url, "--ack", "app", "--ping-timeout",
                    "0.3", *QUICK) as (stage, old):
        old.sendall(frames_of(0, 2))
        for _ in range(3):
            refuse(raw, 0)
        peer = raw.accept().upgrade()
        peer.send(PONG, peer.until_opcode(PING))
        assert peer.until_opcode(TEXT) == event(0)
        with stage.attach("in") as new:
            reverse = Reverse(new)
            new.sendall(frames_of(10, 2))
            stage.wait_log("not confirmed within the ping timeout")
            holds(stage, 2)
            assert not select.select([peer.sock], [], [], 0)[0]
            peer.send(TEXT, b'{"ack":1}')
            assert peer.until_opcode(TEXT) == event(10)
            peer.send(TEXT, b'{"ack":2}')
            assert peer.until_opcode(TEXT) == event(11)
            peer.send(TEXT, b'{"ack":3}')
            assert reverse.until_ack(2) == [1, 2]
        peer.close()


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


# Many of them.

def test_100_streams_leave_nothing_behind(tmp_path, server):
    """With events in all states; each second one has no writer any more."""
    with controlled(tmp_path, server.url) as (stage, ours):
        stage.wait_report(lambda r: r["connects"] == 1)
        before = fds_of(stage.pid)
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
            wait_fds(stage.pid, before)
        ids = ids_of(server.events())
        assert set(range(0, 101, 2)) <= set(ids) and ids == sorted(ids)
        assert stage.report()["connects"] == 1


@pytest.mark.skipif(is_sanitized(), reason="it takes memory itself")
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

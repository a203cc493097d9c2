"""wssink under a supervisor, which the test is: what it reports, and when it
ends.
"""

import signal
import socket
import struct
import subprocess
import time

import pytest

from control import Stage, stream
from sinks import (CLOSE, ENVIRONMENT, PONG, QUICK, Reverse, event,
                   ids_of)
from streams import controlled, frames_of, holds, take_events
from support import (AGAIN, DONE, FINAL, Server, assert_sleeps, frame,
                     free_port, slow_clock)

COUNTS = {"connection_ms", "confirmed", "rejected", "unconfirmed", "connects"}
WORDS = {"connection", "url"}


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
        before = time.monotonic()
        peer.upgrade()
        report = stage.wait_report(lambda r: r["connection"] == "open")
        # Not since it began to connect.
        assert report["connection_ms"] <= (
            time.monotonic() - before) * 1000 + 1
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
        # Over one second, or over a few if this machine is slow.
        assert 0.5 <= report.pop("rate") <= 5
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


def test_while_nothing_happens_nothing_wakes_it(tmp_path, server):
    with controlled(tmp_path, server.url) as (stage, ours):
        ours.sendall(frames_of(0, 1))
        Reverse(ours).until_ack(1)
        for _ in "old", "new":
            stage.report()
            assert_sleeps(stage.pid)
            ours.close()
            stage.wait_log("waiting for another")


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
    # The second in which the server may answer does not pass.
    with controlled(tmp_path, raw.url,
                    env=slow_clock(ENVIRONMENT)) as (stage, ours):
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
                assert stage.report()["connection"] == "closing"
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

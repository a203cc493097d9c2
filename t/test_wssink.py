"""wssink alone, against real websocket servers: events in, acks back, bad
input, the end.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import time

import pytest

from sinks import (BINARY, CLOSE, PING, PONG, QUICK, TEXT, Reverse, event, fed,
                   ids_of, options_of, piped, sink, usage)
from support import (AGAIN, DONE, FINAL, Server, frame, free_port, program,
                     ticks_of)


# Events in, messages out.

@pytest.mark.parametrize("framing", ["ndjson", "length"])
@pytest.mark.parametrize("ack", ["pong", "write"])
def test_a_file_is_delivered(tmp_path, server, framing, ack):
    events = [event(n) for n in range(100)]
    data = b"".join(frame(e) if framing == "length" else e + b"\n"
                    for e in events)
    with fed(tmp_path, server.url, data, "--ack", ack) as process:
        assert process.wait() == DONE
    server.wait_count(100)
    assert server.lines() == events
    assert "confirmed=100 refused=0 unconfirmed=0" in process.text()


def test_a_file_without_its_last_newline_is_delivered(tmp_path, server):
    with fed(tmp_path, server.url, b'{"id":0}\r\n{"id":1}') as process:
        assert process.wait() == DONE
    assert ids_of(server.events()) == [0, 1]


def test_a_last_line_without_newline_waits_for_room(tmp_path, raw):
    """Of two events that do not fit into the window together the second has
    been read whole when there is no room for it yet."""
    events = [event(0, 5 << 20), event(1, 4 << 20)]
    with fed(tmp_path, raw.url, b"\n".join(events), "--ping-timeout", "60",
             "-v") as process:
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == events[0]
        ping = peer.until_opcode(PING)
        process.wait_log("draining, was running")
        peer.send(PONG, ping)
        assert peer.until_opcode(TEXT) == events[1]
        peer.send(PONG, peer.until_opcode(PING))
        peer.until_opcode(CLOSE)
        peer.close()
        assert process.wait() == DONE


def test_nothing_in_is_nothing_out(tmp_path, server):
    with fed(tmp_path, server.url, b"") as process:
        assert process.wait() == DONE
    assert server.lines() == []


def test_20000_events_arrive_in_order(tmp_path, server):
    data = b"".join(event(n) + b"\n" for n in range(20000))
    with fed(tmp_path, server.url, data) as process:
        assert process.wait() == DONE
    server.wait_count(20000)
    assert ids_of(server.events()) == list(range(20000))


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 1 << 20,
                                  (1 << 24) - 1])
def test_any_size_arrives(tmp_path, server, size):
    big = b"7" if size == 1 else b'"' + b"x" * (size - 2) + b'"'
    with fed(tmp_path, server.url, b"1\n" + big + b"\n2\n") as process:
        assert process.wait() == DONE
    server.wait_count(3)
    assert server.lines() == [b"1", big, b"2"]


def test_messages_are_text_or_binary(tmp_path, raw):
    for options, opcode in ((), TEXT), (("--binary",), BINARY):
        with fed(tmp_path, raw.url, b"{}\n", *options, name=str(opcode)):
            peer = raw.accept().upgrade()
            assert peer.next() == (opcode, b"{}")
            peer.close()


# Acks.

@pytest.mark.parametrize("ack", ["pong", "write", "app"])
def test_acks_come_back_on_the_socket(tmp_path, ack):
    with Server(tmp_path, *options_of(ack)) as server, \
            piped(tmp_path, server.url, "--ack", ack) as (process, ours):
        reverse = Reverse(ours)
        for n in range(5):
            ours.sendall(frame(event(n)))
            reverse.until_ack(n + 1)
        ours.sendall(b"".join(frame(event(n)) for n in range(5, 1000)))
        acks = reverse.until_ack(1000)
        assert len(set(acks)) == len(acks), "the same ack twice"
        assert reverse.breaker() == ["open", "closed"]
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        server.wait_count(1000)
        assert ids_of(server.events()) == list(range(1000))


def test_pings_are_cumulative(tmp_path, raw):
    """Only the newest ping is answered, which acks all in front of it; pongs
    that answer nothing are ignored."""
    with piped(tmp_path, raw.url) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        pings = []
        for n in range(3):
            ours.sendall(frame(event(n)))
            assert peer.next() == (TEXT, event(n))
            pings.append(peer.until_opcode(PING))
        peer.send(PONG, b"")
        peer.send(PONG, b"unasked")
        peer.send(PONG, bytes(8))
        peer.send(PONG, b"\xff" * 8)
        peer.send(PONG, pings[2])
        assert reverse.until_ack(3) == [3]
        # Late answers to what is acked say nothing new.
        peer.send(PONG, pings[0])
        ours.sendall(frame(event(3)))
        ping = peer.until_opcode(PING)
        peer.send(PONG, ping)
        assert reverse.until_ack(4) == [3, 4]
        peer.close()


def test_a_pong_of_another_connection_confirms_nothing(tmp_path, raw):
    """Nor does one that only counts."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        old = []
        for _ in range(2):
            peer = raw.accept().upgrade()
            for payload in [*old, *(struct.pack(">Q", n) for n in range(9))]:
                peer.send(PONG, payload)
            old.append(peer.until_opcode(PING))
            peer.close()
        peer = raw.accept().upgrade()
        for payload in old:
            peer.send(PONG, payload)
        ping = peer.until_opcode(PING)
        assert ping not in old
        assert reverse.acks() == []
        peer.send(PONG, ping)
        assert reverse.until_ack(1) == [1]
        peer.close()


def test_no_pong_no_ack_and_all_is_sent_again(tmp_path, raw):
    """An event whose ping was answered is never sent again; the others are,
    in order."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(0)))
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(1)
        ours.sendall(b"".join(frame(event(n)) for n in range(1, 50)))
        while peer.next() != (TEXT, event(49)):
            pass
        peer.close()
        peer = raw.accept().upgrade()
        for n in range(1, 50):
            assert peer.until_opcode(TEXT) == event(n)
        peer.send(PONG, peer.until_opcode(PING))
        assert reverse.until_ack(50) == [1, 50]
        assert reverse.breaker() == ["open", "closed", "open", "closed"]
        peer.close()


def test_ack_level_write_promises_less(tmp_path, raw):
    """What the system took counts as delivered, though nobody read it: the
    negative control of the test above."""
    with piped(tmp_path, raw.url, "--ack", "write", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        ours.sendall(b"".join(frame(event(n)) for n in range(50)))
        reverse.until_ack(50)
        peer.close()
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(50)))
        assert peer.until_opcode(TEXT) == event(50), "one was sent again"
        peer.close()


def test_ack_level_write_confirms_nothing_behind_a_close(tmp_path, raw):
    """The server closes while an event is being written, and reads on: that
    event is known to be lost."""
    with piped(tmp_path, raw.url, "--ack", "write", "-v",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        first = raw.accept().upgrade()
        ours.sendall(frame(event(0)) + frame(event(1, 15 << 20)))
        assert first.until_opcode(TEXT) == event(0)
        first.send(CLOSE, struct.pack(">H", 1001))
        process.wait_log("connection closing, was open")
        while first.sock.recv(1 << 20):
            continue
        first.close()
        second = raw.accept().upgrade()
        assert second.until_opcode(TEXT) == event(1, 15 << 20)
        assert reverse.until_ack(2) == [1, 2]
        second.close()


def test_ack_level_app_counts_the_messages_of_a_connection(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ack", "app", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        ours.sendall(b"".join(frame(event(n)) for n in range(3)))
        for n in range(3):
            assert peer.until_opcode(TEXT) == event(n)
        peer.send(TEXT, b"hello")
        peer.send(TEXT, b'{"hello":1}')
        peer.send(BINARY, b'{"ack":3}')
        peer.send(TEXT, b'{"ack":2}')
        reverse.until_ack(2)
        peer.close()
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(2)
        peer.send(TEXT, b'{"a', first=0)
        peer.send(0, b'ck":1}')
        assert reverse.until_ack(3) == [2, 3]
        peer.close()


@pytest.mark.parametrize("acks", [[3], [2, 1], [-1], [1.5], ["1"], [2**64 + 1],
                                  [10**30]])
def test_ack_level_app_refuses_impossible_acks(tmp_path, raw, acks):
    with piped(tmp_path, raw.url, "--ack", "app", *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(0)) + frame(event(1)))
        assert peer.until_opcode(TEXT) == event(0)
        assert peer.until_opcode(TEXT) == event(1)
        for n in acks:
            peer.send(TEXT, json.dumps({"ack": n}).encode())
        assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1002)
        peer.close()
        raw.accept().close()
        process.wait_log("broke the protocol")


def test_acks_go_into_a_fifo(tmp_path, server):
    """The FIFO may be made after wssink has started."""
    path = tmp_path / "acks"
    with sink(tmp_path, server.url, "--acks", path,
              stdin=subprocess.PIPE) as process:
        process.child.stdin.write(b"".join(
            event(n) + b"\n" for n in range(100)))
        process.child.stdin.flush()
        process.wait_log("nobody reads it yet")
        os.mkfifo(path)
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb",
                  buffering=0) as fifo:
            reverse = Reverse(FifoEnd(fifo))
            reverse.until_ack(100)
            process.child.stdin.close()
            assert process.wait() == DONE
    assert ids_of(server.events()) == list(range(100))


class FifoEnd:
    """A FIFO as support.Frames wants a socket."""

    def __init__(self, fifo):
        self.fifo = fifo

    def fileno(self):
        return self.fifo.fileno()

    def recv(self, size):
        return self.fifo.read(size)


@pytest.mark.parametrize("kind", ["file", "directory", "socket"])
def test_acks_path_that_is_no_fifo_is_refused(tmp_path, server, kind):
    path = tmp_path / "acks"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "directory":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    with fed(tmp_path, server.url, b"{}\n", "--acks",
             tmp_path / "acks") as process:
        assert process.wait() == FINAL
    assert "not a FIFO" in process.text()


def test_acks_path_that_becomes_no_fifo_is_told_of_once(tmp_path, raw):
    """While the server does not answer the Close it leaves for a second."""
    path = tmp_path / "acks"
    with fed(tmp_path, raw.url, b"{}\n", "--acks", path) as process:
        peer = raw.accept().upgrade()
        process.wait_log("connected")
        path.write_bytes(b"")
        peer.until_opcode(CLOSE)
        assert process.wait() == FINAL
        assert process.text().count("not a FIFO") == 1
        peer.close()


# Bad input.

def test_bad_events_are_rejected_and_the_count_stays_exact(tmp_path, server):
    with piped(tmp_path, server.url) as (process, ours):
        reverse = Reverse(ours)
        bad = [b"{", b"", b'"\xff"', b"01"]
        ours.sendall(frame(bad[0]) + frame(b"2") + frame(bad[1])
                     + frame(bad[2]) + frame(b"5") + frame(bad[3]))
        reverse.until_ack(6)
        assert reverse.rejects() == [1, 3, 4, 6]
        assert all("not JSON" in m["reason"] for m in reverse.messages
                   if "reject" in m)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        assert server.lines() == [b"2", b"5"]


def test_bad_lines_fail_the_run_but_not_the_rest(tmp_path, server):
    with fed(tmp_path, server.url, b"1\n\nnope\n4\n") as process:
        assert process.wait() == AGAIN
    assert server.lines() == [b"1", b"4"]
    assert "refused events that nobody was told of: 2" in process.text()


def test_a_line_that_is_too_long_is_skipped(tmp_path, server):
    size = 1 << 24
    long = b'"' + b"x" * (size - 2) + b'"\n'
    with fed(tmp_path, server.url, b"1\n" + long + b"3\n" + long) as process:
        assert process.wait() == AGAIN
    assert server.lines() == [b"1", b"3"]
    assert "refused events that nobody was told of: 2" in process.text()


@pytest.mark.parametrize("tail, words", [
    (b"\0\0\0\5ab", "ends within an event"),
    (b"\0\0", "ends within an event"),
    (b"{}\n", "is not in length framing"),
])
def test_broken_framing_ends_the_run(tmp_path, server, tail, words):
    data = frame(b"1") + frame(b"2") + tail
    with fed(tmp_path, server.url, data) as process:
        assert process.wait() == AGAIN
    assert server.lines() == [b"1", b"2"]
    assert f"after event 2 {words}" in process.text()


# The end.

def test_sigterm_says_goodbye(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(0)))
        peer.until_opcode(PING)
        process.signal(signal.SIGTERM)
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1001)
        peer.send(CLOSE, struct.pack(">H", 1001))
        peer.close()
        assert process.wait() == DONE
        assert "unconfirmed=1" in process.text()


def test_sigterm_needs_no_answer(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(0)))
        peer.until_opcode(PING)
        assert process.stop() == DONE
        peer.close()


def test_sigterm_while_there_is_no_connection(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept()
        assert process.stop() == DONE
        peer.close()


def test_all_delivered_ends_with_a_closing_handshake(tmp_path, raw):
    with fed(tmp_path, raw.url, b"1\n") as process:
        peer = raw.accept().upgrade()
        peer.send(PONG, peer.until_opcode(PING))
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1000)
        peer.send(CLOSE, struct.pack(">H", 1000))
        peer.close()
        assert process.wait() == DONE


@pytest.mark.parametrize("away", [True, False])
def test_the_drain_timeout(tmp_path, raw, away):
    with fed(tmp_path, raw.url, b"1\n2\n", "--drain-timeout", "0.5",
             *QUICK) as process:
        if away:
            raw.listener.close()
        assert process.wait() == AGAIN
        assert "drain timeout has passed; undelivered=2" in process.text()


def test_it_leaves_without_haste_after_the_drain_timeout(tmp_path, raw):
    """The server does not answer the Close, for which it waits a second."""
    with piped(tmp_path, raw.url, "--drain-timeout",
               "0.1") as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(b"1"))
        peer.until_opcode(PING)
        ours.shutdown(socket.SHUT_WR)
        peer.until_opcode(CLOSE)
        before = ticks_of(process.pid)
        # Most of that second.
        time.sleep(0.7)
        assert ticks_of(process.pid) - before < 15
        peer.close()
        assert process.wait() == AGAIN


def test_without_drain_timeout_it_waits(tmp_path):
    port = free_port()
    with fed(tmp_path, f"ws://127.0.0.1:{port}/", b"1\n2\n",
             *QUICK) as process:
        process.wait_log("cannot connect")
        with Server(tmp_path, port=port) as server:
            assert process.wait() == DONE
            assert server.lines() == [b"1", b"2"]


def test_a_half_closed_input_is_drained_and_acked(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(b"1"))
        ours.shutdown(socket.SHUT_WR)
        peer = raw.accept().upgrade()
        ping = peer.until_opcode(PING)
        peer.send(PONG, ping)
        reverse.until_ack(1)
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1000)
        peer.close()
        assert process.wait() == DONE


def test_the_reader_of_the_acks_is_gone(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(b"1"))
        peer.until_opcode(PING)
        ours.close()
        assert process.wait() == AGAIN
        assert "the reader of the acks is gone" in process.text()
        peer.close()


# Usage.

@pytest.mark.parametrize("arguments, words", [
    ([], "-u is missing"),
    (["-u"], "-u: its value is missing"),
    (["-u", "http://x/"], "does not begin with ws:// or wss://"),
    (["-u", "ws:///x"], "-u: "),
    (["-u", "ws://x/#f"], "no fragment"),
    (["-u", "ws://x:70000/"], "-u: "),
    (["-u", "ws://x/", "--ack", "never"], "--ack 'never'"),
    (["-u", "ws://x/", "--ping-timeout", "5s"], "--ping-timeout '5s'"),
    (["-u", "ws://x/", "--backoff-max", "0"], "--backoff-max '0'"),
    (["-u", "ws://x/", "--nope"], "--nope: unknown option"),
    (["-u", "ws://x/", "-x"], "-x: unknown option"),
    (["-u", "ws://x/", "--proxy"], "--proxy: its value is missing"),
    (["-u", "ws://x/", "rest"], "'rest': not an option"),
    (["-u", "ws://x/", "-H", "no colon"], "-H: not of the form"),
    (["-u", "ws://x/", "-H", "Upgrade: h2c"], "writes this header itself"),
    (["-u", "ws://x/", "-H", "X: a\nY: b"], "a control character"),
    (["-u", "ws://x/", "--header-file", "/nonexistent"], "--header-file"),
    (["-u", "ws://x/", "--cacert", "/nonexistent"], "--cacert"),
    (["-u", "ws://x/", "--key", "/dev/null"], "--key without --cert"),
    (["-u", "ws://x/", "--protocol", "a b"], "--protocol 'a b'"),
    (["-u", "ws://u@x/", "-H", "authorization: b"], "more than one of user"),
])
def test_wrong_usage(arguments, words):
    assert words in usage(*arguments)


def test_help_and_version():
    for option, words in ("-h", "usage: wssink"), ("--version", "wssink "):
        done = subprocess.run([program("wssink"), option], text=True,
                              capture_output=True)
        assert done.returncode == DONE
        assert done.stdout.startswith(words)
        assert done.stderr == ""

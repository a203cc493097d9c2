"""The connections of wssink, against real websocket servers and broken ones:
lost, refused, hostile.
"""

import base64
import os
import re
import select
import struct
import subprocess

import pytest

from flow import WINDOW, assert_sent_again_in_order, outlive
from sinks import (CLOSE, PING, PONG, QUICK, TEXT, Reverse, basic, event, fed,
                   ids_of, options_of, piped, sink)
from support import DONE, Server, frame, free_port, wait_until


# Connections that are lost, or never come.

def test_a_server_that_is_away_at_the_start(tmp_path):
    port = free_port()
    with piped(tmp_path, f"ws://127.0.0.1:{port}/", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(10)))
        process.wait_log("cannot connect")
        assert reverse.until(lambda m: "breaker" in m)["breaker"] == "open"
        with Server(tmp_path, port=port) as server:
            reverse.until_ack(10)
            assert reverse.breaker() == ["open", "closed"]
            assert ids_of(server.events()) == list(range(10))
        assert process.text().count("cannot connect") == 1


@pytest.mark.parametrize("ack", ["pong", "app"])
def test_a_server_killed_while_events_flow(tmp_path, ack):
    """Nothing is missing, for this server handles each message as it is read,
    before it answers a ping behind it. What is sent again is in order."""
    # One ack may stand for a window of them.
    kills, total = 4, 6 * WINDOW
    with Server(tmp_path, *options_of(ack)) as server, \
            piped(tmp_path, server.url, "--ack", ack,
                  *QUICK) as (process, ours):
        outlive(ours, Reverse(ours), total,
                [WINDOW * n for n in range(1, kills + 1)], server.restart)
        assert process.wait() == DONE
        assert_sent_again_in_order(ids_of(server.events()), total, kills)


def test_a_server_that_answers_no_ping_is_left(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ping-timeout", "0.3",
               *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        first = raw.accept().upgrade()
        second = raw.accept().upgrade()
        assert second.until_opcode(TEXT) == event(0)
        process.wait_log("no pong within the ping timeout")
        first.close()
        second.close()


def test_a_server_that_never_reads_is_left(tmp_path, raw):
    """More is sent than the sockets hold: 3 s more for its 3 MiB."""
    with piped(tmp_path, raw.url, "--ping-timeout", "1",
               *QUICK) as (process, ours):
        first = raw.accept().upgrade()
        ours.sendall(frame(event(0, 3 << 20)))
        second = raw.accept().upgrade()
        assert second.until_opcode(TEXT) == event(0, 3 << 20)
        process.wait_log("the server reads nothing")
        first.close()
        second.close()


def test_an_idle_connection_is_kept_alive_and_watched(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ping-interval", "0.1", "--ping-timeout",
               "0.3", *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        for _ in range(3):
            opcode, payload = peer.next()
            assert opcode == PING
            peer.send(PONG, payload)
        again = raw.accept()
        process.wait_log("no pong within the ping timeout")
        peer.close()
        again.close()


def test_the_backoff_grows_though_each_connection_takes_an_event(
        tmp_path):
    """A wait over 0.3 s never follows a reset."""
    def waits():
        return [int(n) for n in re.findall(r"again in (\d+) ms",
                                           process.text())]

    with Server(tmp_path, "--close-after", "1") as server, \
            piped(tmp_path, server.url, "--backoff-max",
                  "1") as (process, ours):
        ours.sendall(b"".join(frame(event(n)) for n in range(1000)))
        wait_until(lambda: max(waits(), default=0) > 300, "a longer wait")
        assert min(waits()) >= 100
        assert max(waits()) <= 1000


def test_memory_is_bounded_while_there_is_no_server(tmp_path):
    with sink(tmp_path, f"ws://127.0.0.1:{free_port()}/", *QUICK,
              stdin=subprocess.PIPE) as process:
        out = process.child.stdin.fileno()
        os.set_blocking(out, False)
        written, data = 0, event(0, 65535) + b"\n"
        while select.select([], [out], [], 0.5)[1] and written < 64 << 20:
            written += os.write(out, data[written % len(data):])
        assert 8 << 20 <= written < 10 << 20


# The handshake.

REFUSALS = {
    "accept": (dict(accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
               "Sec-WebSocket-Accept does not answer our key"),
    "extension": (dict(more=["Sec-WebSocket-Extensions: permessage-deflate"]),
                  "an extension that was not asked for"),
    "subprotocol": (dict(more=["Sec-WebSocket-Protocol: chat"]),
                    "a subprotocol that was not asked for"),
    "long": (dict(more=["X: " + "x" * 20000]), "header is over 16 KiB"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_handshake_is_refused(tmp_path, raw, name):
    how, words = REFUSALS[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        peer = raw.accept()
        peer.upgrade(*how.get("more", []), accept=how.get("accept"))
        peer.at_end()
        assert peer.data == b"", "something was sent after all"
        process.wait_log(words)
        peer.close()
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        peer.close()


@pytest.mark.parametrize("rest", [b"", b"\x1b[31mno\nroom\xff"])
def test_a_refusal_is_told_in_one_line(tmp_path, raw, rest):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept()
        peer.sock.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        peer.sock.sendall(rest)
        peer.close()
        process.wait_log("the Upgrade was refused: 503 Service Unavailable")
        if rest:
            process.wait_log(r'"\x1b[31mno\nroom\xff"')


def test_no_answer_to_the_upgrade(tmp_path, raw):
    with piped(tmp_path, raw.url, "--connect-timeout", "0.3",
               *QUICK) as (process, ours):
        peer = raw.accept()
        raw.accept().close()
        process.wait_log("the Upgrade was not answered in time")
        peer.close()


def test_the_request_carries_what_the_user_wants(tmp_path, raw):
    (tmp_path / "headers").write_text("X-Two: 2\n\nX-Three: 3\n")
    (tmp_path / "auth").write_text("Aladdin:open sesame\n")
    with piped(tmp_path, raw.url + "in?to=ken", "-v", "-H", "X-One: 1",
               "--header-file", tmp_path / "headers", "--basic-auth-file",
               tmp_path / "auth", "--protocol", "chat", "--protocol",
               "log") as (process, ours):
        peer = raw.accept()
        assert peer.request.startswith("GET /in?to=ken HTTP/1.1\r\n")
        assert peer.header("Host") == f"127.0.0.1:{raw.port}"
        assert peer.header("Upgrade") == "websocket"
        assert peer.header("Connection") == "Upgrade"
        assert peer.header("Sec-WebSocket-Version") == "13"
        assert len(base64.b64decode(peer.header("Sec-WebSocket-Key"))) == 16
        assert [peer.header(f"X-{n}") for n in ("One", "Two", "Three")] == \
            ["1", "2", "3"]
        assert peer.header("Authorization") == \
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        assert peer.header("Sec-WebSocket-Protocol") == "chat, log"
        peer.upgrade("Sec-WebSocket-Protocol: log")
        process.wait_log("connected to")
        assert "sesame" not in process.text()
        assert "ken" not in process.text()
        peer.close()


def test_the_server_chooses_a_subprotocol(tmp_path):
    with Server(tmp_path, "--subprotocol", "log") as server, \
            fed(tmp_path, server.url, b"{}\n", "-v", "--protocol", "chat",
                "--protocol", "log") as process:
        assert process.wait() == DONE
        assert "subprotocol log" in process.text()


def test_the_user_in_the_url_is_sent_and_never_logged(tmp_path, raw):
    url = f"ws://me:s%40cret@127.0.0.1:{raw.port}/"
    with fed(tmp_path, url, b"{}\n", "-v", *QUICK) as process:
        peer = raw.accept()
        assert peer.header("Authorization") == basic("me:s@cret")
        peer.close()
        process.wait_log(f"ws://127.0.0.1:{raw.port}/")
        assert "cret" not in process.text()
        assert "me:" not in process.text()


def test_a_proxy_is_asked_for_a_tunnel(tmp_path, raw):
    """For ws too: what is between does not know websockets."""
    with piped(tmp_path, "ws://example.invalid:81/in", "--proxy",
               f"http://127.0.0.1:{raw.port}", *QUICK) as (process, ours):
        peer = raw.accept()
        assert peer.request.startswith("CONNECT example.invalid:81 HTTP/1.1")
        peer.tunnel()
        assert peer.request.startswith("GET /in HTTP/1.1\r\n")
        peer.upgrade()
        process.wait_log("connected to ws://example.invalid:81/in")
        peer.close()


def test_a_new_key_and_new_masks_each_time(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        keys, masks = set(), set()
        for _ in range(3):
            peer = raw.accept().upgrade()
            keys.add(peer.header("Sec-WebSocket-Key"))
            masks.add(peer.take(6)[2:])
            peer.close()
        assert len(keys) == 3 and len(masks) == 3


def test_a_name_that_nobody_knows(tmp_path):
    with piped(tmp_path, "ws://nobody.invalid/", *QUICK) as (process, ours):
        process.wait_log("cannot connect to ws://nobody.invalid/: Could not "
                         "resolve host")
        assert process.stop() == DONE


# Frames of the server.

def test_a_ping_is_answered(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        for payload in b"", b"Hello", bytes(range(125)):
            peer.send(PING, payload)
            assert peer.until_opcode(PONG) == payload
        peer.close()


BROKEN = {
    "masked": (b"\x81\x81abcdx", 1002),
    "reserved bit": (b"\xc1\x00", 1002),
    "opcode": (b"\x83\x00", 1002),
    "long ping": (b"\x89\x7e\x00\x7e", 1002),
    "ping in fragments": (b"\x09\x00", 1002),
    "not UTF-8": (b"\x81\x01\xff", 1007),
    "too big": (b"\x82\x7f" + struct.pack(">Q", 65537), 1009),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_ends_the_connection(tmp_path, raw, name):
    wire, code = BROKEN[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        peer.sock.sendall(wire)
        assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", code)
        peer.close()
        raw.accept().close()
        process.wait_log("the server broke the protocol")


def test_other_messages_are_dropped(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        peer.sock.sendall(b"\x82\x7f" + struct.pack(">Q", 65536)
                          + bytes(65536))
        peer.send(TEXT, b'{"ack":7}')
        peer.send(PING, b"still there?")
        assert peer.until_opcode(PONG) == b"still there?"
        peer.close()


def test_a_close_of_the_server_is_answered(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        peer.send(CLOSE, struct.pack(">H", 1012) + b"restart")
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1012)
        peer.close()
        peer = raw.accept().upgrade()
        peer.send(CLOSE, b"")
        assert peer.until_opcode(CLOSE) == b""
        peer.close()
        raw.accept().close()
        process.wait_log('the server closed: 1012 "restart"')
        process.wait_log("the server closed without a code")


def test_the_last_words_of_a_server_are_heard(tmp_path, raw):
    """It closes, hangs up and reads no more, while much is on its way."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(0, 8 << 20)))
        peer.take(10)
        peer.send(CLOSE, struct.pack(">H", 1008) + b"not you")
        peer.close()
        raw.accept().close()
        process.wait_log('the server closed: 1008 "not you"')

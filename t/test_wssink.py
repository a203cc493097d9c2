"""wssink alone, against real websocket servers; a server of raw sockets stands
in where a server has to be broken or hostile.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading

import pytest
import websockets

from support import (AGAIN, DONE, FINAL, Frames, Process, Server, events_of,
                     frame, lines_of, program, wait_until)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# Tries to connect follow each other at once, so that no test waits for one.
QUICK = ("--backoff-max", "0.1")

# What a proxy of this machine would do is not what is tested.
ENVIRONMENT = {k: v for k, v in os.environ.items()
               if not k.lower().endswith("_proxy")}


def event(n, size=0):
    """Event n, filled up to `size` bytes."""
    text = json.dumps({"id": n})
    fill = size - len(text) - len(', "x": ""')
    if fill >= 0:
        text = text[:-1] + ', "x": "' + "x" * fill + '"}'
    return text.encode()


def ids_of(messages):
    return [m["id"] for m in messages]


def sink(tmp_path, url, *options, name="wssink", **popen):
    """A running wssink."""
    return Process([program("wssink"), "-u", url, *options],
                   tmp_path / f"{name}.log", env=ENVIRONMENT, **popen)


def fed(tmp_path, url, data, *options, **popen):
    """A running wssink with `data` as a file on its standard input."""
    path = tmp_path / "input"
    path.write_bytes(data)
    with open(path, "rb") as stdin:
        return sink(tmp_path, url, *options, stdin=stdin, **popen)


@contextlib.contextmanager
def piped(tmp_path, url, *options):
    """A running wssink on a socketpair, as walproc would have it: gives the
    process and our end."""
    ours, theirs = socket.socketpair()
    with ours, sink(tmp_path, url, *options, stdin=theirs) as process:
        theirs.close()
        yield process, ours


class Reverse:
    """The reverse channel: keeps all that came."""

    def __init__(self, sock):
        self.frames = Frames(sock)
        self.messages = []

    def until(self, wanted):
        """Reads up to a message for which wanted(message) is true."""
        while True:
            payload = self.frames.next()
            assert payload is not None, f"ended after {self.messages}"
            self.messages.append(json.loads(payload))
            if wanted(self.messages[-1]):
                return self.messages[-1]

    def until_ack(self, n):
        self.until(lambda m: m.get("ack", -1) >= n)
        acks = self.acks()
        assert acks == sorted(acks) and acks[-1] == n
        return acks

    def acks(self):
        return [m["ack"] for m in self.messages if "ack" in m]

    def breaker(self):
        return [m["breaker"] for m in self.messages if "breaker" in m]


class Peer:
    """The server's end of one connection, done by hand."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(60)
        self.data = b""
        self.request = self.until(b"\r\n\r\n").decode()

    def until(self, end):
        while end not in self.data:
            self.more()
        at = self.data.index(end) + len(end)
        head, self.data = self.data[:at], self.data[at:]
        return head

    def more(self):
        more = self.sock.recv(1 << 16)
        if not more:
            raise EOFError
        self.data += more

    def take(self, n):
        while len(self.data) < n:
            self.more()
        head, self.data = self.data[:n], self.data[n:]
        return head

    def header(self, name):
        found = re.findall(rf"(?mi)^{name}: *(.*?)\r$", self.request)
        return found[0] if found else None

    def answer(self):
        key = self.header("Sec-WebSocket-Key").encode()
        return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()

    def upgrade(self, *more, accept=None):
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket",
                 "Connection: Upgrade",
                 f"Sec-WebSocket-Accept: {accept or self.answer()}", *more]
        self.sock.sendall("".join(f"{s}\r\n" for s in [*lines, ""]).encode())
        return self

    def next(self):
        """The next frame of the client: opcode and payload."""
        first, second = self.take(2)
        assert first & 0x80 and not first & 0x70, "a fragment, or a bit set"
        assert second & 0x80, "not masked"
        size = second & 0x7f
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        mask = int.from_bytes(self.take(4) * (size // 4 + 1), "big")
        payload = self.take(size)
        fill = 4 * (size // 4 + 1) - size
        clear = int.from_bytes(payload + bytes(fill), "big") ^ mask
        return first & 0x0f, clear.to_bytes(size + fill, "big")[:size]

    def until_opcode(self, wanted):
        """The payload of the next frame of that kind; others are dropped."""
        while True:
            opcode, payload = self.next()
            if opcode == wanted:
                return payload

    def send(self, opcode, payload, first=0x80):
        assert len(payload) < 126
        self.sock.sendall(
            bytes([first | opcode, len(payload)]) + payload)

    def at_end(self):
        """Waits until the client has hung up."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                self.more()

    def close(self):
        self.sock.close()


class RawServer:
    """A listener whose connections a test serves by hand."""

    def __init__(self, tls=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(60)
        self.port = self.listener.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.tls = tls

    def accept(self):
        return Peer(self.listener.accept()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


@pytest.fixture
def raw():
    with RawServer() as server:
        yield server


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


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


@pytest.mark.skipif(not shutil.which("websocketd"), reason="no websocketd")
def test_websocketd_takes_the_events(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    got = tmp_path / "got"
    with Process(["websocketd", "--address", "127.0.0.1", "--port", port,
                  "sh", "-c", f"cat >> '{got}'"],
                 tmp_path / "websocketd.log"):
        data = b"".join(event(n) + b"\n" for n in range(500))
        with fed(tmp_path, f"ws://127.0.0.1:{port}/", data,
                 *QUICK) as process:
            assert process.wait() == DONE
        wait_until(lambda: len(lines_of(got)) >= 500, "500 lines")
        assert ids_of(events_of(got)) == list(range(500))


# Acks.

@pytest.mark.parametrize("ack", ["pong", "write", "app"])
def test_acks_come_back_on_the_socket(tmp_path, ack):
    options = ["--app-ack"] if ack == "app" else []
    with Server(tmp_path, *options) as server, \
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


@pytest.mark.parametrize("acks", [[3], [2, 1]])
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


def test_acks_path_that_is_no_fifo_is_refused(tmp_path, server):
    (tmp_path / "acks").write_bytes(b"")
    with fed(tmp_path, server.url, b"{}\n", "--acks",
             tmp_path / "acks") as process:
        assert process.wait() == FINAL
    assert "not a FIFO" in process.text()


# Connections that are lost, or never come.

def test_a_server_that_is_away_at_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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
    kills, total = 4, 8000
    options = ["--app-ack"] if ack == "app" else []
    with Server(tmp_path, *options) as server, \
            piped(tmp_path, server.url, "--ack", ack,
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)

        def feed():
            for n in range(total):
                ours.sendall(frame(event(n, 200)))
            ours.shutdown(socket.SHUT_WR)

        feeder = threading.Thread(target=feed)
        feeder.start()
        for kill in range(1, kills + 1):
            reverse.until(
                lambda m, n=kill * total // 10: m.get("ack", 0) >= n)
            server.restart()
        reverse.until_ack(total)
        feeder.join()
        assert process.wait() == DONE
        got = ids_of(server.events())
    assert set(range(total)) - set(got) == set()
    assert [(a, b) for a, b in zip(got, got[1:]) if b > a + 1] == []
    assert sum(1 for a, b in zip(got, got[1:]) if b <= a) <= kills


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
    """More is sent than the sockets hold."""
    with piped(tmp_path, raw.url, "--ping-timeout", "0.3",
               *QUICK) as (process, ours):
        first = raw.accept().upgrade()
        ours.sendall(frame(event(0, 15 << 20)))
        second = raw.accept().upgrade()
        assert second.until_opcode(TEXT) == event(0, 15 << 20)
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
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with sink(tmp_path, f"ws://127.0.0.1:{port}/", *QUICK,
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
        wanted = base64.b64encode(b"me:s@cret").decode()
        assert peer.header("Authorization") == f"Basic {wanted}"
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
        peer.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.request = peer.until(b"\r\n\r\n").decode()
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
        assert process.stop(timeout=10) == DONE


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


# Bad input.

def test_bad_events_are_rejected_and_the_count_stays_exact(tmp_path, server):
    with piped(tmp_path, server.url) as (process, ours):
        reverse = Reverse(ours)
        bad = [b"{", b"", b'"\xff"', b"01"]
        ours.sendall(frame(bad[0]) + frame(b"2") + frame(bad[1])
                     + frame(bad[2]) + frame(b"5") + frame(bad[3]))
        reverse.until_ack(6)
        rejects = [m for m in reverse.messages if "reject" in m]
        assert [m["reject"] for m in rejects] == [1, 3, 4, 6]
        assert all("not JSON" in m["reason"] for m in rejects)
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
    with fed(tmp_path, server.url, frame(b"1") + frame(b"2") + tail) as process:
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
        assert process.stop(timeout=10) == DONE
        peer.close()


def test_sigterm_while_there_is_no_connection(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept()
        assert process.stop(timeout=10) == DONE
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


def test_without_drain_timeout_it_waits(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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
    (["-u", "ws://x/", "--nope"], "--nope: no such option"),
    (["-u", "ws://x/", "-x"], "-x: no such option"),
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
    done = subprocess.run([program("wssink"), *arguments], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == FINAL
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_and_version():
    for option, words in ("-h", "usage: wssink"), ("--version", "wssink "):
        done = subprocess.run([program("wssink"), option], text=True,
                              capture_output=True)
        assert done.returncode == DONE
        assert done.stdout.startswith(words)
        assert done.stderr == ""


# TLS.

class TlsServer:
    """python3-websockets with TLS, in a thread of the test."""

    def __init__(self, tmp_path):
        self.cert = tmp_path / "cert.pem"
        key = tmp_path / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout",
             key, "-out", self.cert, "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.cert, key)
        self.messages = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"wss://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_until_complete, args=(self.serve(),))

    async def handle(self, connection, path=None):
        async for message in connection:
            self.messages.append(message)

    async def serve(self):
        self.over = self.loop.create_future()
        async with websockets.serve(self.handle, sock=self.listener,
                                    ssl=self.context, max_size=1 << 25,
                                    compression=None):
            await self.over

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set_result, None)
        self.thread.join()
        self.loop.close()


def test_tls_is_checked(tmp_path):
    with TlsServer(tmp_path) as server:
        with fed(tmp_path, server.url, b"1\n", "--drain-timeout", "0.5",
                 *QUICK, name="unknown") as process:
            assert process.wait() == AGAIN
            assert "self-signed certificate" in process.text()
        for number, options in enumerate([["--cacert", server.cert], ["-k"]]):
            with fed(tmp_path, server.url, b"1\n", *options,
                     name=f"trusted{number}") as process:
                assert process.wait() == DONE
        assert server.messages == ["1", "1"]


def test_much_goes_through_tls(tmp_path):
    """More than one record, and more than the sockets hold."""
    sizes = [1, 16383, 16384, 16385, 100, 1 << 20, 3, 9 << 20, 70000]
    texts = ["7" * size for size in sizes] + [str(n) for n in range(5000)]
    with TlsServer(tmp_path) as server:
        data = "".join(f"{t}\n" for t in texts).encode()
        with fed(tmp_path, server.url, data, "--cacert",
                 server.cert) as process:
            assert process.wait() == DONE
        wait_until(lambda: len(server.messages) == len(texts), "all messages")
        assert server.messages == texts

"""Answers to the Upgrade other than a sound 101: each is told in one clear
line, none ends wssink, none costs an event, and none is asked again too soon.
"""

import contextlib
import email.utils
import re
import socket
import time
from http import HTTPStatus

import pytest
from websockets.legacy.server import serve

from background import Background
from peers import (events_in, http, is_clean, log_lines, next_ms, wait_line)
from servers import RefusingNginx
from sinks import QUICK, PING, PONG, TEXT, Reverse, event, fed, piped
from support import AGAIN, DONE, Server, frame, free_port, wait_until

CANNOT = "cannot connect to"


def refused(raw, answer, is_open=False):
    """Answers the next request with these bytes, and hangs up unless
    `is_open`."""
    peer = raw.accept()
    # A long answer is not read to its end.
    with contextlib.suppress(OSError):
        peer.sock.sendall(answer)
        if is_open:
            return peer
        peer.sock.shutdown(socket.SHUT_WR)
        peer.at_end()
    peer.close()
    return None


def delivered(raw, reverse, ours, n=0):
    """The next try is taken, and the event arrives."""
    peer = raw.accept().upgrade()
    assert peer.until_opcode(TEXT) == event(n)
    peer.send(PONG, peer.until_opcode(PING))
    reverse.until_ack(n + 1)
    peer.close()


def delivered_in_time(raw, reverse, ours):
    """The same with a short connect timeout: the next try that is answered
    before it has passed is taken."""
    for _ in range(100):
        peer = raw.accept()
        with contextlib.suppress(EOFError, OSError):
            peer.upgrade()
            assert peer.until_opcode(TEXT) == event(0)
            break
        peer.close()
    peer.send(PONG, peer.until_opcode(PING))
    reverse.until_ack(1)
    peer.close()


# A status and a body.

STATUSES = ["400 Bad Request", "401 Unauthorized", "403 Forbidden",
            "404 Not Found", "407 Proxy Authentication Required",
            "426 Upgrade Required", "429 Too Many Requests",
            "500 Internal Server Error", "502 Bad Gateway",
            "503 Service Unavailable", "200 OK", "204 No Content", "599 Ah"]


def test_each_status_is_told(tmp_path, raw):
    """A status that differs in nothing but its number is told, too."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        for status in STATUSES:
            refused(raw, http(status, b"not today"))
            line = wait_line(process, f'refused: {status} "not today"')
            assert is_clean(line)
            assert " warn " in line and f"{CANNOT} {raw.url}: " in line
            assert re.search(r"trying on, next in \d+ ms", line)
        assert len(log_lines(process, CANNOT)) == len(STATUSES)
        delivered(raw, reverse, ours)
        assert reverse.breaker()[:2] == ["open", "closed"]


BODIES = {
    "empty": (http("503 No"), '503 No ""'),
    "a page": (http("403 No", b"<html>\r\n<body>no</body>\r\n"),
               r'"<html>\r\n<body>no</body>\r\n"'),
    "escape sequences": (http("403 No", b"\x1b]0;x\x07\x9b31m"),
                         r'"\x1b]0;x\x07\x9b31m"'),
    "a line of the log": (http("403 No", b"\n2026-01-31T12:00:00.123Z"),
                          r'"\n2026-01-31T12'),
    "binary": (http("403 No", bytes(range(256)) * 8), r'"\x00\x01\x02'),
    "quotes": (http("403 No", b'"; trying on'), r'"\"; trying on"'),
    "percents": (http("403 No", b"%s%s%n%999999d"), '"%s%s%n%999999d"'),
    "long": (http("403 No", b"x" * 300000), '"xxxxxxxxxxxxxxx'),
    "long, all escaped": (http("403 No", b"\xff" * 5000), r'"\xff\xff\xff'),
    "chunked": (http("503 No", headers=["Transfer-Encoding: chunked"]).replace(
        b"Content-Length: 0\r\n", b"") + b"6\r\nthe re\r\n4\r\nst.\n\r\n"
        b"0\r\n\r\n", '"the re'),
    "reason escaped": (b"HTTP/1.1 403 \x1b[31m\xff\r\n\r\nno",
                       r'403 \x1b[31m\xff "no"'),
    "no reason": (b"HTTP/1.1 403\r\n\r\nno", '403  "no"'),
    "long reason": (b"HTTP/1.1 403 " + b"r" * 15000 + b"\r\n\r\nno",
                    "403 rrrr"),
    "HTTP/1.0": (http("403 No", b"old", version="1.0"), '403 No "old"'),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_refusal_cannot_harm_the_log(tmp_path, raw, name):
    answer, words = BODIES[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        refused(raw, answer)
        line = wait_line(process, CANNOT)
        assert words in line
        assert re.search(r"trying on, next in \d+ ms", line), "it was cut"
        delivered(raw, reverse, ours)
        assert all(is_clean(line) and f"wssink[{process.pid}]" in line
                   for line in process.text().splitlines())
        reason = [m["reason"] for m in reverse.messages
                  if m.get("breaker") == "open"][-1]
        assert all(32 <= ord(c) < 127 for c in reason)


def test_a_body_that_comes_in_pieces_or_never(tmp_path, raw):
    """The line comes all the same, long before the connect timeout, and the
    connection is given up."""
    with piped(tmp_path, raw.url, "--connect-timeout", "3600",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        head = b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n"
        never = refused(raw, head, is_open=True)
        wait_line(process, 'refused: 503 No ""')
        never.at_end()
        pieces = raw.accept()
        for byte in head.replace(b"503", b"502"):
            pieces.sock.sendall(bytes([byte]))
        pieces.sock.sendall(b"body here")
        wait_line(process, "refused: 502 No ")
        pieces.at_end()
        delivered(raw, reverse, ours)
        never.close()
        pieces.close()


# Redirects.

@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found",
                                    "303 See Other", "307 Temporary Redirect",
                                    "308 Permanent Redirect"])
def test_a_redirect_is_told_and_not_followed(tmp_path, raw, status):
    with socket.create_server(("127.0.0.1", 0)) as other, \
            piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        to = f"ws://127.0.0.1:{other.getsockname()[1]}/else"
        refused(raw, http(status, headers=[f"Location: {to}"]))
        line = wait_line(process, CANNOT)
        assert status in line and to in line and "not followed" in line
        assert is_clean(line)
        delivered(raw, reverse, ours)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


LOCATIONS = {
    "relative": (b"Location: ../in?x=1", "../in?x=1"),
    "lower case, no blank": (b"location:/in", "/in"),
    "hostile": (b"Location: http://\x1b[31m\xff\"x", r"http://\x1b[31m\xff"),
    "long": (b"Location: /" + b"l" * 9000, "/llllll"),
    "empty": (b"Location: ", "302 Found"),
    "missing": (b"X: y", "302 Found"),
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_a_location_cannot_harm_the_log(tmp_path, raw, name):
    header, words = LOCATIONS[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        refused(raw, b"HTTP/1.1 302 Found\r\n" + header + b"\r\n\r\n")
        line = wait_line(process, CANNOT)
        assert words in line and is_clean(line)
        assert re.search(r"next in \d+ ms", line), "it was cut"
        delivered(raw, reverse, ours)


# No answer, or none that is HTTP.

KEY = "Sec-WebSocket-Accept: "
GOOD = ["Upgrade: websocket", "Connection: Upgrade"]


def switching(*lines, status="HTTP/1.1 101 Switching Protocols"):
    return "".join(f"{s}\r\n" for s in [status, *lines, ""]).encode()


ODD = {
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "not HTTP"),
    "SMTP": (b"220 mail.example.org ESMTP\r\n", "not HTTP"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", "not HTTP"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "not HTTP"),
    "HTTP/1.x": (b"HTTP/1.x 101 Yes\r\n\r\n", "status line"),
    "a status of two digits": (b"HTTP/1.1 99\r\n\r\n", "status line"),
    "bare newlines": (b"HTTP/1.1 200 OK\n\nhello", "no CR"),
    "a NUL": (b"HTTP/1.1 101 S\r\nUp\0grade: x\r\n\r\n", "NUL"),
    "a folded header": (switching("Upgrade: websocket", " folded"), "header"),
    "no Upgrade": (switching("Connection: Upgrade"), "no Upgrade"),
    "another Upgrade": (switching("Upgrade: h2c"), 'not "websocket"'),
    "no Connection": (switching("Upgrade: websocket"), "Connection"),
    "no key": (switching(*GOOD), "no Sec-WebSocket-Accept"),
    "an empty key": (switching(*GOOD, KEY), "does not answer our key"),
    "101 of HTTP/1.0": (switching(*GOOD, status="HTTP/1.0 101 Yes"),
                        "HTTP/1.0"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_answer_that_is_no_upgrade(tmp_path, raw, name):
    """Told at once, though the connection stays open."""
    answer, words = ODD[name]
    with piped(tmp_path, raw.url, "--connect-timeout", "3600",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        peer = refused(raw, answer, is_open=True)
        line = wait_line(process, CANNOT)
        assert words in line and is_clean(line)
        peer.at_end()
        assert peer.data == b"", "an event was sent"
        delivered(raw, reverse, ours)
        assert len(log_lines(process, CANNOT)) == 1
        peer.close()


@pytest.mark.parametrize("part", [b"", b"HT", b"HTTP/1.1 101 Switch",
                                  b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n",
                                  b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_half_an_answer(tmp_path, raw, part, is_cut):
    """And then silence, or the end."""
    with piped(tmp_path, raw.url, "--connect-timeout", "0.3" if not is_cut
               else "3600", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        peer = refused(raw, part, is_open=not is_cut)
        line = wait_line(process, "the Upgrade was not answered")
        assert is_clean(line) and CANNOT in line
        assert ("in time" in line) == (not is_cut)
        if peer:
            peer.at_end()
            peer.close()
        delivered_in_time(raw, reverse, ours)


def test_an_endless_header_is_not_read_for_ever(tmp_path, raw):
    """Fed a byte at a time it meets the connect timeout; fast, the limit."""
    with piped(tmp_path, raw.url, "--connect-timeout", "0.5",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        slow = raw.accept()
        with pytest.raises(OSError):
            slow.sock.sendall(b"HTTP/1.1 101 S\r\nX: ")
            while True:
                slow.sock.sendall(b"x")
                time.sleep(0.02)
        slow.close()
        wait_line(process, "not answered in time")
        fast = raw.accept()
        with pytest.raises(OSError):
            fast.sock.sendall(b"HTTP/1.1 101 S\r\n")
            for _ in range(100000):
                fast.sock.sendall(b"X: y\r\n" * 100)
        fast.close()
        wait_line(process, "header is over 16 KiB")
        delivered_in_time(raw, reverse, ours)


INFORMATIVE = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102, 103": b"HTTP/1.1 102 Processing\r\n\r\n"
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "twenty": b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
}


@pytest.mark.parametrize("name", INFORMATIVE)
@pytest.mark.parametrize("is_apart", [False, True])
def test_what_comes_before_the_101_is_skipped(tmp_path, raw, name, is_apart):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        peer = raw.accept()
        final = switching(*GOOD, KEY + peer.answer())
        if is_apart:
            for byte in INFORMATIVE[name]:
                peer.sock.sendall(bytes([byte]))
            peer.sock.sendall(final)
        else:
            peer.sock.sendall(INFORMATIVE[name] + final)
        assert peer.until_opcode(TEXT) == event(0)
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(1)
        assert log_lines(process, CANNOT) == []
        peer.close()


def test_a_refusal_behind_a_100_is_told(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        refused(raw, INFORMATIVE["100"] + http("403 Forbidden", b"no"))
        wait_line(process, 'refused: 403 Forbidden "no"')


def test_100s_without_end_are_not_skipped_for_ever(tmp_path, raw):
    with piped(tmp_path, raw.url, "--connect-timeout", "0.5",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        peer = raw.accept()
        with pytest.raises(OSError):
            while True:
                peer.sock.sendall(INFORMATIVE["100"] * 1000)
        peer.close()
        assert is_clean(wait_line(process, CANNOT))
        delivered_in_time(raw, reverse, ours)


# How often it is told.

def test_the_same_refusal_is_told_once(tmp_path, raw):
    """Another one is told; a new outage is."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        for _ in range(5):
            refused(raw, http("503 No", b"full"))
        refused(raw, http("403 No", b"you"))
        wait_line(process, "403 No")
        refused(raw, http("403 No", b"you"))
        delivered(raw, reverse, ours)
        assert len(log_lines(process, CANNOT)) == 2
        assert len(log_lines(process, "503 No")) == 1
        refused(raw, http("403 No", b"you"))
        refused(raw, http("403 No", b"you"))
        raw.accept().close()
        assert len(log_lines(process, "403 No")) == 2


def test_with_v_each_is_told(tmp_path, raw):
    with piped(tmp_path, raw.url, "-v", *QUICK) as (process, ours):
        for _ in range(4):
            refused(raw, http("503 No", b"full"))
        raw.accept().close()
        assert len(log_lines(process, "503 No")) == 4
        assert len([line for line in log_lines(process, "503 No")
                    if " warn " in line]) == 1


def test_the_tries_back_off(tmp_path, raw):
    """The waits that were told are kept, and grow."""
    with piped(tmp_path, raw.url, "-v", "--backoff-max",
               "1") as (process, ours):
        before, waits = None, []
        while max(waits, default=0) <= 300 and len(waits) < 40:
            refused(raw, http("500 No"))
            now = time.monotonic()
            if before is not None:
                # The line is written before the hang-up is seen.
                assert now - before >= waits[-1] / 1000 - 0.005
            waits.append(next_ms(wait_line(process, "500 No",
                                           len(waits) + 1)))
            before = now
        assert all(100 <= wait <= 1000 for wait in waits)
        assert waits[-1] > 300, "the first is 300 at most"


# Retry-After.

def asked(process, raw, answer, count=1):
    """Answers so, and returns the wait that is told, in ms."""
    refused(raw, answer)
    return next_ms(wait_line(process, CANNOT, count))


def retry_after(value, status="503 No"):
    return http(status, b"later", [f"Retry-After: {value}"])


def date_in(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("status", ["429 Slow", "503 No"])
def test_the_next_try_is_not_before_what_was_asked(tmp_path, raw, status):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(50)))
        peer = raw.accept()
        start = time.monotonic()
        peer.sock.sendall(retry_after(1, status))
        peer.close()
        assert next_ms(wait_line(process, CANNOT)) >= 1000
        peer = raw.accept()
        assert time.monotonic() - start >= 1
        peer.upgrade()
        for n in range(50):
            assert peer.until_opcode(TEXT) == event(n)
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(50)
        peer.close()
        # What was asked for then is not asked for now.
        raw.accept().close()
        assert next_ms(wait_line(process, "lost ")) <= 100


def test_a_wait_that_was_asked_for_ends_by_a_signal(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        assert asked(process, raw, retry_after(3000)) >= 3000000
        assert process.stop() == DONE


def test_a_wait_that_was_asked_for_ends_by_the_drain_timeout(tmp_path, raw):
    with piped(tmp_path, raw.url, "--drain-timeout", "0.3",
               *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        assert asked(process, raw, retry_after(3000)) >= 3000000
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == AGAIN


WAITS = {
    # What is asked for, and the least and the most that it may come to.
    "seconds": ("30", 30000, 30100),
    "blanks": ("  30\t", 30000, 30100),
    "zero": ("0", 0, 100),
    "one hour": ("3600", 3600000, 3600100),
    "more": ("3601", 3600000, 3600100),
    "huge": ("99999999999999999999999999", 3600000, 3600100),
    "2^32": ("4294967297", 3600000, 3600100),
    "2^64": ("18446744073709551617", 3600000, 3600100),
    "negative": ("-5", 0, 100),
    "half": ("1.5", 0, 100),
    "garbage": ("soon", 0, 100),
    "with a unit": ("30s", 0, 100),
    "empty": ("", 0, 100),
    "hostile": ("\x1b[31m\xff", 0, 100),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_is_asked_for(tmp_path, raw, name):
    value, least, most = WAITS[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        assert least <= asked(process, raw, retry_after(value)) <= most
        assert is_clean(log_lines(process, CANNOT)[0])
        if least == 0:
            raw.accept().close()


@pytest.mark.parametrize("away, least, most", [
    (100, 90000, 100100), (86400 * 400, 3600000, 3600100), (-100, 0, 100)])
def test_a_date_is_asked_for(tmp_path, raw, away, least, most):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        got = asked(process, raw, retry_after(date_in(away)))
        assert least <= got <= most


def test_a_date_that_is_none(tmp_path, raw):
    bad = date_in(100).replace(" GMT", " XYZ")
    with piped(tmp_path, raw.url, "-v", *QUICK) as (process, ours):
        for n, value in enumerate([bad, "Sun, 99 Nov 2099 99:99:99 GMT",
                                   "Sun, 06 Nov"]):
            assert asked(process, raw, retry_after(value), n + 1) <= 100


@pytest.mark.parametrize("status", ["500 No", "502 No", "401 No", "302 No",
                                    "200 OK"])
def test_it_is_asked_for_by_429_and_503_only(tmp_path, raw, status):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        assert asked(process, raw, retry_after(100, status)) <= 100
        raw.accept().close()


# Servers that nobody here wrote.

class Gate(Background):
    """python3-websockets; the first answers are refusals."""

    def __init__(self, refusals):
        super().__init__()
        self.refusals = list(refusals)
        self.messages, self.times = [], []
        self.url = f"ws://127.0.0.1:{self.port}/"

    async def process_request(self, path, headers):
        self.times.append(time.monotonic())
        return self.refusals.pop(0) if self.refusals else None

    async def handle(self, connection, path=None):
        async for message in connection:
            self.messages.append(message)

    def serving(self):
        return serve(self.handle, sock=self.listener,
                     process_request=self.process_request)


def test_websockets_refuses_and_then_does_not(tmp_path):
    refusals = [(HTTPStatus(401), {"WWW-Authenticate": "Basic"}, b"who?\n"),
                (HTTPStatus(503), {"Retry-After": "1"}, b"come again\n"),
                (HTTPStatus(404), {}, b"")]
    with Gate(refusals) as gate, \
            fed(tmp_path, gate.url, b'{"id": 0}\n{"id": 1}\n',
                *QUICK) as process:
        assert process.wait() == DONE
        wait_until(lambda: gate.messages == ['{"id": 0}', '{"id": 1}'],
                   "both events")
        assert gate.times[2] - gate.times[1] >= 1
        told = log_lines(process, CANNOT)
    assert len(told) == 3
    assert r'401 Unauthorized "who?\n"' in told[0]
    assert r'503 Service Unavailable "come again\n"' in told[1]
    assert "404 Not Found" in told[2]


@pytest.mark.parametrize("path, words", [
    ("moved", "301 Moved Permanently"), ("none", "404 Not Found"),
    ("shut", "403 Forbidden")])
def test_nginx_refuses(tmp_path, path, words):
    with RefusingNginx(tmp_path, 1) as nginx, \
            piped(tmp_path, nginx.url_of(path), "--drain-timeout", "0.5",
                  *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        line = wait_line(process, CANNOT)
        assert words in line and is_clean(line)
        if path == "moved":
            assert f"http://127.0.0.1:{nginx.port}/in" in line
            assert "not followed" in line
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == AGAIN
        assert len(log_lines(process, CANNOT)) == 1


def test_nginx_has_no_backend_and_then_has(tmp_path):
    port = free_port()
    with RefusingNginx(tmp_path, port) as nginx, \
            fed(tmp_path, nginx.url_of("in"), events_in(2),
                *QUICK) as process:
        line = wait_line(process, CANNOT)
        assert "502 Bad Gateway" in line and is_clean(line)
        with Server(tmp_path, port=port) as server:
            assert process.wait() == DONE
            server.wait_count(2)
            assert server.lines() == [event(0), event(1)]

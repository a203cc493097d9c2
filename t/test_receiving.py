"""What a server may send, and what it may not: each Close, fragments, pings,
text, lengths, and how they are cut on their way. Whatever comes, wssink goes
on, and sends again what was not confirmed.
"""

import random
import socket
import struct

import pytest

from sinks import (BINARY, CLOSE, PING, PONG, QUICK, TEXT, Reverse, event,
                   piped)
from support import DONE, frame, wait_until

CONTINUATION = 0
FIN = 0x80


def wire(opcode, payload=b"", first=FIN):
    """One frame of a server, in the shortest form."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = b"\x7e" + struct.pack(">H", size)
    else:
        length = b"\x7f" + struct.pack(">Q", size)
    return bytes([first | opcode]) + length + payload


def in_fragments(opcode, pieces, between=b""):
    """One message in fragments, and what comes between any two of them."""
    frames = []
    for n, piece in enumerate(pieces):
        first = FIN if n == len(pieces) - 1 else 0
        frames.append(wire(opcode if n == 0 else CONTINUATION, piece, first))
    return between.join(frames)


def close_of(code, reason=b""):
    return wire(CLOSE, struct.pack(">H", code) + reason)


class Stream:
    """Events in on a socketpair, one connection after the other out of it:
    each begins with the event that the one before has not confirmed."""

    def __init__(self, raw, ours):
        self.raw = raw
        self.ours = ours
        self.reverse = Reverse(ours)
        self.given = 0

    def give(self):
        self.ours.sendall(frame(event(self.given)))
        self.given += 1

    def next(self):
        """A new connection, on which all is confirmed but one event, which
        was read."""
        peer = self.raw.accept().upgrade()
        if self.given > 0:
            self.confirm(peer)
        self.give()
        assert peer.until_opcode(TEXT) == event(self.given - 1)
        peer.until_opcode(PING)
        return peer

    def confirm(self, peer):
        """What was left is the first that comes, and is confirmed."""
        assert peer.until_opcode(TEXT) == event(self.given - 1)
        peer.send(PONG, peer.until_opcode(PING))
        self.reverse.until_ack(self.given)

    def finish(self, process):
        """The last event arrives, and all is well."""
        peer = self.raw.accept().upgrade()
        self.confirm(peer)
        self.ours.shutdown(socket.SHUT_WR)
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1000)
        peer.close()
        assert process.wait() == DONE
        acks = self.reverse.acks()
        assert acks == list(range(1, self.given + 1))


# Close.

VALID = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000,
           65535]


def test_each_valid_close_is_echoed_and_told(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        for code in VALID:
            peer = stream.next()
            peer.sock.sendall(close_of(code, b"so %d" % code))
            assert peer.until_opcode(CLOSE) == struct.pack(">H", code)
            peer.close()
            process.wait_log(f'the server closed: {code} "so {code}"')
        stream.finish(process)


def test_each_invalid_close_is_a_broken_protocol(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        wires = [close_of(code) for code in INVALID]
        for n, bad in enumerate([*wires, wire(CLOSE, b"\x03")]):
            peer = stream.next()
            peer.sock.sendall(bad)
            assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1002)
            peer.close()
            wait_until(lambda n=n: process.text().count(
                "the server broke the protocol") == n + 1, "a log line")
        stream.finish(process)


REASONS = {
    "longest": b"r" * 123,
    "escape sequences": b"\x1b[31mred\x1b[0m\r\n\x07\0",
    "a line of the log": b'x"\n2026-01-31T12:00:00.123Z wssink[1] error no',
    "not ASCII": "\u00e9\u20ac\U0001f600".encode(),
    "longest, all escaped": b"\x1b" * 123,
    "format": b"%s%n%100000d",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_cannot_harm_the_log(tmp_path, raw, name):
    reason = REASONS[name]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        peer = stream.next()
        peer.sock.sendall(close_of(1011, reason))
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1011)
        peer.close()
        process.wait_log("the server closed: 1011 ")
        stream.finish(process)
        lines = process.log.read_bytes().splitlines(keepends=True)
    assert all(b"wssink[%d] " % process.pid in line for line in lines)
    assert all(len(line) <= 1024 for line in lines)
    assert all(32 <= c < 127 for line in lines for c in line[:-1])
    if name == "longest":
        assert b"r" * 123 in b"".join(lines)
    if name == "format":
        assert b'"%s%n%100000d"' in b"".join(lines)


@pytest.mark.parametrize("reason", [
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82"])
def test_a_reason_that_is_not_utf8(tmp_path, raw, reason):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        peer = stream.next()
        peer.sock.sendall(close_of(1000, reason))
        assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1007)
        peer.close()
        stream.finish(process)


def test_nothing_counts_behind_a_close(tmp_path, raw):
    """Neither an ack nor a pong, nor is a ping answered; a second Close is no
    fault."""
    for n, ack in enumerate(("pong", "app")):
        with piped(tmp_path, raw.url, "--ack", ack,
                   *QUICK) as (process, ours):
            reverse = Reverse(ours)
            peer = raw.accept().upgrade()
            ours.sendall(frame(event(n)))
            assert peer.until_opcode(TEXT) == event(n)
            number = struct.pack(">Q", 1)
            if ack == "pong":
                number = peer.until_opcode(PING)
            peer.sock.sendall(
                close_of(1012) + wire(PONG, number)
                + wire(TEXT, b'{"ack":1}') + wire(PING, b"late")
                + close_of(4000, b"second") + b"\xff" * 20)
            assert peer.until_opcode(CLOSE) == struct.pack(">H", 1012)
            peer.at_end()
            assert peer.data == b""
            peer.close()
            peer = raw.accept().upgrade()
            assert peer.until_opcode(TEXT) == event(n)
            assert reverse.acks() == []
            assert "second" not in process.text()
            peer.close()


def test_a_server_that_closes_and_stays_is_left(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ping-timeout", "3600",
               *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        peer = stream.next()
        peer.sock.sendall(close_of(1001))
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1001)
        peer.at_end()
        stream.finish(process)
        peer.close()


def test_a_close_stops_the_sending_between_two_messages(tmp_path, raw):
    """What was begun is sent whole in front of our Close, so that the server
    can read it."""
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        ours.sendall(b"".join(frame(event(n, 200000)) for n in range(30)))
        assert peer.next() == (TEXT, event(0, 200000))
        peer.sock.sendall(close_of(1001, b"enough"))
        count, opcode = 1, TEXT
        while opcode != CLOSE:
            opcode, payload = peer.next()
            if opcode == TEXT:
                assert payload == event(count, 200000)
                count += 1
        assert payload == struct.pack(">H", 1001)
        peer.at_end()
        assert peer.data == b"", "something came behind our Close"
        peer.close()


# Fragments and pings.

def test_an_ack_in_fragments_with_pings_between(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ack", "app") as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        text = b'{"ack":1}'
        for n in range(len(text) + 1):
            ours.sendall(frame(event(n)))
            assert peer.until_opcode(TEXT) == event(n)
            ack = b'{"ack":%d}' % (n + 1)
            pieces = [ack[:n], b"", ack[n:]]
            peer.sock.sendall(in_fragments(
                TEXT, pieces, wire(PING, b"%d" % n) + wire(PONG, b"idle")))
            reverse.until_ack(n + 1)
            assert peer.until_opcode(PONG) == b"%d" % n
        peer.close()


def test_a_flood_of_pings(tmp_path, raw):
    """The last is answered, those that are answered in order, and the events
    get through."""
    count, events = 10000, 200
    with piped(tmp_path, raw.url) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        for n in range(events):
            ours.sendall(frame(event(n)))
            peer.sock.sendall(b"".join(
                wire(PING, b"%0125d" % i)
                for i in range(n * count // events,
                               (n + 1) * count // events)))
        got, answered, is_pinged = 0, [], False
        while not is_pinged or answered[-1:] != [count - 1]:
            opcode, payload = peer.next()
            if opcode == TEXT:
                assert payload == event(got)
                got += 1
            elif opcode == PONG:
                answered.append(int(payload))
            elif opcode == PING:
                peer.send(PONG, payload)
                is_pinged = got == events
        assert answered == sorted(set(answered))
        reverse.until_ack(events)
        peer.close()


def test_a_message_may_have_64_kib(tmp_path, raw):
    """In one frame and in fragments; one byte more is too big, in either."""
    size = 65536
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept().upgrade()
        for whole in (wire(TEXT, b" " * size), wire(BINARY, b"\xff" * size),
                      in_fragments(TEXT, [b" " * 1024] * 64),
                      in_fragments(BINARY, [b"", b"x" * (size - 1), b"x"])):
            peer.sock.sendall(whole + wire(PING, b"and on"))
            assert peer.until_opcode(PONG) == b"and on"
        for over in (wire(BINARY, bytes(size + 1)),
                     wire(TEXT, bytes(size + 1)),
                     in_fragments(BINARY, [bytes(size), b"x"]),
                     in_fragments(BINARY, [b"x", bytes(size)]),
                     wire(BINARY, bytes(size), 0) + wire(PING)
                     + wire(CONTINUATION, b"x", 0)):
            peer.sock.sendall(over)
            assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1009)
            peer.close()
            peer = raw.accept().upgrade()
        peer.close()


# Text.

TEXTS = ["\u00e9", "\u20ac", "\U0001f600", "a\u00e9\u20ac\U0001f600z",
         "\ud7ff\ue000\uffff\U0010ffff"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_may_be_cut_anywhere(tmp_path, raw, text):
    data = text.encode()
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        for at in range(len(data) + 1):
            peer.sock.sendall(in_fragments(
                TEXT, [data[:at], data[at:]], wire(PING, b"in")))
        peer.sock.sendall(in_fragments(
            TEXT, [bytes([byte]) for byte in data]))
        peer.send(PING, b"behind")
        while peer.until_opcode(PONG) != b"behind":
            pass
        peer.close()
    assert "broke" not in process.text()


BAD_TEXTS = [b"\x80", b"\xc3", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xbf\xbf",
             b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
             b"ok \xe2\x82", b"\xc3("]


def test_text_that_is_not_utf8_cut_anywhere(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        for bad in BAD_TEXTS:
            peer = stream.next()
            peer.sock.sendall(in_fragments(
                TEXT, [bad[:1], bad[1:]], wire(PING, b"in")))
            assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1007)
            peer.close()
        stream.finish(process)


def test_binary_need_not_be_utf8(tmp_path, raw):
    with piped(tmp_path, raw.url) as (process, ours):
        peer = raw.accept().upgrade()
        for bad in BAD_TEXTS:
            peer.sock.sendall(in_fragments(BINARY, [bad[:1], bad[1:]]))
        peer.send(PING, b"behind")
        assert peer.until_opcode(PONG) == b"behind"
        peer.close()


# Frames that may not be.

BROKEN = {
    "a continuation of nothing": wire(CONTINUATION, b"x"),
    "a last continuation of nothing": wire(CONTINUATION, b"x", 0),
    "a continuation behind a whole message":
        wire(TEXT, b"x") + wire(CONTINUATION, b"y"),
    "a text within a text": wire(TEXT, b"x", 0) + wire(TEXT, b"y"),
    "a binary within a text": wire(TEXT, b"x", 0) + wire(BINARY, b"y", 0),
    **{f"RSV{4 - bit} on {name}": wire(opcode, b"", FIN | 8 << bit)
       for bit in (1, 2, 3)
       for name, opcode in (("text", TEXT), ("ping", PING),
                            ("close", CLOSE))},
    **{f"opcode {n}": wire(n, b"") for n in (4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a masked ping": b"\x89\x80abcd",
    "a masked close": b"\x88\x82\0\0\0\0\x03\xe8",
    "a pong of 126": wire(PONG, bytes(126)),
    "a close of 126": wire(CLOSE, b"\x03\xe8" + bytes(124)),
    "a pong of 64 bit length": b"\x8a\x7f" + struct.pack(">Q", 1) + b"x",
    "a pong in fragments": wire(PONG, b"", 0),
    "a close in fragments": wire(CLOSE, b"\x03\xe8", 0),
    "125 in 16 bits": b"\x82\x7e" + struct.pack(">H", 125) + bytes(125),
    "65535 in 64 bits": b"\x82\x7f" + struct.pack(">Q", 65535),
    "64 bits, top bit": b"\x82\x7f" + struct.pack(">Q", 1 << 63),
    "64 bits, all ones": b"\x82\x7f" + b"\xff" * 8,
    "an answer of HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
TOO_BIG = {
    "63 bits, all ones": b"\x82\x7f\x7f" + b"\xff" * 7,
    "4 GiB and 1": b"\x81\x7f" + struct.pack(">Q", (1 << 32) + 1),
}


@pytest.mark.parametrize("part", range(4))
def test_frames_that_may_not_be(tmp_path, raw, part):
    """Each is answered with its code, and nothing behind it counts."""
    cases = [(b, 1002) for b in BROKEN.values()] \
        + [(b, 1009) for b in TOO_BIG.values()]
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        for bad, code in cases[part::4]:
            peer = stream.next()
            peer.sock.sendall(
                bad + b"".join(wire(PONG, struct.pack(">Q", n))
                               for n in range(1, 5)) + close_of(1000))
            assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", code)
            peer.close()
        stream.finish(process)
    assert process.text().count("broke the protocol") == len(cases[part::4])


# How it is cut on its way.

def one_by_one(sock, data):
    """A packet a byte, as far as the system goes along."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for n in range(len(data)):
        sock.sendall(data[n:n + 1])


def test_one_byte_at_a_time(tmp_path, raw):
    with piped(tmp_path, raw.url, "--ack", "app", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        peer = raw.accept()
        one_by_one(peer.sock, peer.response())
        assert peer.until_opcode(TEXT) == event(0)
        one_by_one(peer.sock, wire(BINARY, bytes(300))
                   + in_fragments(TEXT, [b'{"a', b'ck":', b'1}'],
                                  wire(PING, b"between"))
                   + close_of(1012, "s\u00e9".encode()))
        reverse.until_ack(1)
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1012)
        peer.close()
        raw.accept().close()
        process.wait_log(r'the server closed: 1012 "s\xc3\xa9"')


def test_frames_in_the_packet_of_the_101(tmp_path, raw):
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        peer = raw.accept()
        peer.sock.sendall(peer.response() + wire(TEXT, b"welcome")
                          + wire(PING, b"at once"))
        assert peer.until_opcode(PONG) == b"at once"
        peer.close()
        ours.sendall(frame(event(0)))
        peer = raw.accept()
        peer.sock.sendall(peer.response() + close_of(1013, b"full"))
        assert peer.until_opcode(CLOSE) == struct.pack(">H", 1013)
        peer.close()
        peer = raw.accept()
        peer.sock.sendall(peer.response() + b"\xff")
        assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1002)
        peer.close()
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        peer.close()
        process.wait_log('the server closed: 1013 "full"')


def test_an_ack_before_anything_was_sent(tmp_path, raw):
    """In the packet of the 101: it is no ack of what comes later."""
    with piped(tmp_path, raw.url, "--ack", "app", *QUICK) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept()
        peer.sock.sendall(peer.response() + wire(TEXT, b'{"ack":1}'))
        assert peer.until_opcode(CLOSE)[:2] == struct.pack(">H", 1002)
        peer.close()
        ours.sendall(frame(event(0)))
        peer = raw.accept().upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        peer.send(TEXT, b'{"ack":1}')
        assert reverse.until_ack(1) == [1]
        peer.close()


def test_a_server_that_sends_anything(tmp_path, raw):
    """Random bytes, and sound frames with some bytes changed."""
    rng = random.Random(7)
    sound = (wire(TEXT, b'{"ack":1}') + wire(PING, b"abc")
             + in_fragments(BINARY, [b"abc", b"", bytes(200)]))
    with piped(tmp_path, raw.url, *QUICK) as (process, ours):
        stream = Stream(raw, ours)
        for n in range(40):
            peer = stream.next()
            data = bytearray(sound if n % 2 else rng.randbytes(300))
            for _ in range(3):
                data[rng.randrange(len(data))] = rng.randrange(256)
            peer.sock.sendall(data)
            peer.close()
        stream.finish(process)

"""Where wssink connects to, and how it names it: addresses, names, ports, what
else stands in a URL, and listeners that are not there or do not accept.
"""

import contextlib
import errno
import socket
from pathlib import Path

import pytest

from sinks import (PING, PONG, QUICK, TEXT, Peer, RawServer, Reverse, basic,
                   event, fed, listen, piped, usage)
from support import DONE, FINAL, PATIENCE, frame, wait_until
from tls import Certificates, TlsServer, server_side


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls"))


def peer_of(tmp_path, listener, url, *options):
    """What came when wssink was told this URL; {} is the port."""
    with fed(tmp_path, url.format(listener.port), b"1\n", *options,
             *QUICK) as process:
        peer = listener.accept().upgrade()
        assert peer.until_opcode(TEXT) == b"1"
        peer.close()
        assert "cannot connect" not in process.text(), "not the first try"
        return peer


# Addresses and names of this machine.

REACHED = [
    ("127.0.0.1", "ws://127.0.0.1:{}/", "127.0.0.1"),
    ("127.0.0.1", "ws://localhost:{}/", "localhost"),
    ("127.0.0.1", "WS://LOCALHOST:{}/", "LOCALHOST"),
    ("127.0.0.1", "ws://127.1:{}/", "127.0.0.1"),
    ("127.0.0.1", "ws://[::ffff:127.0.0.1]:{}/", "[::ffff:127.0.0.1]"),
    ("::1", "ws://[::1]:{}/", "[::1]"),
    ("::1", "ws://[0:0:0:0:0:0:0:1]:{}/", None),
    ("::1", "ws://[::1%25lo]:{}/", "[::1]"),
    ("::1", "ws://localhost:{}/", "localhost"),
]


@pytest.mark.parametrize("address, url, host", REACHED)
def test_an_address_or_name_is_reached(tmp_path, address, url, host):
    """At the first try, also where the name has one more address at which
    nobody listens. The Host header has no zone: RFC 6874, section 4."""
    with RawServer(address) as listener:
        peer = peer_of(tmp_path, listener, url)
        if host:
            assert peer.header("Host") == f"{host}:{listener.port}"
        assert peer.request.startswith("GET / HTTP/1.1\r\n")


@contextlib.contextmanager
def full(listener):
    """No connection more is answered: whoever knocks hears nothing. Gives the
    connections that fill it."""
    where = listener.getsockname()
    knocking = []
    try:
        while True:
            sock = socket.socket(listener.family)
            knocking.append(sock)
            # On loopback one that is answered is so at once.
            sock.settimeout(0.3)
            try:
                sock.connect(where)
            except TimeoutError:
                break
            assert len(knocking) < 100, "its queue has no end"
        yield knocking
    finally:
        for sock in knocking:
            sock.close()


def both_addresses():
    """A port that is free on ::1 and on 127.0.0.1: a listener on each."""
    for _ in range(20):
        six = listen("::1", backlog=0)
        try:
            return six, RawServer("127.0.0.1", six.getsockname()[1])
        except OSError as error:
            six.close()
            if error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("no port that is free on both")


def test_an_address_that_does_not_answer_does_not_hold_up_the_other(tmp_path):
    six, four = both_addresses()
    with six, four, full(six):
        with fed(tmp_path, f"ws://localhost:{four.port}/", b"1\n",
                 *QUICK) as process:
            peer = four.accept().upgrade()
            assert peer.until_opcode(TEXT) == b"1"
            assert "cannot connect" not in process.text()
            peer.close()


def test_a_listener_that_does_not_accept(tmp_path):
    """The connect timeout ends each try; once there is room, one succeeds."""
    with listen(backlog=0) as listener:
        listener.settimeout(PATIENCE)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        with full(listener) as knocking, \
                piped(tmp_path, url, "--connect-timeout", "0.4",
                      *QUICK) as (process, ours):
            reverse = Reverse(ours)
            ours.sendall(frame(event(0)))
            process.wait_log(f"cannot connect to {url}: ")
            assert "time" in process.text().lower()
            assert reverse.until(lambda m: "breaker" in m)["breaker"] == "open"
            for sock in knocking:
                sock.close()
            peer = first_that_asks(listener).upgrade()
            assert peer.until_opcode(TEXT) == event(0)
            peer.send(PONG, peer.until_opcode(PING))
            assert reverse.until_ack(1) == [1]
            peer.close()


def first_that_asks(listener):
    """The first connection that is no leftover."""
    while True:
        sock = listener.accept()[0]
        with contextlib.suppress(EOFError, ConnectionResetError):
            return Peer(sock)
        sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_nobody_listens(tmp_path, host):
    with RawServer("::1" if host == "[::1]" else "127.0.0.1") as listener:
        port = listener.port
    url = f"ws://{host}:{port}/"
    with fed(tmp_path, url, b"1\n", *QUICK) as process:
        process.wait_log(f"cannot connect to {url}: Failed to connect to")
        assert process.stop() == DONE
        assert process.text().count("trying on") == 1


def test_a_zone_that_is_not_there(tmp_path):
    with fed(tmp_path, "ws://[fe80::1%25nowhere]:1/", b"1\n",
             *QUICK) as process:
        wait_until(lambda: not process.is_running()
                   or "cannot connect to ws://[fe80::1" in process.text(),
                   "a refusal")
        assert process.is_running() or process.wait() == FINAL


# What is said of a name. Through a proxy of ours, so that nobody is asked for
# names that only look real.

def asked(tmp_path, raw, url, *options):
    """What the proxy is asked for, and then the server."""
    with fed(tmp_path, url, b"1\n", "--proxy", f"http://127.0.0.1:{raw.port}",
             *options, *QUICK) as process:
        peer = raw.accept()
        tunnel = peer.request.split("\r\n")[0]
        peer.tunnel().upgrade()
        process.wait_log("connected to")
        peer.close()
        return tunnel, peer, process.text()


NAMED = [
    ("ws://a.invalid", "a.invalid:80", "a.invalid"),
    ("ws://a.invalid/", "a.invalid:80", "a.invalid"),
    ("ws://a.invalid:/", "a.invalid:80", "a.invalid"),
    ("ws://a.invalid:80/", "a.invalid:80", "a.invalid"),
    ("ws://a.invalid:443/", "a.invalid:443", "a.invalid:443"),
    ("ws://a.invalid:81/", "a.invalid:81", "a.invalid:81"),
    ("ws://a.invalid:65535/", "a.invalid:65535", "a.invalid:65535"),
    ("ws://A.Invalid/", "A.Invalid:80", "A.Invalid"),
    ("ws://a_b.invalid/", "a_b.invalid:80", "a_b.invalid"),
    ("ws://xn--bcher-kva.invalid/", "xn--bcher-kva.invalid:80",
     "xn--bcher-kva.invalid"),
    ("ws://[2001:db8::1]/", "[2001:db8::1]:80", "[2001:db8::1]"),
    ("ws://[2001:db8::1]:81/", "[2001:db8::1]:81", "[2001:db8::1]:81"),
]


@pytest.mark.parametrize("url, tunnel, host", NAMED)
def test_the_host_header(tmp_path, raw, url, tunnel, host):
    """It has no port where that is the scheme's own."""
    line, peer, _ = asked(tmp_path, raw, url)
    assert line == f"CONNECT {tunnel} HTTP/1.1"
    assert peer.header("Host") == host


def test_a_dot_at_the_end_of_a_name(tmp_path, raw):
    """It ends the search for a name and is no part of it; that the Host
    header has it or not is left to libcurl."""
    line, peer, _ = asked(tmp_path, raw, "ws://a.invalid.:81/")
    assert line in ("CONNECT a.invalid.:81 HTTP/1.1",
                    "CONNECT a.invalid:81 HTTP/1.1")
    assert peer.header("Host") in ("a.invalid.:81", "a.invalid:81")


TARGETS = [
    ("", "/"), ("/", "/"), ("?a=1&b=2", "/?a=1&b=2"), ("/a/b", "/a/b"),
    ("/a//b/", "/a//b/"), ("/%7Ea%2Fb", "/%7Ea%2Fb"), ("/a;p=1?q?r",
                                                      "/a;p=1?q?r"),
    ("/in?to=k%20n%26", "/in?to=k%20n%26"), ("/a:b@c", "/a:b@c"),
    ("/\u00fc", "/%c3%bc"), ("/?\u00fc", "/?%c3%bc"),
]


@pytest.mark.parametrize("end, target", TARGETS)
def test_the_target(tmp_path, raw, end, target):
    with fed(tmp_path, f"ws://127.0.0.1:{raw.port}{end}", b"1\n", *QUICK):
        peer = raw.accept()
        assert peer.request.split("\r\n")[0] == f"GET {target} HTTP/1.1"
        peer.close()


def test_a_query_is_sent_and_not_logged(tmp_path, raw):
    _, peer, text = asked(tmp_path, raw, "ws://a.invalid/in?token=sesame",
                          "-v")
    assert peer.request.startswith("GET /in?token=sesame HTTP/1.1\r\n")
    assert "sesame" not in text
    assert "connected to ws://a.invalid/in?..." in text


USERS = [
    ("me:s3cret", b"me:s3cret"), ("me:", b"me:"), ("me", b"me:"),
    (":s3cret", b":s3cret"), ("m%40e:s%3A%2F%25cret", b"m@e:s:/%cret"),
    ("me:s%C3%BC3cret", "me:s\u00fc3cret".encode()),
    ("me:a:b", b"me:a:b"),
]


@pytest.mark.parametrize("user, wanted", USERS)
def test_the_user_in_the_url(tmp_path, raw, user, wanted):
    url = f"ws://{user}@127.0.0.1:{raw.port}/"
    with fed(tmp_path, url, b"1\n", "-v", *QUICK) as process:
        peer = raw.accept()
        assert peer.header("Authorization") == basic(wanted)
        assert peer.header("Host") == f"127.0.0.1:{raw.port}"
        peer.upgrade()
        process.wait_log(f"connected to ws://127.0.0.1:{raw.port}/")
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"@127.0.0.1" in line and b"cret" not in line
        assert "cret" not in process.text()
        assert basic(wanted).split()[1] not in process.text()
        peer.close()


def test_no_user_in_the_url(tmp_path, raw):
    with fed(tmp_path, raw.url, b"1\n", *QUICK):
        peer = raw.accept()
        assert peer.header("Authorization") is None
        peer.close()


# Names and TLS.

@pytest.mark.parametrize("host, named", [
    ("localhost", "localhost"), ("LOCALHOST", "localhost"),
    ("127.0.0.1", None), ("[::1]", None)])
def test_the_server_is_told_the_name(tmp_path, certificates, host, named):
    """By SNI, which is for names only (RFC 6066, section 3)."""
    names = []
    context = server_side(certificates.get("good"))
    context.sni_callback = lambda _, name, __: names.append(name)
    with TlsServer(context, host="::1" if host[0] == "[" else "127.0.0.1") \
            as server:
        with fed(tmp_path, f"wss://{host}:{server.port}/", b"1\n", "--cacert",
                 certificates.root.crt) as process:
            assert process.wait() == DONE
    assert [n and n.lower() for n in names] == [named]


@pytest.mark.parametrize("host, fits", [
    ("other.invalid", True), ("OTHER.invalid", True), ("other.invalid.", True),
    ("x.other.invalid", False), ("invalid", False),
    ("other.invalid.example.invalid", False)])
def test_the_name_in_the_certificate(tmp_path, certificates, raw, host, fits):
    context = server_side(certificates.get("other host"))
    with fed(tmp_path, f"wss://{host}/", b"1\n", "--cacert",
             certificates.root.crt, "--proxy", f"http://127.0.0.1:{raw.port}",
             *QUICK) as process:
        peer = raw.accept()
        peer.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError, EOFError):
            inner = Peer(context.wrap_socket(peer.sock, server_side=True))
            assert fits, "the request was sent"
            inner.upgrade()
            process.wait_log(f"connected to wss://{host}/")
            inner.close()
            return
        assert not fits
        process.wait_log("alternative certificate subject name")
        peer.close()


# Refused at the start.

@pytest.mark.parametrize("url, words", [
    ("ws:a.invalid", "does not begin with ws://"),
    ("ws:///in", "no host"),
    ("ws://", "host"),
    ("ws://:80/", "host"),
    ("ws://me@/", "host"),
    ("ws://[::1", "IPv6"),
    ("ws://[::g]/", "IPv6"),
    ("ws://[1.2.3.4]/", "IPv6"),
    ("ws://[::1]x/", "-u: "),
    ("ws://a.invalid:65536/", "Port number"),
    ("ws://a.invalid:-1/", "Port number"),
    ("ws://a.invalid:1:2/", "Port number"),
    ("ws://a.invalid:x/", "Port number"),
    ("ws://a b.invalid/", "-u: "),
    ("ws://a%00.invalid/", "hostname"),
    ("ws://a\\b.invalid/", "hostname"),
    ("ws://a.invalid/\n", "-u: "),
    ("ws://a.invalid/\x01", "-u: "),
    ("ws://a.invalid/#f", "no fragment"),
    ("ws://a\r\nX: y.invalid/", "-u: "),
])
def test_a_url_that_is_none(url, words):
    assert words in usage("-u", url)


def test_a_name_that_is_not_ascii_is_to_be_written_so():
    assert "not ASCII: write it as xn--" in usage(
        "-u", "ws://b\u00fccher.invalid/")


def test_a_name_as_the_dns_has_it_is_asked_for(tmp_path, raw):
    with fed(tmp_path, "ws://xn--bcher-kva.invalid/", b"1\n", "--proxy",
             f"http://127.0.0.1:{raw.port}", *QUICK):
        peer = raw.accept()
        assert peer.request.startswith("CONNECT xn--bcher-kva.invalid:80 ")
        peer.close()

"""wssink through a proxy: a real one, which is asked for a tunnel, named by an
option or the environment, that wants a password, fails and comes back.
"""

import contextlib
import socket
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from flow import WINDOW, outlive
from proxies import Tinyproxy
from sinks import (QUICK, TEXT, Peer, Reverse, basic, event, fed, ids_of,
                   piped)
from support import DONE, FINAL, Server, frame, free_port, wait_until
from tls import (Certificates, Relay, TlsServer,
                 can_replace_system_authorities, old_server_side, server_side,
                 with_system_authorities)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def proxy(tmp_path):
    with Tinyproxy(tmp_path) as running:
        yield running


@pytest.fixture
def guarded(tmp_path):
    """A proxy that wants a user and a password."""
    with Tinyproxy(tmp_path, "BasicAuth me s3cret") as running:
        yield running


def tunnels_to(proxy, server):
    """How often the proxy was asked for a tunnel there."""
    wanted = f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"
    return proxy.requests().count(wanted)


# Through it.

def test_ws_goes_through_a_tunnel(tmp_path, proxy, server):
    with piped(tmp_path, server.url, "--proxy",
               proxy.url) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(500)))
        ours.shutdown(socket.SHUT_WR)
        reverse.until_ack(500)
        assert process.wait() == DONE
    assert ids_of(server.events()) == list(range(500))
    assert tunnels_to(proxy, server) == 1


def test_wss_goes_through_a_tunnel(tmp_path, proxy, certificates):
    """It is the server's certificate that counts."""
    with TlsServer(server_side(certificates.get("good"))) as server:
        with fed(tmp_path, server.url, b"1\n2\n", "--proxy", proxy.url,
                 "--cacert", certificates.root.crt) as process:
            assert process.wait() == DONE
        wait_until(lambda: server.messages == ["1", "2"], "both messages")
        assert tunnels_to(proxy, server) == 1


def test_wss_through_a_tunnel_is_checked(tmp_path, proxy, certificates):
    with TlsServer(server_side(certificates.get("other host"))) as server:
        with fed(tmp_path, server.url, b"1\n", "--proxy", proxy.url,
                 "--cacert", certificates.root.crt) as process:
            process.wait_log("alternative certificate subject name")
        assert server.seen_bytes == 0


def test_much_goes_through_a_tunnel(tmp_path, proxy, server):
    sizes = [1, 65535, 4 << 20, 70000] + [300] * 2000
    data = b"".join(event(n, size) + b"\n" for n, size in enumerate(sizes))
    with fed(tmp_path, server.url, data, "--proxy", proxy.url) as process:
        assert process.wait() == DONE
    assert ids_of(server.events()) == list(range(len(sizes)))


def test_the_request_does_not_tell_the_proxy_what_is_for_the_server(
        tmp_path, raw):
    """The server's user and headers stand in the tunnel only, the proxy's
    user only in front of it."""
    (tmp_path / "headers").write_text("X-Token: sesame\n")
    with fed(tmp_path, "ws://you:there@example.invalid:81/in", b"1\n",
             "--header-file", tmp_path / "headers", "--proxy",
             f"http://me:s3cret@127.0.0.1:{raw.port}", *QUICK):
        peer = raw.accept()
        assert peer.request.startswith(
            "CONNECT example.invalid:81 HTTP/1.1\r\n")
        assert peer.header("Proxy-Authorization") == basic("me:s3cret")
        assert peer.header("Authorization") is None
        assert peer.header("X-Token") is None
        assert peer.header("Host") == "example.invalid:81"
        peer.tunnel()
        assert peer.request.startswith("GET /in HTTP/1.1\r\n")
        assert peer.header("Authorization") == basic("you:there")
        assert peer.header("X-Token") == "sesame"
        assert peer.header("Proxy-Authorization") is None
        assert peer.upgrade().until_opcode(TEXT) == b"1"
        peer.close()


# Its user and password.

def assert_kept(process, *secrets):
    """None of these is in the log."""
    for secret in secrets:
        assert secret not in process.text()


def by_url(guarded, tmp_path, user="me:s3cret"):
    return ["--proxy", f"http://{user}@127.0.0.1:{guarded.port}"]


def by_address(guarded, tmp_path, user="me:s3cret"):
    """A URL needs no scheme."""
    return ["--proxy", f"{user}@127.0.0.1:{guarded.port}"]


def by_file(guarded, tmp_path, user="me:s3cret"):
    (tmp_path / "auth").write_text(f"{user}\nmore\n")
    return ["--proxy", guarded.url, "--proxy-auth-file", tmp_path / "auth"]


@pytest.mark.parametrize("way", [by_url, by_address, by_file])
def test_a_proxy_that_wants_a_password(tmp_path, guarded, server, way):
    with piped(tmp_path, server.url, "-v", *way(guarded, tmp_path),
               *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        Reverse(ours).until_ack(1)
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"--proxy" in line and b"s3cret" not in line
        assert_kept(process, "s3cret", "bWU6czNjcmV0")
    assert tunnels_to(guarded, server) == 1


@pytest.mark.parametrize("way", [by_url, by_file])
def test_a_wrong_password_is_told_and_tried_on(tmp_path, guarded, server,
                                               way):
    """This proxy says 401 to a wrong one."""
    with fed(tmp_path, server.url, b"1\n", "-v",
             *way(guarded, tmp_path, "me:wr0ng"), *QUICK) as process:
        process.wait_log("response 401")
        wait_until(lambda: tunnels_to(guarded, server) >= 3, "three tries")
        assert server.lines() == []
        assert_kept(process, "wr0ng", "bWU6d3Iwbmc")
        assert process.text().count("trying on") == 1


def test_no_password_for_a_proxy_that_wants_one(tmp_path, guarded, server):
    with fed(tmp_path, server.url, b"1\n", "--proxy", guarded.url,
             *QUICK) as process:
        process.wait_log("response 407")
        wait_until(lambda: tunnels_to(guarded, server) >= 3, "three tries")
        assert server.lines() == []
        assert process.text().count("trying on") == 1


def test_the_file_of_the_password_is_read_at_each_try(tmp_path, guarded,
                                                      server):
    with fed(tmp_path, server.url, b"1\n",
             *by_file(guarded, tmp_path, "me:wr0ng"), *QUICK) as process:
        process.wait_log("cannot connect")
        (tmp_path / "new").write_text("me:s3cret\n")
        (tmp_path / "new").rename(tmp_path / "auth")
        assert process.wait() == DONE
    assert server.lines() == [b"1"]


def test_a_bad_file_of_the_password_later_on(tmp_path, guarded):
    """What was read last is used, with a warning."""
    with Server(tmp_path) as server, \
            piped(tmp_path, server.url, *by_file(guarded, tmp_path),
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        reverse.until_ack(1)
        (tmp_path / "auth").unlink()
        server.restart()
        ours.sendall(frame(event(1)))
        reverse.until_ack(2)
        process.wait_log(str(tmp_path / "auth"))


@pytest.mark.parametrize("data", [None, "", "no colon\n", "\nme:s3cret\n"])
def test_a_bad_file_of_the_password_at_the_start(tmp_path, raw, data):
    if data is not None:
        (tmp_path / "auth").write_text(data)
    with fed(tmp_path, "ws://example.invalid/", b"1\n", "--proxy", raw.url[5:],
             "--proxy-auth-file", tmp_path / "auth") as process:
        assert process.wait() == FINAL
        assert str(tmp_path / "auth") in process.text()
        assert process.text().count("\n") == 1


@pytest.mark.parametrize("password", ["p@ss:w/rd%", "p\u00e4ss", ""])
@pytest.mark.parametrize("way", ["url", "file"])
def test_a_password_of_any_characters(tmp_path, raw, way, password):
    (tmp_path / "auth").write_text(f"me:{password}\n")
    options = ["--proxy", f"http://127.0.0.1:{raw.port}", "--proxy-auth-file",
               tmp_path / "auth"]
    if way == "url":
        user = f"me:{quote(password, safe='')}"
        options = ["--proxy", f"http://{user}@127.0.0.1:{raw.port}"]
    with fed(tmp_path, "ws://example.invalid/", b"1\n", *options, *QUICK):
        peer = raw.accept()
        assert peer.header("Proxy-Authorization") == basic(f"me:{password}")
        peer.close()


# URLs of which libcurl would say only with each try, all of it shown, that it
# does not understand them.
ODD = ["ftp://me:s3cret@127.0.0.1:1", "http://me:s3/cret@127.0.0.1:1",
       "http://me:s3cret@127.0.0.1:1x", "me:s3cret@[::1"]


@pytest.mark.parametrize("url", ODD)
def test_a_url_of_a_proxy_that_is_none(tmp_path, url):
    with fed(tmp_path, "ws://example.invalid/", b"1\n", "--proxy",
             url) as process:
        assert process.wait() == FINAL
        assert "error --proxy: " in process.text()
        assert process.text().count("\n") == 1
        assert_kept(process, "me:", "s3", "cret")


# The environment.

BOTH = ["http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"]
NAMED = [("ws", name, name not in ("https_proxy", "HTTPS_PROXY"))
         for name in BOTH]
NAMED += [("wss", name, name != "http_proxy") for name in BOTH]
# A CGI program's HTTP_PROXY is what a client of the web server wrote.
NAMED += [("ws", "HTTP_PROXY", False), ("wss", "HTTP_PROXY", False)]


@pytest.mark.parametrize("scheme, name, is_used", NAMED)
def test_the_environment_names_the_proxy(tmp_path, proxy, certificates,
                                         scheme, name, is_used):
    context = server_side(certificates.get("good")) if scheme == "wss" else \
        None
    with TlsServer(context) as server:
        with fed(tmp_path, server.url, b"1\n", "--cacert",
                 certificates.root.crt,
                 environment={name: proxy.url}) as process:
            assert process.wait() == DONE
        wait_until(lambda: server.messages == ["1"], "the message")
        assert tunnels_to(proxy, server) == is_used


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("hosts, is_used", [
    ("127.0.0.1", False), ("*", False), ("a.invalid, 127.0.0.1", False),
    ("127.0.0.0/8", False), ("a.invalid", True), ("", True)])
def test_hosts_that_need_no_proxy(tmp_path, proxy, server, name, hosts,
                                  is_used):
    with fed(tmp_path, server.url, b"1\n", environment={
            "http_proxy": proxy.url, name: hosts}) as process:
        assert process.wait() == DONE
    assert server.lines() == [b"1"]
    assert tunnels_to(proxy, server) == is_used


def test_the_option_goes_before_the_environment(tmp_path, proxy, server):
    nobody = f"http://127.0.0.1:{free_port()}"
    with fed(tmp_path, server.url, b"1\n", "--proxy", proxy.url,
             environment={"http_proxy": nobody}) as process:
        assert process.wait() == DONE
    assert tunnels_to(proxy, server) == 1


def test_a_host_that_needs_no_proxy_needs_none_of_the_option(tmp_path, raw,
                                                             server):
    """As with curl(1)."""
    with fed(tmp_path, server.url, b"1\n", "--proxy",
             f"http://127.0.0.1:{raw.port}",
             environment={"NO_PROXY": "127.0.0.1"}) as process:
        assert process.wait() == DONE
    assert server.lines() == [b"1"]


def test_the_password_of_the_environment_is_used_and_kept(tmp_path, guarded,
                                                          server):
    with fed(tmp_path, server.url, b"1\n", "-v", environment={
            "http_proxy": by_url(guarded, tmp_path)[1]}) as process:
        assert process.wait() == DONE
        assert_kept(process, "s3cret", "bWU6czNjcmV0")
    assert tunnels_to(guarded, server) == 1


@pytest.mark.parametrize("url", ODD)
def test_a_url_of_the_environment_that_is_none(tmp_path, url):
    with fed(tmp_path, "ws://example.invalid/", b"1\n", "-v",
             environment={"http_proxy": url}) as process:
        process.wait_log("the URL of the proxy cannot be used")
        assert_kept(process, "me:", "s3", "cret")


# A proxy that fails.

def test_a_proxy_that_is_away_at_the_start(tmp_path, server):
    with Tinyproxy(tmp_path) as proxy:
        proxy.kill()
        with fed(tmp_path, server.url, b"1\n", "--proxy", proxy.url,
                 *QUICK) as process:
            process.wait_log("cannot connect to ws://127.0.0.1:")
            assert str(proxy.port) in process.text(), "which is not told"
            proxy.start()
            assert process.wait() == DONE
    assert server.lines() == [b"1"]


def test_a_proxy_killed_while_events_flow(tmp_path, proxy, server):
    """Nothing is missing: the answer to a ping comes from the server, and
    what the proxy held is sent again."""
    kills, total = 2, 4 * WINDOW
    with piped(tmp_path, server.url, "--proxy", proxy.url,
               *QUICK) as (process, ours):
        reverse = Reverse(ours)

        def bounce():
            proxy.kill()
            reverse.until(lambda m: m.get("breaker") == "open")
            proxy.start()

        outlive(ours, reverse, total,
                [WINDOW * n for n in range(1, kills + 1)], bounce)
        assert process.wait() == DONE
    # The order is that of each connection: the server still reads what is
    # left of one while the next has begun.
    assert set(ids_of(server.events())) == set(range(total))
    assert reverse.breaker().count("closed") == kills + 1


def test_what_a_killed_proxy_held_is_lost_at_ack_level_write(tmp_path, proxy,
                                                             raw):
    """The negative control of the test above: a server that reads nothing,
    so that what was acked is in the proxy and the sockets."""
    with piped(tmp_path, raw.url, "--proxy", proxy.url, "--ack", "write",
               *QUICK) as (process, ours):
        reverse = Reverse(ours)
        peer = raw.accept().upgrade()
        ours.sendall(b"".join(frame(event(n, 200)) for n in range(100)))
        reverse.until_ack(100)
        proxy.kill()
        peer.close()
        proxy.start()
        peer = raw.accept().upgrade()
        ours.sendall(frame(event(100)))
        assert peer.until_opcode(TEXT) == event(100), "one was sent again"
        peer.close()


def test_a_server_that_the_proxy_does_not_reach(tmp_path, proxy):
    port = free_port()
    with fed(tmp_path, f"ws://127.0.0.1:{port}/", b"1\n", "--proxy",
             proxy.url, *QUICK) as process:
        process.wait_log("CONNECT tunnel failed, response 500")
        with Server(tmp_path, port=port) as server:
            assert process.wait() == DONE
            assert server.lines() == [b"1"]


def test_a_name_that_the_proxy_does_not_know(tmp_path, proxy):
    """Names are the proxy's to look up."""
    with fed(tmp_path, "ws://nobody.invalid/", b"1\n", "--proxy",
             proxy.url, *QUICK) as process:
        process.wait_log("CONNECT tunnel failed, response 500")
        assert "CONNECT nobody.invalid:80 HTTP/1.1" in proxy.requests()


def test_a_port_that_the_proxy_does_not_allow(tmp_path, server):
    with Tinyproxy(tmp_path, "ConnectPort 1") as proxy, \
            fed(tmp_path, server.url, b"1\n", "--proxy", proxy.url,
                *QUICK) as process:
        process.wait_log("CONNECT tunnel failed, response 403")
        assert server.lines() == []


def test_a_name_of_the_proxy_that_nobody_knows(tmp_path):
    with fed(tmp_path, "ws://127.0.0.1:1/", b"1\n", "--proxy",
             "http://nobody.invalid:81", *QUICK) as process:
        process.wait_log("Could not resolve proxy: nobody.invalid")


ANSWERS = {
    "503": (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\n"
            b"soon", "503"),
    "407": (b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b"Proxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n", "407"),
    "302": (b"HTTP/1.1 302 Found\r\nLocation: http://example.invalid/\r\n"
            b"Content-Length: 0\r\n\r\n", "302"),
    "nothing": (b"", "Proxy CONNECT aborted|Empty reply|closed"),
    "no HTTP": (b"\x16\x03\x01 what?\r\n\r\n", "cannot connect"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_proxy_that_refuses_and_later_does_not(tmp_path, raw, name):
    answer, words = ANSWERS[name]
    with fed(tmp_path, "ws://example.invalid:81/", b"1\n", "--proxy",
             f"http://127.0.0.1:{raw.port}", *QUICK) as process:
        peer = raw.accept()
        peer.sock.sendall(answer)
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_WR)
        peer.at_end()
        assert b"GET" not in peer.data
        peer.close()
        wait_until(lambda: any(w in process.text() for w in words.split("|")),
                   f"{words} in the log")
        assert "trying on" in process.text()
        peer = raw.accept()
        peer.tunnel()
        assert peer.upgrade().until_opcode(TEXT) == b"1"
        peer.close()


def test_a_proxy_that_does_not_answer(tmp_path, raw):
    with fed(tmp_path, "ws://example.invalid:81/", b"1\n", "--proxy",
             f"http://127.0.0.1:{raw.port}", "--connect-timeout", "0.4",
             *QUICK) as process:
        peer = raw.accept()
        again = raw.accept()
        process.wait_log("cannot connect")
        assert "time" in process.text().lower()
        peer.close()
        again.close()


def test_the_server_s_first_frames_with_the_proxy_s_answer(tmp_path, raw):
    """What stands behind the end of an answer is not lost, wherever the
    packets are cut."""
    with piped(tmp_path, "ws://example.invalid:81/", "--ack", "app", "--proxy",
               f"http://127.0.0.1:{raw.port}", *QUICK) as (process, ours):
        peer = raw.accept()
        for byte in b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n":
            peer.sock.sendall(bytes([byte]))
        peer.ask()
        peer.sock.sendall(peer.response() + b"\x89\x02hi")
        assert peer.next() == (10, b"hi")
        peer.close()


# A proxy behind TLS.

def test_a_proxy_behind_tls(tmp_path, proxy, server, certificates):
    """The proxy is checked by the authorities of the system."""
    if not can_replace_system_authorities():
        pytest.skip("no mount namespace may be made")
    context = server_side(certificates.get("good"))
    with Relay(proxy.port, context) as front:
        with with_system_authorities(
                tmp_path, server.url, certificates.root.crt, "--proxy",
                f"https://127.0.0.1:{front.port}") as process:
            assert process.wait() == DONE
    assert server.lines() == [b"1"]
    assert tunnels_to(proxy, server) == 1


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_much_goes_through_a_proxy_behind_tls(tmp_path, proxy, certificates,
                                              scheme):
    """More than the sockets hold, so that writes have to be tried again; for
    wss it is TLS inside of TLS."""
    if not can_replace_system_authorities():
        pytest.skip("no mount namespace may be made")
    context = server_side(certificates.get("good"))
    sizes = [1, 16385, 9 << 20, 70000, 3 << 20] + [100] * 3000
    texts = ["7" * size for size in sizes]
    with Relay(proxy.port, context) as front, \
            TlsServer(context if scheme == "wss" else None) as server:
        with with_system_authorities(
                tmp_path, server.url, certificates.root.crt, "--proxy",
                f"https://127.0.0.1:{front.port}",
                data="".join(f"{t}\n" for t in texts).encode()) as process:
            assert process.wait() == DONE
            assert "lost" not in process.text()
        wait_until(lambda: len(server.messages) >= len(texts), "all messages")
        assert server.messages == texts


@pytest.mark.parametrize("option", ["none", "-k", "--cacert"])
def test_a_proxy_behind_tls_that_nobody_trusts(tmp_path, proxy, server,
                                               certificates, option):
    """What is said of the server's certificate is not said of this one."""
    options = {"none": [], "-k": ["-k"],
               "--cacert": ["--cacert", certificates.root.crt]}[option]
    context = server_side(certificates.get("good"))
    with Relay(proxy.port, context) as front:
        with fed(tmp_path, server.url, b"1\n", "--proxy",
                 f"https://127.0.0.1:{front.port}", *options,
                 *QUICK) as process:
            process.wait_log("unable to get local issuer certificate")
        assert front.clients == 0
    assert server.lines() == []


def test_a_proxy_of_an_old_version_of_tls(tmp_path, proxy, server,
                                          certificates):
    if not can_replace_system_authorities():
        pytest.skip("no mount namespace may be made")
    with Relay(proxy.port, old_server_side(certificates, "TLSv1_1")) as front:
        with with_system_authorities(
                tmp_path, server.url, certificates.root.crt, "--proxy",
                f"https://127.0.0.1:{front.port}") as process:
            process.wait_log("cannot connect")
        assert front.clients == 0
    assert server.lines() == []


def test_events_that_come_while_a_proxy_behind_tls_is_slow(tmp_path, raw,
                                                           certificates):
    """What could not be written is offered to TLS again, with more behind it;
    that it must stand in the same memory then is not seen by the caller."""
    if not can_replace_system_authorities():
        pytest.skip("no mount namespace may be made")
    raw.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    events = [event(n, 2000) for n in range(700)]
    ours, theirs = socket.socketpair()
    with ours, with_system_authorities(
            tmp_path, "ws://example.invalid/", certificates.root.crt,
            "--proxy", f"https://127.0.0.1:{raw.port}", "--ping-timeout",
            "60", source=theirs) as process:
        theirs.close()
        peer = Peer(server_side(certificates.get("good")).wrap_socket(
            raw.listener.accept()[0], server_side=True))
        peer.tunnel().upgrade()
        # One by one, so that each is a write: more than the sockets hold, and
        # as much as wssink takes.
        for one in events:
            ours.sendall(frame(one))
            time.sleep(0.0003)
        assert [peer.until_opcode(TEXT) for _ in events] == events
        assert "lost" not in process.text()
        peer.close()

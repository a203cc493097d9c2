"""wssink and TLS: whom it trusts and what it says of others, what it shows of
itself, versions, and connections that break or dawdle inside of TLS.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import ssl
import termios
import threading

import pytest

from flow import WINDOW, assert_sent_again_in_order, outlive
from sinks import (ENVIRONMENT, PING, PONG, QUICK, TEXT, Peer, RawServer,
                   Reverse, event, fed, ids_of, piped)
from support import (DONE, FINAL, PATIENCE, Process, Server, frame, program,
                     wait_until)
from tls import (TLS12, TLS13, ByHand, Certificates, Relay, TlsServer,
                 can_replace_system_authorities, old_server_side, openssl,
                 server_side, with_system_authorities)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def good(certificates):
    return server_side(certificates.get("good"))


def trusting(authority):
    return ["--cacert", authority.crt, *QUICK]


def wait_either(process, words):
    """Waits until the log has one of these."""
    wait_until(lambda: any(w in process.text() for w in words.split("|")),
               f"{words!r} in the log")


def in_the_end(server, messages):
    """Waits until the server's application has these, and no others."""
    wait_until(lambda: len(server.messages) >= len(messages),
               f"{len(messages)} messages, {len(server.messages)} came")
    assert server.messages == messages


def accept_tls(raw, context):
    """The next connection, its handshake not begun."""
    sock = raw.listener.accept()[0]
    sock.settimeout(PATIENCE)
    return context.wrap_socket(sock, server_side=True,
                               do_handshake_on_connect=False)


def tls_peer(raw, context):
    """The server's end of a TLS connection, up to the Upgrade."""
    sock = accept_tls(raw, context)
    sock.do_handshake()
    return Peer(sock)


def refuse_client(raw, context):
    """A handshake that fails at the client's certificate. What the client
    sent is read to its end, for a reset would overtake the alert."""
    with accept_tls(raw, context) as sock:
        with pytest.raises(ssl.SSLError):
            sock.do_handshake()
        socket.socket.shutdown(sock, socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while socket.socket.recv(sock, 4096):
                pass


# The server's certificate.

BAD = {
    "expired": "certificate has expired",
    "not yet valid": "certificate is not yet valid",
    "other host": "does not match|no alternative certificate subject name",
    "self-signed": "self-signed certificate",
    "unknown issuer": "unable to get local issuer certificate",
    "intermediate not sent": "unable to get local issuer certificate",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_certificate_is_refused_until_there_is_a_good_one(
        tmp_path, certificates, good, kind):
    bad = server_side(certificates.get(kind))
    with TlsServer(bad) as server:
        with piped(tmp_path, server.url,
                   *trusting(certificates.root)) as (process, ours):
            reverse = Reverse(ours)
            ours.sendall(b"".join(frame(event(n)) for n in range(10)))
            wait_either(process, BAD[kind])
            assert reverse.until(lambda m: "breaker" in m)["breaker"] == "open"
            assert server.seen_bytes == 0
            port = server.port
            server.stop()
            with TlsServer(good, port=port) as better:
                reverse.until_ack(10)
                in_the_end(better, [event(n).decode() for n in range(10)])
            assert reverse.breaker() == ["open", "closed"]
            said = process.text()
            assert said.count("trying on") <= 3, "it is told again and again"
        assert server.seen_bytes == 0


@pytest.mark.parametrize("kind", BAD)
def test_unchecked_each_of_them_is_taken(tmp_path, certificates, kind):
    """The negative control of the test above: here its server has seen
    something. The warning comes once, not with each connection."""
    with TlsServer(server_side(certificates.get(kind))) as server:
        with piped(tmp_path, server.url, "-k", *QUICK) as (process, ours):
            reverse = Reverse(ours)
            ours.sendall(frame(event(0)))
            reverse.until_ack(1)
            server.hang_up()
            reverse.until(lambda m: m.get("breaker") == "open")
            ours.sendall(frame(event(1)))
            reverse.until_ack(2)
        assert server.seen_bytes > 0
        in_the_end(server, [event(n).decode() for n in range(2)])
        assert process.text().count(
            "the server's certificate is not checked") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
@pytest.mark.parametrize("kind", ["good", "intermediate"])
def test_a_good_certificate_is_taken(tmp_path, certificates, kind, host):
    context = server_side(certificates.get(kind))
    with TlsServer(context, host="::1" if host[0] == "[" else "127.0.0.1") \
            as server:
        with fed(tmp_path, f"wss://{host}:{server.port}/", b"1\n",
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])


def test_a_server_that_nobody_trusts_without_cacert(tmp_path, good):
    with TlsServer(good) as server:
        with fed(tmp_path, server.url, b"1\n", *QUICK) as process:
            process.wait_log("unable to get local issuer certificate")
        assert server.seen_bytes == 0


def test_no_certificate_is_asked_of_ws(tmp_path, certificates):
    with TlsServer(None) as server:
        with fed(tmp_path, server.url, b"1\n",
                 *trusting(certificates.stranger)) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])


def test_cacert_is_read_again_at_the_next_try(tmp_path, certificates, good):
    ca, new = tmp_path / "ca.crt", tmp_path / "new.crt"
    shutil.copy(certificates.stranger.crt, ca)
    with TlsServer(good) as server:
        with fed(tmp_path, server.url, b"1\n", "--cacert", ca,
                 *QUICK) as process:
            process.wait_log("unable to get local issuer certificate")
            shutil.copy(certificates.root.crt, new)
            os.replace(new, ca)
            assert process.wait() == DONE
        in_the_end(server, ["1"])


def test_cacert_that_has_become_a_fifo_holds_nothing_up(tmp_path, certificates,
                                                         good):
    ca = tmp_path / "ca.crt"
    shutil.copy(certificates.stranger.crt, ca)
    with TlsServer(good) as server, \
            fed(tmp_path, server.url, b"1\n", "--cacert", ca,
                *QUICK) as process:
        process.wait_log("unable to get local issuer certificate")
        ca.unlink()
        os.mkfifo(ca)
        process.wait_log(f"{ca}: not a regular file")
        assert process.stop() == DONE


def test_the_certificate_of_the_client_is_read_again(
        tmp_path, certificates, raw, files):
    """One that is of no use by then is told, and is no end; nobody is asked
    for the password of a key, here neither."""
    ours, new = tmp_path / "ours.pem", tmp_path / "new.pem"
    shutil.copy(certificates.get("unknown issuer").pem, ours)
    context = server_side(certificates.get("good"),
                          client_ca=certificates.root)
    with piped(tmp_path, f"wss://127.0.0.1:{raw.port}/", "--cert", ours,
               *trusting(certificates.root)) as (process, pipe):
        pipe.sendall(frame(event(0)))
        refuse_client(raw, context)
        shutil.copy(files["lockedpem"], new)
        os.replace(new, ours)
        process.wait_log("private key file")
        assert "pass phrase" not in process.text()
        shutil.copy(certificates.get("good").pem, new)
        os.replace(new, ours)
        peer = peer_at_last(raw, context).upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        peer.close()


def peer_at_last(raw, context):
    """The first whose handshake succeeds."""
    while True:
        sock = accept_tls(raw, context)
        with contextlib.suppress(OSError, EOFError):
            sock.do_handshake()
            return Peer(sock)
        sock.close()


@pytest.fixture
def namespaces():
    if not can_replace_system_authorities():
        pytest.skip("no mount namespace may be made")


def test_the_authorities_of_the_system(tmp_path, certificates, good,
                                       namespaces):
    with TlsServer(good) as server:
        with with_system_authorities(tmp_path, server.url,
                                     certificates.root.crt) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])


def test_cacert_stands_instead_of_the_system(tmp_path, certificates, good,
                                             namespaces):
    with TlsServer(good) as server:
        with with_system_authorities(
                tmp_path, server.url, certificates.root.crt, "--cacert",
                certificates.stranger.crt) as process:
            process.wait_log("unable to get local issuer certificate")
        assert server.seen_bytes == 0


# Versions, and what is agreed on.

@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_a_server_of_one_version(tmp_path, certificates, version):
    context = server_side(certificates.get("good"), low=version, high=version)
    with TlsServer(context) as server:
        with fed(tmp_path, server.url, b"1\n",
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])
        assert [s[0] for s in server.sessions] == [
            "TLSv1.2" if version == TLS12 else "TLSv1.3"]


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-RSA-AES128-SHA"])
def test_a_server_of_an_old_version_is_refused(tmp_path, certificates, good,
                                               raw, version, cipher):
    """With the first cipher nothing is signed, so that OpenSSL, in whose eyes
    SHA-1 is too weak, has no reason of its own to refuse."""
    old = old_server_side(certificates, version, cipher)
    with fed(tmp_path, f"wss://127.0.0.1:{raw.port}/", b"1\n",
             *trusting(certificates.root)) as process:
        refuse_client(raw, old)
        wait_either(process, "unsupported protocol|protocol version")
        peer = tls_peer(raw, good).upgrade()
        assert peer.until_opcode(TEXT) == b"1"
        peer.close()


def test_a_server_that_would_rather_speak_h2(tmp_path, certificates):
    context = server_side(certificates.get("good"), alpn=["h2", "http/1.1"])
    with TlsServer(context) as server:
        with fed(tmp_path, server.url, b"1\n",
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])
        assert [s[1] for s in server.sessions] == ["http/1.1"]


# Our certificate.

@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("files", ["two files", "one file"])
def test_the_certificate_of_the_client(tmp_path, certificates, version, files):
    ours = certificates.root.issue(f"{files[:3]}-{version.name}")
    options = ["--cert", ours.crt, "--key", ours.key]
    if files == "one file":
        options = ["--cert", ours.pem]
    context = server_side(certificates.get("good"), low=version, high=version,
                          client_ca=certificates.root)
    with TlsServer(context) as server:
        with fed(tmp_path, server.url, b"1\n", *options,
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, ["1"])


# With TLS 1.3 the client is done before the server has seen its certificate,
# so the refusal comes when wssink waits for the answer to the Upgrade.
REFUSED = {
    ("missing", TLS12): "handshake failure",
    ("missing", TLS13): "certificate required",
    ("other authority", TLS12): "unknown ca",
    ("other authority", TLS13): "unknown ca",
    # libcurl's words for the alert "certificate expired".
    ("expired", TLS12): "SSL certificate verification failed",
    ("expired", TLS13): "certificate expired",
}


@pytest.mark.parametrize("kind, version", REFUSED,
                         ids=lambda v: getattr(v, "name", v))
def test_a_client_without_a_good_certificate_is_refused(
        tmp_path, certificates, raw, kind, version):
    options = []
    if kind == "other authority":
        options = ["--cert", certificates.get("unknown issuer").pem]
    if kind == "expired":
        options = ["--cert", certificates.get("expired").pem]
    demands = dict(low=version, high=version)
    strict = server_side(certificates.get("good"), **demands,
                         client_ca=certificates.root)
    lenient = server_side(certificates.get("good"), **demands)
    with piped(tmp_path, f"wss://127.0.0.1:{raw.port}/", *options,
               *trusting(certificates.root)) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(b"".join(frame(event(n)) for n in range(10)))
        refuse_client(raw, strict)
        process.wait_log(REFUSED[kind, version])
        peer = tls_peer(raw, lenient).upgrade()
        for n in range(10):
            assert peer.until_opcode(TEXT) == event(n)
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until(lambda m: m.get("ack", 0) > 0)
        assert reverse.breaker() == ["open", "closed"]
        peer.close()


# Files that cannot be used, told at the start.

@pytest.fixture
def files(tmp_path, certificates):
    """Good and bad files by name."""
    good, other = certificates.get("good"), certificates.get("expired")
    locked = tmp_path / "locked.key"
    openssl("ec", "-aes128", "-in", good.key, "-out", locked, "-passout",
            "pass:sesame")
    paths = {"crt": good.crt, "key": good.key, "pem": good.pem,
             "other": other.key, "locked": locked, "ca": certificates.root.crt,
             "none": tmp_path / "none"}
    broken = good.crt.read_bytes().replace(b"M", b"!", 20)
    half = good.crt.read_bytes()[:200]
    for name, data in {
            "empty": b"", "text": b"hello\n", "binary": bytes(range(256)),
            "broken": broken, "half": half,
            "lockedpem": good.crt.read_bytes() + locked.read_bytes()}.items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(data)
    return paths


USELESS = [(["--cacert", name], name) for name in
           ("none", "empty", "text", "binary", "broken", "half", "key")]
USELESS += [(["--cert", name, "--key", "key"], name) for name in
            ("none", "empty", "text", "binary", "broken", "half", "key")]
USELESS += [(["--cert", "crt", "--key", name], name) for name in
            ("none", "empty", "text", "binary", "other", "locked", "crt")]
USELESS += [(["--cert", "crt"], "crt"), (["--cert", "lockedpem"], "lockedpem")]


def words_of(files, options):
    return [o if o.startswith("--") else files[o] for o in options]


@pytest.mark.parametrize("options, named", USELESS)
def test_a_file_of_no_use_ends_it_at_the_start(tmp_path, files, options,
                                               named):
    """Even for ws://, where it would only be found out later."""
    with RawServer() as server, \
            fed(tmp_path, f"wss://127.0.0.1:{server.port}/", b"1\n",
                *words_of(files, options), *QUICK) as process:
        assert process.wait() == FINAL
        assert str(files[named]) in process.text()
        assert process.text().count("\n") == 1


@pytest.mark.parametrize("options", [["--cert", "crt", "--key", "locked"],
                                     ["--cert", "lockedpem"]])
def test_nobody_is_asked_for_the_password_of_a_key(tmp_path, files, options):
    """On a terminal OpenSSL would ask, and wait for an answer."""
    ours, theirs = os.openpty()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    argv = [program("wssink"), "-u", "wss://127.0.0.1:1/",
            *words_of(files, options), *QUICK]
    with Process(argv, tmp_path / "log", stdin=theirs, stdout=theirs,
                 env=ENVIRONMENT, preexec_fn=own_terminal) as process:
        assert process.wait() == FINAL
        os.set_blocking(ours, False)
        with contextlib.suppress(BlockingIOError):
            assert os.read(ours, 1000) == b""
    os.close(ours)
    os.close(theirs)


# Connections that break or dawdle.

@pytest.mark.parametrize("goodbye", [True, False])
def test_the_end_of_tls_is_the_end_of_a_connection(tmp_path, certificates,
                                                   good, raw, goodbye):
    """With a close_notify or without: without a Close frame it is a loss."""
    with piped(tmp_path, f"wss://127.0.0.1:{raw.port}/",
               *trusting(certificates.root)) as (process, ours):
        reverse = Reverse(ours)
        peer = tls_peer(raw, good).upgrade()
        ours.sendall(frame(event(0)) + frame(event(1)))
        assert peer.until_opcode(TEXT) == event(0)
        if goodbye:
            # The other direction's may never come.
            with contextlib.suppress(ssl.SSLError):
                peer.sock.unwrap()
        peer.close()
        process.wait_log("lost wss://")
        peer = tls_peer(raw, good).upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        assert peer.until_opcode(TEXT) == event(1)
        peer.send(PONG, peer.until_opcode(PING))
        assert reverse.until_ack(2) == [2]
        peer.close()


class KilledTlsServer(Server):
    """t/ws_server.py behind TLS: a process that can be killed."""

    @property
    def url(self):
        return f"wss://127.0.0.1:{self.port}/"


def test_a_server_behind_tls_killed_while_events_flow(tmp_path, certificates):
    kills, total = 2, 4 * WINDOW
    with KilledTlsServer(tmp_path, "--tls", certificates.get("good").pem) \
            as server, piped(tmp_path, server.url,
                             *trusting(certificates.root)) as (process, ours):
        outlive(ours, Reverse(ours), total,
                [WINDOW * n for n in range(1, kills + 1)], server.restart)
        assert process.wait() == DONE
        assert_sent_again_in_order(ids_of(server.events()), total, kills)


def test_ack_level_write_promises_less_behind_tls(tmp_path, certificates,
                                                  good, raw):
    """The negative control of the test above."""
    with piped(tmp_path, f"wss://127.0.0.1:{raw.port}/", "--ack", "write",
               *trusting(certificates.root)) as (process, ours):
        reverse = Reverse(ours)
        peer = tls_peer(raw, good).upgrade()
        ours.sendall(b"".join(frame(event(n)) for n in range(50)))
        reverse.until_ack(50)
        peer.close()
        peer = tls_peer(raw, good).upgrade()
        ours.sendall(frame(event(50)))
        assert peer.until_opcode(TEXT) == event(50), "one was sent again"
        peer.close()


def test_a_handshake_byte_by_byte(tmp_path, certificates, good):
    with TlsServer(good) as server, Relay(server.port, slow=1000) as relay:
        with fed(tmp_path, f"wss://127.0.0.1:{relay.port}/", b"1\n",
                 "--connect-timeout", "60",
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        assert relay.clients == 1
        in_the_end(server, ["1"])


@pytest.mark.parametrize("cut", [0, 3, 200])
def test_a_handshake_that_stalls(tmp_path, certificates, good, cut):
    """Three connections within the time that says each is left in time."""
    with TlsServer(good) as server, Relay(server.port, cut=cut) as relay, \
            fed(tmp_path, f"wss://127.0.0.1:{relay.port}/", b"1\n",
                "--connect-timeout", "0.5",
                *trusting(certificates.root)) as process:
        process.wait_log("cannot connect to wss://")
        wait_until(lambda: relay.clients >= 3, "three tries")
        assert "time" in process.text().lower()
        assert server.seen_bytes == 0


def test_records_cut_anywhere(tmp_path, certificates, good):
    """The server talks too; what it says is cut in the middle of records and
    of their headers, and some of it stays in OpenSSL where poll sees none."""
    sizes = [1, 16383, 16384, 16385, 1 << 20, 3, 4 << 20, 70000]
    texts = ["7" * size for size in sizes] + [str(n) for n in range(3000)]
    with TlsServer(good, echo=["x" * 50000, "y"] * 20) as server, \
            Relay(server.port, piece=1371) as relay:
        data = "".join(f"{t}\n" for t in texts).encode()
        with fed(tmp_path, f"wss://127.0.0.1:{relay.port}/", data,
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, texts)


def test_much_goes_through_tls(tmp_path, certificates, good):
    """More than one record, and more than the sockets hold."""
    sizes = [1, 16383, 16384, 16385, 100, 1 << 20, 3, 9 << 20, 70000]
    texts = ["7" * size for size in sizes] + [str(n) for n in range(5000)]
    with TlsServer(good) as server:
        data = "".join(f"{t}\n" for t in texts).encode()
        with fed(tmp_path, server.url, data,
                 *trusting(certificates.root)) as process:
            assert process.wait() == DONE
        in_the_end(server, texts)


AGREED_ANEW = {
    # command, what is said of one in the log
    "TLS 1.3, one side": (b"k", "write server key update"),
    "TLS 1.3, both": (b"K", "read client key update"),
}


@pytest.mark.parametrize("name", AGREED_ANEW)
def test_keys_are_agreed_anew_while_events_flow(tmp_path, certificates, name):
    """It is the same connection all the time."""
    command, words = AGREED_ANEW[name]
    total = 3000
    with ByHand(tmp_path, certificates.get("good"), "-tls1_3") as server, \
            piped(tmp_path, server.url,
                  *trusting(certificates.root)) as (process, ours):
        reverse = Reverse(ours)

        def feed():
            for n in range(total):
                ours.sendall(frame(event(n, 200)))

        feeder = threading.Thread(target=feed)
        feeder.start()
        peer = server.peer().upgrade()
        count = 0
        while count < total:
            opcode, payload = peer.next()
            if opcode == PING:
                peer.send(PONG, payload)
                continue
            assert (opcode, payload) == (TEXT, event(count, 200))
            count += 1
            if count % 500 == 250:
                server.command(command)
        feeder.join()
        peer.send(PONG, peer.until_opcode(PING))
        reverse.until_ack(total)
        assert reverse.breaker() == ["open", "closed"]
        assert server.process.text().count(words) >= 3


def test_the_server_renegotiates(tmp_path, certificates):
    """TLS 1.2, on a connection where nothing else happens meanwhile: with
    data from both sides on their way OpenSSL may give the connection up."""
    with ByHand(tmp_path, certificates.get("good"), "-tls1_2") as server, \
            piped(tmp_path, server.url,
                  *trusting(certificates.root)) as (process, ours):
        reverse = Reverse(ours)
        peer = server.peer().upgrade()
        for n in range(3):
            ours.sendall(frame(event(n)))
            assert peer.until_opcode(TEXT) == event(n)
            peer.send(PONG, peer.until_opcode(PING))
            reverse.until_ack(n + 1)
            server.command(b"r")
            # A ping, which makes the server read: the new handshake too.
            peer.send(PING, b"hello")
            assert peer.until_opcode(PONG) == b"hello"
            wait_until(lambda: server.process.text().count("read finished")
                       == n + 2, "the end of the handshake")
        assert reverse.breaker() == ["open", "closed"]


def test_wss_to_a_server_without_tls(tmp_path, certificates, server):
    with fed(tmp_path, f"wss://127.0.0.1:{server.port}/", b"1\n",
             *trusting(certificates.root)) as process:
        process.wait_log("wrong version number")
        assert server.lines() == []


def test_ws_to_a_server_with_tls(tmp_path, good):
    with TlsServer(good) as server:
        with fed(tmp_path, f"ws://127.0.0.1:{server.port}/", b"1\n",
                 *QUICK) as process:
            process.wait_log("cannot connect to ws://")
            process.wait_log("the Upgrade")
        assert server.messages == []

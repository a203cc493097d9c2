"""Who wssink says it is: headers, users and tokens, from files that change
while it runs, and that no secret is shown.
"""

import os

import pytest
from websockets.legacy.auth import basic_auth_protocol_factory
from websockets.legacy.server import serve

from background import Background
from peers import all_headers, log_lines, refuse, wait_line
from servers import RefusingNginx
from sinks import (PING, PONG, QUICK, TEXT, basic, event, fed, piped, usage)
from support import DONE, Server, frame, wait_until


def wrong(*arguments):
    return usage("-u", "ws://127.0.0.1:1/", *arguments)


def request_of(tmp_path, raw, *options, url=None):
    """The request that these options make."""
    with fed(tmp_path, url or raw.url, b"1\n", *options, *QUICK):
        peer = raw.accept()
        peer.close()
        return peer


# What is in the files.

HEADER_FILES = {
    "no newline at the end": (b"X-A: 1\nX-B: 2", ["1"], ["2"]),
    "CR LF": (b"X-A: 1\r\nX-B: 2\r\n", ["1"], ["2"]),
    "empty lines": (b"\n\nX-A: 1\n\n\r\nX-B: 2\n\n", ["1"], ["2"]),
    "empty": (b"", [], []),
    "twice": (b"X-A: 1\nX-A: 2\n", ["1", "2"], []),
    "an empty value": (b"X-A:\nX-B: \t 2 \t\n", [""], ["2"]),
    "a tab and bytes over 127": (b"X-A: 1\t2\n", ["1\t2"], []),
    "60 more": (b"X-A: 1\n" + b"".join(b"Y-%d: y\n" % n for n in range(60)),
                ["1"], []),
    "60 KiB": (b"X-A: 1\nX-B: 2\nX-Long: " + b"l" * 6000 + b"\n",
               ["1"], ["2"]),
}


@pytest.mark.parametrize("name", HEADER_FILES)
def test_the_headers_in_a_file(tmp_path, raw, name):
    data, first, second = HEADER_FILES[name]
    (tmp_path / "headers").write_bytes(data)
    peer = request_of(tmp_path, raw, "--header-file", tmp_path / "headers")
    assert all_headers(peer, "X-A") == first
    assert all_headers(peer, "X-B") == second
    assert "\r\n\r\n" in peer.request and peer.data == b""
    assert all(line == "" or ": " in line or line.endswith(":")
               for line in peer.request.split("\r\n")[1:])


BAD_HEADER_FILES = {
    "no colon": b"X-A: 1\nsecret\n",
    "a comment": b"# secret\nX-A: 1\n",
    "a blank in a name": b"X A: secret\n",
    "no name": b": secret\n",
    "folded": b"X-A: 1\n secret\n",
    "a NUL": b"X-A: sec\0ret\n",
    "an escape": b"X-A: \x1bsecret\n",
    "one of ours": b"Sec-WebSocket-Key: secret\n",
    "the host": b"host: secret\n",
    "a length": b"Content-Length: 6\n\nsecret",
    "too many": b"X: secret\n" * 100,
    "too long": b"X: secret\n" * 10000,
}


@pytest.mark.parametrize("name", BAD_HEADER_FILES)
def test_a_bad_file_of_headers_is_wrong_usage(tmp_path, name):
    path = tmp_path / "headers"
    path.write_bytes(BAD_HEADER_FILES[name])
    told = wrong("--header-file", path)
    assert str(path) in told or name == "too many"
    assert "secret" not in told


BASIC_FILES = {
    "plain": (b"me:secret\n", "me", "secret"),
    "no newline": (b"me:secret", "me", "secret"),
    "CR LF": (b"me:secret\r\n", "me", "secret"),
    "colons": (b"me:se:cr:et\n", "me", "se:cr:et"),
    "blanks": (b"me: secret \n", "me", " secret "),
    "no password": (b"me:\n", "me", ""),
    "no user": (b":secret\n", "", "secret"),
    "more lines": (b"me:secret\nyou:other\n", "me", "secret"),
    "UTF-8": ("m\u00e9:s\u20ac\n".encode(), "m\u00e9", "s\u20ac"),
    "long": (b"me:" + b"s" * 5000 + b"\n", "me", "s" * 5000),
}


@pytest.mark.parametrize("name", BASIC_FILES)
def test_basic_authentication_from_a_file(tmp_path, raw, name):
    data, user, password = BASIC_FILES[name]
    (tmp_path / "auth").write_bytes(data)
    peer = request_of(tmp_path, raw, "--basic-auth-file", tmp_path / "auth")
    assert all_headers(peer, "Authorization") == [basic(f"{user}:{password}")]


BEARER_FILES = {
    "plain": b"t0ken\n", "no newline": b"t0ken", "CR LF": b"t0ken\r\n",
    "more lines": b"t0ken\nother\n",
    "a JWT": b"ey.-_~+/" * 1000 + b"==\n",
}


@pytest.mark.parametrize("name", BEARER_FILES)
def test_a_bearer_token_from_a_file(tmp_path, raw, name):
    (tmp_path / "token").write_bytes(BEARER_FILES[name])
    peer = request_of(tmp_path, raw, "--bearer-auth-file", tmp_path / "token")
    token = BEARER_FILES[name].split()[0].decode()
    assert all_headers(peer, "Authorization") == [f"Bearer {token}"]


AUTH_OPTIONS = ["--basic-auth-file", "--bearer-auth-file",
                "--proxy-auth-file"]
BAD_AUTH_FILES = {
    "empty": b"", "an empty first line": b"\nme:secret\n",
    "a NUL": b"me:sec\0ret\n", "too long": b"me:" + b"s" * 100000,
}


@pytest.mark.parametrize("option", AUTH_OPTIONS)
@pytest.mark.parametrize("name", BAD_AUTH_FILES)
def test_a_bad_file_of_a_user_is_wrong_usage(tmp_path, option, name):
    path = tmp_path / "auth"
    path.write_bytes(BAD_AUTH_FILES[name])
    told = wrong(option, path, *(["--proxy", "http://127.0.0.1:1"]
                                 if "proxy" in option else []))
    assert f"{option} {path}" in told
    assert "sec" not in told


@pytest.mark.parametrize("option, data", [
    ("--basic-auth-file", b"secret\n"),
    ("--proxy-auth-file", b"secret\n"),
    ("--bearer-auth-file", b"\x1bsecret\n"),
    ("--bearer-auth-file", b"sec\x7fret\n"),
])
def test_a_first_line_that_names_nobody(tmp_path, option, data):
    path = tmp_path / "auth"
    path.write_bytes(data)
    told = wrong(option, path, "--proxy", "http://127.0.0.1:1")
    assert f"{option} {path}" in told
    assert "sec" not in told


@pytest.mark.parametrize("option", ["--header-file", *AUTH_OPTIONS])
def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path, option):
    proxy = ("--proxy", "http://127.0.0.1:1")
    told = wrong(option, tmp_path / "none", *proxy)
    assert f"{option} {tmp_path / 'none'}: No such file" in told
    assert f"{option} {tmp_path}: " in wrong(option, tmp_path, *proxy)
    if os.getuid() != 0:
        (tmp_path / "shut").write_bytes(b"me:secret\n")
        (tmp_path / "shut").chmod(0)
        assert "Permission" in wrong(option, tmp_path / "shut", *proxy)


def test_there_is_one_way_to_name_a_user(tmp_path):
    (tmp_path / "basic").write_bytes(b"me:secret\n")
    (tmp_path / "bearer").write_bytes(b"secret\n")
    (tmp_path / "headers").write_bytes(b"authorization: Digest secret\n")
    ways = [["--basic-auth-file", tmp_path / "basic"],
            ["--bearer-auth-file", tmp_path / "bearer"],
            ["--header-file", tmp_path / "headers"],
            ["-H", "AUTHORIZATION: Digest secret"],
            ["-u", "ws://me:secret@127.0.0.1:1/"]]
    for n, one in enumerate(ways):
        for other in ways[n + 1:]:
            told = wrong(*one, *other)
            assert "secret" not in told
            assert "more than one" in told


# Files that change.

KINDS = {
    # The option, what is in the file, what is sent of it, and what is bad.
    "headers": ("--header-file", b"X-Key: %s\n", "X-Key", "%s",
                b"no header"),
    "basic": ("--basic-auth-file", b"me:%s\n", "Authorization", None,
              b"nobody\n"),
    "bearer": ("--bearer-auth-file", b"%s\n", "Authorization", "Bearer %s",
               b"\n"),
}


def value_of(kind, secret):
    form = KINDS[kind][3]
    return form % secret if form else basic(f"me:{secret}")


def replace(path, data):
    """As what rotates tokens does it: there is no moment without a file."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.rename(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_replaced_without_a_restart(tmp_path, raw, kind):
    option, form, name, _, _ = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(form % b"stale")
    with piped(tmp_path, raw.url, option, path, "-v",
               *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        for _ in range(2):
            peer = raw.accept()
            assert peer.header(name) == value_of(kind, "stale")
            refuse(peer)
        peer = raw.accept()
        replace(path, form % b"fresh")
        refuse(peer)
        peer = raw.accept()
        assert all_headers(peer, name) == [value_of(kind, "fresh")]
        peer.upgrade()
        assert peer.until_opcode(TEXT) == event(0)
        peer.send(PONG, peer.until_opcode(PING))
        # Once connected, too: the next connection has the newest.
        replace(path, form % b"newest")
        peer.close()
        peer = raw.accept()
        assert peer.header(name) == value_of(kind, "newest")
        peer.close()
        assert not any(secret in process.text() for secret in (
            "stale", "fresh", "newest", value_of(kind, "stale").split()[-1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["gone", "bad", "NUL", "too long",
                                 "a directory"])
def test_a_file_that_goes_bad_is_warned_of(tmp_path, raw, kind, how):
    """What was read last is used until it is good again."""
    option, form, name, _, bad = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(form % b"kept")
    with piped(tmp_path, raw.url, option, path,
               *QUICK) as (process, ours):
        peer = raw.accept()
        path.unlink()
        if how == "a directory":
            path.mkdir()
        elif how != "gone":
            path.write_bytes({"bad": bad, "NUL": form % b"new\0er",
                              "too long": form % b"newer" * 20000}[how])
        refuse(peer)
        for _ in range(3):
            peer = raw.accept()
            assert all_headers(peer, name) == [value_of(kind, "kept")]
            refuse(peer)
        line = wait_line(process, str(path))
        assert " warn " in line and option in line
        assert "kept" not in process.text() and "newer" not in process.text()
        if how == "a directory":
            path.rmdir()
        replace(path, form % b"newest")
        raw.accept().close()
        peer = raw.accept()
        assert all_headers(peer, name) == [value_of(kind, "newest")]
        peer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fifo_in_place_of_the_file_stops_nothing(tmp_path, raw, kind):
    """Nobody writes it, so that a plain open(2) would wait for ever."""
    option, form, name, _, _ = KINDS[kind]
    path = tmp_path / "file"
    path.write_bytes(form % b"kept")
    with piped(tmp_path, raw.url, option, path,
               *QUICK) as (process, ours):
        peer = raw.accept()
        path.unlink()
        os.mkfifo(path)
        refuse(peer)
        peer = raw.accept()
        assert all_headers(peer, name) == [value_of(kind, "kept")]
        peer.close()
        assert process.stop() == DONE


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_is_read_once(tmp_path, raw, kind):
    """As a shell gives it for <(...): what it said is kept."""
    option, form, name, _, _ = KINDS[kind]
    read, write = os.pipe()
    os.write(write, form % b"kept")
    os.close(write)
    with fed(tmp_path, raw.url, b"1\n", option, f"/dev/fd/{read}", *QUICK,
             pass_fds=[read]) as process:
        os.close(read)
        for _ in range(3):
            peer = raw.accept()
            assert all_headers(peer, name) == [value_of(kind, "kept")]
            refuse(peer)
        assert "kept" not in process.text()


def test_a_header_file_may_not_come_to_name_a_second_user(tmp_path, raw):
    (tmp_path / "token").write_bytes(b"one\n")
    (tmp_path / "headers").write_bytes(b"X-A: 1\n")
    with piped(tmp_path, raw.url, "--header-file", tmp_path / "headers",
               "--bearer-auth-file", tmp_path / "token",
               *QUICK) as (process, ours):
        peer = raw.accept()
        replace(tmp_path / "headers", b"Authorization: Bearer two\n")
        refuse(peer)
        peer = raw.accept()
        assert all_headers(peer, "Authorization") == ["Bearer one"]
        assert all_headers(peer, "X-A") == ["1"]
        line = wait_line(process, "more than one of ")
        assert " warn " in line
        peer.close()


# Secrets.

def test_a_password_in_the_url_is_not_in_the_command_line(tmp_path, raw):
    """As ps(1) and /proc show it, a moment after the start."""
    url = f"ws://me:s3cr3t@127.0.0.1:{raw.port}/in"
    with piped(tmp_path, url, "-v", *QUICK) as (process, ours):
        peer = raw.accept()
        assert peer.header("Authorization") == basic("me:s3cr3t")
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            shown = file.read()
        assert b"s3cr3t" not in shown
        assert b"wssink" in shown
        refuse(peer)
        # It is known still where it is needed.
        peer = raw.accept()
        assert peer.header("Authorization") == basic("me:s3cr3t")
        peer.close()
        assert "s3cr3t" not in process.text()


@pytest.mark.parametrize("options", [
    ["-H", "Authorization: Bearer s3cr3t"], ["--header=COOKIE:a=s3cr3t"],
    ["-H", "proxy-authorization:s3cr3t"],
    ["-HAuthorization: Bearer s3cr3t"]])
def test_a_secret_header_is_not_in_the_command_line(tmp_path, raw, options):
    with piped(tmp_path, raw.url, "-v", *options,
               *QUICK) as (process, ours):
        peer = raw.accept()
        assert "s3cr3t" in peer.request
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            assert b"s3cr3t" not in file.read()
        assert "s3cr3t" not in process.text()
        peer.close()


@pytest.mark.parametrize("url", ["ws://me:s3cr3t@127.0.0.1:99999/",
                                 "ws://me:s3cr3t@/", "ws//me:s3cr3t@x/",
                                 "ws://me:s3cr3t@x/#f"])
def test_a_password_in_a_wrong_url_is_not_shown(url):
    assert "s3cr3t" not in wrong("-u", url)


def test_no_secret_is_logged_whatever_the_server_says(tmp_path, raw):
    """Also when its refusal repeats what was sent."""
    (tmp_path / "headers").write_bytes(b"X-Key: s3cr3t\n")
    with piped(tmp_path, raw.url, "-v", "--header-file",
               tmp_path / "headers", *QUICK) as (process, ours):
        refuse(raw.accept())
        peer = raw.accept().upgrade()
        wait_line(process, "connected to")
        peer.close()
        raw.accept().close()
        wait_line(process, "lost ")
        assert "s3cr3t" not in process.text()


# Servers that nobody here wrote.

class Guarded(Background):
    """python3-websockets, which lets nobody in but `credentials`."""

    def __init__(self, credentials):
        super().__init__()
        self.protocol = basic_auth_protocol_factory(
            realm="test", credentials=credentials)
        self.messages = []

    async def handle(self, connection, path=None):
        async for message in connection:
            self.messages.append((connection.username, message))

    def serving(self):
        return serve(self.handle, sock=self.listener,
                     create_protocol=self.protocol)


def test_websockets_lets_the_user_in(tmp_path):
    """From a file that is put right under way, and from the URL."""
    path = tmp_path / "auth"
    path.write_bytes(b"me:wrong\n")
    with Guarded([("me", "s3:cr3t")]) as server:
        with fed(tmp_path, f"ws://127.0.0.1:{server.port}/", b"1\n",
                 "--basic-auth-file", path, *QUICK) as process:
            wait_line(process, "401 Unauthorized")
            replace(path, b"me:s3:cr3t\n")
            assert process.wait() == DONE
        with fed(tmp_path, f"ws://me:s3%3acr3t@127.0.0.1:{server.port}/",
                 b"2\n", *QUICK, name="url") as process:
            assert process.wait() == DONE
            assert log_lines(process, "cannot connect") == []
        wait_until(lambda: server.messages == [("me", "1"), ("me", "2")],
                   "both events")


def test_nginx_lets_the_user_in(tmp_path):
    (tmp_path / "users").write_bytes(b"me:{PLAIN}s3cr3t\n")
    path = tmp_path / "auth"
    path.write_bytes(b"me:wrong\n")
    guard = f'auth_basic "x"; auth_basic_user_file {tmp_path}/users;'
    with Server(tmp_path) as server, \
            RefusingNginx(tmp_path, server.port, guard) as front, \
            fed(tmp_path, front.url_of("in"), event(0) + b"\n",
                "--basic-auth-file", path, *QUICK) as process:
        wait_line(process, "401 Unauthorized")
        replace(path, b"me:s3cr3t\n")
        assert process.wait() == DONE
        assert server.lines() == [event(0)]

"""Secrets that stand in the environment or in files: they get where they are
needed, and nobody is shown them.
"""

import pytest

from peers import all_headers, refuse, wait_line
from sinks import QUICK, basic, fed, usage
from support import FINAL


def wrong(*arguments):
    return usage("-u", "ws://127.0.0.1:1/", *arguments)


# wssink on its own.

ENV = {"S": "s3cr3t", "T": "s3+cr/3t", "EMPTY": "", "CRED": "me:s3:cr3t"}
FROM_ENV = {
    "header": (["-H", "X-Key: a ${env:S} b"], "X-Key", "a s3cr3t b"),
    "token": (["--header", "Authorization: Bearer ${env:S}"],
              "Authorization", "Bearer s3cr3t"),
    "cookie": (["-HCookie: a=${env:S};b=${env:T}"], "Cookie",
               "a=s3cr3t;b=s3+cr/3t"),
    "twice": (["-H", "X-Key: ${env:S}${env:EMPTY}${env:S}"], "X-Key",
              "s3cr3ts3cr3t"),
    "basic": (["--basic-auth", "me:${env:S}"], "Authorization",
              basic("me:s3cr3t")),
    "all of basic": (["--basic-auth=${env:CRED}"], "Authorization",
                     basic("me:s3:cr3t")),
    "bearer": (["--bearer-auth", "${env:T}"], "Authorization",
               "Bearer s3+cr/3t"),
    "plain": (["--bearer-auth", "s3cr3t"], "Authorization",
              "Bearer s3cr3t"),
}


@pytest.mark.parametrize("kind", FROM_ENV)
def test_a_secret_in_the_environment(tmp_path, raw, kind):
    """It is sent, with every try, and neither shown nor logged."""
    options, name, value = FROM_ENV[kind]
    with fed(tmp_path, raw.url, b"1\n", *options, "-v", *QUICK,
             environment=ENV) as process:
        for _ in range(2):
            peer = raw.accept()
            assert all_headers(peer, name) == [value]
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                shown = file.read()
            assert b"wssink" in shown and b"cr3t" not in shown
            refuse(peer)
        wait_line(process, "401 Unauthorized")
        assert "cr3t" not in process.text()


def test_a_secret_of_the_environment_in_the_url(tmp_path, raw):
    url = f"ws://127.0.0.1:{raw.port}/in?t=${{env:T}}&x=1"
    with fed(tmp_path, url, b"1\n", "-v", *QUICK,
             environment=ENV) as process:
        peer = raw.accept()
        assert peer.request.startswith("GET /in?t=s3%2Bcr%2F3t&x=1 HTTP/1.1")
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            assert b"?t=${env:T}&x=1" in file.read()
        refuse(peer)
        wait_line(process, "401 Unauthorized")
        assert "s3" not in process.text()


@pytest.mark.parametrize("options", [
    ["-H", "X: s3cr3t ${env:NO_SUCH}"],
    ["--basic-auth", "s3cr3t:${env:NO_SUCH}"],
    ["--bearer-auth", "${env:NO_SUCH}"], ["--proxy-auth", "me:${env:NO_SUCH}"],
    ["-u", "ws://127.0.0.1:1/?s3cr3t=${env:NO_SUCH}"]])
def test_a_variable_that_is_not_set_is_wrong_usage(options):
    told = wrong(*options)
    assert "the environment variable NO_SUCH is not set" in told
    assert "s3cr3t" not in told


@pytest.mark.parametrize("options,words", [
    (["-H", "X: s3cr3t ${x}"], '"${" that is no'),
    (["--basic-auth", "s3cr3t"], "--basic-auth: not user:password"),
    (["--bearer-auth", "s3cr3t x"], "--bearer-auth: not a token"),
    (["--bearer-auth", ""], "--bearer-auth: not a token"),
    (["--proxy-auth", "s3cr3t"], "--proxy-auth: not user:password"),
    (["--basic-auth", "me:s3cr3t", "--bearer-auth", "s3cr3t"],
     "more than one"),
    (["--basic-auth", "me:s3cr3t", "-H", "authorization: s3cr3t"],
     "more than one"),
])
def test_a_wrong_user_on_the_command_line(options, words):
    told = wrong(*options)
    assert words in told
    assert "s3cr3t" not in told


def test_a_line_end_in_a_variable_makes_no_second_header(tmp_path):
    with fed(tmp_path, "ws://127.0.0.1:1/", b"", "-H", "X: ${env:S}",
             environment={"S": "s3cr3t\r\nY: z"}) as process:
        assert process.wait() == FINAL
        assert "control character" in process.text()
        assert "s3cr3t" not in process.text()


@pytest.mark.parametrize("kind", ["basic", "bearer", "proxy"])
def test_a_user_in_a_file_or_as_text(tmp_path, kind):
    (tmp_path / "file").write_bytes(b"me:s3cr3t\n")
    told = wrong(f"--{kind}-auth", "me:s3cr3t", f"--{kind}-auth-file",
                 tmp_path / "file")
    assert f"more than one of --{kind}-auth, --{kind}-auth-file" in told

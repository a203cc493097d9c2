"""Secrets that stand in the environment or in files: they get where they are
needed, and nobody is shown them.
"""

import signal
import subprocess
from pathlib import Path

import pytest

from peers import all_headers, refuse, wait_line
from sinks import ENVIRONMENT, QUICK, TEXT, basic, fed, usage
from support import FINAL, PATIENCE, Process, program


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


# A supervised pipeline.

CONFIG = """\
state_dir: state
shutdown_timeout: 0
onramp: [{{id: m, type: metronome, config: {{interval: 20}}}}]
pipeline:
  - id: p
    insert: {{ note: "${{env:NOTE}}" }}
    wal: {{max_elements: 1000}}
offramp:
  - id: w
    type: ws
    config: {{ url: "{url}", backoff_max: 0.1, {more} }}
"""
SECRET = "s3cr3t-0f-ours"
SUPERVISED = {
    "header": ('headers: {Authorization: "Bearer ${env:SECRET}"}',
               "Authorization", f"Bearer {SECRET}"),
    "cookie": ('headers: {X-Site: north, Cookie: "a=${env:SECRET}"}',
               "Cookie", f"a={SECRET}"),
    "bearer": ('bearer_auth: "${env:SECRET}"',
               "Authorization", f"Bearer {SECRET}"),
    "basic": ('basic_auth: "me:${env:SECRET}"',
              "Authorization", basic(f"me:{SECRET}")),
    "header_file": ("header_file: headers", "X-Key", SECRET),
    "bearer_auth_file": ("bearer_auth_file: token",
                         "Authorization", f"Bearer {SECRET}"),
    "basic_auth_file": ("basic_auth_file: user",
                        "Authorization", basic(f"me:{SECRET}")),
    "url": ("", None, None),
    "path": ("", None, None),
    # What shows a secret, so that the test is one.
    "plain": (f"headers: {{X-Plain: {SECRET}}}", "X-Plain", SECRET),
}


def shown_of(pid):
    """The command lines of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = [Path(f"/proc/{p}/cmdline").read_bytes() for p in
             [pid, *children]]
    assert len(lines) == 4 and all(lines)
    return b"\0\0".join(lines)


def found_in(secret, shown):
    """Where the secret is, as it is or as it is sent."""
    coded = basic(f"me:{secret}").removeprefix("Basic ")
    return {where for where, data in shown.items()
            for word in (secret, coded) if word.encode() in data}


@pytest.mark.parametrize("kind", SUPERVISED)
def test_a_secret_of_a_pipeline_is_shown_nowhere(tmp_path, raw, kind):
    """Neither by ps(1), nor in the log at its fullest, nor by status or check;
    but it gets to the server, with the first connection and with the next."""
    more, name, value = SUPERVISED[kind]
    (tmp_path / "headers").write_text(f"X-Key: {SECRET}\n")
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "user").write_text(f"me:{SECRET}\n")
    target = {"url": "?token=%s", "path": "hook/%s"}.get(kind, "")
    (tmp_path / "c.yaml").write_text(CONFIG.format(
        url=raw.url + target.replace("%s", "${env:SECRET}"), more=more))
    env = {**ENVIRONMENT, "SECRET": SECRET, "NOTE": f"note-{SECRET}"}
    argv = [program("supervisor"), "-v", "-c", tmp_path / "c.yaml"]
    checked = subprocess.run([*argv, "check"], env=env, check=True,
                             capture_output=True, timeout=PATIENCE)
    with Process(argv, tmp_path / "log", env=env) as process:
        refuse(raw.accept())
        process.wait_log("401 Unauthorized")
        peer = raw.accept().upgrade()
        assert SECRET.encode() in peer.until_opcode(TEXT)
        if name is None:
            assert peer.request.startswith(f"GET /{target % SECRET} HTTP")
        else:
            assert all_headers(peer, name) == [value]
        shown = {"ps": shown_of(process.pid), "status": b"".join(
            subprocess.run([*argv, "status", *form], env=env, check=True,
                           capture_output=True, timeout=PATIENCE).stdout
            for form in ([], ["--json"]))}
        process.signal(signal.SIGTERM)
        peer.close()
        process.wait()
        shown["log"] = process.text().encode()
    shown["check"] = checked.stdout + checked.stderr
    assert b"debug" in shown["log"] and b"wssink" in shown["check"]
    # The last reason that it was not connected is told.
    assert b"401 Unauthorized" in shown["status"]
    assert found_in(SECRET, shown) == (
        {"ps", "log", "check"} if kind == "plain" else set())


@pytest.mark.parametrize("more", [
    'headers: {A: "${env:NO_SUCH}"}', 'basic_auth: "${env:NO_SUCH}"'])
def test_a_variable_that_is_not_set_ends_the_run(tmp_path, more):
    (tmp_path / "c.yaml").write_text(CONFIG.format(
        url="ws://127.0.0.1:1/", more=more))
    with Process([program("supervisor"), "-c", tmp_path / "c.yaml"],
                 tmp_path / "log",
                 env={**ENVIRONMENT, "NOTE": "x"}) as process:
        assert process.wait() == FINAL
        assert "the environment variable NO_SUCH is not set" in process.text()

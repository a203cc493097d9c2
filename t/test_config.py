"""The configuration: what is accepted and what becomes of it, and that every
kind of mistake is refused at its exact place, by `check` and by `run`.
"""

import json
import os
import re
import shlex
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from support import BIN, DONE, FINAL, ROOT, program

ONRAMP = "onramp: [{id: m, type: metronome}]\n"
PIPELINE = "pipeline: [{id: p, wal: {max_elements: 10}}]\n"
OFFRAMP = 'offramp: [{id: w, type: ws, config: {url: "ws://localhost/"}}]\n'
PARTS = ONRAMP + PIPELINE + OFFRAMP
BINDING = """\
binding:
  - id: b
    links:
      "/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]
      "/pipeline/p/{instance}/out": ["/offramp/w/{instance}/in"]
"""
SECOND_BINDING = BINDING.removeprefix("binding:\n").replace(
    "id: b", "id: c")

TUTORIAL = """\
state_dir: state
onramp:
  - id: metronome
    type: metronome
    config: { interval: 1000 } # ms
pipeline:
  - id: main
    insert: { hostname: "${hostname}" }
    wal: { read_count: 20, max_elements: 1000, max_bytes: 10485760 }
offramp:
  - id: ws
    type: ws
    config: { url: "ws://localhost:8080/" }
binding:
  - id: default
    links:
      "/onramp/metronome/{instance}/out": ["/pipeline/main/{instance}/in"]
      "/pipeline/main/{instance}/out": ["/offramp/ws/{instance}/in"]
mapping:
  /binding/default/01:
    instance: "01"
"""


def onramp(config):
    return (f"onramp:\n  - id: m\n    type: metronome\n    config: {config}\n"
            + PIPELINE + OFFRAMP)


def pipeline(entry):
    return f"pipeline:\n  - id: p\n    {entry}\n" + ONRAMP + OFFRAMP


def wal(config):
    return pipeline(f"wal: {config}")


def insert(config):
    return pipeline(f"wal: {{max_bytes: 20000}}\n    insert: {config}")


def ws(config):
    return (f"offramp:\n  - id: w\n    type: ws\n    config: {config}\n"
            + ONRAMP + PIPELINE)


def binding(*links):
    lines = "".join(f"      {link}\n" for link in links)
    return "binding:\n  - id: b\n    links:\n" + lines + PARTS


def mapping(text):
    return "mapping:\n" + text + BINDING + PARTS


GOOD_LINKS = ('"/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]',
              '"/pipeline/p/{instance}/out": ["/offramp/w/{instance}/in"]')

# name, text of the file, line:column of the fault, words of the sentence
BAD = [
    # what is no configuration at all
    ("empty", "", "1:1", "empty"),
    ("only a comment", "# nothing\n", "1:1", "empty"),
    ("a scalar", "hello\n", "1:1", "a map of sections"),
    ("a list", "- a\n", "1:1", "not a list"),
    ("null", "---\n...\n", "2:1", "not null"),
    ("no sections", "{}\n", "1:1", "no onramp is defined"),
    ("no offramp", ONRAMP + PIPELINE, "1:1", "no offramp is defined"),
    ("syntax", "onramp:\n  - id: [1\n", "3:1", "YAML"),
    ("mapping in a scalar", "onramp: a: b\n", "1:10", "not allowed"),
    ("tab", "onramp:\n\t- id: m\n", "2:1", "cannot start any token"),
    ("unfinished string", 'state_dir: "abc\n', "2:1", "end of stream"),
    ("two documents", PARTS + "---\n" + PARTS, "4:1", "second document"),
    ("anchor", "onramp: &x []\n", "1:9", "&x"),
    ("alias", "onramp: *x\n", "1:9", "*x"),
    ("tag", "shutdown_timeout: !!str 5\n", "1:19", "tags"),
    ("merge key", "<<: {}\n" + PARTS, "1:1", '"<<" is unknown'),
    ("list as key", "? [a]\n: b\n", "1:3", "a key must be"),
    ("NUL", "onramp: []\na\0b: 1\n", "2:2", "NUL"),
    ("NUL in a string", 'state_dir: "a\\0b"\n', "1:12", "NUL"),
    ("bad UTF-8", b"onramp: []\n# \xc3\xa9\xff\n", "2:4", "UTF-8"),
    ("UTF-16", "onramp: []\n".encode("utf-16"), "1:1", "UTF-8"),
    ("control character", "onramp: []\n#\x01\n", "2:2", "control characters"),
    ("nesting", "onramp: " + "[" * 40 + "]" * 40, "1:40", "nested"),
    ("too long", PARTS + "#" * (1 << 20), "1:1", "over 1048576 bytes"),
    ("too many entries", "onramp: [" + "1," * 1001 + "]\n", "1:2010",
     "more than 1000"),
    # keys
    ("unknown section", PARTS + "onramps: []\n", "4:1", "known: state_dir"),
    ("unknown key", onramp("{intervall: 5}"), "4:14", '"intervall"'),
    ("codec", "onramp: [{id: m, type: metronome, codec: json}]\n", "1:35",
     '"codec" is unknown'),
    ("unknown key of wal", wal("{max_bytes: 20000, dir: x}"), "3:29", '"dir"'),
    ("unknown key of ws", ws('{url: "ws://h/", headers: {}}'), "4:30",
     '"headers"'),
    ("repeated key", PARTS + "state_dir: a\nstate_dir: b\n", "5:1",
     "twice, first at 4:1"),
    ("repeated key below", onramp("{interval: 5, interval: 6}"), "4:27",
     "twice, first at 4:14"),
    ("id missing", "onramp: [{type: metronome}]\n", "1:10", '"id" is missing'),
    ("type missing", "onramp: [{id: m}]\n", "1:10", '"type" is missing'),
    ("url missing", ws("{}"), "4:13", '"url" is missing'),
    ("ws without config", "offramp: [{id: w, type: ws}]\n", "1:11",
     '"config" is missing'),
    ("wal missing", "pipeline: [{id: p}]\n", "1:12", '"wal" is missing'),
    ("no limit", wal("{read_count: 5}"), "3:10", "max_elements or max_bytes"),
    # types and ranges
    ("section is a map", "onramp: {}\n", "1:9", "a list is expected"),
    ("section is null", "onramp:\n", "1:8", "not null"),
    ("entry is a string", "onramp: [m]\n", "1:10", "a map is expected"),
    ("config is a list", onramp("[]"), "4:13", "a map is expected"),
    ("quoted number", onramp('{interval: "1000"}'), "4:24",
     'not the string "1000"'),
    ("unit in a number", onramp("{interval: 1s}"), "4:24", "milliseconds"),
    ("decimals", onramp("{interval: 1.5}"), "4:24", "whole number"),
    ("negative", onramp("{interval: -1}"), "4:24", "from 0 to 86400000"),
    ("over the range", onramp("{interval: 86400001}"), "4:24",
     "from 0 to 86400000"),
    ("over 64 bits", wal("{max_bytes: 99999999999999999999}"), "3:22",
     "bytes from 16384"),
    ("octal", wal("{max_elements: 010}"), "3:25", "whole number"),
    ("hexadecimal", wal("{max_elements: 0x10}"), "3:25", "whole number"),
    ("read_count 0", wal("{max_bytes: 20000, read_count: 0}"), "3:41",
     "from 1 to 1000000"),
    ("count 0", onramp("{count: 0}"), "4:21", "from 1"),
    ("max_event_bytes", wal("{max_bytes: 20000, max_event_bytes: 16777216}"),
     "3:46", "from 1 to 16777215"),
    ("yes for true", ws('{url: "ws://h/", binary: yes}'), "4:38",
     "true or false"),
    ("number for true", ws('{url: "ws://h/", insecure: 1}'), "4:40",
     "true or false"),
    ("time as text", ws('{url: "ws://h/", ping_timeout: "5"}'), "4:44",
     "a number of seconds"),
    ("time too exact", ws('{url: "ws://h/", ping_timeout: 0.0005}'), "4:44",
     "3 decimals"),
    ("time over the range", "shutdown_timeout: 3601\n" + PARTS, "1:19",
     "from 0 to 3600"),
    ("number as a path", "state_dir: 5\n" + PARTS, "1:12", "in quotes"),
    ("path is null", "state_dir: ~\n" + PARTS, "1:12", "not null"),
    ("path is empty", 'state_dir: ""\n' + PARTS, "1:12", "empty"),
    ("path with a newline", 'state_dir: "a\\nb"\n' + PARTS, "1:12",
     "control character"),
    # names
    ("id with a slash", "onramp: [{id: a/b, type: metronome}]\n", "1:15",
     "letters, digits"),
    ("id with a dot in front", "pipeline: [{id: ..}]\n", "1:17",
     'no "." in front'),
    ("id is empty", 'onramp: [{id: ""}]\n', "1:15", "empty"),
    ("id is too long", f"onramp: [{{id: {'x' * 65}}}]\n", "1:15",
     "1 to 64 letters"),
    ("id with a space", "onramp: [{id: a b}]\n", "1:15", "letters, digits"),
    ("id with an umlaut", "onramp: [{id: ä}]\n", "1:15", "letters, digits"),
    ("id twice", "onramp: [{id: m, type: metronome},"
     " {id: m, type: metronome}]\n", "1:41", 'onramp "m" is defined twice'),
    ("offramp twice", OFFRAMP[:-2] + ', {id: w, type: ws, config: '
     '{url: "ws://b/"}}]\n', "1:69", "defined twice"),
    # what is not built yet
    ("exec", "onramp: [{id: m, type: exec}]\n", "1:24", "not built yet"),
    ("stdin", "onramp: [{id: m, type: stdin}]\n", "1:24", "not built yet"),
    ("unknown type", "onramp: [{id: m, type: kafka}]\n", "1:24",
     "known: metronome"),
    ("unknown offramp", "offramp: [{id: m, type: rest, config: {}}]\n",
     "1:25", "known: ws"),
    ("on_full", wal("{max_bytes: 20000, on_full: crash}"), "3:38",
     "known: pause, drop_oldest, drop_newest"),
    ("sync", wal("{max_bytes: 20000, sync: interval}"), "3:35",
     "always, never or interval:MS"),
    ("sync 0", wal("{max_bytes: 20000, sync: 'interval:0'}"), "3:35",
     "always, never or interval:MS"),
    ("sync map", wal("{max_bytes: 20000, sync: {interval: 5}}"), "3:35",
     "a word"),
    ("max_age", wal("{max_bytes: 20000, max_age: 0}"), "3:38", "0.001"),
    ("segment_bytes", wal("{max_bytes: 20000, segment_bytes: 20001}"),
     "3:44", "larger than max_bytes"),
    ("ack", ws('{url: "ws://h/", ack: yes}'), "4:35", "pong, write, app"),
    # urls and secrets
    ("http", ws('{url: "http://h/"}'), "4:19", "ws:// or wss://"),
    ("no host", ws('{url: "ws:///x"}'), "4:19", "needs a host"),
    ("port", ws('{url: "ws://h:70000/"}'), "4:19", "1 to 65535"),
    ("IPv6", ws('{url: "ws://[::1/"}'), "4:19", "needs a host"),
    ("space in a url", ws('{url: "ws://h/a b"}'), "4:19", "printable"),
    ("fragment", ws('{url: "ws://h/#x"}'), "4:19", "without space or #"),
    ("password", ws('{url: "ws://user:secret@h/"}'), "4:19",
     "basic_auth_file"),
    ("proxy password", ws('{url: "ws://h/", proxy: "http://u:p@h:1"}'),
     "4:37", "do not belong"),
    ("key without cert", ws('{url: "ws://h/", key: /dev/null}'), "4:35",
     "without cert"),
    ("two users", ws('{url: "ws://h/", basic_auth_file: /dev/null,'
                     ' bearer_auth_file: /dev/null}'), "4:76",
     "beside basic_auth_file"),
    ("replay", ws('{url: "ws://h/", on_connect_replay: 5000}'), "4:49",
     "4096"),
    ("rate", ws('{url: "ws://h/", rate: 0}'), "4:36", "from 1"),
    ("missing file", ws('{url: "ws://h/", cacert: none.pem}'), "4:38",
     "cannot be read: No such file"),
    ("protocol", ws('{url: "ws://h/", protocol: "a b"}'), "4:40",
     "no word of letters"),
    # insert and upsert
    ("insert is a list", insert("[a]"), "4:13", "a map is expected"),
    ("key with =", insert('{"a=b": 1}'), "4:14", 'holds "="'),
    ("key is empty", insert('{"": 1}'), "4:14", "empty"),
    ("placeholder", insert('{a: "x${hostnam}"}'), "4:17",
     '"${hostnam}" is unknown'),
    ("open placeholder", insert('{a: "${hostname"}'), "4:17", "is unknown"),
    ("empty env", insert('{a: "${env:}"}'), "4:17", "is unknown"),
    ("deep placeholder", insert('{a: [{b: "${x}"}]}'), "4:22", "is unknown"),
    ("insert and upsert", insert("{a: 1}\n    upsert: {a: 2}"), "5:14",
     "stands in insert too"),
    # bindings
    ("binding needed", "onramp: [{id: m, type: metronome},"
     " {id: n, type: metronome}]\n" + PIPELINE + OFFRAMP, "1:41",
     "say with a binding"),
    ("links missing", "binding: [{id: b}]\n" + PARTS, "1:11",
     '"links" is missing'),
    ("links empty", "binding: [{id: b, links: {}}]\n" + PARTS, "1:26",
     "no onramp to a pipeline"),
    ("half a chain", binding(GOOD_LINKS[0]), "4:7",
     "no pipeline to an offramp"),
    ("no such onramp", binding(GOOD_LINKS[0].replace("/m/", "/x/")), "4:7",
     'no onramp "x"'),
    ("no such pipeline", binding(GOOD_LINKS[0].replace("/p/", "/x/")), "4:36",
     'no pipeline "x"'),
    ("no such offramp", binding(GOOD_LINKS[0],
                                GOOD_LINKS[1].replace("/w/", "/x/")), "5:38",
     'no offramp "x"'),
    ("port name", binding(GOOD_LINKS[0].replace("/out", "/err")), "4:7",
     "has not the form /onramp/ID/{instance}/out"),
    ("no port", binding(GOOD_LINKS[0].replace("/out", "")), "4:7",
     "has not the form"),
    ("fixed instance", binding(GOOD_LINKS[0].replace("{instance}", "01")),
     "4:7", "{instance}"),
    ("no end", binding('"/query/m/{instance}/out": []'), "4:7",
     "no end of a link"),
    ("wrong way round", binding(
        '"/pipeline/p/{instance}/in": ["/onramp/m/{instance}/out"]'), "4:7",
     "wrong way round"),
    ("target is a string", binding(
        '"/onramp/m/{instance}/out": "/pipeline/p/{instance}/in"'), "4:35",
     "a list of paths"),
    ("target is a map", binding('"/onramp/m/{instance}/out": [{}]'), "4:36",
     "path of a pipeline"),
    ("no target", binding('"/onramp/m/{instance}/out": []'), "4:35",
     "leads nowhere"),
    ("fan-out", binding('"/onramp/m/{instance}/out": '
                        '["/pipeline/p/{instance}/in", '
                        '"/pipeline/p/{instance}/in"]'), "4:65",
     "fan-out) is not built yet"),
    ("fan-in", binding(*GOOD_LINKS, GOOD_LINKS[0].replace("/m/", "/n/"))
     .replace("[{id: m,", "[{id: n, type: metronome}, {id: m,"), "6:7",
     "a second onramp in one binding is not built yet"),
    ("chain of pipelines", binding(
        '"/pipeline/p/{instance}/out": ["/pipeline/p/{instance}/in"]'),
     "4:38", "behind a pipeline is not built yet"),
    ("no pipeline", binding(
        '"/onramp/m/{instance}/out": ["/offramp/w/{instance}/in"]'), "4:36",
     "straight into an offramp is not built yet"),
    ("link twice", binding(GOOD_LINKS[0], GOOD_LINKS[0]), "5:7", "twice"),
    # mappings
    ("mapping form", mapping("  /binding/b: {instance: x}\n"), "2:3",
     "/binding/ID/NAME"),
    ("mapping of another kind", mapping("  /onramp/m/1: {instance: x}\n"),
     "2:3", "/binding/ID/NAME"),
    ("no such binding", mapping("  /binding/x/1: {instance: x}\n"), "2:3",
     'no binding "x"'),
    ("no instance", mapping("  /binding/b/1: {}\n"), "2:17",
     '"instance" is missing'),
    ("mapping is a string", mapping("  /binding/b/1: x\n"), "2:17",
     '"instance" is expected'),
    ("instance name", mapping('  /binding/b/1: {instance: "a/b"}\n'), "2:28",
     "letters, digits"),
    ("instance is null", mapping("  /binding/b/1: {instance: }\n"), "2:28",
     "not null"),
    ("instance LOCK", mapping("  /binding/b/1: {instance: LOCK}\n"), "2:28",
     "LOCK"),
    ("mapping twice", mapping("  /binding/b/1: {instance: x}\n"
                              "  /binding/b/1: {instance: y}\n"), "3:3",
     "twice"),
    ("shared log", mapping("  /binding/b/1: {instance: x}\n"
                           "  /binding/b/2: {instance: x}\n"), "3:28",
     "they would share one log"),
    ("mapping needed", BINDING + SECOND_BINDING + PARTS, "6:9",
     "say with a mapping"),
]


def supervisor(*arguments, cwd):
    """Runs the supervisor to its end, away from the user's own state."""
    env = dict(os.environ, HOME=str(cwd / "home"),
               STATE_DIRECTORY=str(cwd / "state"))
    return subprocess.run([program("supervisor"), *map(str, arguments)],
                          cwd=cwd, env=env, capture_output=True, text=True,
                          timeout=60)


def everything_in(directory):
    return sorted(str(p.relative_to(directory))
                  for p in Path(directory).rglob("*"))


def commands_of(text):
    """The commands that `check` printed, as argument lists, by program, in
    groups of one instance each."""
    instances = []
    for line in text.splitlines():
        if line.startswith("#"):
            instances.append({})
            continue
        argv = shlex.split(line)
        instances[-1][Path(argv[0]).name] = argv[1:]
    return instances


def check(cwd, *arguments):
    """Runs check, which must succeed and write nothing."""
    before = everything_in(cwd)
    done = supervisor(*arguments, "check", cwd=cwd)
    assert done.returncode == DONE, done.stderr
    assert everything_in(cwd) == before
    return commands_of(done.stdout)


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("name,text,place,words", BAD,
                         ids=[case[0] for case in BAD])
def test_refused(tmp_path, name, text, place, words, verb):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "bad.yaml").write_bytes(data)
    done = supervisor("-c", "bad.yaml", verb, cwd=tmp_path)
    assert done.returncode == FINAL, done.stderr
    assert f" error bad.yaml:{place}: " in done.stderr
    line = next(line for line in done.stderr.splitlines()
                if f" bad.yaml:{place}: " in line)
    assert words in line
    assert done.stdout == ""
    assert everything_in(tmp_path) == ["bad.yaml"]


def test_enough_kinds_are_refused():
    assert len({case[0] for case in BAD}) == len(BAD) >= 30


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_secret_is_not_repeated(tmp_path, verb):
    """A log is read by more people than a configuration."""
    (tmp_path / "c.yaml").write_text(ws('{url: "ws://user:hunter2@h/"}'))
    done = supervisor("-c", "c.yaml", verb, cwd=tmp_path)
    assert done.returncode == FINAL
    assert "hunter2" not in done.stderr + done.stdout


def test_all_faults_at_once(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "onramp:\n"
        "  - id: a/b\n"
        "    type: metronome\n"
        "    config: {interval: x, cout: 1}\n"
        "pipeline: 5\n"
        "other: 1\n")
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    for place in ("2:9", "4:24", "4:27", "5:11", "6:1"):
        assert f"c.yaml:{place}: " in done.stderr
    assert len(done.stderr.splitlines()) == 5


def test_at_most_twenty_faults(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "".join(f"key{i}: 1\n" for i in range(50)))
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    lines = done.stderr.splitlines()
    assert len(lines) == 21
    assert "and 30 more" in lines[-1]


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_file_that_cannot_be_had(tmp_path, verb):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("no yaml")
    for path, words in (("none.yaml", "No such file"),
                        ("empty", "holds no .yaml")):
        done = supervisor("-c", path, verb, cwd=tmp_path)
        assert done.returncode == FINAL
        assert f"{path}:1:1: " in done.stderr
        assert words in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_file(tmp_path):
    (tmp_path / "c.yaml").write_text(PARTS)
    (tmp_path / "c.yaml").chmod(0)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert "c.yaml:1:1: it cannot be read: Permission denied" in done.stderr


def test_a_directory_named_like_a_file(tmp_path):
    """What cannot be read is refused, whoever asks: root too."""
    (tmp_path / "conf" / "x.yaml").mkdir(parents=True)
    done = supervisor("-c", "conf", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert "conf/x.yaml:1:1: it cannot be read: Is a direc" in done.stderr


@pytest.mark.parametrize("first,second,words", [
    ("state_dir: a\n", "state_dir: b\n", "first at a.yaml:1:12"),
    (ONRAMP, ONRAMP, "first at a.yaml:1:15"),
    ("mapping: {/binding/b/1: {instance: x}}\n",
     "mapping: {/binding/b/1: {instance: y}}\n", "first at a.yaml:1:11"),
])
def test_twice_in_two_files(tmp_path, first, second, words):
    (tmp_path / "a.yaml").write_text(first)
    (tmp_path / "b.yaml").write_text("\n" + second)
    done = supervisor("-c", "a.yaml", "-c", "b.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert "b.yaml:2:" in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize("arguments,words", [
    ([], "-c"),
    (["-c"], "missing after -c"),
    (["-x"], "unknown option -x"),
    (["--confg", "a"], "unknown option --confg"),
    (["--log-format", "xml", "-c", "a"], "xml"),
    (["chekc"], "unknown command chekc"),
    (["-c", "a.yaml", "check", "run"], "one command"),
    (["-c", "a.yaml", "status"], "not built yet: status"),
    (["-c", "a.yaml", "stop"], "not built yet: stop"),
    (["-c", "a.yaml", "reload"], "not built yet: reload"),
])
def test_usage(tmp_path, arguments, words):
    done = supervisor(*arguments, cwd=tmp_path)
    assert done.returncode == FINAL
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_help_and_version(tmp_path):
    assert "usage: supervisor" in supervisor("-h", cwd=tmp_path).stdout
    assert supervisor("--version", cwd=tmp_path).stdout.split()[0] == \
        "supervisor"


def test_faults_as_json(tmp_path):
    (tmp_path / "c.yaml").write_text("x: 1\n" + PARTS)
    done = supervisor("--log-format", "json", "-c", "c.yaml", cwd=tmp_path)
    assert done.returncode == FINAL
    line = json.loads(done.stderr)
    assert line["level"] == "error"
    assert line["message"].startswith("c.yaml:1:1: ")


def test_the_tutorial(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(TUTORIAL)
    (commands,) = check(tmp_path, "-c", "pipeline.yaml")
    log = tmp_path.resolve() / "state" / "01" / "main"
    assert commands == {
        "metronome": ["--interval", "1000", "--id", "metronome"],
        "walproc": ["-d", str(log), "--instance", "01", "--read-count", "20",
                    "--max-elements", "1000", "--max-bytes", "10485760",
                    "--insert", "hostname=${hostname}"],
        "wssink": ["-u", "ws://localhost:8080/"],
    }


def test_the_programs_are_those_beside_the_supervisor(tmp_path):
    (tmp_path / "pipeline.yaml").write_text(TUTORIAL)
    done = supervisor("-c", "pipeline.yaml", "check", cwd=tmp_path)
    for name in ("metronome", "walproc", "wssink"):
        assert f"\n{BIN.resolve() / name} " in done.stdout


def test_the_file_that_is_shipped(tmp_path):
    """It gives what the tutorial does, but for the state directory."""
    (commands,) = check(tmp_path, "-c", ROOT / "conf" / "pipeline.yaml")
    (tmp_path / "pipeline.yaml").write_text(TUTORIAL)
    (wanted,) = check(tmp_path, "-c", "pipeline.yaml")
    wanted["walproc"][1] = str(tmp_path / "state" / "01" / "main")
    assert commands == wanted


def test_defaults(tmp_path):
    """No binding, no mapping, no config: one instance named 01."""
    (tmp_path / "c.yaml").write_text(PARTS)
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["metronome"] == ["--interval", "1000", "--id", "m"]
    assert commands["walproc"] == [
        "-d", str(tmp_path / "state" / "01" / "p"), "--instance", "01",
        "--read-count", "20", "--max-elements", "10"]


def test_a_binding_without_mapping(tmp_path):
    (tmp_path / "c.yaml").write_text(PARTS + BINDING)
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert "01" in commands["walproc"]


def test_every_option(tmp_path):
    for name in ("h", "a", "ca", "c", "k", "p"):
        (tmp_path / name).write_text("")
    (tmp_path / "c.yaml").write_text(
        onramp("{interval: 0, count: 7}").split("pipeline")[0]
        + wal("{read_count: 3, max_elements: 4, max_bytes: 20000,"
              " max_event_bytes: 6, on_full: drop_oldest,"
              " sync: 'interval:50', max_age: 1.5, segment_bytes: 16384}"
              ).split("onramp")[0]
        + "    upsert: {u: true}\n"
        + ws('{url: "wss://[::1]:1/x?y=z", ack: app, binary: true,'
             ' ping_interval: 1, ping_timeout: 0.5, connect_timeout: 2.25,'
             ' backoff_max: 60, header_file: h, basic_auth_file: ./a,'
             f' cacert: {tmp_path}/ca, cert: c, key: k, insecure: true,'
             ' protocol: v1, proxy: "http://proxy:3128", proxy_auth_file: p,'
             ' on_connect_replay: 32, rate: 500}'
             ).split("onramp")[0])
    (commands,) = check(tmp_path, "-v", "-c", "c.yaml")
    here = tmp_path.resolve()
    assert commands["metronome"] == [
        "--interval", "0", "--count", "7", "--id", "m", "-v"]
    assert commands["walproc"][4:] == [
        "--read-count", "3", "--max-elements", "4", "--max-bytes", "20000",
        "--on-full", "drop_oldest", "--sync", "interval:50",
        "--max-age", "1.500", "--segment-bytes", "16384",
        "--max-event-bytes", "6", "--upsert", "u=true", "-v"]
    assert commands["wssink"] == [
        "-u", "wss://[::1]:1/x?y=z", "--ack", "app", "--binary",
        "--ping-interval", "1", "--ping-timeout", "0.500",
        "--connect-timeout", "2.250", "--backoff-max", "60",
        "--header-file", f"{here}/h", "--basic-auth-file", f"{here}/a",
        "--cacert", f"{tmp_path}/ca", "--cert", f"{here}/c",
        "--key", f"{here}/k", "-k", "--protocol", "v1",
        "--proxy", "http://proxy:3128", "--proxy-auth-file", f"{here}/p",
        "--on-connect-replay", "32", "--rate", "500", "-v"]


def test_a_token_in_a_file(tmp_path):
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "c.yaml").write_text(
        ws('{url: "ws://h/", bearer_auth_file: token}'))
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["wssink"][-2:] == [
        "--bearer-auth-file", f"{tmp_path.resolve()}/token"]


def test_a_flag_that_is_off(tmp_path):
    (tmp_path / "c.yaml").write_text(
        ws('{url: "ws://h/", binary: false, insecure: False}'))
    (commands,) = check(tmp_path, "-q", "-c", "c.yaml")
    assert commands["wssink"] == ["-u", "ws://h/", "-q"]


@pytest.mark.parametrize("yaml,value", [
    ("5", "5"), ('"5"', '"5"'), ("1.5", "1.5"), ("-1e3", "-1e3"),
    ("true", "true"), ('"true"', '"true"'), ("True", "true"),
    ("~", "null"), ("null", "null"), ('"null"', '"null"'), ('""', ""),
    ("yes", "yes"), ("010", "010"), ("0x1f", "0x1f"), (".5", ".5"),
    ("hello", "hello"), ("it's", "it's"), ("'a b'", "a b"),
    ("'[1]'", '"[1]"'), ("' 5'", '" 5"'), ("'\"x\"'", '"\\"x\\""'),
    ("[1, '2', [], {}]", '[1,"2",[],{}]'),
    ("{a: {b: ~}, c: 1.50}", '{"a":{"b":null},"c":1.50}'),
    ("12345678901234567890123", "12345678901234567890123"),
    ('"${seq}"', "${seq}"), ('"${hostname}/${env:HOME}"',
                             "${hostname}/${env:HOME}"),
    ("'${instance}${log_id}${ingest_ns}'",
     "${instance}${log_id}${ingest_ns}"),
    ('"a\\nb"', "a\nb"), ("é", "é"), ('"$x {y} ${seq}"', "$x {y} ${seq}"),
    ("|\n        two\n        lines\n", "two\nlines\n"),
])
def test_values_to_insert(tmp_path, yaml, value):
    (tmp_path / "c.yaml").write_text(
        insert("\n      k: " + yaml).replace("\n\n", "\n"))
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    argv = shlex.split(done.stdout, comments=True)
    assert argv[argv.index("--insert") + 1] == f"k={value}"


@pytest.mark.parametrize("given,wanted", [
    ("01", "01"), ('"01"', "01"), ("1e3", "1e3"), ("true", "true"),
    ("0x1", "0x1"), ("a.b-c_D", "a.b-c_D"), ("x" * 64, "x" * 64)])
def test_instances_are_names(tmp_path, given, wanted):
    """No YAML reader's idea of a number changes the name of a directory."""
    (tmp_path / "c.yaml").write_text(
        mapping(f"  /binding/b/1: {{instance: {given}}}\n"))
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["walproc"][1] == str(tmp_path / "state" / wanted / "p")


def test_several_instances(tmp_path):
    (tmp_path / "c.yaml").write_text(
        mapping("  /binding/b/1: {instance: one}\n"
                "  /binding/b/2: {instance: two}\n"
                "  /binding/c/1: {instance: one}\n"))
    text = (tmp_path / "c.yaml").read_text().replace(
        PIPELINE, "pipeline: [{id: p, wal: {max_elements: 10}}, "
        "{id: q, wal: {max_elements: 20}}]\n")
    text = text.replace(
        BINDING, BINDING + SECOND_BINDING.replace("/p/", "/q/"))
    (tmp_path / "c.yaml").write_text(text)
    instances = check(tmp_path, "-c", "c.yaml")
    state = tmp_path / "state"
    assert [i["walproc"][1] for i in instances] == [
        str(state / "one" / "p"), str(state / "two" / "p"),
        str(state / "one" / "q")]


def test_sections_of_several_files_add_up(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "10-onramp.yaml").write_text(ONRAMP)
    (conf / "20-pipeline.yml").write_text(PIPELINE)
    (conf / "30-offramp.yaml").write_text(OFFRAMP)
    (conf / "40-binding.yaml").write_text(
        BINDING + "mapping: {/binding/b/1: {instance: x}}\n")
    (conf / "50-mapping.yaml").write_text(
        "mapping: {/binding/b/2: {instance: y}}\nstate_dir: ../st\n")
    (conf / ".hidden.yaml").write_text("not: ours\n")
    (conf / "note.txt").write_text("not: ours\n")
    by_directory = check(tmp_path, "-c", "conf")
    files = sorted(conf.glob("[0-9]*"))
    one_by_one = check(tmp_path, *[a for f in files for a in ("-c", f)])
    at_once = check(tmp_path, "-c", *files)
    assert by_directory == one_by_one == at_once
    state = tmp_path.resolve() / "st"
    assert [i["walproc"][1] for i in by_directory] == [
        str(state / "x" / "p"), str(state / "y" / "p")]


@pytest.mark.parametrize("given,wanted", [
    ("state", "conf/state"), ("./state/", "conf/state"), (".", "conf"),
    ("..", ""), ("../a/b", "a/b"), ("./../../up", "../up"),
    (".state", "conf/.state"), ("..state", "conf/..state")])
def test_paths_start_at_their_file(tmp_path, given, wanted):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "c.yaml").write_text(f"state_dir: {given}\n" + PARTS)
    (commands,) = check(tmp_path, "-c", "conf/c.yaml")
    state = os.path.normpath(tmp_path.resolve() / wanted)
    assert commands["walproc"][1] == f"{state}/01/p"


@pytest.mark.parametrize("env,wanted", [
    ({"STATE_DIRECTORY": "/a/b:/c"}, "/a/b"),
    ({"STATE_DIRECTORY": "relative"}, None),
    ({}, None),
])
def test_default_state_directory(tmp_path, env, wanted):
    (tmp_path / "c.yaml").write_text(PARTS)
    env = {"HOME": "/h", **env}
    if wanted is None:
        wanted = "/var/lib/walpipe" if os.geteuid() == 0 else \
            "/h/.local/state/walpipe"
    done = subprocess.run([program("supervisor"), "-c", "c.yaml", "check"],
                          cwd=tmp_path, env=env, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == DONE
    (commands,) = commands_of(done.stdout)
    assert commands["walproc"][1] == f"{wanted}/01/p"


BUILDERS = {"interval": onramp, "count": onramp, "read_count": wal,
            "max_elements": wal, "max_bytes": wal, "max_event_bytes": wal,
            "max_age": wal, "segment_bytes": wal,
            "ping_interval": ws, "ping_timeout": ws, "connect_timeout": ws,
            "backoff_max": ws, "on_connect_replay": ws, "rate": ws}
NEEDED = {onramp: "", wal: "max_elements: 1", ws: 'url: "ws://h/"'}


def documented_ranges():
    """The numbers in pipeline.yaml(5): key, unit, lowest, highest."""
    text = (ROOT / "supervisor" / "pipeline.yaml.5").read_text()
    for line in text.splitlines():
        found = re.match(r"\.It Cm (\w+) No \(([\w ]+), ([\d.]+) to ([\d.]+)",
                         line)
        if found:
            yield found.groups()


@pytest.mark.parametrize("key,unit,lowest,highest", documented_ranges())
def test_ranges_are_as_documented(tmp_path, key, unit, lowest, highest):
    def status(value):
        if key == "shutdown_timeout":
            text = f"{key}: {value}\n" + PARTS
        else:
            make = BUILDERS[key]
            rest = "" if key == "max_elements" else NEEDED[make]
            text = make("{" + ", ".join(filter(None, [
                f"{key}: {value}", rest])) + "}")
        (tmp_path / "c.yaml").write_text(text)
        done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
        assert done.returncode == DONE or "c.yaml:" in done.stderr
        return done.returncode
    step = Decimal("0.001") if unit == "seconds" else 1
    lowest, highest = Decimal(lowest), Decimal(highest)
    assert status(lowest) == status(highest) == DONE
    assert status(highest + step) == FINAL
    assert status(lowest - step) == FINAL


def test_every_number_is_documented():
    assert {r[0] for r in documented_ranges()} == {
        "shutdown_timeout", *BUILDERS}


def test_what_never_runs_is_told(tmp_path):
    (tmp_path / "c.yaml").write_text(BINDING + PARTS.replace(
        "[{id: m,", "[{id: idle, type: metronome}, {id: m,")
        + "mapping: {/binding/b/1: {instance: x}}\n")
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == DONE
    assert 'warn c.yaml:6:15: onramp "idle" is in no chain' in done.stderr


def test_byte_order_mark_and_line_ends(tmp_path):
    (tmp_path / "c.yaml").write_bytes(
        b"\xef\xbb\xbf" + PARTS.replace("\n", "\r\n").encode())
    assert len(check(tmp_path, "-c", "c.yaml")) == 1
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfx: 1\r\ny: 1\r\n")
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert "c.yaml:1:1: " in done.stderr and "c.yaml:2:1: " in done.stderr


def test_text_of_a_file_cannot_forge_the_log(tmp_path):
    (tmp_path / "c.yaml").write_text('"a\\n\\e[31mb": 1\n' + PARTS)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr

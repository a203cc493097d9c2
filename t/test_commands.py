"""The configuration: what becomes of one that is accepted, which `check`
prints as the commands of the stages.
"""

import os
import re
import shutil
import subprocess
from decimal import Decimal

import pytest

from configs import (BINDING, OFFRAMP, ONRAMP, PARTS, PIPELINE, SECOND_BINDING,
                     TUTORIAL, check, command_lines, commands_of, document_of,
                     insert, mapping, onramp, patch, source, supervisor, wal,
                     words_of, ws)
from support import BIN, DONE, FINAL, ROOT, program


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
        assert f"\n#   $ {BIN.resolve() / name} " in done.stdout


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
        onramp("{interval: 0, count: 7, size: 120}").split("pipeline")[0]
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
        "--interval", "0", "--count", "7", "--size", "120", "--id", "m",
        "-v"]
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


def test_the_pipeline_that_the_readme_shows(tmp_path):
    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"```yaml\n(pipeline:.*?)```", text, re.S)
    (tmp_path / "c.yaml").write_text(ONRAMP + shown + OFFRAMP)
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["walproc"][8:] == [
        "--insert", "site=north", "--upsert", "host=${hostname}",
        "--erase", "password", "--erase", "debug",
        "--merge", 'user={"ip":null}', "--update", "version=2"]


@pytest.mark.parametrize("entries,wanted", [
    ("[]", []),
    ("[{insert: {}}, {erase: []}]", []),
    ("[{insert: {a: 1}}, {upsert: {a: x, b: '5'}}]",
     ["--insert", "a=1", "--upsert", "a=x", "--upsert", 'b="5"']),
    ("[{update: {a: {b: [1.50, ~]}}}]", ["--update", 'a={"b":[1.50,null]}']),
    ("[{erase: a}, {erase: [5, 'c d', a=b, '~']}]",
     ["--erase", "a", "--erase", "5", "--erase", "c d", "--erase", "a=b",
      "--erase", "~"]),
    ("[{merge: {a: {}, b: {c: ~, d: {e: '${seq}'}}}}]",
     ["--merge", "a={}", "--merge", 'b={"c":null,"d":{"e":"${seq}"}}']),
    ("[{merge_event: {}}, {merge_event: {a=b: ~, '': [~]}}]",
     ["--merge-event", "{}", "--merge-event", '{"a=b":null,"":[null]}']),
    ("[{erase: a}, {insert: {a: 1}}, {erase: a}, {insert: {a: 1}}]",
     2 * ["--erase", "a", "--insert", "a=1"]),
])
def test_operations_keep_their_order(tmp_path, entries, wanted):
    (tmp_path / "c.yaml").write_text(patch(
        entries + "\n    upsert: {u: 1}\n    insert: {i: 1, j: 2}"))
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["walproc"][8:] == [
        "--insert", "i=1", "--insert", "j=2", "--upsert", "u=1", *wanted]


def test_the_offramp_that_the_readme_shows(tmp_path):
    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"```yaml\n(offramp:.*?)```", text, re.S)
    for name in ("token", "client.pem"):
        (tmp_path / name).touch()
    (tmp_path / "c.yaml").write_text(ONRAMP + PIPELINE + shown)
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["wssink"][:2] == ["-u", "wss://example.org/in"]
    assert commands["wssink"][-2:] == ["--rate", "500"]


@pytest.mark.parametrize("config,wanted", [
    ('headers: {A: b, X-C: "d e", N: 5, T: true, E: ""}',
     ["-H", "A: b", "-H", "X-C: d e", "-H", "N: 5", "-H", "T: true",
      "-H", "E: "]),
    ("headers: {}", []),
    ('headers: {Authorization: "Bearer ${env:TOKEN}"}',
     ["-H", "Authorization: Bearer ${env:TOKEN}"]),
    ('headers: {X-Token: "${env:A}${env:B}", Cookie: "a=${env:A}"}',
     ["-H", "X-Token: ${env:A}${env:B}", "-H", "Cookie: a=${env:A}"]),
    ('basic_auth: "me:${env:P}"', ["--basic-auth", "me:${env:P}"]),
    ('bearer_auth: "${env:P}"', ["--bearer-auth", "${env:P}"]),
    ('proxy_auth: "me:${env:P}", proxy: "http://h:1"',
     ["--proxy", "http://h:1", "--proxy-auth", "me:${env:P}"]),
])
def test_secrets_are_named_only(tmp_path, config, wanted):
    (tmp_path / "c.yaml").write_text(ws('{url: "ws://h/", ' + config + "}"))
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["wssink"] == ["-u", "ws://h/", *wanted]


@pytest.mark.parametrize("url", [
    "ws://h/?token=${env:T}", "ws://h/${env:P}/in?a=b&secret=${env:S}",
    "ws://h/?tokens=x&token", "ws://h/token=x"])
def test_urls_with_secrets_in_the_environment(tmp_path, url):
    (tmp_path / "c.yaml").write_text(ws(f'{{url: "{url}"}}'))
    (commands,) = check(tmp_path, "-c", "c.yaml")
    assert commands["wssink"] == ["-u", url]


@pytest.mark.parametrize("words,wanted", [
    ("[tail, -F, /x/y]", ["tail", "-F", "/x/y"]),
    ("[a, 1, 1.50, 010, True, no, '', ' ', \"it's\"]",
     ["a", "1", "1.50", "010", "True", "no", "", " ", "it's"]),
    ("['${env:HOME}', \"$x\", '*']", ["${env:HOME}", "$x", "*"]),
    ("[7]", ["7"]),
    ("[/bin/../bin/true, ../x]", ["/bin/../bin/true", "../x"]),
    ("[./run, ./run]", ["HERE/conf/run", "./run"]),
    ("[../run]", ["HERE/run"]),
    (f"[{'a, ' * 255} b]", ["a"] * 255 + ["b"]),
    (f"[a, {'b' * 131068}]", ["a", "b" * 131068]),
], ids=["words", "scalars", "literally", "number", "absolute", "relative",
        "above", "256 words", "longest"])
def test_a_command_to_run(tmp_path, monkeypatch, words, wanted):
    names = [tmp_path / "bin" / name for name in ("a", "7", "${env:HOME}")]
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    for path in (tmp_path / "run", tmp_path / "conf" / "run", *names):
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "conf" / "c.yaml").write_text(
        source("exec", f"{{command: {words}}}"))
    done = supervisor("-v", "-c", "conf/c.yaml", "check", cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    lines = list(map(words_of, command_lines(done.stdout)))
    assert lines[0] == [
        w.replace("HERE", str(tmp_path.resolve())) for w in wanted]
    assert lines[1] == [
        str(BIN.resolve() / "onramp"), "--sandbox", "-v"]
    assert len(lines) == 4


def test_a_script_of_several_lines_in_a_command(tmp_path):
    (tmp_path / "c.yaml").write_text(
        source("exec", '{command: [sh, -c, "a\\nb\\tc\\x1b"]}'))
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    argv = words_of(command_lines(done.stdout)[0])
    assert argv == ["sh", "-c", "a\nb\tc\x1b"]


def test_standard_input(tmp_path):
    for config in ("", "{}"):
        (tmp_path / "c.yaml").write_text(source("stdin", config))
        (commands,) = check(tmp_path, "-c", "c.yaml")
        assert commands["onramp"] == []
        assert "metronome" not in commands


@pytest.mark.parametrize("text,wanted", [
    (PARTS, "metronome: always"),
    (onramp("{count: 5}"), "metronome: on-failure"),
    (source("stdin"), "stdin: on-failure"),
    (source("exec", "{command: [sh]}"), "exec: always"),
    (source("exec", "{command: [sh], restart: on-failure}"),
     "exec: on-failure"),
    (source("exec", "{command: [sh], restart: never}"), "exec: never"),
])
def test_what_is_told_of_an_instance(tmp_path, text, wanted):
    (tmp_path / "c.yaml").write_text(text)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    told = [line for line in done.stdout.splitlines()
            if re.match("#(?!   [$] )", line)]
    assert told == [
        "# instance 01, binding default: onramp m -> pipeline p -> "
        "offramp w",
        f"#   log: {tmp_path / 'state'}/01/p",
        f"#   restart of the {wanted}"]


@pytest.mark.parametrize("text,wanted", [
    ("", []), ("sandbox: false\n", ["sandbox: false"]),
    ("user: a.b\\c@d$\ngroup: 0\n", ['user: "a.b\\\\c@d$"', "group: 0"]),
    ("user: 007\n", ['user: "007"']),
])
def test_who_the_stages_are(tmp_path, text, wanted):
    """Names are looked up when stages are started, not by check."""
    (tmp_path / "c.yaml").write_text(text + PARTS)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    top = document_of(done.stdout).split("onramp:")[0]
    assert list(filter(None, top.split("\n"))) == wanted


@pytest.mark.parametrize("text,count", [
    ("", 3), ("sandbox: true\n", 3), ("sandbox: false\n", 0)])
def test_the_stages_are_confined(tmp_path, text, count):
    """All of them, and not the user's command."""
    (tmp_path / "c.yaml").write_text(
        text + source("exec", "{command: [sh, b]}"))
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    lines = list(map(words_of, command_lines(done.stdout)))
    assert len(lines) == 4 and lines[0] == ["sh", "b"]
    assert sum(line.count("--sandbox") for line in lines) == count


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
    argv = words_of(command_lines(done.stdout)[1])
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


BUILDERS = {"interval": onramp, "count": onramp, "size": onramp,
            "read_count": wal,
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
    assert ('warn c.yaml:6:15: onramp "idle" is used by no instance'
            in done.stderr)


def test_byte_order_mark_and_line_ends(tmp_path):
    (tmp_path / "c.yaml").write_bytes(
        b"\xef\xbb\xbf" + PARTS.replace("\n", "\r\n").encode())
    assert len(check(tmp_path, "-c", "c.yaml")) == 1
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfx: 1\r\ny: 1\r\n")
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert "c.yaml:1:1: " in done.stderr and "c.yaml:2:1: " in done.stderr


def test_the_examples(tmp_path):
    """What is installed as an example can be run as it is, but for the files
    that it names."""
    for path in sorted((ROOT / "conf").glob("*.yaml")):
        shutil.copy(path, tmp_path)
        (tmp_path / "token").write_text("t")
        (commands,) = check(tmp_path, "-c", path.name)
        assert commands["wssink"][:2] == ["-u", {
            # The last of the two.
            "fan.yaml": "ws://localhost:8081/",
            "load.yaml": "ws://localhost:8080/",
            "pipeline.yaml": "ws://localhost:8080/",
            "follow.yaml": "wss://example.org/events"}[path.name]]

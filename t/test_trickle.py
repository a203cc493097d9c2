"""Queries: files in the language that trickle(5) describes as pipelines, and
the set of files of the tutorial as it stands there.
"""

import json
import shutil

import pytest

from configs import (BINDING, OFFRAMP, ONRAMP, PARTS, PIPELINE, TUTORIAL,
                     check, command_lines, everything_in, supervisor)
from support import DONE, FINAL, ROOT

METRONOME = """\
# File: etc/tremor/config/metronome.yaml
onramp:
  - id: metronome
    type: metronome
    config:
      interval: 1000 # Every second
"""

PERSISTENT = """\
# File: etc/tremor/config/persistent.trickle
use tremor::system;

define qos::wal operator on_disk_wal
with
  read_count = 20,
  max_elements = 1000, # Capacity limit of 1000 stored events
  max_bytes = 10485760 # Capacity limit of 1MB of events
end;

create operator on_disk_wal;

select patch event of
  insert hostname = system::hostname()
end
from in into on_disk_wal;

select event from on_disk_wal into out;
"""

WS = """\
offramp:
  - id: ws
    type: ws
    config:
      url: ws://localhost:8080/
"""

LINKS = """\
binding:
  - id: default
    links:
      "/onramp/metronome/{instance}/out": ["/pipeline/main/{instance}/in"]
      "/pipeline/main/{instance}/out": ["/offramp/ws/{instance}/in"]

mapping:
  /binding/default/01:
    instance: "01"
"""

PAGE = {"metronome.yaml": METRONOME, "persistent.trickle": PERSISTENT,
        "ws.yaml": WS, "binding.yaml": LINKS}

# A log, and what leads from it to the end.
LOG = ("define qos::wal operator w with max_elements = 9 end;\n"
       "create operator w;\nselect event from w into out;\n")


def write(directory, files):
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)


def patch(operations):
    """A query that does so with each event; the first one begins at 4:23."""
    return LOG + f"select patch event of {operations} end from in into w;\n"


def query_of(tmp_path, text):
    """What check says to one query, with an onramp and an offramp."""
    (tmp_path / "q.trickle").write_text(text)
    (tmp_path / "c.yaml").write_text(ONRAMP + OFFRAMP)
    return supervisor("-c", "q.trickle", "c.yaml", "check", cwd=tmp_path)


def log_of(tmp_path, text):
    """The options of the log behind those that any has."""
    done = query_of(tmp_path, text)
    assert done.returncode == DONE, done.stderr
    (tmp_path / "q.trickle").unlink()
    (commands,) = check(tmp_path, "-c", write_document(tmp_path, done))
    words = commands["walproc"]
    assert words[:4] == ["-d", str(tmp_path / "state" / "01" / "q"),
                         "--instance", "01"]
    return words[4:]


def write_document(tmp_path, done):
    """Saves what check printed, which is the configuration again."""
    path = tmp_path / "printed.yaml"
    path.write_text(done.stdout)
    again = supervisor("-c", path, "check", cwd=tmp_path)
    assert again.returncode == DONE, again.stderr
    assert again.stdout == done.stdout
    return path


def page_commands(tmp_path):
    """What a YAML file that says the same comes to."""
    (tmp_path / "pipeline.yaml").write_text(
        TUTORIAL.replace("state_dir: state\n", ""))
    done = supervisor("-c", "pipeline.yaml", "check", cwd=tmp_path)
    assert done.returncode == DONE
    (tmp_path / "pipeline.yaml").unlink()
    return command_lines(done.stdout)


@pytest.mark.parametrize("form", ["directory", "each", "pattern", "verb"])
def test_the_files_of_the_tutorial(tmp_path, form):
    """Each form gives the same commands, byte by byte, as one YAML file."""
    write(tmp_path / "config", PAGE)
    wanted = page_commands(tmp_path)
    paths = [f"config/{name}" for name in PAGE]
    arguments = {
        "directory": ["-c", "config", "check"],
        "each": [word for path in paths for word in ("-c", path)] + ["check"],
        "pattern": ["-c", *sorted(paths), "check"],
        "verb": ["-c", paths[0], "check", *paths[1:]]}[form]
    done = supervisor(*arguments, cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    assert command_lines(done.stdout) == wanted
    assert done.stderr.count("\n") == 1
    assert (' warn config/binding.yaml:4:44: there is no pipeline "main"; '
            '"persistent" (at config/persistent.trickle:1:1) is the only one '
            "and is bound in its place\n") in done.stderr


def test_the_directory_that_is_shipped(tmp_path):
    shutil.copytree(ROOT / "conf" / "tutorial", tmp_path / "tutorial")
    done = supervisor("-c", "tutorial", "check", cwd=tmp_path)
    assert command_lines(done.stdout) == page_commands(tmp_path)
    shutil.copy(ROOT / "conf" / "pipeline.yaml", tmp_path)
    one = supervisor("-c", "pipeline.yaml", "check", cwd=tmp_path)
    assert done.stdout == one.stdout and one.stderr == ""


def test_linked_by_its_own_name_there_is_no_warning(tmp_path):
    write(tmp_path / "config", {
        **PAGE, "binding.yaml": LINKS.replace("/main/", "/persistent/")})
    done = supervisor("-c", "config", "check", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert f"{tmp_path}/state/01/persistent\n" in done.stdout


def test_sections_in_files_of_their_own(tmp_path):
    """Several files have an offramp, and several a binding."""
    write(tmp_path / "config", {
        **PAGE, "binding.yaml": LINKS.replace("/main/", "/persistent/"),
        "second.trickle": PERSISTENT,
        "ws2.yaml": WS.replace("ws\n", "ws2\n", 1).replace("8080", "8081"),
        "binding2.yaml": LINKS.replace("/main/", "/second/").replace(
            "id: default", "id: two").replace("/ws/", "/ws2/").replace(
            "/default/", "/two/")})
    first, second = check(tmp_path, "-c", "config")
    assert first["walproc"][1].endswith("/01/persistent")
    assert second["walproc"][1].endswith("/01/second")
    assert second["wssink"] == ["-u", "ws://localhost:8081/"]


@pytest.mark.parametrize("links,words", [
    # Two names in the links: which of them is it?
    (LINKS.replace("/pipeline/main/{instance}/out",
                   "/pipeline/other/{instance}/out"),
     'config/binding.yaml:4:44: there is no pipeline "main"'),
    (LINKS.replace("/metronome/", "/clock/"),
     'config/binding.yaml:4:7: there is no onramp "clock"'),
    (LINKS.replace("/offramp/ws/", "/offramp/sink/"),
     'config/binding.yaml:5:41: there is no offramp "sink"'),
])
def test_a_link_that_leads_nowhere(tmp_path, links, words):
    write(tmp_path / "config", {**PAGE, "binding.yaml": links})
    done = supervisor("-c", "config", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert f" error {words}\n" in done.stderr


def test_what_is_wrong_with_a_way_out_is_told_once(tmp_path):
    """However many ways in it leads to; each of those too."""
    write(tmp_path / "config", {
        **PAGE, "other.trickle": PERSISTENT, "binding.yaml": LINKS.replace(
            '["/off', '["/offramp/y/{instance}/in", "/off')})
    done = supervisor("-c", "config", "check", cwd=tmp_path)
    assert [line.split(" error ")[1] for line in done.stderr.splitlines()] == [
        'config/binding.yaml:4:44: there is no pipeline "main"',
        'config/binding.yaml:5:7: there is no pipeline "main"',
        'config/binding.yaml:5:41: there is no offramp "y"']


def test_two_pipelines_are_not_taken_for_one(tmp_path):
    write(tmp_path / "config", {**PAGE, "other.trickle": PERSISTENT})
    done = supervisor("-c", "config", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert ('error config/binding.yaml:4:44: there is no pipeline "main"\n'
            in done.stderr)


def test_a_pipeline_of_a_yaml_file_under_another_name(tmp_path):
    """Its id was chosen: with another it would leave its log behind."""
    (tmp_path / "c.yaml").write_text(BINDING.replace("/p/", "/x/") + PARTS)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert 'error c.yaml:4:36: there is no pipeline "x"\n' in done.stderr


def test_the_same_pipeline_in_both_forms(tmp_path):
    (tmp_path / "a.yaml").write_text(PIPELINE)
    (tmp_path / "p.trickle").write_text(LOG)
    done = supervisor("-c", "a.yaml", "p.trickle", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    (tmp_path / "p.trickle").write_text(patch("insert a = 1"))
    done = supervisor("-c", "a.yaml", "p.trickle", "check", cwd=tmp_path)
    assert ('error p.trickle:1:1: pipeline "p" is defined twice, first at '
            "a.yaml:1:17\n" in done.stderr)


@pytest.mark.parametrize("name", ["a b.trickle", "a:b.trickle", "ä.trickle",
                                  "x" * 65 + ".trickle", ".trickle"])
def test_a_file_whose_name_names_no_pipeline(tmp_path, name):
    (tmp_path / name).write_text(LOG)
    done = supervisor("-c", name, "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert "1:1: the file's name is that of its pipeline" in done.stderr


@pytest.mark.parametrize("name", ["a.b-c", "null", "true", "01", "-x", "in"])
def test_names_that_may_be(tmp_path, name):
    """None of them is anything but text, also where it is printed."""
    (tmp_path / f"{name}.trickle").write_text(patch("insert a = 1"))
    (tmp_path / "c.yaml").write_text(ONRAMP + OFFRAMP)
    done = supervisor("-c", "c.yaml", f"./{name}.trickle", "check",
                      cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    path = write_document(tmp_path, done)
    (commands,) = check(tmp_path, "-c", path)
    assert commands["walproc"][1].endswith(f"/01/{name}")


def test_what_is_hidden_or_no_file_in_a_directory(tmp_path):
    write(tmp_path / "config", {**PAGE, ".x.trickle": "no query"})
    assert len(check(tmp_path, "-c", "config")) == 1
    (tmp_path / "config" / "x.trickle").mkdir()
    done = supervisor("-c", "config", "check", cwd=tmp_path)
    assert "config/x.trickle:1:1: it cannot be read: Is a d" in done.stderr


def test_a_query_that_is_too_long(tmp_path):
    done = query_of(tmp_path, "#" * ((1 << 20) + 1))
    assert done.returncode == FINAL
    assert "q.trickle:1:1: the file is over 1048576 bytes" in done.stderr


LIMITS = ["--read-count", "20", "--max-elements", "9"]


@pytest.mark.parametrize("operation,option", [
    ("insert k = 1", "--insert k=1"),
    ('insert "k" => 1', "--insert k=1"),
    ("upsert k = 1", "--upsert k=1"),
    ("insert `k` = 1", "--insert k=1"),
    ('insert "end" = 1', "--insert end=1"),
    ("insert on-disk = 1", "--insert on-disk=1"),
    ("insert k = 0xff", "--insert k=255"),
    ("insert k = 1_000", "--insert k=1000"),
    ("insert k = -5", "--insert k=-5"),
    ("insert k = -0", "--insert k=0"),
    ("insert k = - 9223372036854775808",
     "--insert k=-9223372036854775808"),
    ("insert k = 18446744073709551615",
     "--insert k=18446744073709551615"),
    ("insert k = 1.50e3", "--insert k=1.50e3"),
    ("insert k = -0.0", "--insert k=-0.0"),
    ("insert k = true", "--insert k=true"),
    ("insert k = null", "--insert k=null"),
    ('insert k = "true"', '--insert k="true"'),
    ('insert k = "5"', '--insert k="5"'),
    ('insert k = ""', "--insert k="),
    ('insert k = "a\\tb\\n\\"\\u20ac\\u2028"', '--insert k=a\tb\n"€\u2028'),
    ('insert k = "{}"', '--insert k="{}"'),
    ('insert k = "\\{x}"', "--insert k={x}"),
    ('insert k = "${}"'.replace("$", "$ "), "--insert k=$ {}"),
    ("insert k = []", "--insert k=[]"),
    ("insert k = {}", "--insert k={}"),
    ('insert k = {"a": [1, {b: null,},],}', '--insert k={"a":[1,{"b":null}]}'),
    ('insert k = [system::hostname()]', '--insert k=["${hostname}"]'),
    ("insert k = system::hostname()", "--insert k=${hostname}"),
    ("insert k = system::instance()", "--insert k=${instance}"),
    ("upsert k = system::ingest_ns()", "--upsert k=${ingest_ns}"),
    ("insert k = tremor::system::instance()", "--insert k=${instance}"),
])
def test_operations(tmp_path, operation, option):
    option, value = option.split(" ", 1)
    assert log_of(tmp_path, patch(operation)) == [*LIMITS, option, value]
    assert log_of(tmp_path, patch(operation + ";")) == [*LIMITS, option,
                                                        value]


@pytest.mark.parametrize("operation,option", [
    ("update k = 1", "--update k=1"),
    ('update "k" => null', "--update k=null"),
    ("erase k", "--erase k"),
    ('erase "a=b"', "--erase a=b"),
    ('merge k = {"a": null}', '--merge k={"a":null}'),
    ("merge k => {}", "--merge k={}"),
    ("merge => {a: [1]}", '--merge-event {"a":[1]}'),
    ("merge = {a: system::hostname()}", '--merge-event {"a":"${hostname}"}'),
])
def test_operations_of_a_list(tmp_path, operation, option):
    assert log_of(tmp_path, patch(operation)) == [*LIMITS, *option.split()]


def test_the_order_of_a_list(tmp_path):
    """Over all that is on the way."""
    assert log_of(tmp_path, LOG.replace("event from", (
        "patch event of insert a = 5, end from")) +
        "create stream s; select merge event of {b: null} end from in into s;"
        "select patch event of upsert a = 1; insert b = 2; erase a; end "
        "from s into w") == [
            *LIMITS, "--merge-event", '{"b":null}', "--upsert", "a=1",
            "--insert", "b=2", "--erase", "a", "--insert", "a=5"]


@pytest.mark.parametrize("operation,words", [
    ('insert "a=b" = 1', 'q.trickle:4:30: the key "a=b" cannot be used'),
    ('update "a=b" = 1', 'q.trickle:4:30: the key "a=b" cannot be used'),
    ('merge "" = {}', 'q.trickle:4:29: the key "" cannot be used'),
    ('erase ""', "q.trickle:4:29: "),
])
def test_keys_that_cannot_be(tmp_path, operation, words):
    done = query_of(tmp_path, patch(operation))
    assert done.returncode == FINAL
    assert f" error {words}" in done.stderr


def test_inserts_and_then_upserts(tmp_path):
    wanted = [*LIMITS, "--insert", "b=1", "--insert", "a=2", "--upsert",
              "c=3"]
    for mark in ";,":
        assert log_of(tmp_path, patch(
            f"insert b = 1{mark} insert a = 2{mark} upsert c = 3")) == wanted
    assert log_of(tmp_path, LOG + (
        "create stream s;\n"
        "select patch event of insert a = 2; upsert c = 3 end\n"
        "  from s/out into w/in;\n"
        "select patch event of insert b = 1 end from in into s\n")) == wanted


def test_many_operations(tmp_path):
    """More than the map `insert` takes, up to what a pipeline may have."""
    keys = [f"k{n}" for n in range(257)]
    text = "; ".join(f"insert {key} = 1" for key in keys[:256])
    assert log_of(tmp_path, patch(text)) == LIMITS + [
        word for key in keys[:256] for word in ("--insert", f"{key}=1")]
    done = query_of(tmp_path, patch(f"{text}; insert {keys[256]} = 1"))
    assert done.returncode == FINAL
    assert "more than 256 operations" in done.stderr


def test_settings_of_the_log(tmp_path):
    """All of those that a YAML file has."""
    text = LOG.replace("max_elements = 9", """
        read_count = 7, max_elements = 8, max_bytes = 30000,
        on_full = "drop_newest", sync = "interval:5", max_age = 1.5,
        segment_bytes = 20000, max_event_bytes = 100,""")
    options = {"read-count": 7, "max-elements": 8, "max-bytes": 30000,
               "on-full": "drop_newest", "sync": "interval:5",
               "max-age": "1.500", "segment-bytes": 20000,
               "max-event-bytes": 100}
    assert log_of(tmp_path, text + "select event from in into w") == [
        word for name, value in options.items()
        for word in (f"--{name}", str(value))]


@pytest.mark.parametrize("text", [
    "define qos::wal operator d with max_elements = 9 end;"
    "create operator w from d;",
    "define operator w from qos::wal with max_elements = 9 end;"
    "create operator w;",
    "define operator d from qos::wal with max_elements = 9, end;"
    "create operator w from d;",
    "create operator w; define qos::wal operator w with max_elements = 9 end;",
    "use std; use std::array; use tremor::system as s;\n### m\n## d\n# c\n"
    "define qos::wal operator w with max_elements = 9 end; create operator w;",
])
def test_definitions(tmp_path, text):
    assert log_of(tmp_path, text + "select event from w into out;"
                  "select event from in into w") == LIMITS


def select(text):
    """A query with that statement at 4:1."""
    return LOG + text + "\n"


def value(text):
    """A query with that value at 4:34."""
    return patch(f"insert k = {text}")


IN = "select event from in into w;\n"

# Name, query, place, and what is said of it.
BAD = [
    ("nothing", "", "1:1", 'no "select" takes the events from "in"'),
    ("no query", "hello", "1:1", '"use", "define", "create" or "select" is '
     'expected here, not the name "hello"'),
    ("empty statement", "use std;;", "1:9", '"use", "define", "create" or '
     '"select" is expected here, not ";"'),
    ("no semicolon", "use std create", "1:9",
     '";" is expected here, not the reserved word "create"'),
    ("cut short", "create", "1:7",
     '"operator" or "stream" is expected here, not the end of the file'),
    ("not utf-8", b"use \xff;", "1:5", "the file is not valid UTF-8 here"),
    ("nul", b"use a\0;", "1:6", "a NUL byte stands here"),
    ("odd character", "use é;", "1:5",
     "this character stands in strings and comments only"),
    ("config", "#!config x = 1\n", "1:1", '"#!config" is not supported'),
    ("line", "use std;\n#!line 0 0 0 0 x\n", "2:1",
     '"#!line" is not supported'),
    ("own module", "use my::lib;", "1:5", "the module my::lib is not "
     "supported; known: those in tremor and std"),
    ("let", "let x = 1;", "1:1", '"let" is not supported'),
    ("const", "const x = 1;", "1:1", '"const" is not supported'),
    ("fn", "fn f(x) with x end;", "1:1", '"fn" is not supported'),
    ("mod", "mod m with const x = 1; end", "1:1", '"mod" is not supported'),
    ("intrinsic", "intrinsic fn f() as g::f;", "1:1",
     '"intrinsic" is not supported'),
    ("emit", "emit event;", "1:1", '"emit" is not supported'),
    ("drop", "drop;", "1:1", '"drop" is not supported'),
    ("match", "match event of default => 1 end;", "1:1",
     '"match" is not supported'),
    ("for", "for event of case (k, v) => v end;", "1:1",
     '"for" is not supported'),
    ("define script", "define script s script event end;", "1:8",
     '"define script" is not supported'),
    ("define window", "define window w from tumbling end;", "1:8",
     '"define window" is not supported'),
    ("define tumbling", "define tumbling window w with size = 1 end;", "1:8",
     '"define tumbling window" is not supported'),
    ("define sliding", "define sliding window w with size = 1 end;", "1:8",
     '"define sliding window" is not supported'),
    ("define pipeline", "define pipeline p pipeline end;", "1:8",
     '"define pipeline" is not supported'),
    ("define flow", "define flow f flow end;", "1:8",
     '"define flow" is not supported'),
    ("deploy", "deploy flow f;", "1:1", '"deploy" is not supported'),
    ("define connector", "define connector c from ws end;", "1:8",
     '"define connector" is not supported'),
    ("create script", "create script s;", "1:8",
     '"create script" is not supported'),
    ("create pipeline", "create pipeline p;", "1:8",
     '"create pipeline" is not supported'),
    ("batch", "define generic::batch operator b with count = 1 end;", "1:8",
     "the operator generic::batch is not supported; known: qos::wal"),
    ("backpressure", "define operator b from qos::backpressure;", "1:24",
     "the operator qos::backpressure is not supported; known: qos::wal"),
    ("bucket", "define grouper::bucket operator b;", "1:8",
     "the operator grouper::bucket is not supported; known: qos::wal"),
    ("args", "define operator b from qos::wal args x = 1 with y = 1 end;",
     "1:33", '"args" is not supported'),
    ("no name", "define qos::wal operator select;", "1:26", "the name of an "
     'operator is expected here, not the reserved word "select"'),
    ("created with", "create operator w with max_elements = 1 end;", "1:19",
     '"with" where an operator is created is not supported'),
    ("nothing with", "define qos::wal operator w with end;", "1:33",
     'the name of a setting is expected here, not the reserved word "end"'),
    ("no end", "define qos::wal operator w with read_count = 1;", "1:47",
     '"," or "end" is expected here, not ";"'),
    ("arrow", "define qos::wal operator w with read_count => 1 end;", "1:44",
     '"=" is expected here, not "=>"'),
    ("setting twice",
     "define qos::wal operator w with max_bytes = 1, max_bytes = 1 end;",
     "1:48", 'the key "max_bytes" is given twice, first at 1:33'),
    ("dir", 'define qos::wal operator w with dir = "x" end;', "1:33",
     '"dir" is not supported: the log is in the state directory, under the '
     "names of instance and pipeline"),
    ("call", LOG.replace("9", "system::ingest_ns()"), "1:48",
     'a literal is expected here, not the name "system"'),
    ("setting", LOG.replace("max_elements", "elements") + IN, "1:33",
     'the key "elements" is unknown here; known: read_count, max_elements, '
     "max_bytes, on_full, sync, max_age, segment_bytes, max_event_bytes"),
    ("range", LOG.replace("9", "0") + IN, "1:48",
     "max_elements: a whole number of events from 1 to 9007199254740991 is "
     "expected here, not 0"),
    ("negative", LOG.replace("9", "-9") + IN, "1:48",
     "max_elements: a whole number of events from 1 to 9007199254740991 is "
     "expected here, not -9"),
    ("age", LOG.replace("9", "9, max_age = -5") + IN, "1:61", "max_age: a "
     "number of seconds from 0.001 to 31536000, with at most 3 decimals, is "
     "expected here, not -5"),
    ("word", LOG.replace("9", '9, on_full = "x"') + IN, "1:61",
     'on_full: "x" is unknown; known: pause, drop_oldest, drop_newest'),
    ("no limit", LOG.replace("with max_elements = 9 end", "") + IN, "1:26",
     "a log needs a limit: give max_elements or max_bytes, or both"),
    ("group by", select("select event from in group by event.x into w;"),
     "4:22", '"group by" is not supported'),
    ("where", select("select event from in where true into w;"), "4:22",
     '"where" is not supported'),
    ("having", select("select event from in into w having true;"), "4:29",
     '"having" is not supported'),
    ("window", select("select event from in[x] into w;"), "4:21",
     'a window ("[...]") is not supported'),
    ("path", select("select event.x from in into w;"), "4:13",
     'a path in the event ("event.x") is not supported'),
    ("index", select('select event["x"] from in into w;'), "4:13",
     'a path in the event ("event.x") is not supported'),
    ("patched path", select("select patch event.x of erase y end from in "
                            "into w;"), "4:19",
     'a path in the event ("event.x") is not supported'),
    ("record", select("select {} from in into w;"), "4:8",
     "a value in the place of the event is not supported"),
    ("text", select('select "x" from in into w;'), "4:8",
     "a value in the place of the event is not supported"),
    ("patched record", select("select patch {} of erase a end from in into "
                              "w;"), "4:14",
     "a value in the place of the event is not supported"),
    ("name", select("select evnt from in into w;"), "4:8", '"event", "patch '
     'event of" or "merge event of" is expected here, not the name "evnt"'),
    ("metadata", select("select $x from in into w;"), "4:8",
     'metadata ("$") is not supported'),
    ("state", select("select state from in into w;"), "4:8",
     '"state" is not supported'),
    ("parenthesis", select("select (event) from in into w;"), "4:8",
     '"(" is not supported'),
    ("patch of patch", select("select patch patch event of erase a end of "
                              "erase b end from in into w;"), "4:14",
     '"patch" or "merge" of anything but the event is not supported'),
    ("no operation", select("select patch event of end from in into w;"),
     "4:23", '"insert", "upsert", "update", "erase" or "merge" is expected '
     'here, not the reserved word "end"'),
    ("move", patch('move "a" => "b"'), "4:23", '"move" is not supported'),
    ("copy", patch('copy "a" => "b"'), "4:23", '"copy" is not supported'),
    ("default", patch('default "a" => 1'), "4:23",
     '"default" is not supported'),
    ("no key", patch("insert = 1"), "4:30",
     'a key is expected here, not "="'),
    ("reserved key", patch("insert state = 1"), "4:30",
     '"state" is a reserved word; as a key it stands in quotes'),
    ("no arrow", patch("insert k 1"), "4:32",
     '"=" or "=>" is expected here, not 1'),
    ("compared", patch("insert k == 1"), "4:32",
     'the operator "==" is not supported'),
    ("no separator", patch("erase a erase b"), "4:31",
     '";" or "end" is expected here, not the reserved word "erase"'),
    ("merged text", patch('merge k => "x"'), "4:34",
     'a record is expected here, not the string "x"'),
    ("merged call", patch("merge k => system::hostname()"), "4:34",
     'a record is expected here, not the name "system"'),
    ("sum", value("1 + 2"), "4:36", 'the operator "+" is not supported'),
    ("close difference", value("1-2"), "4:35",
     'the operator "-" is not supported'),
    ("difference", value("1 - 2"), "4:36",
     'the operator "-" is not supported'),
    ("and", value("true and false"), "4:39",
     'the operator "and" is not supported'),
    ("not", value("not true"), "4:34", 'the operator "not" is not supported'),
    ("present", value("present event.x"), "4:34",
     'the operator "present" is not supported'),
    ("less", value("1 < 2"), "4:36", 'the operator "<" is not supported'),
    ("bytes", value("<< 1 >>"), "4:34", 'the operator "<<" is not supported'),
    ("index of an array", value("[1][0]"), "4:37",
     'an index of a value ("[...]") is not supported'),
    ("index of a call", value("[system::hostname()[0]]"), "4:53",
     'an index of a value ("[...]") is not supported'),
    ("field", value("{}.x"), "4:36", 'the operator "." is not supported'),
    ("event as a value", value("event.x"), "4:34",
     '"event" or a path in it as a value is not supported'),
    ("merge as a value", value("merge event of {} end"), "4:34",
     '"patch" or "merge" as a value is not supported'),
    ("variable", value("x"), "4:34", "the name x is not supported: a value "
     "is a literal or the call of a function"),
    ("function", value('string::len("x")'), "4:34", "the function "
     "string::len is not supported; known: system::hostname, "
     "system::instance, system::ingest_ns"),
    ("function of another module", "use std::system; " + value(
        "system::hostname()"), "4:34", "the function std::system::hostname is "
     "not supported; known: system::hostname, system::instance, "
     "system::ingest_ns"),
    ("argument", value("system::hostname(1)"), "4:51",
     '")" is expected here, not 1'),
    ("number in a record", value("{t: system::ingest_ns()}"), "4:38",
     "system::ingest_ns within a record or an array cannot be expressed: it "
     "would be a string there"),
    ("interpolation", value('"a #{event.x}"'), "4:37",
     'string interpolation ("#{...}") is not supported'),
    ("old interpolation", value('"a {event.x}"'), "4:37",
     'string interpolation ("{...}") is not supported; write \\{ for a '
     "brace"),
    ("heredoc", value('"""\nx\n"""'), "4:34",
     'a heredoc ("""...""") is not supported'),
    ("placeholder", value('"a${hostname}"'), "4:36",
     'a string with "${" cannot be expressed: it would be a placeholder'),
    ("placeholder as a key", value('{"$\\{x}": 1}'), "4:35",
     'a string with "${" cannot be expressed: it would be a placeholder'),
    ("open string", value('"a'), "4:34",
     "the string does not end in its line"),
    ("escape", value('"a\\x41"'), "4:36", "the escape is unknown; known: "),
    ("half a character", value('"\\ud83d\\ude00"'), "4:35",
     "the escape is unknown; known: "),
    ("large", value("18446744073709551616"), "4:34",
     "the number has no digits or is too large"),
    ("small", value("-9223372036854775809"), "4:35",
     "the number has no digits or is too large"),
    ("no number", value("1x"), "4:34",
     "the number does not end here as one does"),
    ("minus", value("-true"), "4:35",
     'a number is expected here, not the reserved word "true"'),
    ("key twice", value('{a: 1, "a": 2}'), "4:41",
     'the key "a" is given twice, first at 4:35'),
    ("open record", value("{a: 1"), "4:40",
     '"," or "}" is expected here, not the reserved word "end"'),
    ("open array", value("[1"), "4:37",
     '"," or "]" is expected here, not the reserved word "end"'),
    ("deep", value("[" * 27), "4:60",
     "records and arrays are nested more than 26 deep"),
    ("way out", select("select event from in into out/err;"), "4:31",
     'the port "err" is not supported'),
    ("way in", select("select event from in/x into w;"), "4:22",
     'the port "x" is not supported'),
    ("err", LOG + IN + "select event from err into w", "5:19",
     '"err" is not supported'),
    ("backwards", select("select event from out into w;"), "4:19", "events "
     'come from "in" and go into "out", not the other way round'),
    ("into in", select("select event from in into in;"), "4:27", "events "
     'come from "in" and go into "out", not the other way round'),
    ("nothing created", select("select event from in into x;"), "4:27",
     'nothing "x" is created'),
    ("nothing defined", "create operator x;", "1:17",
     'no operator "x" is defined'),
    ("nothing defined by that name", "create operator x from a::b;", "1:24",
     'no operator "a::b" is defined'),
    ("defined twice", LOG + IN + "define qos::wal operator w;", "5:26",
     'operator "w" is defined twice, first at 1:26'),
    ("created twice", LOG + IN + "create stream w;", "5:15",
     '"w" is created twice, first at 2:17'),
    ("created in", LOG + IN + "create stream in;", "5:15",
     '"in" is there without being created'),
    ("fan-out", LOG + IN + "create stream s; select event from in into s;",
     "5:36", 'a second "select" from "in" (fan-out) is not supported; the '
     "first is at 4:19"),
    ("fan-in", LOG + IN + "create stream s; select event from s into w;",
     "5:43", 'a second "select" into "w" (fan-in) is not supported; the '
     "first is at 4:27"),
    ("no way in", LOG, "1:1", 'no "select" takes the events from "in"'),
    ("no way on", "create stream s; select event from in into s;", "1:15",
     'no "select" takes the events from "s"'),
    ("no log", "select event from in into out;", "1:1",
     'no operator qos::wal is between "in" and "out"'),
    ("two logs", LOG.replace("into out", "into v") + IN +
     "create operator v from w; select event from v into out;", "5:17",
     '"v" is a second log between "in" and "out", which is not supported; '
     "the first is at 2:17"),
    ("unused", LOG + IN + "create stream s;", "5:15",
     '"s" is not between "in" and "out"'),
    ("circle", LOG + IN + "create stream s; select event from s into s;",
     "5:15", '"s" is not between "in" and "out"'),
    ("not created", LOG + IN + "define qos::wal operator x;", "5:26",
     'operator "x" is defined and not created'),
]


@pytest.mark.parametrize("name,text,place,words", BAD,
                         ids=[case[0] for case in BAD])
def test_refused(tmp_path, name, text, place, words):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "q.trickle").write_bytes(data)
    (tmp_path / "c.yaml").write_text(ONRAMP + OFFRAMP)
    before = everything_in(tmp_path)
    done = supervisor("-c", "q.trickle", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL, done.stdout
    first = done.stderr.splitlines()[0]
    assert f" error q.trickle:{place}: {words}" in first
    assert first.endswith(words) or words.endswith("known: ")
    assert done.stdout == ""
    assert everything_in(tmp_path) == before


def test_enough_kinds_are_refused():
    assert len({case[0] for case in BAD}) == len(BAD) >= 40


def test_a_query_that_is_wrong_is_not_run(tmp_path):
    (tmp_path / "q.trickle").write_text(LOG)
    done = supervisor("-c", "q.trickle", cwd=tmp_path)
    assert done.returncode == FINAL
    assert everything_in(tmp_path) == ["q.trickle"]


NASTY = {
    "strings": PARTS.replace("wal:", json.dumps({
        "insert": {"a": "yes", "no": "1", "": 1}})[1:-1] + ", wal:").replace(
        ', "": 1', ', "x y": "- a: b # c", "z\\u2028": "\\u0085\\u0001"'),
    "numbers": PARTS.replace("wal:", "insert: {a: 1.50, b: 0x1f, c: 010, "
                             "d: .5, e: -1e3, f: ~, g: True, 5: 6}, wal:"),
    "deep": PARTS.replace(
        "wal:", "insert: {a: [[1, [2, {b: [], c: {}}]], {d: [{e: f}]}]}, "
        "wal:"),
    "patch": PARTS.replace("wal:", """patch: [{insert: {a: 1, b: x}},
        {erase: [a, "no"]}, {merge: {b: {c: ~}}}, {erase: d},
        {merge_event: {e: [{f: 1}]}}], wal:"""),
    "long": PARTS.replace(
        "wal:", f"insert: {{? {'k' * 2000} : {{? {'l' * 2000} : 1}}}}, wal:"),
    "script": PARTS.replace("type: metronome}", """type: exec, config: {
        command: [sh, -c, "a\\nb\\t'\\\\\\e", "", "# x", -n, --, "a: b", ~x]}}
        """),
    "program": PARTS.replace(
        "type: metronome}", "type: exec, config: {command: [./run it]}}"),
    "headers": PARTS.replace('"ws://localhost/"', """"ws://localhost/",
        headers: {X-A: a b, "Authorization": "Bearer ${env:HOME}"},
        basic_auth: "${env:HOME}:${env:HOME}", ping_timeout: 0.50"""),
    "files": PARTS.replace('"ws://localhost/"',
                           '"wss://h/", cacert: my cert, key: k, cert: "~"'),
    "top": "user: 007\ngroup: 'a.b'\nstate_dir: ../st ate\nsandbox: false\n"
           "shutdown_timeout: 1.25\n" + PARTS,
    "mapping": BINDING + PARTS +
               "mapping:\n  ? /binding/b/1\n  : {instance: 01}\n"
               "  /binding/b/x: {instance: 'null'}\n",
    "document": "%YAML 1.1\n---\n" + PARTS + "...\n",
}


@pytest.mark.parametrize("name", [
    "fan.yaml", "follow.yaml", "load.yaml", "pipeline.yaml", "tutorial",
    *NASTY])
def test_what_check_prints_says_the_same(tmp_path, name):
    """Saved, wherever, it comes to the same commands and the same text."""
    conf = tmp_path / "conf"
    if name in NASTY:
        write(conf, {"c.yaml": NASTY[name], "my cert": "", "k": "", "~": "",
                     "run it": ""})
        (conf / "run it").chmod(0o755)
        path = conf / "c.yaml"
    else:
        shutil.copytree(ROOT / "conf", conf)
        (conf / "token").write_text("t")
        path = conf / name
    done = supervisor("-c", path, "check", cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    assert all(line.isprintable() for line in done.stdout.split("\n"))
    write_document(tmp_path, done)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "pipeline.yaml").write_text(done.stdout)
    again = supervisor("-c", tmp_path / "else", "check", cwd=tmp_path)
    assert (again.stdout, again.stderr) == (done.stdout, "")
    assert len(command_lines(done.stdout)) >= 3


@pytest.mark.parametrize("word", [
    "yes", "No", "ON", "off", "y", "N", "010", "0x10", "0o17", "0b1", "12:30",
    "2020-01-01", "1_000", "+1", "1.", ".5", "-.inf", ".nan", "="])
def test_what_check_prints_is_a_string_to_other_readers_too(tmp_path, word):
    """Some take such words for numbers, dates and flags."""
    write(tmp_path, {"c.yaml": PARTS.replace(
        "wal:", f"insert: {{a: {word}, b: [{word}]}}, wal:")})
    done = supervisor("-c", tmp_path, "check", cwd=tmp_path)
    assert done.returncode == DONE, done.stderr
    assert f'      a: "{word}"\n      b: ["{word}"]\n' in done.stdout
    assert done.stdout.count(f"--insert a={word} ") == 1

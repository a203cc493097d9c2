"""The configuration: that every kind of mistake is refused at its exact place,
by `check` and by `run`.
"""

import json
import os

import pytest

from configs import (BINDING, OFFRAMP, ONRAMP, PARTS, PIPELINE, SECOND_BINDING,
                     binding, everything_in, insert, mapping, onramp, patch,
                     source, supervisor, wal, ws)
from support import FINAL

GOOD_LINKS = ('"/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]',
              '"/pipeline/p/{instance}/out": ["/offramp/w/{instance}/in"]')


def many_sources(count):
    """A binding that links so many onramps."""
    links = "".join(f'      "/onramp/m{n}/{{instance}}/out": '
                    '["/pipeline/p/{instance}/in"]\n' for n in range(count))
    onramps = "".join(f"  - {{id: m{n}, type: metronome}}\n"
                      for n in range(count))
    return ("binding:\n  - id: b\n    links:\n" + f"      {GOOD_LINKS[1]}\n"
            + links + "onramp:\n" + onramps + PIPELINE + OFFRAMP)


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
    ("unknown key of ws", ws('{url: "ws://h/", header: {}}'), "4:30",
     '"header" is unknown here; known: url, ack, binary, '),
    ("last of the known keys", ws('{url: "ws://h/", x: {}}'), "4:30",
     "on_connect_replay, rate"),
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
    ("sandbox", "sandbox: 1\n" + PARTS, "1:10", "true or false"),
    ("user is null", "user: ~\n" + PARTS, "1:7", "not null"),
    ("user is a list", "user: [a]\n" + PARTS, "1:7", "a name or a number"),
    ("user is empty", 'user: ""\n' + PARTS, "1:7", "empty"),
    ("user with a colon", 'user: "a:b"\n' + PARTS, "1:7", "cannot be"),
    ("group below zero", "group: -1\n" + PARTS, "1:8", "cannot be"),
    ("group is too long", f"group: {'g' * 65}\n" + PARTS, "1:8",
     "cannot be"),
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
    # words
    ("unknown type", "onramp: [{id: m, type: kafka}]\n", "1:24",
     "known: metronome, exec, stdin"),
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
    # onramps that are no metronome
    ("exec alone", source("exec"), "2:5", '"config" is missing'),
    ("exec is null", source("exec", "~"), "4:13", "a map is expected"),
    ("no command", source("exec", "{}"), "4:13", '"command" is missing'),
    ("exec's keys", source("exec", "{command: [a], interval: 5}"), "4:28",
     "known: command, restart"),
    ("a metronome's command", onramp("{command: [a]}"), "4:14",
     "known: interval, count, size"),
    ("stdin's keys", source("stdin", "{command: [a]}"), "4:14",
     "known: none"),
    ("command is a string", source("exec", "{command: a b}"), "4:23",
     "a list is expected"),
    ("command is empty", source("exec", "{command: []}"), "4:23",
     "1 to 256 words"),
    ("257 words", source("exec", f"{{command: [{'a, ' * 256} a]}}"), "4:23",
     "1 to 256 words"),
    ("no program", source("exec", "{command: ['', a]}"), "4:24",
     "name is empty"),
    ("null in a command", source("exec", "{command: [a, ~]}"), "4:27",
     "not null"),
    ("a list in a command", source("exec", "{command: [a, [b]]}"), "4:27",
     "not a list"),
    ("a map in a command", source("exec", "{command: [a, {b: c}]}"), "4:27",
     "not a map"),
    ("NUL in a command", source("exec", '{command: [a, "b\\0"]}'), "4:27",
     "NUL"),
    ("128 KiB", source("exec", f"{{command: [a, {'b' * (1 << 17)}]}}"),
     "4:23", "131075 bytes long"),
    ("no such program", source("exec", "{command: [./none]}"), "4:24",
     "none cannot be executed: No such file"),
    ("a directory as a program", source("exec", "{command: [/]}"), "4:24",
     "/ cannot be executed: Permission denied"),
    ("restart", source("exec", "{command: [a], restart: yes}"), "4:37",
     "known: always, on-failure, never"),
    ("two readers of stdin", source(
        "stdin", more="mapping:\n  /binding/b/1: {instance: x}\n"
        "  /binding/b/2: {instance: y}\n" + BINDING), "6:28",
     'it feeds instance "x"'),
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
    ("two users, new", ws('{url: "ws://h/", basic_auth: "${env:A}",'
                          ' bearer_auth: "${env:A}"}'), "4:67",
     "bearer_auth is one user too many beside basic_auth"),
    ("two proxy users", ws(
        '{url: "ws://h/", proxy_auth: "${env:A}",'
        ' proxy_auth_file: /dev/null}'), "4:71", "beside proxy_auth"),
    ("other placeholder", ws('{url: "ws://h/${hostname}"}'), "4:19",
     "no ${env:NAME}"),
    ("placeholder in a host", ws('{url: "ws://${env:HOST}/"}'), "4:19",
     "needs a host"),
    ("headers is a list", ws('{url: "ws://h/", headers: []}'), "4:39",
     "a map is expected"),
    ("header is a list", ws('{url: "ws://h/", headers: {A: []}}'), "4:43",
     '"A": the value must be text'),
    ("header is null", ws('{url: "ws://h/", headers: {A: }}'), "4:43",
     '"A": the value must be text'),
    ("header's name", ws('{url: "ws://h/", headers: {"A B": c}}'), "4:47",
     "not of the form"),
    ("header with a colon", ws('{url: "ws://h/", headers: {"A: b": c}}'),
     "4:48", 'no ":"'),
    ("header with a line end", ws(
        '{url: "ws://h/", headers: {A: "b\\nC: d"}}'), "4:43",
     "a control character"),
    ("header of the handshake", ws('{url: "ws://h/", headers: {host: x}}'),
     "4:46", "the handshake writes this"),
    ("header with a placeholder", ws(
        '{url: "ws://h/", headers: {A: "${hostname}"}}'), "4:43",
     "no ${env:NAME}"),
    ("header is too long", ws(
        f'{{url: "ws://h/", headers: {{A: {"b" * 8190}}}}}'), "4:43",
     "longer than 8192"),
    ("33 headers", ws('{url: "ws://h/", headers: {%s}}' % ", ".join(
        f"H{n}: x" for n in range(33))), "4:39", "more than 32"),
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
    # patch
    ("patch is a map", patch("{erase: a}"), "4:12", "a list is expected"),
    ("an operation is a string", patch("[erase]"), "4:13",
     'patch: a map with one operation is expected here, not the string "era'),
    ("an operation is null", patch("[~]"), "4:13", "not null"),
    ("an operation is empty", patch("[{}]"), "4:13", "not an empty map"),
    ("two operations in one", patch("[{erase: a, insert: {b: 1}}]"), "4:24",
     'the operation "insert" needs an entry of its own'),
    ("unknown operation", patch("[{erase: a}, {move: {a: b}}]"), "4:26",
     'the operation "move" is unknown; known: insert, upsert, update, erase,'
     " merge, merge_event"),
    ("update is a list", patch("[{update: [a]}]"), "4:22",
     "update: a map of keys is expected here, not a list"),
    ("insert is null in a patch", patch("[{insert: }]"), "4:22", "not null"),
    ("erase is null", patch("[{erase: ~}]"), "4:21",
     "erase: a key is expected here, not null"),
    ("erase is a map", patch("[{erase: {a: 1}}]"), "4:21", "not a map"),
    ("erase's list has a list", patch("[{erase: [a, [b]]}]"), "4:25",
     "erase: a key is expected here, not a list"),
    ("nothing to erase", patch('[{erase: [a, ""]}]'), "4:25",
     "erase: the key is empty"),
    ("merge is a string", patch("[{merge: a}]"), "4:21",
     'merge: a map of keys is expected here, not the string "a"'),
    ("merge of a string", patch('[{merge: {a: {}, b: x}}]'), "4:32",
     'merge: a record is expected here, not the string "x"'),
    ("merge of null", patch("[{merge: {a: ~}}]"), "4:25",
     "merge: a record is expected here, not null"),
    ("merge of a list", patch("[{merge: {a: [{}]}}]"), "4:25", "not a list"),
    ("merge_event has a key of the event's",
     patch('[{merge_event: {a: {"${seq}": 1}}}]'), "4:32",
     'the key "${seq}" of a record that is merged cannot hold a placeholder'),
    ("merge has a key of the host's",
     patch('[{merge: {k: {"a${hostname}": 1}}}]'), "4:26",
     'the key "a${hostname}" of a record that is merged cannot hold a'),
    ("merge_event is a list", patch("[{merge_event: [a]}]"), "4:27",
     "merge_event: a record is expected here, not a list"),
    ("merge_event is a number", patch("[{merge_event: 5}]"), "4:27",
     "merge_event: a record is expected here, not 5"),
    ("a key with = in a patch", patch("[{upsert: {a=b: 1}}]"), "4:23",
     'holds "="'),
    ("placeholder in a patch", patch('[{update: {a: "${x}"}}]'), "4:26",
     '"${x}" is unknown'),
    ("placeholder in a record", patch(
        '[{merge_event: {a: {b: {"${y": 1}}}}]'), "4:36", "is unknown"),
    ("a record is too long", patch(
        f'[{{merge_event: {{a: {"x" * 65536}}}}}]'), "4:27",
     "longer than 65536"),
    ("too many keys in a patch", patch("[{update: {%s}}]" % ", ".join(
        f"k{n}: 1" for n in range(129))), "4:22", "more than 128 keys"),
    ("too many operations", patch("[%s]" % ", ".join(
        f"{{erase: k{n}}}" for n in range(257))), "4:12",
     "more than 256 operations"),
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
    ("the same twice", binding('"/onramp/m/{instance}/out": '
                             '["/pipeline/p/{instance}/in", '
                             '"/pipeline/p/{instance}/in"]'), "4:65",
     "is linked twice, first at 4:36"),
    ("sink twice", binding(GOOD_LINKS[0], GOOD_LINKS[1].replace(
        "]", ', "/offramp/w/{instance}/in"]')), "5:66",
     "is linked twice, first at 5:38"),
    ("a second pipeline", binding('"/onramp/m/{instance}/out": '
                              '["/pipeline/p/{instance}/in", '
                              '"/pipeline/q/{instance}/in"]').replace(
        "[{id: p,", "[{id: q, wal: {max_elements: 1}}, {id: p,"), "4:65",
     "a second pipeline in one binding is not built yet"),
    ("second of the sinks", binding(GOOD_LINKS[0], GOOD_LINKS[1].replace(
        "]", ', "/offramp/x/{instance}/in"]')), "5:66", 'no offramp "x"'),
    ("fan-in without a mapping", binding(
        *GOOD_LINKS, GOOD_LINKS[0].replace("/m/", "/n/")).replace(
        "[{id: m,", "[{id: n, type: metronome}, {id: m,"), "7:41",
     "say with a mapping"),
    ("too many sources", many_sources(33), "37:7", "32 at most"),
    ("two readers in a binding", mapping("  /binding/b/1: {instance: x}\n")
     .replace("[{id: m, type: metronome}]",
              "[{id: n, type: stdin}, {id: m, type: stdin}]")
     .replace("    links:\n", "    links:\n      "
              + GOOD_LINKS[0].replace("/m/", "/n/") + "\n"), "2:28",
     "standard input has one reader"),
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
    ("instance SOCKET", mapping("  /binding/b/1: {instance: SOCKET}\n"),
     "2:28", "SOCKET"),
    ("mapping twice", mapping("  /binding/b/1: {instance: x}\n"
                              "  /binding/b/1: {instance: y}\n"), "3:3",
     "twice"),
    ("shared log", mapping("  /binding/b/1: {instance: x}\n"
                           "  /binding/b/2: {instance: x}\n"), "3:28",
     "they would share one log"),
    ("mapping needed", BINDING + SECOND_BINDING + PARTS, "6:9",
     "say with a mapping"),
]


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
@pytest.mark.parametrize("config", [
    'url: "ws://user:hunter2@h/"',
    'url: "ws://h/?token=hunter2"',
    'url: "ws://h/?a=1;Token=hunter2"',
    'url: "ws://h/in?a=b&Access_Token=hunter2&c=d"',
    'url: "ws://h/?token=${env:A}&secret=hunter2"',
    'url: "ws://h/?api_key=hunter2${env:A}"',
    'proxy: "http://user:hunter2@h:1"',
    'basic_auth: "user:hunter2"',
    "basic_auth: [user, hunter2]",
    'basic_auth: "user:${hunter2}"',
    "bearer_auth: hunter2",
    'bearer_auth: "${hunter2"',
    "bearer_auth: {hunter2: hunter2}",
    "proxy_auth: user:hunter2",
    'headers: {Authorization: "Bearer hunter2"}',
    'headers: {"PROXY-authorization": "Basic hunter2"}',
    'headers: {cookie: "a=hunter2"}',
    'headers: {X-Api-Key: hunter2}',
    'headers: {X-Auth-Token: hunter2}',
    'headers: {Authorization: "${hunter2}"}',
    'headers: {Authorization: "${env:A} ${hunter2"}',
    'headers: {Authorization: [hunter2]}',
    'headers: "Authorization: Bearer hunter2"',
    'headers: ["Authorization: Bearer hunter2"]',
    'headers: {"Authorization: Bearer hunter2": }',
    'headers: {"Authorization: Bearer hunter2": x}',
])
def test_a_secret_is_refused_and_not_repeated(tmp_path, config, verb):
    """A log is read by more people than a configuration."""
    rest = "" if config.startswith("url") else 'url: "ws://h/", '
    (tmp_path / "c.yaml").write_text(ws("{" + rest + config + "}"))
    done = supervisor("-c", "c.yaml", verb, cwd=tmp_path)
    assert done.returncode == FINAL
    assert len(done.stderr.splitlines()) == 1
    assert " error c.yaml:4:" in done.stderr
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
    (["-c"], "-c: its value is missing"),
    (["-x"], "-x: unknown option"),
    (["--confg", "a"], "--confg: unknown option"),
    (["--log-format", "xml", "-c", "a"], "xml"),
    (["chekc"], "unknown command chekc"),
    (["-c", "a.yaml", "check", "run"], "one command"),
    (["status"], "-c"),
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


def test_text_of_a_file_cannot_forge_the_log(tmp_path):
    (tmp_path / "c.yaml").write_text('"a\\n\\e[31mb": 1\n' + PARTS)
    done = supervisor("-c", "c.yaml", "check", cwd=tmp_path)
    assert done.returncode == FINAL
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr

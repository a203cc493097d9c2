"""What is done to events: every operation, one after the other, with walproc
alone and under the supervisor.
"""

import base64
import json
import random

import pytest

from neighbours import dead_letters, run_pipe
from supervised import Supervisor
from support import DONE, FINAL, events_of


def merged(target, patch):
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@pytest.mark.parametrize("options, event, wanted", [
    (["--update", "a=${seq}"], b'{"a" : 0, "b":1.0}', b'{"a" : 1, "b":1.0}'),
    (["--erase", "a"], b'{"b":1e2, "a":{"b":1} , "c": 2}',
     b'{"b":1e2 , "c": 2}'),
    (["--merge", 'a={"x":null,"y":{"z":1}}'], b'{"a": {"x":1, "w":2.50}}',
     b'{"a": {"w":2.50,"y":{"z":1}}}'),
    (["--merge-event", '{"a":null,"b":"${instance}"}'], b'{"a":1}',
     b'{"b":"01"}'),
    (["--insert", "a=1", "--upsert", "a=2", "--update", "a=3"], b"{}",
     b'{"a":3}'),
    (["--erase", "a", "--insert", "a=1"], b'{"a":0,"b":0}',
     b'{"b":0,"a":1}'),
    (["--merge", 'a={"b":1}', "--erase", "b", "--merge-event",
      '{"a":{"b":null,"c":2}}'], b'{"b":0}', b'{"a":{"c":2}}'),
])
def test_operations_in_their_order(tmp_path, options, event, wanted):
    code, out, _ = run_pipe(tmp_path, event + b"\n", *options)
    assert (code, out) == (DONE, wanted + b"\n")


def test_what_is_an_error_of_the_event_is_kept_apart(tmp_path):
    events = [b'{"n":0,"a":1}', b'{"n":1}', b'{"n":2,"a":1,"c":1}', b"[3]",
              b'{"n":4,"a":{}}', b'{"n":5,"a":1,"big":"' + b"x" * 16777193
              + b'"}']
    code, out, log = run_pipe(
        tmp_path, b"\n".join(events) + b"\n", "--max-elements", "10",
        "--update", "a=5", "--erase", "n", "--insert", "c=6",
        "--upsert", "c=77")
    assert code == DONE
    assert out == 2 * b'{"a":5,"c":77}\n'
    assert dead_letters(tmp_path) == [
        ('update: there is no key "a"', events[1]),
        ('insert: the key "c" exists already', events[2]),
        ("not an object: it cannot be patched", events[3]),
        ("too long once patched", events[5])]
    assert 'event 2 of the input: update: there is no key "a"' in log
    assert "6 events taken, 4 of them to the dead letters" in log


def random_object(chance, depth):
    return {key: random_value(chance, depth)
            for key in chance.sample("abcd", chance.randrange(5))}


def random_value(chance, depth):
    if depth == 0 or chance.random() < 0.4:
        return chance.choice([None, None, 0, 1.5, "x", True, [], [None]])
    return random_object(chance, depth - 1)


@pytest.mark.parametrize("seed", range(3))
def test_merges_are_those_of_the_rfc(tmp_path, seed):
    """What comes out, and the order of it, is what Python makes of it."""
    chance = random.Random(seed)
    events = [{"n": n, **random_object(chance, 4)} for n in range(500)]
    patches = [{"b": {"a": {"c": None, "d": 1}, "x": 2}},
               *(random_object(chance, 3) for _ in range(3)),
               {"d": random_object(chance, 3)}]
    options = []
    for patch in patches[:-1]:
        options += ["--merge-event", json.dumps(patch)]
    options += ["--merge", "d=" + json.dumps(patches[-1]["d"])]
    data = "".join(json.dumps(event) + "\n" for event in events)
    code, out, _ = run_pipe(tmp_path, data.encode(), *options)
    assert code == DONE
    for event, line in zip(events, out.splitlines(), strict=True):
        for patch in patches:
            event = merged(event, patch)
        assert json.dumps(json.loads(line)) == json.dumps(event)


CONFIG = """\
state_dir: state
onramp:
  - id: app
    type: exec
    config:
      command: [printf, '{"n":0,"t":"s","m":{"a":1}}\\n{"n":1}\\n']
      restart: never
pipeline:
  - id: p
    insert: { site: "${instance}" }
    upsert: { n: 7 }
    patch:
      - update: { t: "secret" }
      - merge: { m: { a: null, b: { c: "it's" } } }
      - erase: [t, none]
      - merge_event: { n: null, list: [1, null] }
      - insert: { n: -1 }
    wal: { max_elements: 100 }
offramp:
  - id: w
    type: ws
    config: { url: "URL" }
"""


def test_under_the_supervisor(tmp_path, server):
    (tmp_path / "c.yaml").write_text(CONFIG.replace("URL", server.url))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
    assert server.events() == [
        {"m": {"b": {"c": "it's"}}, "site": "01", "list": [1, None],
         "n": -1}]
    (letter,) = events_of(tmp_path / "state/01/p/dead-letters.ndjson")
    assert letter["reason"] == 'update: there is no key "t"'
    assert base64.b64decode(letter["bytes"]) == b'{"n":1}'


def test_what_walproc_would_refuse_is_a_fault_of_the_file(tmp_path, server):
    (tmp_path / "c.yaml").write_text(
        CONFIG.replace("URL", server.url).replace("c: \"it's\"",
                                                  '"${seq}": 1'))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == FINAL
        assert ('c.yaml:14:37: the key "${seq}" of a record that is merged '
                "cannot hold a placeholder") in supervisor.text()
        assert not supervisor.started("walproc")

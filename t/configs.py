"""Configurations that the tests of the supervisor's file make, and the
supervisor run on one.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

from support import DONE, program

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


def source(kind, config="", more=""):
    """An onramp of another type, alone or with a config."""
    config = config and f"\n    config: {config}"
    return (f"onramp:\n  - id: m\n    type: {kind}{config}\n{more}"
            + PIPELINE + OFFRAMP)


def pipeline(entry):
    return f"pipeline:\n  - id: p\n    {entry}\n" + ONRAMP + OFFRAMP


def wal(config):
    return pipeline(f"wal: {config}")


def insert(config):
    return pipeline(f"wal: {{max_bytes: 20000}}\n    insert: {config}")


def patch(entries):
    return pipeline(f"wal: {{max_bytes: 20000}}\n    patch: {entries}")


def ws(config):
    return (f"offramp:\n  - id: w\n    type: ws\n    config: {config}\n"
            + ONRAMP + PIPELINE)


def binding(*links):
    lines = "".join(f"      {link}\n" for link in links)
    return "binding:\n  - id: b\n    links:\n" + lines + PARTS


def mapping(text):
    return "mapping:\n" + text + BINDING + PARTS


def supervisor(*arguments, cwd):
    """Runs the supervisor to its end, away from the user's own state."""
    env = dict(os.environ, HOME=str(cwd / "home"),
               STATE_DIRECTORY=str(cwd / "state"))
    return subprocess.run([program("supervisor"), *map(str, arguments)],
                          cwd=cwd, env=env, capture_output=True, text=True,
                          timeout=60)


def ask(directory, *arguments):
    return supervisor("-c", "c.yaml", *arguments, cwd=directory)


# What has become of an event that was taken in.
COUNTED = ["stored", "acked", "dropped", "dead_lettered", "quarantined"]


def status(directory):
    """The status as JSON; the flow of each instance adds up."""
    done = ask(directory, "status", "--json")
    assert done.returncode == DONE, done.stderr
    told = json.loads(done.stdout)
    for instance in told["instances"]:
        flow = instance["flow"]
        if flow["in"] is not None:
            assert flow["in"] == sum(flow[name] for name in COUNTED), flow
    return told


def everything_in(directory):
    return sorted(str(p.relative_to(directory))
                  for p in Path(directory).rglob("*"))


def words_of(line):
    """The words of a command, as a shell reads them."""
    if "$'" not in line:
        return shlex.split(line)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"],
                          capture_output=True, check=True, timeout=60)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def command_lines(text):
    """The commands in what `check` printed, in their order, as they are."""
    mark = "#   $ "
    return [line.removeprefix(mark) for line in text.split("\n")
            if line.startswith(mark)]


def document_of(text):
    """What `check` printed, but for the comments: the configuration."""
    return "".join(f"{line}\n" for line in text.split("\n")[:-1]
                   if not line.startswith("#"))


def commands_of(text):
    """The commands that `check` printed, as argument lists, by program, in
    groups of one instance each. That stages are to confine themselves, which
    is the default, is left out."""
    instances = []
    for line in text.split("\n"):
        if line.startswith("# instance "):
            instances.append({})
        for command in command_lines(line):
            argv = words_of(command)
            instances[-1][Path(argv[0]).name] = [
                word for word in argv[1:] if word != "--sandbox"]
    return instances


def check(cwd, *arguments):
    """Runs check, which must succeed and write nothing."""
    before = everything_in(cwd)
    done = supervisor(*arguments, "check", cwd=cwd)
    assert done.returncode == DONE, done.stderr
    assert everything_in(cwd) == before
    return commands_of(done.stdout)

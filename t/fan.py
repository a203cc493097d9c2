"""What the tests of instances with several sources and sinks share: their
configuration, and what has come of them to each server.
"""

import contextlib
import json
from pathlib import Path

from configs import ask, status
from sinks import firsts
from support import DONE, Server, wait_until
from supervised import Supervisor

SINKS = ("v", "w", "x")


def metronome(interval=2, count=None):
    counting = "" if count is None else f", count: {count}"
    return f"type: metronome, config: {{interval: {interval}{counting}}}"


def counter(name, count):
    """A command that prints so many events, as a metronome of that id."""
    script = (f"i=0; while [ $i -lt {count} ]; do "
              f"printf '{{\\\"onramp\\\":\\\"{name}\\\",\\\"id\\\":%d}}\\n' $i"
              "; i=$((i + 1)); done")
    return (f'type: exec, config: {{command: [/bin/sh, -c, "'
            + script.replace("\\", "\\\\").replace('\\\\"', '\\"')
            + '"], restart: never}')


def write_fan(directory, sources, sinks, wal="max_elements: 100000",
              timeout=60, instances=("01",)):
    """Configures instances of these onramps, by id, and of offramps to these
    URLs, by id; each event says its number in the log and its instance.
    Returns the text."""
    onramps = "".join(f"  - {{id: {name}, {text}}}\n"
                      for name, text in sources.items())
    offramps = "".join(
        f'  - {{id: {name}, type: ws, config: {{url: "{url}", '
        "backoff_max: 0.2}}\n" for name, url in sinks.items())
    links = "".join(
        f'      "/onramp/{name}/{{instance}}/out": '
        '["/pipeline/p/{instance}/in"]\n' for name in sources)
    outs = ", ".join(
        f'"/offramp/{name}/{{instance}}/in"' for name in sinks)
    mapping = "".join(f'  /binding/b/{name}: {{instance: "{name}"}}\n'
                      for name in instances)
    text = (
        f"state_dir: state\nshutdown_timeout: {timeout}\n"
        f"onramp:\n{onramps}offramp:\n{offramps}"
        'pipeline: [{id: p, insert: {seq: "${seq}", instance: "${instance}"}, '
        f"wal: {{{wal}}}}}]\n"
        "binding:\n  - id: b\n    links:\n" + links
        + f'      "/pipeline/p/{{instance}}/out": [{outs}]\n'
        f"mapping:\n{mapping}")
    (Path(directory) / "c.yaml").write_text(text)
    return text


def run(directory, **options):
    """A supervisor that can be asked."""
    running = Supervisor(directory, **options)
    running.wait_log("info running: ")
    return running


def reload(directory):
    """Reads the configuration again; the changes."""
    done = ask(directory, "reload", "--json")
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)["changes"]


@contextlib.contextmanager
def servers(directory, names=SINKS):
    """A running server for each sink, by name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Server(directory, name=name))
               for name in names}


def urls(of):
    return {name: server.url for name, server in of.items()}


def flow_of(directory, instance="01"):
    return next(found["flow"] for found in status(directory)["instances"]
                if found["instance"] == instance)


def sink_of(directory, name):
    """What the status tells of one sink."""
    return next(sink for sink in flow_of(directory)["sinks"]
                if sink["name"] == name)


def stages_of(directory, instance="01"):
    """Ids and programs of all stages, with their pids."""
    stages = next(found["stages"] for found in status(directory)["instances"]
                  if found["instance"] == instance)
    return {(stage["stage"], stage["program"]): stage["pid"]
            for stage in stages}


def ids_by_source(server):
    """The ids of the events that came, each where it came first."""
    ids = {}
    for event in server.events():
        ids.setdefault(event["onramp"], []).append(event["id"])
    return {name: firsts(found) for name, found in ids.items()}


def seqs(server):
    """The numbers in the log of the events that came, each where it came
    first."""
    return firsts([event["seq"] for event in server.events()])


def wait_more(server, count=20):
    """Waits until so many more events have come."""
    server.wait_count(len(server.lines()) + count)


def wait_stored(directory, name, count):
    """Waits until the log holds so many events for one sink."""
    wait_until(lambda: (sink_of(directory, name)["stored"] or 0) >= count,
               f"{count} events for {name}")


def size_of(directory):
    """What the segments of the log take, of which any may go meanwhile."""
    size = 0
    for path in Path(directory).glob("*.seg"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_blocks * 512
    return size

"""Many instances in one supervisor, and what one costs that has nothing to
do.
"""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from supervised import STAGES, Supervisor
from support import (DONE, PATIENCE, program, slow_clock, ticks_of,
                     wait_until)

MANY = 50
DAY = 86400000
# How long is looked at who sleeps: one wakeup or tick a second is nothing.
IDLE_S = 4

HEAD = """\
state_dir: state
onramp:
  - {{ id: m, type: metronome, config: {{ interval: {interval} }} }}
pipeline:
  - {{ id: p, wal: {{ max_elements: 1000 }} }}
offramp:
  - {{ id: w, type: ws, config: {{ url: "{url}" }} }}
  - {{ id: other, type: ws, config: {{ url: "{url}other" }} }}
binding:
"""
BINDING = """\
  - id: {id}
    links:
      "/onramp/m/{{instance}}/out": ["/pipeline/p/{{instance}}/in"]
      "/pipeline/p/{{instance}}/out": ["/offramp/{sink}/{{instance}}/in"]
"""


def write_many(directory, url, count=MANY, interval=DAY, moved=()):
    """Instances 1 to `count`; those `moved` send to another place."""
    text = HEAD.format(url=url, interval=interval)
    text += BINDING.format(id="b", sink="w")
    text += BINDING.format(id="c", sink="other")
    text += "mapping:\n" + "".join(
        f"  /binding/{'c' if n in moved else 'b'}/{n}: "
        f"{{ instance: i{n} }}\n" for n in range(1, count + 1))
    (directory / "c.yaml").write_text(text)


def ask(directory, *words):
    """Runs the supervisor's client, which must succeed."""
    done = subprocess.run(
        [program("supervisor"), "-c", "c.yaml", *words], cwd=directory,
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == DONE, done.stderr
    return done.stdout


def status(directory):
    return json.loads(ask(directory, "status", "--json"))


def stages_of(directory):
    """The stages of each instance, by program, as status tells them."""
    return {i["instance"]: {s["program"]: s for s in i["stages"]}
            for i in status(directory)["instances"]}


def is_connected(stages):
    report = stages["wssink"]["report"]
    return report is not None and report.get("connection") == "open"


def wait_connected(directory, count=MANY):
    """Waits until all sinks are; the stages."""
    def connected():
        stages = stages_of(directory)
        return len(stages) == count and all(
            map(is_connected, stages.values())) and stages
    return wait_until(connected, f"{count} connections")


def pids_of(instances):
    return {name: {p: s["pid"] for p, s in stages.items()}
            for name, stages in instances.items()}


def pids_of_all(instances):
    """By the names of instance and program."""
    pids = {f"{name} {p}": pid for name, stages in pids_of(instances).items()
            for p, pid in stages.items()}
    assert len(pids) == MANY * len(STAGES)
    return pids


def wakeups_of(pid):
    """How often a process has gone to sleep, all its threads together."""
    return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)",
                             path.read_text())[1])
               for path in Path(f"/proc/{pid}/task").glob("*/status"))


def stirs_of(pid):
    """How much a process has done: wakeups, and ticks for one that never goes
    to sleep."""
    return wakeups_of(pid) + ticks_of(pid)


def stirs_in(pids, seconds_):
    """How much each does in a time in which it has nothing to do."""
    before = {name: stirs_of(pid) for name, pid in pids.items()}
    time.sleep(seconds_)
    return {name: stirs_of(pid) - before[name] for name, pid in pids.items()}


def test_fifty_instances(tmp_path, server):
    """None of it waits for time to go by: it would not, with this clock. How
    long it takes besides depends on the machine."""
    write_many(tmp_path, server.url)
    with Supervisor(tmp_path, env=slow_clock()) as supervisor:
        supervisor.wait_log("info running: ")
        wait_connected(tmp_path)
        # The first event of each is there.
        server.wait_count(MANY)
        before = stages_of(tmp_path)
        everyone = pids_of_all(before)

        write_many(tmp_path, server.url, moved=[7])
        ask(tmp_path, "reload")
        after = wait_connected(tmp_path)
        assert after["i7"]["wssink"]["report"]["url"].endswith("/other")
        old, new = pids_of(before), pids_of(after)
        assert new["i7"]["wssink"] != old["i7"]["wssink"]
        assert [n for n in old if old[n] != new[n]] == ["i7"]

        assert supervisor.stop() == DONE
        supervisor.wait_gone(everyone.values())


def test_fifty_instances_that_have_nothing_to_do_sleep(tmp_path, server):
    write_many(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_log("info running: ")
        everyone = pids_of_all(wait_connected(tmp_path))
        server.wait_count(MANY)
        everyone["supervisor"] = supervisor.pid
        stirs = stirs_in(everyone, IDLE_S)
        assert {name: n for name, n in stirs.items() if n > IDLE_S} == {}
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("interval, is_idle", [(DAY, True), (20, False)])
def test_who_has_nothing_to_do_sleeps(tmp_path, server, interval, is_idle):
    """And the negative control: who has something to do does not."""
    write_many(tmp_path, server.url, count=1, interval=interval)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_log("info running: ")
        stages = wait_connected(tmp_path, 1)["i1"]
        server.wait_count(1)
        pids = {p: s["pid"] for p, s in stages.items()}
        if is_idle:
            pids["supervisor"] = supervisor.pid
        stirs = stirs_in(pids, IDLE_S)
        assert all((n <= IDLE_S) == is_idle for n in stirs.values()), stirs
        assert supervisor.stop() == DONE

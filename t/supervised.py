"""What the tests of the supervisor share: a running one, configurations for
it, and scripts in place of its stages.
"""

import re
import shutil
from pathlib import Path

from support import Process, program, wait_until

STAGES = ("metronome", "walproc", "wssink")


def is_alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text[text.rindex(")") + 2] not in "ZX"


class Supervisor(Process):
    """A running supervisor whose log is a file."""

    def __init__(self, directory, *options, config="c.yaml", name="log",
                 binary=None, **popen):
        popen.setdefault("cwd", directory)
        super().__init__([binary or program("supervisor"), *options,
                          "-c", config], Path(directory) / name, **popen)

    def started(self, program_name, instance="01"):
        """The pids of a stage, one for each start, oldest first."""
        return [int(pid) for pid in re.findall(
            rf"info {instance}/\S+ {program_name}\[(\d+)\]: started: ",
            self.text())]

    def wait_started(self, times=1, instance="01", stages=STAGES):
        """Waits until each stage was started so often; their pids."""
        def pids():
            found = [self.started(stage, instance) for stage in stages]
            return all(len(f) >= times for f in found) and found
        found = wait_until(pids, f"start {times} in {self.text()}")
        return {stage: pids[times - 1] for stage, pids in zip(stages, found)}

    def wait_gone(self, pids):
        wait_until(lambda: not any(map(is_alive, pids)), "end of stages")

    def ends(self):
        """Which stages have ended, and how, in order."""
        return re.findall(
            r"supervisor\[\d+\] \w+ \S+ (\w+)\[\d+\]: ended: (.*)",
            self.text())

    def delays(self):
        return re.findall(r"starts again in ([0-9.]+) s", self.text())


def write_config(directory, url="ws://127.0.0.1:9/", count=None, interval=20,
                 timeout=None, extra="", onramp=None, ws="",
                 wal="max_elements: 100000"):
    """A configuration of one instance; returns its text. `onramp` is the text
    of one that is no metronome, `ws` more of the offramp's, `wal` all of the
    log's."""
    counting = "" if count is None else f", count: {count}"
    text = (
        "state_dir: state\n"
        + ("" if timeout is None else f"shutdown_timeout: {timeout}\n")
        + "onramp: [{id: m, " + (
            onramp or f"type: metronome, config: {{interval: {interval}"
            f"{counting}}}") + "}]\n"
        "pipeline: [{id: p, wal: {" + wal + "}}]\n"
        'offramp: [{id: w, type: ws, config: {url: "' + url +
        f'", backoff_max: 0.2{ws}}}}}]\n' + extra)
    (Path(directory) / "c.yaml").write_text(text)
    return text


TWO_INSTANCES = """\
binding:
  - id: b
    links:
      "/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]
      "/pipeline/p/{instance}/out": ["/offramp/w/{instance}/in"]
mapping:
  /binding/b/1: {instance: one}
  /binding/b/2: {instance: two}
"""


def ids(server):
    return [event["id"] for event in server.events()]


# What a stage says when it has begun its work.
READY = """printf '{"ready":true}' >&3\n"""
# One that does nothing, until it is told that no more input comes, or there
# is nobody any more to tell it.
OBEDIENT = """while :; do
    case $(dd bs=9000 count=1 <&3 2>/dev/null) in
    ''|*drain*) exit 0;;
    esac
done"""


def fakes_in(directory):
    """Makes a directory of scripts in place of the stages, beside a copy of
    the supervisor. Returns a function that is called with the shell text of
    each (None: no such file) and returns the supervisor. By default they do
    nothing, and end when they should. Each says that it is ready first, unless
    `is_ready` is false. Other programs than those of STAGES are there if they
    are given."""
    quiet = {"metronome": "exec sleep 600", "walproc": OBEDIENT,
             "wssink": OBEDIENT}
    directory.mkdir()
    binary = directory / "supervisor"
    shutil.copy(program("supervisor"), binary)

    def make(is_ready=True, **scripts):
        for name, text in {**quiet, **scripts}.items():
            if text is None:
                continue
            path = directory / name
            path.write_text(
                f"#!/bin/sh\n{READY if is_ready else ''}{text}\n")
            path.chmod(0o755)
        return binary
    return make

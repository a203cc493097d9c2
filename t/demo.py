"""`make demo`: the pipeline of conf/pipeline.yaml into a real websocket
listener on a free port, in a directory of its own that is removed at the end.

The listener is killed with kill -9 once and comes back: what was not confirmed
comes again, and nothing is missing. Ctrl-C stops it; where standard output is
no terminal it stops by itself after a few events.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import HERE, PYTHON, ROOT, Server, lines_of, program

KILL_AFTER = 4
COUNT = 12
AWAY_S = 3


def say(text):
    print(f"\033[1m-- {text}\033[0m" if sys.stdout.isatty() else f"-- {text}",
          flush=True)


@contextlib.contextmanager
def foreground():
    """Takes the terminal's Ctrl-C for ourselves: make, which runs us, would
    else call it an error."""
    if not sys.stdin.isatty() or os.tcgetpgrp(0) != os.getpgrp():
        yield
        return
    before = os.getpgrp()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(0, before)


class Listener(Server):
    """The listener, in its own session: Ctrl-C is for us alone."""

    def start(self):
        self.process = subprocess.Popen(
            [PYTHON, HERE / "ws_server.py", "--port", str(self.port),
             "--out", self.out], stdout=subprocess.PIPE,
            start_new_session=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def configure(directory, url):
    """A copy of conf/pipeline.yaml that sends to `url`."""
    text = (ROOT / "conf" / "pipeline.yaml").read_text()
    text, count = re.subn(r"url: .*", f"url: {url}", text)
    assert count == 1
    path = directory / "pipeline.yaml"
    path.write_text(text + "state_dir: state\n")
    return path


def show_events(listener, supervisor, limit):
    """Prints what arrives, kills the listener in between, and returns all."""
    shown = 0
    killed = False
    while supervisor.poll() is None and (limit is None or shown < limit):
        lines = lines_of(listener.out)
        for line in lines[shown:]:
            print(line.decode(), flush=True)
        shown = len(lines)
        if shown >= KILL_AFTER and not killed:
            killed = True
            say("the listener is killed with kill -9, and away for "
                f"{AWAY_S} s")
            listener.kill()
            time.sleep(AWAY_S)
            listener.start()
            say("the listener is back on its port")
        time.sleep(0.05)
    return [json.loads(line) for line in lines_of(listener.out)]


def summary(events):
    ids = [e["id"] for e in events]
    distinct = list(dict.fromkeys(ids))
    missing = sorted(set(range(max(ids, default=-1) + 1)) - set(ids))
    return (f"{len(distinct)} events arrived, {len(ids) - len(distinct)} of "
            f"them twice, {len(missing)} missing"), not missing


def main():
    limit = None if sys.stdout.isatty() else COUNT
    with tempfile.TemporaryDirectory(prefix="walpipe-demo-") as name:
        directory = Path(name)
        with Listener(directory) as listener:
            path = configure(directory, listener.url)
            say(f"a websocket listener is at {listener.url}")
            say(f"{os.path.relpath(program('supervisor'))} -c {path}"
                + ("   (Ctrl-C ends it)" if limit is None else ""))
            supervisor = subprocess.Popen(
                [program("supervisor"), "-q", "-c", path],
                start_new_session=True)
            try:
                show_events(listener, supervisor, limit)
            except KeyboardInterrupt:
                print()
            say("stopping: source, log, sink")
            supervisor.send_signal(signal.SIGTERM)
            code = supervisor.wait()
            text, good = summary(listener.events())
            say(text)
    return 0 if good and code == 0 else 1


with foreground():
    code = main()
sys.exit(code)

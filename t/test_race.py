"""Supervisors that are started at the same moment for one state directory: one
runs, and of the others nothing is heard. RACES says how often it is tried.
"""

import os
import signal
import subprocess
import time

from supervised import Supervisor, write_config
from support import DONE, Process, program, wait_until

RACES = int(os.environ.get("RACES", "100"))

# Milliseconds between two events: there is little to stop.
DAY = 86400000
# Says that it is there, waits for the end of its input, becomes the program.
HELD = ["sh", "-c", 'echo here; read go; exec "$@"', "sh"]


class Held(Process):
    """A supervisor whose start is held back until its input ends."""

    def __init__(self, directory, name, go):
        super().__init__(
            [*HELD, program("supervisor"), "-c", "c.yaml"], directory / name,
            cwd=directory, stdin=go, stdout=subprocess.PIPE)
        assert self.child.stdout.readline() == b"here\n"
        self.child.stdout.close()


def start_at_once(directory, names):
    """Starts supervisors at the same moment, as near as it can be done."""
    go, release = os.pipe()
    try:
        return [Held(directory, name, go) for name in names]
    finally:
        os.close(go)
        os.close(release)


def start_and_stop(directory, name, old, delay):
    """Stops one and starts another so many seconds later, or earlier; returns
    that one."""
    go, release = os.pipe()
    new = Held(directory, name, go)
    os.close(go)
    steps = [lambda: old.signal(signal.SIGTERM), lambda: os.close(release)]
    first, second = steps if delay >= 0 else reversed(steps)
    first()
    # The moment is what varies.
    time.sleep(abs(delay))
    second()
    return new


def runs(process):
    return "info running: " in process.text()


def assert_quiet_end(process):
    assert process.wait() == DONE, process.text()
    assert process.text() == ""


def winner_of(pair):
    """The one that runs, once the other has given way without a word."""
    wait_until(lambda: not all(p.is_running() for p in pair),
               "one that gives way")
    wait_until(lambda: any(map(runs, pair)), "one that runs")
    winner = next(p for p in pair if runs(p))
    assert_quiet_end(pair[1 - pair.index(winner)])
    return winner


def test_one_of_two_runs(tmp_path, server):
    write_config(tmp_path, server.url, interval=DAY)
    wins = []
    for n in range(RACES):
        pair = start_at_once(tmp_path, [f"{n}a", f"{n}b"])
        try:
            winner = winner_of(pair)
            wins.append(pair.index(winner))
            assert winner.stop() == DONE
            assert "error" not in winner.text()
        finally:
            for process in pair:
                process.kill()
    print(f"{wins.count(0)} times the first, {wins.count(1)} the second")


def test_one_is_started_while_another_stops(tmp_path, server):
    """It gives way, as long as the other is there, or runs: never both, and
    neither fails over what the other has in hand. The moment is tried that
    lies between the two, which the machine decides: it is looked for in ever
    longer steps, and then in ever shorter ones."""
    write_config(tmp_path, server.url, interval=DAY)
    delay, step = 0.0, 0.016
    ran = []
    for n in range(RACES):
        with Supervisor(tmp_path, name=f"{n}old") as old:
            old.wait_started()
            new = start_and_stop(tmp_path, f"{n}new", old, delay)
            with new:
                wait_until(lambda: runs(new) or not new.is_running(),
                           "a decision")
                ran.append(new.is_running())
                assert old.wait() == DONE
                if ran[-1]:
                    assert new.stop() == DONE
                else:
                    assert_quiet_end(new)
                assert "error" not in old.text() + new.text()
        delay += -step if ran[-1] else step
        step = max(step * 0.8, 0.0005) if len(set(ran)) > 1 else step * 2
    print(f"{ran.count(True)} ran, {ran.count(False)} gave way")
    assert True in ran and False in ran

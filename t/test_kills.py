"""The proof of the whole: processes are killed, aborted and frozen 500 times
while numbered events flow, at moments that differ, the supervisor too, beside
a server that dies as well. Nothing is lost, nothing is left over.

KILLS is how often in all, without the server, and more than that: the tests
that say a share of it have all of it together. KILLS_SEED makes it others.
"""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from damages import COUNTERS, inspect
from kills import SERVER, SUPERVISOR, Victims
from numbered import acked_by_wal, faults_in, jumps_in, numbered_bin
from sinks import firsts
from supervised import write_config
from support import (BIN, DONE, HERE, PATIENCE, PYTHON, acked_seq, events_of,
                     wait_asleep, wait_until)

KILLS = int(os.environ.get("KILLS", "500"))
# How much of it three of the tests have, together all.
SHARE_ANY, SHARE_FULL, SHARE_COMMAND = 0.72, 0.06, 0.22
PARTS = 6
SOURCE, WAL, SINK = "source.py", "walproc", "wssink"
NUMBERED = (SOURCE, WAL, SINK)
PRINTER = "printer.py"
PRINTED = (PRINTER, "onramp", WAL, SINK)


def received(server):
    return [e["n"] for e in events_of(server.out)]


def numbered(tmp_path, server, *options, part=0, kind=Victims, **config):
    # What is confined shows its descriptors to root only.
    write_config(tmp_path, server.url, **config,
                 extra=f"sandbox: {'true' if part % 2 else 'false'}\n")
    binary = numbered_bin(tmp_path, *options) / "supervisor"
    return kind(tmp_path, server, binary, NUMBERED, part)


def finish(victims):
    """Stops all, when what was acked has arrived; what is wrong with it."""
    directory, server = victims.directory, victims.server
    victims.wait_flow()
    acked = acked_by_wal(directory)
    # And then new events that it goes on with.
    wait_until(lambda: max(received(server)) > acked, "all acked")
    victims.stop()
    # It asserts that the counters add up.
    inspect(victims.wal)
    log = victims.process.text()
    # A source dies of what was done to it, and to its supervisor.
    assert log.count("/bin/metronome ") <= (
        victims.harms.get(SOURCE, 0) + log.count(" info running: "))
    return faults_in(received(server), acked_by_wal(directory))


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_killed_nothing_acked_is_lost(tmp_path, server, part):
    with numbered(tmp_path, server, part=part) as victims:
        victims.story([*NUMBERED, SERVER, SUPERVISOR],
                      KILLS * SHARE_ANY / PARTS)
        assert finish(victims) == []


@pytest.mark.parametrize("elements", [1, 30])
def test_a_log_that_is_full_loses_nothing(tmp_path, server, elements):
    """It tells its sources to wait, also those that come while it is."""
    wal = f"max_elements: {elements}, read_count: {max(elements // 3, 1)}"
    with numbered(tmp_path, server, part=elements, wal=wal) as victims:
        victims.story([*NUMBERED, SERVER, SUPERVISOR],
                      KILLS * SHARE_FULL / 2)
        assert finish(victims) == []


def end_of(victims):
    """Waits for the end of a supervisor, while what is frozen thaws."""
    def has_ended():
        victims.bring_back(time.monotonic())
        return victims.has_ended()
    wait_until(has_ended, f"the end; see {victims.process.log}")
    return victims.process.wait()


@pytest.mark.parametrize("part", range(2))
def test_a_stop_in_which_something_dies(tmp_path, server, part):
    """It comes to its end, and leaves nothing; what it could not deliver
    comes later."""
    with numbered(tmp_path, server, part=part, timeout=2) as victims:
        rounds, tries, before = KILLS * 3 // 100, 0, 0
        # In some all has ended before it can be harmed: how long a stop takes
        # the machine decides.
        longest = 0.01
        while victims.harmed() < rounds and tries < 10 * rounds:
            tries += 1
            if tries > 1 and victims.harmed() == before:
                longest /= 2
            before = victims.harmed()
            victims.start()
            victims.wait_flow()
            if victims.random.random() < 0.3:
                victims.harm(SERVER)
            victims.process.signal(signal.SIGTERM)
            # The moment is what varies.
            time.sleep(victims.random.uniform(0, longest))
            for name in victims.random.sample(NUMBERED, len(NUMBERED)):
                if victims.harm(name):
                    break
            assert end_of(victims) == DONE
            wait_until(lambda: not victims.strays(), "no process left")
        print(f"harmed: {victims.harms} in {tries} stops")
        assert victims.harmed() >= rounds
        victims.start()
        assert finish(victims) == []


@pytest.mark.parametrize("part", range(4))
def test_sinks_and_servers_never_disturb_a_source(tmp_path, server, part):
    """The source and the log stay the same processes, whatever becomes of
    what is behind them."""
    with numbered(tmp_path, server, part=part) as victims:
        victims.start()
        victims.check_open()
        before = victims.pids()
        victims.life([SINK, SERVER, SERVER])
        after = victims.wait_complete()
        assert after[SOURCE] == before[SOURCE]
        assert after[WAL] == before[WAL]
        assert finish(victims) == []


def printed(tmp_path, server, part):
    write_config(tmp_path, server.url, onramp="type: exec, config: {command: "
                 f"[{PYTHON}, {HERE / PRINTER}, {tmp_path / 'printed'}]}}")
    return Victims(tmp_path, server, BIN / "supervisor", PRINTED, part)


@pytest.mark.parametrize("part", range(3))
def test_of_a_command_only_what_is_not_acked_is_lost(tmp_path, server, part):
    """A program that prints hears of no ack, and what it has printed is lost
    with what reads it; nothing else is, and nothing that was in the log."""
    with printed(tmp_path, server, part) as victims:
        victims.story([*PRINTED, SERVER, SUPERVISOR],
                      KILLS * SHARE_COMMAND / 3)
        before = max(received(server))
        wait_until(lambda: max(received(server)) > before, "new events")
        victims.stop()
        came = received(server)
        assert firsts(came) == sorted(set(came))
        assert seen_in_log(victims) <= set(came)
        lossy = sum(victims.harms.get(name, 0)
                    for name in (PRINTER, "onramp", SUPERVISOR))
        assert len(jumps_in(came)) <= lossy


def seen_in_log(victims):
    """The numbers that were in the log; one that was being written when it
    was looked at is none."""
    return {int(found[1]) for event in victims.stored.values()
            if (found := re.fullmatch(rb'\{"n":(\d+)\}', event))}


def test_of_a_command_nothing_is_lost_that_is_read(tmp_path, server):
    """As long as the onramp lives, what the log and the sink lose it still
    has."""
    with printed(tmp_path, server, PARTS) as victims:
        victims.start()
        victims.check_open()
        before = victims.pids()
        victims.life([WAL, SINK, SERVER])
        after = victims.pids()
        assert after["onramp"] == before["onramp"]
        assert after[PRINTER] == before[PRINTER]
        victims.stop()
        assert jumps_in(received(server)) == []


class Asked(Victims):
    """It is asked how it stands whenever something was harmed, and told that
    its configuration has changed."""

    def look(self):
        super().look()
        config = self.directory / "c.yaml"
        text = config.read_text()
        config.write_text(text.replace("ff_max: 0.3", "ff_max: 0.4")
                          if "ff_max: 0.3" in text else
                          re.sub("ff_max: 0.[24]", "ff_max: 0.3", text))
        assert "starts anew" in self.ask("reload")
        status = json.loads(self.ask("status", "--json"))
        stages = status["instances"][0]["stages"]
        assert [s["program"] for s in stages] == ["metronome", WAL, SINK]
        self.restarts = {s["program"]: s["restarts"] for s in stages}
        counts = stages[1]["report"]
        # A log that has just been started anew has not reported yet.
        assert counts is None or counts["taken"] == sum(
            counts[name] for name in COUNTERS)

    def ask(self, *words):
        done = subprocess.run(
            [self.binary, "-c", "c.yaml", *words], cwd=self.directory,
            capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == DONE, done.stderr
        return done.stdout


def test_it_answers_while_all_around_it_dies(tmp_path, server):
    """And nothing is lost when stages are started anew in between."""
    with numbered(tmp_path, server, kind=Asked) as victims:
        victims.start()
        victims.check_open()
        victims.life([*NUMBERED, SERVER])
        log = victims.process.text()
        for name, restarts in victims.restarts.items():
            starts = log.count(f"/bin/{name} ")
            assert restarts <= starts - 1 <= restarts + 1
        assert finish(victims) == []


# The negative controls: the same pipelines, with a promise that is broken.

def test_acks_for_what_is_only_written_lose(tmp_path, server):
    with numbered(tmp_path, server, ws=", ack: write") as victims:
        victims.start()
        victims.wait_flow()
        server.process.signal(signal.SIGSTOP)
        count = len(server.lines())
        wait_until(lambda: acked_seq(victims.wal) > count + 100,
                   "acks of what nobody reads")
        server.restart()
        assert any("missing" in fault for fault in finish(victims))


def test_a_source_that_forgets_loses(tmp_path, server):
    with numbered(tmp_path, server, "--forget") as victims:
        victims.start()
        victims.wait_flow()
        pids = victims.wait_complete()
        # All that it may send before it hears of it is then in the socket.
        os.kill(pids[WAL], signal.SIGSTOP)
        wait_asleep(pids[SOURCE])
        os.kill(pids[WAL], signal.SIGKILL)
        assert any("missing" in fault for fault in finish(victims))

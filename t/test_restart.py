"""Restart of one stage: its neighbours live on, and begin a new stream with
the one that takes its place.
"""

import fcntl
import os
import re
import signal
import time

import pytest

from supervised import READY, STAGES, Supervisor, is_alive, write_config
from support import DONE, Server, shimmed, wait_until

SOURCE, WAL, SINK = STAGES
PAIRS = [(SOURCE, WAL), (WAL, SINK), (SOURCE, SINK)]


@pytest.fixture
def notes(tmp_path):
    """Where the server notes its connections."""
    return tmp_path / "notes"


@pytest.fixture
def server(tmp_path, notes):
    with Server(tmp_path, "--notes", notes) as running:
        yield running


@pytest.fixture
def supervisor(tmp_path, server):
    """One with all stages at work. It must end well."""
    write_config(tmp_path, server.url, interval=2)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        server.wait_count(10)
        yield running
        assert running.stop() == DONE
        assert "error" not in running.text()


def connections(notes):
    return notes.read_text().splitlines().count("connect")


def wait_more(server, count=20):
    server.wait_count(len(server.lines()) + count)


def stands_still(server):
    before = len(server.lines())
    time.sleep(0.1)
    return len(server.lines()) == before


def kill_at_once(supervisor, pids, victims):
    """Kills them while the supervisor looks away: it finds all of them
    dead."""
    supervisor.signal(signal.SIGSTOP)
    for victim in victims:
        os.kill(pids[victim], signal.SIGKILL)
    supervisor.wait_gone([pids[victim] for victim in victims])
    supervisor.signal(signal.SIGCONT)


def runs_of(events):
    """The ids of the events, each where it came first, cut before each 0. What
    comes again has the time that it had."""
    runs = []
    for n in {e["ingest_ns"]: e["id"] for e in events}.values():
        if n == 0:
            runs.append([])
        runs[-1].append(n)
    return runs


def assert_only_restarted(supervisor, victims, times=1):
    for stage in STAGES:
        expected = 1 + times if stage in victims else 1
        assert len(supervisor.started(stage)) == expected, stage
    assert len(supervisor.delays()) == len(victims) * times


def assert_in_order(server, sources):
    """No id is missing or before its turn, of each source."""
    # What the old one has made may be on its way for a while.
    wait_until(lambda: len(runs_of(server.events())) >= sources,
               f"events of {sources} sources")
    runs = runs_of(server.events())
    assert len(runs) == sources
    for run in runs:
        assert run == list(range(len(run)))


@pytest.mark.parametrize("victims", [
    *[(stage,) for stage in STAGES], *PAIRS, STAGES],
    ids="-".join)
def test_only_what_was_killed_is_restarted(server, supervisor, notes,
                                           victims):
    pids = supervisor.wait_started()
    # Of each source there is a run, and its first event does not come again.
    server.wait_count(30)
    kill_at_once(supervisor, pids, victims)
    supervisor.wait_started(2, stages=victims)
    wait_more(server)
    assert_only_restarted(supervisor, victims)
    assert all(is_alive(pids[s]) for s in STAGES if s not in victims)
    # The connection is the sink's, and lives as long as it does.
    assert connections(notes) == (2 if SINK in victims else 1)
    # A new metronome counts from 0.
    assert_in_order(server, 2 if SOURCE in victims else 1)


def test_what_is_said_of_it(server, supervisor):
    pids = supervisor.wait_started()
    os.kill(pids[WAL], signal.SIGKILL)
    supervisor.wait_started(2, stages=[WAL])
    text = supervisor.text()
    said = [
        rf"info 01/p walproc\[{pids[WAL]}\]: started: \S+/walproc ",
        rf"warn 01/p walproc\[{pids[WAL]}\]: ended: killed by signal 9 "
        r"\(SIGKILL\)\n",
        r"info 01/p walproc: starts again in 0\.1 s\n",
        r"info 01/p walproc\[\d+\]: started: \S+/walproc "]
    places = [re.search(line, text).start() for line in said[:3]]
    places.append([m.start() for m in re.finditer(said[3], text)][1])
    assert places == sorted(places)
    wait_more(server)


@pytest.mark.parametrize("victim", [*STAGES, "supervisor"])
def test_one_that_is_frozen_is_waited_for(server, supervisor, victim):
    """It is not dead; and goes on where it was."""
    pids = dict(supervisor.wait_started(), supervisor=supervisor.pid)
    os.kill(pids[victim], signal.SIGSTOP)
    if victim == "supervisor":
        wait_more(server)
    else:
        # What is on its way still comes, and then no more.
        wait_until(lambda: stands_still(server), "a standstill")
    os.kill(pids[victim], signal.SIGCONT)
    wait_more(server)
    assert_only_restarted(supervisor, [])
    assert_in_order(server, 1)


def test_a_sink_dies_again_and_again(server, supervisor):
    """Its source never hears of it."""
    pids = supervisor.wait_started()
    for times in range(2, 6):
        os.kill(supervisor.started(SINK)[-1], signal.SIGKILL)
        supervisor.wait_started(times, stages=[SINK])
        wait_more(server)
    assert supervisor.delays() == ["0.1", "0.2", "0.4", "0.8"]
    assert_only_restarted(supervisor, [SINK], 4)
    assert is_alive(pids[SOURCE]) and is_alive(pids[WAL])
    assert_in_order(server, 1)


def test_a_log_has_one_process_at_a_time(server, supervisor):
    """The next walproc starts when the last is reaped, and not before."""
    for times in range(2, 6):
        pid = supervisor.started(WAL)[-1]
        # Frozen, it is gone later than it is killed.
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        supervisor.wait_started(times, stages=[WAL])
        wait_more(server)
    life = re.findall(r"walproc\[(\d+)\]: (started|ended): ",
                      supervisor.text())
    assert [what for _, what in life] == ["started", "ended"] * 4 + ["started"]
    assert all(life[i][0] == life[i + 1][0] for i in range(0, 8, 2))
    assert_in_order(server, 1)


def test_who_cannot_be_given_a_stream_is_restarted(tmp_path, server):
    """It has not read for long what it was told, and is of no use."""
    write_config(tmp_path, server.url, interval=2)
    no_pass = tmp_path / "no-pass"
    with Supervisor(tmp_path, env=shimmed(
            "shim_control", SHIM_NO_PASS=no_pass)) as supervisor:
        pids = supervisor.wait_started()
        server.wait_count(10)
        no_pass.touch()
        os.kill(pids[SINK], signal.SIGKILL)
        supervisor.wait_started(2, stages=[WAL, SINK])
        assert re.search(r"01/p walproc\[\d+\]: cannot be given a new stream "
                         r"\(Resource temporarily unavailable\): killed\n",
                         supervisor.text())
        wait_more(server)
        assert is_alive(pids[SOURCE])
        assert supervisor.stop() == DONE
    assert_in_order(server, 1)


def test_a_log_that_is_held_is_waited_for(tmp_path, server):
    """By walproc repair, say, for which somebody has used the moment."""
    write_config(tmp_path, server.url, interval=2)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        server.wait_count(10)
        lock = os.open(tmp_path / "state/01/p/LOCK", os.O_RDWR)
        os.kill(pids[WAL], signal.SIGSTOP)
        supervisor.signal(signal.SIGSTOP)
        os.kill(pids[WAL], signal.SIGKILL)
        wait_until(lambda: not is_alive(pids[WAL]), "end of the log")
        fcntl.flock(lock, fcntl.LOCK_EX)
        supervisor.signal(signal.SIGCONT)
        wait_until(lambda: supervisor.text().count(
            "another walproc has it") >= 2, "two tries")
        assert ("walproc", "exit status 111") in supervisor.ends()
        os.close(lock)
        wait_more(server)
        for stage in SOURCE, SINK:
            assert len(supervisor.started(stage)) == 1
        assert supervisor.stop() == DONE
    assert_in_order(server, 1)


def test_the_server_is_gone_while_the_log_is_restarted(server, supervisor):
    """The sink has events that nobody has confirmed and nobody will."""
    pids = supervisor.wait_started()
    server.process.signal(signal.SIGSTOP)
    os.kill(pids[WAL], signal.SIGKILL)
    supervisor.wait_started(2, stages=[WAL])
    server.restart()
    wait_more(server)
    assert_only_restarted(supervisor, [WAL])
    assert_in_order(server, 1)


def test_a_source_waits_for_the_log(tmp_path, fakes):
    """It starts when the log has said that it is ready."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(
        is_ready=False,
        walproc="until [ -e go ]; do sleep 0.02; done; echo now >&2\n"
                f"{READY}exec sleep 600")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(stages=[WAL, SINK])
        (tmp_path / "go").touch()
        supervisor.wait_started()
        text = supervisor.text()
        assert text.index("01/p now") < text.index("metronome[")
        assert supervisor.stop() == DONE

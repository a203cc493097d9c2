"""The supervisor: starting, restarting and stopping chains of stages. With the
real stages where they can show it, and with scripts in their place where a
stage has to misbehave.
"""

import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from configs import command_lines, words_of
from supervised import (STAGES, TWO_INSTANCES, Supervisor, ids, is_alive,
                        write_config)
from support import DONE, FINAL, fds_of, program, wait_until


def test_a_count_comes_to_its_end(tmp_path, server):
    write_config(tmp_path, server.url, count=100, interval=0)
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        pids = supervisor.wait_started()
        assert sorted(supervisor.ends()) == [
            (stage, "exit status 0") for stage in STAGES]
        assert not any(map(is_alive, pids.values()))
    assert ids(server) == list(range(100))


def test_what_runs_is_what_check_prints(tmp_path, server):
    write_config(tmp_path, server.url)
    text = subprocess.run(
        [program("supervisor"), "-c", "c.yaml", "check"], cwd=tmp_path,
        capture_output=True, text=True, check=True).stdout
    commands = list(map(words_of, command_lines(text)))
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        running = [Path(f"/proc/{pids[stage]}/cmdline").read_bytes()
                   .decode().split("\0")[:-1] for stage in STAGES]
        assert running == commands
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("victim", STAGES)
def test_a_stage_told_to_end_by_another_is_restarted(tmp_path, server,
                                                     victim):
    """A stage that exits 0 before its time has not finished."""
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        first = supervisor.wait_started()
        server.wait_count(1)
        os.kill(first[victim], signal.SIGTERM)
        supervisor.wait_started(2, stages=[victim])
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("victim", ["walproc", "wssink"])
def test_a_crash_while_draining_does_not_start_the_source_again(
        tmp_path, server, victim):
    server.kill()
    write_config(tmp_path, server.url, count=50, interval=0)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        wait_until(lambda: ("metronome", "exit status 0")
                   in supervisor.ends(), "end of the source")
        os.kill(pids[victim], signal.SIGKILL)
        supervisor.wait_started(2, stages=[victim])
        server.start()
        assert supervisor.wait() == DONE
        assert len(supervisor.started("metronome")) == 1
    assert sorted(set(ids(server))) == list(range(50))


def test_instances_are_independent(tmp_path, server):
    write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as supervisor:
        one = supervisor.wait_started(instance="one")
        two = supervisor.wait_started(instance="two")
        server.wait_count(1)
        os.kill(one["wssink"], signal.SIGKILL)
        supervisor.wait_started(2, instance="one", stages=["wssink"])
        assert all(map(is_alive, two.values()))
        assert len(supervisor.started("metronome", "two")) == 1
        assert {p.name for p in (tmp_path / "state").iterdir()} == {
            "LOCK", "SOCKET", "one", "two"}
        assert supervisor.stop() == DONE


def test_what_a_stage_inherits(tmp_path, fakes):
    """Descriptors 0 to 3 and the lock, a clean signal mask, its own process
    group; nothing of what a careless parent left open."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(**{name: "exec sleep 600" for name in STAGES})
    leaked = os.open("/dev/zero", os.O_RDONLY)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        supervisor = Supervisor(tmp_path, binary=binary, pass_fds=[leaked])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        os.close(leaked)
    with supervisor:
        pids = supervisor.wait_started()
        for name in STAGES:
            proc = Path(f"/proc/{pids[name]}")
            wait_until(lambda: b"sleep\0" in (proc / "cmdline").read_bytes(),
                       f"{name} to run")
            # No others, once it has loaded its libraries.
            wait_until(lambda: sorted(map(int, os.listdir(proc / "fd")))
                       == [0, 1, 2, 3, 4], f"{name} to have five descriptors")
            assert os.readlink(proc / "fd" / "3").startswith("socket:")
            fds = {int(fd.name): os.readlink(fd)
                   for fd in (proc / "fd").iterdir()}
            assert fds[4] == str(tmp_path / "state" / "LOCK")
            assert fds[2].startswith("pipe:")
            # A walproc is given its streams by name.
            assert fds[0].startswith("socket:" if name == "wssink"
                                     else "/dev/null")
            assert fds[1].startswith("socket:" if name == "metronome"
                                     else "/dev/null")
            status = (proc / "status").read_text()
            blocked = int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16)
            ignored = int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16)
            assert blocked == 1 << (signal.SIGUSR2 - 1)
            assert not ignored & 1 << (signal.SIGPIPE - 1)
            assert os.getpgid(pids[name]) == pids[name]
        assert supervisor.stop() == DONE


def test_restarts_are_ever_slower(tmp_path, fakes):
    write_config(tmp_path)
    binary = fakes(walproc="echo no >&2; exit 111")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        wait_until(lambda: len(supervisor.delays()) >= 4, "4 restarts")
        assert supervisor.delays()[:4] == ["0.1", "0.2", "0.4", "0.8"]
        # In the middle of a wait, too, a stop is a stop.
        assert supervisor.stop() == DONE


def test_more_instances_than_there_are_descriptors_for(tmp_path):
    """Those that could be started go on, and the others are tried again."""
    more = "".join(f'  /binding/b/{n}: {{instance: "{n}"}}\n'
                   for n in range(3, 6))
    write_config(tmp_path, extra=TWO_INSTANCES + more)
    with Supervisor(tmp_path, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (24, 24))) as running:
        running.wait_log("Too many open files")
        running.wait_log("starts again in 0.4 s")
        assert running.started("walproc", "one")
        assert running.stop() == DONE


def test_restarts_leave_nothing_open(tmp_path, fakes):
    """No descriptor, no zombie."""
    write_config(tmp_path)

    def left(supervisor):
        return (fds_of(supervisor.pid),
                len(Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}"
                         "/children").read_text().split()))
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        pids = supervisor.wait_started()
        first = left(supervisor)
        assert first[1] == len(STAGES)
        for victim in STAGES:
            os.kill(pids[victim], signal.SIGKILL)
            supervisor.wait_started(2, stages=[victim])
            # What only the stage is to have is closed a moment later.
            wait_until(lambda: left(supervisor)[0] <= first[0]
                       and left(supervisor)[1] == first[1], f"only {first}")


@pytest.mark.parametrize("failing", STAGES)
def test_status_100_is_final(tmp_path, fakes, failing):
    write_config(tmp_path, extra=TWO_INSTANCES, timeout=0.3)
    line = "2026-01-31T12:00:00.123Z prog[812] error the disk is upside down"
    binary = fakes(**{failing: f"""
        case "$*" in *state/two*) ;; *) echo first >&2; echo '{line}' >&2
        exit 100;; esac; exec sleep 600"""})
    with Supervisor(tmp_path, binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        text = supervisor.text()
        assert re.search(rf"error \w+/\w {failing}\[\d+\]: exit status 100 is "
                         "final; its last line: the disk is upside down\n",
                         text)
        assert supervisor.delays() == []
        for stage in STAGES:
            for instance in ("one", "two"):
                pids = supervisor.started(stage, instance)
                assert len(pids) <= 1 and not any(map(is_alive, pids))


def test_final_without_a_word(tmp_path, fakes):
    write_config(tmp_path)
    binary = fakes(wssink="exit 100")
    with Supervisor(tmp_path, "-q", binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        assert "is final; it said nothing" in supervisor.text()


@pytest.mark.parametrize("name", STAGES)
def test_a_program_that_is_not_there(tmp_path, fakes, name):
    write_config(tmp_path)
    binary = fakes(**{name: None})
    with Supervisor(tmp_path, binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        assert f"cannot start {tmp_path}/bin/{name}: No such file or" \
            in supervisor.text()

"""The supervisor: starting, restarting and stopping chains of stages, its
lock, its log. With the real stages where they can show it, and with scripts in
their place where a stage has to misbehave.
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from support import (AGAIN, DONE, FINAL, PATIENCE, Process, Server, program,
                     wait_until)

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
                 timeout=None, extra=""):
    """A configuration of one chain; returns its text."""
    counting = "" if count is None else f", count: {count}"
    text = (
        "state_dir: state\n"
        + ("" if timeout is None else f"shutdown_timeout: {timeout}\n")
        + "onramp: [{id: m, type: metronome, config: {interval: "
        f"{interval}{counting}" "}}]\n"
        "pipeline: [{id: p, wal: {max_elements: 100000}}]\n"
        'offramp: [{id: w, type: ws, config: {url: "' + url +
        '", backoff_max: 0.2}}]\n' + extra)
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


# A script that SIGTERM does not end; says when it has got so far.
DEAF = "trap '' TERM; : >$0.deaf; while :; do sleep 0.05; done"


def wait_deaf(directory):
    for name in STAGES:
        wait_until((directory / "bin" / f"{name}.deaf").exists, f"{name} deaf")


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def fakes(tmp_path):
    """A directory of scripts in place of the stages, beside a copy of the
    supervisor. Called with the shell text of each (None: no such file);
    returns the supervisor. By default a source makes nothing, and the others
    end with their input."""
    quiet = {"metronome": "exec sleep 600", "walproc": "exec cat",
             "wssink": "exec cat >/dev/null"}
    directory = tmp_path / "bin"
    directory.mkdir()
    binary = directory / "supervisor"
    shutil.copy(program("supervisor"), binary)

    def make(**scripts):
        for name in STAGES:
            text = scripts.get(name, quiet[name])
            if text is None:
                continue
            path = directory / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        return binary
    return make


def ids(server):
    return [event["id"] for event in server.events()]


# ---- the real stages --------------------------------------------------------

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
    commands = [shlex.split(line) for line in text.splitlines()
                if not line.startswith("#")]
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        running = [Path(f"/proc/{pids[stage]}/cmdline").read_bytes()
                   .decode().split("\0")[:-1] for stage in STAGES]
        assert running == commands
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("victim", STAGES)
def test_a_killed_stage_restarts_the_chain(tmp_path, server, victim):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        first = supervisor.wait_started()
        server.wait_count(3)
        os.kill(first[victim], signal.SIGKILL)
        second = supervisor.wait_started(2)
        supervisor.wait_gone(first.values())
        assert set(first.values()).isdisjoint(second.values())
        assert (victim, "killed by signal 9 (SIGKILL)") in supervisor.ends()
        assert supervisor.delays() == ["0.1"]
        count = len(server.lines())
        server.wait_count(count + 3)
        assert supervisor.stop() == DONE
    # A new source counts from 0; nothing else is missing or out of order.
    seen = ids(server)
    assert seen[0] == 0 and 0 in seen[1:]


@pytest.mark.parametrize("victim", STAGES)
def test_a_stage_told_to_end_by_another_is_restarted(tmp_path, server,
                                                     victim):
    """A stage that exits 0 before its time has not finished."""
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        first = supervisor.wait_started()
        server.wait_count(1)
        os.kill(first[victim], signal.SIGTERM)
        supervisor.wait_started(2)
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_order(tmp_path, server, number):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started()
        server.wait_count(5)
        supervisor.signal(number)
        assert supervisor.wait() == DONE
        # The last two may end as one, and be seen in either order.
        assert sorted(supervisor.ends()) == [
            (stage, "exit status 0") for stage in STAGES]
        # The log was drained: what was made has arrived.
        made = re.search(r"metronome\[\d+\] info stopping.* events=(\d+)",
                         supervisor.text())
        if made:
            assert len(server.lines()) == int(made[1])


def test_stop_with_the_server_away(tmp_path, server):
    """What the sink cannot take within shutdown_timeout stays in the log, and
    goes out at the next start."""
    server.kill()
    write_config(tmp_path, server.url, timeout=0.3)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started()
        wal = tmp_path / "state" / "01" / "p"
        wait_until(lambda: any(wal.glob("*.seg")), "events in the log")
        start = time.monotonic()
        assert supervisor.stop() == DONE
        assert time.monotonic() - start < 10
        # The sink may be seen to end first: walproc's end is what ends it.
        ends = [stage for stage, _ in supervisor.ends()]
        assert ends[0] == "metronome" and sorted(ends) == sorted(STAGES)
    server.start()
    write_config(tmp_path, server.url, count=1)
    with Supervisor(tmp_path, name="log2") as supervisor:
        assert supervisor.wait() == DONE
    seen = ids(server)
    assert len(seen) > 1
    assert seen == [*range(len(seen) - 1), 0]


@pytest.mark.parametrize("victim", STAGES)
def test_a_frozen_stage_does_not_hang_the_stop(tmp_path, server, victim):
    write_config(tmp_path, server.url, timeout=0.3)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        server.wait_count(1)
        os.kill(pids[victim], signal.SIGSTOP)
        start = time.monotonic()
        assert supervisor.stop() == DONE
        assert time.monotonic() - start < 10
        supervisor.wait_gone(pids.values())


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
        supervisor.wait_started(2, stages=("walproc", "wssink"))
        server.start()
        assert supervisor.wait() == DONE
        assert len(supervisor.started("metronome")) == 1
    assert sorted(set(ids(server))) == list(range(50))


def test_killed_supervisor_leaves_nothing_behind(tmp_path, server):
    """And the next one never meets what it left."""
    write_config(tmp_path, server.url)
    old = []
    for i in range(6):
        with Supervisor(tmp_path, name=f"log{i}") as supervisor:
            old.append(supervisor)
            pids = supervisor.wait_started()
            assert "is final" not in supervisor.text()
            if i % 2:
                wait_until(lambda: (tmp_path / "state/01/p/LOCK").exists(),
                           "log in use")
            supervisor.kill()
            supervisor.wait_gone(pids.values())
    # At once: started before the stages of the last have had time to end.
    for i in range(6, 12):
        supervisor = Supervisor(tmp_path, name=f"log{i}")
        supervisor.wait_started()
        supervisor.wait_log("events stored")
        supervisor.kill()
    with Supervisor(tmp_path, name="last") as supervisor:
        supervisor.wait_started()
        server.wait_count(len(server.lines()) + 3)
        assert "is final" not in supervisor.text()
        assert supervisor.stop() == DONE


def test_a_second_run_is_quiet(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        for options, words in (([], ""), (["-v"], f"{supervisor.pid} runs")):
            start = time.monotonic()
            done = subprocess.run(
                [program("supervisor"), *options, "-c", "c.yaml"],
                cwd=tmp_path, capture_output=True, text=True,
                timeout=PATIENCE)
            assert done.returncode == DONE
            assert done.stdout == ""
            assert words in done.stderr
            assert bool(words) == bool(done.stderr)
            assert time.monotonic() - start < 2
        assert all(map(is_alive, pids.values()))
        assert supervisor.stop() == DONE


def test_modes_of_what_it_makes(tmp_path, server):
    write_config(tmp_path, server.url, count=1)
    text = (tmp_path / "c.yaml").read_text()
    (tmp_path / "c.yaml").write_text(
        text.replace("state_dir: state", "state_dir: a/b/state"))
    with Supervisor(tmp_path, "--log-file", "out.log",
                    umask=0o022) as supervisor:
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""
    def mode(path):
        return stat.S_IMODE((tmp_path / path).stat().st_mode)
    for path in ("a", "a/b", "a/b/state", "a/b/state/01", "a/b/state/01/p"):
        assert mode(path) == 0o700
    assert mode("a/b/state/LOCK") == mode("out.log") == 0o600


def test_signals_that_are_no_stop(tmp_path, server):
    write_config(tmp_path, server.url)
    log = tmp_path / "out.log"
    with Supervisor(tmp_path, "--log-file", "out.log") as supervisor:
        wait_until(lambda: log.exists() and "running" in log.read_text(),
                   "log file")
        supervisor.signal(signal.SIGHUP)
        wait_until(lambda: "reload is not built yet" in log.read_text(),
                   "answer to SIGHUP")
        log.rename(tmp_path / "out.log.1")
        supervisor.signal(signal.SIGUSR1)
        wait_until(lambda: log.exists() and "opened anew" in log.read_text(),
                   "new log file")
        server.wait_count(2)
        assert supervisor.stop() == DONE
        assert "ended: exit status 0" in log.read_text()
        assert len(re.findall("started: ", (tmp_path / "out.log.1")
                              .read_text())) == len(STAGES)


def test_log_as_json(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path, "--log-format", "json") as supervisor:
        assert supervisor.wait() == DONE
        lines = [json.loads(line) for line in supervisor.text().splitlines()]
    assert {line["program"] for line in lines} == {*STAGES, "supervisor"}
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                            line["time"])
        assert line["level"] in ("error", "warn", "info", "debug")
        assert isinstance(line["pid"], int) and line["message"]
        if line["program"] != "supervisor":
            assert line["instance"] == "01"
            assert line["stage"] in ("m", "p", "w")


def test_log_as_text(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        own = r"\d{4}-\d\d-\d\dT[0-9:.]+Z supervisor\[\d+\] (info|warn) .+"
        passed = r"01/[mpw] \d{4}-\d\d-\d\dT[0-9:.]+Z \w+\[\d+\] \w+ .+"
        for line in supervisor.text().splitlines():
            assert re.fullmatch(f"{own}|{passed}", line), line


def test_quiet(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path, "-q") as supervisor:
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""
    assert ids(server) == [0, 1, 2]


def test_instances_are_independent(tmp_path, server):
    write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as supervisor:
        one = supervisor.wait_started(instance="one")
        two = supervisor.wait_started(instance="two")
        server.wait_count(1)
        os.kill(one["wssink"], signal.SIGKILL)
        supervisor.wait_started(2, instance="one")
        assert all(map(is_alive, two.values()))
        assert len(supervisor.started("metronome", "two")) == 1
        assert {p.name for p in (tmp_path / "state").iterdir()} == {
            "LOCK", "one", "two"}
        assert supervisor.stop() == DONE


def test_stderr_that_is_gone(tmp_path, server):
    """Cron, or a terminal that was closed."""
    write_config(tmp_path, server.url, count=20)
    read_end, write_end = os.pipe()
    os.close(read_end)
    child = subprocess.Popen([program("supervisor"), "-v", "-c", "c.yaml"],
                             cwd=tmp_path, stderr=write_end)
    os.close(write_end)
    assert child.wait(PATIENCE) == DONE
    assert ids(server) == list(range(20))


def test_nobody_waits_for_who_reads_the_log(tmp_path, fakes):
    """A full pipe on stderr costs lines, and those are counted."""
    write_config(tmp_path)
    binary = fakes(metronome="""
        i=0; while [ $i -lt 9000 ]; do i=$((i+1)); echo "line $i" >&2; done
        echo done >flooded; exec sleep 600""")
    read_end, write_end = os.pipe()
    child = subprocess.Popen([binary, "-c", "c.yaml"], cwd=tmp_path,
                             stderr=write_end)
    os.close(write_end)
    wait_until((tmp_path / "flooded").exists, "end of the flood")
    text = os.read(read_end, 1 << 20)
    child.terminate()
    with os.fdopen(read_end, "rb") as rest:
        text += rest.read()
    assert child.wait(PATIENCE) == DONE
    assert text.endswith(b"no stage runs any more\n")
    assert re.search(rb"warn \d+ log lines were lost", text)


# ---- scripts in the place of stages -----------------------------------------

def test_what_a_stage_inherits(tmp_path, fakes):
    """Descriptors 0, 1, 2 and the lock, a clean signal mask, its own process
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
                       == [0, 1, 2, 4], f"{name} to have its descriptors", 10)
            fds = {int(fd.name): os.readlink(fd)
                   for fd in (proc / "fd").iterdir()}
            assert fds[4] == str(tmp_path / "state" / "LOCK")
            assert fds[2].startswith("pipe:")
            assert fds[0].startswith("/dev/null" if name == "metronome"
                                     else "socket:")
            assert fds[1].startswith("/dev/null" if name == "wssink"
                                     else "socket:")
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


def test_restarts_leave_nothing_open(tmp_path, fakes):
    """No descriptor, no zombie."""
    write_config(tmp_path)

    def left(supervisor):
        return (sorted(os.listdir(f"/proc/{supervisor.pid}/fd")),
                len(Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}"
                         "/children").read_text().split()))
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        pids = supervisor.wait_started()
        first = left(supervisor)
        assert first[1] == len(STAGES)
        for times, victim in enumerate(STAGES, 2):
            os.kill(pids[victim], signal.SIGKILL)
            pids = supervisor.wait_started(times)
            assert left(supervisor) == first


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


def test_a_stage_that_ignores_sigterm(tmp_path, fakes):
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome=DEAF, walproc=DEAF, wssink=DEAF)
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started()
        wait_deaf(tmp_path)
        assert supervisor.stop(15) == DONE
        supervisor.wait_gone(pids.values())
        assert supervisor.ends()[0] == (
            "metronome", "killed by signal 9 (SIGKILL)")


def test_a_deaf_neighbour_of_a_dead_stage(tmp_path, fakes):
    """It is killed after shutdown_timeout, and the chain starts anew."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(
        walproc="""[ -e again ] && exec sleep 600
            until [ -e bin/wssink.deaf ]; do sleep 0.02; done
            touch again; exit 111""",
        wssink=DEAF)
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(2)
        assert ("wssink", "killed by signal 9 (SIGKILL)") in supervisor.ends()


def test_a_second_signal_kills(tmp_path, fakes):
    write_config(tmp_path, timeout=600)
    binary = fakes(metronome=DEAF, walproc=DEAF, wssink=DEAF)
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started()
        wait_deaf(tmp_path)
        supervisor.signal(signal.SIGTERM)
        supervisor.wait_log("stopping: SIGTERM")
        assert all(map(is_alive, pids.values()))
        # One that comes at once may be the first, sent twice.
        wait_until(lambda: supervisor.signal(signal.SIGINT) or
                   "killing: a second signal" in supervisor.text(), "kill")
        assert supervisor.wait(15) == AGAIN
        assert not any(map(is_alive, pids.values()))


def test_one_wish_in_two_signals_is_an_orderly_stop(tmp_path, server):
    """As timeout(1) sends them: to its child, and to the group of both."""
    write_config(tmp_path, url=server.url)
    done = subprocess.run(
        ["timeout", "1", program("supervisor"), "-c",
         tmp_path / "c.yaml"], stderr=subprocess.PIPE)
    log = done.stderr.decode()
    assert "stopping: SIGTERM" in log and "done: " in log
    assert "killing" not in log and "SIGKILL" not in log


def test_a_flood_in_one_log(tmp_path, fakes):
    """Others are heard and a stop is obeyed while a stage floods its log."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome="exec yes flood >&2",
                   wssink="echo 'still heard' >&2; exec sleep 600")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_log("/m flood")
        supervisor.wait_log("01/w still heard")
        assert supervisor.stop(15) == DONE


def test_lines_of_stages(tmp_path, fakes):
    """Cut, made printable, and the last one passed on without its newline."""
    write_config(tmp_path)
    binary = fakes(walproc=r"""
        [ -e again ] && exec sleep 600
        touch again
        printf 'a\033[31mb\001c "quoted" back\\slash\n' >&2
        printf '%2000s\n' x | tr ' ' y >&2
        printf 'short\nno newline' >&2
        exit 1""")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_log("starts again")
        lines = [line[5:] for line in supervisor.text().splitlines()
                 if line.startswith("01/p ")]
        assert lines[0] == r'a\x1b[31mb\x01c "quoted" back\slash'
        assert 1000 < len(lines[1]) <= 1024 and lines[1].startswith("yyyy")
        assert lines[2:] == ["short", "no newline"]


def test_foreign_lines_as_json(tmp_path, fakes):
    """They are warnings, so that no last words of a library are lost."""
    write_config(tmp_path)
    binary = fakes(walproc=r"""printf 'oops "\\ \303\251\n' >&2; exit 100""")
    with Supervisor(tmp_path, "-q", "--log-format", "json",
                    binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        lines = [json.loads(line) for line in supervisor.text().splitlines()]
    assert lines[0]["message"] == r'oops "\ \xc3\xa9'
    assert (lines[0]["level"], lines[0]["program"]) == ("warn", "walproc")
    assert (lines[0]["instance"], lines[0]["stage"]) == ("01", "p")


def test_a_log_held_open_by_a_grandchild(tmp_path, fakes):
    write_config(tmp_path)
    binary = fakes(walproc="[ -e again ] && exec sleep 600; touch again\n"
                   "sleep 5 & echo last >&2; exit 111")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(2)
        assert "01/p last" in supervisor.text()


# ---- the lock ---------------------------------------------------------------

@pytest.fixture
def held_lock(tmp_path):
    """The lock of the state directory, held by this process, and a way to
    say by whom."""
    write_config(tmp_path)
    (tmp_path / "state").mkdir()
    with open(tmp_path / "state" / "LOCK", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def name(pid):
            lock.seek(0)
            lock.truncate()
            lock.write(f"{pid}\n")
            lock.flush()
        yield lock, name


def dead_pid():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_left_stages_are_waited_for(tmp_path, fakes, held_lock):
    """A supervisor that was killed has stages that are about to end."""
    lock, name = held_lock
    name(dead_pid())
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        locked = f"/proc/{supervisor.pid}/fd"
        wait_until(lambda: any("state" in os.readlink(f"{locked}/{fd}")
                               for fd in os.listdir(locked)
                               if os.path.islink(f"{locked}/{fd}")),
                   "a try for the lock")
        assert supervisor.is_running()
        fcntl.flock(lock, fcntl.LOCK_UN)
        supervisor.wait_started()
        assert (tmp_path / "state" / "LOCK").read_text() == \
            f"{supervisor.pid}\n"
        assert supervisor.stop() == DONE


def test_left_stages_that_stay(tmp_path, fakes, held_lock):
    _, name = held_lock
    name(dead_pid())
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        assert supervisor.wait() == AGAIN
        assert "its stages still hold the lock" in supervisor.text()


def test_a_zombie_is_dead(tmp_path, fakes, held_lock):
    _, name = held_lock
    child = subprocess.Popen(["true"])
    wait_until(lambda: not is_alive(child.pid), "zombie")
    name(child.pid)
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        assert supervisor.wait() == AGAIN
    child.wait()


def test_a_holder_that_runs(tmp_path, fakes, held_lock):
    _, name = held_lock
    name(os.getpid())
    start = time.monotonic()
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""
        assert time.monotonic() - start < 2


def test_a_state_directory_that_cannot_be(tmp_path, fakes):
    write_config(tmp_path)
    (tmp_path / "state").write_text("a file")
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        assert supervisor.wait() == AGAIN
        assert f"state directory {tmp_path}/state: Not a directory" \
            in supervisor.text()


def test_a_log_file_that_cannot_be(tmp_path, fakes):
    write_config(tmp_path)
    with Supervisor(tmp_path, "--log-file", "no/log",
                    binary=fakes()) as supervisor:
        assert supervisor.wait() == FINAL
        assert "cannot open the log file no/log" in supervisor.text()

"""Stages that misbehave, and a machine that has no more to give: what the
supervisor says of it, and that all else goes on.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from supervised import STAGES, Supervisor, is_alive, write_config
from support import (DONE, FINAL, acked_seq, fds_of, program, ticks_of,
                     wait_fds, wait_until)

SOURCE, WAL, SINK = STAGES

# Two pipelines that share nothing but the supervisor. All words of `bad`'s
# commands have its name somewhere.
TWO = """\
state_dir: state
shutdown_timeout: {timeout}
sandbox: false
onramp:
  - {{ id: bad-m, type: metronome, config: {{ interval: 5 }} }}
  - {{ id: good-m, type: metronome, config: {{ interval: 5 }} }}
pipeline:
  - {{ id: p, wal: {{ max_elements: 100000 }} }}
offramp:
  - id: bad-w
    type: ws
    config: {{ url: "{url}bad" }}
  - id: good-w
    type: ws
    config: {{ url: "{url}good" }}
binding:
  - id: bad
    links:
      "/onramp/bad-m/{{instance}}/out": ["/pipeline/p/{{instance}}/in"]
      "/pipeline/p/{{instance}}/out": ["/offramp/bad-w/{{instance}}/in"]
  - id: good
    links:
      "/onramp/good-m/{{instance}}/out": ["/pipeline/p/{{instance}}/in"]
      "/pipeline/p/{{instance}}/out": ["/offramp/good-w/{{instance}}/in"]
mapping:
  /binding/bad/1: {{ instance: bad }}
  /binding/good/1: {{ instance: good }}
"""
# Of those that are restarted, in 1/100 s: each restart costs some, and a loop
# without a pause has used it up in less than a second.
LITTLE_CPU = 60


def write_two(directory, url, timeout=5):
    (directory / "c.yaml").write_text(TWO.format(url=url, timeout=timeout))


def bad(stage, text):
    """The scripts: of the instance `bad` the stage does `text`; all else is
    the real programs."""
    scripts = {name: f'exec {program(name)} "$@"' for name in STAGES}
    scripts[stage] = (f'case "$*" in *bad*) {text};; esac\n'
                      + scripts[stage])
    return scripts


def good_ids(server):
    return [e["id"] for e in server.events() if e["onramp"] == "good-m"]


def wait_good(server, count=20):
    """Waits for more events of the other instance."""
    before = len(good_ids(server))
    wait_until(lambda: len(good_ids(server)) >= before + count,
               "events of the good instance")


def assert_good_is_whole(server):
    assert good_ids(server) == list(range(len(good_ids(server))))


CRASHES = {
    "111": ("exit 111", "exit status 111"),
    "1": ("exit 1", "exit status 1"),
    "0": ("exit 0", "exit status 0"),
    "SEGV": ("ulimit -c 0; kill -SEGV $$", "killed by signal 11 (SIGSEGV)"),
}


@pytest.mark.parametrize("how", CRASHES)
@pytest.mark.parametrize("stage", STAGES)
def test_one_that_crashes_at_its_start(tmp_path, server, fakes, stage, how):
    write_two(tmp_path, server.url)
    text, words = CRASHES[how]
    binary = fakes(is_ready=False, **bad(stage, text))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started(instance="good")
        wait_until(lambda: len(supervisor.delays()) >= 4, "4 restarts")
        assert supervisor.delays()[:4] == ["0.1", "0.2", "0.4", "0.8"]
        assert (stage, words) in supervisor.ends()
        wait_good(server)
        assert all(map(is_alive, pids.values()))
        assert ticks_of(supervisor.pid) < LITTLE_CPU
        assert supervisor.stop() == DONE
    assert_good_is_whole(server)


@pytest.mark.parametrize("stage", STAGES)
def test_one_that_says_100(tmp_path, server, fakes, stage):
    """It stops the run, in order: what the other pipeline has made
    arrives."""
    write_two(tmp_path, server.url)
    text = "until [ -e go ]; do sleep 0.02; done; echo enough >&2; exit 100"
    binary = fakes(is_ready=False, **bad(stage, text))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(instance="good")
        wait_good(server)
        (tmp_path / "go").touch()
        assert supervisor.wait() == FINAL
        assert "exit status 100 is final; its last line: enough" \
            in supervisor.text()
        assert supervisor.delays() == []
    assert_good_is_whole(server)
    wal = tmp_path / "state" / "good" / "p"
    assert acked_seq(wal) == len(good_ids(server))


@pytest.mark.parametrize("stage", STAGES)
def test_one_that_never_answers(tmp_path, server, fakes, stage):
    """It reads nothing, says nothing, and ignores SIGTERM."""
    write_two(tmp_path, server.url, timeout=1)
    text = "trap '' TERM; : >deaf; while :; do sleep 0.05; done"
    binary = fakes(is_ready=False, **bad(stage, text))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(instance="good")
        wait_until((tmp_path / "deaf").exists, "a deaf stage")
        wait_good(server)
        assert supervisor.stop() == DONE
        assert (stage, "killed by signal 9 (SIGKILL)") in supervisor.ends()
    assert_good_is_whole(server)


GARBAGE = {
    "no JSON": "printf 'hello' >&3",
    "no object": "printf '[1]' >&3",
    "a wrong type": """printf '{"ready":"yes"}' >&3""",
    "a hollow report": """printf '{"report":{"taken":"many"}}' >&3""",
    "nothing": "exec 3>&-",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_one_that_talks_nonsense(tmp_path, server, fakes, what):
    """On the control channel, again and again, or not at all."""
    write_two(tmp_path, server.url)
    text = (f"i=0; while [ $i -lt 100 ]; do {GARBAGE[what]}; i=$((i+1)); "
            "done; : >said; exec sleep 600")
    binary = fakes(is_ready=False, **bad(WAL, text))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(instance="good")
        wait_until((tmp_path / "said").exists, "nonsense")
        wait_good(server)
        assert ticks_of(supervisor.pid) < LITTLE_CPU
        assert supervisor.stop() == DONE
    assert_good_is_whole(server)


def test_a_program_that_was_taken_away(tmp_path, server, fakes):
    """While it ran; it dies, and cannot be started again."""
    write_two(tmp_path, server.url)
    binary = fakes(is_ready=False, **bad(SINK, "exec sleep 600"))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started(instance="bad")
        (tmp_path / "bin" / SINK).unlink()
        os.kill(pids[SINK], signal.SIGKILL)
        assert supervisor.wait() == FINAL
        assert f"cannot start {tmp_path}/bin/{SINK}: No such file" \
            in supervisor.text()


# A machine that has no more to give. What is lacking is taken from the running
# supervisor, and given back.

LACKING = {
    "--nofile": "Too many open files (too many for the supervisor: see "
                "ulimit -n)",
    "--nproc": "Resource temporarily unavailable (no more processes may run: "
               "see ulimit -u, pids.max)",
}


def set_limit(supervisor, option, limit, user=None):
    subprocess.run(["prlimit", "--pid", str(supervisor.pid),
                    f"{option}={limit}:"], check=True, user=user, group=user,
                   extra_groups=None if user is None else [])


def assert_it_recovers(supervisor, server, stage, option, limit, user=None):
    """The stage dies, and cannot be started. The others go on, and the
    supervisor tries again at leisure. Then it can."""
    others = [s for s in STAGES if s != stage]
    pids = supervisor.wait_started(instance="good")
    before, fds = ticks_of(supervisor.pid), fds_of(supervisor.pid)
    set_limit(supervisor, option, limit, user)
    os.kill(pids[stage], signal.SIGKILL)
    said = (rf"error good/\S+ {stage}: cannot start \S+/{stage}: "
            + re.escape(LACKING[option]))
    wait_until(lambda: len(re.findall(said, supervisor.text())) >= 4,
               f"4 times {said!r}")
    assert all(is_alive(pids[s]) for s in others)
    assert ticks_of(supervisor.pid) - before < LITTLE_CPU
    set_limit(supervisor, option, 1000, user)
    supervisor.wait_started(2, instance="good", stages=[stage])
    wait_good(server)
    # What was opened for a start that failed is closed.
    wait_fds(supervisor.pid, fds)
    for other in others:
        assert len(supervisor.started(other, "good")) == 1
    assert supervisor.stop() == DONE


@pytest.mark.parametrize("stage", STAGES)
def test_no_descriptor_is_left(tmp_path, server, stage):
    write_two(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started(instance="good")
        wait_good(server)
        # To start a stage takes more than to have one.
        assert_it_recovers(supervisor, server, stage, "--nofile",
                           fds_of(supervisor.pid))


def look_at_fds(pid):
    """The descriptors that are open after a moment."""
    time.sleep(0.05)
    return set(map(int, os.listdir(f"/proc/{pid}/fd")))


@pytest.mark.parametrize("stage", STAGES)
def test_no_room_for_a_new_stream(tmp_path, server, stage):
    """It comes only once: who cannot have it is of no use any more."""
    write_config(tmp_path, server.url)
    dead = "wssink" if stage == "walproc" else "walproc"
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        server.wait_count(1)
        # Those that are open for a moment leave room when they are closed.
        fds = set.intersection(*(look_at_fds(pids[stage]) for _ in range(10)))
        subprocess.run(["prlimit", "--pid", str(pids[stage]),
                        f"--nofile={max(fds) + 1}:"], check=True)
        os.kill(pids[dead], signal.SIGKILL)
        supervisor.wait_started(2, stages=[stage, dead])
        assert "a new stream came, and no descriptor" in supervisor.text()
        server.wait_count(len(server.lines()) + 5)
        assert supervisor.stop() == DONE


def test_never_enough_descriptors(tmp_path, server):
    """The cause is named, and it does nothing in between."""
    write_two(tmp_path, server.url)
    with Supervisor(tmp_path, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (12, 12))) as supervisor:
        wait_until(lambda: len(supervisor.delays()) >= 8, "8 restarts")
        assert "see ulimit -n" in supervisor.text()
        assert ticks_of(supervisor.pid) < LITTLE_CPU
        assert supervisor.stop() == DONE


@pytest.fixture
def stranger():
    """A user that has no processes, and a directory that is theirs. A limit
    of processes is none for root."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    uid = 2000000000 + os.getpid()
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, uid, uid)
        yield uid, Path(name)


@pytest.mark.parametrize("stage", STAGES)
def test_no_process_can_be_made(server, stranger, stage):
    uid, directory = stranger
    for name in STAGES:
        shutil.copy(program(name), directory)
    binary = shutil.copy(program("supervisor"), directory)
    write_two(directory, server.url)
    with Supervisor(directory, binary=binary, user=uid, group=uid,
                    extra_groups=[]) as supervisor:
        supervisor.wait_started(instance="good")
        wait_good(server)
        assert_it_recovers(supervisor, server, stage, "--nproc", 1, uid)

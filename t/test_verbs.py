"""The commands that ask a running supervisor, apart from what that does: here
is one that only answers (t/answering.py).
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess

import pytest

from configs import PARTS, everything_in, supervisor
from damages import inspect, make_log
from support import (AGAIN, DONE, FINAL, HERE, PYTHON, lines_of, program,
                     sleeps_of, wait_until)

VERBS = ["status", "stop", "reload"]
STOPPED = {"stopped": True, "instances": []}


@pytest.fixture
def here(tmp_path):
    """A directory with a configuration and a state directory."""
    (tmp_path / "c.yaml").write_text("state_dir: state\n" + PARTS)
    (tmp_path / "state").mkdir()
    return tmp_path


@contextlib.contextmanager
def answering(directory, answer, *linger):
    """Something that answers one request; gives the pipe of its output."""
    if not isinstance(answer, str):
        answer = json.dumps(answer) + "\n"
    with subprocess.Popen(
            [PYTHON, HERE / "answering.py", directory, answer,
             *map(str, linger)],
            stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            yield child.stdout
        finally:
            child.kill()


def ask(here, *arguments, answer=None):
    """Runs the supervisor's command with something there that answers."""
    with answering(here / "state", answer):
        return supervisor("-c", "c.yaml", *arguments, cwd=here)


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_asked(here, verb):
    with answering(here / "state", {}) as said:
        done = supervisor("-c", "c.yaml", verb, cwd=here)
        assert said.readline() == '{"command":"%s"}\n' % verb
    assert (done.returncode, done.stderr) == (DONE, "")


@pytest.mark.parametrize("verb", VERBS)
def test_as_json(here, verb):
    answer = {"a": [1, None, "\u00e9\n"], "instances": [], "orphans": []}
    done = ask(here, verb, "--json", answer=answer)
    assert (done.returncode, done.stderr) == (DONE, "")
    [line] = done.stdout.splitlines()
    assert json.loads(line) == answer


@pytest.mark.parametrize("verb,status", [
    ("status", FINAL), ("reload", FINAL), ("stop", DONE)])
def test_no_supervisor(here, verb, status):
    (here / "state").rmdir()
    before = everything_in(here)
    done = supervisor("-c", "c.yaml", verb, cwd=here)
    assert done.returncode == status
    words = f"no supervisor runs with {here.resolve() / 'state'}\n"
    assert (done.stdout if verb == "stop" else done.stderr).endswith(words)
    assert everything_in(here) == before
    # A socket that nobody listens on is as good as none.
    (here / "state").mkdir()
    with answering(here / "state", {}):
        pass
    assert (here / "state" / "SOCKET").is_socket()
    done = supervisor("-c", "c.yaml", verb, cwd=here)
    assert done.returncode == status
    assert words in done.stdout + done.stderr


def test_nothing_to_stop_as_json(here):
    done = supervisor("-c", "c.yaml", "stop", "--json", cwd=here)
    assert done.returncode == DONE
    assert json.loads(done.stdout) == {"stopped": False, "instances": []}


@pytest.mark.parametrize("verb", VERBS)
def test_refused(here, verb):
    done = ask(here, verb, "--json", answer={
        "error": "the new files are wrong", "faults": ["a:1:2: x\u00e9", 7]})
    assert (done.returncode, done.stdout) == (FINAL, "")
    lines = done.stderr.splitlines()
    assert lines[0].endswith("error a:1:2: x\\xc3\\xa9")
    assert lines[2].endswith("refuses: the new files are wrong")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answer,words", [
    ("", "ended without an answer"), ('{"a":1}', "ended without an answer"),
    ("a status\n", "is no JSON"), ("[]\n", "is no JSON"),
    ("\n", "is no JSON")])
def test_no_answer(here, verb, answer, words):
    done = ask(here, verb, answer=answer)
    assert (done.returncode, done.stdout) == (AGAIN, "")
    assert words in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_nobody_to_tell(here, verb):
    with answering(here / "state", {}), open("/dev/full", "w") as full:
        done = subprocess.run(
            [program("supervisor"), "-c", "c.yaml", verb], cwd=here,
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == AGAIN
    assert "standard output: No space left" in done.stderr


def test_a_configuration_with_faults(here):
    """It does not matter, if it says where the state is."""
    (here / "c.yaml").write_text("state_dir: state\nx: 1\nonramp: 7\n")
    done = ask(here, "stop", answer=STOPPED)
    assert (done.returncode, done.stdout) == (DONE, "stopped\n")
    assert done.stderr.count(" warn c.yaml:") == 2
    (here / "c.yaml").write_text("x: 1\n" + PARTS)
    done = supervisor("-c", "c.yaml", "stop", cwd=here)
    assert (done.returncode, done.stdout) == (FINAL, "")
    assert " error c.yaml:1:1: " in done.stderr
    done = supervisor("-c", "none.yaml", "stop", cwd=here)
    assert done.returncode == FINAL


def test_the_state_directory_by_default(here):
    """What `run` takes by the environment, these take too."""
    (here / "c.yaml").write_text(PARTS)
    done = ask(here, "stop", answer=STOPPED)
    assert (done.returncode, done.stdout) == (DONE, "stopped\n")


def test_stop_as_text(here):
    (here / "log").mkdir()
    make_log(here / "log", ended=20)
    done = ask(here, "stop", answer={"stopped": True, "instances": [
        {"instance": "a", "pipeline": "p", "left": 0, "directory": "/d/a"},
        {"instance": "b", "pipeline": "p", "left": 1, "directory": "/d/b"},
        {"instance": "c", "pipeline": "p", "left": 12, "directory": "/d/c"},
        {"instance": "d", "pipeline": "p", "left": None,
         "directory": str(here / "log" / "wal")},
        {"instance": "e", "pipeline": "p", "left": None,
         "directory": str(here / "none")}]})
    assert done.returncode == DONE
    assert done.stdout.splitlines() == [
        "a/p: nothing is left in the log",
        "b/p: 1 event is left in the log /d/b",
        "c/p: 12 events are left in the log /d/c",
        f"d/p: 100 events are left in the log {here}/log/wal",
        f"e/p: what is left in the log {here}/none is not known",
        "stopped"]


def test_after_a_stop_the_lock_is_free(here):
    """And not only the socket closed: a run that follows must not find a
    supervisor that is about to end, and leave."""
    with answering(here / "state", STOPPED, 0.3):
        done = supervisor("-c", "c.yaml", "stop", cwd=here)
        with open(here / "state" / "LOCK") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert done.returncode == DONE


def test_one_that_is_about_to_start(here):
    """It has the lock, and no socket yet."""
    with open(here / "state" / "LOCK", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
                [program("supervisor"), "-c", "c.yaml", "stop"], cwd=here,
                stdout=subprocess.PIPE, text=True) as asking:
            wait_until(lambda: sleeps_of(asking.pid) > 5, "a second look")
            with answering(here / "state", STOPPED):
                assert asking.communicate(timeout=60)[0] == "stopped\n"
    assert asking.returncode == DONE


def test_reload_as_text(here):
    done = ask(here, "reload", answer={
        "changes": ["instance 02: started", "instance 01: stopped"]})
    assert done.stdout == "instance 02: started\ninstance 01: stopped\n"
    done = ask(here, "reload", answer={"changes": []})
    assert (done.returncode, done.stdout) == (DONE, "nothing has changed\n")


def orphan(directory):
    return {"directory": str(directory), "instance": "i", "pipeline": "p",
            "stored": None, "bytes": None}


def test_what_orphans_hold(here):
    (here / "log").mkdir()
    make_log(here / "log", ended=30)
    log = here / "log" / "wal"
    answer = {"orphans": [orphan(log), orphan(here / "none")]}
    done = ask(here, "status", "--json", answer=answer)
    found, lost = json.loads(done.stdout)["orphans"]
    assert found["stored"] == 90
    assert found["bytes"] == inspect(log)["bytes"] > 0
    assert lost == orphan(here / "none")
    done = ask(here, "status", answer=answer)
    assert done.returncode == DONE
    assert "  i/p  90 stored (" in done.stdout
    assert "  i/p  what it stores is not known" in done.stdout
    assert f"{log}\n" in done.stdout


def test_an_orphan_that_cannot_be_looked_into_in_time(here):
    """A disk that hangs does not hang the status."""
    copy = here / "bin"
    copy.mkdir()
    shutil.copy(program("supervisor"), copy)
    (copy / "walproc").write_text("#!/bin/sh\necho $$ >pid\nexec sleep 600\n")
    (copy / "walproc").chmod(0o755)
    with answering(here / "state", {"orphans": [orphan("/x"), orphan("/y")]}):
        done = subprocess.run(
            [copy / "supervisor", "-c", "c.yaml", "status"], cwd=here,
            stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == DONE
    assert done.stdout.count("what it stores is not known") == 2
    # It may have been ended before it could say who it is.
    for pid in lines_of(here / "pid"):
        assert not os.path.exists(f"/proc/{pid.decode()}")


@pytest.mark.parametrize("verb", ["run", "check"])
def test_json_is_for_answers(here, verb):
    done = supervisor("-c", "c.yaml", "--json", verb, cwd=here)
    assert done.returncode == FINAL
    assert f"--json is not for {verb}" in done.stderr


@pytest.mark.parametrize("verb", ["status", "check"])
def test_nobody_to_be_told(here, verb):
    """What has nothing but its answer to give is of no use without one."""
    (here / "c.yaml").write_text("state_dir: state\n")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", program("supervisor"), "-c",
         "c.yaml", verb], cwd=here, stderr=subprocess.PIPE, text=True)
    assert done.returncode == FINAL
    assert "standard output is closed" in done.stderr

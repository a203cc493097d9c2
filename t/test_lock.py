"""One supervisor for each state directory: its lock, and what it leaves."""

import fcntl
import os
import stat
import subprocess

import pytest

from supervised import Supervisor, is_alive, write_config
from support import AGAIN, DONE, PATIENCE, program, slow_clock, wait_until


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
            # If it waited for the lock, it would for longer than this.
            done = subprocess.run(
                [program("supervisor"), *options, "-c", "c.yaml"],
                cwd=tmp_path, capture_output=True, text=True,
                env=slow_clock(), timeout=PATIENCE)
            assert done.returncode == DONE
            assert done.stdout == ""
            assert words in done.stderr
            assert bool(words) == bool(done.stderr)
        assert all(map(is_alive, pids.values()))
        assert supervisor.stop() == DONE


LINKS = """\
    links:
      "/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]
      "/pipeline/p/{instance}/out": ["/offramp/w/{instance}/in"]
"""
IDLE = f"""\
binding:
  - id: b
{LINKS}
  - id: idle
{LINKS}
mapping: {{/binding/b/1: {{instance: "01"}}}}
"""


def test_a_second_run_does_not_repeat_what_is_odd(tmp_path, server):
    """Else cron would mail it every minute."""
    write_config(tmp_path, server.url, extra=IDLE)
    words = 'binding "idle" is used by no instance'
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started()
        assert supervisor.text().count(words) == 1
        done = subprocess.run(
            [program("supervisor"), "-q", "-c", "c.yaml"], cwd=tmp_path,
            capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, done.stdout, done.stderr) == (DONE, "", "")
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


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    write_config(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "other").write_text("something else\n")
    (tmp_path / "state/LOCK").symlink_to(tmp_path / "other")
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == AGAIN
        assert "state/LOCK: Too many levels of symbolic links" in \
            supervisor.text()
    assert (tmp_path / "other").read_text() == "something else\n"


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
    # If it waited for the lock, it would for longer than the test.
    with Supervisor(tmp_path, binary=fakes(),
                    env=slow_clock()) as supervisor:
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""


def test_a_state_directory_that_cannot_be(tmp_path, fakes):
    write_config(tmp_path)
    (tmp_path / "state").write_text("a file")
    with Supervisor(tmp_path, binary=fakes()) as supervisor:
        assert supervisor.wait() == AGAIN
        assert f"state directory {tmp_path}/state: Not a directory" \
            in supervisor.text()

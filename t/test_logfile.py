"""The supervisor's log in a file: a full disk under it, others who write to
it, and what renames it.
"""

import os
import re
import shutil
import signal
import subprocess

import pytest

from disks import PATH, Disk
from support import DONE, ROOT, fds_of, wait_fds, wait_until
from supervised import Supervisor, fakes_in, ids, write_config

OWN = r"\d{4}-\d\d-\d\dT[0-9:.]+Z supervisor\[\d+\] \w+ .+"
PASSED = r"01/[mpw] \d{4}-\d\d-\d\dT[0-9:.]+Z \w+\[\d+\] \w+ .+"


@pytest.fixture(name="disk")
def fixture_disk(tmp_path):
    disk = Disk(tmp_path, "tmpfs")
    yield disk
    disk.close()


def test_a_full_disk_under_the_log(tmp_path, server, disk):
    """Events flow on and stages are restarted; what could not be written is
    told when it can be, and what stands there in part is a line of its own."""
    write_config(tmp_path, server.url)
    log = disk.path / "log"
    with Supervisor(tmp_path, "-v", "--log-file", str(log)) as supervisor:
        def restart():
            before = pid_of(supervisor, "wssink")
            os.kill(before, signal.SIGKILL)
            return wait_until(lambda: pid_of(supervisor, "wssink", before),
                              "another sink")
        server.wait_count(3)
        # The last page of the log has room still: the disk is full when that
        # is, within a line.
        disk.load()
        wait_until(lambda: supervisor.signal(signal.SIGUSR1) or
                   log.stat().st_size % 4096 == 0, "a full page")
        size = log.stat().st_size
        restart()
        server.wait_count(len(server.lines()) + 3)
        assert log.stat().st_size == size
        disk.unload()
        restart()
        wait_until(lambda: "log lines were lost" in log.read_text(),
                   "the count")
        assert supervisor.stop() == DONE
        assert supervisor.text() == ""
    text = log.read_text()
    lost = re.findall(r"warn (\d+) log lines were lost: No space left", text)
    assert len(lost) == 1 and int(lost[0]) > 3
    # What was written when the page was full is ended, whole or not.
    assert "\n" in text[size - 1:size + 1]
    odd = [line for line in text.splitlines()
           if not re.fullmatch(f"{OWN}|{PASSED}", line)]
    assert odd == [] or odd == [text[:size].splitlines()[-1]]
    assert sorted(set(ids(server))) == list(range(max(ids(server)) + 1))


def pid_of(supervisor, name, other_than=None):
    """The pid of a child of the supervisor, or None."""
    pids = open(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
    with pids:
        for pid in map(int, pids.read().split()):
            try:
                with open(f"/proc/{pid}/comm") as comm:
                    found = comm.read() == f"{name}\n"
            except (FileNotFoundError, ProcessLookupError):
                continue
            if found and pid != other_than:
                return pid
    return None


def test_a_device_that_takes_nothing(tmp_path, server):
    """As the test before it, for who may not mount a disk. What could never
    be written is told on standard error at the end."""
    write_config(tmp_path, server.url, count=20)
    with Supervisor(tmp_path, "--log-file", "/dev/full") as supervisor:
        assert supervisor.wait() == DONE
        assert re.fullmatch(r".* warn \d+ log lines were lost: No space left "
                            r"on device\n", supervisor.text())
    assert ids(server) == list(range(20))


def chatter(letter):
    """A source that logs a thousand long lines of one letter."""
    return (f"line=$(printf '%0900d' 0 | tr 0 {letter})\n"
            "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo $line >&2; done\n"
            "echo >$0.done; exec sleep 600")


@pytest.mark.parametrize("shared", ["file", "pipe"])
def test_two_supervisors_in_one_log(tmp_path, shared):
    """Each line is of one of them."""
    out = tmp_path / "out"
    with open(out, "wb") as sink:
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=sink)
    children = []
    for letter in "ab":
        directory = tmp_path / letter
        directory.mkdir()
        write_config(directory, timeout=0.2)
        options = ["--log-file", out] if shared == "file" else []
        children.append(subprocess.Popen(
            [fakes_in(directory / "bin")(metronome=chatter(letter)), *options,
             "-c", "c.yaml"], cwd=directory, stderr=reader.stdin))
    reader.stdin.close()
    for letter in "ab":
        wait_until((tmp_path / letter / "bin" / "metronome.done").exists,
                   f"the end of {letter}")
    for child in children:
        child.terminate()
    assert [child.wait() for child in children] == [DONE, DONE]
    reader.wait()
    lines = out.read_text().splitlines()
    whole = [line for line in lines
             if re.fullmatch(rf"01/m (a{{900}}|b{{900}})|{OWN}", line)]
    assert whole == lines
    for letter in "ab":
        assert sum(f"01/m {letter}" in line for line in lines) > 100


def test_a_new_log_file_that_cannot_be(tmp_path, server):
    """The old one goes on."""
    write_config(tmp_path, server.url)
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "log"
    with Supervisor(tmp_path, "--log-file", "logs/log") as supervisor:
        wait_until(lambda: log.exists() and "running" in log.read_text(),
                   "the log")
        (tmp_path / "logs").rename(tmp_path / "moved")
        supervisor.signal(signal.SIGUSR1)
        moved = tmp_path / "moved" / "log"
        wait_until(lambda: re.search(
            r"error cannot open the log file logs/log anew: No such file",
            moved.read_text()), "the reason")
        (tmp_path / "logs").mkdir()
        supervisor.signal(signal.SIGUSR1)
        wait_until(lambda: log.exists() and "opened anew" in log.read_text(),
                   "the new file")
        size = moved.stat().st_size
        assert supervisor.stop() == DONE
        assert moved.stat().st_size == size
        assert log.read_text().endswith("no stage runs any more\n")
        assert supervisor.text() == ""


def test_a_log_file_opened_anew_many_times(tmp_path, server):
    """Nothing stays open of those before."""
    write_config(tmp_path, server.url)
    log = tmp_path / "log"
    with Supervisor(tmp_path, "--log-file", "log",
                    name="stderr") as supervisor:
        server.wait_count(3)
        before = fds_of(supervisor.pid)
        for times in range(1, 21):
            supervisor.signal(signal.SIGUSR1)
            wait_until(lambda: log.read_text().count("opened anew") == times,
                       f"{times} times")
        wait_fds(supervisor.pid, before)
        assert supervisor.stop() == DONE


# What rotates it.

# Numbered lines in small steps, until it is enough, so that the log is rotated
# among them; not so many a second that some are held back.
COUNTING = """
i=0
until [ -e $0.enough ]; do
    i=$((i+1)); echo "number $i" >&2
    case $i in *0) sleep 0.2;; esac
done
echo $i >$0.part; mv $0.part $0.done; exec sleep 600"""


def rotation(directory):
    """The configuration for logrotate, for a log and a state directory that
    are not the system's."""
    text = (ROOT / "conf" / "walpipe.logrotate").read_text()
    for path, own in (("/var/log/walpipe.log", directory / "log"),
                      ("/var/lib/walpipe/", f"{directory}/state/")):
        assert path in text
        text = text.replace(path, str(own))
    path = directory / "logrotate.conf"
    path.write_text(text)
    path.chmod(0o600)
    return path


def rotate(directory):
    path = shutil.which("logrotate", path=PATH)
    if path is None:
        pytest.skip("skipped: there is no logrotate")
    done = subprocess.run(
        [path, "-f", "-s", directory / "rotated", rotation(directory)],
        capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_logrotate(tmp_path, fakes):
    """Lines go on in the new file; none is lost or torn, also of the files
    that were compressed meanwhile."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome=COUNTING)
    log = tmp_path / "log"
    with Supervisor(tmp_path, "--log-file", "log", name="stderr",
                    binary=binary) as supervisor:
        for times in range(5):
            if times > 0:
                rotate(tmp_path)
            wait_until(lambda: log.exists() and "number" in log.read_text(),
                       "lines in a new file")
        (tmp_path / "bin" / "metronome.enough").touch()
        done = tmp_path / "bin" / "metronome.done"
        wait_until(done.exists, "the end")
        count = int(done.read_text())
        assert supervisor.stop() == DONE
        assert supervisor.text() == ""
    parts = [gunzip(tmp_path / f"log.{n}.gz") for n in (4, 3, 2)]
    parts += [(tmp_path / "log.1").read_text(), log.read_text()]
    assert all(part.endswith("\n") and "number" in part for part in parts)
    assert re.findall(r"01/m number (\d+)\n", "".join(parts)) == [
        str(i) for i in range(1, count + 1)]
    assert all(part.count("log file opened anew") == 1 for part in parts[1:])


def gunzip(path):
    return subprocess.run(["gzip", "-dc", path], check=True,
                          capture_output=True, text=True).stdout


def test_logrotate_signals_nobody_else(tmp_path):
    """A pid in LOCK is that of a supervisor only while the lock is held."""
    (tmp_path / "state").mkdir()
    (tmp_path / "log").write_text("a line\n")
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (tmp_path / "state" / "LOCK").write_text(f"{stranger.pid}\n")
        rotate(tmp_path)
        assert (tmp_path / "log.1").read_text() == "a line\n"
        assert stranger.poll() is None
        stranger.kill()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "log").write_text("another\n")
    rotate(tmp_path)
    assert not (tmp_path / "state").exists()

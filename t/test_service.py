"""The unit for systemd: that systemd understands it, and that it says what the
supervisor needs. Where systemd is not installed there is nobody to ask. No
systemd is started; what the supervisor tells it is read by the test.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import configs
from support import BIN, DONE, FINAL, PATIENCE, ROOT, wait_until
from supervised import (OBEDIENT, READY, TWO_INSTANCES, Supervisor,
                        write_config)

UNIT = ROOT / "conf" / "walpipe.service"


def analyze(*arguments):
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("skipped: there is no systemd-analyze")
    return subprocess.run([path, *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path):
    """The unit, of the programs that are tested."""
    text = UNIT.read_text()
    assert text.count("/usr/local/bin/") == 1
    path = tmp_path / "walpipe.service"
    path.write_text(text.replace("/usr/local/bin/", f"{BIN}/"))
    return path


def test_systemd_understands_it(unit):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_would_be_seen(unit):
    unit.write_text(unit.read_text().replace("KillMode=", "KillMood="))
    assert "KillMood" in analyze("verify", "--man=no", unit).stderr


def test_its_exposure_is_low(unit):
    """2.5 of 10, where a unit that says nothing has 9.6."""
    done = analyze("security", "--offline=true", "--threshold=25", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("skipped: a systemd-analyze before 250")
    assert done.returncode == 0, done.stdout


def test_what_the_supervisor_counts_on():
    """Whoever changes one of these changes what the manual says."""
    settings = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M)
    assert {
        ("Type", "notify"), ("KillMode", "mixed"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"), ("RestartPreventExitStatus", "100"),
        ("StateDirectory", "walpipe"), ("StateDirectoryMode", "0700"),
        ("TimeoutStartSec", "infinity"),
    } <= set(settings)
    # Its own timeout ends first: 5 s for the drain, 2 s each for the onramp,
    # the log and the sink.
    assert int(dict(settings)["TimeoutStopSec"]) > 11


@pytest.mark.parametrize("is_abstract", [False, True])
def test_what_the_service_manager_is_told(tmp_path, server, is_abstract):
    """Ready, reloading and ready again, stopping; by the supervisor alone."""
    write_config(tmp_path, server.url)
    name = f"@{tmp_path}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(PATIENCE)

        def told():
            return manager.recv(4096).decode().splitlines()
        with Supervisor(tmp_path, env=dict(
                os.environ, NOTIFY_SOCKET=name)) as supervisor:
            assert "READY=1" in told()
            for pid in supervisor.wait_started().values():
                assert b"NOTIFY_SOCKET" not in Path(
                    f"/proc/{pid}/environ").read_bytes()
            supervisor.signal(signal.SIGHUP)
            reloading = told()
            assert reloading[0] == "RELOADING=1"
            assert re.fullmatch(r"MONOTONIC_USEC=\d+", reloading[1])
            assert "READY=1" in told()
            supervisor.signal(signal.SIGTERM)
            assert "STOPPING=1" in told()
            assert supervisor.wait() == DONE


def test_ready_is_who_takes_events_in(tmp_path, fakes):
    """Not before the log is ready, nor before the source is."""
    write_config(tmp_path)

    def after(file, rest):
        return f"until [ -e {file} ]; do sleep 0.01; done\n{READY}{rest}"

    binary = fakes(is_ready=False, walproc=after("log", OBEDIENT),
                   metronome=after("source", "exec sleep 600"),
                   wssink=READY + OBEDIENT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def wait_state(supervisor, stage, state):
            def is_so():
                done = configs.supervisor("-c", "c.yaml", "status", "--json",
                                          cwd=tmp_path)
                [instance] = json.loads(done.stdout)["instances"]
                return {s["program"]: s["state"]
                        for s in instance["stages"]}[stage] == state
            wait_until(is_so, f"{stage} {state}: {supervisor.text()}")
        with Supervisor(tmp_path, binary=binary, env=dict(
                os.environ, NOTIFY_SOCKET=tmp_path / "notify")) as supervisor:
            # Before that nobody is there to be asked.
            supervisor.wait_started(stages=["wssink"])
            wait_state(supervisor, "wssink", "ready")
            with pytest.raises(BlockingIOError):
                manager.recv(4096)
            (tmp_path / "log").touch()
            wait_state(supervisor, "walproc", "ready")
            wait_state(supervisor, "metronome", "starting")
            with pytest.raises(BlockingIOError):
                manager.recv(4096)
            (tmp_path / "source").touch()
            manager.settimeout(PATIENCE)
            assert b"READY=1" in manager.recv(4096)
            assert supervisor.stop() == DONE


def test_one_that_fails_does_not_keep_the_others_from_being_ready(tmp_path,
                                                                  server):
    """Else a service manager would end all of them when its patience does."""
    write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "two").write_text("no directory\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        with Supervisor(tmp_path, env=dict(
                os.environ, NOTIFY_SOCKET=tmp_path / "notify")) as supervisor:
            assert b"READY=1" in manager.recv(4096)
            assert "two: cannot make the directory" in supervisor.text()
            supervisor.wait_started(instance="one")
            assert supervisor.stop() == DONE


@pytest.mark.parametrize("stage", ["walproc", "metronome"])
def test_who_never_ran_is_not_ready(tmp_path, fakes, stage):
    """Where a stage fails for good, stopping is all that is told."""
    write_config(tmp_path)
    good = READY + OBEDIENT
    binary = fakes(is_ready=False, **{
        "walproc": good, "wssink": good, stage: "exit 100"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        with Supervisor(tmp_path, binary=binary, env=dict(
                os.environ, NOTIFY_SOCKET=tmp_path / "notify")) as supervisor:
            assert supervisor.wait() == FINAL
        manager.setblocking(False)
        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(manager.recv(4096))
    assert [text.split(b"\n")[0] for text in told] == [b"STOPPING=1"]

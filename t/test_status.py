"""What a running supervisor says of itself, over its socket and by its
commands: status, stop, reload.
"""

import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import signal
import socket
import stat

from configs import ask, status
from damages import inspect
from support import DONE, FINAL, fds_of, wait_fds, wait_until
from supervised import (STAGES, TWO_INSTANCES, Supervisor, is_alive,
                        write_config)

# How far two times of one moment may be apart, on a busy machine.
NEAR_S = 1


def only(told):
    """The only instance, its stages by program, and its flow."""
    [instance] = told["instances"]
    stages = {stage["program"]: stage for stage in instance["stages"]}
    return instance, stages, instance["flow"]


def wait_flow(directory, condition):
    """Asks until the flow of the only instance is as wanted; returns that."""
    def look():
        told = status(directory)
        flow = only(told)[2]
        return flow["in"] is not None and condition(flow) and told
    return wait_until(look, "a flow as wanted")


class Raw:
    """A client that says what it likes."""

    def __init__(self, directory):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(directory / "state" / "SOCKET"))

    def say(self, text):
        self.socket.sendall(text)

    def hear(self):
        """All that comes up to the end."""
        with self.socket.makefile("rb") as stream:
            return stream.read()


def test_a_pipeline_at_work(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        told = wait_flow(tmp_path, lambda flow: flow["acked"] >= 5 and
                         flow["connection"] == "open")
        own = told["supervisor"]
        assert (own["pid"], own["state"]) == (running.pid, "running")
        assert own["state_dir"] == str(tmp_path.resolve() / "state")
        assert told["orphans"] == []
        instance, stages, flow = only(told)
        assert (instance["instance"], instance["pipeline"]) == ("01", "p")
        assert instance["state"] == "running"
        assert instance["directory"] == own["state_dir"] + "/01/p"
        assert {name: stage["pid"] for name, stage in stages.items()} == pids
        assert all(stage["restarts"] == 0 and stage["last_exit"] is None
                   for stage in stages.values())
        assert own["since"] <= stages["walproc"]["since"]
        assert (flow["source_breaker"], flow["sink_breaker"]) == (
            "closed", "closed")
        text = ask(tmp_path, "status").stdout
        assert f"supervisor {running.pid} (" in text
        assert "instance 01: running  (pipeline p, binding " in text
        assert "connection open" in text
        assert all(len(line) <= 80 for line in text.splitlines()
                   if " in /" not in line)
        assert running.stop() == DONE


def time_of(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def test_what_the_stages_are_at_and_since_when(tmp_path, fakes):
    """A log that is never ready, so that its source is not started, and a sink
    that does not stay."""
    write_config(tmp_path, timeout=0.3)
    binary = fakes(is_ready=False, walproc="exec sleep 600", wssink="exit 111")
    with Supervisor(tmp_path, binary=binary) as running:
        # By then more time has gone by than two near times are apart.
        wait_until(lambda: sum(map(float, running.delays()[:-1])) > NEAR_S,
                   "ends of the sink")

        def look():
            log = running.text()
            told = status(tmp_path)
            stages = only(told)[1]
            return running.text() == log and [
                stages[name]["state"] for name in STAGES] == [
                "idle", "starting", "waiting"] and (told, stages, log)
        told, stages, log = wait_until(look, "a sink that waits")
        for who, line in (
                (told["supervisor"], r"supervisor\[\d+\] info running: "),
                (stages["metronome"], r"supervisor\[\d+\] info running: "),
                (stages["walproc"], r".* walproc\[\d+\]: started: "),
                (stages["wssink"], r".* wssink: starts again in ")):
            moment = re.findall(rf"^(\S+) {line}", log, re.M)[-1]
            assert abs(time_of(moment) - time_of(who["since"])) < NEAR_S, who
        assert running.stop() == DONE


def test_a_stage_that_was_killed(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        before = running.wait_started()
        os.kill(before["wssink"], signal.SIGKILL)
        running.wait_started(2, stages=["wssink"])
        told = wait_flow(tmp_path, lambda flow: flow["connection"] == "open")
        stages = only(told)[1]
        assert stages["wssink"]["restarts"] == 1
        assert stages["wssink"]["last_exit"] == "killed by signal 9 (SIGKILL)"
        assert stages["wssink"]["pid"] not in (None, before["wssink"])
        assert stages["walproc"]["pid"] == before["walproc"]
        assert stages["walproc"]["restarts"] == 0
        text = ask(tmp_path, "status").stdout
        assert "1 restart" in text and "(SIGKILL)" in text
        assert running.stop() == DONE


def test_a_frozen_stage_does_not_keep_the_status_back(tmp_path, server):
    write_config(tmp_path, server.url, timeout=0.3)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        wait_flow(tmp_path, lambda flow: flow["acked"] >= 1)
        os.kill(pids["walproc"], signal.SIGSTOP)
        stages = only(status(tmp_path))[1]
        assert stages["walproc"]["pid"] == pids["walproc"]
        assert running.stop() == DONE


def test_who_owes_a_report_is_not_asked_again(tmp_path, fakes):
    """It may be long without a look at its messages, and there must be room
    for those that count."""
    write_config(tmp_path, timeout=30)
    binary = fakes(walproc="""
        until [ -e go ]; do sleep 0.01; done
        while :; do
            packet=$(dd bs=9000 count=1 <&3 2>/dev/null)
            echo "$packet" >>said
            case $packet in ''|*drain*) exit 0;; esac
        done""")
    with Supervisor(tmp_path, binary=binary) as running:
        running.wait_started()
        for _ in range(3):
            assert ask(tmp_path, "status").returncode == DONE
        (tmp_path / "go").touch()
        assert running.stop() == DONE
    assert (tmp_path / "said").read_text().count('"ask"') == 1


def test_the_service_away(tmp_path, server):
    """What is stored grows, and why is told; then the log is full."""
    server.kill()
    text = write_config(tmp_path, server.url, timeout=0.3)
    (tmp_path / "c.yaml").write_text(
        text.replace("max_elements: 100000", "max_elements: 20"))
    with Supervisor(tmp_path) as running:
        running.wait_started()
        flow = only(wait_flow(
            tmp_path, lambda flow: flow["source_breaker"] == "open"
            # It has an age once it is on the disk.
            and flow["oldest_unacked_ms"] is not None))[2]
        assert flow["stored"] == 20 and flow["acked"] == 0
        assert flow["source_breaker_reason"]
        assert flow["oldest_unacked_ms"] >= 0
        assert flow["connection"] in ("connecting", "waiting")
        assert flow["connection_why"]
        assert "source breaker open: " in ask(tmp_path, "status").stdout
        done = ask(tmp_path, "stop", "--json")
        [left] = json.loads(done.stdout)["instances"]
        assert running.wait() == DONE
    assert (left["instance"], left["pipeline"]) == ("01", "p")
    assert left["left"] == inspect(left["directory"])["elements"] == 20


def test_stop_when_all_is_delivered(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        server.wait_count(3)
        done = ask(tmp_path, "stop")
        # It waited for the end of the process: nothing here does.
        assert not is_alive(running.pid)
        assert (done.returncode, done.stderr) == (DONE, "")
        assert done.stdout == "01/p: nothing is left in the log\nstopped\n"
        assert running.wait() == DONE
        assert not any(map(is_alive, pids.values()))
    assert not (tmp_path / "state" / "SOCKET").exists()
    done = ask(tmp_path, "stop")
    assert done.returncode == DONE
    assert done.stdout.startswith("no supervisor runs with ")
    assert ask(tmp_path, "status").returncode == FINAL


def test_a_run_right_after_a_stop(tmp_path, server):
    """It is not taken for a second one of what was just stopped."""
    write_config(tmp_path, server.url)
    for number in range(5):
        with Supervisor(tmp_path, name=f"log{number}") as running:
            running.wait_started()
            assert ask(tmp_path, "stop").returncode == DONE
            assert running.wait() == DONE


def test_a_client_that_leaves_does_not_keep_from_stopping(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        client = Raw(tmp_path)
        client.say(b'{"command":"stop"}\n')
        client.socket.close()
        assert running.wait() == DONE


def test_who_could_not_be_served_in_time_is_answered_at_the_end(tmp_path):
    """More wait for the end than are served at a time."""
    def come():
        with contextlib.suppress(BlockingIOError):
            return Raw(tmp_path)
    write_config(tmp_path, timeout=0.5)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        wait_flow(tmp_path, lambda flow: flow["stored"] > 0)
        clients = [wait_until(come, "room to wait") for _ in range(30)]
        for client in clients:
            client.say(b'{"command":"stop"}\n')
        for client in clients:
            assert json.loads(client.hear())["stopped"] is True
        assert running.wait() == DONE


def test_a_supervisor_that_was_killed(tmp_path, server):
    """Its socket is of no use, and in nobody's way."""
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        assert ask(tmp_path, "status").returncode == DONE
        running.kill()
    path = tmp_path / "state" / "SOCKET"
    assert path.is_socket()
    done = ask(tmp_path, "status")
    assert done.returncode == FINAL
    assert "no supervisor runs with " in done.stderr
    with Supervisor(tmp_path, name="log2") as running:
        running.wait_started()
        assert status(tmp_path)["supervisor"]["pid"] == running.pid
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert running.stop() == DONE
    assert not path.exists()


def test_two_instances(tmp_path, server):
    write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        running.wait_started(instance="one")
        running.wait_started(instance="two")
        told = status(tmp_path)
        assert sorted(item["instance"] for item in told["instances"]) == [
            "one", "two"]
        text = ask(tmp_path, "status").stdout
        assert text.count("\n\ninstance ") == 2
        done = ask(tmp_path, "stop")
        assert sorted(done.stdout.splitlines()) == [
            "one/p: nothing is left in the log", "stopped",
            "two/p: nothing is left in the log"]
        assert running.wait() == DONE


def test_a_log_that_nobody_uses_any_more(tmp_path, server):
    server.kill()
    text = write_config(tmp_path, server.url, count=7, timeout=0.3)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        wait_flow(tmp_path, lambda flow: flow["stored"] == 7)
        assert ask(tmp_path, "stop").returncode == DONE
    (tmp_path / "c.yaml").write_text(
        text.replace("pipeline: [{id: p,", "pipeline: [{id: q,"))
    with Supervisor(tmp_path, name="log2") as running:
        running.wait_started()
        [found] = status(tmp_path)["orphans"]
        directory = str(tmp_path.resolve() / "state" / "01" / "p")
        assert found == {"directory": directory, "instance": "01",
                         "pipeline": "p", "stored": 7,
                         "bytes": inspect(directory)["bytes"]}
        assert "\n  01/p  7 stored (" in ask(tmp_path, "status").stdout
        assert running.stop() == DONE


def test_many_at_once(tmp_path, server):
    """More than it serves at a time: each is answered, and nothing stays."""
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        ask(tmp_path, "status")
        before = fds_of(running.pid)
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            told = list(pool.map(lambda _: status(tmp_path), range(40)))
        assert {item["supervisor"]["pid"] for item in told} == {running.pid}
        wait_fds(running.pid, before)
        assert running.stop() == DONE


def test_clients_that_are_odd(tmp_path, server):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        silent = Raw(tmp_path)
        for text in (b"hello\n", b"{}\n", b'{"command":"restart"}\n',
                     b"\n", b"x" * 10000, b"\xff\xfe\n"):
            client = Raw(tmp_path)
            client.say(text)
            answer = client.hear()
            assert answer.endswith(b"\n")
            assert list(json.loads(answer)) == ["error"]
        half = Raw(tmp_path)
        half.say(b'{"command":"status"}')
        half.socket.shutdown(socket.SHUT_WR)
        assert json.loads(half.hear())["supervisor"]["pid"] == running.pid
        assert only(status(tmp_path))[1]["wssink"]["pid"] == pids["wssink"]
        silent.socket.close()
        assert running.stop() == DONE


def test_reload(tmp_path, server):
    text = write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        done = ask(tmp_path, "reload")
        assert (done.returncode, done.stdout) == (
            DONE, "nothing has changed\n")
        (tmp_path / "c.yaml").write_text(text + "x: 1\n")
        done = ask(tmp_path, "reload")
        assert (done.returncode, done.stdout) == (FINAL, "")
        assert " error " in done.stderr and "c.yaml:" in done.stderr
        (tmp_path / "c.yaml").write_text(text + TWO_INSTANCES.replace(
            "one", '"01"'))
        done = ask(tmp_path, "reload", "--json")
        assert done.returncode == DONE, done.stderr
        assert json.loads(done.stdout)["changes"] == [
            "01/p has changed: no stage starts anew",
            "two/p is new: it starts"]
        running.wait_started(instance="two")
        assert {stage["program"]: stage["pid"]
                for item in status(tmp_path)["instances"]
                if item["instance"] == "01"
                for stage in item["stages"]} == pids
        assert running.stop() == DONE

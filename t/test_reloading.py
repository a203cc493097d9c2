"""Reloads that come while the stages of the one before are still at work."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from configs import ask, status, supervisor
from damages import damage_of, inspect
from fan import metronome, write_fan
from support import (BIN, DONE, FINAL, Server, acked_seq, stored_events,
                     wait_until)
from supervised import (OBEDIENT, READY, STAGES, TWO_INSTANCES, Supervisor,
                        ids, is_alive, write_config)


def reload(directory, text):
    (directory / "c.yaml").write_text(text)
    done = ask(directory, "reload", "--json")
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)["changes"]


def without_two(text):
    """A configuration of TWO_INSTANCES without the second."""
    return text[:text.rindex("  /binding/b/2")]


def test_an_instance_that_is_back_and_changed_waits_for_its_old_stages(
        tmp_path):
    """Its log has one walproc at a time, whatever is asked for meanwhile."""
    text = write_config(tmp_path, timeout=600, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        old = running.wait_started(instance="two")
        wait_until(lambda: stored_events(tmp_path / "state/two/p"), "events")
        assert reload(tmp_path, without_two(text)) == [
            "two/p is removed: it stops"]
        assert reload(tmp_path, text) == ["two/p is new: it starts"]
        changed = text.replace("100000", "100001")
        assert len(reload(tmp_path, changed)) == 2
        assert running.started("walproc", "two") == [old["walproc"]]
        # It waits for the server still; the source has ended.
        for name in "walproc", "wssink":
            os.kill(old[name], signal.SIGKILL)
        pids = running.wait_started(2, instance="two")
        ended = f"walproc[{old['walproc']}]: ended"
        started = f"walproc[{pids['walproc']}]: started"
        assert running.text().index(ended) < running.text().index(started)
        assert "100001" in running.text().split(started)[1].split("\n")[0]
        reload(tmp_path, changed.replace(
            "shutdown_timeout: 600", "shutdown_timeout: 0.3"))
        assert running.stop() == DONE


def wait_more_stored(wal, count):
    """Waits until so many more events have come into a log."""
    last = max(stored_events(wal), default=0)
    wait_until(lambda: max(stored_events(wal), default=0) >= last + count,
               f"{count} events")


def wait_removed(running):
    """Waits until the second instance has ended; what is said of its log."""
    running.wait_log("two: removed: its log ")
    return re.search(r"(\w+) two: removed: its log (.*)",
                     running.text()).groups()


def test_what_is_removed_leaves_its_log(tmp_path, server):
    """With what could not be delivered: how much is told, and it is whole."""
    text = write_config(tmp_path, server.url, timeout=0.3,
                        extra=TWO_INSTANCES)
    wal = tmp_path.resolve() / "state/two/p"
    with Supervisor(tmp_path) as running:
        running.wait_started(instance="two")
        wait_until(lambda: (wal / "cursor").exists() and acked_seq(wal) >= 3,
                   "acks")
        server.kill()
        wait_more_stored(wal, 5)
        reload(tmp_path, without_two(text))
        told = wait_removed(running)
        left = inspect(wal)
        assert left["elements"] >= 5
        assert told == ("warn", f"{wal} stays, with {left['elements']} events "
                        "that were not delivered")
        assert damage_of(wal) == []
        now = status(tmp_path)
        assert [i["instance"] for i in now["instances"]] == ["one"]
        assert now["orphans"] == [{
            "directory": str(wal), "instance": "two", "pipeline": "p",
            "stored": left["elements"], "bytes": left["bytes"]}]
        assert running.stop() == DONE


def test_what_is_removed_delivers_all_that_it_has(tmp_path, server):
    """Also where the server takes its time."""
    text = write_config(tmp_path, server.url, timeout=600,
                        extra=TWO_INSTANCES).replace(
        "{id: p,", '{id: p, insert: {of: "${instance}"},')
    (tmp_path / "c.yaml").write_text(text)
    wal = tmp_path.resolve() / "state/two/p"
    with Supervisor(tmp_path) as running:
        pids = running.wait_started(instance="two")
        server.wait_count(3)
        server.process.signal(signal.SIGSTOP)
        wait_more_stored(wal, 10)
        reload(tmp_path, without_two(text))
        # The source ends first; then there is nothing but to deliver.
        running.wait_gone([pids["metronome"]])
        server.process.signal(signal.SIGCONT)
        assert wait_removed(running) == (
            "info", f"{wal} stays; nothing in it is left to deliver")
        assert inspect(wal)["elements"] == 0
        assert {how for _, how in running.ends()} == {"exit status 0"}
        assert running.stop() == DONE
    made = re.search(r"two/m .* metronome\[\d+\] info stopping.* events=(\d+)",
                     running.text())[1]
    assert [e["id"] for e in server.events() if e["of"] == "two"] == [
        *range(int(made))]


def test_a_new_shutdown_timeout(tmp_path):
    """The old one would keep all waiting for a server that is not there."""
    text = write_config(tmp_path, timeout=600)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        wait_more_stored(tmp_path / "state/01/p", 1)
        assert reload(tmp_path, text.replace(
            "timeout: 600", "timeout: 0.3")) == [
                "01/p has changed: no stage starts anew"]
        assert running.stop() == DONE


def test_what_a_signal_has_changed_is_told(tmp_path):
    text = write_config(tmp_path, timeout=0.3, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        running.wait_started(instance="two")
        for now, change in (
                (text, "nothing has changed"),
                (without_two(text), "two/p is removed: it stops"),
                (without_two(text).replace("100000", "100001"),
                 "one/p has changed: 1 stage starts anew")):
            (tmp_path / "c.yaml").write_text(now)
            running.signal(signal.SIGHUP)
            running.wait_log(f" info reload: {change}\n")
        assert running.stop() == DONE


def test_what_is_renamed_is_called_so(tmp_path):
    """Where no command names it nothing starts anew for that."""
    text = write_config(tmp_path, timeout=0.3, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        running.wait_started(instance="two")
        text = text.replace("id: b", "id: other").replace(
            "/binding/b/", "/binding/other/")
        assert reload(tmp_path, text) == [
            f"{name}/p has changed: no stage starts anew"
            for name in ("one", "two")]
        assert reload(tmp_path, text) == []
        for instance in status(tmp_path)["instances"]:
            assert instance["binding"] == "other"
        assert len(running.started("wssink", "two")) == 1
        assert running.stop() == DONE


def test_another_id_is_another_stage(tmp_path):
    text = write_config(tmp_path, timeout=0.3, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        old = running.wait_started(instance="two")
        text = text.replace("id: w,", "id: new,").replace(
            "/offramp/w/", "/offramp/new/")
        assert reload(tmp_path, text) == [
            f"{name}/p offramp {what}" for name in ("one", "two")
            for what in ("w: removed", "new: added")]
        assert reload(tmp_path, text) == []
        running.wait_gone([old["wssink"]])
        wait_until(lambda: [
            [stage["stage"] for stage in instance["stages"]]
            for instance in status(tmp_path)["instances"]]
            == [["m", "p", "new"]] * 2, "end of what was removed")
        pids = running.wait_started(2, "two", ("wssink",))
        os.kill(pids["wssink"], signal.SIGKILL)
        running.wait_log("two/new wssink: starts again")
        assert len(running.started("walproc", "two")) == 1
        assert running.stop() == DONE


@pytest.mark.parametrize("old,new", [
    ("{id: p,", '{id: p, insert: {a: "x ${env:UNSET_HERE}"},'),
    ("backoff_max", 'bearer_auth: "${env:UNSET_HERE}", backoff_max')])
def test_a_variable_that_is_not_there(tmp_path, old, new):
    """A stage that wants it would end for good, and all others with it."""
    text = write_config(tmp_path, timeout=0.3)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        (tmp_path / "c.yaml").write_text(text.replace(old, new))
        done = ask(tmp_path, "reload")
        assert (done.returncode, done.stdout) == (FINAL, "")
        assert "variable UNSET_HERE is not set" in done.stderr
        assert all(is_alive(pid) for pid in pids.values())
        assert running.stop() == DONE
    with Supervisor(tmp_path, name="log2", env=dict(
            os.environ, UNSET_HERE="y")) as running:
        running.wait_started()
        assert reload(tmp_path, text.replace(old, new)) == []
        assert running.stop() == DONE


# What no reading of a file can find out: wssink refuses it at its start.
TWO_USERS = (', headers: {Authorization: "Basic ${env:PATH}"}, '
             'basic_auth: "me:${env:PATH}"')


def test_arguments_that_a_stage_refuses_are_taken_back(tmp_path, server):
    """It goes on with those of before, and nobody else is disturbed."""
    text = write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    bad = text.replace(", backoff_max", TWO_USERS + ", backoff_max")
    with Supervisor(tmp_path) as running:
        before = running.wait_started(instance="one")
        server.wait_count(2)
        assert len(reload(tmp_path, bad)) == 2
        running.wait_log("with its new arguments: those of before are used")
        pids = running.wait_started(3, instance="one", stages=["wssink"])
        running.wait_started(3, instance="two", stages=["wssink"])
        server.wait_count(len(server.lines()) + 10)
        argv = Path(f"/proc/{pids['wssink']}/cmdline").read_bytes()
        assert b"--basic-auth" not in argv
        for stage in ("metronome", "walproc"):
            assert running.started(stage, "one") == [before[stage]]
        # Asked for again, it is tried again; and what is good is taken.
        assert len(reload(tmp_path, bad)) == 2
        running.wait_started(5, instance="one", stages=["wssink"])
        good = text.replace(", backoff_max", ", rate: 7777, backoff_max")
        assert len(reload(tmp_path, good)) == 2
        pids = running.wait_started(6, instance="one", stages=["wssink"])
        assert b"7777" in Path(
            f"/proc/{pids['wssink']}/cmdline").read_bytes()
        assert running.stop() == DONE


def test_a_new_instance_that_cannot_work_stops_alone(tmp_path, server):
    text = write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    both = text.replace("backoff_max: 0.2}}]", "backoff_max: 0.2}}, {id: bad, "
                        'type: ws, config: {url: "ws://h/"%s}}]' % TWO_USERS)
    both = both.replace("mapping:", """\
  - id: c
    links:
      "/onramp/m/{instance}/out": ["/pipeline/p/{instance}/in"]
      "/pipeline/p/{instance}/out": ["/offramp/bad/{instance}/in"]
mapping:
  /binding/c/3: {instance: three}""")
    with Supervisor(tmp_path) as running:
        pids = [running.wait_started(instance=i) for i in ("one", "two")]
        server.wait_count(2)
        assert reload(tmp_path, both) == ["three/p is new: it starts"]
        running.wait_log("three: cannot work as it is since the reload")
        wait_until(lambda: not any(
            is_alive(pid) for stage in ("metronome", "walproc", "wssink")
            for pid in running.started(stage, "three")), "end of three")
        server.wait_count(len(server.lines()) + 10)
        assert all(is_alive(pid) for of in pids for pid in of.values())
        # Mended, it works.
        mended = both.replace(TWO_USERS, "").replace("ws://h/", server.url)
        assert len(reload(tmp_path, mended)) > 0
        running.wait_log("info three/p walproc")
        wait_until(lambda: len(running.started("wssink", "three")) >= 2,
                   "start of three")
        assert running.stop() == DONE


def test_a_start_that_cannot_work_still_ends_all(tmp_path, server):
    text = write_config(tmp_path, server.url)
    (tmp_path / "c.yaml").write_text(
        text.replace(", backoff_max", TWO_USERS + ", backoff_max"))
    with Supervisor(tmp_path) as running:
        assert running.wait() == FINAL
        assert "is final; its last line" in running.text()


def test_a_source_that_has_ended_is_not_run_for_a_new_sink(tmp_path):
    """What it has left behind goes there, once."""
    text = write_config(tmp_path, timeout=1, count=50, interval=0)
    with Server(tmp_path) as server, Supervisor(tmp_path) as running:
        running.wait_log("done: events=50")
        assert reload(tmp_path, text.replace("100000", "100001")) == [
            "01/p has changed: 1 stage starts anew"]
        running.wait_started(2, stages=["walproc"])
        text = text.replace("ws://127.0.0.1:9/", server.url)
        assert len(reload(tmp_path, text)) == 1
        assert running.wait() == DONE
        assert ids(server) == list(range(50))
        assert len(running.started("metronome")) == 1


# Says that it is ready when it is told to end, and not before.
LATE = """
case "$*" in *basic-auth*) exit 100;; esac
trap "printf '{\\"ready\\":true}' >&3; exit 0" TERM
: >up
while :; do sleep 0.05; done"""


def test_a_stage_that_is_ready_too_late(tmp_path, fakes):
    """It says nothing of the arguments of the next."""
    text = write_config(tmp_path, timeout=0.3)
    binary = fakes(is_ready=False, wssink=LATE)
    with Supervisor(tmp_path, binary=binary) as running:
        wait_until((tmp_path / "up").exists, "a sink")
        reload(tmp_path, text.replace(
            ", backoff_max", TWO_USERS + ", backoff_max"))
        running.wait_log("with its new arguments: those of before are used")
        running.wait_started(3, stages=["wssink"])
        assert running.stop() == DONE


def test_what_has_been_at_work_is_no_trial_any_more(tmp_path, server, fakes):
    """A failure for good that comes later is none of the reload's."""
    text = write_config(tmp_path, server.url, extra=TWO_INSTANCES)
    scripts = {stage: f'exec {BIN / stage} "$@"' for stage in STAGES}
    scripts["wssink"] = f"[ ! -e bad ] || exit 100; {scripts['wssink']}"
    with Supervisor(tmp_path, binary=fakes(**scripts)) as running:
        running.wait_started(instance="one")
        server.wait_count(2)
        good = text.replace(", backoff_max", ", rate: 7777, backoff_max")
        assert len(reload(tmp_path, good)) == 2
        pids = running.wait_started(2, instance="one", stages=["wssink"])
        server.wait_count(len(server.lines()) + 10)
        (tmp_path / "bad").touch()
        os.kill(pids["wssink"], signal.SIGKILL)
        assert running.wait() == FINAL
        assert "exit status 100 is final" in running.text()
        assert "those of before are used" not in running.text()


@pytest.mark.parametrize("how", ["added", "removed", "mended"])
def test_several_that_have_been_at_work_are_no_trial(
        tmp_path, server, fakes, how):
    """Be it that a source has ended, that nothing was to be started, or that
    what could not start is gone again."""
    def write(sinks):
        return write_fan(tmp_path, {"a": metronome(), "b": metronome(1, 5)},
                         {name: server.url for name in sinks}, timeout=1)

    few, many = ("v",), ("v", "w")
    bad = "case \"$*\" in *nowhere*) sleep 600;; esac"
    scripts = {stage: f'exec {BIN / stage} "$@"' for stage in STAGES}
    scripts["wssink"] = (
        f"[ ! -e bad ] || exit 100\n{bad}\n{scripts['wssink']}")
    write(many if how == "removed" else few)
    with Supervisor(tmp_path, binary=fakes(**scripts)) as running:
        running.wait_log("done: events=5")
        if how == "mended":
            text = write(many)
            last = text.rindex(server.url)
            reload(tmp_path, text[:last] + "ws://nowhere/"
                   + text[last + len(server.url):])
            running.wait_log("info 01/w wssink")
        reload(tmp_path, write(many if how == "added" else few))
        wait_until(
            lambda: {stage["state"] for stage in
                     status(tmp_path)["instances"][0]["stages"]}
            == {"ready", "done"} and len(
                status(tmp_path)["instances"][0]["stages"])
            == (5 if how == "added" else 4), "all at work")
        (tmp_path / "bad").touch()
        os.kill(running.wait_started(stages=["wssink"])["wssink"],
                signal.SIGKILL)
        assert running.wait() == FINAL
        assert "since the reload" not in running.text()


EXEC = "type: exec, config: {command: [sleep, 600]"


def test_a_reload_in_the_turn_in_which_a_source_is_ready(tmp_path, fakes):
    """What is to be started then is of the configuration of before."""
    write_config(tmp_path, onramp=EXEC + "}")
    binary = fakes(
        is_ready=False, walproc=READY + OBEDIENT, wssink=READY + OBEDIENT,
        onramp="until [ -e go ]; do sleep 0.01; done\n" + READY +
        ": >said\n" + OBEDIENT)
    with Supervisor(tmp_path, binary=binary) as running:
        running.wait_started(stages=["onramp"])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "state/SOCKET"))
            # Who connects first is served first.
            ask(tmp_path, "status")
            running.signal(signal.SIGSTOP)
            (tmp_path / "go").touch()
            wait_until((tmp_path / "said").exists, "a source that is ready")
            write_config(tmp_path)
            client.sendall(b'{"command":"reload"}\n')
            running.signal(signal.SIGCONT)
            with client.makefile("rb") as answer:
                assert b"has changed" in answer.read()
        running.wait_started(stages=["metronome"])
        assert len(running.started("sleep")) == 1
        assert running.stop() == DONE


@pytest.mark.parametrize("old, new, anew", [
    ("restart: always", "restart: never", "no stage starts anew"),
    ("timeout: 0.3", "timeout: 0.4", "no stage starts anew"),
    ("[sleep, 600]", "[sleep, 601]", "2 stages start anew"),
    (f"{EXEC}, restart: always}}", "type: metronome",
     "1 stage starts anew")])
def test_what_has_changed_is_told(tmp_path, old, new, anew):
    text = write_config(tmp_path, timeout=0.3,
                        onramp=f"{EXEC}, restart: always}}")
    with Supervisor(tmp_path) as running:
        running.wait_started(stages=["sleep", "onramp"])
        assert old in text
        assert reload(tmp_path, text.replace(old, new)) == [
            f"01/p has changed: {anew}"]
        assert running.stop() == DONE


def test_what_runs_keeps_its_name_until_it_has_ended(tmp_path, server):
    """Also where another program takes its place."""
    deaf = "trap '' TERM; until [ -e go ]; do sleep 0.05; done"
    write_config(tmp_path, server.url, timeout=600, onramp="type: exec, "
                 f'config: {{command: [sh, -c, "{deaf}"]}}')
    with Supervisor(tmp_path) as running:
        pid = running.wait_started(stages=["onramp", "sh"])["onramp"]
        reload(tmp_path, write_config(tmp_path, server.url, timeout=600))
        stages = status(tmp_path)["instances"][0]["stages"]
        assert [stage["program"] for stage in stages
                if stage["pid"] == pid] == ["onramp"]
        (tmp_path / "go").touch()
        running.wait_started(stages=["metronome"])
        server.wait_count(1)
        assert ("onramp", "exit status 0") in running.ends()
        assert running.stop() == DONE


def test_a_pipe_among_the_files_is_not_waited_for(tmp_path):
    directory = tmp_path / "conf"
    directory.mkdir()
    text = write_config(directory, timeout=0.3)
    with Supervisor(tmp_path, config="conf") as running:
        pids = running.wait_started()
        os.mkfifo(directory / "more.yaml")
        done = supervisor("-c", "conf", "reload", cwd=tmp_path)
        assert done.returncode == FINAL
        assert "conf/more.yaml:1:1: it is no regular file" in done.stderr
        (directory / "more.yaml").unlink()
        assert all(map(is_alive, pids.values()))
        (directory / "c.yaml").write_text(text)
        done = supervisor("-c", "conf", "reload", cwd=tmp_path)
        assert done.stdout == "nothing has changed\n"
        assert running.stop() == DONE


def test_a_pipe_is_read_at_a_start_only(tmp_path):
    """As a shell makes one: supervisor -c <(...)."""
    text = write_config(tmp_path, timeout=0.3)
    (tmp_path / "c.yaml").unlink()
    os.mkfifo(tmp_path / "c.yaml")
    with Supervisor(tmp_path) as running:
        (tmp_path / "c.yaml").write_text(text)
        running.wait_started()
        running.signal(signal.SIGHUP)
        running.wait_log("c.yaml:1:1: it is no regular file")
        assert running.stop() == DONE


def test_of_many_faults_the_number_is_told(tmp_path):
    text = write_config(tmp_path, timeout=0.3)
    with Supervisor(tmp_path) as running:
        running.wait_started()
        (tmp_path / "c.yaml").write_text(
            text + "".join(f"odd{n}: 1\n" for n in range(25)))
        done = ask(tmp_path, "reload")
        assert done.returncode == FINAL
        for text in done.stderr, running.text():
            assert text.count(" error c.yaml:") == 20
            assert text.count(" error and 5 more\n") == 1
        assert running.stop() == DONE


def test_new_arguments_are_not_blamed_for_those_of_before(tmp_path, fakes):
    """A stage refuses what it was given when it was already to be started
    with something else."""
    binary = fakes(is_ready=False, walproc=READY + OBEDIENT,
                   metronome=READY + "exec sleep 600", wssink=f"""
        case "$*" in
        *7777*) trap '' TERM; : >begun
            until [ -e go ]; do sleep 0.01; done; exit 100;;
        esac
        {READY}{OBEDIENT}""")
    text = write_config(tmp_path)
    with Supervisor(tmp_path, binary=binary) as running:
        running.wait_started()
        for rate in 7777, 8888:
            reload(tmp_path, text.replace(
                ", backoff_max", f", rate: {rate}, backoff_max"))
            wait_until((tmp_path / "begun").exists, "the bad arguments")
        (tmp_path / "go").touch()
        pid = running.wait_started(3, stages=["wssink"])["wssink"]
        wait_until(lambda: b"8888" in Path(
            f"/proc/{pid}/cmdline").read_bytes(), "the good arguments")
        assert "new arguments" not in running.text()
        assert running.stop() == DONE

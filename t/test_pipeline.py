"""The main job, end to end: the real programs, alone in a shell pipe and
supervised, against a real websocket server. What is promised is proven here by
killing what can be killed.
"""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from bad_input import BAD_INPUT
from numbered import acked_by_wal, faults_in, numbered_bin
from sinks import firsts
from support import (AGAIN, BIN, DONE, FINAL, ROOT, Process, Server,
                     acked_seq, events_of, program, stored_events, wait_until)

PIPELINE = """\
state_dir: state
onramp:
  - id: metronome
    type: metronome
    config: {{ interval: {interval} {count} }}
pipeline:
  - id: main
    insert: {{ hostname: "${{hostname}}" }}
    wal: {{ read_count: 20, max_elements: {max_elements},
            max_bytes: 10485760 }}
offramp:
  - id: ws
    type: ws
    config: {{ url: "{url}", backoff_max: 0.5 }}
"""


def copy_files(source, target, url, interval):
    """Copies a configuration, with another interval and another server."""
    target.mkdir()
    changes = 0
    for path in source.iterdir():
        text, n = re.subn(r"url: .*", f"url: {url}\n      backoff_max: 0.5",
                          path.read_text())
        text, m = re.subn(r"interval: .*", f"interval: {interval}", text)
        (target / path.name).write_text(text)
        changes += n + m
    assert changes == 2
    (target / "state.yaml").write_text("state_dir: ../state\n")


class Supervised:
    """A supervisor in its own directory, to be started and ended again."""

    def __init__(self, directory, url, interval=50, max_elements=1000,
                 bin_dir=BIN, count=None, files=None):
        """From one file, or from a copy of the directory `files` as it is but
        for the interval and the server."""
        self.directory = directory
        self.bin_dir = bin_dir
        self.file = directory / "pipeline.yaml"
        self.log = directory / "supervisor.log"
        self.file.write_text(PIPELINE.format(
            url=url, interval=interval, max_elements=max_elements,
            count="" if count is None else f", count: {count}"))
        if files is not None:
            self.file = directory / "config"
            copy_files(files, self.file, url, interval)
        self.process = None

    @property
    def wal(self):
        return self.directory / "state" / "01" / "main"

    def start(self):
        """Starts it, and waits until it has its signals in hand."""
        words = "info running: "
        before = self.log.read_text().count(words) if self.log.exists() else 0
        self.process = Process(
            [self.bin_dir / "supervisor", "-c", self.file], self.log)
        wait_until(lambda: self.process.text().count(words) > before, words)

    def stop(self):
        assert self.process.stop() == DONE, self.process.text()

    def stage_pid(self, name):
        """The pid of a running stage, by its program's name."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            with open(children, encoding="ascii") as file:
                pids = file.read().split()
            for pid in pids:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if any(os.path.basename(w) == name.encode()
                       for w in words[:3]):
                    return int(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
        return None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.is_running():
            self.process.stop()


# 1. The tutorial's first transcript.

# One file, and the set of files that the tutorial has.
FORMS = pytest.mark.parametrize("files", [None, ROOT / "conf" / "tutorial"],
                                ids=["file", "files"])


@FORMS
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restart_sends_what_was_not_acked_first(tmp_path, how, files):
    """Ended with events in the log that no server has: they come first, with
    their own ids and hostname, and then the new metronome's ids from 0."""
    with Server(tmp_path) as server:
        with Supervised(tmp_path, server.url, files=files) as supervised:
            server.wait_count(5)
            server.kill()
            stored = len(stored_events(supervised.wal))
            wait_until(lambda: len(stored_events(supervised.wal)) >=
                       stored + 5, "events in the log")
            if how == signal.SIGTERM:
                supervised.process.signal(how)
                assert supervised.process.wait() == DONE
            else:
                supervised.process.kill()
            on_disk = [json.loads(e)
                       for e in stored_events(supervised.wal).values()]
            server.start()
            before = len(server.lines())
            supervised.start()
            newest = on_disk[-1]["ingest_ns"]
            wait_until(lambda: any(
                e["ingest_ns"] > newest and e["id"] >= 3
                for e in server.events()), "the new run's events")
        received = server.events()

    assert all(e["hostname"] == socket.gethostname() for e in received)
    times = firsts(e["ingest_ns"] for e in received)
    assert times == sorted(times)
    ids = [e["id"] for e in received
           if e["ingest_ns"] <= on_disk[-1]["ingest_ns"]]
    assert firsts(ids) == list(range(on_disk[-1]["id"] + 1))
    # Nothing from the log is missing, and it came before the new run.
    assert {e["ingest_ns"] for e in on_disk} <= set(times)
    new = [e["id"] for e in received
           if e["ingest_ns"] > on_disk[-1]["ingest_ns"]]
    assert new[0] == 0 and firsts(new) == list(range(max(new) + 1))
    assert received[before]["id"] > 0


def test_what_was_delivered_is_not_sent_again_after_a_clean_stop(tmp_path):
    with Server(tmp_path) as server:
        supervised = Supervised(tmp_path, server.url, interval=5, count=20)
        for _ in range(3):
            supervised.start()
            assert supervised.process.wait() == DONE
        assert [e["id"] for e in server.events()] == 3 * list(range(20))


# 2. The tutorial's second transcript.

@FORMS
def test_ten_server_crashes_lose_no_event(tmp_path, files):
    with Server(tmp_path) as server:
        with Supervised(tmp_path, server.url, interval=10,
                        files=files) as supervised:
            for _ in range(10):
                server.wait_count(len(server.lines()) + 7)
                server.restart()
            server.wait_count(len(server.lines()) + 7)
            supervised.stop()
            taken = max(stored_events(supervised.wal))
            assert acked_seq(supervised.wal) == taken
        ids = [e["id"] for e in server.events()]
    # From the first to the last that the log took.
    assert firsts(ids) == list(range(taken))


def test_the_negative_control_write_acks_lose_events(tmp_path):
    """The same proof must fail where an event counts as delivered once the
    kernel has it, as in the tutorial: a stopped server takes bytes that it
    will never read."""
    lost = 0
    with Server(tmp_path) as server:
        feed = b"".join(b'{"n":%d}\n' % n for n in range(500))
        for level, expect_loss in (("write", True), ("pong", False)):
            sink = Process(
                [program("wssink"), "-u", server.url, "--ack", level,
                 "--backoff-max", "0.2"],
                tmp_path / f"{level}.log", stdin=subprocess.PIPE)
            sink.wait_log("connected to")
            before = len(server.lines())
            server.process.signal(signal.SIGSTOP)
            sink.child.stdin.write(feed)
            sink.child.stdin.flush()
            if expect_loss:
                # It says that all is done, and nothing has been read.
                sink.child.stdin.close()
                wait_until(lambda: "confirmed=500" in sink.text() or
                           not sink.is_running(), "write acks")
            server.restart()
            if not expect_loss:
                sink.child.stdin.close()
            assert sink.wait() == DONE
            received = {e["n"] for e in server.events()[before:]}
            lost = 500 - len(received)
            assert (lost > 0) == expect_loss, (level, lost)


# 3. The server is away for longer than the log can hold.

def test_a_full_log_stores_exactly_max_elements_and_pauses(tmp_path):
    limit, interval_ms, pause_s = 40, 5, 0.5
    with Server(tmp_path) as server:
        with Supervised(tmp_path, server.url, interval=interval_ms,
                        max_elements=limit) as supervised:
            server.wait_count(3)
            server.kill()

            def held():
                """What is stored and not acked: none is acked any more."""
                acked = acked_seq(supervised.wal)
                return [n for n in stored_events(supervised.wal) if n > acked]

            # It may have been full before, until the server was there.
            wait_until(lambda: len(held()) == limit, "a full log")
            supervised.process.wait_log(f"log full: {limit} events of {limit}")
            before = stored_events(supervised.wal)
            # Hundreds of ticks go by, and none of them is stored.
            until = time.monotonic() + 2 * pause_s
            wait_until(lambda: time.monotonic() > until, "the pause")
            assert stored_events(supervised.wal) == before
            server.start()
            server.wait_count(len(server.lines()) + limit + 20)
            supervised.stop()
            taken = max(stored_events(supervised.wal))
        received = server.events()
    # No id is missing or burnt over the pause, order holds, and all that the
    # log took has arrived.
    ids = firsts(e["id"] for e in received)
    assert ids == list(range(taken))
    # The pause shows in the clock, right behind what was stored; what was on
    # its way in the socket by then is few events, not those of all its ticks.
    times = {e["id"]: e["ingest_ns"] for e in received}
    last = json.loads(before[max(before)])["id"]
    on_its_way = int(pause_s * 1000 / interval_ms)
    assert max(times[i + 1] - times[i]
               for i in range(last, min(last + on_its_way, max(ids)))) \
        > pause_s * 1e9


# 4. kill -9.

@pytest.mark.parametrize("part", range(5))
def test_kill_each_process_in_turn(tmp_path, part):
    """5 rounds of 4 kills in each of 5 parts: 25 kills of each process, at
    moments that differ from round to round."""
    rounds = 5
    with Server(tmp_path) as server:
        supervised = Supervised(tmp_path, server.url,
                                bin_dir=numbered_bin(tmp_path))
        for round_ in range(rounds):
            supervised.start()
            for name in ("source.py", "walproc", "wssink", "supervisor"):
                # Flowing again, and then some more, so that the moment varies.
                more = 5 + (part * 17 + round_ * 29) % 40
                server.wait_count(len(server.lines()) + more)
                pid = supervised.process.pid if name == "supervisor" else \
                    wait_until(lambda n=name: supervised.stage_pid(n), name)
                os.kill(pid, signal.SIGKILL)
            assert supervised.process.wait() == -signal.SIGKILL
        acked = acked_by_wal(tmp_path)
        supervised.start()
        # All that was acked, and then new events that it goes on with.
        wait_until(lambda: max(e["n"] for e in server.events()) >= acked + 5,
                   "all acked")
        supervised.stop()
        acked = acked_by_wal(tmp_path)
        received = [e["n"] for e in server.events()]
    assert faults_in(received, acked) == []
    assert acked > rounds * 4 * 5


def start_pipe(directory, url, interval=2):
    """metronome | walproc | wssink, as a shell would start it."""
    acks = directory / "wal" / "acks"
    first = Process(
        [program("metronome"), "-i", interval], directory / "metronome.log",
        stdout=subprocess.PIPE)
    second = Process(
        [program("walproc"), "-d", directory / "wal", "--acks", acks],
        directory / "walproc.log", stdin=first.child.stdout,
        stdout=subprocess.PIPE)
    third = Process(
        [program("wssink"), "--acks", acks, "-u", url, "--backoff-max", "0.2"],
        directory / "wssink.log", stdin=second.child.stdout)
    first.child.stdout.close()
    second.child.stdout.close()
    return [first, second, third]


@pytest.mark.parametrize("victim", ["metronome", "walproc", "wssink"])
def test_kill_in_a_shell_pipe_loses_nothing_that_is_in_the_log(
        tmp_path, victim):
    seen = {}
    with Server(tmp_path) as server:
        for round_ in range(25):
            pipe = start_pipe(tmp_path, server.url)
            try:
                server.wait_count(len(server.lines()) + 5 + round_ * 7 % 40)
                index = ["metronome", "walproc", "wssink"].index(victim)
                pipe[index].kill()
                # The death goes through the pipe; nothing hangs.
                for process in pipe:
                    process.wait()
            finally:
                for process in pipe:
                    process.kill()
            seen.update(stored_events(tmp_path / "wal"))
        # The last run ends its input and so delivers all.
        pipe = start_pipe(tmp_path, server.url)
        server.wait_count(len(server.lines()) + 5)
        assert pipe[0].stop() == DONE
        assert pipe[1].wait() == DONE and pipe[2].wait() == DONE
        received = {e["ingest_ns"] for e in server.events()}
    assert {json.loads(e)["ingest_ns"] for e in seen.values()} <= received


def test_a_second_pipe_on_the_same_log_does_not_disturb_the_first(tmp_path):
    """Its walproc finds the log taken, its wssink the FIFO; the first goes on
    and is acked only by its own sink."""
    with Server(tmp_path) as server:
        first = start_pipe(tmp_path, server.url)
        try:
            server.wait_count(5)
            second = start_pipe(tmp_path, server.url)
            assert second[1].wait() == FINAL
            assert second[2].wait() == FINAL
            assert "another wssink writes it" in second[2].text()
            assert second[0].wait() == AGAIN
            server.wait_count(len(server.lines()) + 30)
            assert first[0].stop() == DONE
            assert first[1].wait() == DONE and first[2].wait() == DONE
        finally:
            for process in first:
                process.kill()
        ids = [e["id"] for e in server.events()]
    assert ids == list(range(len(ids)))


# 5. The two ways to run it give the same.

def test_shell_and_supervisor_give_the_same_messages(tmp_path):
    events = tmp_path / "events.ndjson"
    events.write_bytes(b"".join(
        b'{"n":%d , "x":"\\u00e4\xc3\xa4","f":1.50e0}\n' % n
        for n in range(300)))
    with Server(tmp_path, name="shell") as server:
        acks = tmp_path / "wal" / "acks"
        script = (f"{program('walproc')} -d {tmp_path}/wal --acks {acks} "
                  f"--insert 'hostname=${{hostname}}' < {events} | "
                  f"{program('wssink')} --acks {acks} -u {server.url}")
        subprocess.run(["sh", "-c", script], check=True, timeout=60,
                       stderr=subprocess.DEVNULL)
        shell = server.lines()

    bin_dir = numbered_bin(tmp_path)
    (bin_dir / "metronome").write_text(f"#!/bin/sh\nexec cat {events}\n")
    with Server(tmp_path, name="supervised") as server:
        supervised = Supervised(tmp_path, server.url, bin_dir=bin_dir,
                                count=300)
        supervised.start()
        assert supervised.process.wait() == DONE
        assert server.lines() == shell
    assert len(shell) == 300
    assert shell[7] == (b'{"n":7 , "x":"\\u00e4\xc3\xa4","f":1.50e0,'
                        b'"hostname":"%s"}' % socket.gethostname().encode())


# 6. Bad input, end to end; each kind alone is in test_walproc.py.

def test_bad_input_between_good_events(tmp_path):
    bad = [kind for kind, _ in BAD_INPUT.values()]
    bad.append(b'{"a":"' + b"x" * (16 << 20) + b'"}')
    lines = []
    for n, line in enumerate(bad):
        lines += [b'{"n":%d}' % n, line]
    (tmp_path / "events").write_bytes(b"\n".join(lines) + b"\n")
    acks = tmp_path / "wal" / "acks"
    with Server(tmp_path) as server:
        done = shell(
            f"{program('walproc')} -d {tmp_path}/wal --acks {acks} "
            f"--insert 'hostname=${{hostname}}' < {tmp_path}/events | "
            f"{program('wssink')} --acks {acks} -u {server.url}")
        assert done.returncode == DONE
        assert [e["n"] for e in server.events()] == list(range(len(bad)))
    letters = events_of(tmp_path / "wal" / "dead-letters.ndjson")
    assert [base64.b64decode(e["bytes"]) for e in letters] == bad
    assert [e["reason"] for e in letters[:-1]] == [
        reason for _, reason in BAD_INPUT.values()]


# Each stage alone in a pipe.

def shell(script, **run):
    return subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **run)


def test_metronome_to_jq():
    done = shell(f"{program('metronome')} -i 1 -n 5 | jq -c .id")
    assert done.stdout == b"0\n1\n2\n3\n4\n"


def test_metronome_to_walproc_to_jq(tmp_path):
    done = shell(f"{program('metronome')} -i 1 -n 5 | {program('walproc')} "
                 f"-d {tmp_path}/wal --acks none --upsert id=x | jq -r .id")
    assert done.stdout == b"x\n" * 5


def test_a_file_to_wssink(tmp_path):
    (tmp_path / "events").write_bytes(b'{"n":0}\n{"n":1}\n')
    with Server(tmp_path) as server:
        done = shell(f"cat {tmp_path}/events | {program('wssink')} "
                     f"-u {server.url}")
        assert done.returncode == DONE
        assert server.lines() == [b'{"n":0}', b'{"n":1}']


def test_a_reader_that_leaves_ends_the_pipe(tmp_path):
    done = shell(f"{program('metronome')} -i 1 | {program('walproc')} "
                 f"-d {tmp_path}/wal --acks none | head -n 3 | jq -c .id")
    assert done.stdout == b"0\n1\n2\n"
    with Process([program("walproc"), "-d", tmp_path / "wal", "--acks",
                  "none"], tmp_path / "log", stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE) as process:
        process.child.stdout.close()
        process.child.stdin.close()
        assert process.wait() in (DONE, AGAIN)
        assert events_of(tmp_path / "none") == []

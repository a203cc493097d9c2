"""walproc's tools beside a walproc that runs, starts and ends meanwhile."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from damages import (Layout, damage_much, damage_of, event, flip, inspect,
                     segments, shim_tools, tool)
from neighbours import Wal, run_pipe
from support import DONE, program, wait_until


def run_load(directory, count):
    """A metronome as fast as it can be into a walproc with small segments,
    which rolls and unlinks them all the time; returns both."""
    metronome = subprocess.Popen(
        [program("metronome"), "-i", "0", "-n", str(count)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    walproc = subprocess.Popen(
        [program("walproc"), "-d", directory, "--acks", "none", "-q",
         "--segment-bytes", "16384"], stdin=metronome.stdout,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    metronome.stdout.close()
    return metronome, walproc


def test_the_tools_that_look_beside_a_walproc_under_load(tmp_path):
    """While segments come and go no look finds damage, fails, or miscounts."""
    log = tmp_path / "wal"
    metronome, walproc = run_load(log, 10**9)
    try:
        wait_until(lambda: len(segments(log)) > 2, "the first segments")
        seqs = []
        # Until enough has come in meanwhile, on a slow disk too.
        while len(seqs) < 60 or (seqs[-1][0] <= seqs[0][0] + 1000
                                 and len(seqs) < 6000):
            told = inspect(log)
            seqs.append((told["last_seq"], told["cursor"]["acked_seq"]))
            assert told["running"] == walproc.pid
            assert told["elements"] <= 1000
            assert told["first_seq"] <= told["cursor"]["acked_seq"] + 1
            code, lines, text = tool("verify", log)
            assert (code, text) == (DONE, ""), lines
            assert [x.split(":")[0] for x in lines] == ["sound", "note"]
            assert lines[-1].startswith("note: a walproc runs on it")
            code, lines, text = tool("export", "--unacked", log)
            assert (code, text) == (DONE, "")
            ids = [json.loads(line)["id"] for line in lines]
            assert ids == sorted(set(ids))
        assert seqs == sorted(seqs)
        assert seqs[-1][0] > seqs[0][0] + 1000
        assert walproc.poll() is None
    finally:
        for process in (metronome, walproc):
            process.kill()
            process.wait()
        walproc.stderr.close()
    assert damage_of(log) == []


def held_up(word, log, call, meanwhile):
    """Runs a tool that stops at its n-th look at a file until meanwhile() has
    returned; the result as tool() gives it, and whether it came so far."""
    child = subprocess.Popen(
        [program("walproc"), *word, log], env=shim_tools(SHIM_PAUSE_AT=call),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        was_held = os.WIFSTOPPED(status)
        if was_held:
            meanwhile()
            child.send_signal(signal.SIGCONT)
        else:
            child.returncode = os.waitstatus_to_exitcode(status)
        out, err = child.communicate(timeout=60)
    finally:
        if child.returncode is None:
            child.kill()
            child.wait()
    return (child.returncode, out.decode().splitlines(), err.decode(),
            was_held)


@pytest.mark.parametrize("word, count", [
    (["inspect", "--json"], 25), (["inspect", "--json"], 200),
    (["inspect", "--json"], 600), (["verify"], 200), (["verify"], 600),
    (["export", "--unacked"], 200), (["export", "--unacked"], 600)])
def test_a_look_during_which_the_log_goes_on(tmp_path, word, count):
    """Held up at each of its calls, while events are acked, with 200 of them
    segments go, with 600 all of them, and others come: no damage, nothing
    counted that was not there."""
    log = tmp_path / "wal"
    sent = given = 0
    with Wal(tmp_path, "--segment-bytes", "16384", "--read-count",
             "1000") as wal:
        def send(more):
            nonlocal sent
            for first in range(sent, sent + more, 25):
                wal.send(*(event(n) for n in range(first, first + 25)))
                wal.wait_acked(first + 25)
            sent += more

        def replace():
            nonlocal given
            # No more than are stored at a time.
            for some in (count,) if count < 300 else (300,) * (count // 300):
                for _ in range(some):
                    assert wal.event() == event(given)
                    given += 1
                wal.ack(given)
                wait_until(lambda: inspect(log)["cursor"]["acked_seq"]
                           == given, "the ack")
                send(some)

        send(300)
        for call in range(1, 1000):
            code, lines, text, was_held = held_up(word, log, call, replace)
            assert (code, text) == (DONE, ""), (call, lines, text)
            if not was_held:
                break
            if word[0] == "inspect":
                told = json.loads(lines[0])
                acked = told["cursor"]["acked_seq"]
                assert told["elements"] <= 300, call
                assert told["first_seq"] <= acked + 1, call
                assert told["last_seq"] == acked + told["elements"], call
            if word[0] == "export":
                numbers = [json.loads(line)["n"] for line in lines]
                assert numbers == sorted(set(numbers)), call
                # Where all goes it may go before it is read.
                assert count == 600 or numbers[-1] >= sent - 201, call
    assert call > 20


@pytest.mark.parametrize("word", ["verify", "export"])
def test_a_look_during_which_a_walproc_starts(tmp_path, word):
    """It settles a tail that is neither proven nor whole, so that a segment is
    replaced by another of the same name; then it ends."""
    log = tmp_path / "wal"
    kept = tmp_path / "kept"
    with Wal(tmp_path, "--sync", "never") as wal:
        for n in range(20):
            wal.send(event(n))
            wal.wait_acked(n + 1)
        wal.process.kill()
    [path] = segments(log)
    flip(path, Layout(path).records[18][0] + 12)
    shutil.copytree(log, kept)

    def start():
        with Wal(tmp_path, "--max-elements", "1000") as wal:
            wal.process.wait_log("settled a tail")
            assert wal.process.stop() == DONE

    for call in range(1, 1000):
        shutil.rmtree(log)
        shutil.copytree(kept, log)
        (tmp_path / "walproc.log").unlink()
        code, lines, text, was_held = held_up([word], log, call, start)
        assert code == DONE and " error " not in text, (call, lines, text)
        if word == "export":
            assert lines == [json.dumps(event(n)) for n in range(17)], call
        if not was_held:
            break
    assert call > 10


def test_damage_is_told_beside_a_running_walproc_too(log):
    lines, _ = damage_much(log)
    with Wal(log.parent, "--max-elements", "100000", "--read-count",
             "1") as wal:
        assert wal.event() == event(0)
        assert sorted(damage_of(log)) == sorted(lines)
        assert inspect(log)["running"] == wal.process.pid


def test_looking_never_keeps_a_walproc_from_starting(tmp_path):
    log = tmp_path / "wal"
    run_pipe(tmp_path, b'{"n":0}\n')
    loop = subprocess.Popen(
        ["sh", "-c", f"while :; do {program('walproc')} inspect {log}; done"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for n in range(1, 60):
            code, out, text = run_pipe(tmp_path, b'{"n":%d}\n' % n)
            assert (code, out) == (DONE, b'{"n":%d}\n' % n), text
    finally:
        os.killpg(loop.pid, signal.SIGKILL)
        loop.wait()

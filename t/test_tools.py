"""walproc's tools on real logs: what inspect, verify, repair and export say
and do, on sound logs and on damaged ones.
"""

import json
import os
import pty
import random
import select
import shutil
import signal
import struct
import subprocess

import pytest
from damages import (DAMAGE, DAMAGES, DATA, HEADERS, TOOLS, Layout, contents,
                     damage_both_headers, damage_cursor,
                     damage_last_with_old_cursor, damage_much, damage_of,
                     drained, event, exported, flip, inspect, make_log,
                     segments, shim_tools, times_of, tool)
from neighbours import Wal, run_pipe
from support import AGAIN, DONE, FINAL, frame, program, shimmed, wait_until


def test_inspect_tells_what_the_files_have(sound_log):
    told = inspect(sound_log)
    files = segments(sound_log)
    layouts = [Layout(p) for p in files]
    assert told["directory"] == str(sound_log)
    assert len(bytes.fromhex(told["log_id"])) == 16
    assert (told["format"], told["running"]) == (2, None)
    assert told["segments"] == 3 and told["faults"] == []
    for item, path, layout in zip(told["segment_list"], files, layouts):
        assert item["name"] == path.name
        assert item["first_seq"] == layout.first
        assert item["last_seq"] == layout.last
        assert item["bytes"] == path.stat().st_size
        assert item["created"].startswith("20") and item["created"][-1] == "Z"
    assert (told["first_seq"], told["last_seq"]) == (1, 170)
    assert told["elements"] == 170
    assert told["disk_bytes"] == sum(p.stat().st_size for p in files)
    assert told["bytes"] == told["disk_bytes"] - DATA
    assert 0 <= told["oldest_age_ms"] < 10**7
    assert told["unproven"] == told["torn_bytes"] == 0
    cursor = told["cursor"]
    assert (cursor["state"], cursor["sound_slots"]) == ("sound", 2)
    assert (cursor["acked_seq"], cursor["durable_seq"]) == (0, 170)
    assert told["counters"]["taken"] == told["counters"]["stored"] == 170
    assert told["quarantine_files"] == told["dead_letters_bytes"] == 0


def test_inspect_in_words(sound_log):
    code, lines, _ = tool("inspect", sound_log)
    assert code == DONE and len(lines) < 24
    text = "\n".join(lines)
    for words in ("in the files   1 to 170, ended up to 0",
                  "to be given    170 events, ", "walproc        none runs",
                  "taken in       170, which are:", "  stored       170"):
        assert words in text
    for option in ("-v", "--segments"):
        code, more, _ = tool("inspect", option, sound_log)
        assert [x.split()[1] for x in more if x.startswith("segment ")] == [
            p.name for p in segments(sound_log)]


def test_a_log_without_events(tmp_path):
    assert run_pipe(tmp_path, b"")[0] == DONE
    told = inspect(tmp_path / "wal")
    assert (told["segments"], told["last_seq"], told["elements"]) == (0, 0, 0)
    assert told["oldest_age_ms"] is None and told["counters"]["taken"] == 0
    assert damage_of(tmp_path / "wal") == []
    assert exported(tmp_path / "wal") == []
    assert tool("repair", tmp_path / "wal")[0] == DONE


def test_a_log_whose_events_are_all_ended(tmp_path):
    run_pipe(tmp_path, b"".join(b'{"n":%d}\n' % n for n in range(50)))
    told = inspect(tmp_path / "wal")
    assert (told["last_seq"], told["elements"], told["bytes"]) == (50, 0, 0)
    assert told["oldest_age_ms"] is None
    assert told["counters"]["delivered"] == 50
    assert damage_of(tmp_path / "wal") == []
    assert tool("export", "--unacked", tmp_path / "wal")[1] == []
    assert len(tool("export", tmp_path / "wal")[1]) == 50


@pytest.mark.parametrize("word", TOOLS)
def test_where_there_is_no_log_none_is_made(tmp_path, word):
    code, out, log = tool(word, tmp_path / "none")
    assert (code, out) == (FINAL, []) and "No such file" in log
    assert not (tmp_path / "none").exists()
    (tmp_path / "some" / "thing").mkdir(parents=True)
    code, out, log = tool(word, tmp_path / "some")
    assert (code, out) == (FINAL, []) and "no log is there" in log
    assert list((tmp_path / "some").rglob("*")) == [
        tmp_path / "some" / "thing"]
    (tmp_path / "file").write_text("no directory")
    assert tool(word, tmp_path / "file")[0] == FINAL


@pytest.mark.parametrize("word", TOOLS)
def test_a_newer_format_is_refused_and_not_touched(log, word):
    before = contents(log)
    for name in (segments(log)[1].name, "cursor"):
        code, out, text = tool(word, log, env=shim_tools(SHIM_NEWER=name))
        assert (code, out) == (FINAL, [])
        assert "of a format version that this walproc does not know" in text
    assert contents(log) == before


@pytest.mark.parametrize("arguments, words", [
    (["inspect"], "the directory of a log is expected"),
    (["verify", "a", "b"], "b: not expected"),
    (["inspect", "--jsn", "a"], "--jsn: unknown option"),
    (["verify", "--json", "a"], "--json: unknown option"),
    (["repair", "-x", "a"], "-x: unknown option"),
    (["export", "--from", "0", "a"], "--from 0: the number of an event"),
    (["export", "--to", "-1", "a"], "--to -1: the number of an event"),
    (["export", "a", "--from"], "--from: its value is missing"),
])
def test_wrong_usage_is_refused(arguments, words):
    code, out, log = tool(*arguments)
    assert (code, out) == (FINAL, []) and words in log


@pytest.mark.parametrize("word", TOOLS)
def test_help(word):
    for option in ("-h", "--help"):
        code, lines, log = tool(word, option)
        assert (code, log) == (DONE, "")
        assert lines[0].startswith(f"usage: walproc {word} ")


@pytest.mark.parametrize("word", ["inspect", "verify", "export"])
def test_looking_changes_nothing(log, word):
    """Not one call that would: the first would end the process. And a log on
    a file system that is read-only can be looked at."""
    damage_much(log)
    before = contents(log)
    plain = tool(word, log)
    if word != "inspect":
        assert plain[0] == DAMAGE
        for env in (shim_tools(SHIM_STOP_AT=1), shim_tools(SHIM_READ_ONLY=1)):
            code, out, _ = tool(word, log, env=env)
            assert (code, out) == plain[:2]
    else:
        assert tool(word, log, env=shim_tools(SHIM_STOP_AT=1))[0] == DONE
    assert contents(log) == before


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_lists_exactly_what_is_damaged(log, name):
    lines, gone = DAMAGES[name](log)
    assert sorted(damage_of(log)) == sorted(lines)
    assert "sound, %d lost;" % len(gone) in tool("verify", log)[1][-1] or \
        name == "a wrong name"


@pytest.mark.parametrize("name", DAMAGES)
def test_export_gives_what_is_sound_and_says_what_is_not(log, name):
    lines, gone = DAMAGES[name](log)
    if name == "a wrong name":
        layout = Layout(segments(log)[1])
        gone = layout.records.keys()
        assert f"events {layout.first}-{layout.last} " in lines[1]
    left = [n for n in range(1, 171) if n not in gone]
    assert exported(log, code=DAMAGE if gone else DONE) == left
    missing = set(range(1, 171)) - set(left)
    for line in tool("export", log)[2].splitlines():
        if " error events " not in line:
            continue
        first, last = line.split(" events ")[1].split()[0].split("-")
        missing -= set(range(int(first), int(last) + 1))
    assert missing == set()


@pytest.mark.parametrize("name", DAMAGES)
def test_repair_makes_it_sound_and_loses_no_event(log, name):
    """Then it is sound, twice is as once, what was replaced is kept, and the
    sink is given all that is not lost; what is lost is counted."""
    times = times_of(log)
    _, gone = DAMAGES[name](log)
    replaced = [p.read_bytes() for p in segments(log)]
    if "cursor" in name:
        replaced += [p.read_bytes() for p in log.glob("cursor")]
    code, out, text = tool("repair", log)
    assert code == DONE, (out, text)
    assert damage_of(log) == []
    left = [n for n in range(1, 171) if n not in gone]
    assert exported(log) == left
    assert times_of(log) == {n: times[n] for n in left}
    kept = {p.read_bytes() for p in log.rglob("*") if p.is_file()}
    assert kept.issuperset(replaced)
    once = contents(log)
    assert tool("repair", log)[0] == DONE
    assert contents(log) == once
    assert inspect(log)["counters"]["taken"] == 170
    assert drained(log) == left
    counters = inspect(log)["counters"]
    assert (counters["taken"], counters["delivered"]) == (170, len(left))
    assert counters["quarantined"] == len(gone)


def damage_anything(log, rng):
    """Damage of any kind anywhere in the segments; returns what it did."""
    path = rng.choice(segments(log))
    data = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "flip", "flip", "noise", "zeros", "cut",
                       "delete", "headers", "swap", "copy"])
    at = rng.randrange(len(data))
    size = min(rng.choice([512, 4096]), len(data) - at)
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "noise":
        data[at:at + size] = rng.randbytes(size)
    elif kind == "zeros":
        data[at:at + size] = bytes(size)
    elif kind == "cut":
        del data[at:]
    elif kind == "headers":
        data[:64] = bytes(64)
        data[HEADERS[1]:HEADERS[1] + 64] = bytes(64)
    path.write_bytes(data)
    if kind == "delete":
        path.unlink()
    elif kind == "swap":
        other = rng.choice(segments(log))
        path.rename(log / "swapped")
        if other != path:
            other.rename(path)
        (log / "swapped").rename(other)
    elif kind == "copy":
        other = log / f"{rng.randrange(1, 170):020}.seg"
        if not other.exists():
            shutil.copy(path, other)
    return kind, path.name, at, size


@pytest.mark.parametrize("seed", range(20))
def test_a_repair_changes_nothing_for_the_sink(tmp_path, log, seed):
    """Whatever is damaged: a run on the log as it is and one on the repaired
    log give the same events and count the same."""
    rng = random.Random(seed)
    did = [damage_anything(log, rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    plain = tmp_path / "plain" / "wal"
    shutil.copytree(log, plain)
    found = tool("verify", log)
    sound = tool("export", log)[1]
    code, out, text = tool("repair", log)
    assert code == DONE, (did, out, text)
    assert damage_of(log) == [], did
    left = tool("export", log)[1]
    assert set(sound) <= set(left), did
    if found[0] == DONE:
        assert left == sound, did
    given = drained(plain)
    assert drained(log) == given, (did, found, out)
    assert [json.dumps(event(n - 1)) for n in given] == left, did
    counters = inspect(log)["counters"]
    assert counters == inspect(plain)["counters"], (did, found, out)


def test_what_cannot_be_read_is_kept_and_the_rest_goes_on(log):
    path = segments(log)[1]
    sector = Layout(path).records[130][0] // 512 * 512
    inode = path.stat().st_ino
    env = shim_tools(SHIM_UNREADABLE=f"{inode}:{sector}:{sector + 512}")
    original = path.read_bytes()
    lines = damage_of(log, env=env)
    assert lines and all(x.endswith(": unreadable") for x in lines)
    code, out, _ = tool("repair", log, env=env)
    assert code == DONE and damage_of(log, env=env) == []
    [kept] = (log / "quarantine").glob(f"{path.name}-damaged-*")
    assert kept.read_bytes() == original
    gone = {n for n in range(1, 171)} - set(exported(log, env=env))
    assert 130 in gone and len(gone) <= 10
    assert drained(log) == [n for n in range(1, 171) if n not in gone]
    assert inspect(log)["counters"]["quarantined"] == len(gone)


def test_damage_to_what_is_ended_is_told_as_such(tmp_path):
    log = make_log(tmp_path, count=100, ended=50)
    path = segments(log)[0]
    layout = Layout(path)
    flip(path, layout.records[7][0] + 9)
    flip(path, layout.records[60][0] + 9)
    old, new = damage_of(log)
    assert old.endswith(": events 7-7 (1): damaged, ended before")
    assert new.endswith(": events 60-60 (1): damaged")
    assert exported(log, "--unacked", code=DAMAGE) == [
        n for n in range(51, 101) if n != 60]
    assert exported(log, "--from", 61) == list(range(61, 101))
    assert tool("repair", log)[0] == DONE and damage_of(log) == []
    assert drained(log) == [n for n in range(51, 101) if n != 60]
    counters = inspect(log)["counters"]
    assert (counters["taken"], counters["delivered"]) == (100, 99)
    assert counters["quarantined"] == 1


def test_what_a_crash_may_leave_is_no_damage(log):
    """One slot of the cursor half written, and a torn tail: notes."""
    last = segments(log)[-1]
    size = last.stat().st_size
    with open(last, "ab") as file:
        file.write(b"WPBH" + b"\x17" * 100)
    slots = [struct.unpack_from(">Q", (log / "cursor").read_bytes(), at + 32)
             for at in HEADERS]
    flip(log / "cursor", HEADERS[slots.index(min(slots))] + 60)
    code, lines, _ = tool("verify", log)
    assert code == DONE
    assert lines[:-1] == [
        f"note: cursor: as a crash may leave it, slot "
        f"{slots.index(min(slots))} is not sound",
        f"note: {last.name}: bytes {size}-{size + 103}: torn tail, as a crash "
        "may leave it"]
    told = inspect(log)
    assert (told["torn_bytes"], told["cursor"]["sound_slots"]) == (104, 1)
    assert exported(log) == list(range(1, 171))


def test_events_that_are_not_proven_durable_are_told_of(tmp_path):
    """Killed before any sync, and then half of the tail is not there."""
    with Wal(tmp_path, "--sync", "never") as wal:
        for n in range(20):
            wal.send(event(n))
            wal.wait_acked(n + 1)
        wal.process.kill()
    log = tmp_path / "wal"
    told = inspect(log)
    assert told["unproven"] > 0 and told["last_seq"] == 20
    first = 21 - told["unproven"]
    code, lines, _ = tool("verify", log)
    note = f"note: log: events {first}-20 ({told['unproven']}): not proven " \
        "durable: the next start settles them"
    assert code == DONE and lines[0] == note
    [path] = segments(log)
    flip(path, Layout(path).records[20][0] + 12)
    code, lines, _ = tool("verify", log)
    assert code == DONE and lines[0] == note + ", not whole"
    assert exported(log) == list(range(1, 20))
    assert tool("repair", log)[0] == DONE
    assert drained(log) == list(range(1, 20))


def test_a_repair_is_refused_while_a_walproc_runs(tmp_path):
    with Wal(tmp_path) as wal:
        wal.send(event(0))
        wal.wait_acked(1)
        code, out, log = tool("repair", tmp_path / "wal")
        assert (code, out) == (FINAL, [])
        assert f"pid {wal.process.pid}" in log and "not safe while" in log
        assert inspect(tmp_path / "wal")["running"] == wal.process.pid
        wal.process.kill()
        assert inspect(tmp_path / "wal")["running"] is None
        assert tool("repair", tmp_path / "wal")[0] == DONE


def test_the_pid_of_another_process_in_the_lock_file_misleads_nobody(log):
    """Numbers of processes are used again."""
    (log / "LOCK").write_text(f"{os.getpid()}\n")
    assert inspect(log)["running"] is None
    assert tool("repair", log)[0] == DONE


def test_a_repair_where_there_are_no_hard_links(log):
    damage_much(log)
    original = segments(log)[1].read_bytes()
    assert tool("repair", log, env=shim_tools(SHIM_NO_LINK=1))[0] == DONE
    assert damage_of(log) == []
    [kept] = (log / "quarantine").iterdir()
    assert kept.read_bytes() == original


def test_a_repair_on_a_full_disk_changes_nothing(log, tmp_path):
    _, gone = damage_much(log)
    left = [n for n in range(1, 171) if n not in gone]
    before = contents(log)
    full = tmp_path / "full"
    full.touch()
    code, _, text = tool("repair", log, env=shimmed(SHIM_FULL=full))
    assert code == AGAIN and "No space left on device" in text
    assert contents(log) == before
    assert exported(log, code=DAMAGE) == left
    full.unlink()
    assert tool("repair", log, env=shimmed(SHIM_FULL=full))[0] == DONE
    assert exported(log) == left


def test_a_lost_cursor_takes_no_dead_letters_with_it(tmp_path):
    """Not even behind a line that is damaged."""
    run_pipe(tmp_path, b"bad\n" * 30 + b"{}\n")
    log = tmp_path / "wal"
    letters = log / "dead-letters.ndjson"
    flip(letters, letters.read_bytes().index(b"}\n") + 1)
    before = letters.read_bytes()
    damage_cursor(log)
    assert tool("repair", log)[0] == DONE
    run_pipe(tmp_path, b"")
    assert letters.read_bytes() == before


@pytest.mark.parametrize("name", [
    "much", "the last, not on record", "a wrong name", "a file there twice",
    "the cursor", "the second file gone", "no cursor"])
def test_a_repair_killed_at_any_moment_loses_nothing(tmp_path, log, name):
    """kill -9 at its first call that changes something, at its second, and so
    on until it comes to its end; each time the log is then exported, and
    repaired and drained."""
    _, gone = DAMAGES[name](log)
    sound = [n for n in range(1, 171) if n not in gone]
    originals = [p.read_bytes() for p in segments(log)]
    work = tmp_path / "killed" / "wal"
    killed = 0
    while True:
        shutil.copytree(log, work)
        done = subprocess.run(
            [program("walproc"), "repair", work], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
            env=shim_tools(SHIM_STOP_AT=killed + 1))
        if done.returncode != -signal.SIGKILL:
            break
        killed += 1
        kept = {p.read_bytes() for p in work.rglob("*") if p.is_file()}
        assert kept.issuperset(originals), killed
        assert tool("repair", work)[0] == DONE, killed
        assert damage_of(work) == [], killed
        assert inspect(work)["counters"]["taken"] == 170, killed
        assert exported(work) == sound, killed
        inodes = [p.stat().st_ino for p in work.glob("quarantine/*")]
        assert len(set(inodes)) == len(inodes), "moved there twice"
        if killed % 4 == 0:
            assert drained(work) == sound, killed
            counters = inspect(work)["counters"]
            assert counters["quarantined"] == len(gone), killed
        shutil.rmtree(work)
    assert done.returncode == DONE and killed > 5


@pytest.mark.parametrize("damage", [
    damage_last_with_old_cursor, damage_both_headers(0)])
def test_a_start_killed_at_any_call_forgets_nothing(log, tmp_path, damage):
    """What is lost was counted by the start that was killed, or still can be:
    no number is used again, whenever that was."""
    _, gone = damage(log)
    work = tmp_path / "killed" / "wal"
    killed = 0
    while True:
        shutil.copytree(log, work)
        done = subprocess.run(
            [program("walproc"), "-d", work, "--acks", "none"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=60,
            env=shim_tools(SHIM_STOP_AT=killed + 1))
        if done.returncode != -signal.SIGKILL:
            break
        killed += 1
        assert inspect(work)["last_seq"] == 170, killed
        drained(work)
        counters = inspect(work)["counters"]
        assert counters["taken"] == 170, killed
        assert counters["quarantined"] == len(gone), killed
        shutil.rmtree(work)
    assert done.returncode == DONE and killed > 5


def test_export_ranges(tmp_path):
    log = make_log(tmp_path, count=100, ended=30)
    assert exported(log) == list(range(1, 101))
    assert exported(log, "--from", 10, "--to", 12) == [10, 11, 12]
    assert exported(log, "--to", 3) == [1, 2, 3]
    assert exported(log, "--from", 100) == [100]
    assert exported(log, "--from", 101) == []
    assert exported(log, "--from", 9, "--to", 8) == []
    assert exported(log, "--to", 9223372036854775807) == list(range(1, 101))
    assert exported(log, "--unacked") == list(range(31, 101))
    assert exported(log, "--unacked", "--from", 5, "--to", 32) == [31, 32]


def test_an_event_with_raw_line_ends_is_exported_as_one_line(tmp_path):
    run_pipe(tmp_path, frame(b'{\n"a" :\r\n"b"}') + frame(b"\n1\n"))
    assert tool("export", tmp_path / "wal")[1] == ['{ "a" :  "b"}', " 1 "]


def test_export_into_a_reader_that_leaves_and_a_full_device(log):
    walproc = program("walproc")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {walproc} export {log} | head -n 1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (DONE, b"")
    assert json.loads(done.stdout) == event(0)
    for word in TOOLS:
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = subprocess.run([walproc, word, log], stdout=write_end,
                              stderr=subprocess.PIPE)
        os.close(write_end)
        assert (done.returncode, done.stderr) == (DONE, b""), word
        with open("/dev/full", "wb") as full:
            done = subprocess.run([walproc, word, log], stdout=full,
                                  stderr=subprocess.PIPE)
        assert done.returncode == AGAIN, word
        assert b"standard output: No space left on device" in done.stderr
        done = subprocess.run(["sh", "-c", f"{walproc} {word} {log} >&-"],
                              stderr=subprocess.PIPE)
        assert done.returncode == FINAL, word
        assert b"standard output is closed" in done.stderr


@pytest.mark.parametrize("seed", range(3))
def test_each_event_is_counted_once_whatever_becomes_of_it(tmp_path, seed):
    """Good ones, bad ones, rejected ones, over kill -9 and clean stops: what
    inspect says is what this test did, beside the running walproc and after
    its end."""
    rng = random.Random(seed)
    log = tmp_path / "wal"
    did = dict.fromkeys(("taken", "refused", "rejected", "delivered"), 0)

    def is_told():
        counters = inspect(log)["counters"]
        return {k: counters[k] for k in did} == did

    stored = 0
    for _ in range(6):
        with Wal(tmp_path, "--read-count", "1000", "--segment-bytes",
                 "16384") as wal:
            sent = [rng.random() < 0.7 for _ in range(rng.randrange(1, 60))]
            wal.send(*(event(n) if good else b"bad"
                       for n, good in enumerate(sent)))
            wal.wait_acked(len(sent))
            did["taken"] += len(sent)
            did["refused"] += sent.count(False)
            stored += sent.count(True)
            ended = rng.randrange(stored + 1)
            for n in range(ended):
                assert wal.event() is not None
                if rng.random() < 0.2:
                    wal.sink.sendall(frame({"reject": n + 1, "reason": "no"}))
                    did["rejected"] += 1
                else:
                    did["delivered"] += 1
                wal.ack(n + 1)
            wait_until(is_told, f"the counters {did}, seed {seed}")
            if rng.random() < 0.5:
                wal.process.kill()
            else:
                assert wal.process.stop() == DONE
        assert is_told()
        stored -= ended
        assert inspect(log)["elements"] == stored
        assert inspect(log)["dead_letters_bytes"] == (
            log / "dead-letters.ndjson").stat().st_size


def test_dropped_events_are_counted(tmp_path):
    for policy, part in (("drop_oldest", "dropped_oldest"),
                         ("drop_newest", "dropped_newest")):
        (tmp_path / policy).mkdir()
        with Wal(tmp_path / policy, "--max-elements", "10", "--on-full",
                 policy) as wal:
            for n in range(25):
                wal.send(event(n))
                wal.wait_acked(n + 1)
            wal.process.kill()
        counters = inspect(tmp_path / policy / "wal")["counters"]
        assert counters["taken"] == 25 and counters["stored"] == 10
        assert counters[part] == counters["dropped"] == 15


def test_numbers_are_exact_where_a_double_is_not(log):
    """Where only a file without a header is left, its name proves what was
    before it."""
    number = 2**53 + 1
    for path in segments(log):
        path.unlink()
    (log / f"{number + 1:020}.seg").write_bytes(b"no header" * 1000)
    [line] = tool("inspect", "--json", log)[1]
    assert f'"last_seq":{number},' in line
    assert f'"taken":{number},' in line


@pytest.mark.skipif(
    b"__asan_init" in open(program("walproc"), "rb").read(),
    reason="the address sanitizer takes more than any bound")
def test_a_long_log_is_not_loaded_into_memory(tmp_path):
    with Wal(tmp_path, "--max-elements", "1000", "--max-bytes", "1000000000",
             "--segment-bytes", "30000000", "--sync", "never") as wal:
        for n in range(0, 120, 4):
            wal.send(*({"n": n + i, "x": "z" * (1 << 20)} for i in range(4)))
            wal.wait_acked(n + 4)
        assert wal.process.stop() == DONE
    log = tmp_path / "wal"
    flip(segments(log)[1], 5_000_000)
    bound = 40 << 20
    for word in ("verify", "export", "inspect", "repair"):
        done = subprocess.run(
            ["sh", "-c", f"ulimit -v {bound >> 10} && exec \"$@\"", "sh",
             program("walproc"), word, log], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert done.returncode in (DONE, DAMAGE), (word, done.stderr)
    assert sum(p.stat().st_size for p in segments(log)) > 2.5 * bound
    assert damage_of(log) == []


def test_progress_is_shown_on_a_terminal_only(log):
    try:
        ours, terminal = pty.openpty()
    except OSError as error:
        pytest.skip(f"skipped: no terminal can be made: {error}")
    done = subprocess.run([program("walproc"), "verify", log],
                          stdout=subprocess.PIPE, stderr=terminal)
    shown = b""
    while select.select([ours], [], [], 0)[0]:
        shown += os.read(ours, 1 << 16)
    os.close(terminal)
    os.close(ours)
    assert done.returncode == DONE
    assert b"\rreading: " in shown and shown.count(b"reading") <= 5
    assert shown.endswith(b"\r")
    assert done.stdout.count(b"\n") == 1
    assert tool("verify", log)[2] == ""

"""How a run of walproc ends, and what it meets at its limits on the way: what
was read is not forgotten, nothing spins, and what it keeps stays kept.
"""

import array
import fcntl
import os
import resource
import select
import signal
import subprocess
import termios
import threading

import pytest
from neighbours import (Wal, assert_silent, dead_letters, drain,
                        make_damaged, numbered, run_pipe)
from support import (AGAIN, DONE, FINAL, PATIENCE, Process, acked_seq,
                     cursor_of, events_of, frame, lines_of, program, shimmed,
                     stored_events, ticks_of, wait_until)


def unread(fd):
    """How many bytes a pipe holds."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


@pytest.mark.parametrize("ending, code", [
    ("term", DONE), ("drain", AGAIN), ("sink left", AGAIN)])
def test_what_came_from_a_pipe_during_a_sync_is_stored(
        tmp_path, ending, code):
    """A pipe cannot send again what was gathered while a sync was on its way,
    whatever ends the run then."""
    hold, acks = tmp_path / "hold", tmp_path / "acks"
    output, theirs = os.pipe()
    with Process([program("walproc"), "-d", tmp_path / "wal", "--acks", acks,
                  "--drain-timeout", "0.1"], tmp_path / "log",
                 stdin=subprocess.PIPE, stdout=theirs,
                 env=shimmed(SHIM_HOLD_SYNC=hold)) as process:
        os.close(theirs)
        process.wait_log("next is")
        answers = os.open(acks, os.O_WRONLY)
        stdin = process.child.stdin
        stdin.write(b'{"n":0}\n')
        stdin.flush()
        assert select.select([output], [], [], 30)[0]
        assert os.read(output, 4096) == b'{"n":0}\n'
        hold.touch()
        for n in (1, 2):
            stdin.write(b'{"n":%d}\n' % n)
            stdin.flush()
            # It is taken from the pipe before the next is written.
            wait_until(lambda: unread(stdin.fileno()) == 0)
        wait_until(lambda: 2 in stored_events(tmp_path / "wal"))
        if ending == "term":
            process.signal(signal.SIGTERM)
            process.wait_log("stopping")
            # Longer than it waits for its neighbours.
            assert not select.select([output], [], [], 0.7)[0]
        elif ending == "drain":
            stdin.close()
            process.wait_log("drain timeout")
        else:
            os.close(output)
            os.close(answers)
            process.wait_log("sink left")
        hold.unlink()
        assert process.wait() == code
        if ending != "drain":
            stdin.close()
    if ending != "sink left":
        os.close(output)
        os.close(answers)
    assert list(stored_events(tmp_path / "wal").values()) == [
        b'{"n":%d}' % n for n in range(3)]


def test_what_a_full_disk_keeps_from_being_stored_at_the_end_is_told(
        tmp_path):
    """It came by a pipe, so nobody can send it again: exit 111, and a line."""
    full = tmp_path / "full"
    with Process([program("walproc"), "-d", tmp_path / "wal", "--acks",
                  "none", "--segment-bytes", "16384"], tmp_path / "log",
                 stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                 env=shimmed(SHIM_FULL=full)) as process:
        process.wait_log("next is")
        full.touch()
        process.child.stdin.write(b'{"n":0}\n')
        process.child.stdin.flush()
        process.wait_log("disk full")
        process.signal(signal.SIGTERM)
        assert process.wait() == AGAIN
        process.child.stdin.close()
        assert "of a pipe that are not safe" in process.text()


def test_a_file_that_cannot_be_read_is_kept_when_its_name_is_used_again(
        tmp_path):
    """Nothing in it is proven, so the next segment begins with its number; it
    is in the quarantine first, and can be read another day."""
    with Wal(tmp_path, "--sync", "never") as wal:
        wal.send({"n": "FIRST"})
        wal.wait_acked(1)
        wal.process.kill()
    name = "00000000000000000001.seg"
    env = shimmed("shim_fault", FAULT_SECTOR=f"{name}:4608:5120")
    with Wal(tmp_path, env=env) as wal:
        wal.send({"n": "SECOND"})
        wal.wait_acked(1)
        wal.process.kill()
    kept = list((tmp_path / "wal" / "quarantine").glob(f"{name}-*"))
    assert len(kept) == 1 and b"FIRST" in kept[0].read_bytes()
    assert b"SECOND" in (tmp_path / "wal" / name).read_bytes()


@pytest.mark.parametrize("sync", ["always", "interval:50", "never"])
def test_a_full_disk_is_waited_for(tmp_path, sync):
    full = tmp_path / "full"
    with Wal(tmp_path, "--segment-bytes", "16384", "--sync", sync,
             env=shimmed(SHIM_FULL=full)) as wal:
        wal.send({"n": 0, "x": "y" * 2000})
        wal.wait_acked(1)
        full.touch()
        wal.send({"n": 1, "x": "y" * 8000}, {"n": 2, "x": "y" * 9000})
        while wal.answer() != {"breaker": "open", "reason": "disk full"}:
            pass
        assert [wal.event()["n"] for _ in range(2)] == [0, 1]
        ticks = ticks_of(wal.process.pid)
        for _ in range(3):
            assert_silent(wal.events)
        assert ticks_of(wal.process.pid) - ticks < 20, "it does not wait"
        full.unlink()
        while wal.answer() != {"breaker": "closed"}:
            pass
        wal.end_input()
        assert wal.event()["n"] == 2
        wal.ack(3)
        assert wal.process.wait() == DONE


def test_an_event_that_waits_for_much_room_waits_once(tmp_path):
    """It has room only when nearly all is gone, far below 90 %: no breaker
    goes to and fro meanwhile."""
    with Wal(tmp_path, "--max-bytes", "1000000") as wal:
        events = [*({"n": n, "x": "y" * 900} for n in range(800)),
                  {"n": 800, "x": "y" * 900_000}]
        source = threading.Thread(target=wal.send, args=events)
        source.start()
        for n in range(801):
            assert wal.event()["n"] == n
            wal.ack(n + 1)
        source.join()
        wal.wait_acked(801)
        wal.end_input()
        assert wal.process.wait() == DONE
        assert wal.process.text().count("intake paused") <= 1
        answers = wal.answers
        while answers.next() is not None:
            pass


def test_large_events_one_by_one_keep_the_bound_on_disk_use(tmp_path):
    """What is delivered of them goes before the next one comes."""
    limit, segment = 2_000_000, 65536
    log = tmp_path / "wal"
    most = 0
    with Wal(tmp_path, "--max-bytes", limit, "--segment-bytes",
             segment) as wal:
        wal.process.wait_log("next is")
        for n in range(5):
            source = threading.Thread(
                target=wal.send, args=[{"n": n, "x": "y" * 1_800_000}])
            source.start()
            while wal.acked <= n:
                most = max(most, size_of(log))
                if select.select([wal.source], [], [], 0)[0]:
                    wal.acked = wal.answer().get("ack", wal.acked)
            source.join()
            assert wal.event()["n"] == n
            wal.ack(n + 1)
            wait_until(lambda count=n + 1: acked_seq(log) == count)
            most = max(most, size_of(log))
    assert limit / 2 < most < limit + 2 * segment + 65536


def sizes_of(directory):
    sizes = {}
    for entry in os.scandir(directory):
        try:
            sizes[entry.name] = entry.stat().st_size
        except FileNotFoundError:
            pass
    return sizes


def size_of(directory):
    """What the files take; 0 while they come and go, since then what was seen
    first may be gone when the last is."""
    sizes = sizes_of(directory)
    return sum(sizes.values()) if sizes_of(directory) == sizes else 0


@pytest.mark.parametrize("options, count", [
    (["--on-full", "drop_oldest", "--max-elements", "4"], 4),
    (["--max-age", "0.2"], 0)])
def test_damage_among_what_is_dropped_is_told_and_counted(
        tmp_path, options, count):
    make_damaged(tmp_path, 4, 1)
    with Wal(tmp_path, "--read-count", "1", *options) as wal:
        for n in range(count):
            wal.send({"m": n})
            wal.wait_acked(n + 1)
        wait_until(lambda: acked_seq(tmp_path / "wal") == 4)
        wal.process.wait_log("1 events from 2 on are damaged")
    counts = cursor_of(tmp_path / "wal")
    assert (counts["dropped"], counts["quarantined"]) == (3, 1)


def test_many_rejects_take_few_descriptors(tmp_path):
    """Over many segments, in one piece, with the first event still unanswered,
    so that no segment goes."""
    count = 400
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        wal = Wal(tmp_path, "--read-count", "1000", "--segment-bytes", "16384")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with wal:
        source = threading.Thread(target=wal.send, args=[
            {"n": n, "x": "y" * 8000} for n in range(count)])
        source.start()
        for n in range(count):
            assert wal.event()["n"] == n
        source.join()
        assert len(list((tmp_path / "wal").glob("*.seg"))) > 150
        wal.sink.sendall(b"".join(frame({"reject": n, "reason": "no"})
                                  for n in range(2, count + 1)))
        letters = tmp_path / "wal" / "dead-letters.ndjson"
        wait_until(lambda: len(lines_of(letters)) == count - 1)
        wal.ack(1)
        wal.end_input()
        assert wal.process.wait() == DONE
    assert cursor_of(tmp_path / "wal")["rejected"] == count - 1
    assert [e["seq"] for e in events_of(letters)] == list(range(2, count + 1))
    assert len(dead_letters(tmp_path)) == count - 1


def test_a_refused_event_is_counted_when_its_letter_is_durable(tmp_path):
    """Also where the cursor is synced before, for a segment that goes."""
    trace = tmp_path / "trace"
    with Wal(tmp_path, "--max-elements", "1", "--on-full", "drop_oldest",
             "--segment-bytes", "16384",
             env=shimmed(SHIM_TRACE=trace)) as wal:
        # In one batch: a letter, then drops that sync and unlink.
        wal.send(b"bad", *({"n": n, "x": "y" * 9000} for n in range(6)))
        wal.wait_acked(7)
        assert_silent(wal.answers)
    calls = [line.decode() for line in lines_of(trace)]
    letter = calls.index("pwrite dead-letters.ndjson other")
    synced = calls.index("fdatasync dead-letters.ndjson", letter)
    assert "fdatasync cursor" in calls[letter:synced]
    assert "pwrite cursor refused=1" not in calls[:synced]
    assert "pwrite cursor refused=1" in calls[synced:calls.index("ack")]
    assert cursor_of(tmp_path / "wal")["refused"] == 1


def make_small_log(directory):
    with Wal(directory) as wal:
        wal.send(*numbered(0, 3))
        wal.wait_acked(3)
        wait_until(lambda: cursor_of(directory / "wal")["durable_seq"] == 3)
        wal.process.kill()
    return directory / "wal"


@pytest.mark.parametrize("name", [
    "cursor", "dead-letters.ndjson", "spare.tmp", "quarantine",
    "00000000000000000900.seg"])
@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file_is_moved_away_and_it_starts(tmp_path, name, kind):
    log = make_small_log(tmp_path)
    path = log / name
    if path.exists():
        path.unlink()
    if name == "quarantine":
        # Here a directory is right, and damage is to go there.
        path.write_text("not a directory")
        segment, = log.glob("*.seg")
        segment.write_bytes(segment.read_bytes().replace(b'"n": 0', b'"n": 7'))
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    for tool in ("inspect", "verify"):
        subprocess.run([program("walproc"), tool, log], timeout=PATIENCE,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       check=False)
    received = []
    drain(tmp_path, received)
    assert received == list(range(1 if name == "quarantine" else 0, 3))
    aside = list((log / "quarantine").glob(f"{name}*")) + \
        list(log.glob("quarantine.*"))
    assert len(aside) == 1


def test_a_name_that_is_no_number_is_not_a_segment(tmp_path):
    log = make_small_log(tmp_path)
    for digits in ("9" * 20, "0" * 20, "1" * 19, "1" * 21):
        (log / f"{digits}.seg").touch()
    received = []
    drain(tmp_path, received)
    assert received == [0, 1, 2]


def test_a_second_one_is_refused_also_when_lock_was_removed(tmp_path):
    with Wal(tmp_path) as wal:
        wal.process.wait_log("next is")
        (tmp_path / "wal" / "LOCK").unlink()
        code, _, log = run_pipe(tmp_path, b"1\n")
        assert code == FINAL
        assert "another walproc has it" in log
        wal.send({"n": 0})
        wal.wait_acked(1)


@pytest.mark.parametrize("name", [
    "cursor", "dead-letters.ndjson", "spare.tmp", "quarantine",
    "00000000000000000001.seg"])
def test_the_acks_fifo_takes_no_name_of_the_logs_own(tmp_path, name):
    done = subprocess.run(
        [program("walproc"), "-d", "wal", "--acks", f"wal/../wal/{name}"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == FINAL
    assert b"the log has a file of that name" in done.stderr


def test_damage_has_the_first_of_the_room_on_a_full_disk(tmp_path):
    """Else the intake would take it, and the delivery wait for ever."""
    log = make_small_log(tmp_path)
    segment, = log.glob("*.seg")
    segment.write_bytes(segment.read_bytes().replace(b'"n": 0', b'"n": 7'))
    full = tmp_path / "full"
    full.touch()
    with Wal(tmp_path, env=shimmed(SHIM_FULL=full)) as wal:
        wal.send({"n": 3})
        wal.process.wait_log("delivery waits")
        assert_silent(wal.events)
        full.unlink()
        assert [wal.event()["n"] for _ in range(3)] == [1, 2, 3]
        wal.wait_acked(1)

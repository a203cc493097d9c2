"""A log with 1 GiB that no sink has taken: the start reads little of it, and
memory does not grow with it.
"""

import re
import shutil
import socket
import subprocess
import time

import pytest
from support import (DONE, PATIENCE, Frames, Process, cursor_of, frame,
                     is_sanitized, program, status_of, wait_until)

GIB = 1 << 30
ID = "a" * 250
BYTES = 315
COUNT = GIB // BYTES


def read_bytes_of(pid):
    """How much a process has read, from the disk or not."""
    with open(f"/proc/{pid}/io") as lines:
        return int(re.search(r"rchar: (\d+)", lines.read())[1])


def assert_small(pid):
    if not is_sanitized():
        assert status_of(pid, "VmHWM") < 16 << 20


@pytest.fixture(name="log")
def stored_log(tmp_path):
    """A log with 1 GiB in it, of a walproc that was killed; how large that
    one was is looked at too."""
    if shutil.disk_usage(tmp_path).free < 3 * GIB:
        pytest.skip("skipped: less than 3 GiB of disk free")
    log = tmp_path / "wal"
    source = subprocess.Popen(
        [program("metronome"), "-q", "-i", "0", "-n", str(COUNT), "--id", ID],
        stdout=subprocess.PIPE)
    with Process([program("walproc"), "-d", log, "--acks", tmp_path / "acks",
                  "--max-bytes", 2 * GIB], tmp_path / "fill.log",
                 stdin=source.stdout, stdout=subprocess.DEVNULL) as process:
        source.stdout.close()
        process.wait_log("events stored")
        wait_until(lambda: cursor_of(log)["durable_seq"] == COUNT,
                   "1 GiB to be stored", 5 * PATIENCE)
        assert_small(process.pid)
        process.kill()
    assert source.wait() == 0
    stored = sum(p.stat().st_size for p in log.glob("*.seg"))
    assert stored >= GIB
    yield log
    shutil.rmtree(log)


def test_a_start_with_1_gib_stored_is_quick_and_small(tmp_path, log):
    ours, theirs = socket.socketpair()
    begin = time.monotonic()
    with Process([program("walproc"), "-d", log, "--read-count", "1000",
                  "--max-bytes", 2 * GIB], tmp_path / "start.log",
                 stdin=subprocess.PIPE, stdout=theirs) as process:
        theirs.close()
        events = Frames(ours)
        assert b'"id":0,' in events.next()
        took = time.monotonic() - begin
        # Time depends on the machine and what else it does; what was read
        # for the first event does not.
        assert read_bytes_of(process.pid) < 40 << 20
        for n in range(1, 50_000):
            if n % 500 == 0:
                ours.sendall(frame({"ack": n}))
            assert b'"id":%d,' % n in events.next()
        assert_small(process.pid)
        assert process.stop() == DONE
        process.child.stdin.close()
    ours.close()
    print(f"the first of {COUNT} events came after {took:.3f} s")

"""What the tests of the real programs share: starting and ending processes,
waiting for what must happen, and a websocket server to send to.
"""

import json
import os
import re
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BIN = Path(os.environ.get("WALPIPE_BIN", ROOT / "build" / "bin"))
PYTHON = "/usr/bin/python3"

DONE, FINAL, AGAIN = 0, 100, 111

# How long something that must happen may take: generous, because it costs
# nothing where it does happen, and machines are slow and loaded at times.
PATIENCE = float(os.environ.get("WALPIPE_PATIENCE", "60"))


def program(name):
    """The path of one of the programs."""
    return str(BIN / name)


COUNTS = ("acked_seq", "delivered", "rejected", "dropped", "quarantined",
          "refused", "dropped_newest", "durable_seq", "letters_bytes")


def cursor_of(directory):
    """What the cursor file of a log says, as walseg(5) describes it."""
    data = (Path(directory) / "cursor").read_bytes().ljust(8192, b"\0")
    slots = [struct.unpack_from(">10Q", data, at + 32) for at in (0, 4096)]
    return dict(zip(COUNTS, max(slots)[1:]))


def acked_seq(directory):
    """Up to which number the events of a log are ended."""
    return cursor_of(directory)["acked_seq"]


def shimmed(shim="shim", **settings):
    """An environment in which t/shim.c, or another shim, stands before the
    system calls."""
    asan = os.environ.get("ASAN_OPTIONS", "")
    return dict(os.environ, LD_PRELOAD=str(BIN.parent / "t" / f"{shim}.so"),
                ASAN_OPTIONS=f"verify_asan_link_order=0:{asan}",
                **{k: str(v) for k, v in settings.items()})


def slow_clock(env=None):
    """An environment for a program, `env` or this one's, whose seconds, but
    for those on the wall, last a quarter of an hour: what it waits for by its
    clock does not come while a test waits, however slow the machine is."""
    own = os.environ if env is None else env
    slow = shimmed("shim_clock", SHIM_CLOCK_SLOW=1000)
    shims = [slow["LD_PRELOAD"]]
    if "LD_PRELOAD" in own:
        shims.append(own["LD_PRELOAD"])
    return {**own, **{name: slow[name] for name in (
        "ASAN_OPTIONS", "SHIM_CLOCK_SLOW")}, "LD_PRELOAD": ":".join(shims)}


def is_sanitized():
    """Whether walproc is built with a sanitizer that takes memory."""
    return b"__asan_init" in (BIN / "walproc").read_bytes()


def status_of(pid, name):
    """A number of /proc/PID/status, in bytes; VmHWM is the most memory that
    it had."""
    with open(f"/proc/{pid}/status") as lines:
        return int(re.search(rf"{name}:\s+(\d+) kB", lines.read())[1]) << 10


def has_stayed_below(pid, size):
    """Whether a process never had so much memory. A sanitizer takes its own:
    with one this is not known."""
    return is_sanitized() or status_of(pid, "VmHWM") < size


def fds_of(pid):
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_fds(pid, most):
    """Waits until a process has no more descriptors open than that: some are
    open for a moment only."""
    wait_until(lambda: fds_of(pid) <= most,
               f"{most} descriptors; {fds_of(pid)} are open")


def sleeps_of(pid):
    """How often a process has gone to sleep."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)",
                             lines.read(), re.M)[1])


def state_of(pid):
    """The letter for how a process is: S where it sleeps, T where it is
    stopped."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def wait_asleep(pid, seconds=0.2):
    """Waits until a process sleeps, and nothing wakes it for a while. One that
    has work to do, and no processor to do it on, does not sleep."""
    deadline = time.monotonic() + PATIENCE
    before = None
    # In this order: what sleeps, and has not gone to sleep since the last
    # look, has slept all the time.
    while before != (before := (state_of(pid), sleeps_of(pid))) or \
            before[0] != "S":
        assert time.monotonic() < deadline, "it does not sleep"
        time.sleep(seconds)


def assert_sleeps(pid, seconds=1):
    """A process with nothing to do does nothing in this time, in which it
    would: it neither wakes up, nor runs without ever going to sleep."""
    wait_asleep(pid)
    sleeps, ticks = sleeps_of(pid), ticks_of(pid)
    time.sleep(seconds)
    assert sleeps_of(pid) == sleeps
    assert ticks_of(pid) <= ticks + 1


def ticks_of(pid):
    """How long a process has run on a processor, in 1/100 s."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_until(condition, what="condition", timeout=PATIENCE):
    """Waits until condition() is true, and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.01)


def lines_of(path):
    """The whole lines in a file, without line ends; [] if there is none."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return data[:data.rfind(b"\n") + 1].splitlines()


def events_of(path):
    """The events in an NDJSON file."""
    return [json.loads(line) for line in lines_of(path)]


def reserve_port(port=0):
    """A socket that keeps a port from being given to any other: who asks for
    that very port may listen there, while this one does not."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("", port))
    return reserved


# What keeps the ports of free_port until this process ends.
RESERVED = []


def free_port():
    """A port on 127.0.0.1 that nobody has, nor will, unless he asks for it."""
    RESERVED.append(reserve_port())
    return RESERVED[-1].getsockname()[1]


def reset_on_close(sock):
    """Lets close() say RST: what is on its way then is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))


class Process:
    """A child process whose standard error goes to a file."""

    def __init__(self, argv, log, **popen):
        self.log = Path(log)
        with open(self.log, "ab") as err:
            self.child = subprocess.Popen(
                [str(a) for a in argv], stderr=err, **popen)
        self.pid = self.child.pid

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """kill -9, and reaped."""
        if self.child.poll() is None:
            self.child.kill()
        return self.child.wait()

    def stop(self, timeout=PATIENCE):
        """SIGTERM; returns the exit status."""
        if self.child.poll() is None:
            self.child.terminate()
        return self.wait(timeout)

    def wait(self, timeout=PATIENCE):
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running after {timeout} s; log:\n{self.text()}")

    def is_running(self):
        return self.child.poll() is None

    def text(self):
        """What it wrote to standard error so far."""
        return self.log.read_text(errors="replace")

    def wait_log(self, words, timeout=PATIENCE):
        """Waits until the log has these words."""
        return wait_until(lambda: words in self.text(),
                          f"{words!r} in the log:\n{self.text()}", timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Server:
    """A websocket server (t/ws_server.py) that can be killed and come back
    on the same port, which is nobody else's meanwhile; its messages are lines
    of self.out."""

    command = PYTHON, HERE / "ws_server.py"

    def __init__(self, directory, *options, port=0, name="server"):
        self.out = Path(directory) / f"{name}.ndjson"
        self.log = Path(directory) / f"{name}.log"
        self.options = options
        self.reserved = reserve_port(port)
        self.port = self.reserved.getsockname()[1]
        self.process = None
        self.start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def start(self):
        self.process = Process(
            [*self.command, "--port", self.port, "--out", self.out,
             *self.options],
            self.log, stdout=subprocess.PIPE)
        ready = self.process.child.stdout
        assert select.select([ready], [], [], PATIENCE)[0], "no server"
        line = ready.readline().split()
        assert line == [b"port", b"%d" % self.port], self.process.text()

    def kill(self):
        self.process.kill()
        self.process.child.stdout.close()

    def restart(self):
        self.kill()
        self.start()

    def lines(self):
        return lines_of(self.out)

    def events(self):
        return events_of(self.out)

    def wait_count(self, count, timeout=PATIENCE):
        """Waits until `count` messages at least were received."""
        wait_until(lambda: len(self.lines()) >= count,
                   f"{count} messages, {len(self.lines())} came", timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.reserved.close()


def stored_events(directory):
    """The events in a log directory, by number, read from its segment files
    as walseg(5) describes them (checksums aside): what is on disk, whatever
    walproc says of it."""
    events = {}
    for path in sorted(Path(directory).glob("*.seg")):
        data = path.read_bytes()
        at = 4608
        while data[at:at + 4] == b"WPBH":
            body, count, _, seq = struct.unpack_from(">IIIQ", data, at + 4)
            record = at + 48
            for n in range(seq, seq + count):
                size = struct.unpack_from(">I", data, record)[0]
                events[n] = data[record + 8:record + 8 + size]
                record += 8 + size
            at += (48 + body + 7) // 8 * 8
    return events


def frame(payload):
    """One event or message in `length` framing."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return struct.pack(">I", len(payload)) + payload


class Frames:
    """Reads `length` frames from a socket as they come."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def next(self, timeout=PATIENCE):
        """The next payload, or None at the end of the stream."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.data) >= 4:
                n = struct.unpack(">I", self.data[:4])[0]
                if len(self.data) >= 4 + n:
                    payload = self.data[4:4 + n]
                    self.data = self.data[4 + n:]
                    return payload
            left = deadline - time.monotonic()
            ready = select.select([self.sock], [], [], max(left, 0))[0]
            if not ready:
                raise AssertionError("timed out waiting for a frame")
            try:
                more = self.sock.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self.data += more

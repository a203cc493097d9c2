"""How fast others' logs take the same events, each as durable as it can be
set: SQLite with a write-ahead log, streams of Redis, and the disk queue of
rsyslog. `make bench-peers` runs it; measure() is for another bench.

Servers listen on unix sockets and have their directories of their own, and
end with us. What is not installed is named, and the rest is measured.
"""

import argparse
import contextlib
import ctypes
import functools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from support import BIN

BUILD = BIN.absolute().parent
EVENT_BYTES = 120                 # as in bench_sqlite.c and bench_redis.c
# How many events take about a second on a disk that syncs 5000 times in it.
SQLITE_EVENTS = 300000
REDIS_EVENTS = 100000
RSYSLOG_EVENTS = 10000
# From 35000 in its queue on rsyslog lets who sends them wait.
RSYSLOG_EVENTS_MAX = 30000
SCALE_MAX = 20
QUICK = 0.1

# How long one measurement, and the start or the end of a server, may take.
PATIENCE = 300
START_PATIENCE = 20

# No file of the system's own configuration is read. A rewrite of the file, and
# a snapshot, would be work besides the appends: they make nothing durable.
REDIS_CONFIG = """\
port 0
unixsocket redis.sock
unixsocketperm 700
daemonize no
dir .
appendonly yes
appendfsync always
auto-aof-rewrite-percentage 0
save ""
"""

# The queue in front of all actions is several times as fast as one of an
# action: there is a checkpoint for many messages. Both sync each message.
RSYSLOG_CONFIG = """\
global(workDirectory="spool")
module(load="imptcp")
main_queue(queue.type="Disk" queue.filename="queue"
           queue.syncqueuefiles="on" queue.checkpointinterval="1")
input(type="imptcp" path="rsyslog.sock")
template(name="raw" type="string" string="%rawmsg%\\n")
if $inputname == "imptcp" then {
    action(type="omfile" file="out" filecreatemode="0600" template="raw")
}
"""


class Failed(Exception):
    """A measurement that came to nothing."""


class Missing(Exception):
    """A program is not there; says which package has it."""


def event(n):
    """The event that bench_event of t/bench_tools.c makes."""
    text = (b'{"onramp":"metronome","id":%d,"ingest_ns":1700000000000000000,'
            b'"pad":"' % n)
    return text.ljust(EVENT_BYTES - 2, b"x") + b'"}'


def needed(path, package):
    """The path, as words for a command, of what must be there."""
    if not os.access(path, os.X_OK):
        raise Missing(f"{path} is missing; it needs the package {package}")
    return str(path)


def rsyslogd():
    """The command that rsyslogd is: the installed one, or as t/deps.sh
    unpacked it, where it has to be told of its modules."""
    unpacked = BUILD / "peers" / "usr"
    modules = list((unpacked / "lib").glob("*/rsyslog"))
    if os.access("/usr/sbin/rsyslogd", os.X_OK) or not modules:
        return [needed("/usr/sbin/rsyslogd", "rsyslog")]
    return [needed(unpacked / "sbin" / "rsyslogd", "rsyslog"),
            "-M", str(modules[0])]


def started(command, **options):
    """A process that ends when we do, however we do. Ctrl-C is for us."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        **{"stdin": subprocess.DEVNULL, "start_new_session": True} | options)


def cpu_seconds(pid):
    """How long a process has run on processors. /proc/PID/stat says the same
    in 1/100 s."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def run(command, directory):
    """Runs one of the programs that append; returns in how many seconds it
    did, and the seconds of processors that it took as a whole."""
    with started(command, cwd=directory,
                 stdout=subprocess.PIPE) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            answer = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
        finally:
            watch.cancel()
    if process.returncode != 0:
        raise Failed(f"{Path(command[0]).name}: status {process.returncode}")
    return float(answer.split()[1]), usage.ru_utime + usage.ru_stime


def connect(directory, name):
    """A connection to a unix socket in a directory, whose path may be longer
    than an address can be."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    at = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{at}/{name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(at)
    return connection


def wait_connection(process, directory, name):
    """Waits until a server takes connections."""
    deadline = time.monotonic() + START_PATIENCE
    while True:
        try:
            return connect(directory, name)
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{name}: {error}; the server's status is "
                             f"{process.returncode}") from error
        time.sleep(0.01)


@contextlib.contextmanager
def serving(command, directory, name):
    """A server with a directory to work in, until the block ends: its process,
    and a connection to its socket. A failure comes with what it said."""
    with open(directory / "log", "wb") as log:
        process = started(command, cwd=directory, stdout=log, stderr=log)
    try:
        with wait_connection(process, directory, name) as connection:
            yield process, connection
    except (Failed, OSError) as why:
        log = (directory / "log").read_text(errors="replace")
        raise Failed(f"{command[0]}: {why}\n{log}".rstrip()) from why
    finally:
        process.terminate()
        try:
            process.wait(START_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def results(name, events, seconds, cpu):
    """The lines of a measurement."""
    return [(f"peer_{name}_events", events, "events"),
            (f"peer_{name}_events_per_s", events / seconds, "1/s"),
            (f"peer_{name}_cpu_us_per_event", cpu / events * 1e6, "us")]


def scaled(events, scale):
    """A number of events that all batches divide."""
    return max(1000, int(events * scale) // 1000 * 1000)


def sqlite(directory, scale, batch):
    """SQLite in the process of who appends."""
    program = needed(BUILD / "t" / "bench_sqlite", "libsqlite3-dev")
    events = scaled(SQLITE_EVENTS, scale)
    seconds, cpu = run([program, "events.db", str(events), str(batch)],
                       directory)
    return results(f"sqlite_{batch}", events, seconds, cpu)


def redis(directory, scale, batch, connections=1):
    """A server of Redis, and a client; the processors' time is of both."""
    program = needed(BUILD / "t" / "bench_redis", "libhiredis-dev")
    # Which of its programs it is it takes from its name.
    (directory / "redis-server").symlink_to(
        needed("/usr/bin/redis-check-rdb", "redis-tools"))
    (directory / "redis.conf").write_text(REDIS_CONFIG)
    events = scaled(REDIS_EVENTS, scale)
    with serving(["./redis-server", "redis.conf"], directory,
                 "redis.sock") as (server, _):
        before = cpu_seconds(server.pid)
        seconds, cpu = run([program, "redis.sock", str(events), str(batch),
                            str(connections)], directory)
        cpu += cpu_seconds(server.pid) - before
    name = f"{connections}x{batch}" if connections > 1 else batch
    return results(f"redis_{name}", events, seconds, cpu)


def wait_size(path, size, process):
    """Waits until a file is as long."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.stat().st_size < size:
        if process.poll() is not None:
            raise Failed(f"rsyslogd: status {process.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"rsyslogd: not all events came out in {PATIENCE} s")
        time.sleep(0.002)


def rsyslog(directory, scale):
    """The disk queue of rsyslogd, from the first byte that is sent to it until
    the last event is in the file it writes; the processors' time is its."""
    command = rsyslogd()
    (directory / "spool").mkdir()
    (directory / "rsyslog.conf").write_text(RSYSLOG_CONFIG)
    events = min(scaled(RSYSLOG_EVENTS, scale), RSYSLOG_EVENTS_MAX)
    sent = b"".join(event(n) + b"\n" for n in range(events))
    with serving([*command, "-n", "-C", "-f", "rsyslog.conf", "-i", "pid"],
                 directory, "rsyslog.sock") as (server, connection):
        before, start = cpu_seconds(server.pid), time.monotonic()
        connection.sendall(sent)
        wait_size(directory / "out", len(sent), server)
        seconds = time.monotonic() - start
        cpu = cpu_seconds(server.pid) - before
    if (directory / "out").read_bytes() != sent:
        raise Failed("rsyslogd: what came out is not what was sent")
    return results("rsyslog_disk", events, seconds, cpu)


MEASUREMENTS = (
    functools.partial(sqlite, batch=100),
    functools.partial(sqlite, batch=1000),
    functools.partial(redis, batch=100),
    functools.partial(redis, batch=1000),
    # It reads 16 KiB of a connection between two syncs.
    functools.partial(redis, batch=100, connections=10),
    rsyslog,
)


@functools.cache
def say_missing(what):
    """Says it once, however often it is measured."""
    print(f"bench_peers: {what}", file=sys.stderr, flush=True)


def measure(directory, events_scale=1.0, runs=3):
    """Measures each peer that is installed `runs` times, by turns, with as
    many events as usual times `events_scale`; returns a list of (name, median,
    unit). The directory, which may be made, is to be on the disk that is
    meant, and is left as it was."""
    if not 0 < events_scale <= SCALE_MAX:
        raise ValueError(f"events_scale: not in 0 to {SCALE_MAX}")
    Path(directory).mkdir(parents=True, exist_ok=True)
    found, units = {}, {}
    for _ in range(runs):
        for measurement in MEASUREMENTS:
            with tempfile.TemporaryDirectory(prefix="peer-",
                                             dir=directory) as own:
                try:
                    lines = measurement(Path(own), events_scale)
                except Missing as what:
                    say_missing(str(what))
                    continue
            for name, value, unit in lines:
                found.setdefault(name, []).append(value)
                units[name] = unit
    return [("peer_event_bytes", EVENT_BYTES, "B"),
            *((name, statistics.median(values), units[name])
              for name, values in found.items())]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", default=BUILD / "bench", type=Path,
                        help="where to write; on a real disk")
    parser.add_argument("--quick", action="store_true",
                        help="with a tenth of the events, once")
    parser.add_argument("--runs", type=int, default=3,
                        help="of how many runs the medians are")
    options = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        lines = measure(options.dir, QUICK if options.quick else 1.0,
                        1 if options.quick else options.runs)
    except (Failed, OSError) as why:
        sys.exit(f"bench_peers: {why}")
    for name, value, unit in lines:
        print(name, round(value) if value >= 1000 else round(value, 2), unit)


if __name__ == "__main__":
    main()

"""What `make bench` runs and reads: the pipeline and its stages, the ceiling,
the server, and what the system says of a process and of a device.

Every measurement starts what it needs and ends it, has bounded counts and
time, and writes below the directory that it is given.
"""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bench_peers import cpu_seconds
from support import BIN, ROOT, program

TOOLS = BIN.parent / "t"
# How long one run may take: a machine may be slow, a bench must end.
PATIENCE = 600
STAGES = "supervisor", "metronome", "walproc", "wssink"


def tool(name):
    return str(TOOLS / name)


def read_lines(text):
    """The numbers of `name value unit` lines, by name."""
    found = re.findall(r"^(\w+) (\S+) \S+$", text, re.M)
    return {name: float(value) for name, value in found}


@contextlib.contextmanager
def scratch(directory):
    """A directory of one run's own, on the disk that is measured."""
    directory.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="run-", dir=directory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Device:
    """The block device of a directory, and how often it was flushed."""

    def __init__(self, directory):
        number = os.stat(directory).st_dev
        self.path = Path(
            f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")

    def flushes(self):
        """The count so far, by anybody; None where the kernel has none."""
        try:
            fields = self.path.read_text().split()
        except OSError:
            return None
        return int(fields[15]) if len(fields) > 15 else None


def peak_mib(pid):
    """The most memory that a process had resident so far."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024


def switches(pid):
    """How often the threads of a process have given up a processor, or been
    taken it away: once for each time that they woke."""
    return sum(
        int(count)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for count in re.findall(r"ctxt_switches:\s+(\d+)",
                                (task / "status").read_text()))


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def end(process):
    """Ends one that is still there, by its pid."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class Server:
    """The counting server, waiting for so many events."""

    def __init__(self, events, *options):
        self.process = subprocess.Popen(
            [tool("bench_server"), "-n", str(events), *options],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def wait_all(self, look=lambda: None):
        """Waits until all events have come, and calls `look` now and then.
        Returns the server's CPU time."""
        deadline = time.monotonic() + PATIENCE
        while not select.select([self.process.stdout], [], [], 0.1)[0]:
            look()
            if time.monotonic() > deadline:
                raise TimeoutError("not all events came")
        if self.process.stdout.readline() != "all\n":
            raise RuntimeError("the server ended early")
        look()
        return cpu_seconds(self.process.pid)

    def results(self):
        """What it has counted, once its client has left."""
        results = read_lines(self.process.communicate(timeout=PATIENCE)[0])
        if results["missing"] or results["duplicate"]:
            raise RuntimeError(f"events were lost or came twice: {results}")
        return results

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        end(self.process)


def ceiling(directory, events, size):
    """The four bare processes. Returns their numbers, by name."""
    with scratch(directory) as path:
        done = subprocess.run(
            [tool("bench_ceiling"), "-n", str(events), "-s", str(size),
             "-f", path / "log"],
            check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    return read_lines(done.stdout)


def replaced(text, **settings):
    """conf/load.yaml with other values of keys that it has once."""
    for key, value in settings.items():
        text, count = re.subn(rf"(?m)^(\s*{key}:).*$",
                              lambda m, v=value: f"{m[1]} {v}", text)
        assert count == 1, key
    return text


def load_config(path, port, events, interval=0, size=120, more=""):
    """Writes conf/load.yaml with what a run has of its own."""
    text = (ROOT / "conf" / "load.yaml").read_text()
    text = text.replace("# state_dir:", "state_dir:")
    text = replaced(
        text, state_dir="state", size=f"{size}\n      count: {events}",
        interval=interval, url=f"ws://127.0.0.1:{port}/{more}")
    (path / "load.yaml").write_text(text)
    return path / "load.yaml"


def status(config):
    done = subprocess.run(
        [program("supervisor"), "-c", config, "--json", "status"],
        check=True, stdout=subprocess.PIPE, timeout=60)
    return json.loads(done.stdout)


def syncs(config):
    """How often the log of the only instance has synced."""
    instance, = status(config)["instances"]
    stages = {stage["program"]: stage for stage in instance["stages"]}
    return stages["walproc"]["report"]["syncs"]


@contextlib.contextmanager
def supervised(config):
    """A running supervisor; its processes by the name of their program."""
    process = subprocess.Popen([program("supervisor"), "-q", "-c", config])
    try:
        yield process
    finally:
        end(process)


def processes_of(supervisor):
    """By name; one that ends meanwhile may be among them or not."""
    pids = {"supervisor": supervisor.pid}
    for pid in children(supervisor.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids[name_of(pid)] = pid
    return pids


def reaped_seconds(pid):
    """The CPU time of the children that a process has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Looks at the processes of a supervisor while they run."""

    def __init__(self, supervisor, events):
        self.supervisor = supervisor
        self.events = events
        self.numbers = {}

    def look(self):
        """One that has done its work may be gone: then it has been seen."""
        for name, pid in processes_of(self.supervisor).items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.numbers[f"{name}_mib"] = peak_mib(pid)
                self.numbers[f"{name}_cpu_us"] = (
                    cpu_seconds(pid) / self.events * 1e6)
        gone = reaped_seconds(self.supervisor.pid)
        if gone and "metronome" not in processes_of(self.supervisor):
            self.numbers["metronome_cpu_us"] = gone / self.events * 1e6


def pipeline(directory, events, size=120, interval=0, options=()):
    """conf/load.yaml under the supervisor, from the metronome to the server
    that has all events. Returns its numbers, by name."""
    with scratch(directory) as path, \
            Server(events, *options) as server:
        config = load_config(path, server.port, events, interval, size)
        device = Device(path)
        before = device.flushes()
        with supervised(config) as supervisor:
            watch = Watch(supervisor, events)
            server_cpu = server.wait_all(watch.look)
            flushes = device.flushes()
            count = syncs(config)
        numbers = watch.numbers | server.results()
    numbers["server_cpu_us"] = server_cpu / events * 1e6
    numbers["cpu_us"] = sum(numbers[f"{stage}_cpu_us"] for stage in STAGES)
    numbers["mib"] = max(numbers[f"{stage}_mib"] for stage in STAGES)
    numbers["events_per_sync"] = events / count
    if before is not None and flushes is not None:
        numbers["flushes_per_sync"] = (flushes - before) / count
    return numbers


def shell(directory, events, size=120):
    """The same in a shell pipe."""
    with scratch(directory) as path, Server(events) as server:
        log, acks = path / "log", path / "log" / "acks"
        script = (
            'echo $$; "$0/metronome" -q -i 0 -n {n} --size {size} |'
            ' "$0/walproc" -q -d {log} --acks {acks} --read-count 4096'
            " --max-bytes 4294967296 --segment-bytes 67108864"
            ' --insert hostname=\'${{hostname}}\' |'
            ' "$0/wssink" -q --acks {acks} -u ws://127.0.0.1:{port}/'
        ).format(n=events, size=size, log=log, acks=acks, port=server.port)
        process = subprocess.Popen(["sh", "-c", script, BIN],
                                   stdout=subprocess.PIPE, text=True)
        try:
            before = os.times()
            server.wait_all()
            pids = {name_of(pid): pid for pid in children(process.pid)}
            numbers = {f"{name}_mib": peak_mib(pid)
                       for name, pid in pids.items()}
            process.wait(PATIENCE)
            after = os.times()
        finally:
            end(process)
        used = (after.children_user + after.children_system
                - before.children_user - before.children_system)
        numbers.update(server.results())
    numbers["cpu_us"] = used / events * 1e6
    return numbers


def metronome(events, size=120):
    """The source alone, into nothing."""
    start = time.monotonic()
    before = os.times()
    subprocess.run([program("metronome"), "-q", "-i", "0", "-n", str(events),
                    "--size", str(size), "--framing", "length"],
                   check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    seconds, after = time.monotonic() - start, os.times()
    used = (after.children_user + after.children_system
            - before.children_user - before.children_system)
    return {"events_per_s": events / seconds, "cpu_us": used / events * 1e6}


def with_sockets(command, source, sink, **options):
    """Starts a program between two sockets, of which source and sink are the
    other ends; each gets its own (as stdout, as stdin)."""
    up, up_of_stage = socket.socketpair()
    down, down_of_stage = socket.socketpair()
    with up, up_of_stage, down, down_of_stage:
        stage = subprocess.Popen(command, stdin=up_of_stage,
                                 stdout=down_of_stage, **options)
        ends = (subprocess.Popen(source, stdin=subprocess.DEVNULL, stdout=up)
                if source else None,
                subprocess.Popen(sink, stdin=down) if sink else None)
    return stage, *ends


def log_command(path, *options):
    return [program("walproc"), "-d", path / "log", "--read-count", "4096",
            "--max-bytes", "8589934592", "--segment-bytes", "67108864",
            "--insert", "hostname=${hostname}", *options]


def feed(events, size=120):
    return [tool("bench_stage"), "feed", "-n", str(events), "-s", str(size)]


def drain(events):
    return [tool("bench_stage"), "drain", "-n", str(events)]


HOLD = [tool("bench_stage"), "drain", "-h"]


def log_alone(directory, events, size=120):
    """walproc between a source and a sink that do next to nothing."""
    with scratch(directory) as path:
        start = time.monotonic()
        stage, source, sink = with_sockets(
            log_command(path, "-q"), feed(events, size), drain(events))
        try:
            sink.wait(PATIENCE)
            seconds = time.monotonic() - start
            _, code, usage = os.wait4(stage.pid, 0)
            stage.returncode = os.waitstatus_to_exitcode(code)
            source.wait(PATIENCE)
        finally:
            for process in source, sink, stage:
                end(process)
    used = usage.ru_utime + usage.ru_stime
    return {"events_per_s": events / seconds, "cpu_us": used / events * 1e6}


def sink_alone(events, size=120):
    """wssink between such a source and the server."""
    with Server(events) as server:
        stage, source, _ = with_sockets(
            [program("wssink"), "-q", "-u", f"ws://127.0.0.1:{server.port}/"],
            feed(events, size), None)
        try:
            server.wait_all()
            source.wait(PATIENCE)
            used = cpu_seconds(stage.pid)
            stage.wait(PATIENCE)
        finally:
            for process in source, stage:
                end(process)
        numbers = server.results()
    return {"events_per_s": numbers["events_per_s"],
            "cpu_us": used / events * 1e6}


def probe(directory, rounds):
    """What a sync of a small append, and a round trip on loopback, take here
    at a thousand a second."""
    with scratch(directory) as path:
        done = subprocess.run(
            [tool("bench_probe"), "-n", str(rounds), "-f", path / "probe"],
            check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    return read_lines(done.stdout)


def store(path, events):
    """Stores events in a log whose sink takes none, and ends it."""
    stage, source, sink = with_sockets(
        log_command(path, "-q", "--max-elements", "4000000000"),
        feed(events), HOLD)
    try:
        if source.wait(PATIENCE) != 0:
            raise RuntimeError("the events were not stored")
    finally:
        end(stage)
        end(sink)
        end(source)


def backlog_cost(path, events):
    """CPU time in µs for each of `events` that are stored behind what is in
    the log, while as many of the oldest are delivered."""
    up, up_of_stage = socket.socketpair()
    down, down_of_stage = socket.socketpair()
    with up, up_of_stage, down, down_of_stage:
        stage = subprocess.Popen(
            log_command(path, "--max-elements", "4000000000"),
            stdin=up_of_stage, stdout=down_of_stage, stderr=subprocess.PIPE,
            text=True)
        # What it does at its start is not an event's.
        if "events stored" not in stage.stderr.readline():
            raise RuntimeError("walproc did not start")
        before = cpu_seconds(stage.pid)
        sink = subprocess.Popen(drain(events), stdin=down)
        source = subprocess.Popen(feed(events), stdin=subprocess.DEVNULL,
                                  stdout=up)
    try:
        source.wait(PATIENCE)
        sink.wait(PATIENCE)
        used = cpu_seconds(stage.pid) - before
        if source.returncode or sink.returncode:
            raise RuntimeError("the events did not pass")
    finally:
        for process in source, sink, stage:
            end(process)
        stage.stderr.close()
    return used / events * 1e6


def drain_stored(path, events):
    """How fast the stored events go through wssink to the server."""
    with Server(events) as server:
        pair = socket.socketpair()
        with pair[0], pair[1]:
            stage = subprocess.Popen(
                log_command(path, "-q", "--max-elements", "4000000000"),
                stdin=subprocess.DEVNULL, stdout=pair[0])
            sink = subprocess.Popen(
                [program("wssink"), "-q", "-u",
                 f"ws://127.0.0.1:{server.port}/"], stdin=pair[1])
        try:
            server.wait_all()
            numbers = {"walproc_mib": peak_mib(stage.pid),
                       "wssink_mib": peak_mib(sink.pid)}
            stage.wait(PATIENCE)
            sink.wait(PATIENCE)
        finally:
            end(stage)
            end(sink)
        numbers.update(server.results())
    return numbers


def backlog(directory, counts, events):
    """What an event costs at each of these backlogs, and how fast the last of
    them is drained."""
    numbers = {}
    for count in counts:
        with scratch(directory) as path:
            store(path, count)
            numbers[f"backlog_{count}_cpu_us"] = backlog_cost(path, events)
    with scratch(directory) as path:
        store(path, counts[-1])
        drained = drain_stored(path, counts[-1])
    numbers["backlog_drain_events_per_s"] = drained["events_per_s"]
    numbers["backlog_walproc_mib"] = drained["walproc_mib"]
    numbers["backlog_wssink_mib"] = drained["wssink_mib"]
    return numbers


def idle(directory, seconds):
    """How often the processes of a pipeline wake that has nothing to do; its
    one event is delivered, and no ping is due."""
    with scratch(directory) as path, Server(2) as server:
        config = load_config(path, server.port, 2, interval=86400000)
        text = config.read_text()
        config.write_text(replaced(
            text, ack="pong\n      ping_interval: 3600"))
        with supervised(config) as supervisor:
            deadline = time.monotonic() + 60
            while True:
                time.sleep(0.2)
                with contextlib.suppress(subprocess.CalledProcessError):
                    instance, = status(config)["instances"]
                    if instance["flow"]["acked"] == 1:
                        break
                if time.monotonic() > deadline:
                    raise TimeoutError("no event was delivered")
            # What follows the last ack: a mark, the cursor.
            time.sleep(1)
            pids = processes_of(supervisor)
            before = sum(map(switches, pids.values()))
            time.sleep(seconds)
            after = sum(map(switches, pids.values()))
        end(server.process)
    return {"idle_wakeups_per_s": (after - before) / seconds}

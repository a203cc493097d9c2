"""What `make bench` runs and reads: the pipeline and its stages, the ceiling,
the server, and what the system says of a process and of a device.

Every measurement starts what it needs and ends it, has bounded counts and
time, and writes below the directory that it is given. Bytes a second are of
events as the source makes them, whatever is put into them on the way.
"""

import contextlib
import functools
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bench_peers import cpu_seconds, started
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
        block = Path(
            f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        # Of a partition flushes are not counted, only of all of the disk.
        if (block / "partition").exists():
            block = block.parent
        self.name, self.path = block.name, block / "stat"

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


def reaped_seconds():
    """The CPU time of the children that we have waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def named(pids):
    """Processes by name; one that ends meanwhile may be among them or not."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
    return found


def next_line(stream):
    """The next line of a process, "" at its end; of a stream that has none
    buffered."""
    if not select.select([stream], [], [], PATIENCE)[0]:
        raise TimeoutError("a process does not say what it should")
    return stream.readline()


def end(process):
    """Ends one that is still there, by its pid."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def expect_running(*processes):
    """Whoever waits for what these do need not wait when one has ended."""
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"ended early with status {process.returncode}:"
                               f" {' '.join(map(str, process.args))}")


def kill_group(process):
    """Kills one with all that it has started in its session."""
    # As long as it is not waited for, the number is that of no other group.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output_of(command):
    """What a program prints that ends by itself."""
    process = started(command, stdout=subprocess.PIPE, text=True)
    try:
        text = process.communicate(timeout=PATIENCE)[0]
    finally:
        kill_group(process)
    if process.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} has ended with status "
                           f"{process.returncode}")
    return text


class Server:
    """The counting server, waiting for so many events. When all have come, it
    holds back the last confirmation until release(): until then the processes
    of the pipeline are there to be looked at."""

    def __init__(self, events, *options):
        self.events = events
        self.process = started(
            [tool("bench_server"), "-n", str(events), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = next_line(self.process.stdout)
        if not line.startswith("listening "):
            raise RuntimeError("the server does not listen")
        self.port = int(line.split()[1])

    def wait_all(self, look=lambda: None):
        """Waits until all events have come, and calls `look` now and then.
        Returns the server's CPU time."""
        deadline = time.monotonic() + PATIENCE
        wait = 0.005
        while not select.select([self.process.stdout], [], [], wait)[0]:
            # A short run is looked at too, a long one not held up by it.
            wait = min(2 * wait, 0.1)
            look()
            if time.monotonic() > deadline:
                raise TimeoutError("not all events came")
        line = self.process.stdout.readline()
        if line != "all\n":
            raise RuntimeError(f"the server ended early: {line!r}")
        look()
        return cpu_seconds(self.process.pid)

    def release(self):
        self.process.stdin.close()

    def results(self):
        """What it has counted, once its client has left."""
        if self.process.wait(PATIENCE) != 0:
            raise RuntimeError("the server has failed")
        text = self.process.stdout.read()
        results = read_lines(text)
        counts = [results.pop(name, None)
                  for name in ("events", "missing", "duplicate")]
        if counts != [self.events, 0, 0]:
            raise RuntimeError("events were lost, or came twice: "
                               + ", ".join(text.splitlines()))
        return results

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        end(self.process)


def ceiling(directory, events, size):
    """The four bare processes. Returns their numbers, by name."""
    with scratch(directory) as path:
        found = read_lines(output_of(
            [tool("bench_ceiling"), "-n", str(events), "-s", str(size),
             "-f", path / "log"]))
    numbers = {name.removeprefix("ceiling_"): value
               for name, value in found.items()}
    numbers["events_per_sync"] = events / numbers.pop("syncs")
    return numbers


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
        check=True, capture_output=True, timeout=60)
    return json.loads(done.stdout)


def syncs(config):
    """How often the log of the only instance has synced."""
    instance, = status(config)["instances"]
    stages = {stage["program"]: stage for stage in instance["stages"]}
    return stages["walproc"]["report"]["syncs"]


@contextlib.contextmanager
def supervised(config):
    """A running supervisor; its processes by the name of their program."""
    process = started([program("supervisor"), "-q", "-c", config])
    try:
        yield process
    finally:
        end(process)


def processes_of(supervisor):
    """By name, with itself."""
    return named([*children(supervisor.pid), supervisor.pid])


def reaped_by(pid):
    """The CPU time of the children that a process has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Looks at the processes of a supervisor while they run."""

    def __init__(self, supervisor, events):
        self.supervisor = supervisor
        self.events = events
        # The source has gone when all is stored: perhaps before any look.
        self.mib = {"metronome": 0}
        self.seconds = {"metronome": 0}

    def look(self):
        """One that has done its work may be gone: then it has been seen."""
        expect_running(self.supervisor)
        pids = processes_of(self.supervisor)
        for name, pid in pids.items():
            # In between it may be gone, or be there without memory.
            with contextlib.suppress(OSError, TypeError):
                self.seconds[name] = cpu_seconds(pid)
                self.mib[name] = peak_mib(pid)
        # What it used since it was seen is known in 1/100 s, rounded down.
        if "metronome" not in pids:
            self.seconds["metronome"] = max(
                self.seconds["metronome"],
                reaped_by(self.supervisor.pid))

    def numbers(self):
        """Of each process and of all together, by name."""
        found = {f"{name}_mib": self.mib[name] for name in STAGES}
        found.update(
            (f"{name}_cpu_us_per_event", self.seconds[name] / self.events
             * 1e6) for name in STAGES)
        found["mib"] = max(self.mib.values())
        found["cpu_us_per_event"] = (
            sum(self.seconds.values()) / self.events * 1e6)
        return found


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
            server.release()
        numbers = server.results() | watch.numbers()
    numbers["bytes_per_s"] = numbers["events_per_s"] * size
    numbers["server_cpu_us_per_event"] = server_cpu / events * 1e6
    numbers["events_per_sync"] = events / count
    if before is not None and flushes is not None:
        numbers["flushes_per_sync"] = (flushes - before) / count
    return numbers


def latency(directory, events, warm_up):
    """The same at an event a millisecond: how old the events are when the
    server has them. The first ones are timed apart: that the log makes its
    file is part of what they wait for."""
    numbers = pipeline(directory, warm_up + events, interval=1,
                       options=("-l", "-w", str(warm_up)))
    return {name.removeprefix("latency_"): value
            for name, value in numbers.items()
            if name not in ("events_per_s", "bytes_per_s")}


def shell(directory, events, size=120):
    """The same in a shell pipe."""
    with scratch(directory) as path, Server(events) as server:
        log, acks = path / "log", path / "log" / "acks"
        script = (
            '"$0/metronome" -q -i 0 -n {n} --size {size} |'
            ' "$0/walproc" -q -d {log} --acks {acks} --read-count 4096'
            " --max-bytes 4294967296 --segment-bytes 67108864"
            ' --insert hostname=\'${{hostname}}\' |'
            ' "$0/wssink" -q --acks {acks} -u ws://127.0.0.1:{port}/'
        ).format(n=events, size=size, log=log, acks=acks, port=server.port)
        before = reaped_seconds()
        process = started(["sh", "-c", script, BIN])
        try:
            server.wait_all(functools.partial(expect_running, process))
            pids = named(children(process.pid))
            numbers = {f"{name}_mib": peak_mib(pids[name])
                       for name in ("walproc", "wssink")}
            server.release()
            if process.wait(PATIENCE) != 0:
                raise RuntimeError("a program of the shell pipe has failed")
            used = reaped_seconds() - before
        finally:
            kill_group(process)
        numbers.update(server.results())
    del numbers["bytes_per_s"]
    numbers["cpu_us_per_event"] = used / events * 1e6
    return numbers


def metronome(events, size=120):
    """The source alone, into nothing."""
    start, before = time.monotonic(), reaped_seconds()
    process = started(
        [program("metronome"), "-q", "-i", "0", "-n", str(events), "--size",
         str(size), "--framing", "length"], stdout=subprocess.DEVNULL)
    try:
        if process.wait(PATIENCE) != 0:
            raise RuntimeError("the metronome has failed")
    finally:
        end(process)
    return {"events_per_s": events / (time.monotonic() - start),
            "cpu_us_per_event": (reaped_seconds() - before) / events * 1e6}


def with_sockets(command, source, sink):
    """Starts a program between two sockets, of which source and sink are the
    other ends; each gets its own (as stdout, as stdin)."""
    up, up_of_stage = socket.socketpair()
    down, down_of_stage = socket.socketpair()
    with up, up_of_stage, down, down_of_stage:
        stage = started(command, stdin=up_of_stage, stdout=down_of_stage)
        ends = (started(source, stdout=up) if source else None,
                started(sink, stdin=down, stdout=subprocess.PIPE, text=True)
                if sink else None)
    return stage, *ends


def wait_drained(sink):
    if next_line(sink.stdout) != "all\n":
        raise RuntimeError("not all events have passed")


# walproc set as in conf/load.yaml.
LOG_OPTIONS = ("--read-count", "4096", "--max-bytes", "8589934592",
               "--segment-bytes", "67108864", "--insert",
               "hostname=${hostname}")


def log_command(path, *options):
    """walproc by itself."""
    return [program("walproc"), "-d", path / "log", *LOG_OPTIONS, *options]


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
            wait_drained(sink)
            seconds = time.monotonic() - start
            _, code, usage = os.wait4(stage.pid, 0)
            stage.returncode = os.waitstatus_to_exitcode(code)
            passed(source, stage, sink)
        finally:
            for process in source, sink, stage:
                end(process)
    used = usage.ru_utime + usage.ru_stime
    return {"events_per_s": events / seconds,
            "cpu_us_per_event": used / events * 1e6}


def passed(*processes):
    """Waits for processes that end by themselves when all is done."""
    for process in processes:
        if process.wait(PATIENCE) != 0:
            raise RuntimeError(f"status {process.returncode}: "
                               + " ".join(map(str, process.args)))


def sink_alone(events, size=120):
    """wssink between such a source and the server."""
    with Server(events) as server:
        stage, source, _ = with_sockets(
            [program("wssink"), "-q", "-u", f"ws://127.0.0.1:{server.port}/"],
            feed(events, size), None)
        try:
            server.wait_all(functools.partial(expect_running, stage, source))
            used = cpu_seconds(stage.pid)
            server.release()
            passed(source, stage)
        finally:
            for process in source, stage:
                end(process)
        numbers = server.results()
    return {"events_per_s": numbers["events_per_s"],
            "cpu_us_per_event": used / events * 1e6}


def probe(directory, rounds):
    """What a sync of a small append, and a round trip on loopback, take here
    at a thousand a second."""
    with scratch(directory) as path:
        found = read_lines(output_of(
            [tool("bench_probe"), "-n", str(rounds), "-f", path / "probe"]))
    return {name.removeprefix("probe_"): value
            for name, value in found.items()}


# No backlog of a measurement is too large.
NO_END = "--max-elements", "4000000000"


def store(path, events):
    """Stores events in a log whose sink takes none, and ends it."""
    stage, source, sink = with_sockets(
        log_command(path, "-q", *NO_END), feed(events), HOLD)
    try:
        passed(source)
        end(stage)
        if stage.returncode != 0:
            raise RuntimeError("walproc has failed")
    finally:
        for process in stage, sink, source:
            end(process)


def backlog_cost(path, events):
    """CPU time in µs for each of `events` that are stored behind what is in
    the log, while as many of the oldest are delivered: it has as many
    afterwards."""
    up, up_of_stage = socket.socketpair()
    down, down_of_stage = socket.socketpair()
    processes = []
    with up, up_of_stage, down, down_of_stage:
        stage = started(log_command(path, *NO_END), stdin=up_of_stage,
                        stdout=down_of_stage, stderr=subprocess.PIPE,
                        text=True)
        processes.append(stage)
        try:
            # What it does at its start is not an event's.
            if "events stored" not in next_line(stage.stderr):
                raise RuntimeError("walproc did not start")
            before = cpu_seconds(stage.pid)
            sink = started(drain(events), stdin=down,
                           stdout=subprocess.PIPE, text=True)
            processes.append(sink)
            source = started(feed(events), stdout=up)
            processes.append(source)
            passed(source)
            wait_drained(sink)
            used = cpu_seconds(stage.pid) - before
            end(stage)
            if stage.returncode != 0:
                raise RuntimeError(f"walproc: {stage.stderr.read()}")
        finally:
            for process in processes:
                end(process)
    return used / events * 1e6


def drain_stored(path, events):
    """How fast the stored events go through wssink to the server."""
    with Server(events) as server:
        stage, _, sink = with_sockets(
            log_command(path, "-q", *NO_END), None,
            [program("wssink"), "-q", "-u", f"ws://127.0.0.1:{server.port}/"])
        try:
            server.wait_all(functools.partial(expect_running, stage, sink))
            numbers = {"walproc_mib": peak_mib(stage.pid),
                       "wssink_mib": peak_mib(sink.pid)}
            server.release()
            passed(stage, sink)
        finally:
            end(stage)
            end(sink)
        numbers.update(server.results())
    return numbers


def backlog_costs(directory, counts, events, runs):
    """What an event costs at each of these backlogs, as a list for each. All
    logs are kept, and measured by turns."""
    costs = {count: [] for count in counts}
    with contextlib.ExitStack() as logs:
        paths = {count: logs.enter_context(scratch(directory))
                 for count in counts}
        for count, path in paths.items():
            store(path, count)
        for _ in range(runs):
            for count, path in paths.items():
                costs[count].append(backlog_cost(path, events))
    return costs


def backlog_drain(directory, count, live_events):
    """How fast a backlog is drained, and how fast live events flow next to
    that."""
    with scratch(directory) as path:
        store(path, count)
        drained = drain_stored(path, count)
    live = pipeline(directory, live_events)["events_per_s"]
    return {
        "drain_events_per_s": drained["events_per_s"],
        "live_events_per_s": live,
        "drain_ratio": drained["events_per_s"] / live,
        "walproc_mib": drained["walproc_mib"],
        "wssink_mib": drained["wssink_mib"]}


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
    return {"wakeups_per_s": (after - before) / seconds}

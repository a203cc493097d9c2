"""What `make bench` measures of a walproc with several sources and sinks: each
of them is a process of its own that does next to nothing (t/bench_stage.c), on
a socket that the control channel has given.
"""

import contextlib
import statistics
import subprocess
import time
from pathlib import Path

import bench_parts
from bench_parts import drain, end, feed, passed, scratch, wait_drained
from bench_peers import cpu_seconds, started
from fan import write_fan
from fanned import FanWal
from support import program

COUNTS = 1, 2, 4, 8, 32
# Sinks of a whole pipeline.
PIPELINES = 1, 4, 8
# Sinks that take what comes, while others are away or catch up; of these are
# looked at for how old their events are:
LIVE, TIMED = 8, 2
# Events at 1000/s: before a sink catches up; at least so many meanwhile; and
# in all.
ALONE, LOOKED_AT, PACED = 1000, 50, 2000


def names(what, count):
    return [f"{what}{n}" for n in range(count)]


class Fan:
    """A walproc, and the processes on its streams, which are ended with it."""

    def __init__(self, directory, sources, sinks):
        self.wal = FanWal(directory, sources, sinks, "-q",
                          *bench_parts.LOG_OPTIONS, *bench_parts.NO_END)
        self.wal.process.wait_ready()
        self.pid = self.wal.process.pid
        self.processes = []

    def put(self, which, name, command):
        """Starts a process on a new stream of that name."""
        with self.wal.process.attach(which, name) as ours:
            process = (
                started(command, stdout=ours) if which == "in" else
                started(command, stdin=ours, stdout=subprocess.PIPE,
                        text=True))
        self.processes.append(process)
        return process

    def wait_delivered(self, sinks, count):
        """Waits until each of these sinks has taken so many events; returns
        how many all of them have."""
        def least(report):
            return min(sink["delivered"] for sink in report["sinks"]
                       if sink["name"] in sinks)
        return least(self.wal.process.wait_report(
            lambda report: least(report) >= count, bench_parts.PATIENCE))

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        status = self.wal.process.stop()
        self.wal.process.control.close()
        for process in self.processes:
            end(process)
        if status != 0 and failed is None:
            raise RuntimeError(f"walproc: {self.wal.process.text()}")


class Use:
    """What a process has used of processors and files since this was made."""

    def __init__(self, pid):
        self.pid = pid
        self.before = self.look()

    def look(self):
        # Sockets are not read with read(2), and so not counted as that.
        text = Path(f"/proc/{self.pid}/io").read_text()
        io = dict(line.split(": ") for line in text.splitlines())
        return (time.monotonic(), cpu_seconds(self.pid), int(io["rchar"]),
                int(io["read_bytes"]))

    def numbers(self, events, sinks):
        seconds, cpu, read, from_disk = (
            after - before for after, before in zip(self.look(), self.before))
        return {
            "events_per_s": events / seconds,
            "cpu_us_per_event": cpu / events * 1e6,
            "cpu_us_per_delivery": cpu / events / sinks * 1e6,
            "read_bytes": read / events,
            "disk_bytes": from_disk / events,
            "mib": bench_parts.peak_mib(self.pid)}


def through(directory, events, source_count, sink_count):
    """All events, of so many sources, to each of so many sinks."""
    sources, sinks = names("in", source_count), names("out", sink_count)
    share = max(events // source_count, 1)
    with scratch(directory) as path, Fan(path, sources, sinks) as fan:
        takers = [fan.put("out", name, drain(share * source_count))
                  for name in sinks]
        fan.wal.process.wait_report(
            lambda report: all(sink["present"] for sink in report["sinks"]))
        use = Use(fan.pid)
        givers = [fan.put("in", name, feed(share)) for name in sources]
        for taker in takers:
            wait_drained(taker)
        found = use.numbers(share * source_count, sink_count)
        passed(*givers)
    return found


def ages(sinks):
    """(when it was made in ns, how old it came in µs) of each event of a
    metronome that one of these sinks had, once the walproc has ended."""
    for sink in sinks:
        text = sink.communicate(timeout=bench_parts.PATIENCE)[0]
        if sink.returncode != 0:
            raise RuntimeError("a sink has failed")
        for line in text.splitlines():
            ingest_ns, age_ns = map(int, line.split())
            yield ingest_ns, age_ns / 1000


def age_numbers(name, seen, first_ns, last_ns):
    """Of the events that were made in this time."""
    within = sorted(age for at, age in seen if first_ns <= at < last_ns)
    if not within:
        raise RuntimeError(f"{name}: no event came in that time")
    return {f"{name}_p50_us": statistics.median(within),
            f"{name}_p99_us": within[int((len(within) - 1) * 0.99)]}


def behind(directory, backlog):
    """Sinks that take what comes: while two more are away, and a backlog grows
    for these; at 1000 events/s alone, and while the first of the two catches
    up; and at full speed while the second does."""
    live, more = names("live", LIVE), max(backlog // 2, 1)
    taking = drain(backlog + PACED + more)
    with scratch(directory) as path, Fan(
            path, ["fast", "slow", "last"], [*live, "first", "second"]) as fan:
        takers = [fan.put("out", name, taking) for name in live[TIMED:]]
        timed = [fan.put("out", name, [*taking, "-t"])
                 for name in live[:TIMED]]
        use = Use(fan.pid)
        fan.put("in", "fast", feed(backlog))
        fan.wait_delivered(live, backlog)
        found = named("away", use.numbers(backlog, LIVE))

        source = fan.put("in", "slow", [
            program("metronome"), "-q", "-i", "1", "-n", str(PACED), "--size",
            "120"])
        before = fan.wait_delivered(live, backlog + ALONE)
        start_ns = time.time_ns()
        wait_drained(fan.put("out", "first", drain(backlog)))
        end_ns = time.time_ns()
        found["late_events_per_s"] = backlog / (end_ns - start_ns) * 1e9
        # It may take less than what there is to be looked at.
        fan.wait_delivered(live, before + LOOKED_AT)
        end_ns = time.time_ns()
        passed(source)
        fan.wait_delivered(live, backlog + PACED)

        use = Use(fan.pid)
        second = fan.put("out", "second", drain(backlog))
        fan.put("in", "last", feed(more))
        for taker in takers + timed:
            wait_drained(taker)
        found["beside_events_per_s"] = use.numbers(more, 1)["events_per_s"]
        wait_drained(second)
        found["late_mib"] = bench_parts.peak_mib(fan.pid)
        fan.wal.process.stop()
        seen = list(ages(timed))
    found["beside_ratio"] = (
        found["beside_events_per_s"] / found["away_events_per_s"])
    return (found | age_numbers("alone", seen, 0, start_ns)
            | age_numbers("beside", seen, start_ns, end_ns))


def expect_all(supervisor, servers):
    """Waits until all servers have all; returns what ours have used of
    processors until then."""
    for server in servers:
        server.wait_all(lambda: bench_parts.expect_running(supervisor))
    return bench_parts.reaped_by(supervisor.pid) + sum(
        cpu_seconds(pid) for pid in
        (supervisor.pid, *bench_parts.children(supervisor.pid)))


def pipeline(directory, events, sink_count):
    """A metronome to so many servers, under the supervisor, set as in
    conf/load.yaml."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(scratch(directory))
        servers = [stack.enter_context(bench_parts.Server(events))
                   for _ in range(sink_count)]
        write_fan(
            path, {"m": f"type: metronome, config: {{interval: 0, "
                        f"size: 120, count: {events}}}"},
            {f"out{n}": f"ws://127.0.0.1:{server.port}/"
             for n, server in enumerate(servers)},
            "read_count: 4096, max_elements: 20000000, "
            "max_bytes: 4294967296, segment_bytes: 67108864")
        with bench_parts.supervised(path / "c.yaml") as supervisor:
            used = expect_all(supervisor, servers)
            for server in servers:
                server.release()
        rates = [server.results()["events_per_s"] for server in servers]
    return {"events_per_s": min(rates),
            "cpu_us_per_event": used / events * 1e6,
            "cpu_us_per_delivery": used / events / sink_count * 1e6}


def named(prefix, numbers):
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


def measure(directory, events, backlog):
    """With each count of sinks, and of sources, about so many events or
    deliveries; whole pipelines; and with sinks that are away or late."""
    found = {}
    for count in COUNTS:
        found |= named(f"sinks_{count}", through(
            directory, max(events // (count + 2), 1), 1, count))
    for count in COUNTS:
        found |= named(f"sources_{count}", through(
            directory, max(events // 3, 1), count, 1))
    for count in PIPELINES:
        found |= named(f"pipeline_{count}", pipeline(
            directory, max(events // (2 * count), 1), count))
    found |= behind(directory, backlog)
    found["away_cpu_ratio"] = (found["away_cpu_us_per_event"]
                               / found[f"sinks_{LIVE}_cpu_us_per_event"])
    return found

"""`make bench`: measures the pipeline against what the machine can do at all,
in rounds in which everything has its turn, and prints the medians.

A ratio is taken within a round, between two that ran one after the other; a
machine that is slower for a minute then is so for both. First comes a table
for people, with the goals beside the numbers, then lines of `name value unit`.
The exit status is 1 if something could not be measured, or an event was lost
or came twice; it says nothing of how fast anything was.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_fan
import bench_parts
import bench_peers
import bench_report
from support import BIN

SIZE, SIZE_1K = 120, 1024
PR_SET_CHILD_SUBREAPER = 36

FULL = {
    "events": 3_000_000,
    "events_1k": 500_000,
    "latency": 5000,
    "warm_up": 1000,
    "probe": 3000,
    "stored": (1000, 100_000, 10_000_000),
    "passing": 1_000_000,
    "backlog_runs": 3,
    "fan": 3_000_000,
    "fan_backlog": 800_000,
    "fan_runs": 3,
    "idle_s": 5,
    "peers": 1.0,
}
QUICK = {
    "events": 1_000_000,
    "events_1k": 150_000,
    "latency": 1000,
    "warm_up": 300,
    "probe": 500,
    "stored": (1000, 1_000_000),
    "passing": 100_000,
    "backlog_runs": 3,
    "fan": 500_000,
    "fan_backlog": 100_000,
    "fan_runs": 1,
    "idle_s": 2,
    "peers": 0.1,
}


def counts(is_quick):
    """How much of everything. Tests of the bench want next to nothing."""
    chosen = dict(QUICK if is_quick else FULL)
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    if scale != 1:
        for name, value in chosen.items():
            chosen[name] = (
                tuple(max(int(n * scale), 1) for n in value)
                if name == "stored" else value * scale if name == "peers"
                else max(int(value * scale), 1))
    return chosen


def say(text):
    print(text, file=sys.stderr, flush=True)


def named(prefix, numbers):
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


class Round:
    """One round. What several want is measured once in it."""

    def __init__(self, number, runs, directory, much):
        self.title = f"round {number} of {runs}"
        self.directory = directory
        self.much = much
        self.done = {}

    def numbers(self, name):
        if name not in self.done:
            beside = [self.numbers(other) for other in BESIDE.get(name, ())]
            with timed(f"{self.title}: {name}"):
                self.done[name] = getattr(self, name)(*beside)
        return self.done[name]

    def all(self):
        return {name: value for numbers in self.done.values()
                for name, value in numbers.items()}

    def ceiling(self):
        return named("ceiling", bench_parts.ceiling(
            self.directory, self.much["events"], SIZE))

    def ceiling_1k(self):
        return named("ceiling_1k", bench_parts.ceiling(
            self.directory, self.much["events_1k"], SIZE_1K))

    def pipeline(self, ceiling):
        numbers = named("pipeline", bench_parts.pipeline(
            self.directory, self.much["events"], SIZE))
        return numbers | {
            "pipeline_ratio": numbers["pipeline_events_per_s"]
            / ceiling["ceiling_events_per_s"]}

    def shell(self, ceiling):
        numbers = named("shell", bench_parts.shell(
            self.directory, self.much["events"], SIZE))
        return numbers | {
            "shell_ratio": numbers["shell_events_per_s"]
            / ceiling["ceiling_events_per_s"]}

    def pipeline_1k(self, ceiling):
        numbers = named("pipeline_1k", bench_parts.pipeline(
            self.directory, self.much["events_1k"], SIZE_1K))
        return numbers | {
            "pipeline_1k_ratio": numbers["pipeline_1k_bytes_per_s"]
            / ceiling["ceiling_1k_bytes_per_s"]}

    def metronome(self):
        return named("metronome", bench_parts.metronome(
            self.much["events"], SIZE))

    def walproc(self):
        return named("walproc", bench_parts.log_alone(
            self.directory, self.much["events"], SIZE))

    def wssink(self):
        return named("wssink", bench_parts.sink_alone(
            self.much["events"], SIZE))

    def probe(self):
        return named("probe", bench_parts.probe(
            self.directory, self.much["probe"]))

    def latency(self, probe):
        numbers = named("latency", bench_parts.latency(
            self.directory, self.much["latency"], self.much["warm_up"]))
        base = probe["probe_sync_p50_us"] + probe["probe_trip_p50_us"]
        return numbers | {
            "latency_base_us": base,
            "latency_p50_ratio": numbers["latency_p50_us"] / base,
            "latency_p99_ratio": numbers["latency_p99_us"] / base}

    def peers(self):
        return {name: value for name, value, _ in bench_peers.measure(
            self.directory, self.much["peers"], runs=1)}


IN_ROUNDS = ("ceiling", "pipeline", "shell", "pipeline_1k", "metronome",
             "walproc", "wssink", "latency", "peers")
# What is measured before it in the same round, to be set against.
BESIDE = {"pipeline": ("ceiling",), "shell": ("ceiling",),
          "pipeline_1k": ("ceiling_1k",), "latency": ("probe",)}


def backlog(directory, much):
    """The cost at each backlog, and how fast the largest is drained."""
    stored, runs = much["stored"], much["backlog_runs"]
    with timed(f"backlog: the cost at {', '.join(map(str, stored))}"):
        costs = bench_parts.backlog_costs(
            directory, stored, much["passing"], runs)
    found = {f"backlog_{count}_cpu_us_per_event": values
             for count, values in costs.items()}
    for count in stored[1:]:
        found[f"backlog_{count}_ratio"] = [
            cost / least for cost, least in zip(costs[count],
                                                costs[stored[0]])]
    for n in range(runs):
        with timed(f"backlog: drained, {n + 1} of {runs}"):
            drained = named("backlog", bench_parts.backlog_drain(
                directory, stored[-1], much["events"]))
        for name, value in drained.items():
            found.setdefault(name, []).append(value)
    return found


def fan(directory, much):
    """Rounds of their own: one takes as long as all the others."""
    found = {}
    for n in range(much["fan_runs"]):
        with timed(f"fan: {n + 1} of {much['fan_runs']}"):
            numbers = named("fan", bench_fan.measure(
                directory, much["fan"], much["fan_backlog"]))
        for name, value in numbers.items():
            found.setdefault(name, []).append(value)
    return found


def idle(directory, much):
    with timed("idle"):
        numbers = bench_parts.idle(directory, much["idle_s"])
    return {name: [value] for name, value in named("idle", numbers).items()}


ONCE = {"backlog": backlog, "fan": fan, "idle": idle}


@contextlib.contextmanager
def timed(what):
    """A line on stderr for what was measured; what fails is named by it."""
    start = time.monotonic()
    try:
        yield
    except (AssertionError, OSError, RuntimeError,
            subprocess.SubprocessError, bench_peers.Failed) as why:
        sys.exit(f"bench: {what}: {why}")
    say(f"{what}, {time.monotonic() - start:.1f} s")


def measure(names, runs, directory, much):
    """Everything that is named, as a list of values for each number."""
    found = {}
    for n in range(runs):
        in_this = Round(n + 1, runs, directory, much)
        for name in IN_ROUNDS:
            if name in names:
                in_this.numbers(name)
        for name, value in in_this.all().items():
            found.setdefault(name, []).append(value)
    for name, once in ONCE.items():
        if name in names:
            found.update(once(directory, much))
    return found


def kill_children():
    """kill -9 to all that is left of ours; those of theirs become ours."""
    for pid in bench_parts.children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def leave_none():
    """Ends all that was started, by whomever, and waits for it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            kill_children()
            os.wait()


SIGNALS = signal.SIGHUP, signal.SIGINT, signal.SIGTERM


def interrupted(number, _):
    """Whoever waits for a child then need not wait long."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    kill_children()
    sys.exit(128 + number)


@contextlib.contextmanager
def all_ended():
    """However the block ends, no process of it stays."""
    # What loses its parent is given to us.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        leave_none()


def arguments():
    everything = (*IN_ROUNDS, *ONCE)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, metavar="DIR",
                        default=BIN.absolute().parent / "bench",
                        help="where to write: on the disk that is meant")
    parser.add_argument("--quick", action="store_true",
                        help="within a minute, and less exact")
    parser.add_argument("--peers", action="store_true",
                        help="others' logs too")
    parser.add_argument("--only", metavar="NAME[,NAME]",
                        help=f"of {', '.join(everything)}")
    parser.add_argument("--runs", type=int, metavar="N",
                        help="how many rounds; 5, with --quick 3")
    options = parser.parse_args()
    options.names = (options.only.split(",") if options.only else
                     [name for name in everything if name != "peers"])
    if options.peers:
        options.names.append("peers")
    for name in options.names:
        if name not in everything:
            parser.error(f"--only: {name}: not one of "
                         f"{', '.join(everything)}")
    if options.runs is None:
        options.runs = 3 if options.quick else 5
    if options.runs < 1:
        parser.error("--runs: 1 at least")
    return options


def main():
    options = arguments()
    directory = options.dir.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    facts = bench_report.facts(directory, bench_parts.Device(directory))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as own, \
            all_ended():
        found = measure(options.names, options.runs, Path(own),
                        counts(options.quick))
    seconds = time.monotonic() - start
    print(f"Medians of {options.runs} round{'s' * (options.runs > 1)}, with "
          f"the least and the largest; {seconds:.0f} s in all")
    print(*facts, *bench_report.table(found), "", sep="\n")
    found |= {"bench_runs": [options.runs], "bench_s": [seconds],
              "machine_cores": [bench_report.cores()],
              "machine_mib": [bench_report.memory_mib()]}
    print(*bench_report.machine_lines(found), sep="\n")


if __name__ == "__main__":
    main()

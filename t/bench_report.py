"""How `make bench` says what it has measured: a table for people, in which the
goals stand beside the numbers, and lines of `name value unit` for machines.

Nothing here judges: on a machine that others use too a number says little by
itself. What can be compared is what was taken in the same round.
"""

import os
import re
import statistics
import subprocess
from pathlib import Path

STAGES = "supervisor", "metronome", "walproc", "wssink"
PERCENTILES = "p50", "p90", "p99", "p999", "max"

# The unit of a number is in its name.
UNITS = (
    ("bytes_per_s", "B/s"), ("_per_s", "1/s"), ("us_per_event", "us"),
    ("us_per_delivery", "us"),
    ("_us", "us"), ("_mib", "MiB"), ("_ratio", "ratio"),
    ("events_per_sync", "events"), ("flushes_per_sync", "flushes"),
    ("_events", "events"), ("_bytes", "B"), ("_cores", "cores"),
    ("_runs", "runs"), ("_s", "s"),
)
# In the table: by how much a number is divided, and what it is then called.
SHOWN = {"1/s": (1e3, "k/s"), "B/s": (1e6, "MB/s"), "ratio": (1, "x"),
         "events": (1, ""), "flushes": (1, "")}


PEERS = {
    "sqlite_100": "SQLite, 100 a transaction",
    "sqlite_1000": "SQLite, 1000 a transaction",
    "redis_100": "Redis, 100 a pipeline",
    "redis_1000": "Redis, 1000 a pipeline",
    "redis_10x100": "Redis, 10 pipelines of 100",
    "rsyslog_disk": "rsyslog, its disk queue",
}


def processes(prefix, suffix):
    return [(f"{prefix}_{stage}_{suffix}", f"  {stage}") for stage in STAGES]


def flow(name):
    """What there is to say of a pipeline that runs at full speed."""
    return [
        (f"{name}_events_per_sync", "events a sync"),
        (f"{name}_flushes_per_sync", "flushes of the device a sync",
         "<= 1.1"),
        (f"{name}_cpu_us_per_event", "CPU an event, all of ours",
         "<= 1.0 us" if name == "pipeline" else ""),
        *processes(name, "cpu_us_per_event"),
        (f"{name}_server_cpu_us_per_event", "  and the server, not ours"),
        (f"{name}_mib", "memory, the largest of ours", "<= 16 MiB"),
        *processes(name, "mib"),
    ]


def one(name, label):
    return [(f"{name}_events_per_s", label),
            (f"{name}_cpu_us_per_event", "  CPU an event")]


def many(count, what):
    return f"{count} {what}{'s' * (count > 1)}"


def fan(found):
    """What there is to say of several sources and sinks."""
    counts = {what: sorted(int(n[1]) for name in found if (
        n := re.fullmatch(rf"fan_{what}_(\d+)_events_per_s", name)))
        for what in ("sinks", "sources", "pipeline")}
    return [
        *(row for n in counts["sinks"] for row in (
            (f"fan_sinks_{n}_events_per_s", f"to {many(n, 'sink')}"),
            (f"fan_sinks_{n}_cpu_us_per_event", "  CPU an event"),
            (f"fan_sinks_{n}_cpu_us_per_delivery", "  for each sink"),
            (f"fan_sinks_{n}_read_bytes", "  read back, an event"),
            (f"fan_sinks_{n}_mib", "  memory"))),
        *(row for n in counts["sources"] for row in (
            (f"fan_sources_{n}_events_per_s", f"from {many(n, 'source')}"),
            (f"fan_sources_{n}_cpu_us_per_event", "  CPU an event"),
            (f"fan_sources_{n}_mib", "  memory"))),
        *(row for n in counts["pipeline"] for row in (
            (f"fan_pipeline_{n}_events_per_s",
             f"whole, to {many(n, 'server')}"),
            (f"fan_pipeline_{n}_cpu_us_per_event", "  CPU an event, ours"),
            (f"fan_pipeline_{n}_cpu_us_per_delivery", "  for each sink"))),
        ("fan_away_events_per_s", "to 8, while 2 are away"),
        ("fan_away_cpu_us_per_event", "  CPU an event"),
        ("fan_away_cpu_ratio", "  over that to 8 alone"),
        ("fan_beside_events_per_s", "to 8, while one catches up"),
        ("fan_beside_ratio", "  over that while it is away"),
        ("fan_late_events_per_s", "by one that catches up"),
        ("fan_late_mib", "  memory"),
        ("fan_alone_p50_us", "at 1000/s to 8: age, p50"),
        ("fan_alone_p99_us", "  p99"),
        ("fan_beside_p50_us", "  while one catches up, p50"),
        ("fan_beside_p99_us", "  p99"),
    ]


def rows(found):
    """The sections of the table: (name of a number, what it is, goal)."""
    backlogs = sorted(int(n[1]) for name in found if (
        n := re.fullmatch(r"backlog_(\d+)_cpu_us_per_event", name)))
    peers = [n[1] for name in found
             if (n := re.fullmatch(r"peer_(\w+)_events_per_s", name))]
    return [
        ("End to end, 120 bytes an event: synced, then confirmed", [
            ("ceiling_events_per_s", "the ceiling"),
            ("pipeline_events_per_s", "under the supervisor",
             ">= 1,000 k/s"),
            ("pipeline_ratio", "  of the ceiling", ">= 50 %"),
            ("shell_events_per_s", "in a shell pipe"),
            ("shell_ratio", "  of the ceiling"),
            ("ceiling_events_per_sync", "the ceiling: events a sync"),
            ("ceiling_cpu_us_per_event", "  CPU, with its server"),
            *flow("pipeline"),
            ("shell_cpu_us_per_event", "shell pipe: CPU, all of ours"),
            ("shell_walproc_mib", "  memory of walproc", "<= 16 MiB"),
            ("shell_wssink_mib", "  memory of wssink", "<= 16 MiB"),
        ]),
        ("End to end, 1 KiB an event", [
            ("ceiling_1k_bytes_per_s", "the ceiling"),
            ("pipeline_1k_bytes_per_s", "under the supervisor"),
            ("pipeline_1k_ratio", "  of the ceiling", ">= 60 %"),
            ("pipeline_1k_events_per_s", "  events"),
            *flow("pipeline_1k"),
        ]),
        ("A stage alone, 120 bytes an event",
         [row for name in STAGES[1:] for row in one(name, name)]),
        ("Latency at 1000 events/s, from the source to the server", [
            ("probe_sync_p50_us", "a sync here, p50"),
            ("probe_trip_p50_us", "a round trip on loopback, p50"),
            ("latency_base_us", "both"),
            *((f"latency_{p}_us", p) for p in PERCENTILES),
            ("latency_p50_ratio", "p50 over sync and trip", "<= 2 x"),
            ("latency_p99_ratio", "p99 over sync and trip", "<= 5 x"),
            ("latency_start_max_us", "slowest of the first ones"),
            ("latency_events_per_sync", "events a sync"),
            ("latency_flushes_per_sync", "flushes of the device a sync",
             "<= 1.1"),
            ("latency_cpu_us_per_event", "CPU an event, all of ours"),
            *processes("latency", "cpu_us_per_event"),
            ("latency_mib", "memory, the largest of ours", "<= 16 MiB"),
        ]),
        ("Behind a backlog", [
            *(row for n in backlogs for row in (
                (f"backlog_{n}_cpu_us_per_event", f"CPU of the log, at {n:,}"),
                (f"backlog_{n}_ratio", f"  over that at {backlogs[0]:,}",
                 "0.9 .. 1.1 x"))),
            ("backlog_drain_events_per_s", "drained"),
            ("backlog_live_events_per_s", "live, in turn with it"),
            ("backlog_drain_ratio", "  drained over live", ">= 1 x"),
            ("backlog_walproc_mib", "memory of walproc", "<= 16 MiB"),
            ("backlog_wssink_mib", "memory of wssink", "<= 16 MiB"),
        ]),
        ("Several sources and sinks: walproc alone, and whole", fan(found)),
        ("With nothing to do", [
            ("idle_wakeups_per_s", "all of ours wake up", "0 /s"),
        ]),
        ("Others' logs, 120 bytes an event: synced, to nobody", [
            *(row for name in peers
              for row in one(f"peer_{name}", PEERS.get(name, name))),
            *(one("walproc", "walproc, for comparison") if peers else ()),
            *(one("pipeline", "all of ours, to the server") if peers else ()),
        ]),
    ]


def unit_of(name):
    return next(unit for end, unit in UNITS if name.endswith(end))


def rounded(value):
    """With as many digits as mean something."""
    digits = next((n for n, least in enumerate((100, 10, 0.1))
                   if abs(value) >= least), 3)
    return f"{value:,.{digits}f}"


def shown(name):
    """The divisor and the unit that the table has for a number."""
    if name.startswith("idle_"):
        return 1, "/s"
    if name in ("pipeline_ratio", "pipeline_1k_ratio", "shell_ratio"):
        return 0.01, "%"
    unit = unit_of(name)
    return SHOWN.get(unit, (1, unit))


def line(name, label, values, goal=""):
    """One line of the table: the median, and where there are several values,
    the least and the largest."""
    divisor, unit = shown(name)
    values = [value / divisor for value in values]
    spread = ""
    if len(values) > 1:
        spread = f"{rounded(min(values))} .. {rounded(max(values))}"
    text = (f"  {label:<30}{rounded(statistics.median(values)):>7} {unit:<4} "
            f"{spread:<16}")
    return (text + (f" goal {goal}" if goal else "")).rstrip()


def table(found):
    """The lines for people, of the numbers that there are: a list for each
    name."""
    for title, section in rows(found):
        lines = [line(name, label, found[name], *goal)
                 for name, label, *goal in section if name in found]
        if lines:
            yield from ("", title, *lines)


def machine_lines(found):
    """The same for machines: medians."""
    for name, values in found.items():
        yield f"{name} {statistics.median(values):.6g} {unit_of(name)}"


def facts(directory, device):
    """What matters of the machine, as lines for people."""
    model = re.search(r"^model name\s*: (.*)$",
                      Path("/proc/cpuinfo").read_text(), re.M)
    system = os.uname()
    # Of what is mounted on top of each other the last is what is seen.
    where = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", directory],
        capture_output=True, text=True).stdout.splitlines()[-1:]
    where = where[0].split() if where else ()
    load = os.getloadavg()[0]
    flushes = ("not known here" if device.flushes() is None else
               f"those of all of {device.name}, whoever asks for them")
    return [
        f"  processors  {cores()} x {model[1] if model else system.machine}",
        f"  memory      {memory_mib() / 1024:.1f} GiB",
        f"  kernel      {system.sysname} {system.release} {system.machine}",
        f"  load        {load:.2f} before",
        f"  directory   {directory}",
        f"              {' on '.join(where) or 'of an unknown kind'}",
        f"  flushes     {flushes}",
    ]


def cores():
    return len(os.sched_getaffinity(0))


def memory_mib():
    return (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            / (1 << 20))

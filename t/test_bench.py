"""`make bench` measures what it promises, with next to nothing of everything:
no number is looked at. And its server sees what is lost and what comes twice.
"""

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import bench_parts
import pytest
import websockets
from support import HERE, PYTHON, wait_until

STAGES = "supervisor", "metronome", "walproc", "wssink"
PERCENTILES = "p50", "p90", "p99", "p999", "max"

CEILING = "events_per_s", "bytes_per_s", "cpu_us_per_event", "events_per_sync"
PIPELINE = (
    "events_per_sync", "server_cpu_us_per_event", "cpu_us_per_event", "mib",
    *(f"{stage}_cpu_us_per_event" for stage in STAGES),
    *(f"{stage}_mib" for stage in STAGES))
PROMISED = {
    "ceiling": CEILING,
    "ceiling_1k": CEILING,
    "pipeline": (*PIPELINE, "events_per_s", "bytes_per_s", "ratio"),
    "pipeline_1k": (*PIPELINE, "events_per_s", "bytes_per_s", "ratio"),
    "shell": ("events_per_s", "cpu_us_per_event", "walproc_mib", "wssink_mib",
              "ratio"),
    "metronome": ("events_per_s", "cpu_us_per_event"),
    "walproc": ("events_per_s", "cpu_us_per_event"),
    "wssink": ("events_per_s", "cpu_us_per_event"),
    "probe": [f"{what}_{p}_us" for what in ("sync", "trip")
              for p in PERCENTILES],
    "latency": (*PIPELINE, *(f"{p}_us" for p in PERCENTILES), "start_max_us",
                "base_us", "p50_ratio", "p99_ratio"),
    "backlog": ("10_cpu_us_per_event", "10000_cpu_us_per_event",
                "10000_ratio", "drain_events_per_s", "live_events_per_s",
                "drain_ratio", "walproc_mib", "wssink_mib"),
    "fan": (
        *(f"{run}_{name}" for run in (
            *(f"{what}_{count}" for what in ("sinks", "sources")
              for count in (1, 2, 4, 8, 32)), "away")
          for name in ("events_per_s", "cpu_us_per_event",
                       "cpu_us_per_delivery", "read_bytes", "disk_bytes",
                       "mib")),
        *(f"pipeline_{count}_{name}" for count in (1, 4, 8) for name in (
            "events_per_s", "cpu_us_per_event", "cpu_us_per_delivery")),
        *(f"{when}_{p}_us" for when in ("alone", "beside")
          for p in ("p50", "p99")),
        "away_cpu_ratio", "beside_events_per_s", "beside_ratio",
        "late_events_per_s", "late_mib"),
    "idle": ("wakeups_per_s",),
    "bench": ("runs", "s"),
    "machine": ("cores", "mib"),
}
# Where the kernel counts the flushes of the device.
COUNTED = "pipeline", "pipeline_1k", "latency"


def bench(directory, *options):
    return subprocess.Popen(
        [PYTHON, HERE / "bench.py", "--quick", "--runs", "1", "--dir",
         directory, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=dict(os.environ, BENCH_SCALE="0.01",
                            BENCH_TEST=str(directory)))


def processes_of(directory):
    """All that was started from a bench, by its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"BENCH_TEST={directory}" in (process / "environ").read_text():
                yield process.name
        except OSError:
            pass


def test_all_is_measured_and_said(tmp_path):
    with bench(tmp_path) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    lines = re.findall(r"^([a-z0-9_]+) (\S+) (\S+)$", out, re.M)
    names = [name for name, _, _ in lines]
    promised = [f"{of}_{name}" for of, group in PROMISED.items()
                for name in group]
    if bench_parts.Device(tmp_path).flushes() is not None:
        promised += [f"{of}_flushes_per_sync" for of in COUNTED]
    assert sorted(names) == sorted(promised)
    assert all(float(value) >= 0 for _, value, _ in lines)
    for words in ("kernel", "of the ceiling", "goal >= 50 %",
                  "goal <= 16 MiB"):
        assert words in out
    # A line for each, and no other word.
    said = re.compile(r"(round 1 of 1|backlog|fan|idle)\b.*, [0-9.]+ s")
    assert all(map(said.fullmatch, err.splitlines())), err
    assert not list(tmp_path.iterdir())


def test_one_is_measured_alone_with_what_it_is_set_against(tmp_path):
    with bench(tmp_path, "--only", "shell,metronome") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    names = re.findall(r"^([a-z0-9]+)_\S+ \S+ \S+$", out, re.M)
    assert set(names) == {"ceiling", "shell", "metronome", "bench", "machine"}


def test_nothing_stays_of_a_bench_that_is_ended(tmp_path):
    with bench(tmp_path, "--only", "pipeline,latency") as process:
        wait_until(lambda: len(list(processes_of(tmp_path))) > 4,
                   "a pipeline")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert not list(processes_of(tmp_path))
    assert not list(tmp_path.iterdir())


async def send(port, numbers):
    async with websockets.connect(f"ws://127.0.0.1:{port}/") as connection:
        for n in numbers:
            await connection.send(f'{{"id":{n}}}')


@pytest.mark.parametrize("numbers, wanted, told", [
    ((0, 1, 3), 4, ("missing 1 ", "duplicate 0 ")),
    ((0, 1, 1), 2, ("missing 0 ", "duplicate 1 ")),
])
def test_the_server_sees_what_is_lost_and_what_comes_twice(numbers, wanted,
                                                           told):
    with bench_parts.Server(wanted) as server:
        server.release()
        asyncio.run(send(server.port, numbers))
        server.wait_all()
        with pytest.raises(RuntimeError) as failed:
            server.results()
    assert all(words in str(failed.value) for words in told)


def test_the_server_finds_nothing_wrong_with_all_events():
    with bench_parts.Server(3) as server:
        server.release()
        asyncio.run(send(server.port, (0, 1, 2)))
        server.wait_all()
        assert server.results()["events_per_s"] > 0

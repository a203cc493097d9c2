"""Numbered events through a supervised pipeline: a directory of programs with
t/source.py in the metronome's place, and what must be true of what arrived.
"""

import shutil

from sinks import firsts
from support import BIN, HERE, PYTHON, lines_of

# What may come again: 20 events of the sink's window, 20 of the source's.
WINDOW = 40


def numbered_bin(directory, *options):
    """Makes a directory of the real programs, but with a numbering source in
    the metronome's place; the options are those of t/source.py."""
    bin_dir = directory / "bin"
    bin_dir.mkdir()
    for path in BIN.iterdir():
        if path.name != "metronome":
            shutil.copy2(path, bin_dir / path.name)
    command = [PYTHON, HERE / "source.py", directory / "acked", *options]
    (bin_dir / "metronome").write_text(
        "#!/bin/sh\nexec " + " ".join(map(str, command)) + "\n")
    (bin_dir / "metronome").chmod(0o755)
    return bin_dir


def acked_by_wal(directory):
    """How many events the source was told are stored."""
    lines = lines_of(directory / "acked")
    return int(lines[-1]) if lines else 0


def jumps_in(received):
    """Where the numbers, each where it came first, do not follow each
    other."""
    order = firsts(received)
    return [(a, b) for a, b in zip([-1, *order], order) if b != a + 1]


def faults_in(received, acked):
    """What is wrong with the numbers that arrived, a list: an acked one that
    did not; first times out of order, or with a gap; and what came again
    although it was older than what can be under way."""
    wrong = []
    missing = sorted(set(range(acked)) - set(received))
    if missing:
        wrong.append(f"{len(missing)} missing of {acked} acked, the first is "
                     f"{missing[0]}")
    if jumps_in(received):
        wrong.append(f"out of order: {jumps_in(received)[:3]}")
    newest = -1
    for n in received:
        if n <= newest - WINDOW:
            wrong.append(f"{n} came again after {newest}")
        newest = max(newest, n)
    return wrong

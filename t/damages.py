"""Real logs to be harmed, all the ways to harm them that the tests of the
tools try, and what the tools say of them.
"""

import json
import os
import shutil
import struct
import subprocess

from neighbours import Wal, run_pipe
from support import AGAIN, DONE, FINAL, program, shimmed, wait_until

DAMAGE = 1
TOOLS = ["inspect", "verify", "repair", "export"]
COUNTERS = ["delivered", "stored", "dropped", "dead_lettered", "quarantined"]
HEADERS = [0, 4096]
DATA = 4608


def shim_tools(**settings):
    """An environment in which t/shim_tools.c stands before the calls."""
    return shimmed("shim_tools", **settings)


def tool(word, *arguments, env=None):
    """Runs a tool; returns its exit status and the lines of its output."""
    done = subprocess.run([program("walproc"), word, *map(str, arguments)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, env=env)
    assert done.returncode in (DONE, DAMAGE, FINAL, AGAIN), done
    return (done.returncode, done.stdout.decode().splitlines(),
            done.stderr.decode())


def inspect(directory):
    """What inspect --json says; and its counters add up."""
    code, [line], _ = tool("inspect", "--json", directory)
    assert code == DONE
    told = json.loads(line)
    counters = told["counters"]
    assert counters["taken"] == sum(counters[k] for k in COUNTERS), told
    assert counters["adds_up"] is True
    assert counters["dropped"] == (counters["dropped_newest"]
                                   + counters["dropped_oldest"])
    assert counters["dead_lettered"] == (counters["refused"]
                                         + counters["rejected"])
    assert counters["stored"] == told["elements"]
    return told


def damage_of(directory, env=None):
    """The lines of damage that verify prints; its exit status fits them."""
    code, lines, _ = tool("verify", directory, env=env)
    *damage, result = [x for x in lines if not x.startswith("note: ")]
    assert code == (DAMAGE if damage else DONE), lines
    assert result.startswith("damaged: " if damage else "sound: "), lines
    return damage


def event(n):
    return {"n": n, "x": "y" * (100 + n % 7)}


def make_log(directory, count=120, ended=0, groups=4):
    """A log of `count` events in several segments, `ended` of them acked by
    the sink; closed as a run that was told to stop. Returns its directory.
    The cursor as it was before the first event is kept beside it."""
    assert run_pipe(directory, b"")[0] == DONE
    shutil.copy(directory / "wal" / "cursor", directory / "early")
    with Wal(directory, "--segment-bytes", "16384", "--max-elements",
             "100000", "--read-count", "1000") as wal:
        for first in range(0, count, groups):
            group = range(first, min(first + groups, count))
            wal.send(*(event(n) for n in group))
            wal.wait_acked(group[-1] + 1)
        for n in range(ended):
            assert wal.event() == event(n)
        if ended > 0:
            wal.ack(ended)
            wait_until(lambda: inspect(directory / "wal")["counters"][
                "delivered"] == ended, "the ack")
        assert wal.process.stop() == DONE
    return directory / "wal"


def segments(directory):
    return sorted(directory.glob("*.seg"))


class Layout:
    """Where batches and records of a segment file are, as walseg(5) says."""

    def __init__(self, path):
        data = path.read_bytes()
        self.batches = []
        self.marks = []
        self.records = {}
        self.times = {}
        at = DATA
        while data[at:at + 4] == b"WPBH":
            body, count, _, seq = struct.unpack_from(">IIIQ", data, at + 4)
            end = at + (48 + body + 7) // 8 * 8
            if count == 0:
                self.marks.append((at, end))
            else:
                self.batches.append((at, end, seq, count))
            record = at + 48
            for n in range(seq, seq + count):
                self.times[n] = struct.unpack_from(">Q", data, at + 32)[0]
                size = 8 + struct.unpack_from(">I", data, record)[0]
                self.records[n] = (record, record + size)
                record += size
            at = end
        self.end = at
        self.first = min(self.records, default=0)
        self.last = max(self.records, default=0)


def times_of(directory):
    """When each event was written, by its number."""
    return {n: time for path in segments(directory)
            for n, time in Layout(path).times.items()}


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def lost(words, first, last):
    return f"{words}events {first}-{last} ({last - first + 1}): "


def missing(first, last):
    return lost("log: ", first, last) + "missing"


# Each of these damages a log and returns what verify says of it, line by
# line, and the numbers of the events that are lost.


def damage_record(log):
    path = segments(log)[1]
    layout = Layout(path)
    n = layout.first + 5
    start, end = layout.records[n]
    flip(path, start + 20)
    # Up to the next record, or with the last of a batch to the batch's end.
    ends = [b[1] for b in layout.batches if b[2] + b[3] - 1 == n]
    end = ends[0] if ends else end
    return [lost(f"{path.name}: bytes {start}-{end - 1}: ", n, n)
            + "damaged"], {n}


def damage_batch_header(log):
    path = segments(log)[1]
    at, end, seq, count = Layout(path).batches[3]
    flip(path, at + 9)
    return [lost(f"{path.name}: bytes {at}-{end - 1}: ", seq, seq + count - 1)
            + "damaged"], set(range(seq, seq + count))


def damage_first_batch(log):
    path = segments(log)[0]
    at, end, seq, count = Layout(path).batches[0]
    flip(path, at)
    return [lost(f"{path.name}: bytes {at}-{end - 1}: ", seq, seq + count - 1)
            + "damaged"], set(range(seq, seq + count))


def damage_mark(log):
    for path in segments(log):
        layout = Layout(path)
        inner = [m for m in layout.marks if m[1] < layout.batches[-1][0]]
        if inner:
            at, end = inner[0]
            flip(path, at + 20)
            return [f"{path.name}: bytes {at}-{end - 1}: damaged, no event "
                    "lost"], set()
    raise AssertionError("no mark between two batches")


def damage_padding(log):
    for path in segments(log):
        layout = Layout(path)
        for _, end, seq, count in layout.batches:
            last = layout.records[seq + count - 1][1]
            if last < end:
                flip(path, end - 1)
                return [f"{path.name}: bytes {last}-{end - 1}: damaged, no "
                        "event lost"], set()
    raise AssertionError("no padding")


def damage_one_header(copy):
    def damage(log):
        path = segments(log)[1]
        at = HEADERS[copy]
        flip(path, at + 33)
        return [f"{path.name}: bytes {at}-{at + 63}: a copy of the header is "
                "damaged"], set()
    return damage


def damage_both_headers(index):
    def damage(log):
        path = segments(log)[index]
        layout = Layout(path)
        for at in HEADERS:
            flip(path, at + 41)
        return [f"{path.name}: damaged: no sound header",
                missing(layout.first, layout.last)], layout.records.keys()
    return damage


def damage_last_with_old_cursor(log):
    """What the cursor knew of the last file was lost in a power cut."""
    shutil.copy(log.parent / "early", log / "cursor")
    return damage_both_headers(2)(log)


def delete_segment(index):
    def damage(log):
        path = segments(log)[index]
        layout = Layout(path)
        path.unlink()
        return [missing(layout.first, layout.last)], layout.records.keys()
    return damage


def cut_segment(log):
    """A file in the middle ends early."""
    path = segments(log)[1]
    layout = Layout(path)
    at, _, seq, _ = layout.batches[-3]
    os.truncate(path, at)
    return [missing(seq, layout.last)], \
        set(range(seq, layout.last + 1))


def zero_the_end(log):
    """The last batches of the log read as zeros: they had been durable."""
    path = segments(log)[2]
    layout = Layout(path)
    at, _, seq, _ = layout.batches[-2]
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes(len(data) - at))
    return [missing(seq, layout.last)], \
        set(range(seq, layout.last + 1))


def lose_all_of_one(log):
    """A segment with a sound header and nothing else."""
    path = segments(log)[1]
    layout = Layout(path)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:DATA] + b"\xff" * (size - DATA))
    return [lost(f"{path.name}: bytes {DATA}-{size - 1}: ", layout.first,
                 layout.last) + "damaged"], layout.records.keys()


def misname(log):
    """All comes back: no event is lost once it has its name again."""
    path = segments(log)[1]
    layout = Layout(path)
    other = path.with_name(f"{layout.first + 3:020}.seg")
    path.rename(other)
    return [f"{other.name}: bears the name of another",
            missing(layout.first, layout.last)], set()


def duplicate(log):
    path = segments(log)[1]
    other = path.with_name(f"{Layout(path).first + 3:020}.seg")
    shutil.copy(path, other)
    return [f"{other.name}: is there twice"], set()


def make_other(log, **what):
    (log.parent / "other").mkdir()
    return make_log(log.parent / "other", **what)


def bring_foreign(log):
    other = make_other(log, count=4)
    [path] = segments(other)
    to = log / f"{Layout(segments(log)[0]).first + 3:020}.seg"
    shutil.copy(path, to)
    return [f"{to.name}: of another log"], set()


def damage_cursor(log):
    for at in HEADERS:
        flip(log / "cursor", at + 45)
    return ["cursor: lost, no slot is sound"], set()


def delete_cursor(log):
    (log / "cursor").unlink()
    return ["cursor: lost, missing, or empty"], set()


def bring_foreign_cursor(log):
    other = make_other(log, count=4, ended=2)
    shutil.copy(other / "cursor", log / "cursor")
    return ["cursor: lost, of another log"], set()


def damage_much(log):
    """Several at once, in one segment and in others."""
    lines, gone = damage_record(log)
    path = segments(log)[1]
    layout = Layout(path)
    for at, end, seq, count in (layout.batches[4], layout.batches[-1]):
        flip(path, at + 1)
        lines.append(lost(f"{path.name}: bytes {at}-{end - 1}: ", seq,
                          seq + count - 1) + "damaged")
        gone |= set(range(seq, seq + count))
    # Behind the last batch there is only a mark, which the range takes in.
    size = path.stat().st_size
    lines[-1] = lost(f"{path.name}: bytes {at}-{size - 1}: ", seq,
                     seq + count - 1) + "damaged"
    more, _ = damage_one_header(1)(log)
    return lines + more, gone


DAMAGES = {
    "a record": damage_record,
    "a batch header": damage_batch_header,
    "the first batch": damage_first_batch,
    "a mark": damage_mark,
    "padding": damage_padding,
    "the first header": damage_one_header(0),
    "the second header": damage_one_header(1),
    "both headers of the first": damage_both_headers(0),
    "both headers of the second": damage_both_headers(1),
    "both headers of the last": damage_both_headers(2),
    "the last, not on record": damage_last_with_old_cursor,
    "the first file gone": delete_segment(0),
    "the second file gone": delete_segment(1),
    "the last file gone": delete_segment(2),
    "a file cut": cut_segment,
    "the end zeroed": zero_the_end,
    "all events of a file": lose_all_of_one,
    "a wrong name": misname,
    "a file there twice": duplicate,
    "a file of another log": bring_foreign,
    "the cursor": damage_cursor,
    "no cursor": delete_cursor,
    "a cursor of another log": bring_foreign_cursor,
    "much": damage_much,
}


def drained(directory):
    """The numbers of the events that a last run gives its sink."""
    code, out, log = run_pipe(directory.parent, b"", "--max-elements",
                              "100000")
    assert code == DONE, log
    return [json.loads(line)["n"] + 1 for line in out.splitlines()]


def exported(directory, *options, code=DONE, env=None):
    """The numbers of the events that export prints."""
    found, lines, log = tool("export", *options, directory, env=env)
    assert found == code, log
    events = [json.loads(line) for line in lines]
    assert events == [event(e["n"]) for e in events]
    return [e["n"] + 1 for e in events]


def contents(directory):
    """All files below a directory, but the lock: who has which bytes."""
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes())
            for p in directory.rglob("*") if p.is_file() and p.name != "LOCK"}

"""What the tests of power cuts are made of: a mounted powerfs, an ext4 on a
loop device, stories of what a source and a sink do with a walproc there, and
the oracle, which says what must be left of it after a cut.
"""

import base64
import copy
import json
import os
import random
import socket
import struct
import subprocess

import pytest
from powercut import Model, read_journal
from support import (BIN, DONE, PATIENCE, Frames, Process, cursor_of, frame,
                     lines_of, program, shimmed)

FUSE, EXT4 = "65735546", "ef53"     # f_type of statfs(2)
IMAGE_BYTES = 16 << 20
SEGMENT_MAGIC = b"\x89WPSEG\r\n"
# The smallest segments, so that there are many rolls.
OPTIONS = ["--segment-bytes", "16384", "--max-elements", "100000",
           "--insert", "seq=${seq}"]
NOT_HERE = 77   # exit status of a powerfs that cannot be mounted
NEW = 2     # events that each walproc after a cut is given

# How the runs of a recording end: killed in peace, killed while events come,
# told to stop, or at the end of their input.
ENDS = ("kill", "within", "stop", "kill", "drain", "within", "stop", "kill")


def filesystem_of(path):
    """The type of the filesystem that `path` is on, as statfs(2) has it."""
    return subprocess.run(["stat", "-f", "-c", "%t", path], check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()


class Powerfs:
    """A mounted powerfs, until the end of a with block."""

    def __init__(self, place, backing, *options):
        self.root = place / "mnt"
        self.journal = place / "journal"
        self.mark_path = self.root / ".mark"
        self.argv = [BIN.parent / "t" / "powerfs", backing, self.journal,
                     self.root, *options]
        self.log = place / "powerfs.log"
        self.process = None

    def __enter__(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("skipped: /dev/fuse is missing, or not for this user")
        self.root.mkdir()
        self.process = Process(self.argv, self.log, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
        if self.process.child.stdout.readline() != b"ready\n":
            status = self.close()
            if status == NOT_HERE:
                pytest.skip(f"skipped: no FUSE mount: {self.process.text()}")
            raise AssertionError(self.process.text())
        assert filesystem_of(self.root) == FUSE
        return self

    def mark(self, *what):
        """Puts what the test knows now into the journal."""
        with open(self.mark_path, "wb", buffering=0) as file:
            file.write(json.dumps(what).encode())

    def close(self):
        """Unmounts; returns the exit status."""
        self.process.child.stdin.close()
        status = self.process.wait()
        self.process.child.stdout.close()
        self.root.rmdir()
        return status

    def __exit__(self, *_):
        assert self.close() == 0, self.process.text()


# Mounts the image $1 at $2, and unmounts it when standard input ends, so that
# no mount outlives the test that made it. Not around the page cache of where
# the image is: FUSE need not have that.
MOUNT = """
device=$(losetup --direct-io=off --show -f "$1") || exit 1
status=1
if mount -t ext4 -o noinit_itable "$device" "$2"; then
	echo ready
	read -r _
	umount "$2" && status=0 || umount -l "$2"
fi
losetup -d "$device"
exit $status
"""


class Ext4:
    """An ext4 image, mounted through a loop device until the end of a with
    block."""

    def __init__(self, image, root):
        self.image = image
        self.root = root
        self.child = None

    def __enter__(self):
        self.root.mkdir(exist_ok=True)
        self.child = subprocess.Popen(
            ["sh", "-c", MOUNT, "sh", self.image, self.root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        line = self.child.stdout.readline()
        if line != b"ready\n":
            self.close()
            raise OSError(line.decode(errors="replace").strip())
        assert filesystem_of(self.root) == EXT4
        return self

    def close(self):
        """Returns the exit status and what was said."""
        text = self.child.communicate(timeout=PATIENCE)[0]
        return self.child.returncode, text.decode(errors="replace").strip()

    def __exit__(self, *_):
        status, text = self.close()
        assert status == 0, text


def make_image(path):
    """A small ext4, made in full at once: nothing is left to a mount."""
    with open(path, "wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0",
                    "-J", "size=4", "-E",
                    "lazy_itable_init=0,lazy_journal_init=0", path],
                   check=True, timeout=PATIENCE)


def good(n):
    """Event `n`: its bytes follow from its number."""
    rng = random.Random(n)
    size = rng.choice((3, 30, 30, 200, 200, 900, 3000, 6000))
    if n % 41 == 17:
        size = 40000    # longer than a segment is by itself
    return json.dumps({"n": n, "pad": rng.randbytes(size // 2).hex()}).encode()


def bad(n):
    """What is no event."""
    return b"no event: %d " % n + b"\xff" * (n % 5 * 450)


class Run:
    """What one walproc was sent, as test and journal know it."""

    def __init__(self):
        self.items = []         # (number, is good), in order
        self.acked = 0          # of these
        self.given = []         # numbers of events sent to the sink
        self.ends = []          # where each ended in the stream
        self.stream = {}        # by descriptor: bytes not read, bytes before


class Facts:
    """What had been promised by the time of one record of a journal: read
    from the marks in front of it."""

    def __init__(self, runs, is_lazy=False):
        """`runs` has the items of each run that a mark may name. `is_lazy`
        says that acks come before syncs: then only what was acked before a
        segment's last sync is promised."""
        self.items = runs
        self.is_lazy = is_lazy
        self.synced = set()     # events told of before the last sync
        self.runs = []
        self.run = None
        self.ended = set()      # events that the sink has ended
        self.rejected = set()   # events that the sink has rejected
        self.rejects = 0        # sent by the sink
        self.numbers = {}       # event: its number in the log, once seen
        self.last = None        # stream before the last send, and its size

    def take(self, data):
        """Takes the next mark. Returns whether it acks something to the
        source."""
        if data[:1] == b"o":
            return self.sent(data[1], data[2:])
        if data[:1] == b"t":
            self.sent_less(data[1], struct.unpack(">I", data[2:])[0])
            return False
        what, value = json.loads(data)
        if what == "run":
            self.run = Run()
            self.run.items = self.items[value]
            self.runs.append(self.run)
        elif what == "ack":
            self.ended.update(self.run.given[:value])
        elif what == "reject":
            self.rejected.add(self.run.given[value - 1])
            self.rejects += 1
        return False

    def sent(self, fd, data):
        """walproc is about to send `data` to the source (0) or sink (1)."""
        rest, before = self.run.stream.get(fd, (b"", 0))
        rest += data
        self.last = (rest, before, len(data))
        acks = False
        while len(rest) >= 4:
            size = 4 + struct.unpack(">I", rest[:4])[0]
            if len(rest) < size:
                break
            payload = json.loads(rest[4:size])
            rest, before = rest[size:], before + size
            if fd == 1:
                self.run.given.append(payload["n"])
                self.run.ends.append(before)
                self.numbers[payload["n"]] = payload["seq"]
                # Given again, it was not rejected in time.
                self.rejected.discard(payload["n"])
            elif "ack" in payload:
                acks = acks or payload["ack"] > self.run.acked
                self.run.acked = payload["ack"]
        self.run.stream[fd] = rest, before
        return acks

    def sent_less(self, fd, count):
        """Of what it was about to send, only `count` bytes went; the rest
        will be sent again."""
        rest, before, size = self.last
        rest = rest[:len(rest) - size + count]
        at = whole_frames(rest)
        self.run.stream[fd] = rest[at:], before + at
        while fd == 1 and self.run.ends and self.run.ends[-1] > before + at:
            del self.run.ends[-1], self.run.given[-1]

    def sync(self):
        """What is in the segments is durable."""
        self.synced = self.told()

    def told(self):
        """The events that were acked to the source or given to the sink."""
        events = set()
        for run in self.runs:
            events.update(n for n, ok in run.items[:run.acked] if ok)
            events.update(run.given)
        return events

    def sure(self):
        """Those of them that a cut may not lose."""
        return self.synced if self.is_lazy else self.told()


def whole_frames(data):
    """How many bytes the whole frames at the front take."""
    at = 0
    while len(data) - at >= 4:
        size = 4 + struct.unpack_from(">I", data, at)[0]
        if len(data) - at < size:
            break
        at += size
    return at


class Story:
    """A recording: runs of walproc on `directory`, with marks to `powerfs`."""

    def __init__(self, powerfs, directory, place, rng, first=0, options=(),
                 **env):
        self.powerfs = powerfs
        self.directory = directory
        self.log = place / "walproc.log"
        self.rng = rng
        self.options = options
        self.next = first       # number of the next item
        self.stored = 0         # events that are in the log for sure
        self.runs = []          # items of each run: see Run
        self.seen = []          # of each run: acks and events that came
        self.env = shimmed("shim_power", POWER_MARK=powerfs.mark_path, **env)

    def start(self):
        self.powerfs.mark("run", len(self.runs))
        self.runs.append([])
        self.window = self.rng.choice((3, 20, 100))
        self.source, theirs_in = socket.socketpair()
        self.sink, theirs_out = socket.socketpair()
        self.process = Process(
            [program("walproc"), "-d", self.directory, "--read-count",
             self.window, *OPTIONS, *self.options],
            self.log, stdin=theirs_in, stdout=theirs_out, env=self.env)
        theirs_in.close()
        theirs_out.close()
        self.answers, self.events = Frames(self.source), Frames(self.sink)
        self.acked = self.given = self.ended = 0

    def end(self):
        self.process.kill()
        self.source.close()
        self.sink.close()

    def send(self, count, is_bad=False):
        """Sends so many items at once."""
        data = b""
        for _ in range(count):
            self.runs[-1].append((self.next, not is_bad))
            data += frame((bad if is_bad else good)(self.next))
            self.next += 1
        self.source.sendall(data)

    def wait_acked(self):
        """Until all that was sent is acked."""
        items = self.runs[-1]
        before = self.acked
        while self.acked < len(items):
            answer = json.loads(self.answers.next())
            self.acked = answer.get("ack", self.acked)
        self.stored += sum(ok for _, ok in items[before:])

    def end_to(self, count):
        """The sink has ended the first `count` events of the stream."""
        self.stored = max(0, self.stored - (count - self.ended))
        self.ended = count

    def receive(self, count):
        """The sink takes up to so many events, of those that are there."""
        for _ in range(min(count, self.window - (self.given - self.ended))):
            is_due = self.given - self.ended < self.stored
            try:
                self.events.next(PATIENCE if is_due else 0)
            except AssertionError:
                assert not is_due, "no event came"
                return
            self.given += 1

    def ack(self, count):
        """The sink acks up to so many events."""
        count = min(self.given, self.ended + count)
        if count > self.ended:
            self.powerfs.mark("ack", count)
            self.sink.sendall(frame({"ack": count}))
            self.end_to(count)

    def reject_next(self):
        if self.given > self.ended:
            self.powerfs.mark("reject", self.ended + 1)
            self.sink.sendall(frame({"reject": self.ended + 1,
                                     "reason": "no"}))
            self.end_to(self.ended + 1)

    def phase(self):
        """One thing that a source or a sink does."""
        what = self.rng.choice(("one", "one", "many", "bad", "take", "take",
                                "ack", "ack", "reject"))
        if what == "one":
            for _ in range(self.rng.randint(1, 5)):
                self.send(1)
                self.wait_acked()
        elif what == "many":
            self.send(self.rng.randint(2, 12))
            self.wait_acked()
        elif what == "bad":
            self.send(self.rng.randint(1, 2), is_bad=True)
            self.send(self.rng.randint(0, 2))
            self.wait_acked()
        elif what == "take":
            self.receive(self.rng.randint(1, 15))
        elif what == "ack":
            self.ack(self.rng.randint(1, 15))
        else:
            self.reject_next()

    def drain(self):
        """The source ends, and the sink takes and acks all that comes."""
        self.source.shutdown(socket.SHUT_WR)
        self.ack(self.given)
        while self.events.next() is not None:
            self.given += 1
            self.ack(self.given)
        assert self.process.wait() == DONE, self.process.text()
        self.stored = 0

    def tell(self, ends):
        """One walproc after another, each with one of its possible ends."""
        for end in ends:
            self.run(end)
            self.seen.append((self.acked, self.given))

    def run(self, end):
        """One walproc from its start to its end."""
        self.start()
        try:
            if self.next == 0:
                # A dead letter, before there is any segment.
                self.send(1, is_bad=True)
                self.wait_acked()
            for _ in range(self.rng.randint(8, 14)):
                self.phase()
            if end == "within":
                self.send(self.rng.randint(5, 20))
            elif end == "stop":
                assert self.process.stop() == DONE, self.process.text()
            elif end == "drain":
                self.drain()
        finally:
            self.end()


class Recording:
    """What a powerfs saw of a story: the journal's records, and the model of
    its directory before them."""

    def __init__(self, before, story):
        self.before = before
        self.journal = story.powerfs.journal
        self.records = read_journal(self.journal)
        self.runs = story.runs  # items of each run
        self.next = story.next  # number of the next item
        facts = Facts(self.runs)
        for entry in self.records:
            if entry.kind == "M":
                facts.take(entry.data)
        # Else a test would ask for less than was promised.
        seen = [(run.acked, len(run.given)) for run in facts.runs]
        seen = seen[len(seen) - len(story.seen):]
        assert all(a >= b and c >= d for (a, c), (b, d)
                   in zip(seen, story.seen)), (seen, story.seen)


def record(place, seed, *options, has_directory=False, walproc=(), **env):
    """Runs walproc, with options `walproc` and environment `env`, on a
    powerfs that is given `options`."""
    backing = place / "backing"
    backing.mkdir()
    if has_directory:
        (backing / "wal").mkdir(mode=0o700)
    before = Model(backing)
    with Powerfs(place, backing, *options) as powerfs:
        story = Story(powerfs, powerfs.root / "wal", place,
                      random.Random(f"record {seed}"), options=walproc, **env)
        story.tell(ENDS)
        assert filesystem_of(story.directory) == FUSE
    return Recording(before, story)


class Wrong(Exception):
    """What a state shows is not what was promised."""


def expect(holds, *what):
    if not holds:
        raise Wrong(" ".join(str(x) for x in what))


def letters_of(directory):
    """The dead letters: those refused at intake, by their bytes, and the
    numbers of those rejected by the sink."""
    refused, rejected = [], set()
    for line in lines_of(directory / "dead-letters.ndjson"):
        try:
            letter = json.loads(line)
        except ValueError:
            raise Wrong(f"dead letter {line[:99]} is no JSON") from None
        if "seq" in letter:
            rejected.add(letter["seq"])
        else:
            refused.append(base64.b64decode(letter["bytes"]))
    return refused, rejected


def run_after(directory, place, *new):
    """A walproc on what a cut left, in a shell pipe, with new events for it.
    Returns its exit status, the lines that came out, and its log."""
    out, log, given = (place / x for x in ("out", "log", "in"))
    given.write_bytes(b"".join(event + b"\n" for event in new))
    with open(given, "rb") as stdin, open(out, "wb") as stdout, \
            open(log, "wb") as stderr:
        child = subprocess.Popen(
            [program("walproc"), "-d", directory, "--acks", "none", *OPTIONS],
            stdin=stdin, stdout=stdout, stderr=stderr, close_fds=False)
        try:
            status = child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            status = f"none: killed after {PATIENCE} s; {child.wait()}"
    return status, out.read_bytes().splitlines(), log.read_text()


def check_events(lines, facts, rejected):
    """All that was promised comes, in order, none twice, none changed, none
    that was not sent; returns the events by number, in order."""
    known = {n for run in facts.runs for n, ok in run.items if ok}
    came = {}
    for line in lines:
        event = json.loads(line)
        n, seq = event["n"], event.pop("seq")
        expect(n in known, "event", n, "was never sent")
        expect(event == json.loads(good(n)), "event", n, "is changed")
        expect(n not in came, "event", n, "comes twice")
        expect(not came or n > max(came), "event", n, "is out of order")
        expect(facts.numbers.get(n, seq) == seq, "event", n, "was number",
               facts.numbers.get(n), "and is", seq)
        expect(not came or seq == max(came.values()) + 1, "event", n,
               "has number", seq, "behind", came.values())
        came[n] = seq
    gone = facts.sure() - came.keys()
    for n in gone & facts.rejected:
        expect(facts.numbers[n] in rejected, "event", n, "rejected, is gone")
    gone -= facts.rejected | facts.ended
    expect(not gone, "events", sorted(gone), "are lost")
    return came


def check_gaps(came, facts):
    """Of what was sent in one run, there is all up to some event."""
    over = facts.ended | facts.rejected
    for run in facts.runs:
        events = [n for n, ok in run.items if ok]
        last = max((n for n in events if n in came), default=-1)
        gaps = [n for n in events
                if n < last and n not in came and n not in over]
        expect(not gaps, "events", gaps, "are missing before", last)


def check_letters(letters, facts):
    """The dead letters have what was refused, whole and in order."""
    at = 0
    for run in facts.runs:
        refused = [n for n, ok in run.items if not ok]
        sure = sum(not ok for _, ok in run.items[:run.acked])
        for nth, n in enumerate(refused):
            if at < len(letters) and letters[at] == bad(n):
                at += 1
                continue
            expect(nth >= sure, "dead letter", n, "is lost")
            break
    expect(at == len(letters), "dead letters", len(letters), "known", at)


def check_counts(cursor, facts, last_seq):
    """Promise 7: taken in = delivered + stored + dropped + dead letters +
    quarantined. All is delivered now, so nothing is stored."""
    expect(cursor["acked_seq"] == last_seq, "ended", cursor, "of", last_seq)
    expect(cursor["acked_seq"] == cursor["delivered"] + cursor["rejected"]
           + cursor["dropped"] + cursor["quarantined"], cursor)
    expect(cursor["dropped"] == cursor["dropped_newest"]
           == cursor["quarantined"] == 0, cursor)
    expect(cursor["rejected"] <= facts.rejects, cursor)


def check_taken(cursor, facts, letters, last_seq):
    """What was taken in is what was acked, and of what was not yet acked no
    more than was sent."""
    acked = [ok for run in facts.runs for _, ok in run.items[:run.acked]]
    sent = [ok for run in facts.runs for _, ok in run.items]
    expect(sum(acked) <= last_seq <= sum(sent), "taken", last_seq, "acked",
           sum(acked), "sent", sum(sent))
    refused = acked.count(False)
    expect(refused <= cursor["refused"] <= len(letters), "refused",
           cursor["refused"], "acked", refused, "letters", len(letters))


def check(directory, place, facts):
    """Starts walproc on what a cut left, and holds what comes against what
    was promised. Raises Wrong."""
    run = Run()
    first = 1 + max((n for r in facts.runs for n, _ in r.items), default=-1)
    run.items = [(n, True) for n in range(first, first + NEW)]
    run.acked = NEW
    facts = copy.copy(facts)
    facts.runs = facts.runs + [run]
    status, lines, log = run_after(directory, place,
                                   *(good(n) for n, _ in run.items))
    expect(status == DONE, "exit status", status, log)
    try:
        check_all(directory, lines, facts)
    except (OSError, KeyError, ValueError, struct.error) as error:
        raise Wrong(f"{error!r}: {log}") from error
    expect("damage" not in log and "quarantine" not in log, log)
    expect(not (directory / "quarantine").exists(), "quarantine", log)


def check_all(directory, lines, facts):
    """Holds the lines that came, and what is now in the directory, against
    what was promised."""
    letters, rejected = letters_of(directory)
    came = check_events(lines, facts, rejected)
    check_gaps(came, facts)
    cursor, last_seq = cursor_of(directory), max(came.values())
    check_counts(cursor, facts, last_seq)
    if not facts.is_lazy:
        check_letters(letters, facts)
        check_taken(cursor, facts, letters, last_seq)


def cut_points(recording, facts, count, rng):
    """Where to cut: behind each ack to the source, as far as two thirds of
    `count` go, then once before each record, then anywhere. A cut at N is one
    before record N."""
    facts = copy.deepcopy(facts)
    acks = [n + 1 for n, entry in enumerate(recording.records)
            if entry.kind == "M" and facts.take(entry.data)]
    acks = rng.sample(acks, min(len(acks), count * 2 // 3))
    all_points = range(len(recording.records) + 1)
    left = count - len(acks)
    others = rng.sample(all_points, min(len(all_points), left))
    return sorted(acks + others
                  + rng.choices(all_points, k=left - len(others)))


def each_cut(recording, facts, points):
    """Walks through a journal, and gives the model and the facts at each cut
    point. Both go on: what is to stay must be copied."""
    model = copy.deepcopy(recording.before)
    at = 0
    for cut in points:
        for entry in recording.records[at:cut]:
            if entry.kind == "M":
                facts.take(entry.data)
                continue
            model.apply(entry)
            if model.has_synced(entry, SEGMENT_MAGIC):
                facts.sync()
        at = cut
        yield cut, model, facts

"""walproc while its system calls fail, and while it is killed before and after
each of them: what was acked to the source is never lost.

In each run one fault strikes (t/shim_fault.c); the next run, without one, gets
the rest from the source and drains the log; then the oracle (t/story.py) looks
at all that came out. A fault is written as the FAULT it was made with, so that
it can be repeated by hand. FAULT_ROUNDS is how many numbers N are tried for
each kind of call and each way to fail; large enough, all are.
"""

import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from story import Play, Story, fault_env
from support import AGAIN, BIN, DONE, cursor_of, is_sanitized, program

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "2"))
SEED = int(os.environ.get("FAULT_SEED", "1"))

# The kinds in the order of t/shim_fault.c.
KINDS = ("write", "fdatasync", "fsync", "open", "ftruncate", "unlink",
         "rename", "mkdir", "pread", "read", "poll", "malloc", "mmap")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EMFILE", "ENOMEM")
# How the kinds that are not here fail: with each of ERRORS.
HOWS = {
    "write": ERRORS + ("short", "half-EIO", "half-ENOSPC", "half-EDQUOT"),
    "pread": ("EIO", "EINTR", "ENOMEM", "short"),
    "read": ("EIO", "EINTR", "ENOMEM", "short"),
    "poll": ("EINTR", "ENOMEM"),
    "malloc": ("ENOMEM",),
    "mmap": ("ENOMEM",),
}
# Calls that a signal handler, if there were one, would interrupt.
INTERRUPTED = ("write", "pread", "read", "poll")
FULL = ("ENOSPC", "EDQUOT", "half-ENOSPC", "half-EDQUOT")
# No full disk: what was to be durable is in doubt, for ever; or there is only
# a peer; or it is the end, where nothing is left to be taken in.
NO_PAUSE = ("fdatasync", "fsync", "send", "ftruncate")

OPTIONS = ("--segment-bytes", "16384", "--read-count", "16", "--max-bytes",
           "1000000")
EVENTS = 46
BAD = (3, 17, 30)
REJECTED = (10,)
LARGE = 20  # larger than a segment


def story():
    sizes = [60] + [900 + 37 * (n % 17) for n in range(1, EVENTS)]
    sizes[LARGE] = 21000
    return Story(sizes, BAD, REJECTED)


@pytest.fixture(name="scratch")
def fixture_scratch(tmp_path):
    """A directory in memory, if there is one: the failures are made, and a
    real disk only takes its time."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shutil.disk_usage(shm).free < 64 << 20:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shm, prefix="walpipe-") as path:
        yield Path(path)


class Counts:
    """What t/shim_fault.c counted in one run."""

    def __init__(self, path):
        data = Path(path).read_bytes() if Path(path).exists() else b""
        data = data.ljust(8 * len(KINDS) + 256, b"\0")
        self.calls = dict(zip(KINDS, struct.unpack_from(
            f"{len(KINDS)}Q", data)))
        self.struck = data[8 * len(KINDS):].split(b"\0")[0].decode()
        self.words = self.struck.split()
        self.call = self.words[0] if self.words else ""


class Scene:
    """Where runs start from: a new directory, or what a killed one left."""

    def __init__(self, name, scratch):
        self.scratch = scratch
        self.story = story()
        self.made = None
        if name == "again":
            self.made = scratch / "made" / "wal"
            self.prepare()

    def prepare(self):
        """Kills a run before the sync of a batch, when half is sent."""
        for nth in range(14, 40):
            shutil.rmtree(self.made.parent, ignore_errors=True)
            self.made.parent.mkdir()
            self.story = story()
            count = self.made.parent / "count"
            Play(self.story, self.made, *OPTIONS, hold=5, env=fault_env(
                f"fdatasync:{nth}:kill-before", count)).run()
            if Counts(count).words[1:2] and Counts(count).words[1].endswith(
                    ".seg") and self.story.acked > EVENTS // 2:
                return
        raise AssertionError("no sync of a batch was found to kill it at")

    def begin(self):
        """A directory to run in, and the story so far."""
        home = self.scratch / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        if self.made is not None:
            shutil.copytree(self.made, home / "wal")
        return home, self.story.copy()

    def calls(self, kind):
        """How many calls of a kind a run makes in which none fails; None if
        they cannot be counted here."""
        home, tale = self.begin()
        code = Play(tale, home / "wal", *OPTIONS, hold=5, env=fault_env(
            f"{kind}:0:EIO", home / "count")).run()
        if code == 99:
            return None
        assert code == DONE and tale.wrongs(home / "wal") == []
        calls = Counts(home / "count").calls[kind]
        # How often it polls is a matter of time.
        return min(calls, 8) if kind == "poll" else calls


def unreported(directory, tale, log):
    """What is missing after reads that failed, and not counted or said."""
    missing = tale.missing()
    counted = cursor_of(directory)["quarantined"]
    # How many events there are in what cannot be read is not always known.
    if not missing or "its end cannot be read" in log:
        return []
    is_told = "damaged: moved" in log or "are missing" in log
    if is_told and len(missing) <= counted:
        return []
    return [f"{missing} are missing and {counted} in quarantine"]


class Trial:
    """One fault, and what became of it: a list of wrongs in words."""

    def __init__(self, scene, fault, ending="end", is_nudging=False):
        self.fault = fault
        self.ending = ending
        kind, _, how, *ever = fault.split(":")
        self.kind, self.how, self.is_ever = kind, how, bool(ever)
        home, tale = scene.begin()
        # What is interrupted for ever is tried for ever.
        stop = "kill" if how == "EINTR" else "term"
        play = Play(tale, home / "wal", *OPTIONS, hold=5, ending=ending,
                    is_nudging=is_nudging, stop=stop if ever else None,
                    env=fault_env(fault, home / "count"))
        self.code = play.run()
        self.counts = Counts(home / "count")
        self.log = (home / "log").read_text()
        self.wrongs = []
        if play.is_hanging:
            self.wrongs.append("it hangs")
        self.judge(play, tale)
        before = len(tale.received)
        drain = Play(tale, home / "wal", *OPTIONS)
        code = drain.run()
        self.drain_log = (home / "log").read_text()[len(self.log):]
        if code != DONE:
            self.wrongs.append(f"then exit {code}")
        if self.code == DONE and ending == "end" and not self.is_ever and \
                len(tale.received) > before:
            self.wrongs.append("events that were acked came again")
        self.look(home, tale)

    @property
    def has_struck(self):
        return self.counts.struck != ""

    def judge(self, play, tale):
        """The run in which the fault struck."""
        codes = (DONE, AGAIN)
        is_whole = self.code == DONE and tale.acked == len(tale.events)
        has_opened = "events stored" in self.log
        if self.how.startswith("kill") and self.has_struck:
            codes = (-9,)
        elif play.was_killed:
            codes = (-9, DONE, AGAIN)
        if self.code not in codes:
            self.wrongs.append(f"exit {self.code}")
        if self.kind in ("fdatasync", "fsync") and self.has_struck and \
                self.how in ("EIO", "lost") and self.code == DONE:
            self.wrongs.append("a failed sync was passed over")
        if self.is_ever or is_whole:
            return
        if self.how == "short" or (
                self.how == "EINTR" and self.kind in INTERRUPTED):
            self.wrongs.append(f"it was noticed: exit {self.code}")
        if self.how in FULL and has_opened and not self.is_no_pause():
            self.wrongs.append(f"no pause: exit {self.code}")

    def is_no_pause(self):
        """Nothing of what was struck takes room on a disk."""
        call, name, _ = self.counts.words
        return call in NO_PAUSE or call.startswith("open") and \
            name.endswith(".seg")

    def look(self, home, tale):
        """All that came out, of both runs."""
        may_lose, has_counts = False, True
        if self.kind == "pread" and self.how == "EIO" and self.has_struck:
            name = self.counts.words[1]
            may_lose = name.endswith(".seg") or self.is_ever
            has_counts = name != "cursor"
        logs = self.log + self.drain_log
        self.wrongs += tale.wrongs(home / "wal", may_lose, has_counts)
        self.wrongs += unreported(home / "wal", tale, logs)
        if not may_lose and ("are damaged: moved" in logs or
                             (home / "wal" / "quarantine").exists()):
            self.wrongs.append("damage is seen where there is none")

    def __str__(self):
        return (f"FAULT={self.fault} ({self.counts.struck or 'never came'}; "
                f"then {self.ending}): " + "; ".join(self.wrongs) +
                f"\n{self.log}--- drained:\n{self.drain_log}")


def is_cheap(kind, how):
    """Takes little time and finds much, so that all are tried."""
    return kind == "malloc" or how == "lost" or (
        how.startswith("kill") and kind in KINDS[:KINDS.index("mkdir")])


def trials(scene, kind, how, calls):
    """Trials of one kind of call and one way to fail: with each number until
    the call never comes, or with some if there are more than ROUNDS."""
    rounds = 1000 if is_cheap(kind, how) else ROUNDS
    some = range(1, calls + 1)
    if calls > rounds:
        some = random.Random(f"{SEED} {kind} {how}").sample(some, rounds)
    for nth in sorted(some):
        yield trial(scene, kind, how, nth)
    while calls <= rounds and kind != "poll":
        calls += 1
        last = trial(scene, kind, how, calls)
        yield last
        if not last.has_struck:
            return


def trial(scene, kind, how, nth):
    # That a stop is read with its signal half there is no real failure.
    ending = "end" if nth % 2 or kind == "read" else "term"
    how, *ever = how.split(":")
    return Trial(scene, ":".join([kind, str(nth), how] + ever), ending,
                 is_nudging=nth % 4 != 0)


def assert_right(found):
    """Of many trials: none went wrong. Returns how many struck."""
    found = list(found)
    wrong = [str(one) for one in found if one.wrongs]
    assert not wrong, (f"seed {SEED}: {len(wrong)} of {len(found)} went "
                       "wrong:\n\n" + "\n\n".join(wrong[:20]))
    return sum(one.has_struck for one in found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["new", "again"])
def test_a_call_that_fails(scratch, name, kind):
    """Once, and from then on for ever."""
    if kind in ("malloc", "mmap") and is_sanitized():
        pytest.skip("skipped: the sanitizer itself needs memory")
    scene = Scene(name, scratch)
    calls = scene.calls(kind)
    if calls is None:
        pytest.skip("skipped: no seccomp filter can be set here")
    assert calls > 0 or name == "again"
    struck = 0
    for how in HOWS.get(kind, ERRORS):
        for ever in ("", ":ever"):
            struck += assert_right(trials(scene, kind, how + ever, calls))
    if kind == "fdatasync":
        struck += assert_right(trials(scene, kind, "lost", calls))
    assert struck > 0 or calls == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["new", "again"])
def test_kill_before_and_after_a_call(scratch, name, kind):
    if kind in ("malloc", "mmap") and is_sanitized():
        pytest.skip("skipped: the sanitizer itself needs memory")
    scene = Scene(name, scratch)
    calls = scene.calls(kind)
    if calls is None:
        pytest.skip("skipped: no seccomp filter can be set here")
    for how in ("kill-before", "kill-after"):
        assert_right(trials(scene, kind, how, calls))


def blind(scratch, fault):
    """What the oracle says of a log that was killed after it had acked what it
    has not got: each event waits in it, the sink has the first one only."""
    home = scratch / "blind"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    tale = story()
    play = Play(tale, home / "wal", "--segment-bytes", "16384",
                "--read-count", "1", hold=1, ending="kill", stop="kill",
                env=fault_env(fault, home / "count"))
    assert play.run() == -9
    Play(tale, home / "wal", *OPTIONS).run()
    return Counts(home / "count"), tale.wrongs(home / "wal")


@pytest.mark.parametrize("kind, how", [
    ("fdatasync", "lie"), ("write", "half-lie")])
def test_the_negative_controls(scratch, kind, how):
    """The oracle on a log that takes no notice of a failed sync, what it wrote
    being gone; and on one that takes half a write for a whole one."""
    seen = {"seg": [], "ndjson": []}
    misses = 0
    for nth in range(1, 1000):
        counts, wrongs = blind(scratch, f"{kind}:{nth}:{how}")
        # On a busy machine one run takes more events at a time than another,
        # and comes to fewer calls: one that comes to none ends nothing yet.
        misses = 0 if counts.struck else misses + 1
        if misses == 5:
            break
        if not counts.struck:
            continue
        _, name, size = counts.words
        # A commit mark, a header: there is not always an event lost with it.
        if name.endswith((".seg", ".ndjson")) and not 0 < int(size) <= 64:
            seen[name.split(".")[-1]].append((counts.struck, wrongs))
    assert len(seen["seg"]) > 5 and len(seen["ndjson"]) >= len(BAD)
    for struck, wrongs in seen["seg"] + seen["ndjson"]:
        assert wrongs, f"{struck}: nothing is seen of it"
    assert blind(scratch, f"{kind}:0:{how}")[1] == []


def batches_of(data):
    """Where the batches of a segment are, and which numbers they hold, as
    walseg(5) has it."""
    at = data.index(b"WPBH")
    while data[at:at + 4] == b"WPBH":
        body, count, _, seq = struct.unpack_from(">IIIQ", data, at + 4)
        size = (48 + body + 7) // 8 * 8
        yield at, at + size, range(seq, seq + count)
        at += size


def test_bad_sectors(scratch):
    """A sector that cannot be read costs at most the batches that it is part
    of; all else comes out, and what does not is in the quarantine. Nothing is
    taken for a torn tail, and no start fails."""
    made = scratch / "made" / "wal"
    made.parent.mkdir()
    whole = Story([700 + 37 * (n % 17) for n in range(90)])
    Play(whole, made, "--segment-bytes", "16384", "--read-count", "1",
         ending="kill", hold=1).run()
    files = [made / "cursor"] + sorted(made.glob("*.seg"))
    sectors = [(path, at) for path in files
               for at in range(0, path.stat().st_size, 4096)]
    if len(sectors) > 5 * ROUNDS:
        sectors = random.Random(SEED).sample(sectors, 5 * ROUNDS)
    for path, at in sectors:
        where = f"FAULT_SECTOR={path.name}:{at}:{at + 4096}"
        home = scratch / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        shutil.copytree(made, home / "wal")
        tale = whole.copy()
        tale.received = []
        code = Play(tale, home / "wal", *OPTIONS, env=fault_env(
            sector=where.split("=")[1])).run()
        log = (home / "log").read_text()
        assert code == DONE, f"{where}: exit {code}\n{log}"
        may_miss = set()
        if path.suffix == ".seg":
            for begin, end, seqs in batches_of(path.read_bytes()):
                if begin < at + 4096 and at < end:
                    # The events are numbered from 1 on, and none is bad.
                    may_miss |= {seq - 1 for seq in seqs}
        missing = set(tale.missing())
        assert missing <= may_miss, f"{where}: {missing}\n{log}"
        wrongs = tale.wrongs(home / "wal", may_lose=True)
        wrongs += unreported(home / "wal", tale, log)
        assert wrongs == [], f"{where}: {wrongs}\n{log}"


@pytest.mark.parametrize("at", [0, 4096])
def test_a_cursor_slot_that_cannot_be_read_costs_duplicates_only(scratch, at):
    """Killed when a segment has just been unlinked: the slot that is left may
    be from before that."""
    for nth in range(1, 100):
        home = scratch / f"home{nth}"
        home.mkdir()
        tale = story()
        code = Play(tale, home / "wal", *OPTIONS, hold=5, env=fault_env(
            f"unlink:{nth}:kill-after", home / "count")).run()
        counts = Counts(home / "count")
        if not counts.struck:
            return
        if not counts.words[1].endswith(".seg"):
            continue
        assert code == -9
        assert Play(tale, home / "wal", *OPTIONS, env=fault_env(
            sector=f"cursor:{at}:{at + 4096}")).run() == DONE
        wrongs = tale.wrongs(home / "wal", has_counts=False)
        assert wrongs == [], f"unlink:{nth}: {wrongs}\n" + (
            home / "log").read_text()


@pytest.mark.parametrize("kind", ["open", "unlink"])
def test_a_failure_around_the_acks_fifo_is_not_final(scratch, kind):
    """Another try may mend it: 100 would say that none can."""
    for how in ("EMFILE", "ENOMEM", "EIO", "ENOSPC"):
        for nth in range(1, 100):
            home = scratch / "fifo"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            fault = f"{kind}:{nth}:{how}"
            done = subprocess.run(
                [program("walproc"), "-d", home / "wal", "--acks",
                 home / "acks"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=fault_env(fault, home / "count"), timeout=60)
            assert done.returncode in (DONE, AGAIN), f"{fault}: {done}"
            if not Counts(home / "count").struck:
                break


def test_the_shim_stands_before_every_call_of_its_kinds():
    """What walproc is linked against and could fail in one of these ways. The
    exceptions are of its tools, which t/test_tools.py has killed and failed,
    and of the control channel, which only a supervisor gives it.
    """
    def names(path, letter):
        out = subprocess.run(["nm", "-D", path], stdout=subprocess.PIPE,
                             check=True, text=True).stdout
        return {line.split()[-1].split("@")[0] for line in out.splitlines()
                if line.split()[-2] == letter}

    wanted = re.compile("write|^send|sync$|^open|truncate|allocate|unlink|"
                        "rename|^link|mkdir|^p?read|^recv|poll|alloc|mmap")
    called = {name for name in names(program("walproc"), "U")
              if wanted.search(name) and not name.startswith("__asan")}
    made = names(BIN.parent / "t" / "shim_fault.so", "T")
    assert len(called) > 15
    assert called - made == {"readdir", "fwrite", "linkat", "opendir",
                             "sendmsg", "recvmsg"}

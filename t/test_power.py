"""walproc over power cuts. It runs on a powerfs, which keeps a journal of all
that is written and synced; from the journal the directory is made again as a
cut may have left it (powercut.py), and a walproc that is started there must
have all that was promised before the cut (powerstory.py).

POWER_SEEDS says how many recordings are made, POWER_STATES how many states
are made of each; a tenth as many are cut in the recovery from a cut, and of a
real ext4.
"""

import copy
import json
import os
import random
import shutil
import struct
import tempfile
from pathlib import Path

import pytest
from powercut import MODES, Change, Choice, Directory, File, Model
from powerstory import (ENDS, Ext4, Facts, Powerfs, Recording, Story, Wrong,
                        bad, check, check_events, check_gaps, check_letters,
                        cut_points, each_cut, good, make_image, record)
from support import frame

SEEDS = int(os.environ.get("POWER_SEEDS", "3"))
STATES = int(os.environ.get("POWER_STATES", "1000"))
CHAINS = 4      # recordings that begin with what a cut left
ENOUGH = 10     # states that are wrong: more of them tell no more


def outcomes(change):
    """What many cuts leave of a directory with one synced file "old", of two
    sectors of o, after change(directory, file): by mode, the sets of names
    with the first byte of each sector."""
    found = {mode: set() for mode in MODES}
    for mode, outcome in found.items():
        for seed in range(200):
            directory, file = Directory(), File(b"o" * 1024)
            directory.names["old"] = file
            change(directory, file)
            choice = Choice(random.Random(seed), mode)
            names = directory.after_cut(choice)
            outcome.add(" ".join(sorted(
                f"{name}={inode.after_cut(choice)[::512].decode()}"
                for name, inode in names.items())).replace("\0", "-"))
    return found


def make(directory, name, inode):
    Change(inode, (directory, name, True))


def remove(directory, name, inode):
    Change(inode, (directory, name, False))


def rename(directory, name, new, inode):
    Change(inode, (directory, name, False), (directory, new, True))


def overwrite(_, file):
    file.write(0, b"1" * 1024)


def grow(_, file):
    file.write(1024, b"1" * 1024)


def overwrite_twice(_, file):
    file.write(0, b"1" * 512)
    file.write(0, b"2" * 512)


def overwrite_and_sync(_, file):
    file.write(0, b"1" * 1024)
    file.sync()
    file.write(0, b"2" * 512)


def cut_short(_, file):
    file.truncate(512)


def cut_short_and_grow(_, file):
    file.truncate(512)
    file.write(512, b"1" * 512)


def make_synced(directory, _):
    new = File()
    make(directory, "new", new)
    new.write(0, b"n" * 512)
    new.sync()


def make_and_rename(directory, _):
    new = File(b"n" * 512)
    make(directory, "tmp", new)
    rename(directory, "tmp", "new", new)


def rename_over(directory, _):
    new = File(b"n" * 512)
    make(directory, "tmp", new)
    directory.sync()
    rename(directory, "tmp", "old", new)


def remove_two(directory, file):
    directory.names["too"] = file
    remove(directory, "old", file)
    remove(directory, "too", file)


def remove_and_sync(directory, file):
    remove(directory, "old", file)
    directory.sync()


@pytest.mark.parametrize("change, kept, lost, zero, others", [
    (overwrite, "old=11", "old=oo", "old=oo", {"old=1o", "old=o1"}),
    (grow, "old=oo11", "old=oo", "old=oo--", {"old=oo1-", "old=oo-1"}),
    (overwrite_twice, "old=2o", "old=oo", "old=oo", {"old=1o"}),
    (overwrite_and_sync, "old=21", "old=11", "old=11", set()),
    (cut_short, "old=o", "old=oo", "old=o", set()),
    (cut_short_and_grow, "old=o1", "old=oo", "old=o-", {"old=o"}),
    (make_synced, "new=n old=oo", "old=oo", "new=n old=oo", set()),
    (make_and_rename, "new=n old=oo", "old=oo", "new=n old=oo",
     {"old=oo tmp=n"}),
    (rename_over, "old=n", "old=oo tmp=n", "old=n", set()),
    (remove_two, "", "old=oo too=oo", "", {"old=oo", "too=oo"}),
    (remove_and_sync, "", "", "", set())])
def test_what_a_cut_may_leave(change, kept, lost, zero, others):
    """Exactly that, and all of that."""
    found = outcomes(change)
    assert found == {"kept": {kept}, "lost": {lost}, "zero": {zero},
                     "random": {kept, lost, zero} | others}


def event(n, seq, **other):
    """Event `n` as it comes out under a number."""
    return json.dumps(dict(json.loads(good(n)), seq=seq, **other)).encode()


def told():
    """Facts of one run: 0 is given to the sink and acked by it, 1 is bad, 2
    and 3 are acked to the source, 4 and 5 are not."""
    facts = Facts([[(n, n != 1) for n in range(6)]])
    for mark in (b'["run", 0]', b"o\0" + frame({"ack": 4}),
                 b"o\1" + frame(event(0, 1)), b'["ack", 1]'):
        facts.take(mark)
    return facts


@pytest.mark.parametrize("lines, words", [
    ([(2, 2), (3, 3)], None),
    ([(0, 1), (2, 2), (3, 3), (4, 4)], None),
    ([(3, 3)], "events [2] are lost"),
    ([], "events [2, 3] are lost"),
    ([(2, 2), (2, 3), (3, 4)], "event 2 comes twice"),
    ([(3, 2), (2, 3)], "event 2 is out of order"),
    ([(2, 2), (3, 4)], "event 3 has number 4 behind"),
    ([(0, 2), (2, 3), (3, 4)], "event 0 was number 1 and is 2"),
    ([(2, 2), (3, 3), (5, 4)], "events [4] are missing before 5"),
    ([(1, 1), (2, 2), (3, 3)], "event 1 was never sent"),
    ([(2, 2), (3, 3), (6, 4)], "event 6 was never sent")])
def test_the_oracle_for_events(lines, words):
    found = None
    try:
        check_gaps(check_events([event(*x) for x in lines], told(), set()),
                   told())
    except Wrong as wrong:
        found = str(wrong)
    assert found == words if words is None else found.startswith(words)


def test_the_oracle_for_an_event_that_is_changed():
    with pytest.raises(Wrong, match="event 2 is changed"):
        check_events([event(2, 2, x=1), event(3, 3)], told(), set())


@pytest.mark.parametrize("letters, words", [
    ([bad(1)], None),
    ([], "dead letter 1 is lost"),
    ([bad(2)], "dead letter 1 is lost"),
    ([bad(1), bad(1)], "dead letters 2 known 1")])
def test_the_oracle_for_dead_letters(letters, words):
    found = None
    try:
        check_letters(letters, told())
    except Wrong as wrong:
        found = str(wrong)
    assert found == words


@pytest.mark.parametrize("took", range(0, 90, 7))
def test_what_is_sent_in_two_parts_counts_once(took):
    facts = Facts([[(n, True) for n in range(3)]])
    data = b"".join(frame(event(n, n + 1)) for n in range(3))
    facts.take(b'["run", 0]')
    facts.take(b"o\1" + data)
    facts.take(b"t\1" + struct.pack(">I", took))
    facts.take(b"o\1" + data[took:])
    assert facts.run.given == [0, 1, 2]


@pytest.fixture(name="states")
def states_directory():
    """A directory for what cuts leave: in memory where there is some. No
    durability is asked of it, but speed is."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="power.", dir=memory))
    yield path
    shutil.rmtree(path)


def some_mode(rng):
    return rng.choices(MODES, (1, 2, 1, 6))[0]


class Tally:
    """What a test has tried and found."""

    def __init__(self, name, recording):
        self.name = f"{recording.journal}: {name}"
        self.states = 0
        self.wrong = []     # what is not as promised

    def add(self, what, wrong=None):
        self.states += 1
        if wrong is not None:
            self.wrong.append(f"{self.name}, {what}: {wrong}")

    def is_enough(self):
        return len(self.wrong) >= ENOUGH

    def assert_right(self, states):
        if self.wrong:
            pytest.fail("\n".join(
                [f"{len(self.wrong)} of {self.states} are wrong"]
                + self.wrong))
        assert self.states == states

    def assert_wrong(self):
        """Events are lost, and not only is there some damage."""
        assert any("are lost" in wrong for wrong in self.wrong), self.wrong


def try_states(states, recording, name, count, facts=None):
    """Cuts a recording at `count` points, and checks each state."""
    tally = Tally(name, recording)
    place = states / "state"
    facts = facts or Facts(recording.runs)
    points = cut_points(recording, facts, count, random.Random(name))
    for cut, model, now in each_cut(recording, facts, points):
        rng = random.Random(f"{name} {cut} {tally.states}")
        mode = some_mode(rng)
        model.build(place, rng, mode)
        try:
            check(place / "wal", states, now)
            tally.add(cut)
        except Wrong as wrong:
            tally.add(f"record {cut} {mode}", wrong)
        shutil.rmtree(place)
        if tally.is_enough():
            break
    return tally


@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cuts(tmp_path, states, seed):
    recording = record(tmp_path, seed)
    kinds = "".join(entry.kind for entry in recording.records)
    # What a cut may come between was there: rolls, segments unlinked, tails
    # trimmed, and syncs of both kinds.
    assert min(kinds.count(kind) for kind in "NUTY") > 5
    assert any(e.kind == "S" and e.y == 1 for e in recording.records)
    try_states(states, recording, f"seed {seed}", STATES).assert_right(STATES)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cuts_during_the_recovery_from_one(tmp_path, states, seed):
    """What a cut leaves is the start of another recording, which is cut."""
    first = record(tmp_path, seed)
    rng = random.Random(f"again {seed}")
    points = sorted(rng.sample(range(len(first.records)), CHAINS))
    count = STATES // 10 // CHAINS
    for cut, model, facts in each_cut(first, Facts(first.runs), points):
        place = tmp_path / str(cut)
        backing = place / "backing"
        model.build(backing, rng, some_mode(rng))
        before = Model(backing)
        with Powerfs(place, backing) as powerfs:
            story = Story(powerfs, powerfs.root / "wal", place, rng,
                          first.next)
            story.runs = [run.items for run in facts.runs]
            story.tell(("kill", "within"))
        second = Recording(before, story)
        facts = copy.deepcopy(facts)
        facts.items = second.runs
        try_states(states, second, f"seed {seed}, record {cut}, then", count,
                   facts).assert_right(count)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cuts_with_sync_by_interval(tmp_path, states, seed):
    """Less is promised there: what was synced is not lost, nothing is changed
    or out of order, and a cut is no damage."""
    recording = record(tmp_path, seed, walproc=["--sync", "interval:5"])
    assert sum(entry.kind == "S" for entry in recording.records) > 50
    facts = Facts(recording.runs, is_lazy=True)
    count = STATES // 10
    tally = try_states(states, recording, f"lazy {seed}", count, facts)
    tally.assert_right(count)


@pytest.mark.parametrize("what, options, settings", [
    ("fdatasync does nothing", ["ignore-sync"], {}),
    ("the ack comes before the sync", [], {"POWER_LATE_SYNC": "1"}),
    ("directories are not synced", ["ignore-sync-dir"],
     {"has_directory": True})])
def test_the_negative_controls(tmp_path, states, what, options, settings):
    """The same oracle must see what is lost where the order of syncs and acks
    is not what it should be: else it proves nothing."""
    recording = record(tmp_path, 0, *options, **settings)
    try_states(states, recording, what, 100).assert_wrong()


@pytest.fixture(name="loop_devices")
def need_loop_devices(tmp_path):
    """Skips the test where an ext4 image cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("skipped: only root can mount an ext4 image")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("skipped: /dev/loop-control is missing")
    try:
        make_image(tmp_path / "try.img")
        with Ext4(tmp_path / "try.img", tmp_path / "try"):
            pass
    except OSError as error:
        pytest.skip(f"skipped: no ext4 on a loop device: {error}")


def record_ext4(place, seed, *options):
    """Runs walproc on an ext4 whose image is a file on a powerfs: what the
    kernel writes and flushes to the device is what the journal has."""
    backing = place / "backing"
    backing.mkdir()
    make_image(backing / "image")
    before = Model(backing)
    # The superblock, of 1024 bytes, is written in place, and its checksum is
    # looked at before the journal: torn, no ext4 can be mounted.
    before.root.names["image"].joined = {3}
    with Powerfs(place, backing, *options) as powerfs:
        with Ext4(powerfs.root / "image", place / "ext4") as ext4:
            story = Story(powerfs, ext4.root / "wal", place,
                          random.Random(f"ext4 {seed}"))
            story.tell(ENDS)
    return Recording(before, story)


def try_ext4_states(states, recording, name, count):
    """Cuts a recording at `count` points, and lets the kernel mount what is
    left of the image, before walproc is started on it."""
    tally = Tally(name, recording)
    points = cut_points(recording, Facts(recording.runs), count,
                        random.Random(name))
    for cut, model, facts in each_cut(recording, Facts(recording.runs),
                                      points):
        rng = random.Random(f"{name} {cut} {tally.states}")
        mode = some_mode(rng)
        model.build(states / "state", rng, mode)
        try:
            with Ext4(states / "state" / "image", states / "mnt") as ext4:
                check(ext4.root / "wal", states, facts)
            tally.add(cut)
        except (OSError, Wrong) as wrong:
            tally.add(f"record {cut} {mode}", wrong)
        # The next image is another file: a mount namespace that somebody else
        # made in between still has this one mounted, and writes to it at last.
        shutil.rmtree(states / "state")
        if tally.is_enough():
            break
    return tally


@pytest.mark.usefixtures("loop_devices")
def test_power_cuts_of_a_real_ext4(tmp_path, states):
    recording = record_ext4(tmp_path, 0)
    flushes = sum(entry.kind == "S" for entry in recording.records)
    assert flushes > 100
    count = STATES // 10
    try_ext4_states(states, recording, "ext4", count).assert_right(count)


@pytest.mark.usefixtures("loop_devices")
def test_the_negative_control_of_ext4(tmp_path, states):
    """An ext4 on a disk that does not flush loses what was acked."""
    recording = record_ext4(tmp_path, 0, "ignore-sync")
    try_ext4_states(states, recording, "no flush", 20).assert_wrong()

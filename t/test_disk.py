"""walproc on disks that are really full: an ext4 of 8 MiB on a loop device and
a small tmpfs. It fills, pauses, drains and resumes, and nothing is lost.
"""

import os

import pytest
from disks import Disk
from story import Play, Story, letters_of
from support import AGAIN, DONE

# More than any disk here has; the disk is the limit.
SEGMENT = 65536
BATCH = 20
OPTIONS = ("--max-bytes", "1000000000", "--read-count", "100000",
           "--segment-bytes", str(SEGMENT))
ALL = 1 << 30
RETRY = 1.2  # seconds: a little more than it waits between tries


class LogDisk(Disk):
    """A disk for a log, and how many events fit on it."""

    def __init__(self, directory, kind, *options):
        super().__init__(directory, kind, *options)
        self.events = 400 if kind == "tmpfs" else 2600
        self.wal = self.path / "wal"

    def story(self, **story):
        return Story([4000 + n % 300 for n in range(self.events)], **story)

    def play(self, tale, **play):
        return Play(tale, self.wal, *OPTIONS, batch=BATCH,
                    log=self.path.parent / "log", **play)


@pytest.fixture(name="disk", params=["ext4", "tmpfs"])
def fixture_disk(tmp_path, request):
    disk = LogDisk(tmp_path, request.param)
    yield disk
    disk.close()


def is_full(play):
    return play.is_paused and play.reason == "disk full"


def has_given_all(play, tail=0):
    """The sink has got all that was acked to the source and is good, but for
    the last `tail`."""
    tale = play.story
    good = set(range(tale.acked - tail)) - tale.bad
    return good <= set(play.given) | tale.ended


def assert_silent(play):
    """Nothing more is acked while the disk stays full, which it finds out
    again and again; but what there was room for, which may still come."""
    play.go_on(RETRY / 2)
    acked = play.story.acked
    play.go_on(RETRY)
    assert play.story.acked == acked and is_full(play)


def assert_whole(disk, tale):
    assert tale.wrongs(disk.wal) == []
    assert not (disk.wal / "quarantine").exists()
    log = (disk.path.parent / "log").read_text()
    assert "damaged" not in log and " error " not in log, log


def finish(disk, tale, play):
    """The sink acks all there is, the source sends the rest, and it ends."""
    play.hold = 0
    play.ending = "end"
    play.answer()
    assert play.run() == DONE
    assert_whole(disk, tale)


def test_it_fills_pauses_drains_and_resumes(disk):
    """Delivery goes on while the disk is full; that the sink takes it makes
    the room that the intake then goes on with."""
    tale = disk.story()
    with disk.play(tale, hold=ALL) as play:
        play.until(lambda: is_full(play), "a full disk")
        # Some blocks ext4 keeps for itself.
        assert disk.free() < SEGMENT + (256 << 10)
        assert 0 < tale.acked < disk.events
        play.until(lambda: has_given_all(play), "delivery on a full disk")
        assert_silent(play)
        finish(disk, tale, play)


def test_it_goes_on_when_something_else_makes_room(disk):
    tale = disk.story()
    tale.events = tale.events[:disk.events // 4]
    disk.load(leave=disk.free() // 8)
    with disk.play(tale, hold=ALL, ending=None) as play:
        play.until(lambda: is_full(play), "a full disk")
        assert_silent(play)
        disk.unload()
        play.until(lambda: tale.acked == len(tale.events), "room")
        assert not tale.ended
        finish(disk, tale, play)


@pytest.mark.parametrize("loaded", [False, True])
def test_kill_on_a_full_disk_and_a_start_on_it(disk, loaded):
    """It starts, delivers what it has, and takes no more than there is room
    for, even with no byte left; and again; then it goes on."""
    tale = disk.story()
    with disk.play(tale, hold=ALL) as play:
        play.until(lambda: is_full(play), "a full disk")
        play.process.kill()
        play.until_end()
    for _ in range(2):
        if loaded:
            disk.load()
        with disk.play(tale, hold=ALL) as play:
            play.until(lambda: is_full(play), "a full disk again")
            # What nothing proves durable is written again before it is given
            # to the sink, and that takes room: up to two batches.
            play.until(lambda: has_given_all(play, 2 * BATCH), "delivery")
            assert_silent(play)
            play.process.kill()
            play.until_end()
    with disk.play(tale, hold=ALL) as play:
        play.until(lambda: is_full(play), "a full disk again")
        finish(disk, tale, play)


def test_sigterm_on_a_full_disk(disk):
    """It ends at once, and what was not acked stays with the source."""
    tale = disk.story()
    with disk.play(tale, hold=ALL) as play:
        play.until(lambda: is_full(play), "a full disk")
        play.end("term")
        assert play.run() == DONE
    assert tale.acked < disk.events
    with disk.play(tale) as play:
        finish(disk, tale, play)


@pytest.mark.parametrize("made", [False, True])
def test_a_first_start_on_a_full_disk(disk, made):
    """It pauses or says so and exits 111; nothing is acked. Once there is
    room all goes in, in the same run if it still runs."""
    if made:
        disk.wal.mkdir(mode=0o700)
    disk.load()
    tale = disk.story()
    tale.events = tale.events[:100]
    with disk.play(tale, ending=None) as play:
        play.until(lambda: is_full(play) or not play.data, "a word")
        if play.data:
            assert_silent(play)
            disk.unload()
            return finish(disk, tale, play)
        assert play.process.wait() == AGAIN
        assert "No space left on device" in play.process.text()
    assert tale.acked == 0
    disk.unload()
    (disk.path.parent / "log").unlink()
    with disk.play(tale) as play:
        finish(disk, tale, play)


def test_bad_input_on_a_full_disk(disk):
    """A letter for which there is no room is not half there, nor acked; it is
    written when there is room, in its order."""
    bad = frozenset(range(25, 80)) | {3, 7}
    tale = disk.story(bad=bad)
    tale.events = tale.events[:100]
    with disk.play(tale, hold=ALL, ending=None) as play:
        play.until(lambda: tale.acked >= BATCH, "a start")
        disk.load()
        play.until(lambda: is_full(play), "a full disk")
        play.until(lambda: has_given_all(play), "delivery")
        assert_silent(play)
        letters = letters_of(disk.wal)
        assert 2 <= len(letters) < len(bad)
        # What is not acked may be there, and then it is there whole.
        assert {event for event, _ in letters} <= {
            tale.events[n] for n in bad}
        disk.unload()
        play.until(lambda: tale.acked == len(tale.events), "room")
        finish(disk, tale, play)


def test_a_reject_on_a_full_disk(disk):
    """The sink's answers wait behind it until its letter is written."""
    tale = disk.story(rejected=(5,))
    tale.events = tale.events[:40]
    with disk.play(tale, hold=ALL, ending=None) as play:
        # The sink reads nothing until the disk is full.
        sink = play.sink
        data = play.data.pop(sink)
        play.until(lambda: tale.acked == len(tale.events), "all")
        disk.load()
        play.data[sink] = data
        play.until(lambda: len(play.given) == len(tale.events), "delivery")
        play.until(lambda: is_full(play), "a full disk")
        assert letters_of(disk.wal) == []
        disk.unload()
        finish(disk, tale, play)


def test_an_event_larger_than_the_free_space(disk):
    """What is before it is delivered; it, and what is behind it, come when
    there is room."""
    large = disk.free() // 2
    tale = Story([100] * 10 + [large] + [100] * 10)
    disk.load(leave=large // 2)
    with disk.play(tale, hold=ALL, ending=None) as play:
        play.until(lambda: is_full(play), "a full disk")
        play.until(lambda: has_given_all(play), "delivery")
        assert_silent(play)
        assert tale.acked <= 10
        disk.unload()
        play.until(lambda: tale.acked == len(tale.events), "room")
        finish(disk, tale, play)


def test_an_event_larger_than_the_disk(disk):
    """It waits for ever, and is never acked; that does not keep what is in the
    log from the sink, nor a signal from ending it."""
    tale = Story([100] * 10 + [9 << 20])
    with disk.play(tale, hold=ALL, ending=None) as play:
        play.batch = 10
        play.until(lambda: tale.acked == 10, "the small ones")
        play.until(lambda: is_full(play), "a full disk")
        play.until(lambda: has_given_all(play), "delivery")
        assert_silent(play)
        play.end("term")
        assert play.run() == DONE
    assert tale.acked == 10
    tale.events.pop()
    with disk.play(tale) as play:
        finish(disk, tale, play)


@pytest.fixture(name="crowded")
def fixture_crowded(tmp_path):
    disk = LogDisk(tmp_path, "ext4", "-N", "32")
    yield disk
    disk.close()


def crowd(disk):
    """Takes all inodes; returns what took them."""
    files = []
    while True:
        files.append(disk.path / f"file{len(files)}")
        try:
            files[-1].touch()
        except OSError:
            files.pop()
            assert os.statvfs(disk.path).f_ffree == 0
            assert disk.free() > 4 << 20
            return files


def test_no_inode_left_is_a_full_disk(crowded):
    """It needs one for each segment."""
    disk = crowded
    tale = disk.story()
    tale.events = tale.events[:100]
    with disk.play(tale, hold=ALL, ending=None) as play:
        play.until(lambda: tale.acked >= BATCH, "a start")
        files = crowd(disk)
        play.until(lambda: is_full(play), "no inode")
        play.until(lambda: has_given_all(play), "delivery")
        assert_silent(play)
        for path in files:
            path.unlink()
        play.until(lambda: tale.acked == len(tale.events), "room")
        finish(disk, tale, play)


def test_a_first_start_without_an_inode(crowded):
    disk = crowded
    disk.wal.mkdir(mode=0o700)
    files = crowd(disk)
    tale = disk.story()
    tale.events = tale.events[:100]
    with disk.play(tale, ending=None) as play:
        play.until(lambda: is_full(play) or not play.data, "a word")
        if not play.data:
            assert play.process.wait() == AGAIN
    assert tale.acked == 0
    for path in files:
        path.unlink()
    (disk.path.parent / "log").unlink()
    with disk.play(tale) as play:
        finish(disk, tale, play)

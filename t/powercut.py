"""What a power cut may leave of a directory, from the journal of a powerfs
(t/powerfs_journal.h): a model of what is durable, and seeded choices for all
that is not. It knows nothing of walproc.

The model is strict, as POSIX allows it. What was written to a file since its
last fsync or fdatasync may be lost, kept, or kept in part: each sector of 512
bytes alone, in any order, as old bytes or as any later ones; where the file
grew, a sector that is lost reads as zeros. A change of its size may be lost,
but not before an earlier one. A name made, changed or removed in a directory
may be lost until that directory's fsync, and a later one kept while an earlier
one is lost; that the file itself was synced does not help its name.
"""

import os
import struct
from collections import namedtuple

HEADER = struct.Struct(">cQQQI")
SECTOR = 512
MODES = ("kept", "lost", "zero", "random")

Record = namedtuple("Record", "kind x y z data")


def read_journal(path):
    """All records of a journal."""
    with open(path, "rb") as file:
        data = file.read()
    records, at = [], 0
    while at < len(data):
        kind, x, y, z, size = HEADER.unpack_from(data, at)
        at += HEADER.size
        records.append(Record(kind.decode(), x, y, z, data[at:at + size]))
        at += size
    assert at == len(data), "the journal ends within a record"
    return records


class Content:
    """Bytes of a file as sectors that differ from those of `base`, of which
    only the first `valid` bytes count."""

    def __init__(self, base):
        self.base = base
        self.valid = len(base)
        self.sectors = {}

    def sector(self, number):
        """One sector, filled up with zeros."""
        if number in self.sectors:
            return self.sectors[number]
        at = number * SECTOR
        old = bytes(self.base[at:min(at + SECTOR, self.valid)])
        return old.ljust(SECTOR, b"\0")

    def cut(self, size):
        """Forgets all from `size` on."""
        last = size // SECTOR
        edge = self.sector(last)[:size % SECTOR].ljust(SECTOR, b"\0")
        self.sectors = {n: s for n, s in self.sectors.items() if n < last}
        self.sectors[last] = edge
        self.valid = min(self.valid, last * SECTOR)

    def bytes(self, size):
        """All of it, `size` long."""
        out = bytearray(self.base[:min(self.valid, size)])
        out.extend(bytes(size - len(out)))
        for number, sector in self.sectors.items():
            at = number * SECTOR
            if at < size:
                out[at:at + SECTOR] = sector[:size - at]
        return out


class Choice:
    """How much of what is not synced a cut leaves."""

    def __init__(self, rng, mode):
        self.rng = rng
        self.mode = mode
        self.kept = {}  # changes of names, and whether they are kept
        self.any_name = rng.random() < 0.5
        self.share = rng.choice((0.1, 0.5, 0.9))

    def file_share(self):
        """How likely each sector of a file is kept."""
        if self.mode != "random":
            return 1 if self.mode == "kept" else 0
        return self.rng.choice((0, self.share, self.share, 1))

    def first_of(self, count):
        """How many of `count` changes, of which none is kept without those
        before it, are kept."""
        if self.mode == "random":
            return self.rng.randint(0, count)
        return 0 if self.mode == "lost" else count

    def some_of(self, count):
        """Which of `count` changes are kept, each alone or up to one."""
        if self.mode == "random" and self.any_name:
            return [self.rng.random() < self.share for _ in range(count)]
        first = self.first_of(count)
        return [n < first for n in range(count)]


class File:
    """A file: what is synced, and the changes since, in order."""

    def __init__(self, data=b""):
        self.synced = bytearray(data)
        self.size = len(data)   # with all changes
        self.changes = []       # (offset, bytes, or None to cut, size then)
        self.joined = set()     # sectors not torn from the one before them

    def write(self, offset, data):
        self.size = max(self.size, offset + len(data))
        self.changes.append((offset, data, self.size))

    def truncate(self, size):
        self.size = size
        self.changes.append((size, None, size))

    def sync(self):
        for offset, data, _ in self.changes:
            grown = offset + len(data or b"") - len(self.synced)
            if grown > 0:
                self.synced.extend(bytes(grown))
            if data is None:
                del self.synced[offset:]
            else:
                self.synced[offset:offset + len(data)] = data
        self.changes = []

    def after_cut(self, choice):
        """The file's bytes as one cut leaves them."""
        sizes = [len(self.synced)]
        for _, _, size in self.changes:
            if size != sizes[-1]:
                sizes.append(size)
        kept_sizes = choice.first_of(len(sizes) - 1)
        share = choice.file_share()
        cache, disk = Content(self.synced), Content(self.synced)
        step, size = 0, sizes[0]
        ceiling = None  # what lies behind belongs to a size that is lost
        for offset, data, then in self.changes:
            step += then != size
            if data is None and then < size:
                cache.cut(then)
                if step <= kept_sizes:
                    disk.cut(then)
                elif ceiling is None or then < ceiling:
                    ceiling = then
            size = then
            self.keep_some(cache, disk, offset, data or b"", ceiling,
                           choice.rng, share)
        return disk.bytes(sizes[kept_sizes])

    def keep_some(self, cache, disk, offset, data, ceiling, rng, share):
        """Writes to the cache, and of its sectors some to the disk."""
        end = offset + len(data)
        is_kept = False
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            at = number * SECTOR
            old = cache.sector(number)
            first, last = max(offset, at), min(end, at + SECTOR)
            cache.sectors[number] = (old[:first - at]
                                     + data[first - offset:last - offset]
                                     + old[last - at:])
            if ceiling is not None and at >= ceiling:
                continue
            if number not in self.joined:
                is_kept = share == 1 or (share > 0 and rng.random() < share)
            if is_kept:
                disk.sectors[number] = cache.sectors[number]

    def build(self, path, choice):
        with open(path, "wb") as file:
            file.write(self.after_cut(choice))


class Fifo:
    """A FIFO, of which there is only the name."""

    def build(self, path, _choice):
        os.mkfifo(path, 0o600)


class Change:
    """A change to the names of a directory, or of two, which is noted there
    when it is made."""

    def __init__(self, inode, *steps):
        self.inode = inode
        self.steps = steps      # (directory, name, is made)
        self.is_synced = False
        for directory in self.directories():
            directory.changes.append(self)

    def directories(self):
        """Those that it changes, each once."""
        return {id(step[0]): step[0] for step in self.steps}.values()

    def apply(self, where, names):
        """Changes the names of one directory. Another file's that it has by
        then stays."""
        for directory, name, is_made in self.steps:
            if directory is not where:
                continue
            if is_made:
                names[name] = self.inode
            elif names.get(name) is self.inode:
                del names[name]


class Directory:
    """A directory: its durable names, and the changes since."""

    def __init__(self):
        self.names = {}
        self.changes = []

    def sync(self):
        for change in self.changes:
            if change.is_synced:
                continue
            change.is_synced = True
            for directory in change.directories():
                change.apply(directory, directory.names)
        self.changes = []

    def after_cut(self, choice):
        """The names as one cut leaves them, with their inodes. A change to
        two directories is kept in both or in none."""
        changes = [c for c in self.changes if not c.is_synced]
        names = dict(self.names)
        for change, keep in zip(changes, choice.some_of(len(changes))):
            if choice.kept.setdefault(change, keep):
                change.apply(self, names)
        return names

    def build(self, path, choice):
        os.makedirs(path, mode=0o700, exist_ok=True)
        for name, inode in self.after_cut(choice).items():
            inode.build(os.path.join(path, name), choice)


class Model:
    """What is durable of a directory after so many records of a journal."""

    def __init__(self, root):
        """Begins with what is in `root`, all of it durable."""
        self.inodes = {}
        self.root = self.take_over(root)

    def take_over(self, path):
        info = os.stat(path)
        if os.path.isdir(path):
            inode = Directory()
            for name in os.listdir(path):
                inode.names[name] = self.take_over(os.path.join(path, name))
        elif os.path.isfile(path):
            with open(path, "rb") as file:
                inode = File(file.read())
        else:
            inode = Fifo()
        self.inodes[info.st_ino] = inode
        return inode

    def apply(self, record):
        """Takes the next record."""
        kind, x, y, z, data = record
        made = {"C": File, "D": Directory, "F": Fifo}
        if kind in made:
            self.inodes[y] = made[kind]()
        if kind in "CDFL":
            Change(self.inodes[y], (self.inodes[x], data.decode(), True))
        elif kind == "U":
            Change(self.inodes[y], (self.inodes[x], data.decode(), False))
        elif kind == "N":
            old, new = data.decode().split("\0")[:2]
            Change(self.inodes[z], (self.inodes[x], old, False),
                   (self.inodes[y], new, True))
        elif kind == "W":
            self.inodes[x].write(y, data)
        elif kind == "T":
            self.inodes[x].truncate(y)
        elif kind in "SY":
            self.inodes[x].sync()
        else:
            assert kind == "M", kind

    def has_synced(self, record, start):
        """Whether the record made the bytes of a file durable that has its
        name durably, and which begin with `start`."""
        if record.kind != "S":
            return False
        file = self.inodes[record.x]
        return file.synced.startswith(start) and any(
            file in inode.names.values() for inode in self.inodes.values()
            if isinstance(inode, Directory))

    def build(self, path, rng, mode):
        """Makes `path` as a cut now may leave the directory."""
        self.root.build(path, Choice(rng, mode))

"""A source and a sink that a test plays to a walproc, over any number of its
runs, and the oracle: what must be true of all that came out in the end.
"""

import base64
import json
import re
import select
import signal
import socket
import struct
import time
from pathlib import Path

from support import (COUNTS, PATIENCE, Process, cursor_of, frame, lines_of,
                     program, shimmed, wait_until)


def letters_of(directory):
    """The dead letters of a log: pairs of the bytes and whether they had a
    number in it, which is so for what the sink rejected."""
    # An empty line stands where the end of the last one could not be read.
    letters = [json.loads(line) for line in lines_of(
        Path(directory) / "dead-letters.ndjson") if line]
    return [(base64.b64decode(letter["bytes"]), "seq" in letter)
            for letter in letters]


def text_of(number, size):
    """An event of that number, `size` bytes long if it can be so short; no
    part of it looks like a part of another."""
    head = f'{{"n":{number},"x":"'
    word = f"{number}_"
    fill = word * (max(size - len(head) - 2, 0) // len(word) + 1)
    return (head + fill[:max(size - len(head) - 2, 1)] + '"}').encode()


class Story:
    """What there is to send, and what became of it so far."""

    def __init__(self, sizes, bad=(), rejected=()):
        """`sizes` of the events in their order; those whose numbers are in
        `bad` are no JSON, and the sink rejects those in `rejected`."""
        self.events = [text_of(n, size) for n, size in enumerate(sizes)]
        for n in bad:
            self.events[n] = b"bad" + self.events[n]
        self.bad = frozenset(bad)
        self.rejected = frozenset(rejected)
        self.acked = 0      # to the source: all before this number
        self.received = []  # by the sink: the bytes, in the order of arrival
        self.ended = set()  # by the sink's ack or reject: numbers

    def missing(self):
        """Which good events have not come out."""
        return sorted(set(range(len(self.events))) - self.bad - {
            self.number(event) for event in self.received})

    def copy(self):
        other = Story([])
        other.__dict__.update(self.__dict__)
        other.received = list(self.received)
        other.ended = set(self.ended)
        return other

    def number(self, event):
        """Which event these bytes are, -1 if they are none of them."""
        try:
            number = json.loads(event)["n"]
            return number if self.events[number] == event else -1
        except (ValueError, LookupError, TypeError):
            return -1

    def wrongs(self, directory, may_lose=False, has_counts=True):
        """The oracle: all that is wrong once everything was sent and drained,
        in words; `may_lose`: events may be in the quarantine; `has_counts`:
        the cursor file, which has the counts, was not lost."""
        numbers = [self.number(event) for event in self.received]
        letters = []
        missing = self.missing()
        firsts = list(dict.fromkeys(n for n in numbers if n != -1))
        wrongs = []

        def claim(fact, words):
            if not fact:
                wrongs.append(words)

        try:
            letters = letters_of(directory)
        except ValueError:
            wrongs.append("the dead letters are not JSON")
        claim(-1 not in numbers, "what came out is not what was sent")
        claim(not missing or may_lose, f"missing: {missing}")
        claim(firsts == sorted(firsts), f"out of order: {firsts}")
        claim(self.acked == len(self.events),
              f"only {self.acked} of {len(self.events)} were acked")
        refused = {event for event, had_seq in letters if not had_seq}
        claim(refused == {self.events[n] for n in self.bad},
              f"{len(refused)} of {len(self.bad)} bad ones in the letters")
        ended = {event for event, had_seq in letters if had_seq}
        rejected = {self.events[n] for n in self.rejected}
        claim(ended == rejected or (may_lose and ended <= rejected),
              "the rejected are not what is in the letters")
        if has_counts:
            self.check_counts(claim, directory, letters, len(ended))
        quarantined = cursor_of(directory)["quarantined"]
        claim(quarantined == 0 or may_lose, f"{quarantined} in quarantine")
        return wrongs

    def check_counts(self, claim, directory, letters, rejected):
        """Taken in = delivered + dead-lettered + dropped + quarantined."""
        counts = cursor_of(directory)
        intake = sum(not had_seq for _, had_seq in letters)
        claim(counts["acked_seq"] == sum(
            counts[name] for name in COUNTS[1:5]), f"{counts} do not add up")
        claim(len(self.bad) <= counts["refused"] <= intake,
              f"{counts}: {intake} refused are in the letters")
        claim(rejected <= counts["rejected"] <= len(letters),
              f"{counts}: {len(letters)} letters")
        claim(counts["dropped"] == 0, f"{counts}: dropped")


def blocks(pid, number):
    """Whether a process has blocked a signal, to take it by itself."""
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        blocked = re.search(r"^SigBlk:\s*(\w+)", lines.read(), re.M)[1]
    return bool(int(blocked, 16) >> (number - 1) & 1)


class Play:
    """One run of walproc, played to its end."""

    def __init__(self, story, directory, *options, env=None, log=None,
                 batch=6, hold=0, ending="end", stop=None, is_nudging=False):
        """
        The source sends `batch` events at a time and waits for their ack. The
        sink leaves the last `hold` unacked until all is acked to the source.

        `ending` is how it goes when all is sent: "end" is the end of input,
        "term" is SIGTERM, "kill" is kill -9, None is nothing yet.
        `stop`: when nothing goes on for a while, "term" or "kill", too.
        `is_nudging`: the sink acks one more when the intake is paused.
        """
        self.story = story
        self.batch = batch
        self.hold = hold
        self.ending = ending
        self.stop = stop
        self.is_nudging = is_nudging
        self.first = story.acked     # where this stream starts
        self.sent = story.acked      # by the source: all before this number
        self.given = []              # to the sink in this stream: numbers
        self.told = 0                # how many of them it has acked
        self.is_paused = False
        self.reason = None           # of the last pause
        self.is_ending = False
        self.is_hanging = False
        self.was_killed = False
        self.progress = self.deadline = None
        self.source, theirs_in = socket.socketpair()
        self.sink, theirs_out = socket.socketpair()
        self.data = {self.source: b"", self.sink: b""}
        self.process = Process(
            [program("walproc"), "-d", directory, *options],
            log or Path(directory).parent / "log", stdin=theirs_in,
            stdout=theirs_out, env=env)
        theirs_in.close()
        theirs_out.close()

    def watch(self):
        """Begins to look whether something goes on."""
        self.progress = None
        self.is_alive()

    def is_alive(self):
        """Whether something goes on: it is waited for, however slow the disk
        is."""
        progress = self.story.acked, len(self.given), self.told
        if progress != self.progress:
            self.progress = progress
            self.deadline = time.monotonic() + PATIENCE
        return time.monotonic() < self.deadline

    def run(self, quiet=0.2):
        """Plays until walproc ends; returns its exit status."""
        self.watch()
        with self:
            while self.data:
                if not self.step(quiet) and self.stop is not None:
                    self.end(self.stop)
                    self.stop = None
                if not self.is_alive():
                    self.is_hanging = True
                    return self.process.kill()
            return self.process.wait()

    def until(self, condition, what):
        """Plays until condition() is true."""
        self.watch()
        while not condition():
            assert self.data, f"ended before {what}: {self.process.text()}"
            assert self.is_alive(), \
                f"timed out waiting for {what}: {self.process.text()}"
            self.step(0.01)

    def go_on(self, seconds):
        """Plays for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.step(0.01)

    def until_end(self):
        """Plays until walproc has left: its last acks count."""
        while self.data:
            self.step(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.source.close()
        self.sink.close()

    def step(self, quiet):
        """Sends what is due and takes what comes; False if nothing did."""
        self.send()
        ready = select.select(list(self.data), [], [], quiet)[0]
        for sock in ready:
            self.read(sock)
        return bool(ready)

    def end(self, how):
        """Ends walproc by a signal."""
        self.is_ending = True
        self.was_killed = how == "kill"
        if not self.was_killed:
            # Before it has its signals in hand one ends it as any program.
            wait_until(lambda: not self.process.is_running() or blocks(
                self.process.pid, signal.SIGTERM), "its signals")
        self.process.signal(signal.SIGKILL if self.was_killed
                            else signal.SIGTERM)

    def send(self):
        """The next batch, if it is time for it; or the end."""
        story = self.story
        if self.is_ending or self.is_paused or self.sent > story.acked:
            return
        more = story.events[self.sent:self.sent + self.batch]
        if more:
            self.put(self.source, b"".join(frame(event) for event in more))
            self.sent += len(more)
        if self.ending == "end" and self.sent == len(story.events):
            self.is_ending = True
            self.source.shutdown(socket.SHUT_WR)
            self.answer()
        elif not more and self.ending is not None:
            self.end(self.ending)

    def put(self, sock, data):
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read(self, sock):
        try:
            more = sock.recv(1 << 18)
        except ConnectionResetError:
            more = b""
        if not more:
            del self.data[sock]
            return
        data = self.data[sock] + more
        while len(data) >= 4:
            end = 4 + struct.unpack(">I", data[:4])[0]
            if len(data) < end:
                break
            if sock is self.source:
                self.hear(json.loads(data[4:end]))
            else:
                self.take(data[4:end])
            data = data[end:]
        self.data[sock] = data
        if sock is self.sink:
            self.answer()

    def hear(self, message):
        """What walproc says to the source."""
        story = self.story
        if "ack" in message:
            acked = self.first + message["ack"]
            assert story.acked <= acked <= self.sent, message
            story.acked = acked
        if "breaker" in message:
            self.is_paused = message["breaker"] == "open"
            self.reason = message.get("reason", self.reason)
            if self.is_paused and self.is_nudging:
                self.answer(extra=1)

    def take(self, event):
        """What walproc gives to the sink."""
        story = self.story
        number = story.number(event)
        story.received.append(event)
        self.given.append(number)
        if number in story.rejected:
            story.ended.add(number)
            self.put(self.sink, frame(
                {"reject": len(self.given), "reason": "unwanted"}))

    def answer(self, extra=0):
        """Acks what is not held."""
        hold = 0 if self.is_ending and self.ending == "end" else self.hold
        told = min(max(len(self.given) - hold, self.told) + extra,
                   len(self.given))
        if told > self.told:
            self.told = told
            self.story.ended.update(self.given[:told])
            self.put(self.sink, frame({"ack": told}))


def fault_env(fault="", count=None, sector=None):
    """An environment in which t/shim_fault.c makes a call fail."""
    env = shimmed("shim_fault")
    if fault:
        env["FAULT"] = fault
    if count is not None:
        env["FAULT_COUNT"] = str(count)
    if sector is not None:
        env["FAULT_SECTOR"] = sector
    return env

"""A walproc and its neighbours: a source and a sink that the test plays over
real sockets, or the two ends of a shell pipe; and, as under a supervisor, one
source and sink after the other.
"""

import base64
import json
import os
import select
import signal
import socket
import subprocess

from control import Stage
from support import (DONE, Frames, Process, cursor_of, events_of, frame,
                     program, wait_until)


class Wal:
    """A running walproc with its neighbours' ends of two socketpairs."""

    def __init__(self, directory, *options, env=None):
        self.source, theirs_in = socket.socketpair()
        self.sink, theirs_out = socket.socketpair()
        self.process = self.start(
            directory / "walproc.log", "-d", directory / "wal", *options,
            stdin=theirs_in, stdout=theirs_out, env=env)
        theirs_in.close()
        theirs_out.close()
        self.answers = Frames(self.source)
        self.events = Frames(self.sink)
        self.acked = 0

    def start(self, log, *argv, **popen):
        return Process([program("walproc"), *argv], log, **popen)

    def send(self, *events):
        self.source.sendall(b"".join(frame(e) for e in events))

    def answer(self):
        """The next message to the source."""
        return json.loads(self.answers.next())

    def wait_acked(self, count):
        """Reads the source's side until `count` events are acked."""
        while self.acked < count:
            answer = self.answer()
            self.acked = answer.get("ack", self.acked)
        assert self.acked == count

    def event(self):
        """The next event that the sink is given, or None at the end."""
        payload = self.events.next()
        return None if payload is None else json.loads(payload)

    def ack(self, count):
        self.sink.sendall(frame({"ack": count}))

    def end_input(self):
        self.source.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.source.close()
        self.sink.close()


class GivenWal(Wal):
    """A walproc with a control channel, on which it is given neighbours."""

    def start(self, log, *argv, **popen):
        return Stage(log, "walproc", *argv, **popen)

    def new_source(self):
        """Ends the source, and plays the next."""
        self.source.close()
        self.source = self.process.attach("in")
        self.answers = Frames(self.source)
        self.acked = 0

    def new_sink(self):
        """The same with the sink."""
        self.sink.close()
        self.sink = self.process.attach("out")
        self.events = Frames(self.sink)

    def pause(self):
        """Holds the process, so that what comes comes all at once."""
        self.process.signal(signal.SIGSTOP)
        stat = f"/proc/{self.process.pid}/stat"
        wait_until(lambda: ") T " in open(stat, encoding="ascii").read())

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def take(self, count):
        """The numbers of the next events that the sink is given."""
        return [self.event()["n"] for _ in range(count)]

    def finish(self, count):
        """The sink acks `count` events of its stream, no source comes any
        more, and all ends well."""
        self.ack(count)
        self.process.drain()
        self.source.close()
        assert self.process.wait() == DONE, self.process.text()


def assert_silent(frames):
    """Nothing more has come, and nothing comes in a time in which it would."""
    assert frames.data == b""
    assert not select.select([frames.sock], [], [], 0.2)[0]


def numbered(first, count):
    return [{"n": n} for n in range(first, first + count)]


def make_damaged(directory, count, number):
    """Makes a log of numbered events, all of them on record as durable, of
    which one is damaged."""
    with Wal(directory) as wal:
        wal.send(*numbered(0, count))
        wal.wait_acked(count)
        # Else it could be what was being written.
        wait_until(lambda: cursor_of(
            directory / "wal")["durable_seq"] == count)
        wal.process.kill()
    path, = (directory / "wal").glob("*.seg")
    path.write_bytes(path.read_bytes().replace(
        b'{"n": %d}' % number, b'{"n": x}'))


def dead_letters(directory):
    letters = events_of(directory / "wal" / "dead-letters.ndjson")
    return [(e["reason"], base64.b64decode(e["bytes"])) for e in letters]


def counts_of(directory):
    """What the log counts of what has become of its events; no zeros."""
    counts = cursor_of(directory / "wal")
    return {name: counts[name] for name in (
        "delivered", "rejected", "dropped", "quarantined", "refused")
        if counts[name]}


def run_pipe(directory, data, *options, **run):
    """walproc in a shell pipe with --acks none; returns what came out."""
    done = subprocess.run(
        [program("walproc"), "-d", directory / "wal", "--acks", "none",
         *options], input=data, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=60, **run)
    return done.returncode, done.stdout, done.stderr.decode()


def start_piped(directory, *options, env=None):
    """walproc that reads a pipe and writes a file; and the pipe's end."""
    read_end, write_end = os.pipe()
    with open(directory / "out", "ab") as out:
        process = Process(
            [program("walproc"), "-d", directory / "wal", "--acks", "none",
             *options], directory / "log", stdin=read_end, stdout=out,
            env=env)
    os.close(read_end)
    return process, write_end


def drain(directory, received):
    """A last run without new events: adds all that comes out of the log."""
    with Wal(directory, "--max-elements", "100000") as wal:
        wal.end_input()
        count = 0
        while (event := wal.event()) is not None:
            received.append(event["n"])
            count += 1
            wal.ack(count)
        assert wal.process.wait() == DONE

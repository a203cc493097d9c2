"""A walproc with several sources and sinks, which the test plays, each over a
socket of its own that the control channel has given away.
"""

import json
import subprocess

from control import Stage
from support import PATIENCE, Frames, frame, program


class Source:
    """One source, and what it is told."""

    def __init__(self, sock):
        self.sock = sock
        self.answers = Frames(sock)
        self.acked = 0
        self.is_stopped = False

    def send(self, *events):
        self.sock.sendall(b"".join(frame(event) for event in events))

    def hear(self):
        """Takes the next message; None at the end."""
        payload = self.answers.next()
        if payload is None:
            return None
        message = json.loads(payload)
        self.acked = message.get("ack", self.acked)
        if "breaker" in message:
            self.is_stopped = message["breaker"] == "open"
        return message

    def wait_acked(self, count):
        while self.acked < count:
            assert self.hear() is not None
        assert self.acked == count

    def close(self):
        self.sock.close()


class Sink:
    """One sink, and what it is given."""

    def __init__(self, sock):
        self.sock = sock
        self.events = Frames(sock)

    def event(self):
        payload = self.events.next()
        return None if payload is None else json.loads(payload)

    def take(self, count):
        """The numbers of the next events."""
        return [self.event()["n"] for _ in range(count)]

    def say(self, message):
        self.sock.sendall(frame(message))

    def ack(self, count):
        self.say({"ack": count})

    def close(self):
        self.sock.close()


class FanWal:
    """A walproc whose streams are named; later, where `sinks` is None."""

    def __init__(self, directory, sources, sinks, *options, env=None):
        self.directory = directory
        self.process = Stage(
            directory / "walproc.log", "walproc", "-d", directory / "wal",
            *options, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env=env)
        self.open = []
        if sinks is not None:
            self.name(sources, sinks)

    def name(self, sources, sinks):
        self.process.name_streams(sources, sinks)

    def source(self, name):
        return self.keep(Source(self.process.attach("in", name)))

    def sink(self, name):
        return self.keep(Sink(self.process.attach("out", name)))

    def keep(self, neighbour):
        self.open.append(neighbour)
        return neighbour

    def of_sink(self, name):
        return of_sink(self.process.report(), name)

    def wait_sink(self, name, **wanted):
        """Waits until the report of a sink is as wanted."""
        return of_sink(self.process.wait_report(
            lambda r: all(of_sink(r, name).get(key) == value
                          for key, value in wanted.items())), name)

    def inspect(self):
        return json.loads(subprocess.run(
            [program("walproc"), "inspect", "--json", self.directory / "wal"],
            check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        for neighbour in self.open:
            neighbour.close()


def of_sink(report, name):
    """What a report says of one sink; empty if it has none of that name."""
    return next((s for s in report["sinks"] if s["name"] == name), {})


def assert_adds_up(report):
    """Each event is in one place, in the log and for each of its sinks."""
    ended = "delivered", "dropped", "dead_lettered", "quarantined"
    assert report["taken"] == report["stored"] + sum(
        report[name] for name in ended), report
    numbered = report["taken"] - report["dead_lettered"] + report["rejected"]
    for sink in report["sinks"]:
        assert numbered == sink["stored"] + sum(
            sink[name] for name in (
                "delivered", "dropped", "rejected", "quarantined")), report

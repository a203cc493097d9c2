"""What the tests of wssink under a supervisor share: one that has a control
channel, and the events of its streams.
"""

import contextlib
import subprocess

from control import Stage, stream
from sinks import ENVIRONMENT, PING, TEXT, event
from support import frame


@contextlib.contextmanager
def controlled(tmp_path, url, *options, env=ENVIRONMENT):
    """A wssink that has said that it is ready, and our end of its first
    stream."""
    ours, theirs, _ = stream()
    with ours, Stage(tmp_path / "wssink.log", "wssink", "-u", url, *options,
                     stdin=theirs, stdout=subprocess.DEVNULL,
                     env=env) as stage:
        theirs.close()
        stage.wait_ready()
        yield stage, ours


def frames_of(first, count):
    return b"".join(frame(event(n)) for n in range(first, first + count))


def holds(stage, count):
    """Waits until that many events are held."""
    stage.wait_report(lambda report: report["unconfirmed"] == count)


def take_events(peer, numbers):
    """Reads these events, and nothing between them but pings; returns the
    payload of the ping behind them."""
    for n in numbers:
        assert peer.until_opcode(TEXT) == event(n)
    return peer.until_opcode(PING)

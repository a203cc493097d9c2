"""What a supervisor does about a stage that lives on and breaks the protocol
with its neighbour: only its successor gets a new stream.
"""

import pytest

from supervised import STAGES, Supervisor, ids, write_config
from support import BIN, DONE, PYTHON

# One that says what it must not the first time, and works the next.
ONCE = r"""
if [ -e $0.once ]; then exec {real} "$@"; fi
: >$0.once
printf '{{"ready":true}}' >&3
printf '{data}' >&{fd}
exec sleep 600
"""

# The log has no source before it is given one.
ACK_TO_A_NEW_SOURCE = """\
import os, socket, sys
if os.path.exists(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
open(sys.argv[1], "w").close()
control = socket.socket(fileno=3)
control.send(b'{"ready":true}')
while True:
    data, fds, _, _ = socket.recv_fds(control, 4096, 1)
    if fds:
        os.write(fds[0], b'\\0\\0\\0\\r{"ack":99999}')
"""


def faulty(directory, name, fd, data):
    """The script of a stage that is so, once."""
    if name != "walproc":
        return ONCE.format(real=BIN / name, fd=fd, data=data)
    path = directory / "faulty.py"
    path.write_text(ACK_TO_A_NEW_SOURCE)
    return f'exec {PYTHON} {path} $0.once {BIN / name} "$@"'


def real_but(stage, text):
    """The scripts: one stage does `text`, the others are the real ones."""
    return {**{name: f'exec {BIN / name} "$@"' for name in STAGES},
            stage: text}


@pytest.mark.parametrize("name, fd, data", [
    ("wssink", 0, r'\000\000\000\015{"ack":99999}'),
    ("wssink", 0, r"\377\377\377\377"),
    ("metronome", 1, r"\000\000\000\002{}\377"),
    ("walproc", None, ""),
])
def test_it_is_ended_and_started_anew(tmp_path, server, fakes, name, fd, data):
    write_config(tmp_path, server.url)
    binary = fakes(**real_but(name, faulty(tmp_path, name, fd, data)))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(2, stages=[name])
        teller = "m" if name == "walproc" else "p"
        supervisor.wait_log(f"has broken the protocol with {teller}: killed")
        server.wait_count(5)
        for stage in STAGES:
            count = len(supervisor.started(stage))
            assert count == (2 if stage == name else 1)
        assert supervisor.stop() == DONE
    if name == "wssink":
        assert ids(server) == list(range(len(ids(server))))


def test_one_that_closes_its_control_channel_is_ended(
        tmp_path, server, fakes):
    """It could not be given another stream."""
    write_config(tmp_path, server.url)
    binary = fakes(**real_but(
        "wssink", f'if [ -e $0.once ]; then exec {BIN / "wssink"} "$@"; fi\n'
        ": >$0.once\nprintf '{\"ready\":true}' >&3\nexec 3>&-\n"
        "exec sleep 600"))
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(2, stages=["wssink"])
        server.wait_count(5)
        assert len(supervisor.started("metronome")) == 1
        assert supervisor.stop() == DONE
    assert ids(server) == list(range(len(ids(server))))

"""What a supervisor does about a stage that lives on and breaks the protocol
with the log: only its successor gets a new stream.
"""

import pytest

from supervised import STAGES, Supervisor, fakes_in, ids, write_config
from support import BIN, DONE, Server

# One that says what it must not the first time, and works the next.
ONCE = r"""
if [ -e $0.once ]; then exec {real} "$@"; fi
: >$0.once
printf '{{"ready":true}}' >&3
printf '{data}' >&{fd}
exec sleep 600
"""


@pytest.mark.parametrize("name, fd, data", [
    ("wssink", 0, r'\000\000\000\015{"ack":99999}'),
    ("wssink", 0, r"\377\377\377\377"),
    ("metronome", 1, r"\000\000\000\002{}\377"),
])
def test_it_is_ended_and_started_anew(tmp_path, name, fd, data):
    scripts = {stage: f'exec {BIN / stage} "$@"' for stage in STAGES}
    scripts[name] = ONCE.format(real=BIN / name, fd=fd, data=data)
    with Server(tmp_path) as server:
        write_config(tmp_path, server.url)
        binary = fakes_in(tmp_path / "bin")(**scripts)
        with Supervisor(tmp_path, binary=binary) as supervisor:
            supervisor.wait_started(2, stages=[name])
            supervisor.wait_log("has broken the protocol with the log: killed")
            server.wait_count(5)
            for stage in STAGES:
                count = len(supervisor.started(stage))
                assert count == (2 if stage == name else 1)
            assert supervisor.stop() == DONE
        if name == "wssink":
            assert ids(server) == list(range(len(ids(server))))

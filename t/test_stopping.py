"""How a supervisor stops what it runs: in order, in time, whatever a stage
does.
"""

import os
import re
import signal
import subprocess

import pytest

from supervised import STAGES, Supervisor, ids, is_alive, write_config
from support import AGAIN, DONE, program, wait_until

# A script that SIGTERM does not end; says when it has got so far.
DEAF = "trap '' TERM; : >$0.deaf; while :; do sleep 0.05; done"


def wait_deaf(directory):
    for name in STAGES:
        wait_until((directory / "bin" / f"{name}.deaf").exists, f"{name} deaf")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_in_order(tmp_path, server, number):
    write_config(tmp_path, server.url)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started()
        server.wait_count(5)
        supervisor.signal(number)
        assert supervisor.wait() == DONE
        # The last two may end as one, and be seen in either order.
        assert sorted(supervisor.ends()) == [
            (stage, "exit status 0") for stage in STAGES]
        # The log was drained: what was made has arrived.
        made = re.search(r"metronome\[\d+\] info stopping.* events=(\d+)",
                         supervisor.text())
        assert len(server.lines()) == int(made[1])


def test_stop_with_the_server_away(tmp_path, server):
    """What the sink cannot take within shutdown_timeout stays in the log, and
    goes out at the next start."""
    server.kill()
    write_config(tmp_path, server.url, timeout=0.3)
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started()
        wal = tmp_path / "state" / "01" / "p"
        wait_until(lambda: any(wal.glob("*.seg")), "events in the log")
        assert supervisor.stop() == DONE
        # The sink may be seen to end first: walproc's end is what ends it.
        ends = [stage for stage, _ in supervisor.ends()]
        assert ends[0] == "metronome" and sorted(ends) == sorted(STAGES)
    server.start()
    write_config(tmp_path, server.url, count=1)
    with Supervisor(tmp_path, name="log2") as supervisor:
        assert supervisor.wait() == DONE
    seen = ids(server)
    assert len(seen) > 1
    assert seen == [*range(len(seen) - 1), 0]


@pytest.mark.parametrize("victim", STAGES)
def test_a_frozen_stage_does_not_hang_the_stop(tmp_path, server, victim):
    write_config(tmp_path, server.url, timeout=0.3)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started()
        server.wait_count(1)
        os.kill(pids[victim], signal.SIGSTOP)
        assert supervisor.stop() == DONE
        supervisor.wait_gone(pids.values())


def test_a_stage_that_ignores_sigterm(tmp_path, fakes):
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome=DEAF, walproc=DEAF, wssink=DEAF)
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started()
        wait_deaf(tmp_path)
        assert supervisor.stop() == DONE
        supervisor.wait_gone(pids.values())
        assert supervisor.ends()[0] == (
            "metronome", "killed by signal 9 (SIGKILL)")


def test_a_second_signal_kills(tmp_path, fakes):
    write_config(tmp_path, timeout=600)
    binary = fakes(metronome=DEAF, walproc=DEAF, wssink=DEAF)
    with Supervisor(tmp_path, binary=binary) as supervisor:
        pids = supervisor.wait_started()
        wait_deaf(tmp_path)
        supervisor.signal(signal.SIGTERM)
        supervisor.wait_log("stopping: SIGTERM")
        assert all(map(is_alive, pids.values()))
        # One that comes at once may be the first, sent twice.
        wait_until(lambda: supervisor.signal(signal.SIGINT) or
                   "killing: a second signal" in supervisor.text(), "kill")
        assert supervisor.wait() == AGAIN
        assert not any(map(is_alive, pids.values()))


def test_one_wish_in_two_signals_is_an_orderly_stop(tmp_path, server):
    """As timeout(1) sends them: to its child, and to the group of both."""
    write_config(tmp_path, url=server.url)
    done = subprocess.run(
        ["timeout", "1", program("supervisor"), "-c",
         tmp_path / "c.yaml"], stderr=subprocess.PIPE)
    log = done.stderr.decode()
    assert "stopping: SIGTERM" in log and "done: " in log
    assert "killing" not in log and "SIGKILL" not in log

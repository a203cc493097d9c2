"""Onramps of type exec and stdin: any program that prints one event a line,
and the supervisor's own standard input.
"""

import base64
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import termios

import pytest

from supervised import Supervisor, is_alive
from support import (AGAIN, DONE, FINAL, PATIENCE, PYTHON, events_of, program,
                     wait_asleep, wait_until)


def write_config(directory, url, onramp, extra=""):
    """A configuration with one onramp, named app; `onramp` are its type and
    config as JSON, which is YAML."""
    (directory / "c.yaml").write_text(
        "state_dir: state\n"
        f"onramp: [{{id: app, {onramp}}}]\n"
        "pipeline: [{id: p, wal: {max_elements: 1000000}}]\n"
        f'offramp: [{{id: w, type: ws, config: {{url: "{url}", '
        'backoff_max: 0.2}}]\n' + extra)


def exec_config(*words, restart="always"):
    return ("type: exec, config: {command: "
            f"{json.dumps(list(words))}, restart: {restart}}}")


def shell(script, restart="always"):
    return exec_config("/bin/sh", "-c", script, restart=restart)


def numbers(server):
    return [event["n"] for event in server.events()]


def dead_letters(directory):
    path = directory / "state/01/p/dead-letters.ndjson"
    return [base64.b64decode(e["bytes"]) for e in events_of(path)]


COUNT = r"""
i=0; while [ $i -lt %d ]; do echo "{\"n\":$i}"; i=$((i+1)); done
"""

# Prints numbers until it is ended.
ENDLESS = """\
import os, time
n = 0
while True:
    os.write(1, b'{"n":%d}\\n' % n)
    n += 1
    time.sleep(0.001)
"""


@pytest.mark.parametrize("restart, status", [
    ("never", 0), ("never", 3), ("on-failure", 0)])
def test_the_end_of_the_command_is_the_end(tmp_path, server, restart, status):
    write_config(tmp_path, server.url,
                 shell(COUNT % 500 + f"exit {status}", restart))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        assert len(supervisor.started("sh")) == 1
        assert f"ended: exit status {status}" in supervisor.text()
    assert numbers(server) == list(range(500))


def test_what_has_failed_is_run_again(tmp_path, server):
    """Each run has its numbers whole and in order, one behind the other."""
    write_config(tmp_path, server.url, shell(
        COUNT % 50 + "[ -e third ] && exit 0; [ -e second ] && : >third; "
        "[ -e first ] && : >second; : >first; exit 1", "on-failure"))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        assert len(supervisor.started("sh")) == 4
        assert re.findall(r"01/app sh: starts again in (.*) s",
                          supervisor.text()) == ["0.1", "0.2", "0.4"]
    assert numbers(server) == 4 * list(range(50))


def test_always_is_always(tmp_path, server):
    write_config(tmp_path, server.url, shell(COUNT % 3))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(9)
        assert supervisor.stop() == DONE
    assert numbers(server)[:9] == 3 * [0, 1, 2]


@pytest.mark.parametrize("restart, again", [("always", True),
                                             ("never", False)])
def test_a_command_that_closes_its_output_and_runs_on(tmp_path, server,
                                                      restart, again):
    """Its source ends with what it has printed, and is not run again before
    there is something to read."""
    write_config(tmp_path, server.url, shell(
        "echo '{\"n\":1}'; exec >&-; until [ -e go ]; do sleep 0.05; done",
        restart))
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started(stages=["sh"])
        server.wait_count(1)
        supervisor.wait_log("ended: exit status 0")
        # It would have been started again three times by now.
        wait_asleep(supervisor.pid, 1)
        assert len(supervisor.started("onramp")) == 1
        (tmp_path / "go").touch()
        if again:
            supervisor.wait_started(2, stages=["onramp", "sh"])
            server.wait_count(2)
            assert supervisor.delays()[0] == "0.1"
            assert supervisor.stop() == DONE
        else:
            assert supervisor.wait() == DONE
            assert len(supervisor.started("onramp")) == 1
            assert supervisor.delays() == []


def test_standard_error_is_in_the_log(tmp_path, server):
    write_config(tmp_path, server.url, shell(
        "echo 'a sensor is \033[31mhot' >&2; echo '{\"n\":1}'", "never"))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        assert re.search(r"^01/app a sensor is \\x1b\[31mhot$",
                         supervisor.text(), re.M)


def test_the_last_line_of_a_run_stands_alone(tmp_path, server):
    """A line that was torn by the end of a run does not harm the next."""
    write_config(tmp_path, server.url, shell(
        "[ -e second ] && { echo '{\"n\":2}'; exec sleep 600; }; : >second; "
        "echo '{\"n\":1}'; printf '{\"torn\":'; kill -9 $$"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(2)
        assert supervisor.stop() == DONE
    assert numbers(server) == [1, 2]
    assert dead_letters(tmp_path) == [b'{"torn":']


def test_the_log_is_killed_and_no_line_is_lost(tmp_path, server):
    """Not one that the command has printed, acknowledged or not."""
    write_config(tmp_path, server.url,
                 exec_config(PYTHON, "-c", ENDLESS))
    with Supervisor(tmp_path) as supervisor:
        for n in range(1, 7):
            server.wait_count(len(server.lines()) + 50 + 13 * n % 40)
            os.kill(supervisor.started("walproc")[-1], signal.SIGKILL)
            supervisor.wait_started(n + 1, stages=["walproc"])
        server.wait_count(len(server.lines()) + 100)
        assert supervisor.stop() == DONE
        assert len(supervisor.started("python3")) == 1
        assert len(supervisor.started("onramp")) == 1
    firsts = list(dict.fromkeys(numbers(server)))
    assert firsts == list(range(len(firsts)))


@pytest.mark.parametrize("victim", ["walproc", "wssink"])
def test_a_flood_outlives_a_stage(tmp_path, server, victim):
    """A command that prints as fast as it can and ends, and a stage that dies
    behind it."""
    write_config(tmp_path, server.url, shell(
        "seq -f '{\"n\":%.0f}' 0 19999", "never"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(200)
        os.kill(supervisor.started(victim)[0], signal.SIGKILL)
        assert supervisor.wait() == DONE
        assert len(supervisor.started(victim)) == 2
        assert len(supervisor.started("onramp")) == 1
    assert list(dict.fromkeys(numbers(server))) == list(range(20000))


def test_the_onramp_is_killed_and_the_command_lives_on(tmp_path, server):
    """What it had read and the log had not stored is gone with it; all else
    comes, in order."""
    write_config(tmp_path, server.url, exec_config(PYTHON, "-c", ENDLESS))
    with Supervisor(tmp_path) as supervisor:
        for n in range(1, 4):
            server.wait_count(len(server.lines()) + 50)
            os.kill(supervisor.started("onramp")[-1], signal.SIGKILL)
            supervisor.wait_started(n + 1, stages=["onramp"])
        server.wait_count(len(server.lines()) + 50)
        assert supervisor.stop() == DONE
        assert len(supervisor.started("python3")) == 1
        assert len(supervisor.started("walproc")) == 1
    seen = numbers(server)
    assert seen == sorted(set(seen))
    # A line may have been cut in two by the kill; no more than that.
    assert len(dead_letters(tmp_path)) <= 3


def test_what_a_command_leaves_running_ends_with_it(tmp_path, server):
    write_config(tmp_path, server.url, shell(
        "sleep 600 & echo $! >>sleepers; echo '{\"n\":1}'"))
    with Supervisor(tmp_path) as supervisor:
        supervisor.wait_started(3, stages=["sh"])
        sleepers = [int(pid) for pid in
                    (tmp_path / "sleepers").read_text().split()]
        wait_until(lambda: not any(map(is_alive, sleepers[:2])),
                   "end of what was left")
        assert supervisor.stop() == DONE


def test_stop_lets_it_finish(tmp_path, server):
    """What it prints upon SIGTERM is delivered."""
    write_config(tmp_path, server.url, shell(
        "trap 'echo \"{\\\"n\\\":2}\"; exit 7' TERM; echo '{\"n\":1}'; "
        "while :; do sleep 0.05; done"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(1)
        assert supervisor.stop() == DONE
        assert " warn " not in supervisor.text()
    assert numbers(server) == [1, 2]


def test_a_log_that_dies_at_a_stop_comes_back_for_what_is_read(tmp_path,
                                                               server):
    write_config(tmp_path, server.url, exec_config(PYTHON, "-c", ENDLESS),
                 extra="shutdown_timeout: 600\n")
    name = os.path.basename(PYTHON)
    with Supervisor(tmp_path) as supervisor:
        pids = supervisor.wait_started(stages=[name, "walproc", "onramp"])
        server.wait_count(20)
        os.kill(pids["walproc"], signal.SIGKILL)
        # If it waited for the time to be over, the test would not.
        assert supervisor.stop() == DONE
        assert ("onramp", "exit status 0") in supervisor.ends()
        assert "stopped without all acks" not in supervisor.text()
    seen = list(dict.fromkeys(numbers(server)))
    assert seen == list(range(len(seen)))


def test_stop_reaches_all_of_its_group(tmp_path, server):
    """Also what the command has started, and waits for."""
    write_config(tmp_path, server.url, shell(
        "trap : TERM; (trap 'echo \"{\\\"n\\\":2}\"; exit' TERM; "
        "echo '{\"n\":1}'; while :; do sleep 0.05; done) & "
        "wait; wait; exit 7"), extra="shutdown_timeout: 5\n")
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(1)
        assert supervisor.stop() == DONE
        assert ("sh", "exit status 7") in supervisor.ends()
    assert numbers(server) == [1, 2]


def test_a_deaf_command_does_not_hang_the_stop(tmp_path, server):
    write_config(tmp_path, server.url, shell(
        "trap '' TERM; echo '{\"n\":1}'; while :; do sleep 0.05; done"),
        extra="shutdown_timeout: 0.3\n")
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(1)
        assert supervisor.stop() == DONE
        assert "sh[%d]: ended: killed by signal 9" % supervisor.started(
            "sh")[0] in supervisor.text()


def test_a_second_signal_kills_all_of_it(tmp_path, server):
    write_config(tmp_path, server.url, shell(
        "trap '' TERM; sleep 600 & echo $! >sleeper; echo '{\"n\":1}'; "
        "while :; do sleep 0.05; done"), extra="shutdown_timeout: 600\n")
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(1)
        supervisor.signal(signal.SIGTERM)
        supervisor.wait_log("stopping: SIGTERM")
        wait_until(lambda: supervisor.signal(signal.SIGTERM) or
                   "killing: a second signal" in supervisor.text(), "kill")
        assert supervisor.wait() == AGAIN
        sleeper = int((tmp_path / "sleeper").read_text())
        wait_until(lambda: not is_alive(sleeper), "end of its child")


@pytest.mark.parametrize("words, why", [
    (["no-such-program"], "command: no-such-program cannot be found in PATH"),
    (["./no-such-file"], "cannot be executed: No such file"),
    (["/etc"], "command: /etc cannot be executed: Permission denied")])
def test_no_program(tmp_path, server, words, why):
    """Found out when the configuration is read: a reload changes nothing."""
    write_config(tmp_path, server.url, exec_config(*words))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == FINAL
        assert "c.yaml:2:" in supervisor.text() and why in supervisor.text()
    write_config(tmp_path, server.url, shell("exec sleep 600"))
    with Supervisor(tmp_path, name="log2") as supervisor:
        pid = supervisor.wait_started(stages=["sh"])["sh"]
        write_config(tmp_path, server.url, exec_config(*words))
        supervisor.signal(signal.SIGHUP)
        supervisor.wait_log("the configuration has faults")
        assert why in supervisor.text() and is_alive(pid)
        assert supervisor.stop() == DONE


def test_a_program_that_goes_away(tmp_path, server):
    """While it is replaced, say: it is tried again like one that dies."""
    script = tmp_path / "run"
    script.write_text("#!/bin/sh\necho '{\"n\":1}'\n")
    script.chmod(0o755)
    write_config(tmp_path, server.url, exec_config("./run"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(1)
        script.rename(tmp_path / "away")
        supervisor.wait_log(f"cannot start {script}: No such file")
        count = len(server.lines())
        (tmp_path / "away").rename(script)
        server.wait_count(count + 1)
        assert supervisor.stop() == DONE


@pytest.mark.parametrize("status", [100, 111])
def test_no_status_of_a_command_is_final(tmp_path, server, status):
    write_config(tmp_path, server.url,
                 shell(f"echo '{{\"n\":1}}'; exit {status}"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(3)
        assert f"ended: exit status {status}" in supervisor.text()
        assert supervisor.stop() == DONE


def test_it_inherits_nothing_but_what_it_needs(tmp_path, server):
    """Three descriptors, no lock: what it leaves running cannot keep the next
    supervisor away."""
    write_config(tmp_path, server.url, shell(
        "cd /proc/self/fd; for f in 0 1 2 3 4 5 6 7 8 9; do "
        "[ -e $f ] && echo \"{\\\"n\\\":$f}\"; done", "never"))
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
    assert numbers(server) == [0, 1, 2]


def test_a_command_that_has_joined_another_group_is_ended(tmp_path, server):
    script = tmp_path / "joins.py"
    script.write_text("import os, time\n"
                      "os.setpgid(0, os.getpgid(os.getppid()))\n"
                      "print('{\"n\":1}', flush=True)\n"
                      "time.sleep(600)\n")
    write_config(tmp_path, server.url, exec_config(PYTHON, str(script)))
    with Supervisor(tmp_path, start_new_session=True) as supervisor:
        name = os.path.basename(PYTHON)
        pid = supervisor.wait_started(stages=[name])[name]
        server.wait_count(1)
        assert supervisor.stop() == DONE
        assert not is_alive(pid)


def test_killed_with_the_supervisor(tmp_path, server):
    write_config(tmp_path, server.url, shell("exec sleep 600"))
    with Supervisor(tmp_path) as supervisor:
        pid = supervisor.wait_started(stages=["sh"])["sh"]
        supervisor.kill()
        wait_until(lambda: not is_alive(pid), "end of the command")
    with Supervisor(tmp_path, name="next") as supervisor:
        supervisor.wait_started(stages=["sh"])
        assert supervisor.stop() == DONE


def test_another_command_by_reload(tmp_path, server):
    """What the first has printed comes first; the rest goes on untouched."""
    write_config(tmp_path, server.url, shell(COUNT % 20 + "exec sleep 600"))
    with Supervisor(tmp_path) as supervisor:
        server.wait_count(20)
        write_config(tmp_path, server.url, shell(
            COUNT.replace("i=0", "i=20") % 40 + "exec sleep 600"))
        supervisor.signal(signal.SIGHUP)
        server.wait_count(40)
        assert len(supervisor.started("sh")) == 2
        assert len(supervisor.started("walproc")) == 1
        # And into one of another type, and back.
        write_config(tmp_path, server.url,
                     "type: metronome, config: {interval: 10}")
        supervisor.signal(signal.SIGHUP)
        server.wait_count(45)
        write_config(tmp_path, server.url, shell("echo '{\"n\":77}'; "
                                                 "exec sleep 600"))
        supervisor.signal(signal.SIGHUP)
        wait_until(lambda: b'{"n":77}' in server.lines(), "the last")
        assert len(supervisor.started("walproc")) == 1
        assert supervisor.stop() == DONE
    seen = [e["n"] for e in server.events() if "n" in e]
    assert seen == [*range(40), 77]


# Standard input.

def lines(count):
    return b"".join(b'{"n":%d}\n' % n for n in range(count))


def test_a_pipe_on_standard_input(tmp_path, server):
    write_config(tmp_path, server.url, "type: stdin")
    done = subprocess.run(
        [program("supervisor"), "-c", "c.yaml"], cwd=tmp_path,
        input=lines(3000) + b'{"n":3000}', capture_output=True,
        timeout=PATIENCE)
    assert done.returncode == DONE, done.stderr.decode()
    assert numbers(server) == list(range(3001))


def test_a_file_on_standard_input(tmp_path, server):
    (tmp_path / "in").write_bytes(lines(1000))
    write_config(tmp_path, server.url, "type: stdin")
    with open(tmp_path / "in", "rb") as stdin:
        with Supervisor(tmp_path, stdin=stdin) as supervisor:
            assert supervisor.wait() == DONE
    assert numbers(server) == list(range(1000))


@contextlib.contextmanager
def on_a_terminal(directory):
    """A supervisor whose standard input is its terminal; and what to write to
    for whatever is typed there."""
    controller, terminal = os.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    try:
        with Supervisor(directory, stdin=terminal,
                        preexec_fn=take_terminal) as supervisor:
            yield supervisor, controller
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_terminal_on_standard_input(tmp_path, server):
    """Lines are taken as they are typed, and ^D is the end."""
    write_config(tmp_path, server.url, "type: stdin")
    with on_a_terminal(tmp_path) as (supervisor, controller):
        supervisor.wait_started(stages=["onramp"])
        for n in range(2):
            os.write(controller, b'{"n":%d}\n' % n)
            server.wait_count(n + 1)
        os.write(controller, b"\x04")
        assert supervisor.wait() == DONE
    assert numbers(server) == [0, 1]


def test_ctrl_c_on_a_terminal_is_an_orderly_stop(tmp_path, server):
    """Who reads the terminal hears of it as well."""
    write_config(tmp_path, server.url, "type: stdin")
    with on_a_terminal(tmp_path) as (supervisor, controller):
        os.write(controller, b'{"n":0}\n')
        server.wait_count(1)
        os.write(controller, b"\x03")
        assert supervisor.wait() == DONE
        assert "stopping: SIGINT" in supervisor.text()
    assert numbers(server) == [0]


def test_no_standard_input_is_an_empty_one(tmp_path, server):
    write_config(tmp_path, server.url, "type: stdin")
    done = subprocess.run(
        ["sh", "-c", f"exec {program('supervisor')} -c c.yaml <&-"],
        cwd=tmp_path, timeout=PATIENCE, capture_output=True)
    assert done.returncode == DONE, done.stderr.decode()
    assert numbers(server) == []


def test_deaths_while_standard_input_flows(tmp_path, server):
    """The log and the sink, while the server is away and comes back."""
    server.kill()
    write_config(tmp_path, server.url, "type: stdin")
    with Supervisor(tmp_path, stdin=subprocess.PIPE) as supervisor:
        stdin = supervisor.child.stdin
        for n in range(4):
            stdin.write(b"".join(b'{"n":%d}\n' % i for i in range(
                n * 500, n * 500 + 500)))
            stdin.flush()
            name = ("walproc", "wssink")[n % 2]
            times = n // 2 + 1
            victim = supervisor.wait_started(times, stages=[name])[name]
            os.kill(victim, signal.SIGKILL)
            supervisor.wait_started(times + 1, stages=[name])
        stdin.close()
        server.start()
        assert supervisor.wait() == DONE
    firsts = list(dict.fromkeys(numbers(server)))
    assert firsts == list(range(2000))

"""wssink in a shell, once: a file or a pipe in, all of it delivered, and an
exit status that says so.
"""

import os
import socket
import subprocess
import time

import pytest

from peers import Application, events_in, log_lines
from sinks import (ENVIRONMENT, QUICK, event, fed, firsts, ids_of, options_of,
                   sink)
from support import (AGAIN, DONE, FINAL, PATIENCE, Server, free_port, program,
                     wait_until)


def shell(script, tmp_path, **variables):
    """Runs a line of sh; returns the exit status and standard error."""
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        timeout=PATIENCE, env=dict(ENVIRONMENT, WSSINK=program("wssink"),
                                   **variables))
    assert done.stdout == "", "standard output is for data"
    return done.returncode, done.stderr


@pytest.mark.parametrize("ack", ["pong", "write", "app"])
@pytest.mark.parametrize("script", [
    '"$WSSINK" -u "$URL" --ack "$ACK" < in',
    'cat in | "$WSSINK" -u "$URL" --ack "$ACK"',
    'cat in in | head -n 300 | "$WSSINK" -u "$URL" --ack "$ACK"',
    '(head -n 7 in; tail -n +8 in) | "$WSSINK" -u "$URL" --ack "$ACK"',
])
def test_a_file_or_a_pipe_is_delivered(tmp_path, script, ack):
    (tmp_path / "in").write_bytes(events_in(300))
    with Server(tmp_path, *options_of(ack)) as server:
        status, err = shell(script, tmp_path, URL=server.url, ACK=ack)
        assert status == DONE, err
        if ack == "write":
            server.wait_count(300)
        assert server.lines() == [event(n) for n in range(300)]
    assert "confirmed=300 refused=0 unconfirmed=0" in err


@pytest.mark.parametrize("source", ["</dev/null", "<empty", ": |"])
def test_no_events_are_no_failure(tmp_path, server, source):
    (tmp_path / "empty").touch()
    script = f'"$WSSINK" -u "$URL" {source}'
    if source == ": |":
        script = ': | "$WSSINK" -u "$URL"'
    status, err = shell(script, tmp_path, URL=server.url)
    assert status == DONE, err
    assert "confirmed=0 refused=0 unconfirmed=0" in err
    assert server.lines() == []


@pytest.mark.parametrize("source", ["<in", "cat in |"])
def test_the_drain_timeout_where_more_is_left_than_is_held(tmp_path, source):
    """The end of the input is not read, but it is there."""
    (tmp_path / "in").write_bytes(events_in(5000))
    url = f"ws://127.0.0.1:{free_port()}/"
    call = f'"$WSSINK" -u {url} --drain-timeout 0.5'
    script = f"{call} <in" if source == "<in" else f"{source} {call}"
    status, err = shell(script, tmp_path)
    assert status == AGAIN
    assert "drain timeout has passed" in err
    assert "unconfirmed=4096" in err


def test_a_writer_that_is_there_is_waited_for(tmp_path):
    """A full window alone is no end of the input."""
    url = f"ws://127.0.0.1:{free_port()}/"
    with sink(tmp_path, url, "--drain-timeout", "0.3", *QUICK, "-v",
              stdin=subprocess.PIPE) as process:
        process.child.stdin.write(events_in(4500))
        process.child.stdin.flush()
        # Longer than the timeout: some tries to connect.
        wait_until(lambda: len(log_lines(process, "cannot connect")) > 10,
                   "tries")
        assert process.is_running()
        process.child.stdin.close()
        assert process.wait() == AGAIN


def test_no_events_need_no_server(tmp_path):
    url = f"ws://127.0.0.1:{free_port()}/"
    assert shell('"$WSSINK" -u "$URL" </dev/null', tmp_path,
                 URL=url)[0] == DONE


def test_standard_input_that_is_closed_is_wrong_usage(tmp_path, server):
    status, err = shell('"$WSSINK" -u "$URL" <&-', tmp_path, URL=server.url)
    assert status == FINAL
    assert "standard input is closed" in err


def test_a_pipe_is_delivered_as_it_comes(tmp_path, server):
    """Nothing waits for the end, or for more."""
    with sink(tmp_path, server.url, stdin=subprocess.PIPE) as process:
        for n in range(5):
            process.child.stdin.write(event(n) + b"\n")
            process.child.stdin.flush()
            server.wait_count(n + 1)
        assert process.is_running()
        process.child.stdin.close()
        assert process.wait() == DONE


def test_the_exit_status_waits_for_the_last_event(tmp_path):
    """At `pong`, a server that has the event but has not answered keeps it
    running; the answer ends it."""
    with Application(lambda n, _: "keep" if n == 9 else None) as app, \
            fed(tmp_path, app.url, events_in(10), "--ping-timeout",
                "3600") as process:
        wait_until(lambda: app.seen and app.seen[-1][-1:] == [9], "event 9")
        # The scenario: time in which it must not end.
        time.sleep(0.3)
        assert process.is_running()
        app.decide = lambda n, _: None
        app.current.shutdown(socket.SHUT_RDWR)
        assert process.wait() == DONE
        assert app.taken[-1] == 9


def test_a_server_that_never_comes_up(tmp_path):
    """It keeps trying, though the input has ended; SIGTERM ends it."""
    url = f"ws://127.0.0.1:{free_port()}/"
    with fed(tmp_path, url, events_in(3), "-v", *QUICK) as process:
        wait_until(lambda: len(log_lines(process, "cannot connect")) >= 5,
                   "five tries")
        assert process.is_running()
        assert process.stop() == DONE
        assert "unconfirmed=3" in process.text()


@pytest.mark.parametrize("timeout", ["0", "0.5"])
def test_a_drain_timeout_gives_up(tmp_path, timeout):
    url = f"ws://127.0.0.1:{free_port()}/"
    start = time.monotonic()
    with fed(tmp_path, url, events_in(3), "--drain-timeout", timeout,
             *QUICK) as process:
        assert process.wait() == AGAIN
        assert time.monotonic() - start >= float(timeout)
        assert "the drain timeout has passed; undelivered=3" in process.text()


def test_a_drain_timeout_counts_from_the_end_of_the_input(tmp_path):
    url = f"ws://127.0.0.1:{free_port()}/"
    with sink(tmp_path, url, "--drain-timeout", "0.2", "-v", *QUICK,
              stdin=subprocess.PIPE) as process:
        process.child.stdin.write(event(0) + b"\n")
        process.child.stdin.flush()
        # The scenario: longer than the timeout, and the input has not ended.
        time.sleep(0.5)
        assert process.is_running()
        process.child.stdin.close()
        assert process.wait() == AGAIN


def test_a_server_that_comes_up_late(tmp_path):
    port = free_port()
    with fed(tmp_path, f"ws://127.0.0.1:{port}/", events_in(1000),
             "--drain-timeout", "600", *QUICK) as process:
        process.wait_log("cannot connect")
        with Server(tmp_path, port=port) as server:
            assert process.wait() == DONE
            assert server.lines() == [event(n) for n in range(1000)]


@pytest.mark.parametrize("end", ["eof", "reset", 1011])
def test_a_server_that_is_lost_under_way(tmp_path, end):
    """All arrives all the same, in order of the first arrival."""
    with Application(lambda n, at: end if n == 40 and at == 0
                     else None) as app, \
            fed(tmp_path, app.url, events_in(100), *QUICK) as process:
        assert process.wait() == DONE
        assert firsts(app.taken) == list(range(100))
        assert len(app.seen) == 2


def test_a_reader_that_leaves_standard_error_is_no_harm(tmp_path, server):
    """`wssink 2>&1 | head`: the log is lost, the events are not."""
    read, write = os.pipe()
    os.close(read)
    (tmp_path / "in").write_bytes(events_in(50))
    with open(tmp_path / "in", "rb") as stdin:
        done = subprocess.run([program("wssink"), "-v", "-u", server.url],
                              stdin=stdin, stderr=write, timeout=PATIENCE,
                              env=ENVIRONMENT)
    os.close(write)
    assert done.returncode == DONE
    assert ids_of(server.events()) == list(range(50))


def test_quiet_says_nothing_where_all_is_well(tmp_path, server):
    (tmp_path / "in").write_bytes(events_in(5))
    status, err = shell('"$WSSINK" -q -u "$URL" < in', tmp_path,
                        URL=server.url)
    assert (status, err) == (DONE, "")

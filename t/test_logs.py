"""The supervisor's log: its own lines and those of the stages."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from supervised import STAGES, Supervisor, ids, write_config
from support import DONE, FINAL, PATIENCE, program, wait_until


def test_signals_that_are_no_stop(tmp_path, server):
    write_config(tmp_path, server.url)
    log = tmp_path / "out.log"
    with Supervisor(tmp_path, "--log-file", "out.log") as supervisor:
        wait_until(lambda: log.exists() and
                   log.read_text().count("started: ") == len(STAGES),
                   "log file")
        supervisor.signal(signal.SIGHUP)
        wait_until(lambda: "reload: nothing has changed" in log.read_text(),
                   "answer to SIGHUP")
        log.rename(tmp_path / "out.log.1")
        supervisor.signal(signal.SIGUSR1)
        wait_until(lambda: log.exists() and "opened anew" in log.read_text(),
                   "new log file")
        server.wait_count(2)
        assert supervisor.stop() == DONE
        assert "ended: exit status 0" in log.read_text()
        assert len(re.findall("started: ", (tmp_path / "out.log.1")
                              .read_text())) == len(STAGES)


def test_log_as_json(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path, "--log-format", "json") as supervisor:
        assert supervisor.wait() == DONE
        lines = [json.loads(line) for line in supervisor.text().splitlines()]
    assert {line["program"] for line in lines} == {*STAGES, "supervisor"}
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                            line["time"])
        assert line["level"] in ("error", "warn", "info", "debug")
        assert isinstance(line["pid"], int) and line["message"]
        if line["program"] != "supervisor":
            assert line["instance"] == "01"
            assert line["stage"] in ("m", "p", "w")


def test_log_as_text(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path) as supervisor:
        assert supervisor.wait() == DONE
        own = r"\d{4}-\d\d-\d\dT[0-9:.]+Z supervisor\[\d+\] (info|warn) .+"
        passed = r"01/[mpw] \d{4}-\d\d-\d\dT[0-9:.]+Z \w+\[\d+\] \w+ .+"
        for line in supervisor.text().splitlines():
            assert re.fullmatch(f"{own}|{passed}", line), line


def test_quiet(tmp_path, server):
    write_config(tmp_path, server.url, count=3)
    with Supervisor(tmp_path, "-q") as supervisor:
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""
    assert ids(server) == [0, 1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("options", [(), ("--log-file", "out.log")])
def test_quiet_is_silent_while_nothing_is_wrong(tmp_path, server, number,
                                                options):
    """A start, the line in a crontab while it runs, a log file opened anew, a
    stop: not a byte anywhere. What is wrong is told."""
    write_config(tmp_path, server.url)
    second = [program("supervisor"), "-q", *options, "-c", "c.yaml"]
    with Supervisor(tmp_path, "-q", *options) as supervisor:
        server.wait_count(3)
        done = subprocess.run(second, cwd=tmp_path, capture_output=True,
                              timeout=PATIENCE)
        assert (done.returncode, done.stdout, done.stderr) == (DONE, b"", b"")
        supervisor.signal(signal.SIGUSR1)
        server.wait_count(len(server.lines()) + 3)
        supervisor.signal(number)
        assert supervisor.wait() == DONE
        assert supervisor.text() == ""
    if options:
        assert (tmp_path / "out.log").read_bytes() == b""
    server.kill()
    with Supervisor(tmp_path, "-q", *options) as supervisor:
        log = tmp_path / "out.log" if options else supervisor.log
        wait_until(lambda: "cannot connect" in log.read_text(), "a warning")


def test_a_run_that_failed_is_told_beside_its_log(tmp_path, fakes):
    """Cron mails what is on standard error, and nobody reads the file."""
    write_config(tmp_path)
    binary = fakes(wssink="echo no way >&2; exit 100")
    with Supervisor(tmp_path, "-q", "--log-file", "out.log",
                    binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        assert re.fullmatch(
            r"\S+ supervisor\[\d+\] error ended with status 100; "
            r"the reason is in out\.log\n", supervisor.text())
    assert "its last line: no way" in (tmp_path / "out.log").read_text()


def test_stderr_that_is_gone(tmp_path, server):
    """Cron, or a terminal that was closed."""
    write_config(tmp_path, server.url, count=20)
    read_end, write_end = os.pipe()
    os.close(read_end)
    child = subprocess.Popen([program("supervisor"), "-v", "-c", "c.yaml"],
                             cwd=tmp_path, stderr=write_end)
    os.close(write_end)
    assert child.wait(PATIENCE) == DONE
    assert ids(server) == list(range(20))


# More than a pipe or a terminal holds.
FLOOD = """
    i=0
    while [ $i -lt 900 ]; do i=$((i+1)); printf '%0900d\\n' $i >&2; done
    echo done >flooded; exec sleep 600"""


def test_nobody_waits_for_who_reads_the_log(tmp_path, fakes):
    """A full pipe on stderr costs lines, and those are counted."""
    write_config(tmp_path)
    binary = fakes(metronome=FLOOD)
    read_end, write_end = os.pipe()
    child = subprocess.Popen([binary, "-c", "c.yaml"], cwd=tmp_path,
                             stderr=write_end)
    os.close(write_end)
    wait_until((tmp_path / "flooded").exists, "end of the flood")
    text = os.read(read_end, 1 << 20)
    child.terminate()
    with os.fdopen(read_end, "rb") as rest:
        text += rest.read()
    assert child.wait(PATIENCE) == DONE
    assert text.endswith(b"no stage runs any more\n")
    assert re.search(rb"warn \d+ log lines were lost", text)


def test_nobody_waits_for_who_reads_a_terminal(tmp_path, fakes):
    """Of a terminal that nobody reads poll(2) says that it can be written to,
    as long as there is room for a byte."""
    write_config(tmp_path)
    binary = fakes(metronome=FLOOD)
    controller, terminal = os.openpty()
    child = subprocess.Popen([binary, "-c", "c.yaml"], cwd=tmp_path,
                             stderr=terminal)
    try:
        wait_until((tmp_path / "flooded").exists, "end of the flood")
        child.terminate()
        assert child.wait(PATIENCE) == DONE
        # The flags of the terminal are not ours to change.
        assert os.get_blocking(terminal)
    finally:
        child.kill()
        os.close(controller)
        os.close(terminal)


def test_a_flood_in_one_log(tmp_path, fakes):
    """Others are heard and a stop is obeyed while a stage floods its log, and
    the log does not grow without a bound."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome="exec yes flood >&2",
                   wssink="echo 'still heard' >&2; exec sleep 600")
    start = time.monotonic()
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_log("/m flood")
        supervisor.wait_log("01/w still heard")
        supervisor.wait_log("lines of 01/m held back")
        assert supervisor.stop() == DONE
        seconds = time.monotonic() - start
        count = supervisor.text().count("/m flood")
        assert 1000 <= count <= 1000 + 100 * (seconds + 1)


def test_what_a_flood_left_out_is_counted(tmp_path, fakes):
    """To the last line: at its end, before that is told; -q or not."""
    write_config(tmp_path, timeout=0.2)
    binary = fakes(metronome="""
        i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo "line $i" >&2; done
        exit 111""", walproc="exec sleep 600", wssink="exec sleep 600")
    with Supervisor(tmp_path, "-q", binary=binary) as supervisor:
        supervisor.wait_log("ended: exit status 111")
        text = supervisor.text().partition("ended: exit status 111")[0]
    held = re.findall(r"supervisor\[\d+\] warn (\d+) lines of 01/m held back",
                      text)
    assert text.count("01/m line ") + sum(map(int, held)) == 5000
    assert held and text.count("01/m line ") >= 1000


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_one_line_is_one_write(tmp_path, server, log_format):
    """A socket that keeps writes apart sees whole lines only."""
    write_config(tmp_path, server.url, count=20)
    reading, writing = socket.socketpair(socket.AF_UNIX,
                                         socket.SOCK_SEQPACKET)
    with reading:
        with writing:
            child = subprocess.Popen(
                [program("supervisor"), "-v", "--log-format", log_format,
                 "-c", "c.yaml"], cwd=tmp_path, stderr=writing)
        writes = list(iter(lambda: reading.recv(65536), b""))
    assert child.wait(PATIENCE) == DONE
    assert len(writes) > 10
    assert [w for w in writes
            if w.count(b"\n") != 1 or not w.endswith(b"\n")] == []


def test_lines_of_stages(tmp_path, fakes):
    """Cut, made printable, and the last one passed on without its newline."""
    write_config(tmp_path)
    binary = fakes(walproc=r"""
        [ -e again ] && exec sleep 600
        touch again
        printf 'a\033[31mb\001c "quoted" back\\slash\n' >&2
        printf '%2000s\n' x | tr ' ' y >&2
        printf 'short\nno newline' >&2
        exit 1""")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_log("starts again")
        lines = [line[5:] for line in supervisor.text().splitlines()
                 if line.startswith("01/p ")]
        assert lines[0] == r'a\x1b[31mb\x01c "quoted" back\slash'
        assert 1000 < len(lines[1]) <= 1024 and lines[1].startswith("yyyy")
        assert lines[2:] == ["short", "no newline"]


def test_foreign_lines_as_json(tmp_path, fakes):
    """They are warnings, so that no last words of a library are lost."""
    write_config(tmp_path)
    binary = fakes(walproc=r"""printf 'oops "\\ \303\251\n' >&2; exit 100""")
    with Supervisor(tmp_path, "-q", "--log-format", "json",
                    binary=binary) as supervisor:
        assert supervisor.wait() == FINAL
        lines = [json.loads(line) for line in supervisor.text().splitlines()]
    assert lines[0]["message"] == r'oops "\ \xc3\xa9'
    assert (lines[0]["level"], lines[0]["program"]) == ("warn", "walproc")
    assert (lines[0]["instance"], lines[0]["stage"]) == ("01", "p")


def test_a_log_held_open_by_a_grandchild(tmp_path, fakes):
    write_config(tmp_path)
    binary = fakes(walproc="[ -e again ] && exec sleep 600; touch again\n"
                   "sleep 5 & echo last >&2; exit 111")
    with Supervisor(tmp_path, binary=binary) as supervisor:
        supervisor.wait_started(2, stages=["walproc"])
        assert "01/p last" in supervisor.text()


def test_a_log_file_that_cannot_be(tmp_path, fakes):
    write_config(tmp_path)
    with Supervisor(tmp_path, "--log-file", "no/log",
                    binary=fakes()) as supervisor:
        assert supervisor.wait() == FINAL
        assert "cannot open the log file no/log" in supervisor.text()

"""A real HTTP proxy, tinyproxy, that a test starts, kills and starts again.
"""

import shutil
import socket

import pytest

from sinks import ENVIRONMENT
from support import Process, program, wait_until

CONF = """
Port {port}
Listen 127.0.0.1
Timeout 600
LogLevel Info
LogFile "{log}"
MaxClients 50
Allow 127.0.0.1
{more}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Tinyproxy:
    """A tinyproxy on a port of its own, which it cannot choose itself."""

    def __init__(self, tmp_path, *more):
        if not shutil.which("tinyproxy"):
            pytest.skip("no tinyproxy")
        self.log = tmp_path / "tinyproxy.log"
        self.conf = tmp_path / "tinyproxy.conf"
        self.stderr = tmp_path / "tinyproxy.stderr"
        self.more = "\n".join(more)
        for _ in range(5):
            self.port = free_port()
            if self.try_to_start():
                return
        raise AssertionError("no port for tinyproxy")

    def try_to_start(self):
        self.conf.write_text(CONF.format(
            port=self.port, log=self.log, more=self.more))
        self.process = Process(["tinyproxy", "-d", "-c", self.conf],
                               self.stderr)
        wait_until(lambda: not self.process.is_running()
                   or "Accepting connections" in self.text(), "tinyproxy")
        return self.process.is_running()

    def start(self):
        """Once more, on its old port."""
        self.log.unlink()
        assert self.try_to_start(), self.process.text()

    def kill(self):
        self.process.kill()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def requests(self):
        """What was asked of it, line by line."""
        return [line.partition("): ")[2] for line in self.text().splitlines()
                if "Request (file descriptor" in line]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def sink_in(environment, tmp_path, url, data, *options):
    """A running wssink with `data` as a file on its standard input, and
    `environment` besides what the tests leave of their own."""
    path = tmp_path / "input"
    path.write_bytes(data)
    with open(path, "rb") as stdin:
        return Process([program("wssink"), "-u", url, *options],
                       tmp_path / "wssink.log", stdin=stdin,
                       env={**ENVIRONMENT, **environment})

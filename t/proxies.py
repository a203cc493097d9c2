"""A real HTTP proxy, tinyproxy, that a test starts, kills and starts again.
"""

import shutil

import pytest

from servers import OnFreePort
from support import Process

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


class Tinyproxy(OnFreePort):
    """A running tinyproxy."""

    def __init__(self, tmp_path, *more):
        if not shutil.which("tinyproxy"):
            pytest.skip("no tinyproxy")
        self.log = tmp_path / "tinyproxy.log"
        self.conf = tmp_path / "tinyproxy.conf"
        self.stderr = tmp_path / "tinyproxy.stderr"
        self.more = "\n".join(more)
        super().__init__()

    def launch(self):
        self.conf.write_text(CONF.format(
            port=self.port, log=self.log, more=self.more))
        self.log.unlink(missing_ok=True)
        return Process(["tinyproxy", "-d", "-c", self.conf], self.stderr)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def requests(self):
        """What was asked of it, line by line."""
        return [line.partition("): ")[2] for line in self.text().splitlines()
                if "Request (file descriptor" in line]

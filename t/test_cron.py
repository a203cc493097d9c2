"""The crontab of the README, as it stands there, under Debian's cron: in mount
and pid namespaces of its own, where nothing of the machine's cron is seen or
touched.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from disks import PATH
from support import PATIENCE, ROOT, Process, program, wait_until

MINUTE = 60

# $1 is the directory of the test, $2 cron. In its /dev is a /dev/log that
# leads to the test, in its /usr/sbin a sendmail that does; no job of the
# machine is seen.
NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/spool/cron
mkdir /var/spool/cron/crontabs
cp "$1/crontab" /var/spool/cron/crontabs/root
chmod 600 /var/spool/cron/crontabs/root
for path in /etc/crontab /etc/environment; do
    [ ! -e $path ] || mount --bind "$1/empty" $path
done
[ ! -d /etc/cron.d ] || mount -t tmpfs tmpfs /etc/cron.d
mkdir "$1/dev"
for name in null zero full random urandom tty; do
    : >"$1/dev/$name"
    mount --bind /dev/$name "$1/dev/$name"
done
ln -s "$1/syslog" "$1/dev/log"
# The directory of the test may be in there.
if [ -d /dev/shm ]; then
    mkdir "$1/dev/shm"
    mount --bind /dev/shm "$1/dev/shm"
fi
mount --rbind "$1/dev" /dev
cp "$2" "$1/sbin/cron"
mount --bind "$1/sbin" /usr/sbin
exec /usr/sbin/cron -f -L 3
"""

SENDMAIL = """#!/bin/sh
cat >"{directory}/mail.$$.part"
mv "{directory}/mail.$$.part" "{directory}/mail.$$"
"""


def crontab(config, log):
    """The lines of the README, with other paths."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```\n(MAILTO=.*?)^```$", text, re.M | re.S)
    assert len(blocks) == 1
    lines = blocks[0]
    for path, own in (("/usr/local/bin/supervisor", program("supervisor")),
                      ("/etc/walpipe", config),
                      ("/var/log/walpipe.log", log)):
        assert lines.count(path) == 2
        lines = lines.replace(path, str(own))
    return lines


def write_config(directory, url, interval):
    directory.mkdir()
    (directory / "pipeline.yaml").write_text(
        f"state_dir: {directory}/state\n"
        "onramp: [{id: m, type: metronome, config: {interval: "
        f"{interval}" "}}]\n"
        "pipeline: [{id: p, wal: {max_elements: 1000}}]\n"
        'offramp: [{id: w, type: ws, config: {url: "' + url + '"}}]\n')


class Cron:
    """A running cron, what it says and what it mails."""

    def __init__(self, directory, table):
        self.directory = directory
        (directory / "crontab").write_text(table)
        (directory / "empty").write_text("")
        (directory / "sbin").mkdir()
        mailer = directory / "sbin" / "sendmail"
        mailer.write_text(SENDMAIL.format(directory=directory))
        mailer.chmod(0o755)
        self.lines = []
        self.syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.syslog.bind(str(directory / "syslog"))
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.process = Process(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child",
             "--mount-proc", "sh", "-c", NAMESPACE, "sh", directory,
             shutil.which("cron", path=PATH)],
            directory / "cron.log", stdin=subprocess.DEVNULL)

    def read(self):
        while line := self.syslog.recv(65536):
            self.lines.append(line.decode())

    def started(self, config):
        """How many jobs with a configuration were started."""
        return self.told("CMD", config)

    def ended(self, config):
        """How many have ended."""
        return self.told("END", config)

    def told(self, what, config):
        words = rf"\(root\) {what} \(.* -c {re.escape(str(config))} "
        return sum(bool(re.search(words, line)) for line in list(self.lines))

    def mails(self, config):
        """What was mailed of the jobs with a configuration."""
        mails = [path.read_text().split("\n\n", 1)
                 for path in self.directory.glob("mail.*")
                 if path.suffix != ".part"]
        assert all("To: you@example.org" in head.splitlines()
                   for head, _ in mails)
        return [body for head, body in mails if f" -c {config} " in head]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.directory / "syslog"))
        self.reader.join()
        self.syslog.close()


def supervisors(config):
    """The pids of the supervisors that run with a configuration."""
    wanted = f"supervisor\0-q\0-c\0{config}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            # The shell that cron starts has the same words, as one.
            if wanted in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def the_supervisor(config):
    """The pid of the one that stays: another may have come, and will go."""
    pids = wait_until(
        lambda: len(found := supervisors(config)) == 1 and found, "one only")
    return pids[0]


def environment(pid):
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def skip_where_it_cannot_be():
    if os.geteuid() != 0:
        pytest.skip("skipped: namespaces for cron need root")
    for name in "cron", "unshare", "mount":
        if shutil.which(name, path=PATH) is None:
            pytest.skip(f"skipped: there is no {name}")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"],
                      capture_output=True).returncode != 0:
        pytest.skip("skipped: no mount namespace may be made")


def test_the_start_of_the_machine_starts_it(tmp_path, server):
    """Without the line of each minute, so that it is not that one."""
    skip_where_it_cannot_be()
    good = tmp_path / "good"
    write_config(good, server.url, interval=100)
    table = crontab(good, tmp_path / "walpipe.log")
    reboot = [line for line in table.splitlines(keepends=True)
              if not line.startswith("* * * * * ")]
    assert len(reboot) == len(table.splitlines()) - 1
    with Cron(tmp_path, "".join(reboot)):
        server.wait_count(3)


@pytest.mark.first
def test_the_crontab_of_the_readme(tmp_path, server):
    skip_where_it_cannot_be()
    good, bad = tmp_path / "good", tmp_path / "bad"
    write_config(good, server.url, interval=100)
    write_config(bad, server.url, interval="soon")
    log = tmp_path / "walpipe.log"
    table = crontab(good, log) + crontab(bad, tmp_path / "bad.log")
    with Cron(tmp_path, table) as cron:
        # The start of the machine starts one; cron gives it little to live on.
        server.wait_count(3, PATIENCE)
        first = the_supervisor(good)
        env = environment(first)
        assert env["PATH"] == "/usr/bin:/bin"
        assert not {"XDG_STATE_HOME", "STATE_DIRECTORY", "WALPIPE_BIN"} & {
            *env}

        # The next minute starts it again, whatever ended it.
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: first not in supervisors(good), "the end")
        started = cron.started(good)
        assert started >= 1
        count = len(server.lines())
        server.wait_count(count + 3, MINUTE + PATIENCE)
        assert cron.started(good) <= started + 1
        second = the_supervisor(good)

        # The one after that leaves it alone, as a job that ends without a
        # word; the lines with the mistake are mailed each time.
        ended = cron.ended(good)
        wait_until(lambda: cron.ended(good) > ended, "the next minute",
                   MINUTE + PATIENCE)
        assert supervisors(good) == [second]
        server.wait_count(len(server.lines()) + 3)
        wait_until(lambda: len(cron.mails(bad)) >= 2, "mails")
        for mail in cron.mails(bad):
            assert re.fullmatch(
                rf"\S+ supervisor\[\d+\] error {bad}/pipeline.yaml:2:\d+: "
                r".*\n", mail)
        # A shell that waits for its command says that it was killed.
        assert cron.mails(good) in ([], ["Killed\n"])
    assert log.read_text() == ""

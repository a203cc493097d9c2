"""The stages as another user: what `user` and `group` in the configuration
come to. Only root can try that.
"""

import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from supervised import STAGES, Supervisor, ids, write_config
from support import (DONE, FINAL, Process, Server, program, stored_events,
                     wait_until)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root")

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")


def identity_of(pid):
    """The user, group and further groups of a process; the first two four
    times each: real, effective, saved, file system."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [list(map(int, re.search(rf"{key}:(.*)", status)[1].split()))
            for key in ("Uid", "Gid", "Groups")]


def owner_of(path):
    st = path.stat()
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def supervise(place, name="log"):
    return Supervisor(place, name=name, binary=place / "bin" / "supervisor")


@pytest.mark.parametrize("keys, uid, gid, groups", [
    ("user: nobody", NOBODY.pw_uid, NOBODY.pw_gid, [NOBODY.pw_gid]),
    ("user: nobody\ngroup: daemon", NOBODY.pw_uid, DAEMON.pw_gid, None),
    ("user: 12345\ngroup: 12346", 12345, 12346, [12346]),
    ("group: daemon", 0, DAEMON.pw_gid, None),
])
def test_all_stages_are_that_user(place, keys, uid, gid, groups):
    with Server(place) as server:
        write_config(place, server.url, extra=keys + "\n")
        with supervise(place) as supervisor:
            pids = supervisor.wait_started()
            server.wait_count(3)
            for stage in STAGES:
                found = identity_of(pids[stage])
                assert found[0] == [uid] * 4 and found[1] == [gid] * 4
                assert gid in found[2] or found[2] == []
                if groups is not None:
                    assert found[2] == groups
            assert identity_of(supervisor.pid)[0] == [0] * 4
            # They may reach what is theirs, and see nothing else there.
            state = place / "state"
            assert owner_of(state) == (0, gid, 0o710)
            assert owner_of(state / "01") == (uid, gid, 0o700)
            assert owner_of(state / "01/p") == (uid, gid, 0o700)
            assert owner_of(state / "LOCK")[0::2] == (0, 0o600)
            assert owner_of(state / "SOCKET")[0::2] == (0, 0o600)
            # Killed with the supervisor, as whoever they run.
            supervisor.kill()
            supervisor.wait_gone(pids.values())


# A user of whom this machine knows nothing, with a group of his own, another
# that he is in as well, and one that he is not in.
USER = "walpipe-test"
UID, GID, ALSO, NOT = range(54321, 54325)
DATABASE = {
    "passwd": f"{USER}:x:{UID}:{GID}::/:/bin/false\n",
    "group": f"{USER}:x:{GID}:\n{USER}-also:x:{ALSO}:root,{USER}\n"
             f"{USER}-not:x:{NOT}:root\n",
}
# Runs its arguments where there is such a user: as the files in $0 say.
NAMESPACE = """
set -e
for name in passwd group; do mount --bind "$0/$name" /etc/$name; done
exec "$@"
"""


def test_all_groups_of_a_user(place):
    """Those that he is in as well, and no others; in a mount namespace, so that
    the machine's own files need not be touched."""
    for name, lines in DATABASE.items():
        (place / name).write_text(Path(f"/etc/{name}").read_text() + lines)
    inside = ["unshare", "--mount", "sh", "-c", NAMESPACE, place]
    if shutil.which(inside[0]) is None or subprocess.run(
            [*inside, "getent", "passwd", USER],
            capture_output=True).returncode != 0:
        pytest.skip("skipped: no other users, no mount namespace")
    with Server(place) as server:
        write_config(place, server.url, extra=f"user: {USER}\n")
        with Supervisor(place, *inside[1:], place / "bin" / "supervisor",
                        binary=inside[0]) as supervisor:
            pids = supervisor.wait_started()
            server.wait_count(3)
            for stage in STAGES:
                uids, gids, groups = identity_of(pids[stage])
                assert (set(uids), set(gids)) == ({UID}, {GID})
                assert sorted(groups) == [GID, ALSO]
            assert supervisor.stop() == DONE


def test_a_log_changes_hands(place):
    """From root to nobody to another, and back: nothing is lost, and what a
    link in it leads to stays as it is."""
    outside = place / "outside"
    outside.write_text("x")
    sent = 0
    with Server(place) as server:
        server.kill()
        for n, keys in enumerate(["", "user: nobody", "", "user: nobody",
                                  "user: daemon", ""]):
            write_config(place, server.url, timeout=0.2, count=10, interval=0,
                         extra=keys + "\n")
            with supervise(place, f"log{n}") as supervisor:
                supervisor.wait_started()
                wait_until(lambda: ("metronome", "exit status 0") in
                           supervisor.ends(), "end of the source")
                assert supervisor.stop() == DONE
            if n == 0:
                (place / "state/01/p/link").symlink_to(outside)
                os.link(outside, place / "state/01/p/second-name")
            sent += 10
        assert owner_of(outside)[0] == 0
        server.start()
        write_config(place, server.url, count=10, interval=0,
                     extra="user: nobody\n")
        with supervise(place, "last") as supervisor:
            assert supervisor.wait() == DONE
        assert ids(server) == list(range(10)) * (sent // 10 + 1)
    assert owner_of(outside)[0] == 0


def test_a_repair_by_root_leaves_the_log_to_its_owner(place):
    write_config(place, timeout=0.2, extra="user: nobody\n")
    wal = place / "state/01/p"
    with supervise(place) as supervisor:
        supervisor.wait_started()
        wait_until(lambda: stored_events(wal), "events")
        assert supervisor.stop() == DONE
    [segment] = wal.glob("*.seg")
    data = bytearray(segment.read_bytes())
    # Within the first event: of those behind it it is known that they are.
    data[data.index(b'"onramp"') + 2] ^= 1
    segment.write_bytes(data)
    done = subprocess.run([program("walproc"), "repair", wal],
                          capture_output=True, text=True)
    assert done.returncode == DONE, done.stderr
    assert list((wal / "quarantine").iterdir())
    assert {owner_of(path)[0] for path in wal.rglob("*")} == {NOBODY.pw_uid}
    with supervise(place, "next") as supervisor:
        supervisor.wait_started()
        supervisor.wait_log("1 events from 1 on are missing")
        assert supervisor.stop() == DONE


def test_a_repair_finds_the_log_of_a_user_of_before(place):
    """Who may not pass all that leads to it any more."""
    write_config(place, timeout=0.2, count=1, extra="user: nobody\n")
    with supervise(place) as supervisor:
        supervisor.wait_started()
        assert supervisor.stop() == DONE
    (place / "state").chmod(0o700)
    os.chown(place / "state", 0, 0)
    done = subprocess.run([program("walproc"), "repair", "01/p"],
                          cwd=place / "state", capture_output=True, text=True)
    assert done.returncode == DONE, done.stderr
    assert done.stdout.startswith("sound: ")


def test_what_cannot_change_hands(place):
    """Some file systems let nobody give a file away; as root the stages can
    work there still."""
    (place / "state/01").mkdir(parents=True)
    os.chown(place / "state/01", DAEMON.pw_uid, DAEMON.pw_gid)
    write_config(place, timeout=0.2)
    with Process(["setpriv", "--bounding-set", "-chown",
                  place / "bin/supervisor", "-c", "c.yaml"], place / "log",
                 cwd=place) as process:
        process.wait_log("01: cannot take")
        wait_until(lambda: stored_events(place / "state/01/p"), "events")
        assert process.stop() == DONE


@pytest.mark.parametrize("keys, words", [
    ("user: no-such-user", 'no-such-user'),
    ("group: no-such-group", 'no-such-group'),
    ("user: 12345", "its group is not known"),
])
def test_nobody_of_that_name(place, keys, words):
    write_config(place, extra=keys + "\n")
    with supervise(place) as supervisor:
        assert supervisor.wait() == FINAL
        assert words in supervisor.text()
        assert not list((place / "state").glob("*/p"))


def test_only_root_can(place):
    """Somebody else may name himself, and no other."""
    (place / "home").mkdir()
    os.chown(place / "home", NOBODY.pw_uid, NOBODY.pw_gid)
    for user, code in (("daemon", FINAL), ("nobody", DONE)):
        with Server(place / "home") as server:
            write_config(place / "home", server.url, count=3,
                         extra=f"user: {user}\n")
            with Process([place / "bin/supervisor", "-c", "c.yaml"],
                         place / f"log-{user}", cwd=place / "home",
                         user=NOBODY.pw_uid, group=NOBODY.pw_gid,
                         extra_groups=[]) as supervisor:
                assert supervisor.wait() == code, supervisor.text()
    assert "only root can run the stages as another user" in (
        place / "log-daemon").read_text()


def test_check_tells(place):
    write_config(place, extra="user: nobody\n")
    with open(place / "out", "w+") as out:
        with Process([program("supervisor"), "-c", "c.yaml", "check"],
                     place / "log", cwd=place, stdout=out) as process:
            assert process.wait() == DONE
        out.seek(0)
        assert "user: nobody" in out.read()

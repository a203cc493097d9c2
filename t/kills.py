"""A supervised pipeline whose processes are killed, aborted and frozen at
random, the supervisor and the server too; and what it leaves open or behind.
"""

import contextlib
import os
import random
import resource
import signal
import time
from pathlib import Path

from supervised import is_alive
from support import DONE, Process, stored_events, wait_until

SEED = int(os.environ.get("KILLS_SEED", "1"))

SUPERVISOR, SERVER = "supervisor", "server"
HOW = [signal.SIGKILL] * 3 + [signal.SIGABRT, signal.SIGSTOP]
# How often a stage is harmed in one life of its supervisor: each time it is
# restarted later than the last.
MOST_IN_A_LIFE = 3


def stat_of(pid):
    """State, parent and session of a process; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, _, session = text[text.rindex(")") + 2:].split()[:4]
    return state, int(parent), int(session)


def processes():
    return {int(p): stat for p in os.listdir("/proc") if p.isdigit()
            and (stat := stat_of(p)) is not None}


def has_mark(pid, mark):
    """Whether a process has this in its environment, where that can be
    read."""
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def children_of(pid):
    """The children of a process by their programs' names; a zombie has none,
    and stands under its number, and so does a second one of a program."""
    found = {}
    for child in [p for p, stat in processes().items() if stat[1] == pid]:
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # A script stands behind its interpreter.
        name = words[1 if words[0].endswith((b"python3", b"/sh")) else 0]
        name = os.path.basename(name).decode()
        found[str(child) if name in found or not name else name] = child
    return found


def open_fds(pid, but):
    """How many descriptors a process has that lead not into the directory
    `but`. One that is confined shows them to root only."""
    links = []
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except PermissionError:
        assert os.geteuid() != 0
    return sum(1 for link in links if not link.startswith(str(but)))


class Victims:
    """A supervisor on a configuration, with a server. `stages` are the names
    of the processes that it has when all is well."""

    def __init__(self, directory, server, binary, stages, part=0):
        self.directory = directory
        self.server = server
        self.binary = binary
        self.stages = stages
        self.random = random.Random(SEED * 1000 + part)
        print(f"KILLS_SEED={SEED} part {part}")
        self.wal = directory / "state" / "01" / "p"
        self.process = None
        self.sessions = set()
        self.mark = f"VICTIMS_OF={directory}"
        self.undo = []      # (when, what) to bring back what is away
        self.harms = {}     # how often who was harmed
        self.stored = {}    # what was seen in the log, by its number there
        self.fds = {}       # how many each has when all is well

    def start(self):
        """As cron would."""
        name, value = self.mark.split("=")
        self.process = Process(
            [self.binary, "-c", "c.yaml"], self.directory / "log",
            cwd=self.directory, start_new_session=True,
            env={**os.environ, name: value},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE,
                                                  (0, 0)))
        self.sessions.add(self.process.pid)

    def pids(self):
        """Of the stages that run."""
        return {name: pid for name, pid in children_of(self.process.pid)
                .items() if name in self.stages}

    def wait_complete(self):
        """Waits until all that should run does; their pids."""
        wait_until(lambda: set(self.pids()) == set(self.stages),
                   f"all of {self.stages}; see {self.process.log}")
        return self.pids()

    def has_ended(self):
        return not self.process.is_running()

    def received_bytes(self):
        try:
            return os.stat(self.server.out).st_size
        except FileNotFoundError:
            return 0

    def wait_flow(self, count=20):
        """Waits until so many events more have arrived, about."""
        self.bring_back()
        until = self.received_bytes() + 8 * count
        wait_until(lambda: self.received_bytes() >= until or self.has_ended(),
                   f"{count} events; see {self.process.log}")
        assert not self.has_ended(), self.process.text()[-3000:]

    # What is done to them.

    def bring_back(self, now=float("inf")):
        """Undoes what was to be undone by now."""
        for entry in [e for e in self.undo if e[0] <= now]:
            self.undo.remove(entry)
            entry[1]()

    def later(self, what):
        """Does it after a moment, which varies."""
        self.undo.append((time.monotonic() + self.random.uniform(0.02, 0.3),
                          what))

    def freeze(self, pid):
        handle = os.pidfd_open(pid)

        def thaw():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        self.later(thaw)

    def harm_server(self, how):
        if not self.server.process.is_running():
            return False
        if how == signal.SIGSTOP:
            self.freeze(self.server.process.pid)
        else:
            self.server.process.signal(how)
            # What is frozen dies of an abort when it thaws.
            self.server.process.signal(signal.SIGCONT)
            assert self.server.process.wait() == -how
            self.server.kill()
            self.later(self.server.start)
        return True

    def harm_supervisor(self, how):
        # What is frozen cannot be aborted.
        self.bring_back()
        if how == signal.SIGSTOP:
            self.freeze(self.process.pid)
            return True
        before = self.pids().values()
        os.kill(self.process.pid, how)
        assert self.process.wait() == -how
        self.start()
        wait_until(lambda: not any(map(is_alive, before)),
                   "end of the stages of a supervisor that was killed")
        return True

    def harm_stage(self, name, how):
        pid = self.pids().get(name)
        if pid is None:
            return False
        # It may end by itself just now.
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGSTOP:
                self.freeze(pid)
            else:
                os.kill(pid, how)
            return True
        return False

    def harm(self, name):
        """Kills, aborts or freezes one; False if it is not there now."""
        self.bring_back(time.monotonic())
        how = self.random.choice(HOW)
        if name == SERVER:
            is_done = self.harm_server(how)
        elif name == SUPERVISOR:
            is_done = self.harm_supervisor(how)
        else:
            is_done = self.harm_stage(name, how)
        if is_done:
            self.harms[name] = self.harms.get(name, 0) + 1
            self.look()
        return is_done

    def harmed(self):
        """How often one of our own processes was: the server is none."""
        return sum(self.harms.values()) - self.harms.get(SERVER, 0)

    def look(self):
        """Takes a note of what is in the log at this moment."""
        try:
            self.stored.update(stored_events(self.wal))
        except FileNotFoundError:
            # A segment that was done with just now.
            pass

    def pause(self):
        """Lets some time go by: none, a moment, or until events flow."""
        kind = self.random.randrange(3)
        if kind == 1:
            time.sleep(self.random.uniform(0, 0.2))
        elif kind == 2:
            self.wait_flow(self.random.randrange(40))
        self.bring_back(time.monotonic())

    def life(self, names):
        """Harms the stages and the server until each has had its share, and
        counts what is open when all is well again."""
        left = [n for n in names if n != SUPERVISOR] * MOST_IN_A_LIFE
        self.random.shuffle(left)
        for name in left:
            self.pause()
            wait_until(lambda n=name: self.harm(n), f"{name} to harm")
        self.check_open()

    def check_open(self):
        """No zombie, no descriptor that was not there in the beginning."""
        self.wait_flow()
        self.wait_complete()
        wait_until(lambda: set(children_of(self.process.pid)) ==
                   set(self.stages), "zombies to be reaped")
        for name, pid in {SUPERVISOR: self.process.pid,
                          **self.pids()}.items():
            most = self.fds.setdefault(name, open_fds(pid, self.wal))
            wait_until(lambda p=pid, m=most: open_fds(p, self.wal) <= m,
                       f"{most} descriptors in {name}")

    def story(self, names, count):
        """Harms our own so often, in as many lives as that takes, and the
        server as well."""
        self.start()
        self.check_open()
        while self.harmed() < count:
            self.life(names)
            if SUPERVISOR in names:
                self.harm(SUPERVISOR)
            else:
                assert self.process.stop() == DONE
                self.start()
        print(f"harmed: {self.harms}")

    def stop(self):
        """An orderly end, once all is well; leaves no process."""
        self.wait_flow()
        self.wait_complete()
        assert self.process.stop() == DONE, self.process.text()
        wait_until(lambda: not self.strays(), f"no {self.strays()}")

    def strays(self):
        """What still runs of all that was ever started here, also if it has
        left the session."""
        return [pid for pid, (state, _, session) in processes().items()
                if state not in "ZX" and (session in self.sessions or
                                          has_mark(pid, self.mark.encode()))]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bring_back()
        if self.process is not None:
            self.process.kill()

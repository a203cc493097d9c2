"""What a stage can no longer do once it is confined (--sandbox), each act with
its control: without the option the same act is done. And what it still can do:
its work, to the end.
"""

import ctypes
import errno
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from control import Stage
from damages import DAMAGES
from neighbours import Wal, numbered, run_pipe, start_piped
from sinks import ENVIRONMENT, QUICK, piped, sink, usage
from supervised import Supervisor, write_config
from support import (AGAIN, BIN, DONE, PATIENCE, Process, Server, program,
                     shimmed)
from tls import Certificates, TlsServer, server_side

# Builds with a sanitizer do not confine.
pytestmark = pytest.mark.skipif(
    b"built without" in (BIN / "walproc").read_bytes(),
    reason="built without confinement")

SANDBOX = "--sandbox"
STAGES = ["metronome", "onramp", "walproc", "wssink"]
# What some machines refuse to everybody, or to everybody but root.
PRIVILEGES = {
    "process_vm_readv", "packet", "raw", "mptcp", "vsock", "mount", "chroot",
    "bpf", "io_uring", "userfaultfd", "keyctl", "open_by_handle_at",
    "own memory", "netlink", "inet6", "new privileges"}
NETWORK = {"inet", "inet6", "netlink", "connect"}

# What the filter of system calls leaves to each program, beside its work: the
# calls can be told from those of its work by paths and ports only.
CALLS = {"metronome": set(), "onramp": set(),
         "walproc": {"read", "write", "make", "own memory"},
         "wssink": {"read", "write", "make", "own memory", "bind"}}
# What Landlock refuses, but for the work, and from which version on.
LANDLOCK = {"read": 1, "write": 1, "make": 1, "own memory": 1, "execve": 1,
            "mount": 1, "process_vm_readv": 1, "connect": 4, "bind": 4,
            "abstract": 6, "kill": 6, "tgkill": 6}
# What no layer has to refuse, since the process gives it up before.
GIVEN_UP = {"be dumpable", "new privileges"}

# One of the files by which names are found; small systems have no /etc/hosts.
RESOLVER = next(path for path in ("/etc/hosts", "/etc/nsswitch.conf")
                if os.path.exists(path))


def asks_daemons(path="/etc/nsswitch.conf"):
    """Whether this machine asks others than files and the DNS for names."""
    text = Path(path).read_text() if os.path.exists(path) else ""
    modules = re.sub(r"\[.*?\]", "", " ".join(
        re.findall(r"^\s*hosts:([^#\n]*)", text, re.M))).split()
    return bool(set(modules) - {"files", "dns"}) or os.path.exists(
        "/var/run/nscd/socket")


def landlock():
    """Which version of Landlock the kernel has; 0 for none."""
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


def has_filters():
    """Whether the kernel filters system calls."""
    return "\nSeccomp:" in Path("/proc/self/status").read_text()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls"))


class Ground:
    """Where a program runs that tries what it should not (shim_confine.c)."""

    def __init__(self, tmp_path, name, port):
        self.name = name
        self.port = port
        self.log = tmp_path / f"{name}.log"
        self.input = tmp_path / "input"
        self.output = tmp_path / "output"
        self.wal = tmp_path / "wal"
        self.cwd = tmp_path / "cwd"
        self.secrets = tmp_path / "secrets"
        for path in (self.wal, self.cwd, self.secrets):
            path.mkdir()
        for path in (self.secrets / "token", self.secrets / "neighbour",
                     self.cwd / "file"):
            path.write_text("secret\n")
        self.input.write_text("1\n")

    def command(self):
        return [program(self.name)] + {
            "metronome": ["-n", "1"],
            "onramp": [],
            "walproc": ["-d", self.wal, "--acks", "none"],
            "wssink": ["-u", f"ws://127.0.0.1:{self.port}/",
                       "--bearer-auth-file", self.secrets / "token"],
        }[self.name]

    def start(self, *options, limit=0, prefix=(), **settings):
        """Returns the program, and a descriptor that brings what it tried."""
        reader, writer = os.pipe()
        read = ["/etc/passwd", RESOLVER, self.cwd / "file",
                *self.secrets.iterdir()]
        written = [self.output, self.cwd / "file", *self.secrets.iterdir()]
        made = [self.cwd / "made", self.wal / "made",
                self.wal.parent / "made"]
        env = shimmed("shim_confine", SHIM_RESULTS=writer,
                      SHIM_READ=":".join(map(str, read)),
                      SHIM_WRITE=":".join(map(str, written)),
                      SHIM_MAKE=":".join(map(str, made)),
                      SHIM_CONNECT=self.port, **settings)
        env = {k: v for k, v in env.items()
               if k in ENVIRONMENT or not k.lower().endswith("_proxy")}
        with open(self.input, "rb") as stdin, \
                open(self.output, "ab") as stdout:
            process = Process(
                [*prefix, *self.command(), *options], self.log, env=env,
                stdin=stdin, stdout=stdout, cwd=self.cwd, pass_fds=[writer],
                preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_CORE, (limit, limit)))
        os.close(writer)
        return process, reader

    def acts(self, *options, **settings):
        """The errno of each act, once the program has done its work."""
        process, reader = self.start(*options, **settings)
        with process, open(reader, encoding="utf-8") as results:
            lines = results.read().splitlines()
            assert process.wait() == DONE, process.text()
        assert len(lines) > 30, process.text()
        return {name: int(number) for name, number in
                (line.split("\t") for line in lines)}

    def kept(self):
        """The acts that are part of the program's work."""
        return {
            "metronome": set(),
            "onramp": set(),
            "walproc": {f"make {self.wal / 'made'}"},
            "wssink": NETWORK | {f"read {self.secrets / 'token'}",
                                 f"read {RESOLVER}"} | (
                {"unix"} if asks_daemons() else set())}[self.name]

    def refusals(self, act, hidden):
        """With what an act has to fail, by the first layer that refuses it and
        is there; empty if none does."""
        kind = act.partition(" /")[0]
        left = CALLS[self.name]
        if "unix" in self.kept():
            left = left | {"abstract"}
        # walproc moves files, which the first version lets nobody do.
        since = max(LANDLOCK.get(kind, 0), 2 if self.name == "walproc" else 1)
        if act in self.kept():
            return set()
        if hidden != "seccomp" and has_filters() and kind not in left:
            return {errno.ENOSYS}
        if hidden != "landlock" and kind in LANDLOCK and landlock() >= since:
            return {errno.EACCES, errno.EPERM}
        return {errno.EPERM} if kind in GIVEN_UP else set()


# What a program says that has to do without a layer.
HIDDEN = {"": "", "landlock": "Landlock is version 0",
          "seccomp": "the kernel has no filters"}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("name", STAGES)
def test_what_is_not_needed_is_refused(tmp_path, server, name, hidden):
    """Each act is done without the option, and refused with it; but for what
    the program's work is, and that goes on either way. With one layer hidden
    the other one refuses alone what it should: of two that refuse the same,
    one might be missing unseen."""
    ground = Ground(tmp_path, name, server.port)
    here = f"walpipe-test-{os.getpid()}-{name}"
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{here}")
        abstract.listen()
        free = ground.acts(SHIM_ABSTRACT=here)
        confined = ground.acts(SANDBOX, "-v", SHIM_ABSTRACT=here,
                               SHIM_HIDE=hidden)
    assert HIDDEN[hidden] in ground.log.read_text()
    assert free.keys() == confined.keys() >= ground.kept()
    for act, number in free.items():
        refused = confined[act]
        told = act, errno.errorcode.get(refused)
        refusals = ground.refusals(act, hidden)
        if number != 0:
            assert act in PRIVILEGES, (act, errno.errorcode[number])
        elif act in ground.kept():
            assert refused == 0, told
        # A filter refuses also what cannot be done anyway.
        if refusals and (number == 0 or refusals == {errno.ENOSYS}):
            assert refused in refusals, told


def dumps_to_a_file(path="/proc/sys/kernel/core_pattern"):
    """Whether cores are files here; a program takes them of any size."""
    return os.path.exists(path) and Path(path).read_text()[0] not in "|@"


@pytest.mark.parametrize("hidden", ["landlock", "landlock dumpable"])
@pytest.mark.parametrize("name", STAGES)
def test_an_abort_leaves_no_core(tmp_path, server, name, hidden):
    """Whoever starts the program has set no limit to it, and Landlock does not
    keep the kernel from making the file. Where a core is a file, there is none
    either of a process that can be dumped."""
    if "dumpable" in hidden and not dumps_to_a_file():
        pytest.skip("cores are no files here")
    ground = Ground(tmp_path, name, server.port)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    for options in ((), (SANDBOX,)):
        process, reader = ground.start(*options, limit=hard, SHIM_ABORT=1,
                                       SHIM_HIDE=hidden)
        with process, open(reader, "rb") as results:
            results.read()
            _, status = os.waitpid(process.pid, 0)
            process.child.returncode = status
        assert os.WIFSIGNALED(status), process.text()
        assert os.WTERMSIG(status) == signal.SIGABRT
        if not options and not os.WCOREDUMP(status):
            pytest.skip("no process leaves a core here")
        assert os.WCOREDUMP(status) == (options == ())
        for core in ground.cwd.glob("core*"):
            assert not options
            core.unlink()


def layers_of(pid):
    """What the kernel says of a process, as far as it knows of these."""
    return dict(re.findall(r"^(NoNewPrivs|Seccomp):\s*(\d)$",
                           Path(f"/proc/{pid}/status").read_text(), re.M))


@pytest.mark.parametrize("is_confined", [True, False])
@pytest.mark.parametrize("source, onramp", [
    ("metronome", None), ("onramp", "type: stdin")])
def test_the_stages_of_a_supervisor_are_confined(place, source, onramp,
                                                 is_confined):
    """Each of them, while it works; as another user if root tries it, whose
    processes are root's in any case."""
    uid, extra = os.geteuid(), "" if is_confined else "sandbox: false\n"
    if uid == 0:
        uid, extra = pwd.getpwnam("nobody").pw_uid, extra + "user: nobody\n"
    with Server(place) as server:
        write_config(place, server.url, onramp=onramp, extra=extra)
        with Supervisor(place, binary=place / "bin/supervisor",
                        stdin=subprocess.PIPE) as running, \
                running.child.stdin as stdin:
            pids = running.wait_started(stages=[source, "walproc", "wssink"])
            stdin.write(b"1\n")
            stdin.flush()
            server.wait_count(1)
            for stage, pid in pids.items():
                # What cannot be dumped nobody but root may look into.
                owner = os.stat(f"/proc/{pid}/mem").st_uid
                assert owner == (0 if is_confined else uid), stage
                if is_confined:
                    assert layers_of(pid).items() <= {
                        "NoNewPrivs": "1", "Seccomp": "2"}.items(), stage
            running.kill()
            running.wait_gone(pids.values())


def test_events_flow_from_end_to_end(tmp_path, certificates):
    """All of them confined, over sockets, segments that are rolled, and TLS with
    a certificate authority of its own."""
    pairs = [socket.socketpair() for _ in range(2)]
    with TlsServer(server_side(certificates.get("good"))) as server:
        commands = [
            ("metronome", ["-i", "0", "-n", "3000"],
             subprocess.DEVNULL, pairs[0][0]),
            ("walproc", ["-d", tmp_path / "wal", "--segment-bytes", "16384"],
             pairs[0][1], pairs[1][0]),
            ("wssink", ["-u", server.url, "--cacert", certificates.root.crt],
             pairs[1][1], subprocess.DEVNULL)]
        stages = [Process([program(name), SANDBOX, *options],
                          tmp_path / f"{name}.log", stdin=stdin,
                          stdout=stdout, env=ENVIRONMENT)
                  for name, options, stdin, stdout in commands]
        for pair in pairs:
            for end in pair:
                end.close()
        for stage in stages:
            assert stage.wait() == DONE, stage.text()
        assert len(set(server.messages)) == 3000


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_log_is_repaired_as_ever(tmp_path, log, kind):
    """What comes out, and how much is left in the quarantine, is the same with
    the option and without."""
    found = []
    DAMAGES[kind](log)
    for options in ((), (SANDBOX,)):
        directory = tmp_path / f"log{len(options)}"
        shutil.copytree(log, directory / "wal")
        code, out, text = run_pipe(directory, b"", "--max-elements",
                                   "100000", *options)
        assert code == DONE, text
        found.append((out, sorted(
            p.stat().st_size for p in directory.glob("wal/quarantine/*"))))
    assert found[0] == found[1]


def put_odd_files(wal):
    """Of each kind that can be, under names that are the log's."""
    names = [f"{n:020}.seg" for n in (7, 8, 9)]
    (wal / names[0]).mkdir()
    os.mkfifo(wal / names[1])
    os.symlink("/nonexistent", wal / names[2])
    (wal / "quarantine").write_text("in the way\n")
    (wal / "cursor").unlink()
    (wal / "cursor").mkdir()


def test_odd_files_are_put_aside_as_ever(tmp_path, log):
    found = []
    put_odd_files(log)
    for options in ((), (SANDBOX,)):
        directory = tmp_path / f"log{len(options)}"
        # cp(1) takes a FIFO for what it is.
        directory.mkdir()
        subprocess.run(["cp", "-a", log, directory / "wal"], check=True)
        done = run_pipe(directory, b"", "--max-elements", "100000", *options)
        found.append((done[0], done[1], sorted(
            p.lstat().st_mode for p in (directory / "wal").rglob("*"))))
    assert found[0] == found[1]


def test_a_kill_is_survived(tmp_path):
    """A torn tail is cut, and what was acked comes."""
    with Wal(tmp_path, SANDBOX, "--segment-bytes", "16384") as wal:
        wal.send(*numbered(0, 500))
        wal.wait_acked(500)
        wal.process.kill()
    last = max((tmp_path / "wal").glob("*.seg"))
    with open(last, "ab") as file:
        file.write(b"WPBH torn")
    with Wal(tmp_path, SANDBOX, "--read-count", "1000") as wal:
        assert [wal.event() for _ in range(500)] == numbered(0, 500)


def test_a_half_line_of_the_output_is_ended(tmp_path):
    """That reads what walproc has open for writing only."""
    (tmp_path / "out").write_bytes(b'{"half')
    process, end = start_piped(tmp_path, SANDBOX)
    os.write(end, b"1\n")
    os.close(end)
    with process:
        assert process.wait() == DONE, process.text()
    assert (tmp_path / "out").read_bytes() == b'{"half\n1\n'


def test_acks_through_a_fifo_reach_a_confined_walproc(tmp_path, server):
    fifo = tmp_path / "acks"
    with Process([program("walproc"), "-d", tmp_path / "wal", "--acks", fifo,
                  SANDBOX], tmp_path / "walproc.log", stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE) as walproc, \
            sink(tmp_path, server.url, "--acks", fifo,
                 stdin=walproc.child.stdout) as wssink:
        walproc.child.stdout.close()
        walproc.child.stdin.write(b"1\n2\n")
        walproc.child.stdin.close()
        assert walproc.wait() == DONE, walproc.text()
        assert wssink.wait() == DONE, wssink.text()
    assert server.lines() == [b"1", b"2"]


def test_a_fifo_for_the_acks_cannot_be_permitted():
    assert "--sandbox with --acks" in usage(
        "-u", "ws://127.0.0.1/", SANDBOX, "--acks", "/nonexistent")


def can_mount():
    return not subprocess.run(["unshare", "-m", "true"],
                              capture_output=True).returncode


@pytest.mark.skipif(not can_mount(), reason="no mount namespace here")
@pytest.mark.parametrize("hosts, has_daemon", [
    ("files dns", False), ("files [NOTFOUND=return] dns # resolve", False),
    ("files resolve [!UNAVAIL=return] dns", True), ("mymachines files", True)])
def test_sockets_of_this_machine_are_for_names_only(tmp_path, server, hosts,
                                                    has_daemon):
    """A socket of the Unix domain leads to whoever listens there."""
    conf = tmp_path / "nsswitch.conf"
    conf.write_text(f"passwd: files systemd\nhosts: {hosts}\n")
    if os.path.exists("/var/run/nscd/socket"):
        pytest.skip("skipped: nscd runs here")
    script = ('mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"')
    acts = Ground(tmp_path, "wssink", server.port).acts(
        SANDBOX, prefix=["unshare", "-m", "sh", "-c", script, "sh", conf])
    assert acts["unix"] == (0 if has_daemon else errno.ENOSYS)


@pytest.mark.parametrize("is_option", [True, False])
def test_a_proxy_may_be_a_socket_of_this_machine(tmp_path, is_option):
    with socket.socket(socket.AF_UNIX) as proxy:
        proxy.bind(str(tmp_path / "proxy"))
        proxy.listen()
        proxy.settimeout(PATIENCE)
        url = f"socks5h://localhost{tmp_path}/proxy"
        options = ["--proxy", url] if is_option else []
        env = {} if is_option else {"ALL_PROXY": url}
        with Process([program("wssink"), "-u", "ws://a.invalid/", *options,
                      SANDBOX, *QUICK], tmp_path / "log",
                     env={**ENVIRONMENT, **env}, stdin=subprocess.PIPE):
            with proxy.accept()[0] as peer:
                # The version, in the first byte of SOCKS5 (RFC 1928).
                assert peer.recv(1) == b"\x05"


@pytest.mark.skipif(not can_mount(), reason="no mount namespace here")
def test_names_are_found(tmp_path, raw):
    """In /etc/hosts, by a thread of libcurl's."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 name-of-the-test.invalid\n")
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    url = f"ws://name-of-the-test.invalid:{raw.port}/"
    with Process(["unshare", "-m", "sh", "-c", script, "sh", hosts,
                  program("wssink"), "-u", url, SANDBOX, *QUICK],
                 tmp_path / "wssink.log", stdin=subprocess.PIPE,
                 env=ENVIRONMENT):
        peer = raw.accept()
        assert peer.header("Host") == f"name-of-the-test.invalid:{raw.port}"
        peer.close()


def guarded(tmp_path, server, *options):
    """A wssink that shows a token to the server, which stands in a file."""
    return piped(tmp_path, server.url, "--bearer-auth-file",
                 tmp_path / "token", *QUICK, *options)


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("one\n")
    return path


def lose(server, peer):
    """Hangs up, and returns the next connection."""
    peer.close()
    return server.accept().upgrade()


def replace(path, text):
    """As programs that rotate tokens do it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


@pytest.mark.parametrize("options", [(), (SANDBOX,)])
def test_a_file_that_is_written_anew_is_read(tmp_path, raw, token, options):
    """The same file has another token; nothing starts again for that."""
    with guarded(tmp_path, raw, *options) as (process, _):
        peer = raw.accept().upgrade()
        assert peer.header("Authorization") == "Bearer one"
        token.write_text("two\n")
        peer = lose(raw, peer)
        assert peer.header("Authorization") == "Bearer two"
        peer.close()


def test_a_file_that_is_replaced_needs_another_start(tmp_path, raw, token):
    """The new file is not the one that was permitted. That is found out with
    the next try to connect; what was not acked comes again."""
    with guarded(tmp_path, raw, SANDBOX) as (process, ours):
        peer = raw.accept().upgrade()
        replace(token, "two\n")
        ours.sendall(b"\0\0\0\x011")
        assert peer.next()[1] == b"1", "it goes on with what it has"
        peer.close()
        assert process.wait() == AGAIN, process.text()
        assert f"warn {token} was replaced: starting again" in process.text()
        ours.settimeout(PATIENCE)
        assert b'"ack"' not in ours.recv(1 << 16)
    with guarded(tmp_path, raw, SANDBOX):
        assert raw.accept().header("Authorization") == "Bearer two"


@pytest.mark.parametrize("options", [(), [SANDBOX]])
def test_a_bad_file_is_not_final_where_starts_are_many(
        tmp_path, token, options):
    """A sink is started again by its supervisor at any moment; what is wrong
    with a file then may be on its way."""
    token.write_text("not one token\n")
    command = ["-u", "ws://127.0.0.1:1/", "--bearer-auth-file", token]
    with Stage(tmp_path / "log", "wssink", *command, *options,
               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as stage:
        assert stage.wait() == AGAIN, stage.text()
    # By hand it is wrong usage.
    assert "is not a token" in usage(*command, *options)


def test_a_file_that_is_replaced_is_read_where_nothing_is_confined(
        tmp_path, raw, token):
    with guarded(tmp_path, raw):
        peer = raw.accept().upgrade()
        replace(token, "two\n")
        peer = lose(raw, peer)
        assert peer.header("Authorization") == "Bearer two"
        peer.close()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_file_in_its_place_is_waited_for(tmp_path, raw, token, is_there):
    """While there is none, or it is empty, what was read before is used: no
    start should end upon a file that is about to be written."""
    with guarded(tmp_path, raw, SANDBOX) as (process, _):
        peer = raw.accept().upgrade()
        token.unlink()
        if is_there:
            token.touch()
        peer = lose(raw, peer)
        assert peer.header("Authorization") == "Bearer one"
        token.write_text("two\n")
        peer.close()
        assert process.wait() == AGAIN, process.text()

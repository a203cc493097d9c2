"""Websocket servers that others wrote, each behind the same few methods as
support.Server: node-ws, websocketd, and nginx in front of one of the others.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support import (HERE, Process, Server, events_of, free_port, lines_of,
                     wait_until)
from tls import self_signed

TCP_LISTEN = "0A"


class Websockets(Server):
    """python3-websockets."""

    trust = ()


class NodeWs(Server):
    """node-ws, in t/ws_server.js."""

    command = ("env", "NODE_PATH=/usr/share/nodejs", "node",
               HERE / "ws_server.js")
    trust = ()


def sockets_of(pid):
    """The inodes of the sockets that a process has open."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, rest = os.readlink(fd).partition(":")
            if kind == "socket":
                inodes.add(rest.strip("[]"))
    return inodes


def is_listening(pid, port):
    """Whether the process itself, not another, listens on 127.0.0.1:port."""
    local = f"0100007F:{port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table]
    return bool({row[9] for row in rows
                 if row[1] == local and row[3] == TCP_LISTEN}
                & sockets_of(pid))


def hang(process):
    """Stops a server, and the children that do the work for it."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
        pids = [process.pid, *map(int, children.read().split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda: "(stopped)" in Path(
            f"/proc/{pid}/status").read_text(), "a stop")


class OnFreePort:
    """A server that cannot be asked which port it found: is given one that
    was free a moment ago, and another if that was taken in between."""

    TRIES = 10

    def __init__(self):
        self.port = None
        self.process = None
        for _ in range(self.TRIES):
            self.port = free_port()
            if self.listens():
                return
        raise AssertionError(self.process.text())

    def launch(self):
        """Returns the process, told to listen on self.port."""
        raise NotImplementedError

    def listens(self):
        """Starts it, and returns whether it got its port."""
        self.process = self.launch()
        wait_until(lambda: not self.process.is_running()
                   or is_listening(self.process.pid, self.port),
                   f"port {self.port}")
        return self.process.is_running()

    def start(self):
        assert self.listens(), self.process.text()

    def kill(self):
        self.process.kill()

    def restart(self):
        self.kill()
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Websocketd(OnFreePort):
    """websocketd, which writes each message as a line to the standard input
    of a program of the connection: here one that copies it into a file.

    It needs a file for each connection. That program lives on when websocketd
    is killed, until it has read its pipe to the end, and may write while the
    one of the next connection does.
    """

    trust = ()
    # The name is the time of the connection. The shell keeps the standard
    # output, whose end would be that of the connection.
    COPY = 'cat >"$0/$UNIQUE_ID"; :'

    def __init__(self, directory, copy=COPY, name="websocketd"):
        self.copy = copy
        self.log = Path(directory) / f"{name}.log"
        self.out = Path(directory) / name
        self.out.mkdir()
        super().__init__()

    def launch(self):
        # Else it would kill a program that has not read all of its pipe
        # within 0.1 s after the end of the connection.
        patient = "--closems", "60000"
        return Process(
            ["websocketd", "--loglevel", "error", *patient, "--address",
             "127.0.0.1", "--port", self.port, "sh", "-c", self.copy,
             self.out], self.log, stdout=subprocess.DEVNULL)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def lines(self):
        return list(itertools.chain.from_iterable(
            lines_of(path) for path in sorted(self.out.iterdir())))

    def events(self):
        return list(itertools.chain.from_iterable(
            events_of(path) for path in sorted(self.out.iterdir())))

    wait_count = Server.wait_count


NGINX_CONF = """\
daemon off;
worker_processes 1;
{user}
pid {home}/pid;
error_log {home}/error.log;
worker_shutdown_timeout 1s;
events {{
    worker_connections 64;
}}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    scgi_temp_path {home}/scgi;
    uwsgi_temp_path {home}/uwsgi;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "Upgrade";
    server {{
        listen 127.0.0.1:{port}{site}
    }}
}}
"""


class AnyNginx(OnFreePort):
    """nginx; what it serves is in `site`, behind the port that it listens
    on."""

    def __init__(self, directory, site, name="nginx"):
        if not found("nginx"):
            pytest.skip("no nginx")
        self.home = Path(directory) / name
        self.home.mkdir(exist_ok=True)
        self.site = site
        super().__init__()

    def launch(self):
        (self.home / "conf").write_text(NGINX_CONF.format(
            home=self.home, port=self.port, site=self.site,
            user="user root;" if os.geteuid() == 0 else ""))
        return Process(
            [found("nginx"), "-p", self.home, "-c", self.home / "conf",
             "-e", self.home / "error.log"],
            self.home / "log", start_new_session=True)

    def reload(self):
        """New workers, which take what comes new; the old ones drop theirs
        after the worker_shutdown_timeout."""
        self.process.signal(signal.SIGHUP)

    def kill(self):
        # The workers outlive their master else.
        if self.process.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


REFUSING_SITE = """;
        location /moved {{ return 301 /in; }}
        location /none {{ root {home}/nothing; }}
        location /shut {{ deny all; }}
        location /in {{
            proxy_pass http://127.0.0.1:{backend}/;
            {more}
        }}
"""


class RefusingNginx(AnyNginx):
    """nginx, which refuses all but what goes to /in, for which it asks the
    port `backend`; `more` is said of that place."""

    def __init__(self, directory, backend, more=""):
        super().__init__(directory, REFUSING_SITE.format(
            home=directory, backend=backend, more=more))

    def url_of(self, path):
        return f"ws://127.0.0.1:{self.port}/{path}"


TLS_SITE = """ ssl;
        ssl_certificate {home}/server.pem;
        ssl_certificate_key {home}/server.key;
        ssl_client_certificate {home}/client.pem;
        ssl_verify_client on;
        proxy_read_timeout {read_timeout}s;
        proxy_send_timeout 600s;
{locations}
"""


class Nginx(AnyNginx):
    """nginx, which ends the TLS, wants a certificate of the client, and passes
    the rest on to servers[N] at the path /N."""

    def __init__(self, directory, *servers, read_timeout=600):
        self.servers = servers
        home = Path(directory) / "nginx"
        home.mkdir()
        for name, more in (
                ("server", ["-addext", "subjectAltName=IP:127.0.0.1"]),
                ("client", [])):
            self_signed(home / f"{name}.pem", home / f"{name}.key", name,
                        *more)
        self.trust = ("--cacert", home / "server.pem",
                      "--cert", home / "client.pem",
                      "--key", home / "client.key")
        locations = "\n".join(
            f"        location /{n} {{ proxy_pass "
            f"http://127.0.0.1:{server.port}; }}"
            for n, server in enumerate(servers))
        super().__init__(directory, TLS_SITE.format(
            home=home, read_timeout=read_timeout, locations=locations))

    @property
    def url(self):
        return self.url_of(0)

    def url_of(self, n):
        return f"wss://127.0.0.1:{self.port}/{n}"

    def lines(self):
        return self.servers[0].lines()

    def events(self):
        return self.servers[0].events()

    def wait_count(self, count):
        self.servers[0].wait_count(count)


NEEDS = {
    "websockets": (),
    "websocketd": ("websocketd",),
    "node-ws": ("node", "/usr/share/nodejs/ws/index.js"),
    "nginx": ("nginx", "node", "/usr/share/nodejs/ws/index.js"),
}


def found(need):
    """The path of a program or a file, or None."""
    # sbin is not in everybody's PATH.
    path = shutil.which(need, path=os.environ["PATH"] + ":/usr/sbin")
    return path or (need if os.path.isfile(need) else None)


def skip_without(*kinds):
    for need in {need for kind in kinds for need in NEEDS[kind]}:
        if not found(need):
            pytest.skip(f"no {need}")


@contextlib.contextmanager
def serving(kind, directory, *options):
    """A running server of one of these kinds; nginx stands in front of
    node-ws. The options are those of ws_server.py."""
    skip_without(kind)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        if kind == "websockets":
            yield enter(Websockets(directory, *options))
        elif kind == "websocketd":
            yield enter(Websocketd(directory, *options))
        else:
            server = enter(NodeWs(directory, *options))
            if kind == "nginx":
                server = enter(Nginx(directory, server))
            yield server

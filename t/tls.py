"""What the tests of TLS share: certificates, good ones and each kind of bad
one, made with openssl(1) when a test first wants them; python3-websockets
behind TLS; and a relay that passes on bytes as badly as a test needs.
"""

import asyncio
import contextlib
import datetime
import functools
import os
import re
import shutil
import socket
import ssl
import subprocess
import warnings

from websockets.legacy.server import WebSocketServerProtocol, serve

from background import Background
from sinks import ENVIRONMENT, QUICK, Peer
from support import PATIENCE, Process, program

HERE = "DNS:localhost,IP:127.0.0.1,IP:::1"
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
RSA = ["-newkey", "rsa:2048"]
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

CONFIG = """
[ca]
default_ca = here
[here]
database = {0}/database
new_certs_dir = {0}
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
copy_extensions = copy
[any]
commonName = supplied
"""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True,
                   stdin=subprocess.DEVNULL, capture_output=True)


def self_signed(crt, key, name, *more):
    """A certificate that vouches for itself."""
    openssl("req", "-x509", *CURVE, "-nodes", "-days", "9", "-keyout", key,
            "-out", crt, "-subj", f"/CN={name}", *more)


def date(days):
    """A moment so many days from now, as openssl-ca(1) takes it."""
    then = datetime.datetime.now(datetime.timezone.utc) \
        + datetime.timedelta(days)
    return then.strftime("%Y%m%d%H%M%SZ")


class Authority:
    """Signs certificates. Its own is self.crt; a root's is signed by itself.
    """

    def __init__(self, directory, name, issuer=None):
        self.directory = directory / name
        self.directory.mkdir()
        self.crt = self.directory / "ca.crt"
        self.key = self.directory / "ca.key"
        if issuer is None:
            self_signed(self.crt, self.key, name)
        else:
            made = issuer.issue(name, "basicConstraints=critical,CA:TRUE")
            self.crt.write_bytes(made.crt.read_bytes())
            self.key.write_bytes(made.key.read_bytes())
        (self.directory / "database").touch()
        (self.directory / "conf").write_text(CONFIG.format(self.directory))

    def issue(self, name, extension=f"subjectAltName={HERE}", first=-1,
              last=5, key=CURVE):
        """A certificate that is valid from day `first` to day `last`."""
        made = Certificate(self.directory, name)
        request = self.directory / f"{name}.csr"
        openssl("req", "-new", *key, "-nodes", "-keyout", made.key, "-out",
                request, "-subj", f"/CN={name}", "-addext", extension)
        openssl("ca", "-batch", "-config", self.directory / "conf", "-cert",
                self.crt, "-keyfile", self.key, "-notext", "-in", request,
                "-out", made.crt, "-startdate", date(first), "-enddate",
                date(last))
        return made.join()


class Certificate:
    """One certificate's files: crt, key, and pem, which has both."""

    def __init__(self, directory, name):
        self.crt, self.key, self.pem = [
            directory / f"{name}.{end}" for end in ("crt", "key", "pem")]

    def join(self, *chain):
        self.pem.write_bytes(b"".join(
            path.read_bytes() for path in (self.key, self.crt, *chain)))
        return self


class Certificates:
    """All that the tests want of them; each is made once."""

    def __init__(self, directory):
        self.directory = directory

    @functools.cached_property
    def root(self):
        """Whom the clients of the tests trust."""
        return Authority(self.directory, "root")

    @functools.cached_property
    def stranger(self):
        return Authority(self.directory, "stranger")

    @functools.cached_property
    def between(self):
        return Authority(self.directory, "between", self.root)

    @functools.cache
    def get(self, kind):
        if kind == "good":
            return self.root.issue("good")
        if kind == "rsa":
            return self.root.issue("rsa", key=RSA)
        if kind == "expired":
            return self.root.issue("expired", first=-9, last=-1)
        if kind == "not yet valid":
            return self.root.issue("early", first=1, last=9)
        if kind == "other host":
            return self.root.issue("other",
                                   "subjectAltName=DNS:other.invalid")
        if kind == "unknown issuer":
            return self.stranger.issue("unknown")
        if kind == "intermediate":
            return self.between.issue("long").join(self.between.crt)
        if kind == "intermediate not sent":
            return self.between.issue("short")
        if kind == "self-signed":
            made = Certificate(self.directory, "self")
            self_signed(made.crt, made.key, "localhost", "-addext",
                        f"subjectAltName={HERE}")
            return made.join()
        raise KeyError(kind)


def server_side(certificate, low=None, high=None, client_ca=None, alpn=None):
    """The context of a server; with `client_ca` its clients have to show a
    certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.pem)
    if low:
        context.minimum_version = low
    if high:
        context.maximum_version = high
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca.crt)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


SYSTEM = "/etc/ssl/certs"


def can_replace_system_authorities():
    """Whether a mount namespace may be made."""
    return os.path.exists(SYSTEM) and not subprocess.run(
        ["unshare", "-m", "true"], capture_output=True).returncode


def with_system_authorities(tmp_path, url, crt, *options, data=b"1\n",
                            source=None):
    """A wssink in a mount namespace in which `crt` is all that the system
    trusts, with `source`, or `data` as a file, on its standard input."""
    (tmp_path / "input").write_bytes(data)
    certs = tmp_path / "certs"
    certs.mkdir()
    # The two ways in which Debian has them: all in a file, and by hash.
    shutil.copy(crt, certs / "ca-certificates.crt")
    shutil.copy(crt, certs / "one.pem")
    openssl("rehash", certs)
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    with open(tmp_path / "input", "rb") as stdin:
        return Process(["unshare", "-m", "sh", "-c", script, "sh", certs,
                        SYSTEM, program("wssink"), "-u", url, *QUICK,
                        *options],
                       tmp_path / "wssink.log", stdin=source or stdin,
                       env=ENVIRONMENT)


def old_server_side(certificates, version, cipher="AES128-SHA"):
    """The context of a server that has not been touched since 2008."""
    context = server_side(certificates.get("rsa"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = getattr(ssl.TLSVersion, version)
        context.maximum_version = getattr(ssl.TLSVersion, version)
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    return context


class TlsServer(Background):
    """python3-websockets, which keeps its messages in memory, behind TLS; or
    without, where the context is None."""

    def __init__(self, context, port=0, host="127.0.0.1", echo=()):
        super().__init__(port, host)
        self.context = context
        self.echo = echo      # messages to each client
        self.messages = []
        self.seen_bytes = 0   # what any client has sent, inside of TLS
        self.sessions = []    # of each connection: TLS version, ALPN
        self.url = f"ws{'s' if context else ''}://127.0.0.1:{self.port}/"

    def protocol(self, *arguments, **options):
        server = self

        class Watched(WebSocketServerProtocol):
            def connection_made(self, transport):
                tls = transport.get_extra_info("ssl_object")
                if tls:
                    server.sessions.append(
                        (tls.version(), tls.selected_alpn_protocol()))
                super().connection_made(transport)

            def data_received(self, data):
                server.seen_bytes += len(data)
                super().data_received(data)
        return Watched(*arguments, **options)

    async def handle(self, connection, path=None):
        async def talk():
            for message in self.echo:
                await connection.send(message)

        talking = asyncio.ensure_future(talk())
        async for message in connection:
            self.messages.append(message)
        talking.cancel()

    def hang_up(self):
        """Ends its connections without a Close."""
        def abort():
            for connection in list(self.server.ws_server.websockets):
                connection.transport.abort()
        self.loop.call_soon_threadsafe(abort)

    def serving(self):
        self.server = serve(self.handle, sock=self.listener, ssl=self.context,
                            create_protocol=self.protocol,
                            max_size=1 << 25, compression=None)
        return self.server


class Relay(Background):
    """Passes on bytes to a port of this machine; with a context it is TLS
    that it takes. Of what goes back to the client the first `slow` bytes go
    one at a time, and nothing goes after `cut` bytes. Then `piece` bytes at
    most go at a time."""

    def __init__(self, to, context=None, slow=0, cut=None, piece=1 << 16):
        super().__init__()
        self.to = to
        self.context = context
        self.slow, self.cut, self.piece = slow, cut, piece
        self.clients = 0

    async def back(self, reader, writer):
        count = 0
        while True:
            size = 1 if count < self.slow else self.piece
            if self.cut is not None:
                size = min(size, self.cut - count)
            data = await reader.read(size) if size else b""
            if not data:
                break
            writer.write(data)
            await writer.drain()
            count += len(data)
            if count < self.slow:
                await asyncio.sleep(0.0002)
        if self.cut is not None and count == self.cut:
            await asyncio.Event().wait()

    async def forth(self, reader, writer):
        while True:
            data = await reader.read(1 << 16)
            if not data:
                break
            writer.write(data)
            await writer.drain()

    async def client(self, reader, writer):
        self.clients += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
            ways = [asyncio.ensure_future(self.forth(reader, outer)),
                    asyncio.ensure_future(self.back(inner, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            outer.close()
        writer.close()

    @contextlib.asynccontextmanager
    async def serving(self):
        server = await asyncio.start_server(
            self.client, sock=self.listener, ssl=self.context)
        async with server:
            yield


class ByHand:
    """openssl-s_server(1): what it reads goes out inside of TLS, what comes
    in goes to its standard output, and a line of one letter is a command. As
    a socket, for sinks.Peer: one of packets, so that what it reads at once is
    what was written at once, and its own words stand alone.
    """

    WORDS = rb"((Read|Write) BLOCK\n|SSL_do_handshake -> 1\n)+"

    def __init__(self, tmp_path, certificate, *options):
        self.sock, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        with theirs:
            self.process = Process(
                ["openssl", "s_server", "-accept", "127.0.0.1:0", "-state",
                 "-cert", certificate.crt, "-key", certificate.key, *options],
                tmp_path / "s_server.log", stdin=theirs, stdout=theirs)
        try:
            self.port = int(self.until(rb"ACCEPT 127.0.0.1:(\d+)\n")[1])
        except BaseException:
            self.close()
            raise
        self.url = f"wss://127.0.0.1:{self.port}/"

    def until(self, pattern):
        """Waits for its words up to these; it may say them bit by bit."""
        said = b""
        while True:
            more = self.sock.recv(1 << 16)
            assert more, self.process.text()
            said += more
            found = re.search(pattern, said, re.DOTALL)
            if found:
                return found

    def peer(self):
        """The next client."""
        self.heard = self.until(rb"GET .*")[0]
        return Peer(self)

    def command(self, letter):
        self.sock.sendall(letter + b"\n")

    def recv(self, _):
        if self.heard:
            data, self.heard = self.heard, b""
            return data
        while True:
            data = self.sock.recv(1 << 16)
            if data and not re.fullmatch(self.WORDS, data):
                return data
            assert data, self.process.text()

    def sendall(self, data):
        self.sock.sendall(data)

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.process.kill()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

"""A websocket listener for tests and the demo: Debian's python3-websockets
does the protocol, this file only says what happens to a message.

Each message is appended to the file --out as one line, with one write(2), as
it is read and before anything behind it is: so a ping that was sent behind a
message is answered only when the message is in the file, and kill -9 loses
none that a pong stands for. With --hold or --late it is not: then some
messages are in memory only, those of an application that writes many at once,
or those that the library reads ahead of it. Prints "port N" once it listens.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.frames import OP_PING, OP_PONG
from websockets.legacy.server import WebSocketServerProtocol, serve

# How long a message is held at most, where --hold says that some are.
HOLD_SECONDS = 0.05


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--out", default="/dev/stdout",
                        help="file that messages are appended to")
    parser.add_argument("--app-ack", action="store_true",
                        help='send {"ack":N} once message N is written')
    parser.add_argument("--close-after", type=int, default=0, metavar="N",
                        help="close each connection after N messages")
    parser.add_argument("--close-code", type=int, default=1001)
    parser.add_argument("--hold", type=int, default=1, metavar="N",
                        help="write when N messages are there, or after "
                        f"{HOLD_SECONDS} s")
    parser.add_argument("--late", type=float, metavar="SECONDS",
                        help="write a message when the library has given it "
                        "to the application, which takes so long for each")
    parser.add_argument("--notes", default="/dev/null", metavar="FILE",
                        help="a line for each connection, ping and pong")
    parser.add_argument("--ping", type=float, default=20, metavar="SECONDS",
                        help="how often to send a ping")
    parser.add_argument("--subprotocol", action="append")
    parser.add_argument("--max-size", type=int, default=2**25)
    parser.add_argument("--tls", metavar="PEM",
                        help="certificate and key; without it, no TLS")
    return parser.parse_args()


def line_of(message):
    """The bytes that one message becomes in the file."""
    if isinstance(message, str):
        message = message.encode()
    return message.replace(b"\n", b" ") + b"\n"


def cut_half_line(path):
    """kill -9 can end a write(2) between two pages of the file, which leaves
    half a line: of a message that nobody was told had arrived."""
    if not os.path.isfile(path):
        return
    with open(path, "r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


class Store:
    """Messages, until they are in the file."""

    def __init__(self, args):
        self.args = args
        cut_half_line(args.out)
        self.out = os.open(
            args.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.held = []

    def add(self, connection, message):
        self.held.append((connection, message))
        if len(self.held) >= self.args.hold:
            self.write()
        elif len(self.held) == 1:
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self.write)

    def write(self):
        held, self.held = self.held, []
        os.write(self.out, b"".join(line_of(message) for _, message in held))
        for connection, _ in held:
            connection.written += 1
        if self.args.app_ack:
            for connection in {connection for connection, _ in held}:
                asyncio.ensure_future(connection.tell())


def recorder(args, store):
    """The library's protocol, which also stores what it reads."""
    notes = os.open(args.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    names = {OP_PING: b"ping\n", OP_PONG: b"pong\n"}

    class Recorder(WebSocketServerProtocol):
        written = 0

        def connection_open(self):
            super().connection_open()
            os.write(notes, b"connect\n")

        async def read_frame(self, max_size):
            frame = await super().read_frame(max_size)
            if frame.opcode in names:
                os.write(notes, names[frame.opcode])
            return frame

        async def read_message(self):
            message = await super().read_message()
            if message is not None and args.late is None:
                store.add(self, message)
            return message

        async def tell(self):
            with contextlib.suppress(ConnectionClosed):
                await self.send(json.dumps({"ack": self.written}))
    return Recorder


async def main():
    args = arguments()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    store = Store(args)
    stop = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: stop.done() or stop.set_result(None))

    async def handle(connection, path=None):
        count = 0
        async for message in connection:
            count += 1
            if args.late is not None:
                await asyncio.sleep(args.late)
                store.add(connection, message)
            if count == args.close_after:
                await connection.close(args.close_code, "as told")

    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.tls)

    async with serve(handle, args.host, args.port, ssl=context,
                     create_protocol=recorder(args, store),
                     ping_interval=args.ping, max_size=args.max_size,
                     compression=None,
                     subprotocols=args.subprotocol) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True,
              file=sys.stderr if args.out == "/dev/stdout" else sys.stdout)
        await stop
    store.write()


asyncio.run(main())

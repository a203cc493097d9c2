"""A websocket listener for tests and the demo: Debian's python3-websockets
does the protocol, this file only says what happens to a message.

Each message is appended to the file --out as one line, with one write(2), as
it is read and before anything behind it is: so a ping that was sent behind a
message is answered only when the message is in the file, and kill -9 loses
none that a pong stands for. Prints "port N" once it listens.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import ssl
import sys

from websockets.legacy.server import WebSocketServerProtocol, serve


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


def recorder(out):
    """The library's protocol, which also writes what it reads."""
    class Recorder(WebSocketServerProtocol):
        async def read_message(self):
            message = await super().read_message()
            if message is not None:
                os.write(out, line_of(message))
            return message
    return Recorder


async def main():
    args = arguments()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    cut_half_line(args.out)
    out = os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    stop = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: stop.done() or stop.set_result(None))

    async def handle(connection, path=None):
        count = 0
        async for _ in connection:
            count += 1
            if args.app_ack:
                await connection.send(json.dumps({"ack": count}))
            if count == args.close_after:
                await connection.close(args.close_code, "as told")

    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.tls)

    async with serve(handle, args.host, args.port, ssl=context,
                     create_protocol=recorder(out),
                     max_size=args.max_size, compression=None,
                     subprotocols=args.subprotocol) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True,
              file=sys.stderr if args.out == "/dev/stdout" else sys.stdout)
        await stop


asyncio.run(main())

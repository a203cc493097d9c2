"""A websocket server whose application dies of one event: Debian's
python3-websockets does the protocol. A message with the bytes --on in it ends
the process at once; each other one becomes a line of --out before anything
behind it is read. Prints "port N" once it listens on 127.0.0.1.
"""

import argparse
import asyncio
import os

from websockets.legacy.server import WebSocketServerProtocol, serve


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--out", required=True)
    parser.add_argument("--on", required=True)
    args = parser.parse_args()
    out = os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Application(WebSocketServerProtocol):
        async def read_message(self):
            message = await super().read_message()
            if message is not None and args.on in message:
                os._exit(1)
            if message is not None:
                os.write(out, message.encode() + b"\n")
            return message

    async def handle(connection, path=None):
        async for _ in connection:
            pass

    async with serve(handle, "127.0.0.1", args.port,
                     create_protocol=Application, compression=None) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())

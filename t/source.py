"""A source for tests, run in the metronome's place: it numbers its events, and
what it may forget is only what was acked.

Usage: source.py FILE. FILE gets a line for each ack that came, with the count
of events acked in all. A new source on the same FILE goes on with the first
event that is not acked there, as a sender must; it never has more than WINDOW
events under way, and its own SPEED. Reads acks from its standard output, a
socket.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time

WINDOW = 20
SPEED = 0.001


def acked_before(path):
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        return int(lines[-1]) if lines else 0
    except FileNotFoundError:
        return 0


def main():
    path = sys.argv[1]
    base = acked_before(path)
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sock = socket.socket(fileno=1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sent = acked = 0
    is_open = False
    data = b""
    while True:
        if not is_open and sent - acked < WINDOW:
            payload = b'{"n":%d}' % (base + sent)
            sock.sendall(struct.pack(">I", len(payload)) + payload)
            sent += 1
            time.sleep(SPEED)
        else:
            select.select([sock], [], [])
        if not select.select([sock], [], [], 0)[0]:
            continue
        more = sock.recv(1 << 16)
        if not more:
            os._exit(111)
        data += more
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(
                data[:4], "big"):
            size = int.from_bytes(data[:4], "big")
            message, data = json.loads(data[4:4 + size]), data[4 + size:]
            if "ack" in message:
                acked = message["ack"]
                os.write(out, b"%d\n" % (base + acked))
            if "breaker" in message:
                is_open = message["breaker"] == "open"


try:
    main()
except (BrokenPipeError, ConnectionResetError):
    os._exit(111)

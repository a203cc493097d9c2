"""A supervisor that only answers: it listens in the directory given as first
argument, says "ready", prints the first request that comes, gives the second
argument as its answer, and ends. With a third argument it first takes the lock
there, and holds it so many seconds beyond its last word.
"""

import fcntl
import os
import socket
import sys
import time


def main(directory, answer, linger=None):
    if linger is not None:
        lock = open(os.path.join(directory, "LOCK"), "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    os.chdir(directory)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("SOCKET")
        server.listen()
        print("ready", flush=True)
        client, _ = server.accept()
    with client:
        print(client.makefile().readline(), end="", flush=True)
        client.sendall(answer.encode())
    os.unlink("SOCKET")
    time.sleep(float(linger or 0))


if __name__ == "__main__":
    main(*sys.argv[1:])

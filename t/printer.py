"""A program for tests that prints numbered events and hears nothing of what
becomes of them. Usage: printer.py FILE. FILE gets each number before it is
printed: another printer on the same FILE goes on behind the last.
"""

import os
import sys
import time

SPEED = 0.001


def main():
    file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(sys.argv[1], "rb") as before:
        lines = before.read().split(b"\n")[:-1]
    n = int(lines[-1]) + 1 if lines else 0
    while True:
        os.write(file, b"%d\n" % n)
        os.write(1, b'{"n":%d}\n' % n)
        n += 1
        time.sleep(SPEED)


try:
    main()
except BrokenPipeError:
    os._exit(1)

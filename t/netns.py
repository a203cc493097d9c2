"""Two network namespaces with a cable between them, which ends can be made
deaf. They have no names, and are gone when nobody has them open any more.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HERE = "/proc/thread-self/ns/net"
CABLE = "cable"

# What the server's end drops, without a word to anybody.
HOOKS = {"to the server": "input", "to the client": "output"}


def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def put_back():
    """Returns the thread to the namespace where it was."""
    home = os.open(HERE, os.O_RDONLY)
    try:
        yield
    finally:
        check(LIBC.setns(home, CLONE_NEWNET))
        os.close(home)


class Namespace:
    """A network namespace with one end of the cable."""

    def __init__(self, address):
        self.address = address
        with put_back():
            check(LIBC.unshare(CLONE_NEWNET))
            self.fd = os.open(HERE, os.O_RDONLY)

    @contextlib.contextmanager
    def inside(self):
        """What is started within is in the namespace, and stays there."""
        with put_back():
            check(LIBC.setns(self.fd, CLONE_NEWNET))
            yield

    def run(self, *command, text=None):
        with self.inside():
            subprocess.run(command, input=text, text=True, check=True)

    def drop(self, *ways, verdict="drop"):
        """Drops what goes these ways; nothing, if there are none."""
        chains = "".join(
            f"chain {HOOKS[way]} {{\n"
            f"type filter hook {HOOKS[way]} priority 0\n"
            f"meta l4proto tcp {verdict}\n}}\n" for way in ways)
        self.run("nft", "-f", "-", text="flush ruleset\n"
                 f"table inet cut {{\n{chains}}}\n")

    def be_unreachable(self):
        """Answers as a router does whose next hop is gone."""
        self.drop("to the server",
                  verdict="reject with icmp type host-unreachable")

    def close(self):
        os.close(self.fd)


def why_not():
    """Why there can be no namespaces here, or None."""
    for name in "ip", "nft":
        if not shutil.which(name):
            return f"no {name}"
    try:
        Namespace("").close()
    except OSError as failure:
        return f"no network namespaces: {failure}"
    return None


@contextlib.contextmanager
def cabled():
    """Gives the server's namespace and the client's."""
    with contextlib.ExitStack() as stack:
        ends = [Namespace(f"192.0.2.{n}") for n in (1, 2)]
        for end in ends:
            stack.callback(end.close)
        ends[0].run("ip", "link", "add", CABLE, "type", "veth", "peer",
                    "name", CABLE, "netns",
                    f"/proc/{os.getpid()}/fd/{ends[1].fd}")
        for end in ends:
            end.run("ip", "address", "add", f"{end.address}/24", "dev", CABLE)
            end.run("ip", "link", "set", CABLE, "up")
        yield ends

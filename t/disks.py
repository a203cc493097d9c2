"""A small file system of its own for a test, that can be filled and emptied.
"""

import os
import shutil
import subprocess

import pytest
from support import wait_until

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def tool(*argv):
    """Runs a tool that needs root; skips the test where it does not work."""
    path = shutil.which(argv[0], path=PATH)
    if path is None:
        pytest.skip(f"skipped: there is no {argv[0]}")
    done = subprocess.run([path, *map(str, argv[1:])], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        pytest.skip(f"skipped: {argv[0]}: {done.stdout.strip()}")
    return done.stdout.strip()


class Disk:
    """A small file system that is mounted."""

    def __init__(self, directory, kind, *options):
        self.kind = kind
        self.path = directory / "disk"
        self.device = self.image = None
        if os.geteuid() != 0:
            pytest.skip("skipped: mounting needs root")
        self.path.mkdir()
        try:
            self.mount(directory, options)
        except BaseException:
            self.close()
            raise

    def mount(self, directory, options):
        if self.kind == "tmpfs":
            tool("mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "walpipe",
                 self.path)
            magic = "1021994"
        else:
            self.image = directory / "image"
            with open(self.image, "wb") as image:
                image.truncate(8 << 20)
            tool("mkfs.ext4", "-q", "-F", *options, self.image)
            self.device = tool("losetup", "--find", "--show", self.image)
            tool("mount", "-t", "ext4", self.device, self.path)
            magic = "ef53"
        assert tool("stat", "-f", "-c", "%t", self.path) == magic

    def free(self):
        at = os.statvfs(self.path)
        return at.f_bfree * at.f_frsize

    def load(self, leave=0):
        """Puts a ballast on it, so that no more than `leave` is free."""
        with open(self.path / "ballast", "ab", buffering=0) as ballast:
            piece = 1 << 20
            while self.free() > leave and piece > 0:
                piece = min(piece, self.free() - leave)
                try:
                    piece = ballast.write(b"x" * max(piece, 1))
                except OSError:
                    piece //= 2
            os.fsync(ballast.fileno())

    def unload(self):
        (self.path / "ballast").unlink()

    def close(self):
        def works(*argv):
            path = shutil.which(argv[0], path=PATH)
            return subprocess.run([path, *argv[1:]],
                                  stderr=subprocess.DEVNULL).returncode == 0
        try:
            if os.path.ismount(self.path):
                # What was killed lets go of its files in its own time.
                wait_until(lambda: works("umount", self.path), "umount")
        finally:
            if self.device is not None:
                assert works("losetup", "--detach", self.device)
                self.device = None

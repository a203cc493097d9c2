"""A TCP proxy of the tests that does at any moment what networks do: it holds
bytes up, swallows them, cuts connections anywhere, or lets none through.

Settings hold for the connections there are and those to come, until calm();
what was done to a connection for good (swallowed bytes, a cut) stays so.
"""

import collections
import queue
import select
import socket
import threading
import time

from support import PATIENCE, reset_on_close

UP, DOWN = "up", "down"     # from client to server, and back
# Held for a side that does not read, or for a delay: then no more is read.
HELD_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
# Pieces of one byte that are sent in a turn.
CRUMBS = 64

# Ends a connection after `at` bytes in one direction, those of the HTTP head
# not counted, or counted too; how: "reset" or "close".
Cut = collections.namedtuple("Cut", "way at after_head how",
                             defaults=(True, "reset"))


class Way:
    """One direction of a connection."""

    def __init__(self, source, to):
        self.source, self.to = source, to
        self.held = collections.deque()     # of [when it may go, bytes]
        self.held_bytes = 0
        self.has_ended = False      # its source has
        self.was_told = False       # and `to` knows
        self.is_swallowed = False
        self.passed = 0             # bytes, from the first
        self.head = b""             # the HTTP head, as far as it has come
        self.cut = None

    def take(self, delay):
        data = self.source.recv(PIECE_BYTES)
        if not data:
            self.has_ended = True
        if self.is_swallowed:
            return
        if b"\r\n\r\n" not in self.head:
            self.head += data
        self.held.append([time.monotonic() + delay, data])
        self.held_bytes += len(data)

    def cut_at(self):
        """The count of bytes at which to cut, once that is known."""
        if self.cut is None:
            return None
        if not self.cut.after_head:
            return self.cut.at
        end = self.head.find(b"\r\n\r\n")
        return None if end < 0 else end + 4 + self.cut.at

    def give(self, is_bytewise):
        """Sends what may go. Returns whether the cut is reached."""
        for _ in range(CRUMBS):
            if not self.held or self.held[0][0] > time.monotonic():
                break
            data = self.held[0][1]
            if is_bytewise:
                data = data[:1]
            if self.cut_at() is not None:
                data = data[:max(self.cut_at() - self.passed, 0)]
            try:
                n = self.to.send(data) if data else 0
            except BlockingIOError:
                break
            self.passed += n
            self.held_bytes -= n
            self.held[0][1] = self.held[0][1][n:]
            if not self.held[0][1]:
                self.held.popleft()
            if self.cut_at() is not None and self.passed >= self.cut_at():
                return True
        if self.has_ended and not self.held and not self.was_told:
            self.to.shutdown(socket.SHUT_WR)
            self.was_told = True
        return False


class Pair:
    """A connection of the client, and the one to the server for it."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.ways = {UP: Way(client, server), DOWN: Way(server, client)}
        for sock in client, server:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)

    def close(self, resets=()):
        """Ends both; those in `resets` with an RST."""
        for sock in self.client, self.server:
            if sock in resets:
                reset_on_close(sock)
            sock.close()


class FaultProxy:
    def __init__(self, server_port):
        self.server_port = server_port
        # Holds the port while nobody listens, and refuses by being there.
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.port = self.holder.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/"
        self.listener = None
        self.pairs = []
        self.mute = []      # connections that go nowhere
        self.dials = []     # when a connection was accepted
        self.cuts = []      # when one was ended by us
        self.next_cuts = collections.deque()
        self._listen()
        self._calm()
        self.commands = queue.Queue()
        self.wake_from, self.wake_to = socket.socketpair()
        self.is_over = False
        self.failure = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    # What a test says; it is done on return.

    def calm(self):
        """No faults from now on, but for the cuts that were said."""
        self._do(self._calm)

    def set(self, **settings):
        """delay: seconds, by way. swallow: the ways whose bytes vanish, now
        and until the connection ends. is_stalled: nothing moves.
        is_bytewise: one byte at a time. is_mute: connections are accepted and
        lead nowhere."""
        self._do(lambda: self._set(settings))

    def end(self, resets=(UP, DOWN)):
        """Ends the connections that there are; towards those in `resets`, UP
        the server and DOWN the client, with an RST."""
        self._do(lambda: [self._end(p, resets) for p in list(self.pairs)])

    def half_close(self, way):
        """Says the end of the stream in one direction."""
        self._do(lambda: [self._half_close(p, way) for p in self.pairs])

    def cut_next(self, *cuts):
        """Cuts the connections to come, each Cut is for one."""
        self._do(lambda: self.next_cuts.extend(cuts))

    def refuse(self):
        """Lets nobody connect."""
        self._do(self._refuse)

    def listen(self):
        self._do(self._listen)

    # The thread's side.

    def _do(self, command):
        done = threading.Event()
        self.commands.put((command, done))
        self.wake_to.send(b".")
        assert done.wait(PATIENCE), "the proxy hangs"
        assert self.failure is None, self.failure

    def _calm(self):
        self.delay = {UP: 0, DOWN: 0}
        self.swallow = ()
        self.is_stalled = self.is_bytewise = self.is_mute = False
        while self.mute:
            self.mute.pop().close()

    def _set(self, settings):
        for name, value in settings.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        for pair in self.pairs:
            self._swallow(pair)

    def _swallow(self, pair):
        for way in self.swallow:
            pair.ways[way].is_swallowed = True
            pair.ways[way].held.clear()
            pair.ways[way].held_bytes = 0

    def _end(self, pair, resets):
        pair.close([s for s, way in ((pair.server, UP), (pair.client, DOWN))
                    if way in resets])
        self.pairs.remove(pair)
        self.cuts.append(time.monotonic())

    def _half_close(self, pair, way):
        pair.ways[way].to.shutdown(socket.SHUT_WR)
        pair.ways[way].was_told = pair.ways[way].is_swallowed = True
        pair.ways[way].held.clear()
        self.cuts.append(time.monotonic())

    def _refuse(self):
        if self.listener is not None:
            self.listener.close()
        self.listener = None

    def _listen(self):
        if self.listener is None:
            self.listener = socket.create_server(
                ("127.0.0.1", self.port), reuse_port=True)

    def _accept(self):
        client = self.listener.accept()[0]
        self.dials.append(time.monotonic())
        if self.is_mute:
            self.mute.append(client)
            return
        try:
            server = socket.create_connection(
                ("127.0.0.1", self.server_port))
        except ConnectionRefusedError:
            client.close()
            return
        pair = Pair(client, server)
        if self.next_cuts:
            cut = self.next_cuts.popleft()
            pair.ways[cut.way].cut = cut
        self.pairs.append(pair)
        self._swallow(pair)

    def _watched(self):
        """What to wait for: to read, to write, and how long."""
        reads, writes, now = [self.wake_from], [], time.monotonic()
        due = now + 3600
        if self.listener is not None:
            reads.append(self.listener)
        for pair in self.pairs if not self.is_stalled else []:
            for way in pair.ways.values():
                if not way.has_ended and way.held_bytes < HELD_BYTES:
                    reads.append(way.source)
                if way.held and way.held[0][0] <= now:
                    writes.append(way.to)
                elif way.held:
                    due = min(due, way.held[0][0])
        return reads, writes, max(due - now, 0)

    def _move(self, pair, ready):
        for name, way in pair.ways.items():
            if way.source in ready:
                way.take(self.delay[name])
            if way.give(self.is_bytewise):
                resets = (UP, DOWN) if way.cut.how == "reset" else ()
                self._end(pair, resets)
                return
        if all(way.was_told for way in pair.ways.values()):
            pair.close()
            self.pairs.remove(pair)

    def _turn(self):
        reads, writes, wait = self._watched()
        ready = select.select(reads, writes, [], wait)[0]
        if self.listener in ready:
            self._accept()
        for pair in list(self.pairs) if not self.is_stalled else []:
            try:
                self._move(pair, ready)
            except OSError:
                # One side is gone: so the other hears of it, as it was.
                pair.close(resets=(pair.client, pair.server))
                self.pairs.remove(pair)
        if self.wake_from in ready:
            self.wake_from.recv(1)
            command, done = self.commands.get()
            command()
            done.set()

    def _run(self):
        try:
            while not self.is_over:
                self._turn()
        except Exception as failure:
            self.failure = repr(failure)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.wake_to.send(b".")
        # The thread takes a last command, and sees that it is over.
        self.commands.put((lambda: None, threading.Event()))
        self.thread.join(PATIENCE)
        for pair in self.pairs:
            pair.close()
        for sock in (*self.mute, self.holder, self.wake_from, self.wake_to):
            sock.close()
        self._refuse()

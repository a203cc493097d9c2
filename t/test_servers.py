"""wssink against websocket servers that others wrote: python3-websockets,
node-ws, websocketd, and nginx, which ends the TLS in front of them.
"""

import os
import random
import re
import socket

import pytest

from flow import assert_sent_again_in_order, outlive
from servers import (NodeWs, Nginx, Websocketd, Websockets, hang, serving,
                     skip_without)
from sinks import QUICK, Reverse, event, fed, firsts, ids_of, piped, sink
from support import DONE, frame, lines_of, wait_until

KINDS = ["websockets", "websocketd", "node-ws", "nginx"]
# Those that keep what they have read, whenever they are killed.
EXACT = ["websockets", "node-ws", "nginx"]
COUNT = int(os.environ.get("SERVERS_EVENTS", "100000"))
KILLS = int(os.environ.get("SERVERS_KILLS", "4"))


@pytest.fixture(params=KINDS)
def server(request, tmp_path):
    with serving(request.param, tmp_path) as running:
        yield running


def notes(path, word):
    return lines_of(path).count(word)


# Delivery.

def test_100000_events_of_a_file_arrive_in_order(tmp_path, server):
    events = [event(n) for n in range(COUNT)]
    data = b"".join(e + b"\n" for e in events)
    with fed(tmp_path, server.url, data, *server.trust) as process:
        assert process.wait() == DONE
        assert f"confirmed={COUNT} refused=0" in process.text()
    wait_until(lambda: sum(map(len, server.lines())) >= len(data) - COUNT,
               "all events")
    assert server.lines() == events


def test_events_of_a_socket_arrive_in_order_and_are_acked(tmp_path, server):
    with piped(tmp_path, server.url, *server.trust) as (process, ours):
        reverse = Reverse(ours)
        for n in range(10):
            ours.sendall(frame(event(n)))
            reverse.until_ack(n + 1)
        ours.sendall(b"".join(frame(event(n, 300)) for n in range(10, 2000)))
        reverse.until_ack(2000)
        assert reverse.breaker() == ["open", "closed"]
        server.wait_count(2000)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
    assert ids_of(server.events()) == list(range(2000))


SIZES = [1, 125, 126, 65535, 65536, 1 << 20, 15 << 20]


def test_all_sizes_arrive(tmp_path, server):
    """Each one between two small ones; websocketd, too, has no limit here."""
    events = []
    for n, size in enumerate(SIZES):
        events.append(event(n))
        events.append(b"7" if size == 1 else
                      b'"' + bytes([97 + n]) * (size - 2) + b'"')
    data = b"".join(e + b"\n" for e in events)
    with fed(tmp_path, server.url, data, *server.trust) as process:
        assert process.wait() == DONE
    server.wait_count(len(events))
    assert server.lines() == events


def test_websocketd_makes_lines_of_an_event_of_many(tmp_path):
    """Its limit: what stands in length framing may have line ends in it."""
    with serving("websocketd", tmp_path) as server, \
            fed(tmp_path, server.url, frame(b'{"id":\n0}') + frame(b"1"),
                *server.trust) as process:
        assert process.wait() == DONE
        server.wait_count(3)
        assert server.lines() == [b'{"id":', b"0}", b"1"]


# The server closes.

@pytest.mark.parametrize("code", ["1000", "1001", "1012"])
@pytest.mark.parametrize("kind", EXACT)
def test_a_server_that_closes_after_each_300(tmp_path, kind, code):
    """It reads on until our answer, so that some come twice; nothing is
    missing, and what came first came in order."""
    total = 1000
    with serving(kind, tmp_path, "--close-after", "300", "--close-code",
                 code) as server, \
            piped(tmp_path, server.url, *server.trust,
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(0, total, 100):
            ours.sendall(b"".join(frame(event(i)) for i in range(n, n + 100)))
            reverse.until_ack(n + 100)
        ours.shutdown(socket.SHUT_WR)
        assert process.wait() == DONE
        got = ids_of(server.events())
        assert firsts(got) == list(range(total))
        process.wait_log(f'the server closed: {code} "as told"')


@pytest.mark.parametrize("kind", EXACT)
def test_a_server_that_closes_before_all_was_read(tmp_path, kind):
    """No connection takes all of the events, but each some more."""
    total = 1000
    data = b"".join(event(n) + b"\n" for n in range(total))
    with serving(kind, tmp_path, "--close-after", "300") as server, \
            fed(tmp_path, server.url, data, *server.trust,
                *QUICK) as process:
        assert process.wait() == DONE
        assert firsts(ids_of(server.events())) == list(range(total))


def test_the_program_behind_websocketd_ends(tmp_path):
    """It ends after each 50 lines, and websocketd then hangs up without a
    word. What it had given to the program's pipe is lost, though its pong said
    that it was read; what comes after is not."""
    skip_without("websocketd")
    # A shell reads no byte beyond its line.
    copy = ('n=0; while [ $n -lt 50 ] && read -r line; do n=$((n+1)); '
            'echo "$line"; done >"$0/$UNIQUE_ID"')
    total = 500
    with Websocketd(tmp_path, copy) as server, \
            piped(tmp_path, server.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(total):
            ours.sendall(frame(event(n)))
            reverse.until_ack(n + 1)
        got = ids_of(server.events())
        assert got == sorted(set(got)), "out of order, or twice"
        process.wait_log("the server closed the connection")


# The server is killed.

def flow(tmp_path, server, total):
    """Events flow while the server is killed and started again, KILLS times,
    each after a random number of acks. Returns the ids that arrived."""
    random_ = random.Random(total)
    step = total // (KILLS + 2)
    with piped(tmp_path, server.url, *server.trust,
               *QUICK) as (process, ours):
        outlive(ours, Reverse(ours), total,
                [kill * step + random_.randrange(step)
                 for kill in range(1, KILLS + 1)], server.restart)
        assert process.wait() == DONE
    return ids_of(server.events())


@pytest.mark.parametrize("kind", EXACT)
def test_a_server_that_is_killed_loses_nothing(tmp_path, kind):
    total = 8000
    with serving(kind, tmp_path) as server:
        got = flow(tmp_path, server, total)
    assert_sent_again_in_order(got, total, KILLS)


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("ack", ["pong", "write"])
def test_a_server_that_hangs_and_is_killed(tmp_path, kind, ack):
    """It has read nothing of what was sent. The promise of ack level write is
    less, and the negative control of this one and the one above."""
    with serving(kind, tmp_path) as server, \
            piped(tmp_path, server.url, *server.trust, "--ack", ack,
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        ours.sendall(frame(event(0)))
        reverse.until_ack(1)
        server.wait_count(1)
        hang(server.process)
        ours.sendall(b"".join(frame(event(n)) for n in range(1, 1000)))
        if ack == "write":
            reverse.until_ack(1000)
        server.restart()
        reverse.until(lambda m: m.get("breaker") == "open")
        ours.sendall(frame(event(1000)))
        reverse.until_ack(1001)
        server.wait_count(2 if ack == "write" else 1001)
        assert ids_of(server.events()) == (
            [0, 1000] if ack == "write" else list(range(1001)))


def test_the_server_behind_nginx_is_killed(tmp_path):
    """nginx answers no ping itself, so a pong means what it does without."""
    total = 8000
    skip_without("nginx")
    with NodeWs(tmp_path) as behind, Nginx(tmp_path, behind) as front:
        front.restart = behind.restart
        got = flow(tmp_path, front, total)
    assert firsts(got) == list(range(total))


def test_nginx_is_reloaded(tmp_path):
    """Its old worker drops the connection, without a Close."""
    total = 3000
    with serving("nginx", tmp_path) as server, \
            piped(tmp_path, server.url, *server.trust,
                  *QUICK) as (process, ours):
        reverse = Reverse(ours)
        for n in range(total):
            ours.sendall(frame(event(n)))
            if n == total // 3:
                # To the old worker: what is sent may still wait for that.
                process.wait_log("connected to wss:")
                server.reload()
            if n == total // 2:
                process.wait_log("lost wss:")
        reverse.until_ack(total)
        assert firsts(ids_of(server.events())) == list(range(total))


def test_websocketd_that_is_killed_loses_one_at_most(tmp_path):
    """Its pong may overtake the one message that it has read and not written
    to the program yet."""
    total = 8000
    with serving("websocketd", tmp_path) as server:
        flow(tmp_path, server, total)
        # The programs may still be reading their pipes.
        wait_until(lambda: total - len(set(ids_of(server.events()))) <= KILLS,
                   "all but one for each kill")
        first = firsts(ids_of(server.events()))
        assert first == sorted(first)


def pipe_bytes():
    """What a new pipe holds."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    size = 0
    try:
        while True:
            size += os.write(ends[1], bytes(4096))
    except BlockingIOError:
        return size
    finally:
        for end in ends:
            os.close(end)


def test_what_a_pong_of_websocketd_means(tmp_path):
    """The program does not read. The pipe takes as much as it holds; one more
    message has been read, and counts as confirmed, and is lost with
    websocketd. What is in the pipe is not."""
    skip_without("websocketd")
    go = tmp_path / "go"
    wait = f"until [ -e '{go}' ]; do sleep 0.1; done"
    fits = pipe_bytes() // 1024
    with Websocketd(tmp_path, f"{wait}; {Websocketd.COPY}") as server, \
            piped(tmp_path, server.url, *QUICK) as (process, ours):
        reverse = Reverse(ours)
        try:
            for n in range(fits + 1):
                ours.sendall(frame(event(n, 1023)))
                reverse.until_ack(n + 1)
            server.kill()
        finally:
            go.touch()
        process.wait_log("lost")
        server.wait_count(fits)
    assert ids_of(server.events()) == list(range(fits))


# Pings.

@pytest.mark.parametrize("kind", ["websockets", "node-ws"])
def test_an_idle_connection_stays(tmp_path, kind):
    """Both sides send pings and get their answers, over one connection."""
    path = tmp_path / "notes"
    with serving(kind, tmp_path, "--ping", "0.1", "--notes",
                 path) as server, \
            piped(tmp_path, server.url, "--ping-interval", "0.1") as \
            (process, ours):
        wait_until(lambda: notes(path, b"ping") >= 20, "20 pings")
        wait_until(lambda: notes(path, b"pong") >= 20, "20 pongs")
        assert notes(path, b"connect") == 1
        ours.sendall(frame(event(0)))
        Reverse(ours).until_ack(1)
        assert "lost" not in process.text()


def test_pings_keep_a_connection_through_nginx(tmp_path):
    """nginx drops a connection on which the server behind it has said nothing
    for read_timeout: so all three of them answer pings through it. One wssink
    that sends none has been dropped twice before the others are looked at."""
    skip_without("nginx", "websocketd", "node-ws")
    with Websockets(tmp_path, name="python") as python, \
            NodeWs(tmp_path, name="node") as node, \
            Websocketd(tmp_path) as websocketd, \
            Nginx(tmp_path, python, node, websocketd, node,
                  read_timeout=2) as front:
        sinks = []
        try:
            for n in range(4):
                read, write = os.pipe()
                sinks.append((write, sink(
                    tmp_path, front.url_of(n), *front.trust, *QUICK,
                    "--ping-interval", "0.2" if n < 3 else "600",
                    name=f"wssink{n}", stdin=read)))
                os.close(read)
            wait_until(lambda: sinks[3][1].text().count("lost") >= 2,
                       "a connection that is dropped twice")
            assert [process.text().count("connected to")
                    for _, process in sinks[:3]] == [1, 1, 1]
        finally:
            for write, process in sinks:
                os.close(write)
                process.kill()


# TLS.

def test_nginx_wants_the_certificate_of_the_client(tmp_path):
    with serving("nginx", tmp_path) as server, \
            piped(tmp_path, server.url, *server.trust[:2],
                  *QUICK) as (process, ours):
        ours.sendall(frame(event(0)))
        process.wait_log("the Upgrade was refused: 400 Bad Request")
        assert re.search("No required SSL certificate", process.text())
        assert server.lines() == []

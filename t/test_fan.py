"""Several sources into one log, and several sinks out of it."""

import itertools
import os
import signal
import socket
from statistics import median

import pytest

from configs import status
from fan import (SINKS, counter, flow_of, ids_by_source, metronome, reload,
                 run, seqs, servers, sink_of, size_of, stages_of, urls,
                 wait_more, wait_stored, write_fan)
from support import (BIN, DONE, ROOT, Server, acked_seq, fds_of, is_sanitized,
                     status_of, wait_until)
from supervised import STAGES, is_alive

COUNT = 300
THREE = {"a": metronome(1, COUNT), "b": metronome(2, COUNT),
         "c": counter("c", COUNT)}
COMPLETE = {name: list(range(COUNT)) for name in THREE}
SLOW = ("type: exec, config: {command: [/bin/sh, -c, "
        "'while echo {}; do sleep 0.01; done']}")
TWO_ENDLESS = {"a": metronome(), "b": metronome()}


def without(of, *names):
    return {name: value for name, value in of.items() if name not in names}


def test_all_of_each_source_comes_to_each_sink(tmp_path):
    """Each in its order; and that of all of them is the log's."""
    with servers(tmp_path) as sinks:
        write_fan(tmp_path, THREE, urls(sinks))
        with run(tmp_path) as running:
            assert running.wait() == DONE
        for server in sinks.values():
            assert ids_by_source(server) == COMPLETE
            assert seqs(server) == list(range(1, 3 * COUNT + 1))
        assert len({tuple(server.lines()) for server in sinks.values()}) == 1


def test_one_sink_that_is_away_holds_no_other_up(tmp_path):
    """What it has not got is kept for it, and the end waits for it."""
    with servers(tmp_path) as sinks:
        sinks["w"].kill()
        write_fan(tmp_path, THREE, urls(sinks))
        with run(tmp_path) as running:
            for name in ("v", "x"):
                sinks[name].wait_count(3 * COUNT)
            away = wait_until(
                lambda: (found := sink_of(tmp_path, "w"))["stored"]
                == 3 * COUNT and found, "all to be stored")
            assert (away["breaker"], away["connection"]) == ("open", "waiting")
            assert away["delivered"] == 0
            flow = flow_of(tmp_path)
            assert (flow["stored"], flow["acked"]) == (3 * COUNT, 0)
            assert flow["connection"] == "waiting"
            assert flow["connection_why"] == away["connection_why"]
            assert [(source["name"], source["taken"])
                    for source in flow["sources"]] == [
                        (name, COUNT) for name in THREE]
            here = sink_of(tmp_path, "v")
            assert (here["breaker"], here["connection"]) == ("closed", "open")
            assert (here["delivered"], here["stored"]) == (3 * COUNT, 0)
            sinks["w"].start()
            assert running.wait() == DONE
        for server in sinks.values():
            assert ids_by_source(server) == COMPLETE


def test_the_example(tmp_path):
    """As it is shipped, but for where it sends to."""
    with servers(tmp_path, ("live", "archive")) as sinks:
        text = (ROOT / "conf" / "fan.yaml").read_text()
        for name, port in (("live", 8080), ("archive", 8081)):
            url = f"ws://localhost:{port}/"
            assert url in text
            text = text.replace(url, sinks[name].url)
        (tmp_path / "c.yaml").write_text("state_dir: state\n" + text)
        with run(tmp_path) as running:
            for server in sinks.values():
                server.wait_count(3)
            assert running.stop() == DONE
        for server in sinks.values():
            assert seqs(server)[:3] == [1, 2, 3]
            assert {event["onramp"] for event in server.events()} == {
                "beat", "load"}
            assert all(event["instance"] == "01"
                       for event in server.events())


def wait_anew(running, name, program, pid):
    """Waits until a stage runs again, as another process."""
    wait_until(lambda: stages_of(running.directory).get((name, program))
               not in (None, pid), f"another {name}")


def test_no_stage_that_is_killed_costs_an_event(tmp_path):
    with servers(tmp_path) as sinks:
        write_fan(tmp_path, {**TWO_ENDLESS, "c": SLOW}, urls(sinks))
        with run(tmp_path) as running:
            running.directory = tmp_path
            for server in sinks.values():
                wait_more(server)
            first = stages_of(tmp_path)
            assert len(first) == 8
            killed = [stage for stage in first if stage[1] != "sh"]
            for name, program in killed:
                pids = stages_of(tmp_path)
                os.kill(pids[name, program], signal.SIGKILL)
                wait_anew(running, name, program, pids[name, program])
                for server in sinks.values():
                    wait_more(server)
                # Nobody else died of that.
                after = stages_of(tmp_path)
                assert {stage for stage in pids
                        if after[stage] != pids[stage]} == {(name, program)}
            assert running.stop() == DONE
        last = acked_seq(tmp_path / "state/01/p")
        for server in sinks.values():
            assert seqs(server) == list(range(1, last + 1))


# One of several that, the first time, says what it must not.
FAULTY = r"""
case "$*" in
*'{mine}'*) ;;
*) exec {real} "$@";;
esac
if [ -e $0.once ]; then exec {real} "$@"; fi
: >$0.once
printf '{{"ready":true}}' >&3
printf '{data}' >&{fd}
exec sleep 600
"""


@pytest.mark.parametrize("name,program,fd,data", [
    ("w", "wssink", 0, r'\000\000\000\015{"ack":99999}'),
    ("b", "metronome", 1,
     r'\000\000\000\025{"onramp":"b","id":0}\377\377\377\377')])
def test_the_one_that_breaks_the_protocol_is_ended(
        tmp_path, fakes, name, program, fd, data):
    """And no other, though all of them run the same program."""
    with servers(tmp_path) as sinks:
        mine = {"w": sinks["w"].url, "b": "--id b"}[name]
        scripts = {stage: f'exec {BIN / stage} "$@"' for stage in STAGES}
        scripts[program] = FAULTY.format(
            mine=mine, real=BIN / program, fd=fd, data=data)
        write_fan(tmp_path, TWO_ENDLESS, urls(sinks))
        with run(tmp_path, binary=fakes(**scripts)) as running:
            running.wait_log("has broken the protocol with p: killed")
            running.wait_log(f"01/{name} {program}: starts again")
            for server in sinks.values():
                wait_more(server)
            wait_until(lambda: set(ids_by_source(sinks["w"])) >= {"a", "b"},
                       "events of both")
            assert len(running.started("walproc")) == 1
            assert len(running.ends()) == 1
            assert running.stop() == DONE
        last = acked_seq(tmp_path / "state/01/p")
        for server in sinks.values():
            assert seqs(server) == list(range(1, last + 1))


def test_a_sink_that_is_added_starts_at_the_oldest_event(tmp_path):
    with servers(tmp_path) as sinks:
        sinks["v"].kill()
        write_fan(tmp_path, TWO_ENDLESS, {"v": sinks["v"].url})
        with run(tmp_path) as running:
            wait_stored(tmp_path, "v", 50)
            before = stages_of(tmp_path)
            write_fan(tmp_path, TWO_ENDLESS,
                      urls(without(sinks, "x")))
            assert reload(tmp_path) == ["01/p offramp w: added"]
            sinks["w"].wait_count(100)
            assert reload(tmp_path) == []
            after = stages_of(tmp_path)
            assert {**after, **before} == after
            assert len(after) == len(before) + 1
            sinks["v"].start()
            assert running.stop() == DONE
        last = acked_seq(tmp_path / "state/01/p")
        for name in ("v", "w"):
            assert seqs(sinks[name]) == list(range(1, last + 1))


def test_a_sink_that_is_removed_gives_its_space_back(tmp_path):
    wal = "max_bytes: 10000000, segment_bytes: 16384"
    log = tmp_path / "state/01/p"
    # No more comes then than any disk can take.
    sources = {"a": metronome(1, 2000), "b": metronome(50)}
    with servers(tmp_path) as sinks:
        sinks["w"].kill()
        write_fan(tmp_path, sources, urls(sinks), wal)
        with run(tmp_path) as running:
            wait_until(lambda: size_of(log) > 150000, "a large log")
            wait_until(lambda: stages_of(tmp_path)["a", "metronome"] is None,
                       "the end of a")
            before = stages_of(tmp_path)
            write_fan(tmp_path, sources, urls(without(sinks, "w")), wal)
            assert reload(tmp_path) == ["01/p offramp w: removed"]
            wait_until(lambda: size_of(log) < 80000, "a small log")
            wait_until(lambda: stages_of(tmp_path)
                       == without(before, ("w", "wssink")), "its end")
            assert not is_alive(before["w", "wssink"])
            assert [sink["name"] for sink in flow_of(tmp_path)["sinks"]] == [
                "v", "x"]
            assert running.stop() == DONE
        last = acked_seq(log)
        for name in ("v", "x"):
            assert seqs(sinks[name]) == list(range(1, last + 1))


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_sink_that_is_away_for_long_stops_the_intake(tmp_path, is_removed):
    """It goes on when that one is back, or not awaited any more."""
    wal = "max_elements: 200"
    with servers(tmp_path) as sinks:
        sinks["w"].kill()
        write_fan(tmp_path, TWO_ENDLESS, urls(sinks), wal)
        with run(tmp_path) as running:
            wait_until(lambda: flow_of(tmp_path)["source_breaker"] == "open",
                       "a full log")
            for name in ("v", "x"):
                sinks[name].wait_count(sink_of(tmp_path, "w")["stored"])
            flow = flow_of(tmp_path)
            assert flow["stored"] <= 200
            assert len(sinks["v"].lines()) <= 200
            if is_removed:
                write_fan(tmp_path, TWO_ENDLESS, urls(without(sinks, "w")),
                          wal)
                assert reload(tmp_path) == ["01/p offramp w: removed"]
            else:
                sinks["w"].start()
            for name in ("v", "x"):
                sinks[name].wait_count(600)
            assert running.stop() == DONE
        last = acked_seq(tmp_path / "state/01/p")
        for name in SINKS:
            if name != "w" or not is_removed:
                assert seqs(sinks[name]) == list(range(1, last + 1))


def said_of(running, name):
    """How many events a metronome says it has given away, at its end."""
    line = next(line for line in running.text().splitlines()
                if f"01/{name} " in line and "stopping: SIGTERM" in line)
    assert "events=" in line
    return int(line.split("events=")[1].split()[0])


def known_to_wal(directory):
    """The names of the sources of which walproc itself tells."""
    stages = status(directory)["instances"][0]["stages"]
    (wal,) = (stage for stage in stages if stage["program"] == "walproc")
    return [source["name"] for source in wal["report"]["sources"]]


def test_sources_come_and_go(tmp_path):
    """What one had made up to its end is delivered; no other is touched."""
    with servers(tmp_path) as sinks:
        write_fan(tmp_path, TWO_ENDLESS, urls(sinks))
        with run(tmp_path) as running:
            wait_more(sinks["v"])
            before = stages_of(tmp_path)
            write_fan(tmp_path, {"a": metronome(), "new": metronome(),
                                 "c": counter("c", COUNT)}, urls(sinks))
            assert reload(tmp_path) == [
                "01/p onramp b: removed", "01/p onramp new: added",
                "01/p onramp c: added"]
            wait_until(lambda: ("b", "metronome") not in stages_of(tmp_path),
                       "its end")
            wait_until(lambda: len(ids_by_source(sinks["v"]).get("c", ()))
                       == COUNT, "all of c")
            wait_until(lambda: len(ids_by_source(sinks["v"]).get("new", ()))
                       > 20, "some of the new one")
            after = stages_of(tmp_path)
            for stage in without(before, ("b", "metronome")):
                assert after[stage] == before[stage]
            # Nor does the log wait for the one that is gone.
            wait_until(lambda: known_to_wal(tmp_path) == ["a", "new", "c"],
                       "three names")
            # One that has come to its end stays so.
            assert reload(tmp_path) == []
            assert after["c", "onramp"] is None
            assert [source["name"]
                    for source in flow_of(tmp_path)["sources"]] == [
                        "a", "new", "c"]
            assert running.stop() == DONE
            made = {name: said_of(running, name) for name in ("a", "b", "new")}
        for server in sinks.values():
            assert ids_by_source(server) == {
                **{name: list(range(n)) for name, n in made.items()},
                "c": COMPLETE["c"]}


@pytest.mark.parametrize("is_exec", [False, True])
def test_a_source_that_has_ended_is_not_run_for_a_new_one(tmp_path, is_exec):
    """Not even where all have ended, and the log only waits for a sink."""
    first = counter("m", 10) if is_exec else metronome(count=10)
    with servers(tmp_path, ("v", "w")) as sinks:
        sinks["w"].kill()
        write_fan(tmp_path, {"m": first}, urls(sinks), timeout=1)
        with run(tmp_path) as running:
            sinks["v"].wait_count(10)
            running.wait_log("done: events=10")
            write_fan(tmp_path, {"m": first, "n": metronome(count=7)},
                      urls(sinks), timeout=1)
            assert reload(tmp_path) == ["01/p is new: it starts"]
            wait_until(lambda: len(ids_by_source(sinks["v"]).get("n", ()))
                       == 7, "all of n")
            sinks["w"].start()
            assert running.wait() == DONE
        for server in sinks.values():
            assert ids_by_source(server) == {
                "m": list(range(10)), "n": list(range(7))}
            # Nor did any come into the log a second time.
            assert seqs(server) == list(range(1, 18))


def test_a_stop_waits_for_no_sink_that_will_not_come(tmp_path):
    """What the others can still be given they are."""
    with servers(tmp_path, ("v", "w")) as sinks:
        write_fan(tmp_path, {"m": metronome()}, urls(sinks), timeout=600)
        with run(tmp_path) as running:
            # So often that it is not back for a while.
            pid = None
            for _ in range(6):
                pid = wait_until(
                    lambda: stages_of(tmp_path)["w", "wssink"] not in (
                        None, pid) and stages_of(tmp_path)["w", "wssink"],
                    "the sink")
                os.kill(pid, signal.SIGKILL)
            running.wait_log("01/w wssink: starts again in 3.2 s")
            assert running.stop() == DONE
        last = max(seqs(sinks["v"]))
        assert seqs(sinks["v"]) == list(range(1, last + 1))
        assert f"{last} events taken" in running.text()


def test_so_many_are_replaced_that_not_all_have_room(tmp_path):
    """Each new one waits until the log has forgotten an old one."""
    def write(first, last):
        write_fan(tmp_path, {f"s{n}": metronome(50)
                             for n in range(first, last)},
                  {"v": server.url})

    with Server(tmp_path) as server:
        write(0, 32)
        with run(tmp_path) as running:
            wait_until(lambda: len(ids_by_source(server)) == 32, "all sources")
            write(32, 64)
            assert len(reload(tmp_path)) == 64
            wait_until(lambda: len(ids_by_source(server)) == 64,
                       "all new sources")
            assert "none has that name" not in running.text()
            assert running.stop() == DONE


def test_each_instance_has_stages_of_its_own(tmp_path):
    names = ("one", "two", "three")
    with servers(tmp_path) as sinks:
        write_fan(tmp_path, {"a": metronome(1, COUNT),
                             "b": metronome(1, COUNT)},
                  urls(sinks), instances=names)
        with run(tmp_path) as running:
            assert running.wait() == DONE
            pids = [{pid for program in STAGES
                     for pid in running.started(program, name)}
                    for name in names]
            # Two sources, a log, and three sinks.
            assert [len(own) for own in pids] == len(names) * [6]
            assert len(set.union(*pids)) == len(names) * 6
        assert all((tmp_path / "state" / name / "p" / "cursor").exists()
                   for name in names)
        for server in sinks.values():
            for name in names:
                came = [(event["onramp"], event["id"])
                        for event in server.events()
                        if event["instance"] == name]
                assert sorted(came) == sorted(
                    (onramp, n) for onramp in "ab" for n in range(COUNT))


QUERY = """\
define qos::wal operator w with max_elements = 100000 end;
create operator w;
select patch event of
  insert instance = system::instance();
  insert made = {"host": system::hostname(), "instance": system::instance()};
  upsert taken_ns = system::ingest_ns()
end from in into w;
select event from w into out
"""


def test_a_query_has_several_of_all(tmp_path):
    """Instances, sources and sinks, and links that call it otherwise."""
    with servers(tmp_path) as sinks:
        text = write_fan(tmp_path, THREE, urls(sinks),
                         instances=("one", "two"))
        (tmp_path / "c.yaml").write_text("".join(
            line for line in text.splitlines(keepends=True)
            if not line.startswith("pipeline:")))
        (tmp_path / "q.trickle").write_text(QUERY)
        with run(tmp_path, config=".") as running:
            assert 'there is no pipeline "p"; "q"' in running.text()
            assert running.wait() == DONE
        for server in sinks.values():
            for name in ("one", "two"):
                came = [event for event in server.events()
                        if event["instance"] == name]
                assert len(came) == len(THREE) * COUNT
                for onramp in THREE:
                    assert [event["id"] for event in came
                            if event["onramp"] == onramp] == COMPLETE[onramp]
                made = {"host": socket.gethostname(), "instance": name}
                assert all(event["made"] == made and event["taken_ns"] > 0
                           for event in came)


def state_of(directory, name):
    """The state of a stage, or None."""
    stages = status(directory)["instances"][0]["stages"]
    return next((stage["state"] for stage in stages
                 if stage["stage"] == name), None)


@pytest.mark.parametrize("kind,program", [
    ("onramp", "metronome"), ("offramp", "wssink")])
def test_one_that_is_back_while_it_ends(tmp_path, kind, program):
    """The new one starts when the old one is gone, which hangs here."""
    def write(sinks, is_there):
        gone = () if is_there else ("y",)
        write_fan(tmp_path, without({"y": metronome(), "a": metronome()},
                                    *(gone if kind == "onramp" else ())),
                  without({"v": sinks["v"].url, "y": sinks["w"].url},
                          *(gone if kind == "offramp" else ())), timeout=2)

    with servers(tmp_path) as sinks:
        write(sinks, True)
        with run(tmp_path) as running:
            wait_more(sinks["w"])
            pid = stages_of(tmp_path)["y", program]
            os.kill(pid, signal.SIGSTOP)
            write(sinks, False)
            assert reload(tmp_path) == [f"01/p {kind} y: removed"]
            if kind == "onramp":
                # Unless it is killed already, for it has two seconds.
                assert (state_of(tmp_path, "y") == "ending"
                        or f"{program}[{pid}]: ended" in running.text())
            write(sinks, True)
            assert reload(tmp_path) == [f"01/p {kind} y: added"]
            new = wait_until(lambda: stages_of(tmp_path).get(("y", program))
                             not in (None, pid)
                             and stages_of(tmp_path)["y", program], "the new")
            text = running.text()
            assert (text.index(f"{program}[{pid}]: ended")
                    < text.index(f"{program}[{new}]: started"))
            assert len(running.started("walproc")) == 1
            wait_more(sinks["w"])
            wait_more(sinks["v"])
            assert running.stop() == DONE
        assert seqs(sinks["v"]) == list(
            range(1, acked_seq(tmp_path / "state/01/p") + 1))


def test_many_reloads_leave_nothing_behind(tmp_path):
    """Neither memory nor descriptors, in the supervisor and in walproc.

    Each turn waits for the end of what it removed, since memory is held by as
    many stages as there were at once; and what leaks does so in most rounds,
    while the allocator takes more, or gives some back, now and then.
    """
    turns = itertools.count()

    def settled():
        return len(stages_of(tmp_path)) == 5

    def turn():
        n = next(turns)
        write_fan(tmp_path, {"a": metronome(20), f"s{n}": metronome(20)},
                  {"v": server.url, f"o{n}": server.url}, timeout=1)
        assert len(reload(tmp_path)) == 4
        wait_until(settled, "the end of what was removed")

    with Server(tmp_path) as server:
        write_fan(tmp_path, {"a": metronome(20), "s": metronome(20)},
                  {"v": server.url, "o": server.url}, timeout=1)
        with run(tmp_path) as running:
            (wal,) = running.wait_started(stages=("walproc",)).values()
            sizes = {running.pid: [], wal: []}
            fds = {}
            for _ in range(6):
                for _ in range(25):
                    turn()
                for pid, found in sizes.items():
                    found.append(status_of(pid, "VmRSS"))
                    fds.setdefault(pid, fds_of(pid))
            for pid, found in sizes.items():
                growth = [new - old for old, new in zip(found, found[1:])]
                assert is_sanitized() or median(growth) < 3 << 15, growth
                wait_until(lambda: fds_of(pid) <= fds[pid] + 2,
                           "the descriptors of what was removed")
            assert running.stop() == DONE

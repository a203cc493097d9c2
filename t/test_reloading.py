"""Reloads that come while the stages of the one before are still at work."""

import json
import os
import signal

import pytest

from configs import supervisor
from support import DONE, FINAL, stored_events, wait_until
from supervised import TWO_INSTANCES, Supervisor, is_alive, write_config


def reload(directory, text):
    (directory / "c.yaml").write_text(text)
    done = supervisor("-c", "c.yaml", "reload", "--json", cwd=directory)
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)["changes"]


def test_an_instance_that_is_back_and_changed_waits_for_its_old_stages(
        tmp_path):
    """Its log has one walproc at a time, whatever is asked for meanwhile."""
    text = write_config(tmp_path, timeout=4, extra=TWO_INSTANCES)
    without = text[:text.rindex("  /binding/b/2")]
    with Supervisor(tmp_path) as running:
        old = running.wait_started(instance="two")
        wait_until(lambda: stored_events(tmp_path / "state/two/p"), "events")
        assert reload(tmp_path, without) == ["two/p is removed: it stops"]
        assert reload(tmp_path, text) == ["two/p is new: it starts"]
        changed = text.replace("100000", "100001")
        assert len(reload(tmp_path, changed)) == 2
        assert running.started("walproc", "two") == [old["walproc"]]
        pids = running.wait_started(2, instance="two")
        ended = f"walproc[{old['walproc']}]: ended"
        started = f"walproc[{pids['walproc']}]: started"
        assert running.text().index(ended) < running.text().index(started)
        assert "100001" in running.text().split(started)[1].split("\n")[0]
        assert running.stop() == DONE


def test_what_is_renamed_is_called_so(tmp_path):
    """Also where no command names it, and so nothing starts anew."""
    text = write_config(tmp_path, timeout=0.3, extra=TWO_INSTANCES)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started(instance="two")
        text = text.replace("id: w,", "id: new,").replace(
            "/offramp/w/", "/offramp/new/").replace(
            "id: b", "id: other").replace("/binding/b/", "/binding/other/")
        assert reload(tmp_path, text) == []
        done = supervisor("-c", "c.yaml", "status", "--json", cwd=tmp_path)
        for instance in json.loads(done.stdout)["instances"]:
            assert instance["binding"] == "other"
            assert [stage["stage"] for stage in instance["stages"]] == [
                "m", "p", "new"]
        os.kill(pids["wssink"], signal.SIGKILL)
        running.wait_log("two/new wssink: starts again")
        assert running.stop() == DONE


@pytest.mark.parametrize("old,new", [
    ("{id: p,", '{id: p, insert: {a: "x ${env:UNSET_HERE}"},'),
    ("backoff_max", 'bearer_auth: "${env:UNSET_HERE}", backoff_max')])
def test_a_variable_that_is_not_there(tmp_path, old, new):
    """A stage that wants it would end for good, and all others with it."""
    text = write_config(tmp_path, timeout=0.3)
    with Supervisor(tmp_path) as running:
        pids = running.wait_started()
        (tmp_path / "c.yaml").write_text(text.replace(old, new))
        done = supervisor("-c", "c.yaml", "reload", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (FINAL, "")
        assert "variable UNSET_HERE is not set" in done.stderr
        assert all(is_alive(pid) for pid in pids.values())
        assert running.stop() == DONE
    with Supervisor(tmp_path, name="log2", env=dict(
            os.environ, UNSET_HERE="y")) as running:
        running.wait_started()
        assert reload(tmp_path, text.replace(old, new)) == []
        assert running.stop() == DONE

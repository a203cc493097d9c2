"""pytest finds support.py beside the tests; and logs that several of them
harm, servers, and stages that are none.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from damages import make_log, segments
from sinks import RawServer
from supervised import fakes_in
from support import BIN, Server


def pytest_configure(config):
    config.addinivalue_line("markers", "first: waits for the clock on the "
                            "wall, so it begins before all others")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


@pytest.fixture(scope="session")
def sound_log(tmp_path_factory):
    """A log of 170 events in three segments, none of them ended."""
    directory = make_log(tmp_path_factory.mktemp("sound"), count=170)
    assert len(segments(directory)) == 3
    return directory


@pytest.fixture
def log(tmp_path, sound_log):
    """A copy of it, to be damaged."""
    shutil.copytree(sound_log, tmp_path / "wal")
    shutil.copy(sound_log.parent / "early", tmp_path)
    return tmp_path / "wal"


@pytest.fixture
def raw():
    with RawServer() as server:
        yield server


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def place():
    """A directory that everybody may pass, with the programs in it: pytest's
    own are for its user only."""
    path = Path(tempfile.mkdtemp(prefix="walpipe."))
    path.chmod(0o755)
    shutil.copytree(BIN, path / "bin")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fakes(tmp_path):
    """Scripts in place of the stages of a supervisor."""
    return fakes_in(tmp_path / "bin")

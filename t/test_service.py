"""The unit for systemd: that systemd understands it, and that it says what the
supervisor needs. Where systemd is not installed there is nobody to ask. No
systemd is started.
"""

import re
import shutil
import subprocess

import pytest

from support import BIN, ROOT

UNIT = ROOT / "conf" / "walpipe.service"


def analyze(*arguments):
    path = shutil.which("systemd-analyze")
    if path is None:
        pytest.skip("skipped: there is no systemd-analyze")
    return subprocess.run([path, *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path):
    """The unit, of the programs that are tested."""
    text = UNIT.read_text()
    assert text.count("/usr/local/bin/") == 1
    path = tmp_path / "walpipe.service"
    path.write_text(text.replace("/usr/local/bin/", f"{BIN}/"))
    return path


def test_systemd_understands_it(unit):
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_would_be_seen(unit):
    unit.write_text(unit.read_text().replace("KillMode=", "KillMood="))
    assert "KillMood" in analyze("verify", "--man=no", unit).stderr


def test_its_exposure_is_low(unit):
    """2.5 of 10, where a unit that says nothing has 9.6."""
    done = analyze("security", "--offline=true", "--threshold=25", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("skipped: a systemd-analyze before 250")
    assert done.returncode == 0, done.stdout


def test_what_the_supervisor_counts_on():
    """Whoever changes one of these changes what the manual says."""
    settings = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M)
    assert {
        ("Type", "notify"), ("KillMode", "mixed"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"), ("RestartPreventExitStatus", "100"),
        ("StateDirectory", "walpipe"), ("StateDirectoryMode", "0700"),
    } <= set(settings)
    # Its own timeout ends first: 5 s for the drain, 2 s for the rest.
    assert int(dict(settings)["TimeoutStopSec"]) > 7

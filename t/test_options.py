"""The options of all programs: what is said of those that are wrong, and that
--help and the manual page know the same ones.
"""

import re
import subprocess

import pytest

from support import DONE, FINAL, PATIENCE, ROOT, program

STAGES = ["metronome", "onramp", "walproc", "wssink"]
PROGRAMS = [*STAGES, "supervisor"]
TOOLS = ["inspect", "verify", "repair", "export"]


def run(name, *options):
    return subprocess.run([program(name), *options], text=True, check=False,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=PATIENCE)


@pytest.mark.parametrize("options, words", [
    (["-x"], "-x: unknown option"),
    # Its letter alone, wherever it stands in its word.
    (["-xq"], "-x: unknown option"), (["-qx"], "-x: unknown option"),
    (["--nope"], "--nope: unknown option"),
    # What the value is may be a secret.
    (["--nope=s3cr3t"], "--nope: unknown option"),
    (["--quiet=s3cr3t"], "--quiet: it takes no value"),
])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_wrong_option_is_named(name, options, words):
    done = run(name, *options)
    assert done.returncode == FINAL
    assert f" error {words}; see {name} --help\n" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize("options, words", [
    (["-i"], "-i: its value is missing"),
    (["-qn"], "-n: its value is missing"),
    (["--interval"], "--interval: its value is missing")])
def test_a_missing_value_of_a_letter(options, words):
    assert f" error {words}; " in run("metronome", *options).stderr


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_value_of_a_word(name):
    done = run(name, "--drain-timeout")
    assert done.returncode == FINAL
    assert "error --drain-timeout: its value is missing; " in done.stderr


def in_help(*command):
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (DONE, "")
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", done.stdout))


def in_manual(name):
    """The options that have a paragraph of their own."""
    text = (ROOT / name / f"{name}.1").read_text()
    options = set()
    for line in re.findall(r"^\.It (Fl .*)", text, re.M):
        options |= {f"-{word}" for word in re.findall(r"Fl (\S+)", line)}
    return options


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_and_manual_know_the_same_options(name):
    assert in_help(name) - {"-qv"} == in_manual(name)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_manual_knows_the_options_of_the_tools(tool):
    text = (ROOT / "walproc" / "walproc.1").read_text()
    for option in in_help("walproc", tool):
        assert f"Fl {option[1:]}" in text, option

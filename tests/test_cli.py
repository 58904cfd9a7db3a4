"""What all commands share: one line of what is wrong, and an exit status."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from detkit.cli import app


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["yolo", "--help"], ["models", "list"]])
def test_a_full_stdout_is_one_line(arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "detkit", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "detkit: cannot write to stdout: No space left on device\n"


def test_a_closed_stdout_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m detkit models list --json >&-", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yolo"], "Missing argument 'SOURCE...'"),
        (["yolo", "x", "--nope"], "--nope"),
        (["nothing"], "nothing"),
        (["yolo", "x", "--nms", "best"], "'best' is not one of 'greedy', 'soft'"),
        (["slide", "x", "--window", "a"], "not a size in pixels"),
        (["hog-detect", "x", "--batch", "2"], "--batch is for networks"),
        (["eval", "a", "b", "--fail-under", "nan"], "an AP lies from 0 to 1"),
    ],
)
def test_wrong_use_is_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        app(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.startswith("detkit: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["models"], ["train"]])
def test_no_arguments_show_the_help(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        app(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert "Usage:" in out
    assert err == ""

"""What all commands share: one line of what is wrong, and an exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from detkit.cli import app
from detkit.cli.console import say, show
from detkit.cli.tables import print_detections, print_totals


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
        (["eval", "a", "b", "--fail-under", "nan"], "a figure lies from 0 to 1"),
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


def test_one_box_is_one_box(capsys):
    box = {"box": [0.0, 0.0, 1.0, 1.0], "score": 0.5, "class": "cat", "class_id": 0}
    for boxes, said in (([], "0 boxes"), ([box], "1 box"), ([box, box], "2 boxes")):
        print_detections({"file": "a.png", "width": 8, "height": 9, "detections": boxes})
        assert capsys.readouterr().out.splitlines()[0] == f"a.png  8x9  {said}"
    print_totals(Counter(cat=1), 1)
    assert "1 box in 1 picture\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completed"), [("detkit hog", "hog-detect"), ("detkit yolo --nm", "--nms"), ("detkit models pu", "pull")]
)
def test_the_shell_completes(capfd, monkeypatch, words, completed):
    monkeypatch.setenv("_DETKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as stop:
        app(prog_name="detkit")
    assert (stop.value.code, capfd.readouterr().out.split()) == (0, [completed])


@pytest.mark.parametrize("arguments", [[], ["models"], ["train"]])
def test_no_arguments_show_the_help(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        app(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert "Usage:" in out
    assert err == ""


def test_what_names_hold_moves_no_cursor(capsys):
    say("a\x1b[31m\a\nb")
    show("one\x1b]0;title\a\ntwo")
    print_detections({"file": "f\x9b\r", "width": 1, "height": 1, "detections": [_box("\x1b[2Jcat")]})
    out, err = capsys.readouterr()
    assert err == "detkit: a?[31m??b\n"
    assert out.startswith("one?]0;title?\ntwo\nf??  1x1  1 box\n")
    assert "?[2Jcat" in out
    assert not any(ord(letter) < 32 and letter != "\n" for letter in out + err)


def _box(name):
    return {"class": name, "score": 0.5, "box": [0.0, 0.0, 1.0, 1.0]}


def test_a_closed_stderr_loses_nothing(tmp_path):
    missing = tmp_path / "missing.jpg"
    for closed in ("2>&-", "2>/dev/full", ">&- 2>&-"):
        out = tmp_path / f"found{len(closed)}.jsonl"
        command = f"{sys.executable} -m detkit yolo {missing} -o {out} {closed}"
        assert subprocess.run(command, shell=True, check=False, stdout=subprocess.DEVNULL).returncode == 1
        assert b"cannot be read" in out.read_bytes()


def test_a_reader_of_csv_that_has_gone_is_no_error(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    command = f"{sys.executable} -m detkit yolo {tmp_path} -q -f csv | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr

"""Defaults of options from files and the environment: their order, their mistakes, and where they are shown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from detkit.cli import app


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own below one, without variables of the machine."""
    for name in list(os.environ):
        if name.startswith("DETKIT_"):
            monkeypatch.delenv(name)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            app(list(arguments))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def minutes(run, *arguments):
    """What `train yolo` takes for --minutes: a mistake of its own makes it say so without training."""
    status, _, err = run("train", "yolo", "none.json", "-v", "--size", "65", *arguments)
    assert status == 2
    assert "--size must be a multiple of 32" in err
    return [line for line in err.splitlines() if "--minutes" in line]


def test_the_nearest_counts_and_what_is_typed_before_it(here, run, monkeypatch):
    assert minutes(run) == []
    (here / "pyproject.toml").write_text("[tool.detkit.train.yolo]\nminutes = 5\n[tool.other]\nx = 1\n")
    assert minutes(run) == [f"detkit: --minutes 5 by {here / 'pyproject.toml'} [tool.detkit]"]
    (here / "detkit.toml").write_text("minutes = 6\n")
    assert minutes(run) == [f"detkit: --minutes 6 by {here / 'detkit.toml'}"]
    (here / "detkit.toml").write_text("minutes = 6\n[train.yolo]\nminutes = 7\n")
    assert minutes(run) == [f"detkit: --minutes 7 by {here / 'detkit.toml'}"]
    (here / "deep" / "detkit.toml").write_text("minutes = 8\n")
    assert minutes(run) == [f"detkit: --minutes 8 by {here / 'deep' / 'detkit.toml'}"]
    monkeypatch.setenv("DETKIT_MINUTES", "9")
    assert minutes(run) == ["detkit: --minutes 9 by DETKIT_MINUTES"]
    monkeypatch.setenv("DETKIT_TRAIN_YOLO_MINUTES", "10")
    assert minutes(run) == ["detkit: --minutes 10 by DETKIT_TRAIN_YOLO_MINUTES"]
    assert minutes(run, "--minutes", "11") == []


def test_help_shows_them(here, run):
    (here / "deep" / "detkit.toml").write_text("max-det = 17\n")
    assert "default: 17" in run("yolo", "--help")[1]
    assert "default: 300" not in run("yolo", "--help")[1]


def test_lists_and_flags(here, run, monkeypatch):
    (here / "deep" / "detkit.toml").write_text('[yolo]\nclass = ["cat", "dog"]\nagnostic = true\n')
    told = run("yolo", "none.png", "-v")[2]
    assert "--class cat, dog by" in told
    assert "--agnostic True by" in told
    monkeypatch.setenv("DETKIT_CLASS", "cow,pig")
    assert "--class cow, pig by DETKIT_CLASS" in run("yolo", "none.png", "-v")[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("confidence = 0.5", "there is no option 'confidence'; did you mean 'conf'?"),
        ("[yoloo]\nconf = 0.5", "there is no command 'yoloo'; did you mean 'yolo'?"),
        ("[yolo]\nminutes = 3", "detkit yolo has no option 'minutes'"),
        ("yolo = 3", "there is no option 'yolo'"),
        ("conf = [0.5]", "detkit.toml: conf takes one value, not [0.5]"),
        ("conf = ", "is no TOML"),
        ("[yolo.deep]\nconf = 1", "detkit yolo has no command 'deep'"),
        ("max-det = 'many'", "Invalid value for '--max-det'"),
    ],
)
def test_mistakes_are_one_line(here, run, text, said):
    (here / "deep" / "detkit.toml").write_text(text)
    status, out, err = run("yolo", "none.png")
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_variables_that_are_like_an_option_are_checked_and_others_left_alone(here, run, monkeypatch):
    monkeypatch.setenv("DETKIT_HOME", "x")
    monkeypatch.setenv("DETKIT_OF_SOMEBODY_ELSE", "1")
    assert "none.png" in run("yolo", "none.png")[2]
    monkeypatch.setenv("DETKIT_CONFF", "1")
    assert "DETKIT_CONFF: there is no option 'conff'; did you mean 'conf'?" in run("yolo", "none.png")[2]
    monkeypatch.delenv("DETKIT_CONFF")
    monkeypatch.setenv("DETKIT_YOLO_MINUTES", "1")
    assert "DETKIT_YOLO_MINUTES: detkit yolo has no option 'minutes'" in run("yolo", "none.png")[2]
    assert "none.json" in run("train", "yolo", "none.json")[2]


def test_options_of_other_commands_are_no_mistakes(here, run):
    (here / "deep" / "detkit.toml").write_text("patience = 3\nstride = 4\nper-class = true\n")
    assert "none.png" in run("yolo", "none.png")[2]


def test_the_list_of_commands_reads_no_file(here):
    (here / "deep" / "detkit.toml").write_text("this is no TOML")
    code = (
        "import sys; from detkit.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('tomllib' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here / "deep", env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr

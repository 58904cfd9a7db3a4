"""`detkit demo`: its pictures are small and their licences are named, and every command that it shows runs."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from detkit.cli import app
from detkit.cli.demo import PICTURES, demo_commands
from detkit.images import read_image, write_image


def test_every_picture_is_small_and_its_licence_is_named():
    said = (PICTURES / "LICENSES.md").read_text()
    pictures = sorted(PICTURES.glob("*.jpg"))
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.stat().st_size < 60_000
        assert min(read_image(picture).shape[:2]) >= 300
        assert re.search(rf"^\| `{picture.name}` .*(CC0|public domain)", said, re.MULTILINE)


@pytest.fixture
def one(tmp_path, monkeypatch):
    """A demo of one small picture instead of four, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "demo"
    noise = np.random.default_rng(0).integers(0, 256, (10, 10, 3)).astype(np.uint8)
    write_image(folder / "a.png", noise.repeat(24, axis=0).repeat(24, axis=1))
    monkeypatch.setattr(sys.modules["detkit.cli.demo"], "PICTURES", folder)
    return folder


def test_it_runs_every_method_and_leaves_pictures(one, tmp_path, capfd):
    with pytest.raises(SystemExit) as stop:
        app(["demo", "-o", "x"])
    shown, said = capfd.readouterr()
    assert not stop.value.code, said
    commands = [line for line in shown.splitlines() if line.startswith("$ ")]
    assert len(commands) == len(list(demo_commands(tmp_path))) == 8
    for command in commands:
        found, drawn = (command.split(option)[1].split()[0] for option in (" -o ", " --draw "))
        if "segment" in command:
            assert (tmp_path / found / "a.png").is_file()
        else:
            (record,) = map(json.loads, (tmp_path / found).read_text().splitlines())
            assert record["file"] == "a.png"
            assert "error" not in record
        assert (tmp_path / drawn / "a.png").is_file()
        assert f"detkit: the picture: {drawn}/a.png\n" in said
    assert (tmp_path / "x" / "hog-detect" / "glyphs" / "a" / "hog.png").is_file()
    assert said.splitlines()[-1].startswith("detkit: the results of each method are in its folder in x")


def test_it_replaces_no_picture_and_goes_on_past_one_that_cannot_be_read(one, tmp_path, capfd):
    own = tmp_path / "detkit-demo" / "pictures" / "a.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(SystemExit) as stop:
        app(["demo", "-q"])
    shown, said = capfd.readouterr()
    assert stop.value.code == 1
    assert [json.loads(line)["file"] for line in shown.splitlines()] == ["a.png"]  # the shares of `segment`
    assert own.read_bytes() == b"mine"
    assert len(said.splitlines()) == 8
    assert len(list((tmp_path / "detkit-demo").glob("*.jsonl"))) == 7

"""The table of formats: what is made from it, and a format more."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import detkit.cli.convert
import detkit.cli.evaluate
from detkit.annotations import FORMATS, read_ground_truth, read_predictions, recognise, write_ground_truth
from detkit.annotations.format import ALL, Format, Signs
from detkit.annotations.recognition import json_paths
from detkit.annotations.writing import losses
from detkit.errors import InputError

TOY = """
from detkit.annotations.building import Builder
from detkit.annotations.by_picture import pictures_of


def read(request):
    builder = Builder(request.problems)
    for line in request.data.decode().splitlines()[1:]:
        file, name, *numbers = line.split("|")
        image = builder.image(file, file, 100, 100)
        x1, y1, x2, y2, *score = map(float, numbers)
        box = (x1, y1, x2 - x1, y2 - y1)
        builder.box(image, builder.category(name), box, score=score[0] if score else None)
    return builder.finish()


def write(ground_truth, form):
    lines = ["toy,file,name"]
    for picture in pictures_of(ground_truth, form):
        for name, corners in zip(picture.names, picture.corners.tolist()):
            lines.append("|".join((picture.file, name, *map(str, corners))))
    yield "", "\\n".join(lines).encode()


def class_name(name):
    return name.replace("|", "/")
"""
ROW = Format(
    "toy", "Toy lines", "toy_format", ".toy", Signs(columns=(frozenset(("toy", "file", "name")),)),
    holds=ALL - {"crowd", "area"}, renamed="has no bars in names: {changed}.",
)  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One module, one row."""
    (tmp_path / "toy_format.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(FORMATS, ROW.name, ROW)
    return tmp_path


def test_a_further_format_is_a_module_and_a_row(toy: Path) -> None:
    (toy / "a.toy").write_text("toy,file,name\na.jpg|cat|1|2|31|42\nb.jpg|dog|5|5|15|15\n")
    (toy / "d.toy").write_text("toy,file,name\nb.jpg|dog|5|5|15|15|0.5\n")
    assert recognise(toy / "a.toy") == "toy"
    truth = read_ground_truth(toy / "a.toy")
    assert truth.source == "toy"
    assert truth.boxes.tolist() == [[1, 2, 30, 40], [5, 5, 10, 10]]
    assert read_predictions(toy / "d.toy", truth).scores.tolist() == [0.5]
    for name in ("coco", "voc", "yolo"):
        write_ground_truth(truth, toy / name, name)
        back = read_ground_truth(toy / name)
        assert write_ground_truth(back, toy / f"{name}.toy", "toy") == []
        assert np.allclose(read_ground_truth(toy / f"{name}.toy").boxes, truth.boxes)
    crowded = read_ground_truth(toy / "coco")
    crowded.crowd[0] = True
    assert losses(crowded, "toy") == [
        "Toy lines has no crowd or group flag: 1 box loses it and counts like any other box."
    ]
    (toy / "x").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="none of COCO JSON, .*, Toy lines"):
        recognise(toy / "x")


def test_the_commands_know_it(toy: Path) -> None:
    try:
        for module, function, options in (
            (detkit.cli.convert, "convert", ["--to"]),
            (detkit.cli.evaluate, "evaluate", ["--dt-format", "--gt-format"]),
        ):
            importlib.reload(module)
            app = typer.Typer()
            app.command()(getattr(module, function))
            shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "NO_COLOR": "1"}).output
            text = re.sub(r"\x1b\[[0-9;]*m", "", shown)
            assert text.count(", toy") == len(options), text
        (toy / "a.toy").write_text("toy,file,name\na.jpg|cat|1|2|31|42\n")
        app = typer.Typer()
        app.command()(detkit.cli.convert.convert)
        for source, target, form in (("a.toy", "a.json", "coco"), ("a.json", "b.toy", "toy")):
            done = CliRunner().invoke(app, [str(toy / source), str(toy / target), "--to", form])
            assert done.exit_code == 0, done.output
        assert (toy / "b.toy").read_text() == "toy,file,name\na.jpg|cat|1.0|2.0|31.0|42.0"
    finally:
        FORMATS.pop("toy", None)
        importlib.reload(detkit.cli.convert)
        importlib.reload(detkit.cli.evaluate)


# Names of protocols and palettes, too.
SHARED_NAMES = ("coco", "voc", "cityscapes", "panoptic")


def test_names_of_formats_stand_in_the_table_only() -> None:
    """A literal elsewhere is a rule that the table does not know."""
    package = Path(detkit.cli.convert.__file__).parents[1]
    literal = re.compile("|".join(f"[\"']{name}[\"']" for name in FORMATS if name not in SHARED_NAMES))
    others = [*package.glob("annotations/*.py"), package / "cli" / "convert.py", package / "cli" / "evaluate.py"]
    assert [file.name for file in others if literal.search(file.read_text())] == []


def test_the_table_costs_nothing() -> None:
    code = (
        "import sys, detkit.annotations.formats\n"
        "print({'numpy', 'orjson', 'yaml', 'cv2'} & set(sys.modules),"
        "[m for m in sys.modules if m.startswith('detkit.annotations.formats.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() []\n"


def test_keys_of_inner_objects() -> None:
    text = b'{"a": [{"b": 1, "c": {"d.e": {"f": 2}}}, {"g": "{"}], "h": {}, "i": ["x", {"j": 3}], "k": 4}'
    assert list(json_paths(text, 3)) == [
        ("a",), ("a", "b"), ("a", "c"), ("a", "c", "d.e"), ("a", "g"), ("h",), ("i",), ("i", "j"), ("k",),
    ]  # fmt: skip
    assert list(json_paths(text[:40], 1)) == [("a",)]
    assert list(json_paths(b'{"a": {"b": [}', 3)) == [("a",), ("a", "b")]

"""`detkit eval --protocol semantic` and `panoptic`: label maps and segments as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from detkit.cli.evaluate import evaluate
from detkit.files import write_bytes
from detkit.images import encode_image
from detkit.label_maps.palettes import palette_named
from detkit.label_maps.png import panoptic_picture, write_palette_png

app = typer.Typer()
app.command()(evaluate)
VOC = palette_named("voc")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def png(labels: np.ndarray) -> bytes:
    """A gray PNG."""
    return cv2.imencode(".png", labels)[1].tobytes()


def maps(seed: int, classes: int = 21, size: tuple[int, int] = (24, 31)) -> np.ndarray:
    """Blocks of classes with a border of 255 here and there."""
    chance = np.random.default_rng(seed)
    small = chance.integers(0, classes, (size[0] // 4 + 1, size[1] // 4 + 1)).astype(np.uint8)
    whole = np.repeat(np.repeat(small, 4, 0), 4, 1)[: size[0], : size[1]].copy()
    whole[chance.random(whole.shape) < 0.03] = 255
    return whole


def slow_figures(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[str, float]:
    """By the definitions, pixel for pixel."""
    truth = np.concatenate([a.ravel() for a, _ in pairs])
    found = np.concatenate([b.ravel() for _, b in pairs])
    found, truth = found[truth != 255], truth[truth != 255]
    union = [np.sum((truth == k) | (found == k)) for k in range(classes)]
    iou = [np.sum((truth == k) & (found == k)) / u if u else None for k, u in enumerate(union)]
    there = [k for k in range(classes) if (truth == k).any()]
    return {
        "mIoU": float(np.mean([value for value in iou if value is not None])),
        "pixel_accuracy": float(np.mean(truth == found)),
        "mean_accuracy": float(np.mean([np.mean(found[truth == k] == k) for k in there])),
        "frequency_weighted_IoU": float(sum(np.mean(truth == k) * (iou[k] or 0) for k in there)),
    }


@pytest.mark.parametrize("kind", ["palette", "gray", "colours"])
def test_folders_of_label_maps(tmp_path: Path, kind: str) -> None:
    pairs = []
    for number in range(4):
        truth = maps(number)
        found = np.where(np.random.default_rng(9 + number).random(truth.shape) < 0.7, truth, maps(number + 50))
        pairs.append((truth, found))
        for folder, labels in (("t/sub", truth), ("f/sub", found)):
            path = tmp_path / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "palette":
                write_palette_png(path, labels, VOC.table)
            else:
                write_bytes(path, png(labels) if kind == "gray" else encode_image(VOC.colour(labels), ".png"))
    options = ["--gt-format", "voc"] if kind == "colours" else []
    done = run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic", "--json", "-", *options)
    shown = json.loads(done.stdout)
    assert shown["figures"] == pytest.approx(slow_figures(pairs, 21), abs=1e-12)
    assert list(shown["classes"])[1] == ("1" if kind == "gray" else "aeroplane")
    table = run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic", "--per-class", "--explain", *options)
    assert "4 label maps" in table.stdout
    assert f"mIoU                    {shown['figures']['mIoU']:.4f}" in table.stdout
    below = run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic", "--fail-under", 0.99, *options)
    assert below.exit_code == 1
    named = ("--fail-under", "pixel_accuracy=0.99", *options)
    assert run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic", *named).exit_code == 1
    if kind == "colours":
        assert "--gt-format" in str(run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic").exception)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    for folder, name, size in (("t", "a", (24, 31)), ("t", "b", (24, 31)), ("f", "a", (24, 31)), ("g", "a", (24, 30))):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_palette_png(tmp_path / folder / f"{name}.png", maps(1, size=size), VOC.table)
    one = tmp_path / "t" / "a.png"
    assert "no label map for b.png" in str(run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic").exception)
    assert "is 30 x 24" in str(run(tmp_path / "g" / "a.png", one, "--protocol", "semantic").exception)
    extra = run(tmp_path / "t", tmp_path / "f", "--protocol", "semantic")
    assert "b.png: no true label map" in extra.stderr
    assert run(one, one, "--protocol", "semantic", "--bootstrap", 3).exit_code == 2
    assert run(one, one, "--protocol", "semantic", "--json", one).exception is not None
    (tmp_path / "names.txt").write_text("x\ny\n")
    assert "id" in str(run(one, one, "--protocol", "semantic", "--names", tmp_path / "names.txt").exception)


def test_cityscapes_ids_are_not_taken_for_class_numbers(tmp_path: Path) -> None:
    cityscapes = palette_named("cityscapes")
    classes = maps(3, 19)
    for folder, name, labels in (
        ("t", "x_gtFine_labelIds", cityscapes.to_ids(classes)), ("t", "x_gtFine_color", classes),
        ("f", "x_leftImg8bit", cityscapes.to_ids(classes)), ("g", "x_leftImg8bit", classes),
    ):  # fmt: skip
        (tmp_path / folder).mkdir(exist_ok=True)
        write_bytes(tmp_path / folder / f"{name}.png", png(labels))
    shown = json.loads(run(tmp_path / "f", tmp_path / "t", "--protocol", "semantic", "--json", "-").stdout)
    assert shown["figures"]["mIoU"] == 1
    assert "write both alike" in str(run(tmp_path / "g", tmp_path / "t", "--protocol", "semantic").exception)


def panoptic(path: Path, pictures: dict[int, tuple[np.ndarray, list[dict[str, Any]]]]) -> Path:
    path.with_suffix("").mkdir(parents=True)
    for number, (ids, _) in pictures.items():
        write_bytes(path.with_suffix("") / f"{number}.png", encode_image(panoptic_picture(ids), ".png"))
    path.write_text(json.dumps({
        "annotations": [
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
            for number, (_, segments) in pictures.items()
        ],
        "categories": [{"id": 7, "name": "cow", "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}],
    }))  # fmt: skip
    return path


def test_panoptic_quality_of_a_case_by_hand(tmp_path: Path) -> None:
    """A cow of 200 pixels found with 100 of them, a sky of 200 with 100 more: their IoU is 1/2 and 2/3."""
    ids, found = np.full((20, 20), 300), np.full((20, 20), 70000)
    ids[:, 10:], found[:, :15] = 66000, 5
    cow, sky = {"category_id": 7, "iscrowd": 0}, {"category_id": 9, "iscrowd": 0}
    truth = panoptic(tmp_path / "t.json", {1: (ids, [{"id": 300, **sky}, {"id": 66000, **cow}])})
    result = panoptic(tmp_path / "f.json", {1: (found, [{"id": 5, **sky}, {"id": 70000, **cow}])})
    shown = json.loads(run(result, truth, "--protocol", "panoptic", "--json", "-").stdout)
    assert shown["classes"]["sky"] == pytest.approx({"PQ": 200 / 300, "SQ": 200 / 300, "RQ": 1})
    assert shown["classes"]["cow"] == pytest.approx({"PQ": 0, "SQ": 0, "RQ": 0})  # an IoU of 0.5 is no match
    assert shown["figures"]["PQ"] == pytest.approx(100 / 300)
    assert shown["figures"]["PQ_stuff"] == pytest.approx(200 / 300)
    assert "1 picture, 2 segments to find" in run(result, truth, "--protocol", "panoptic", "--per-class").stdout
    other = panoptic(tmp_path / "o.json", {2: (found, [{"id": 5, **sky}, {"id": 70000, **cow}])})
    assert "no segments of the picture 1" in str(run(other, truth, "--protocol", "panoptic").exception)
    wrong = panoptic(tmp_path / "w.json", {1: (found, [{"id": 5, **sky}])})
    assert "70000" in str(run(wrong, truth, "--protocol", "panoptic").exception)
    assert "panoptic JSON" in str(run(tmp_path / "t" / "1.png", truth, "--protocol", "panoptic").exception)

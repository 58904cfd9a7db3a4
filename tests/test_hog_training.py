"""Training: crops and pictures in, a better and calibrated model out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.annotations import read_ground_truth
from detkit.detectors.hog.hog_detector import HogDetector, compute
from detkit.detectors.hog.hog_model import HogParameters, read_model, write_model
from detkit.errors import InputError, UsageError
from detkit.images import Image, read_image, write_image
from detkit.training.hog import (
    Round,
    Settings,
    _held_out,
    centred,
    default_object_box,
    samples_from_annotations,
    samples_from_folders,
    train,
)

PARAMETERS = HogParameters(window=(32, 32), block=(16, 16), cell=(8, 8))
QUICK = Settings(costs=(0.01, 0.1), rounds=2, negatives=300, hard=5, held_out=0.3, factor=1.3)


def _ring(canvas: Image, centre: tuple[int, int], radius: int, random: np.random.Generator) -> None:
    colour = tuple(int(value) for value in random.integers(0, 100, 3))
    cv2.circle(canvas, centre, radius, colour, max(2, radius // 4), cv2.LINE_AA)


def _scene(random: np.random.Generator, size: tuple[int, int] = (120, 160)) -> Image:
    """Noise, and squares and crosses that are no rings."""
    canvas = np.full((*size, 3), 170, np.uint8)
    for _ in range(6):
        x, y = (int(value) for value in random.integers(0, (size[1] - 24, size[0] - 24)))
        side = int(random.integers(10, 24))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        if random.random() < 0.5:
            cv2.rectangle(canvas, (x, y), (x + side, y + side), colour, 3)
        else:
            cv2.line(canvas, (x, y), (x + side, y + side), colour, 3)
    return np.clip(canvas + random.integers(-12, 13, canvas.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("rings")
    random = np.random.default_rng(0)
    for number in range(40):
        crop = _scene(random, (48, 48))[8:40, 8:40].copy()
        _ring(crop, (16, 16), int(random.integers(9, 12)), random)
        write_image(root / "positives" / f"{number:03d}.png", crop)
    for number in range(20):
        write_image(root / "negatives" / "deeper" / f"{number:03d}.png", _scene(random))
    return root / "positives", root / "negatives"


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("annotated")
    random = np.random.default_rng(1)
    images, boxes = [], []
    for number in range(30):
        canvas = _scene(random)
        x, y, radius = int(random.integers(35, 125)), int(random.integers(35, 85)), int(random.integers(12, 20))
        _ring(canvas, (x, y), radius, random)
        write_image(root / f"{number:03d}.png", canvas)
        images.append({"id": number, "file_name": f"{number:03d}.png", "width": 160, "height": 120})
        reach = radius * 1.15
        box = [x - reach, y - reach, 2 * reach, 2 * reach]
        boxes.append({"id": number + 1, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3]})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ring"}]}
    (root / "rings.json").write_text(json.dumps(content))
    return root / "rings.json"


def test_folders_train_a_detector_that_finds_the_object(folders: tuple[Path, Path]) -> None:
    rounds: list[Round] = []
    samples = samples_from_folders(*folders, PARAMETERS)
    assert samples.windows.shape == samples.mirrored.shape == (40, PARAMETERS.descriptor_length)
    model = train(samples, PARAMETERS, "ring", (4, 4, 28, 28), QUICK, rounds.append)
    assert [entry.number for entry in rounds] == list(range(len(rounds)))
    assert len(rounds) >= 2
    assert rounds[1].negatives > rounds[0].negatives
    assert rounds[-1].precision > 0.5
    random = np.random.default_rng(7)
    canvas = _scene(random)
    canvas[40:90, 60:110] = 170
    _ring(canvas, (85, 65), 14, random)
    found = HogDetector(model, factor=1.2, conf=0.2)(canvas)
    assert len(found) >= 1
    best = found.boxes[0]
    assert abs((best[0] + best[2]) / 2 - 85) < 6
    assert abs((best[1] + best[3]) / 2 - 65) < 6


def test_a_trained_model_reloads_to_the_same_scores(folders: tuple[Path, Path], tmp_path: Path) -> None:
    samples = samples_from_folders(*folders, PARAMETERS)
    for classifier in ("svm", "mlp"):
        settings = Settings(classifier=classifier, hidden=4, costs=(0.01,), rounds=0, negatives=200, held_out=0.3)  # type: ignore[arg-type]
        model = train(samples, PARAMETERS, "ring", None, settings)
        assert (model.output.size > 0) == (classifier == "mlp")
        write_model(tmp_path / "ring.npz", model)
        again = read_model(tmp_path / "ring.npz")
        np.testing.assert_array_equal(again.margins(samples.windows), model.margins(samples.windows))
        np.testing.assert_array_equal(
            again.probability(again.margins(samples.windows)), model.probability(model.margins(samples.windows))
        )


def test_margins_are_those_of_scikit_learn(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from detkit.training import hog

    made: list[Any] = []
    original = hog._svm
    monkeypatch.setattr(hog, "_svm", lambda *given: made.append(original(*given)) or made[-1])
    samples = samples_from_folders(*folders, PARAMETERS)
    settings = Settings(costs=(0.01,), rounds=0, negatives=200, held_out=0.3)
    model = train(samples, PARAMETERS, "ring", None, settings)
    np.testing.assert_allclose(model.margins(samples.windows), made[-1].decision_function(samples.windows), atol=1e-4)


def test_the_same_seed_gives_the_same_model(annotations: Path) -> None:
    models = []
    for _ in range(2):
        box = default_object_box(PARAMETERS)
        samples = samples_from_annotations(
            read_ground_truth(annotations), annotations.parent, "ring", PARAMETERS, box, QUICK
        )
        models.append(train(samples, PARAMETERS, "ring", box, QUICK))
    np.testing.assert_array_equal(models[0].weights, models[1].weights)
    assert models[0].calibration == models[1].calibration


def test_annotations_train_a_detector_with_calibrated_scores(annotations: Path) -> None:
    box = centred((24, 24), PARAMETERS)
    truth = read_ground_truth(annotations)
    samples = samples_from_annotations(truth, annotations.parent, "ring", PARAMETERS, box, QUICK)
    assert len(samples.windows) == 30
    rounds: list[Round] = []
    model = train(samples, PARAMETERS, "ring", box, QUICK, rounds.append)
    assert rounds[-1].miss_rate <= rounds[0].miss_rate
    right = []
    for row, file in enumerate(truth.images.files):
        found = HogDetector(model, factor=1.15, conf=0.5)(read_image(annotations.parent / file))
        x, y, width, height = truth.boxes[row]
        centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        right += (np.abs(centre - [x + width / 2, y + height / 2]).max(axis=1) < 8).tolist()
    assert len(right) >= 20
    assert np.mean(right) > 0.7  # of boxes with a probability above a half, most are right


def test_an_object_is_cut_out_at_its_place_in_the_window(annotations: Path) -> None:
    """The descriptor of a box that fills the object box exactly is that of the window on the picture itself."""
    from detkit.training.hog import _object_descriptor

    image = read_image(annotations.parent / "000.png")
    found = _object_descriptor(image, np.array([44.0, 36, 68, 60]), PARAMETERS, (4, 4, 28, 28), False)
    expected = compute(image, PARAMETERS, (8, 8))[4, 5]  # the window at 40, 32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("missing", ["positives", "negatives"])
def test_one_class_only_is_one_clear_error(folders: tuple[Path, Path], tmp_path: Path, missing: str) -> None:
    given = {"positives": folders[0], "negatives": folders[1], missing: tmp_path}
    with pytest.raises(InputError, match=rf"holds no pictures: training needs {missing} too, one class only"):
        samples_from_folders(given["positives"], given["negatives"], PARAMETERS)
    given[missing] = tmp_path / "absent"
    with pytest.raises(InputError, match="is not a folder of pictures"):
        samples_from_folders(given["positives"], given["negatives"], PARAMETERS)


def test_negatives_smaller_than_the_window_are_one_clear_error(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(InputError, match="no window without the object was found"):
        train(samples_from_folders(folders[0], tmp_path, PARAMETERS), PARAMETERS, "ring", None, QUICK)


def test_annotations_without_the_class_or_without_fitting_boxes(annotations: Path) -> None:
    truth = read_ground_truth(annotations)
    box = default_object_box(PARAMETERS)
    with pytest.raises(InputError, match="hold no class 'cat'; there are ring"):
        samples_from_annotations(truth, annotations.parent, "cat", PARAMETERS, box, QUICK)
    with pytest.raises(InputError, match="nothing to train on"):
        samples_from_annotations(truth, annotations.parent, "ring", PARAMETERS, box, Settings(smallest=40))


@pytest.mark.parametrize("given", [{"classifier": "tree"}, {"rounds": -1}, {"held_out": 1.0}, {"costs": (0.0,)}])
def test_impossible_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Settings(**given)


def test_an_object_larger_than_the_window() -> None:
    with pytest.raises(UsageError, match="does not fit into a window of 32 x 32"):
        centred((40, 20), PARAMETERS)


def test_pictures_that_cannot_be_read_are_left_out(
    folders: tuple[Path, Path], annotations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
        (tmp_path / folder.name / "broken.png").write_bytes(b"no picture")
    samples = samples_from_folders(tmp_path / folders[0].name, tmp_path / folders[1].name, PARAMETERS)
    whole = samples_from_folders(*folders, PARAMETERS)
    np.testing.assert_array_equal(samples.windows, whole.windows)
    assert len(samples.scenes) == len(whole.scenes)
    assert caplog.text.count("left out") == 2

    shutil.copytree(annotations.parent, tmp_path / "annotated")
    (tmp_path / "annotated" / "003.png").unlink()
    truth = read_ground_truth(tmp_path / "annotated" / annotations.name)
    box = default_object_box(PARAMETERS)
    some = samples_from_annotations(truth, tmp_path / "annotated", "RING", PARAMETERS, box, Settings())
    assert len(some.scenes) == 29
    assert "003.png" in caplog.text


@pytest.mark.parametrize("seed", range(6))
def test_objects_in_few_pictures_are_shared_out(annotations: Path, seed: int) -> None:
    truth = read_ground_truth(annotations)
    kept = truth.image_index < 3
    columns = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    few = replace(truth, ids=truth.ids[:3], **{name: getattr(truth, name)[kept] for name in columns})
    box = default_object_box(PARAMETERS)
    samples = samples_from_annotations(few, annotations.parent, "ring", PARAMETERS, box, Settings())
    scenes, windows = _held_out(samples, 0.01, np.random.default_rng(seed))
    assert 0 < windows.sum() < len(windows)
    assert (scenes[samples.owners] == windows).all()


def test_what_a_class_is_called(annotations: Path) -> None:
    truth = read_ground_truth(annotations)
    with pytest.raises(InputError, match="no class 'rong'; there are ring"):
        samples_from_annotations(truth, annotations.parent, "rong", PARAMETERS, (0, 0, 9, 9), Settings())

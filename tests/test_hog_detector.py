"""The HOG detector and its model file."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.boxes import iou
from detkit.detectors.hog.glyphs import glyphs
from detkit.detectors.hog.hog_detector import HogDetector, compute, describe, score_grid
from detkit.detectors.hog.hog_model import (
    HogModel,
    HogParameters,
    named_model,
    person_model,
    read_model,
    read_opencv_svm,
    write_model,
)
from detkit.detectors.windows.grouping import Grouping
from detkit.errors import InputError, ModelError
from detkit.graphs.registry import models_folder
from detkit.images import read_image


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hog_reference = _module(Path(__file__).parent / "hog_reference.py")


def _random_model(seed: int = 0, hidden: int = 0, **given: Any) -> HogModel:
    parameters = HogParameters(**given)
    random = np.random.default_rng(seed)
    units = max(1, hidden)
    weights = random.normal(0, 0.05, (units, parameters.descriptor_length)).astype(np.float32)
    output = random.normal(0, 1, hidden + 1).astype(np.float32) if hidden else np.zeros(0, np.float32)
    return HogModel(parameters, weights, random.normal(0, 0.1, units).astype(np.float32), output)


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("hidden", [0, 5])
@pytest.mark.parametrize(("stride", "step"), [((8, 8), (8, 8)), ((16, 8), (8, 8)), ((4, 12), (4, 4))])
def test_the_correlation_gives_every_window_its_own_score(
    hidden: int, stride: tuple[int, int], step: tuple[int, int]
) -> None:
    model = _random_model(hidden=hidden)
    image = _noise(181, 133)
    found = score_grid(describe(image, model.parameters, step), model, step, stride)
    descriptors = compute(image, model.parameters, stride)
    expected = model.margins(descriptors.reshape(-1, 3780)).reshape(descriptors.shape[:2])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_windows_equal_detect_multi_scale_before_grouping(tmp_path: Path, coco128: Path) -> None:
    """The published INRIA coefficients on real pictures: same windows, margins to 1e-3."""
    model = named_model("person-inria")
    svm = np.append(model.weights[0], model.offsets[0])
    compared = 0
    for name, threshold, padding in [
        ("000000000036", -1.0, (8, 8)),
        ("000000000110", -0.5, (8, 8)),
        ("000000000165", -1.0, (16, 24)),
    ]:
        image = read_image(coco128 / "images" / f"{name}.jpg")
        expected = hog_reference.reference(
            tmp_path, image, kind="detect", svm=svm, threshold=threshold, stride=(8, 8), padding=padding, scale=1.05
        )
        _assert_same_windows(HogDetector(model, padding=padding), image, threshold, expected)
        compared += len(expected)
    assert compared > 100


def test_windows_equal_the_golden_ones_of_opencv() -> None:
    stored = np.load(Path(__file__).parent / "data" / "hog_golden.npz")
    assert len(stored["detect"]) > 50
    _assert_same_windows(HogDetector(named_model("person-inria")), stored["detect_image"], -3.0, stored["detect"])


def _assert_same_windows(detector: HogDetector, image: np.ndarray, threshold: float, expected: np.ndarray) -> None:
    """The same windows as rows x, y, width, height, margin of detectMultiScale without grouping.

    It rounds corners and sizes to whole pixels, cuts at the picture's border (since OpenCV 5), and gives its levels in
    any order.
    """
    boxes, margins = detector.windows(image, threshold)
    assert len(boxes) == len(expected)
    corner = np.rint(boxes[:, :2])
    end = np.minimum(corner + np.rint(boxes[:, 2:] - boxes[:, :2]), (image.shape[1], image.shape[0]))
    corner = np.maximum(corner, 0)
    ours, theirs = _sorted(np.column_stack((corner, end - corner, margins))), _sorted(expected)
    np.testing.assert_array_equal(ours[:, :4], theirs[:, :4])
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=1e-3)


def _sorted(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((rows[:, 4].round(2), rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]


def test_threads_change_nothing() -> None:
    image = _noise(300, 260)
    model = _random_model()
    one = HogDetector(model).windows(image, -10)
    four = HogDetector(model, threads=4).windows(image, -10)
    assert len(one[0]) > 10
    np.testing.assert_array_equal(one[0], four[0])
    np.testing.assert_array_equal(one[1], four[1])


def test_a_pasted_pattern_is_found_where_it_lies() -> None:
    """A template as the classifier: the detector finds the pattern at its place, at its scale."""
    pattern = np.kron(np.random.default_rng(5).integers(0, 2, (16, 8)), np.ones((8, 8)))[:, :, None]
    pattern = np.repeat(pattern * 200 + 20, 3, axis=2).astype(np.uint8)
    descriptor = compute(pattern)[0, 0]
    weights = (descriptor - descriptor.mean())[None].astype(np.float32)
    model = HogModel(HogParameters(), weights, np.array([-0.8 * float(weights[0] @ descriptor)], np.float32))
    image = _noise(320, 400) // 4 + 90
    image[96:224, 160:224] = pattern
    found = HogDetector(model, conf=0.5)(image)
    assert len(found) == 1
    assert iou(found.boxes, np.array([[160, 96, 224, 224]], np.float32))[0, 0] > 0.95


def test_the_bundled_detector_finds_a_person(coco128: Path) -> None:
    annotations = json.loads((coco128 / "instances.json").read_text())
    person = next(item["id"] for item in annotations["categories"] if item["name"] == "person")
    names = {item["id"]: item["file_name"] for item in annotations["images"]}
    tall = [
        item for item in annotations["annotations"]
        if item["category_id"] == person and item["bbox"][3] > 150 and 0.3 < item["bbox"][2] / item["bbox"][3] < 0.45
    ]  # fmt: skip
    hits = 0
    for item in tall[:12]:
        x, y, width, height = item["bbox"]
        found = HogDetector(conf=0.02, factor=1.1)(read_image(coco128 / "images" / names[item["image_id"]]))
        truth = np.array([[x, y, x + width, y + height]], np.float32)
        hits += bool(len(found) and iou(found.boxes, truth).max() > 0.5)
    assert len(tall) >= 12
    assert hits >= 5


def test_an_object_box_is_part_of_the_window() -> None:
    model = replace(_random_model(), object_box=(16, 16, 48, 112))
    np.testing.assert_allclose(model.object_boxes(np.array([[100.0, 50, 228, 306]])), [[132, 82, 196, 274]])


def test_a_picture_smaller_than_the_window() -> None:
    with pytest.raises(InputError, match="window of 64 x 128 is larger than the picture of 63 x 300"):
        HogDetector(_random_model())(_noise(300, 63))
    assert len(HogDetector(_random_model(), enlarge=2, conf=0.0).score_map(_noise(300, 63)).levels) > 0


@pytest.mark.parametrize("hidden", [0, 3])
def test_a_saved_model_gives_the_same_scores(tmp_path: Path, hidden: int) -> None:
    model = replace(
        _random_model(hidden=hidden, window=(48, 96), orientations=7, norm="l1-sqrt", sigma=3.5),
        name="cat", calibration=(2.5, -1.0), object_box=(4, 8, 44, 88), notes={"licence": "CC0"},
    )  # fmt: skip
    write_model(tmp_path / "model.npz", model)
    again = read_model(tmp_path / "model.npz")
    image = _noise(160, 140)
    np.testing.assert_array_equal(
        HogDetector(again).score_map(image).levels[0].scores, HogDetector(model).score_map(image).levels[0].scores
    )
    assert (again.name, again.calibration, again.object_box) == ("cat", (2.5, -1.0), (4, 8, 44, 88))
    assert again.parameters == model.parameters
    assert again.notes == {"licence": "CC0"}


def test_a_model_file_holds_no_pickle(tmp_path: Path) -> None:
    write_model(tmp_path / "model.npz", _random_model())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        assert {archive[key].dtype.kind for key in archive.files} <= {"f", "U"}


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".npy", ".npz", ".yml", ".xml", ".json"])
@pytest.mark.parametrize("offset", [True, False])
def test_opencv_coefficients_are_read_from_every_layout(tmp_path: Path, suffix: str, offset: bool) -> None:
    import cv2

    numbers = np.random.default_rng(0).normal(size=3780 + offset).astype(np.float32)
    path = tmp_path / f"svm{suffix}"
    if suffix == ".txt":
        path.write_text("[" + " ".join(map(repr, numbers.tolist())) + "]\n")
    elif suffix == ".csv":
        path.write_text("\n".join(map(repr, numbers.tolist())))
    elif suffix == ".npy":
        np.save(path, numbers[:, None])
    elif suffix == ".npz":
        np.savez(path, detector=numbers)
    else:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
        storage.write("detector", numbers)
        storage.release()
    model = read_opencv_svm(path)
    np.testing.assert_array_equal(model.weights[0], numbers[:3780])
    assert model.offsets[0] == (numbers[-1] if offset else 0)


def test_a_descriptor_saved_by_opencv_brings_its_parameters(tmp_path: Path) -> None:
    numbers = " ".join(["0.5"] * 2520 + ["-3."])
    sequence = ", ".join(numbers.split())
    (tmp_path / "hog.yml").write_text(
        "%YAML 1.2\n---\nhog: !!opencv-object-detector-hog\n   winSize: [ 48, 96 ]\n   blockSize: [ 24, 24 ]\n"
        "   blockStride: [ 8, 8 ]\n   cellSize: [ 8, 8 ]\n   nbins: 7\n   derivAperture: 1\n   winSigma: 3.\n"
        "   histogramNormType: 0\n   L2HysThreshold: 2.5e-01\n   gammaCorrection: 0\n   nlevels: 64\n"
        f"   signedGradient: true\n   SVMDetector: [ {sequence} ]\n"
    )
    model = read_opencv_svm(tmp_path / "hog.yml")
    assert model.parameters == HogParameters(
        (48, 96), (24, 24), (8, 8), (8, 8), 7, signed=True, gamma=False, sigma=3.0, clip=0.25
    )
    assert model.offsets[0] == -3


@pytest.mark.parametrize("count", [0, 3779, 3782])
def test_coefficients_of_the_wrong_length(tmp_path: Path, count: int) -> None:
    path = tmp_path / "svm.npy"
    np.save(path, np.zeros(count, np.float32))
    with pytest.raises(ModelError, match=rf"svm.npy: holds {count} coefficients.*descriptors of 3780.*3781 with"):
        read_opencv_svm(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY broken", b"PK\x03\x04 broken", b"1 2 three", b"\xff\xfe\x00"])
@pytest.mark.parametrize("suffix", [".npz", ".yml", ".txt"])
def test_broken_files_are_one_clear_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    for read in (read_model, read_opencv_svm):
        with pytest.raises(ModelError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_names_of_bundled_models() -> None:
    assert named_model(None) is person_model()
    assert named_model("person").name == "person"
    with pytest.raises(ModelError, match="neither a file nor one of person, person-inria"):
        named_model("cat")


def test_grouping_by_mean_shift_gives_fewer_boxes() -> None:
    image = _noise(300, 260)
    model = _random_model()
    threshold = float(np.quantile(HogDetector(model).score_map(image).levels[0].scores, 0.9))
    single = HogDetector(model, conf=threshold, max_det=None, grouping=Grouping("none"))(image)
    grouped = HogDetector(model, conf=threshold, grouping=Grouping("mean-shift"))(image)
    assert 0 < len(grouped) < len(single)


@pytest.mark.parametrize("box", [(0, 0, 9), (0, 0, 0, 9), (0, 0, float("nan"), 9), (9, 9, 0, 0)])
def test_an_object_box_that_is_none_is_refused(box: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="object box"):
        replace(person_model(), object_box=box)
    about = json.loads(str(np.load(models_folder() / "person-hog.npz")["model"]))
    arrays = dict(np.load(models_folder() / "person-hog.npz"))
    np.savez(tmp_path / "odd.npz", **{**arrays, "model": np.array(json.dumps({**about, "object_box": box}))})
    with pytest.raises(ModelError, match=r"odd\.npz"):
        read_model(tmp_path / "odd.npz")
    np.savez(tmp_path / "odd.npz", **{**arrays, "model": np.array(json.dumps({**about, "version": 9}))})
    with pytest.raises(ModelError, match=r"odd\.npz"):
        read_model(tmp_path / "odd.npz")


def test_glyphs_keep_the_shape_of_cells_and_a_size_that_fits_memory() -> None:
    parameters = HogParameters(window=(60, 120), block=(12, 20), block_stride=(6, 10), cell=(6, 10))
    wide = glyphs(np.zeros((200, 120, 3), np.uint8), parameters)
    assert wide.shape == (20 * 24, 2 * 20 * 14, 3)
    assert max(glyphs(np.zeros((2000, 4000, 3), np.uint8), HogParameters()).shape) <= 2 * 250 * 24

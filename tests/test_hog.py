"""The HOG descriptor: against opencv-contrib, against a slow loop, and stage by stage."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.detectors.hog.hog_detector import (
    _bin_by_tiles,
    _tiled,
    bin_orientations,
    block_step,
    collect_windows,
    compute,
    compute_gradients,
    describe,
    normalize_blocks,
    normalize_gamma_and_colour,
)
from detkit.detectors.hog.hog_model import HogParameters, parameters_from_text
from detkit.errors import InputError, UsageError
from detkit.images import read_image

DATA = Path(__file__).parent / "data"


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = _module(DATA / "make_hog_golden.py")
hog_reference = _module(Path(__file__).parent / "hog_reference.py")
SETS = list(enumerate(golden.SETS))


def _parameters(given: dict[str, Any]) -> HogParameters:
    return HogParameters(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


@pytest.mark.parametrize(("number", "given"), SETS)
def test_compute_equals_the_golden_arrays_of_opencv(number: int, given: dict[str, Any]) -> None:
    stored = np.load(DATA / "hog_golden.npz")
    stride, padding = ((24, 24), (8, 8)) if number < 4 else ((23, 24), (0, 0))
    ours = compute(stored["image"], _parameters(given), stride, padding)
    ours = ours.reshape(-1, ours.shape[-1])[:, ::7]
    expected = stored[f"compute_{number}"]
    assert ours.shape == expected.shape
    assert expected.std() > 0.01
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize(("number", "given"), SETS)
@pytest.mark.parametrize("kind", ["random", "real"])
def test_compute_equals_opencv_contrib(
    tmp_path: Path, number: int, given: dict[str, Any], kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "random":
        image = np.random.default_rng(number).integers(0, 256, (203, 171, 3), dtype=np.uint8)
    else:
        coco128 = request.getfixturevalue("coco128")
        image = read_image(coco128 / "images" / "000000000036.jpg")[100:311, 50:239].copy()
    stride, padding = ((16, 8), (5, 8)) if number < 4 else ((23, 6), (0, 0))
    ours = compute(image, _parameters(given), stride, padding)
    task = {"kind": "compute", "parameters": given, "stride": stride, "padding": padding}
    expected = hog_reference.reference(tmp_path, image, **task)
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, atol=1e-4)


def test_default_descriptor_has_3780_numbers() -> None:
    parameters = HogParameters()
    assert parameters.descriptor_length == 3780
    assert parameters.blocks == (7, 15)
    assert compute(golden.picture(128, 64, 0)).shape == (1, 1, 3780)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "block=24x24,block_stride=8x8,window=48x96,orientations=5",
        "window=40x40,block=16x8,block_stride=8x8,cell=4x4,signed=yes,gamma=no",
        "window=36x36,block=12x12,block_stride=4x4,cell=6x6,sigma=2.5",
    ],
)
def test_tiles_give_the_same_blocks_as_block_after_block(text: str) -> None:
    parameters = parameters_from_text(text)
    padded = golden.picture(90, 110, 1)
    step = block_step(parameters, parameters.block_stride)
    assert _tiled(parameters, step)
    magnitude, angle = compute_gradients(normalize_gamma_and_colour(padded, parameters))
    expected = bin_orientations(magnitude, angle, parameters, step)
    assert expected.max() > 1
    np.testing.assert_allclose(_bin_by_tiles(padded, parameters, step), expected, rtol=1e-4, atol=1e-3)


def test_one_pixel_votes_as_the_paper_says() -> None:
    """A slow loop over pixels, cells and orientations, written from section 6.3 and 6.4."""
    parameters = HogParameters(window=(16, 16), gamma=False)
    random = np.random.default_rng(0)
    magnitude = random.random((16, 16)).astype(np.float32)
    angle = (random.random((16, 16)) * 2 * np.pi).astype(np.float32)
    expected = np.zeros((2, 2, 9))
    for y in range(16):
        for x in range(16):
            gaussian = np.exp(-((x - 8) ** 2 + (y - 8) ** 2) / (2 * 4.0**2))
            for cell_x in range(2):
                for cell_y in range(2):
                    near_x = max(0, 1 - abs(x + 0.5 - (cell_x * 8 + 4)) / 8)
                    near_y = max(0, 1 - abs(y + 0.5 - (cell_y * 8 + 4)) / 8)
                    for bin_ in range(9):
                        apart = (angle[y, x] % np.pi) / np.pi * 9 - (bin_ + 0.5)
                        apart = min(abs(apart), abs(apart - 9), abs(apart + 9))
                        vote = magnitude[y, x] * max(0, 1 - apart)
                        expected[cell_x, cell_y, bin_] += vote * near_x * near_y * gaussian
    found = bin_orientations(magnitude, angle, parameters, (8, 8))
    np.testing.assert_allclose(found.reshape(2, 2, 9), expected, rtol=1e-4, atol=1e-4)


def test_gradient_takes_the_strongest_channel() -> None:
    colours = np.zeros((3, 3, 4), np.float32)
    colours[0, 1] = [0, 0, 3, 0]
    colours[1, 1] = [0, 0, 5, 0]
    magnitude, angle = compute_gradients(colours)
    np.testing.assert_allclose(magnitude, [[5, 0]])
    np.testing.assert_allclose(angle[0, 0], 0, atol=1e-6)


def test_angles_are_right_to_a_hundredth_of_a_degree() -> None:
    turn = np.linspace(0, 2 * np.pi, 721)[:-1]
    colours = np.zeros((3, 3, 3 * 720), np.float32)
    colours[:, 1, 2::3] = np.cos(turn)  # right neighbour of every third pixel
    colours[:, 2, 1::3] = np.sin(turn)  # the one below it
    _, angle = compute_gradients(colours)
    apart = (angle[0, ::3] - turn + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(np.degrees(apart)).max() < 0.012


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("l1", lambda v, e: v / (v.sum() + e)),
        ("l1-sqrt", lambda v, e: np.sqrt(v / (v.sum() + e))),
        ("l2", lambda v, e: v / np.sqrt((v**2).sum() + e**2)),
    ],
)
def test_block_norms_are_the_papers_formulas(norm: Any, expected: Any) -> None:
    parameters = HogParameters(norm=norm)
    values = np.random.default_rng(0).random((4, 36)).astype(np.float32)
    found = normalize_blocks(values.copy(), parameters)
    for row, before in zip(found, values, strict=True):
        np.testing.assert_allclose(row, expected(before.astype(np.float64), 3.6), rtol=1e-5)


def test_l2_hys_is_unit_length_and_clipped_before() -> None:
    values = np.zeros((1, 36), np.float32)
    values[0, :2] = 1000, 1
    found = normalize_blocks(values, HogParameters())
    # 1000 / (1000 + 3.6) is clipped to 0.2, 1 / 1003.6 stays; both are divided by the new length.
    assert found[0, 1] / found[0, 0] == pytest.approx(1 / 1003.6 / 0.2, rel=1e-3)
    assert np.linalg.norm(found) == pytest.approx(1, abs=0.01)


def test_windows_are_cut_from_the_block_grid() -> None:
    parameters = HogParameters(window=(32, 48))
    image = golden.picture(80, 72, 2)
    blocks = describe(image, parameters, (8, 8))
    windows = collect_windows(blocks, parameters, (8, 8), (16, 8))
    single = blocks[2:7, 2:5].transpose(1, 0, 2).reshape(-1)
    np.testing.assert_array_equal(windows[2, 1], single)


def test_a_flat_picture_gives_zeros() -> None:
    assert not compute(np.full((128, 64, 3), 77, np.uint8)).any()


@pytest.mark.parametrize(
    "text",
    ["cell=7x7", "window=65x128", "orientations=0", "norm=l3", "sigma=0", "clip=0", "window=8x8", "window=64x0"],
)
def test_parameters_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parameters_from_text(text)


@pytest.mark.parametrize("text", ["nonsense=1", "window=64", "gamma=perhaps", "orientations=nine"])
def test_parameter_text_is_checked(text: str) -> None:
    with pytest.raises(UsageError, match="HOG"):
        parameters_from_text(text)


def test_a_window_larger_than_the_picture() -> None:
    with pytest.raises(InputError, match="larger than the picture of 60 x 128"):
        compute(np.zeros((128, 60, 3), np.uint8))

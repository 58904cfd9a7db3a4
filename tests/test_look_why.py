"""Maps of what a box depends on, against detectors whose reasons are known."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.boxes import iou
from detkit.errors import ModelError, UsageError
from detkit.graphs.editing import load_whole
from detkit.inside.class_activation import cam, first_component, head_layers, pooled_end
from detkit.inside.heat_figures import centred_blob, heat_figures, share_inside, without_hottest
from detkit.inside.hiding import RandomMasks, agreement, d_rise, hidden, occlusion, random_masks, square_count
from detkit.inside.likeness import Rows, Target, likeness
from detkit.inside.subjects import open_subject
from detkit.inside.tapped import Tapped


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


look_graphs = _module(Path(__file__).parent / "look_graphs.py")
BrightRegion, residual_classifier = look_graphs.BrightRegion, look_graphs.residual_classifier
WHITE = np.full((48, 64, 3), 255, np.uint8)
REGION = (8, 6, 24, 22)
SUBJECT = BrightRegion(REGION)
VIEW = SUBJECT.view(WHITE)
LIGHT = Target("light 1.00", np.array(REGION, np.float32), np.ones(1, np.float32), 0, 1.0)


def test_likeness_is_overlap_times_cosine_times_score() -> None:
    rows = Rows(
        np.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]], np.float32),
        np.array([[0.3, 0.4], [0.8, 0.0], [0.9, 0.0]], np.float32),
    )
    target = Target("a", np.array([0, 0, 10, 10], np.float32), np.array([1, 0], np.float32), 0, 1.0)
    overlaps = iou(target.box[None], rows.boxes)[0]
    expected = max(
        overlaps[k] * rows.vectors[k, 0] / np.linalg.norm(rows.vectors[k]) * rows.vectors[k].max() for k in (0, 1)
    )
    assert likeness(rows, [target])[0] == pytest.approx(expected)
    assert likeness(Rows(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32)), [target]).tolist() == [0]


def test_occlusion_finds_the_region_and_its_share() -> None:
    ticks: list[int] = []
    found = occlusion(SUBJECT, VIEW, [LIGHT], square=8, tick=ticks.append)
    assert sum(ticks) == square_count(VIEW, 8) == found.runs - 1
    heat = found.maps[0]
    assert heat.shape == (48, 64)
    # A square of 8 hides a quarter of the region of 16 x 16; one that does not touch it hides nothing.
    assert heat[14, 16] == pytest.approx(64 / 256)
    assert heat[40, 60] == 0
    assert share_inside(heat, REGION) > 0.6


def test_d_rise_finds_the_region_and_stops_when_it_has_settled() -> None:
    masks = RandomMasks(cells=6, most=1500, least=100, seed=1)
    found = d_rise(SUBJECT, VIEW, [LIGHT], masks)
    assert found.settled[0] >= 0.9
    assert 100 <= found.runs < 1500
    y, x = np.unravel_index(found.maps[0].argmax(), (48, 64))
    assert 6 <= y < 22
    assert 8 <= x < 24
    again = d_rise(SUBJECT, VIEW, [LIGHT], masks)
    assert np.array_equal(again.maps, found.maps)


def test_d_rise_is_the_covariance_of_visibility_and_likeness() -> None:
    masks = RandomMasks(cells=4, most=40, least=40, seed=2)
    found = d_rise(SUBJECT, VIEW, [LIGHT], masks)
    assert found.runs == 40
    drawn = random_masks(masks, (48, 64))
    shown = np.stack([next(drawn) for _ in range(40)]).astype(float)
    weights = np.array([likeness(SUBJECT.rows([hidden(VIEW, mask)], VIEW)[0], [LIGHT])[0] for mask in shown])
    expected = (weights[:, None, None] * shown).mean(0) - weights.mean() * shown.mean(0)
    assert np.allclose(found.maps[0], expected, atol=1e-6)


def test_masks_show_half_and_shift() -> None:
    drawn = random_masks(RandomMasks(cells=8), (50, 70))
    shown = np.stack([next(drawn) for _ in range(400)])
    assert shown.shape == (400, 50, 70)
    assert shown.min() == 0
    assert shown.max() == 1
    assert np.abs(shown.mean(axis=0) - 0.5).max() < 0.1
    with pytest.raises(UsageError):
        RandomMasks(cells=1)


def test_agreement_is_that_of_twice_the_masks() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(1, 40, 40))
    one, other = (truth + random.normal(size=truth.shape) for _ in range(2))
    whole = (one + other) / 2
    sure = agreement(one.astype(np.float32), other.astype(np.float32))[0]
    # The correlation of the whole with the truth is the root of its reliability.
    assert np.corrcoef(whole.ravel(), truth.ravel())[0, 1] ** 2 == pytest.approx(sure, abs=0.05)
    assert agreement(one.astype(np.float32), -one.astype(np.float32))[0] == 0


def test_figures_count_heat_and_what_hiding_costs() -> None:
    heat = np.zeros((48, 64), np.float32)
    heat[6:22, 8:24] = 1
    heat[0, 0] = -5
    figures = heat_figures(SUBJECT, VIEW, LIGHT, heat)
    assert figures.inside == 1
    assert figures.area == pytest.approx(256 / (48 * 64))
    assert figures.drop == pytest.approx(1, abs=0.01) or figures.drop > 0.9
    assert figures.verdict == ""
    blob = heat_figures(SUBJECT, VIEW, LIGHT, centred_blob(48, 64))
    assert blob.verdict.startswith("uninformative")
    assert blob.inside == blob.blob_inside


def test_shares_are_cut_at_the_sides_of_pixels() -> None:
    assert share_inside(np.ones((4, 4), np.float32), (0.5, 0, 2.5, 4)) == pytest.approx(0.5)
    assert share_inside(np.zeros((4, 4), np.float32), (0, 0, 4, 4)) == 0
    gone = without_hottest(VIEW, np.arange(48 * 64, dtype=np.float32).reshape(48, 64), 0.25)
    assert (gone[:36] == 255).all()
    assert (gone[36:] == 0).all()


def test_cam_is_exact(tmp_path: Path) -> None:
    subject = open_subject(residual_classifier(tmp_path / "r.onnx"))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    view = subject.view(image)
    targets = subject.targets(image, view, 0, 5)
    tapped = Tapped(subject.path, subject.graph())
    maps = cam(subject, tapped, view, targets)
    feeds = subject.feeds(view)
    scores = tapped.run(["scores"], feeds)["scores"][0]
    bias = pooled_end(tapped, feeds).bias
    for target, one in zip(targets, maps, strict=True):
        assert one.mean() + bias[target.class_id] == pytest.approx(scores[target.class_id], abs=1e-4)


def test_cam_is_refused_where_no_pooling_ends_the_network() -> None:
    subject = open_subject("lenet5-digits")
    image = np.zeros((32, 32, 3), np.uint8)
    view = subject.view(image)
    with pytest.raises(ModelError, match="does not end in global average pooling"):
        cam(subject, Tapped(subject.path, subject.graph()), view, subject.targets(image, view, 0, 1))


def test_the_first_component_is_numpys() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 6, 7))
    rows = maps.reshape(5, -1).T
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    found = first_component(maps).ravel()
    expected = u[:, 0] * s[0]
    assert np.allclose(found, expected, atol=1e-5) or np.allclose(found, -expected, atol=1e-5)


def test_the_bundled_detectors_last_layers_are_found() -> None:
    subject = open_subject("yolo-lite0")
    view = subject.view(np.zeros((90, 120, 3), np.uint8))
    tapped = Tapped(subject.path, load_whole(subject.path))
    feeds = subject.feeds(view)
    names = head_layers(tapped, feeds, view.placement.size, len(subject.names))
    shapes = tapped.shapes(feeds)
    assert [shapes[name][2:] for name in names] == [(52, 52), (26, 26), (13, 13)]
    assert all("class_branch" in name for name in names)


def test_rows_of_the_bundled_detector_hold_its_boxes(coco128: Path) -> None:
    from detkit.images import read_image

    image = read_image(coco128 / "images" / "000000000025.jpg")
    subject = open_subject("yolo-lite0")
    view = subject.view(image)
    (target,) = subject.targets(image, view, 0.25, 1)
    assert target.name.startswith("giraffe")
    assert np.allclose(target.box / view.scale, subject.found(image, 0.25).boxes[0], atol=0.5)
    (rows,) = subject.rows([view.image], view)
    assert likeness(rows, [target])[0] == pytest.approx(target.score, abs=0.01)


def test_the_command_says_what_its_maps_are_worth(cli, tmp_path: Path, coco128: Path) -> None:
    picture = coco128 / "images" / "000000000025.jpg"
    done = cli("look", picture, "--occlusion", "--eigen-cam", "--square", 128, "-o", tmp_path / "o", "--json", "-")
    assert done.returncode == 0, done.stderr
    occluded, eigen = json.loads(done.stdout)["pictures"][0]["maps"]
    assert occluded["heat_in_box"] > 2 * occluded["box_area"]
    assert occluded["drop"] > 0.5 > occluded["blob_drop"]
    assert "not why" in eigen["note"]
    assert Path(occluded["file"]).is_file()
    done = cli("look", picture, "--occlusion", "--box", "0,0,20,20", "-o", tmp_path / "o")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no box that is found overlaps" in done.stderr

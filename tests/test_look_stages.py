"""The steps of the detectors: each number against the detector's own, and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detkit.detectors.hog.hog_detector import HogDetector
from detkit.detectors.yolo.heads.anchored import v1_cells
from detkit.images import read_image
from detkit.inside.edge_box_stages import box_score
from detkit.inside.hog_stages import contributions, hog_stages, linear_part
from detkit.inside.region_stages import anchor_objectness
from detkit.inside.stages import Stage, stages_of, suppressors
from detkit.nms import greedy_nms
from detkit.proposals.edge_boxes import EdgeBoxes, edge_groups, score_windows
from detkit.proposals.edge_boxes_kernels import cluster_kernel
from detkit.proposals.edges import gradient_edges, thinned_edges

DEMO = Path(__file__).parents[1] / "detkit" / "demo"


def names(stages: list[Stage]) -> list[str]:
    return [stage.name for stage in stages]


def test_suppressors_are_those_of_greedy_suppression() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate((corners, corners + random.uniform(10, 40, (200, 2))), axis=1).astype(np.float32)
    scores, classes = random.random(200).astype(np.float32), random.integers(0, 3, 200)
    owner = suppressors(boxes, scores, classes, 0.4)
    assert sorted(np.flatnonzero(owner < 0)) == sorted(greedy_nms(boxes, scores, 0.4, classes))
    for number in np.flatnonzero(owner >= 0):
        assert classes[owner[number]] == classes[number]
        assert scores[owner[number]] >= scores[number]
        assert owner[owner[number]] < 0


def test_the_levels_of_an_anchor_free_head_hold_its_detections() -> None:
    image = read_image(DEMO / "astronaut.jpg")
    stages = list(stages_of("yolo-lite0", image))
    assert names(stages) == [
        "picture", "input", "level-8", "level-16", "level-32", "before-suppression", "suppressed-by", "result",
    ]  # fmt: skip
    detections = stages[-1].figures["detections"]
    best = max(stage.figures["best_score"] for stage in stages[2:5])
    assert best == pytest.approx(detections[0]["score"], abs=1e-4)
    survivors = stages[-2].figures["survivors"]
    assert [one["score"] for one in survivors] == pytest.approx([one["score"] for one in detections], abs=1e-4)
    assert sum(one["suppressed"] for one in survivors) + len(survivors) == stages[-3].figures["boxes"]
    assert all(stage.picture.dtype == np.uint8 and stage.picture.ndim == 3 for stage in stages)


def test_faster_rcnns_proposals_come_from_its_objectness() -> None:
    image = read_image(DEMO / "astronaut.jpg")
    stages = {stage.name: stage for stage in stages_of("faster-rcnn-lite0", image)}
    assert {"feature-map", "anchors", "objectness", "proposals", "roi-grid"} <= set(stages)
    highest = stages["objectness"].figures["highest"]
    assert len(highest) == len(stages["anchors"].figures["anchors"]) == 9
    assert 0.5 < max(highest) <= 1


def test_objectness_is_the_softmax_of_background_and_object() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    found = anchor_objectness(logits)
    for anchor in range(2):
        both = np.exp(logits[2 * anchor : 2 * anchor + 2])
        assert np.allclose(found[anchor], both[1] / both.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize("model", ["person", "person-inria"])
def test_the_parts_of_a_windows_score_sum_to_its_margin(model: str) -> None:
    detector = HogDetector(model)
    image = read_image(DEMO / "astronaut.jpg")
    stages = {stage.name: stage for stage in hog_stages(detector, image)}
    figures = stages["part-in-score"].figures
    assert np.sum(figures["blocks"]) + figures["offset"] == pytest.approx(figures["margin"], abs=1e-4)
    _, margins = detector.windows(image, -1e9)
    assert figures["margin"] == pytest.approx(margins.max(), abs=1e-3)
    descriptor = np.abs(np.random.default_rng(0).normal(size=detector.model.parameters.descriptor_length)) / 10
    weights, offset = linear_part(detector.model, descriptor.astype(np.float32))
    parts = contributions(weights, descriptor.astype(np.float32), detector.model.parameters.blocks)
    assert parts.shape == detector.model.parameters.blocks[::-1]
    assert parts.sum() + offset == pytest.approx(
        detector.model.margins(descriptor[None].astype(np.float32))[0], abs=1e-3
    )


def test_what_speaks_for_a_box_sums_to_the_score_of_edge_boxes() -> None:
    image = read_image(DEMO / "coffee.jpg")
    parameters = EdgeBoxes(min_score=0)
    edges = thinned_edges(gradient_edges(image))
    groups = edge_groups(edges, parameters)
    turned, orientation = (np.ascontiguousarray(one.T, np.float32) for one in edges)
    ids = cluster_kernel(turned, orientation, parameters.min_edge, parameters.merge, parameters.min_group)[0].T
    windows = np.array([[160, 20, 260, 200], [300, 160, 120, 100], [40, 30, 480, 340], [200, 150, 90, 200]], np.int32)
    moved, scores = score_windows(windows, groups, parameters)
    assert (scores > 0).any()
    for window, score in zip(moved, scores, strict=True):
        x, y, width, height = window.tolist()
        weights, own = box_score(ids, groups, edges.strength, (x, y, x + width, y + height), parameters)
        assert max(own, 0) == pytest.approx(score, abs=1e-4)
        assert weights.max() <= 1


def test_selective_search_and_rcnn_show_their_steps() -> None:
    image = read_image(DEMO / "coffee.jpg")
    assert names(list(stages_of("selective-search", image))) == [
        "picture", "segmentation", "hierarchy-8", "hierarchy-32", "hierarchy-128", "result",
    ]  # fmt: skip
    assert names(list(stages_of("edge-boxes", image))) == [
        "picture", "edges", "thinned", "groups", "for-and-against", "result",
    ]  # fmt: skip


def test_yolo_v1s_cells_and_class_map(make_graph) -> None:
    random = np.random.default_rng(0)
    output = random.uniform(0, 0.2, (1, 7, 7, 30)).astype(np.float32)
    output[0, 3, 2, 4] = output[0, 3, 2, 10 + 11] = 0.95
    path = make_graph({"output": output}, (1, 3, 448, 448))
    path.with_suffix(".detkit.json").write_text(json.dumps({"head": "yolov1", "names": "voc"}))
    stages = {stage.name: stage for stage in stages_of(str(path), np.full((300, 400, 3), 90, np.uint8))}
    boxes, confidence, classes = v1_cells(output[0])
    assert (boxes.shape, confidence.shape, classes.shape) == ((7, 7, 2, 4), (7, 7, 2), (7, 7, 20))
    assert stages["cells"].figures["grid"] == 7
    assert np.allclose(stages["cells"].figures["confidence"], confidence)
    assert stages["class-map"].figures["classes"][3][2] == 11
    assert "dog" in stages["class-map"].sentence


def test_the_page_loads_nothing_and_links_to_each_step(cli, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    done = cli("look", DEMO / "cat.jpg", "--report", page, "--stages", tmp_path / "s", "--json", tmp_path / "n.json")
    assert done.returncode == 0, done.stderr
    content = page.read_text()
    stages = json.loads((tmp_path / "n.json").read_text())["pictures"][0]["stages"]
    assert len(list((tmp_path / "s" / "cat").glob("*.png"))) == len(stages) == content.count("<section ")
    for stage in stages:
        assert f'href="#{stage["name"]}"' in content
        assert f'<section id="{stage["name"]}"' in content
    assert "http" not in content.replace('http-equiv="Content-Security-Policy"', "")
    done = cli("look", DEMO / "cat.jpg", DEMO / "coffee.jpg", "--report", page)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = cli("look", DEMO / "cat.jpg", "--model", "lenet5-digits", "--stages", tmp_path / "t")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)

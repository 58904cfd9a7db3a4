"""Edge boxes and structured forests against opencv-contrib's golden numbers, slow loops and drawn rectangles."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from detkit.boxes import iou
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.session import Network
from detkit.proposals import edges
from detkit.proposals.edge_boxes import (
    EdgeBoxes,
    boxes_of_edges,
    edge_boxes,
    edge_groups,
    score_windows,
    sliding_windows,
    suppress,
)
from detkit.proposals.edges import Edges
from detkit.proposals.methods import MethodOptions, propose
from detkit.proposals.structured_forest import StructuredForest, read_forest

GOLDEN = Path(__file__).parent / "data" / "proposals_golden.npz"
SETTINGS = {
    "paper": EdgeBoxes(min_area=200),
    "dense": EdgeBoxes(alpha=0.75, beta=0.6, eta=0.9996, min_score=0.02, kappa=1.3, min_area=200),
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def maps(golden):
    return Edges(golden["thinned"], golden["orientation"])


def outlines():
    """Two rectangles drawn as edges of full strength, one pixel thick, and their boxes."""
    image = np.full((120, 160, 3), 60, np.uint8)
    boxes = np.array([[20, 30, 70, 90], [95, 20, 140, 70]], np.float32)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 190
    return image, boxes


# --- edges


def test_orientation_and_thinning_are_opencvs(golden):
    strength = golden["strength"].astype(np.float32) / np.float32(255)
    turn = np.abs(edges.edge_orientation(strength) - golden["orientation"])
    assert np.minimum(turn, np.pi - turn).max() < 1e-4
    thinned = edges.thin(strength, golden["orientation"], border=5)
    assert np.abs(thinned - golden["thinned"]).max() < 1e-6
    assert (thinned > 0).sum() < (strength > 0).sum() / 2


def test_gradients_follow_the_border_and_not_the_light():
    image, boxes = outlines()
    strength = edges.gradient_edges(image)
    assert strength.dtype == np.float32
    assert strength.shape == image.shape[:2]
    x1, y1, x2, _ = boxes[0].astype(int)
    assert strength[60, x1] > 0.3
    assert strength[60, (x1 + x2) // 2] < 0.05
    thinned, orientation = edges.thinned_edges(strength)
    assert np.abs(np.argmax(thinned[60, :45]) - x1) <= 1
    assert min(orientation[60, x1], np.pi - orientation[60, x1]) < 0.05
    assert abs(orientation[y1, 45] - np.pi / 2) < 0.05
    assert edges.gradient_edges(np.full((5, 6, 3), 9, np.uint8)).max() == 0


def test_maps_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="shape"):
        edges.edge_orientation(np.zeros((3, 3, 3), np.float32))
    with pytest.raises(InputError, match="differ in shape"):
        edges.thin(np.zeros((3, 3), np.float32), np.zeros((3, 4), np.float32))
    with pytest.raises(InputError, match="the edge map has shape"):
        edge_boxes(np.zeros((9, 9, 3), np.uint8), strength=np.zeros((8, 9), np.float32))
    with pytest.raises(InputError, match="same shape"):
        boxes_of_edges(Edges(np.zeros((8, 9), np.float32), np.zeros((9, 8), np.float32)))


# --- boxes


@pytest.mark.parametrize("name", SETTINGS)
def test_scores_are_opencvs_for_its_boxes(golden, maps, name):
    groups = edge_groups(maps, SETTINGS[name])
    windows, scores = score_windows(golden[f"{name}_boxes"] - [1, 1, 0, 0], groups, SETTINGS[name])
    np.testing.assert_allclose(scores, golden[f"{name}_scores"], atol=1e-6)
    np.testing.assert_array_equal(windows, golden[f"{name}_boxes"] - [1, 1, 0, 0])


@pytest.mark.parametrize("name", SETTINGS)
def test_boxes_are_opencvs_in_its_order(golden, maps, name):
    found = boxes_of_edges(maps, SETTINGS[name], max_proposals=600, threads=2)
    corners = golden[f"{name}_boxes"][:, :2] - 0.5
    expected = np.concatenate((corners, corners + golden[f"{name}_boxes"][:, 2:]), axis=1)
    np.testing.assert_allclose(found.scores[:200], golden[f"{name}_scores"][:200], atol=1e-6)
    same = {tuple(box) for box in found.boxes.tolist()} & {tuple(box) for box in expected.tolist()}
    assert len(same) > 0.99 * len(expected)  # its suppression compares boxes of neighbouring areas only


def slow_score(window, ids, strength, affinity, kappa):
    """Equations 2 to 4 of the paper, with every path tried."""
    x, y, width, height = window
    inside = np.zeros(ids.shape, bool)
    inside[y : y + height + 1, x : x + width + 1] = True
    border = inside.copy()
    border[y + 1 : y + height, x + 1 : x + width] = False
    half_x, half_y = width // 2, height // 2
    middle = np.zeros(ids.shape, bool)
    middle[y + half_y // 2 : y + half_y // 2 + half_y + 1, x + half_x // 2 : x + half_x // 2 + half_x + 1] = True
    sums = {group: strength[ids == group].sum() for group in np.unique(ids[ids > 0])}
    last = {group: max((column, row) for row, column in np.argwhere(ids == group)) for group in sums}
    held = {group for group in sums if inside[last[group][1], last[group][0]]}
    weights = {group: 1.0 for group in np.unique(ids[border & (ids > 0)])}
    changed = True
    while changed:
        changed = False
        for a in list(weights):
            for b in held:
                along = weights[a] * affinity.get((min(a, b), max(a, b)), 0)
                if along >= 0.05 and along > weights.get(b, 0):
                    weights[b] = along
                    changed = True
    score = sum(sums[group] * (1 - weights.get(group, 0)) for group in held) - strength[middle & (strength > 0.1)].sum()
    return max(score, 0) / (half_x + half_y) ** kappa


def test_score_is_that_of_the_slow_loop(maps):
    from detkit.proposals.edge_boxes_kernels import affinity_kernel, cluster_kernel

    part = Edges(*(np.ascontiguousarray(one[20:80, 30:110]) for one in maps))
    parameters = EdgeBoxes(min_score=0)
    groups = edge_groups(part, parameters)
    turned = [np.ascontiguousarray(one.T) for one in part]
    ids, count = cluster_kernel(*turned, 0.1, 0.5, 0.5)
    *_, starts, neighbours, affinities = affinity_kernel(ids, *turned, count, 2.0)
    affinity = {
        (group, int(neighbours[place])): float(affinities[place])
        for group in range(count)
        for place in range(starts[group], starts[group + 1])
    }
    random = np.random.default_rng(2)
    corners = random.integers(0, (50, 35), (40, 2))
    windows = np.concatenate((corners, random.integers(8, (29, 24), (40, 2))), axis=1).astype(np.int32)
    _, scores = score_windows(windows, groups, parameters)
    expected = [slow_score(window, ids.T, part.strength, affinity, 1.5) for window in windows.tolist()]
    assert np.count_nonzero(scores) > 5
    np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_refinement_only_raises_scores(maps):
    parameters = SETTINGS["paper"]
    groups = edge_groups(maps, parameters)
    windows = sliding_windows(200, 150, parameters)
    _, before = score_windows(windows, groups, parameters)
    moved, after = score_windows(windows, groups, parameters, refine=True)
    assert (after >= before).all()
    assert (after > before).sum() > 50
    np.testing.assert_allclose(score_windows(moved[after > 0], groups, parameters)[1], after[after > 0], atol=1e-6)


def test_neighbouring_windows_overlap_by_alpha():
    for alpha in (0.5, 0.65, 0.8):
        windows = sliding_windows(640, 480, EdgeBoxes(alpha=alpha)).astype(float)
        boxes = np.concatenate((windows[:, :2], windows[:, :2] + windows[:, 2:]), axis=1)
        side = np.flatnonzero((windows[:, 2:] == windows[len(windows) // 2, 2:]).all(axis=1))
        overlaps = iou(boxes[side[:1]], boxes[side[1:]])
        assert overlaps.max() == pytest.approx(alpha, abs=0.06)


@pytest.mark.parametrize("eta", [1.0, 0.999])
def test_suppression_is_that_of_the_slow_loop(eta):
    random = np.random.default_rng(5)
    corners = random.integers(0, 150, (700, 2)) + 0.5
    boxes = np.concatenate((corners, corners + random.integers(10, 90, (700, 2))), axis=1).astype(np.float32)
    overlaps, threshold, expected = iou(boxes, boxes), 0.75, []
    for box in range(len(boxes)):
        if all(overlaps[box, other] <= threshold for other in expected):
            expected.append(box)
            threshold *= eta if threshold > 0.5 else 1
    assert suppress(boxes, 0.75, eta).tolist() == expected
    assert suppress(boxes, 0.75, eta, 20).tolist() == expected[:20]


def test_rectangles_come_first():
    image, boxes = outlines()
    found = edge_boxes(image, max_proposals=30, threads=1)
    assert len(found.boxes) <= 30
    assert iou(boxes, found.boxes[:10]).max(axis=1).min() > 0.7
    assert (np.diff(found.scores) <= 0).all()
    again = edge_boxes(image, max_proposals=30, threads=3)
    np.testing.assert_array_equal(found.boxes, again.boxes)


def test_every_parameter_does_something(maps):
    count = len(boxes_of_edges(maps, EdgeBoxes(), max_proposals=None).boxes)
    changed = {
        "alpha": 0.5, "beta": 0.5, "eta": 0.99, "min_score": 0.1, "min_edge": 0.4, "merge": 0.1, "min_group": 5.0,
        "max_aspect": 1.0, "min_area": 4000.0, "gamma": 0.5, "kappa": 1.0,
    }  # fmt: skip
    for name, value in changed.items():
        assert len(boxes_of_edges(maps, EdgeBoxes(**{name: value}), max_proposals=None).boxes) != count, name


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 3), (40, 3, 3), (64, 64, 3)])
def test_tiny_and_flat_pictures_have_no_proposals(shape):
    found = edge_boxes(np.full(shape, 77, np.uint8))
    assert found.boxes.shape == (0, 4)


def test_wrong_parameters_are_named():
    for wrong in (
        {"alpha": 1.0},
        {"beta": 0.0},
        {"eta": 2.0},
        {"min_score": -1},
        {"max_aspect": 0.5},
        {"alpha": np.nan},
    ):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            EdgeBoxes(**wrong)


# --- networks and forests


def test_network_edges(make_graph):
    strong = np.zeros((1, 1, 64, 96), np.float32)
    strong[..., 20:40, 30:32] = 1
    picture = np.zeros((64, 96, 3), np.uint8)
    found = edges.network_edges(picture, Network(make_graph({"side": strong * 0, "fused": strong}, (1, 3, 64, 96))))
    np.testing.assert_allclose(found, strong[0, 0])
    logits = edges.network_edges(picture, Network(make_graph({"fused": strong * 8 - 4}, (1, 3, 64, 96))))
    np.testing.assert_allclose(logits, 1 / (1 + np.exp(4 - 8 * strong[0, 0])), rtol=1e-5)
    larger = edges.network_edges(
        np.zeros((60, 90, 3), np.uint8), Network(make_graph({"a": strong}, (1, 3, None, None)))
    )
    assert larger.shape == (60, 90)
    with pytest.raises(ModelError, match="no output is a map"):
        edges.network_edges(picture, Network(make_graph({"a": np.zeros((1, 10), np.float32)}, (1, 3, 64, 96))))
    # A detector: 84 rows for 126 cells are no map of a picture of 64 x 96.
    with pytest.raises(ModelError, match="is no edge network"):
        edges.network_edges(picture, Network(make_graph({"a": np.zeros((1, 84, 126), np.float32)}, (1, 3, 64, 96))))
    odd = Network(make_graph({"a": strong}, (1, 3, 64, 96), metadata={"mean": "1, 2"}))
    with pytest.raises(ModelError, match="three numbers"):
        edges.network_edges(picture, odd)
    path = make_graph({"a": strong}, (1, 3, 64, 96))
    assert propose(picture, "edge-boxes", 10, MethodOptions(edges=path)).boxes.shape[1] == 4


@pytest.mark.parametrize("name", ["small", "other"])
def test_forest_edges_are_opencvs(golden, tmp_path, name):
    content = golden[f"{name}_file"].tobytes()
    plain, packed = tmp_path / "forest.yml", tmp_path / "forest.yml.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    expected = golden[f"{name}_edges"]
    assert expected.max() > 0.05
    np.testing.assert_allclose(StructuredForest(plain)(golden["image"]), expected, atol=1e-5)
    np.testing.assert_array_equal(StructuredForest(packed)(golden["image"]), StructuredForest(plain)(golden["image"]))
    assert StructuredForest(plain)(np.zeros((1, 2, 3), np.uint8)).shape == (1, 2)
    for height, width in ((15, 17), (33, 46), (41, 62)):
        assert StructuredForest(plain)(golden["image"][:height, :width]).shape == (height, width)
    assert propose(golden["image"], "edge-boxes", 10, MethodOptions(edges=plain)).boxes.shape[1] == 4


def test_forest_as_opencv_writes_xml(golden, tmp_path):
    text = golden["other_file"].tobytes().decode()
    _, _, rest = text.partition("---\n")
    parts = {
        key: rest.partition(f"{key}:")[2]
        for key in ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")
    }
    xml = "<?xml version='1.0'?>\n<opencv_storage>\n<options>"
    for line in rest.partition("childs:")[0].splitlines()[1:]:
        key, _, value = line.strip().partition(": ")
        xml += f"<{key}>{value}</{key}>\n"
    xml += "</options>\n"
    for key, value in parts.items():
        xml += f"<{key}><_>{value[value.index('[') + 1 : value.index(']')].replace(',', ' ')}</_></{key}>\n"
    path = tmp_path / "forest.xml"
    path.write_text(xml + "</opencv_storage>\n")
    np.testing.assert_allclose(StructuredForest(path)(golden["image"]), golden["other_edges"], atol=1e-5)


def test_forests_that_do_not_hold_together_are_refused(golden, tmp_path):
    text = golden["small_file"].tobytes().decode()
    path = tmp_path / "forest.yml"
    changes = [
        ("stride: 2", "stride: many", "'stride'"),
        ("numberOfTrees: 6", "numberOfTrees: 5", "childs"),
        ("childs:", "children:", "no 'childs'"),
        ("patchInnerSize: 8", "patchInnerSize: 80", "a patch of 16"),
        ("[ 2, 4,", "[ 0.5, 4,", "whole numbers"),
        ("[ 2, 4,", "[ 2000, 4,", "child"),
        ("[ 2, 4,", "[ 2, one,", "list of numbers"),
        ("patchInnerSize: 8", "patchInnerSize: 2", "outside of its patch"),
        ("selfsimilarityGridSize: 5", "selfsimilarityGridSize: 2", "outside of the"),
        ("edgeBoundaries: [ 0", "edgeBoundaries: [ 5", "edgeBoundaries"),
    ]
    for old, new, message in changes:
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ModelError, match=message):
            read_forest(path)
    for content in (b"", b"\x1f\x8bnothing", b"\xff\xfe\x00", b"just words"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="forest"):
            read_forest(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_forest(tmp_path / "missing.yml")

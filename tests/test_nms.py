import cv2
import numpy as np
import pytest

from detkit import Detections, nms
from detkit.boxes import diou, iou
from detkit.errors import UsageError


def crowd(count, seed, classes=1, clusters=None):
    """Boxes as a detector gives them: several near each object, of all sizes."""
    rng = np.random.default_rng(seed)
    objects = clusters or max(1, count // 8)
    centres, sides = rng.uniform(0, 640, (objects, 2)), np.exp(rng.uniform(np.log(8), np.log(250), (objects, 2)))
    chosen = rng.integers(0, objects, count)
    centres = centres[chosen] + rng.normal(0, 0.15, (count, 2)) * sides[chosen]
    sides = sides[chosen] * np.exp(rng.normal(0, 0.2, (count, 2)))
    boxes = np.hstack((centres - sides / 2, centres + sides / 2)).astype(np.float32)
    scores = np.round(rng.random(count), 2).astype(np.float32)  # with ties
    return boxes, scores, rng.integers(0, classes, count)


def slow_greedy(boxes, scores, threshold, class_ids, overlap=iou):
    order = sorted(range(len(boxes)), key=lambda row: -scores[row])
    kept = []
    for row in order:
        rivals = [other for other in kept if class_ids is None or class_ids[other] == class_ids[row]]
        if not rivals or not (overlap(boxes[row : row + 1], boxes[rivals])[0] > np.float64(threshold)).any():
            kept.append(row)
    return kept


@pytest.fixture(params=["numpy", "compiled"])
def path(request, monkeypatch):
    monkeypatch.setattr(nms, "_PAIRS_FOR_NUMPY", 10**12 if request.param == "numpy" else -1)
    return request.param


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.45, 0.5, 0.65, 0.9, 1.0])
@pytest.mark.parametrize("classes", [None, 5])
def test_greedy_keeps_what_the_obvious_loop_keeps(path, threshold, classes):
    for seed in range(4):
        boxes, scores, class_ids = crowd(300, seed, classes or 1)
        given = class_ids if classes else None
        kept = nms.greedy_nms(boxes, scores, threshold, given)
        assert kept.tolist() == slow_greedy(boxes, scores, threshold, given)


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.6])
def test_diou_keeps_what_the_obvious_loop_keeps(path, threshold):
    boxes, scores, class_ids = crowd(250, 3, 3)
    kept = nms.diou_nms(boxes, scores, threshold, class_ids)
    assert kept.tolist() == slow_greedy(boxes, scores, threshold, class_ids, diou)


@pytest.mark.parametrize("count", [1000, 5000])
def test_greedy_keeps_what_opencv_keeps(count):
    boxes, scores, _ = crowd(count, count)
    scores += np.arange(count, dtype=np.float32) * 1e-6  # OpenCV's order of ties is its own
    xywh = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2])).astype(np.float64)
    expected = cv2.dnn.NMSBoxes(xywh, scores, 0.0, 0.5)
    assert nms.greedy_nms(boxes, scores, 0.5).tolist() == np.asarray(expected).ravel().tolist()


def test_greedy_keeps_what_torchvision_keeps():
    torch = pytest.importorskip("torch", reason="torch and torchvision are not installed")
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed")
    for count, threshold in ((2000, 0.3), (5000, 0.5), (5000, 0.7)):
        boxes, scores, _class_ids = crowd(count, count, 4)
        expected = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        assert nms.greedy_nms(boxes, scores, threshold).tolist() == expected.tolist()


def test_boxes_with_no_area_and_no_end(path):
    boxes = np.array(
        [[0, 0, 10, 10], [5, 5, 5, 5], [0, 0, np.inf, 10], [np.nan, 0, 1, 1], [0, 0, 10, 10], [9, 9, 3, 3]], np.float32
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        assert nms.greedy_nms(boxes, scores, 0.5).tolist() == [0, 1, 2, 3, 5]


def test_nothing_in_nothing_out(path):
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    assert nms.greedy_nms(*none, 0.5).tolist() == []
    assert nms.greedy_nms(*none, 0.5, np.zeros(0, np.int64)).tolist() == []
    assert nms.soft_nms(*none)[0].tolist() == []
    assert nms.weighted_box_fusion(*none, 0.5)[0].tolist() == []


def test_best_first_is_a_stable_sort():
    scores = np.array([0.5, -0.0, 0.9, 0.0, 0.5, -1.0, np.nan, 0.9, -np.inf, np.inf], np.float32)
    assert nms.best_first(scores).tolist() == [9, 2, 7, 0, 4, 1, 3, 5, 8, 6]


def slow_soft(boxes, scores, sigma, floor):
    scores = scores.astype(np.float64).copy()
    left, found = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda row: (scores[row], -row))
        left.remove(best)
        if scores[best] >= floor:
            found.append((best, scores[best]))
        for row in left:
            overlap = iou(boxes[best : best + 1].astype(np.float64), boxes[row : row + 1].astype(np.float64))[0, 0]
            scores[row] *= np.exp(-(overlap**2) / sigma)
    return found


def test_soft_nms_is_the_papers_loop():
    boxes, scores, _ = crowd(120, 5)
    scores += np.arange(120, dtype=np.float32) * 1e-4  # no ties: their order decides which of two decays
    indices, lowered = nms.soft_nms(boxes, scores, sigma=0.5, score_threshold=0.01)
    expected = dict(slow_soft(boxes, scores, 0.5, 0.01))
    assert set(indices.tolist()) == set(expected)
    np.testing.assert_allclose(lowered, [expected[row] for row in indices.tolist()], rtol=1e-5)
    assert (np.diff(lowered) <= 0).all()


def test_soft_nms_leaves_other_classes_alone():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    _, lowered = nms.soft_nms(boxes, np.array([0.9, 0.8], np.float32), class_ids=np.array([0, 1]))
    assert lowered.tolist() == pytest.approx([0.9, 0.8])


def slow_fusion(boxes, scores, threshold):
    clusters = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        overlaps = [iou(boxes[row : row + 1].astype(float), c["box"][None])[0, 0] for c in clusters]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] <= threshold:
            clusters.append({"rows": []})
            best = len(clusters) - 1
        clusters[best]["rows"].append(row)
        rows = clusters[best]["rows"]
        clusters[best]["box"] = np.average(boxes[rows].astype(float), axis=0, weights=scores[rows])
    return clusters


def test_weighted_box_fusion_is_the_papers_loop():
    boxes, scores, _ = crowd(150, 8)
    scores = scores + np.float32(0.01)
    indices, fused, averaged = nms.weighted_box_fusion(boxes, scores, 0.55)
    expected = {cluster["rows"][0]: cluster for cluster in slow_fusion(boxes, scores, 0.55)}
    assert set(indices.tolist()) == set(expected)
    for row, box, score in zip(indices.tolist(), fused, averaged, strict=True):
        np.testing.assert_allclose(box, expected[row]["box"], rtol=1e-4, atol=1e-3)
        assert score == pytest.approx(scores[expected[row]["rows"]].mean(), rel=1e-5)


@pytest.mark.parametrize("method", nms.METHODS)
def test_suppress_applies_every_method(method):
    boxes, scores, class_ids = crowd(100, 1, 2, clusters=10)
    detections = Detections(boxes, scores, class_ids, ("a", "b"))
    kept = nms.suppress(detections, method, 0.5, max_detections=20)
    assert len(kept) == 20 if method in ("none", "soft") else len(kept) <= 20
    assert (np.diff(kept.scores) <= 0).all()
    assert kept.names == ("a", "b")


def test_agnostic_lets_classes_compete():
    same = Detections([[0, 0, 9, 9], [0, 0, 9, 9]], [0.9, 0.8], [0, 1])
    assert len(nms.suppress(same, "greedy", 0.5)) == 2
    assert len(nms.suppress(same, "greedy", 0.5, agnostic=True)) == 1


def test_a_threshold_outside_its_range_is_named():
    with pytest.raises(UsageError, match="between 0 and 1, got 45"):
        nms.greedy_nms(np.zeros((1, 4), np.float32), np.ones(1, np.float32), 45)

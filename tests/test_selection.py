"""Thresholds of single classes: what they keep, before and after suppression, and where they come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer

from detkit.cli import app
from detkit.cli.options import CONF, thresholds
from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.detectors.windows.grouping import Grouping, ScoreLevel, ScoreMap, group
from detkit.errors import UsageError
from detkit.images import write_image
from detkit.metrics.curves import Curve
from detkit.nms import METHODS

NAMES = ("cat", "cow", "dog")
OWN = {"dog": 0.6, "cat": 0.1}


def boxes(seed, count=200):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    sides = np.concatenate((corner, corner + rng.uniform(5, 30, (count, 2))), axis=1)
    return Detections(sides, rng.uniform(0, 1, count), rng.integers(0, 3, count), NAMES)


def by_hand(found, conf, own):
    keep = [
        score > np.float32(own.get(found.name_of(number), conf))
        for score, number in zip(found.scores, found.class_ids.tolist(), strict=True)
    ]
    return found[np.array(keep, bool)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("most", [None, 7])
def test_boxes_below_their_own_threshold_neither_stay_nor_suppress(method, agnostic, most):
    for seed in range(5):
        found = boxes(seed)
        own = Selection(0.3, 0.5, most, method, agnostic, conf_by_class=OWN)
        kept = by_hand(Selection(0.1, 0.5, None, method, agnostic).suppressed(by_hand(found, 0.3, OWN), 0.5), 0.3, OWN)
        assert own.suppressed(found, 0.5) == kept[:most]
        assert len(kept) > 7


def test_one_threshold_for_all_classes_is_the_plain_one():
    for seed in range(5):
        found = boxes(seed)
        plain = Selection(0.4).suppressed(found[found.scores > np.float32(0.4)], 0.5)
        assert Selection(0.9, conf_by_class=dict.fromkeys(NAMES, 0.4)).suppressed(found, 0.5) == plain


def test_scores_and_windows_use_them_too():
    own = Selection(0.5, conf_by_class={"dog": 0.2})
    rows, classes = own.scored(np.array([[0.3, 0.6, 0.3]], np.float32), NAMES)
    assert (rows.tolist(), classes.tolist()) == ([0, 0, 0], [0, 1, 2])  # the rest is for `suppressed`
    level = ScoreLevel(np.array([[0.3, 0.1]], np.float32), 1.0, (0, 0), (8, 8))
    maps = {number: ScoreMap((level,), (8, 8)) for number in range(3)}
    for method in ("maxima", "mean-shift", "none"):
        assert group(maps, own, Grouping(method), NAMES).class_names == ["dog"]


def test_unknown_and_doubled_classes_and_wrong_numbers_are_refused():
    with pytest.raises(UsageError, match=r"no class 'dogg'; did you mean dog"):
        Selection(conf_by_class={"dogg": 0.5}).wanted(NAMES)
    with pytest.raises(UsageError, match="cat and Cat are one class of the network: give it one threshold"):
        Selection(conf_by_class={"cat": 0.5, "Cat": 0.4}).wanted(NAMES)
    with pytest.raises(UsageError, match=r"conf of dog lies from 0 to 1, not at 1\.5"):
        Selection(conf_by_class={"dog": 1.5})


def test_the_text_of_conf(tmp_path):
    table = tmp_path / "best.json"
    table.write_text('{"a=b": 0.5, "c": 0}')
    assert thresholds("0.4") == (0.4, {})
    assert thresholds("person=0.6, car=.3") == (CONF, {"person": 0.6, "car": 0.3})
    assert thresholds("0.4,traffic light=1") == (0.4, {"traffic light": 1.0})
    assert thresholds(str(table)) == (CONF, {"a=b": 0.5, "c": 0.0})


@pytest.mark.parametrize(
    ("text", "content"),
    [("2", None), ("nan", None), ("x", None), ("a=", None), ("=0.5", None), ("a=0.5,b", None), ("a=0.1,a=0.2", None),
     ("", None), ("a=2", None), ("t.json", "no"), ("t.json", "[1]"), ("t.json", '{"a": "b"}'),
     ("t.json", '{"a": true}'), ("t.json", '{"a": null}')],
)  # fmt: skip
def test_a_wrong_conf_is_one_line(text, content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / text).write_text(content)
    with pytest.raises(typer.BadParameter):
        thresholds(text)
    with pytest.raises(SystemExit) as stop:
        app(["yolo", "x.png", "--conf", text])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("detkit: Invalid value for --conf: ")
    assert said.count("\n") == 1


def test_what_exceeds_the_best_threshold_is_the_best_working_point():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = -np.sort(-rng.choice(np.linspace(0.05, 0.95, 40), 12, replace=False))
        hit = rng.random(12) < 0.5
        curve = Curve(scores, np.cumsum(hit), np.cumsum(~hit), 10, 5)
        best = curve.best_threshold()
        if best is None:
            assert not hit.any()
            continue
        above = scores > best
        f1 = 2 * hit[above].sum() / (above.sum() + 10)
        assert f1 == curve.best_f1()[1]
        assert f1 == max(2 * hit[:n].sum() / (n + 10) for n in range(1, 13))
    one = Curve(np.array([0.0]), np.array([1]), np.array([0]), 1, 1)
    assert one.best_threshold() == 0.0
    assert Curve(np.array([0.5]), np.array([0]), np.array([1]), 1, 1).best_threshold() is None


def test_the_threshold_of_a_precision_is_the_lowest_that_gives_it():
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = np.sort(rng.integers(1, 30, 12) / 32)[::-1]
        scores, ends = np.unique(-scores, return_index=True)
        hit = rng.random(12) < 0.6
        last = np.append(ends[1:], 12) - 1
        curve = Curve(-scores, np.cumsum(hit)[last], np.cumsum(~hit)[last], 10, 1)
        wanted = rng.choice([0.3, 0.6, 0.75, 0.9, 1.0])
        slow = [
            score
            for score, hits, falses in zip(curve.scores, curve.hits, curve.falses, strict=True)
            if hits and hits / (hits + falses) >= wanted
        ]
        threshold = curve.threshold_of_precision(wanted)
        assert (threshold is None) == (not slow)
        if slow:
            assert min(slow) > threshold
            assert not ((curve.scores < min(slow)) & (curve.scores > threshold)).any()


def test_from_eval_to_detection(make_graph, tmp_path, capsys):
    """Detect, evaluate, take the best thresholds: true and false positives of each class are those of the best F1."""
    rng = np.random.default_rng(1)
    rows = np.zeros((1, 300, 6), np.float32)
    true = []
    for place in range(60):
        x, y = place % 10 * 60, place // 10 * 60
        kind, score = place % 3, rng.uniform(0.05, 0.95)
        rows[0, place] = x + 4, y + 4, x + 50, y + 50, score, kind
        if rng.random() < score:
            true.append((x + 4, y + 4, 46, 46, kind))
    metadata = {"task": "detect", "stride": "32", "names": "{0: 'cat', 1: 'cow', 2: 'dog'}", "end2end": "True"}
    graph = make_graph({"output0": rows}, (1, 3, 384, 640), metadata=metadata)
    write_image(tmp_path / "1.png", np.zeros((384, 640, 3), np.uint8))
    annotations = [
        {"id": n + 1, "image_id": 1, "category_id": kind + 1, "bbox": box, "area": 46 * 46, "iscrowd": 0}
        for n, (*box, kind) in enumerate(true)
    ]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(NAMES)]
    images = [{"id": 1, "file_name": "1.png", "width": 640, "height": 384}]
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            app([str(argument) for argument in arguments])
        assert not stop.value.code, capsys.readouterr().err

    all_boxes, best, some = tmp_path / "all.jsonl", tmp_path / "best.json", tmp_path / "some.jsonl"
    run("yolo", tmp_path / "1.png", "-m", graph, "--conf", "0.01", "-o", all_boxes)
    run("eval", all_boxes, truth, "--best-conf", best, "--json", tmp_path / "all.json")
    run("yolo", tmp_path / "1.png", "-m", graph, "--conf", best, "-o", some)
    run("eval", some, truth, "--conf", "0", "--json", tmp_path / "some.json")
    before = json.loads((tmp_path / "all.json").read_text())["classes"]
    after = json.loads((tmp_path / "some.json").read_text())["classes"]
    assert len(set(json.loads(best.read_text()).values())) == 3
    for name in NAMES:
        assert after[name]["F1"] == before[name]["best_F1"] > before[name]["F1"] * 0.999
        assert after[name]["detections"] < before[name]["detections"]
    run("eval", all_boxes, truth, "--best-conf", best, "--precision", 0.8)
    said = capsys.readouterr().err
    run("yolo", tmp_path / "1.png", "-m", graph, "--conf", best, "-o", some)
    run("eval", some, truth, "--conf", "0", "--json", tmp_path / "some.json")
    sure = json.loads((tmp_path / "some.json").read_text())["classes"]
    for name, threshold in json.loads(best.read_text()).items():
        assert (threshold == 1) == (f" {name} (" in said.splitlines()[-1])
        assert sure[name]["detections"] == 0 if threshold == 1 else sure[name]["precision"] >= 0.8
    run_again = tmp_path / "again.jsonl"
    with pytest.raises(SystemExit) as stop:
        app(["yolo", str(tmp_path / "1.png"), "-m", str(graph), "--conf", "bee=0.5", "-o", str(run_again)])
    assert stop.value.code == 2
    assert "the network has no class 'bee'" in capsys.readouterr().err
    assert not run_again.exists()

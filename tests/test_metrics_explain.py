"""What `--explain` says is measured: each row against the protocol run on data changed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.coco import AS_PYCOCOTOOLS, evaluate_coco
from detkit.metrics.explain import Explanation, explain

COLUMNS = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")


def made(
    seed: int = 0, crowd: float = 0.0, flag: float = 0.0, difficult: float = 0.0
) -> tuple[GroundTruth, Predictions]:
    rng = np.random.default_rng(seed)
    images, m, d = 6, 60, 300
    boxes = np.concatenate((rng.random((m, 2)) * 150, rng.random((m, 2)) * 60 + 10), axis=1)
    image, k = rng.integers(0, images, m), rng.integers(0, 3, m)
    source = rng.integers(0, m, d)
    found = boxes[source] + rng.normal(0, 4, (d, 4))
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    no, zeros = np.zeros(m, dtype=bool), np.zeros(images, dtype=np.int64)
    truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros),
        Categories(("a", "b", "c", "unused"), (1, 2, 3, 4)),
        image, k, boxes, boxes[:, 2] * boxes[:, 3], rng.random(m) < crowd, rng.random(m) < difficult,
        rng.random(m) < flag, no, no, tuple(range(1, m + 1)),
    )  # fmt: skip
    classes = np.where(rng.random(d) < 0.8, k[source], rng.integers(0, 3, d))
    return truth, Predictions(image[source], classes, found, rng.random(d))


def row(explained: Explanation, start: str) -> Any:
    matching = [one for one in explained.rows if one.what.startswith(start)]
    assert len(matching) == 1, start
    return matching[0]


def only(truth: GroundTruth, kept: Any) -> GroundTruth:
    return replace(truth, ids=(), **{name: getattr(truth, name)[kept] for name in COLUMNS})


def same(one: Any, truth: GroundTruth, found: Predictions, **options: Any) -> None:
    figures = evaluate_coco(truth, found, **options).figures
    assert (one.ten, one.one) == pytest.approx((figures["AP"], figures["AP50"]), abs=1e-12)


def test_crowds_ultralytics_17270() -> None:
    truth, found = made(crowd=0.3)
    explained = explain(truth, found)
    same(row(explained, "COCO's rule"), truth, found)
    same(row(explained, "crowd boxes left out"), only(truth, ~truth.crowd), found)
    ordinary = replace(truth, crowd=np.zeros_like(truth.crowd))
    same(row(explained, "crowd boxes as ordinary"), ordinary, found)
    left_out = row(explained, "crowd boxes left out")
    assert left_out.one < explained.rows[0].one
    said = next(sentence for sentence in explained.sentences if "crowd boxes take" in sentence)
    assert said.startswith(f"{truth.crowd.sum()} crowd boxes")
    assert f"{left_out.one:.4f}" in said
    assert f"{left_out.one - explained.rows[0].one:+.4f}" in said


def test_a_high_threshold_cuts_ap_ultralytics_6813() -> None:
    truth, found = made()
    explained = explain(truth, found, score=0.7)
    for cut in (0.05, 0.25, 0.5, 0.7):
        kept = found.scores >= cut
        high = Predictions(found.image_index[kept], found.class_index[kept], found.boxes[kept], found.scores[kept])
        same(row(explained, f"only scores of {cut:g} "), truth, high)
    said = next(sentence for sentence in explained.sentences if sentence.startswith("Cut by score"))
    assert f"at 0.7 ({np.count_nonzero(found.scores < 0.7)} of 300 detections gone)" in said
    assert "not before AP" in said


def test_flags_cocoapi_466() -> None:
    truth, found = made(flag=0.3, difficult=0.3)
    explained = explain(truth, found)
    same(row(explained, "`ignore` not honoured"), truth, found, faults=AS_PYCOCOTOOLS)
    unread = replace(truth, ignore=np.zeros_like(truth.ignore))
    same(row(explain(unread, found, flagged=truth), "`ignore` honoured"), truth, found)
    spared = replace(truth, ignore=truth.ignore | truth.difficult)
    same(row(explained, "difficult boxes do not count"), spared, found)
    zero = replace(truth, ids=(0, *truth.ids[1:]))
    assert any("id 0" in sentence for sentence in explain(zero, found).sentences)


def test_classes_without_boxes_and_limits() -> None:
    truth, found = made()
    stray = replace(found, class_index=np.where(np.arange(300) % 5 == 0, 3, found.class_index))
    explained = explain(truth, stray)
    whole = row(explained, "COCO's rule")
    assert row(explained, "detected classes without boxes").ten == pytest.approx(whole.ten * 3 / 4)
    assert any(sentence.startswith("1 class is detected but has no true box") for sentence in explained.sentences)
    crowded = replace(found, image_index=np.zeros_like(found.image_index))
    limited = row(explain(truth, crowded), "best 100 of an image")
    best = np.sort(np.argsort(-crowded.scores, kind="stable")[:100])
    columns = (crowded.image_index, crowded.class_index, crowded.boxes, crowded.scores)
    same(limited, truth, Predictions(*(column[best] for column in columns)))


def test_mixed_up_classes_are_seen_rf_detr_961() -> None:
    truth, found = made()
    off_by_one = replace(found, class_index=(found.class_index + 1) % 4)
    said = explain(truth, off_by_one).sentences[-1]
    assert "class numbers are off" in said
    assert "class numbers are off" not in explain(truth, found).sentences[-1]


def test_what_makes_no_difference_is_said_too() -> None:
    explained = explain(*made())
    text = " ".join(explained.sentences)
    assert "There are no crowd boxes here" in text
    assert "No box is flagged" in text
    assert "No image has more than" in text
    assert "Every class that is detected has true boxes" in text


@pytest.mark.parametrize("empty", ["boxes", "detections", "both"])
def test_nothing_to_explain(empty: str) -> None:
    truth, found = made()
    if empty != "detections":
        truth = only(truth, slice(0, 0))
    if empty != "boxes":
        found = Predictions(*(c[:0] for c in (found.image_index, found.class_index, found.boxes, found.scores)))
    explained = explain(truth, found)
    assert explained.rows[0].ten == (0.0 if empty == "detections" else -1.0)
    assert all(sentence.endswith((".", ")")) for sentence in explained.sentences)

"""A further head is one module and one row: the recognition, the command and the library take it as it is."""

from __future__ import annotations

import numpy as np
import pytest

from detkit import Yolo
from detkit.detectors.yolo.heads import HEADS
from detkit.detectors.yolo.heads.types import Candidates, Head


def decode_toy(outputs, index, frame):
    """(B, N, 7): a 42, then score, class, x1, y1, x2, y2 in input pixels."""
    rows = outputs[0][index]
    rows = rows[rows[:, 1] > frame.conf]
    return Candidates(rows[:, 3:7], rows[:, 1], rows[:, 2].astype(np.int64))


def fits_toy(shapes):
    return "one output of seven columns" if len(shapes) == 1 and shapes[0][1:] == (5, 7) else ""


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(HEADS, "toy", Head("toy", "nobody's exporter", decode_toy, fits=fits_toy, nms=False))


def test_a_further_head_is_recognised_and_decoded(toy, make_graph):
    rows = np.zeros((1, 5, 7), np.float32)
    rows[0, :2] = [[42, 0.9, 1, 10, 20, 30, 40], [42, 0.1, 0, 1, 2, 3, 4]]
    path = make_graph({"rows": rows}, (1, 3, 64, 64), metadata={"names": "['cat', 'dog']"})
    yolo = Yolo(path)
    assert (yolo.head.name, yolo.matches[0].reason) == ("toy", "one output of seven columns")
    found = yolo(np.zeros((64, 64, 3), np.uint8))
    assert found.to_dicts() == [
        {"box": [10.0, 20.0, 30.0, 40.0], "score": 0.9, "class": "dog", "class_id": 1},
    ]


def test_it_is_asked_for_by_name_too(toy, make_graph):
    path = make_graph({"rows": np.ones((1, 9, 7), np.float32)}, (1, 3, 64, 64))
    assert Yolo(path, head="toy").head.name == "toy"

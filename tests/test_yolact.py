"""YOLACT's head beside its formulas written in PyTorch: priors, boxes, fast suppression, masks."""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import Any

import numpy as np
import pytest

from detkit import Yolo
from detkit.detectors.yolo.heads.yolact import priors
from detkit.errors import ModelError

torch = pytest.importorskip("torch")
SIDE, CLASSES, K = 138, 5, 8
PROTO = 35
PICTURE = np.random.default_rng(5).integers(0, 255, (90, 171, 3), np.uint8)


def slow_priors(side: int) -> Any:
    """By the words of the paper's section 4 and the authors' configuration, cell by cell."""
    rows = []
    cells = side
    for _ in range(3):
        cells = (cells + 1) // 2
    for scale in (24, 48, 96, 192, 384):
        size = int(scale / 550 * side)
        for j, i in product(range(cells), range(cells)):
            for aspect in (1, 1 / 2, 2):
                width = size * sqrt(aspect) / side
                rows.append(((i + 0.5) / cells, (j + 0.5) / cells, width, width))
        cells = (cells + 1) // 2
    return torch.tensor(rows)


def outputs() -> dict[str, Any]:
    """Offsets, classes, coefficients, priors and prototypes as a network gives them, most boxes background."""
    generator = torch.Generator().manual_seed(3)
    told = slow_priors(SIDE)
    n = len(told)
    loc = torch.randn(1, n, 4, generator=generator)
    logits = torch.randn(1, n, CLASSES + 1, generator=generator)
    logits[..., 0] += 5
    live = torch.randperm(n, generator=generator)[:60]
    logits[0, live, torch.randint(1, CLASSES + 1, (60,), generator=generator)] += 8
    mask = torch.tanh(torch.randn(1, n, K, generator=generator))
    proto = torch.relu(
        torch.nn.functional.interpolate(torch.randn(1, K, 7, 7, generator=generator), (PROTO, PROTO), mode="bilinear")
    ).permute(0, 2, 3, 1)
    return {"loc": loc, "conf": logits.softmax(-1), "mask": mask, "priors": told, "proto": proto, "logits": logits}


def decoded(loc: Any, told: Any) -> Any:
    centres = told[:, :2] + loc[:, :2] * 0.1 * told[:, 2:]
    sizes = told[:, 2:] * torch.exp(loc[:, 2:] * 0.2)
    return torch.cat((centres - sizes / 2, centres + sizes / 2), 1)


def expected(out: dict[str, Any], conf: float, width: int, height: int) -> list[tuple[int, float, Any, Any]]:
    """(class, score, box in the picture, mask) in the order of scores, by the published formulas."""
    boxes = decoded(out["loc"][0], out["priors"])
    found = []
    for number in range(CLASSES):
        scores = out["conf"][0, :, number + 1]
        order = scores.argsort(descending=True)
        order = order[scores[order] > conf][:200]
        kept = []
        for place, one in enumerate(order.tolist()):
            better = boxes[order[:place]]
            low, high = torch.maximum(better[:, :2], boxes[one, :2]), torch.minimum(better[:, 2:], boxes[one, 2:])
            both = (high - low).clamp(min=0).prod(1)
            areas = (better[:, 2:] - better[:, :2]).prod(1) + (boxes[one, 2:] - boxes[one, :2]).prod()
            if place == 0 or (both / (areas - both)).max() <= 0.5:
                kept.append(one)
        found += [(number, float(scores[one]), one) for one in kept]
    found.sort(key=lambda each: -each[1])
    results = []
    for number, score, one in found:
        share = torch.sigmoid(out["proto"][0] @ out["mask"][0, one])
        x1, y1, x2, y2 = (boxes[one] * PROTO).tolist()
        ys, xs = torch.meshgrid(torch.arange(PROTO), torch.arange(PROTO), indexing="ij")
        inside = (xs >= max(x1 - 1, 0)) & (xs < min(x2 + 1, PROTO)) & (ys >= max(y1 - 1, 0)) & (ys < min(y2 + 1, PROTO))
        whole = torch.nn.functional.interpolate((share * inside)[None, None], (height, width), mode="bilinear")[0, 0]
        box = (boxes[one] * torch.tensor([width, height] * 2)).clamp(min=0)
        box = torch.minimum(box, torch.tensor([width, height] * 2))
        if (whole > 0.5).any():
            results.append((number, score, box.numpy(), (whole > 0.5).numpy()))
    return results


def forms(out: dict[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    boxes = decoded(out["loc"][0], out["priors"])[None]
    common = {"conf": out["conf"], "mask": out["mask"], "proto": out["proto"]}
    return {
        "offsets": ({"loc": out["loc"], **common}, "offsets"),
        "priors beside": ({"loc": out["loc"], **common, "priors": out["priors"]}, "beside them"),
        "logits": ({"loc": out["loc"], **common, "conf": out["logits"]}, "offsets"),
        "finished": ({"boxes": boxes, **common}, "x1, y1"),
        "open model zoo": ({"boxes": boxes[..., [1, 0, 3, 2]], **common}, "y1, x1"),
        "any order": (
            {"1": out["proto"].permute(0, 3, 1, 2), "2": out["mask"], "3": boxes, "4": out["conf"]},
            "x1, y1",
        ),
    }


@pytest.mark.parametrize("form", ["offsets", "priors beside", "logits", "finished", "open model zoo", "any order"])
def test_every_form_is_the_formulas(make_graph, form):
    out = outputs()
    given, said = forms(out)[form]
    arrays = {name: np.ascontiguousarray(value.numpy()) for name, value in given.items()}
    graph = make_graph(arrays, (1, 3, SIDE, SIDE), metadata={"names": str(list("abcde"))})
    detector = Yolo(graph, conf=0.3, max_det=1000)
    assert detector.head.name == "yolact"
    assert said in detector.reading.reason
    found = detector(PICTURE)
    wanted = expected(out, 0.3, 171, 90)
    assert len(found) == len(wanted) > 20
    assert found.class_ids.tolist() == [one[0] for one in wanted]
    np.testing.assert_allclose(found.scores, [one[1] for one in wanted], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [one[2] for one in wanted], atol=0.01)
    assert found.masks is not None
    for row, one in enumerate(wanted):
        assert (found.masks.decode(row) != one[3]).sum() <= 1


def test_priors_are_those_of_the_authors_configuration():
    assert priors((550, 550)).shape == (19248, 4)
    np.testing.assert_allclose(priors((550, 550)), slow_priors(550).numpy(), atol=1e-6)
    np.testing.assert_allclose(priors((SIDE, SIDE)), slow_priors(SIDE).numpy(), atol=1e-6)


def test_names_that_are_not_as_many_are_said(make_graph):
    arrays = {name: value.numpy() for name, value in forms(outputs())["offsets"][0].items()}
    with pytest.raises(ModelError, match="5 classes and a background"):
        Yolo(make_graph(arrays, (1, 3, SIDE, SIDE), metadata={"names": "['a', 'b']"}))

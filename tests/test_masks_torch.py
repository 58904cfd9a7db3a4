"""Masks and key points of RTMDet-Ins, RF-DETR-seg and torchvision beside their post-processing written in PyTorch.

Sizes are odd and differ from the inputs', so that every resizing and cutting shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detkit import Yolo
from detkit.shapes.masks import Masks

torch = pytest.importorskip("torch")
F = torch.nn.functional
SIZES = [(171, 90), (61, 203), (128, 96), (333, 127)]  # width, height of pictures
N = 12


def _smooth(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    coarse = torch.from_numpy(rng.normal(size=(1, count, 6, 8)).astype(np.float32))
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0].numpy() * 3


def _boxes(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    low = rng.uniform(0, 0.5, (N, 2))
    high = low + rng.uniform(0.2, 0.5, (N, 2))
    return (np.concatenate((low, high), axis=1) * np.array([width, height] * 2)).astype(np.float32)


def _same(found: Masks | None, wanted: np.ndarray) -> None:
    """The masks that hold pixels, with a handful of pixels on the threshold spared."""
    assert found is not None
    wanted = wanted[wanted.any(axis=(1, 2))]
    assert len(found) == len(wanted) > 5
    for row, mask in enumerate(wanted):
        assert (found.decode(row) != mask).sum() <= 2


def _picture(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 255, (size[1], size[0], 3), np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_rtmdet_ins(make_graph: Any, size: tuple[int, int]) -> None:
    """mmdet: masks of the input; the padding at the right and the bottom is cut off, the rest resized; > 0.5."""
    rng = np.random.default_rng(1)
    width, height = 160, 128
    maps = 1 / (1 + np.exp(-_smooth(rng, N, height, width)))
    scores = np.sort(rng.uniform(0.6, 1, N).astype(np.float32))[::-1]
    dets = np.concatenate((_boxes(rng, width, height), scores[:, None]), axis=1)[None]
    outputs = {"dets": dets, "labels": np.zeros((1, N), np.int64), "masks": maps[None].astype(np.float32)}
    found = Yolo(make_graph(outputs, (1, 3, height, width), name="input"), conf=0.5)(_picture(size))
    ratio = min(width / size[0], height / size[1])
    inside = int(size[1] * ratio), int(size[0] * ratio)
    content = torch.from_numpy(outputs["masks"])[:, :, : inside[0], : inside[1]]
    whole = F.interpolate(content, size[::-1], mode="bilinear", align_corners=False)[0] > 0.5
    _same(found.masks, whole.numpy())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("logits", [True, False])
def test_rfdetr_seg(make_graph: Any, size: tuple[int, int], logits: bool) -> None:
    """RF-DETR: a stretched input, maps of a quarter of its sides resized to the picture at once; logits > 0."""
    rng = np.random.default_rng(2)
    side, queries = 96, 100
    maps = _smooth(rng, queries, side // 4, side // 4)
    given = maps if logits else 1 / (1 + np.exp(-maps))
    labels = np.full((1, queries, 91), -9, np.float32)
    best = rng.permutation(queries)[:N]
    labels[0, best, 18] = np.linspace(4, 1, N)
    boxes = np.concatenate((rng.uniform(0.3, 0.7, (queries, 2)), rng.uniform(0.1, 0.5, (queries, 2))), axis=1)
    outputs = {"dets": boxes[None].astype(np.float32), "labels": labels, "masks": given[None].astype(np.float32)}
    found = Yolo(make_graph(outputs, (1, 3, side, side)), conf=0.5)(_picture(size))
    whole = F.interpolate(torch.from_numpy(outputs["masks"]), size[::-1], mode="bilinear", align_corners=False)[0]
    _same(found.masks, (whole > (0 if logits else 0.5)).numpy()[best])
    corners = np.concatenate((boxes[best, :2] - boxes[best, 2:] / 2, boxes[best, :2] + boxes[best, 2:] / 2), axis=1)
    wanted = np.clip(corners * np.array(size * 2), 0, size * 2)
    np.testing.assert_allclose(found.boxes, wanted, atol=0.01)


@pytest.mark.parametrize("size", SIZES)
def test_mask_rcnn_with_a_baked_size(make_graph: Any, size: tuple[int, int]) -> None:
    """torchvision pastes masks into its input; a picture of another size is resized into it and its mask back."""
    rng = np.random.default_rng(3)
    width, height = 128, 96
    maps = (1 / (1 + np.exp(-_smooth(rng, N, height, width))))[:, None].astype(np.float32)
    outputs = {
        "boxes": _boxes(rng, width, height), "labels": np.ones(N, np.int64),
        "scores": np.linspace(0.9, 0.6, N).astype(np.float32), "masks": maps,
    }  # fmt: skip
    found = Yolo(make_graph(outputs, (3, height, width), open_rows=tuple(outputs)), conf=0.5)(_picture(size))
    ratio = min(width / size[0], height / size[1])
    inside = int(size[1] * ratio), int(size[0] * ratio)
    content = torch.from_numpy(maps)[:, :, : inside[0], : inside[1]]
    whole = F.interpolate(content, size[::-1], mode="bilinear", align_corners=False)[:, 0] > 0.5
    _same(found.masks, whole.numpy())


@pytest.mark.parametrize("size", SIZES)
def test_keypoint_rcnn_with_a_baked_size(make_graph: Any, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    width, height = 128, 96
    ratio = min(width / size[0], height / size[1])
    inside = np.array([int(size[0] * ratio), int(size[1] * ratio)])
    points = np.ones((N, 17, 3), np.float32)
    points[..., :2] = rng.uniform(0, 1, (N, 17, 2)) * inside
    scores = rng.uniform(-3, 6, (N, 17)).astype(np.float32)
    outputs = {
        "boxes": _boxes(rng, *inside.tolist()), "labels": np.ones(N, np.int64),
        "scores": np.linspace(0.9, 0.6, N).astype(np.float32), "keypoints": points, "keypoints_scores": scores,
    }  # fmt: skip
    found = Yolo(make_graph(outputs, (3, height, width), open_rows=tuple(outputs)), conf=0.5)(_picture(size))
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[..., :2], points[..., :2] * (np.array(size) / inside), atol=0.01)
    np.testing.assert_allclose(found.keypoints[..., 2], torch.sigmoid(torch.from_numpy(scores)).numpy(), rtol=1e-5)
    wanted = np.clip(outputs["boxes"] * np.tile(np.array(size) / inside, 2), 0, size * 2)
    np.testing.assert_allclose(found.boxes, wanted, atol=0.01)

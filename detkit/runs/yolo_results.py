"""ultralytics' txt files of results: boxes, polygons, turned boxes or key points, with the score behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from detkit.runs.record import Record


def yolo_text(record: Record) -> bytes:
    """The lines of a picture, in shares of it; what they hold beside the box is what the network gives.

    class x1 y1 x2 y2 ... score     the corners of a turned box, or the outline of a mask as one ring; of an empty
                                    mask, the corners of the box
    class cx cy w h x y v ... score    key points
    class cx cy w h score
    """
    found = record["detections"]
    if any("mask" in one or "corners" in one for one in found):
        size = record["width"], record["height"]
        return "".join(_line(one["class_id"], _ring(one, size), one["score"]) for one in found).encode()
    if any("keypoints" in one for one in found):
        return "".join(_posed(found, record["width"], record["height"])).encode()
    from detkit.annotations.formats.yolo_txt import yolo_lines

    boxes = np.array([one["box"] for one in found], np.float64).reshape(-1, 4)
    class_ids = np.array([one["class_id"] for one in found], np.int64)
    scores = np.array([one["score"] for one in found], np.float64)
    return yolo_lines(boxes, class_ids, record["width"], record["height"], scores).encode()


def data_yaml(names: Sequence[str], keypoints: int) -> bytes:
    """ultralytics' data.yaml with the names of classes and the count of key points."""
    lines = [f"  {number}: {orjson.dumps(name).decode()}\n" for number, name in enumerate(names)]
    return ("names:\n" + "".join(lines) + f"kpt_shape: [{keypoints}, 3]\n").encode()


def keypoints_in(record: Record) -> int:
    """How many key points the detections of a record have; 0 for none."""
    return max((len(one.get("keypoints", ())) for one in record.get("detections", ())), default=0)


def _ring(found: dict[str, Any], size: tuple[int, int]) -> Iterable[float]:
    from detkit.annotations.beside import upright_corners
    from detkit.runs.outlined_records import ring_of

    points = np.array(found["corners"]) if "corners" in found else np.zeros((0, 2))
    if "mask" in found:
        points = ring_of(found["mask"])
    if not len(points):
        x1, y1, x2, y2 = found["box"]
        points = upright_corners(np.array([[x1, y1, x2 - x1, y2 - y1]], np.float64))[0]
    shares: list[float] = (points / size).ravel().tolist()
    return shares


def _posed(found: Sequence[dict[str, Any]], width: int, height: int) -> Iterator[str]:
    most = max(len(one.get("keypoints", ())) for one in found)
    for one in found:
        x1, y1, x2, y2 = one["box"]
        box = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        points = one.get("keypoints") or [(0, 0, 0)] * most
        yield _line(one["class_id"], box + [value for x, y, v in points for value in (x / width, y / height, v)],
                    one["score"])  # fmt: skip


def _line(class_id: int, numbers: Iterable[float], score: float) -> str:
    from detkit.annotations.number_text import number_text

    texts = " ".join(number_text(float(value), 10) for value in numbers)
    return f"{class_id} {texts} {number_text(float(score))}\n"

"""A record: what JSON Lines holds of a picture or a video frame. Every other format is made from records."""

from __future__ import annotations

from typing import Any

import orjson

Record = dict[str, Any]
# What detections may have beside boxes, by their keys, for people.
SHAPES = {"mask": "masks", "keypoints": "key points", "corners": "corners"}


def record_key(record: Record) -> str:
    """What tells records of a run apart: the file, and the frame of a video."""
    return key_of(record["file"], record.get("frame"))


def key_of(name: str, frame: int | None) -> str:
    """The key of a picture by its name, or of a frame of a video by its index, too."""
    return name if frame is None else f"{name}#{frame}"


def jsonl_line(record: Record) -> bytes:
    """The record as a line of JSON."""
    return orjson.dumps(record) + b"\n"


def one_line(record: Record) -> str:
    """A record as a line for people: file, size, and how many of each class, the most frequent first."""
    if "error" in record:
        return f"{record['file']}  {record['error']}"
    time = f" {record['time']:.2f} s" if "time" in record else ""
    counts: dict[str, int] = {}
    for box in record["detections"]:
        counts[box["class"]] = counts.get(box["class"], 0) + 1
    often = sorted(counts.items(), key=lambda entry: -entry[1])
    found = ", ".join(f"{count} {name}" for name, count in often) or "nothing"
    return f"{record['file']}{time}  {record['width']}x{record['height']}  {found}"


def is_whole(record: Any) -> bool:
    """Whether what a line of JSON holds is a record, or was one before its file was damaged."""
    if not isinstance(record, dict) or not isinstance(record.get("file"), str):
        return False
    if "frame" in record and type(record["frame"]) is not int:
        return False
    if "error" in record:
        return isinstance(record["error"], str)
    if "detections" not in record:
        return "boxes" in record or "classes" in record  # of proposals, of a map
    if not all(type(record.get(side)) is int for side in ("width", "height")):
        return False
    return isinstance(record["detections"], list) and all(map(_is_detection, record["detections"]))


def _is_detection(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("class"), str) or type(found.get("class_id")) is not int:
        return False
    box = found.get("box")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, float | int) for side in box):
        return False
    return isinstance(found.get("score"), float | int)

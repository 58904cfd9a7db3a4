"""What a run did, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detkit.runs.record import SHAPES, Record


@dataclass
class Summary:
    """What a run did: pictures (and frames), those without a box, boxes of each class, inputs that failed, seconds.

    shapes   how many boxes have masks, key points and corners, by the keys of records
    """

    pictures: int = 0
    empty: int = 0
    found: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    seconds: float = 0.0
    shapes: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a picture or a frame, its boxes and what these have beside."""
        boxes = record.get("detections", ())
        self.pictures += 1
        self.empty += not boxes
        self.found.update(box["class"] for box in boxes)
        self.shapes.update(key for box in boxes for key in SHAPES if key in box)

    def seen(self, record: Record) -> Record:
        """The record, once it is counted: what `each` of a run takes."""
        if "error" not in record:
            self.add(record)
        return record

    def take(self, other: Summary) -> None:
        """Count what a part of the run did."""
        self.pictures += other.pictures
        self.empty += other.empty
        self.found.update(other.found)
        self.shapes.update(other.shapes)
        self.failures += other.failures

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> Summary:
        """The summary that a part tells."""
        return cls(**{**numbers, **{key: Counter(numbers[key]) for key in ("found", "shapes")}})

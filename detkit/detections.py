"""`Detections`: what every detector returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import as_boxes
from detkit.boxes import clip as clip_boxes
from detkit.classes import class_name
from detkit.errors import InputError
from detkit.shapes.masks import Masks

# Metadata of a field with an entry a box; None where no box has any.
PER_BOX = {"boxes": True}


@dataclass(frozen=True, repr=False)
class Detections:
    """Boxes found in one picture, as parallel arrays.

    boxes      float32 (N, 4), xyxy in pixels of the picture as it is shown
    scores     float32 (N,)
    class_ids  int64 (N,), indices into `names`
    names      the class names of the network; may be shorter than a class id, which is then its own name
    masks      the mask of each box, of the size of the picture; None where the network gives none
    keypoints  float32 (N, P, 3): x and y in pixels of the picture, and the visibility from 0 to 1; or None
    corners    float32 (N, 4, 2): x and y of a turned box's corners in order around it, of which `boxes` hold what
               encloses them; or None

    Immutable: every method returns a new object. InputError where the lengths do not fit.

    >>> found = Detections([[0, 0, 9, 9], [2, 2, 8, 8]], [0.4, 0.9], [1, 0], ("cat", "dog"))
    >>> found
    Detections(2: dog 0.40, cat 0.90)
    >>> found[found.scores > 0.5].class_names
    ['cat']
    >>> len(Detections.empty())
    0
    """

    boxes: NDArray[np.float32] = field(metadata=PER_BOX)
    scores: NDArray[np.float32] = field(metadata=PER_BOX)
    class_ids: NDArray[np.int64] = field(metadata=PER_BOX)
    names: tuple[str, ...] = field(default=(), repr=False)
    masks: Masks | None = field(default=None, metadata=PER_BOX)
    keypoints: NDArray[np.float32] | None = field(default=None, metadata=PER_BOX)
    corners: NDArray[np.float32] | None = field(default=None, metadata=PER_BOX)

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes)
        scores = np.asarray(self.scores, dtype=np.float32)
        class_ids = np.asarray(self.class_ids, dtype=np.int64)
        for label, tail in (("keypoints", (-1, 3)), ("corners", (4, 2))):
            column = getattr(self, label)
            if column is not None:
                column = np.asarray(column, dtype=np.float32)
                if column.ndim != 3 or any(
                    axis not in (-1, own) for axis, own in zip(tail, column.shape[1:], strict=True)
                ):
                    raise InputError(
                        f"{label} must have shape (N, {tail[0] if tail[0] > 0 else 'P'}, {tail[1]}), got {column.shape}"
                    )
                object.__setattr__(self, label, column)
        for label, array in (("scores", scores), ("class_ids", class_ids)):
            if array.shape != (len(boxes),):
                raise InputError(f"{label} must have shape ({len(boxes)},) as there are {len(boxes)} boxes, "
                                 f"got {array.shape}")  # fmt: skip
        for label in ("masks", "keypoints", "corners"):
            own = getattr(self, label)
            if own is not None and len(own) != len(boxes):
                raise InputError(f"there are {len(own)} {label} and {len(boxes)} boxes")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "class_ids", class_ids)
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def empty(cls, names: Sequence[str] = ()) -> Detections:
        """No boxes: the result of a picture in which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), tuple(names))

    @classmethod
    def concatenate(cls, parts: Iterable[Detections]) -> Detections:
        """All boxes of `parts` in their order; the names are those of the first part."""
        kept = list(parts)
        if not kept:
            return cls.empty()
        first = next((part for part in kept if len(part)), kept[0])
        full = [part for part in kept if len(part)] or kept[:1]
        columns = {name: [getattr(part, name) for part in full] for name in first.columns()}
        if any(part.columns().keys() != columns.keys() for part in full):
            raise InputError("detections with and without masks, key points or corners cannot be put together")
        return replace(first, names=kept[0].names, **{name: _joined(parts) for name, parts in columns.items()})

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """The rows that a mask, an index array or a slice selects; an integer selects one row."""
        if isinstance(index, int | np.integer):
            index = [index]
        return replace(self, **{name: column[index] for name, column in self.columns().items()})

    def __iter__(self) -> Iterator[Detections]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        own, others = self.columns(), other.columns()
        return (
            self.names == other.names
            and own.keys() == others.keys()
            and all(
                column == others[name] if isinstance(column, Masks) else np.array_equal(column, others[name])
                for name, column in own.items()
            )
        )

    def columns(self) -> dict[str, Any]:
        """What there is of each box, by name: boxes, scores, class_ids, and of the others those that are there."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.metadata.get("boxes")}
        return {name: column for name, column in own.items() if column is not None}

    @property
    def class_names(self) -> list[str]:
        """The name of each box's class."""
        return [self.name_of(class_id) for class_id in self.class_ids.tolist()]

    def name_of(self, class_id: int) -> str:
        """The name of a class, or its number where it has none."""
        return class_name(self.names, class_id)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {score:.2f}" for name, score in zip(self.class_names[:6], self.scores, strict=False))
        more = f" and {len(self) - 6} more" if len(self) > 6 else ""
        return f"Detections({len(self)}: {shown}{more})" if len(self) else "Detections(none)"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        from html import escape

        cells = "".join(
            f"<tr><td>{escape(name)}</td><td>{score:.3f}</td>"
            + "".join(f"<td>{side:.1f}</td>" for side in box)
            + "</tr>"
            for name, score, box in zip(self.class_names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        )
        head = "".join(f"<th>{name}</th>" for name in ("class", "score", "x1", "y1", "x2", "y2"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a box, as JSON Lines hold it: box (x1, y1, x2, y2 in pixels), score, class, class_id.

        Where they are there, mask (COCO's compressed RLE), keypoints ([x, y, visibility] each) and corners ([x, y]).

        >>> Detections([[0, 0, 10.1, 5]], [0.5], [1], ("cat", "dog")).to_dicts()
        [{'box': [0.0, 0.0, 10.1, 5.0], 'score': 0.5, 'class': 'dog', 'class_id': 1}]

        Numbers are the shortest that read back as the same float32; Python's own float() would write the double's.
        """
        boxes, scores = _shortest(self.boxes), _shortest(self.scores)
        rows = [
            {"box": box, "score": score, "class": name, "class_id": class_id}
            for box, score, name, class_id in zip(boxes, scores, self.class_names, self.class_ids.tolist(), strict=True)
        ]
        beside: dict[str, Any] = {"mask": None if self.masks is None else self.masks.to_coco()}
        beside |= {"keypoints": self.keypoints, "corners": self.corners}
        for key, column in beside.items():
            if column is not None:
                for row, value in zip(rows, column if key == "mask" else _shortest(column), strict=True):
                    row[key] = value
        return rows

    def to_pandas(self) -> Any:
        """A pandas DataFrame with the columns class, class_id, score, x1, y1, x2, y2."""
        import pandas

        columns: dict[str, Any] = {"class": self.class_names, "class_id": self.class_ids, "score": self.scores}
        return pandas.DataFrame(columns | dict(zip(("x1", "y1", "x2", "y2"), self.boxes.T, strict=True)))

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`, with the names under data["class_name"]."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def sorted(self) -> Detections:
        """Best score first; equal scores keep their order."""
        return self[np.argsort(-self.scores, kind="stable")]

    def clip(self, width: float, height: float) -> Detections:
        """Boxes cut at the borders of a `width` x `height` picture; what else there is of them stays as it is."""
        return replace(self, boxes=clip_boxes(self.boxes, width, height))


def _joined(parts: list[Any]) -> Any:
    return Masks.concatenate(parts) if isinstance(parts[0], Masks) else np.concatenate(parts)


def _shortest(values: NDArray[np.float32]) -> Any:
    import orjson

    return orjson.loads(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY))

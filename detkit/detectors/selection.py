"""`Selection`: which scored boxes become detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.classes import Choice, chosen_classes
from detkit.detections import Detections
from detkit.errors import UsageError
from detkit.nms import METHODS, Method, suppress


@dataclass(frozen=True)
class Selection:
    """Which scored boxes become detections; every detector takes one.

    conf      boxes with a higher score are kept
    conf_by_class   the same of single classes, by name or number as in `classes`, in place of `conf`
    iou       overlap above which the lower-scored of two boxes is suppressed; None takes the detector's own
    max_det   boxes kept per picture; None keeps all
    nms       "greedy", "soft", "diou", "wbf" or "none"; graphs that suppress by themselves are left alone
    agnostic  whether boxes of different classes suppress each other
    classes   keep only these, by name or number; see `classes.chosen_classes`

    UsageError where a number is out of its range or there is no such method.
    """

    conf: float = 0.25
    iou: float | None = None
    max_det: int | None = 300
    nms: Method = "greedy"
    agnostic: bool = False
    classes: Choice = ()
    conf_by_class: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in self.conf_by_class.items():
            if not 0 <= share <= 1:
                raise UsageError(f"conf of {name} lies from 0 to 1, not at {share}")
        for name in ("conf", "iou"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} lies from 0 to 1, not at {share}")
        if self.max_det is not None and self.max_det < 1:
            raise UsageError(f"max_det is at least 1, not {self.max_det}")
        if self.nms not in METHODS:
            raise UsageError(f"there is no nms {self.nms!r}; there are {', '.join(METHODS)}")

    def wanted(self, names: tuple[str, ...], whose: str = "the network") -> NDArray[np.int64] | None:
        """The class ids to keep, None for all. UsageError for a class that is not among the `names` of `whose`."""
        named: dict[int, str] = {}
        for name in self.conf_by_class:
            places = chosen_classes(name, names, whose)
            for place in () if places is None else places.tolist():
                if named.setdefault(place, name) != name:
                    raise UsageError(f"{named[place]} and {name} are one class of {whose}: give it one threshold")
        return chosen_classes(self.classes, names, whose)

    @property
    def lowest_conf(self) -> float:
        """What every box has to exceed, whatever its class; `suppressed` asks more of classes with their own `conf`."""
        return min((self.conf, *self.conf_by_class.values()))

    def at_least(self, conf: float) -> Selection:
        """The same with no threshold below `conf`."""
        own = {name: max(share, conf) for name, share in self.conf_by_class.items()}
        return replace(self, conf=max(self.conf, conf), conf_by_class=own)

    def confs(self, names: tuple[str, ...], count: int) -> Floats:
        """The threshold of each class id below `count`, float32 (count,)."""
        return _confs(self.conf, tuple(self.conf_by_class.items()), names, count)

    def _above(self, found: Detections) -> NDArray[np.bool_]:
        """Which boxes score higher than their class has to."""
        return found.scores > self.confs(found.names, int(found.class_ids.max(initial=-1)) + 1)[found.class_ids]

    def scored(self, scores: Floats, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and classes of the scores (N, C) that count: two arrays (K,)."""
        rows, classes = np.nonzero(scores > self.lowest_conf)
        wanted = self.wanted(names)
        if wanted is not None:
            kept = np.isin(classes, wanted)
            rows, classes = rows[kept], classes[kept]
        return rows, classes

    def suppressed(self, found: Detections, iou: float, method: Method | None = None) -> Detections:
        """The boxes that survive, best first; `iou` is the detector's own overlap, `method` stands in for `nms`.

        This is where thresholds of single classes count, for every detector: before suppression, where boxes that are
        not wanted must not suppress others, and after it, which may lower scores.
        """
        own = bool(self.conf_by_class)
        kept = suppress(
            found[self._above(found)] if own else found,
            method or self.nms,
            iou if self.iou is None else self.iou,
            agnostic=self.agnostic,
            max_detections=None if own else self.max_det,
            min_score=self.lowest_conf,
        )
        return kept[self._above(kept)][: self.max_det] if own else kept


@lru_cache(maxsize=32)
def _confs(conf: float, by_class: tuple[tuple[str, float], ...], names: tuple[str, ...], count: int) -> Floats:
    confs = np.full(count, conf, np.float32)
    for name, share in by_class:
        places = chosen_classes(name, names)
        assert places is not None
        confs[places[places < count]] = share
    return confs

"""Region proposals: boxes that may hold an object of any kind, best first, and how well they cover the real ones.

proposals = selective_search(image)          # detkit.proposals.selective_search
proposals = edge_boxes(image)                # detkit.proposals.edge_boxes
proposals = grid_proposals(640, 480, 2000)   # detkit.proposals.grid
by_file = read_proposals("found.jsonl")      # detkit.proposals.proposal_files
best = best_overlaps(proposals.boxes, objects, [100, 1000])   # detkit.proposals.quality
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Proposals(NamedTuple):
    """Proposed boxes of one picture, best first.

    boxes   float32 (N, 4), x1, y1, x2, y2 in pixels of the picture, no two the same
    scores  float32 (N,), falling; what they mean is the method's affair, and they compare within a picture only
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    @classmethod
    def empty(cls) -> Proposals:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def first(self, count: int | None) -> Proposals:
        """The best `count` of them, or all for None."""
        return self if count is None else Proposals(self.boxes[:count], self.scores[:count])

    def to_dict(self) -> dict[str, Any]:
        """Boxes and scores as JSON holds them, with the shortest digits that read back as the same float32."""
        import orjson

        boxes, scores = (np.ascontiguousarray(values, np.float32) for values in self)
        found: dict[str, Any] = orjson.loads(
            orjson.dumps({"boxes": boxes, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
        )
        return found

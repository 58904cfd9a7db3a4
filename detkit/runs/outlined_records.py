"""Records with polygons in place of masks, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runs.record import Record


@dataclass
class Outlining:
    """Makes the masks of records polygons: `segmentation`, rings of x1, y1, x2, y2 ... in pixels, as COCO has them.

    tolerance   in pixels, by which a polygon may differ from the outline of its mask, for fewer points
    iou         of each mask with what COCO draws from its polygons, so far
    """

    tolerance: float = 0.0
    iou: list[float] = field(default_factory=list)

    def of(self, record: Record) -> Record:
        """The same record with polygons."""
        found = record.get("detections", ())
        if not any("mask" in one for one in found):
            return record
        return {**record, "detections": [self._outlined(one) for one in found]}

    def _outlined(self, found: dict[str, Any]) -> dict[str, Any]:
        if "mask" not in found:
            return found
        from detkit.shapes.masks import Masks
        from detkit.shapes.outlining import with_polygons
        from detkit.shapes.shape_columns import Shapes

        mask = found["mask"]
        made = with_polygons(Shapes(Masks.from_coco([mask], [mask["size"]])), self.tolerance)
        self.iou += made.iou.tolist()
        assert made.shapes.polygons is not None
        rings = made.shapes.polygons.lists()[0]
        return {("segmentation" if key == "mask" else key): rings if key == "mask" else found[key] for key in found}

    def told(self) -> str:
        """How many masks became polygons, and what is left of them; "" where there was none."""
        if not self.iou:
            return ""
        count, iou = len(self.iou), np.array(self.iou)
        what = "1 mask became polygons" if count == 1 else f"{count:,} masks became polygons"
        if (iou == 1).all():
            return f"{what}; drawn again as COCO draws them they are the same pixel by pixel"
        return f"{what}; drawn again their IoU is {iou.mean():.4f} in the mean, {iou.min():.4f} at worst"


def ring_of(mask: dict[str, Any]) -> NDArray[np.float64]:
    """The outline of a mask (COCO's compressed RLE) as one ring (K, 2), (0, 2) where it is empty."""
    from detkit.shapes.masks import Masks
    from detkit.shapes.outlines import outline

    masks = Masks.from_coco([mask], [mask["size"]])
    return outline(*masks.window(0)).ring() if masks.areas[0] else np.zeros((0, 2))

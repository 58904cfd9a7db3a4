"""The pictures of this course, from those that come with detkit and the bundled models.

python docs/course/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from detkit.images import Image, read_image, write_image
from detkit.inside.stages import stages_of

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "detkit" / "demo"
# (file, picture, model, stage)
PICTURES = (
    ("hog-weights", "astronaut", "person-inria", "weights"),
    ("hog-part-in-score", "astronaut", "person-inria", "part-in-score"),
    ("segmentation", "coffee", "selective-search", "segmentation"),
    ("edge-groups", "coffee", "edge-boxes", "groups"),
    ("warped", "coffee", "rcnn-lite0", "warped"),
    ("anchors", "astronaut", "faster-rcnn-lite0", "anchors"),
    ("objectness", "astronaut", "faster-rcnn-lite0", "objectness"),
    ("level-32", "astronaut", "yolo-lite0", "level-32"),
    ("suppressed-by", "astronaut", "yolo-lite0", "suppressed-by"),
)
_WIDTH = 420


def small(picture: Image) -> Image:
    """At most so wide."""
    factor = min(1.0, _WIDTH / picture.shape[1])
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    for file, picture, model, wanted in PICTURES:
        stage = next(one for one in stages_of(model, read_image(DEMO / f"{picture}.jpg")) if one.name == wanted)
        write_image(HERE / f"{file}.jpg", small(stage.picture))


if __name__ == "__main__":
    main()

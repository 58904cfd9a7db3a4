"""Masks guessed from boxes, for pictures that nobody has outlined: GrabCut inside each box, the rest of it unknown.

Khoreva et al., "Simple Does It: Weakly Supervised Instance and Semantic Segmentation" (2017), train on such masks,
which come close to outlines made by hand: outside of all boxes is background, where GrabCut (Rother et al. 2004) finds
the object is its class, and what else a box holds is ignored. Departures: GrabCut is OpenCV's, without an edge
detector, and where it keeps nearly nothing, or nearly all of the box, the box's middle stands for the object.

    python -m detkit.training.segment.box_masks ANNOTATIONS OUT --images DIR --classes boat --classes bus
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.annotations import read_ground_truth
from detkit.boxes import area
from detkit.classes import VOC_NAMES
from detkit.errors import DetkitError, InputError
from detkit.images import Image, read_image
from detkit.label_maps.palettes import IGNORED, palette_named
from detkit.label_maps.png import write_palette_png
from detkit.training.pictures import AnnotatedPicture, annotated_pictures

# What VOC calls a class that COCO has under another name.
COCO_TO_VOC = {
    "motorcycle": "motorbike", "airplane": "aeroplane", "couch": "sofa", "potted plant": "pottedplant",
    "dining table": "diningtable", "tv": "tvmonitor",
}  # fmt: skip
WINDOW = 128  # the long side of what GrabCut works on, pixels
CONTEXT = 0.25  # of a box's sides, seen around it on each side
ROUNDS = 3
LIKELY = (0.2, 0.95)  # shares of a box that objects cover; GrabCut has failed beyond them
SMALLEST = 12.0  # pixels of the short side of a box, below which it is only ignored
MIDDLE = 0.5  # of a box's sides, where GrabCut failed


def object_mask(image: Image, box: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The pixels (H, W) of a picture that GrabCut takes for the object in `box` xyxy; all of them lie in the box."""
    height, width = image.shape[:2]
    margin = CONTEXT * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    left, top, right, bottom = np.clip(np.round(box + margin), 0, (width, height) * 2).astype(int).tolist()
    window = image[top:bottom, left:right]
    scale = min(1.0, WINDOW / max(window.shape[:2]))
    small = cv2.resize(window, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else window
    inner = (box - np.array((left, top) * 2, np.float32)) * np.tile(
        np.array(small.shape[1::-1]) / window.shape[1::-1], 2
    )
    labels = _labels(small.shape[:2], inner)
    model = np.zeros((2, 1, 65), np.float64)
    cv2.setRNGSeed(0)  # its clusters begin at random
    if (labels == cv2.GC_BGD).any():
        cv2.grabCut(small, labels, (0, 0, 1, 1), model[0], model[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (labels & 1).astype(np.uint8)
    inside = (box[2:] - box[:2]).prod() * scale**2
    if not LIKELY[0] <= found.sum() / max(inside, 1) <= LIKELY[1]:
        found = _middle(small.shape[:2], inner)
    mask = np.zeros((height, width), bool)
    size = (right - left, bottom - top)
    mask[top:bottom, left:right] = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST) > 0
    return mask


def _labels(shape: tuple[int, int], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What GrabCut begins with: nothing outside of the box, perhaps something inside."""
    labels = np.full(shape, cv2.GC_BGD, np.uint8)
    _within(labels, box)[:] = cv2.GC_PR_FGD
    return labels


def _middle(shape: tuple[int, int], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    found = np.zeros(shape, np.uint8)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * MIDDLE
    _within(found, np.concatenate((centre - half, centre + half)))[:] = 1
    return found


def _within(array: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    left, top = np.maximum(np.round(box[:2]), 0).astype(int).tolist()
    right, bottom = np.round(box[2:]).astype(int).tolist()
    return array[top:bottom, left:right]


def label_map(
    image: Image, boxes: NDArray[np.float32], numbers: NDArray[np.int64], background: int = 0
) -> NDArray[np.uint8]:
    """Class numbers (H, W) of a picture from boxes (N, 4) xyxy and their classes (N,); small boxes on large ones."""
    labels = np.full(image.shape[:2], background, np.uint8)
    for box in boxes:
        _within(labels, box)[:] = IGNORED
    for row in np.argsort(-area(boxes), kind="stable"):
        box = boxes[row]
        if (box[2:] - box[:2]).min() < SMALLEST:
            _within(labels, box)[:] = IGNORED
        else:
            labels[object_mask(image, box)] = numbers[row]
    return labels


def chosen(
    pictures: Sequence[AnnotatedPicture], wanted: set[int], sizes: NDArray[np.int64], least_share: float
) -> Iterator[AnnotatedPicture]:
    """Those with an object of a wanted class that covers so much of the picture; sizes (R, 2), width and height."""
    for picture in pictures:
        large = area(picture.boxes) >= least_share * sizes[picture.row].prod()
        if wanted & set(picture.classes[large].tolist()):
            yield picture


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m detkit.training.segment.box_masks", description=__doc__)
    parser.add_argument("annotations", type=Path, help="boxes, in any format that detkit reads")
    parser.add_argument("out", type=Path, help="folder of the masks: VOC's 21 classes as palette PNGs")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--classes", action="append", required=True, help="only pictures with one of these of VOC's")
    parser.add_argument("--least-share", type=float, default=0.03, help="of the picture, that such an object covers")
    parser.add_argument("--spare", type=Path, help="a folder of masks: no picture of the stem of one of them")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    palette = palette_named("voc")
    try:
        truth = read_ground_truth(options.annotations, images=options.images)
        names = [COCO_TO_VOC.get(name, name) for name in truth.categories.names]
        if unknown := [name for name in options.classes if name not in VOC_NAMES]:
            raise InputError(f"{unknown[0]} is no class of VOC's: {', '.join(VOC_NAMES)}")
        spared = {path.stem for path in options.spare.iterdir()} if options.spare else set()
        pictures = [picture for picture in annotated_pictures(truth, options.images) if picture.path.stem not in spared]
        sizes = np.stack((truth.images.widths, truth.images.heights), axis=1)
        wanted = {number for number, name in enumerate(names) if name in options.classes}
        kept = list(chosen(pictures, wanted, sizes, options.least_share))
    except DetkitError as error:
        sys.exit(f"error: {error}")

    def write(picture: AnnotatedPicture) -> None:
        of_voc = np.array([names[number] in VOC_NAMES for number in picture.classes.tolist()], bool)
        numbers = [palette.names.index(names[number]) for number in picture.classes[of_voc].tolist()]
        labels = label_map(read_image(picture.path), picture.boxes[of_voc], np.array(numbers, np.int64))
        write_palette_png(options.out / f"{picture.path.stem}.png", labels, palette.table)

    with ThreadPoolExecutor(options.threads) as executor:
        list(executor.map(write, kept))
    print(f"{len(kept)} masks in {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Classes by name: the names of the two data sets that most detectors are trained on, and the choice among names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UsageError
from detkit.spelling import spelled

# One class, or several, by name or by number.
Choice = Sequence[str | int] | str | int

# Lin et al. 2014, the 80 classes with boxes.
# fmt: off
COCO_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)

# Everingham et al. 2010.
VOC_NAMES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on

# The ids of COCO's own 80 classes with boxes, in the order of `COCO_NAMES`: 1 to 90 with ten gaps.
CATEGORY_IDS: tuple[int, ...] = tuple(
    number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
)


def coco_ids(names: Sequence[str]) -> tuple[int, ...] | None:
    """COCO's category ids of classes that all have names of COCO's, each once; None for other classes.

    The one rule by which category ids are written and read where a network or a file gives none.
    """
    if not names or len(set(names)) < len(names) or not set(names) <= set(COCO_NAMES):
        return None
    return tuple(CATEGORY_IDS[COCO_NAMES.index(name)] for name in names)


def class_name(names: Sequence[str], class_id: int) -> str:
    """The name of a class, or its number where it has none."""
    return names[class_id] if 0 <= class_id < len(names) else str(class_id)


def classes_called(name: str, names: Sequence[str]) -> list[int]:
    """The places in `names` of the classes of this name: all that are called so to the letter, else in another case.

    Accents may be composed or not.
    """
    own, all_names = spelled(name), [spelled(known) for known in names]
    found = [row for row, known in enumerate(all_names) if known == own]
    return found or [row for row, known in enumerate(all_names) if known.casefold() == own.casefold()]


def chosen_classes(choice: Choice, names: Sequence[str], whose: str = "the network") -> NDArray[np.int64] | None:
    """The rising places in `names` of the classes that are chosen; None, for all, where none is named.

    This is what every `--class` and every `classes` means. A number, or text that is one and no name, is the place
    itself. UsageError for what is no class of `whose`.

    >>> chosen_classes("Cat", ("Cat", "dog", "cat")).tolist(), chosen_classes("CAT", ("Cat", "dog", "cat")).tolist()
    ([0], [0, 2])
    """
    wanted = (choice,) if isinstance(choice, str | int) else tuple(choice)
    if not wanted:
        return None
    places: set[int] = set()
    for one in wanted:
        found = classes_called(one, names) if isinstance(one, str) else []
        if not found and str(one).isdecimal() and (not names or int(one) < len(names)):
            found = [int(one)]
        if not found:
            near = difflib.get_close_matches(str(one), names, n=3)
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {shown or 'numbers only'}"
            raise UsageError(f"{whose} has no class {str(one)!r}; {hint}")
        places.update(found)
    return np.array(sorted(places), np.int64)

"""Proposals of the training pictures from another method than the network's own, computed once and kept in a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import as_boxes
from detkit.detectors.rcnn.region_proposals import proposal_source
from detkit.errors import InputError
from detkit.files import write_atomically
from detkit.images import read_image

logger = logging.getLogger("detkit")

FILE = "proposals.npz"
Boxes = NDArray[np.float32]
Propose = Callable[[Path], Boxes]


@dataclass(frozen=True)
class GivenProposals:
    """Where proposals come from, if not from the network's own proposal network.

    boxes    gives those (N, 4) xyxy of a picture by its path, in its pixels; InputError where there are none
    made_by  the method's name: what was computed stays in a training's folder for those that give the same
    """

    boxes: Propose
    made_by: str = ""


def given_by(method: str, count: int) -> GivenProposals:
    """At most `count` proposals a picture of a method or a file, as `region_proposals.proposal_source` takes them."""
    source = proposal_source(method, count)
    return GivenProposals(lambda path: source(read_image(path), path.as_posix()).boxes, f"{count} of {method}")


def kept_proposals(
    directory: Path,
    paths: Sequence[Path],
    given: GivenProposals,
    save_seconds: float = 60.0,
) -> list[Boxes | None]:
    """Boxes (N, 4) xyxy in pixels of each picture: those in the file in `directory`, else what `given` computes.

    The file gets what was computed every `save_seconds` and at the end, so that an interruption loses little; it is
    begun again where its proposals were made by another method. A picture that has none is a warning, and None.
    """
    file = directory / FILE
    known = load_proposals(file, given.made_by) if file.exists() else {}
    missing = [path for path in paths if str(path) not in known]
    saved = time.monotonic()
    for path in missing:
        try:
            known[str(path)] = as_boxes(given.boxes(path)).astype(np.float32)
        except InputError as error:
            logger.warning("%s; left out", error)
        if time.monotonic() - saved >= save_seconds:
            save_proposals(file, known, given.made_by)
            saved = time.monotonic()
    if missing:
        save_proposals(file, known, given.made_by)
    return [known.get(str(path)) for path in paths]


def save_proposals(file: Path, boxes: dict[str, Boxes], made_by: str = "") -> None:
    """Write boxes (N, 4) by path, and the method; a killed process leaves the old file or the new one."""
    with write_atomically(file) as stream:
        np.savez(
            stream,
            made_by=np.array(made_by),
            paths=np.array(list(boxes)),
            counts=np.array([len(b) for b in boxes.values()], np.int64),
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes.values()]),
        )


def load_proposals(file: Path, made_by: str = "") -> dict[str, Boxes]:
    """Boxes (N, 4) by path, as `save_proposals` wrote them; none where another method made them.

    InputError where the file is another.
    """
    try:
        with np.load(file) as content:
            paths, counts, boxes = content["paths"].tolist(), content["counts"], content["boxes"]
            if str(content["made_by"]) != made_by:
                return {}
    except Exception as error:  # zipfile's and numpy's errors have no common base
        raise InputError(f"{file}: not a file of proposals") from error
    return dict(zip(paths, np.split(boxes, np.cumsum(counts)[:-1]), strict=True))

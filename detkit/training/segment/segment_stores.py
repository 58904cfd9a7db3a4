"""The decoded pictures of a training, below its folder while it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.cores import available_cores
from detkit.errors import InputError
from detkit.label_maps.palettes import palette_named
from detkit.training.segment.labelled_pictures import LabelledStore, check_numbers, warn_of_missing
from detkit.training.segment.segment_material import SegmentMaterial

FOLDER = "pictures"


@dataclass(frozen=True)
class SegmentStores:
    """The folders of decoded pictures, see `LabelledStore`: to learn from, and held out or None."""

    learn: Path
    measure: Path | None

    def remove(self) -> None:
        """Delete the decoded pictures."""
        shutil.rmtree(self.learn.parent)


def make_stores(
    directory: Path, material: SegmentMaterial, longest: int, advance: Callable[[int], None] = lambda count: None
) -> tuple[SegmentStores, tuple[str, ...]]:
    """Decode the pictures below `directory`, their long sides `longest` at most; returns the class names, too.

    Without names of the material's, numbers up to 20 are VOC's classes. InputError where nothing tells the classes, or
    labels have a number that is none.
    """
    folders = [directory / FOLDER / part for part in ("learn", "measure")]
    threads = available_cores()
    learn = LabelledStore.filled(folders[0], material.learn, longest, threads, advance)
    names = material.names
    counts = learn.counts
    if material.measure:
        measured = LabelledStore.filled(folders[1], material.measure, longest, threads, advance)
        counts = np.concatenate((counts, measured.counts))
    if not names:
        voc = palette_named("voc").names
        largest = int(np.flatnonzero(counts[:, :-1].sum(axis=0)).max(initial=0))
        if largest != len(voc) - 1:
            raise InputError(f"{material.where}: label maps have numbers up to {largest}; name the classes by --names")
        names = voc
    check_numbers(counts, names, material.where)
    warn_of_missing(learn.counts, names)
    return SegmentStores(folders[0], folders[1] if material.measure else None), names

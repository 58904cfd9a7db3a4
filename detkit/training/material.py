"""What a training learns from and what it is measured on: pictures of an annotated data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detkit.annotations import read_ground_truth
from detkit.cores import available_cores
from detkit.dataset import GroundTruth
from detkit.training.pictures import AnnotatedPicture, listed_pictures, readable_pictures, refuse_empty, split


@dataclass(frozen=True)
class Material:
    """The annotations, and of their pictures those to learn from and those to measure on."""

    truth: GroundTruth
    learn: list[AnnotatedPicture]
    measure: list[AnnotatedPicture]


@dataclass(frozen=True)
class Source:
    """Where the material comes from.

    data      annotations in any format that `read_ground_truth` reads
    images    the folder of the pictures; None looks beside the annotations
    names     class names, where the annotations have none
    only      a list of the pictures that are used
    held_out  share of the pictures that only measure
    seed      of the choice among them
    """

    data: Path
    images: Path | None = None
    names: Path | None = None
    only: Path | None = None
    held_out: float = 0.1
    seed: int = 0

    @property
    def folder(self) -> Path:
        """The folder of the pictures."""
        return self.images or (self.data if self.data.is_dir() else self.data.parent)

    def listed(self) -> tuple[GroundTruth, list[AnnotatedPicture]]:
        """The annotations, and those of their pictures that are used."""
        truth = read_ground_truth(self.data, names=self.names, images=self.images)
        return truth, listed_pictures(truth, self.folder, self.only)


def readable(
    pictures: list[AnnotatedPicture], advance: Callable[[int], None] = lambda count: None
) -> list[AnnotatedPicture]:
    """Those that can be decoded: a training should not meet a damaged file after hours."""
    return readable_pictures(pictures, available_cores(), advance)


def material_of(source: Source, truth: GroundTruth, pictures: list[AnnotatedPicture]) -> Material:
    """The pictures, a share of them held out. InputError where there is nothing to learn."""
    learn, measure = split(pictures, source.held_out, source.seed)
    refuse_empty(learn, truth.categories.names)
    return Material(truth, learn, measure)

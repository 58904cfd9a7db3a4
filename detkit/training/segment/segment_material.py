"""Where a training's pictures and their label maps lie: folders of masks, VOC's layout, or outlines in annotations."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.annotations import read_ground_truth
from detkit.annotations.class_names import names_from_file
from detkit.annotations.finding import PictureFolder
from detkit.annotations.label_map_files import class_numbers, label_maps_below, palette_of
from detkit.annotations.listing import names_in_list
from detkit.dataset import GroundTruth
from detkit.errors import InputError, UsageError
from detkit.label_maps.palettes import IGNORED, Palette, palette_named
from detkit.label_maps.png import read_label_png
from detkit.picture_names import without_ending
from detkit.shapes.masks import Masks
from detkit.training.pictures import annotated_pictures
from detkit.training.segment.labelled_pictures import LabelledPicture, Labels, file_identity

logger = logging.getLogger("detkit")

MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug", "masks", "labels", "annotations", "gtFine")
PICTURE_FOLDERS = ("JPEGImages", "images", "leftImg8bit")
LISTS = Path("ImageSets", "Segmentation")  # VOC's, below its folder
BACKGROUND = "background"


@dataclass(frozen=True)
class SegmentSource:
    """Where the material comes from.

    data      a folder with pictures and masks in two folders, or annotations with outlines or masks
    images    the folder of the pictures; None: the one beside the masks or the annotations
    masks     the folder of the masks; None: the one in `data` of a usual name
    names     a file of class names from 0 on, or "voc"; None: as the masks' colours, or the annotations, tell
    only      a list of the pictures that are used
    held_out  share of the pictures that only measure, where no list of VOC's says which do
    seed      of the choice among them
    """

    data: Path
    images: Path | None = None
    masks: Path | None = None
    names: str | None = None
    only: Path | None = None
    held_out: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class SegmentMaterial:
    """Pictures to learn from and to measure on. `names` is empty where nothing tells the classes.

    where   what errors name: the masks' folder, or the annotations
    """

    where: Path
    names: tuple[str, ...]
    learn: list[LabelledPicture]
    measure: list[LabelledPicture]


@dataclass(frozen=True)
class MaskFile:
    """The labels that a PNG file holds."""

    path: Path
    palette: Palette | None

    def __call__(self, size: tuple[int, int]) -> Labels:
        return np.asarray(class_numbers(self.path, self.palette), np.uint8)

    def identity(self) -> str:
        palette = "" if self.palette is None else f"{self.palette.name} {self.palette.names}"
        return f"{file_identity(self.path)} {palette}"


@dataclass(frozen=True, eq=False)
class OutlinedObjects:
    """The labels of a picture whose objects have masks: their class numbers, small ones on top, 0 elsewhere.

    masks     of the picture's N objects
    numbers   uint8 (N,): of their classes, 255 for what is not to be learnt
    """

    path: Path
    masks: Masks
    numbers: Labels

    def __call__(self, size: tuple[int, int]) -> Labels:
        labels = np.zeros(size, np.uint8)
        for row in np.argsort(-self.masks.areas, kind="stable").tolist():
            mask = self.masks.decode(row)
            if mask.shape != size:
                raise InputError(
                    f"{self.path}: is {size[1]} x {size[0]}, and the annotations say {mask.shape[1]} x {mask.shape[0]}"
                )
            labels[mask] = self.numbers[row]
        return labels

    def identity(self) -> str:
        return hashlib.sha256(self.masks.counts.tobytes() + self.numbers.tobytes()).hexdigest()


def segment_material(source: SegmentSource) -> SegmentMaterial:
    """What the source names. InputError, one line, where it holds no picture with labels."""
    if not source.data.exists():
        raise InputError(f"{source.data}: there is no such file or folder")
    folder = source.masks or _one_of(source.data, MASK_FOLDERS)
    if source.masks is None and (folder is None or not _holds_png(folder)):
        return _of_annotations(source)
    assert folder is not None
    images = source.images or _one_of(source.data, PICTURE_FOLDERS)
    if images is None:
        raise InputError(
            f"{source.data}: there are masks in {folder.name} and no folder of pictures beside it "
            f"({', '.join(PICTURE_FOLDERS)}); name it by --images"
        )
    maps = label_maps_below(folder)
    first = next(iter(maps.values()))
    palette = palette_of(first, None, names_of(source.names))
    names = () if palette is None else palette.names
    if source.names is not None and read_label_png(first).values.ndim == 2:
        palette = None  # numbers are class numbers; those that are none are found in all maps together
    pictures, missing = {}, []
    found = PictureFolder(images)
    for name, path in maps.items():
        picture = found.find(without_ending(name))
        if picture is None:
            missing.append(path)
        else:
            pictures[without_ending(name)] = LabelledPicture(picture, MaskFile(path, palette))
    if not pictures:
        raise InputError(f"{images}: there is no picture for any of the {len(missing)} masks in {folder}")
    if missing:
        logger.warning(
            "%d masks in %s have no picture in %s and are left out, first %s",
            len(missing), folder, images, missing[0].name,
        )  # fmt: skip
    if source.only is None and source.masks is None:
        lists = [source.data / LISTS / f"{part}.txt" for part in ("train", "val")]
        if all(path.is_file() for path in lists):
            learn, measure = (_listed(pictures, path) for path in lists)
            return SegmentMaterial(folder, names, learn, measure)
    some = list(pictures.values()) if source.only is None else _listed(pictures, source.only)
    return SegmentMaterial(folder, names, *split(some, source.held_out, source.seed))


def names_of(source: str | None) -> tuple[str, ...]:
    """Class names from 0 on: of VOC with its background, of a file, or none."""
    if source is None:
        return ()
    return palette_named("voc").names if source == "voc" else names_from_file(source)


def split(
    pictures: Sequence[LabelledPicture], share: float, seed: int
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Pictures to learn from and a share of them to measure on, the same split for the same seed."""
    held = set(random.Random(seed).sample(range(len(pictures)), round(share * len(pictures))))
    if len(held) == len(pictures):
        held.clear()
    learn = [picture for number, picture in enumerate(pictures) if number not in held]
    return learn, [picture for number, picture in enumerate(pictures) if number in held]


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _holds_png(folder: Path) -> bool:
    return any(path.suffix.lower() == ".png" for path in folder.rglob("*"))


def _listed(pictures: dict[str, LabelledPicture], path: Path) -> list[LabelledPicture]:
    """The pictures that a list names by stems or file names. UsageError where it names none."""
    by_stem = {name.rpartition("/")[2]: picture for name, picture in pictures.items()}
    found, missing = [], []
    for line in names_in_list(path):
        picture = pictures.get(without_ending(line)) or by_stem.get(without_ending(line).rpartition("/")[2])
        picture = picture or by_stem.get(line.rpartition("/")[2])
        found.append(picture) if picture is not None else missing.append(line)
    kept = [picture for picture in found if picture is not None]
    if not kept:
        raise UsageError(f"{path}: none of the {len(missing)} pictures that it lists has a mask and a picture")
    if missing:
        logger.warning("%s: %d listed pictures have no mask and are left out, first %s", path, len(missing), missing[0])
    return kept


def _of_annotations(source: SegmentSource) -> SegmentMaterial:
    truth = read_ground_truth(source.data, names=source.names, images=source.images, shapes="masks")
    folder = source.images or (source.data if source.data.is_dir() else source.data.parent)
    masks = _masks(source.data, truth)
    names = (BACKGROUND, *truth.categories.names)
    if len(names) > IGNORED:
        raise InputError(f"{source.data}: has {len(names) - 1} classes, and label maps hold 254")
    left_out = truth.crowd | truth.ignore
    numbers = np.where(left_out, IGNORED, truth.class_index + 1).astype(np.uint8)
    rows = truth.rows_by_image()
    pictures = {
        without_ending(picture.path.name): LabelledPicture(
            picture.path, OutlinedObjects(picture.path, masks[rows[picture.row]], numbers[rows[picture.row]])
        )
        for picture in annotated_pictures(truth, folder)
    }
    some = list(pictures.values()) if source.only is None else _listed(pictures, source.only)
    return SegmentMaterial(source.data, names, *split(some, source.held_out, source.seed))


def _masks(path: Path, truth: GroundTruth) -> Masks:
    """The masks of all objects. InputError where there are boxes alone."""
    masks = truth.shapes.masks
    if masks is None or (len(masks) and not masks.areas.any()):
        raise InputError(
            f"{path}: has no masks and no outlines; give a folder with {' or '.join(MASK_FOLDERS[:3])} beside the "
            "pictures, or annotations with a segmentation"
        )
    return masks

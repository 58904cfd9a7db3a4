"""Pascal VOC with masks: XML as in `voc_xml`, and PNG files beside.

    Annotations/a.xml   SegmentationObject/a.png   SegmentationClass/a.png   ImageSets/Segmentation/trainval.txt

In `SegmentationObject` a pixel's number k is the k-th object of the XML, 255 the border between objects, which belongs
to none. `SegmentationClass` has VOC's class numbers; where the classes are not VOC's, their places from 1, and
`labelmap.txt` names them. Without XML the class of an object is the one that most of its pixels have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.beside import Beside
from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.format import Format, Request
from detkit.annotations.formats import voc_xml
from detkit.annotations.formats.voc_masks import BORDER, CLASSES, OBJECTS
from detkit.annotations.text_files import files_under, lines_of, read_text
from detkit.classes import VOC_NAMES
from detkit.dataset import GroundTruth
from detkit.errors import InputError, OutputError
from detkit.label_maps.palettes import voc_colours
from detkit.label_maps.png import encode_palette_png, read_label_png
from detkit.shapes.masks import Masks
from detkit.shapes.painting import painted

LABEL_MAP = "labelmap.txt"
_MOST = 254
class_name = voc_xml.class_name


def read(request: Request) -> Contents:
    """The tables of the XML files, or where there are none, of the PNG files."""
    path = request.path
    if any((path / "Annotations").glob("**/*.xml")) or any(path.glob("*.xml")):
        return voc_xml.read(request)
    files = files_under(path / OBJECTS, (".png",)) if (path / OBJECTS).is_dir() else []
    if not files:
        what = "classes of pixels and no objects (eval --protocol semantic compares these)"
        more = f"; it has {CLASSES}, {what}" if (path / CLASSES).is_dir() else ""
        raise InputError(f"{path}: has neither XML files nor {OBJECTS} with PNG files{more}")
    names = request.class_names or _label_map(path)
    builder = Builder(request.problems)
    for file in files:
        objects, classes = (read_label_png(path / folder / file).values for folder in (OBJECTS, CLASSES))
        if objects.shape != classes.shape or objects.ndim != 2:
            raise InputError(f"{path / OBJECTS / file}: is not a label map of the size of that in {CLASSES}")
        height, width = objects.shape
        stem = file[: -len(".png")]
        image = builder.image(stem, stem, width, height)
        masks, numbers = Masks.from_labels(objects, (0, BORDER))
        for row, number in enumerate(numbers.tolist()):
            own = classes[objects == number]
            own = own[(own > 0) & (own != BORDER)]
            if not len(own):
                request.problems.add("objects whose pixels have no class, left out", f"{file}, object {number}")
                continue
            class_id = int(np.bincount(own).argmax())
            name = names[class_id - 1] if class_id <= len(names) else str(class_id)
            box = [float(value) for value in masks.bounds[row]]
            builder.box(
                image, builder.category(name), box, area=float(masks.areas[row]), beside=Beside(mask=masks[row])
            )
    return in_class_order(builder.finish(request.shapes))


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One XML and two PNG files a picture, the list of the pictures, and names that are not VOC's."""
    names = ground_truth.categories.names
    own = set(names) <= set(VOC_NAMES)
    numbers = np.array([VOC_NAMES.index(name) + 1 if own else row + 1 for row, name in enumerate(names)], np.int64)
    if len(names) > _MOST:
        raise OutputError(f"{form.title} has {_MOST} classes at most, and there are {len(names)}")
    stems = []
    for picture in pictures_of(ground_truth, form):
        yield f"Annotations/{picture.stem}.xml", voc_xml.picture_xml(picture, ground_truth, segmented=True)
        stems.append(picture.stem)
        objects = _object_map(picture, form)
        if objects is not None:
            class_of = np.concatenate(([0], numbers[picture.classes])).astype(np.uint8)
            yield f"{OBJECTS}/{picture.stem}.png", encode_palette_png(objects, voc_colours(256))
            yield f"{CLASSES}/{picture.stem}.png", encode_palette_png(class_of[objects], voc_colours(256))
    yield "ImageSets/Segmentation/trainval.txt", "".join(f"{stem}\n" for stem in stems).encode()
    if not own:
        colours = voc_colours(256)[[0, *numbers]].tolist()
        rows = zip(("background", *names), colours, strict=True)
        lines = (f"{name}:{','.join(map(str, colour))}::\n" for name, colour in rows)
        yield LABEL_MAP, ("# label:color_rgb:parts:actions\n" + "".join(lines)).encode()


def _object_map(picture: Picture, form: Format) -> NDArray[np.uint8] | None:
    masks = picture.shapes.masks
    if masks is None or not (masks.areas > 0).any():
        return None
    if len(masks) > _MOST:
        raise OutputError(f"{form.title} has {_MOST} objects a picture at most, and '{picture.file}' has {len(masks)}")
    return painted(masks, *masks.sizes.max(axis=0).tolist()).astype(np.uint8)


def _label_map(path: Path) -> tuple[str, ...]:
    """The names of classes 1, 2, 3 ...: those of `labelmap.txt`, VOC's where there is none."""
    file = path / LABEL_MAP
    if not file.is_file():
        return VOC_NAMES
    colours = {tuple(colour): number for number, colour in enumerate(voc_colours(256).tolist())}
    names: dict[int, str] = {}
    for line in lines_of(read_text(file)):
        name, colon, rest = line.partition(":")
        if line.strip() and not line.startswith("#") and colon:
            colour = tuple(int(part) for part in rest.partition(":")[0].split(",") if part.strip().isdigit())
            names[colours.get(colour, len(names))] = name
    return tuple(names.get(number, str(number)) for number in range(1, max(names, default=0) + 1))

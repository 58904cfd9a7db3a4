"""Label maps as annotations: folders of PNG files, a number a pixel, found and read by the palette of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.finding import AMBIGUOUS, Finder
from detkit.errors import InputError, UsageError
from detkit.label_maps.palettes import IGNORED, Palette, palette_named, plain_palette, voc_colours
from detkit.label_maps.png import LabelPng, read_label_png

# What Cityscapes' files have behind the name of the picture; of several kinds in a folder the first is read.
_CITYSCAPES_ENDINGS = ("_labelIds", "_labelTrainIds")
_BESIDE = ("_gtFine", "_gtCoarse", "_leftImg8bit")


@dataclass(frozen=True)
class MapPair:
    """A true label map and the one that was found."""

    name: str
    truth: Path
    found: Path


def paired_maps(found: Path, truth: Path) -> tuple[list[MapPair], list[Path]]:
    """The label maps of two files, or of two folders by name, and the found ones that have no true one.

    InputError where a true one has no found one, or several.
    """
    if truth.is_file() and found.is_file():
        return [MapPair(truth.stem, truth, found)], []
    for path in (truth, found):
        if not path.is_dir():
            raise InputError(f"{path}: is no folder of label maps (PNG), as the other is")
    true_maps, found_maps = label_maps_below(truth), label_maps_below(found)
    names = list(found_maps)
    finder = Finder(names)
    pairs = []
    for name, path in true_maps.items():
        row = finder.by_file(name)
        if row == AMBIGUOUS:
            raise InputError(f"{found}: {' and '.join(finder.fitting(name)[:3])} may both be the label map of {name}")
        if row < 0:
            raise InputError(f"{found}: there is no label map for {path.name}")
        pairs.append(MapPair(name.removesuffix(".png"), path, found_maps[names[row]]))
    used = {pair.found for pair in pairs}
    return pairs, [path for path in found_maps.values() if path not in used]


def label_maps_below(folder: Path) -> dict[str, Path]:
    """Name of the picture -> PNG file, with subfolders. InputError where there is none, or one picture has two."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png")
    for ending in _CITYSCAPES_ENDINGS:
        if any(path.stem.endswith(ending) for path in files):
            files = [path for path in files if path.stem.endswith(ending)]
            break
    if not files:
        raise InputError(f"{folder}: holds no PNG file")
    found: dict[str, Path] = {}
    for path in files:
        stem = path.stem
        for ending in (*_CITYSCAPES_ENDINGS, *_BESIDE):
            stem = stem.removesuffix(ending)
        name = (path.relative_to(folder).parent / f"{stem}.png").as_posix()
        if name in found:
            raise InputError(f"{path} and {found[name].name} are label maps of one picture")
        found[name] = path
    return found


def palette_of(truth: Path, name: str | None, class_names: tuple[str, ...]) -> Palette | None:
    """How numbers become classes: the palette of that name, else numbers from 0 with these names, else what the true
    map `truth` shows: Cityscapes' ids by the file's name, VOC's classes by its colours. None: numbers without names.
    """
    if name is not None:
        return palette_named(name.lower())
    if class_names:
        return plain_palette(class_names)
    if truth.stem.endswith("_labelIds"):
        return palette_named("cityscapes")
    stored = read_label_png(truth)
    voc = palette_named("voc")
    if stored.colours is not None and np.array_equal(stored.colours[: len(voc)], voc_colours(len(voc))):
        return voc
    return None


def _classes(stored: LabelPng, palette: Palette | None) -> NDArray[Any]:
    """Class numbers (H, W) of a label map. InputError for what the palette does not have."""
    if stored.values.ndim == 3:
        if palette is None:
            raise InputError("holds colours, and nothing tells which classes they are (--gt-format voc, ...)")
        return palette.from_colours(stored.values)
    if palette is not None:
        return palette.from_ids(stored.values)
    if stored.values.size and int(stored.values.max()) > IGNORED:
        raise InputError(f"holds the number {int(stored.values.max())}, and classes are 0 to 254")
    return stored.values


def _read(path: Path, palette: Palette | None) -> tuple[NDArray[Any], bool]:
    """Class numbers (H, W) of a file, and whether what it stores are class numbers already."""
    stored = read_label_png(path)
    try:
        classes = _classes(stored, palette)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return classes, palette is None or _holds_class_numbers(stored.values, len(palette))


def class_numbers(path: Path, palette: Palette | None) -> NDArray[Any]:
    """Class numbers (H, W) of a file, 255 where there is none. InputError for what the palette does not have."""
    return _read(path, palette)[0]


def class_pairs(pairs: list[MapPair], palette: Palette | None) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """True and found class numbers of each pair.

    UsageError in the end where the found maps hold nothing but class numbers, and the true ones a data set's ids.
    """
    true_plain = found_plain = True
    for pair in pairs:
        truth, true_numbers = _read(pair.truth, palette)
        found, found_numbers = _read(pair.found, palette)
        if truth.shape != found.shape:
            raise InputError(f"{pair.found}: is {_size(found)}, and {pair.truth.name} is {_size(truth)}")
        true_plain, found_plain = true_plain and true_numbers, found_plain and found_numbers
        yield truth, found
    ids_differ = palette is not None and palette.file_ids != tuple(range(len(palette)))
    if palette is not None and ids_differ and found_plain and not true_plain:
        raise UsageError(
            f"the found maps hold numbers below {len(palette)} alone, as class numbers are, and the true ones the ids "
            f"of {palette.name}: write both alike"
        )


def _holds_class_numbers(values: NDArray[Any], classes: int) -> bool:
    return values.ndim == 2 and bool(((values < classes) | (values == IGNORED)).all())


def _size(labels: NDArray[Any]) -> str:
    return f"{labels.shape[1]} x {labels.shape[0]}"

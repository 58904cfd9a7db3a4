"""What the classes of a semantic network are called and in which colours they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detkit.classes import classes_called
from detkit.errors import ModelError, UsageError
from detkit.label_maps.palettes import IGNORED, PALETTES, Palette, plain_palette, voc_colours
from detkit.spelling import spelled

# Names are a data set's where so many of them are, in its order.
_MOST = 0.75
# One channel that is above its threshold: what it finds, and the rest.
_TWO = ("background", "foreground")


@dataclass(frozen=True)
class Known:
    """What is known of a graph's classes.

    count    as its output shows, 1 for one channel; None for class numbers, which do not show it
    own      names that the graph or its sidecar carries, () for none
    carries  whether it carries names, be they readable or not
    given    names that the user gives in their place
    """

    count: int | None
    own: tuple[str, ...] = ()
    carries: bool = False
    given: tuple[str, ...] = ()


def class_palette(known: Known, wanted: Palette | None) -> tuple[Palette, str]:
    """Names and colours of the classes, and what of them is assumed ("": nothing).

    wanted   colours, and names where the graph has none, that the user asks for

    ModelError where names and channels are not equally many, UsageError where what the user gives does not fit.
    """
    if wanted is not None and _begins_at_one(wanted) and known.count == len(wanted) + 1:
        wanted = with_other(wanted)
    names, assumed = _names(known, wanted)
    if wanted is not None:
        return _coloured(names, wanted), assumed
    for palette in (*PALETTES.values(), *map(with_other, filter(_begins_at_one, PALETTES.values()))):
        if _same_classes(names, palette.names):
            return replace(palette, names=names), assumed
    return plain_palette(names), assumed


def with_other(palette: Palette) -> Palette:
    """A palette whose files have 0 for no class, for networks that count this as their first one.

    Others were trained with "reduce zero label": their classes begin with the data set's first.
    """
    colours = np.concatenate((np.array([palette.void_colour], np.uint8), palette.colours))
    names = ("other", *palette.names)
    return replace(palette, names=names, colours=colours, file_ids=tuple(range(len(names))), void=(IGNORED,))


def _begins_at_one(palette: Palette) -> bool:
    return palette.file_ids == tuple(range(1, len(palette) + 1))


def _names(known: Known, wanted: Palette | None) -> tuple[tuple[str, ...], str]:
    count = 2 if known.count == 1 else known.count
    names = known.given or known.own
    if known.count == 1 and len(names) == 1:
        names = (_TWO[0], *names)
    if names and count is not None and len(names) != count:
        if known.given:
            raise UsageError(f"--names gives {len(names)} names, but the network has {count} classes")
        raise ModelError(
            f"carries {len(names)} class names and has {count} classes: --names FILE gives a name for each"
        )
    if len(names) > IGNORED or (count or 0) > IGNORED:
        raise ModelError(f"has {max(len(names), count or 0)} classes, and label maps hold at most {IGNORED}")
    if names:
        return names, ""
    if wanted is not None and len(wanted) == count:
        return wanted.names, ""
    if known.count == 1:
        line = "it carries no class names: its one channel is read as a foreground; --names changes that"
        return _TWO, "" if known.carries else line
    if count is None:
        if wanted is not None:
            return wanted.names, ""
        return tuple(map(str, range(IGNORED))), "it gives class numbers without names; --names or --palette name them"
    numbers = tuple(map(str, range(count)))
    likely = next((palette for palette in PALETTES.values() if len(palette) == count), None)
    if known.carries or wanted is not None:
        return numbers, ""
    if likely is not None:
        line = (
            f"it carries no class names: its {count} classes are read as those of {likely.name}; --names changes that"
        )
        return likely.names, line
    return numbers, f"it carries no class names: its {count} classes are numbers; --names or --palette name them"


def _same_classes(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether most of the names are the others, in their order."""
    if len(names) != len(others):
        return False
    same = sum(_plain(one) == _plain(other) for one, other in zip(names, others, strict=True))
    return same >= _MOST * len(names)


def _plain(name: str) -> str:
    """A name without what exporters write differently: case, and what stands between words."""
    return "".join(letter for letter in spelled(name).casefold() if letter.isalnum())


def _coloured(names: tuple[str, ...], wanted: Palette) -> Palette:
    """The palette `wanted` for classes of these names: by name where it has all of them, else by number."""
    if len(names) == len(wanted):
        return replace(wanted, names=names)
    if wanted.name == "voc":  # whose map has a colour for every number
        return replace(plain_palette(names), colours=voc_colours(len(names)))
    if all(name.isdecimal() for name in names):
        raise UsageError(f"the palette {wanted.name} has {len(wanted)} classes, and the network {len(names)}")
    places = [classes_called(name, wanted.names)[:1] for name in names]
    if not all(places):
        missing = next(name for name, place in zip(names, places, strict=True) if not place)
        raise UsageError(
            f"the palette {wanted.name} has {len(wanted)} classes and the network {len(names)}, among them "
            f"{missing!r}, which has no colour there"
        )
    rows = [place[0] for place in places]
    return replace(wanted, names=names, colours=wanted.colours[rows], file_ids=tuple(wanted.file_ids[k] for k in rows))

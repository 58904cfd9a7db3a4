"""How a graph wants its picture: what its metadata, its sidecar, its first nodes and the user say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from detkit.detectors.yolo.feeding import Feeding
from detkit.detectors.yolo.graph_options import PictureOptions
from detkit.detectors.yolo.trials import literal, metadata_side
from detkit.errors import UsageError
from detkit.graphs.inner_scaling import InnerScaling
from detkit.graphs.letterbox import FITS
from detkit.graphs.preparation import DYNAMICS, Preparation
from detkit.graphs.sidecar import Sidecar

_COLOR_KEYS = ("color", "color_format", "color_space", "channel_order")


@dataclass(frozen=True)
class Usual:
    """The preparation of a family of graphs, and what it rests on where others give the same outputs ("": nothing)."""

    preparation: Preparation
    assumes: str = ""


def told_preparation(
    usual: Usual, feeding: Feeding, sidecar: Sidecar, options: PictureOptions, scaling: InnerScaling | None
) -> tuple[Preparation, list[str]]:
    """How the graph wants its picture, and what of that is assumed, a line each."""
    metadata = feeding.network.metadata
    preparation, assumptions = usual.preparation, []
    if "letterbox_pad" in metadata:  # libreyolo: "center" or "topleft"
        preparation = replace(preparation, fit="center" if metadata["letterbox_pad"] == "center" else "top-left")
    if metadata.get("fit") in FITS:
        preparation = replace(preparation, fit=next(fit for fit in FITS if fit == metadata["fit"]))
    if metadata.get("dynamic") in DYNAMICS:  # of detkit's own exports
        preparation = replace(preparation, dynamic=next(one for one in DYNAMICS if one == metadata["dynamic"]))
    preparation = scaled(preparation, scaling)
    mean, std = (_metadata_numbers(metadata, key) for key in ("mean", "std"))
    if mean and std:
        preparation = replace(preparation, mean=mean, std=std)
    color = next((metadata[key].strip().lower() for key in _COLOR_KEYS if key in metadata), "")
    if color in ("rgb", "bgr"):
        preparation = replace(preparation, color="bgr" if color == "bgr" else "rgb")
    plain = preparation
    preparation = options.applied_to(sidecar.applied_to(preparation))
    told = preparation != plain or scaling is not None or (mean and std) or "letterbox_pad" in metadata
    integer = np.issubdtype(feeding.pixels.dtype, np.integer)
    if usual.assumes and not told and not integer:
        assumptions.append(
            f"its pictures are prepared {usual.assumes}: --mean, --std, --color, --fit or a sidecar file change it"
        )
    if feeding.pixels.dtype == np.int8:
        if feeding.pixels.quantised is None:
            assumptions.append("its input of 8-bit integers is given pixels less 128, as most quantisers write it")
        else:
            scale, zero = feeding.pixels.quantised
            if (127 - zero) * scale > 4 * 255 / max(preparation.std):  # it wants pixels and not shares
                preparation = preparation.for_pixels_to(255)
    stride = metadata.get("stride", "")
    if stride.isdecimal() and int(stride) > 0:
        preparation = replace(preparation, stride=int(stride))
    open_size = options.size or (sidecar.size and max(sidecar.size)) or metadata_side(metadata)
    if open_size and preparation.dynamic != "native":
        preparation = replace(preparation, size=open_size)
    if options.size and feeding.size and max(feeding.size) != options.size:
        width, height = feeding.size
        raise UsageError(f"--size {options.size}: the graph's input is fixed at {width} x {height}")
    return preparation, assumptions


def scaled(preparation: Preparation, scaling: InnerScaling | None) -> Preparation:
    """`preparation` where the graph scales its pixels itself."""
    if scaling is None:
        return preparation
    color = scaling.color or preparation.color
    return replace(preparation, color=color).for_pixels_to(scaling.highest)


def _metadata_numbers(metadata: Mapping[str, str], key: str) -> tuple[float, float, float] | None:
    """Three numbers for pixels from 0 to 255."""
    value = literal(metadata.get(key, ""))
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        return None
    if not all(isinstance(number, int | float) and np.isfinite(number) for number in value):
        return None
    if key == "std" and min(value) <= 0:
        return None
    if 0 < max(value) < 1:  # for pixels from 0 to 1
        value = [255 * number for number in value]
    first, second, third = tuple(map(float, value)) * (3 // len(value))
    return first, second, third

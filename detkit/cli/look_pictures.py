"""What `detkit look` does with its pictures: asks, prints and writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detkit.classes import chosen_classes
from detkit.cli.console import counted, progress, say, show, terminal_width, write_figures
from detkit.cli.tables import print_table
from detkit.errors import ExitStatus, InputError, ModelError, UsageError
from detkit.graphs.runtime import Runtime
from detkit.guard import Guard
from detkit.images import Image, read_image, write_image
from detkit.inside.explaining import (
    Asked,
    Heat,
    by_attention,
    by_cam,
    by_d_rise,
    by_eigen_cam,
    by_occlusion,
    head_sheet,
)
from detkit.inside.feature_maps import as_maps, channels_of, content_of
from detkit.inside.graph_layers import Layer, chosen_layers, layers_of, parameters_in_all
from detkit.inside.hiding import RandomMasks, square_count
from detkit.inside.layer_pictures import channel_sheet, described, filter_sheet, first_filters
from detkit.inside.likeness import Target
from detkit.inside.projection_sheets import Projector, projection_sheet, strongest_channels
from detkit.inside.subjects import DetectionNetwork, Subject, View, open_subject
from detkit.inside.tapped import Tapped
from detkit.runs.names import Names
from detkit.runs.sources import Complain, Item, find_items

Box = tuple[float, float, float, float]

_USUAL_LAYERS = 10
_LEAST_OVERLAP = 0.1


@dataclass(frozen=True)
class Wanted:
    """What is asked for; see the options of their names."""

    layers: bool = False
    activations: Path | None = None
    layer: str | None = None
    channels: int = 64
    projection: bool = False
    unit: int | None = None
    why: int | None = None
    occlusion: bool = False
    cam: bool = False
    eigen_cam: bool = False
    attention: bool = False

    @property
    def maps(self) -> bool:
        return bool(self.why) or self.occlusion or self.cam or self.eigen_cam or self.attention


@dataclass(frozen=True)
class Looking:
    """With what, and where to; see the options of their names."""

    model: str | None
    runtime: Runtime
    conf: float
    box: Box | None
    class_name: str | None
    square: int | None
    masks: RandomMasks
    out: Path
    json: str | None
    quiet: bool
    verbose: bool


def look_at(sources: list[str], wanted: Wanted, looking: Looking) -> int:
    """Do what is wanted for every picture; the exit status. One that fails costs only itself."""
    failed = 0

    def complain(name: str, why: str) -> None:
        nonlocal failed
        failed += 1
        say(f"{name}: {why}")

    subject = open_subject(looking.model, looking.runtime, looking.conf)
    for line in subject.about() if looking.verbose else ():
        say(line)
    _check(subject, wanted, looking)
    items = find_items(sources, complain, sys.stdin)
    cv2.setNumThreads(1)
    look = _Look(subject, wanted, looking, items)
    records: list[dict[str, Any]] = []
    for item in items:
        if item.video:
            complain(item.name, "is a video; look at a picture of it")
            continue
        try:
            records.append({"file": item.name, **look.at(item, first=not records)})
        except InputError as error:
            complain(item.name, str(error).removeprefix(f"{item.path}: "))
    sheets = look.projections([item for item in items if not item.video], complain) if wanted.projection else []
    if looking.json is not None:
        write_figures(
            looking.json, {"model": str(subject.path), "kind": subject.kind, "pictures": records, "projections": sheets}
        )
    look.tell()
    return int(ExitStatus.SOME_INPUTS_FAILED if failed else ExitStatus.OK)


def _check(subject: Subject, wanted: Wanted, looking: Looking) -> None:
    """What does not go with the model is said before any work."""
    if subject.why_no_graph and (wanted.layers or wanted.activations is not None or wanted.projection):
        raise ModelError(f"{subject.path}: {subject.why_no_graph}")
    if wanted.maps and subject.kind == "graph":
        raise ModelError(
            f"{subject.path}: finds neither boxes nor classes that detkit reads, so there is nothing to explain"
        )
    if wanted.cam and subject.kind == "detector":
        raise ModelError(
            f"{subject.path}: --cam is for classifiers that end in global average pooling; a detector's score comes "
            "from one cell of its map, not from the mean of all: --why and --occlusion explain its boxes"
        )
    if wanted.eigen_cam and subject.kind == "classifier":
        raise ModelError(f"{subject.path}: --eigen-cam is for detectors: --cam is exact for a classifier")
    if looking.class_name is not None:
        chosen_classes(looking.class_name, subject.names)


class _Look:
    """The subject with what is made once for all pictures."""

    def __init__(self, subject: Subject, wanted: Wanted, looking: Looking, items: Sequence[Item]) -> None:
        self.subject, self.wanted, self.looking = subject, wanted, looking
        self._names = Names(items)
        self._guard = Guard(*(item.path for item in items), subject.path)
        self._written: dict[Path, list[Path]] = {}

    @cached_property
    def tapped(self) -> Tapped:
        return Tapped(self.subject.path, self.subject.graph(), self.looking.runtime)

    def at(self, item: Item, *, first: bool) -> dict[str, Any]:
        """Everything that is wanted of one picture, printed, written, and as a record."""
        image = read_image(item.path)
        view = self.subject.view(image)
        record: dict[str, Any] = {"width": image.shape[1], "height": image.shape[0]}
        if self.wanted.layers and first:
            record["layers"] = self._layers(view)
        if self.wanted.activations is not None:
            record["activations"] = self._activations(item, image, view)
        if self.wanted.maps:
            record["maps"] = self._maps(item, image, view)
        return record

    def projections(self, items: list[Item], complain: Complain) -> list[dict[str, Any]]:
        """A sheet for each layer: the channels that the pictures drive most, with the pixels that do."""
        readable = [item for item in items if _reads(item, complain)]
        if not readable:
            return []
        count = len(readable)
        first = read_image(readable[0].path)
        projector = Projector(self.subject, self.tapped, lambda number: read_image(readable[number].path), count)
        by_tensor = self._projected(projector, first)
        with progress(count, "pictures", shown=not self.looking.quiet and count > 1) as bar:
            values = projector.strongest_values(list(by_tensor), bar.advance)
        which = f"nine of {count} pictures that do most" if count > 9 else counted(count, "picture")
        made = []
        for tensor, layer in by_tensor.items():
            width = len(values[tensor][0])
            if self.wanted.unit is not None and self.wanted.unit >= width:
                raise UsageError(f"--unit {self.wanted.unit}: layer {layer.number} has channels 0 to {width - 1}")
            channels = strongest_channels(values[tensor]) if self.wanted.unit is None else [self.wanted.unit]
            driven = projector.driven(tensor, values[tensor], channels)
            if not driven:
                say(f"layer {layer.number} ({layer.name}): no picture drives what is asked for; left out")
                continue
            title = f"{layer.number} {layer.operator}: left what drives the strongest unit, right the {which}"
            target = self.looking.out / f"projection-{layer.number:03d}-{_plain(layer.name)}.png"
            self._save("--out", self.looking.out, target, projection_sheet(driven, title))
            own = [
                {"channel": one.channel, "files": [readable[place].name for place in one.places], "values": one.values}
                for one in driven
            ]
            made.append({"layer": layer.number, "name": layer.name, "file": str(target), "channels": own})
            if not self.looking.quiet and self.looking.json != "-":
                show(
                    f"{layer.number:>4} {_cut(_short(layer), 20)}: channels {', '.join(str(d.channel) for d in driven)}"
                )
        return made

    def _projected(self, projector: Projector, image: Image) -> dict[str, Layer]:
        """The layers that can be projected and are asked for, by the tensor that they end in."""
        view = self.subject.view(image)
        layers = layers_of(self.tapped.model, self.tapped.shapes(self.subject.feeds(view)))
        tensors = projector.tensors(image)
        if self.wanted.layer is None:
            return {layer.output: layer for layer in layers if layer.output in tensors}
        chosen = self._chosen(layers, self.subject.input_placement(view).size)
        possible = {layer.output: layer for layer in chosen if layer.output in tensors}
        if not possible:
            there = ", ".join(str(layer.number) for layer in layers if layer.output in tensors)
            raise ModelError(
                f"{self.subject.path}: --projection of layer {chosen[0].number}: it takes units of layers {there}; "
                f"behind them {projector.end(image)}"
            )
        return possible

    def tell(self) -> None:
        """Say where the pictures are."""
        if not self.looking.quiet:
            for folder, paths in self._written.items():
                say(f"{counted(len(paths), 'picture')}: {paths[0] if len(paths) == 1 else folder}")

    def _write(self, option: str, folder: Path, item: Item, label: str, picture: Image) -> str:
        target = folder / self._names.stem(item.name) / f"{label}.png"
        return self._save(option, folder, target, picture)

    def _save(self, option: str, folder: Path, target: Path, picture: Image) -> str:
        self._guard.spare(option, target)
        write_image(target, picture)
        self._written.setdefault(folder, []).append(target)
        return str(target)

    def _layers(self, view: View) -> list[dict[str, Any]]:
        feeds = self.subject.feeds(view)
        layers = layers_of(self.tapped.model, self.tapped.shapes(feeds))
        if self.looking.json != "-":
            print_layers(layers, parameters_in_all(self.tapped.model))
        return [
            {"number": one.number, "name": one.name, "operator": one.operator, "output": one.output,
             "shape": list(one.shape), "parameters": one.parameters, "multiply_adds": one.multiply_adds}
            for one in layers
        ]  # fmt: skip

    def _activations(self, item: Item, image: Image, view: View) -> list[dict[str, Any]]:
        folder = self.wanted.activations
        assert folder is not None
        feeds = self.subject.feeds(view)
        shapes = self.tapped.shapes(feeds)
        placement = self.subject.input_placement(view)
        layers = layers_of(self.tapped.model, shapes)
        chosen = self._chosen(layers, placement.size)
        box, sorted_by = self._sorting(image, view)
        by_output = {layer.output: layer for layer in chosen}
        made = []
        for name, tensor in self.tapped.each(list(by_output), feeds, shapes):
            layer = by_output[name]
            maps = as_maps(tensor[:1], placement.size)
            if maps is None:
                say(f"layer {layer.number} ({layer.name}): {_shape(tensor.shape)} is no map of the picture; left out")
                continue
            content, cells = content_of(maps, placement, box)
            channels = channels_of(content, None if box is None else cells)
            sheet = channel_sheet(layer, channels, self.wanted.channels, sorted_by)
            path = self._write("--activations", folder, item, f"{layer.number:03d}-{_plain(layer.name)}", sheet)
            if not self.looking.quiet:
                show(f"{layer.number:>4} {_cut(_short(layer), 36)}: {described(channels, self.wanted.channels)}")
            made.append({"layer": layer.number, "name": layer.name, "channels": len(channels.maps), "file": path,
                         "dead": channels.dead.tolist(), "order": channels.order.tolist(),
                         "response": channels.response.tolist()})  # fmt: skip
        self._filters(item, folder)
        return made

    def _filters(self, item: Item, folder: Path) -> None:
        color = self.subject.yolo.preparation.color if isinstance(self.subject, DetectionNetwork) else "rgb"
        try:
            filters = first_filters(self.tapped, color)
        except ModelError as error:
            say(f"{self.subject.path}: {error}")
            return
        self._write("--activations", folder, item, "filters", filter_sheet(filters))

    def _chosen(self, layers: list[Layer], size: tuple[int, int]) -> list[Layer]:
        if self.wanted.layer is not None:
            chosen = chosen_layers(layers, self.wanted.layer)
            if not chosen:
                raise UsageError(
                    f"--layer {self.wanted.layer}: no layer is called so; --layers lists them, 1 to {len(layers)}"
                )
            return chosen
        maps = (
            [layer for layer in layers if as_maps(np.empty(layer.shape, np.int8)[:1], size) is not None]
            if layers
            else []
        )
        places = {round(place) for place in np.linspace(0, max(len(maps) - 1, 0), _USUAL_LAYERS).tolist()}
        return [maps[place] for place in sorted(places)] if maps else []

    def _sorting(self, image: Image, view: View) -> tuple[np.ndarray[Any, Any] | None, str]:
        """The box of the picture that channels are sorted by, and how that is said."""
        if self.looking.box is not None:
            return np.array(self.looking.box, np.float32), "those that answer to the box first"
        best = self.subject.targets(image, view, self.looking.conf, 1) if self.subject.kind == "detector" else []
        if best and best[0].box is not None:
            return best[0].box / view.scale, f"those that answer to {best[0].name} first"
        return None, "those that vary most first"

    def _maps(self, item: Item, image: Image, view: View) -> list[dict[str, Any]]:
        targets = self._targets(image, view)
        if not targets:
            raise InputError(f"nothing is found above --conf {self.looking.conf:g}, so there is nothing to explain")
        asked = Asked(self.subject, view, targets, self.looking.square, self.looking.masks)
        found = list(self._explained(asked))
        if self.wanted.attention:
            found += self._attention(item, replace(asked, targets=targets[: self.wanted.why or 1]))
        if self.looking.json != "-":
            _print_heats(item.name, found)
        records = []
        for number, heat in enumerate(found, start=1):
            label = f"{heat.method.lower()}-{number}-{_plain(heat.target.name.rpartition(' ')[0])}"
            path = self._write("--out", self.looking.out, item, label, heat.picture(image, view))
            records.append({**_record(heat, view), "file": path})
        return records

    def _attention(self, item: Item, asked: Asked) -> Iterator[Heat]:
        """The maps of attention; the sheets of their heads are written on the way."""
        for number, (heat, attended) in enumerate(by_attention(asked, self.tapped), start=1):
            self._write("--out", self.looking.out, item, f"heads-{number}", head_sheet(attended))
            yield heat

    def _explained(self, asked: Asked) -> Iterator[Heat]:
        shown, wanted = not self.looking.quiet, self.wanted
        if wanted.occlusion:
            few = replace(asked, targets=asked.targets[: wanted.why or 1])
            with progress(square_count(asked.view, asked.square), "squares", shown=shown) as bar:
                yield from by_occlusion(few, bar.advance)
        if wanted.why:
            few = replace(asked, targets=asked.targets[: wanted.why])
            with progress(asked.masks.most, "masks at the most", shown=shown) as bar:
                yield from by_d_rise(few, bar.advance)
        if wanted.cam:
            yield from by_cam(replace(asked, targets=asked.targets[: wanted.why or 1]), self.tapped)
        if wanted.eigen_cam:
            yield from by_eigen_cam(asked, self.tapped)

    def _targets(self, image: Image, view: View) -> list[Target]:
        looking = self.looking
        chosen = looking.box is not None or looking.class_name is not None
        most = self.wanted.why or 1
        found = self.subject.targets(image, view, looking.conf, 100_000 if chosen else most)
        if looking.class_name is not None:
            classes = chosen_classes(looking.class_name, self.subject.names)
            found = found if classes is None else [target for target in found if target.class_id in classes]
        if looking.box is not None:
            found = _nearest(found, view.of_picture(np.array([looking.box], np.float32)))
        return found[:most]


def _reads(item: Item, complain: Complain) -> bool:
    """Whether a picture can be read; why not is told."""
    try:
        read_image(item.path)
    except InputError as error:
        complain(item.name, str(error).removeprefix(f"{item.path}: "))
        return False
    return True


def _nearest(targets: list[Target], box: Any) -> list[Target]:
    """The target whose box overlaps most with this one. InputError where none does."""
    from detkit.boxes import iou

    boxed = [target for target in targets if target.box is not None]
    if not boxed:
        return targets
    overlaps = iou(box, np.stack([target.box for target in boxed if target.box is not None]))[0]
    if overlaps.max() < _LEAST_OVERLAP:
        raise InputError("no box that is found overlaps --box; a lower --conf finds more")
    return [boxed[int(overlaps.argmax())]]


def print_layers(layers: list[Layer], parameters: int) -> None:
    """The table of layers, as wide as the terminal, 80 columns where there is none."""
    width = terminal_width(80)
    rows = [
        [
            str(one.number),
            _short(one),
            one.operator,
            _shape(one.shape),
            _count(one.parameters),
            _count(one.multiply_adds),
        ]
        for one in layers
    ]
    headings = ["", "layer", "operator", "output", "params", "mult-adds"]
    sides = [max(len(headings[k]), *(len(row[k]) for row in rows)) if rows else 0 for k in range(6)]
    left = width - sides[0] - sides[3] - sides[4] - sides[5] - 11
    operator = min(sides[2], max(12, left * 2 // 5))
    name = max(8, left - operator)
    for row in rows:
        row[1], row[2] = _cut(row[1], name), _cut(row[2], operator)
    columns = [(heading, "left" if k in (1, 2, 3) else "right") for k, heading in enumerate(headings)]
    print_table(None, columns, rows)
    adds = sum(one.multiply_adds or 0 for one in layers)
    unknown = sum(one.multiply_adds is None for one in layers)
    more = f"; of {counted(unknown, 'layer')} the cost is not known" if unknown else ""
    show(f"{counted(len(layers), 'layer')}, {_count(parameters)} parameters, {_count(adds)} multiply-adds{more}")


def _print_heats(name: str, heats: list[Heat]) -> None:
    rows = []
    for heat in heats:
        figures = heat.figures
        shares = (figures.inside, figures.area, figures.blob_inside, figures.drop, figures.blob_drop)
        rows.append([heat.method, heat.target.name, *map(_percent, shares)])
    show(name)
    columns = [("method", "left"), ("of", "left"), ("heat in box", "right"), ("box", "right"), ("blob in box", "right"),
               ("drop", "right"), ("blob's", "right")]  # fmt: skip
    print_table(None, columns, rows)
    for heat in heats:
        show(
            f"{heat.method} of {heat.target.name}: {heat.note}"
            + (f"; {heat.figures.verdict}" if heat.figures.verdict else "")
        )
    sys.stdout.flush()


def _record(heat: Heat, view: View) -> dict[str, Any]:
    target, figures = heat.target, heat.figures
    box = None if target.box is None else [float(side) for side in target.box / view.scale]
    return {
        "method": heat.method, "class_id": target.class_id, "score": target.score, "box": box, "note": heat.note,
        "settled": heat.settled, "heat_in_box": figures.inside, "box_area": figures.area,
        "blob_in_box": figures.blob_inside, "drop": figures.drop, "blob_drop": figures.blob_drop,
        "uninformative": bool(figures.verdict),
    }  # fmt: skip


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:] if len(shape) > 1 and shape[0] == 1 else shape)) or "?"


def _short(layer: Layer) -> str:
    """The layer's name without the slash before it and the operator after it, as PyTorch's exporters write both."""
    head, slash, tail = layer.name.rpartition("/")
    kind = layer.operator.partition(" ")[0]
    return (head if slash and head and re.fullmatch(rf"{kind}(_\d+)?", tail) else layer.name).lstrip("/")


def _count(number: int | None) -> str:
    """A count in at most six letters: 896, 37.4 M."""
    if number is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number) if number else ""


def _cut(text: str, width: int) -> str:
    """A text without its middle where it is too long."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return text[: width - 1 - tail] + "…" + text[-tail:]


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:80] or "layer"

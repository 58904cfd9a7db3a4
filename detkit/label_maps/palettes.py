"""The data sets whose label maps are known: names and colours of classes, and what the numbers of their files mean.

A label map is an array of whole numbers (H, W). In the files of a data set the numbers are *ids*; inside they are
class numbers from 0, and `IGNORED` where a pixel has no class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError, UsageError

IGNORED = 255


@dataclass(frozen=True)
class Palette:
    """K classes as a data set has them, a row of `PALETTES`.

    names     of the classes;  colours   uint8 (K, 3), RGB
    file_ids  the id that each class has in the data set's files
    void      ids that stand for no class; with None every other id does
    void_colour   RGB of pixels without a class
    """

    name: str
    names: tuple[str, ...]
    colours: NDArray[np.uint8]
    file_ids: tuple[int, ...]
    void: tuple[int, ...] | None
    void_colour: tuple[int, int, int] = (0, 0, 0)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """uint8 (256, 3): the colour of every class number as a palette PNG stores it, the void colour for others."""
        table = np.tile(np.array(self.void_colour, np.uint8), (256, 1))
        table[: len(self)] = self.colours
        return table

    def from_ids(self, ids: NDArray[Any]) -> NDArray[np.uint8]:
        """Class numbers (H, W), uint8, from the ids of a file. InputError for an id that the data set has not."""
        place = {file_id: number for number, file_id in enumerate(self.file_ids)}

        def class_of(value: int) -> int:
            if value not in place and self.void is not None and value not in self.void:
                raise InputError(f"the label map has the id {value}, which {self.name} does not have")
            return place.get(value, IGNORED)

        return _mapped(np.asarray(ids), class_of)

    def to_ids(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        """The ids of the data set's files (H, W), uint8, from class numbers; the first void id where there is none."""
        table = np.full(256, IGNORED if self.void is None else self.void[0], np.uint8)
        table[: len(self)] = self.file_ids
        return np.asarray(table[classes])

    def from_colours(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class numbers (H, W) from a picture (H, W, 3) RGB in the palette's colours. InputError for any other colour.

        Where two classes have one colour, the first is taken.
        """
        place = {key: number for number, key in reversed(list(enumerate(_keys(self.colours).tolist())))}
        place.setdefault(int(_keys(np.array(self.void_colour, np.uint8))), IGNORED)

        def class_of(key: int) -> int:
            if key not in place:
                colour = (key >> 16, key >> 8 & 255, key & 255)
                raise InputError(f"the label map has the colour {colour}, which is none of the palette {self.name}")
            return int(place[key])

        return _mapped(_keys(picture), class_of)

    def colour(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        """A picture (H, W, 3) RGB of class numbers (H, W)."""
        return np.asarray(self.table[classes])


def voc_colours(count: int) -> NDArray[np.uint8]:
    """uint8 (count, 3): Pascal VOC's colour map, the bits of a number spread over red, green and blue.

    Bits 0, 3 and 6 of the number become the highest bits of red, 1, 4 and 7 of green, 2 and 5 of blue.
    """
    number = np.arange(count)
    colours = np.zeros((count, 3), np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return colours.astype(np.uint8)


def palette_named(name: str) -> Palette:
    """The row of `PALETTES` of that name. UsageError where there is none."""
    if name not in PALETTES:
        raise UsageError(f"there is no palette '{name}'; there are {', '.join(PALETTES)}")
    return PALETTES[name]


def plain_palette(names: tuple[str, ...]) -> Palette:
    """Classes of any data set: ids are class numbers, 255 is no class, colours are VOC's. InputError beyond 255."""
    if len(names) > IGNORED:
        raise InputError(f"{len(names)} classes do not fit a palette, which has 255 and one for no class")
    ids = tuple(range(len(names)))
    return Palette("of the classes", names, voc_colours(len(names)), ids, (IGNORED,), _VOC_VOID)


def _mapped(values: NDArray[Any], number_of: Callable[[int], int]) -> NDArray[np.uint8]:
    """`number_of` each of `values` (H, W), asked once for each that occurs; neighbours are mostly alike."""
    flat = values.ravel()
    begins = np.flatnonzero(np.append(True, flat[1:] != flat[:-1])[: len(flat)])
    known, which = np.unique(flat[begins], return_inverse=True)
    numbers = np.array([number_of(value) for value in known.tolist()], np.uint8)
    return np.repeat(numbers[which], np.diff(np.append(begins, len(flat)))).reshape(values.shape)


def _keys(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _hex(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(-1, 3)


def _split(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


_VOC_VOID = (224, 224, 192)  # what the map gives 255
_VOC_NAMES = """
    background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike,
    person, pottedplant, sheep, sofa, train, tvmonitor
"""
_CITYSCAPES_NAMES = """
    road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person,
    rider, car, truck, bus, train, motorcycle, bicycle
"""
_CITYSCAPES_COLOURS = """
    804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046
    003c64 005064 0000e6 770b20
"""
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_ADE20K_NAMES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth,
    door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug,
    field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column,
    signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path,
    stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind,
    coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen island, computer,
    swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning,
    streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator,
    ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything,
    swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank,
    trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce,
    vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator,
    glass, clock, flag
"""
_ADE20K_COLOURS = """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33
    ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
    08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff
    eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad
    0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
    00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa
    8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff
    00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

PALETTES = {
    palette.name: palette
    for palette in (
        Palette("voc", _split(_VOC_NAMES), voc_colours(21), tuple(range(21)), (IGNORED,), _VOC_VOID),
        # Of 34 label ids (and -1, the number plate, 255 in 8 bits) 19 are classes; the others are not evaluated.
        Palette("cityscapes", _split(_CITYSCAPES_NAMES), _hex(_CITYSCAPES_COLOURS), _CITYSCAPES_IDS,
                (0, *(id_ for id_ in range(1, 34) if id_ not in _CITYSCAPES_IDS), IGNORED)),
        # 0 is "other objects" ("reduce zero label"): classes begin at id 1.
        Palette("ade20k", _split(_ADE20K_NAMES), _hex(_ADE20K_COLOURS), tuple(range(1, 151)), (0, IGNORED)),
    )
}  # fmt: skip

"""Label maps: palettes, PNG files as they are stored, connected regions."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.errors import InputError, UsageError
from detkit.label_maps.components import class_shares, connected_regions
from detkit.label_maps.palettes import IGNORED, PALETTES, palette_named, plain_palette, voc_colours
from detkit.label_maps.png import (
    decode_label_png,
    encode_palette_png,
    panoptic_ids,
    panoptic_picture,
    read_label_png,
    write_palette_png,
)


def test_vocs_colours() -> None:
    colours = voc_colours(256)
    assert colours[[0, 1, 2, 3, 15, 20]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [192, 128, 128], [0, 64, 128]
    ]  # fmt: skip
    assert colours[255].tolist() == list(PALETTES["voc"].void_colour) == [224, 224, 192]
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_sizes_of_the_table() -> None:
    for name, count in (("voc", 21), ("cityscapes", 19), ("ade20k", 150)):
        palette = palette_named(name)
        assert len(palette) == len(palette.colours) == len(palette.file_ids) == len(set(palette.names)) == count
    with pytest.raises(UsageError, match="voc, cityscapes, ade20k"):
        palette_named("coco")


def test_ids_of_files() -> None:
    city = PALETTES["cityscapes"]
    ids = np.array([[7, 8, 0], [33, 29, 255]])
    classes = city.from_ids(ids)
    assert classes.tolist() == [[0, 1, IGNORED], [18, IGNORED, IGNORED]]
    assert city.to_ids(classes).tolist() == [[7, 8, 0], [33, 0, 0]]
    assert [city.names[k] for k in (0, 13, 18)] == ["road", "car", "bicycle"]
    ade = PALETTES["ade20k"]
    assert ade.from_ids(np.array([[0, 1, 150]])).tolist() == [[IGNORED, 0, 149]]
    with pytest.raises(InputError, match="the id 151"):
        ade.from_ids(np.array([[151]]))
    with pytest.raises(InputError, match="the id 21"):
        PALETTES["voc"].from_ids(np.array([[21]]))


@pytest.mark.parametrize("name", ["voc", "cityscapes"])
def test_colours_are_read_back(name: str) -> None:
    palette = PALETTES[name]
    classes = np.random.default_rng(0).choice([*range(len(palette)), IGNORED], (40, 50)).astype(np.uint8)
    assert np.array_equal(palette.from_colours(palette.colour(classes)), classes)
    with pytest.raises(InputError, match=r"the colour \(1, 2, 3\)"):
        palette.from_colours(np.array([[[1, 2, 3]]], np.uint8))


def test_palette_png_is_read_by_pillow(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    palette = plain_palette(("a", "b", "c"))
    indices = rng.choice([0, 1, 2, IGNORED], (33, 21)).astype(np.uint8)
    write_palette_png(tmp_path / "map.png", indices, palette.table)
    picture = pillow.open(tmp_path / "map.png")
    assert picture.mode == "P"
    assert np.array_equal(np.array(picture), indices)
    assert np.array_equal(np.array(picture.convert("RGB")), palette.colour(indices))
    stored = read_label_png(tmp_path / "map.png")
    assert np.array_equal(stored.values, indices)
    assert stored.colours is not None
    assert np.array_equal(stored.colours, palette.table)


@pytest.mark.parametrize(("bits", "count"), [(1, 2), (2, 4), (4, 16), (8, 200)])
def test_palettes_of_every_depth(bits: int, count: int) -> None:
    pillow = pytest.importorskip("PIL.Image")
    indices = np.random.default_rng(bits).integers(0, count, (13, 17)).astype(np.uint8)
    picture = pillow.fromarray(indices)
    picture = picture.convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(voc_colours(count).ravel().tolist())
    file = io.BytesIO()
    picture.save(file, "PNG", bits=bits)
    assert np.array_equal(decode_label_png(file.getvalue()).values, indices)


def test_gray_and_colour_files() -> None:
    rng = np.random.default_rng(2)
    for values in (rng.integers(0, 256, (9, 8), np.uint8), rng.integers(0, 34000, (9, 8), np.uint16)):
        stored = decode_label_png(cv2.imencode(".png", values)[1].tobytes())
        assert np.array_equal(stored.values, values)
        assert stored.colours is None
    colours = rng.integers(0, 256, (9, 8, 3), np.uint8)
    assert np.array_equal(decode_label_png(cv2.imencode(".png", colours[..., ::-1])[1].tobytes()).values, colours)


def test_panoptic_ids() -> None:
    ids = np.array([[0, 1, 256], [65536, 70000, (1 << 24) - 1]])
    picture = panoptic_picture(ids)
    assert picture[0, 2].tolist() == [0, 1, 0]
    assert np.array_equal(panoptic_ids(picture), ids)
    with pytest.raises(InputError, match="16777215"):
        panoptic_picture(ids + 1)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = encode_palette_png(np.zeros((4, 5), np.uint8), voc_colours(3))
    for broken, words in (
        (b"", "no PNG"),
        (b"\xff\xd8\xff", "no PNG"),
        (whole[:-20], "truncated"),
        (whole[:40], "truncated"),
        (whole.replace(b"PLTE", b"PLTX"), "checksum"),
    ):
        (tmp_path / "broken.png").write_bytes(broken)
        with pytest.raises(InputError, match=f"broken.png: .*{words}"):
            read_label_png(tmp_path / "broken.png")
    with pytest.raises(InputError, match="missing.png"):
        read_label_png(tmp_path / "missing.png")
    with pytest.raises(InputError, match="index 3"):
        encode_palette_png(np.full((2, 2), 3, np.uint8), voc_colours(3))


def test_connected_regions() -> None:
    classes = np.array(
        [
            [1, 1, 0, 2, 2],
            [0, 0, 1, 0, 2],
            [3, 0, 0, 0, 255],
            [3, 0, 2, 2, 255],
        ]
    )
    found = connected_regions(classes)
    assert found.class_ids.tolist() == [1, 2, 2, 3]
    assert found.masks.areas.tolist() == [3, 3, 2, 2]
    assert found.masks.boxes.tolist() == [[0, 0, 3, 2], [3, 0, 5, 2], [2, 3, 4, 4], [0, 2, 1, 4]]
    assert connected_regions(classes, min_pixels=3).class_ids.tolist() == [1, 2]
    assert len(connected_regions(np.zeros((3, 3), int))) == 0
    assert class_shares(classes, 4) == pytest.approx([8 / 20, 3 / 20, 5 / 20, 2 / 20])


def test_real_label_maps(shared: Path) -> None:
    files = sorted((shared / "data/coco-extra/masks").glob("*.png"))[::40]
    voc = PALETTES["voc"]
    for file in files:
        stored = read_label_png(file)
        assert stored.colours is not None
        assert np.array_equal(stored.colours[:21], voc.colours)
        picture = cv2.imread(str(file))[..., ::-1]
        assert np.array_equal(stored.colours[stored.values], picture)
        assert np.array_equal(voc.from_colours(np.ascontiguousarray(picture)), stored.values)
        again = decode_label_png(encode_palette_png(stored.values, voc.table))
        assert np.array_equal(again.values, stored.values)

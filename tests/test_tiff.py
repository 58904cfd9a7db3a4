"""TIFF files of every kind, written here by the letter of TIFF 6.0, since Pillow writes few of them.

The same files, written by tifffile 2026.3.3, were read alike (2,000 random ones).
"""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest

from detkit import large_images
from detkit.errors import InputError
from detkit.images import decode_image, encode_image, max_pixels, set_max_pixels
from detkit.large_images import LargeImage, open_image
from detkit.picture_files import tiff_parts

RED_GREEN_BLUE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8).repeat(6, 0).repeat(6, 1)
GRAY = RED_GREEN_BLUE[:, :, :1]
NEAR_INFRARED = np.full_like(GRAY, 7)
FIFTH = np.full_like(GRAY, 51)  # one fifth of 255
BLACK_IS_ZERO, WHITE_IS_ZERO, RGB, CMYK = 1, 0, 2, 5


def tiff(
    samples, photometric, extra=(), *, order="<", big=False, planes=False, tile=None, packed=False, predictor=1, tags=()
):
    """The TIFF file of an array (H, W, samples)."""
    height, width, count = samples.shape
    blocks = []
    for plane in np.moveaxis(samples, 2, 0)[:, :, :, None] if planes else [samples]:
        high, wide = tile or (13, width)
        for top in range(0, height, high):
            for left in range(0, width, wide):
                block = plane[top : top + high, left : left + wide]
                if tile:
                    block = np.pad(block, ((0, high - block.shape[0]), (0, wide - block.shape[1]), (0, 0)))
                if predictor == 2:
                    block = np.diff(block, axis=1, prepend=block[:, :1] * 0).astype(samples.dtype)
                content = block.astype(samples.dtype.newbyteorder(order)).tobytes()
                blocks.append(zlib.compress(content) if packed else content)
    at = 16
    offsets = []
    for block in blocks:
        offsets.append(at)
        at += len(block)
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    places = ((322, 323, 324, 325), (wide, high)) if tile else ((278, None, 273, 279), (13,))
    fields = {
        256: (width,), 257: (height,), 258: (samples.itemsize * 8,) * count, 259: (8 if packed else 1,),
        262: (photometric,), 277: (count,), 284: (2 if planes else 1,), 317: (predictor,), 339: (kind,) * count,
        places[0][2]: tuple(offsets), places[0][3]: tuple(map(len, blocks)), **dict(tags),
    }  # fmt: skip
    fields |= {tag: (value,) for tag, value in zip(places[0], places[1], strict=False)}
    if extra:
        fields[338] = tuple(extra)
    number, size = ("Q", 8) if big else ("I", 4)
    start = at + at % 2
    entries, lists = b"", b""
    behind = start + (8 if big else 2) + len(fields) * (20 if big else 12) + size
    for tag, values in sorted(fields.items()):
        packed_values = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed_values) > size:
            packed_values, lists = struct.pack(f"{order}{number}", behind + len(lists)), lists + packed_values
        entries += struct.pack(f"{order}HH{number}", tag, 4, len(values)) + packed_values.ljust(size, b"\0")
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else struct.pack(f"{order}HI8x", 42, start)
    )
    counted = struct.pack(f"{order}{'Q' if big else 'H'}", len(fields))
    return head + b"".join(blocks) + b"\0" * (at % 2) + counted + entries + bytes(size) + lists


def bands(*parts):
    return np.concatenate(parts, axis=2)


def test_near_infrared_is_not_transparency():
    four = bands(RED_GREEN_BLUE, NEAR_INFRARED)
    for extra in ((0,), ()):
        for kind in (np.uint8, np.uint16):
            deep = four.astype(kind) * (257 if kind is np.uint16 else 1)
            assert np.array_equal(decode_image(tiff(deep, RGB, extra)), RED_GREEN_BLUE)
    five = bands(four, NEAR_INFRARED)
    assert np.array_equal(decode_image(tiff(five, RGB, (0, 0))), RED_GREEN_BLUE)


def test_transparency_of_both_kinds_is_laid_on_white():
    on_white = np.round(RED_GREEN_BLUE * 0.2 + 255 * 0.8)
    found = decode_image(tiff(bands(RED_GREEN_BLUE, FIFTH), RGB, (2,)))
    assert np.abs(found - on_white).max() <= 0.5
    multiplied = np.round(RED_GREEN_BLUE * 0.2).astype(np.uint8)
    assert np.array_equal(decode_image(tiff(bands(multiplied, FIFTH), RGB, (1,))), multiplied + 204)
    gray = decode_image(tiff(bands(GRAY, FIFTH), BLACK_IS_ZERO, (2,)))
    assert np.array_equal(gray, on_white[:, :, :1].repeat(3, 2))
    second = decode_image(tiff(bands(RED_GREEN_BLUE, NEAR_INFRARED, FIFTH), RGB, (0, 2)))  # alpha need not come first
    assert np.array_equal(second, found)


def test_bands_that_are_not_called_colours_are_not_gray():
    assert np.array_equal(decode_image(tiff(RED_GREEN_BLUE, BLACK_IS_ZERO, (0, 0))), RED_GREEN_BLUE)
    four = bands(RED_GREEN_BLUE, NEAR_INFRARED)
    with pytest.raises(
        InputError, match=r"has 4 bands and does not say which are red, green and blue; .*gdal_translate"
    ):
        decode_image(tiff(four, BLACK_IS_ZERO, (0, 0, 0)))
    two = decode_image(tiff(four[:, :, 2:], BLACK_IS_ZERO, (0,)))
    assert np.array_equal(two, four[:, :, 2:3].repeat(3, 2))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int8, np.int16, np.int32, np.uint32, np.float16, np.float32])
@pytest.mark.parametrize("photometric", [BLACK_IS_ZERO, WHITE_IS_ZERO, RGB])
def test_samples_of_all_depths_signed_and_inverted(kind, photometric):
    full = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    samples = RED_GREEN_BLUE if photometric == RGB else GRAY
    samples = samples.copy()
    samples[0, 0] = 255
    stored = 255 - samples if photometric == WHITE_IS_ZERO else samples
    deep = (stored / 255 * full).astype(kind) if full == 1 else np.round(stored / 255 * full).astype(kind)
    found = decode_image(tiff(deep, photometric))
    assert np.abs(found.astype(int) - samples).max() <= (1 if kind is np.int8 else 0)  # int8 has 128 values


def test_negative_samples_are_refused_with_their_range():
    signed = GRAY.astype(np.int16) - 128
    with pytest.raises(
        InputError, match=r"negative samples \(-1\d\d to 1\d\d\), and does not say which of them is black"
    ):
        decode_image(tiff(signed, BLACK_IS_ZERO))
    with pytest.raises(InputError, match="negative samples"):
        decode_image(tiff(signed.astype(np.float32) / 128, BLACK_IS_ZERO))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize(("packed", "predictor"), [(False, 1), (True, 1), (True, 2)])
def test_every_way_of_storing_them(order, big, planes, tile, packed, predictor):
    for samples, extra in ((RED_GREEN_BLUE, ()), (bands(RED_GREEN_BLUE, NEAR_INFRARED), (0,))):
        for deep in (samples, samples.astype(np.uint16) * 257):
            content = tiff(
                deep, RGB, extra, order=order, big=big, planes=planes, tile=tile, packed=packed, predictor=predictor
            )
            assert np.array_equal(decode_image(content), RED_GREEN_BLUE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_on_both_ways_of_decoding(orientation):
    image = RED_GREEN_BLUE
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    for samples, extra in ((RED_GREEN_BLUE, ()), (bands(RED_GREEN_BLUE, NEAR_INFRARED), (0,))):
        for tile in (None, (16, 16)):
            content = tiff(samples, RGB, extra, tile=tile, packed=True, tags={274: (orientation,)}.items())
            assert np.array_equal(decode_image(content), image)


def test_cmyk_with_a_spot_colour():
    inks = bands(255 - RED_GREEN_BLUE, np.zeros_like(GRAY), NEAR_INFRARED)
    assert np.array_equal(decode_image(tiff(inks, CMYK, (0,))), RED_GREEN_BLUE)
    assert np.array_equal(decode_image(tiff(inks[:, :, :4], CMYK)), RED_GREEN_BLUE)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [(259, 50000, "Zstandard"), (259, 34712, "JPEG 2000"), (259, 34887, "LERC"), (259, 9999, "method 9999")],
)
def test_ways_of_compressing_that_opencv_gives_black_for(field, value, what):
    with pytest.raises(InputError, match=f"is compressed with {what}, which is not read in TIFF"):
        decode_image(tiff(RED_GREEN_BLUE, RGB, tags={field: (value,)}.items()))


def test_colours_of_other_kinds_are_refused():
    with pytest.raises(InputError, match=r"holds colours in CIE L\*a\*b\*"):
        decode_image(tiff(RED_GREEN_BLUE, 8))


def test_files_that_are_cut_off_or_damaged_raise_nothing_else():
    rng = np.random.default_rng(0)
    content = tiff(bands(RED_GREEN_BLUE, NEAR_INFRARED), RGB, (0,), tile=(16, 16), packed=True)
    start = int.from_bytes(content[4:8], "little")
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(start, len(content), 3):
            damaged[place] = rng.integers(256)
        with suppress(InputError):
            assert decode_image(bytes(damaged)).shape[2] == 3


def parts_are_the_whole(path, whole):
    """Random parts, and those in the corners, are cut-outs of the whole picture."""
    large = open_image(path)
    assert isinstance(large, LargeImage)
    assert large.shape == whole.shape
    height, width = whole.shape[:2]
    random = np.random.default_rng(0)
    rects = [(0, 0, width, height), (width - 1, height - 1, width, height), (0, height - 5, 5, height)]
    for _ in range(12):
        x1, x2 = np.sort(random.choice(width + 1, 2, replace=False))
        y1, y2 = np.sort(random.choice(height + 1, 2, replace=False))
        rects.append((x1, y1, x2, y2))
    for x1, y1, x2, y2 in rects:
        np.testing.assert_array_equal(large[y1:y2, x1:x2], whole[y1:y2, x1:x2])


@pytest.fixture
def always_by_parts(monkeypatch):
    monkeypatch.setattr(large_images, "_LARGE", 0)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize(("order", "big", "packed", "predictor"), [("<", False, False, 1), (">", True, True, 2)])
@pytest.mark.parametrize("extra", [(), (2,)])
def test_parts_of_every_way_of_storing(tmp_path, always_by_parts, planes, tile, order, big, packed, predictor, extra):
    samples = np.random.default_rng(1).integers(0, 256, (75, 90, 3 + len(extra)), np.uint8)
    content = tiff(
        samples, RGB, extra, order=order, big=big, planes=planes, tile=tile, packed=packed, predictor=predictor
    )
    (tmp_path / "a.tif").write_bytes(content)
    parts_are_the_whole(tmp_path / "a.tif", decode_image(content))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_parts_are_turned_as_the_whole(tmp_path, always_by_parts, orientation, tile):
    content = tiff(RED_GREEN_BLUE, RGB, tile=tile, packed=True, tags=[(274, (orientation,))])
    (tmp_path / "a.tif").write_bytes(content)
    parts_are_the_whole(tmp_path / "a.tif", decode_image(content))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "YCbCr", "LA"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg", "packbits", "group4"])
def test_parts_of_what_pillow_writes(tmp_path, always_by_parts, mode, compression):
    pillow = pytest.importorskip("PIL.Image")
    if (compression == "jpeg" and mode in ("P", "1", "LA")) or ((compression == "group4") != (mode == "1")):
        pytest.skip("no such files")
    smooth = np.kron(np.random.default_rng(2).integers(0, 256, (20, 11, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    path = tmp_path / "a.tif"
    picture = pillow.fromarray(smooth)
    (picture.convert("L").convert(mode) if mode == "LA" else picture.convert(mode)).save(
        path, compression=compression, tiffinfo={278: 32}
    )
    parts_are_the_whole(path, decode_image(path.read_bytes()))


def test_one_strip_that_is_not_compressed_is_read_by_rows(tmp_path, always_by_parts, monkeypatch):
    monkeypatch.setattr(tiff_parts, "_MOST_ROWS", 10)
    samples = np.random.default_rng(1).integers(0, 256, (150, 33, 3), np.uint8)
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(samples).save(tmp_path / "a.tif", tiffinfo={278: 150})
    parts_are_the_whole(tmp_path / "a.tif", samples)


@pytest.mark.parametrize("kind", [np.uint16, np.int8, np.float32])
def test_samples_whose_range_only_the_whole_tells_are_read_as_a_whole(tmp_path, always_by_parts, kind):
    (tmp_path / "a.tif").write_bytes(tiff(RED_GREEN_BLUE.astype(kind) % 100, RGB, tile=(16, 16)))
    assert isinstance(open_image(tmp_path / "a.tif"), np.ndarray)


def test_a_part_whose_strips_are_cut_off_is_an_error():
    content = tiff(np.ones((64, 64, 3), np.uint8), RGB, tile=(16, 16))
    blocks = tiff_parts.blocks_of(content)
    cut = content[: blocks.places[-1][0] + 5]
    assert decode_image(tiff_parts.part_of(cut, blocks, (0, 0, 64, 48))[0]).shape == (48, 64, 3)
    with pytest.raises(InputError, match="cannot be decoded"):
        tiff_parts.part_of(cut, blocks, (48, 48, 64, 64))


def test_other_pictures_and_files_that_are_none_are_read_as_ever(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_image(RED_GREEN_BLUE, ".png"))
    np.testing.assert_array_equal(open_image(tmp_path / "a.png"), RED_GREEN_BLUE)
    for content in (b"", b"II*\0", b"II*\0\x08\0\0\0", tiff(RED_GREEN_BLUE, RGB)[:300]):
        (tmp_path / "b.tif").write_bytes(content)
        with pytest.raises(InputError):
            open_image(tmp_path / "b.tif")
    with pytest.raises(InputError, match="No such file"):
        open_image(tmp_path / "none.tif")


def test_more_pixels_than_are_read_at_once_are_read_by_parts(tmp_path, always_by_parts):
    (tmp_path / "a.tif").write_bytes(tiff(RED_GREEN_BLUE, RGB, tile=(16, 16)))
    before = max_pixels()
    set_max_pixels(500)
    try:
        large = open_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(large[3:13, 4:15], RED_GREEN_BLUE[3:13, 4:15])
    finally:
        set_max_pixels(before)

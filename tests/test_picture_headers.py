"""Sizes and orientations against what Pillow finds in the same bytes."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from detkit.picture_files.picture_headers import Header, exif_orientation, looks_like_a_picture, png_chunks, read_header

PIL = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
KINDS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "GIF": "GIF",
    "BMP": "BMP",
    "WEBP": "WebP",
    "TIFF": "TIFF",
    "JPEG2000": "JPEG 2000",
    "PPM": "Netpbm",
    "AVIF": "AVIF",
}


def saved(kind, size=(37, 21), mode="RGB", **options):
    buffer = io.BytesIO()
    try:
        PIL.new(mode, size).save(buffer, kind, **options)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow does not write {kind}: {error}")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_kind_and_size(kind):
    content = saved(kind)
    header = read_header(content)
    assert (header.kind, header.width, header.height, header.orientation) == (KINDS[kind], 37, 21, 1)
    assert looks_like_a_picture(content[:132]) == KINDS[kind]


@pytest.mark.parametrize(
    ("ending", "kind"), [(".hdr", "Radiance HDR"), (".ras", "Sun raster"), (".pfm", "PFM"), (".pgm", "Netpbm")]
)
def test_kind_and_size_of_what_opencv_writes(ending, kind):
    image = np.zeros((21, 37, 3), np.float32 if ending in (".hdr", ".pfm") else np.uint8)
    header = read_header(cv2.imencode(ending, image[:, :, 0] if ending == ".pgm" else image)[1].tobytes())
    assert (header.kind, header.width, header.height) == (kind, 37, 21)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}])
def test_both_kinds_of_webp_with_and_without_alpha(options):
    for mode in ("RGB", "RGBA"):
        header = read_header(saved("WEBP", mode=mode, **options))
        assert (header.kind, header.width, header.height) == ("WebP", 37, 21)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_shows_it(kind, orientation):
    """For AVIF, Pillow writes the rotation and the mirror of HEIF."""
    exif = PIL.Exif()
    exif[0x112] = orientation
    content = saved(kind, exif=exif)
    header = read_header(content)
    assert header.orientation == orientation
    shown = ImageOps.exif_transpose(PIL.open(io.BytesIO(content)))
    assert header.shown_size == shown.size


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(1, "B3x"), (3, "H2x"), (4, "I")])
def test_the_orientation_is_read_by_its_type(order, kind, form):
    """Programs write it as BYTE, SHORT or LONG; Pillow reads all of them."""
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(f"{order}HIHHHI{form}", 42, 8, 1, 0x112, kind, 1, 6) + bytes(4)
    exif = PIL.Exif()
    exif.load(b"Exif\0\0" + block)
    assert exif[0x112] in (6, b"\6")
    assert exif_orientation(b"Exif\0\0" + block) == exif_orientation(block) == 6


def test_exif_that_says_nothing():
    for block in (b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09", b"hello world"):
        assert exif_orientation(block) == 1
    block = b"II" + struct.pack("<HIHHHIH2x", 42, 8, 1, 0x112, 3, 1, 9)
    assert exif_orientation(block) == 1  # there are eight


def test_heif_turns_are_followed_in_their_order():
    """A mirror after a turn is not a turn after a mirror (ISO 23008-12, 6.5.10)."""
    turn, mirror = (b"irot", b"\x01"), (b"imir", b"\x01")
    image = np.arange(6).reshape(2, 3)
    first = read_header(heif(turn, mirror)).orientation
    second = read_header(heif(mirror, turn)).orientation
    assert np.array_equal(shown(image, first), np.rot90(image)[:, ::-1])
    assert np.array_equal(shown(image, second), np.rot90(image[:, ::-1]))
    for quarters in range(4):
        for axis in (0, 1):
            turned = np.rot90(image, quarters)
            header = read_header(heif((b"irot", bytes([quarters])), (b"imir", bytes([axis]))))
            assert np.array_equal(shown(image, header.orientation), turned[:, ::-1] if axis else turned[::-1])


def shown(image, orientation):
    if orientation >= 5:
        image = image.T
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def heif(*properties, brand=b"avif"):
    def box(kind, content):
        return struct.pack(">I4s", len(content) + 8, kind) + content

    size = box(b"ispe", bytes(4) + struct.pack(">II", 37, 21))
    held = box(b"ipco", size + b"".join(box(kind, content) for kind, content in properties))
    places = bytes(range(1, len(properties) + 2))
    joined = box(b"ipma", bytes(4) + struct.pack(">IHB", 1, 1, len(places)) + places)
    meta = box(b"meta", bytes(4) + box(b"pitm", bytes(4) + b"\0\1") + box(b"iprp", held + joined))
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + meta


def test_heic_is_told_from_avif_and_from_a_video():
    assert read_header(heif(brand=b"heic")).kind == "HEIC"
    assert read_header(heif(brand=b"avif")).kind == "AVIF"
    assert looks_like_a_picture(struct.pack(">I4s", 16, b"ftyp") + b"isomisom") is None


def test_what_is_recognised_and_not_read():
    for content, kind in (
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"FUJIFILMCCD-RAW" + bytes(40), "camera raw"),
    ):
        assert looks_like_a_picture(content) == kind
        assert kind in read_header(content).strange


def test_camera_raw_in_tiff_is_not_its_small_preview():
    def directory(*entries):
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)

    sides = struct.pack("<HHIIHHII", 256, 4, 1, 160, 257, 4, 1, 120)
    assert read_header(directory(sides[:12], sides[12:])).shown_size == (160, 120)
    assert read_header(directory(sides[:12], sides[12:], struct.pack("<HHI4B", 50706, 1, 4, 1, 4, 0, 0))).strange
    small = struct.pack("<HHII", 254, 4, 1, 1)
    assert read_header(directory(small, sides[:12], sides[12:], struct.pack("<HHII", 330, 4, 1, 8))).strange


def test_jpegs_that_are_not_read_say_why():
    content = bytearray(saved("JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 4] = 12
    assert "12 bits" in read_header(content).strange
    content[frame + 4], content[frame + 1] = 8, 0xC3
    assert "lossless" in read_header(content).strange


@pytest.mark.parametrize("kind", KINDS)
def test_headers_that_are_cut_off_or_damaged_raise_nothing(kind):
    content = saved(kind)
    for length in range(0, min(len(content), 700), 3):
        assert isinstance(read_header(content[:length]), Header | None)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 300), 4):
            damaged[place] = rng.integers(256)
        assert isinstance(read_header(damaged), Header | None)


def test_texts_that_begin_like_pictures():
    for content in (b"", b"BM is not a bitmap, is it?" * 3, b"P8 4 4", b"Pictures", b"<svg", b"RIFF1234WAVE"):
        assert looks_like_a_picture(content) is None
        assert read_header(content) is None


def test_pixels_of_many_bytes_cost_more():
    def chunk(kind, content):
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))

    costs = []
    for bits, colour in ((1, 0), (8, 2), (16, 0), (16, 6)):
        head = struct.pack(">IIBBBBB", 1000, 1000, bits, colour, 0, 0, 0)
        costs.append(read_header(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")).cost)
    assert costs == [1_000_000, 1_000_000, 1_000_000, 2_000_000]


def test_chunks_end_where_the_file_does():
    content = saved("PNG")
    kinds = [kind for kind, _, _ in png_chunks(content)]
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    assert b"IEND" not in [kind for kind, _, _ in png_chunks(content[:-1])]

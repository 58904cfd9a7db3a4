import struct

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.images import decode_image

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8).repeat(4, 0).repeat(4, 1)
HEIGHT, WIDTH = IMAGE.shape[:2]
BITFIELDS = 3
XRGB = (0xFF0000, 0xFF00, 0xFF, 0)
ARGB = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(words, masks=None, version=40, packing=None, top_down=False):
    """A BMP file of words (H, W), with bit fields where masks are given."""
    bits = words.itemsize * 8
    rows = words if top_down else words[::-1]
    pixels = b"".join(row.tobytes().ljust((WIDTH * bits + 31) // 32 * 4, b"\0") for row in rows)
    packing = packing if packing is not None else (BITFIELDS if masks else 0)
    height = -HEIGHT if top_down else HEIGHT
    head = struct.pack("<IiiHHIIiiII", version, WIDTH, height, 1, bits, packing, len(pixels), 0, 0, 0, 0)
    if masks:
        head += struct.pack("<4I", *masks)[: 16 if version >= 56 or packing == 6 else 12]
    head = head.ljust(version, b"\0")
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + pixels


def words(image, shifts, fourth=0):
    wide = image.astype(np.uint32)
    left = ({0, 8, 16, 24} - set(shifts)).pop()
    return sum(wide[:, :, band] << shift for band, shift in enumerate(shifts)) | np.uint32(fourth << left)


@pytest.mark.parametrize("version", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("fourth", [0, 51, 255])
def test_a_byte_that_no_mask_calls_alpha_is_none(version, fourth):
    assert np.array_equal(decode_image(bmp(words(IMAGE, (16, 8, 0), fourth), XRGB, version)), IMAGE)
    assert np.array_equal(decode_image(bmp(words(IMAGE, (16, 8, 0), fourth))), IMAGE)


@pytest.mark.parametrize("version", [40, 108])
def test_the_masks_say_the_order_of_the_channels(version):
    assert np.array_equal(decode_image(bmp(words(IMAGE, (0, 8, 16)), (0xFF, 0xFF00, 0xFF0000, 0), version)), IMAGE)
    masks = (0xFF000000, 0xFF0000, 0xFF00, 0)
    assert np.array_equal(decode_image(bmp(words(IMAGE, (24, 16, 8)), masks, version, top_down=True)), IMAGE)


@pytest.mark.parametrize(("version", "packing"), [(56, 3), (108, 3), (124, 3), (40, 6)])
def test_alpha_where_a_mask_says_so(version, packing):
    found = decode_image(bmp(words(IMAGE, (16, 8, 0), 51), ARGB, version, packing))
    assert np.abs(found - (IMAGE * 0.2 + 255 * 0.8)).max() <= 0.5


def test_alpha_that_hides_everything_is_no_alpha():
    assert np.array_equal(decode_image(bmp(words(IMAGE, (16, 8, 0), 0), ARGB, 108)), IMAGE)


@pytest.mark.parametrize("masks", [(0xF800, 0x07E0, 0x001F, 0), (0x7C00, 0x03E0, 0x001F, 0), None])
def test_five_and_six_bits_are_spread_over_all_of_eight(masks):
    used = masks or (0x7C00, 0x03E0, 0x001F, 0)
    wide = IMAGE.astype(np.int64)
    expected = np.empty_like(wide)
    packed = np.zeros((HEIGHT, WIDTH), np.uint16)
    for band, mask in enumerate(used[:3]):
        shift = (mask & -mask).bit_length() - 1
        largest = mask >> shift
        value = np.round(wide[:, :, band] / 255 * largest).astype(np.uint16)
        packed |= value << np.uint16(shift)
        expected[:, :, band] = np.round(value / largest * 255)
    found = decode_image(bmp(packed, masks))
    assert np.abs(found - expected).max() == 0


def test_ten_bits_a_colour():
    wide = np.round(IMAGE / 255 * 1023).astype(np.uint32)
    packed = wide[:, :, 0] << 20 | wide[:, :, 1] << 10 | wide[:, :, 2]
    assert np.array_equal(decode_image(bmp(packed, (0x3FF00000, 0xFFC00, 0x3FF, 0))), IMAGE)


def test_damaged_bitmaps():
    whole = bmp(words(IMAGE, (16, 8, 0)), XRGB)
    for content in (whole[:-1], whole[:60], whole[:40], bmp(words(IMAGE, (16, 8, 0)), (0xF0F0, 0xFF00, 0xFF, 0))):
        with pytest.raises(InputError, match="damaged"):
            decode_image(content)


# ------------------------------------------------------------------ Netpbm


def netpbm(kind, largest, samples):
    return b"%s\n# made here\n%d %d\n%d\n" % (kind, WIDTH, HEIGHT, largest) + samples


def pam(kind, depth, largest, samples):
    head = f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {depth}\nMAXVAL {largest}\nTUPLTYPE {kind}\nENDHDR\n"
    return head.encode() + samples


def test_the_largest_value_is_white():
    for largest in (1, 100, 255, 1023, 4095, 65535):
        values = np.round(IMAGE / 255 * largest).astype(np.int64)
        expected = np.round(values / largest * 255)
        binary = values.astype(">u2" if largest > 255 else "u1").tobytes()
        written = b" ".join(b"%d" % value for value in values.ravel().tolist())
        for content in (
            netpbm(b"P6", largest, binary),
            netpbm(b"P3", largest, written),
            pam("RGB", 3, largest, binary),
        ):
            assert np.abs(decode_image(content) - expected).max() <= 1
        gray = values[:, :, 0].astype(">u2" if largest > 255 else "u1").tobytes()
        assert np.abs(decode_image(netpbm(b"P5", largest, gray)) - expected[:, :, :1]).max() <= 1


def test_pam_has_red_first_and_may_have_alpha():
    alpha = np.full_like(IMAGE[:, :, :1], 51)
    on_white = IMAGE * 0.2 + 255 * 0.8
    assert np.array_equal(decode_image(pam("RGB", 3, 255, IMAGE.tobytes())), IMAGE)
    found = decode_image(pam("RGB_ALPHA", 4, 255, np.concatenate((IMAGE, alpha), 2).tobytes()))
    assert np.abs(found - on_white).max() <= 0.5
    gray = decode_image(pam("GRAYSCALE_ALPHA", 2, 255, np.concatenate((IMAGE[:, :, :1], alpha), 2).tobytes()))
    assert np.abs(gray - on_white[:, :, :1]).max() <= 0.5


@pytest.mark.parametrize(
    "content",
    [
        netpbm(b"P6", 255, b"abc"),
        netpbm(b"P3", 255, b"1 2 3"),
        netpbm(b"P3", 255, b"1 2 x " * HEIGHT * WIDTH),
        netpbm(b"P5", 0, bytes(HEIGHT * WIDTH)),
        netpbm(b"P5", 70000, bytes(2 * HEIGHT * WIDTH)),
        b"P6\n3 3\n",
        b"P7\nWIDTH 4\nHEIGHT 4\nENDHDR\n" + bytes(64),
    ],
)
def test_damaged_netpbm_files(content):
    with pytest.raises(InputError, match="damaged"):
        decode_image(content)

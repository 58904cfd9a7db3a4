"""What the header of a picture file says: its kind, size and orientation, without decoding a pixel.

The sizes decide whether a picture is decoded at all (a file of a few kilobytes can ask for gigabytes), and give the
sides of annotated pictures. The one reader of EXIF orientation is here.

Sources: ITU T.81 (JPEG), W3C PNG (3rd edition), CIPA DC-008 (EXIF), TIFF 6.0, ISO 14496-12 and 23008-12 (HEIF),
ITU T.800 (JPEG 2000), RFC 9649 (WebP), and the formats' own descriptions for the rest.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap

from detkit.picture_files.tiff import TiffError, read_directory

# Where the bytes come from: all of them, or a file that is mapped into memory.
Bytes = bytes | bytearray | memoryview | mmap

JPEG, PNG, GIF, BMP, WEBP, TIFF, JPEG_2000 = "JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "JPEG 2000"
AVIF, HEIC, NETPBM, PFM, RADIANCE, SUN = "AVIF", "HEIC", "Netpbm", "PFM", "Radiance HDR", "Sun raster"
# Kinds that are told from each other, but not read.
UNREAD = ("JPEG XL", "DICOM", "JPEG XR", "OpenEXR", "Photoshop", "camera raw", "JPEG-LS")

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
_EXIF_TYPES = {1: "B", 3: "H", 4: "I"}
_LARGEST_EXIF = 1 << 20
_JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"
_JP2_BOX = b"\0\0\0\x0cjP  \r\n\x87\n"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_SIGNATURES = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FOVb", "camera raw"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (_JP2_BOX, JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (_JXL_BOX, "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"#?RADIANCE", RADIANCE),
    (b"#?RGBE", RADIANCE),
    (b"\x59\xa6\x6a\x95", SUN),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"8BPS", "Photoshop"),
)


@dataclass(frozen=True)
class Header:
    """What a header says.

    kind           "JPEG", "PNG" ...
    width, height  pixels as they are stored
    orientation    1 to 8, how the stored picture is turned to be shown (EXIF 2.32, table 6)
    strange        why such a file is not read although its kind is (JPEG of 12 bits); "" else
    bytes_per_pixel   of all bands, as they are decoded
    """

    kind: str
    width: int
    height: int
    orientation: int = 1
    strange: str = ""
    bytes_per_pixel: int = 3

    @property
    def cost(self) -> int:
        """The pixels as a measure of memory: those of more than 4 bytes count as more."""
        return self.width * self.height * max(self.bytes_per_pixel, 4) // 4

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) as the picture is shown."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def looks_like_a_picture(content: Bytes) -> str | None:
    """The kind of picture that begins with these bytes (132 are enough), "JPEG" or "DICOM"; None where it is none."""
    start = bytes(content[:132])
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            if kind == BMP and (len(start) < 18 or int.from_bytes(start[14:18], "little") not in _BMP_HEADERS):
                return None  # a text that begins with BM
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WEBP
    if start[4:8] == b"ftyp":
        return _brand(start)
    if start[128:132] == b"DICM":
        return "DICOM"
    if re.match(rb"P[1-7][\s#]", start):
        return NETPBM
    return PFM if re.match(rb"P[Ff]\s", start) else None


def read_header(content: Bytes) -> Header | None:
    """The header of a picture; None where the bytes are no picture, or end before its size is said."""
    kind = looks_like_a_picture(content)
    reader = _READERS.get(kind or "")
    if kind is None:
        return None
    if reader is None:
        return Header(kind, 0, 0, strange=f"is {kind}, which is not read")
    try:
        header = reader(memoryview(content))
    except (struct.error, IndexError, ValueError):
        return None
    return header if header is None or header.strange or (header.width > 0 and header.height > 0) else None


def exif_orientation(exif: Bytes) -> int:
    """The orientation (1 to 8) of an EXIF block, with or without "Exif" before it; 1 where it does not say.

    The value is read by its type, as Pillow does: cameras write SHORT, some programs LONG or BYTE.
    """
    block = bytes(exif[:_LARGEST_EXIF])
    if block.startswith(b"Exif\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, entry)
            if tag == _ORIENTATION and kind in _EXIF_TYPES:
                (value,) = struct.unpack_from(order + _EXIF_TYPES[kind], block, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def png_chunks(content: Bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk of a PNG, `start` at its length and `end` behind its checksum.

    Ends with IEND or where a chunk is cut off.
    """
    view = memoryview(content)
    start = 8
    while (end := start + 12 + int.from_bytes(view[start : start + 4], "big")) <= len(view):
        kind = bytes(view[start + 4 : start + 8])
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end


def _jpeg(view: memoryview) -> Header | None:
    orientation, place = 1, 2
    while place + 4 <= len(view):
        if view[place] != 0xFF:
            return None
        marker = view[place + 1]
        if marker == 0xFF:  # a fill byte before the marker
            place += 1
        elif marker in (0x01, *range(0xD0, 0xD9)):  # no length, no content
            place += 2
        elif marker in _FRAME_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", view, place + 4)
            strange = f"is a JPEG of {bits} bits, which is not read; save it with 8" if bits != 8 else ""
            if marker in (0xC3, 0xC7, 0xCB, 0xCF):
                strange = "is a lossless JPEG, which is not read; save it as PNG"
            elif channels not in (1, 3, 4):
                strange = f"is a JPEG of {channels} channels; 1, 3 and 4 are read"
            return Header(JPEG, width, height, orientation, strange)
        elif marker == 0xF7:
            return Header("JPEG-LS", 0, 0, strange="is JPEG-LS, which is not read")
        elif marker in (0xD9, 0xDA):
            return None
        else:
            (length,) = struct.unpack_from(">H", view, place + 2)
            if marker == 0xE1 and orientation == 1 and bytes(view[place + 4 : place + 9]) == b"Exif\0":
                orientation = exif_orientation(view[place + 4 : place + 2 + length])
            place += 2 + max(length, 2)
    return None


def _png(view: memoryview) -> Header | None:
    if bytes(view[12:16]) != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", view, 16)
    # The EXIF chunk may stand behind the pixels; checksums are looked at when the picture is decoded.
    turned = next((view[start + 8 : end - 4] for kind, start, end in png_chunks(view) if kind == b"eXIf"), b"")
    bytes_per_pixel = max(view[24] // 8, 1) * {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}.get(view[25], 4)
    return Header(PNG, width, height, exif_orientation(turned), bytes_per_pixel=bytes_per_pixel)


def _gif(view: memoryview) -> Header:
    return Header(GIF, *struct.unpack_from("<HH", view, 6))


_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def _bmp(view: memoryview) -> Header:
    if int.from_bytes(view[14:18], "little") == 12:
        return Header(BMP, *struct.unpack_from("<HH", view, 18))
    width, height = struct.unpack_from("<ii", view, 18)
    return Header(BMP, width, abs(height))


def _webp(view: memoryview) -> Header | None:
    kind = bytes(view[12:16])
    if kind == b"VP8X":
        width = int.from_bytes(view[24:27], "little") + 1
        height = int.from_bytes(view[27:30], "little") + 1
        turned = 1
        place = 12
        while view[20] & 8 and place + 8 <= len(view):  # the flag says that there is an EXIF chunk
            length = int.from_bytes(view[place + 4 : place + 8], "little")
            if bytes(view[place : place + 4]) == b"EXIF":
                turned = exif_orientation(view[place + 8 : place + 8 + length])
                break
            place += 8 + length + length % 2
        return Header(WEBP, width, height, turned)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", view, 21)
        return Header(WEBP, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and bytes(view[23:26]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", view, 26)
        return Header(WEBP, width & 0x3FFF, height & 0x3FFF)
    return None


def _tiff(view: memoryview) -> Header | None:
    if bytes(view[8:10]) == b"CR":
        return Header("camera raw", 0, 0, strange=_RAW)
    try:
        tags = read_directory(view).tags
    except TiffError:
        return None
    if 50706 in tags or (tags.get(254, (0,))[0] & 1 and 330 in tags):  # DNGVersion; a small copy first, SubIFDs
        return Header("camera raw", 0, 0, strange=_RAW)
    width, height, orientation, bands = (int(tags.get(tag, (default,))[0]) for tag, default in _TIFF_FIELDS)
    depth = max((int(bits) for bits in tags.get(258, (8,))), default=8)
    return Header(TIFF, width, height, orientation if 1 <= orientation <= 8 else 1, "", max(depth // 8, 1) * bands)


_TIFF_FIELDS = ((256, 0), (257, 0), (274, 1), (277, 1))  # width, height, orientation, bands


_RAW = "is camera raw, which is not read; develop it to JPEG or TIFF"


def boxes(view: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of the boxes between two places (ISO 14496-12, 4.2)."""
    while start + 8 <= end:
        length, kind, content = int.from_bytes(view[start : start + 4], "big"), bytes(view[start + 4 : start + 8]), 8
        if length == 1:
            length, content = int.from_bytes(view[start + 8 : start + 16], "big"), 16
        elif length == 0:
            length = end - start
        if length < content:
            return
        yield kind, start + content, min(start + length, end)
        start += length


def _jpeg_2000(view: memoryview) -> Header | None:
    if bytes(view[:4]) == b"\xff\x4f\xff\x51":
        right, bottom, left, top = struct.unpack_from(">IIII", view, 8)
        return Header(JPEG_2000, right - left, bottom - top)
    for kind, start, end in boxes(view, 0, len(view)):
        if kind == b"jp2h":
            for inner, place, _ in boxes(view, start, end):
                if inner == b"ihdr":
                    height, width, channels = struct.unpack_from(">IIH", view, place)
                    few = channels in (1, 3, 4)
                    strange = "" if few else f"is JPEG 2000 of {channels} channels; 1, 3 and 4 are read"
                    return Header(JPEG_2000, width, height, strange=strange)
    return None


def _brand(start: bytes) -> str | None:
    """The kind of an ISO media file by its brands; None for a video."""
    brands = {
        start[place : place + 4] for place in (8, *range(16, min(len(start), int.from_bytes(start[:4], "big")), 4))
    }
    if brands & _AVIF_BRANDS:
        return AVIF
    if brands & _HEIC_BRANDS:
        return HEIC
    return "camera raw" if b"crx " in brands else None


def _heif(view: memoryview) -> Header | None:
    """The primary picture's size, and its rotation and mirror as one orientation (ISO 23008-12, 6.5.10, 6.5.12).

    An EXIF block beside them does not turn the picture (6.1 there, MIAF 7.3.6.7).
    """
    kind = looks_like_a_picture(view) or HEIC
    meta = next(((start, end) for name, start, end in boxes(view, 0, len(view)) if name == b"meta"), None)
    if meta is None:
        return None
    inside = {name: (start, end) for name, start, end in boxes(view, meta[0] + 4, meta[1])}
    if b"pitm" not in inside or b"iprp" not in inside:
        return None
    place = inside[b"pitm"][0]
    primary = int.from_bytes(view[place + 4 : place + (8 if view[place] else 6)], "big")
    inner = {name: (start, end) for name, start, end in boxes(view, *inside[b"iprp"])}
    if b"ipco" not in inner or b"ipma" not in inner:
        return None
    properties = list(boxes(view, *inner[b"ipco"]))
    width = height = 0
    orientation = 1
    for index in _associated(view, *inner[b"ipma"], primary):
        if not 0 < index <= len(properties):
            continue
        name, start, _ = properties[index - 1]
        if name == b"ispe":
            width, height = struct.unpack_from(">II", view, start + 4)
        elif name == b"clap" and kind == HEIC:  # libheif cuts to the clean aperture; libavif does not
            wide, wide_by, high, high_by = struct.unpack_from(">IIII", view, start)
            width, height = round(wide / max(wide_by, 1)), round(high / max(high_by, 1))
        elif name == b"irot":
            orientation = _turned(orientation, view[start] & 3)
        elif name == b"imir":
            orientation = _mirrored(orientation, view[start] & 1)
    return Header(kind, width, height, orientation)


def _associated(view: memoryview, start: int, end: int, item: int) -> list[int]:
    """The places from 1, in order, of the properties of an item in the box `ipma`."""
    version, wide = view[start], view[start + 3] & 1
    (count,) = struct.unpack_from(">I", view, start + 4)
    place = start + 8
    for _ in range(count):
        (id,) = struct.unpack_from(">I" if version else ">H", view, place)
        place += 4 if version else 2
        number = view[place]
        place += 1
        width = 2 if wide else 1
        if place > end:
            break
        if id == item:
            mask = 0x7FFF if wide else 0x7F  # the first bit says whether the property is essential
            return [int.from_bytes(view[place + k * width :][:width], "big") & mask for k in range(number)]
        place += number * width
    return []


# Orientations 1 to 8 as (turns by 90 degrees against the clock, after a mirror left to right or not).
_AS_TURNS = {
    1: (0, False),
    8: (1, False),
    3: (2, False),
    6: (3, False),
    2: (0, True),
    5: (1, True),
    4: (2, True),
    7: (3, True),
}
_FROM_TURNS = {turns: orientation for orientation, turns in _AS_TURNS.items()}


def _turned(orientation: int, quarters: int) -> int:
    turns, mirror = _AS_TURNS[orientation]
    return _FROM_TURNS[(turns + quarters) % 4, mirror]


def _mirrored(orientation: int, axis: int) -> int:
    """After a mirror about the vertical axis (1: left and right change places) or the horizontal one (0)."""
    turns, mirror = _AS_TURNS[orientation]
    # A mirror after a turn is a turn the other way after the mirror; upside down is that and half a turn.
    return _FROM_TURNS[(-turns + (0 if axis else 2)) % 4, not mirror]


def _netpbm(view: memoryview) -> Header | None:
    start = bytes(view[:4096])
    if start.startswith(b"P7"):
        found = {key: int(value) for key, value in re.findall(rb"^(WIDTH|HEIGHT)\s+(\d+)", start, re.MULTILINE)}
        return Header(NETPBM, found.get(b"WIDTH", 0), found.get(b"HEIGHT", 0))
    sides = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)", start)
    return Header(NETPBM, int(sides[1]), int(sides[2])) if sides else None


def _pfm(view: memoryview) -> Header | None:
    sides = re.match(rb"P[Ff]\s+(\d+)\s+(\d+)\s", bytes(view[:256]))
    return Header(PFM, int(sides[1]), int(sides[2]), bytes_per_pixel=12) if sides else None


def _radiance(view: memoryview) -> Header | None:
    sides = re.search(rb"\n\n-Y (\d+) \+X (\d+)\n", bytes(view[:4096]))
    return Header(RADIANCE, int(sides[2]), int(sides[1]), bytes_per_pixel=12) if sides else None


def _sun(view: memoryview) -> Header:
    return Header(SUN, *struct.unpack_from(">II", view, 4))


_READERS: dict[str, Callable[[memoryview], Header | None]] = {
    JPEG: _jpeg,
    PNG: _png,
    GIF: _gif,
    BMP: _bmp,
    WEBP: _webp,
    TIFF: _tiff,
    JPEG_2000: _jpeg_2000,
    AVIF: _heif,
    HEIC: _heif,
    NETPBM: _netpbm,
    PFM: _pfm,
    RADIANCE: _radiance,
    SUN: _sun,
}

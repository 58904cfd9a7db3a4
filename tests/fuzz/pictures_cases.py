"""Damaged pictures, in every format that is written here."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from mutations import damaged
from PIL import Image as Pillow

from detkit import large_images
from detkit.annotations.sizes import image_size
from detkit.images import read_image
from detkit.label_maps.png import read_label_png
from detkit.large_images import open_image


def _pillow(picture: Any, format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, format, **options)
    return content.getvalue()


def _opencv(array: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, array, list(options))[1].tobytes()


def bases() -> dict[str, bytes]:
    """Small whole pictures by a name that says what they are."""
    colours = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    colours[8:30, 8:40] = (200, 30, 90)
    rgb = Pillow.fromarray(colours)
    gray, palette, alpha, cmyk = (rgb.convert(mode) for mode in ("L", "P", "RGBA", "CMYK"))
    exif = Pillow.Exif()
    exif[274] = 6
    deep = colours.astype(np.uint16) * 257
    made = {
        "jpg": _pillow(rgb, "JPEG", exif=exif),
        "progressive.jpg": _pillow(rgb, "JPEG", progressive=True, restart_marker_rows=1),
        "gray.jpg": _pillow(gray, "JPEG"),
        "cmyk.jpg": _pillow(cmyk, "JPEG"),
        "png": _pillow(rgb, "PNG", exif=exif),
        "palette.png": _pillow(palette, "PNG", transparency=3),
        "alpha.png": _pillow(alpha, "PNG"),
        "bits.png": _pillow(gray.convert("1"), "PNG"),
        "deep.png": _opencv(deep, ".png"),
        "webp": _pillow(rgb, "WEBP", exif=exif),
        "lossless.webp": _pillow(alpha, "WEBP", lossless=True),
        "moving.webp": _pillow(rgb, "WEBP", save_all=True, append_images=[gray.convert("RGB")]),
        "bmp": _pillow(rgb, "BMP"),
        "palette.bmp": _pillow(palette, "BMP"),
        "bits.bmp": _pillow(gray.convert("1"), "BMP"),
        "gif": _pillow(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "ppm": _pillow(rgb, "PPM"),
        "pgm": _pillow(gray, "PPM"),
        "pbm": _pillow(gray.convert("1"), "PPM"),
        "text.ppm": b"P3\n# a comment\n8 6\n255\n" + b" ".join(b"%d" % (n % 256) for n in range(144)),
        "pfm": _opencv(colours.astype(np.float32) / 255, ".pfm"),
        "hdr": _opencv(colours.astype(np.float32) / 255, ".hdr"),
        "sun.ras": _opencv(colours, ".ras"),
        "jp2": _opencv(colours, ".jp2"),
        "deep.tif": _opencv(deep, ".tif"),
        "float.tif": _opencv(colours.astype(np.float32), ".tif"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made[f"{compression}.tif"] = _pillow(rgb, "TIFF", compression=compression, tiffinfo={274: 3, 278: 8})
    made["alpha.tif"] = _pillow(alpha, "TIFF")
    made["cmyk.tif"] = _pillow(cmyk, "TIFF")
    made["group4.tif"] = _pillow(gray.convert("1"), "TIFF", compression="group4")
    made["palette.tif"] = _pillow(palette, "TIFF")
    return made


def fuzzer(folder: Path) -> Any:
    large_images._LARGE = 0  # so that small ones are read by their parts, too
    made = bases()
    contents = list(made.values())

    def case(random: Random, work: Path) -> Any:
        name = random.choice(list(made))
        path = work / f"a.{name}"
        path.write_bytes(damaged(random, made[name], contents))

        def whole() -> None:
            image = read_image(path)
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert image.size

        def parts() -> None:
            image = open_image(path)
            part = image[2:9, 3:20]
            assert part.dtype == np.uint8
            assert part.ndim == 3

        yield "read_image", whole
        yield "image_size", lambda: image_size(path)
        if name.endswith("tif"):
            yield "open_image", parts
        if name.endswith("png"):
            yield "read_label_png", lambda: read_label_png(path)

    return case

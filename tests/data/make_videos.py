"""Makes the small videos of tests/data/videos. Needs PyAV (PyPI: av), which the tests do not.

Each frame holds its number in 6 blocks of its upper rows. Times are those that were given to the encoder.
Run: python tests/data/make_videos.py
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH, FRAMES = 48, 96, 24
FOLDER = Path(__file__).parent / "videos"


def picture(number: int) -> np.ndarray:
    image = np.random.default_rng(number).integers(60, 200, (6, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for bit in range(6):
        image[:16, bit * 16 : bit * 16 + 16] = 255 if number >> bit & 1 else 0
    return image


def make(name: str, times: list[int], base: Fraction, codec: str, options: dict[str, str] | None = None, **kind: str):
    with av.open(str(FOLDER / name), "w", **kind) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = stream.time_base = base
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    uneven = [33 * n if n < 12 else 396 + 200 * (n - 12) for n in range(FRAMES)]  # milliseconds
    b_frames = {"bf": "2", "g": "6", "preset": "veryfast", "crf": "30"}
    make("uneven.mp4", uneven, Fraction(1, 1000), "libx264", b_frames)
    make("uneven.mkv", uneven, Fraction(1, 1000), "libx264", b_frames)
    make("even.ts", [3600 * n for n in range(FRAMES)], Fraction(1, 90000), "libx264", b_frames, format="mpegts")
    make("even.vob", list(range(FRAMES)), Fraction(1, 25), "mpeg2video", {"bf": "2", "b": "100k"}, format="vob")

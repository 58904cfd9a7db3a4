"""The videos of tests/data/videos were made by tests/data/make_videos.py, with the times that stand here."""

import os
import shutil
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.errors import InputError
from detkit.images import max_pixels, set_max_pixels
from detkit.videos import frames

VIDEOS = Path(__file__).parent / "data" / "videos"
UNEVEN = [0.033 * n if n < 12 else 0.396 + 0.2 * (n - 12) for n in range(24)]
EVEN = [0.04 * n for n in range(24)]


def number(image):
    """The number that a frame of tests/data/videos holds."""
    return sum(1 << bit for bit in range(6) if image[4:12, bit * 16 + 4 : bit * 16 + 12].mean() > 127)


def overwritten(name, target, start=0.5, length=1500):
    content = bytearray((VIDEOS / name).read_bytes())
    at = int(len(content) * start)
    content[at : at + length] = bytes(length)
    target.write_bytes(content)
    return list(frames(target))


@pytest.mark.parametrize(
    ("name", "times"), [("uneven.mp4", UNEVEN), ("uneven.mkv", UNEVEN), ("even.ts", EVEN), ("even.vob", EVEN)]
)
def test_frames_come_in_order_with_their_own_times_and_nothing_is_called_damaged(name, times):
    found = list(frames(VIDEOS / name))
    assert [number(frame.image) for frame in found] == list(range(24))
    assert [frame.index for frame in found] == list(range(24))
    assert [frame.seconds for frame in found] == pytest.approx(times, abs=1e-6)
    assert [frame.last for frame in found] == [False] * 23 + [True]
    assert {frame.cut_off for frame in found} == {None}


def test_frames_from_a_later_one_on():
    found = list(frames(VIDEOS / "uneven.mp4", 20))
    assert [(frame.index, number(frame.image)) for frame in found] == [(n, n) for n in range(20, 24)]
    assert [frame.seconds for frame in found] == pytest.approx(UNEVEN[20:], abs=1e-6)
    assert found[-1].last
    assert list(frames(VIDEOS / "uneven.mp4", 99)) == []


def test_a_hole_costs_its_frames_and_not_the_rest(tmp_path):
    """OpenCV gives up at the first packet that it cannot decode; all that follow it are there."""
    content = (VIDEOS / "uneven.mp4").read_bytes()
    start = content.index(b"mdat")
    found = overwritten("uneven.mp4", tmp_path / "a.mp4", (start + 3000) / len(content), 800)
    assert number(found[-1].image) == 23
    assert 12 < len(found) < 24
    lost = 24 - len(found)
    assert found[-1].cut_off == f"{lost} of its frames cannot be decoded, {len(found)} can: it is damaged"
    assert found[-1].seconds == pytest.approx(UNEVEN[-1], abs=1e-6)


@pytest.mark.parametrize("name", ["uneven.mkv", "even.ts"])
def test_a_hole_that_the_decoder_passes_over_is_named(name, tmp_path):
    found = overwritten(name, tmp_path / name, length=3000)
    assert len(found) < 24
    assert "overwritten" in found[-1].cut_off


@pytest.mark.parametrize("name", ["uneven.mkv"])
def test_a_file_that_is_cut_off_is_named(name, tmp_path):
    content = (VIDEOS / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    found = list(frames(tmp_path / name))
    assert 3 < len(found) < 20
    assert found[-1].cut_off.startswith(f"ends after {len(found)} of ")


def test_a_file_that_is_cut_behind_its_last_frame_is_whole(tmp_path):
    content = (VIDEOS / "uneven.mp4").read_bytes()
    behind = content + struct.pack(">I4s", 100, b"free") + bytes(20)  # a box of 100 bytes of which 28 are there
    (tmp_path / "a.mp4").write_bytes(behind)
    assert list(frames(tmp_path / "a.mp4"))[-1].cut_off is None


def test_an_edit_list_that_shows_a_part(tmp_path):
    """The frames it leaves out are not missing."""
    content = bytearray(mjpeg_movie(10))
    (tmp_path / "whole.mov").write_bytes(content)
    whole = list(frames(tmp_path / "whole.mov"))
    assert [frame.seconds for frame in whole] == pytest.approx([0.1 * n for n in range(10)])
    (tmp_path / "part.mov").write_bytes(mjpeg_movie(10, shown=(300, 400)))
    part = list(frames(tmp_path / "part.mov"))
    assert len(part) == 4
    assert part[-1].cut_off is None
    assert np.array_equal(part[0].image, whole[3].image)
    assert [frame.seconds for frame in part] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),  # OpenCV takes a mirror for half a turn
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_video_says(matrix, shown, tmp_path):
    (tmp_path / "plain.mov").write_bytes(mjpeg_movie(2))
    (tmp_path / "turned.mov").write_bytes(mjpeg_movie(2, matrix=matrix))
    plain, turned = next(frames(tmp_path / "plain.mov")), next(frames(tmp_path / "turned.mov"))
    assert np.array_equal(turned.image, shown(plain.image))


def test_what_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match=r"a.mp4: cannot be decoded: truncated, damaged or not a video"):
        list(frames(tmp_path / "a.mp4"))
    with pytest.raises(InputError, match=r"b.mp4: no such file"):
        list(frames(tmp_path / "b.mp4"))
    with pytest.raises(InputError, match=r"no such file"):
        list(frames(tmp_path))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "c.mp4")
        with pytest.raises(InputError, match=r"c.mp4: is not an ordinary file"):
            list(frames(tmp_path / "c.mp4"))


def test_frames_of_more_pixels_than_are_read():
    before = max_pixels()
    set_max_pixels(96 * 48 - 1)
    try:
        with pytest.raises(InputError, match=r"has frames of 96 x 48, .*--max-pixels 4608"):
            list(frames(VIDEOS / "even.ts"))
    finally:
        set_max_pixels(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux only")
def test_names_that_are_not_utf_8_and_names_that_look_like_patterns(tmp_path):
    for name in (os.fsdecode(b"caf\xe9.mp4"), "%03d.mp4", "concat:a.mp4"):
        shutil.copy(VIDEOS / "uneven.mp4", tmp_path / name)
        assert len(list(frames(tmp_path / name))) == 24


def mjpeg_movie(count, shown=None, matrix=(1, 0, 0, 1)):
    """A QuickTime movie of Motion JPEG, ten frames a second; `shown` is (start, length) in milliseconds."""

    def box(kind, *parts):
        content = b"".join(parts)
        return struct.pack(">I4s", len(content) + 8, kind) + content

    def full(kind, form, *values):
        return box(kind, bytes(4), struct.pack(">" + form, *values))

    pictures = []
    for seed in range(count):
        image = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        pictures.append(cv2.imencode(".jpg", image)[1].tobytes())
    media = box(b"mdat", *pictures)
    a, b, c, d = (value << 16 for value in matrix)
    sides = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    length = count * 100
    entry = struct.pack(">6xH16xHHIIIH32xHh", 1, 48, 32, 72 << 16, 72 << 16, 0, 1, 24, -1)
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), struct.pack(">I4s", len(entry) + 8, b"jpeg"), entry),
        full(b"stts", "III", 1, count, 100),
        full(b"stsc", "IIII", 1, 1, count, 1),
        full(b"stsz", f"II{count}I", 0, count, *map(len, pictures)),
        full(b"stco", "II", 1, 8),
    )
    start, duration = shown or (0, length)
    track = box(
        b"trak",
        box(b"tkhd", struct.pack(">I8xI4xI16x", 3, 1, duration), sides, struct.pack(">II", 48 << 16, 32 << 16)),
        box(b"edts", full(b"elst", "IIii", 1, duration, start, 1 << 16)),
        box(
            b"mdia",
            full(b"mdhd", "IIIII", 0, 0, 1000, length, 0),
            box(b"hdlr", struct.pack(">4x4s4s12xx", b"mhlr", b"vide")),
            box(
                b"minf",
                full(b"vmhd", "8x"),
                box(b"dinf", box(b"dref", struct.pack(">II", 0, 1), full(b"url ", "")[:8], bytes([0, 0, 0, 1]))),
                table,
            ),
        ),
    )
    identity = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    header = full(b"mvhd", "IIII16x9i28x", 0, 0, 1000, duration, *identity)
    return media + box(b"moov", header, track)

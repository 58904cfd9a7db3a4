"""MOTChallenge's files: what is read, what is refused and where, and round trips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.tracking.motchallenge import (
    has_classes,
    read_detections,
    read_masks,
    read_tracks,
    read_truth,
    tracks_text,
    write_tracks,
)
from detkit.tracks import NO_CLASS, TrackTable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gt.txt"


def test_a_ground_truth_with_classes(file: Path) -> None:
    file.write_bytes(b"1,3,10,20,30,40,1,1,0.5\r\n2,3,11,20,30,40,0,7,1\r\n")
    truth = read_truth(file)
    assert has_classes(truth)
    assert truth.frames.tolist() == [1, 2]
    assert truth.boxes.tolist() == [[10, 20, 40, 60], [11, 20, 41, 60]]
    assert truth.scores.tolist() == [1, 0]
    assert truth.class_ids.tolist() == [1, 7]


@pytest.mark.parametrize("world", ["-4.1,-7.3,0", "-1,-1,-1", "3,2.5,0"])
def test_a_ground_truth_of_mot15_has_none(file: Path, world: str) -> None:
    file.write_text(f"1,3,10,20,30,40,1,{world}\n")
    assert not has_classes(read_truth(file))
    assert read_truth(file).class_ids.tolist() == [NO_CLASS]


def test_detections_have_no_ids(file: Path) -> None:
    file.write_text("1,-1,10,20,30,40,-0.5,-1,-1,-1\n1,-1,0,0,1,1,93.6,-1,-1,-1\n")
    found = read_detections(file)
    assert found.scores.tolist() == [-0.5, 93.6]
    assert found.boxes.tolist() == [[10, 20, 40, 60], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    "text",
    ["1, 2, 3, 4, 5, 6, 1\n\n2, 2, 3, 4, 5, 6, 1\n", "1 2 3 4 5 6 1\n2 2 3 4 5 6 1", "1,2,3,4,5,6\n2,2,3,4,5,6\n"],
)
def test_other_ways_to_write_a_row(file: Path, text: str) -> None:
    file.write_text(text)
    tracks = read_tracks(file)
    assert tracks.boxes.tolist() == [[3, 4, 8, 10]] * 2
    assert tracks.scores.tolist() == [1, 1]


def test_an_empty_result_is_a_result(file: Path) -> None:
    file.write_text("\n")
    assert len(read_tracks(file)) == 0
    file.write_text("")
    assert len(read_tracks(file)) == 0
    assert not has_classes(read_truth(file))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,1,0,0,5,5,1\n\n2,1,0,x,5,5,1\n", "line 3: not a row of numbers: '2,1,0,x,5,5,1'"),
        ("1,1,0,0,5,5,1\n2,1,0,,5,5,1\n", "line 2: not a row of numbers"),
        ("1,1,0,0,5,5,1\n2,1,0,0,5,5\n", "line 2: 6 numbers, but 7 in the rows before"),
        ("1,1,0,0\n", "line 1: 4 numbers, expected at least 6"),
        ("1,1,0,0,5,5,1\n0,1,0,0,5,5,1\n", "line 2: frame 0: frames are whole numbers from 1"),
        ("1.5,1,0,0,5,5,1\n", "line 1: frame 1.5"),
        ("1,-1,0,0,5,5,1\n", "line 1: track -1: ids are whole numbers"),
        ("1,1,0,0,-5,5,1\n", "line 1: a box of -5 x 5 pixels"),
        ("1,1,0,0,nan,5,1\n", "line 1: a number that is not finite"),
        ("\n1,1,0,0,5,5,1\n1,2,0,0,5,5,1\n1,1,9,9,5,5,1\n", "line 4: frame 1 holds track 1 for the second time"),
    ],
)
def test_errors_name_the_line(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_tracks(file)
    assert f"gt.txt, {problem}" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing.txt: cannot be read: No such file"):
        read_tracks(tmp_path / "nothing.txt")


def test_written_tracks_are_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes = np.round(rng.uniform(0, 500, (40, 4)), 3)
    boxes[:, 2:] += boxes[:, :2]
    frames, ids = np.repeat(np.arange(1, 11), 4), np.tile([4, 2, 1, 3], 10)
    table = TrackTable(frames, ids, boxes, np.round(rng.random(40), 4), np.full(40, NO_CLASS))
    write_tracks(tmp_path / "out" / "tracks.txt", table)
    again, ordered = read_tracks(tmp_path / "out" / "tracks.txt"), table.in_order()
    assert again.ids.tolist() == [1, 2, 3, 4] * 10
    np.testing.assert_array_equal(again.frames, ordered.frames)
    np.testing.assert_allclose(again.boxes, ordered.boxes, atol=1e-9)
    np.testing.assert_allclose(again.scores, ordered.scores)
    assert tracks_text(table).splitlines()[0].endswith(b",-1,-1,-1")
    assert tracks_text(TrackTable.empty()) == b""


def test_masks(file: Path) -> None:
    file.write_text("1 2001 2 480 640 abc\n2 10000 10 480 640 de\n")
    first, second = read_masks(file)
    assert (first.frame, first.id, first.class_id, first.size, first.counts) == (1, 2001, 2, (480, 640), "abc")
    assert second.class_id == 10
    file.write_text("1 2001 2 480 640 abc\n2 10000 10 480 de\n")
    with pytest.raises(InputError, match="line 2: 5 values"):
        read_masks(file)
    file.write_text("1 a 2 480 640 abc\n")
    with pytest.raises(InputError, match="line 1: frame, id, class"):
        read_masks(file)


def test_the_real_masks(shared: Path) -> None:
    masks = read_masks(shared / "data" / "tracks" / "MOTS20-05" / "gt" / "gt.txt")
    assert len(masks) == 7372
    assert {mask.size for mask in masks} == {(480, 640)}

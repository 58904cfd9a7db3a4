"""Zones and lines as people write them."""

from __future__ import annotations

import pytest

from detkit.errors import InputError, UsageError
from detkit.tracking.zone_files import line_of, read_zones

TRIANGLE = "[[0, 0], [10, 0], [5, 8.5]]"
CORNERS = [(0, 0), (10, 0), (5, 8.5)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (TRIANGLE, ["zone 1"]),
        (f"[{TRIANGLE}, {TRIANGLE}]", ["zone 1", "zone 2"]),
        (f'{{"door": {TRIANGLE}}}', ["door"]),
        (f'[{{"name": "door", "points": {TRIANGLE}}}, {{"polygon": {TRIANGLE}}}]', ["door", "zone 2"]),
        (f'{{"version": "5", "shapes": [{{"label": "door", "points": {TRIANGLE}}}]}}', ["door"]),
    ],
)
def test_zones_in_any_writing(tmp_path, text, names):
    path = tmp_path / "zone.json"
    path.write_text(text)
    zones = read_zones(path)
    assert list(zones) == names
    assert all(polygon == CORNERS for polygon in zones.values())


def test_two_points_are_corners_of_a_rectangle(tmp_path):
    path = tmp_path / "zone.json"
    path.write_text('{"door": [[1, 2], [5, 9]]}')
    assert read_zones(path)["door"] == [(1, 2), (5, 2), (5, 9), (1, 9)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[0, 0]]", "no polygon"),
        ("[]", "no zone"),
        ("{", "no JSON"),
        ('{"door": [[0, 0], [1, "a"], [2, 2]]}', "door is no polygon"),
        (f'[{{"name": "a", "points": {TRIANGLE}}}, {{"name": "a", "points": {TRIANGLE}}}]', "two zones"),
    ],
)
def test_what_is_no_zone_is_said(tmp_path, text, why):
    path = tmp_path / "zone.json"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read_zones(path)


def test_lines():
    assert line_of("1,2,3.5,-4") == ((1, 2), (3.5, -4))
    for text in ("1,2,3", "a,b,c,d", "1,2,3,nan", ""):
        with pytest.raises(UsageError):
            line_of(text)

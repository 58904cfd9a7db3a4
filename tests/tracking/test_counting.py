"""Counting: the traps that users of other counters fell into, and plain cases by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detkit.errors import UsageError
from detkit.tracking import TrackerSettings, Tracks, make_tracker
from detkit.tracking.counting import LineCounter, ZoneCounter, by_minute, totals


def tracks_at(
    time: float, feet: Sequence[tuple[int, float, float]], confirmed: bool = True, class_id: int = 0
) -> Tracks:
    """Tracks with a serial and number, and boxes of 20 x 40 that stand on (x, y)."""
    boxes = np.array([[x - 10, y - 40, x + 10, y] for _, x, y in feet], np.float32).reshape(-1, 4)
    serials = np.array([serial for serial, _, _ in feet], np.int64)
    count = len(feet)
    return Tracks(
        time,
        boxes,
        np.ones(count, np.float32),
        np.full(count, class_id),
        serials if confirmed else np.zeros(count, np.int64),
        serials,
        np.arange(count),
        np.full(count, confirmed),
    )


def walk(counter: LineCounter | ZoneCounter, places: Sequence[tuple[float, float]], serial: int = 1) -> None:
    for second, (x, y) in enumerate(places):
        counter.update(tracks_at(float(second), [(serial, x, y)]))


def line() -> LineCounter:
    return LineCounter((100, 200), (300, 200))


def test_directions_are_those_of_the_picture() -> None:
    counter = line()
    walk(counter, [(200, 150), (200, 190), (200, 210)])
    walk(counter, [(200, 250), (200, 150)], serial=2)
    assert [(c.track_id, c.forward, c.time) for c in counter.crossings] == [(1, True, 2.0), (2, False, 1.0)]


def test_a_jump_over_the_line_between_two_frames_counts() -> None:
    counter = line()
    walk(counter, [(200, 20), (220, 900)])
    assert [c.forward for c in counter.crossings] == [True]


def test_the_line_ends_where_it_ends() -> None:
    counter = line()
    walk(counter, [(350, 150), (350, 250)])  # beside it
    walk(counter, [(200, 150), (350, 150), (350, 250), (200, 250)], serial=2)  # around its end
    assert counter.crossings == []


def test_its_end_points_belong_to_it() -> None:
    counter = line()
    walk(counter, [(300, 150), (300, 250)])
    assert len(counter.crossings) == 1


def test_who_trembles_on_the_line_is_counted_once() -> None:
    counter = line()
    walk(counter, [(200, 150), *[(200, 200 + 1.5 * (-1) ** k) for k in range(20)], (200, 230)])
    assert [c.forward for c in counter.crossings] == [True]


def test_who_comes_near_and_turns_back_is_not_counted() -> None:
    counter = line()
    walk(counter, [(200, 150), (200, 201), (200, 199), (200, 201), (200, 150)])
    assert counter.crossings == []


def test_who_begins_on_the_line_has_not_crossed() -> None:
    counter = line()
    walk(counter, [(200, 200), (200, 230)])
    assert counter.crossings == []


def test_who_goes_forth_and_back_is_counted_both_ways() -> None:
    counter = line()
    walk(counter, [(200, 150), (200, 250), (200, 150)])
    assert [c.forward for c in counter.crossings] == [True, False]


def test_tentative_tracks_share_nothing_and_count_once_they_are_confirmed() -> None:
    counter = line()
    counter.update(tracks_at(0, [(1, 150, 150), (2, 250, 250)], confirmed=False))
    counter.update(tracks_at(1, [(1, 150, 250), (2, 250, 150)], confirmed=False))
    assert counter.crossings == []
    counter.update(tracks_at(2, [(2, 250, 140)]))
    assert [(c.track_id, c.forward, c.time) for c in counter.crossings] == [(2, False, 1)]


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ((0, 0), (0, 480), (100, 300), (10, 300)),
        ((640, 0), (640, 480), (500, 300), (630, 300)),
        ((639, 0), (639, 480), (500, 300), (629, 300)),
        ((0, 480), (640, 480), (300, 300), (300, 480)),
        ((0, 479), (640, 479), (300, 300), (300, 479)),
        ((0, 0), (640, 0), (300, 300), (300, 40)),
    ],
)
def test_a_line_along_a_border_counts(
    start: tuple[int, int], end: tuple[int, int], inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    counter = LineCounter(start, end, size=(640, 480))
    walk(counter, [inside, outside, inside])
    assert len(counter.crossings) == 2
    assert counter.crossings[0].forward is not counter.crossings[1].forward


def test_by_class_and_by_minute() -> None:
    counter = line()
    for serial, class_id, time in ((1, 0, 10.0), (2, 2, 50.0), (3, 2, 70.0)):
        counter.update(tracks_at(time, [(serial, 200, 150)], class_id=class_id))
        counter.update(tracks_at(time + 1, [(serial, 200, 250)], class_id=class_id))
    assert totals(counter.crossings) == {(0, True): 1, (2, True): 2}
    assert by_minute(counter.crossings) == {(0, 0, True): 1, (0, 2, True): 1, (1, 2, True): 1}


def test_old_tracks_are_forgotten() -> None:
    counter = line()
    for serial in range(1, 3000):
        counter.update(tracks_at(float(serial), [(serial, 200, 150)]))
    assert len(counter._walkers) < 300


def test_a_line_needs_two_points() -> None:
    with pytest.raises(UsageError, match="two different points"):
        LineCounter((1, 1), (1, 1))
    with pytest.raises(UsageError, match="no anchor 'hip'"):
        LineCounter((1, 1), (2, 1), anchor="hip")


@pytest.mark.parametrize("frame_rate", [5, 30])
def test_with_a_tracker_in_front(frame_rate: int) -> None:
    """Three go down across the line, one goes up, one passes by; the same at any frame rate."""
    tracker, counter = make_tracker("bytetrack", TrackerSettings(conf=0.5)), LineCounter((0, 200), (400, 200))
    for frame in range(4 * frame_rate):
        time = frame / frame_rate
        feet = [(50, 120 + 40 * time), (150, 120 + 40 * time), (250, 120 + 40 * time), (350, 280 - 40 * time)]
        feet.append((600, 120 + 40 * time))
        boxes = [[x - 15, y - 80, x + 15, y] for x, y in feet]
        counter.update(tracker.update(time, boxes, [0.9] * 5, [0, 0, 2, 0, 0]))
    assert totals(counter.crossings) == {(0, True): 2, (2, True): 1, (0, False): 1}


SQUARE = [(100, 100), (300, 100), (300, 300), (100, 300)]


def test_a_visit_with_entry_and_exit() -> None:
    zone = ZoneCounter(SQUARE)
    walk(zone, [(50, 200), (150, 200), (200, 200), (250, 200), (350, 200)])
    (visit,) = zone.visits()
    assert (visit.entered, visit.left, visit.seconds, visit.entry, visit.exit) == (1.0, 3.0, 2.0, True, True)


def test_a_visit_that_begins_and_ends_inside() -> None:
    zone = ZoneCounter(SQUARE)
    walk(zone, [(150, 200), (200, 200)])
    (visit,) = zone.visits()
    assert (visit.seconds, visit.entry, visit.exit) == (1.0, False, False)
    assert zone.inside == 1


def test_flicker_at_the_border_is_one_visit() -> None:
    zone = ZoneCounter(SQUARE)
    walk(zone, [(50, 200), *[(100 + (-1) ** k, 200) for k in range(11)], (200, 200), (50, 200)])
    assert len(zone.visits()) == 1


def test_a_gap_is_no_exit_and_coming_back_is_another_visit() -> None:
    zone = ZoneCounter(SQUARE)
    for time, x in ((0, 150), (1, 160), (20, 170), (21, 50), (22, 150)):
        zone.update(tracks_at(time, [(1, x, 200)]))
    assert [(visit.entered, visit.left) for visit in zone.visits()] == [(0, 20), (22, 22)]


def test_zones_ignore_tentative_tracks() -> None:
    zone = ZoneCounter(SQUARE)
    zone.update(tracks_at(0, [(1, 200, 200)], confirmed=False))
    assert zone.visits() == []
    assert zone.inside == 0
    zone.update(tracks_at(1, [(1, 210, 200)]))
    assert [visit.entered for visit in zone.visits()] == [0]


def test_a_zone_down_to_the_border_of_the_picture() -> None:
    zone = ZoneCounter([(0, 240), (640, 240), (640, 480), (0, 480)])
    walk(zone, [(300, 200), (300, 480), (300, 200)])
    assert len(zone.visits()) == 1


def test_a_concave_zone() -> None:
    zone = ZoneCounter([(0, 0), (300, 0), (300, 300), (200, 300), (200, 100), (100, 100), (100, 300), (0, 300)])
    walk(zone, [(150, 200)])
    walk(zone, [(250, 200)], serial=2)
    assert [visit.track_id for visit in zone.visits()] == [2]
    with pytest.raises(UsageError, match="three points"):
        ZoneCounter([(0, 0), (1, 1)])

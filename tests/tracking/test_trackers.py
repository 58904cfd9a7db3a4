"""The trackers on made scenes: numbers, times, classes, gaps, rates. And on real detections, where they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.errors import InputError, UsageError
from detkit.metrics.mot import MOT15, MOT17, figures_of
from detkit.tracking import TRACKERS, TrackerSettings, make_tracker
from detkit.tracking.kalman import KalmanMotion
from detkit.tracking.motchallenge import has_classes, read_detections, read_truth
from detkit.tracking.motion import HistoryMotion, mean_velocity
from detkit.tracking.trajectories import Recorder

ALL = sorted(TRACKERS)
SURE = TrackerSettings(conf=0.5)


def box(x: float, y: float, width: float = 30, height: float = 80) -> list[float]:
    return [x, y, x + width, y + height]


@pytest.mark.parametrize("name", ALL)
def test_two_walkers_keep_their_numbers(name: str) -> None:
    tracker = make_tracker(name, SURE)
    seen = []
    for frame in range(40):
        time = frame / 20
        seen.append(tracker.update(time, [box(100 + 60 * time, 100), box(400 - 60 * time, 100)], [0.9, 0.8]))
    assert seen[0].track_ids.tolist() == [0, 0]
    assert not seen[0].confirmed.any()
    assert all(tracks.track_ids.tolist() == [1, 2] for tracks in seen[1:])
    assert all(tracks.detections.tolist() == [0, 1] for tracks in seen)


@pytest.mark.parametrize("name", ALL)
def test_numbers_have_no_gaps_though_false_tracks_begin_and_end(name: str) -> None:
    rng = np.random.default_rng(3)
    tracker, numbers = make_tracker(name, SURE), set()
    for frame in range(60):
        false = [box(*rng.uniform(0, 3000, 2)) for _ in range(5)]  # never twice in one place
        tracks = tracker.update(frame / 30, [box(5000 + 2 * frame, 0), *false], [0.9] * 6)
        numbers |= set(tracks.track_ids[tracks.confirmed].tolist())
    assert numbers == set(range(1, len(numbers) + 1))
    assert tracker.lives.begun > 200


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rate", [2, 10, 60])
def test_lost_is_in_seconds_at_every_frame_rate(name: str, rate: int) -> None:
    """Hidden for less than `lost` seconds the number stays; for longer it does not."""
    for hidden, same in ((0.8, True), (2.6, False)):
        tracker = make_tracker(name, TrackerSettings(conf=0.5, lost=1.5))
        numbers = set()
        for frame in range(8 * rate):
            time = frame / rate
            there = not 4 <= time < 4 + hidden
            tracks = tracker.update(time, [box(100, 100)] if there else [], [0.9] if there else [])
            numbers |= set(tracks.track_ids[tracks.confirmed].tolist())
        assert (numbers == {1}) is same, hidden


@pytest.mark.parametrize("name", ALL)
def test_steps_longer_than_lost_still_join(name: str) -> None:
    """One frame every two seconds, `lost` of one second: a track that was seen in the last frame has its chance."""
    tracker = make_tracker(name, TrackerSettings(conf=0.5, lost=1.0))
    for frame in range(5):
        tracks = tracker.update(2.0 * frame, [box(100 + frame, 100)], [0.9])
    assert tracks.track_ids.tolist() == [1]


@pytest.mark.parametrize("name", ALL)
def test_variable_rate(name: str) -> None:
    """30 frames a second, then 5, then a pause: a constant velocity is one track, since time is the video's own."""
    times = np.concatenate((np.arange(0, 2, 1 / 30), np.arange(2, 5, 1 / 5), [5.6, 5.8, 6.0]))
    tracker = make_tracker(name, SURE)
    for time in times:
        tracks = tracker.update(time, [box(50 + 70 * time, 100)], [0.9])
    assert tracks.track_ids.tolist() == [1]


@pytest.mark.parametrize("name", ALL)
def test_the_class_is_voted_along_the_track(name: str) -> None:
    tracker = make_tracker(name, SURE)
    said = [2, 7, 2, 2, 7, 2]
    got = [tracker.update(f / 10, [box(100, 100)], [0.9], [c]).class_ids.item() for f, c in enumerate(said)]
    assert got == [2, 7, 2, 2, 2, 2]
    assert tracker.lives.ids.tolist() == [1]


@pytest.mark.parametrize("name", ALL)
def test_a_rider_and_the_bicycle_stay_two(name: str) -> None:
    tracker = make_tracker(name, SURE)
    for frame in range(30):
        x = 100 + 3 * frame
        boxes = [box(x, 100, 40, 90), box(x - 5, 130, 50, 70)]
        order = [0, 1] if frame % 2 else [1, 0]
        tracks = tracker.update(frame / 30, [boxes[k] for k in order], [0.9, 0.9], [[0, 1][k] for k in order])
        if frame > 1:
            assert dict(zip(tracks.track_ids.tolist(), tracks.class_ids.tolist(), strict=True)) == {1: 0, 2: 1}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scale", [1.0, 0.01, 150.0])
def test_without_conf_the_scale_of_scores_does_not_matter(name: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    tracker = make_tracker(name)
    for frame in range(30):
        score = scale * rng.uniform(0.5, 0.9)
        tracks = tracker.update(frame / 30, [box(100 + frame, 100)], [score])
    assert tracks.track_ids.tolist() == [1]


@pytest.mark.parametrize("name", ["bytetrack", "c-biou"])
def test_a_doubtful_detection_carries_a_track_on_but_begins_none(name: str) -> None:
    tracker = make_tracker(name, SURE)
    for frame in range(10):
        score = 0.9 if frame < 3 else 0.2
        tracks = tracker.update(frame / 30, [box(100, 100), box(500, 100)], [score, 0.2])
    assert tracks.track_ids.tolist() == [1]
    assert tracker.lives.begun == 1


@pytest.mark.parametrize("name", ALL)
def test_negative_scores_and_empty_frames(name: str) -> None:
    tracker = make_tracker(name)
    assert len(tracker.update(0.0, np.zeros((0, 4)), [])) == 0
    for frame in range(1, 5):
        tracks = tracker.update(frame / 10, [box(1, 1), box(300, 1)], [-1.5, -0.2])
    assert tracks.track_ids.tolist() == [1, 2]
    assert len(tracker.update(9.0, [], [])) == 0


def test_bad_input() -> None:
    tracker = make_tracker("sort")
    tracker.update(1.0, [box(1, 1)], [0.5])
    with pytest.raises(InputError, match="must not run backwards"):
        tracker.update(0.5, [], [])
    with pytest.raises(InputError, match="1 boxes, 2 scores"):
        tracker.update(2.0, [box(1, 1)], [0.5, 0.5])
    with pytest.raises(InputError, match="not a finite number"):
        tracker.update(2.0, [box(np.nan, 1)], [0.5])
    with pytest.raises(UsageError, match="no tracker 'deepsort'; there are bytetrack"):
        make_tracker("deepsort")
    with pytest.raises(UsageError, match="min_iou"):
        TrackerSettings(min_iou=2)
    tracker.update(1.0, [box(1, 1)], [0.5])  # the same time again is allowed: clocks of cameras do that


def test_oc_sort_takes_the_track_along_the_gap() -> None:
    """ORU: after a turn out of sight the velocity is nearer to that of the straight line over the gap than SORT's."""
    down = {}
    for name in ("oc-sort", "sort"):
        tracker = make_tracker(name, SURE)
        for frame in range(20):
            tracker.update(frame / 20, [box(100 + 5 * frame, 100)], [0.9])
        for frame in range(20, 24):
            tracker.update(frame / 20, [], [])
        tracker.update(24 / 20, [box(215, 115)], [0.9])  # 15 pixels down in a quarter of a second
        assert isinstance(tracker.motion, KalmanMotion)
        assert tracker.lives.ids.tolist() == [1]
        down[name] = tracker.motion.mean[0, 1, 1]
    assert down["sort"] + 1 < down["oc-sort"] < 60


@pytest.mark.parametrize("name", ALL)
def test_another_motion_model_takes_the_filters_place(name: str) -> None:
    asked = []

    def model(boxes: NDArray[np.float64], ago: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.append((boxes.shape, count.max(initial=0)))
        return mean_velocity(boxes, ago, count)

    tracker = make_tracker(name, SURE, HistoryMotion(model, 6))
    for frame in range(10):
        tracks = tracker.update(frame / 10, [box(100 + 12 * frame, 100)], [0.9])
    assert tracks.track_ids.tolist() == [1]
    assert asked[-1] == ((1, 6, 4), 6)


def test_a_recorder_gives_tracks_their_first_boxes_and_fills_gaps() -> None:
    tracker, recorder = make_tracker("bytetrack", SURE), Recorder()
    for frame in range(1, 11):
        there = [box(100 + 10 * frame, 50)] if frame not in (5, 6) else []
        there += [box(900, 50)] if frame == 3 else []  # never confirmed
        recorder.add(
            frame, tracker.update(frame / 10, there, [0.9] * len(there), [3 if frame == 1 else 4] * len(there))
        )
    plain, filled = recorder.trajectories(), recorder.trajectories(fill=0.5)
    assert plain.table.frames.tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    assert set(plain.table.ids.tolist()) == {1}
    assert set(plain.table.class_ids.tolist()) == {4}
    assert filled.table.frames.tolist() == list(range(1, 11))
    assert filled.detections.tolist() == [0, 0, 0, 0, -1, -1, 0, 0, 0, 0]
    np.testing.assert_allclose(filled.table.boxes[:, 0], 100 + 10 * np.arange(1, 11), atol=1e-4)
    np.testing.assert_allclose(filled.times, np.arange(1, 11) / 10)
    assert len(recorder.trajectories(fill=0.2).table) == 8
    assert len(Recorder().trajectories().table) == 0


# HOTA of `trackers` 2.6.1 with its defaults and time stamps, in percent, on the same detections as they are.
REAL = {
    "MOT15/TUD-Stadtmitte": (25, "det/det.txt", {"bytetrack": 31.3, "sort": 32.9, "c-biou": 36.6, "oc-sort": 26.7}),
    "MOT15/ETH-Sunnyday": (14, "det/det.txt", {"bytetrack": 34.0, "sort": 34.0, "c-biou": 29.3, "oc-sort": 25.4}),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sequence", REAL)
def test_real_detections(shared: Path, sequence: str, name: str) -> None:
    """No collapse with the defaults, and no less than the peers (SORT on ETH-Sunnyday: 37.4 of them, 36 ours)."""
    rate, file, least = REAL[sequence]
    folder = shared / "data" / "tracks" / sequence
    truth, found = read_truth(folder / "gt" / "gt.txt"), read_detections(folder / file)
    tracker, recorder = make_tracker(name), Recorder()
    for frame in range(1, int(truth.frames.max()) + 1):
        here = found.frames == frame
        recorder.add(frame, tracker.update((frame - 1) / rate, found.boxes[here], found.scores[here]))
    figures = figures_of(truth, recorder.trajectories().table, MOT17 if has_classes(truth) else MOT15)
    assert figures.named()["HOTA"] * 100 > least[name]

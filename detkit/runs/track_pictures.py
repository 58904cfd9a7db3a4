"""Pictures of tracked videos: drawn frames as a video or in a folder, and cut-outs, a folder a track.

The sources are read once more, when every track has its number and class: a picture shows what the file of tracks says.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detkit.boxes import Floats
from detkit.drawing_tracks import DrawnTracks, draw_marks, draw_tracks
from detkit.files import write_bytes
from detkit.guard import Guard
from detkit.images import Image, encode_image
from detkit.picture_names import is_video
from detkit.runs.batch import Reading, work_all
from detkit.runs.film import Film, check_film
from detkit.runs.footage import Shot
from detkit.runs.names import Names
from detkit.runs.sources import Item
from detkit.runs.track_counts import Counted, Places
from detkit.runs.tracked import Tracked
from detkit.tracking.counting import Point

TAIL = 2.0  # seconds that a tail reaches back
_MOST_RATE = 60.0  # frames a second of a drawn video


@dataclass(frozen=True)
class Pictures:
    """Where pictures go: `draw` a video (.webm, .mp4) or a folder, `crops` a folder. None: nowhere."""

    draw: Path | None = None
    crops: Path | None = None

    @property
    def video(self) -> bool:
        """Whether the drawing is one video. UsageError where it is one of another kind than is written."""
        if self.draw is None or self.draw.is_dir() or not is_video(str(self.draw)):
            return False
        check_film(self.draw)
        return True


class TrackPainter:
    """Draws the tracks of videos on their frames, and cuts them out.

    counted   what was counted in each of the videos, drawn as it grows; empty where nothing was
    """

    def __init__(
        self, pictures: Pictures, videos: Sequence[Tracked], counted: Sequence[Counted] = (), places: Places = Places()
    ) -> None:
        self._pictures = pictures
        self._shots: dict[tuple[str, int | None], tuple[_Shown, Shot]] = {}
        self._several = len(videos) > 1
        of_video = {id(one.video): one for one in counted}
        for video in videos:
            shown = _Shown(video, of_video.get(id(video)), places)
            for shot in video.footage.shots:
                record = shot.record
                self._shots[record["file"], record.get("frame")] = shown, shot

    @property
    def frames(self) -> int:
        """How many there are to draw or to cut, those included that cannot be read."""
        return len(self._shots)

    def paint(self, items: Sequence[Item], reading: Reading, done: Callable[[], object] = lambda: None) -> None:
        """Read the items again and write what is wanted of each frame; `done` is called after each."""
        guard, names = Guard(*(item.path for item in items)), Names(items)
        draw = self._pictures.draw
        film = Film(draw, self._rate()) if draw is not None and self._pictures.video else None
        try:
            for result in work_all(_Watcher(), items, reading):
                shown, shot = self._shots.get((result.item.name, result.frame), (None, None))
                if result.image is None or shown is None or shot is None:
                    continue
                if self._pictures.crops is not None:
                    self._cut(result.image, shown, shot.number, guard)
                if film is not None:
                    film.add(shown.drawn(result.image, shot), shot.time)
                elif draw is not None:
                    target = Path(draw, names.drawn(result.item.name, result.frame))
                    guard.spare("--draw", target)
                    write_bytes(target, encode_image(shown.drawn(result.image, shot), target.suffix))
                done()
            if film is not None:
                film.finish()
        finally:
            if film is not None:
                film.drop()

    def _cut(self, image: Image, shown: _Shown, number: int, guard: Guard) -> None:
        """A cut-out of each track, under `CROPS/[VIDEO/]TRACK-CLASS/FRAME.jpg`."""
        video, crops = shown.video, Path(str(self._pictures.crops))
        table = video.trajectories.table
        height, width = image.shape[:2]
        for row in range(*shown.rows_at(number)):
            x1, y1, x2, y2 = table.boxes[row].tolist()
            left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
            right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
            if right <= left or bottom <= top:
                continue
            kind = re.sub(r"[^\w-]+", "-", video.kind_of(int(table.class_ids[row])).name).strip("-") or "object"
            folder = (crops / video.footage.name if self._several else crops) / f"{table.ids[row]:04d}-{kind}"
            target = folder / f"{number:06d}.jpg"
            guard.spare("--crops", target)
            write_bytes(target, encode_image(image[top:bottom, left:right], ".jpg"))

    def _rate(self) -> float:
        """Frames a second of the drawn video: what most steps between frames are."""
        steps = np.diff([shot.time for _, shot in self._shots.values()])
        steps = steps[steps > 0]
        return float(min(1 / np.median(steps), _MOST_RATE)) if len(steps) else 25.0


class _Shown:
    """A video's tracks, sorted for looking up what is on a frame."""

    def __init__(self, video: Tracked, counted: Counted | None, places: Places) -> None:
        self.video = video
        self._counted, self._places = counted, places
        table, times = video.trajectories.table, video.trajectories.times
        order = np.lexsort((times, table.ids))
        self._starts = np.searchsorted(table.ids[order], np.arange(int(table.ids.max(initial=0)) + 2))
        boxes = table.boxes[order]
        self._feet = np.stack(((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]), axis=1)
        self._times = times[order]

    def rows_at(self, number: int) -> tuple[int, int]:
        """First row of the table that is on a frame, and the one after the last."""
        frames = self.video.trajectories.table.frames
        return int(np.searchsorted(frames, number)), int(np.searchsorted(frames, number, side="right"))

    def drawn(self, image: Image, shot: Shot) -> Image:
        """The frame with its tracks, and what was counted until then."""
        table, rows = self.video.trajectories.table, slice(*self.rows_at(shot.number))
        ids, kinds = table.ids[rows], table.class_ids[rows]
        labels = [
            f"{self.video.kind_of(kind).name} {track}" for kind, track in zip(kinds.tolist(), ids.tolist(), strict=True)
        ]
        tails = [self._tail(track, shot.time) for track in ids.tolist()]
        drawn = draw_tracks(image, DrawnTracks(table.boxes[rows], ids, labels, tails))
        return draw_marks(drawn, self._marks(shot.time)) if self._counted is not None else drawn

    def _tail(self, track: int, time: float) -> Floats:
        """Where the foot of a track was during the last seconds."""
        start, end = self._starts[track], self._starts[track + 1]
        first, last = start + np.searchsorted(self._times[start:end], [time - TAIL, np.nextafter(time, np.inf)])
        return np.asarray(self._feet[first:last])

    def _marks(self, time: float) -> Iterator[tuple[Sequence[Point], str]]:
        """The lines and zones, with what was counted there up to `time`."""
        assert self._counted is not None
        for name, ends in self._places.lines.items():
            past = self._counted.crossings[name]
            past = past[: bisect_right(past, time, key=lambda crossing: crossing.time)]
            forward = sum(crossing.forward for crossing in past)
            yield ends, f"{forward} forward, {len(past) - forward} backward"
        for name, polygon in self._places.zones.items():
            inside = sum(visit.entered <= time <= visit.left for visit in self._counted.visits[name])
            yield polygon, f"{name}: {inside}"


class _Watcher:
    """The `batch.Worker` of a run that wants nothing but the frames."""

    batch = 1

    def prepare(self, image: Image, name: str = "") -> None:
        """Nothing."""

    def detect(self, prepared: Sequence[Any]) -> Sequence[Any]:
        """Nothing of each."""
        return prepared

"""The best one-to-one assignment of boxes in every frame of a video.

Most boxes overlap one box only. Where that is so for all pairs of a frame there is nothing to decide; else the
Hungarian method decides. It is given the boxes of the whole frame, in their order, since that is what decides
between equal solutions: TrackEval's choice there has to be ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detkit.metrics.mot.track_overlaps import FramePairs, Ints


@dataclass(frozen=True)
class Choices:
    """The frames of a `FramePairs` in which boxes compete.

    settled   int64, the pairs of all other frames
    frames    C frames, ascending
    spans     the pairs of each of them, as slices
    shapes    numbers of true boxes (rows) and of results (columns) of each of them
    place     int64 (P,), for every pair its cell in the matrix of its frame, counted row by row
    """

    settled: Ints
    frames: list[int]
    spans: list[slice]
    shapes: list[tuple[int, int]]
    place: Ints

    def best(self, index: int, weights: NDArray[np.float64]) -> Ints:
        """The pairs of the assignment of largest summed weight in frame `frames[index]`.

        weights   float64, above 0, one for each pair of `spans[index]`
        """
        span, (height, width) = self.spans[index], self.shapes[index]
        places = self.place[span]
        matrix = np.zeros(height * width)
        matrix[places] = -weights
        rows, columns = linear_sum_assignment(matrix.reshape(height, width))
        matrix[rows * width + columns] = 1
        return np.asarray((matrix[places] == 1).nonzero()[0] + span.start)


def choices(video: FramePairs) -> Choices:
    """Where the pairs of `video` leave a choice."""
    truth_degree = np.bincount(video.truth, minlength=len(video.truth_frame))
    result_degree = np.bincount(video.result, minlength=len(video.result_frame))
    contested = (truth_degree[video.truth] > 1) | (result_degree[video.result] > 1)
    frame = video.result_frame[video.result]  # ascending
    open_frame = np.zeros(video.frames, bool)
    open_frame[frame[contested]] = True

    frames = np.flatnonzero(open_frame)
    begin, end = np.searchsorted(frame, frames), np.searchsorted(frame, frames, side="right")
    truth_start, result_start = video.truth_start(), video.result_start()
    heights, widths = np.diff(truth_start), np.diff(result_start)
    return Choices(
        np.flatnonzero(~open_frame[frame]),
        frames.tolist(),
        [slice(low, high) for low, high in zip(begin.tolist(), end.tolist(), strict=True)],
        list(zip(heights[frames].tolist(), widths[frames].tolist(), strict=True)),
        (video.truth - truth_start[frame]) * widths[frame] + video.result - result_start[frame],
    )


def assign(video: FramePairs, weights: NDArray[np.float64]) -> Ints:
    """The pairs of the assignment of largest summed weight (P,) in every frame, ascending."""
    decisions = choices(video)
    best = [decisions.best(index, weights[span]) for index, span in enumerate(decisions.spans)]
    return np.sort(np.concatenate((decisions.settled, *best)))

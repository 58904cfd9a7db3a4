"""Figures of semantic segmentation, all from one confusion matrix over the pixels of all pictures.

Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 5, name them: pixel
accuracy, mean accuracy, mean IoU and frequency-weighted IoU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.metrics.average_precision import mean_defined

IGNORED = 255
Labels = NDArray[Any]


def pixel_confusion(truth: Labels, found: Labels, classes: int, ignored: int | None = IGNORED) -> NDArray[np.int64]:
    """int64 (K, K + 1): pixels by true class (row) and found class (column); the last column is no class at all.

    truth, found   whole numbers (H, W): classes from 0. Where `truth` is `ignored`, the pixel is left out whatever
                   was found there; where only `found` is no class, the pixel counts as missed.

    The matrices of several pictures are added up. InputError where sizes differ, or `truth` has a number that is
    neither a class nor `ignored`.
    """
    if truth.shape != found.shape:
        raise InputError(f"a label map of {found.shape} cannot be compared with a true one of {truth.shape}")
    pairs, pixels = count_pairs(truth, found)
    true, guess = pairs.T
    kept = np.ones(len(true), bool) if ignored is None else true != ignored
    true, guess, pixels = true[kept], guess[kept], pixels[kept]
    if (strange := (true < 0) | (true >= classes)).any():
        raise InputError(
            f"the true label map has the number {true[strange][0]}, and there are {classes} classes, from 0"
            + ("" if ignored is None else f", and {ignored} for pixels without one")
        )
    guess = np.where((guess >= 0) & (guess < classes), guess, classes)
    matrix = np.zeros((classes, classes + 1), np.int64)
    np.add.at(matrix, (true, guess), pixels)
    return matrix


def count_pairs(first: Labels, second: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of values that two label maps have at the same pixel: (pairs (P, 2), rising; pixels of each (P,))."""
    a, b = np.asarray(first).ravel(), np.asarray(second).ravel()
    if not len(a):
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    # Neighbouring pixels are mostly alike: what is sorted are the runs.
    begins = np.concatenate(([0], np.flatnonzero((a[1:] != a[:-1]) | (b[1:] != b[:-1])) + 1))
    lengths = np.diff(np.append(begins, len(a)))
    a, b = a[begins].astype(np.int64), b[begins].astype(np.int64)
    low_a, low_b = a.min(), b.min()
    span = int(b.max() - low_b) + 1
    keys, which = np.unique((a - low_a) * span + (b - low_b), return_inverse=True)
    pixels = np.bincount(which, lengths, minlength=len(keys)).astype(np.int64)
    first_of, second_of = np.divmod(keys, span)
    return np.column_stack((first_of + low_a, second_of + low_b)), pixels


@dataclass(frozen=True)
class SemanticResult:
    """Figures of a confusion matrix int64 (K, K + 1), see `pixel_confusion`; shares from 0 to 1, -1 where undefined."""

    matrix: NDArray[np.int64]

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """float64 (K,): TP / (TP + FP + FN) of each class; -1 for one that is neither there nor found."""
        hits = self.hits
        union = self.true_pixels + self.matrix[:, :-1].sum(axis=0) - hits
        return _shares(hits, union)

    @cached_property
    def accuracy(self) -> NDArray[np.float64]:
        """float64 (K,): the share of each class's pixels that was found; -1 for one that is not there."""
        return _shares(self.hits, self.true_pixels)

    @property
    def hits(self) -> NDArray[np.int64]:
        """int64 (K,): pixels of each class found as such."""
        return self.matrix.diagonal()

    @property
    def true_pixels(self) -> NDArray[np.int64]:
        """int64 (K,): pixels of each class that are there."""
        return np.asarray(self.matrix.sum(axis=1))

    @property
    def figures(self) -> dict[str, float]:
        """Mean IoU (over the classes that are there or found), and the others that the module names."""
        total = int(self.true_pixels.sum())
        if not total:
            return dict.fromkeys(("mIoU", "pixel_accuracy", "mean_accuracy", "frequency_weighted_IoU"), -1.0)
        return {
            "mIoU": mean_defined(self.iou),
            "pixel_accuracy": float(self.hits.sum() / total),
            "mean_accuracy": mean_defined(self.accuracy),
            "frequency_weighted_IoU": float((self.true_pixels * np.maximum(self.iou, 0)).sum() / total),
        }


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(parts, wholes, out=np.full(len(parts), -1.0), where=wholes > 0))

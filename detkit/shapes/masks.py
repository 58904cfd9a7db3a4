"""`Masks`: the masks of many objects, kept as COCO's run-length encoding and decoded when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.errors import InputError
from detkit.shapes import rle
from detkit.shapes.polygons import Polygons

# Coordinates beyond this many pixels are no place in a picture, and would overflow pycocotools.
_FARTHEST = 1e8
# How wide a boundary is, as a share of the picture's diagonal (Cheng et al. 2021).
BOUNDARY_RATIO = 0.02
_MOST_PIXELS = (1 << 31) - 1
# So many masks are made from polygons, or eroded, at a time: their columns stay in the processor's cache.
_TOGETHER = 4096


@dataclass(frozen=True)
class Masks:
    """N masks as parallel arrays; the masks of one picture, or of a whole data set.

    sizes    int64 (N, 2), height and width of each mask's picture
    counts   uint32 (C,), lengths of runs, column by column, background first (see `rle`)
    starts   int64 (N + 1,), mask i has counts[starts[i]:starts[i + 1]]

    Immutable. InputError where the counts of a mask do not cover its picture exactly. Empty runs inside are taken out.
    """

    sizes: NDArray[np.int64]
    counts: NDArray[np.uint32]
    starts: NDArray[np.int64]

    def __post_init__(self) -> None:
        sizes = np.asarray(self.sizes, dtype=np.int64).reshape(-1, 2)
        counts = np.asarray(self.counts, dtype=np.uint32)
        starts = np.asarray(self.starts, dtype=np.int64)
        if counts.ndim != 1 or starts.shape != (len(sizes) + 1,) or starts[0] != 0 or starts[-1] != len(counts):
            raise InputError(f"{len(sizes)} masks need starts from 0 to {len(counts)}, got {starts.shape} of them")
        pixels = sizes.prod(axis=1)
        if pixels.max(initial=0) > _MOST_PIXELS:
            raise InputError(f"a mask of {int(pixels.max())} pixels is too large; {_MOST_PIXELS} are the most")
        if len(counts) < rle.MANY:
            total = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))[starts]
            self._check_covered(np.diff(total), pixels)
            counts, starts = rle.without_empty_runs(counts, starts)
        else:
            from detkit.shapes.mask_kernels import geometry_kernel

            ends, areas, bounds, any_empty = geometry_kernel(counts, starts, sizes[:, 0].copy())
            covered = np.where(starts[1:] > starts[:-1], ends[np.maximum(starts[1:] - 1, 0)], 0)
            self._check_covered(covered, pixels)
            if any_empty:
                counts, starts = rle.without_empty_runs(counts, starts)
            else:
                self.__dict__.update(run_ends=ends, areas=areas, bounds=bounds)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "starts", starts)

    @staticmethod
    def _check_covered(covered: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        wrong = np.flatnonzero(covered != pixels)
        if len(wrong):
            row = int(wrong[0])
            raise InputError(f"the runs of mask {row} cover {covered[row]} pixels, and its picture has {pixels[row]}")

    @classmethod
    def empty(cls) -> Masks:
        """No masks."""
        return cls(np.zeros((0, 2), np.int64), np.zeros(0, np.uint32), np.zeros(1, np.int64))

    @classmethod
    def blank(cls, sizes: ArrayLike) -> Masks:
        """Masks without a pixel, of pictures of `sizes` (N, 2), height and width."""
        nothing = np.zeros(0, np.int64)
        return cls.from_toggles(sizes, nothing, nothing)

    @classmethod
    def concatenate(cls, parts: Iterable[Masks]) -> Masks:
        """All masks of `parts` in their order."""
        kept = [part for part in parts if len(part)]
        if not kept:
            return cls.empty()
        lengths = np.concatenate([np.diff(part.starts) for part in kept])
        sizes, counts = (np.concatenate([getattr(part, name) for part in kept]) for name in ("sizes", "counts"))
        return cls(sizes, counts, np.concatenate(([0], np.cumsum(lengths))))

    @classmethod
    def from_toggles(cls, sizes: ArrayLike, owner: NDArray[np.int64], toggle: NDArray[np.int64]) -> Masks:
        """Masks of `sizes` (N, 2) from their toggles (T,) in any order; `owner` (T,) says whose each is (see `rle`)."""
        sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        return cls(sizes, *rle.from_toggles(owner, toggle, sizes.prod(axis=1)))

    @classmethod
    def from_dense(cls, masks: Iterable[ArrayLike]) -> Masks:
        """From arrays (height, width), or one (N, height, width); every value but 0 belongs to a mask."""
        arrays = [np.asarray(mask) for mask in masks]
        for array in arrays:
            if array.ndim != 2:
                raise InputError(f"a mask must have shape (height, width), got {array.shape}")
        parts = [rle.encode(array) for array in arrays]
        starts = np.concatenate(([0], np.cumsum([len(part) for part in parts], dtype=np.int64)))
        counts = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        return cls(np.array([array.shape for array in arrays], np.int64).reshape(-1, 2), counts, starts)

    @classmethod
    def from_windows(cls, windows: Iterable[tuple[NDArray[Any], int, int]], height: int, width: int) -> Masks:
        """Masks of a picture that are zero outside of a window each: (pixels (h, w), left, top), within the picture."""
        parts = []
        for pixels, left, top in windows:
            if left < 0 or top < 0 or left + pixels.shape[1] > width or top + pixels.shape[0] > height:
                raise InputError(
                    f"a window of {pixels.shape[1]} x {pixels.shape[0]} pixels at {left}, {top} lies outside of a "
                    f"picture of {width} x {height}"
                )
            parts.append(rle.window_toggles(pixels, left, top, height))
        return cls.from_toggles(np.tile([height, width], (len(parts), 1)), *_with_owners(parts))

    @classmethod
    def from_labels(cls, labels: NDArray[Any], background: Sequence[int] = (0,)) -> tuple[Masks, NDArray[Any]]:
        """Every value of a label map (height, width) but those of `background`: (masks, their values, rising)."""
        if labels.ndim != 2:
            raise InputError(f"a label map must have shape (height, width), got {labels.shape}")
        values, owner, toggle = rle.label_toggles(labels)
        masks = cls.from_toggles(np.tile(labels.shape, (len(values), 1)), owner, toggle)
        kept = ~np.isin(values, background)
        return masks[kept], values[kept]

    @classmethod
    def from_polygons(cls, objects: Sequence[Sequence[ArrayLike]], sizes: ArrayLike) -> Masks:
        """Polygons drawn as COCO draws them: pixels equal to pycocotools' frPyObjects and merge.

        objects   of each mask its rings, x1, y1, x2, y2 ... or (K, 2), closed by themselves; what any ring covers
                  (of a ring that crosses itself, an odd number of times) belongs to the mask
        sizes     (N, 2), height and width of each mask's picture

        InputError for a ring of fewer than 3 points, or with coordinates that are no numbers.
        """
        return cls.drawn(Polygons.from_rings(objects), sizes)

    @classmethod
    def drawn(cls, polygons: Polygons, sizes: ArrayLike) -> Masks:
        """Polygons of N objects as `from_polygons` draws them, in pictures of `sizes` (N, 2), height and width."""
        sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        if len(sizes) != len(polygons):
            raise InputError(f"{len(polygons)} objects need as many sizes, got {len(sizes)}")
        lengths = np.diff(polygons.rings)
        if (lengths < 3).any():
            ring = int(np.flatnonzero(lengths < 3)[0])
            raise InputError(
                f"the polygon of mask {_owner_of(polygons, ring)} has a ring of {2 * lengths[ring]} numbers; "
                "at least 3 points, x and y of each, are needed"
            )
        odd = ~(np.abs(polygons.points) <= _FARTHEST).all(axis=1)
        if odd.any():
            ring = int(np.searchsorted(polygons.rings, np.flatnonzero(odd)[0], side="right")) - 1
            raise InputError(
                f"the polygon of mask {_owner_of(polygons, ring)} has a point that is no place in a picture"
            )
        begins = range(0, len(polygons), _TOGETHER)
        if len(begins) <= 1:
            return cls._drawn_together(polygons, sizes)
        some = [slice(begin, begin + _TOGETHER) for begin in begins]
        return cls.concatenate(cls._drawn_together(polygons[part], sizes[part]) for part in some)

    @classmethod
    def _drawn_together(cls, polygons: Polygons, sizes: NDArray[np.int64]) -> Masks:
        """`drawn` of a few, whose rings are checked."""
        from detkit.shapes.mask_kernels import polygon_kernel

        owner = np.repeat(np.arange(len(polygons)), polygons.counts)
        rows, toggle = polygon_kernel(polygons.points, polygons.rings, sizes[owner, 0], sizes[owner, 1])
        parts = cls.from_toggles(sizes[owner], rows, toggle)
        if len(parts) == len(polygons) and (owner == np.arange(len(polygons))).all():
            return parts
        return cls(sizes, *rle.union(parts.counts, parts.starts, owner, sizes.prod(axis=1)))

    @classmethod
    def from_coco(cls, segmentations: Sequence[Any], sizes: ArrayLike) -> Masks:
        """From COCO's `segmentation` of each object: rings of polygons, or RLE, its counts a list or a string.

        sizes   (N, 2), height and width of each object's picture; the size that an RLE gives must be the same
        """
        sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        if len(sizes) != len(segmentations):
            raise InputError(f"{len(segmentations)} masks need as many sizes, got {len(sizes)}")
        polygons: list[int] = []
        strings: list[int] = []
        lists: list[int] = []
        for row, (segmentation, size) in enumerate(zip(segmentations, sizes.tolist(), strict=True)):
            if isinstance(segmentation, dict):
                counts = segmentation.get("counts")
                own = segmentation.get("size")
                if not isinstance(own, list | tuple) or list(own) != size:
                    raise InputError(f"mask {row} has the size {own}, its picture {size} (height, width)")
                (strings if isinstance(counts, str | bytes) else lists).append(row)
            elif isinstance(segmentation, list | tuple):
                polygons.append(row)
            else:
                raise InputError(f"mask {row} is neither polygons nor RLE, but {type(segmentation).__name__}")
        parts = []
        if polygons:
            parts.append(cls.from_polygons([segmentations[row] for row in polygons], sizes[polygons]))
        if strings:
            parts.append(cls(sizes[strings], *rle.from_strings([segmentations[row]["counts"] for row in strings])))
        if lists:
            parts.append(_uncompressed([segmentations[row]["counts"] for row in lists], sizes[lists]))
        order = np.argsort(np.array(polygons + strings + lists, dtype=np.int64))
        joined = cls.concatenate(parts)
        return joined if (order == np.arange(len(order))).all() else joined[order]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: Any) -> Masks:
        """The masks that a boolean array, an index array or a slice selects; an integer selects one."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Masks(self.sizes[rows], self.counts[source], starts)

    def __iter__(self) -> Iterator[Masks]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("sizes", "counts", "starts"))

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """int64 (N,), the pixels of each mask."""
        return rle.areas(self.counts, self.starts)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """int64 (N, 4): x, y, width and height of each mask's pixels; zeros for an empty mask."""
        return rle.bounds(self.counts, self.starts, self.sizes[:, 0])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """float32 (N, 4), xyxy: the boxes around the pixels, right and lower border included."""
        xywh = self.bounds
        return np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1).astype(np.float32)

    @cached_property
    def run_ends(self) -> NDArray[np.int32]:
        """int32 (C,): where each run ends, counted from the first pixel of its mask."""
        return rle.run_ends(self.counts, self.starts).astype(np.int32)

    @cached_property
    def boundaries(self) -> Masks:
        """The pixels near the edge of each mask, see `boundaries`."""
        return boundaries(self)

    def decode(self, row: int) -> NDArray[np.bool_]:
        """The pixels of one mask, bool (height, width)."""
        row = range(len(self))[row]
        height, width = self.sizes[row].tolist()
        return rle.decode(self.counts[self.starts[row] : self.starts[row + 1]], height, width)

    def window(self, row: int) -> tuple[NDArray[np.bool_], int, int]:
        """The pixels of one mask within its bounds (h, w), and the left and top of these."""
        left, top, width, height = self.bounds[row].tolist()
        tall = int(self.sizes[row, 0])
        low, high = self.starts[row], self.starts[row + 1]
        columns = np.arange(left, left + width + 1) * tall
        # Of the runs, cut at the borders of the columns, those that lie in the window.
        edges = np.union1d(self.run_ends[low:high], columns)
        edges = edges[(edges >= columns[0]) & (edges <= columns[-1])]
        inside = np.searchsorted(self.run_ends[low:high], edges[:-1], side="right") % 2 == 1
        strip = np.repeat(inside, np.diff(edges)).reshape(width, tall)
        return strip.T[top : top + height], left, top

    def strings(self) -> list[str]:
        """COCO's compressed counts of each mask."""
        return rle.to_strings(self.counts, self.starts)

    def to_coco(self) -> list[dict[str, Any]]:
        """Each mask as COCO's files have it: {"size": [height, width], "counts": compressed string}."""
        sizes = self.sizes.tolist()
        return [{"size": size, "counts": text} for size, text in zip(sizes, self.strings(), strict=True)]

    def crop(self, left: int, top: int, right: int, bottom: int) -> Masks:
        """The masks as they are in a cut-out of their pictures, right and bottom excluded, within the picture."""
        parts, sizes = [], []
        for row, (height, width) in enumerate(self.sizes.tolist()):
            x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
            parts.append(self.decode(row)[y1 : max(y1, y2), x1 : max(x1, x2)])
            sizes.append(parts[-1].shape)
        return Masks.from_dense(parts)

    def paste(self, left: int, top: int, height: int, width: int) -> Masks:
        """The masks in a larger picture, of which theirs is the cut-out at `left`, `top`; what lies outside is lost."""
        windows = []
        for row in range(len(self)):
            pixels, x, y = self.window(row)
            x, y = x + left, y + top
            pixels = pixels[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
            windows.append((pixels, min(max(x, 0), width), min(max(y, 0), height)))
        return Masks.from_windows(windows, height, width)

    def resize(self, height: int, width: int) -> Masks:
        """The masks in pictures of another size: each pixel takes the one that lies under its centre (nearest)."""
        parts = []
        for row, (old_height, old_width) in enumerate(self.sizes.tolist()):
            y = (np.arange(height) * 2 + 1) * old_height // (2 * height)
            x = (np.arange(width) * 2 + 1) * old_width // (2 * width)
            parts.append(self.decode(row)[y[:, None], x])
        return Masks.from_dense(parts)

    def union(self, owner: NDArray[np.int64], count: int) -> Masks:
        """`count` masks, each what those of `owner` (N,) together cover; all of one owner must have one size."""
        sizes = np.zeros((count, 2), np.int64)
        sizes[owner] = self.sizes
        if (sizes[owner] != self.sizes).any():
            raise InputError("masks of different sizes cannot be joined")
        return Masks(sizes, *rle.union(self.counts, self.starts, owner, sizes.prod(axis=1)))


def mask_iou(a: Masks, b: Masks, crowd: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """IoU (N, M) of each of N masks with each of M, equal to pycocotools' `iou`, from the runs, without decoding.

    crowd   bool (M,), masks of `b` by which the area of the mask of `a` is divided instead of the union
    """
    rows, columns = np.divmod(np.arange(len(a) * len(b)), max(len(b), 1))
    return pair_iou(a, b, rows, columns, crowd).reshape(len(a), len(b))


def pair_iou(
    a: Masks,
    b: Masks,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    crowd: NDArray[np.bool_] | None = None,
    min_iou: float = 0.0,
) -> NDArray[np.float64]:
    """IoU (P,) of masks `rows` of `a` with masks `columns` of `b`; -1 where it is below `min_iou`.

    InputError where the masks of a pair have different sizes.
    """
    from detkit.shapes.mask_kernels import overlap_kernel

    differ = np.flatnonzero((a.sizes[rows] != b.sizes[columns]).any(axis=1))
    if len(differ):
        one, other = a.sizes[rows[differ[0]]].tolist(), b.sizes[columns[differ[0]]].tolist()
        raise InputError(f"masks of pictures of {one} and {other} (height, width) cannot be compared")
    crowd = np.zeros(len(b), bool) if crowd is None else np.ascontiguousarray(crowd, dtype=bool)
    first, second = ((one.run_ends, one.starts, one.areas, one.bounds) for one in (a, b))
    rows, columns = np.ascontiguousarray(rows), np.ascontiguousarray(columns)
    return overlap_kernel(first, second, rows, columns, crowd, float(min_iou))


def _owner_of(polygons: Polygons, ring: int) -> int:
    return int(np.searchsorted(polygons.objects, ring, side="right")) - 1


def _with_owners(parts: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    owner = np.repeat(np.arange(len(parts)), np.array([len(part) for part in parts], dtype=np.int64))
    return owner, np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _uncompressed(counts: list[Any], sizes: NDArray[np.int64]) -> Masks:
    try:
        lengths = np.fromiter(map(len, counts), np.int64, len(counts))
        flat = np.fromiter(chain.from_iterable(counts), np.float64, int(lengths.sum()))
    except (TypeError, ValueError) as error:
        raise InputError("the counts of an RLE must be a string, or a list of whole numbers") from error
    if ((flat < 0) | (flat > 0xFFFFFFFF) | (flat != np.floor(flat))).any():
        raise InputError("the counts of an RLE must be whole numbers, 0 or more")
    return Masks(sizes, flat.astype(np.uint32), np.concatenate(([0], np.cumsum(lengths))))


def boundaries(masks: Masks, ratio: float = BOUNDARY_RATIO) -> Masks:
    """Of each mask the pixels near its edge (Cheng et al. 2021): those that an erosion takes away.

    The erosion is by a square of 2 d + 1 pixels, d = max(1, round(ratio * diagonal of the picture)); what lies outside
    of the picture counts as background, as in the authors' code. Halves are rounded to the even number.
    """
    some = [slice(begin, begin + _TOGETHER) for begin in range(0, len(masks), _TOGETHER)]
    return Masks.concatenate(_few_boundaries(masks[part], ratio) for part in some)


def _few_boundaries(masks: Masks, ratio: float) -> Masks:
    from detkit.shapes.mask_kernels import boundary_kernel

    distances = np.maximum(np.round(ratio * np.hypot(masks.sizes[:, 0], masks.sizes[:, 1])), 1).astype(np.int64)
    owner, toggle = boundary_kernel(masks.run_ends, masks.starts, masks.bounds, masks.sizes[:, 0].copy(), distances)
    own = np.repeat(np.arange(len(masks)), np.diff(masks.starts))
    return Masks.from_toggles(masks.sizes, np.concatenate((own, owner)), np.concatenate((masks.run_ends, toggle)))

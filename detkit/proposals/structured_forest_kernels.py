"""The compiled loop of `structured_forest`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from detkit.compiled import compiled


@compiled
def predict_kernel(
    regular: NDArray[Any],
    similarity: NDArray[Any],
    places: NDArray[Any],
    pairs: NDArray[Any],
    children: NDArray[Any],
    features: NDArray[Any],
    thresholds: NDArray[Any],
    bounds: NDArray[Any],
    pixels: NDArray[Any],
    grid: tuple[int, int, int, int],
    trees: tuple[int, int],
    edges: NDArray[Any],
) -> None:
    """Add every tree's vote at every window to `edges` int32 (H, W).

    regular, similarity  float32 (h, w, C), smoothed features
    places     int64 (F, 3), row, column and channel of each regular feature within a window
    pairs      int64 (G, 5), row and column of two cells and the channel that they are compared in
    children ... bounds  the nodes of all trees; child 0 is a leaf, else low answers go to child - 1, others to child
    pixels     int64 (B, 2), row and column in the inner window of every entry of every leaf
    grid       rows and columns of windows, their stride in pixels, and pixels per feature
    trees      how many there are and how many are asked at a window
    """
    rows, columns, stride, shrink = grid
    count, asked = trees
    nodes = len(children) // count
    for i in range(rows):
        for j in range(columns):
            y, x = i * stride // shrink, j * stride // shrink
            for k in range(asked):
                base = (((i + j) % (2 * asked) + k) % count) * nodes
                node = base
                while children[node] != 0:
                    feature = features[node]
                    if feature < len(places):
                        value = regular[y + places[feature, 0], x + places[feature, 1], places[feature, 2]]
                    else:
                        pair = pairs[feature - len(places)]
                        value = similarity[y + pair[0], x + pair[1], pair[4]]
                        value -= similarity[y + pair[2], x + pair[3], pair[4]]
                    node = base + children[node] - (1 if value < thresholds[node] else 0)
                for entry in range(bounds[node], bounds[node + 1]):
                    edges[i * stride + pixels[entry, 0], j * stride + pixels[entry, 1]] += 1

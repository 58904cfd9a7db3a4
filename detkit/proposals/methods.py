"""The methods by their parameters: each makes a function from a picture, uint8 (H, W, 3) RGB, to `Proposals`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detkit.images import Image
from detkit.proposals import Proposals

Propose = Callable[[Image], Proposals]


def selective_search_method(
    mode: Any, ranking: Any, seed: int, max_side: int | None, max_proposals: int, threads: int | None = None
) -> Propose:
    """Selective search; the parameters are those of `selective_search.selective_search`."""
    from detkit.proposals.selective_search import selective_search

    return lambda image: selective_search(
        image, mode, ranking=ranking, seed=seed, max_side=max_side, max_proposals=max_proposals, threads=threads
    )


def edge_boxes_method(
    edges: Path | None, max_proposals: int, threads: int | None = None, device: str = "auto", **parameters: float
) -> Propose:
    """Edge boxes over gradients, an .onnx edge network, or OpenCV's structured forest; `parameters` of `EdgeBoxes`."""
    from detkit.proposals.edge_boxes import EdgeBoxes, edge_boxes
    from detkit.proposals.edges import gradient_edges, network_edges

    chosen = EdgeBoxes(**parameters)
    strength: Callable[[Image], Any] = gradient_edges
    if edges is not None and edges.suffix.lower() == ".onnx":
        from detkit.graphs.session import Network

        network = Network(edges, device, threads)

        def strength(image: Image) -> Any:
            return network_edges(image, network)

    elif edges is not None:
        from detkit.proposals.structured_forest import StructuredForest

        strength = StructuredForest(edges)
    return lambda image: edge_boxes(
        image, chosen, strength=strength(image), max_proposals=max_proposals, threads=threads
    )


def grid_method(max_proposals: int) -> Propose:
    """The regular grid, which does not look at the picture."""
    from detkit.proposals.grid import grid_proposals

    return lambda image: grid_proposals(image.shape[1], image.shape[0], max_proposals)

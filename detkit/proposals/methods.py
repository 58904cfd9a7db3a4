"""The methods by name: each makes a function from a picture, uint8 (H, W, 3) RGB, to `Proposals`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from detkit.errors import UsageError
from detkit.graphs.runtime import Runtime
from detkit.images import Image, as_image, read_image
from detkit.proposals import Proposals

Propose = Callable[[Image], Proposals]
Method = Literal["selective-search", "edge-boxes", "grid"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class MethodOptions:
    """What the methods leave to choose; None takes the method's own.

    mode, ranking, seed, side   of selective search: see `selective_search.selective_search`; side 0 reduces no picture
    alpha, beta, eta, min_score  of edge boxes: see `edge_boxes.EdgeBoxes`
    edges   of edge boxes: an .onnx edge network, or a structured forest of OpenCV's, in place of gradients

    UsageError where one is given to a method that has no use for it.
    """

    mode: str | None = None
    ranking: str | None = None
    seed: int | None = None
    side: int | None = None
    alpha: float | None = None
    beta: float | None = None
    eta: float | None = None
    min_score: float | None = None
    edges: Path | None = None

    def given(self, *names: str) -> dict[str, Any]:
        """Those of the options `names` that are given."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def check(self, method: str) -> None:
        """UsageError where an option is for another method."""
        for owner, names in _OPTIONS.items():
            idle = self.given(*names) if owner != method else {}
            if idle:
                raise UsageError(f"--{next(iter(idle)).replace('_', '-')} is for --method {owner}")


_EDGE_BOXES = ("alpha", "beta", "eta", "min_score")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "selective-search": ("mode", "ranking", "seed", "side"),
    "edge-boxes": (*_EDGE_BOXES, "edges"),
}


def method_named(
    method: Method, max_proposals: int, options: MethodOptions = MethodOptions(), runtime: Runtime = Runtime()
) -> Propose:
    """The function of a method; `runtime.threads` work on one picture. UsageError for a name that is none."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    options.check(method)
    if method == "grid":
        from detkit.proposals.grid import grid_proposals

        return lambda image: grid_proposals(image.shape[1], image.shape[0], max_proposals)
    if method == "edge-boxes":
        return _edge_boxes(max_proposals, options, runtime)
    from detkit.proposals.selective_search import selective_search

    chosen = options.given("mode", "ranking", "seed")
    if options.side is not None:
        chosen["max_side"] = options.side or None
    return lambda image: selective_search(image, max_proposals=max_proposals, threads=runtime.threads, **chosen)


def propose(
    image: Any,
    method: Method = "selective-search",
    max_proposals: int = 2000,
    options: MethodOptions = MethodOptions(),
    runtime: Runtime = Runtime(),
) -> Proposals:
    """The proposals of one picture, an array as `images.as_image` takes it or a file; best first."""
    picture = read_image(image) if isinstance(image, str | os.PathLike) else as_image(image)
    return method_named(method, max_proposals, options, runtime)(picture)


def _edge_boxes(max_proposals: int, options: MethodOptions, runtime: Runtime) -> Propose:
    """Edge boxes over gradients, an .onnx edge network, or OpenCV's structured forest."""
    from detkit.proposals.edge_boxes import EdgeBoxes, edge_boxes
    from detkit.proposals.edges import gradient_edges, network_edges

    chosen = EdgeBoxes(**options.given(*_EDGE_BOXES))
    strength: Callable[[Image], Any] = gradient_edges
    if options.edges is not None and options.edges.suffix.lower() == ".onnx":
        from detkit.graphs.session import Network

        network = Network(options.edges, runtime)

        def strength(image: Image) -> Any:
            return network_edges(image, network)

    elif options.edges is not None:
        from detkit.proposals.structured_forest import StructuredForest

        strength = StructuredForest(options.edges)
    return lambda image: edge_boxes(
        image, chosen, strength=strength(image), max_proposals=max_proposals, threads=runtime.threads
    )

"""Where the regions of R-CNN and Fast R-CNN come from: a method, or a file of boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from detkit.annotations.finding import AMBIGUOUS, Finder
from detkit.boxes import clip
from detkit.cores import available_cores
from detkit.errors import InputError, UsageError
from detkit.graphs.runtime import Runtime
from detkit.images import Image
from detkit.proposals import Proposals
from detkit.proposals.methods import METHODS, method_named

REGIONS = 1000  # a picture, where nothing else is asked for

# a picture, uint8 (H, W, 3) RGB, and its name in every output -> proposals in its pixels
ProposalSource = Callable[[Image, str], Proposals]


def from_file(method: str | None) -> bool:
    """Whether proposals of this name come from a file, which holds those of whole pictures by their names."""
    return method is not None and method not in METHODS


def proposal_source(method: str | None, max_proposals: int, threads: int | None = None) -> ProposalSource:
    """The source called `method`: one of METHODS (None: the first), or a file as `detkit proposals` writes it.

    UsageError where it is neither; the source raises InputError for a picture that the file does not name.
    """
    method = method or METHODS[0]
    if method in METHODS:
        find = method_named(method, max_proposals, runtime=Runtime(threads=threads or available_cores()))  # type: ignore[arg-type]
        return lambda image, _: find(image)
    path = Path(method)
    if not path.is_file():
        raise UsageError(f"proposals {method!r}: neither {', '.join(METHODS)} nor a file")
    from detkit.proposals.proposal_files import read_proposals

    return _from_file(read_proposals(path), path, max_proposals)


def _from_file(stored: Mapping[str, Proposals], path: Path, max_proposals: int) -> ProposalSource:
    """Pictures are found as `annotations.finding` finds them everywhere: by name, else by as much of its end."""
    finder = Finder(tuple(stored))
    all_proposals = tuple(stored.values())

    def look_up(image: Image, name: str) -> Proposals:
        row = finder.by_file(name)
        if row < 0:
            why = f": the name fits {' and '.join(finder.fitting(name)[:3])}" if row == AMBIGUOUS else ""
            raise InputError(f"{path} has no proposals for {name or 'a picture without a name'}{why}")
        own = all_proposals[row].first(max_proposals)
        boxes = clip(own.boxes, image.shape[1], image.shape[0])
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Proposals(boxes[whole].astype("float32"), own.scores[whole])

    return look_up

"""What `detkit train rcnn` does for an R-CNN: features of all regions, SVMs and regressors, the file, its figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from detkit.detectors.rcnn.rcnn_model import FeatureSettings, write_rcnn_model
from detkit.detectors.rcnn.region_features import Features, RegionFeatures
from detkit.detectors.rcnn.region_proposals import proposal_source
from detkit.files import sha256
from detkit.graphs.registry import default_model
from detkit.training.material import Material
from detkit.training.measure import average_precision
from detkit.training.rcnn.rcnn_svm import Settings, cache_features, detect_stored, train_rcnn

# (units in all, what they are) -> a block in which the function it gives counts them.
Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class SvmRecipe:
    """How an R-CNN is trained.

    model      the network that makes the features, by name or file; None takes the bundled one
    features   which of its tensors, and how regions are warped
    proposals, max_proposals   where the regions come from, see `region_proposals.proposal_source`
    settings   of the SVMs and regressors
    resume     whether features that are there, made in the same way, are kept
    """

    model: str | None = None
    features: Features = field(default_factory=Features)
    proposals: str = "selective-search"
    max_proposals: int = 500
    settings: Settings = field(default_factory=Settings)
    resume: bool = False


def train_svms(material: Material, out: Path, recipe: SvmRecipe, progress: Progress) -> Trained:
    """Train on `material` into the folder `out`, which gets `detector.npz` and the features of all regions."""
    features = RegionFeatures(recipe.model, recipe.features)
    described = _described(features, recipe.model, out)
    made_with = {
        "features": [described.sha256, features.row, features.grid, list(features.size), features.context],
        "proposals": [recipe.proposals, recipe.max_proposals],
    }
    folder = out / "features"
    pictures = [*material.learn, *material.measure]
    source = proposal_source(recipe.proposals, recipe.max_proposals)
    with progress(len(pictures), "pictures") as advance:
        readable = cache_features(
            pictures, features, source, folder, made_with, resume=recipe.resume, advance=advance
        )  # fmt: skip
    rows = {picture.row for picture in readable}
    learn, measure = ([one for one in part if one.row in rows] for part in (material.learn, material.measure))
    names, settings = material.truth.categories.names, recipe.settings
    fits = len(names) * (settings.rounds + 1 + (settings.ridge > 0))
    with progress(fits, "fits") as advance:
        made = train_rcnn(learn, measure, folder, names, described, settings, None, advance)
    detector = out / "detector.npz"
    write_rcnn_model(detector, made)

    def figures() -> Iterator[tuple[str, tuple[float, float]]]:
        for regress in (False, True) if settings.ridge > 0 else (False,):
            found = detect_stored(made, measure, folder, bbox_regression=regress)
            how = f", {'with' if regress else 'without'} box regression"
            yield how, average_precision(found, measure, material.truth)

    return Trained(detector, len(measure), figures if measure else lambda: iter(()))


@dataclass(frozen=True)
class Trained:
    """A detector's file, and (how, (AP, AP50)) on the `measured` pictures held out, computed when asked for."""

    path: Path
    measured: int
    figures: Callable[[], Iterator[tuple[str, tuple[float, float]]]]


def _described(features: RegionFeatures, model: str | None, out: Path) -> FeatureSettings:
    """The features as the detector's file says them: the network by its name, or by its path from `out`."""
    path = features.network.path
    default = default_model("slide")
    name = model or (default.name if default else "")
    if path == Path(name):
        name = os.path.relpath(path, out)
    own = FeatureSettings("", sha256(path), features.row, features.grid, features.size, features.context)
    return replace(own, model=name)

"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from detkit.errors import InputError

Variant = Literal["fast", "faster"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates are for AdamW; shares are parts of the whole run, from 0 to 1."""

    variant: Variant = "faster"  # Fast R-CNN, or Faster R-CNN, which has a region proposal network
    image_size: int = 416  # long side of the pictures, pixels
    scales: tuple[float, float] = (0.65, 1.2)  # of the training pictures, parts of the image size
    batch: int = 8
    neck_rate: float = 3e-4
    rate: float = 1e-3  # of what follows the neck
    final_rate_share: float = 0.01
    weight_decay: float = 0.03
    warm_up_share: float = 0.02
    anchors: int = 256  # that a picture teaches the proposal network with, at most half of them objects
    rois: int = 64  # that a picture teaches the head with
    object_share: float = 0.25  # of the RoIs
    background_low: float = 0.0  # least IoU of a background RoI with an object
    candidates: int = 6000  # best anchors of a picture that non-maximum suppression sees
    proposals: int = 300  # that it leaves
    averaging: float = 0.998  # decay of the average of weights, per step
    repeat_threshold: float = 0.03
    largest_gradient: float = 10.0
    mixed_precision: bool = False  # activations in bfloat16: quicker where the processor computes in it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise InputError(f"variant {self.variant!r} is not known; there are {', '.join(VARIANTS)}")
        if self.image_size < 32 or self.image_size % 32:
            raise InputError(f"the image size must be a multiple of 32, not {self.image_size}")
        if self.batch < 1:
            raise InputError(f"a batch must have at least one picture, not {self.batch}")
        if min(self.anchors, self.rois, self.candidates, self.proposals) < 1:
            raise InputError("anchors, RoIs, candidates and proposals of a picture must be 1 or more")

"""The settings of a training that tells the class of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.errors import InputError


@dataclass(frozen=True)
class SegmentRecipe:
    """How to train. Rates are for AdamW; shares are parts of the whole run, from 0 to 1."""

    image_size: int = 256  # the long side of a picture that is measured, and shown at the scale 1
    batch: int = 8
    backbone_rate: float = 3e-4  # of what ImageNet taught
    rate: float = 2e-3
    final_rate_share: float = 0.01
    weight_decay: float = 0.03
    warm_up_share: float = 0.02
    # From which share on pictures are crops of which part of the image size: for 256 pixels 192, then 256.
    sizes: tuple[tuple[float, float], ...] = ((0.0, 0.75), (0.8, 1.0))
    scales: tuple[float, float] = (0.6, 1.5)  # of pictures, before they are cropped
    frozen_blocks: int = 5  # of the backbone's 16, from the picture on
    averaging: float = 0.996  # decay of the average of weights, per step
    repeat_threshold: float = 0.04
    balance: float = 0.2  # a class has the weight (its share of pixels) ** -balance in the loss
    coarse_gain: float = 0.4  # of the loss of coarse logits
    largest_gradient: float = 10.0
    measurements: int = 5  # of the held-out pictures during the run
    mixed_precision: bool = False  # activations in bfloat16: quicker where the processor computes in it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            raise InputError(f"the image size must be a multiple of 32, not {self.image_size}")
        if self.batch < 2:
            raise InputError(f"a batch must have at least two pictures, not {self.batch}: its mean is normalised by")

    def crop_size(self, share: float) -> int:
        """Side of the crops when so much of the run is over, a multiple of 32."""
        part = [size for start, size in self.sizes if share >= start][-1]
        return max(32, round(self.image_size * part / 32) * 32)

"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How to train. Rates are for AdamW; shares are parts of the whole run, from 0 to 1."""

    image_size: int = 416
    batch: int = 8
    backbone_rate: float = 3e-4  # of what ImageNet taught
    rate: float = 2e-3
    final_rate_share: float = 0.01
    weight_decay: float = 0.03
    warm_up_share: float = 0.02
    # From which share on pictures have which part of the image size: for 416 pixels 256, 320 and 416.
    sizes: tuple[tuple[float, float], ...] = ((0.0, 8 / 13), (0.75, 10 / 13), (0.9, 1.0))
    final_share: float = 0.9  # from here on pictures are whole images: no mosaics, little scaling
    mosaic_share: float = 0.5
    scales: tuple[float, float] = (0.4, 1.3)  # of pictures to the image size, before the final part
    mosaic_scales: tuple[float, float] = (0.3, 0.9)
    frozen_blocks: int = 5  # of the backbone's 16, from the image on
    averaging: float = 0.998  # decay of the average of weights, per step
    repeat_threshold: float = 0.03
    class_gain: float = 2.0
    focus: float = 1.0  # exponent of the quality focal loss
    box_gain: float = 5.0
    distance_gain: float = 1.0
    teacher_share: float = 0.6
    teacher_least_score: float = 0.1
    largest_gradient: float = 10.0
    mixed_precision: bool = False  # activations in bfloat16: quicker where the processor computes in it
    seed: int = 0

    def __post_init__(self) -> None:
        if self.image_size < 32 or self.image_size % 32:
            raise InputError(f"the image size must be a multiple of 32, not {self.image_size}")
        if self.batch < 1:
            raise InputError(f"a batch must have at least one picture, not {self.batch}")

    def picture_size(self, share: float) -> int:
        """Side of the pictures when so much of the run is over, a multiple of 32.

        Crops are smaller at first, and cheaper, not what is in them.
        """
        part = [size for start, size in self.sizes if share >= start][-1]
        return max(32, round(self.image_size * part / 32) * 32)

    @property
    def stored_side(self) -> int:
        """The long side that pictures are stored with: as large as they are ever shown."""
        return round(self.image_size * self.scales[1])

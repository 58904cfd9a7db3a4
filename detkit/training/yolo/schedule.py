"""What changes in the course of a training, as functions of the share of it that is over, 0 to 1."""

from __future__ import annotations

import math

from .recipe import Recipe


def rate_factor(share: float, warm_up: float, final: float) -> float:
    """Factor of the learning rate: linear from 0 to 1 during the warm-up, then half a cosine down to `final`.

    Loshchilov and Hutter, "SGDR" (2017), equation 5, without restarts.
    """
    if share < warm_up:
        return share / warm_up
    x = min(1.0, (share - warm_up) / (1 - warm_up))
    return final + (1 - final) * (1 + math.cos(math.pi * x)) / 2


def picture_size(share: float, recipe: Recipe) -> int:
    """Side of the training pictures, a multiple of 32: crops are smaller at first, and cheaper, not what is in them."""
    part = [size for start, size in recipe.sizes if share >= start][-1]
    return max(32, round(recipe.image_size * part / 32) * 32)

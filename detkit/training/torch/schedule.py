"""The learning rate in the course of a training, a function of the share of it that is over, 0 to 1."""

from __future__ import annotations

import math


def rate_factor(share: float, warm_up: float, final: float) -> float:
    """Factor of the learning rate: linear from 0 to 1 during the warm-up, then half a cosine down to `final`.

    Loshchilov and Hutter, "SGDR" (2017), equation 5, without restarts.
    """
    if share < warm_up:
        return share / warm_up
    x = min(1.0, (share - warm_up) / (1 - warm_up))
    return final + (1 - final) * (1 + math.cos(math.pi * x)) / 2

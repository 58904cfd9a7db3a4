"""The temporal convolutional network of Bai et al. 2018, "An Empirical Evaluation of Generic Convolutional and
Recurrent Networks for Sequence Modeling" (arXiv 1803.01271, section 3).

A dilated causal convolution of layer l with kernel k and dilation d_l = 2^l:

    F(t) = W_0 z_t + W_1 z_(t-d) + ... + W_(k-1) z_(t-(k-1)d) + b
    z'_t = relu(z_t + relu(F(t)))

Departures from the paper: one convolution a residual block and not two, no weight normalisation and no dropout, as the
network is small. It is computed step by step, so what a recurrent network has as a state are here the layers' last
inputs, (k - 1) d of each; zeros before the first are the paper's padding.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.motion.motion_model import FEATURES, Memory, MotionMemory

KERNEL, DILATIONS = 3, (1, 2, 4)  # sees 15 boxes


class Tcn(MotionMemory):
    """Three layers; the state of a layer are its last inputs (T, (k - 1) d, 33), oldest first."""

    width = 33
    state_shapes: ClassVar = {f"past{dilation}": ((KERNEL - 1) * dilation, 33) for dilation in DILATIONS}

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(FEATURES, self.width)
        self.taps = nn.ModuleList(nn.Linear(KERNEL * self.width, self.width) for _ in DILATIONS)  # W and b of F

    def step(self, x: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        z = self.widen(x)
        following = []
        for dilation, tap, past in zip(DILATIONS, self.taps, state, strict=True):
            line = torch.cat((past, z[:, None]), dim=1)  # z_(t-(k-1)d) ... z_t
            following.append(line[:, 1:])
            z = F.relu(z + F.relu(tap(line[:, ::dilation].flatten(1))))
        return z, tuple(following)

"""The long short-term memory of Hochreiter and Schmidhuber 1997 (Neural Computation 9), with the forget gate of Gers et
al. 2000 (Neural Computation 12); no peepholes.

    i_t = sigmoid(W_i x_t + U_i h_(t-1) + b_i)      how much enters
    f_t = sigmoid(W_f x_t + U_f h_(t-1) + b_f)      how much is kept
    o_t = sigmoid(W_o x_t + U_o h_(t-1) + b_o)      how much is shown
    g_t = tanh(W_g x_t + U_g h_(t-1) + b_g)         what enters
    c_t = f_t * c_(t-1) + i_t * g_t
    h_t = o_t * tanh(c_t)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from detkit.training.motion.motion_model import FEATURES, Memory, MotionMemory


class Lstm(MotionMemory):
    """One layer; its state is h (T, 46) and c (T, 46)."""

    width = 46
    state_shapes: ClassVar = {"h": (46,), "c": (46,)}

    def __init__(self) -> None:
        super().__init__()
        self.from_input = nn.Linear(FEATURES, 4 * self.width)  # W and b of i, f, o, g
        self.from_state = nn.Linear(self.width, 4 * self.width, bias=False)  # U of i, f, o, g
        with torch.no_grad():
            self.from_input.bias[self.width : 2 * self.width] = 1.0  # remembers at first (Jozefowicz et al. 2015)

    def step(self, x: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        h, c = state
        i, f, o, g = (self.from_input(x) + self.from_state(h)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)

"""The recurrent network of Elman 1990, "Finding Structure in Time" (Cognitive Science 14), with tanh.

h_t = tanh(W x_t + U h_(t-1) + b)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from detkit.training.motion.motion_model import FEATURES, Memory, MotionMemory


class Rnn(MotionMemory):
    """One layer; its state is h (T, 92)."""

    width = 92
    state_shapes: ClassVar = {"h": (92,)}

    def __init__(self) -> None:
        super().__init__()
        self.from_input = nn.Linear(FEATURES, self.width)  # W, b
        self.from_state = nn.Linear(self.width, self.width, bias=False)  # U
        nn.init.orthogonal_(self.from_state.weight)  # keeps what it remembers from fading or growing at first

    def step(self, x: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        h = torch.tanh(self.from_input(x) + self.from_state(state[0]))
        return h, (h,)

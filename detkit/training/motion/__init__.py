"""Recurrent and convolutional networks that say where a tracked object is expected: RNN, LSTM, TCN.

`NETWORKS` has a row for each; a new one is a module with a `MotionMemory` and a row.
"""

from __future__ import annotations

from detkit.training.motion.lstm import Lstm
from detkit.training.motion.motion_model import MotionMemory
from detkit.training.motion.rnn import Rnn
from detkit.training.motion.tcn import Tcn

NETWORKS: dict[str, type[MotionMemory]] = {"rnn": Rnn, "lstm": Lstm, "tcn": Tcn}

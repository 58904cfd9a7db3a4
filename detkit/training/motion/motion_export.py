"""A trained motion network as an ONNX file that `detkit track --motion` takes: state in, state out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from detkit.files import write_bytes
from detkit.training.motion.motion_model import MotionModel
from detkit.training.torch.exporting import finished, graph_of

TRACKS = "T"  # the open axis


def export_motion(network: MotionModel, path: Path, training: Mapping[str, Any]) -> Path:
    """Write `network` to `path`, with the inputs and outputs of `runs.motion_network`, and return the path.

    `training` says how it came about, and becomes a JSON object of the metadata. Weights stay in 32 bits.
    """
    states = {name: torch.zeros(2, *shape) for name, shape in network.state_shapes.items()}
    inputs = {"box": torch.tensor([[0.0, 0.0, 10.0, 20.0]] * 2), "since": torch.zeros(2), "ahead": torch.zeros(2)}
    outputs = ["expected", *(f"{name}_next" for name in states)]
    axes = {name: {0: TRACKS} for name in (*inputs, *states, *outputs)}
    model = graph_of(network.eval(), {**inputs, **states}, outputs, axes, keep_names=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, finished(model, {"task": "motion", "training": json.dumps(dict(training))}, half=False))
    return path

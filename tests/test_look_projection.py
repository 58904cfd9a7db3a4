"""The deconvolution network against PyTorch: the same switches, the same filters transposed, to 1e-4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.errors import ModelError
from detkit.graphs.editing import load_whole
from detkit.images import write_image
from detkit.inside.deconvolution import Deconvolution, as_picture, chain_of, most_driven, projectable, strongest
from detkit.inside.tapped import Tapped

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
torch = pytest.importorskip("torch", reason="needs the extra train")
nn = torch.nn

NETWORKS = {
    "lenet": ((1, 32, 32), lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 10),
    )),
    "vgg": ((3, 32, 48), lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 8 * 12, 5),
    )),
    "alexnet": ((3, 67, 67), lambda: nn.Sequential(
        nn.Conv2d(3, 8, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 12, 5, padding=2, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(12 * 9, 5),
    )),
}  # fmt: skip


def exported(name: str, folder: Path):
    torch.manual_seed(1)
    shape, make = NETWORKS[name]
    network = make().eval()
    path = folder / f"{name}.onnx"
    torch.onnx.export(network, torch.zeros(1, *shape), str(path), input_names=["x"], opset_version=17, dynamo=False)
    return network, path, torch.rand(1, *shape)


def by_torch(network, x, last: int, unit: tuple[int, int, int]):
    """(activation of layer `last`, projection of its unit) by hooks, max_unpool2d and conv_transpose2d."""
    functional = nn.functional
    seen, switches, sizes = [], {}, {}
    hooks = [layer.register_forward_hook(lambda _, before, after: seen.append((before[0], after))) for layer in network]
    network(x)
    for hook in hooks:
        hook.remove()
    for number, layer in enumerate(network):
        sizes[number] = seen[number][0].shape
        if isinstance(layer, nn.MaxPool2d):
            switches[number] = functional.max_pool2d(
                seen[number][0], layer.kernel_size, layer.stride, return_indices=True
            )[1]
    activation = seen[last][1]
    signal = torch.zeros_like(activation)
    signal[(0, *unit)] = activation[(0, *unit)]
    for number in range(last, -1, -1):
        layer = network[number]
        if isinstance(layer, nn.ReLU):
            signal = functional.relu(signal)
        elif isinstance(layer, nn.MaxPool2d):
            signal = functional.max_unpool2d(
                signal, switches[number], layer.kernel_size, layer.stride, output_size=sizes[number]
            )
        else:
            plain = functional.conv_transpose2d(
                signal, layer.weight, None, layer.stride, layer.padding, groups=layer.groups
            )
            rest = [sizes[number][2 + k] - plain.shape[2 + k] for k in (0, 1)]
            signal = functional.conv_transpose2d(
                signal, layer.weight, None, layer.stride, layer.padding, output_padding=rest, groups=layer.groups
            )
    return activation.detach().numpy()[0], signal.detach().numpy()[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_projections_and_activations_are_pytorchs(name: str, tmp_path: Path) -> None:
    network, path, x = exported(name, tmp_path)
    tapped = Tapped(path, load_whole(path))
    feeds = {"x": x.numpy()}
    chain = chain_of(tapped.model, tapped.shapes(feeds))
    tensors = projectable(chain)
    relus = [number for number, layer in enumerate(network) if isinstance(layer, nn.ReLU)]
    assert len(tensors) == len(relus)
    for tensor, last in zip(tensors, relus, strict=True):
        deconvolution = Deconvolution(tapped, chain, tensor)
        maps, switches = deconvolution.forward(feeds)
        unit = strongest(maps, int(maps.max(axis=(1, 2)).argmax()))
        activation, expected = by_torch(network, x, last, unit)
        assert np.abs(maps - activation).max() < 1e-4
        projection = deconvolution.project(maps, switches, unit)
        assert projection.shape == x.shape[1:]
        assert np.abs(projection - expected).max() < 1e-4
        assert np.abs(expected).max() > 0
        # Nothing outside of what the unit sees drives it.
        x1, y1, x2, y2 = deconvolution.chain.receptive_field(*unit[1:])
        outside = projection.copy()
        outside[:, y1:y2, x1:x2] = 0
        assert not outside.any()


def test_what_is_no_chain_is_refused_with_the_reason(tmp_path: Path) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            y = torch.relu(self.first(x))
            return torch.relu(self.second(y) + y)

    path = tmp_path / "j.onnx"
    torch.onnx.export(Joined(), torch.zeros(1, 3, 16, 16), str(path), input_names=["x"], opset_version=17, dynamo=False)
    tapped = Tapped(path, load_whole(path))
    chain = chain_of(tapped.model, tapped.shapes({"x": np.zeros((1, 3, 16, 16), np.float32)}))
    assert len(projectable(chain)) == 1
    assert "2 operators read one map" in chain.end
    with pytest.raises(ModelError, match="2 operators read one map"):
        chain.until(tapped.outputs[0])
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
    torch.onnx.export(network, torch.zeros(1, 3, 9, 9), str(path), input_names=["x"], opset_version=17, dynamo=False)
    tapped = Tapped(path, load_whole(path))
    chain = chain_of(tapped.model, tapped.shapes({"x": np.zeros((1, 3, 9, 9), np.float32)}))
    assert "Tanh" in chain.end


def test_the_pictures_that_drive_a_channel_most_come_first() -> None:
    values = [np.array(row, np.float32) for row in ([1, 5], [3, 2], [2, 9])]
    assert most_driven(values, 2).T.tolist() == [[1, 2], [2, 0]]


def test_a_projection_is_gray_where_nothing_drives() -> None:
    shown = as_picture(np.array([[[0, 2]], [[0, -1]], [[0, 0]]], np.float32))
    assert shown.tolist() == [[[128, 128, 128], [255, 64, 128]]]
    assert as_picture(np.array([[[0, 2]], [[0, -1]], [[0, 0]]], np.float32), bgr=True)[0, 1].tolist() == [128, 64, 255]


def test_the_command_writes_a_sheet_of_units_and_pictures(cli, tmp_path: Path) -> None:
    _, path, _ = exported("vgg", tmp_path)
    random = np.random.default_rng(0)
    for number in range(3):
        write_image(tmp_path / "p" / f"{number}.png", random.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    done = cli("look", tmp_path / "p", "--model", path, "--projection", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "o").glob("projection-*.png"))) == 3
    done = cli("look", tmp_path / "p", "--model", path, "--projection", "--layer", "6", "-o", tmp_path / "o")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "looks at the picture as a whole" in done.stderr

"""Classifiers in a sliding window: the dense path, the window path, names, normalisation, and bad networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detkit.boxes import iou
from detkit.detectors.windows.slide_detector import Classifier, SlideDetector
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.dense_graph import NotDense, make_dense

MODELS = Path(__file__).parent.parent / "models"


class Net:
    """A small classifier, layer by layer."""

    def __init__(self, shape: Sequence[int | str] = ("n", 3, 24, 20), opset: int = 17, seed: int = 0) -> None:
        self.shape, self.opset = list(shape), opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "picture"

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant(self.random.normal(0, scale / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32))

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *others: str, **attributes: Any) -> Net:
        result = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *others], [result], **attributes))
        self.last = result
        return self

    def save(self, path: Path, outputs: int = 5, metadata: dict[str, str] | None = None) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("picture", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        helper.set_model_props(model, metadata or {})
        onnx.save(model, path)
        return path


def _trunk(net: Net) -> Net:
    """Convolutions and pooling: 24 x 20 to a map of 3 x 2 (h, w), 16 channels, every 4 pixels."""
    net.add("Conv", net.weight(8, 3, 3, 3), net.weight(8)).add("Relu").add(
        "MaxPool", kernel_shape=[2, 2], strides=[2, 2]
    )
    net.add("Conv", net.weight(16, 8, 3, 3, scale=2)).add("Relu")
    return net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])


def _gemm(net: Net) -> Net:
    _trunk(net).add("Flatten")
    net.add("Gemm", net.weight(12, 16 * 4 * 3), net.weight(12), transB=1).add("Relu").add("Dropout")
    return net.add("Gemm", net.weight(12, 5, scale=4), net.weight(5))


def _matmul(net: Net) -> Net:
    _trunk(net).add("Reshape", net.constant(np.array([-1, 16 * 4 * 3], np.int64)))
    net.add("MatMul", net.weight(16 * 4 * 3, 5)).add("Add", net.weight(5))
    return net.add("Softmax")


def _pooled(net: Net) -> Net:
    _trunk(net).add("GlobalAveragePool").add("Flatten")
    return net.add("Gemm", net.weight(5, 16, scale=6), net.weight(5), transB=1).add("Softmax", axis=1)


def _mean(net: Net) -> Net:
    _trunk(net).add("ReduceMean", axes=[2, 3], keepdims=0)
    return net.add("Gemm", net.weight(5, 16, scale=6), transB=1)


def _convolutional(net: Net) -> Net:
    _trunk(net)
    net.add("Conv", net.weight(5, 16, 4, 3, scale=4)).add("Mul", net.constant(np.full((1, 5, 1, 1), 2, np.float32)))
    return net.add("Flatten")


def _branches(net: Net) -> Net:
    _trunk(net)
    trunk = net.last
    left = net.add("Conv", net.weight(4, 16, 1, 1)).last
    net.last = trunk
    net.add("Conv", net.weight(4, 16, 1, 1)).add("Sigmoid")
    net.add("Concat", left, axis=1).add("GlobalMaxPool").add("Flatten")
    return net.add("Gemm", net.weight(5, 8, scale=3), transB=1)


def _half(net: Net) -> Net:
    """Weights stored in 16 bits, that a Cast brings to 32."""
    kernel = net.constant(net.random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float16))
    net.nodes.append(helper.make_node("Cast", [kernel], ["kernel"], to=TensorProto.FLOAT))
    matrix = net.constant(net.random.normal(0, 0.1, (8 * 11 * 9, 5)).astype(np.float16))
    net.nodes.append(helper.make_node("Cast", [matrix], ["matrix"], to=TensorProto.FLOAT))
    net.add("Conv", "kernel").add("Relu").add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return net.add("Flatten").add("MatMul", "matrix")


DENSE = {
    "gemm": _gemm,
    "matmul": _matmul,
    "pooled": _pooled,
    "mean": _mean,
    "conv": _convolutional,
    "concat": _branches,
    "16-bit weights": _half,
}


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("stride", [4, 8, 12])
@pytest.mark.parametrize("name", DENSE)
def test_a_level_at_once_equals_window_by_window(tmp_path: Path, name: str, stride: int, opset: int) -> None:
    path = DENSE[name](Net(opset=opset)).save(tmp_path / "net.onnx")
    detector = SlideDetector(path, stride=stride, dense=True)
    image = _noise(83, 70)
    dense, windows = detector.scores(image), detector.window_scores(image)
    assert dense.shape == windows.shape == (5, (83 - 24) // stride + 1, (70 - 20) // stride + 1)
    assert windows.std(axis=(1, 2)).max() > 1e-3  # windows differ
    np.testing.assert_allclose(dense, windows, atol=1e-4)
    np.testing.assert_allclose(windows.sum(axis=0), 1, atol=1e-4)


def test_a_window_of_the_network_alone_has_the_same_score(tmp_path: Path) -> None:
    """The reference is onnxruntime on one cut-out, not our own window path."""
    import onnxruntime

    path = _gemm(Net()).save(tmp_path / "net.onnx", metadata={"mean": "[10, 20, 30]", "std": "[50, 60, 70]"})
    image = _noise(60, 60)
    found = SlideDetector(path, stride=4).scores(image)
    cut = (image[8:32, 12:32].astype(np.float32) - [10, 20, 30]) / [50, 60, 70]
    logits = onnxruntime.InferenceSession(str(path)).run(None, {"picture": cut.transpose(2, 0, 1)[None].astype("f4")})[
        0
    ]
    expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(found[:, 2, 3], expected, atol=1e-5)


def _padded(net: Net) -> Net:
    net.add("Conv", net.weight(8, 3, 3, 3), pads=[1, 1, 1, 1]).add("GlobalAveragePool").add("Flatten")
    return net.add("Gemm", net.weight(5, 8, scale=6), transB=1)


def _same(net: Net) -> Net:
    net.add("Conv", net.weight(8, 3, 3, 3), auto_pad="SAME_UPPER").add("GlobalAveragePool").add("Flatten")
    return net.add("Gemm", net.weight(5, 8, scale=6), transB=1)


def _ceiling(net: Net) -> Net:
    net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1).add("GlobalAveragePool").add("Flatten")
    return net.add("Gemm", net.weight(5, 3, scale=6), transB=1)


def _positions(net: Net) -> Net:
    net.add("Mul", net.weight(1, 3, 24, 20)).add("GlobalAveragePool").add("Flatten")
    return net.add("Gemm", net.weight(5, 3, scale=6), transB=1)


@pytest.mark.parametrize(
    ("build", "why"),
    [(_padded, "pads"), (_same, "pads"), (_ceiling, "rounds its size up"), (_positions, "differs from place to place")],
)
def test_a_graph_that_would_not_be_exact_is_taken_window_by_window(
    tmp_path: Path, build: Callable[[Net], Net], why: str
) -> None:
    path = build(Net()).save(tmp_path / "net.onnx")
    detector = SlideDetector(path, stride=4)
    assert detector.dense is None
    assert why in detector.why_not_dense
    assert detector.scores(_noise(60, 60)).shape == (5, 10, 11)
    with pytest.raises(UsageError, match=why):
        SlideDetector(path, stride=4, dense=True)


def test_a_stride_between_the_layers_own_is_taken_window_by_window(tmp_path: Path) -> None:
    detector = SlideDetector(_gemm(Net()).save(tmp_path / "net.onnx"), stride=6)
    assert detector.dense is None
    assert "multiples of 4 x 4" in detector.why_not_dense


def test_dense_graph_is_valid_for_the_onnx_checker(tmp_path: Path) -> None:
    content = _gemm(Net()).save(tmp_path / "net.onnx").read_bytes()
    graph = onnx.load_from_string(make_dense(content, (20, 24), (8, 8)))
    onnx.checker.check_model(graph, full_check=True)
    assert [node.op_type for node in graph.graph.node].count("Gemm") == 0


@pytest.mark.parametrize("cut", [1, 10, 100, 1000])
def test_a_damaged_file_is_refused(tmp_path: Path, cut: int) -> None:
    content = _gemm(Net()).save(tmp_path / "net.onnx").read_bytes()
    with pytest.raises(NotDense):
        make_dense(content[:-cut], (20, 24), (8, 8))


def test_fixed_batch_and_channels_last(tmp_path: Path) -> None:
    fixed = _gemm(Net(shape=(4, 3, 24, 20))).save(tmp_path / "fixed.onnx")
    free = _gemm(Net()).save(tmp_path / "free.onnx")
    image = _noise(50, 60)
    expected = SlideDetector(free, stride=4, dense=False).scores(image)
    np.testing.assert_allclose(SlideDetector(fixed, stride=4, dense=False).scores(image), expected, atol=1e-5)
    net = Net(shape=("n", 24, 20, 3))
    last = _gemm(net.add("Transpose", perm=[0, 3, 1, 2])).save(tmp_path / "last.onnx")
    np.testing.assert_allclose(SlideDetector(last, stride=4).scores(image), expected, atol=1e-5)


def test_names_background_and_classes(tmp_path: Path) -> None:
    path = _gemm(Net()).save(
        tmp_path / "net.onnx", metadata={"names": "{0: 'cat', 1: 'dog', 2: 'background', 3: 'd', 4: 'e'}"}
    )
    classifier = Classifier(path)
    assert classifier.names == ("cat", "dog", "background", "d", "e")
    assert classifier.background == 2
    assert Classifier(path, background="dog").background == 1
    assert Classifier(path, background="0").background == 0
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    assert Classifier(path, names=names).names == ("a", "b", "c", "d", "e")
    assert Classifier(path, names=names).background is None
    with pytest.raises(UsageError, match="2 names were given, but the classifier has 5 classes"):
        Classifier(path, names=["a", "b"])
    with pytest.raises(UsageError, match="no class 'horse'; it has cat, dog"):
        SlideDetector(path, classes=["horse"])
    image = _noise(60, 60)
    winners = SlideDetector(path, stride=4).scores(image).argmax(axis=0)
    winner = int(np.bincount(winners.ravel()).argmax())
    loser = (winner + 1) % 5
    found = SlideDetector(path, stride=4, conf=0.0, background=loser)(image)
    assert winner in found.class_ids
    assert winner not in SlideDetector(path, stride=4, conf=0.0, background=winner)(image).class_ids
    only = SlideDetector(path, stride=4, conf=0.0, background=loser, classes=[winner])(image)
    assert set(only.class_ids.tolist()) == {winner}
    others = [number for number in range(5) if number != winner]
    assert winner not in SlideDetector(path, stride=4, conf=0.0, background=loser, classes=others)(image).class_ids


def test_logits_and_probabilities_are_told_apart(tmp_path: Path) -> None:
    logits = _gemm(Net()).save(tmp_path / "logits.onnx")
    probabilities = _gemm(Net()).add("Softmax", axis=1).save(tmp_path / "probabilities.onnx")
    image = _noise(40, 40)
    np.testing.assert_allclose(
        SlideDetector(logits, stride=4).scores(image), SlideDetector(probabilities, stride=4).scores(image), atol=1e-5
    )


def test_a_larger_window_sees_the_picture_smaller(tmp_path: Path) -> None:
    detector = SlideDetector(_gemm(Net()).save(tmp_path / "net.onnx"), window=(40, 72), stride=4, conf=0.0)
    found = detector(_noise(144, 120))
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    assert len(found) > 0
    assert sizes.min(axis=0) == pytest.approx([40, 72], rel=0.02)


def test_an_input_that_is_no_picture(tmp_path: Path) -> None:
    net = Net(shape=("n", 40))
    path = net.add("Gemm", net.weight(40, 5)).save(tmp_path / "rows.onnx")
    with pytest.raises(ModelError, match=r"rows.onnx: its input is not a picture .*picture float32 \(\? x 40\)"):
        SlideDetector(path)


def test_an_output_that_is_no_row_of_scores(tmp_path: Path) -> None:
    net = Net()
    path = net.add("Conv", net.weight(8, 3, 3, 3)).save(tmp_path / "maps.onnx")
    with pytest.raises(ModelError, match=r"maps.onnx: is no classifier: its output is 1 x 8 x 22 x 18"):
        SlideDetector(path)
    net = Net()
    net.add("GlobalAveragePool").add("Flatten").add("Gemm", net.weight(3, 1)).save(tmp_path / "one.onnx")
    with pytest.raises(ModelError, match="gives 1 score a window"):
        SlideDetector(tmp_path / "one.onnx")


def test_a_window_larger_than_the_picture(tmp_path: Path) -> None:
    detector = SlideDetector(_gemm(Net()).save(tmp_path / "net.onnx"), window=(100, 100))
    with pytest.raises(InputError, match="window of 100 x 100 is larger than the picture of 60 x 200"):
        detector(_noise(200, 60))
    with pytest.raises(InputError, match="larger than the picture"):
        detector.prepare(_noise(200, 60))


def test_an_open_input_needs_a_window(tmp_path: Path) -> None:
    net = Net(shape=("n", 3, "h", "w"))
    net.add("Conv", net.weight(8, 3, 3, 3)).add("GlobalAveragePool").add("Flatten")
    path = net.add("Gemm", net.weight(5, 8, scale=6), transB=1).save(tmp_path / "open.onnx")
    with pytest.raises(UsageError, match="name the window"):
        SlideDetector(path)
    detector = SlideDetector(path, window=(32, 24), stride=4, dense=True)
    assert detector.scores(_noise(60, 64)).shape == (5, 10, 9)


@pytest.fixture(scope="module")
def page() -> tuple[np.ndarray, list[tuple[int, int, int]], np.ndarray]:
    """A written page: twelve digits that the network never saw, of three sizes, on uneven paper."""
    datasets = pytest.importorskip("sklearn.datasets")
    import cv2

    data = datasets.load_digits()
    random = np.random.default_rng(4)
    chosen = random.permutation(np.arange(len(data.images) * 4 // 5, len(data.images)))[:12]
    canvas = cv2.resize(random.normal(238, 5, (12, 16)).astype(np.float32), (480, 360))
    places = []
    for number, index in enumerate(chosen):
        side = (26, 36, 52)[number % 3]
        left, top = (
            30 + number % 4 * 112 + int(random.integers(0, 20)),
            20 + number // 4 * 115 + int(random.integers(0, 15)),
        )
        large = cv2.resize(data.images[index].astype(np.float32) / 16, (side, side), interpolation=cv2.INTER_CUBIC)
        canvas[top : top + side, left : left + side] *= 1 - 0.9 / (1 + np.exp(-(large - 0.45) * 10))
        places.append((left, top, side))
    canvas += random.normal(0, 2, canvas.shape)
    return np.repeat(np.clip(canvas, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), places, data.target[chosen]


def test_lenet_finds_digits_on_a_written_page(page: Any) -> None:
    image, places, truth = page
    detector = SlideDetector(MODELS / "lenet5-digits.onnx", stride=4, conf=0.8, dense=True)
    assert detector.names == (*"0123456789", "background")
    found = detector(image)
    right = 0
    for (left, top, side), digit in zip(places, truth.tolist(), strict=True):
        middle = np.array([[left, top, left + side, top + side]], np.float32)
        near = iou(found.boxes, middle)[:, 0] > 0.4 if len(found) else np.zeros(0, bool)
        right += bool(near.any() and found.class_ids[near][0] == digit)
    assert right >= 10, f"{right} of 12 digits"
    assert len(found) <= 18


def test_the_bundled_network_knows_its_normalisation() -> None:
    network = onnx.load(str(MODELS / "lenet5-digits.onnx"))
    about = {entry.key: entry.value for entry in network.metadata_props}
    assert json.loads(about["names"])["10"] == "background"
    assert (about["mean"], about["std"]) == ("[0]", "[255]")


def test_windows_go_through_the_network_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = SlideDetector(MODELS / "lenet5-digits.onnx", dense=False, batch=7, max_levels=1)
    sizes: list[int] = []
    real = detector.network.run
    monkeypatch.setattr(
        detector.network, "run", lambda feeds: sizes.append(len(next(iter(feeds.values())))) or real(feeds)
    )
    detector(np.zeros((40, 60, 3), np.uint8))
    assert set(sizes[:-1]) == {7}
    with pytest.raises(UsageError, match="batch is at least 1"):
        SlideDetector(MODELS / "lenet5-digits.onnx", batch=0)


def _sigmoid(net: Net) -> Net:
    return _gemm(net).add("Sigmoid")


def test_probabilities_of_each_class_by_itself_stay_as_they_are(tmp_path: Path) -> None:
    path = _sigmoid(Net()).save(tmp_path / "sigmoid.onnx")
    classifier = Classifier(path)
    tensors = np.stack([classifier.tensor(_noise(24, 20)), classifier.tensor(np.zeros((24, 20, 3), np.uint8))])
    raw = classifier.network.run({"picture": tensors})[0]
    assert not np.allclose(raw.sum(axis=1), 1, atol=0.1)
    np.testing.assert_array_equal(classifier.classify(tensors), raw)


def test_an_open_input_with_a_fixed_head_takes_its_window(tmp_path: Path) -> None:
    path = _gemm(Net(shape=("n", 3, "h", "w"))).save(tmp_path / "open.onnx")
    with pytest.raises(UsageError, match="name the window"):
        SlideDetector(path)
    found = SlideDetector(path, window=(20, 24), stride=4, conf=0)(_noise(60, 70))
    fixed = SlideDetector(_gemm(Net()).save(tmp_path / "fixed.onnx"), stride=4, conf=0)(_noise(60, 70))
    np.testing.assert_allclose(found.scores, fixed.scores, atol=1e-6)


def test_windows_far_smaller_than_the_input_are_refused(tmp_path: Path) -> None:
    detector = SlideDetector(_gemm(Net()).save(tmp_path / "net.onnx"), window=(1, 1))
    with pytest.raises(InputError, match="take a larger window"):
        detector(np.zeros((2000, 3000, 3), np.uint8))
    with pytest.raises(InputError, match="larger than the picture of 30 x 10; take a smaller window"):
        SlideDetector(tmp_path / "net.onnx")(np.zeros((10, 30, 3), np.uint8))


def test_a_name_stands_for_the_classes_called_so_and_background_for_any_spelling(tmp_path: Path) -> None:
    names = ["cat", "dog", "__Background__", "Cat", "cow"]
    path = _gemm(Net()).save(tmp_path / "net.onnx", metadata={"names": json.dumps(names)})
    detector = SlideDetector(path, classes=["cat"])
    assert detector.selection.wanted(detector.names).tolist() == [0]  # to the letter, where one is called so
    assert SlideDetector(path, classes=["CAT"]).selection.wanted(detector.names).tolist() == [0, 3]
    assert detector.classifier.background == 2

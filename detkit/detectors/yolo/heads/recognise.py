"""Which head a graph has: from its metadata, its input, its outputs, the sums of its grids and, last, their values.

`recognise` gives every head that fits, each with the reason. One is an answer; more than one means that the graph
does not tell, and the caller refuses it with the candidates named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import names_from_metadata
from detkit.detectors.yolo.heads import grid
from detkit.detectors.yolo.heads.types import Shape
from detkit.errors import ModelError
from detkit.graphs.session import TensorInfo

_MOST_FINISHED_ROWS = 1000
# libreyolo's families, as its metadata calls them, whose graphs are read.
_FAMILIES = ("yolov9", "yolo9", "yolox")


@dataclass(frozen=True)
class Signature:
    """All that tells heads apart.

    size     input (width, height) in pixels
    values   the outputs for a test picture, computed when first asked for
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    metadata: Mapping[str, str]
    size: tuple[int, int]
    values: Callable[[], Sequence[NDArray[Any]]]

    @property
    def image(self) -> TensorInfo:
        return image_input(self.inputs)

    @property
    def names(self) -> list[str]:
        return [output.name.lower() for output in self.outputs]

    def shapes(self) -> list[Shape]:
        """The output shapes; where the graph leaves axes open, those of the test picture."""
        if all(axis is not None for output in self.outputs for axis in output.shape) and all(
            output.shape for output in self.outputs
        ):
            return [tuple(int(axis or 0) for axis in output.shape) for output in self.outputs]
        return [value.shape for value in self.values()]

    def ranks(self) -> list[int]:
        return [len(shape) for shape in self.shapes()]


@dataclass(frozen=True)
class Match:
    """A head that fits a graph, and why."""

    head: str
    reason: str


def image_input(inputs: Sequence[TensorInfo]) -> TensorInfo:
    """The input that takes the picture: the one with three or four axes. ModelError where there is none."""
    pictures = [value for value in inputs if len(value.shape) in (3, 4)]
    # DETR's pixel mask has three axes beside the picture's four.
    best = max(pictures, key=lambda value: len(value.shape), default=None)
    if best is None:
        raise ModelError("no input of the graph takes a picture: none has 3 or 4 axes")
    return best


def channels_last(image: TensorInfo) -> bool:
    """Whether the picture's channels are its last axis (NHWC)."""
    first = image.shape[-3]
    return image.shape[-1] in (1, 3) and first not in (1, 3)


def is_classifier(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], metadata: Mapping[str, str]) -> bool:
    """Whether a graph names whole pictures: it says so, or gives one row for a picture of one channel."""
    if metadata.get("task") == "classify":
        return True
    image = image_input(inputs)
    channels = image.shape[-1] if channels_last(image) else image.shape[-3]
    return channels == 1 and len(outputs) == 1 and len(outputs[0].shape) == 2


def recognise(signature: Signature) -> list[Match]:
    """Every head that fits; an empty list where none does."""
    task = signature.metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(f"the graph's metadata says task {task!r}; detkit reads detection networks")
    family = signature.metadata.get("model_family", "")
    if family and len(signature.outputs) < 3 and not any(known in family for known in _FAMILIES):
        # libreyolo writes many families into the same shapes, each decoded in its own way.
        raise ModelError(f"the graph's metadata says model_family {family!r}, which no head of detkit's decodes")
    rules = {1: _one_output, 2: _two_outputs, 3: _three_outputs, 4: _four_outputs}
    count = len(signature.outputs)
    if count in rules:
        found = rules[count](signature)
        if found:
            return found
    return _levels(signature)


def _cells_match(signature: Signature, rows: int, anchors: int = 1) -> tuple[int, ...] | None:
    return grid.matching(signature.size, rows, anchors)


def _one_output(signature: Signature) -> list[Match]:
    shape = signature.shapes()[0]
    if len(shape) == 4:
        return _one_map(signature, shape)
    if len(shape) == 2:
        return _one_table(signature, shape)
    if len(shape) != 3:
        return []
    _, rows, columns = shape
    named = len(names_from_metadata(signature.metadata))
    if rows >= 5 and _cells_match(signature, columns) and (columns > rows or named == rows - 4):
        return _by_columns(signature, shape)
    if columns == 6 and rows <= _MOST_FINISHED_ROWS and (_finished(signature) or not _cells_match(signature, rows)):
        return _six_columns(signature, shape)
    if columns >= 6 and _cells_match(signature, rows, anchors=3):
        name = "yolov5" if "stride" in signature.metadata else "yolov7"
        return [Match(name, f"one output {shape}: 3 anchors a cell, 5 + {columns - 5} columns, decoded alike")]
    if columns > 36 and rows == grid.count(signature.size, (8, 16, 32, 64)) and not _probable_objectness(signature):
        return [
            Match("nanodet-plus", f"one output {shape}: a row a cell of strides 8 to 64, {columns - 32} + 32 columns")
        ]
    if columns >= 6 and _cells_match(signature, rows):
        return _one_row_a_cell(signature, shape)
    if columns > 6 and rows <= _MOST_FINISHED_ROWS and (rows == 300 or "names" in signature.metadata):
        return [Match("rtdetr-ultralytics", f"one output {shape}: queries with 4 + {columns - 4} columns")]
    return []


def _by_columns(signature: Signature, shape: Shape) -> list[Match]:
    grids = f"one output {shape}: 4 + {shape[1] - 4} rows, a column a cell of the grids"
    if "model_family" in signature.metadata:
        return [Match("yolov9-xyxy", f"{grids}; metadata: libreyolo's {signature.metadata['model_family']}")]
    description = signature.metadata.get("description", "").lower()
    for name, word in (("yolov9", "yolov9"), ("yolo11", "yolo11"), ("yolo12", "yolo12")):
        if word in description:
            return [Match(name, f"{grids}; metadata: {signature.metadata['description'].strip()}")]
    return [Match("yolov8", grids)]


def _finished(signature: Signature) -> bool:
    """Whether rows of six columns are finished boxes, even where a grid happens to have as many cells.

    20 x 15 cells of 32 pixels are 300, too. The metadata tells, or whole numbers in the last column: a class, where a
    row a cell would have a probability.
    """
    if _says_finished(signature) or "rtdetr" in _description(signature):
        return True
    return bool(np.all(_whole(signature.values()[0][..., 5])))


def _says_finished(signature: Signature) -> bool:
    """Whether ultralytics' metadata says that suppression is done, or not needed."""
    return signature.metadata.get("end2end") == "True" or "'nms': True" in signature.metadata.get("args", "")


def _whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    return values == np.round(values)


def _six_columns(signature: Signature, shape: Shape) -> list[Match]:
    finished = Match("yolov10", f"one output {shape}: rows of box, score, class, fewer than the grids have cells")
    transformer = Match("rtdetr-ultralytics", f"one output {shape}: queries with 4 + 2 columns")
    sorted_queries = Match("rtdetr-ultralytics-topk", f"one output {shape}: the best queries with score and class")
    values = signature.values()[0].reshape(-1, 6)
    if "rtdetr" in _description(signature).replace("-", ""):
        two_classes = len(names_from_metadata(signature.metadata)) == 2 and not np.all(_whole(values[:, 5]))
        return [transformer if two_classes else sorted_queries]
    if _says_finished(signature):
        return [finished]
    if np.all(_whole(values[:, 5])):
        shares = np.any(values[:, 4] > 0) and np.all((values[:, :4] >= -0.5) & (values[:, :4] <= 1.5))
        return [sorted_queries if shares else finished]
    if np.all((values >= -0.5) & (values <= 1.5)):
        return [transformer]
    return [finished, transformer]


def _one_row_a_cell(signature: Signature, shape: Shape) -> list[Match]:
    columns = f"one output {shape}: a row a cell of the grids, 5 + {shape[2] - 5} columns"
    rows = signature.values()[0].reshape(-1, shape[2])
    if np.all(rows[:, 4] == 1):
        return [Match("yolov6", f"{columns}; its objectness is 1 everywhere")]
    if not _probable_objectness(signature):
        return []
    # Decoded centres lie all over the input; raw ones are offsets of a few cells.
    if np.median(np.abs(rows[:, :2])) > 8 and np.all(rows[:, 2:4] >= 0):
        return [Match("yolox-decoded", f"{columns}; its boxes are in pixels")]
    return [Match("yolox", f"{columns}; its boxes are not decoded")]


def _probable_objectness(signature: Signature) -> bool:
    """Whether column 4 and after are probabilities, as objectness and classes are."""
    rows = signature.values()[0]
    confidences = rows.reshape(-1, rows.shape[-1])[:, 4:]
    return bool(np.all((confidences >= 0) & (confidences <= 1)))


def _one_map(signature: Signature, shape: Shape) -> list[Match]:
    if shape[1] == shape[2] and shape[3] > 10 and shape[1] < 32 and shape[3] != shape[2]:
        return [Match("yolov1", f"one output {shape}: S x S x (5 * 2 + {shape[3] - 10})")]
    if (shape[3], shape[2]) != grid.cells(signature.size, 32) or shape[1] % 5 or shape[1] < 30:
        return []
    classes = shape[1] // 5 - 5
    reason = f"one output {shape}: 5 anchors of 5 + {classes} channels at stride 32"
    if classes == 20 and signature.image.name == "image":
        return [Match("tiny-yolov2", f"{reason}; input named 'image' as in the ONNX zoo")]
    if classes == 20:
        return [Match("yolov2", reason), Match("tiny-yolov2", f"{reason}; the tiny network has other anchors")]
    return [Match("yolov2", reason)]


def _one_table(signature: Signature, shape: Shape) -> list[Match]:
    if shape[1] == 7:
        reason = f"one output {shape}: rows of batch, box and two more"
        if signature.image.dtype == np.uint8:
            return [Match("yolo-nas-flat", f"{reason}; uint8 input: score, class")]
        rows = signature.values()[0].reshape(-1, 7)
        whole = [len(rows) and np.all(_whole(rows[:, k])) for k in (5, 6)]
        if whole[0] and not whole[1]:
            return [Match("yolov7-nms", f"{reason}; column 5 holds whole numbers: class, score")]
        if whole[1] and not whole[0]:
            return [Match("yolo-nas-flat", f"{reason}; column 6 holds whole numbers: score, class")]
        if any("flat" in name for name in signature.names):
            return [Match("yolo-nas-flat", f"{reason}; output named {signature.outputs[0].name!r}")]
        return [Match("yolov7-nms", reason), Match("yolo-nas-flat", reason)]
    if shape[1] == 6 and _paddle(signature):
        return [Match("ppyoloe", f"one output {shape} and an input scale_factor")]
    if shape[1] > 6 and shape[0] <= 64:
        for side in (7, *range(2, 32)):
            if shape[1] % (side * side) == 0 and shape[1] // (side * side) > 10:
                return [Match("yolov1", f"one flat output {shape}: {side} x {side} x {shape[1] // side**2}")]
    return []


def _two_outputs(signature: Signature) -> list[Match]:
    first, second = signature.shapes()
    if _paddle(signature) or (len(first) == 2 and first[1] == 6 and _integer(signature, 1)):
        return [Match("ppyoloe", f"outputs {first}, {second}: rows of class, score, box, and their count")]
    if len(first) == 3 and first[2] == 5 and _integer(signature, 1):
        return [Match("rtmdet", f"outputs {first}, {second}: rows of box and score, and labels")]
    if len(first) == 4 and first[2:] == (1, 4) and len(second) == 3:
        return [Match("yolov4-flat", f"outputs {first}, {second}: boxes as shares, and class scores")]
    if len(first) == len(second) == 3 and 4 in (first[2], second[2]) and first[1] == second[1]:
        return _boxes_and_classes(signature, first, second)
    return []


def _boxes_and_classes(signature: Signature, first: Shape, second: Shape) -> list[Match]:
    reason = f"outputs {first}, {second}: boxes and class scores"
    if first[2] == 4 and _cells_match(signature, first[1]):
        return [Match("yolo-nas-raw", f"{reason}, a row a cell of the grids")]
    names = signature.names
    if names[0] in ("dets", "pred_boxes_sigmoid") or "dets" in names:
        return [Match("rfdetr", f"{reason}; outputs named {', '.join(names)}")]
    classes = second[2] if first[2] == 4 else first[2]
    if any("logits" in name for name in names) and (first[1] == 100 or classes == 92):
        return [Match("detr", f"{reason}; {first[1]} queries, outputs named {', '.join(names)}")]
    if classes == 92:
        return [Match("detr", f"{reason}: COCO's 91 and none")]
    if classes == 91:
        return [Match("rfdetr", f"{reason}: COCO's 91 without a class for none")]
    if classes == 80:
        return [Match("rtdetr-logits", f"{reason}: COCO's 80 without a class for none")]
    return [
        Match("detr", f"{reason}; a last class for none?"),
        Match("rfdetr", f"{reason}; a sigmoid for each class?"),
        Match("rtdetr-logits", f"{reason}; a sigmoid for each class, and pixels without ImageNet's mean?"),
    ]


def _three_outputs(signature: Signature) -> list[Match]:
    inputs = [value.name for value in signature.inputs]
    ranks = signature.ranks()
    shapes = signature.shapes()
    if "orig_target_sizes" in inputs:
        family = "dfine" if "dfine" in _description(signature) else "rtdetr"
        return [Match(family, f"an input orig_target_sizes and outputs {', '.join(signature.names)}")]
    if "image_shape" in inputs or (ranks == [3, 3, 2] and shapes[2][1] == 3):
        return [Match("yolov3", f"outputs {shapes}: boxes, scores, indices of the kept")]
    if sorted(ranks) == [1, 1, 2]:
        reason = f"outputs {', '.join(str(output) for output in signature.outputs)} of one picture"
        if signature.image.name == "image" and all(name.isdecimal() for name in signature.names):
            return [Match("faster-rcnn-zoo", f"{reason}; input 'image' and numbered outputs, as in the ONNX zoo")]
        return [Match("torchvision", reason)]
    return []


def _four_outputs(signature: Signature) -> list[Match]:
    shapes = signature.shapes()
    if not any(len(shape) == 3 and shape[-1] == 4 for shape in shapes):
        return []
    if channels_last(signature.image):
        return [Match("tensorflow", f"{signature.image.dtype} input with channels last, outputs {shapes}")]
    if len(shapes[1]) == 3 and len(shapes[2]) == len(shapes[3]) == 2:
        return [Match("yolo-nas", f"outputs {shapes}: count, boxes, scores, classes")]
    return []


def _levels(signature: Signature) -> list[Match]:
    """Heads with an output, or a pair of outputs, a level."""
    shapes = signature.shapes()
    ranks = set(signature.ranks())
    if ranks == {5}:
        if not all(shape[1] == 3 for shape in shapes):
            return [Match("yolov4", f"outputs {shapes}: grids with the anchors last")]
        reason = f"outputs {shapes}: grids with the anchors first, raw"
        if "stride" in signature.metadata:
            return [Match("yolov5-raw", f"{reason}; metadata with stride, as yolov5 writes it")]
        return [
            Match("yolov5-raw", f"{reason}; anchors of v5 and v7-tiny?"),
            Match("yolov7-raw", f"{reason}; anchors of v7?"),
        ]
    if ranks == {4} and len(shapes) in (2, 3) and all(shape[1] % 3 == 0 and shape[1] >= 18 for shape in shapes):
        return [Match("yolov3-raw", f"outputs {shapes}: 3 anchors of 5 + {shapes[0][1] // 3 - 5} channels a level")]
    half = len(shapes) // 2
    if ranks == {3} and len(shapes) in (4, 6, 8) and all(shape[2] % 4 == 0 for shape in shapes[half:]):
        rows = [shape[1] for shape in shapes]
        if rows[:half] == rows[half:] and _cells_match(signature, sum(rows[:half])):
            return [Match("nanodet", f"{half} levels of classes and of box distributions")]
    return []


def _paddle(signature: Signature) -> bool:
    return any(value.name == "scale_factor" for value in signature.inputs)


def _integer(signature: Signature, output: int) -> bool:
    return bool(np.issubdtype(signature.outputs[output].dtype, np.integer))


def _description(signature: Signature) -> str:
    return " ".join(signature.metadata.get(key, "") for key in ("description", "model_family", "head")).lower()

"""Training of YOLO detectors: pictures, runs of a few steps, export, slimming."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="training needs onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from detkit.errors import DetkitError, InputError, ModelError, UsageError  # noqa: E402
from detkit.training.torch.checkpoint import load_checkpoint  # noqa: E402
from detkit.training.torch.exporting import store_in_half  # noqa: E402
from detkit.training.torch.parallel import GradientWorkers  # noqa: E402
from detkit.training.torch.picture_store import PictureStore  # noqa: E402
from detkit.training.torch.pretrained import exported_weights  # noqa: E402
from detkit.training.torch.training_set import BatchOrder, repeat_factors  # noqa: E402
from detkit.training.yolo import (  # noqa: E402
    Length,
    Progress,
    Recipe,
    TrainingSet,
    YoloStart,
    YoloWork,
    plot_history,
    train_yolo,
)
from detkit.training.yolo.blend import blend  # noqa: E402
from detkit.training.yolo.prune import slim, surviving_channels  # noqa: E402
from detkit.training.yolo.taught import merge_labels, read_taught  # noqa: E402
from detkit.training.yolo.teacher import YoloxTeacher  # noqa: E402
from detkit.training.yolo.yolo_augmentation import Picture, mosaic, place, scaled_crop  # noqa: E402
from detkit.training.yolo.yolo_data import AugmentedPictures, Request, collate  # noqa: E402
from detkit.training.yolo.yolo_export import ExportedNetwork, export_onnx  # noqa: E402
from detkit.training.yolo.yolo_network import YoloNetwork  # noqa: E402
from detkit.training.yolo.yolo_training import BatchSource, gradients, run_worker  # noqa: E402
from detkit.training.yolo.yolo_weights import initial_network, load_detector_weights  # noqa: E402

TEACHER = Path(__file__).parents[2] / "shared" / "models" / "yolox_nano.onnx"
NAMES = ("square", "disc")
SMALL = Recipe(image_size=64, batch=4, seed=3)
ALONE = YoloWork(1)
HIDDEN = (32, *[24] * 15)  # channels in the backbone's blocks: a narrow network trains as a wide one does, and faster


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingSet:
    """Twelve gray pictures, each with a red square and a blue disc; the last is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths, boxes, classes = [], [], []
    for i in range(12):
        image = np.full((64, 80, 3), 128, np.uint8)
        found = []
        if i < 11:
            x, y, r = rng.integers(2, 24), rng.integers(2, 30), rng.integers(8, 12)
            image[y : y + 2 * r, x : x + 2 * r] = (40, 40, 220)
            found.append((x, y, x + 2 * r, y + 2 * r))
            x, y = int(rng.integers(60, 66)), int(rng.integers(20, 44))
            cv2.circle(image, (x, y), 10, (220, 60, 40), -1)
            found.append((x - 10, y - 10, x + 11, y + 11))
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
        boxes.append(np.array(found, np.float32).reshape(-1, 4))
        classes.append(np.arange(len(found)))
    return TrainingSet(paths, boxes, classes, NAMES)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> YoloStart:
    """A narrow network with random weights: the tests need no downloaded ones, and are quick."""
    torch.manual_seed(0)
    network = YoloNetwork(2, hidden=HIDDEN, top=64)
    return YoloStart(export_onnx(network, tmp_path_factory.mktemp("weights") / "narrow.onnx", 64, NAMES, half=False))


def iou_of(a, b) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def painted(width: int = 90, height: int = 60) -> Picture:
    """A gray image with one white box of 20 x 10 at (30, 20)."""
    image = np.full((height, width, 3), 100, np.uint8)
    image[20:30, 30:50] = 255
    return Picture(image, np.array([[30, 20, 50, 30]], np.float32), np.array([1]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_placed_boxes_lie_where_their_objects_are(seed, scale):
    rng = np.random.default_rng(seed)
    canvas = np.zeros((64, 64, 3), np.uint8)
    _, boxes, classes, scores = place(painted(), canvas, rng, scale, flip=seed % 2 == 1)
    rows, columns = np.nonzero(canvas[:, :, 0] > 178)
    assert len(boxes) == len(classes)
    assert scores is None
    for box in boxes:
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, found, atol=1.1)
    if not len(boxes):
        assert len(rows) < 0.3 * 200 * scale**2


@pytest.mark.parametrize("seed", range(4))
def test_augmented_pictures_keep_boxes_inside(seed):
    rng = np.random.default_rng(seed)
    for picture in (
        scaled_crop(painted(), 64, rng, 90, (0.5, 2.0)),
        mosaic([painted(), painted(40, 80), painted(60, 64), painted()], 64, rng, 64, (0.5, 1.0)),
    ):
        assert picture.image.shape == (64, 64, 3)
        assert picture.boxes.dtype == np.float32
        assert picture.boxes.shape == (len(picture.classes), 4)
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= 64).all()
        assert (picture.boxes[:, 2:] > picture.boxes[:, :2]).all()


def test_a_request_always_gives_the_same_picture(data):
    pictures = AugmentedPictures(data, 64)
    request = Request(2, (3, 4), 64, False)
    a, b = pictures.make(request), pictures.make(request)
    assert (a.picture.image == b.picture.image).all()
    assert (a.picture.boxes == b.picture.boxes).all()
    batch = collate([a, b, pictures.make(Request(11, (0, 0), 64, True))])
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert [len(c) for c in batch.classes][2] == 0


def test_pictures_grow_in_the_course_of_a_run():
    recipe = Recipe(image_size=416)
    assert [recipe.picture_size(share) for share in (0, 0.74, 0.75, 0.9, 1)] == [256, 256, 320, 416, 416]
    assert Recipe(image_size=32).picture_size(0) == 32


def test_training_lowers_the_loss_and_writes_what_it_says(data, start, tmp_path):
    seen: list[Progress] = []
    recipe = replace(SMALL, frozen_blocks=0, backbone_rate=1e-4, rate=1e-3, class_gain=1.0, focus=0.0)
    path = train_yolo(data, tmp_path, Length(epochs=6), recipe, start=start, work=ALONE, progress=seen.append)
    assert len(seen) == 18
    assert seen[-1].share == 1
    assert np.mean([p.box_loss for p in seen[-4:]]) < 0.8 * np.mean([p.box_loss for p in seen[:4]])
    assert path == tmp_path / "detector.onnx"
    assert (tmp_path / "history.csv").read_text().count("\n") == 19
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    output = session.run(None, {"images": np.zeros((2, 3, 64, 64), np.float32)})[0]
    assert output.shape == (2, 6, 84)
    pytest.importorskip("matplotlib")
    assert plot_history(tmp_path).stat().st_size > 1000


def test_resumed_training_is_the_training_that_was_not_interrupted(data, start, tmp_path, monkeypatch):
    monkeypatch.setattr("detkit.training.yolo.yolo_training.export_onnx", lambda network, path, *_, **__: path)

    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            raise Killed

    options = {"length": Length(epochs=2), "recipe": SMALL, "work": YoloWork(1, checkpoint_seconds=0.0)}
    train_yolo(data, tmp_path / "whole", start=start, **options)
    with pytest.raises(Killed):
        train_yolo(data, tmp_path / "parts", start=start, progress=kill, **options)
    assert load_checkpoint(tmp_path / "parts")["step"] == 2
    train_yolo(data, tmp_path / "parts", start=YoloStart(resume=True), **options)
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name
    losses = [
        [row.split(",")[3] for row in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_two_processes_train_on_the_two_halves_of_a_batch(data):
    """Their mean gradient is that of each half, and their parameters are the first process's."""
    recipe = replace(SMALL, batch=8, averaging=0.0)
    network = YoloNetwork(2, hidden=HIDDEN, top=64)
    network.backbone.freeze(recipe.frozen_blocks)
    order = BatchOrder(repeat_factors(data.classes, 2, recipe.repeat_threshold), 8, recipe.seed)
    halves = []
    for rank in range(2):
        copied = copy.deepcopy(network).train()
        source = BatchSource(data, recipe, order, rank=rank, processes=2)
        losses = gradients(copied, source.next(0.0), recipe)
        halves.append((losses, [p.grad for p in copied.parameters() if p.requires_grad]))
    arguments = (data, recipe, order, None, None)
    with GradientWorkers(network, 2, run_worker, arguments, 3) as workers:
        source = BatchSource(*arguments, 0, 2)
        workers.begin(0.0)
        losses = workers.finish(gradients(network, source.next(0.0), recipe))
        assert losses == pytest.approx(np.mean([half[0] for half in halves], axis=0), rel=1e-4)
        for p, a, b in zip(
            [p for p in network.parameters() if p.requires_grad], halves[0][1], halves[1][1], strict=True
        ):
            np.testing.assert_allclose(p.grad, (a + b) / 2, rtol=1e-2, atol=1e-5 + 1e-3 * float(p.grad.abs().max()))


def test_a_process_that_fails_ends_the_training(tmp_path):
    missing = TrainingSet([tmp_path / "none.png"], [np.zeros((0, 4))], [np.zeros(0, int)], NAMES)
    network, order = YoloNetwork(2, hidden=HIDDEN, top=64), BatchOrder(np.ones(1), 4, 3)

    def train() -> None:
        with GradientWorkers(network, 2, run_worker, (missing, SMALL, order, None, None), 3) as workers:
            workers.begin(0.0)
            workers.finish((0.0, 0.0, 0.0))

    with pytest.raises(DetkitError, match="process stopped"):
        train()


def test_what_cannot_be_trained_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="multiple of 32"):
        Recipe(image_size=100)
    with pytest.raises(InputError, match="batch"):
        Recipe(batch=0)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="checkpoint"):
        train_yolo(data, tmp_path, Length(epochs=1), SMALL, start=YoloStart(resume=True))


def trained_like(classes: int) -> YoloNetwork:
    """A narrow network with random weights whose normalisations have seen something."""
    network = YoloNetwork(classes, hidden=HIDDEN, top=64).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, 64, 64))
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network.eval()


@pytest.mark.parametrize("half", [False, True])
def test_the_exported_graph_computes_what_torch_computes(half, tmp_path):
    network = trained_like(3)
    path = export_onnx(network, tmp_path / "a.onnx", 96, ["a", "b", "it's"], half=half)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = ExportedNetwork(network, 96).eval()(images).numpy()
    got = session.run(None, {"images": images.numpy()})[0]
    assert got.shape == expected.shape == (2, 7, 144 + 36 + 9)
    np.testing.assert_allclose(got, expected, atol=0.1 if half else 1e-3)
    np.testing.assert_allclose(got[:, 4:], expected[:, 4:], atol=1e-2 if half else 1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["names"] == str({0: "a", 1: "b", 2: "it's"})
    assert metadata["imgsz"] == "[96, 96]"
    assert json.loads(metadata["detkit"])["head"] == "v8"


def test_half_takes_half_the_space(tmp_path):
    path = export_onnx(YoloNetwork(2), tmp_path / "a.onnx", 64, NAMES, half=False)
    model = onnx.load(str(path))
    store_in_half(model)
    assert model.ByteSize() < 0.55 * path.stat().st_size


def test_training_can_start_from_an_exported_detector(tmp_path):
    teacher = trained_like(2)
    path = export_onnx(teacher, tmp_path / "a.onnx", 64, ["dog", "cat"], half=False)
    network = initial_network(["cat", "cow"], path).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, expected_boxes = teacher(images)
        got, boxes = network(images)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-5)
    np.testing.assert_allclose(got[:, 0], expected[:, 1], atol=1e-5)  # the cats


def test_what_no_training_wrote_is_no_start(tmp_path):
    with pytest.raises(DetkitError, match="no such"):
        exported_weights(tmp_path / "none.onnx")
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(DetkitError):
        exported_weights(tmp_path / "a.onnx")
    with pytest.raises(DetkitError, match="another architecture"):
        load_detector_weights(YoloNetwork(2), NAMES, {}, NAMES)


def test_what_is_no_yolox_is_no_teacher(tmp_path):
    other = Path(__file__).parents[1] / "models" / "lenet5-digits.onnx"
    with pytest.raises(ModelError, match="not a YOLOX network"):
        YoloxTeacher(other, 80)
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="damaged"):
        YoloxTeacher(tmp_path / "a.onnx", 80)
    with pytest.raises(ModelError, match="cannot be read"):
        YoloxTeacher(tmp_path / "none.onnx", 80)


@pytest.mark.skipif(not TEACHER.is_file(), reason="the shared YOLOX-Nano is not here")
def test_the_teacher_sees_what_is_in_a_picture():
    image = cv2.imread(str(TEACHER.parents[1] / "data" / "coco128" / "images" / "000000000025.jpg"))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    scale = 320 / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale)
    canvas = np.full((256, 320, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    scores, boxes = YoloxTeacher(TEACHER, 80)(canvas)
    assert scores.shape == (40 * 32 + 20 * 16 + 10 * 8, 80)
    best = scores.max(axis=1).argmax()
    assert scores[best].argmax() == 23  # the giraffe
    assert iou_of(boxes[best] / scale, [385, 60, 600, 357]) > 0.7
    with pytest.raises(UsageError, match="80 classes, the annotations have 3"):
        YoloxTeacher(TEACHER, 3)


def test_training_in_mixed_precision_gives_nearly_the_same_gradients(data):
    network = trained_like(2).train()
    source = BatchSource(data, SMALL, BatchOrder(np.ones(12), 4, 3))
    batch = source.next(0.0)
    losses, sizes = [], []
    for mixed in (False, True):
        losses.append(gradients(network, batch, replace(SMALL, mixed_precision=mixed)))
        sizes.append(torch.cat([p.grad.flatten() for p in network.head.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert torch.nn.functional.cosine_similarity(*sizes, dim=0) > 0.98


def test_stored_pictures_are_those_of_the_files(data, tmp_path):
    store = PictureStore(tmp_path, data.paths, 40)
    plain = AugmentedPictures(data, 40)
    stored = AugmentedPictures(data, 40, store=store)
    for i in range(len(data.paths)):
        np.testing.assert_array_equal(stored.source(i).image, plain.source(i).image)
        np.testing.assert_array_equal(stored.source(i).boxes, plain.source(i).boxes)
    before = (tmp_path / "pixels.bin").stat().st_mtime_ns
    PictureStore(tmp_path, data.paths, 40)
    assert (tmp_path / "pixels.bin").stat().st_mtime_ns == before
    assert PictureStore(tmp_path, data.paths[:3], 80).image(0).shape == (64, 80, 3)  # others, so made again


def test_training_reads_stored_pictures_and_uncertain_objects(data, start, tmp_path):
    scores = [np.linspace(1, 0.3, len(c)).astype(np.float32) for c in data.classes]
    path = train_yolo(
        replace(data, scores=scores), tmp_path / "out", Length(epochs=1), replace(SMALL, mixed_precision=True),
        start=replace(start, origin={"seed": 3}), work=YoloWork(1, store=tmp_path / "store"),
    )  # fmt: skip
    history = (tmp_path / "out" / "history.csv").read_text().splitlines()
    assert all(np.isfinite(float(row.split(",")[3])) for row in history[1:])
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert json.loads(metadata["training"]) | {"minutes": 0} == {"seed": 3, "minutes": 0, "steps": 3, "pictures": 12}


def test_a_teachers_labels_fill_what_the_annotations_leave_open(tmp_path):
    path = tmp_path / "teacher.jsonl"
    rows = [[0, 0, 10, 10, 1, 0.9], [1, 0, 10, 10, 0, 0.8], [50, 50, 60, 60, 0, 0.6], [20, 20, 30, 30, 1, 0.15]]
    path.write_text(json.dumps({"set": "a", "id": 7, "boxes": rows}) + "\n")
    taught = read_taught(path)["a", 7]
    own = np.array([[0, 0, 10, 10]], np.float32), np.array([1])
    merged = merge_labels(*own, taught, np.array([False, True]))
    # The annotated object, not again from the teacher; class 0 is not annotated, so the teacher's word is whole; the
    # last is kept only where it counts whole, as half of 0.15 is too little. Class 1 is annotated.
    assert merged.classes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(merged.scores, [1, 0.8, 0.6], rtol=1e-6)
    assert merge_labels(*own, taught, np.array([True, True])).scores.tolist() == pytest.approx([1, 0.4, 0.3])
    path.write_text('{"set": "a", "id": 7, "boxes": [[1, 2]]}\n')
    with pytest.raises(InputError, match="line 1"):
        read_taught(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_taught(tmp_path / "none")


def test_channels_that_others_can_stand_in_for_go_first():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(500, 6))
    doubled = np.concatenate((own, own @ rng.normal(size=(6, 3))), axis=1)  # three more are sums of them
    x, weight = torch.tensor(doubled), torch.tensor(rng.normal(size=(4, 9)))
    kept, fitted = surviving_channels(x.T @ x, weight, 6)
    assert len(kept) == 6
    expected = x @ weight.T
    assert (x[:, kept] @ fitted.double().T - expected).norm() < 0.01 * expected.norm()
    fewer, fitted = surviving_channels(x.T @ x, weight, 5)
    error = (x[:, fewer] @ fitted.double().T - expected).square().sum()
    # Of the six that one goes without which the others, fitted anew, come closest.
    errors = [np.linalg.lstsq(doubled[:, rows], expected.numpy())[1].sum() for rows in combinations(kept.tolist(), 5)]
    assert error.item() == pytest.approx(min(errors), rel=1e-3)


def test_a_slimmed_detector_can_be_trained_on(tmp_path):
    network = trained_like(2)
    hidden = (32, *[12] * 15)
    images = torch.rand(4, 3, 64, 64)
    small = slim(network, hidden, 32, [images])
    path = export_onnx(small, tmp_path / "a.onnx", 64, NAMES, half=False)
    again = initial_network(NAMES, path).eval()
    assert [len(block.depthwise.weight) for block in again.backbone.blocks] == list(hidden)
    assert len(again.backbone.top.weight) == 32
    with torch.no_grad():
        torch.testing.assert_close(again(images)[0], small(images)[0], rtol=1e-4, atol=1e-4)
    whole = slim(network, HIDDEN, 64, [images])
    with torch.no_grad():
        torch.testing.assert_close(whole(images)[0], network(images)[0])


def test_a_blend_lies_between_the_two(tmp_path):
    a, b = trained_like(2), trained_like(2)
    before = export_onnx(a, tmp_path / "a.onnx", 64, NAMES, half=False)
    after = export_onnx(b, tmp_path / "b.onnx", 64, NAMES, half=False, training={"seed": 1})
    out = blend(before, after, tmp_path / "c.onnx", 0.25, 64)
    got, first, second = (exported_weights(path)[0] for path in (out, before, after))
    for name in ("head.class_out.weight", "neck.lateral.0.1.running_mean"):
        torch.testing.assert_close(got[name], 0.25 * second[name] + 0.75 * first[name], rtol=2e-3, atol=1e-3)
    metadata = {entry.key: entry.value for entry in onnx.load(str(out)).metadata_props}
    assert json.loads(metadata["training"]) == {"seed": 1, "blend": 0.25}
    other = export_onnx(a, tmp_path / "d.onnx", 64, ["x", "y"], half=False)
    with pytest.raises(DetkitError, match="blended"):
        blend(other, after, tmp_path / "e.onnx", 0.5, 64)


def test_weights_say_how_often_a_picture_is_seen(data, start, tmp_path, monkeypatch):
    seen = []

    def order(factors, *arguments):
        seen.append(factors)
        return BatchOrder(factors, *arguments)

    monkeypatch.setattr("detkit.training.torch.train_session.BatchOrder", order)
    for weights in (None, [0.5 + number for number in range(len(data.paths))]):
        out = tmp_path / str(weights is None)
        train_yolo(replace(data, weights=weights), out, Length(epochs=0.2), SMALL, start=start, work=ALONE)
    np.testing.assert_allclose(seen[1], seen[0] * (0.5 + np.arange(len(data.paths))))
    with pytest.raises(InputError, match="1 weights"):
        replace(data, weights=[1.0])

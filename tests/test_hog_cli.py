"""`detkit hog-detect`, `detkit slide` and `detkit train hog`, as they are typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detkit.images import read_image, write_image

MODELS = Path(__file__).parent.parent / "models"
Cli = Callable[..., object]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, size in (("a", (200, 150)), ("b/c", (260, 140))):
        write_image(tmp_path / "pictures" / f"{name}.png", random.integers(0, 256, (*size, 3), dtype=np.uint8))
    return tmp_path / "pictures"


def _line(result: object) -> str:
    text = str(result.stderr).strip()  # type: ignore[attr-defined]
    assert "Traceback" not in text
    return text


def test_hog_detect_writes_lines_maps_and_glyphs(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = cli(
        "hog-detect", pictures, "--conf", 0, "--max-det", 3, "--scale", 1.2, "-o", out,
        "--heatmap", tmp_path / "heat", "--show-hog", tmp_path / "hog",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr  # type: ignore[attr-defined]
    levels = sorted(path.name for path in (tmp_path / "heat" / "a").iterdir())
    assert levels[:3] == ["level-00.png", "level-01.png", "level-02.png"]
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["file"] for record in records] == ["a.png", "b/c.png"]
    assert {box["class"] for record in records for box in record["detections"]} == {"person"}
    assert all(1 <= len(record["detections"]) <= 3 for record in records)
    maximum = read_image(tmp_path / "heat" / "b" / "c" / "max.png")
    assert maximum.shape[1] == 140
    assert maximum[30:].std() > 1
    assert (tmp_path / "heat" / "a" / "level-00.png").is_file()
    glyphs = read_image(tmp_path / "hog" / "a" / "hog.png")
    assert glyphs.shape == (25 * 24, 2 * 18 * 24, 3)


def test_the_threshold_and_the_class_filter_the_boxes(cli: Cli, pictures: Path) -> None:
    none = cli("hog-detect", pictures / "a.png", "--conf", 1, "-f", "jsonl")
    assert json.loads(none.stdout)["detections"] == []  # type: ignore[attr-defined]
    wrong = cli("hog-detect", pictures / "a.png", "--class", "cat")
    assert wrong.returncode == 2  # type: ignore[attr-defined]
    assert _line(wrong) == "detkit: the model has no class 'cat'; it has person"


def test_a_picture_smaller_than_the_window_is_named_and_the_rest_done(cli: Cli, pictures: Path) -> None:
    write_image(pictures / "small.png", np.zeros((40, 40, 3), np.uint8))
    result = cli("hog-detect", pictures, "-f", "jsonl", "-q")
    assert result.returncode == 1  # type: ignore[attr-defined]
    assert len(result.stdout.splitlines()) == 3  # type: ignore[attr-defined]
    assert _line(result).count("\n") == 0
    assert "small.png: the window of 64 x 128 is larger than the picture of 40 x 40" in _line(result)


def test_an_svm_of_the_wrong_length(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "svm.txt").write_text("1 2 3\n")
    result = cli("hog-detect", pictures, "--svm", tmp_path / "svm.txt")
    assert result.returncode == 3  # type: ignore[attr-defined]
    assert "svm.txt: holds 3 coefficients, but windows of 64 x 128 have descriptors of 3780" in _line(result)
    assert _line(result).count("\n") == 0


def test_svm_with_other_parameters(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "svm.npy", np.random.default_rng(0).normal(size=5 * 11 * 36 + 1))
    result = cli(
        "hog-detect", pictures, "--svm", tmp_path / "svm.npy", "--hog", "window=48x96", "--conf", 0, "-f", "jsonl"
    )
    assert result.returncode == 0, result.stderr  # type: ignore[attr-defined]
    box = json.loads(result.stdout.splitlines()[0])["detections"][0]  # type: ignore[attr-defined]
    assert box["class"] == "object"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--device", "cuda"), 3, "hog-detect has no network and runs on the cpu"),
        (("--stride", "0x8"), 2, "not a size in pixels"),
        (("--hog", "cell=8x8"), 2, "--hog describes the coefficients of --svm"),
        (("--model", "nobody"), 3, "no HOG model 'nobody'"),
        (("--model", "absent.npz"), 3, "absent.npz: cannot be read"),
    ],
)
def test_wrong_use_of_hog_detect(cli: Cli, pictures: Path, arguments: tuple[str, ...], status: int, text: str) -> None:
    result = cli("hog-detect", pictures, *arguments)
    assert result.returncode == status, result.stderr  # type: ignore[attr-defined]
    assert text in " ".join(_line(result).split())


def test_slide_finds_digits(cli: Cli, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    page = np.full((120, 200, 3), 240, np.uint8)
    data = load_digits()
    for place, index in enumerate((1500, 1600)):
        ink = np.kron(data.images[index], np.ones((4, 4))) / 16
        page[40:72, 30 + 80 * place : 62 + 80 * place] = (240 * (1 - 0.9 * ink))[:, :, None]
    write_image(tmp_path / "page.png", page)
    result = cli(
        "slide", tmp_path / "page.png", "--model", MODELS / "lenet5-digits.onnx", "--window", "40x40", "--stride", 4,
        "--dense", "--conf", 0.7, "--heatmap", tmp_path / "heat", "-f", "jsonl",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr  # type: ignore[attr-defined]
    found = json.loads(result.stdout)["detections"]  # type: ignore[attr-defined]
    truth = [str(data.target[index]) for index in (1500, 1600)]
    named = {box["class"] for box in found}
    assert named & set(truth)
    assert (tmp_path / "heat" / "page" / "max.png").is_file()


def test_slide_names_a_network_that_is_no_classifier(cli: Cli, pictures: Path, make_graph: Callable[..., Path]) -> None:
    path = make_graph({"rows": np.zeros((1, 5), np.float32)}, shape=(1, 40))
    result = cli("slide", pictures, "--model", path)
    assert result.returncode == 3  # type: ignore[attr-defined]
    assert "its input is not a picture" in _line(result)
    assert _line(result).count("\n") == 0


def test_train_hog_prints_rounds_and_writes_a_model(cli: Cli, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(16):
        crop = np.full((32, 32, 3), 200, np.uint8)
        crop[8:24, 8:24] = random.integers(0, 80)
        write_image(tmp_path / "positives" / f"{number}.png", crop)
        write_image(tmp_path / "negatives" / f"{number}.png", random.integers(0, 256, (80, 90, 3), dtype=np.uint8))
    out = tmp_path / "square.npz"
    result = cli(
        "train", "hog", tmp_path / "positives", tmp_path / "negatives", "--hog", "window=32x32", "--class", "square",
        "--rounds", 1, "--random", 64, "--cost", 0.01, "-o", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr  # type: ignore[attr-defined]
    assert result.stdout.splitlines()[0].startswith("round  positives  negatives")  # type: ignore[attr-defined]
    assert result.stdout.splitlines()[1].split()[0] == "0"  # type: ignore[attr-defined]
    before = out.read_bytes()
    again = ("train", "hog", tmp_path / "positives", tmp_path / "negatives", "-o", out)
    refused = cli(*again)
    assert refused.returncode == 2  # type: ignore[attr-defined]
    assert "square.npz is there already: --overwrite replaces it" in _line(refused)
    assert out.read_bytes() == before
    scene = np.full((100, 100, 3), 200, np.uint8)
    scene[40:56, 48:64] = 30
    write_image(tmp_path / "scene.png", scene)
    found = cli("hog-detect", tmp_path / "scene.png", "--model", out, "-f", "jsonl", "--conf", 0.3)
    best = json.loads(found.stdout)["detections"][0]  # type: ignore[attr-defined]
    assert best["class"] == "square"
    assert abs((best["box"][0] + best["box"][2]) / 2 - 56) < 6
    options = ("--overwrite", "--hog", "window=32x32", "--rounds", 0, "--random", 64, "--cost", 0.01)
    assert cli(*again, *options).returncode == 0  # type: ignore[attr-defined]
    assert out.read_bytes() != before


def test_train_hog_asks_first_whether_it_can_write(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = cli("train", "hog", tmp_path / "none", tmp_path / "none", "-o", tmp_path / "file" / "model.npz")
    assert result.returncode == 1  # type: ignore[attr-defined]
    assert "cannot write" in _line(result)  # before the folders are looked at


def test_glyphs_of_a_picture_smaller_than_a_cell_are_left_out(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    write_image(pictures / "dot.png", np.zeros((1, 1, 3), np.uint8))
    write_image(pictures / "a.bmp", np.zeros((140, 80, 3), np.uint8))
    result = cli("hog-detect", pictures, "--scale", 1.5, "--show-hog", tmp_path / "hog", "-q")
    assert result.returncode == 1  # type: ignore[attr-defined]
    assert _line(result).count("dot.png") == 1
    found = sorted(str(path.relative_to(tmp_path / "hog")) for path in (tmp_path / "hog").rglob("hog.png"))
    assert found == ["a.bmp/hog.png", "a.png/hog.png", "b/c/hog.png"]


def test_heatmaps_spare_the_sources(cli: Cli, pictures: Path) -> None:
    write_image(pictures / "a" / "max.png", np.zeros((140, 80, 3), np.uint8))
    before = (pictures / "a" / "max.png").read_bytes()
    result = cli("hog-detect", pictures, "--scale", 1.5, "--heatmap", pictures, "-q")
    assert result.returncode == 2  # type: ignore[attr-defined]
    assert "would overwrite the input" in _line(result)
    assert (pictures / "a" / "max.png").read_bytes() == before


def test_train_hog_with_one_class_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    write_image(tmp_path / "positives" / "a.png", np.zeros((32, 32, 3), np.uint8))
    result = cli("train", "hog", tmp_path / "positives", tmp_path / "nothing")
    assert result.returncode == 1  # type: ignore[attr-defined]
    assert "one class only teaches nothing" in _line(result)
    result = cli("train", "hog", tmp_path / "positives")
    assert result.returncode == 2  # type: ignore[attr-defined]
    assert "POSITIVES NEGATIVES" in _line(result)


def test_importing_the_commands_imports_nothing_heavy() -> None:
    import subprocess

    code = (
        "import sys; from detkit.cli import hog_detect, slide, train_hog; "
        "print([name for name in ('cv2', 'numba', 'onnxruntime', 'sklearn', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MODELS.parent, check=True)
    assert done.stdout.strip() == "[]"


def test_training_spares_what_it_reads(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "crops" / "a.png", np.zeros((64, 64, 3), np.uint8))
    before = (tmp_path / "crops" / "a.png").read_bytes()
    table = tmp_path / "a.json"
    table.write_text("{}")
    for arguments in (
        [tmp_path / "crops", pictures, "-o", tmp_path / "crops" / "a.png"],
        [table, "--images", pictures, "-o", table],
        [table, pictures],
        [tmp_path / "crops", pictures, "--cost", "nan"],
        [tmp_path / "crops", pictures, "--seed", 2**40],
        [tmp_path / "crops", pictures, "--classifier", "mlp", "--cost", 3],
    ):
        result = cli("train", "hog", *arguments)
        assert result.returncode == 2, result.stderr  # type: ignore[attr-defined]
        _line(result)
    assert (tmp_path / "crops" / "a.png").read_bytes() == before
    assert table.read_text() == "{}"


def test_options_that_would_do_nothing_are_refused(cli: Cli, pictures: Path) -> None:
    for arguments, why in [
        (("--group", "mean-shift", "--iou", 0.2), "for --group maxima"),
        (("--group", "none", "--agnostic"), "for --group maxima"),
        (("--nms", "soft", "--iou", 0.2), "--iou is not for --nms soft"),
        (("--padding", "100000"), "more than fits into memory"),
    ]:
        result = cli("hog-detect", pictures / "a.png", *arguments)
        assert result.returncode == 2, result.stderr  # type: ignore[attr-defined]
        assert why in " ".join(_line(result).split())


def test_lowered_scores_are_cut_at_the_threshold_and_boxes_have_an_area(cli: Cli, pictures: Path) -> None:
    arguments = (pictures / "a.png", "--conf", 0.002, "--scale", 1.3, "--padding", "64x128", "-f", "jsonl")
    for nms in ("soft", "greedy"):
        result = cli("hog-detect", *arguments, "--nms", nms)
        found = json.loads(result.stdout)["detections"]  # type: ignore[attr-defined]
        assert found
        assert min(one["score"] for one in found) >= 0.002
        assert all(one["box"][2] > one["box"][0] and one["box"][3] > one["box"][1] for one in found)


def test_a_class_names_what_coefficients_find(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "svm.npy", np.zeros(3781, np.float32))
    result = cli("hog-detect", pictures / "a.png", "--svm", tmp_path / "svm.npy", "--class", "dog", "--max-det", 1,
                 "-f", "jsonl", "--padding", "0x8")  # fmt: skip
    assert [one["class"] for one in json.loads(result.stdout)["detections"]] == ["dog"]  # type: ignore[attr-defined]


def test_the_enlargement_that_is_advised_is_enough(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "small.png", np.zeros((118, 100, 3), np.uint8))
    result = cli("hog-detect", tmp_path / "small.png")
    assert "enlarge it at least 1.09 times" in _line(result)
    assert cli("hog-detect", tmp_path / "small.png", "--enlarge", "1.09").returncode == 0  # type: ignore[attr-defined]

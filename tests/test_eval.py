"""`detkit eval` from files to figures."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from detkit.cli import Commands
from detkit.cli.evaluate import evaluate
from detkit.report import text

FIGURES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """detections and annotations of three classes, one of them never detected."""
    rng = np.random.default_rng(0)
    truth: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 200} for i in range(1, 9)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 5, "name": "猫 <i>&"}],
        "annotations": [],
    }
    found = []
    for n in range(40):
        box = np.append(rng.random(2) * 100, rng.random(2) * 80 + 10).round(2).tolist()
        k = int(rng.choice([1, 2, 5]))
        ann = {"id": n + 1, "image_id": n % 8 + 1, "category_id": k, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        truth["annotations"].append(ann)
        if k != 5:
            moved = (np.array(box) + rng.normal(0, 4, 4)).clip(1).tolist()
            found.append({"image_id": n % 8 + 1, "category_id": k, "bbox": moved, "score": float(rng.random())})
    paths = tmp_path / "found.json", tmp_path / "truth.json"
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    return paths


def run(*arguments: object, **options: Any) -> Any:
    app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_enable=False)
    app.command("eval")(evaluate)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], **options)


def test_table(files: tuple[Path, Path]) -> None:
    result = run(*files)
    assert result.exit_code == 0, result.output
    first = result.stdout.splitlines()[0]
    assert first.startswith("COCO: 8 images, 40 boxes, ")
    words = result.stdout.split()
    assert [word for word in words if word in FIGURES] == FIGURES
    assert "TP" in words
    assert not result.stderr


def test_json_holds_all_digits(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"
    assert run(*files, "--json", out).exit_code == 0
    content = json.loads(out.read_text())
    assert content["protocol"] == "coco"
    assert list(content["figures"]) == FIGURES
    assert set(content["classes"]) == {"cat", "dog", "猫 <i>&"}
    assert content["classes"]["猫 <i>&"]["AP"] == 0.0
    aps = [row["AP"] for row in content["classes"].values()]
    assert content["figures"]["AP"] == pytest.approx(np.mean(aps), abs=1e-15)
    again = run(*files, "--json", "-")
    assert json.loads(again.stdout) == content
    point = content["working_point"]
    assert point["TP"] + point["FN"] == 40
    assert np.sum(content["confusion"]["matrix"]) >= 40


@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
def test_everything_at_once(files: tuple[Path, Path], tmp_path: Path, protocol: str) -> None:
    page, plots = tmp_path / "page.html", tmp_path / "plots"
    result = run(
        *files, "--protocol", protocol, "--conf", 0.3, "--iou", 0.4, "--per-class", "--explain", "--bootstrap", 20,
        "--compare", files[0], "--report", page, "--plots", plots, "--max-det", 50,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert all(text.display_width(line) <= 80 for line in result.stdout.splitlines())
    assert "scores of 0.3 or more and overlap 0.4" in result.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert {path.name for path in plots.iterdir()} == {
        f"{name}.png" for name in ("pr", "scores", "roc", "det", "froc", "errors", "confusion")
    }


def test_fail_under(files: tuple[Path, Path]) -> None:
    ap = json.loads(run(*files, "--json", "-").stdout)["figures"]["AP"]
    assert run(*files, "--fail-under", ap).exit_code == 0
    failed = run(*files, "--fail-under", ap + 1e-9)
    assert failed.exit_code == 1
    assert "below the" in failed.stderr
    assert "AP50" in failed.stdout  # the figures are shown all the same


def test_bars_of_any_figure(files: tuple[Path, Path]) -> None:
    content = json.loads(run(*files, "--json", "-").stdout)
    shares = {**content["figures"], "F1": content["working_point"]["F1"], "roc_auc": content["curves"]["roc_auc"]}
    for name, value in shares.items():
        if value >= 0:
            assert run(*files, "--fail-under", f"{name}={value}").exit_code == 0
            assert run(*files, "--fail-under", f"{name}={min(value + 1e-6, 1)}").exit_code == (value < 1)
    both = run(*files, "--fail-under", "AP50=1", "--fail-under", "1", "--fail-under", "AR100=0")
    assert both.exit_code == 1
    assert both.stderr.count("below the 1 asked for") == 2
    unknown = run(*files, "--fail-under", "AP51=0.5")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "AP50" in unknown.stderr


def test_fail_if_worse(files: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = files
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(json.loads(found.read_text())[::3]))
    options = ("--bootstrap", 1, "--fail-if-worse")
    assert run(found, truth, "--compare", fewer, *options).exit_code == 0
    assert run(found, truth, "--compare", found, *options).exit_code == 0
    failed = run(fewer, truth, "--compare", found, *options)
    assert failed.exit_code == 1
    assert "of --compare" in failed.stderr
    assert run(fewer, truth, "--compare", found, *options, "--margin", 1).exit_code == 0
    assert run(fewer, truth, "--compare", found, *options, "--margin", 0.001).exit_code == 1
    assert run(found, truth, "--fail-if-worse").exit_code == 2


def test_undefined_ap_is_below_any_bar(files: tuple[Path, Path]) -> None:
    found, truth = files
    content = json.loads(truth.read_text())
    content["annotations"] = []
    truth.write_text(json.dumps(content))
    result = run(found, truth, "--fail-under", 0.0)
    assert result.exit_code == 1
    assert "undefined" in result.stderr


def test_compare_is_second_minus_first(files: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = files
    worse = tmp_path / "worse.json"
    worse.write_text(json.dumps(json.loads(found.read_text())[::3]))
    content = json.loads(run(found, truth, "--compare", worse, "--bootstrap", 50, "--json", "-").stdout)
    difference = content["comparison"]["AP"]["difference"]
    assert difference["value"] < 0
    assert difference["low"] <= difference["value"] <= difference["high"] < 0
    assert content["comparison"]["AP"]["first"] == pytest.approx(content["figures"]["AP"], abs=1e-12)
    assert content["intervals"]["AP"]["samples"] == 50


def test_some_classes(files: tuple[Path, Path]) -> None:
    whole = json.loads(run(*files, "--json", "-").stdout)
    some = json.loads(run(*files, "--class", "dog", "--class", "cat", "--json", "-").stdout)
    assert list(some["classes"]) == ["cat", "dog"]
    for name in ("cat", "dog"):
        assert some["classes"][name]["AP"] == whole["classes"][name]["AP"]
    unknown = run(*files, "--class", "dgo")
    assert unknown.exit_code == 2
    assert "dog" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--iou", "0"], "overlap"),
        (["--iou", "1.5"], "overlap"),
        (["--conf", "nan"], "score"),
        (["--fail-under", "nan"], "from 0 to 1"),
        (["--fail-under", "1.5"], "from 0 to 1"),
        (["--fail-under", "=0.5"], "from 0 to 1"),
        (["--fail-under", "AP50="], "from 0 to 1"),
        (["--margin", "0.1"], "--fail-if-worse"),
        (["--protocol", "pascal"], "pascal"),
        (["--report", "page.txt"], ".html"),
        (["--bootstrap", "0"], "bootstrap"),
        (["--protocol", "voc", "--like-pycocotools"], "coco"),
        (["--inclusive"], "voc07"),
        (["--match", "stem"], "stem"),
    ],
)
def test_wrong_use_is_status_2(files: tuple[Path, Path], arguments: list[str], word: str) -> None:
    result = run(*files, *arguments)
    assert result.exit_code == 2
    assert word in result.stderr


def test_no_input_is_overwritten(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = files[1].read_bytes()
    (tmp_path / "page.html").symlink_to(files[1])
    for arguments in (["--json", files[1]], ["--report", tmp_path / "page.html"]):
        result = run(*files, *arguments)
        assert result.exit_code == 2
        assert "would overwrite the input" in result.stderr
        assert files[1].read_bytes() == before


def test_classes_are_found_in_any_case(files: tuple[Path, Path]) -> None:
    assert list(json.loads(run(*files, "--class", "DOG", "--json", "-").stdout)["classes"]) == ["dog"]


def test_swapped_and_missing_files_are_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = files
    for arguments in ((truth, found), (found, tmp_path / "nowhere.json"), (tmp_path / "nowhere.json", truth)):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert len(result.stderr.splitlines()) == 1
        assert not result.stdout


def test_pycocotools_faults_are_said_and_can_be_repeated(files: tuple[Path, Path]) -> None:
    reference = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools, the reference, is not installed")
    from pycocotools.coco import COCO

    found, truth = files
    content = json.loads(truth.read_text())
    for number, ann in enumerate(content["annotations"][::3]):
        ann.update(id=0) if number == 0 else ann.update(ignore=1)
    truth.write_text(json.dumps(content))
    plain = run(found, truth, "--json", "-")
    assert "`ignore`, which COCO's evaluation does not read; --honour-ignore" in plain.stderr
    assert "id 0" in plain.stderr
    honoured = run(found, truth, "--json", "-", "--honour-ignore")
    assert "count neither way; pycocotools would count them" in honoured.stderr
    assert json.loads(honoured.stdout)["figures"] != json.loads(plain.stdout)["figures"]
    alike = run(found, truth, "--json", "-", "--like-pycocotools")
    assert alike.stderr == ""

    with contextlib.redirect_stdout(io.StringIO()):
        boxes = COCO(str(truth))
        theirs = reference.COCOeval(boxes, boxes.loadRes(str(found)), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert list(json.loads(alike.stdout)["figures"].values()) == theirs.stats.tolist()
    assert json.loads(honoured.stdout)["figures"]["AP"] != theirs.stats[0]

    # Whatever else is said of them has the same two faults.
    said = run(found, truth, "--json", "-", "--like-pycocotools", "--bootstrap", 3, "--explain", "--max-det", 5)
    more, figures = json.loads(said.stdout), json.loads(said.stdout)["figures"]
    assert more["intervals"]["AP"]["value"] == pytest.approx(figures["AP"], abs=1e-12)
    assert more["explain"]["rows"][0]["ten"] == pytest.approx(figures["AP"], abs=1e-12)
    assert (more["explain"]["rows"][0]["what"], more["explain"]["rows"][0]["who"]) == (
        "COCO's rule, best 5",
        "pycocotools",
    )
    assert more["boxes"] == len(content["annotations"])
    both = run(found, truth, "--like-pycocotools", "--honour-ignore")
    assert both.exit_code == 2
    voc = [run(found, truth, "--protocol", "voc", "--json", "-", *more) for more in ((), ("--honour-ignore",))]
    assert "COCO's evaluation does not read" in voc[0].stderr
    assert json.loads(voc[0].stdout)["boxes"] > json.loads(voc[1].stdout)["boxes"]


def test_a_hit_on_annotation_0_is_false_everywhere_like_pycocotools(tmp_path: Path) -> None:
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 90, "height": 90}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, "bbox": [40 * n, 0, 30, 30], "area": 900,
                         "iscrowd": 0} for n in (0, 1)],
    }  # fmt: skip
    found = [{"image_id": 1, "category_id": 1, "bbox": [40 * n, 0, 30, 30], "score": 0.9 - n / 2} for n in (0, 1)]
    paths = tmp_path / "found.json", tmp_path / "truth.json"
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    shown = json.loads(run(*paths, "--like-pycocotools", "--bootstrap", 2, "--conf", 0.1, "--json", "-").stdout)
    assert [shown["figures"]["AP"], shown["intervals"]["AP"]["value"]] == pytest.approx([0.5 * 51 / 101] * 2)
    assert (shown["working_point"]["TP"], shown["working_point"]["FP"], shown["working_point"]["FN"]) == (1, 1, 1)


def test_detections_of_negative_size_count_nowhere(files: tuple[Path, Path]) -> None:
    found = files[0]
    plain = json.loads(run(*files, "--json", "-", "--bootstrap", 2, "--explain", "--conf", 0.01).stdout)
    rows = json.loads(found.read_text())
    found.write_text(json.dumps([*rows, {"image_id": 1, "category_id": 1, "bbox": [9, 9, -5, 5], "score": 0.99}]))
    odd = json.loads(run(*files, "--json", "-", "--bootstrap", 2, "--explain", "--conf", 0.01).stdout)
    assert odd["figures"] == plain["figures"]
    assert odd["intervals"] == plain["intervals"]
    assert odd["explain"]["rows"][0] == plain["explain"]["rows"][0]
    assert odd["working_point"] == plain["working_point"]


def test_errors_under_voc_leave_difficult_boxes_out(tmp_path: Path) -> None:
    boxes = [{"id": n + 1, "image_id": 1, "category_id": 1, "bbox": [40 * n, 0, 30, 30], "area": 900, "iscrowd": 0,
              "difficult": n} for n in (0, 1)]  # fmt: skip
    truth = {"images": [{"id": 1, "file_name": "1.jpg", "width": 90, "height": 90}],
             "categories": [{"id": 1, "name": "a"}], "annotations": boxes}  # fmt: skip
    found = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 30], "score": 0.9}]
    paths = tmp_path / "found.json", tmp_path / "truth.json"
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    missed = {}
    for protocol in ("coco", "voc"):
        shown = json.loads(run(*paths, "--protocol", protocol, "--json", "-").stdout)
        missed[protocol] = shown["errors"]["counts"]["missed"]
    assert missed == {"coco": 1, "voc": 0}


def test_kept_detections_name_the_recall(files: tuple[Path, Path]) -> None:
    assert "AR1    " in run(*files).stdout
    words = run(*files, "--max-det", 5).stdout.split()
    assert [word for word in words if word.startswith("AR") and word[2:].isdigit()] == ["AR1", "AR5", "AR5"]


def test_an_undefined_comparison_has_no_numbers(files: tuple[Path, Path], tmp_path: Path) -> None:
    found, truth = files
    content = json.loads(truth.read_text())
    truth.write_text(json.dumps(content | {"annotations": []}))
    page = tmp_path / "page.html"
    shown = run(*files, "--compare", found, "--bootstrap", 3, "--report", page)
    line = next(line for line in shown.stdout.splitlines() if line.startswith("AP ") and line.count("-") >= 6)
    assert line.split() == ["AP", *"------"]
    assert "-1.0000" not in page.read_text()


def test_classes_of_equal_names_each_have_a_line(files: tuple[Path, Path]) -> None:
    content = json.loads(files[1].read_text())
    for entry, name in zip(content["categories"], ("a", "a (2)", "a"), strict=True):
        entry["name"] = name
    files[1].write_text(json.dumps(content))
    shown = json.loads(run(*files, "--json", "-").stdout)
    assert list(shown["classes"]) == ["a", "a (2)", "a (3)"]
    assert shown["confusion"]["classes"] == ["a", "a (2)", "a (3)", "background"]


def test_outputs_spare_folders_of_labels_and_each_other(files: tuple[Path, Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "1.txt").write_text("Car 0 0 0 1 1 9 9 0 0 0 0 0 0 0\n")
    table = Path(f"{files[0]}.images.json")
    table.write_text("{}")
    for arguments in (
        [files[0], labels, "--json", labels / "1.txt"],
        [*files, "--json", table],
        [*files, "--json", tmp_path / "x.html", "--report", tmp_path / "x.html"],
        [*files, "--json", ""],
        [*files, "--seed", 3],
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
    assert (labels / "1.txt").read_text().startswith("Car")
    assert table.read_text() == "{}"


def test_no_detection_in_a_dont_care_region_counts(tmp_path: Path) -> None:
    space = "-1 -1 -1 -1000 -1000 -1000 -10"
    texts = {
        "truth": [f"Car 0 0 -10 10 10 50 50 {space}", f"Van 0 0 -10 0 0 9 9 {space}",
                  f"DontCare -1 -1 -10 60 60 100 100 {space}"],
        "found": [f"Car 0 0 -10 10 10 50 50 {space} 0.5", f"Car 0 0 -10 61 61 80 80 {space} 0.9",
                  f"Van 0 0 -10 70 70 90 90 {space} 0.9", f"Car 0 0 -10 0 60 30 90 {space} 0.4"],
    }  # fmt: skip
    for folder, lines in texts.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "000000.txt").write_text("\n".join(lines) + "\n")
    result = run(tmp_path / "found", tmp_path / "truth", "--conf", 0.1, "--json", "-")
    assert "DontCare is no class here" in result.stderr
    shown = json.loads(result.stdout)
    assert set(shown["classes"]) == {"Car", "Van"}
    assert {key: shown["working_point"][key] for key in ("TP", "FP", "FN")} == {"TP": 1, "FP": 1, "FN": 1}


def test_a_table_fits_and_cannot_harm_the_terminal() -> None:
    rows = [["12", "0.123", "long left text"], ["3", "0.4", ""]]
    table = text.grid(["class", "boxes", "AP", "note"], ["a\x1b[31mred\nline", "猫" * 40], rows, 30, left=("note",))
    lines = table.splitlines()
    assert len(lines) == 3
    assert all(text.display_width(line) <= 30 for line in lines)
    assert "\x1b" not in table
    assert "…" in lines[2]
    assert text.grid(["class"], ["x"], [[]], 40) == "class\nx    ".replace("    ", "")


def test_default_run_imports_nothing_heavy(files: tuple[Path, Path]) -> None:
    """Start-up is a good part of the time of a small evaluation (yolov5 #10779)."""
    script = (
        "import sys, typer; from detkit.cli.evaluate import evaluate; app = typer.Typer(); app.command()(evaluate)\n"
        "before = [m for m in ('numpy', 'cv2', 'orjson', 'numba', 'matplotlib') if m in sys.modules]\n"
        "try: app()\nexcept SystemExit: pass\n"
        "heavy = ('cv2', 'onnxruntime', 'sklearn', 'numba', 'matplotlib', 'scipy', 'rich')\n"
        "print(before, [m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[] []", done.stderr


@pytest.mark.parametrize("protocol", ["voc", "voc07"])
def test_vocs_plus_one_as_the_main_figure(files: tuple[Path, Path], protocol: str) -> None:
    from detkit.annotations import read_ground_truth, read_predictions
    from detkit.metrics.voc import evaluate_voc

    truth = read_ground_truth(files[1])
    found = read_predictions(files[0], truth)
    for iou, inclusive in ((iou, inclusive) for iou in (0.65, 0.75, 0.85) for inclusive in (False, True)):
        options = ["--inclusive"] if inclusive else []
        done = run(*files, "--protocol", protocol, "--iou", iou, "--bootstrap", 3, "--json", "-", *options)
        shown = json.loads(done.stdout)
        wanted = evaluate_voc(truth, found, iou, eleven_points=protocol == "voc07", inclusive=inclusive)
        value = shown["figures"]["AP"]
        assert value == pytest.approx(wanted.figures["AP"], abs=1e-12)
        assert shown["intervals"]["AP"]["value"] == pytest.approx(value, abs=1e-12)
        assert shown.get("inclusive", False) == inclusive
    assert "sides longer by 1" in run(*files, "--protocol", protocol, "--inclusive").stdout


def test_one_pixel_more_makes_a_hit(tmp_path: Path) -> None:
    """Boxes of 1 x 2 and 2 x 2 pixels: an overlap of 0.5 is 6 of 9 with the kit's sides."""
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 90, "height": 90}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 2, 2], "area": 4, "iscrowd": 0}],
    }  # fmt: skip
    found = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 1, 2], "score": 0.9}]
    paths = tmp_path / "found.json", tmp_path / "truth.json"
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    for options, ap in (([], 0), (["--inclusive"], 1)):
        done = run(*paths, "--protocol", "voc", "--iou", 0.6, "--conf", 0.1, "--json", "-", *options)
        shown = json.loads(done.stdout)
        assert shown["figures"]["AP"] == ap
        assert shown["working_point"]["TP"] == ap
        assert shown["confusion"]["matrix"][0][0] == ap
        assert shown["errors"]["counts"]["missed"] == 0

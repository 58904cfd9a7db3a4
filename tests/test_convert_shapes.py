"""`detkit convert` and the formats with masks, polygons, key points and turned boxes, there and back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.annotations import read_ground_truth, read_predictions
from detkit.cli import app
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import ALL_SHAPES

HEIGHT, WIDTH = 60, 80
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
TRIANGLE = [40.5, 5.25, 70.0, 20.5, 45.25, 33.0]
TWO_PARTS = [[2.0, 40.0, 12.0, 40.0, 12.0, 55.0], [60.0, 40.0, 78.0, 42.0, 70.0, 58.0]]


def ring_mask() -> np.ndarray:
    """A ring with a hole, and a pixel that touches nothing."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (40, 45), 11, 1, 4)
    mask[5, 75] = 1
    return mask


def document(**more: Any) -> dict[str, Any]:
    rle = Masks.from_dense([ring_mask()]).to_coco()[0]
    rows: list[dict[str, Any]] = [
        {"category_id": 1, "segmentation": [SQUARE], "bbox": [10, 10, 20, 20]},
        {"category_id": 2, "segmentation": [TRIANGLE], "bbox": [40.5, 5.25, 29.5, 27.75]},
        {"category_id": 2, "segmentation": TWO_PARTS, "bbox": [2, 40, 76, 18]},
        {"category_id": 1, "segmentation": rle, "bbox": [27, 5, 49, 54], "iscrowd": 1},
        {"category_id": 1, "segmentation": [], "bbox": [1, 2, 3, 4]},
    ]
    rows[0] |= {"keypoints": [12, 12, 2, 0, 0, 0, 20.5, 25, 1], "num_keypoints": 2}
    annotations = [
        {"id": n + 1, "image_id": 7, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row}
        for n, row in enumerate(rows)
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [
            {"id": 1, "name": "person", "keypoints": ["nose", "hip", "toe"], "skeleton": [[1, 2], [2, 3]]},
            {"id": 2, "name": "dog"},
        ],
        "annotations": annotations,
        **more,
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document()))
    return path


def convert(source: Path, target: Path, to: str, *more: str) -> list[str]:
    result = CliRunner().invoke(app, ["convert", str(source), str(target), "--to", to, *more])
    assert result.exit_code == 0, result.output
    return result.stderr.splitlines()


def masks(path: Path, **more: Any) -> list[np.ndarray]:
    table = read_ground_truth(path, shapes="masks", **more)
    assert table.shapes.masks is not None
    return [table.shapes.masks.decode(row) for row in range(len(table))]


def test_coco_keeps_every_shape(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco")
    assert said == [f"{tmp_path / 'again.json'}: 5 boxes of 2 classes in 1 image, from coco to coco"]
    again, before = json.loads((tmp_path / "again.json").read_text()), document()
    for one, other in zip(again["annotations"], before["annotations"], strict=True):
        for key in other:
            assert one[key] == other[key], key
    assert again["categories"][0]["keypoints"] == ["nose", "hip", "toe"]
    assert again["categories"][0]["skeleton"] == [[1, 2], [2, 3]]
    assert "keypoints" not in again["categories"][1]


def test_our_lines_keep_every_shape_but_skeletons(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "a.jsonl", "jsonl")
    assert said[0] == ("lost: JSON Lines has no names of key points and no skeletons: those of 1 class are lost.")
    convert(tmp_path / "a.jsonl", tmp_path / "again.json", "coco")
    again = json.loads((tmp_path / "again.json").read_text())
    for one, other in zip(again["annotations"], document()["annotations"], strict=True):
        assert one["segmentation"] == other["segmentation"]
        assert one.get("keypoints") == other.get("keypoints")


def test_polygons_on_request_draw_the_same_mask(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco", "--polygons")
    assert said[0] == "1 mask became polygons; drawn again they are the same pixel by pixel (IoU 1)."
    again = json.loads((tmp_path / "again.json").read_text())
    assert len(again["annotations"][3]["segmentation"]) == 2
    reference = pytest.importorskip("pycocotools.mask")
    rings = reference.frPyObjects(again["annotations"][3]["segmentation"], HEIGHT, WIDTH)
    assert np.array_equal(reference.decode(reference.merge(rings)), ring_mask())
    for one, other in zip(masks(tmp_path / "again.json"), masks(coco), strict=True):
        assert np.array_equal(one, other)


def test_fewer_points_cost_what_is_said(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco", "--polygons", "--simplify", "1.5")
    assert said[0].startswith("lost: 1 mask became polygons; drawn again they have an IoU of 0.")
    one, other = masks(tmp_path / "again.json")[3], ring_mask() > 0
    iou = (one & other).sum() / (one | other).sum()
    assert f"{iou:.4f} in the mean, {iou:.4f} at worst" in said[0]
    result = CliRunner().invoke(app, ["convert", str(coco), str(tmp_path / "x.csv"), "--to", "csv", "--polygons"])
    assert result.exit_code == 2


def test_broken_rings_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = document()
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4], SQUARE]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    table = read_ground_truth(tmp_path / "truth.json", shapes=ALL_SHAPES)
    assert table.shapes.polygons is not None
    assert table.shapes.polygons.lists()[0] == [SQUARE]
    assert "rings that are not at least three points" in caplog.text


def test_results_with_polygons_are_drawn_in_the_true_pictures(coco: Path, tmp_path: Path) -> None:
    results = [
        {"image_id": 7, "category_id": 2, "segmentation": [TRIANGLE], "score": 0.9},
        {"image_id": 7, "category_id": 1, "segmentation": document()["annotations"][3]["segmentation"], "score": 0.5},
        {"image_id": 7, "category_id": 2, "segmentation": TWO_PARTS, "score": 0.4},
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(results))
    truth = read_ground_truth(coco, shapes="masks")
    found = read_predictions(path, truth, shapes="masks")
    assert truth.shapes.masks is not None
    assert found.shapes.masks == truth.shapes.masks[[1, 3, 2]]
    result = CliRunner().invoke(
        app, ["eval", str(path), str(coco), "--iou-type", "segm", "--class", "dog", "--json", "-"]
    )
    assert json.loads(result.stdout)["figures"]["AP"] == pytest.approx(1)


def test_no_results_at_all_are_no_error(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    for kind in ("segm", "boundary"):
        result = CliRunner().invoke(app, ["eval", str(tmp_path / "found.json"), str(coco), "--iou-type", kind])
        assert result.exit_code == 0, result.output


# ------------------------------------------------------------------ YOLO


def test_yolo_seg_there_and_back(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "out", "yolo-seg")
    assert said[:2] == [
        "1 mask became polygons; drawn again they are the same pixel by pixel (IoU 1).",
        "YOLO-seg has one ring for an object: of 2 boxes several were joined by lines; drawn again they are the same "
        "pixel by pixel (IoU 1).",
    ]
    assert "lost: YOLO-seg has no key points: 1 box loses its own." in said
    lines = (tmp_path / "out/a.txt").read_text().splitlines()
    expected = np.array(SQUARE).reshape(-1, 2) / (WIDTH, HEIGHT)
    np.testing.assert_allclose([float(number) for number in lines[0].split()], [0, *expected.ravel()], atol=1e-10)
    before = masks(coco)
    for row, again in enumerate(masks(tmp_path / "out")):
        if row < 4:  # the last has no outline and became its box
            assert np.array_equal(again, before[row])
    table = read_ground_truth(tmp_path / "out", shapes=ALL_SHAPES)
    assert table.shapes.polygons is not None
    assert table.shapes.polygons.counts.tolist() == [1] * 5


def test_overlapping_rings_become_their_outline(tmp_path: Path) -> None:
    content = document()
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0]["segmentation"] = [SQUARE, [20.0, 20.0, 50.0, 20.0, 50.0, 40.0, 20.0, 40.0]]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    convert(tmp_path / "truth.json", tmp_path / "out", "yolo-seg")
    assert np.array_equal(masks(tmp_path / "out")[0], masks(tmp_path / "truth.json")[0])


def test_yolo_pose_there_and_back(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "out", "yolo-pose")
    assert "lost: YOLO-pose has no masks or polygons: 4 boxes lose theirs." in said
    assert "lost: YOLO-pose has key points in every line: 4 boxes written with none labelled." in said
    assert "kpt_shape: [3, 3]" in (tmp_path / "out/data.yaml").read_text()
    for wanted in ("keypoints", ALL_SHAPES):
        points = read_ground_truth(tmp_path / "out", shapes=wanted).shapes.keypoints
        assert points is not None
        np.testing.assert_allclose(points[0], [[12, 12, 2], [0, 0, 0], [20.5, 25, 1]], atol=1e-6)
        assert not points[1:].any()
    without = document()
    del without["annotations"][0]["keypoints"]
    (tmp_path / "without.json").write_text(json.dumps(without))
    result = CliRunner().invoke(
        app, ["convert", str(tmp_path / "without.json"), str(tmp_path / "x"), "--to", "yolo-pose"]
    )
    assert result.exit_code != 0
    assert "no box here has any" in result.stderr


def test_yolo_obb_there_and_back(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned = [[20.0, 5.0], [40.0, 15.0], [35.0, 25.0], [15.0, 15.0]]
    line = {"file": "a.png", "width": WIDTH, "height": HEIGHT, "annotations": [
        {"box": [15, 5, 40, 25], "class": "ship", "corners": turned},
        {"box": [1, 2, 4, 6], "class": "ship"},
    ]}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    said = convert(tmp_path / "a.jsonl", tmp_path / "out", "yolo-obb")
    assert said[0] == "lost: YOLO-obb has turned boxes only: 1 box written as upright ones."
    again = read_ground_truth(tmp_path / "out", shapes="corners").shapes.corners
    assert again is not None
    np.testing.assert_allclose(again, [turned, [[1, 2], [4, 2], [4, 6], [1, 6]]], atol=1e-6)
    kept = read_ground_truth(tmp_path / "out", shapes=ALL_SHAPES).shapes
    assert kept.polygons is None
    assert "turned boxes, as all of them have four corners" in capsys.readouterr().err
    rings = read_ground_truth(tmp_path / "out", "yolo-seg", shapes=ALL_SHAPES).shapes
    assert rings.corners is None
    assert rings.polygons is not None
    convert(tmp_path / "out", tmp_path / "back.json", "coco")
    rows = json.loads((tmp_path / "back.json").read_text())["annotations"]
    np.testing.assert_allclose(rows[0]["segmentation"], [np.ravel(turned)], atol=1e-6)
    # masks get the smallest turned box around them
    said = convert(coco, tmp_path / "of masks", "yolo-obb")
    assert "lost: YOLO-obb has turned boxes only: 4 boxes written as the smallest around the outline." in said


def test_what_the_lines_are_may_be_said(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    line = "0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.45 0.55 0.55 0.45 0.55 0.5 0.5"
    (folder / "a.txt").write_text(line)
    with pytest.raises(Exception, match="say that the format is yolo-pose or yolo-seg"):
        read_ground_truth(folder, shapes=ALL_SHAPES)
    pose = read_ground_truth(folder, "yolo-pose", shapes=ALL_SHAPES).shapes
    assert pose.keypoints is not None
    assert pose.keypoints.shape == (1, 5, 3)
    seg = read_ground_truth(folder, "yolo-seg", shapes=ALL_SHAPES).shapes
    assert seg.polygons is not None
    assert len(seg.polygons.points) == 7
    with pytest.raises(Exception, match="a turned box has 8"):
        read_ground_truth(folder, "yolo-obb", shapes=ALL_SHAPES)


def test_key_points_and_polygons_in_one_folder_are_a_question(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "sizes.csv").write_text("file,width,height\na.jpg,100,100\nb.jpg,100,100\n")
    pose = "0 0.5 0.5 0.2 0.2 0.45 0.45 2 0.55 0.45 1 0.55 0.55 0\n"
    rng = np.random.default_rng(0)
    (folder / "a.txt").write_text(pose * 5)
    (folder / "b.txt").write_text(
        "".join("0 " + " ".join(f"{value:.3f}" for value in rng.random(2 * k)) + "\n" for k in (3, 5, 6, 9))
    )
    with pytest.raises(Exception, match="may be a box with key points or a polygon"):
        read_ground_truth(folder, shapes=ALL_SHAPES)


@pytest.mark.parametrize("seed", range(4))
def test_rings_are_cut_at_the_border(seed: int) -> None:
    from detkit.shapes.clipping import clipped

    rng = np.random.default_rng(seed)
    for _ in range(20):
        ring = rng.uniform(-30, 110, (int(rng.integers(3, 9)), 2))
        whole = Masks.from_polygons([[ring + 100]], [(300, 300)]).decode(0)[100:160, 100:180]
        cut = clipped(ring, WIDTH, HEIGHT)
        assert ((cut >= 0) & (cut <= (WIDTH, HEIGHT))).all()
        again = Masks.from_polygons([[cut]], [(HEIGHT, WIDTH)]).decode(0) if len(cut) > 2 else np.zeros_like(whole)
        assert (whole != again).sum() <= 0.02 * whole.size  # rounding along the edges


# ------------------------------------------------------------------ LabelMe


def test_labelme_there_and_back(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "out", "labelme")
    assert not any("mask" in sentence for sentence in said)
    shapes = json.loads((tmp_path / "out/a.json").read_text())["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["polygon"] * 4 + ["mask", "rectangle"]
    assert [shape["group_id"] for shape in shapes] == [None, None, 3, 3, None, None]
    assert shapes[4]["points"] == [[27, 5], [75, 58]]
    convert(tmp_path / "out", tmp_path / "again.json", "coco")
    rows = json.loads((tmp_path / "again.json").read_text())["annotations"]
    for row, before in zip(rows, document()["annotations"], strict=True):
        assert row["segmentation"] == before["segmentation"]
    for one, other in zip(masks(tmp_path / "out"), masks(coco), strict=True):
        assert np.array_equal(one, other)


def test_labelmes_own_reading_of_our_mask(coco: Path, tmp_path: Path) -> None:
    """What `labelme.utils.shapes_to_label` 6.3.1 draws: the PNG goes into its box, both corners included."""
    convert(coco, tmp_path / "out", "labelme")
    shape = json.loads((tmp_path / "out/a.json").read_text())["shapes"][4]
    png = np.frombuffer(base64.b64decode(shape["mask"]), np.uint8)
    pixels = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE) > 0
    (x1, y1), (x2, y2) = shape["points"]
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[y1 : y2 + 1, x1 : x2 + 1] = pixels
    assert np.array_equal(drawn, ring_mask())


def test_labelme_groups_of_masks_and_polygons(tmp_path: Path) -> None:
    _, png = cv2.imencode(".png", np.full((3, 4), 255, np.uint8))
    text = base64.b64encode(png.tobytes()).decode()
    shapes: list[dict[str, Any]] = [
        {"label": "a", "shape_type": "mask", "points": [[5, 6], [8, 8]], "mask": text, "group_id": 1},
        {"label": "a", "shape_type": "polygon", "points": [[20, 20], [24, 20], [24, 24], [20, 24]], "group_id": 1},
        {"label": "b", "shape_type": "rotation", "points": [[20, 5], [40, 15], [35, 25], [15, 15]]},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 60, "imageWidth": 80, "imagePath": "a.png"}))
    table = read_ground_truth(path, shapes=ALL_SHAPES).shapes
    assert table.masks is not None
    assert table.masks.areas.tolist() == [12 + 16, 0]
    assert table.corners is not None
    assert table.corners[1].tolist() == shapes[2]["points"]
    shapes[0]["mask"] = "no base64 at all"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 60, "imageWidth": 80, "imagePath": "a.png"}))
    with pytest.raises(Exception, match="no PNG in base64"):
        read_ground_truth(path, shapes=ALL_SHAPES)


def test_triangles_are_polygons(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "sizes.csv").write_text("file,width,height\na.png,80,60\n")
    (folder / "a.txt").write_text("0 0.1 0.1 0.3 0.1 0.2 0.3\n0 0.5 0.5 0.2 0.2\n")
    shapes = read_ground_truth(folder, shapes=ALL_SHAPES).shapes
    assert shapes.corners is None
    assert shapes.polygons is not None
    assert shapes.polygons.counts.tolist() == [1, 0]
    np.testing.assert_allclose(shapes.polygons.of(0)[0], [[8, 6], [24, 6], [16, 18]])
    (folder / "a.txt").write_text("0 0.1 0.1 0.3 0.1 0.2 0.3\n0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n")
    assert read_ground_truth(folder, shapes=ALL_SHAPES).shapes.corners is None

"""Formats of masks as pixels, and of turned boxes: VOC, Cityscapes, COCO panoptic, DOTA, MOTS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.annotations import read_ground_truth, recognise, write_ground_truth
from detkit.cli import app
from detkit.label_maps.png import read_label_png
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import ALL_SHAPES

HEIGHT, WIDTH = 60, 80
MOTS = Path(__file__).parents[2] / "shared/data/tracks/MOTS20-05/gt/gt.txt"


def discs() -> list[np.ndarray]:
    """Three discs, the second on top of a part of the first, the last in two parts."""
    masks = [np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(3)]
    cv2.circle(masks[0], (25, 25), 18, 1, -1)
    cv2.circle(masks[1], (40, 30), 9, 1, -1)
    cv2.circle(masks[2], (60, 45), 8, 1, -1)
    cv2.circle(masks[2], (70, 12), 5, 1, -1)
    return masks


def without_the_smaller() -> list[np.ndarray]:
    first, second, third = discs()
    return [first & ~second, second, third]


def written(folder: Path, names: tuple[str, str], crowd: int = 0, more: dict[str, Any] | None = None) -> Path:
    masks = Masks.from_dense(discs())
    rows = [
        {"id": n + 1, "image_id": 5, "category_id": (1, 2, 1)[n], "iscrowd": int(n == 2 and crowd),
         "segmentation": one.to_coco()[0], "bbox": one.bounds[0].tolist(), "area": int(one.areas[0])}
        for n, one in enumerate(masks)
    ]  # fmt: skip
    content = {
        "images": [{"id": 5, "file_name": "000005.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": names[0]}, {"id": 2, "name": names[1]}],
        "annotations": rows + ([{"id": 9, "image_id": 5, "category_id": 1, "iscrowd": 0, **more}] if more else []),
    }
    path = folder / "truth.json"
    path.write_text(json.dumps(content))
    return path


def convert(source: Path, target: Path, to: str) -> list[str]:
    result = CliRunner().invoke(app, ["convert", str(source), str(target), "--to", to])
    assert result.exit_code == 0, result.output
    return result.stderr.splitlines()


def masks(path: Path, format: str | None = None) -> list[np.ndarray]:
    found = read_ground_truth(path, format, shapes="masks").shapes.masks
    assert found is not None
    return [found.decode(row) for row in range(len(found))]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


IOU = discs()[0][without_the_smaller()[0] > 0].sum() / discs()[0].sum()
SHARED = (
    f" gives a pixel to one object: 1 mask loses pixels to smaller ones; drawn again they have an IoU of {IOU:.4f} in "
    f"the mean, {IOU:.4f} at worst."
)


def test_voc(tmp_path: Path) -> None:
    source = written(tmp_path, ("cat", "person"), more={"bbox": [1, 1, 5, 5]})
    said = convert(source, tmp_path / "out", "voc-seg")
    assert "lost: VOC with masks" + SHARED in said
    objects = read_label_png(tmp_path / "out/SegmentationObject/000005.png")
    assert objects.colours is not None
    assert objects.colours[1].tolist() == [128, 0, 0]
    assert np.array_equal(objects.values, sum((n + 1) * one for n, one in enumerate(without_the_smaller())))
    classes = read_label_png(tmp_path / "out/SegmentationClass/000005.png").values
    first, second, third = without_the_smaller()
    assert np.array_equal(classes, 8 * (first | third) + 15 * second)  # VOC's numbers of cat and person
    assert (tmp_path / "out/ImageSets/Segmentation/trainval.txt").read_text() == "000005\n"
    assert recognise(tmp_path / "out") == "voc"
    for path in (tmp_path / "out", tmp_path / "out/Annotations"):
        found = masks(path)
        assert same(found[:3], without_the_smaller())
        assert not found[3].any()
    table = read_ground_truth(tmp_path / "out", shapes=ALL_SHAPES)
    assert table.boxes[3].tolist() == [1, 1, 5, 5]
    assert table.areas[0] == without_the_smaller()[0].sum()


@pytest.mark.parametrize("names", [("cat", "person"), ("apple", "pear")])
def test_voc_without_xml(tmp_path: Path, names: tuple[str, str]) -> None:
    convert(written(tmp_path, names), tmp_path / "out", "voc-seg")
    (tmp_path / "out/Annotations/000005.xml").unlink()
    assert (tmp_path / "out/labelmap.txt").exists() == (names[0] == "apple")
    table = read_ground_truth(tmp_path / "out", "voc-seg", shapes="masks")
    assert [table.categories.names[k] for k in table.class_index] == [names[0], names[1], names[0]]
    assert same(masks(tmp_path / "out", "voc-seg"), without_the_smaller())


def test_vocs_border_belongs_to_nobody(tmp_path: Path) -> None:
    convert(written(tmp_path, ("cat", "person")), tmp_path / "out", "voc-seg")
    file = tmp_path / "out/SegmentationObject/000005.png"
    from detkit.label_maps.palettes import voc_colours
    from detkit.label_maps.png import write_palette_png

    values = read_label_png(file).values.copy()
    values[:, 30] = 255
    write_palette_png(file, values, voc_colours(256))
    assert not any(mask[:, 30].any() for mask in masks(tmp_path / "out"))


def test_cityscapes(tmp_path: Path) -> None:
    source = written(tmp_path, ("car", "person"), crowd=1, more={"bbox": [1, 1, 5, 5]})
    said = convert(source, tmp_path / "out", "cityscapes")
    assert "lost: Cityscapes" + SHARED in said
    assert "lost: Cityscapes has masks only: 1 box without one lost." in said
    first, second, third = without_the_smaller()
    ids = cv2.imread(str(tmp_path / "out/000005_gtFine_instanceIds.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16
    assert np.array_equal(ids, 26000 * first.astype(int) + 24000 * second.astype(int) + 26 * third.astype(int))
    labels = cv2.imread(str(tmp_path / "out/000005_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, 26 * (first | third) + 24 * second)
    assert recognise(tmp_path / "out") == "cityscapes"
    table = read_ground_truth(tmp_path / "out", shapes="masks")
    assert table.images.files == ("000005_leftImg8bit.png",)
    order = np.argsort(table.areas)[::-1]
    names = [table.categories.names[k] for k in table.class_index[order]]
    assert sorted(names) == ["car", "car", "person"]
    assert table.crowd.sum() == 1
    found = masks(tmp_path / "out")
    for expected in without_the_smaller():
        assert any(np.array_equal(one, expected) for one in found)


def test_cityscapes_polygons_alone(tmp_path: Path) -> None:
    content = {
        "imgHeight": HEIGHT, "imgWidth": WIDTH,
        "objects": [
            {"label": "road", "polygon": [[0, 0], [80, 0], [80, 60]]},
            {"label": "car", "polygon": [[5, 5], [20, 5], [20, 20], [5, 20]]},
            {"label": "persongroup", "polygon": [[40, 5], [60, 5], [60, 20]]},
            {"label": "car", "polygon": [[5, 5], [20, 5]]},
            {"label": "car", "polygon": [[5, 5], [20, 5], [9, 9]], "deleted": 1},
        ],
    }  # fmt: skip
    folder = tmp_path / "ulm"
    folder.mkdir()
    (folder / "ulm_1_2_gtFine_polygons.json").write_text(json.dumps(content))
    table = read_ground_truth(tmp_path, shapes="masks")
    assert table.images.files == ("ulm/ulm_1_2_leftImg8bit.png",)
    assert [table.categories.names[k] for k in table.class_index] == ["car", "person"]
    assert table.crowd.tolist() == [False, True]
    assert table.shapes.masks is not None
    assert table.shapes.masks.areas[0] == 225
    assert table.boxes[0].tolist() == [5, 5, 15, 15]


def test_what_cityscapes_has_no_class_for(tmp_path: Path) -> None:
    said = convert(written(tmp_path, ("car", "zebra")), tmp_path / "out", "cityscapes")
    assert "lost: Cityscapes has ten classes of objects: 1 box of 'zebra' lost." in said
    result = CliRunner().invoke(
        app, ["convert", str(written(tmp_path, ("ox", "zebra"))), str(tmp_path / "x"), "--to", "cityscapes"]
    )
    assert result.exit_code != 0
    assert "Cityscapes has objects of 'person', 'rider'" in result.stderr


def test_panoptic(tmp_path: Path) -> None:
    source = written(tmp_path, ("sky", "person"), crowd=1, more={"bbox": [1, 1, 5, 5]})
    said = convert(source, tmp_path / "out.json", "panoptic")
    assert "lost: COCO panoptic" + SHARED in said
    assert "lost: COCO panoptic has masks only: 1 box of 'sky' without one lost." in said
    content = json.loads((tmp_path / "out.json").read_text())
    png = cv2.imread(str(tmp_path / "out" / content["annotations"][0]["file_name"]))[..., ::-1].astype(int)
    ids = png[..., 0] + 256 * png[..., 1] + 65536 * png[..., 2]
    segments = content["annotations"][0]["segments_info"]
    for segment, mask in zip(segments, without_the_smaller(), strict=True):
        assert np.array_equal(ids == segment["id"], mask > 0)
        assert segment["area"] == mask.sum()
    assert [segment["iscrowd"] for segment in segments] == [0, 0, 1]
    assert recognise(tmp_path / "out.json") == "panoptic"
    assert same(masks(tmp_path / "out.json"), without_the_smaller())
    content["categories"][0]["isthing"] = 0
    content = {"images": content["images"], "categories": content["categories"], "annotations": content["annotations"]}
    content["images"] += [{"id": 1000 + n, "file_name": f"{n}.jpg", "width": 1, "height": 1} for n in range(3000)]
    (tmp_path / "out.json").write_text(json.dumps(content))  # segments beyond what recognition looks at
    assert same(masks(tmp_path / "out.json"), without_the_smaller())
    said = convert(tmp_path / "out.json", tmp_path / "again.json", "panoptic")
    again = json.loads((tmp_path / "again.json").read_text())
    assert [category["isthing"] for category in again["categories"]] == [0, 1]


def test_dota(tmp_path: Path) -> None:
    folder = tmp_path / "labelTxt"
    folder.mkdir()
    (folder / "P1.txt").write_text(
        "imagesource:GoogleEarth\ngsd:0.146\n20.0 5.0 40.0 15.0 35.0 25.0 15.0 15.0 large-vehicle 1\n"
        "1 2 4 2 4 6 1 6 ship 0\n"
    )
    (folder / "P2.txt").write_text("imagesource:GoogleEarth\ngsd:null\n")
    assert recognise(tmp_path) == "dota"
    table = read_ground_truth(tmp_path, shapes="corners")
    assert len(table.images) == 2
    assert table.difficult.tolist() == [True, False]
    assert table.shapes.corners is not None
    assert table.shapes.corners[0].tolist() == [[20, 5], [40, 15], [35, 25], [15, 15]]
    assert table.areas.tolist() == [250, 12]
    convert(tmp_path, tmp_path / "a.jsonl", "jsonl")
    said = convert(tmp_path / "a.jsonl", tmp_path / "again", "dota")
    assert not any("upright" in sentence for sentence in said)
    assert (tmp_path / "again/P1.txt").read_text() == "20 5 40 15 35 25 15 15 large-vehicle 1\n1 2 4 2 4 6 1 6 ship 0\n"
    write_ground_truth(table, tmp_path / "obb.csv", "csv")
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("file,width,height\nP1.png,100,50\nP2.png,100,50\n")
    arguments = ["convert", str(tmp_path / "again"), str(tmp_path / "yolo"), "--to", "yolo-obb", "--images", str(sizes)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "yolo/P1.txt").read_text().splitlines()[1].split()[1:] == [
        "0.01", "0.04", "0.04", "0.04", "0.04", "0.12", "0.01", "0.12"
    ]  # fmt: skip


def test_mots(tmp_path: Path) -> None:
    said = convert(written(tmp_path, ("car", "person")), tmp_path / "out.txt", "mots")
    assert "lost: MOTS has tracks: every box is written as an object of its own." in said
    first = (tmp_path / "out.txt").read_text().splitlines()[0].split(" ")
    assert first[:5] == ["5", "1000", "1", str(HEIGHT), str(WIDTH)]
    assert recognise(tmp_path / "out.txt") == "mots"
    found = masks(tmp_path / "out.txt")
    first_disc, second, third = without_the_smaller()
    assert same(found, [first_disc, third, second])


def test_real_mots_there_and_back(tmp_path: Path) -> None:
    if not MOTS.is_file():
        pytest.skip("needs ../shared")
    few = [line for line in MOTS.read_text().splitlines() if int(line.split()[0]) % 40 == 1]
    (tmp_path / "gt.txt").write_text("\n".join(few) + "\n")
    convert(tmp_path / "gt.txt", tmp_path / "again.txt", "mots")
    assert sorted((tmp_path / "again.txt").read_text().splitlines()) == sorted(few)

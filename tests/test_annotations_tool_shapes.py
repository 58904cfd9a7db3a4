"""Polygons, masks and turned boxes of CVAT, VIA and Label Studio."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations import read_ground_truth
from detkit.dataset import GroundTruth
from detkit.shapes.shape_columns import ALL_SHAPES

SQUARE = [[10.0, 10.0], [30.0, 10.0], [30.0, 20.0]]
# A box of 20 x 10 turned by 90 degrees about its centre (50, 50).
TURNED = {(45.0, 40.0), (55.0, 40.0), (55.0, 60.0), (45.0, 60.0)}

CVAT = """<annotations><image id="0" name="a.png" width="100" height="80">
<polygon label="cat" points="10.0,10.0;30.0,10.0;30.0,20.0"/>
<box label="cat" xtl="40" ytl="45" xbr="60" ybr="55" rotation="90"/>
<mask label="cat" left="5" top="6" width="4" height="3" rle="1,3,4,4"/>
<box label="cat" xtl="1" ytl="1" xbr="2" ybr="2"/>
</image></annotations>"""
VIA = {"a.png1": {"filename": "a.png", "size": 1, "file_attributes": {}, "regions": [
    {"shape_attributes": {"name": "polygon", "all_points_x": [10, 30, 30], "all_points_y": [10, 10, 20]},
     "region_attributes": {"label": "cat"}},
    {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 1, "height": 1},
     "region_attributes": {"label": "cat"}}]}}  # fmt: skip
STUDIO = [{"data": {"image": "a.png"}, "annotations": [{"result": [
    {"original_width": 100, "original_height": 80, "value": {
        "points": [[10, 12.5], [30, 12.5], [30, 25]], "polygonlabels": ["cat"]}},
    {"original_width": 100, "original_height": 80, "value": {  # turned about its first corner, (55, 40)
        "x": 55, "y": 50, "width": 20, "height": 12.5, "rotation": 90, "rectanglelabels": ["cat"]}}]}]}]  # fmt: skip


def read(path: Path, content: Any, wanted: str) -> GroundTruth:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_ground_truth(path, shapes=wanted, images=sizes(path.parent))


def sizes(folder: Path) -> Path:
    table = folder / "sizes.csv"
    table.write_text("file,width,height\na.png,100,80\n")
    return table


@pytest.mark.parametrize(("name", "content"), [("a.xml", CVAT), ("a.json", VIA), ("b.json", STUDIO)])
def test_shapes_are_kept(tmp_path: Path, name: str, content: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "detkit"):
        table = read(tmp_path / name, content, ALL_SHAPES)
    assert "upright" not in caplog.text
    shapes = table.shapes
    assert shapes.polygons is not None
    np.testing.assert_allclose(shapes.polygons.of(0), [SQUARE])
    if name != "a.json":
        assert shapes.corners is not None
        assert {tuple(np.round(corner, 6).tolist()) for corner in shapes.corners[1]} == TURNED
        np.testing.assert_allclose(table.boxes[1], [45, 40, 10, 20])
    drawn = read(tmp_path / name, content, "masks").shapes.masks
    assert drawn is not None
    assert drawn.areas[0] == 100


def test_turned_boxes_of_rolabelimg(tmp_path: Path) -> None:
    box = "<robndbox><cx>50</cx><cy>50</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
    xml = f"<annotation><filename>a.png</filename><object><name>cat</name>{box}</object></annotation>"
    corners = read(tmp_path / "a.xml", xml, "corners").shapes.corners
    assert corners is not None
    assert {tuple(np.round(corner, 6).tolist()) for corner in corners[0]} == TURNED


def test_cvats_masks_run_row_by_row(tmp_path: Path) -> None:
    masks = read(tmp_path / "a.xml", CVAT, ALL_SHAPES).shapes.masks
    assert masks is not None
    pixels, left, top = masks.window(2)
    assert (left, top) == (5, 6)
    assert pixels.astype(int).tolist() == [[0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]


def test_boxes_alone_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "detkit"):
        read(tmp_path / "a.xml", CVAT, "")
    assert "shapes that are no upright boxes, taken as the boxes around them: 3" in caplog.text

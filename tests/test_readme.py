"""The README's Python runs as it stands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "models" / "yolo-lite0.onnx", "my.onnx")
    Path("photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    for name in ("picture.jpg", "photos/a.jpg", "photos/b.jpg"):
        cv2.imwrite(name, noise)
    images = [{"id": k, "file_name": f"{name}.jpg", "width": 160, "height": 120} for k, name in enumerate("ab")]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    truth = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "person"}]}
    Path("annotations.json").write_text(json.dumps(truth))
    exec(compile(code.replace("conf=0.3", "conf=0.0"), "README.md", "exec"), {})
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    assert len(Path("found.jsonl").read_text().splitlines()) == 2
    assert len(list(Path("out").iterdir())) == 2

"""Damaged files beside the pictures: journals, parts, plans, zones, proposals, names, tracks, arrays, coefficients."""

from __future__ import annotations

import io
import json
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mutations import damage_tree, damaged, damaged_json, damaged_text

from detkit.annotations.name_files import read_labels, read_names
from detkit.annotations.palette_files import palette_from
from detkit.annotations.sizes import read_size_table
from detkit.detectors.hog.hog_model import read_model, read_opencv_svm
from detkit.detectors.rcnn.rcnn_model import read_rcnn_model
from detkit.graphs.registry import hog_models, models_folder
from detkit.proposals.proposal_files import read_proposals
from detkit.proposals.structured_forest import read_forest
from detkit.runs.footage import Pace, read_found
from detkit.runs.journal import Journal
from detkit.runs.long_lists import Item
from detkit.runs.merging import parts_in
from detkit.runs.parts import PartsFolder
from detkit.runs.sources import find_items
from detkit.runs.writers import WRITERS
from detkit.tracking.motchallenge import read_detections, read_masks, read_tracks, read_truth
from detkit.tracking.sequence_files import frame_rate, read_track_lines
from detkit.tracking.walks import read_walks
from detkit.tracking.zone_files import read_zones

SETTINGS = {"command": "yolo", "conf": 0.25, "model": "abc"}
RECORD = {
    "file": "a.png", "width": 100, "height": 80,
    "detections": [{"box": [1.5, 2, 30, 40], "class": "cat", "class_id": 0, "score": 0.5}],
}  # fmt: skip
FRAME = {**RECORD, "file": "v.mp4", "frame": 0, "time": 0.0}
SUMMARY = {"pictures": 1, "failures": 0, "seconds": 0.1, "found": {"cat": 2}, "shapes": {}, "empty": 0}
HEADER = {
    "detkit": 1, "settings": SETTINGS, "list": {"items": 2, "digest": "00", "numbered": False},
    "classes": {"names": ["cat", "dog"], "wanted": []}, "part": 1, "of": 2,
}  # fmt: skip


def _lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _archive(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def bases() -> dict[str, bytes]:
    b = {"last": True, "source": ["/x/a.png", 5, 6]}
    models = {"hog.npz": next(iter(hog_models().values())).read_bytes()}
    rcnn = [path for path in models_folder().glob("*.npz") if "rcnn" in path.name]
    if rcnn and rcnn[0].stat().st_size < 1 << 22:
        models["rcnn.npz"] = rcnn[0].read_bytes()
    return {
        "journal": _lines(
            {"detkit": 2, **SETTINGS}, {**RECORD, **b}, {**FRAME, **b, "last": False}, {**FRAME, **b, "frame": 1}
        ),
        "zones.json": b'{"door": [[0, 0], [10, 0], [10, 10.5]], "yard": [[1, 1], [5, 1], [5, 5], [1, 5]]}',
        "labelme.json": b'{"shapes": [{"label": "door", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "polygon"}]}',
        "proposals.jsonl": _lines({"file": "a.png", "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "scores": [0.5, 0.25]}),
        "names.txt": b"cat\nbig dog\n",
        "names.yaml": b"names:\n  0: cat\n  1: 'big dog'\n",
        "names.json": b'["cat", "big dog"]',
        "labels.csv": b"LabelName,DisplayName\n/m/01,Cat\n/m/02,Dog\n",
        "sizes.csv": b"file,width,height\na.png,100,80\nb.png,50,40\n",
        "palette.json": b'[{"name": "cat", "color": [1, 2, 3]}, {"name": "dog", "color": "#102030"}]',
        "palette.txt": b"cat 1 2 3\ndog 4 5 6\n",
        "found.jsonl": _lines(RECORD, FRAME, {"file": "b.png", "error": "is damaged"}),
        "det.txt": b"1,-1,10,20,30,40,0.9,-1,-1,-1\n2,-1,11,20,30,40,0.8,-1,-1,-1\n",
        "gt.txt": b"1,1,10,20,30,40,1,1,1\n2,1,11,20,30,40,1,1,0.5\n1,2,50,20,30,40,0,2,1\n",
        "mots.txt": b"1 1001 1 80 100 d3\n2 1001 1 80 100 d3\n",
        "seqinfo.ini": b"[Sequence]\nname=a\nframeRate=25\nseqLength=2\nimWidth=100\nimHeight=80\n",
        "tracks.jsonl": _lines({**FRAME, "detections": [{**FRAME["detections"][0], "track": 1}]}),
        "svm.txt": b"0.5 0.25 " * 1890 + b"-1.5",
        "svm.npy": _archive(a=np.zeros(3781, np.float32)),
        "svm.yml": b"%YAML:1.0\n---\nopencv_object_detector:\n   winSize: [ 64, 128 ]\n   SVMDetector: [ 0.5, 0.25 ]\n",
        "list.txt": b"a.png\nsub/b.png\n",
        "forest.npz": _archive(thrs=np.zeros((2, 3), np.float32), fids=np.zeros((2, 3), np.int32)),
        **models,
    }  # fmt: skip


def _write_parts(folder: Path) -> None:
    folder.mkdir()
    for number in (1, 2):
        records = RECORD if number == 1 else {**RECORD, "file": "b.png"}
        (folder / f"{number}.jsonl").write_bytes(_lines({**HEADER, "part": number}, records, {"summary": SUMMARY}))
    (folder / "plan.json").write_bytes(_lines({"settings": SETTINGS, "whole": HEADER["list"], "parts": 2}))


def fuzzer(folder: Path) -> Any:
    made = bases()
    contents = list(made.values())

    def damage(random: Random, content: bytes, others: Any) -> bytes:
        kind = damaged if content[:2] == b"PK" else damaged_json if content[:1] in b"[{" else damaged_text
        return kind(random, content, others)

    def resumed(path: Path) -> None:
        """What a run does with a journal: asks for each item, adds one, and reads all."""
        journal = Journal(path, SETTINGS, resume=True)
        try:
            items = [Item(path.parent / name, name) for name in ("a.png", "v.mp4")]
            for item in items:
                if not journal.done(item):
                    first = journal.frames_done(item) if item.name == "v.mp4" else 0
                    journal.add({**(FRAME | {"frame": first} if item.name == "v.mp4" else RECORD)}, last=True)
            assert {record["file"] for record in journal.records(items)} == {"a.png", "v.mp4"}
        finally:
            journal.close()

    def merged(parts: Path, out: Path, writer: str) -> None:
        parts_in([parts]).write(out, WRITERS[writer])

    def case(random: Random, work: Path) -> Any:
        name = random.choice([*made, "journal", "journal", "parts", "parts", "parts"])
        if name == "parts":
            parts = work / "parts"
            _write_parts(parts)
            damage_tree(random, parts, damage)
            writer = random.choice([name for name, row in WRITERS.items() if row.content is None and name != "xlsx"])
            yield "plan", lambda: PartsFolder(parts).plan()
            yield "summary", lambda: [PartsFolder(parts).summary(number) for number in (1, 2)]
            yield f"merge to {writer}", lambda: merged(parts, work / "out", writer)
            return
        path = work / name
        path.write_bytes(made[name])
        if name == "journal":
            path.write_bytes(damage(random, made[name], contents))
        else:
            damage_tree(random, work, damage)
        own = {
            "journal": resumed,
            "zones.json": read_zones,
            "labelme.json": read_zones,
            "proposals.jsonl": read_proposals,
            "labels.csv": read_labels,
            "sizes.csv": read_size_table,
            "found.jsonl": lambda path: deque(read_found(path, Pace()), maxlen=0),
            "det.txt": read_detections,
            "gt.txt": read_truth,
            "mots.txt": read_masks,
            "seqinfo.ini": frame_rate,
            "tracks.jsonl": read_track_lines,
            "hog.npz": read_model,
            "rcnn.npz": read_rcnn_model,
            "forest.npz": read_forest,
            "list.txt": lambda path: list(find_items([f"@{path}"], lambda name, why: None)),
        }
        stem = name.split(".")[0]
        read: Any = own.get(name) or {"names": read_names, "palette": palette_from, "svm": read_opencv_svm}[stem]
        yield name, lambda: read(path)
        if random.random() < 0.2 and name != "journal":
            other = random.choice([read_tracks, *(reader for key, reader in own.items() if key != "journal")])
            yield f"{name} as another", lambda: other(path)
        if name == "gt.txt":
            yield "walks", lambda: read_walks([path])

    return case

"""torchvision's Faster R-CNN, exported here with random weights, against `detkit rcnn --variant faster`.

    python tests/benchmarks/check_torchvision.py export FOLDER IMAGE...     # where torch and torchvision are
    python tests/benchmarks/check_torchvision.py compare FOLDER             # where detkit is

The first writes a graph for each backbone and what torchvision itself finds, the second says how far detkit's boxes are
from it. One of the graphs finds nothing.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np


def export(folder: Path, images: list[str]) -> None:
    import torch
    import torchvision
    from PIL import Image
    from torchvision.models import detection

    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for name, make, threshold in [
        ("mobilenet-320", detection.fasterrcnn_mobilenet_v3_large_320_fpn, 0.02),
        ("mobilenet-800", detection.fasterrcnn_mobilenet_v3_large_fpn, 0.02),
        ("nothing", detection.fasterrcnn_mobilenet_v3_large_320_fpn, 0.999),
    ]:
        torch.manual_seed(0)
        network = make(weights=None, weights_backbone=None, num_classes=7, box_score_thresh=threshold).eval()
        pictures = {
            path: torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255
            for path in images
        }
        with torch.no_grad():
            # With random weights features fade from layer to layer, and every box scores alike: measure the
            # normalisations on the pictures, and spread scores and offsets.
            network.backbone.train()
            for _ in range(20):
                for picture in pictures.values():
                    network.backbone(network.transform([picture])[0].tensors)
            network.eval()
            network.rpn.head.cls_logits.weight.mul_(20)
            network.rpn.head.bbox_pred.weight.mul_(3)
            network.roi_heads.box_predictor.cls_score.weight.mul_(20)
            network.roi_heads.box_predictor.bbox_pred.weight.mul_(5)
        expected = {}
        for path, picture in pictures.items():
            with torch.no_grad():
                found = network([picture])[0]
            expected[path] = {key: value.tolist() for key, value in found.items()}
        torch.onnx.export(
            network, ([torch.rand(3, 320, 480)],), str(folder / f"{name}.onnx"), opset_version=17, dynamo=False,
            input_names=["images"], output_names=["boxes", "labels", "scores"],
            dynamic_axes={"images": {1: "h", 2: "w"}, "boxes": {0: "n"}, "labels": {0: "n"}, "scores": {0: "n"}},
        )  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(expected))
        print(name, torchvision.__version__, {path: len(found["scores"]) for path, found in expected.items()})


def compare(folder: Path) -> None:
    from detkit.detectors.rcnn.two_stage import two_stage

    for path in sorted(folder.glob("*.onnx")):
        detector = two_stage(path, "faster", conf=0.0)
        for image, wanted in json.loads(path.with_suffix(".json").read_text()).items():
            found = detector(image)
            boxes, scores = np.array(wanted["boxes"]).reshape(-1, 4), np.array(wanted["scores"])
            if len(found) != len(scores):
                print(f"{path.stem} {Path(image).name}: {len(found)} boxes, torchvision {len(scores)}")
                continue
            # Boxes of nearly equal scores may change places: each against the nearest one of such a score.
            apart = [
                min(
                    (np.abs(boxes[near] - box).max() for near in np.flatnonzero(np.abs(scores - score) < 1e-2)),
                    default=np.inf,
                )
                for box, score in zip(found.boxes, found.scores, strict=True)
            ]
            print(
                f"{path.stem} {Path(image).name}: {len(found)} boxes, at most {max(apart, default=0):.4f} px apart, "
                f"scores {np.abs(np.sort(found.scores) - np.sort(scores)).max(initial=0):.2g}"
            )


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(Path(sys.argv[2]), sys.argv[3:])
    else:
        compare(Path(sys.argv[2]))

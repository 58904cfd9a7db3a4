"""What the maps of `detkit look` are worth on annotated pictures, and D-RISE beside vision-explanation-methods.

    python tests/benchmarks/bench_look.py                     # twenty pictures of coco128, the bundled detector
    python tests/benchmarks/bench_look.py --pictures 3 --masks 200

Of each picture the best detection that is right (its class, IoU 0.5 with an annotated box of 3 to 60 % of the picture)
is explained; printed are the share of the heat inside the annotated box against the box's share of the picture, and
what hiding the hottest tenth costs against the middle tenth. Where the package `vision-explanation-methods` (MIT) is
there, it gets the same masks and the same rows, and the largest differences of its weights and maps are printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from detkit.boxes import iou, xywh_to_xyxy
from detkit.images import read_image
from detkit.inside.heat_figures import HeatFigures, centred_blob, heat_figures, share_inside
from detkit.inside.hiding import RandomMasks, d_rise, hidden, occlusion, random_masks
from detkit.inside.likeness import Target, likeness
from detkit.inside.subjects import Subject, View, open_subject

COCO128 = Path(__file__).parents[3] / "shared" / "data" / "coco128"


def right_boxes(subject: Subject, data: Path) -> Iterator[tuple[str, View, Target, Any]]:
    """(file, view, target, annotated box in pixels of the view) of the pictures with a right detection."""
    annotated = json.loads((data / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in annotated["categories"]}
    for picture in annotated["images"]:
        own = [one for one in annotated["annotations"] if one["image_id"] == picture["id"]]
        image = read_image(data / "images" / picture["file_name"])
        view = subject.view(image)
        for target in subject.targets(image, view, 0.25, 20):
            same = [one["bbox"] for one in own if names[one["category_id"]] == subject.names[target.class_id]]
            if not same:
                continue
            boxes = view.of_picture(xywh_to_xyxy(np.array(same, np.float32)))
            overlaps = iou(target.box[None], boxes)[0]
            box = boxes[int(overlaps.argmax())]
            share = share_inside(np.ones(view.image.shape[:2], np.float32), box)
            if overlaps.max() >= 0.5 and 0.03 <= share <= 0.6:
                yield picture["file_name"], view, target, box
                break


def peer(subject: Subject, view: View, target: Target, masks: RandomMasks) -> tuple[float, float, float]:
    """Largest difference of weights, of maps scaled to 0..1, and the maps' correlation, ours against the package's."""
    import torch
    from vision_explanation_methods.explanations import drise
    from vision_explanation_methods.explanations.common import DetectionRecord

    def record(boxes: Any, vectors: Any, scores: Any) -> Any:
        return DetectionRecord(*(torch.tensor(np.asarray(one, np.float32)) for one in (boxes, scores, vectors)))

    base = record(target.box[None], target.vector[None], [1.0])
    drawn, records, apart = random_masks(masks, view.image.shape[:2]), [], 0.0
    for _ in range(masks.most):
        mask = next(drawn)
        (rows,) = subject.rows([hidden(view, mask)], view)
        own = likeness(rows, [target])[0]
        theirs = torch.zeros(1)
        if len(rows.boxes):
            theirs = drise.compute_affinity_scores(base, record(rows.boxes, rows.vectors, rows.vectors.max(axis=1)))
        apart = max(apart, abs(float(theirs) - own))
        records.append(drise.MaskAffinityRecord(torch.tensor(mask.copy()).repeat(3, 1, 1), [theirs]))
    other = drise.saliency_fusion(records, "cpu")[0][0]["detection"][0].numpy()
    ours = d_rise(subject, view, [target], masks).maps[0]
    scaled = (ours - ours.min()) / (ours.max() - ours.min())
    return apart, float(np.abs(scaled - other).max()), float(np.corrcoef(scaled.ravel(), other.ravel())[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=COCO128)
    parser.add_argument("--model", default="yolo-lite0")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--masks", type=int, default=2000)
    parser.add_argument("--peer", action="store_true", help="compare with vision-explanation-methods on three pictures")
    options = parser.parse_args()
    subject = open_subject(options.model)
    kept: dict[str, list[tuple[float, ...]]] = {}
    for number, (name, view, target, box) in enumerate(right_boxes(subject, options.data)):
        if number == options.pictures:
            break
        found = {
            "occlusion": occlusion(subject, view, [target]),
            "D-RISE": d_rise(subject, view, [target], RandomMasks(most=options.masks)),
        }
        share = share_inside(np.ones(view.image.shape[:2], np.float32), box)
        blob = share_inside(centred_blob(*view.image.shape[:2]), box)
        for method, one in found.items():
            figures: HeatFigures = heat_figures(subject, view, target, one.maps[0])
            row = (share_inside(one.maps[0], box), share, blob, figures.drop, figures.blob_drop)
            kept.setdefault(method, []).append((*row, float(one.runs), float(bool(figures.verdict))))
            sure = f", settled {one.settled[0]:.2f}" if len(one.settled) else ""
            print(
                f"{name} {target.name} {method}: {row[0]:.0%} of the heat in {row[1]:.0%} (blob {row[2]:.0%}), drop "
                f"{row[3]:.0%} (blob {row[4]:.0%}), {one.runs} runs{sure} {figures.verdict}",
                flush=True,
            )
        if options.peer and number < 3:
            masks = RandomMasks(most=100, least=100)
            weights, maps, r = peer(subject, view, target, masks)
            print(f"  vision-explanation-methods: weights apart {weights:.2g}, maps {maps:.2g}, r {r:.6f}", flush=True)
    for method, rows in kept.items():
        inside, share, blob, drop, blob_drop, runs, poor = np.mean(rows, axis=0).tolist()
        print(
            f"{method}, {len(rows)} pictures: {inside:.1%} of the heat in boxes of {share:.1%} (blob {blob:.1%}), drop "
            f"{drop:.1%} (blob {blob_drop:.1%}), {runs:.0f} runs, {round(poor * len(rows))} uninformative"
        )


if __name__ == "__main__":
    main()

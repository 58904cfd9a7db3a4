"""What the figures of a page mean, in a sentence each."""

from __future__ import annotations

from html import escape

from detkit.metrics.evaluation import Evaluation

_OVERLAPS = {
    "bbox": "IoU of boxes: the area that both share, divided by the area that either covers",
    "segm": "IoU of masks: the pixels that both share, divided by those that either covers",
    "boundary": "the smaller of mask IoU and of the IoU of the bands along both outlines",
    "keypoints": "OKS: how near the key points lie, by the size of the object and the spread of each point",
    "obb": "IoU of turned boxes: the area that both share, divided by the area that either covers",
}
_AP = {
    "coco": "Average precision: the area under precision over recall at 101 recalls, mean over classes and over the "
    "overlaps .50, .55 ... .95.",
    "voc": "Average precision: the area under the falling envelope of precision over recall, mean over classes.",
    "voc07": "Average precision: the mean of precision at the recalls 0, .1 ... 1, mean over classes.",
}
_COCO = {
    "AP50": "AP at the overlap .50 alone: found at all.",
    "AP75": "AP at the overlap .75 alone: found and well placed.",
    "APs, APm, APl": "AP of small (area under 32 x 32 pixels), medium and large (over 96 x 96) objects.",
    "AR": "Average recall, over the same overlaps; the number is how many detections of a picture and class count.",
}


def glossary(evaluation: Evaluation) -> str:
    """HTML: the terms of the figures that this evaluation shows, folded."""
    overlap = _OVERLAPS[evaluation.settings.iou_type]
    terms = {
        "overlap": f"{overlap}. From {evaluation.iou:g} on, a detection can be a hit.",
        "TP, FP, FN": "Hits; false positives, which hit nothing or what was hit already; objects that were missed.",
        "precision": "The share of the detections that are hits.",
        "recall": "The share of the objects that are found.",
        "F1": "The harmonic mean of precision and recall.",
        "AP": _AP[evaluation.protocol],
        **(_COCO if evaluation.protocol == "coco" else {}),
        "working point": "The score from which detections count for TP, FP and FN.",
        "ROC area": "How likely a hit has a higher score than a false positive; 0.5 is chance.",
        "LAMR": "Log-average miss rate: the geometric mean of the miss rate at nine rates of false positives per "
        "picture from 0.01 to 1; lower is better.",
        "FROC": "The mean recall at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per picture.",
        "TIDE": "The AP that one kind of error costs: what AP would be if only these were mended, less AP.",
        "-": "Undefined: there is no such object.",
    }
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(told)}</dd>" for term, told in terms.items())
    return f'<details class="glossary"><summary>What the figures mean</summary><dl>{rows}</dl></details>'

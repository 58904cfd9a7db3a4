"""The formats that detkit reads and writes, by the name that `--to` and `--gt-format` take: one row, one module.

A further format is a row here and a module with `read` and `write` (see `Format`). Recognition, the choices and help
of the commands, error texts and what `convert` says to be lost are made from this table.
"""

from __future__ import annotations

from detkit.annotations.format import ALL, BY_HAND, FLAGS, SHAPES, Format, Signs
from detkit.errors import UsageError

_HERE = "detkit.annotations.formats"
# What the formats of annotation tools keep beside boxes.
_IN_VOC = frozenset(("difficult", "truncated", "occluded", "images without boxes", "sizes", "boxes beyond the image"))
_XML_NAMES = "does not keep control characters and outer blanks of names: {changed}."
_IN_YOLO = frozenset(
    ("classes without boxes", "images without boxes", "sizes", "equal class names", "empty class names")
)
_PICTURES = frozenset(("images without boxes", "boxes beyond the image"))

_ALL = (
    Format(
        "coco", "COCO JSON", f"{_HERE}.coco_json", ".json",
        Signs(
            keys=("images", "categories", "info", "licenses"),
            late=("annotations",),
            items=("image_id", "category_id", "bbox"),
            empty=True,
        ),
        holds=ALL | {"scores"},
        class_ids="own",
        ignored="unread",
    ),
    Format(
        "jsonl", "JSON Lines", f"{_HERE}.json_lines", ".jsonl",
        Signs(keys=("file",)),
        holds=ALL - {"skeletons", "classes without boxes", "negative sizes", "equal class names"},
    ),
    Format(
        "voc", "VOC XML", f"{_HERE}.voc_xml", ".xml",
        Signs(tags=("annotation",)),
        folder=True,
        one_file=True,
        inner="Annotations",
        holds=_IN_VOC,
        instead=(("masks", "voc-seg"),),
        renamed=_XML_NAMES,
    ),
    Format(
        "voc-seg", "VOC with masks", f"{_HERE}.voc_segmentation", ".xml",
        Signs(),
        folder=True,
        inner="Annotations",
        holds=_IN_VOC | {"masks", "own boxes"},
        renamed=_XML_NAMES,
    ),
    Format(
        "yolo", "YOLO txt", f"{_HERE}.yolo_txt", ".txt",
        Signs(line=4, lines=("train", "val", "test")),
        folder=True,
        one_file=True,
        inner="labels",
        holds=_IN_YOLO,
        class_ids="places",
        instead=(("masks", "yolo-seg"), ("keypoints", "yolo-pose"), ("corners", "yolo-obb")),
    ),
    *(
        Format(
            f"yolo-{what}", f"YOLO-{what}", f"{_HERE}.yolo_{what}_txt", ".txt",
            Signs(),
            folder=True,
            one_file=True,
            inner="labels",
            holds=_IN_YOLO | holds | ({"own boxes"} if what == "pose" else set()),
            class_ids="places",
            of_shapes=what == "pose",
        )
        for what, holds in (("seg", {"polygons", "corners"}), ("pose", {"keypoints"}), ("obb", {"corners"}))
    ),
    Format(
        "csv", "CSV", f"{_HERE}.csv_table", ".csv",
        Signs(columns=tuple(
            frozenset((file, *corners))
            for file in ("file", "filename", "file_name", "image", "image_name", "image_path", "imagepath", "path",
                         "img", "img_path")
            for corners in (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"),
                            ("x_min", "y_min", "x_max", "y_max"), ("left", "top", "right", "bottom"))
        )),
        holds=ALL - {*SHAPES, "classes without boxes", "image ids", "negative sizes", "equal class names",
                     "empty class names"},
    ),
    Format(
        "labelme", "LabelMe", f"{_HERE}.labelme_json", ".json",
        Signs(keys=("shapes", "imagePath", "imageData")),
        folder=True,
        one_file=True,
        holds=frozenset((*FLAGS, "images without boxes", "sizes", "boxes beyond the image", "scores",
                         "polygons", "parts", "masks", "shared pixels", "corners")),
    ),
    Format(
        "openimages", "Open Images CSV", f"{_HERE}.open_images_csv", ".csv",
        Signs(columns=(frozenset(("imageid", "xmin", "xmax")),)),
        holds=frozenset(("crowd", "truncated", "occluded", "boxes beyond the image")),
        class_ids="labels",
        renamed="does not keep blanks around class names: {changed}.",
    ),
    Format(
        "kitti", "KITTI", f"{_HERE}.kitti_txt", ".txt",
        Signs(line=3),
        folder=True,
        inner="label_2",
        holds=frozenset(("ignore", "truncated", "occluded", "images without boxes", "boxes beyond the image")),
        ignored="every class",
        renamed="separates columns by spaces: spaces in class names become '_'.",
    ),
    Format(
        "cvat", "CVAT XML", f"{_HERE}.cvat_xml", ".xml",
        Signs(tags=("annotations",)),
        holds=_PICTURES | {"occluded", "sizes"},
        renamed="does not keep control characters of names: {changed}.",
    ),
    Format(
        "createml", "Create ML", f"{_HERE}.createml_json", ".json",
        Signs(items=("annotations.coordinates", "annotation.coordinates", "imagefilename"), bare=("image",)),
        holds=_PICTURES,
    ),
    Format(
        "via", "VIA", f"{_HERE}.via_json", ".json",
        Signs(paths=("_via_img_metadata", "*.regions"), columns=(frozenset(("filename", "region_shape_attributes")),)),
        holds=_PICTURES,
    ),
    Format(
        "labelstudio", "Label Studio", f"{_HERE}.label_studio_json", ".json",
        Signs(items=("annotations.result", "predictions.result", "completions.result", "label.rectanglelabels",
                     "label.polygonlabels", "label.original_width", "data.image")),
        holds=_PICTURES | {"sizes"},
    ),
    Format(
        "megadetector", "MegaDetector", f"{_HERE}.megadetector_json", ".json",
        Signs(paths=("detection_categories", "images.detections")),
        holds=_PICTURES | {"sizes"},
    ),
    Format(
        "sagemaker", "SageMaker", f"{_HERE}.sagemaker_jsonl", ".manifest",
        Signs(paths=("source-ref",)),
        holds=_PICTURES | {"sizes"},
    ),
    Format(
        "panoptic", "COCO panoptic", f"{_HERE}.coco_panoptic", ".json",
        Signs(paths=("annotations.segments_info",)),
        holds=ALL - {*SHAPES, *FLAGS, "area", "box ids", "negative sizes"} | {"crowd", "masks"},
        class_ids="own",
        of_shapes=True,
        beside=True,
    ),
    Format(
        "cityscapes", "Cityscapes", f"{_HERE}.cityscapes_files", ".json",
        Signs(paths=("objects.polygon",), keys=("imgHeight", "imgWidth")),
        folder=True,
        one_file=True,
        holds=frozenset(("crowd", "masks", "images without boxes", "sizes", "boxes beyond the image")),
        of_shapes=True,
    ),
    Format(
        "dota", "DOTA txt", f"{_HERE}.dota_txt", ".txt",
        Signs(line=1),
        folder=True,
        inner="labelTxt",
        holds=_PICTURES | {"difficult", "corners"},
        renamed="separates columns by spaces and has no numbers as class names: {changed}.",
    ),
    Format(
        "mots", "MOTS txt", f"{_HERE}.mots_txt", ".txt",
        Signs(line=2),
        holds=frozenset(("ignore", "masks", "image ids", "sizes", "boxes beyond the image")),
        class_ids="labels",
        ignored="every class",
        of_shapes=True,
    ),
)  # fmt: skip
FORMATS: dict[str, Format] = {row.name: row for row in _ALL}


def find_format(name: str) -> Format:
    """The format of this name. UsageError where there is none."""
    if name not in FORMATS:
        raise UsageError(f"there is no annotation format '{name}'; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(source: str) -> Format:
    """The format of `GroundTruth.source`."""
    return FORMATS.get(source, BY_HAND)


def titles() -> str:
    """All formats, for people."""
    return ", ".join(row.title for row in FORMATS.values())


def format_of_line(line: str) -> Format | None:
    """The format that a line of text is one of; None where it is something else."""
    rows = sorted((row for row in FORMATS.values() if row.signs.line), key=lambda row: row.signs.line)
    return next((row for row in rows if row.is_line(line)), None)

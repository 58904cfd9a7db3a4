"""Golden edges, boxes and scores by opencv-contrib, so that the comparison also runs where it is absent.

/root/venv-contrib/bin/python tests/data/make_proposals_golden.py tests/data/proposals_golden.npz

No trained structured forest may be at hand, so two are made up: random trees over every kind of feature, in OpenCV's
format. Their edges mean nothing, but they come out right only if every feature, node and leaf is read right.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

SMALL = {
    "stride": 2, "shrinkNumber": 2, "patchSize": 16, "patchInnerSize": 8, "numberOfGradientOrientations": 4,
    "gradientSmoothingRadius": 0, "regFeatureSmoothingRadius": 2, "ssFeatureSmoothingRadius": 8,
    "gradientNormalizationRadius": 4, "selfsimilarityGridSize": 5, "numberOfTrees": 6, "numberOfTreesToEvaluate": 2,
}  # fmt: skip
OTHER = SMALL | {
    "stride": 4, "shrinkNumber": 4, "patchSize": 32, "patchInnerSize": 16, "numberOfGradientOrientations": 3,
    "gradientSmoothingRadius": 1, "selfsimilarityGridSize": 3, "numberOfTrees": 4, "numberOfTreesToEvaluate": 4,
}  # fmt: skip


def picture(height, width, seed):
    """Polygons and noise, from integers only."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(10):
        corners = random.integers(0, (width, height), (3, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], tuple(int(value) for value in random.integers(0, 256, 3)))
    noise = random.integers(-12, 13, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def forest(options, depth, seed, nested):
    """The text of a forest of full random trees, as one list or, `nested`, as a list for every tree."""
    random = np.random.default_rng(seed)
    trees, inner = options["numberOfTrees"], options["patchInnerSize"]
    nodes, inner_nodes = 2 ** (depth + 1) - 1, 2**depth - 1
    channels = 2 * (options["numberOfGradientOrientations"] + 1) + 3
    regular = (options["patchSize"] // options["shrinkNumber"]) ** 2 * channels
    cells = options["selfsimilarityGridSize"] ** 2
    children = np.zeros((trees, nodes), int)
    children[:, :inner_nodes] = 2 * np.arange(inner_nodes) + 2
    features, thresholds = np.zeros((trees, nodes), int), np.zeros((trees, nodes))
    compared = random.random((trees, inner_nodes)) < 0.5
    features[:, :inner_nodes] = np.where(
        compared,
        regular + random.integers(0, cells * (cells - 1) // 2 * channels, (trees, inner_nodes)),
        random.integers(0, regular, (trees, inner_nodes)),
    )
    thresholds[:, :inner_nodes] = np.where(compared, 0.01, 0.3) * random.normal(0.3, 1, (trees, inner_nodes))
    counts = np.where(children.ravel() == 0, random.integers(0, 9, trees * nodes), 0)
    bounds = np.append(0, np.cumsum(counts))
    # A row of edge pixels, as a leaf would hold.
    bins = random.integers(0, inner**2, bounds[-1])
    lists = {
        "childs": children, "featureIds": features, "thresholds": np.round(thresholds, 5), "edgeBoundaries": bounds,
        "edgeBins": bins,
    }  # fmt: skip
    lines = ["%YAML:1.0", "---", "options:", *(f"   {key}: {value}" for key, value in options.items())]
    for key, values in lists.items():
        if nested and values.ndim == 2:
            lines += [f"{key}:", *(f"   - [ {', '.join(map(str, row))} ]" for row in values.tolist())]
        else:
            flat = [str(value) for value in values.ravel().tolist()]
            rows = [", ".join(flat[at : at + 12]) for at in range(0, len(flat), 12)]
            lines.append(f"{key}: [ " + ",\n    ".join(rows) + " ]")
    return "\n".join(lines) + "\n"


def main(path):
    found = {"image": picture(90, 123, 4)}
    samples = found["image"].astype(np.float32) / np.float32(255)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("small", forest(SMALL, 5, 0, True)), ("other", forest(OTHER, 4, 1, False))):
            file = Path(folder) / f"{name}.yml"
            file.write_text(text)
            detector = cv2.ximgproc.createStructuredEdgeDetection(str(file))
            found[f"{name}_file"] = np.frombuffer(text.encode(), np.uint8)
            found[f"{name}_edges"] = detector.detectEdges(samples)
        # Edges for the boxes: gradients of another picture, smoothed, in whole 255ths.
        scene = cv2.GaussianBlur(picture(150, 200, 7).astype(np.float32), (0, 0), 2.0)
        dx, dy = (cv2.Sobel(scene, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
        found["strength"] = np.clip(np.sqrt((dx**2 + dy**2).max(axis=2)) * 3, 0, 255).astype(np.uint8)
        strength = found["strength"].astype(np.float32) / np.float32(255)
        found["orientation"] = detector.computeOrientation(strength)
        found["thinned"] = detector.edgesNms(strength, found["orientation"], r=2, s=5, m=1.0)
    for name, settings in (
        ("paper", {}),
        ("dense", {"alpha": 0.75, "beta": 0.6, "eta": 0.9996, "minScore": 0.02, "kappa": 1.3}),
    ):
        search = cv2.ximgproc.createEdgeBoxes(maxBoxes=600, minBoxArea=200, **settings)
        boxes, scores = search.getBoundingBoxes(found["thinned"], found["orientation"])
        found[f"{name}_boxes"], found[f"{name}_scores"] = np.int16(boxes), np.float32(scores).ravel()
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])

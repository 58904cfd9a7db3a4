"""Golden HOG descriptors and detections by opencv-contrib, so that the comparison also runs where it is absent.

/root/venv-contrib/bin/python tests/data/make_hog_golden.py tests/data/hog_golden.npz
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

SETS = [
    {},
    {"block": [32, 32], "block_stride": [16, 16], "cell": [8, 8], "signed": True, "orientations": 12, "gamma": False},
    {"window": [48, 96], "block": [24, 24], "block_stride": [8, 8], "orientations": 7, "sigma": 3.0, "clip": 0.3},
    {"window": [60, 64], "block": [12, 16], "block_stride": [4, 8], "cell": [6, 4]},
    {"window": [61, 66], "block": [15, 18], "block_stride": [23, 6], "cell": [5, 9]},
]


def picture(height, width, seed):
    """Edges of every direction, noise and flat parts, from integers only."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(12):
        corners = random.integers(0, (width, height), (3, 2))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        cv2.fillPoly(image, [corners.astype(np.int32)], colour)
    image[: height // 3] = np.clip(
        image[: height // 3].astype(int) + random.integers(-30, 31, (height // 3, width, 3)), 0, 255
    )
    return image


def descriptor(parameters):
    get = parameters.get
    pairs = [
        tuple(get(key, default))
        for key, default in (("window", (64, 128)), ("block", (16, 16)), ("block_stride", (8, 8)), ("cell", (8, 8)))
    ]
    return cv2.HOGDescriptor(
        *pairs,
        get("orientations", 9),
        1,
        get("sigma", -1.0),
        0,
        get("clip", 0.2),
        get("gamma", True),
        64,
        get("signed", False),
    )


def reference(task):
    """`task` is compute or detect; arguments and results in .npz and JSON."""
    if task["kind"] == "compute":
        image = np.load(task["image"])[:, :, ::-1].copy()
        hog = descriptor(task["parameters"])
        result = hog.compute(image, winStride=tuple(task["stride"]), padding=tuple(task["padding"]))
        np.save(task["result"], result.reshape(-1, hog.getDescriptorSize()))
        return
    image = np.load(task["image"])[:, :, ::-1].copy()
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.load(task["svm"]).astype(np.float32))
    boxes, margins = hog.detectMultiScale(
        image,
        hitThreshold=task["threshold"],
        winStride=tuple(task["stride"]),
        padding=tuple(task["padding"]),
        scale=task["scale"],
        groupThreshold=0,
    )
    np.save(task["result"], np.column_stack((np.reshape(boxes, (-1, 4)), np.ravel(margins))))


def main(path):
    found = {"image": picture(150, 130, 0)}
    with tempfile.TemporaryDirectory() as folder:
        image, result = Path(folder) / "image.npy", Path(folder) / "result.npy"
        np.save(image, found["image"])
        for number, parameters in enumerate(SETS):
            # A process each: OpenCV 5.0 keeps the clipping threshold of the first descriptor of a process.
            task = {
                "kind": "compute",
                "parameters": parameters,
                "image": str(image),
                "result": str(result),
                "stride": [24, 24] if number < 4 else [23, 24],
                "padding": [8, 8] if number < 4 else [0, 0],
            }
            subprocess.run([sys.executable, __file__, "--task", json.dumps(task)], check=True)
            values = np.load(result)
            # Every seventh number of every window: enough to find any error, and small.
            found[f"compute_{number}"] = values[:, ::7].astype(np.float32)
        found["detect_image"] = picture(230, 170, 3)
        np.save(image, found["detect_image"])
        np.save(Path(folder) / "svm.npy", cv2.HOGDescriptor_getDefaultPeopleDetector())
        task = {
            "kind": "detect",
            "image": str(image),
            "result": str(result),
            "svm": str(Path(folder) / "svm.npy"),
            "threshold": -3.0,
            "stride": [8, 8],
            "padding": [8, 8],
            "scale": 1.05,
        }
        subprocess.run([sys.executable, __file__, "--task", json.dumps(task)], check=True)
        found["detect"] = np.load(result).astype(np.float32)
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    if sys.argv[1] == "--task":
        reference(json.loads(sys.argv[2]))
    else:
        main(sys.argv[1])

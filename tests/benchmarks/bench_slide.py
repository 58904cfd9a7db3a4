"""A classifier over a 640 x 480 picture at stride 8: the whole level at once against window by window.

python tests/benchmarks/bench_slide.py [--threads N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[2]


def network(folder: Path, side: int, channels: list[int], hidden: int) -> Path:
    """A VGG-like classifier without padding: pairs of 3 x 3 convolutions and pooling, then two dense layers."""
    random = np.random.default_rng(0)
    nodes, weights, last, size, before = [], [], "picture", side, 3

    def layer(kind: str, *shapes: tuple[int, ...], **attributes: object) -> None:
        nonlocal last
        names = []
        for shape in shapes:
            name = f"w{len(weights)}"
            values = random.normal(0, (2 / np.prod(shape[1:] or (100,))) ** 0.5, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(values, name))
            names.append(name)
        nodes.append(helper.make_node(kind, [last, *names], [f"t{len(nodes)}"], **attributes))
        last = f"t{len(nodes) - 1}"

    for count in channels:
        layer("Conv", (count, before, 3, 3), (count,))
        layer("Relu")
        layer("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        size, before = (size - 2) // 2, count
    layer("Flatten")
    layer("Gemm", (hidden, before * size * size), (hidden,), transB=1)
    layer("Relu")
    layer("Gemm", (10, hidden), (10,), transB=1)
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 10])], weights,
    )  # fmt: skip
    path = folder / f"vgg-{side}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def best(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Milliseconds of wall time and of CPU: the least of several runs."""
    times = []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - start, time.process_time() - used))
    return min(wall for wall, _ in times) * 1000, min(cpu for _, cpu in times) * 1000


def main() -> None:
    from detkit.detectors.windows.slide_detector import SlideDetector

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    print("network      window  windows  whole level    by window  times faster (CPU)  largest difference")
    with tempfile.TemporaryDirectory() as folder:
        networks = [
            (ROOT / "models" / "lenet5-digits.onnx", 32),
            (network(Path(folder), 46, [8, 16, 32], 64), 46),
            (network(Path(folder), 62, [16, 32], 64), 62),
            (network(Path(folder), 94, [16, 32, 64], 128), 94),
        ]
        for path, side in networks:
            detector = SlideDetector(path, stride=8, dense=True, threads=given.threads)
            difference = float(np.abs(detector.scores(image) - detector.window_scores(image)).max())
            dense = best(lambda detector=detector: detector.scores(image), 5)
            windows = best(lambda detector=detector: detector.window_scores(image), 2)
            count = detector.scores(image)[0].size
            row = f"{path.stem:13s} {side:5d} {count:8d}  {dense[0]:8.1f} ms  {windows[0]:8.1f} ms  "
            row += f"{windows[0] / dense[0]:6.1f} ({windows[1] / dense[1]:.1f})        {difference:.1e}"
            print(row, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()

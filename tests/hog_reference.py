"""opencv-contrib's HOG in a process of its own; see tests/data/make_hog_golden.py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "data" / "make_hog_golden.py"


def contrib_python() -> str:
    """The interpreter that has opencv-contrib-python; the test skips where there is none."""
    python = os.environ.get("DETKIT_CONTRIB_PYTHON", "/root/venv-contrib/bin/python")
    if not Path(python).exists():
        pytest.skip("needs a Python with opencv-contrib-python: name it in DETKIT_CONTRIB_PYTHON")
    return python


def reference(folder: Path, image: np.ndarray, **task: Any) -> np.ndarray:
    """The result of a task of make_hog_golden.py on an RGB picture."""
    python = contrib_python()
    np.save(folder / "image.npy", image)
    if "svm" in task:
        np.save(folder / "svm.npy", task["svm"])
        task["svm"] = str(folder / "svm.npy")
    task |= {"image": str(folder / "image.npy"), "result": str(folder / "result.npy")}
    subprocess.run([python, str(SCRIPT), "--task", json.dumps(task)], check=True, timeout=300)
    return np.load(folder / "result.npy")

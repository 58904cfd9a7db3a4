"""Damaged files of every kind end in a result or one line: see `fuzz.py`.

About 40 s of CPU, by the same cases each time. DETKIT_FUZZ_SECONDS=600 runs longer, DETKIT_FUZZ_SEED=7 others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = ("pictures", "graphs", "annotations", "lists", "videos")
SECONDS = float(os.environ.get("DETKIT_FUZZ_SECONDS", "40")) / len(KINDS)
SEED = os.environ.get("DETKIT_FUZZ_SEED", "0")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and time are Linux's")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    for package in ("PIL", "onnx"):
        pytest.importorskip(package)
    current = tmp_path / "current"
    command = [sys.executable, HERE / "fuzz.py", kind, "--seed", SEED, "--seconds", str(SECONDS), "--current", current]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120 + 20 * SECONDS)
    last = current.read_text() if current.exists() else "none"
    assert done.returncode == 0, (
        f"last case: {last}, status {done.returncode}\n{done.stdout[-8000:]}{done.stderr[-4000:]}"
    )
    told = re.search(r"(\d+) cases, \{.*'refused': (\d+)", done.stdout)
    assert told is not None, done.stdout
    assert int(told[1]) >= 10, done.stdout
    assert int(told[2]) >= 1, done.stdout

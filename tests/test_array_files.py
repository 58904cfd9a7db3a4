"""Models in NumPy's files: whatever is damaged in them is one error."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from detkit.array_files import only_array, read_arrays
from detkit.errors import ModelError


def test_damage_of_every_byte_is_one_error(tmp_path):
    path = tmp_path / "m.npz"
    content = io.BytesIO()
    np.savez_compressed(content, a=np.arange(50, dtype=np.float32), model=np.array(json.dumps({"name": "x"})))
    whole = content.getvalue()
    path.write_bytes(whole)
    arrays, about = read_arrays(path, ("a",))
    assert arrays["a"].tolist() == list(range(50))
    assert about == {"name": "x"}
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_arrays(path, ("a",))
        except ValueError:
            refused += 1
        path.write_bytes(whole[:place])
        with pytest.raises(ValueError):
            read_arrays(path, ("a",))
    assert refused > len(whole) // 2


def test_text_that_nests_too_deep(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, a=np.zeros(1), model=np.array("[" * 100_000))
    with pytest.raises(ValueError):
        read_arrays(path, ("a",))
    with pytest.raises(ModelError, match="cannot be read"):
        read_arrays(tmp_path / "none.npz", ("a",))


def test_the_only_array():
    content = io.BytesIO()
    np.save(content, np.arange(3))
    assert only_array(content.getvalue()).tolist() == [0, 1, 2]
    for damaged in (content.getvalue()[:-4], b"\x93NUMPY", b"PK\x03\x04", b""):
        with pytest.raises(ValueError):
            only_array(damaged)

"""Arrays in NumPy's files: models of `hog-detect` and `rcnn`, coefficients. Damage of any kind is one error."""

from __future__ import annotations

import io
import json
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.files import read_file

# What NumPy, zlib and json make of damaged bytes, and of a header that asks for more than there is.
_DAMAGED = (
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: str | os.PathLike[str], keys: Iterable[str]) -> tuple[dict[str, NDArray[Any]], Any]:
    """The arrays `keys` of an .npz file, and what the JSON text in its entry `model` says.

    ModelError where the file cannot be read, ValueError where it is damaged or has other entries.
    """
    content = read_file(path, ModelError)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}, json.loads(str(archive["model"]))
    except (AttributeError, TypeError, *_DAMAGED) as error:  # an array alone is no archive
        raise ValueError("damaged, or something else") from error


def only_array(content: bytes) -> NDArray[Any]:
    """The array in the bytes of an .npy file, or of an .npz file with one entry. ValueError where there is none."""
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        (name,) = loaded.files
        return np.asarray(loaded[name])
    except _DAMAGED as error:
        raise ValueError("damaged, or something else") from error

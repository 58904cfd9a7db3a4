"""The examples in the docstrings of the public library."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ("boxes", "classes", "detections", "nms", "picture_names", "settings")


@pytest.mark.parametrize("name", MODULES)
def test_examples_say_what_they_do(name):
    result = doctest.testmod(import_module(f"detkit.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0

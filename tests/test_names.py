"""Names of outputs, which file systems must take."""

from __future__ import annotations

import os
from pathlib import Path

from detkit.runs.names import Names
from detkit.runs.sources import Item


def test_long_names_are_cut_and_stay_different():
    long = [f"{'ä' * 120}{end}{'b' * 8}.jpg" for end in ("1", "2")]
    names = Names(Item(Path(name), name) for name in long)
    made = [names.part(name, "003-traffic light", ".jpg") for name in long]
    made += [names.with_ending(name, ".detections.txt") for name in long]
    assert len(set(made)) == 4
    for path in made:
        assert len(os.fsencode(path.name)) <= 255
    assert made[0].name.endswith("-003-traffic light.jpg")
    assert made[2].name.endswith(".txt")


def test_short_names_stay():
    names = Names([Item(Path("a/b.jpg"), "a/b.jpg")])
    assert str(names.part("a/b.jpg", "000-cat", ".jpg")) == "a/b-000-cat.jpg"
    assert str(names.with_ending("a/b.jpg", ".txt")) == "a/b.txt"

"""The choice of classes by name: one rule for every command."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from detkit.classes import chosen_classes, classes_called
from detkit.detectors.selection import Selection
from detkit.errors import UsageError

NAMES = ("Cat", "dog", "cat")


@pytest.mark.parametrize(
    ("choice", "places"),
    [
        ("Cat", [0]),
        ("cat", [2]),
        ("CAT", [0, 2]),
        (("dog", "Cat"), [0, 1]),
        ("1", [1]),
        (1, [1]),
        (("Cat", "Cat", 0), [0]),
    ],
)
def test_a_name_to_the_letter_comes_before_its_cases(choice, places):
    found = chosen_classes(choice, NAMES)
    assert found is not None
    assert found.tolist() == places


def test_without_a_choice_all_are_kept():
    assert chosen_classes((), NAMES) is None


@pytest.mark.parametrize("choice", ["bird", "3", -1, 3, "", "²"])
def test_what_is_none_is_refused_with_what_there_is(choice):
    with pytest.raises(UsageError, match="has no class"):
        chosen_classes(choice, NAMES)


def test_a_slip_gets_a_proposal():
    with pytest.raises(UsageError, match=r"did you mean dog\?"):
        chosen_classes("dig", NAMES)


def test_classes_without_names_go_by_number():
    assert chosen_classes("7", ()).tolist() == [7]
    assert classes_called("7", ()) == []


def test_a_name_that_is_a_number_is_the_name():
    assert chosen_classes("1", ("2", "1")).tolist() == [1]


def test_detectors_and_eval_follow_it(tmp_path):
    """issue 10: `Cat` gave the last class in yolo, the first and last in slide, the first in eval."""
    assert Selection(classes="Cat").wanted(NAMES).tolist() == [0]
    boxes = [{"box": [0, 0, 9, 9], "class": name, "class_id": number} for number, name in enumerate(NAMES)]
    record = {"file": "a.jpg", "width": 20, "height": 20}
    (tmp_path / "gt.jsonl").write_text(json.dumps({**record, "annotations": boxes}))
    found = [{**box, "score": 0.9} for box in boxes]
    (tmp_path / "dt.jsonl").write_text(json.dumps({**record, "detections": found}))
    for choice, classes in (("Cat", ["Cat"]), ("CAT", ["Cat", "cat"])):
        command = ["eval", "dt.jsonl", "gt.jsonl", "--class", choice, "--json", "-"]
        done = subprocess.run([sys.executable, "-m", "detkit", *command], cwd=tmp_path, capture_output=True, check=True)
        assert list(json.loads(done.stdout)["classes"]) == classes


def test_places_are_whole_numbers():
    assert chosen_classes(["dog"], NAMES).dtype == np.int64

"""Lists on disk: their order, their parts, names that come twice."""

import os
import random
from pathlib import PurePosixPath

import numpy as np
import pytest

from detkit.files import walk
from detkit.hashes import HashSet
from detkit.remote import RemotePath, is_remote, place
from detkit.runs import long_lists
from detkit.runs.long_lists import Item, Listing, in_order_of_a_folder, item_line
from detkit.runs.names import Names, _stem
from detkit.runs.writers import has_numbered_stems


def test_any_order_of_names_becomes_that_of_a_folder_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(long_lists, "_NAMES_AT_ONCE", 50)  # ten pieces on disk
    chance = random.Random(3)
    names = set()
    while len(names) < 500:
        folders = ["".join(chance.choices("ab.-é\1", k=2)).lstrip(".") + "d" for _ in range(chance.randrange(4))]
        names.add("/".join([*folders, "".join(chance.choices("ab-é\1", k=3)) + ".jpg"]))
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [
        os.path.relpath(os.path.join(folder, file), tmp_path) for folder, files in walk(tmp_path) for file in files
    ]
    assert list(in_order_of_a_folder(names)) == expected
    assert list(in_order_of_a_folder(sorted(names))) == expected


def test_a_long_list_on_disk_is_a_sequence(monkeypatch):
    monkeypatch.setattr(long_lists, "_IN_MEMORY", 1000)
    items = [Item(RemotePath("s3://b", f"p/{number}.jpg"), f"{number}.jpg") for number in range(2000)]
    listing = Listing.of(items)
    assert list(listing) == items
    assert (listing[0], listing[-1], listing[1023]) == (items[0], items[-1], items[1023])
    assert list(listing[300:1300]) == items[300:1300]
    assert list(listing[300:1300][10:20]) == items[310:320]
    assert (len(listing[5:5]), list(listing[5:5]), len(listing[1990:5000])) == (0, [], 10)
    both = zip(listing, listing[1000:], strict=False)  # two readers of one file
    assert [(one.name, two.name) for one, two in both] == [(f"{k}.jpg", f"{k + 1000}.jpg") for k in range(1000)]


def test_a_path_that_is_no_text_stays_as_it_is():
    odd = os.fsdecode(b"/gr\xf6\xdfe.jpg")
    (item,) = Listing([item_line(odd, "gr\\xf6\\xdfe.jpg")])
    assert os.fsencode(item.path) == b"/gr\xf6\xdfe.jpg"


@pytest.mark.parametrize("text", ["s3://bucket/a b/ü%20.jpg", "gs://b/x", "az://c/d/e.png", "http://h:80/a.jpg"])
def test_an_address_is_the_same_as_text(text):
    assert str(place(text)) == text
    assert is_remote(text)


def test_parts_of_an_address():
    path = place("s3://bucket/photos/a.b.jpg")
    assert (path.name, path.stem, path.suffix) == ("a.b.jpg", "a.b", ".jpg")
    assert str(path.parent / "x.png") == "s3://bucket/photos/x.png"
    assert str(path.with_name("c")) == "s3://bucket/photos/c"
    assert str(place("https://host/a%20b/c.jpg") / "d e") == "https://host/a%20b/c.jpg/d%20e"
    assert not any(map(is_remote, ("a/b.jpg", "rtsp://camera/1", "s3://", "s3:/x", "http:///", "c:\\x")))


def test_hashes_of_names():
    chance = np.random.default_rng(0)
    names = [str(number) for number in chance.integers(0, 500, 1000)]
    again = HashSet.repeated(names)
    assert {name for name in names if name in again} == {name for name in names if names.count(name) > 1}
    assert ("501" in HashSet(names), "" in HashSet()) == (False, False)


def test_names_of_outputs_never_meet():
    listed = [
        "a.gif",
        "a.png",
        "a.gif.png",
        "a.gif.png.png",
        "b.jpg",
        "c/a.jpg",
        "c/d.jpeg",
        "c/d.jpg",
        "e.tif.jpg",
        "e.tif",
    ]
    names = Names(Listing.of(Item(place(name), name) for name in listed))
    drawn = [names.drawn(name).as_posix() for name in listed]
    assert len(set(drawn)) == len(listed)
    assert drawn[4:6] == ["b.jpg", "c/a.jpg"]
    texts = [names.with_ending(name, ".txt").as_posix() for name in listed]
    assert len(set(texts)) == len(listed)
    assert texts[6:8] == ["c/d.jpeg.txt", "c/d.jpg.txt"]


@pytest.mark.parametrize("name", ["a.jpg", "a/b.c/d", "a/.b", "a/b.", "a.b/c.d.e", "a", ".a.b", "a/b..jpg"])
def test_a_stem_is_that_of_a_path(name):
    assert _stem(name) == PurePosixPath(name).with_suffix("").as_posix()


def test_stems_that_are_all_numbers():
    def numbered(*names):
        return has_numbered_stems(Listing.of(Item(place(name), name) for name in names))

    assert numbered("a/12.jpg", "000000013.png")
    assert not numbered("a/12.jpg", "012.png")
    assert not numbered("1.jpg", "x.jpg")
    assert not numbered("1.jpg", "2.mp4")
    assert not numbered(f"{1 << 64}.jpg")

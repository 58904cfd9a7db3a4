"""Runs in parts: what is joined is what one machine writes, and what is no whole is refused."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from detkit.errors import InputError, UsageError
from detkit.remote import place
from detkit.runs.batch import Reading
from detkit.runs.jobs import Job, PartWorker, do_part, make_plan
from detkit.runs.long_lists import Item, Listing
from detkit.runs.merging import Merged, parts_in
from detkit.runs.names import Names
from detkit.runs.parts import PartsFolder, read_part, stretch
from detkit.runs.run import Output, Run
from detkit.runs.sources import find_items
from detkit.runs.writers import WRITERS, writer_of


@pytest.fixture
def photos(tmp_path):
    """Eleven pictures, some called alike, one broken."""
    names = ["b.jpg", "a.gif.png", "a.png", "a.ppm", "a/one.png", "a/two.jpg"]
    names += ["z/1.jpg", "z/1.png", "z/2.jpg", "z/é x#.jpg"]
    chance = np.random.default_rng(7)
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, chance.integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes())
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


class Boxes:
    """A task that needs no network: a box as large as the picture is bright."""

    names, wanted, batch, videos, parts = ("bright", "dark"), (), 2, "", None

    def prepare(self, image, name=""):
        return image

    def detect(self, prepared):
        return [float(image.mean()) for image in prepared]

    def record(self, result):
        light = result.found > 127.5
        box = {
            "box": [0.0, 0.0, round(result.found / 4, 3), 30.5],
            "score": 0.5,
            "class": "bright" if light else "dark",
        }
        return {"width": result.width, "height": result.height, "detections": [{**box, "class_id": int(not light)}]}

    def draw(self, image, found, name):
        return 255 - image

    def crops(self, image, found):
        yield "000-all", image[:10]

    def crop_names(self, record):
        yield "000-all"


SETTINGS = {"command": "test", "model": "abc"}


def outputs(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(photos, out, **more):
    items = find_items([str(photos)], lambda *_: None)
    settings = {**SETTINGS, "format": Output(out, **more).named().format}
    Run(Boxes(), items, Output(out, **more), Reading()).write(settings)


def part(photos, out, number, of, **more):
    output = Output(out, **more)
    settings = {**SETTINGS, "format": output.named().format}
    job = Job(lambda: (Boxes(), output), settings, Reading())
    return do_part(job, Boxes(), output, (number, of), lambda: find_items([str(photos)], lambda *_: None))


def merge(out, **more):
    merged = Merged.of_folder(PartsFolder.beside(out))
    merged.write(out, WRITERS[merged.settings["format"]], **more)


FORMS = [("o.jsonl", None), ("o.csv", None), ("o.json", None), ("o.txt", None)]
FORMS += [("o", "counts"), ("o", "yolo"), ("o", "voc")]


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("of", [1, 3, 20])
def test_parts_joined_are_the_run_on_one_machine(photos, tmp_path, name, form, of):
    more = {"format": form, "gt": None}
    one, all_ = tmp_path / "one", tmp_path / "all"
    whole(photos, one / name, draw=one / "drawn", crops=one / "cut", **more)
    for number in (*range(of, 0, -1), 1):  # in any order, one of them twice
        part(photos, all_ / name, number, of, draw=all_ / "drawn", crops=all_ / "cut", **more)
    merge(all_ / name, files_are_there=True)
    PartsFolder.beside(all_ / name).remove()
    assert outputs(one) == outputs(all_)
    assert len(outputs(one)) > 20


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco", "yolo", "voc", "counts", "table"])
def test_jsonl_parts_become_any_format(photos, tmp_path, form):
    whole(photos, tmp_path / "one" / "o", format=form)
    for number in (1, 2):
        part(photos, tmp_path / "all" / "p.jsonl", number, 2)
    Merged.of_folder(PartsFolder(tmp_path / "all" / "p.jsonl.parts")).write(tmp_path / "two" / "o", WRITERS[form])
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_frames_of_videos_in_parts(photos, tmp_path, name, form):
    """A video is one input; its frames are one part's, and what is done again for a broken picture leaves them."""
    shutil.copy(Path(__file__).parent / "data" / "videos" / "uneven.mp4", photos / "a" / "film.mp4")
    one, all_ = tmp_path / "one", tmp_path / "all"
    for number in (1, 2, 3):
        part(photos, all_ / name, number, 3, format=form)
    shutil.copy(photos / "b.jpg", photos / "broken.jpg")
    for number in (1, 2, 3):
        part(photos, all_ / name, number, 3, format=form, resume=True)
    merge(all_ / name, files_are_there=True)
    PartsFolder.beside(all_ / name).remove()
    whole(photos, one / name, format=form)
    assert outputs(one) == outputs(all_)
    assert any(b"film.mp4" in content or "film.mp4" in path for path, content in outputs(one).items())


def test_numbers_in_all_stems_are_coco_ids_in_parts_too(photos, tmp_path):
    for number, path in enumerate(sorted((photos / "z").iterdir())):
        path.rename(photos / "z" / f"{number + 5:012d}.png")
    whole(photos / "z", tmp_path / "one.json")
    for number in (1, 2):
        part(photos / "z", tmp_path / "all.json", number, 2)
    merge(tmp_path / "all.json")
    assert (tmp_path / "all.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert [one["image_id"] for one in orjson.loads((tmp_path / "all.json").read_bytes())] == [5, 6, 7, 8]
    assert not (tmp_path / "all.json.images.json").exists()


@pytest.mark.parametrize(("form", "more"), [("yolo", {}), ("jsonl", {"draw": True})])
def test_a_plan_takes_the_list_once(photos, tmp_path, monkeypatch, form, more):
    monkeypatch.setenv("DETKIT_CORES", "1")  # as the worker does
    one, all_ = tmp_path / "one", tmp_path / "all"
    folders = [{name: root / name for name in more} for root in (one, all_)]
    whole(photos, one / "o", format=form, **folders[0])
    output = Output(all_ / "o", form, **folders[1])
    job = Job(lambda: (Boxes(), output), {**SETTINGS, "format": form}, Reading())
    plan = make_plan(job, Boxes(), output, find_items([str(photos)], lambda *_: None), 4)
    assert (plan.parts, plan.whole.items) == (4, 11)
    (photos / "a.jpg").write_bytes(b"came later")
    for number in (2, 1, 4, 3):
        worker = PartWorker(job, PartsFolder.beside(all_ / "o"), os.getcwd(), 1)
        assert worker.work(number).lost == ""
    merge(all_ / "o", files_are_there=True)
    PartsFolder.beside(all_ / "o").remove()
    assert outputs(one) == outputs(all_)


def test_names_of_a_part_are_those_of_the_whole():
    listed = ["a.gif", "a.png", "a.gif.png", "a.gif.png.png", "b.jpg", "c/d.jpeg", "c/d.jpg", "e.tif.jpg", "e.tif"]
    items = [Item(place(name), name) for name in listed]
    names = Names(Listing.of(items))
    for item in items:
        some = Names.of_json(orjson.loads(orjson.dumps(names.of_some([item]).to_json())))
        for ending in (".txt", ".xml", ".png", ".jpg"):
            assert some.with_ending(item.name, ending) == names.with_ending(item.name, ending)


def test_resume_does_again_only_what_failed(photos, tmp_path, caplog):
    out = tmp_path / "o.jsonl"
    for number in (1, 2):
        part(photos, out, number, 2)
    folder = PartsFolder.beside(out)
    assert [folder.summary(number).failures for number in (1, 2)] == [1, 0]
    before = folder.part(2).stat().st_mtime_ns
    read = []
    (photos / "broken.jpg").write_bytes((photos / "b.jpg").read_bytes())

    class Watched(Boxes):
        def prepare(self, image, name=""):
            read.append(name)
            return image

    output = Output(out, resume=True)
    job = Job(lambda: (Watched(), output), {**SETTINGS, "format": "jsonl"}, Reading())
    for number in (1, 2):
        do_part(job, Watched(), output, (number, 2), lambda: find_items([str(photos)], lambda *_: None))
    assert read == ["broken.jpg"]
    assert folder.part(2).stat().st_mtime_ns == before
    assert folder.summary(1).failures == 0
    merge(out)
    whole(photos, tmp_path / "one.jsonl")
    assert out.read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    changed = Job(job.make, {**SETTINGS, "model": "other", "format": "jsonl"}, Reading())
    with pytest.raises(UsageError, match="2.jsonl is of another run: settings was .*'abc'.* and is .*'other'"):
        do_part(changed, Watched(), output, (2, 2), lambda: find_items([str(photos)], lambda *_: None))


def test_what_is_no_whole_is_refused(photos, tmp_path):
    out = tmp_path / "o.jsonl"
    folder = PartsFolder.beside(out)
    with pytest.raises(InputError, match="o.jsonl.parts holds no parts"):
        Merged.of_folder(folder)
    part(photos, out, 2, 4)
    with pytest.raises(InputError, match=r"^3 of 4 parts are missing: 1, 3, 4; run with --part 1/4$"):
        Merged.of_folder(folder)
    for number in (1, 3, 4):
        part(photos, out, number, 4)
    parts = [folder.part(number) for number in (1, 2, 3, 4)]
    with pytest.raises(InputError, match="a part is missing: 3"):
        parts_in([parts[0], parts[1], parts[3]])
    with pytest.raises(InputError, match=r"2.jsonl and .*2.jsonl are both part 2 of 4"):
        parts_in([*parts, parts[1]])
    assert list(parts_in(parts[::-1]).records()) == list(Merged.of_folder(folder).records())

    def refused(match):
        with pytest.raises(InputError, match=match):
            list(Merged.of_folder(folder).records())

    good = parts[2].read_bytes()
    parts[2].write_bytes(good.rpartition(b'{"summary"')[0])
    refused(r"3.jsonl is not whole: its summary is missing")
    parts[2].write_bytes(good[:-200])
    refused(r"3.jsonl is no part of a run, or damaged")
    parts[2].write_bytes(good.replace(b'"abc"', b'"xyz"'))
    refused(r"3.jsonl and .*1.jsonl are of runs with other settings: model was 'abc' and is 'xyz'")
    parts[2].write_bytes(parts[1].read_bytes())
    refused(r"3.jsonl is part 2, not 3")
    (photos / "new.jpg").write_bytes(b"x")
    part(photos, out, 3, 4)
    refused(r"3.jsonl and .*1.jsonl are of other lists of pictures \(11 pictures and 12\)")
    parts[2].write_bytes(b"[1]\n")
    refused(r"3.jsonl is no part of a run")


def test_a_plan_for_other_settings_or_parts_is_not_used(photos, tmp_path):
    output = Output(tmp_path / "o.jsonl")
    items = find_items([str(photos)], lambda *_: None)
    job = Job(lambda: (Boxes(), output), {**SETTINGS, "format": "jsonl"}, Reading())
    make_plan(job, Boxes(), output, items, 3)
    with pytest.raises(UsageError, match="is a plan of 3 parts, not of 4"):
        do_part(job, Boxes(), output, (1, 4), lambda: items)
    with pytest.raises(UsageError, match="model was 'abc' and is 'other'"):
        do_part(Job(job.make, {**job.settings, "model": "other"}, Reading()), Boxes(), output, (1, 3), lambda: items)


def test_stretches_hold_everything_once():
    for items in (0, 1, 7, 100):
        for of in (1, 2, 7, 30):
            numbers = [number for part in range(1, of + 1) for number in range(items)[stretch(items, part, of)]]
            assert numbers == list(range(items))


def test_a_part_tells_itself(photos, tmp_path):
    part(photos, tmp_path / "o.json", 1, 2)
    header, *records = read_part(tmp_path / "o.json.parts" / "1.jsonl")
    assert header["settings"] == {**SETTINGS, "format": "coco"}
    assert (header["part"], header["of"], header["list"]["items"], len(records)) == (1, 2, 11, 5)
    assert writer_of(tmp_path / "o.json").name == "coco"


def test_the_command_line_in_parts(photos, tmp_path, cli):
    """What a user types, in a store too: byte for byte what one machine writes."""
    (photos / "z" / "film.txt").write_text("no picture")
    assert cli("proposals", photos, "--method", "grid", "--max", 50, "-o", tmp_path / "one.jsonl").returncode == 1
    done = cli("proposals", photos, "--method", "grid", "--max", 50, "-o", tmp_path / "all.jsonl", "--plan", 2)
    assert "11 inputs in 2 parts" in done.stderr
    run = ("proposals", photos, "--method", "grid", "--max", 50, "-o", tmp_path / "all.jsonl", "--part")
    assert [cli(*run, part).returncode for part in ("1/2", "2/2")] == [1, 0]
    merged = cli("merge", tmp_path / "all.jsonl.parts", "-o", tmp_path / "all.jsonl")
    assert (merged.returncode, merged.stderr) == (1, "detkit: 10 pictures of 2 parts; 1 could not be read\n")
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert (
        cli("merge", tmp_path / "all.jsonl.parts", "-o", "-").stdout.encode() == (tmp_path / "one.jsonl").read_bytes()
    )
    refused = cli("merge", tmp_path / "all.jsonl.parts", "-o", tmp_path / "all.csv")
    assert (refused.returncode, refused.stderr) == (
        2,
        "detkit: proposals are JSON Lines; --format csv is for detections\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--part", "3/2", "-o", "x.jsonl"), "'3/2' is no part like 3/8"),
        (("--part", "1/2"), "--part needs --out PATH"),
        (("--part", "1/2", "--plan", "2", "-o", "x.jsonl"), "--part does one part"),
        (("--address", "h:1", "-o", "x.jsonl"), "add --engine ray"),
        (("--engine", "ray", "--device", "cuda:1", "-o", "x.jsonl"), "the engine's choice; say cuda"),
        (("--plan", "2", "--report", "r.html", "-o", "x.jsonl"), "--report is a page of one run on one machine"),
    ],
)
def test_wrong_use_is_one_line(photos, capsys, options, message):
    from detkit.cli import app

    with pytest.raises(SystemExit) as ended:
        app(["yolo", str(photos), *options])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

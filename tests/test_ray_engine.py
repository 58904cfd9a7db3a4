"""Runs by a Ray cluster on this machine: the same bytes, and nothing is lost or hangs when workers die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.errors import DetkitError
from detkit.images import Image
from detkit.remote import place
from detkit.runs.batch import Reading
from detkit.runs.jobs import Job, run_by
from detkit.runs.parts import PartsFolder
from detkit.runs.run import Output, Run
from detkit.runs.sources import find_items

pytest.importorskip("ray", reason="needs the extra ray")

from detkit.runs.ray_engine import RayEngine

SETTINGS = {"command": "test", "model": "abc", "format": "jsonl"}


class Means:
    """A task without a network, that dies with its process where a picture says so."""

    names, wanted, batch, videos, parts = (), (), 1, "", None

    def __init__(self, deaths: Path) -> None:
        self._deaths = deaths

    def prepare(self, image: Image, name: str = "") -> Image:
        if name.startswith("die"):
            times = len(list(self._deaths.glob(f"{name}-*")))
            if name.startswith("die always") or not times:
                (self._deaths / f"{name}-{times}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return image

    def detect(self, prepared):
        return [float(image.mean()) for image in prepared]

    def record(self, result):
        return {"boxes": [], "mean": result.found}


@pytest.fixture(scope="module")
def engine():
    with RayEngine() as running:
        yield running


@pytest.fixture
def photos(tmp_path):
    chance = np.random.default_rng(7)
    (tmp_path / "photos").mkdir()
    (tmp_path / "deaths").mkdir()
    for number in range(12):
        picture = cv2.imencode(".png", chance.integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
        (tmp_path / "photos" / f"{number}.png").write_bytes(picture)
    (tmp_path / "photos" / "0 broken.jpg").write_bytes(b"no picture")
    return tmp_path / "photos"


def job_of(photos, out, **more):
    deaths, output = photos.parent / "deaths", Output(out, **more)
    return Job(lambda: (Means(deaths), output), SETTINGS, Reading(workers=1)), Means(deaths), output


def listed(photos):
    return lambda: find_items([str(photos)], lambda *_: None)


def test_a_cluster_writes_what_one_machine_does(engine, photos, tmp_path):
    job, task, output = job_of(photos, tmp_path / "all.jsonl")
    Run(task, listed(photos)(), Output(tmp_path / "one.jsonl"), job.reading).write(SETTINGS)
    summary = run_by(engine, job, task, output, listed(photos))
    assert (summary.pictures, summary.failures) == (12, 1)
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert not (tmp_path / "all.jsonl.parts").exists()


def test_a_part_whose_worker_dies_is_done_again_and_the_others_once(engine, photos, tmp_path):
    (photos / "5.png").rename(photos / "die once.png")
    job, task, output = job_of(photos, tmp_path / "all.jsonl")
    summary = run_by(engine, job, task, output, listed(photos), parts=6)
    assert (summary.pictures, summary.failures) == (12, 1)
    assert len(list(tmp_path.glob("deaths/*"))) == 1
    Run(task, listed(photos)(), Output(tmp_path / "one.jsonl"), job.reading).write(SETTINGS)
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_part_that_kills_every_worker_is_named_and_the_others_are_done(engine, photos, tmp_path):
    (photos / "5.png").rename(photos / "die always.png")
    job, task, output = job_of(photos, tmp_path / "all.jsonl")
    with pytest.raises(
        DetkitError, match=r"1 of 6 parts could not be done: part 6 \(.*die always.png\): its worker died, 3 times"
    ):
        run_by(engine, job, task, output, listed(photos), parts=6)
    folder = PartsFolder.beside(tmp_path / "all.jsonl")
    assert len(folder.present()) == 5
    assert not (tmp_path / "all.jsonl").exists()
    times = {number: folder.part(number).stat().st_mtime_ns for number in folder.present()}
    assert len(list(tmp_path.glob("deaths/*"))) == 3

    # What killed it is gone: --resume does that part, and what had failed pictures, and nothing else.
    (photos / "die always.png").write_bytes(b"harmless")
    job, task, output = job_of(photos, tmp_path / "all.jsonl", resume=True)
    seen: dict[int, int] = {}
    real = PartsFolder.remove
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            PartsFolder,
            "remove",
            lambda self: (seen.update({n: self.part(n).stat().st_mtime_ns for n in self.present()}), real(self)),
        )
        summary = run_by(engine, job, task, output, listed(photos))
    assert (summary.pictures, summary.failures) == (11, 2)
    assert sum(seen[number] == time for number, time in times.items()) == 4  # the fifth has the broken picture


@pytest.fixture
def detkit(photos):
    """Starts `detkit` in a group of its own."""

    def start(*arguments, **more):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "detkit", *map(str, arguments)]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True, **more
        )

    return start


def test_an_interrupt_is_130_and_resume_goes_on(detkit, photos, tmp_path):
    """Interrupted as by Ctrl-C, which all of its processes get, or killed; what is done is not done again."""
    run = (
        "proposals",
        photos,
        "-o",
        tmp_path / "all.jsonl",
        "--method",
        "selective-search",
        "--engine",
        "ray",
        "--plan",
        12,
    )
    parts = PartsFolder(tmp_path / "all.jsonl.parts")
    for end, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        before = len(parts.present())
        process = detkit(*run, *(["--resume"] if before else []))
        deadline = time.monotonic() + 120
        while len(parts.present()) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, end)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == status, said
        if status == 130:
            assert said.splitlines()[-1].startswith("detkit: interrupted; what is done is in"), said
            assert "Traceback" not in said
    there = {number: parts.part(number).stat().st_mtime_ns for number in parts.present()}
    assert len(there) >= 2
    process = detkit(*run, "--resume")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1, said  # one picture is broken
    assert "parts were done already" in said
    process = detkit("proposals", photos, "-o", tmp_path / "one.jsonl")
    process.communicate(timeout=120)
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_store_is_reached_from_the_workers(s3, detkit, photos, tmp_path):
    s3.put_folder(photos, "photos")
    run = ("proposals", "--method", "grid", "--max", "20", "-q")
    process = detkit(*run, "s3://pictures/photos", "-o", "s3://pictures/all.jsonl", "--engine", "ray")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1, said
    assert detkit(*run, photos, "-o", tmp_path / "one.jsonl").wait(60) == 1
    assert s3.get("all.jsonl") == (tmp_path / "one.jsonl").read_bytes()
    assert [key for key in s3.held() if not key.startswith("photos/")] == ["all.jsonl"]
    assert str(place("s3://pictures/all.jsonl")) == "s3://pictures/all.jsonl"


def test_no_cluster_at_the_address(detkit, photos, tmp_path):
    process = detkit("yolo", photos, "-o", tmp_path / "x.jsonl", "--engine", "ray", "--address", "127.0.0.1:1")
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, said.count("\n")) == (1, 1), said
    assert "no Ray cluster answers at 127.0.0.1:1" in said


@pytest.mark.parametrize(
    "command",
    [
        ("yolo",),
        ("yolo", "--tile", "64", "--class", "person", "--conf", "person=0.5"),
        ("rcnn", "--variant", "fast", "--proposals", "grid"),
        ("hog-detect", "--heatmap", "heat", "--show-hog", "hog"),
        ("slide", "--heatmap", "heat"),
        ("proposals", "--method", "edge-boxes"),
    ],
    ids=" ".join,
)
def test_every_command_can_be_sent_to_a_worker(photos, tmp_path, monkeypatch, command):
    """What a worker gets makes the task anew, and the task does its work."""
    from ray import cloudpickle

    from detkit.cli import app, detect, proposals
    from detkit.runs.summary import Summary

    sent = []

    def keep(scale, job, made, *_):
        sent.append(cloudpickle.loads(cloudpickle.dumps(job)))
        return Summary()

    monkeypatch.setattr(detect, "run_at_scale", keep)
    monkeypatch.setattr(proposals, "run_at_scale", keep)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app([*command, str(photos), "-o", "x.jsonl", "--engine", "ray", "-q"])
    assert ended.value.code == 0
    (job,) = sent
    task, output = job.make()
    assert len(output.more) == sum(option in command for option in ("--heatmap", "--show-hog"))
    cv2.imwrite(str(photos / "3.png"), np.zeros((240, 300, 3), np.uint8))
    items = find_items([str(photos / "3.png")], lambda *_: None)
    (record,) = Run(task, items, output, job.reading).records()
    assert "error" not in record

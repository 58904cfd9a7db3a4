"""`detkit track`: from made videos, frames and detections to tracks, drawings and counts."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from detkit.cli import app
from detkit.detections import Detections
from detkit.detectors import by_command
from detkit.detectors.base import Detector
from detkit.runs.film import Film
from detkit.runs.journal import Journal
from detkit.runs.sources import Item
from detkit.tracking.motchallenge import read_tracks
from detkit.videos import frames

SIZE = (160, 120)


def run(*arguments, code: int = 0):
    outcome = CliRunner().invoke(app, ["track", *map(str, arguments)])
    assert outcome.exit_code == code, outcome.output
    return outcome


def picture(frame: int) -> np.ndarray:
    """A red square that goes right and, below it, a green one that goes left; RGB."""
    image = np.full((SIZE[1], SIZE[0], 3), 30, np.uint8)
    image[20:50, 10 + 5 * frame : 30 + 5 * frame] = (255, 0, 0)
    image[70:100, 130 - 5 * frame : 150 - 5 * frame] = (0, 255, 0)
    return image


class Squares(Detector):
    """Finds the squares by their colour."""

    names = ("red", "green")

    def prepare(self, image, name=""):
        return image

    def detect(self, prepared):
        found = []
        for image in prepared:
            boxes, classes = [], []
            for class_id in (0, 1):
                rows, columns = np.nonzero((image[..., class_id] > 150) & (image[..., 1 - class_id] < 100))
                if len(rows) > 50:
                    boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                    classes.append(class_id)
            found.append(Detections(np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.9), classes, self.names))
        return found


@pytest.fixture(autouse=True)
def squares(monkeypatch):
    """The squares' detector in place of the bundled network."""
    monkeypatch.setitem(by_command.DETECTORS, "yolo", lambda model, selection, runtime: Squares())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE)
    for frame in range(20):
        writer.write(cv2.cvtColor(picture(frame), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MOTChallenge's layout, 20 frames at 10 a second, named without leading zeros."""
    path = tmp_path / "SEQ" / "img1"
    path.mkdir(parents=True)
    for frame in range(20):
        cv2.imwrite(str(path / f"{frame + 1}.png"), cv2.cvtColor(picture(frame), cv2.COLOR_RGB2BGR))
    (tmp_path / "SEQ" / "seqinfo.ini").write_text("[Sequence]\nname=SEQ\nframeRate=10\n")
    return path


def lines(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_video_in_every_format(video, tmp_path):
    text, jsonl, table = tmp_path / "t.txt", tmp_path / "t.jsonl", tmp_path / "t.csv"
    for out in (text, jsonl, table):
        assert "20 frames, 2 tracks of 40 boxes" in run(video, "-o", out).stderr
    tracks = read_tracks(text)
    assert (tracks.frames.min(), tracks.frames.max(), sorted(set(tracks.ids.tolist()))) == (1, 20, [1, 2])
    records = lines(jsonl)
    assert [record["frame"] for record in records] == list(range(20))
    assert [record["time"] for record in records] == pytest.approx([frame / 10 for frame in range(20)])
    by_track = {found["track"]: found["class"] for record in records for found in record["detections"]}
    assert sorted(by_track.items()) == [(1, "red"), (2, "green")] or sorted(by_track.items()) == [
        (1, "green"),
        (2, "red"),
    ]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 40
    assert {(row["frame"], row["file"]) for row in rows} == {(str(n), f"walk.avi#{n}") for n in range(20)}
    assert not list(tmp_path.glob("*.partial.jsonl"))


def test_stdout_is_json_lines(video):
    assert len(run(video, "-q").stdout.splitlines()) == 20


def test_a_folder_goes_by_its_numbers_and_its_rate(folder, tmp_path):
    run(folder, "-o", tmp_path / "t.txt")
    tracks = read_tracks(tmp_path / "t.txt")
    assert len(set(tracks.ids.tolist())) == 2  # 1, 10, 11, ... would break the tracks
    outcome = run(
        folder, "-o", tmp_path / "t.jsonl", "--every", 5, "--line", "80,0,80,120", "--counts", tmp_path / "c.csv"
    )
    assert [record["file"] for record in lines(tmp_path / "t.jsonl")] == ["1.png", "6.png", "11.png", "16.png"]
    assert "assumed" not in outcome.stderr
    (folder.parent / "seqinfo.ini").unlink()
    assert "30 a second are assumed" in run(folder, "-o", tmp_path / "t.txt").stderr
    assert "assumed" not in run(folder, "-o", tmp_path / "t.txt", "--fps", 10).stderr


def test_a_list_of_pictures_is_no_file_of_detections(folder, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(folder.glob("*.png"))))
    run(f"@{listed}", "-o", tmp_path / "t.jsonl")
    assert len(lines(tmp_path / "t.jsonl")) == 20


def test_every_nth_frame_of_a_video_keeps_its_clock(video, tmp_path):
    run(video, "-o", tmp_path / "t.jsonl", "--every", 4)
    records = lines(tmp_path / "t.jsonl")
    assert [record["frame"] for record in records] == [0, 4, 8, 12, 16]
    assert [record["time"] for record in records] == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])


def test_detections_in_a_file_give_the_same_tracks(video, tmp_path):
    run(video, "-o", tmp_path / "t.jsonl")
    found = [
        {**record, "detections": [{k: v for k, v in one.items() if k != "track"} for one in record["detections"]]}
        for record in lines(tmp_path / "t.jsonl")
    ]
    (tmp_path / "found.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in reversed(found)))
    run(tmp_path / "found.jsonl", "-o", tmp_path / "again.jsonl")
    assert lines(tmp_path / "again.jsonl") == lines(tmp_path / "t.jsonl")
    run(tmp_path / "found.jsonl", "-o", tmp_path / "red.txt", "--class", "red")
    assert set(read_tracks(tmp_path / "red.txt").ids.tolist()) == {1}
    outcome = run(tmp_path / "found.jsonl", "-o", tmp_path / "blue.txt", "--class", "blue")
    assert "no detection is of class 'blue'; there are green, red" in outcome.stderr
    run(tmp_path / "found.jsonl", "-o", tmp_path / "none.txt", "--conf", "0.95")
    assert (tmp_path / "none.txt").read_text() == ""


def test_motchallenge_detections(tmp_path):
    path = tmp_path / "SEQ" / "det" / "det.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{frame},-1,{10 + 5 * frame},20,20,30,50,-1,-1,-1\n" for frame in (1, 2, 3, 5, 6)))
    run(path, "-o", tmp_path / "t.txt", "--fps", 10)
    assert read_tracks(tmp_path / "t.txt").frames.tolist() == [1, 2, 3, 5, 6]
    run(path, "-o", tmp_path / "t.jsonl", "--fps", 10)
    assert len(lines(tmp_path / "t.jsonl")) == 6  # frame 4 is there, with nothing in it


@pytest.mark.parametrize(
    "line",
    ['{"file": "a", "detections": [{"box": [0, 0, 1], "score": 1, "class": "a"}]}', "no json", '{"file": "a"}'],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "found.jsonl"
    path.write_text(f'{{"file": "a", "detections": []}}\n{line}\n')
    assert "line 2" in run(path, "-o", tmp_path / "t.txt", code=1).stderr


def test_counts(video, tmp_path):
    zone = tmp_path / "zone.json"
    zone.write_text('{"door": [[60, 0], [100, 0], [100, 60], [60, 60]]}')
    counts = tmp_path / "c.csv"
    outcome = run(
        video, "-o", tmp_path / "t.txt", "--line", "80,0,80,120", "--zone", zone, "--counts", counts
    )  # fmt: skip
    printed = [line.split() for line in outcome.stdout.splitlines()]
    assert ["line", "1", "green", "1", "0"] in printed  # the line looks down: its left is the picture's right
    assert ["line", "1", "red", "0", "1"] in printed
    rows = {(row["place"], row["class"]): row for row in csv.DictReader(io.StringIO(counts.read_text()))}
    assert set(rows) == {("line 1", "green"), ("line 1", "red"), ("door", "red")}
    assert rows["door", "red"]["entries"] == "1"
    # the middle of the square is in from x 60 to 100, and leaves when it is 3 pixels outside: frames 8 to 16
    assert float(rows["door", "red"]["seconds"]) == pytest.approx(0.8)
    assert run(video, "--line", "80,0,80,120", "-q").stdout.count("line 1") == 0  # stdout holds the tracks


def test_drawn_video_and_pictures_and_crops(video, tmp_path):
    run(
        video, "-o", tmp_path / "t.txt", "--draw", tmp_path / "out.webm", "--crops", tmp_path / "crops",
        "--line", "80,0,80,120",
    )  # fmt: skip
    shown = list(frames(tmp_path / "out.webm"))
    assert len(shown) == 20
    assert shown[-1].seconds == pytest.approx(1.9, abs=0.01)
    assert np.abs(shown[10].image.astype(int) - picture(10)).max() > 100  # boxes and labels are on it
    folders = sorted(path.name for path in (tmp_path / "crops").iterdir())
    assert sorted(name[5:] for name in folders) == ["green", "red"]
    assert all(len(list((tmp_path / "crops" / name).iterdir())) == 20 for name in folders)
    cut = cv2.imread(str(next((tmp_path / "crops").glob("*-red")) / "000001.jpg"))
    assert cut.shape == (30, 20, 3)
    assert cut[15, 10, 2] > 200
    run(video, "-o", tmp_path / "t.txt", "--draw", tmp_path / "pictures")
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 20
    assert not list(tmp_path.glob(".*.webm"))


def test_a_broken_frame_costs_itself(folder, tmp_path):
    (folder / "7.png").write_bytes(b"no picture")
    outcome = run(folder, "-o", tmp_path / "t.txt", "--draw", tmp_path / "drawn", code=1)
    assert "7.png" in outcome.stderr
    assert outcome.stderr.count("7.png") == 1
    tracks = read_tracks(tmp_path / "t.txt")
    assert 7 not in tracks.frames
    assert len(set(tracks.ids.tolist())) == 2
    assert len(list((tmp_path / "drawn").iterdir())) == 19


def test_a_broken_video_in_a_folder_of_frames_costs_itself(folder, tmp_path):
    (folder / "a.avi").write_bytes(b"no video")
    outcome = run(folder, "-o", tmp_path / "t.jsonl", code=1)
    assert outcome.stderr.count("a.avi") == 1
    assert "assumed" not in outcome.stderr
    records = [record for record in lines(tmp_path / "t.jsonl") if "error" not in record]
    assert [record["file"] for record in records] == [f"{n}.png" for n in range(1, 21)]
    assert {one["track"] for record in records for one in record["detections"]} == {1, 2}


@pytest.mark.parametrize(("ending", "library"), [(".webm", False), (".webm", True), (".mp4", True)])
def test_a_drawn_video_keeps_an_uneven_clock(tmp_path, monkeypatch, ending, library):
    """Frames at 0, .1, .2 and then every half second: the drawn one lasts as long."""
    if library:
        pytest.importorskip("av", reason="needs the extra av")
    else:
        monkeypatch.setattr("detkit.runs.film._pyav", lambda: None)
    film = Film(tmp_path / f"out{ending}", 10.0)
    for frame, seconds in enumerate((0.0, 0.1, 0.2, 0.7, 1.2)):
        film.add(picture(3 * frame), seconds)
    film.finish()
    film.drop()
    shown = list(frames(tmp_path / f"out{ending}"))
    assert len(shown) == 13
    assert shown[-1].seconds == pytest.approx(1.2, abs=2e-3)
    assert [path.name for path in tmp_path.iterdir()] == [f"out{ending}"]
    left = [int(np.flatnonzero(frame.image[35, :, 0] > 128)[0]) for frame in shown]
    assert left == pytest.approx([10, 25, 40, 40, 40, 40, 40, 55, 55, 55, 55, 55, 70], abs=2)


def test_thresholds_of_single_classes_in_a_file_of_detections(tmp_path):
    """cat above 0.5, dog above 0.9, others above 0.25; a class that is not there is said."""
    rows = []
    for frame in range(6):
        scores = {"cat": 0.6, "dog": 0.8, "Bird": 0.3, "fish": 0.2}
        found = [
            {"box": [100 * at, 0, 100 * at + 40, 80], "score": score, "class": name, "class_id": at}
            for at, (name, score) in enumerate(scores.items())
        ]
        rows.append({"file": "a.mp4", "frame": frame, "time": frame / 10, "detections": found})
    (tmp_path / "found.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    seen = {}
    for conf in (None, "0.25", "cat=0.5,dog=0.9", "bird=0.1,zebra=0.3,0.7"):
        chosen = [] if conf is None else ["--conf", conf]
        outcome = run(tmp_path / "found.jsonl", "-o", tmp_path / "t.jsonl", "--sure", 0.05, *chosen)
        seen[conf] = {one["class"] for record in lines(tmp_path / "t.jsonl") for one in record["detections"]}
    assert seen[None] == {"cat", "dog", "Bird", "fish"}
    assert seen["0.25"] == {"cat", "dog", "Bird"}
    assert seen["cat=0.5,dog=0.9"] == {"cat", "Bird"}
    assert seen["bird=0.1,zebra=0.3,0.7"] == {"dog", "Bird"}
    assert "no detection is of class 'zebra'" in outcome.stderr


def test_a_folder_gets_a_file_for_each_video(tmp_path):
    """Detections of two sequences and of a third with the name of the first; the results are what eval takes."""
    files = []
    for place in ("a/A", "a/B", "b/A"):
        path = tmp_path / place / "det" / "det.txt"
        path.parent.mkdir(parents=True)
        shift = 100 * len(files)
        path.write_text("".join(f"{frame},-1,{shift + 5 * frame},20,20,30,50,-1,-1,-1\n" for frame in range(1, 7)))
        files.append(path)
    run(*files[:2], "-o", f"{tmp_path}/results/", "--fps", 10)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["A.txt", "B.txt", "tracks.jsonl"]
    assert read_tracks(tmp_path / "results" / "B.txt").boxes[0, 0] == 105
    assert len(lines(tmp_path / "results" / "tracks.jsonl")) == 12
    assert run(*files[:2], "-o", tmp_path / "one.txt", code=2).stderr.count("holds one video") == 1
    before = files[0].read_bytes()
    spared = tmp_path / "a" / "A" / "det" / "A.txt"
    spared.write_bytes(before)
    run(spared, "-o", spared.parent, "--fps", 10, code=2)
    assert spared.read_bytes() == before


def test_h264_needs_pyav(video, tmp_path, monkeypatch):
    monkeypatch.setattr("detkit.runs.film._pyav", lambda: None)
    said = run(video, "-o", tmp_path / "t.jsonl", "--draw", tmp_path / "t.mp4", code=2).stderr
    assert "pip install 'detkit-vision[av]'" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "t.jsonl").exists()


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_a_film_has_even_sides(tmp_path, size):
    pytest.importorskip("av", reason="needs the extra av")
    film = Film(tmp_path / "out.mp4", 7.5)
    for value in (0, 200):
        film.add(np.full((*size, 3), value, np.uint8), value / 1500)
    film.finish()
    assert next(frames(tmp_path / "out.mp4")).image.shape == (48, 64, 3)


def test_an_interrupted_run_goes_on(video, tmp_path, monkeypatch):
    whole = tmp_path / "whole.jsonl"
    run(video, "-o", whole, "--every", 2)
    seen = []

    class Failing(Squares):
        def detect(self, prepared):
            seen.append(1)
            if len(seen) == 5:
                raise KeyboardInterrupt
            return super().detect(prepared)

    out = tmp_path / "part.jsonl"
    monkeypatch.setitem(by_command.DETECTORS, "yolo", lambda *_: Failing())
    run(video, "-o", out, "--every", 2, code=130)
    assert not out.exists()
    assert run(video, "-o", out, "--every", 3, "--resume", code=2).stderr.count("every was 2 and is 3") == 1
    run(video, "-o", out, "--every", 2, "--resume")
    assert len(seen) == 5 + 6  # four frames of ten were there
    assert out.read_bytes() == whole.read_bytes()


def test_the_journal_reads_again_from_a_frame_that_failed(tmp_path):
    item = Item(tmp_path / "a.avi", "a.avi")
    journal = Journal(tmp_path / "j.jsonl", {}, False)
    assert not journal.done(item)
    for frame in (0, 2, 4, 6):
        record = {"file": "a.avi", "frame": frame}
        found = {"error": "x"} if frame == 4 else {"width": 9, "height": 9, "detections": []}
        journal.add(record | found, frame == 6)
    assert journal.frames_done(item) == 7
    assert [record["frame"] for record in journal.records([item])] == [0, 2, 4, 6]
    journal.close()
    again = Journal(tmp_path / "j.jsonl", {}, True)
    assert not again.done(item)
    assert again.frames_done(item) == 3
    again.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-o", "t.xml"], ".txt (MOTChallenge), .jsonl or .csv"),
        (["-o", "t.txt", "--counts", "c.csv"], "--line"),
        (["-o", "t.txt", "--line", "1,2,3"], "x1,y1,x2,y2"),
        (["-o", "t.txt", "--draw", "out.avi"], ".webm"),
        (["--resume"], "--resume needs"),
    ],
)
def test_what_does_not_go_together_is_refused(video, tmp_path, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    assert why in run(video, *arguments, code=2).stderr


def test_inputs_are_spared_and_videos_kept_apart(video, tmp_path):
    before = video.read_bytes()
    run(video, "-o", tmp_path / "t.txt", "--counts", video, "--line", "1,2,3,4", code=2)
    assert video.read_bytes() == before
    other = tmp_path / "other.avi"
    other.write_bytes(before)
    assert "holds one video" in run(video, other, "-o", tmp_path / "t.txt", code=2).stderr
    run(video, other, "-o", tmp_path / "t.jsonl")
    records = lines(tmp_path / "t.jsonl")
    tracks = {name: {one["track"] for r in records if r["file"] == name for one in r["detections"]}
              for name in ("walk.avi", "other.avi")}  # fmt: skip
    assert tracks == {"walk.avi": {1, 2}, "other.avi": {1, 2}}

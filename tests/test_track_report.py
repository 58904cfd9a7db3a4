"""The pages of tracks: `detkit track --report` and `detkit eval --protocol mot --report`, in Chromium too."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.cli import app
from detkit.metrics.mot import MOT15, figures_of
from detkit.metrics.mot.coverage import coverage
from detkit.report.track_page import Bar, Lane, Moment, counts_over_time, spans, track_page
from detkit.tracks import TrackTable

EVIL = "<script>document.title='owned'</script>"


def table(rows):
    """Of (frame, id, x) rows: boxes of 10 x 20 pixels."""
    frames, ids, x = np.array(rows).T
    boxes = np.stack((x, 0 * x, x + 10, 0 * x + 20), axis=1).astype(float)
    return TrackTable(frames, ids, boxes, np.ones(len(frames)), np.full(len(frames), -1))


def held(page):
    text = page.decode() if isinstance(page, bytes) else page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


# What is on the page


def test_a_gap_ends_a_stretch():
    assert spans(np.array([0.0, 0.1, 0.2, 0.6, 0.7]), 0.25) == [(0.0, 0.2), (0.6, 0.7)]
    assert spans(np.zeros(0), 1) == []


def test_counts_are_of_the_tracks_that_are_there():
    bars = [
        Bar("1", "car", [(0, 4, "car")]),
        Bar("2", "car", [(2, 3, "car"), (5, 6, "car")]),
        Bar("3", "dog", [(9, 10, "dog")]),
    ]
    counts = counts_over_time(bars, 0, 10)
    at = {round(time): count for time, count in counts["car"]}
    assert (at[1], at[3], at[5], at[8]) == (1, 2, 1, 0)
    assert counts["dog"][-1] == (10.0, 1)
    assert list(counts) == ["car", "dog"]


def test_a_switch_and_a_miss_are_where_clear_counts_them():
    truth = table([(frame, 7, frame) for frame in range(1, 9)] + [(frame, 9, 100) for frame in range(1, 5)])
    result = table([(1, 3, 1), (2, 3, 2), (4, 3, 4), (5, 8, 5), (6, 8, 6), (8, 3, 8), (2, 4, 100), (3, 8, 100)])
    found = coverage(truth, result, MOT15)
    assert found.ids.tolist() == [7] * 8 + [9] * 4
    assert found.by.tolist() == [3, 3, -1, 3, 8, 8, -1, 3, -1, 4, 8, -1]
    assert np.flatnonzero(found.switched).tolist() == [4, 7, 10]
    assert found.switched.sum() == figures_of(truth, result, MOT15).named()["switches"]


def test_a_result_without_boxes_covers_nothing():
    found = coverage(table([(1, 1, 0), (2, 1, 0)]), TrackTable.empty(), MOT15)
    assert found.by.tolist() == [-1, -1]
    assert not found.switched.any()


# The commands


@pytest.fixture
def frames(tmp_path):
    """A bright square that crosses a dark picture, as frames, and where it is."""
    lines = []
    for number in range(1, 31):
        picture = np.full((120, 200, 3), 40, np.uint8)
        x = 5 * number
        picture[40:80, x : x + 30] = 220
        (tmp_path / "img1").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "img1" / f"{number:06d}.png"), picture)
        box = [x, 40, x + 30, 80]
        found = [{"box": box, "score": 0.9, "class": EVIL, "class_id": 0}] if number not in (12, 13, 14, 15) else []
        record = {"file": f"img1/{number:06d}.png", "width": 200, "height": 120, "detections": found}
        lines.append(json.dumps(record) + "\n")
    (tmp_path / "found.jsonl").write_text("".join(lines))
    return tmp_path


def test_tracks_of_a_file_on_a_page(frames):
    page = frames / "page.html"
    arguments = [
        "track",
        str(frames / "found.jsonl"),
        "-o",
        str(frames / "t.jsonl"),
        "--fps",
        "10",
        "--report",
        str(page),
    ]
    run = CliRunner().invoke(app, [*arguments, "--line", "100,0,100,120"])
    assert run.exit_code == 0, run.stderr
    assert f"report: {page}" in run.stderr
    (lane,) = held(page)
    assert EVIL not in page.read_text()
    (bar,) = lane["bars"]
    assert bar["group"] == EVIL
    assert [part[:2] for part in bar["parts"]] == [[0.0, 1.0], [1.5, 2.9]]
    assert len(bar["marks"]) == 1
    assert "over line 1" in bar["marks"][0][1]


@pytest.mark.parametrize("drawn", [False, True])
def test_key_frames_or_the_drawn_video(frames, drawn):
    page = frames / "page.html"
    arguments = ["track", str(frames / "img1"), "-o", str(frames / "t.jsonl"), "--fps", "10", "--every", "3"]
    draw = ["--draw", str(frames / "t.webm")] if drawn else []
    run = CliRunner().invoke(app, [*arguments, *draw, "--report", str(page)])
    assert run.exit_code == 0, run.stderr
    (lane,) = held(page)
    assert len(lane["moments"]) == (0 if drawn else 10)
    assert ("data:video/webm;base64," in page.read_text()) == drawn
    if not drawn:
        assert [moment["time"] for moment in lane["moments"]] == pytest.approx(0.3 * np.arange(10))
        assert {tuple(moment["size"]) for moment in lane["moments"]} == {(200, 120)}


def test_a_page_that_is_none_or_an_input_is_refused(frames):
    for report in ("page.png", "found.jsonl"):
        run = CliRunner().invoke(app, ["track", str(frames / "found.jsonl"), "--report", str(frames / report)])
        assert run.exit_code == 2
        assert len(run.stderr.strip().splitlines()) == 1


def test_switches_on_the_page_of_eval(tmp_path):
    truth, result = tmp_path / "SEQ" / "gt" / "gt.txt", tmp_path / "t.txt"
    truth.parent.mkdir(parents=True)
    (tmp_path / "SEQ" / "seqinfo.ini").write_text("[Sequence]\nframeRate=10\n")
    truth.write_text("".join(f"{frame},4,{frame},0,10,20,1,-1,-1,-1\n" for frame in range(1, 11)))
    result.write_text("".join(f"{frame},{1 + (frame > 5)},{frame},0,10,20,1,-1,-1,-1\n" for frame in range(1, 11)))
    page = tmp_path / "page.html"
    run = CliRunner().invoke(
        app, ["eval", str(result), str(tmp_path / "SEQ"), "--protocol", "mot", "--report", str(page)]
    )
    assert run.exit_code == 0, run.stderr
    (lane,) = held(page)
    (bar,) = lane["bars"]
    assert bar["name"] == "4"
    assert bar["parts"] == [[0.1, 0.5, "track 1"], [0.6, 1.0, "track 2"]]
    assert bar["marks"] == [[0.6, "goes on as track 2"]]
    text = page.read_text()
    assert "<h3>Switches</h3>" in text
    assert "<td>6</td><td>4</td><td>1</td><td>2</td>" in text


# In a browser


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    bars = [
        Bar(str(number), kind, [(start, start + 3.0, kind)], about="five boxes", marks=[(start + 1, "crossed")])
        for number, (kind, start) in enumerate([("car", 0.0), ("car", 5.0), (EVIL, 1.0)])
    ]
    moments = [
        Moment.of(time, rng.integers(0, 255, (60, 80, 3)).astype(np.uint8), [(5, 5, 20, 30, 0)]) for time in (0.0, 6.0)
    ]
    path = tmp_path / "page.html"
    path.write_bytes(track_page(f"Tracks of {EVIL}", [], [Lane("a", 0.0, 8.0, bars, moments)]))
    return path


def test_it_loads_nothing_and_shows_what_is_under_the_pointer(browser, requested, page):
    from selenium.webdriver.common.action_chains import ActionChains

    assert requested(page.as_uri()) == [page.as_uri()]
    assert browser.title == f"Tracks of {EVIL}"
    bars = browser.find_elements("css selector", ".bars .bar")
    assert len(bars) == 3
    tops = {bar.find_element("css selector", ".part").rect["y"] for bar in bars}
    assert len(tops) == 2  # two cars one after the other share a lane
    ActionChains(browser).move_to_element(bars[1].find_element("css selector", ".part")).perform()
    shown = browser.find_element("id", "tip")
    assert shown.is_displayed()
    assert shown.text.startswith("car 1: 3.0 s, from 0:05.0 to 0:08.0\nfive boxes\n0:06.0 crossed")
    near = browser.find_elements("css selector", ".moment")
    assert [("near" in one.get_attribute("class").split()) for one in near] == [False, True]
    assert "car: 2 tracks" in browser.find_element("css selector", ".keys").text
    assert browser.execute_script("return document.querySelectorAll('.curve path').length") == 2
    assert browser.get_log("browser") == []


def test_it_is_drawn_anew_when_the_window_changes(browser, requested, page):
    requested(page.as_uri())
    width = browser.execute_script("return document.querySelector('.bars svg').clientWidth")
    browser.set_window_size(700, 900)
    try:
        browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        assert browser.execute_script("return document.querySelector('.bars svg').clientWidth") < width
        assert len(browser.find_elements("css selector", ".bars .bar")) == 3
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.set_window_size(1300, 1000)

"""`--report`: the page of a run, in Chromium; what it holds, what it costs, and that names on it do nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.cli import app
from detkit.drawing import color_of
from detkit.images import write_image
from detkit.report.document import Fact
from detkit.report.gallery import About, Gallery, Panel
from detkit.report.thumbnails import Thumbnails, side_for
from detkit.shapes.masks import Masks

EVIL = "<script>document.title='owned'</script>"
METADATA = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: 'bee', 2: 'cat'}", "end2end": "True"}
BOXES = [
    {"box": [10.0, 20.0, 50.0, 60.0], "score": 0.9, "class": "cat", "class_id": 2},
    {"box": [30.0, 30.0, 90.0, 90.0], "score": 0.5, "class": EVIL, "class_id": 0},
]


def picture(seed: int, width: int = 128, height: int = 96) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def graph(make_graph: Any) -> Path:
    """A network that finds the same two boxes in every picture."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 10, 20, 50, 60, 0.9, 2
    rows[0, 1] = 30, 30, 90, 90, 0.5, 0
    path: Path = make_graph({"output0": rows}, metadata=METADATA)
    return path


@pytest.fixture
def run(capsysbinary: Any) -> Callable[..., tuple[int, str]]:
    def call(*arguments: object) -> tuple[int, str]:
        status = 0
        try:
            app([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, capsysbinary.readouterr().err.decode()

    return call


def made(target: Path, count: int = 300) -> Path:
    """A page of many pictures, every third of them empty, one unreadable."""
    gallery = Gallery(target, [Panel("")], 64)
    for number in range(count):
        name = f"in/{number:04d} & <b>{EVIL}.png"
        if number == 7:
            gallery.add(name, [{"file": name, "error": f"is damaged {EVIL}"}])
            continue
        gallery.see(name, picture(number))
        found = [] if number % 3 == 0 else [BOXES[0]] if number % 3 == 1 else BOXES
        gallery.add(name, [{"file": name, "width": 128, "height": 96, "detections": found}])
    gallery.write(About(f"a page {EVIL}", [Fact("Date", "today"), Fact("Model", EVIL)], score=0.25))
    gallery.close()
    return target


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("page") / "page.html")


def counted(browser: Any) -> str:
    wait = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    browser.execute_async_script(wait)
    text: str = browser.find_element("id", "counted").text
    return text


def put(browser: Any, name: str, value: object, event: str = "input") -> None:
    script = "const [id, value, event] = arguments, e = document.getElementById(id); e.value = value; "
    browser.execute_script(script + "e.dispatchEvent(new Event(event))", name, value, event)


def names(browser: Any) -> list[str]:
    script = (
        "return [...document.querySelectorAll('.item')].sort((a, b) => a.dataset.place - b.dataset.place)"
        ".map(i => i.querySelector('.name').textContent)"
    )
    found: list[str] = browser.execute_script(script)
    return found


def test_page_opens_alone_and_draws_only_what_is_in_view(
    page: Path, browser: Any, requested: Callable[[str], list[str]]
) -> None:
    browser.get_log("browser")
    assert requested(page.as_uri()) == [page.as_uri()]
    assert browser.title == f"a page {EVIL}"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert counted(browser) == "300 pictures, 299 boxes"
    assert 0 < len(names(browser)) < 100
    images = "[...document.querySelectorAll('.item img')]"
    loaded = f"return Promise.all({images}.map(i => i.decode().then(() => i.naturalWidth)))"
    assert set(browser.execute_script(loaded)) == {64}
    sideways = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(sideways)
    browser.execute_script("scrollTo(0, 1e9)")
    counted(browser)
    assert names(browser)[-1].startswith("in/0299")
    assert len(names(browser)) < 100


def test_boxes_are_drawn_where_they_are(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())
    counted(browser)
    paths = browser.execute_script(
        "const lines = [...document.querySelectorAll('#item-2 svg .line')];"
        "return lines.map(p => [p.getAttribute('d'), p.getAttribute('stroke')])"
    )
    assert sorted(paths) == sorted(
        [f"M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z", "#{:02x}{:02x}{:02x}".format(*color_of(one["class_id"]))]
        for one in BOXES for x1, y1, x2, y2 in [one["box"]]
    )  # fmt: skip


def test_filter_by_class_score_text_and_state(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())
    chips = browser.find_elements("css selector", "#classes button")
    assert [chip.text.split("\n") for chip in chips] == [["cat", "199"], [EVIL, "100"]]
    chips[1].click()
    assert counted(browser) == "100 of 300 pictures, 100 boxes"
    put(browser, "score", 0.6)
    assert counted(browser) == "0 of 300 pictures, 0 boxes"
    browser.find_element("id", "reset").click()
    assert counted(browser) == "300 pictures, 299 boxes"
    put(browser, "score", 0.6)
    assert counted(browser) == "300 pictures, 199 boxes"
    put(browser, "status", "none", "change")
    assert counted(browser) == "100 of 300 pictures, 0 boxes"
    put(browser, "status", "failed", "change")
    assert counted(browser) == "1 of 300 pictures, 0 boxes"
    assert f"is damaged {EVIL}" in browser.find_element("css selector", ".item .why").text
    put(browser, "status", "all", "change")
    put(browser, "search", "IN/00")
    assert counted(browser).startswith("100 of 300 pictures")


def test_sort(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())
    put(browser, "sort", "many", "change")
    counted(browser)
    assert names(browser)[0].startswith("in/0002")
    put(browser, "sort", "few", "change")
    counted(browser)
    assert names(browser)[0].startswith("in/0000")
    put(browser, "sort", "doubt", "change")
    counted(browser)
    assert names(browser)[0].startswith("in/0002")


def test_keys(page: Path, browser: Any) -> None:
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    browser.get(page.as_uri())
    grid = browser.find_element("id", "grid")
    at = "return Number(document.querySelector('.item.at').dataset.place)"
    grid.send_keys(keys.ARROW_RIGHT, keys.ARROW_RIGHT)
    assert browser.execute_script(at) == 2
    grid.send_keys(keys.ENTER)
    large = browser.find_element("id", "large")
    assert large.get_attribute("open") is not None
    assert browser.find_element("id", "large-name").text.startswith("in/0002")
    assert [line.text for line in browser.find_elements("css selector", "#large-list li")] == [
        "cat 0.90",
        f"{EVIL} 0.50",
    ]
    browser.switch_to.active_element.send_keys(keys.ARROW_RIGHT)
    assert browser.find_element("id", "large-name").text.startswith("in/0003")
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    assert large.get_attribute("open") is None
    assert browser.execute_script(at) == 3
    browser.switch_to.active_element.send_keys("/")
    browser.switch_to.active_element.send_keys("0299")
    assert counted(browser) == "1 of 300 pictures, 2 boxes"
    browser.switch_to.active_element.send_keys(keys.ESCAPE)
    assert counted(browser).startswith("300 pictures")
    grid.send_keys(keys.END)
    assert browser.execute_script(at) == 299
    assert browser.title == f"a page {EVIL}"


def test_page_is_inert_text(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert EVIL not in html
    assert html.count("<script>") == 1
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    assert "@import" not in html
    assert not list(page.parent.glob("*.partial"))


def test_masks_key_points_and_turned_boxes_are_drawn(tmp_path: Path, browser: Any) -> None:
    mask = np.zeros((96, 128), bool)
    mask[20:60, 10:50] = True
    mask[30:40, 20:30] = False
    found = [
        BOXES[0] | {"mask": Masks.from_dense([mask]).to_coco()[0]},
        BOXES[1] | {"keypoints": [[40.0, 50.0, 0.9], [60.0, 70.0, 0.1]]},
        BOXES[0] | {"corners": [[10.0, 40.0], [30.0, 20.0], [50.0, 40.0], [30.0, 60.0]], "class": "turned"},
    ]
    gallery = Gallery(tmp_path / "p.html", [Panel("")], 64)
    gallery.add("a.png", [{"file": "a.png", "width": 128, "height": 96, "detections": found}])
    gallery.write(About("shapes", []))
    gallery.close()
    browser.get((tmp_path / "p.html").as_uri())
    tints = browser.execute_script("return [...document.querySelectorAll('.item .tint')].map(p => p.getAttribute('d'))")
    assert len(tints) == 1
    assert tints[0].count("Z") == 2  # the part and its hole
    area = "return document.querySelector('.item .tint').isPointInFill(new DOMPoint(arguments[0], arguments[1]))"
    assert browser.execute_script(area, 15, 25)
    assert not browser.execute_script(area, 25, 35)
    drawn = browser.execute_script("return [...document.querySelectorAll('.item path')].map(p => p.getAttribute('d'))")
    assert "M40 50h0" in drawn
    assert "M10 40L30 20L50 40L30 60Z" in drawn


def test_a_run_writes_its_page(run: Any, graph: Path, tmp_path: Path, browser: Any) -> None:
    folder = tmp_path / "in"
    evil = ["quo\"te'.png", "a&b <i>.png", "line\nbreak.png", "deep/100%#?.png"]
    for number, name in enumerate(evil):
        write_image(folder / name, picture(number))
    write_image(tmp_path / "plain.png", picture(9))
    os.rename(tmp_path / "plain.png", os.fsencode(folder) + b"/no\xffutf8.png")
    (folder / "broken.png").write_bytes(b"no picture")
    writer = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for number in range(3):
        writer.write(picture(number))
    writer.release()
    page = tmp_path / "out" / "page.html"
    status, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "f.jsonl", "--report", page)
    assert status == 1
    assert f"report: {page}" in err
    assert sorted(p.name for p in page.parent.iterdir()) == ["page.html"]
    browser.get(page.as_uri())
    assert counted(browser) == "9 pictures, 16 boxes"
    files = [json.loads(line)["file"] for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    shown = names(browser)
    assert [name.split("  ")[0] for name in shown] == files
    assert [name for name in shown if name.startswith("film.avi")] == [f"film.avi  0:00.{k}0" for k in range(3)]
    facts = browser.find_element("id", "facts").text
    assert str(graph) in facts
    assert "conf 0.25" in facts
    # looked at closely, each picture itself is shown, whatever it is called; a frame has none
    sharp = (
        "const done = arguments[1]; document.querySelector(`#item-${arguments[0]}`).click();"
        "setTimeout(() => { const i = document.querySelector('#large-picture img');"
        "done(i ? i.src.slice(0, 5) : ''); document.getElementById('large').close(); }, 150)"
    )
    for place, name in enumerate(files):
        expected = "" if name == "broken.png" else "data:" if name == "film.avi" else "file:"
        assert browser.execute_async_script(sharp, place) == expected, name


def test_a_page_of_a_run_to_stdout(run: Any, graph: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(0))
    for shape in ("jsonl", "table", "counts"):
        assert run("yolo", tmp_path / "a.png", "-m", graph, "-f", shape, "--report", tmp_path / "p.html")[0] == 0
        assert '"f":["a.png"]' in (tmp_path / "p.html").read_text()
        (tmp_path / "p.html").unlink()


def test_a_resumed_run_has_all_pictures_on_its_page(run: Any, graph: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from detkit.runs.journal import Journal

    for number in range(30):
        write_image(tmp_path / "in" / f"{number:02d}.png", picture(number))
    whole, cut = tmp_path / "whole.html", tmp_path / "cut.html"
    assert run("yolo", tmp_path / "in", "-m", graph, "-o", tmp_path / "w.jsonl", "--report", whole)[0] == 0
    add = Journal.add

    def interrupted(self: Journal, record: Any, last: bool) -> None:
        if record["file"] == "12.png":
            raise KeyboardInterrupt
        add(self, record, last)

    monkeypatch.setattr(Journal, "add", interrupted)
    command = ("yolo", tmp_path / "in", "-m", graph, "-o", tmp_path / "c.jsonl", "--report", cut)
    assert run(*command)[0] == 130
    monkeypatch.undo()
    assert not cut.exists()
    assert (tmp_path / "cut.html.partial").exists()
    (tmp_path / "in" / "03.png").unlink()  # its small picture is there already
    write_image(tmp_path / "in" / "03.png", picture(3))
    status, err = run(*command, "--resume")
    assert status == 0, err
    assert "12 of 30 inputs were done already" in err
    assert not (tmp_path / "cut.html.partial").exists()
    parts = [
        re.findall(
            rb'<script type="(?:text/plain|application/json)"(?: id="s\d+"| class="part")>.*?</script>',
            p.read_bytes(),
            re.DOTALL,
        )
        for p in (whole, cut)
    ]
    assert parts[0] == parts[1]
    assert len(parts[0]) == 2


@pytest.mark.parametrize(
    ("target", "said"),
    [("p.txt", "should end in .html"), ("in.html", "overwrite the input"), ("f.html", "name the same file")],
)
def test_where_a_page_cannot_be(run: Any, graph: Path, tmp_path: Path, target: str, said: str) -> None:
    write_image(tmp_path / "a.png", picture(0))
    (tmp_path / "a.png").rename(tmp_path / "in.html")
    out = tmp_path / "f.html"
    status, err = run(
        "yolo", tmp_path / "in.html", "-m", graph, "-o", out, "-f", "jsonl", "--report", tmp_path / target
    )
    assert status == 2
    assert said in err
    assert not out.exists()


def test_small_pictures_survive_a_kill(tmp_path: Path) -> None:
    kept = Thumbnails(tmp_path / "t", 32)
    kept.add("a", picture(0))
    kept.add('b"\n', picture(1))
    contents = [kept.get("a"), kept.get('b"\n')]
    kept.close(remove=False)
    with open(tmp_path / "t", "ab") as file:
        file.write(b'{"key":"c","bytes":900}\nhalf of it')
    again = Thumbnails(tmp_path / "t", 32, resume=True)
    assert [again.get("a"), again.get('b"\n'), again.get("c")] == [*contents, None]
    again.add("c", picture(2))
    assert again.get("c") is not None
    assert len(again) == 3
    again.close(remove=True)
    assert not (tmp_path / "t").exists()


def test_pages_of_more_pictures_have_smaller_ones() -> None:
    assert [side_for(count) for count in (1, 100, 101, 1000, 10_000, 10_001)] == [480, 480, 320, 320, 192, 128]

"""The report in a browser: it sorts, shows its plots, loads nothing, and names in it do nothing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.annotations.picture_places import Pictures
from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.evaluation import Evaluation, Settings
from detkit.report.confusion_table import most_confused
from detkit.report.page import Compared, make_report
from detkit.report.plots import PLOTS, shown_classes, svg_plots, write_plots
from detkit.report.worst import boxes_of, worst_images

EVIL = "<script>document.title='owned'</script>"
QUOTES = '"><img src=x onerror="document.title=\'owned\'"> $x^2$ & 猫'
NAMES = ("cat", EVIL, QUOTES, "dog", "never")
FILES = ("a b.jpg", "sub/<b>.jpg", "'; drop.jpg", "none.jpg")


def made() -> tuple[GroundTruth, Predictions]:
    rng = np.random.default_rng(3)
    images, m = len(FILES), 24
    boxes = np.concatenate((rng.random((m, 2)) * 80, rng.random((m, 2)) * 60 + 10), axis=1)
    image, k = np.arange(m) % images, rng.integers(0, 4, m)
    source = rng.integers(0, m, 40)
    found = boxes[source] + rng.normal(0, 4, (40, 4))
    classes = np.where(rng.random(40) < 0.7, k[source], rng.integers(0, 4, 40))
    no = np.zeros(m, dtype=bool)
    truth = GroundTruth(
        Images(tuple(range(images)), FILES, np.full(images, 160), np.full(images, 120)),
        Categories(NAMES, tuple(range(len(NAMES)))),
        image, k, boxes, boxes[:, 2] * boxes[:, 3], np.arange(m) == 3, no, no, no, no, tuple(range(1, m + 1)),
    )  # fmt: skip
    return truth, Predictions(image[source], classes, found, rng.random(40))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three of the four pictures, one of them in a subfolder."""
    for name in FILES[:3]:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ok, data = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))
        assert ok
        path.write_bytes(data.tobytes())
    return tmp_path


@pytest.fixture
def page(pictures: Path) -> Path:
    evaluation = Evaluation(*made(), Settings(score=0.2))
    path = pictures / "report.html"
    path.write_text(make_report(evaluation, Compared(f"{EVIL}.json", "truth & co.json"), [pictures]), encoding="utf-8")
    return path


def test_page_in_a_browser(page: Path, browser: Any, requested: Callable[[str], list[str]]) -> None:
    elsewhere = "http://127.0.0.1:9/x.png"
    assert requested(f"data:text/html,<img src='{elsewhere}'>") == [elsewhere]  # it would be seen
    browser.get_log("browser")
    assert requested(page.as_uri()) == [page.as_uri()]
    assert browser.title == f"{EVIL}.json against truth & co.json".split("/")[-1]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    # plots are there and have a size
    for name in PLOTS.keys() - {"confusion"}:
        height = browser.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().height",
                                        f"#plot-{name} svg")  # fmt: skip
        assert height > 100, name
    sideways = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(sideways)

    # pictures: three that are found, four shown, each decoded
    loaded = "return Promise.all([...document.querySelectorAll('.shot image')].map(i => i.decode().then(() => 1)))"
    assert browser.execute_script(loaded) == [1, 1, 1]
    assert len(browser.find_elements("css selector", ".shot")) == 4
    assert browser.title != "owned"


def test_table_sorts_both_ways(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())

    def column(place: int) -> list[str]:
        script = (
            "return [...document.querySelectorAll('#classes tbody tr')].map(r => r.cells[arguments[0]].textContent)"
        )
        return browser.execute_script(script, place)

    assert column(0) == list(NAMES)
    heads = browser.find_elements("css selector", "#classes thead button")
    place = [head.text for head in heads].index("AP")
    heads[place].click()
    values = [float(value.replace("-", "-1")) for value in column(place)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == -1.0  # undefined is last
    assert len(set(values)) > 2
    heads[place].click()
    assert column(place) == [f"{v:.3f}" if v >= 0 else "-" for v in sorted(values)]
    sort = "return document.querySelectorAll('#classes thead th')[arguments[0]].getAttribute('aria-sort')"
    assert browser.execute_script(sort, place) == "ascending"
    heads[0].click()
    names = column(0)
    assert set(names) == set(NAMES)
    assert names.index("cat") < names.index("dog") < names.index("never")


def test_confusions_can_be_read(page: Path, browser: Any) -> None:
    evaluation = Evaluation(*made(), Settings(score=0.2))
    browser.get(page.as_uri())
    texts = browser.execute_script(
        "return [...document.querySelectorAll('.matrix tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    rows, left_out = most_confused(evaluation.confusion)
    names = [*evaluation.names, "background"]
    assert left_out == 0
    assert [row[0] for row in texts] == [names[k] for k in rows]
    shown = np.array([[int(text.replace(",", "") or 0) for text in row[1:]] for row in texts])
    assert (shown == evaluation.confusion[np.ix_(rows, rows)]).all()
    confused = evaluation.confusion[:-1, :-1] * (1 - np.eye(len(names) - 1, dtype=int))
    times = [confused[k].sum() + confused[:, k].sum() for k in rows[:-1]]
    assert times == sorted(times, reverse=True)
    assert times[0] > 0
    over = "dispatchEvent(new Event('mouseover', {bubbles: true}))"
    browser.execute_script(f"document.querySelector('.matrix td.right').{over}")
    told = browser.find_element("id", "cell").text
    assert re.fullmatch(rf"{shown[0, 0]} of \d+ {re.escape(names[rows[0]])} were found \(\d+%\)", told)


def test_the_page_says_what_it_is_about(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())
    facts = browser.find_element("css selector", ".facts").text.split("\n")
    assert facts[0] == "Date"
    assert facts[2:] == ["Detections", f"{EVIL}.json", "Ground truth", "truth & co.json"]
    browser.find_element("css selector", ".glossary summary").click()
    assert "Average precision" in browser.find_element("css selector", ".glossary").text


def test_kinds_of_boxes_can_be_hidden(page: Path, browser: Any) -> None:
    browser.get(page.as_uri())
    shown = (
        "return [...document.querySelectorAll('.shot .fp')].filter(g => getComputedStyle(g).display != 'none').length"
    )
    before = browser.execute_script(shown)
    assert before > 0
    browser.find_element("css selector", ".legend input[data-kind=fp]").click()
    assert browser.execute_script(shown) == 0


def test_page_is_inert_text(page: Path) -> None:
    """The same without a browser, so that it is tested everywhere."""
    html = page.read_text(encoding="utf-8")
    assert EVIL not in html
    assert html.count("<script>") == 1
    assert "&lt;script&gt;" in html
    assert 'onerror="' not in html
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_svg_is_well_formed_and_references_are_whole() -> None:
    for name, svg in svg_plots(Evaluation(*made(), Settings(score=0.2))).items():
        root = ElementTree.fromstring(svg)
        ids = {element.get("id") for element in root.iter()}
        used = re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg)
        assert used, name
        assert set(used) <= ids, name


def test_plots_as_files(tmp_path: Path) -> None:
    for path in write_plots(Evaluation(*made(), Settings(score=0.2)), tmp_path / "plots"):
        picture = cv2.imread(str(path))
        assert picture is not None
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture[:, :, 0])) > 10


@pytest.mark.parametrize("protocol", ["coco", "voc"])
def test_page_of_nothing(protocol: str) -> None:
    truth, found = made()
    none = Predictions(found.image_index[:0], found.class_index[:0], found.boxes[:0], found.scores[:0])
    assert "24 missed" not in make_report(Evaluation(truth, none, Settings(protocol=protocol)), Compared("d", "g"), [])
    names = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    columns = {name: getattr(truth, name)[:0] for name in names}
    empty = GroundTruth(truth.images, truth.categories, **columns)
    assert "No image has an error" in make_report(
        Evaluation(empty, none, Settings(protocol=protocol)), Compared("d", "g"), []
    )


def test_worst_image_has_the_most_errors() -> None:
    evaluation = Evaluation(*made(), Settings(score=0.2))
    order = worst_images(evaluation, 4)
    errors = [sum(one.kind in ("fp", "fn") for one in boxes_of(evaluation, row)) for row in order]
    assert errors == sorted(errors, reverse=True)
    total = evaluation.total
    kinds = [one.kind for row in range(len(FILES)) for one in boxes_of(evaluation, row)]
    assert (kinds.count("tp"), kinds.count("fp"), kinds.count("fn")) == (total.tp, total.fp, total.fn)
    assert kinds.count("crowd") == 1


def test_pictures_are_found_and_names_do_not_lead_out(pictures: Path) -> None:
    assert Pictures([pictures]).find("a b.jpg") == pictures / "images" / "a b.jpg"
    assert Pictures([pictures]).find("a b") == pictures / "images" / "a b.jpg"
    assert Pictures([pictures]).find("elsewhere/a b.jpg") == pictures / "images" / "a b.jpg"
    assert Pictures([pictures]).find("none.jpg") is None
    secret = pictures.parent / "secret.jpg"
    secret.write_bytes(b"")
    assert Pictures([pictures]).find("../secret.jpg") is None
    assert Pictures([pictures]).find(str(secret)) is None


def test_many_classes_are_cut_to_the_worst() -> None:
    matrix = np.zeros((201, 201), dtype=np.int64)
    matrix[range(150), range(150)] = 5
    matrix[100:150, 0] = 3
    rows, left_out = shown_classes(matrix)
    assert rows[-1] == 200
    assert len(rows) == 91
    assert left_out == 60
    assert set(range(100, 150)) <= set(rows)
    rows, left_out = most_confused(matrix)
    assert (rows[0], len(rows), left_out) == (0, 25, 126)
    assert set(rows[1:-1]) <= set(range(100, 150))

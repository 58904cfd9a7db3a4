import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.runs.sources import find_items


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("a/one.jpg", "a/deep/two.PNG", "a/note.txt", "b/one.jpg", "b/film.mp4", "c/.keep"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources, stdin=None):
    complaints = []
    items = find_items([str(source) for source in sources], lambda *what: complaints.append(what), stdin)
    return [item.name for item in items], complaints


def test_a_folder_keeps_its_subfolders_ultralytics_7405(tree):
    assert names("a") == (["one.jpg", "deep/two.PNG"], [])


def test_a_file_is_called_by_its_name(tree):
    assert names("a/deep/two.PNG") == (["two.PNG"], [])
    assert names(tree / "a" / "one.jpg", "a/one.jpg")[0] == ["one.jpg"]  # each file once


def test_a_pattern_is_relative_to_its_fixed_part(tree):
    assert names("a/**/*.*[gG]")[0] == ["deep/two.PNG", "one.jpg"]
    assert names("*/one.jpg")[0] == ["a/one.jpg", "b/one.jpg"]


def test_same_names_get_the_folders_that_tell_them_apart(tree):
    assert names("a", "b")[0] == ["a/one.jpg", "a/deep/two.PNG", "b/film.mp4", "b/one.jpg"]


def test_lists_and_standard_input(tree):
    (tree / "list.txt").write_text("a/one.jpg\n\nb/film.mp4\r\n")
    assert names("@list.txt")[0] == ["a/one.jpg", "b/film.mp4"]
    (tree / "a" / "list.txt").write_text("deep/two.PNG\n")  # relative to the list's own folder
    assert names("@a/list.txt")[0] == ["deep/two.PNG"]
    assert names("-", stdin=["b/film.mp4\n", "a\n"])[0] == ["b/film.mp4", "one.jpg", "deep/two.PNG"]


def test_videos_are_known_by_their_ending(tree):
    items = find_items(["b"], lambda *_: None)
    assert [item.video for item in items] == [True, False]


def test_what_cannot_be_used_is_named(tree):
    assert names("c") == ([], [("c", "the folder holds no pictures")])
    assert names("x/*.jpg") == ([], [("x/*.jpg", "no file matches the pattern")])
    assert "cannot be read" in names("@missing.txt")[1][0][1]
    assert names("missing.jpg")[0] == ["missing.jpg"]  # named when it is opened, like any other broken file


def test_a_bracket_in_a_real_name_is_no_pattern(tree):
    (tree / "a[1].jpg").write_bytes(b"x")
    assert names("a[1].jpg")[0] == ["a[1].jpg"]


def test_a_folder_without_rights(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, complaints = names("a")
    assert found == ["one.jpg"]
    assert complaints == [("a/deep", "the folder cannot be read: Permission denied")]


def test_hidden_files_are_taken_only_by_name(tree):
    for name in ("a/._one.jpg", "a/.d/x.jpg"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    assert names("a")[0] == ["one.jpg", "deep/two.PNG"]
    assert names("a/*")[0] == ["note.txt", "one.jpg"]
    assert names("a/._one.jpg", "a/.d")[0] == ["._one.jpg", "x.jpg"]


def test_linked_folders_are_followed_once(tree):
    (tree / "a" / "link").symlink_to(tree / "b")
    (tree / "a" / "deep" / "up").symlink_to(tree / "a")
    assert names("a") == (["one.jpg", "deep/two.PNG", "link/film.mp4", "link/one.jpg"], [])


def test_a_name_that_is_no_text_can_be_written(tree):
    odd = os.fsencode(tree / "b") + b"/\xff.jpg"
    with open(odd, "wb") as file:
        file.write(b"x")
    items = find_items(["b"], lambda *_: None)
    assert [item.name for item in items] == ["film.mp4", "one.jpg", "\\xff.jpg"]
    assert os.fsencode(items[2].path).endswith(b"/\xff.jpg")


@pytest.mark.parametrize(
    ("source", "stdin", "complaint"),
    [
        ("", None, ("''", "an empty name is no source")),
        ("-", ["a\0b\n"], ("-", "holds a NUL byte, which no path has; it should hold a path a line")),
        ("-", [], ("-", "names no source")),
        ("@empty.txt", None, ("@empty.txt", "names no source")),
        ("*", None, ("*", "only folders match the pattern")),
    ],
)
def test_what_names_nothing_is_said(tree, monkeypatch, source, stdin, complaint):
    (tree / "a" / "empty.txt").write_text("\n")
    monkeypatch.chdir(tree / "a" if source.startswith("@") else tree)
    assert names(source, stdin=stdin) == ([], [complaint])


def test_a_list_may_begin_with_a_byte_order_mark(tree):
    (tree / "list.txt").write_bytes(b"\xef\xbb\xbfa/one.jpg\n")
    assert names("@list.txt") == (["a/one.jpg"], [])


def detkit(folder, *arguments, stdin=b""):
    command = [sys.executable, "-m", "detkit", *map(os.fsencode, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, env=environment, check=False)


def test_a_picture_on_stdin_is_one_line_and_names_that_are_not_utf8_work(tmp_path):
    picture = cv2.imencode(".jpg", np.full((60, 80, 3), 90, np.uint8))[1].tobytes()
    piped = detkit(tmp_path, "yolo", "-", stdin=picture)
    assert piped.returncode == 2
    assert piped.stderr.count(b"\n") == 1
    assert b"is a picture (JPEG), where a list of paths is read" in piped.stderr
    (tmp_path / os.fsdecode(b"gr\xf6\xdfe.jpg")).write_bytes(picture)
    for arguments, stdin in ((("-",), b"gr\xf6\xdfe.jpg\n"), (("@list.txt",), b"")):
        (tmp_path / "list.txt").write_bytes(b"gr\xf6\xdfe.jpg\n")
        done = detkit(tmp_path, "yolo", *arguments, stdin=stdin)
        assert (done.returncode, b"gr\\\\xf6\\\\xdfe.jpg" in done.stdout) == (0, True), done.stderr


def test_a_list_that_never_ends_is_refused(tmp_path):
    done = detkit(tmp_path, "yolo", "@/dev/zero")
    assert done.returncode == 1
    assert b"the list is not an ordinary file" in done.stderr


def test_what_is_not_read_in_a_folder_is_counted(tmp_path, caplog):
    for name in ("a.jpg", "b.dcm", "c.dcm", "d.jxl", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [item.name for item in find_items([str(tmp_path)], lambda *_: None)] == ["a.jpg"]
    (warning,) = caplog.messages
    assert "2 DICOM, 1 JPEG XL" in warning


def test_pictures_beyond_the_budget_are_refused_by_their_header(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    done = detkit(tmp_path, "yolo", "a.png", "--max-pixels", "9999")
    assert done.returncode == 1
    assert b"--max-pixels" in done.stderr

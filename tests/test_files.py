"""Writing files: all or nothing, and never in the place of a device or a link."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

import pytest

from detkit.errors import InputError, ModelError, OutputError
from detkit.files import as_text, check_writable, read_file, walk, write_bytes


@pytest.fixture
def device(tmp_path):
    """Make a node like /dev/null (minor 3) or /dev/full (7) in a folder of the test."""

    def make(name, minor):
        path = tmp_path / name
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:
            pytest.skip("only root makes device nodes")
        return path

    return make


def test_a_device_is_written_into_not_replaced(device):
    null = device("null", 3)
    write_bytes(null, b"x")
    assert stat.S_ISCHR(null.stat().st_mode)
    full = device("full", 7)
    with pytest.raises(OutputError, match=r"full: No space left"):
        write_bytes(full, b"x")
    assert stat.S_ISCHR(full.stat().st_mode)


def test_a_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "deep" / "file")
    for content in (b"new", b"replaced"):
        write_bytes(link, content)
        assert link.is_symlink()
        assert (tmp_path / "deep" / "file").read_bytes() == content
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_what_cannot_be_written_is_known_before(tmp_path):
    check_writable(tmp_path / "new" / "model.npz")
    assert list((tmp_path / "new").iterdir()) == []
    for path in (tmp_path, tmp_path / "file" / "model.npz"):
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(OutputError, match="cannot write"):
            check_writable(path)


def test_a_walk_follows_links_once_and_leaves_out_what_is_hidden(tmp_path):
    for name in ("top/a/x", "top/b/y", "top/.h", "top/.d/z", "else/w"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "top" / "a" / "b2").symlink_to(tmp_path / "top" / "b")  # found later under its own name
    (tmp_path / "top" / "a" / "up").symlink_to(tmp_path / "top")
    (tmp_path / "top" / "elsewhere").symlink_to(tmp_path / "else")
    found = [(os.path.relpath(parent, tmp_path), files) for parent, files in walk(tmp_path / "top")]
    assert found == [("top", []), ("top/a", ["x"]), ("top/b", ["y"]), ("top/elsewhere", ["w"])]


@pytest.mark.parametrize("error", [InputError, ModelError])
def test_only_ordinary_files_are_read(tmp_path, error):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"content")
    assert read_file(tmp_path / "file", error) == b"content"
    for path, why in (
        (tmp_path / "pipe", "not an ordinary file"),
        ("/dev/zero", "not an ordinary file"),
        (tmp_path, "is a folder"),
        (tmp_path / "nothing", "cannot be read: No such file"),
        ("a\0b", "NUL byte"),
    ):
        with pytest.raises(error, match=why):
            read_file(path, error)


def test_text_leaves_the_file_under_it_open(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        with suppress(BrokenPipeError), as_text(file) as text:
            text.write("é\n")
            raise BrokenPipeError
        file.write(b"more")
    assert (tmp_path / "x").read_bytes() == "é\nmore".encode()

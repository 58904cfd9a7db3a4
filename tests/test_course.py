"""The course: every link leads somewhere, and every command and option that it types is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from detkit.cli import app

COURSE = Path(__file__).parents[1] / "docs" / "course"
PAGES = sorted(COURSE.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert links
    assert [link for link in links if not (COURSE / link).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_are_there(page: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"^    detkit (.+)$", page.read_text(), re.MULTILINE):
        name, *arguments = shlex.split(line)
        options = {option for parameter in commands[name].params for option in parameter.opts}
        for argument in arguments:
            if argument.startswith("-"):
                assert argument in options, f"{name} has no {argument}"


def test_every_chapter_and_picture_is_used() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert [path.name for path in COURSE.iterdir() if path.suffix in (".md", ".jpg") and path.name not in text] == []

"""`detkit schema`: the JSON schemas of what detkit writes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Written(str, Enum):
    """What detkit writes."""

    RESULTS = "results"
    EVAL = "eval"


def schema(
    of: Annotated[
        Written,
        typer.Argument(
            metavar="results|eval",
            help="results: a line of the JSON Lines of the detection commands and of detkit track; eval: what detkit "
            "eval --json and detkit val --json write.",
            show_default=False,
        ),
    ],
) -> None:
    """Print the JSON schema (draft 2020-12) of results, or of the figures of eval."""
    from detkit.cli.console import show

    show(schema_file(of.value).read_text(encoding="utf-8").rstrip("\n"))


def schema_file(name: str) -> Path:
    """Where a schema lies: inside an installed package, or in the docs of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "schemas"
    folder = installed if installed.is_dir() else package.parent / "docs" / "schema"
    return folder / f"{name}.schema.json"

"""Options of networks: how a graph that does not tell it wants its pictures, and which boxes count for a class."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

NETWORK = "The network"


class Color(str, Enum):
    RGB = "rgb"
    BGR = "bgr"


class FitChoice(str, Enum):
    CENTER = "center"
    TOP_LEFT = "top-left"
    STRETCH = "stretch"


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """The numbers of a text like 123.7,116.3,103.5."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number, or three like 1,2,3", param_hint=option) from None


SizeOption = Annotated[
    int | None,
    typer.Option(min=32, help="Side of the input, where the graph leaves it open.", rich_help_panel=NETWORK),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N,N]", help="What is taken from pixels of 0 to 255, each channel.", rich_help_panel=NETWORK
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(metavar="N[,N,N]", help="What they are then divided by.", rich_help_panel=NETWORK),
]
ColorOption = Annotated[
    Color | None, typer.Option(help="Order of the channels.", rich_help_panel=NETWORK, show_default=False)
]
FitOption = Annotated[
    FitChoice | None,
    typer.Option(
        help="How a picture is brought to the input's size: padded on all sides, at the end, or stretched.",
        rich_help_panel=NETWORK,
        show_default=False,
    ),
]
MultiLabelOption = Annotated[
    bool | None,
    typer.Option(
        "--multi-label/--single-label",
        help="Count a box for every class above --conf, or for its best. Default: the exporter's own.",
        rich_help_panel=NETWORK,
    ),
]

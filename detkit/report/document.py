"""What all pages share: one HTML file that loads nothing from elsewhere, in the colours of the reader's system."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import orjson

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Fact:
    """Something a page says of itself: what, and a text."""

    what: str
    text: str


def opening(title: str, style: str, pictures: str = "data:") -> str:
    """The page up to its body, which stays open. `pictures` are the sources that it may show pictures from."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src {pictures}; '
        f"style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
    )


def facts(all_of_them: list[Fact]) -> str:
    """The facts as a list of terms; those without a text are left out."""
    rows = "".join(f"<dt>{escape(one.what)}</dt><dd>{escape(one.text)}</dd>" for one in all_of_them if one.text)
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def asset(name: str) -> str:
    """A style sheet or a script that lies beside this module."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def embedded(value: object) -> bytes:
    """JSON that may stand inside a <script> element, whatever its texts hold."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).replace(b"<", b"\\u003c")


def page_bytes(text: str) -> bytes:
    """UTF-8; what is no Unicode character becomes a question mark."""
    return text.encode("utf-8", errors="replace")


def now() -> str:
    """The local date and time, to the minute, with the offset from UTC."""
    from datetime import datetime

    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")

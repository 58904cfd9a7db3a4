"""Text that reads the same, written in one way; text that a terminal shows and does not obey; one box, two boxes."""

from __future__ import annotations

import unicodedata


def spelled(text: str) -> str:
    """`text` with its accents composed: "e" and an accent behind it are the one letter that they show (Unicode NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def printable(text: str) -> str:
    """`text` without characters that a terminal would obey: controls, formats and surrogates become "?"."""
    if text.isprintable():
        return text
    return "".join(c if c == " " or unicodedata.category(c)[0] not in "CZ" else "?" for c in text)


def counted(count: int, one: str, several: str | None = None) -> str:
    """A count with its word; `several` for words whose plural is no bare s.

    >>> counted(1, "box", "boxes"), counted(0, "box", "boxes"), counted(2000, "picture")
    ('1 box', '0 boxes', '2,000 pictures')
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"

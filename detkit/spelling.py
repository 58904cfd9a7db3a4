"""Text that reads the same, written in one way, and text that a terminal shows and does not obey."""

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

"""Text that reads the same, written in one way."""

from __future__ import annotations

import unicodedata


def spelled(text: str) -> str:
    """`text` with its accents composed: "e" and an accent behind it are the one letter that they show (Unicode NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)

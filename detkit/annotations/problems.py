"""What is odd in a file but does not stop it from being read: one log line a kind, however often it occurs."""

from __future__ import annotations

import logging

from detkit.spelling import counted

logger = logging.getLogger("detkit")


class Problems:
    """Counts of odd things by kind, with the first example of each; `log` writes them as warnings."""

    def __init__(self, where: object) -> None:
        self.where = str(where)
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, kind: str, example: object, count: int = 1) -> None:
        """`kind` says what it is and what was done about it: "boxes that are empty, kept"."""
        if count > 0:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.examples.setdefault(kind, str(example))

    @property
    def lost(self) -> str | None:
        """The first kind of boxes or files that were left out, with its example; None where nothing was."""
        for kind, example in self.examples.items():
            if "left out" in kind:
                return f"{kind}: {self.counts[kind]} (first: {example})"
        return None

    def log(self) -> None:
        """One warning a kind on the logger `detkit`, then forget them."""
        for kind, count in self.counts.items():
            logger.warning("%s: %s: %d (first: %s)", self.where, kind, count, self.examples[kind])
        self.counts.clear()
        self.examples.clear()


def quoted(names: object, limit: int = 5) -> str:
    """Some names for a message: 'a', 'b', 'c' and 4 more."""
    listed = [f"'{shorten(str(name))}'" for name in names]  # type: ignore[attr-defined]
    if len(listed) <= limit:
        return ", ".join(listed) if listed else "none"
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"


def shorten(text: str, limit: int = 60) -> str:
    """`text` on one line and not longer than `limit` characters, for messages."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def boxes_text(count: int) -> str:
    """'1 box' or '3 boxes'."""
    return counted(count, "box", "boxes")

"""The `detkit` command, and `python -m detkit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. An interrupt while it is still being loaded ends it in a line, too."""
    try:
        from detkit.cli import main as command_line

        command_line()
    except (KeyboardInterrupt, ImportError) as error:
        if not _from_interrupt(error):
            raise
        print("detkit: interrupted", file=sys.stderr)
        sys.exit(130)


def _from_interrupt(error: BaseException | None) -> bool:
    """Whether an interrupt is behind an error: a library that it meets while it loads says that it cannot be loaded."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()

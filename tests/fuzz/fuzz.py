"""Throw damaged files at the readers: `python tests/fuzz/fuzz.py KIND [--seed N] [--seconds S] [--case N]`.

A case depends on the kind, the seed and its number alone, so that what is printed of a failure repeats it. Anything but
a result or a `DetkitError` is a failure (what names hold is escaped where errors are shown); so are 10 s of CPU, 60 s
of time, and 2 GB of memory.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import logging
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from detkit.errors import DetkitError
from detkit.images import set_max_pixels

KINDS = ("pictures", "graphs", "annotations", "lists", "videos")
CPU_SECONDS, SECONDS, BYTES = 10, 60, 2 << 30
# A case puts its files into an empty folder and says what to do with them, each under a name.
Readings = Iterable[tuple[str, Callable[[], Any]]]
Fuzzer = Callable[[Random, Path], Readings]


class _TooLongError(BaseException):
    """Not an `Exception`, so that no reader takes it for damage."""


def _too_long(*_: Any) -> None:
    raise _TooLongError(f"more than {CPU_SECONDS} s of CPU")


def fault(reading: Callable[[], Any]) -> BaseException | str:
    """What a reading does that it must not; "read" or "refused" where it does what it should."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        reading()
    except DetkitError as error:
        return "refused" if str(error).strip() else error
    except (Exception, _TooLongError) as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    return "read"


def place_of(error: BaseException) -> str:
    """The kind of an error and the last line of detkit that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/detkit/" in f.filename]
    return (
        f"{type(error).__name__} at {frames[-1].filename.rpartition('/detkit/')[2]}:{frames[-1].lineno}"
        if frames
        else str(error)
    )


def run(kind: str, seed: int, seconds: float, first: int, count: int, current: Path | None) -> int:
    """Cases from number `first` on, until so many seconds of CPU are used; the number of different failures."""
    logging.disable()
    signal.signal(signal.SIGPROF, _too_long)
    set_max_pixels(1 << 24)
    folder = Path(tempfile.mkdtemp(prefix="detkit-fuzz-"))
    failures: dict[str, str] = {}
    seen: Counter[str] = Counter()
    try:
        (folder / "base").mkdir()
        fuzzer: Fuzzer = importlib.import_module(f"{kind}_cases").fuzzer(folder / "base")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        began, number = time.process_time(), first
        while number < first + count and (count < sys.maxsize or time.process_time() - began < seconds):
            work = folder / "case"
            work.mkdir()
            for name, reading in fuzzer(Random(f"{kind} {seed} {number}"), work):
                if current is not None:
                    current.write_text(f"{kind} --seed {seed} --case {number} ({name})")
                what = fault(reading)
                if isinstance(what, str):
                    seen[what] += 1
                    continue
                said = "".join(traceback.format_exception(what))[-3000:]
                where = f"{name}: {place_of(what)}"
                seen["failed"] += 1
                failures.setdefault(where, f"python tests/fuzz/fuzz.py {kind} --seed {seed} --case {number}\n{said}")
            shutil.rmtree(work)
            number += 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for where, text in failures.items():
        print(f"\n{where}\n{text}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{kind}, seed {seed}: {number - first} cases, {dict(seen)}, {len(failures)} kinds of failure, {most} MB")
    return len(failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="this case alone")
    parser.add_argument("--current", type=Path, help="file that has the case that is running, for who watches")
    given = parser.parse_args()
    alone = given.case is not None
    sys.exit(bool(run(given.kind, given.seed, given.seconds, given.case if alone else given.first,
                      1 if alone else sys.maxsize, given.current)))  # fmt: skip

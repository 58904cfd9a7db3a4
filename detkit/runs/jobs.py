"""A run in parts, done here: the plan, one part of it, or all by an engine, and the parts joined.

`Job` is a whole command but for its list of pictures, as values that travel to other processes and machines. An
engine only hands numbers of parts to workers and their summaries back: pictures and records go between the workers
and the place where they lie.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from detkit.errors import DetkitError, InputError, UsageError
from detkit.files import is_device
from detkit.runs.batch import Reading
from detkit.runs.long_lists import Listing
from detkit.runs.merging import Merged
from detkit.runs.names import Names
from detkit.runs.parts import Part, PartsFolder, Plan, WholeList, differences, read_part, stretch
from detkit.runs.record import Record
from detkit.runs.run import Listener, Output, Run, Warn, journal_path
from detkit.runs.summary import Summary
from detkit.runs.tasks import Task
from detkit.runs.writers import ids_of

logger = logging.getLogger("detkit")

_FAILURES_TOLD = 1000  # of each part
_LOST_NAMED = 8
_PICTURES_A_PART = 1000
_PARTS_A_WORKER = 4


@dataclass(frozen=True)
class Job:
    """A run as values that can be sent to where it is done; `make` must be, too.

    make      makes the task, and says where its results go; called once in every process
    settings  what records depend on, with the model's hash
    """

    make: Callable[[], tuple[Task, Output]]
    settings: Mapping[str, Any]
    reading: Reading


@dataclass(frozen=True)
class PartDone:
    """What became of a part: its summary and the inputs that failed, or why it is not there."""

    number: int
    summary: Summary = field(default_factory=Summary)
    failures: Sequence[tuple[str, str]] = ()
    lost: str = ""


class Engine(Protocol):
    """What has parts done by many workers, each of which calls `PartWorker`."""

    @property
    def workers(self) -> int:
        """How many there are now."""

    def run(self, job: Job, folder: PartsFolder, numbers: Iterable[int]) -> Iterator[PartDone]:
        """Each of the parts `numbers`, in the order in which they are done."""


def folder_of(output: Output, option: str) -> PartsFolder:
    """Where the parts of an output are kept. UsageError where the output is none that has parts."""
    if output.path is None or is_device(output.path):
        raise UsageError(f"{option} needs --out PATH, a file, folder or address: the parts are kept in PATH.parts")
    return PartsFolder.beside(output.path)


def make_plan(job: Job, task: Task, output: Output, items: Listing, parts: int) -> Plan:
    """Take the list once and write it in pieces beside the output. UsageError where an input would be replaced."""
    folder = folder_of(output, "--plan")
    names = Run(task, items, output).names
    plan = Plan(job.settings, WholeList.of(items), parts)
    folder.write_plan(plan, items, names)
    return plan


def do_part(
    job: Job,
    task: Task,
    output: Output,
    part: tuple[int, int],
    items: Callable[[], Listing],
    listener: Listener = Warn(),
) -> Summary:
    """Do part (number, of how many) of a list, which is the plan's where there is one. UsageError if that is another's.

    items  gives the whole list, where there is no plan
    """
    folder, (number, of) = folder_of(output, "--part"), part
    plan = folder.plan()
    if plan is None:
        listing = items()
        names = Run(task, listing, output).names or Names(())
        whole, own = WholeList.of(listing), listing[stretch(len(listing), number, of)]
    else:
        plan.check(job.settings, folder.folder)
        if plan.parts != of:
            raise UsageError(f"{folder.folder} is a plan of {plan.parts} parts, not of {of}")
        own, names = folder.piece(number)
        whole = plan.whole
        logger.info("part %d of the plan of %d inputs in %s", number, whole.items, folder.folder)
    path = folder.part(number)
    one = Part(number, of, path, journal_path(path), whole, names)
    if output.resume and _done_before(folder, one, one.header(job.settings, task.names, task.wanted)):
        logger.info("part %d of %d is there already", number, of)
        return Summary()
    run = Run(task, own, output, job.reading, listener, one)
    run.write(job.settings)
    return run.summary


def _done_before(folder: PartsFolder, part: Part, header: Mapping[str, Any]) -> bool:
    """Whether a part is there and nothing in it failed. UsageError where it is of another run."""
    before = folder.summary(part.number)
    if before is None:
        return False
    there = {key: value for key, value in next(read_part(part.place)).items() if key != "detkit"}
    changed = differences(there, header)
    if changed:
        raise UsageError(f"--resume: {part.place} is of another run: {changed}. Run with the same, or without --resume")
    return not before.failures


class PartWorker:
    """Does parts of a plan in a process of an engine's: the task is made once, and every part is one file."""

    def __init__(self, job: Job, folder: PartsFolder, directory: str, cores: int) -> None:
        import cv2

        with suppress(OSError):  # relative paths mean what they meant where the command was given
            os.chdir(directory)
        os.environ["DETKIT_CORES"] = str(cores)
        logging.getLogger("detkit").setLevel(logging.ERROR)
        cv2.setNumThreads(1)
        self._job, self._folder = job, folder
        self._task, self._output = job.make()
        self._plan = folder.plan()

    def work(self, number: int) -> PartDone:
        """Do a part, or say why it cannot be done. What of it failed before is asked again, and nothing else."""
        told = _Told()
        try:
            if self._plan is None:
                raise InputError(f"{self._folder.folder} holds no plan")
            with tempfile.TemporaryDirectory(prefix="detkit-") as own:
                items, names = self._folder.piece(number)
                path = self._folder.part(number)
                part = Part(number, self._plan.parts, path, Path(own, "journal"), self._plan.whole, names)
                run = Run(self._task, items, self._output, self._job.reading, told, part)
                run.write(self._job.settings)
            return PartDone(number, run.summary, told.failures[:_FAILURES_TOLD])
        except DetkitError as error:
            return PartDone(number, lost=str(error).partition("; what is done is in ")[0])


class _Told(Warn):
    """Keeps what failed for who asks for the part."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []

    def failed(self, name: str, why: str) -> None:
        self.failures.append((name, why))


def run_by(
    engine: Engine,
    job: Job,
    task: Task,
    output: Output,
    items: Callable[[], Listing],
    listener: Listener = Warn(),
    parts: int | None = None,
    each: Callable[[Record], Record] = lambda record: record,
) -> Summary:
    """A whole run by an engine: the plan, all of its parts, and these joined into the output; then they are deleted.

    With `output.resume`, what is done of an earlier run with the same plan is not done again. DetkitError where parts
    are missing in the end; the others stay where they are.
    """
    folder, plan = folder_of(output, "--engine"), None
    if output.resume:
        plan = folder.plan()
        if plan is not None:
            plan.check(job.settings, folder.folder)
    if plan is None:
        if folder.present():
            logger.warning("%s is left from another run; beginning again (--resume goes on with a plan)", folder.folder)
        folder.remove()
        listing = items()
        plan = make_plan(job, task, output, listing, parts or _parts(len(listing), engine.workers))
    summary, lost = Summary(), {}
    done, waiting = _sorted_out(folder, plan, summary)
    if done:
        logger.info("%d of %d parts were done already", done, plan.parts)
    pictures = {number: _length(plan, number) for number in waiting}
    listener.started(sum(pictures.values()))
    listener.resumable(folder.folder)
    began = time.monotonic()
    try:
        for one in engine.run(job, folder, waiting):
            if one.lost:
                lost[one.number] = one.lost
                continue
            summary.take(one.summary)
            for name, why in one.failures:
                listener.failed(name, why)
            for _ in range(pictures[one.number]):
                listener.finished_one()
    finally:
        listener.ended()
    summary.seconds = time.monotonic() - began
    _check_all_there(folder, plan, lost)
    assert output.path is not None
    ids = None if output.gt is None else ids_of(output.gt, task.names, logger.warning)
    Merged.of_folder(folder).write(output.path, output.writer(), ids, each, files_are_there=True)
    folder.remove()
    return summary


def _length(plan: Plan, number: int) -> int:
    """How many inputs a part has."""
    return len(range(plan.whole.items)[stretch(plan.whole.items, number, plan.parts)])


def _parts(items: int, workers: int) -> int:
    """So many that each worker gets several, and that none takes long."""
    return max(min(items, max(items // _PICTURES_A_PART, workers * _PARTS_A_WORKER)), 1)


def _sorted_out(folder: PartsFolder, plan: Plan, summary: Summary) -> tuple[int, list[int]]:
    """How many parts are there and whole, which `summary` counts, and the numbers of those to do."""
    there = folder.present()
    waiting, done = [], 0
    for number in range(1, plan.parts + 1):
        before = folder.summary(number) if number in there else None
        if before is None or before.failures:
            waiting.append(number)
        else:
            summary.take(before)
            done += 1
    return done, waiting


def _check_all_there(folder: PartsFolder, plan: Plan, lost: Mapping[int, str]) -> None:
    there = folder.present()
    missing = {number: "it is not there" for number in range(1, plan.parts + 1) if number not in there} | dict(lost)
    if missing:
        first = sorted(missing.items())[:_LOST_NAMED]
        named = "; ".join(f"part {number} ({_span(folder, number)}): {why}" for number, why in first)
        more = " ..." if len(missing) > len(first) else ""
        raise DetkitError(
            f"{len(missing)} of {plan.parts} parts could not be done: {named}{more}. The others are in "
            f"{folder.folder}; --resume does what is missing"
        )


def _span(folder: PartsFolder, number: int) -> str:
    items, _ = folder.piece(number)
    return f"{items[0].name} to {items[-1].name}" if len(items) else "no pictures"

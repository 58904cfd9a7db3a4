"""The options of runs in parts, and what commands do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.console import counted, say
from detkit.errors import UsageError

if TYPE_CHECKING:
    from detkit.runs.jobs import Job
    from detkit.runs.long_lists import Listing
    from detkit.runs.record import Record
    from detkit.runs.run import Listener, Output
    from detkit.runs.summary import Summary
    from detkit.runs.tasks import Task

_PANEL = "In parts, on many machines"


class Engine(str, Enum):
    ray = "ray"


PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Do the K-th of N stretches of the list, into OUT.parts; detkit merge joins them.",
        rich_help_panel=_PANEL,
    ),
]
PlanOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Take the list once, write it for N parts into OUT.parts, and stop; with --engine, how many parts.",
        rich_help_panel=_PANEL,
    ),
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(help="Have all parts done by the workers of this engine, and join them.", rich_help_panel=_PANEL),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="The cluster of --engine. Default: one on this machine.", rich_help_panel=_PANEL
    ),
]


@dataclass(frozen=True)
class Scale:
    """Whether and how a run is done in parts.

    part    (number, of how many)
    plan    parts of a plan
    engine  name of what does all of them, at an address
    cores   of each of its workers
    gpu     whether each of them takes one
    """

    part: tuple[int, int] | None = None
    plan: int | None = None
    engine: str | None = None
    address: str | None = None
    cores: int = 1
    gpu: bool = False

    @classmethod
    def of(
        cls,
        part: str | None,
        plan: int | None,
        engine: Engine | None,
        address: str | None,
        threads: int | None = None,
        device: str = "auto",
    ) -> Scale:
        """The options as they are given. UsageError where they contradict each other."""
        if part is not None and (plan is not None or engine is not None):
            raise UsageError(f"--part does one part; {'--plan' if plan is not None else '--engine'} is another command")
        if address is not None and engine is None:
            raise UsageError("--address is that of an --engine: add --engine ray")
        if engine is not None and ":" in device:
            kind = device.partition(":")[0]
            raise UsageError(f"--device {device}: which GPU a worker gets is the engine's choice; say {kind}")
        return cls(
            None if part is None else part_numbers(part),
            plan,
            None if engine is None else engine.value,
            address,
            threads or 1,
            device in ("cuda", "tensorrt"),
        )

    @property
    def whole(self) -> bool:
        """Whether all of the run is done at once, here."""
        return self.part is None and self.plan is None and self.engine is None

    @property
    def option(self) -> str:
        """The option that asks for parts."""
        return "--part" if self.part else "--engine" if self.engine else "--plan"


def part_numbers(text: str) -> tuple[int, int]:
    """(3, 8) of "3/8". BadParameter where it is no such thing."""
    number, slash, of = text.partition("/")
    if not slash or not number.isdecimal() or not of.isdecimal() or not 1 <= int(number) <= int(of):
        raise typer.BadParameter(f"{text!r} is no part like 3/8, from 1/8 to 8/8", param_hint="--part")
    return int(number), int(of)


def run_at_scale(
    scale: Scale,
    job: Job,
    made: tuple[Task, Output],
    items: Callable[[], Listing],
    listener: Listener,
    each: Callable[[Record], Record] = lambda record: record,
) -> Summary:
    """A plan, a part, or all by an engine; `made` is what the job makes in this process."""
    from detkit.runs.jobs import do_part, folder_of, make_plan, run_by
    from detkit.runs.summary import Summary

    task, output = made
    folder = folder_of(output, scale.option).folder
    if scale.part is not None:
        return do_part(job, task, output, scale.part, items, listener)
    if scale.engine is None:
        assert scale.plan is not None
        plan = make_plan(job, task, output, items(), scale.plan)
        say(
            f"{counted(plan.whole.items, 'input')} in {counted(plan.parts, 'part')}: {folder}. Run each with "
            f"--part K/{plan.parts}, then: detkit merge {folder} -o {output.path}"
        )
        return Summary()
    with _engine(scale) as engine:
        return run_by(engine, job, task, output, items, listener, scale.plan, each)


@contextmanager
def _engine(scale: Scale) -> Iterator[Any]:
    from detkit.runs.ray_engine import RayEngine

    with RayEngine(scale.address, scale.cores, 1 if scale.gpu else 0) as engine:
        yield engine

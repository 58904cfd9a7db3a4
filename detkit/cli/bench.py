"""`detkit bench`: of a network, or with `motion` of motion models."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from detkit.cli.bench_motion import bench_motion
from detkit.cli.console import show
from detkit.cli.options import DeviceOption, JsonOption, ThreadsOption


class _NetworkUnlessNamed(TyperGroup):
    """`detkit bench MODEL` is `detkit bench network MODEL`: what is no command of the group is a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = bool(args) and (args[0] in self.commands or args in (["-h"], ["--help"]))
        return super().parse_args(ctx, args if own else ["network", *args])


app = typer.Typer(cls=_NetworkUnlessNamed, add_completion=False, help="Measure a network, or motion models.")


@app.command("network")
def bench(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A model by name, or an .onnx file.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--on", metavar="SOURCE", help="Pictures to use. Default: a synthetic one.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each measurement; the median counts.")] = 30,
    batch: Annotated[
        str, typer.Option(metavar="N,N,...", help="Batch sizes, where the graph allows them.")
    ] = "1,2,4,8",
    head: Annotated[str | None, typer.Option(metavar="NAME", help="Decode as this head.")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a network: its stages, its throughput over batch sizes and threads, and where it really ran."""
    from detkit.cli.console import say
    from detkit.graphs.runtime import Runtime
    from detkit.runs.timing import Effort, measure, pictures_of

    try:
        batches = sorted({int(number) for number in batch.split(",")})
    except ValueError:
        raise typer.BadParameter(f"{batch!r} is not a list of numbers like 1,2,4", param_hint="--batch") from None
    if batches[0] < 1:
        raise typer.BadParameter("a batch has at least one picture", param_hint="--batch")

    pictures = pictures_of(source, lambda name, why: say(f"{name}: {why}")) if source else []
    report = measure(model, pictures, Runtime(device, threads), Effort(runs, tuple(batches)), head)
    if as_json:
        import sys

        import orjson

        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
        return
    from detkit.cli.tables import print_table

    show(f"{report['model']}  head {report['head']}  {report['provider']}  {report['threads']} threads")
    rows = [[stage, f"{1000 * times['median']:.2f}", f"{1000 * times['best']:.2f}", f"{times['share']:.0%}"]
            for stage, times in report["stages"].items()]  # fmt: skip
    print_table("\nmilliseconds a picture", [("stage", "left"), ("median", "right"), ("best", "right"),
                                             ("share", "right")], rows)  # fmt: skip
    rows = [[entry["threads"], entry["batch"], f"{entry['pictures_per_second']:.1f}"] for entry in report["throughput"]]
    print_table("\nthroughput of the network alone", [("threads", "right"), ("batch", "right"),
                                                      ("pictures/s", "right")], rows)  # fmt: skip
    if report["fixed_batch"]:
        show(f"\nthe graph's batch is fixed at {report['fixed_batch']}")


app.command("motion")(bench_motion)

"""``fairlead compare``: the command."""

from __future__ import annotations

import json
import pathlib
import typing
from enum import StrEnum
from typing import Annotated

import rich.console
import typer

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.memory_option import parse_bytes
from fairlead_runtime.config import EngineMode
from fairlead_runtime.model.evaluation_record import Metric

if typing.TYPE_CHECKING:
    from fairlead_cli.comparison import choosing
    from fairlead_cli.comparison.figures import Measured

COLUMN_CHARS = 26
"""Of a column of the table, at least: it is never cut, also where the output is no terminal."""


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


class OptimizeFor(StrEnum):
    """The values of `choosing.Objective`, which can't be imported here: it needs NumPy."""

    LATENCY = "latency"
    ACCURACY = "accuracy"
    MEMORY = "memory"
    SIZE = "size"


_Models = Annotated[
    list[pathlib.Path], typer.Argument(metavar="MODEL...", help="SavedModels' folders or .keras files, 2 to 8.")
]
_Data = Annotated[pathlib.Path, typer.Option("--data", help="Labelled data (.npz) that no candidate was trained on.")]
_Metric = Annotated[Metric, typer.Option("--metric", help="What --min bounds.")]
_Least = Annotated[
    float | None, typer.Option("--min", min=0.01, max=0.999, help="The least lower bound of the metric's interval.")
]
_Latency = Annotated[
    float | None, typer.Option("--max-latency-ms", min=0.001, help="The highest p99 of a call with one row.")
]
_Memory = Annotated[
    int | None,
    typer.Option("--max-memory", parser=parse_bytes, metavar="QUANTITY", help="Resident, of the process, as 512Mi."),
]
_Objective = Annotated[OptimizeFor, typer.Option("--optimize-for", help="What the recommended candidate is best in.")]
_Engine = Annotated[EngineMode, typer.Option("--engine", help="As spec.serving.engine of the manifest.")]
_Signature = Annotated[str | None, typer.Option("--signature", help="The signature to call, if not the default one.")]
_Threads = Annotated[int, typer.Option("--threads", min=1, max=256, help="Of a candidate, as a replica's CPUs.")]
_Rounds = Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Of calls, in turns.")]
_Timeout = Annotated[
    float, typer.Option("--timeout", min=1, max=86400, help="Seconds that each step of a candidate may take.")
]
_MemoryLimit = Annotated[
    str,
    typer.Option("--memory-limit", metavar="QUANTITY", help="Of data that a candidate's process may hold."),
]
_Plot = Annotated[
    pathlib.Path | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw accuracy against latency, with the sizes, into this file."),
]
_Output = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]


def compare(  # noqa: PLR0913 - the options of a command
    models: _Models,
    data: _Data,
    metric: _Metric = Metric.ACCURACY,
    least: _Least = None,
    latency_ms: _Latency = None,
    memory: _Memory = None,
    optimize_for: _Objective = OptimizeFor.ACCURACY,
    engine: _Engine = EngineMode.TENSORFLOW,
    signature: _Signature = None,
    threads: _Threads = 1,
    rounds: _Rounds = 11,
    timeout: _Timeout = 600,
    memory_limit: _MemoryLimit = "8Gi",
    plot: _Plot = None,
    output: _Output = Output.TABLE,
) -> None:
    """Compare models on the same data and hardware, and recommend one under constraints."""
    # NumPy is needed here alone, and the other commands run without it.
    try:
        from fairlead_cli.comparison import choosing, measuring, report
    except ModuleNotFoundError as error:
        _fail(f"comparison needs the package {error.name}: install fairlead with the extra 'runtime'")
    if plot is not None:
        _check_plot(plot)
    plan = measuring.Plan(
        models=models,
        data=data,
        signature=signature,
        engine=engine,
        threads=threads,
        rounds=rounds,
        seconds=timeout,
        memory_bytes=parse_bytes(memory_limit),
    )
    latency_s = None if latency_ms is None else latency_ms / 1e3
    constraints = choosing.Constraints(
        metric=metric, metric_min=least, latency_max_s=latency_s, memory_max_bytes=memory
    )
    try:
        candidates = measuring.measure(plan, lambda text: typer.echo(text, err=True))
    except EvaluationError as error:
        _fail(str(error))
    found = choosing.recommend(candidates, constraints, choosing.Objective(optimize_for.value))
    _show(candidates, constraints, found, output)
    if plot is not None:
        _draw(plot, candidates, constraints, found)
    if found is None:
        lines = "\n".join(report.describe_violations(candidates, constraints))
        _fail(f"no candidate keeps the constraints:\n{lines}")


def _check_plot(path: pathlib.Path) -> None:
    """Before minutes of measuring."""
    if path.suffix.lower() != ".png":
        _fail(f"--plot {path}: the picture is a PNG; name a file such as comparison.png")
    if path.is_dir() or not path.parent.is_dir():
        _fail(f"--plot {path}: name a file in a folder that exists")


def _draw(
    path: pathlib.Path,
    candidates: typing.Sequence[Measured],
    constraints: choosing.Constraints,
    found: choosing.Recommendation | None,
) -> None:
    from fairlead_cli.comparison import plot

    try:
        path.write_bytes(plot.draw(candidates, constraints, found))
    except OSError as error:
        _fail(f"--plot {path} can't be written: {error.strerror}")
    typer.echo(f"Written: {path}", err=True)


def _show(
    candidates: typing.Sequence[Measured],
    constraints: choosing.Constraints,
    found: choosing.Recommendation | None,
    output: Output,
) -> None:
    from fairlead_cli.comparison import report

    if output is Output.JSON:
        typer.echo(json.dumps(report.to_json(candidates, constraints, found), indent=1))
        return
    longest = max(COLUMN_CHARS, *(len(each.name) for each in candidates))
    console = rich.console.Console(width=(len(candidates) + 1) * (longest + 2))
    console.print(report.make_table(candidates, constraints), markup=False, highlight=False)
    if found is not None:
        typer.echo(report.describe(candidates, found))
        for line in report.describe_violations(candidates, constraints):
            typer.echo(f"Not considered: {line}.")


def _fail(message: str) -> typing.NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)

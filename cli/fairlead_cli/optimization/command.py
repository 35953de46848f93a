"""``fairlead optimize``: the command."""

from __future__ import annotations

import json
import pathlib
import typing
from enum import StrEnum
from typing import Annotated

import rich.console
import typer

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.config import AccuracyFloor, Optimization, OptimizeFor, Technique

WIDTH = 240


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


def optimize(  # noqa: PLR0913 - the options of a command
    model: Annotated[pathlib.Path, typer.Argument(metavar="MODEL", help="A SavedModel's folder or a .keras file.")],
    data: Annotated[pathlib.Path, typer.Argument(metavar="DATA", help="Labelled data (.npz), as for evaluate.")],
    technique: Annotated[
        list[Technique] | None, typer.Option("--technique", help="One that is tried; may be repeated. Default: all.")
    ] = None,
    optimize_for: Annotated[
        OptimizeFor, typer.Option("--optimize-for", help="As spec.optimization.optimizeFor.")
    ] = OptimizeFor.LATENCY,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, max=0.5, help="As accuracyFloor.maxDrop of the manifest.")
    ] = 0.01,
    max_score_change: Annotated[
        float, typer.Option("--max-score-change", min=0.0001, max=1, help="As maxScoreChange of the manifest.")
    ] = 0.1,
    signature: Annotated[
        str | None, typer.Option("--signature", help="The signature to call, if not the default one.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="As a replica's CPUs.")] = 1,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=86400, help="Seconds for each, conversion and variants.")
    ] = 600,
    plot: Annotated[
        pathlib.Path | None, typer.Option("--plot", help="Where to draw time against accuracy, as a PNG.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="The output format.")] = Output.TABLE,
) -> None:
    """Make the variants of spec.optimization on this machine, measure them, and show which one would serve."""
    try:
        from fairlead_cli.optimization import measuring, report
        from fairlead_cli.optimization import plot as plots
    except ModuleNotFoundError as error:
        _fail(f"optimization needs the package {error.name}: install fairlead with the extra 'runtime'")
    bounds = Optimization(
        techniques=tuple(technique or Technique),
        optimize_for=optimize_for,
        accuracy_floor=AccuracyFloor(max_drop=max_drop),
        max_score_change=max_score_change,
    )
    plan = measuring.Plan(model=model, data=data, signature=signature, bounds=bounds, threads=threads, seconds=timeout)
    try:
        found = measuring.measure(plan, lambda text: typer.echo(text, err=True))
        if plot is not None:
            plot.write_bytes(plots.draw(found.table.variants, found.table.samples))
    except EvaluationError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}")
    if output is Output.JSON:
        typer.echo(json.dumps(report.to_json(found), indent=1))
    else:
        rich.console.Console(width=WIDTH).print(report.make_table(found), markup=False, highlight=False)
        for line in report.describe(found):
            typer.echo(line)
    if plot is not None:
        typer.echo(f"Written: {plot} (across: µs of a call with 1 row, up: accuracy in per mille)", err=True)


def _fail(message: str) -> typing.NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)

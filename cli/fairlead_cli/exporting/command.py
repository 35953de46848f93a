"""``fairlead export``: the command."""

from __future__ import annotations

import pathlib
import typing
from enum import StrEnum
from typing import Annotated

import typer

from fairlead_cli.evaluation import command as evaluation
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.memory_option import parse_bytes

if typing.TYPE_CHECKING:
    from fairlead_cli.exporting.exporting import Exported

SUFFIX = ".tflite"


class Target(StrEnum):
    """Which runtime reads the file."""

    LITERT = "litert"


def export(  # noqa: PLR0913 - the options of a command
    model: Annotated[pathlib.Path, typer.Argument(metavar="MODEL", help="A SavedModel's folder or a .keras file.")],
    output: Annotated[pathlib.Path, typer.Argument(metavar="OUTPUT", help="The file to write, FILE.tflite.")],
    target: Annotated[Target, typer.Option("--to", help="The runtime that reads the file.")],
    data: Annotated[
        pathlib.Path | None,
        typer.Option("--data", help="Labelled data (.npz), on which the exported model is compared and evaluated."),
    ] = None,
    signature: Annotated[
        str | None, typer.Option("--signature", help="The signature to export, if not the default one.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, max=86400, help="Seconds that conversion and comparison may take.")
    ] = 600,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", metavar="QUANTITY", help="Of data that the process may hold.")
    ] = "8Gi",
) -> None:
    """Export a model for a device, compared with TensorFlow's answers and with its own evaluation record."""
    try:
        from fairlead_cli.exporting import exporting
    except ModuleNotFoundError as error:
        _fail(f"the export needs the package {error.name}: install fairlead with the extra 'runtime'")
    if output.suffix != SUFFIX:
        _fail(f"OUTPUT {output}: the file of {target.value} ends with {SUFFIX}, as in model{SUFFIX}")
    memory_bytes = parse_bytes(memory_limit)
    plan = exporting.Plan(
        model=model, output=output, data=data, signature=signature, seconds=timeout, memory_bytes=memory_bytes
    )
    try:
        made = exporting.export(plan)
    except EvaluationError as error:
        _fail(str(error))
    _show(plan.output, made)


def _show(output: pathlib.Path, made: Exported) -> None:
    smaller = f"{made.size_bytes / 2**20:.3f} MiB; the model has {made.model_bytes / 2**20:.3f} MiB"
    typer.echo(f"Written: {output} ({smaller})")
    compared = f"{made.compared_rows} rows of {'DATA' if made.record else 'random inputs'}"
    typer.echo(f"Compared with TensorFlow on {compared}: outputs differ by {made.difference:.2g} at most.")
    if made.record is None:
        typer.echo("Without --data there is no evaluation record.")
        return
    typer.echo(f"{evaluation.describe(made.record)}; by TensorFlow {made.tensorflow_value:.4f}.")
    typer.echo(f"The top prediction is the same for {made.same_predictions} of {made.record.samples} samples.")
    typer.echo(f"Written: {made.record_path}")


def _fail(message: str) -> typing.NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)

"""``fairlead evaluate``: the command."""

from __future__ import annotations

import pathlib
import re
import typing
from typing import Annotated

import rich.console
import rich.table
import typer

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_operator.api import names
from fairlead_runtime.model.evaluation_record import EvaluationRecord

ROWS_SHOWN = 40
_Explained = Annotated[
    int,
    typer.Option(
        "--explained",
        min=0,
        max=10_000,
        help="So many rows of DATA are explained for the reference statistics, for spec.monitoring.explanations.",
    ),
]
_NAME = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")


def evaluate(
    model: Annotated[pathlib.Path, typer.Argument(metavar="MODEL", help="A SavedModel's folder or a .keras file.")],
    data: Annotated[pathlib.Path, typer.Argument(metavar="DATA", help="A .npz file: inputs by name, and labels.")],
    signature: Annotated[
        str | None, typer.Option("--signature", help="The signature to call, if not the default one.")
    ] = None,
) -> None:
    """Evaluate a model on labelled data and write evaluation.json beside it."""
    # TensorFlow and NumPy are needed here alone, and the other commands run without them.
    try:
        from fairlead_cli.evaluation import evaluating
    except ModuleNotFoundError as error:
        _fail(f"evaluation needs the package {error.name}: install fairlead with the extra 'runtime'")
    try:
        found = evaluating.find_model(model)
        record = evaluating.evaluate(found, data, signature).record
        path = evaluating.write(record, found)
    except EvaluationError as error:
        _fail(str(error))
    show(record)
    typer.echo(f"Written: {path}")


def package(  # noqa: PLR0913 - the options of a command
    model: Annotated[pathlib.Path, typer.Argument(metavar="MODEL", help="A SavedModel's folder or a .keras file.")],
    data: Annotated[
        pathlib.Path, typer.Argument(metavar="DATA", help="Labelled data to evaluate the model on (.npz).")
    ],
    name: Annotated[str, typer.Option("--name", help="The name of the ModelDeployment.")],
    out: Annotated[
        pathlib.Path | None,
        typer.Option("--out", help="The archive to write. Default: NAME-DIGEST.tar.gz, another one for each content."),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            "--min", min=0.01, max=0.999, help="The least accuracy that a candidate must show, for requireEvaluation."
        ),
    ] = None,
    reference: Annotated[
        pathlib.Path | None,
        typer.Option("--reference", help="The training data (.npz), with which replicas compare requests."),
    ] = None,
    explained: _Explained = 1000,
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            min=0,
            max=4096,
            help="So many rows of DATA go into the archive, for spec.optimization. At least 10.",
        ),
    ] = 0,
    uri: Annotated[
        str | None, typer.Option("--uri", help="Where the archive will be. Default: its file URI on this machine.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option("--signature", help="The signature to call, if not the default one.")
    ] = None,
) -> None:
    """Pack a model with its evaluation record, an example and statistics; print the manifest that deploys it."""
    try:
        from fairlead_cli.evaluation import evaluating, packaging
    except ModuleNotFoundError as error:
        _fail(f"packaging needs the package {error.name}: install fairlead with the extra 'runtime'")
    if _NAME.fullmatch(name) is None or len(name) > names.MODEL_NAME_MAX:
        form = f"at most {names.MODEL_NAME_MAX} lower-case letters, digits and '-', and begin with a letter"
        _fail(f"--name {name!r} must be {form}, as in digits-2")
    try:
        target = out if out is not None else pathlib.Path(f"{name}.tar.gz")
        extras = packaging.Extras(reference=reference, explained=explained, samples=samples)
        made = packaging.package(evaluating.find_model(model), data, extras, target, signature)
        if out is None:
            made = packaging.name_by_digest(made)
    except EvaluationError as error:
        _fail(str(error))
    typer.echo(f"{describe(made.record)}\nWritten: {made.path}", err=True)
    typer.echo(packaging.manifest(made, name=name, uri=uri, least=least), nl=False)


def describe(record: EvaluationRecord) -> str:
    """The metric with its interval."""
    interval = record.interval
    return (
        f"{record.metric.value} {record.value:.4f} ({interval.level:.0%} interval {interval.low:.4f} to "
        f"{interval.high:.4f}, {record.samples} samples)"
    )


def show(record: EvaluationRecord) -> None:
    """Prints the metric with its interval, and the classes."""
    typer.echo(describe(record))
    typer.echo(f"Model {record.model_digest}")
    table = rich.table.Table("class", "samples", "recall", "precision", box=None)
    for row in record.classes[:ROWS_SHOWN]:
        table.add_row(row.name, str(row.samples), _ratio(row.recall), _ratio(row.precision))
    rich.console.Console().print(table, markup=False, highlight=False)
    if len(record.classes) > ROWS_SHOWN or record.classes_left_out:
        count = len(record.classes) + record.classes_left_out
        typer.echo(f"{min(ROWS_SHOWN, len(record.classes))} of {count} classes are shown.")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _fail(message: str) -> typing.NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)

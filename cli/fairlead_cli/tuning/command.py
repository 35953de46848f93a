"""``fairlead tune``: the command."""

from __future__ import annotations

import json
import pathlib
import typing
from typing import Annotated

import rich.console
import typer

from fairlead_cli.comparison.command import Output
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_cli.tuning.errors import TuningError
from fairlead_runtime.config import EngineMode

WIDTH = 160
OFF = "off"


def _parse_numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
        raise typer.BadParameter(f"{text!r}: write whole numbers with commas between them, such as 1,2,4")
    return tuple(int(word) for word in words)


def _parse_threads(text: str) -> tuple[int, ...]:
    return _within(text, _parse_numbers(text), 1, 256)


def _parse_delays(text: str) -> tuple[int, ...]:
    return _within(text, _parse_numbers(text), 0, 500)


def _parse_replicas(text: str) -> tuple[int, ...]:
    return tuple(sorted(set(_within(text, _parse_numbers(text), 1, 1000))))


def _parse_rows(text: str) -> tuple[int | None, ...]:
    words = [word.strip() for word in text.split(",")]
    numbers = [word for word in words if word != OFF]
    _within(text, _parse_numbers(",".join(numbers)) if numbers else (), 1, 1024)
    return tuple(None if word == OFF else int(word) for word in words)


def _within(text: str, numbers: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    if not all(low <= number <= high for number in numbers):
        raise typer.BadParameter(f"{text!r}: each number must be from {low} to {high}")
    return numbers


_Model = Annotated[pathlib.Path, typer.Argument(metavar="MODEL", help="A SavedModel's folder or a .keras file.")]
_Request = Annotated[
    pathlib.Path, typer.Option("--request", help="A file with the body of a request, of infer or of :predict.")
]
_Rate = Annotated[
    float, typer.Option("--rate", min=0.1, max=1e6, help="Requests a second that all replicas have to answer.")
]
_Latency = Annotated[
    float, typer.Option("--max-latency-ms", min=0.01, max=60000, help="The highest p99 that is accepted.")
]
_Minutes = Annotated[float, typer.Option("--minutes", min=0.01, max=1440, help="How long the requests go on.")]
_Rounds = Annotated[int, typer.Option("--rounds", min=1, max=100, help="In each, every setting has its turn.")]
_Replicas = Annotated[str, typer.Option("--replicas", help="Numbers of replicas, such as 1,2,4.")]
_Threads = Annotated[str, typer.Option("--threads", help="Threads that call the model, such as 1,2.")]
_Rows = Annotated[str, typer.Option("--max-rows", help="spec.serving.batching.maxRows, or off: such as off,64.")]
_Delays = Annotated[str, typer.Option("--delay-ms", help="spec.serving.batching.maxDelayMilliseconds, such as 0,2.")]
_Engine = Annotated[EngineMode, typer.Option("--engine", help="As spec.serving.engine of the manifest.")]
_Signature = Annotated[str | None, typer.Option("--signature", help="The signature to call, if not the default one.")]
_Name = Annotated[str, typer.Option("--name", help="The ModelDeployment in the command that is printed.")]
_Plot = Annotated[pathlib.Path, typer.Option("--plot", help="The PNG of latency against throughput.")]
_Output = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]


def tune(  # noqa: PLR0913 - the options of a command
    model: _Model,
    request: _Request,
    rate: _Rate,
    latency_ms: _Latency,
    minutes: _Minutes = 5,
    rounds: _Rounds = 3,
    replicas: _Replicas = "1,2,4",
    threads: _Threads = "1,2",
    rows: _Rows = "off,64",
    delays_ms: _Delays = "0,2",
    engine: _Engine = EngineMode.TENSORFLOW,
    signature: _Signature = None,
    name: _Name = "NAME",
    plot: _Plot = pathlib.Path("tuning.png"),
    output: _Output = Output.TABLE,
) -> None:
    """Propose replicas, batching, threads and resources for a load. Applies nothing: prints the patch.

    Starts a replica of the model on this machine for each setting and measures them in turns.
    """
    # TensorFlow's runtime is needed here alone, and the other commands run without it.
    try:
        from fairlead_cli.evaluation import evaluating
        from fairlead_cli.tuning import choosing, measuring, request_body, settings
        from fairlead_cli.tuning import plot as drawing
    except ModuleNotFoundError as error:
        _fail(f"tuning needs the package {error.name}: install fairlead with the extra 'runtime'")
    try:
        body = request_body.read(request)
        plan = settings.Plan(
            settings=settings.grid(_parse_threads(threads), _parse_rows(rows), _parse_delays(delays_ms)),
            replicas=_parse_replicas(replicas),
            load=settings.Load(rate=rate, latency_max_s=latency_ms / 1e3),
            rounds=rounds,
            seconds=minutes * 60,
        )
        served = measuring.Served(
            model=evaluating.find_model(model), signature=signature, engine=engine, body=body.text, is_v1=body.is_v1
        )
        measured = measuring.measure(plan, served, lambda text: typer.echo(text, err=True))
        _write(plot, drawing.draw(measured, plan.load))
    except (TuningError, EvaluationError) as error:
        _fail(str(error))
    found = choosing.recommend(measured, plan.load)
    _show(measured, plan, found, name=name, output=output)
    typer.echo(f"{plot} shows latency against throughput.", err=True)
    if found is None:
        raise typer.Exit(1)


def _show(
    measured: typing.Sequence[typing.Any], plan: typing.Any, found: typing.Any, *, name: str, output: Output
) -> None:
    from fairlead_cli.tuning import choosing, report

    if output is Output.JSON:
        typer.echo(json.dumps(report.to_json(measured, plan, found), indent=1))
        return
    console = rich.console.Console(width=WIDTH)
    console.print(report.make_table(measured, plan), markup=False, highlight=False)
    typer.echo(report.describe_machine())
    if found is not None:
        typer.echo(report.describe(found, plan, name))
    else:
        typer.echo(report.describe_none(measured, plan, choosing.nearest(measured, plan.load)))


def _write(path: pathlib.Path, drawn: bytes) -> None:
    try:
        path.write_bytes(drawn)
    except OSError as error:
        raise TuningError(f"{path}: {error.strerror}; --plot must be a file that can be written") from None


def _fail(message: str) -> typing.NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)

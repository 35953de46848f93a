"""`kubectl fairlead`: the commands, and what they print. Each mistake is one line and exit status 1."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import rich.console
import rich.live
import typer
import yaml

from fairlead_cli.plugin import cluster, errors, history, logs, model_view, predict, preview, requests, tree
from fairlead_operator.api.status import RequestOutcome, Verb

ANSWER_WITHIN_S = 15.0
LOOK_EVERY_S = 1.0

app = typer.Typer(
    name="kubectl fairlead",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Show and drive the rollouts of ModelDeployments.",
)


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


Name = Annotated[str, typer.Argument(help="The ModelDeployment.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="The namespace. Default: that of the context.")
]
Context = Annotated[str | None, typer.Option("--context", help="The context of the kubeconfig.")]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", help="The kubeconfig file. Default: KUBECONFIG or ~/.kube/config."),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]


@contextlib.contextmanager
def _printing_errors() -> Iterator[rich.console.Console]:
    """A console; an error of the plugin is printed in one line and ends the command with status 1."""
    try:
        yield rich.console.Console(highlight=False)
    except errors.PluginError as error:
        text = " ".join(str(error).split())
        rich.console.Console(stderr=True, highlight=False).print(text, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _print(console: rich.console.Console, output: Output, data: Any, drawn: Any) -> None:
    match output:
        case Output.JSON:
            sys.stdout.write(json.dumps(data, indent=2) + "\n")
        case Output.YAML:
            sys.stdout.write(yaml.safe_dump(data, sort_keys=False))
        case Output.TEXT if isinstance(drawn, str):
            sys.stdout.write(drawn)
        case Output.TEXT:
            console.print(drawn)


@app.command()
def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Update the output until interrupted.")] = False,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the revisions, the rollout and what it waits for."""
    with _printing_errors() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        model = model_view.read(found, name)
        if not watch or output is not Output.TEXT:
            _print(console, output, tree.facts(model), tree.draw(model))
            return
        with contextlib.suppress(KeyboardInterrupt), rich.live.Live(tree.draw(model), console=console) as live:
            while True:
                time.sleep(LOOK_EVERY_S)
                live.update(tree.draw(model_view.read(found, name)))


@app.command(name="history")
def history_(
    name: Name,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List the revisions that are kept for a rollback."""
    with _printing_errors() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        rows = history.facts(found, model_view.read(found, name))
        _print(console, output, rows, history.draw(rows))


@app.command()
def diff(
    name: Name,
    revision: Annotated[str, typer.Argument(help="The number or hash of a revision.")],
    other: Annotated[str, typer.Argument(help="The number or hash of another revision.")],
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the differences between two kept revisions."""
    with _printing_errors():
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        lines = history.difference(found, model_view.read(found, name), revision, other)
        sys.stdout.write("".join(f"{line}\n" for line in lines))


@app.command()
def plan(
    file: Annotated[str, typer.Option("--filename", "-f", help="The manifest file; - reads standard input.")],
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what applying a manifest would do. Changes nothing."""
    with _printing_errors() as console:
        manifests = preview.manifests(_read_text(file))
        plans = []
        for manifest in manifests:
            place = namespace or (manifest.get("metadata") or {}).get("namespace")
            plans.append(
                preview.describe(cluster.connect(namespace=place, context=context, kubeconfig=kubeconfig), manifest)
            )
        words = "".join(f"{line}\n" for each in plans for line in preview.lines(each))
        _print(console, output, plans, words)


def _read_text(file: str, what: str = "manifest") -> str:
    try:
        return sys.stdin.read() if file == "-" else pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.PluginError(f"The {what} can't be read: {error}") from error


@app.command(name="predict")
def predict_(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    file: Annotated[
        str | None, typer.Option("--filename", "-f", help="The request file; - reads standard input. Default: zeros.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="The revision, by number, hash or alias.")] = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", envvar="FAIRLEAD_GATEWAY", help="The URL of the gateway.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Send one request through the gateway and print the answer."""
    with _printing_errors() as console:
        model = model_view.read(cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig), name)
        text = _read_text(file, "request") if file is not None else None
        answer = predict.ask(predict.base_url(model, gateway), name, text, revision=revision)
        answered = (
            model.describe_revision(answer["revision"])
            if answer["revision"] is not None
            else "a replica that did not name its revision"
        )
        rich.console.Console(stderr=True, highlight=False).print(f"answered by {answered}", markup=False)
        _print(console, Output.JSON, answer["answer"], None)


@app.command(name="logs")
def logs_(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    revision: Annotated[
        str | None, typer.Option("--revision", help="The revision, by number or hash. Default: all that run.")
    ] = None,
    lines: Annotated[int, typer.Option("--tail", min=1, max=10000, help="The number of lines of each replica.")] = 100,
    ray: Annotated[str | None, typer.Option("--ray", envvar="FAIRLEAD_RAY", help="The URL of Ray's dashboard.")] = None,
    token: Annotated[
        pathlib.Path | None,
        typer.Option("--ray-token-file", envvar="FAIRLEAD_RAY_TOKEN_FILE", help="The file with Ray's token."),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print the last log lines of the replicas."""
    with _printing_errors():
        if ray is None:
            raise errors.PluginError(
                "Give the address of Ray's dashboard with --ray http://HOST:PORT or in FAIRLEAD_RAY."
            )
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        found_lines = logs.read_lines(
            found, model_view.read(found, name), logs.Dashboard(ray, token), revision=revision, lines=lines
        )
        for line in found_lines:
            sys.stdout.write(f"{line}\n")


@app.command()
def promote(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Skip all remaining steps.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Continue past the current step, or past all steps with --full. The proof is never skipped."""
    _ask(name, Verb.PROMOTE_FULL if full else Verb.PROMOTE, (namespace, context, kubeconfig))


@app.command()
def pause(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Pause the rollout at the current weight."""
    _ask(name, Verb.PAUSE, (namespace, context, kubeconfig))


@app.command()
def resume(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Continue a paused rollout."""
    _ask(name, Verb.RESUME, (namespace, context, kubeconfig))


@app.command()
def abort(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Withdraw the candidate. It is not tried again until the spec changes, or by a retry."""
    _ask(name, Verb.ABORT, (namespace, context, kubeconfig))


@app.command()
def retry(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Try the desired revision again after it failed or was aborted."""
    _ask(name, Verb.RETRY, (namespace, context, kubeconfig))


@app.command()
def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The number of the revision. Default: the previous one.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Return to an earlier revision until the spec changes, or until a retry. The spec is not changed."""
    _ask(name, Verb.ROLLBACK, (namespace, context, kubeconfig), number=to)


def _ask(
    name: str, verb: Verb, place: tuple[str | None, str | None, pathlib.Path | None], *, number: int | None = None
) -> None:
    namespace, context, kubeconfig = place
    with _printing_errors() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        id_ = requests.ask(found, name, verb, number=number)
        handled = requests.wait(found, name, id_, timeout_s=ANSWER_WITHIN_S).handled
        if handled is None:
            console.print(
                f"{verb.value} is requested and not carried out yet; follow it with: kubectl fairlead status {name}",
                soft_wrap=True,
            )
        elif handled.outcome is RequestOutcome.REFUSED:
            raise errors.PluginError(handled.message)
        else:
            console.print(handled.message, markup=False, soft_wrap=True)

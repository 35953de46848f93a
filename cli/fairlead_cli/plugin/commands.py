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

from fairlead_cli.plugin import cluster, errors, history, logs, planned, predict, requests, seen, tree
from fairlead_operator.api.status import RequestOutcome, Verb

ANSWER_WITHIN_S = 15.0
LOOK_EVERY_S = 1.0

app = typer.Typer(
    name="kubectl fairlead",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="What the rollouts of ModelDeployments do, and what they shall do.",
)


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


Name = Annotated[str, typer.Argument(help="The ModelDeployment.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="That of the context unless set.")]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context.")]
Kubeconfig = Annotated[pathlib.Path | None, typer.Option("--kubeconfig", help="KUBECONFIG or ~/.kube/config.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="How it is printed.")]


@contextlib.contextmanager
def _told() -> Iterator[rich.console.Console]:
    """A console for a command whose errors are told in one line."""
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
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look until interrupted.")] = False,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """What serves, what is coming, and what it waits for."""
    with _told() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        model = seen.read(found, name)
        if not watch or output is not Output.TEXT:
            _print(console, output, tree.facts(model), tree.draw(model))
            return
        with contextlib.suppress(KeyboardInterrupt), rich.live.Live(tree.draw(model), console=console) as live:
            while True:
                time.sleep(LOOK_EVERY_S)
                live.update(tree.draw(seen.read(found, name)))


@app.command(name="history")
def history_(
    name: Name,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """The revisions that are kept to go back to."""
    with _told() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        rows = history.facts(found, seen.read(found, name))
        _print(console, output, rows, history.draw(rows))


@app.command()
def diff(
    name: Name,
    revision: Annotated[str, typer.Argument(help="A revision's number or hash.")],
    other: Annotated[str, typer.Argument(help="Another's.")],
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """How the templates of two kept revisions differ."""
    with _told():
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        lines = history.difference(found, seen.read(found, name), revision, other)
        sys.stdout.write("".join(f"{line}\n" for line in lines))


@app.command()
def plan(
    file: Annotated[str, typer.Option("--filename", "-f", help="A manifest; - reads standard input.")],
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """What applying a manifest would do. Changes nothing."""
    with _told() as console:
        wished = planned.manifests(_text_of(file))
        plans = []
        for manifest in wished:
            place = namespace or (manifest.get("metadata") or {}).get("namespace")
            plans.append(planned.of(cluster.connect(namespace=place, context=context, kubeconfig=kubeconfig), manifest))
        words = "".join(f"{line}\n" for each in plans for line in planned.lines(each))
        _print(console, output, plans, words)


def _text_of(file: str, what: str = "manifest") -> str:
    try:
        return sys.stdin.read() if file == "-" else pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.PluginError(f"The {what} can't be read: {error}") from error


@app.command(name="predict")
def predict_(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    file: Annotated[str | None, typer.Option("--filename", "-f", help="A request; zeros unless set.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Asks this one, by number, hash or alias.")] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", envvar="FAIRLEAD_GATEWAY", help="Its address.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Send one request through the gateway: who answered, and what."""
    with _told() as console:
        model = seen.read(cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig), name)
        text = _text_of(file, "request") if file is not None else None
        told = predict.ask(predict.base_url(model, gateway), name, text, revision=revision)
        answered = model.called(told["revision"]) if told["revision"] is not None else "nobody who says so"
        rich.console.Console(stderr=True, highlight=False).print(f"answered by {answered}", markup=False)
        _print(console, Output.JSON, told["answer"], None)


@app.command(name="logs")
def logs_(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    revision: Annotated[
        str | None, typer.Option("--revision", help="By number or hash; those that run if unset.")
    ] = None,
    lines: Annotated[int, typer.Option("--tail", min=1, max=10000, help="Of each replica.")] = 100,
    ray: Annotated[str | None, typer.Option("--ray", envvar="FAIRLEAD_RAY", help="The dashboard's address.")] = None,
    token: Annotated[
        pathlib.Path | None, typer.Option("--ray-token-file", envvar="FAIRLEAD_RAY_TOKEN_FILE", help="Ray's token.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """The last lines that the replicas wrote, from Ray's log API."""
    with _told():
        if ray is None:
            raise errors.PluginError("Name Ray's dashboard with --ray http://HOST:PORT or in FAIRLEAD_RAY.")
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        told = logs.of(found, seen.read(found, name), logs.Dashboard(ray, token), revision=revision, lines=lines)
        for line in told:
            sys.stdout.write(f"{line}\n")


@app.command()
def promote(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Skip every step that is left.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """End the pause that the candidate is in; with --full skip all steps, never the proof."""
    _ask(name, Verb.PROMOTE_FULL if full else Verb.PROMOTE, (namespace, context, kubeconfig))


@app.command()
def pause(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Hold the candidate at the weight that it has."""
    _ask(name, Verb.PAUSE, (namespace, context, kubeconfig))


@app.command()
def resume(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Let a candidate that is held go on."""
    _ask(name, Verb.RESUME, (namespace, context, kubeconfig))


@app.command()
def abort(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Withdraw the candidate; it is not tried again until the spec changes or by a retry."""
    _ask(name, Verb.ABORT, (namespace, context, kubeconfig))


@app.command()
def retry(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Try the wished revision again, which failed or was given up."""
    _ask(name, Verb.RETRY, (namespace, context, kubeconfig))


@app.command()
def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The revision's number; the last stable one unless set.")
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let an earlier revision serve, until the spec changes or a retry. Git stays as it is."""
    _ask(name, Verb.ROLLBACK, (namespace, context, kubeconfig), number=to)


def _ask(
    name: str, verb: Verb, place: tuple[str | None, str | None, pathlib.Path | None], *, number: int | None = None
) -> None:
    namespace, context, kubeconfig = place
    with _told() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        id_ = requests.ask(found, name, verb, number=number)
        handled = requests.wait(found, name, id_, timeout_s=ANSWER_WITHIN_S).handled
        if handled is None:
            console.print(f"{verb.value} stands and waits: kubectl fairlead status {name}", soft_wrap=True)
        elif handled.outcome is RequestOutcome.REFUSED:
            raise errors.PluginError(handled.message)
        else:
            console.print(handled.message, markup=False, soft_wrap=True)

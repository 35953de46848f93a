"""`kubectl fairlead`: the commands, and what they print. Each mistake is one line and exit status 1."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import rich.console
import rich.live
import typer
import yaml

from fairlead_cli import gateway_access
from fairlead_cli.plugin import (
    cluster,
    errors,
    history,
    logs,
    manifests,
    model_view,
    predict,
    preview,
    tree,
    verbs,
    watching,
)
from fairlead_cli.plugin.console import Context, Kubeconfig, Name, Namespace, Output, printing_errors
from fairlead_cli.plugin.explaining import explain, heat_map, word_weights

LOOK_EVERY_S = 1.0

app = typer.Typer(
    name="kubectl fairlead",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Show and drive the rollouts of ModelDeployments.",
)
app.add_typer(verbs.app)


class Drawing(StrEnum):
    JSON = "json"
    PNG = "png"
    HTML = "html"


GatewayUrl = Annotated[str | None, typer.Option("--gateway", envvar="FAIRLEAD_GATEWAY", help="The URL of the gateway.")]
KeyFile = Annotated[
    pathlib.Path | None,
    typer.Option("--api-key-file", help=f"The file with the API key. Default: {gateway_access.KEY_VARIABLE}."),
]
TokenFile = Annotated[
    pathlib.Path | None,
    typer.Option("--token-file", help=f"The file with a bearer token. Default: {gateway_access.TOKEN_VARIABLE}."),
]
CaFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--ca-file",
        envvar=gateway_access.CA_VARIABLE,
        help="The certificates that the gateway's must be issued by, in PEM form. Default: those of the system.",
    ),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]


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
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show each change until interrupted.")] = False,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the revisions, the rollout and what it waits for."""
    with printing_errors() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        model = model_view.read(found, name)
        if not watch:
            _print(console, output, tree.facts(model), tree.draw(model))
        elif output is Output.TEXT and console.is_terminal:
            with contextlib.suppress(KeyboardInterrupt), rich.live.Live(tree.draw(model), console=console) as live:
                while True:
                    time.sleep(LOOK_EVERY_S)
                    live.update(tree.draw(model_view.read(found, name)))
        else:
            with contextlib.suppress(KeyboardInterrupt):
                watching.follow(
                    lambda: model_view.read(found, name),
                    output,
                    sys.stdout,
                    lambda: watching.wait_for_reader(sys.stdout, LOOK_EVERY_S),
                )


@app.command(name="history")
def history_(
    name: Name,
    output: Format = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List the revisions that are kept for a rollback."""
    with printing_errors() as console:
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
    with printing_errors():
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
    with printing_errors() as console:
        read = manifests.read(_read_text(file))
        plans = []
        for manifest in read.models:
            place = manifests.find_namespace(manifest, namespace)
            plans.append(
                preview.describe(cluster.connect(namespace=place, context=context, kubeconfig=kubeconfig), manifest)
            )
        words = "".join(f"{line}\n" for each in plans for line in preview.lines(each))
        _print(console, output, plans, words)
        if read.others:
            others = f"Not planned, as only ModelDeployments are: {', '.join(read.others)}."
            rich.console.Console(stderr=True, highlight=False).print(others, markup=False, soft_wrap=True)


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
    gateway: GatewayUrl = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Send one request through the gateway and print the answer."""
    with printing_errors() as console:
        model = model_view.read(cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig), name)
        text = _read_text(file, "request") if file is not None else None
        files = predict.Files(key=key_file, token=token_file, ca=ca_file)
        asked = predict.connect(model, gateway, files, os.environ)
        answer = predict.ask(asked, name, text, revision=revision)
        _print_revision(model, answer["revision"])
        _print(console, Output.JSON, answer["answer"], None)


def _print_revision(model: model_view.Model, revision: str | None) -> None:
    """Who answered, on standard error."""
    answered = model.describe_revision(revision) if revision is not None else "a replica that did not name its revision"
    rich.console.Console(stderr=True, highlight=False).print(f"answered by {answered}", markup=False)


@app.command(name="explain")
def explain_(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    file: Annotated[str, typer.Option("--filename", "-f", help="The request file; - reads standard input.")],
    output: Annotated[
        Drawing, typer.Option("--output", "-o", help="json, png for images, html for texts and sequences of numbers.")
    ] = Drawing.JSON,
    target: Annotated[
        int | None, typer.Option("--target", min=0, help="The class that is explained. Default: the highest score.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="The work for each row, 8 to 256.")] = None,
    vocabulary: Annotated[
        str | None, typer.Option("--vocabulary", help="For html: a file whose line n, from 0, is the word of number n.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="The revision, by number, hash or alias.")] = None,
    gateway: GatewayUrl = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what each part of an input adds to a score, as JSON, as a heat map or as a page of words."""
    with printing_errors() as console:
        if vocabulary is not None and output is not Drawing.HTML:
            raise errors.PluginError("--vocabulary is for -o html alone.")
        if output is Drawing.PNG and sys.stdout.isatty():
            raise errors.PluginError("A PNG is not for a terminal: write it to a file with > FILE.png.")
        words = _read_text(vocabulary, "vocabulary").splitlines() if vocabulary is not None else None
        body = explain.compose(_read_text(file, "request"), target=target, steps=steps)
        model = model_view.read(cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig), name)
        files = predict.Files(key=key_file, token=token_file, ca=ca_file)
        asked = predict.connect(model, gateway, files, os.environ)
        answer = explain.ask(asked, name, body, revision=revision)
        match output:
            case Drawing.JSON:
                _print(console, Output.JSON, answer["answer"], None)
            case Drawing.PNG:
                sys.stdout.buffer.write(heat_map.draw(explain.read(body, answer["answer"])))
            case Drawing.HTML:
                sys.stdout.write(word_weights.draw(explain.read(body, answer["answer"]), words))
        _print_revision(model, answer["revision"])


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
    with printing_errors():
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

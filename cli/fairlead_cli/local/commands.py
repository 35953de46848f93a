"""`fairlead local`: the commands, and what they print."""

from __future__ import annotations

from typing import Annotated

import rich.console
import rich.table
import typer

from fairlead_cli.local import cluster, errors, options, paths, progress

app = typer.Typer(no_args_is_help=True, help="A real Kubernetes API, Ray, gateway and operator on this machine.")

Name = Annotated[str, typer.Option("--name", help="Which local cluster; several can run at once.")]


def _cluster(name: str, *, namespace: str = "default") -> cluster.LocalCluster:
    reporter = progress.RichReporter(rich.console.Console())
    return cluster.LocalCluster(name, chosen=options.Options(namespace=namespace), reporter=reporter)


def _fail(error: errors.LocalClusterError) -> typer.Exit:
    rich.console.Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
    return typer.Exit(1)


@app.command()
def up(
    name: Name = "default",
    only: Annotated[str, typer.Option(help="Parts, with commas: kubernetes, ray, gateway, operator.")] = "",
    namespace: Annotated[str, typer.Option(help="Where the models live.")] = "default",
) -> None:
    """Start the cluster, or what of it does not run."""
    made = _cluster(name, namespace=namespace)
    wanted = [part for each in only.split(",") if each for part in _parts(each.strip())]
    try:
        made.up(wanted or cluster.PARTS)
    except errors.LocalClusterError as error:
        raise _fail(error) from error


def _parts(word: str) -> tuple[str, ...]:
    return cluster.KUBERNETES_PARTS if word == "kubernetes" else (word,)


@app.command()
def down(
    name: Name = "default",
    every: Annotated[bool, typer.Option("--all", help="All local clusters of this user.")] = False,
) -> None:
    """End the cluster's processes, also those that a killed run left, and remove its data."""
    root = paths.clusters_dir()
    names = sorted(path.parent.name for path in root.glob("*/state.json")) if every else [name]
    try:
        for each in names:
            _cluster(each).down()
            typer.echo(f"{each} is down")
    except errors.LocalClusterError as error:
        raise _fail(error) from error


@app.command()
def kubeconfig(name: Name = "default") -> None:
    """Print the path of the admin's kubeconfig, for `export KUBECONFIG=$(fairlead local kubeconfig)`."""
    typer.echo(_cluster(name).kubeconfig)


@app.command()
def status(name: Name = "default") -> None:
    """Show what runs, where."""
    made = _cluster(name)
    running = made.running()
    table = rich.table.Table("part", "process", "ports", box=None)
    for part in cluster.PARTS:
        if part in running:
            ports = ", ".join(str(port) for key, port in made.ports.items() if key.startswith(part))
            table.add_row(part, str(made.pid(part)), ports)
    rich.console.Console().print(table if running else f"{name} is not up")

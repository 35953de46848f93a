"""`fairlead local`: the commands, and what they print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import rich.console
import rich.table
import typer

from fairlead_cli.local import cluster, either, errors, options, paths, progress
from fairlead_cli.local.node import cluster as node_cluster
from fairlead_cli.local.node import release

app = typer.Typer(no_args_is_help=True, help="Run a real Kubernetes API, Ray, gateway and operator on this machine.")

Name = Annotated[str, typer.Option("--name", help="The name of the local cluster. Several can run at once.")]


@contextlib.contextmanager
def _printing_errors() -> Iterator[rich.console.Console]:
    """A console; an error of the local cluster is printed and ends the command."""
    console = rich.console.Console()
    try:
        yield console
    except errors.LocalClusterError as error:
        rich.console.Console(stderr=True).print(str(error), style="red", highlight=False, markup=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        # What was started runs in sessions of its own and does not see the interruption.
        rich.console.Console(stderr=True).print(
            "Interrupted. `fairlead local down` removes what was started; `fairlead local up` starts again."
        )
        raise typer.Exit(130) from None


@app.command()
def up(
    name: Name = "default",
    only: Annotated[
        str,
        typer.Option(help="Start only these parts, separated by commas: kubernetes, ray, worker, gateway, operator."),
    ] = "",
    namespace: Annotated[str, typer.Option(help="The namespace of the models.")] = "default",
    nodes: Annotated[
        int, typer.Option(help="The number of Ray nodes, 1 or 2. The second one uses 127.0.0.2.", min=1, max=2)
    ] = 1,
    with_node: Annotated[
        bool, typer.Option("--node", help="Start a Kubernetes node that runs pods, and nothing else (Linux, root).")
    ] = False,
) -> None:
    """Start the cluster, or the parts of it that are not running.

    FAIRLEAD_KUBERNETES_URL and FAIRLEAD_ETCD_URL are the base URLs of their binaries. Empty: build them from source.
    """
    with _printing_errors() as console:
        if with_node:
            _up_with_node(console, name)
            return
        if isinstance(either.opened(name), node_cluster.NodeCluster):
            raise errors.LocalClusterError(f"the local cluster {name!r} has a node: start it with `--node`")
        made = cluster.LocalCluster(
            name,
            chosen=options.Options(namespace=namespace, ray_nodes=nodes),
            reporter=progress.RichReporter(console),
        )
        console.print(f"starting the local cluster {name!r} (state and logs: {made.root})", highlight=False)
        made.up(_parts(only))
        _print_next_steps(console, made)


def _up_with_node(console: rich.console.Console, name: str) -> None:
    made = node_cluster.NodeCluster(name, reporter=progress.RichReporter(console))
    console.print(f"starting a node {name!r} (state and logs: {made.root})", highlight=False)
    made.up()
    option = "" if name == "default" else f" --name {name}"
    for line in (
        f"Kubernetes API    {made.api_url}",
        "",
        "Try:",
        f"  export KUBECONFIG=$(fairlead local kubeconfig{option})",
        f"  export PATH={made.kubectl_path.parent}:$PATH",
        f"  fairlead local install{option}",
        "  kubectl get pods --all-namespaces",
        f"  fairlead local down{option}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def install(
    name: Name = "default",
    workers: Annotated[int, typer.Option(help="The number of Ray workers in each namespace of models.", min=1)] = 1,
) -> None:
    """Install KubeRay and Fairlead's chart on a node (`up --node`), with images built from this clone.

    Done again, it upgrades the chart to the clone's present state.
    """
    with _printing_errors() as console:
        made = either.opened(name, reporter=progress.RichReporter(console))
        if not isinstance(made, node_cluster.NodeCluster) or not made.states():
            raise errors.LocalClusterError(f"{name!r} is no node that is up: `fairlead local up --node` starts one")
        release.install(made, workers=workers)
        console.print("installed; what to apply next: docs/install.md", highlight=False)


def _parts(only: str) -> tuple[str, ...]:
    words = [word.strip() for word in only.split(",") if word.strip()]
    if not words:
        return cluster.PARTS
    return tuple(part for word in words for part in (cluster.KUBERNETES_PARTS if word == "kubernetes" else (word,)))


def _print_next_steps(console: rich.console.Console, made: cluster.LocalCluster) -> None:
    running = made.running()
    name = "" if made.name == "default" else f" --name {made.name}"
    lines = [f"Kubernetes API    {made.api_url}"]
    if "ray" in running:
        lines.append(f"Ray dashboard     {made.ray_address}   (token: {made.ray_token_file})")
    if "gateway" in running:
        lines.append(f"Gateway           {made.gateway_url}   (admin: {made.gateway_admin_url})")
    if "operator" in running:
        lines.append(f"Operator          {made.operator_url}/metrics")
    lines += [
        "",
        "Try:",
        f"  export KUBECONFIG=$(fairlead local kubeconfig{name})",
        f"  export PATH={made.kubectl_path.parent}:$PATH",
        "  kubectl get mdep",
    ]
    if "gateway" in running:
        lines.append(f"  curl {made.gateway_url}/v2/models/NAME")
    lines.append(f"  fairlead local down{name}")
    for line in lines:
        # Not wrapped: these are there to be copied.
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def down(
    name: Name = "default",
    every: Annotated[bool, typer.Option("--all", help="All local clusters of this user.")] = False,
) -> None:
    """Stop the cluster's processes, including those of a killed run, and remove its data."""
    with _printing_errors() as console:
        # Folders, not states: also what was left without one is removed.
        names = [path.name for path in sorted(paths.clusters_dir().glob("*/"))] if every else [name]
        for each in names:
            made = either.opened(each, reporter=progress.RichReporter(console))
            was_there = made.root.exists()
            made.down()
            console.print(f"{each} is removed" if was_there else f"{each} was not running", highlight=False)


@app.command()
def status(name: Name = "default") -> None:
    """Show the parts, their processes and ports. Exit status 1 when a started part is not running."""
    with _printing_errors() as console:
        made = either.opened(name)
        states = made.states()
        if not states:
            console.print(f"{name} is not running; start it with `fairlead local up`", highlight=False)
            raise typer.Exit(1)
        table = rich.table.Table("part", "state", "process", "ports", box=None, pad_edge=False)
        for part, is_running in states.items():
            ports = " ".join(str(port) for key, port in made.ports.items() if key == part or key.startswith(f"{part}-"))
            pid = str(made.pid(part)) if is_running else "-"
            table.add_row(part, "running" if is_running else "ended", pid, ports)
        console.print(table)
        if not all(states.values()):
            raise typer.Exit(1)


@app.command()
def kubeconfig(name: Name = "default") -> None:
    """Print the path of the kubeconfig, for `export KUBECONFIG=$(fairlead local kubeconfig)`."""
    with _printing_errors():
        made = either.opened(name)
        if not made.states():
            raise errors.LocalClusterError(
                f"the local cluster {name!r} is not running; start it with `fairlead local up`"
            )
        typer.echo(made.kubeconfig)

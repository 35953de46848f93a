"""`fairlead local`: the commands, and what they print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import pydantic
import rich.console
import rich.table
import typer

from fairlead_cli.local import cluster, either, errors, options, paths, progress
from fairlead_cli.local.node import cluster as node_cluster
from fairlead_cli.local.node import metrics_server, release, storage

app = typer.Typer(no_args_is_help=True, help="Run a real Kubernetes API, Ray, gateway and operator on this machine.")


def require_name(name: str) -> str:
    """The name, as an option of a command."""
    try:
        paths.cluster_dir(name)
    except errors.LocalClusterError as error:
        raise typer.BadParameter(str(error)) from error
    return name


def require_class(name: str) -> str:
    """The name of the second class, as an option of a command."""
    try:
        return options.Options(second_class=name).second_class
    except pydantic.ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


Name = Annotated[
    str,
    typer.Option("--name", callback=require_name, help="The name of the local cluster. Several can run at once."),
]


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
def up(  # noqa: PLR0913 - the options of a command
    asked: typer.Context,
    name: Name = "default",
    only: Annotated[
        str,
        typer.Option(help="Start only these parts, separated by commas: kubernetes, ray, worker, gateway, operator."),
    ] = "",
    namespace: Annotated[str, typer.Option(help="The namespace of the models.")] = "default",
    nodes: Annotated[
        int,
        typer.Option(
            help="The number of nodes, 1 or 2: of Kubernetes with --node, else of Ray (the second one uses 127.0.0.2).",
            min=1,
            max=2,
        ),
    ] = 1,
    second_class: Annotated[
        str,
        typer.Option(
            callback=require_class,
            help="Start a second Ray cluster; spec.cluster.class calls it by this name, and the first one 'default'.",
        ),
    ] = "",
    second_cpus: Annotated[int, typer.Option(help="The logical CPUs of the second Ray cluster.", min=1)] = 8,
    with_node: Annotated[
        bool, typer.Option("--node", help="Start Kubernetes nodes that run pods, and nothing else (Linux, root).")
    ] = False,
) -> None:
    """Start the cluster, or the parts of it that are not running.

    FAIRLEAD_KUBERNETES_URL and FAIRLEAD_ETCD_URL are the base URLs of their binaries. Empty: build them from source.
    FAIRLEAD_CACHE (default: fairlead in XDG_CACHE_HOME) keeps them, FAIRLEAD_STATE (default: fairlead/local in
    XDG_STATE_HOME) keeps the clusters.
    """
    with _printing_errors() as console:
        if with_node:
            _refuse_given(asked, "--node", ("only", "namespace", "second_class", "second_cpus"))
            _up_with_node(console, name, nodes if _is_given(asked, "nodes") else None)
            return
        if isinstance(either.opened(name), node_cluster.NodeCluster):
            raise errors.LocalClusterError(f"the local cluster {name!r} has a node: start it with `--node`")
        made = cluster.LocalCluster(
            name,
            chosen=options.Options(
                namespace=namespace, ray_nodes=nodes, second_class=second_class, second_cpus=second_cpus
            ),
            reporter=progress.RichReporter(console),
        )
        console.print(f"starting the local cluster {name!r} (state and logs: {made.root})", highlight=False)
        made.up(_parts(only))
        _print_next_steps(console, made)


def _refuse_given(asked: typer.Context, option: str, others: tuple[str, ...]) -> None:
    """Refuses options on the command line that have no effect beside ``option``."""
    for other in others:
        if _is_given(asked, other):
            flag = f"--{other.replace('_', '-')}"
            raise errors.LocalClusterError(f"{flag} has no effect with {option}: leave one of them out")


def _is_given(asked: typer.Context, option: str) -> bool:
    """Whether the option is on the command line."""
    source = asked.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _up_with_node(console: rich.console.Console, name: str, count: int | None) -> None:
    """``count`` nodes; None: as many as the cluster has, or one."""
    made = node_cluster.NodeCluster(name, count=count, reporter=progress.RichReporter(console))
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
    with_metrics_server: Annotated[
        bool,
        typer.Option("--metrics-server", help="Install metrics-server too, for `kubectl top` and CPU metrics."),
    ] = False,
    with_storage: Annotated[
        bool, typer.Option("--storage", help="Install a provisioner of volumes and a default storage class too.")
    ] = False,
) -> None:
    """Install KubeRay and Fairlead's chart on a node (`up --node`), with images built from this clone.

    Done again, it upgrades the chart to the clone's present state.
    """
    with _printing_errors() as console:
        made = either.opened(name, reporter=progress.RichReporter(console))
        if not isinstance(made, node_cluster.NodeCluster) or not made.states():
            raise errors.LocalClusterError(f"{name!r} is no node that is up: `fairlead local up --node` starts one")
        if with_metrics_server:
            metrics_server.install(made)
        if with_storage:
            storage.install(made)
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
    asked: typer.Context,
    name: Name = "default",
    every: Annotated[bool, typer.Option("--all", help="All local clusters of this user.")] = False,
) -> None:
    """Stop the cluster's processes, including those of a killed run, and remove its data."""
    with _printing_errors() as console:
        if every:
            _refuse_given(asked, "--all", ("name",))
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

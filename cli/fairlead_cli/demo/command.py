"""``fairlead demo``: the command."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from typing import Annotated

import httpx
import rich.console
import typer

from fairlead_cli.demo import narration, reporting, story
from fairlead_cli.local import cluster, commands, errors

NAME = "demo"
"""A local cluster of this name is the demo's own: it is removed at the start."""


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running and print commands to try.")] = False,
    name: Annotated[
        str, typer.Option("--name", callback=commands.require_name, help="The name of the demo's local cluster.")
    ] = NAME,
) -> None:
    """Train three models, serve them, roll out versions, refuse a broken one, roll back and clean up, on real parts."""
    console = rich.console.Console()
    narrator = narration.Narrator(console, chapters=story.CHAPTERS)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-demo-"))
    local = cluster.LocalCluster(name, reporter=reporting.InChapter(narrator))
    is_complete = False
    if name != NAME and local.root.exists():
        console.print(
            f"The local cluster {name!r} exists, and the demo begins with a new one. Choose another --name, or remove "
            f"it: fairlead local down --name {name}",
            highlight=False,
        )
        raise typer.Exit(1)
    try:
        local.down()
        story.Story(local, narrator, folder).run()
        is_complete = True
    except (narration.DemoFailed, errors.LocalClusterError, httpx.HTTPError) as error:
        where = f"{error.request.url}: {type(error).__name__}: " if isinstance(error, httpx.HTTPError) else ""
        console.print("\n[bold red]The demo failed:[/]", end=" ", highlight=False)
        console.print(f"{where}{error}", highlight=False, markup=False, soft_wrap=True)
        console.print(
            f"The processes' logs are in {local.logs}; `fairlead local down --name {name}` removes the cluster."
        )
        raise typer.Exit(1) from error
    finally:
        if is_complete and not keep:
            narrator.chapter("Clean up")
            local.down()
            shutil.rmtree(folder)
            narrator.proved("every process has ended, and only the cached binaries are left on disk")
    if keep:
        _print_next_steps(narrator, local, folder)
    console.print(f"\n[bold green]The whole demo took {narrator.elapsed_s:.0f} s.[/]", highlight=False)


def _print_next_steps(narrator: narration.Narrator, local: cluster.LocalCluster, folder: pathlib.Path) -> None:
    narrator.chapter("The cluster is still running")
    for line in (
        f"export KUBECONFIG={local.kubeconfig}",
        f"{local.kubectl_path} get mdep -o wide",
        f"{local.kubectl_path} describe mdep dense",
        f"{local.kubectl_path} scale mdep/dense --replicas=2",
        f"curl {local.gateway_url}/v2/models/dense",
        f"curl {local.gateway_url}/v1/models/cnn",
        f"curl {local.gateway_admin_url}/metrics",
        f"curl {local.operator_url}/metrics",
        f"ls {folder}/models            # the models and their manifests",
        f"fairlead local down --name {local.name}",
    ):
        narrator.show(line)

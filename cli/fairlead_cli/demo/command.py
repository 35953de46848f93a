"""``fairlead demo``: the command."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from typing import Annotated

import rich.console
import typer

from fairlead_cli.demo import narration, reporting, story
from fairlead_cli.local import cluster, errors


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running and print commands to try.")] = False,
    name: Annotated[str, typer.Option("--name", help="The local cluster's name.")] = "demo",
) -> None:
    """Train three models, serve them, roll out versions, refuse a broken one, roll back and clean up, on real parts."""
    console = rich.console.Console()
    narrator = narration.Narrator(console, chapters=story.CHAPTERS)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-demo-"))
    local = cluster.LocalCluster(name, reporter=reporting.InChapter(narrator))
    is_complete = False
    try:
        local.down()
        story.Story(local, narrator, folder).run()
        is_complete = True
    except (narration.DemoFailed, errors.LocalClusterError) as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}", highlight=False)
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

"""``fairlead demo``: the command."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from typing import Annotated, Protocol

import httpx
import rich.console
import typer

from fairlead_cli import load
from fairlead_cli.demo import narration, reporting, story
from fairlead_cli.local import cluster, commands, errors
from fairlead_cli.plugin import errors as plugin_errors

NAME = "demo"
"""A local cluster of this name is the demo's own: it is removed at the start."""
FAILURES = (
    narration.DemoFailed,
    errors.LocalClusterError,
    httpx.HTTPError,
    load.LoadFailed,
    plugin_errors.PluginError,
)
INTERRUPTED = 130


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running and print commands to try.")] = False,
    life: Annotated[
        bool,
        typer.Option(
            "--life",
            help="The life of one model: train, package, optimize, find drift, explain, train again, canary, move.",
        ),
    ] = False,
    out: Annotated[
        pathlib.Path, typer.Option("--out", metavar="FOLDER", help="Where --life writes its pictures.")
    ] = pathlib.Path("build/life"),
    name: Annotated[
        str, typer.Option("--name", callback=commands.require_name, help="The name of the demo's local cluster.")
    ] = NAME,
) -> None:
    """Train three models, serve them, roll out versions, refuse a broken one, roll back and clean up, on real parts."""
    console = rich.console.Console()
    if name != NAME and cluster.LocalCluster(name).root.exists():
        console.print(
            f"The local cluster {name!r} exists, and the demo begins with a new one. Choose another --name, or remove "
            f"it: fairlead local down --name {name}",
            highlight=False,
        )
        raise typer.Exit(1)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-demo-"))
    chapters: _Chapters
    if life:
        from fairlead_cli.demo import life as lives  # the other commands start without what variants are read with

        narrator = narration.Narrator(console, chapters=lives.CHAPTERS)
        reporter = reporting.InChapter(narrator)
        local = cluster.LocalCluster(name, chosen=lives.choose_options(folder), reporter=reporter)
        chapters = lives.Life(local, narrator, folder, out)
    else:
        narrator = narration.Narrator(console, chapters=story.CHAPTERS)
        local = cluster.LocalCluster(name, reporter=reporting.InChapter(narrator))
        chapters = story.Story(local, narrator, folder)
    _run(chapters, narrator, local, folder, keep=keep)
    console.print(f"\n[bold green]The whole demo took {narrator.elapsed_s:.0f} s.[/]", highlight=False)


class _Chapters(Protocol):
    """A story; `model` is one that it leaves behind."""

    model: str

    def run(self) -> None: ...


def _run(
    chapters: _Chapters,
    narrator: narration.Narrator,
    local: cluster.LocalCluster,
    folder: pathlib.Path,
    *,
    keep: bool,
) -> None:
    """Leaves no process running, however it ends, but with `keep` after a story that ended or failed."""
    is_kept = False
    try:
        local.down()
        with _sigterm_interrupts():
            chapters.run()
        is_kept = keep
        if not keep:
            narrator.chapter("Clean up")
    except FAILURES as error:
        is_kept = keep
        _print_failure(error, narrator, local, folder, is_kept=is_kept)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        narrator.console.print("\nInterrupted: the demo ends its processes and removes its files.")
        shutil.rmtree(folder)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if not is_kept:
            with _uninterrupted():
                local.down()
    if is_kept:
        _print_next_steps(narrator, local, folder, chapters.model)
    else:
        shutil.rmtree(folder)
        narrator.proved("every process has ended, and only the cached binaries are left on disk")


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends the chapters as Ctrl-C does, with the cleaning up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C, or SIGTERM, does not stop what is being cleaned up."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _print_failure(
    error: Exception, narrator: narration.Narrator, local: cluster.LocalCluster, folder: pathlib.Path, *, is_kept: bool
) -> None:
    """What failed, and where the logs are: those of processes that are about to end are copied to the folder."""
    where = f"{error.request.url}: {type(error).__name__}: " if isinstance(error, httpx.HTTPError) else ""
    console = narrator.console
    console.print("\n[bold red]The demo failed:[/]", end=" ", highlight=False)
    console.print(f"{where}{error}", highlight=False, markup=False, soft_wrap=True)
    logs = local.logs
    if is_kept:
        console.print(f"`fairlead local down --name {local.name}` removes the cluster.")
    elif logs.exists():
        logs = pathlib.Path(shutil.copytree(logs, folder / "logs"))
    console.print(f"The processes' logs are in {logs}.", highlight=False, markup=False, soft_wrap=True)


def _print_next_steps(
    narrator: narration.Narrator, local: cluster.LocalCluster, folder: pathlib.Path, model: str
) -> None:
    narrator.chapter("The cluster is still running")
    for line in (
        f"export KUBECONFIG={local.kubeconfig}",
        f"{local.kubectl_path} get mdep -o wide",
        f"{local.kubectl_path} describe mdep {model}",
        f"{local.kubectl_path} scale mdep/{model} --replicas=2",
        f"curl {local.gateway_url}/v2/models/{model}",
        f"curl {local.gateway_url}/v1/models/{model}",
        f"curl {local.gateway_admin_url}/metrics",
        f"curl {local.operator_url}/metrics",
        f"ls {folder}/models            # the models and their manifests",
        f"fairlead local down --name {local.name}",
    ):
        narrator.show(line)

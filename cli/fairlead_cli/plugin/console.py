"""The options that the commands share, and how an error is printed: in one line, with exit status 1."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import rich.console
import typer

from fairlead_cli.plugin import errors

Name = Annotated[str, typer.Argument(help="The ModelDeployment.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="The namespace. Default: that of the context.")
]
Context = Annotated[str | None, typer.Option("--context", help="The context of the kubeconfig.")]
Kubeconfig = Annotated[
    pathlib.Path | None,
    typer.Option("--kubeconfig", help="The kubeconfig file. Default: KUBECONFIG or ~/.kube/config."),
]


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


@contextlib.contextmanager
def printing_errors() -> Iterator[rich.console.Console]:
    """A console; an error of the plugin is printed in one line and ends the command with status 1."""
    try:
        yield rich.console.Console(highlight=False)
    except errors.PluginError as error:
        text = " ".join(str(error).split())
        rich.console.Console(stderr=True, highlight=False).print(text, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error

"""The command `fairlead`."""

from __future__ import annotations

import typer

from fairlead_cli.demo import command
from fairlead_cli.local import commands

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Serve TensorFlow models on Kubernetes: local cluster, demo.",
)
app.add_typer(commands.app, name="local")
app.command()(command.demo)

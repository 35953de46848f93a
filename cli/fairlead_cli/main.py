"""The command `fairlead`."""

from __future__ import annotations

import typer

from fairlead_cli.comparison import command as comparison
from fairlead_cli.demo import command
from fairlead_cli.evaluation import command as evaluation
from fairlead_cli.exporting import command as exporting
from fairlead_cli.local import commands
from fairlead_cli.optimization import command as optimization
from fairlead_cli.tuning import command as tuning

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Serve TensorFlow models on Kubernetes: evaluation, comparison, optimization, export, local cluster, demo.",
)
app.add_typer(commands.app, name="local")
app.command()(command.demo)
app.command()(evaluation.evaluate)
app.command()(evaluation.package)
app.command()(comparison.compare)
app.command()(optimization.optimize)
app.command()(tuning.tune)
app.command()(exporting.export)

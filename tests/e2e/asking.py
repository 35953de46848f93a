"""`kubectl fairlead` as tests call it, in this process."""

from __future__ import annotations

import typer.testing
from tests.e2e.stage import Model, Stage

from fairlead_cli.plugin import commands


def fairlead(stage: Stage, verb: str, model: Model, *arguments: str) -> tuple[int, str]:
    """`kubectl fairlead VERB NAME`: the exit status and what it printed."""
    place = ["-n", stage.local.namespace, "--kubeconfig", str(stage.local.kubeconfig)]
    result = typer.testing.CliRunner().invoke(commands.app, [verb, model.name, *arguments, *place])
    return result.exit_code, result.output


def asked(stage: Stage, verb: str, model: Model, *arguments: str) -> None:
    code, output = fairlead(stage, verb, model, *arguments, "--timeout", "300")
    assert code == 0, output


def next_version(model: Model) -> str:
    return "v2" if model.status()["model"]["uri"].endswith("/v1/saved_model") else "v1"

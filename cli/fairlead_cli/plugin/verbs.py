"""The verbs of `kubectl fairlead`.

Each writes a request and reports what the operator answered to it. Only a restart changes the spec instead.
"""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from fairlead_cli.plugin import cluster, errors, requests, restarting
from fairlead_cli.plugin.console import Context, Kubeconfig, Name, Namespace, printing_errors
from fairlead_operator.api.status import RequestOutcome, Verb

TIMEOUT_S = 60.0

app = typer.Typer()

Wait = Annotated[
    str,
    typer.Option("--wait", metavar="true|false", help="Wait for the operator's answer. --wait=false returns at once."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        metavar="SECONDS",
        help=f"The time to wait for the operator's answer. Default: {TIMEOUT_S:g}.",
        show_default=False,
    ),
]


@app.command()
def promote(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Skip all remaining steps.")] = False,
    wait: Wait = "true",
    timeout: Timeout = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Continue past the current step, or past all steps with --full. The proof is never skipped."""
    verb = Verb.PROMOTE_FULL if full else Verb.PROMOTE
    _ask(name, verb, (namespace, context, kubeconfig), wait=wait, timeout_s=timeout)


def _add(name: str, verb: Verb, description: str) -> None:
    """A command that takes nothing but the model's name and where that is."""

    @app.command(name, help=description)
    def ask(
        name: Name,
        wait: Wait = "true",
        timeout: Timeout = None,
        namespace: Namespace = None,
        context: Context = None,
        kubeconfig: Kubeconfig = None,
    ) -> None:
        _ask(name, verb, (namespace, context, kubeconfig), wait=wait, timeout_s=timeout)


_add("pause", Verb.PAUSE, "Pause the rollout at the current weight.")
_add("resume", Verb.RESUME, "Continue a paused rollout.")
_add("abort", Verb.ABORT, "Withdraw the candidate. It is not tried again until the spec changes, or by a retry.")
_add("retry", Verb.RETRY, "Try the desired revision again after it failed, was aborted, or was left by a rollback.")


@app.command()
def rollback(  # noqa: PLR0913 (to typer an option is a parameter)
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The number of the revision. Default: the previous one.")
    ] = None,
    wait: Wait = "true",
    timeout: Timeout = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Return to an earlier revision until the spec changes, or until a retry. The spec is not changed."""
    _ask(name, Verb.ROLLBACK, (namespace, context, kubeconfig), number=to, wait=wait, timeout_s=timeout)


@app.command()
def restart(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Start all replicas again, by a rollout of the same model and settings. Sets spec.serving.restartedAt."""
    with printing_errors() as console:
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        restarting.restart(found, name)
        follow = f"kubectl fairlead status {name} -n {found.namespace}"
        console.print(
            f"{name} is rolled out again as a new revision; follow it with: {follow}", markup=False, soft_wrap=True
        )


def _ask(
    name: str,
    verb: Verb,
    place: tuple[str | None, str | None, pathlib.Path | None],
    *,
    wait: str,
    timeout_s: float | None,
    number: int | None = None,
) -> None:
    """Exit status 0 only if the operator carried the request out, or if nobody asked for its answer."""
    namespace, context, kubeconfig = place
    with printing_errors() as console:
        if wait not in ("true", "false"):
            raise errors.PluginError(f"--wait must be true or false, not {wait}.")
        if wait == "false" and timeout_s is not None:
            raise errors.PluginError("--timeout has no effect with --wait=false: leave one of them out.")
        bound_s = timeout_s if timeout_s is not None else TIMEOUT_S
        found = cluster.connect(namespace=namespace, context=context, kubeconfig=kubeconfig)
        id_ = requests.ask(found, name, verb, number=number)
        follow = f"kubectl fairlead status {name} -n {found.namespace}"
        if wait == "false":
            console.print(f"{verb.value} is requested; follow it with: {follow}", markup=False, soft_wrap=True)
            return
        handled = requests.wait(found, name, id_, timeout_s=bound_s).handled
        if handled is None:
            raise errors.PluginError(
                f"{verb.value} is requested and not carried out yet: the operator did not answer within "
                f"{bound_s:g} s. The request stays. Follow it with: {follow}"
            )
        if handled.outcome is RequestOutcome.REFUSED:
            raise errors.PluginError(handled.message)
        console.print(handled.message, markup=False, soft_wrap=True)

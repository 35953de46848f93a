"""A verb as the request that is written: for what is there now, and refused here already where that is plain."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairlead_cli.plugin import cluster, errors, model_view, writing
from fairlead_operator.api import status
from fairlead_operator.api.status import Verb
from fairlead_operator.state.desired import Pause

POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a request; ``handled`` is None while it waits."""

    id: str
    handled: status.HandledRequest | None


def compose(
    model: model_view.Model, verb: Verb, *, number: int | None, id_: str, now: datetime.datetime
) -> dict[str, Any]:
    """The request for the model as it was read.

    Raises:
        errors.PluginError: there is nothing that it could be meant for.
    """
    request: dict[str, Any] = {"id": id_, "verb": verb.value, "revision": _build_request(model, verb)}
    rollout = model.status.rollout
    if verb is Verb.PROMOTE and rollout is not None and _pauses(model, rollout):
        request["step"] = rollout.step
    if number is not None:
        request["number"] = number
    return request | {"time": now.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _build_request(model: model_view.Model, verb: Verb) -> str:
    current = model.status
    if verb is Verb.RETRY:
        return model.desired
    if verb is Verb.ROLLBACK:
        if (leaving := current.candidate_revision or current.stable_revision) is None:
            raise errors.PluginError(
                f"{model.name} has no candidate and no stable revision, so there is nothing to roll back."
            )
        return leaving
    if current.candidate_revision is None:
        stable = (
            f": {model.describe_revision(current.stable_revision)} is stable"
            if current.stable_revision is not None
            else ""
        )
        raise errors.PluginError(f"{model.name} has no candidate{stable}.")
    return current.candidate_revision


def _pauses(model: model_view.Model, rollout: status.Rollout) -> bool:
    is_there = rollout.phase is status.RolloutPhase.SHIFTING and rollout.step < len(model.steps)
    return is_there and isinstance(model.steps[rollout.step], Pause)


def ask(found: cluster.Cluster, name: str, verb: Verb, *, number: int | None = None) -> str:
    """Writes the request, for what is there at the moment of the write; the request's id.

    An abort takes the place of whatever waits, so it asks for no version, and no traffic of writes can keep it out: the
    revision that it names is guard enough.
    """

    def attempt(model: model_view.Model) -> str:
        waiting = model.pending
        if waiting is not None and waiting.verb is Verb.ABORT:
            raise errors.PluginError(
                f"An abort of {model.describe_revision(waiting.revision)} is not carried out yet; wait for it."
            )
        request = compose(model, verb, number=number, id_=uuid.uuid4().hex, now=datetime.datetime.now(datetime.UTC))
        found.ask(name, request, resource_version=None if verb is Verb.ABORT else model.resource_version)
        return str(request["id"])

    return writing.write(found, name, attempt, what="request")


def wait(
    found: cluster.Cluster, name: str, id_: str, *, timeout_s: float, sleep: Callable[[float], None] = time.sleep
) -> Asked:
    """What became of it, as soon as that is known or until the time is over.

    Raises:
        errors.PluginError: another request took its place.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        current = model_view.read(found, name).status
        if current.handled_request is not None and current.handled_request.id == id_:
            return Asked(id=id_, handled=current.handled_request)
        if current.request is None or current.request.id != id_:
            other = current.request.verb if current.request is not None else "nothing"
            raise errors.PluginError(f"Another request replaced this one before the operator read it: {other}.")
        if time.monotonic() >= deadline_s:
            return Asked(id=id_, handled=None)
        sleep(POLL_S)

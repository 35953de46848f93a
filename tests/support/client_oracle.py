"""What a client of the virtual world gets, asked of the gateways' own tables and not of the operator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.support import consistency

from fairlead_operator.state.route import RouteText

if TYPE_CHECKING:
    from tests.support.virtual_traffic import Gateway, Traffic


WAITS = ("AtZero", "ScalingFromZero")
"""Why requests are available though no replica runs: they wait at the gateways."""


def is_answered(world: Traffic, gateway: Gateway, name: str) -> bool:
    """Whether a gateway answers every request that names no revision: the stable one stands in for a candidate."""
    text = gateway.routes.get(name)
    weights = RouteText(text=text).weights() if text is not None else {}
    if text is None or not weights or world.is_cut_off:
        return False
    stable = json.loads(text)["stable"]
    ready = {revision for revision in (*weights, stable) if revision is not None and world.running(name, revision)}
    return all(revision in ready or (revision != stable and stable in ready) for revision in weights)


def are_answered(world: Traffic, name: str) -> bool:
    """Whether every gateway answers."""
    return all(is_answered(world, gateway, name) for gateway in world.gateways)


def are_held(world: Traffic, name: str) -> bool:
    """Whether every gateway holds the requests that find no replica."""
    return all("hold" in json.loads(gateway.routes.get(name, "{}")) for gateway in world.gateways)


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), {"status": "Unknown"})


def check_available(world: Traffic, name: str, status: Mapping[str, Any]) -> None:
    """``Available`` is what clients get, wherever every gateway has the table that is written."""
    if any(gateway.routes.get(name) != world.routes.get(name) for gateway in world.gateways):
        return
    said = condition(status, "Available")
    if any(gateway.is_away for gateway in world.gateways):
        consistency.hold(said["status"] == "Unknown", f"{name}: no gateway was asked, but Available is {said}")
        return
    # A write of this pass changes the table only after what the condition is made from was read.
    answered, is_said = are_answered(world, name), said["status"] == "True"
    is_right = is_said == answered or (is_said and said["reason"] in WAITS and are_held(world, name))
    consistency.hold(is_right, f"{name}: clients are answered: {are_answered(world, name)}, but Available is {said}")

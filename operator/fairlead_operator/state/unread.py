"""What is said where something can't be read: what it is, and the cause."""

from __future__ import annotations

from fairlead_operator.api.text import hide_addresses


def describe_ray(cluster: str, why: str) -> str:
    message = f"Cannot read Ray cluster {cluster}: {_cause(why)}."
    return f"{message} The operator changes no replicas there until it can be read."


def describe_gateway(name: str, why: str) -> str:
    return f"Cannot read gateway {name}: {_cause(why)}."


def describe_gateways(why: str) -> str:
    """Where it isn't known which gateways there are."""
    return f"Cannot list the gateways: {_cause(why)}."


def describe_route(model: str, why: str) -> str:
    return f"Cannot read ModelRoute {model}: {_cause(why)}."


def _cause(why: str) -> str:
    return hide_addresses(why).rstrip(".")

"""Gives the raylet the port of its dashboard agent, for which it waits 15 seconds otherwise, and then ends.

`ray start --dashboard-agent-listen-port` reaches the agent alone. A raylet without the port reads it from a file that
the agent writes once it has imported everything, which takes longer than 15 seconds where the processors are busy.
Source: ray/_private/services.py, start_raylet, and NodeManager::WaitForDashboardAgentPorts (2.60);
https://github.com/ray-project/ray/issues/65983.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

_OF_RAY_START = "--dashboard-agent-listen-port"
_OF_RAYLET = "--dashboard_agent_listen_port"


def give_to_raylet(arguments: Sequence[str]) -> None:
    """Make `ray start` with these arguments, in this process, start its raylet with the agent's port.

    Nothing is changed where the arguments have no fixed port.
    """
    from ray._private import services

    port = fixed_port(arguments)
    if port is not None:
        services.start_ray_process = with_port(services.start_ray_process, port)


def fixed_port(arguments: Sequence[str]) -> int | None:
    """The agent's port in the arguments of `ray start`, unless Ray is to choose it."""
    for number, each in enumerate(arguments):
        name, _, value = each.partition("=")
        if name == _OF_RAY_START:
            given = value or next(iter(arguments[number + 1 :]), "")
            return int(given) if given.isdecimal() and given != "0" else None
    return None


def with_port(start: Callable[..., Any], port: int) -> Callable[..., Any]:
    """`start_ray_process` that adds the port to a raylet's command, unless it is there."""

    @functools.wraps(start)
    def started(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == "raylet" and not any(each.startswith(_OF_RAYLET) for each in command):
            command = [*command, f"{_OF_RAYLET}={port}"]
        return start(command, process_type, *arguments, **options)

    return started

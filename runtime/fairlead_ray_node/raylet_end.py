"""Makes `ray start --block` end with an error when its raylet ends with code 0.

A raylet whose agent has ended exits with 0, which `ray start` takes for a stop that was asked for:
it goes on, and with it a node that runs nothing and that nobody starts again.
Source: ray/scripts/scripts.py, start, expected_return_codes; src/ray/raylet/agent_manager.cc (2.60).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

_RAYLET = "raylet"


@dataclasses.dataclass(frozen=True)
class EndedRaylet:
    """As `ray start` reads a process that has ended. Its code is one that nobody asked for."""

    returncode: int = 1


def end_with_raylet() -> None:
    """Make `ray start --block`, in this process, end its node and exit with 1 when the raylet has ended by itself."""
    from ray._private import node

    node.Node.dead_processes = reported(node.Node.dead_processes)


def reported(dead_processes: Callable[[Any], list[tuple[str, Any]]]) -> Callable[[Any], list[tuple[str, Any]]]:
    """`Node.dead_processes`, the kinds and processes of all that has ended, whose raylet never ended with 0."""

    @functools.wraps(dead_processes)
    def found(node: Any) -> list[tuple[str, Any]]:
        return [
            (kind, EndedRaylet() if kind == _RAYLET and process.returncode == 0 else process)
            for kind, process in dead_processes(node)
        ]

    return found

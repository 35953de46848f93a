"""A write for the object as it was read: where another write came first, it is built again for the current object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fairlead_cli.plugin import cluster, errors, model_view

WITHIN_S = 10.0
AGAIN_S = 0.05

T = TypeVar("T")


def write(found: cluster.Cluster, name: str, attempt: Callable[[model_view.Model], T], *, what: str) -> T:
    """The value of the first `attempt` that is not refused for being late; each gets the model as it is then.

    Raises:
        errors.PluginError: the object changed at each attempt, or `attempt` refused. `what` is what was to be written.
    """
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        try:
            return attempt(model_view.read(found, name))
        except errors.ConflictError:
            time.sleep(AGAIN_S)
    raise errors.PluginError(f"{name} changed at each attempt to write the {what}; try again.")

"""Keeps `ray start` from starting the server of Ray Client, which nothing of Fairlead uses.

It is a process of some 100 MiB on each head, which takes seconds of a processor to start and runs what its clients
send. `ray start` has no option against it: without a port it takes 10001, unless the server's dependencies are missing.
Source: ray/scripts/scripts.py, start (2.60).
"""

from __future__ import annotations

from collections.abc import Sequence

_PORT = "--ray-client-server-port"


def leave_out(arguments: Sequence[str]) -> None:
    """Make `ray start` with these arguments, in this process, start none, unless they name its port."""
    from ray.scripts import scripts

    if not any(each.partition("=")[0] == _PORT for each in arguments):
        scripts.get_ray_client_dependency_error = lambda: "Ray Client is not used"

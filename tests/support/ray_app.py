"""A Serve application as small as one can be, for tests that ask how Ray itself behaves."""

from __future__ import annotations

from typing import Any

from ray import serve


@serve.deployment(name="replica")
class Replica:
    def __init__(self, config: dict[str, Any]) -> None:
        uri = config["source"]["uri"]
        if "broken" in uri:
            raise RuntimeError(f"ModelCorrupt: {uri}: not a SavedModel")

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """A change of ``user_config`` alone restarts nothing."""


def build(args: dict[str, Any]) -> serve.Application:
    return Replica.bind(args["config"])

"""Waits for a ModelDeployment to get somewhere, and tells what it waits for in the object's own words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from fairlead_cli.demo import narration
from fairlead_cli.local import cluster

_POLL_S = 0.3


class Model:
    """One ModelDeployment, seen through kubectl as a person would."""

    def __init__(self, local: cluster.LocalCluster, narrator: narration.Narrator, name: str) -> None:
        self._local = local
        self._narrator = narrator
        self.name = name

    def read(self) -> Mapping[str, Any]:
        done = self._local.kubectl("get", "mdep", self.name, "-o", "json", "-n", self._local.namespace)
        if done.returncode != 0:
            raise narration.DemoFailed(f"kubectl get mdep {self.name}: {done.stderr.strip()}")
        found: Mapping[str, Any] = json.loads(done.stdout)
        return found

    def until(self, what: str, holds: Callable[[Mapping[str, Any]], bool], *, within_s: float) -> Mapping[str, Any]:
        """The object as soon as ``holds`` is true of it.

        Raises:
            DemoFailed: that did not come in time; the conditions are in the message.
        """
        deadline = time.monotonic() + within_s
        reported = ""
        while True:
            found = self.read()
            if holds(found):
                return found
            words = progress_of(found)
            if words and words != reported:
                self._narrator.step(f"{self.name}: {words}")
                reported = words
            if time.monotonic() > deadline:
                conditions = json.dumps(found.get("status", {}).get("conditions", []), indent=1)
                raise narration.DemoFailed(f"{self.name} was not {what} within {within_s:.0f} s: {conditions}")
            time.sleep(_POLL_S)


def condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition, empty when it is not there; stale ones (an older generation's) count as not there."""
    generation = found["metadata"]["generation"]
    for each in found.get("status", {}).get("conditions", []):
        if each["type"] == kind and each.get("observedGeneration", generation) == generation:
            return dict(each)
    return {}


def is_settled(found: Mapping[str, Any]) -> bool:
    """Ready, and nothing under way."""
    return (
        found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
        and condition(found, "Ready").get("status") == "True"
        and condition(found, "Reconciling").get("status") != "True"
    )


def progress_of(found: Mapping[str, Any]) -> str:
    """What the object itself says it is doing."""
    for kind in ("Progressing", "Ready", "Accepted"):
        message = condition(found, kind).get("message")
        if message:
            return str(message)
    return ""

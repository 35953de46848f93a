"""Waits until a ModelDeployment is as a chapter wants it, and shows meanwhile what the object says of itself."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fairlead_cli.demo import narration
from fairlead_cli.local import cluster

READY_WITHIN_S = 240.0
"""Until a model is ready, or a rollout is decided, on a machine that others use as well."""
_LOOK_S = 0.3


class Model:
    """One ModelDeployment, seen through kubectl as a person would."""

    def __init__(self, local: cluster.LocalCluster, narrator: narration.Narrator, name: str) -> None:
        self._local = local
        self._narrator = narrator
        self.name = name

    def read(self) -> Mapping[str, Any]:
        done = self._local.kubectl(*self._arguments())
        if done.returncode != 0:
            raise narration.DemoFailed(f"kubectl get mdep {self.name}: {done.stderr.strip()}")
        found: Mapping[str, Any] = json.loads(done.stdout)
        return found

    def until(self, what: str, holds: Callable[[Mapping[str, Any]], bool], *, within_s: float) -> Mapping[str, Any]:
        """The object as soon as ``holds`` is true of it; it is asked at each change, and between changes as well.

        Raises:
            DemoFailed: that did not come in time; the conditions are in the message.
        """
        deadline = time.monotonic() + within_s
        reported, next_s = "", 0.0
        with watch(self._local.kubectl_command(*self._arguments(), "--watch")) as newest:
            while True:
                found = newest(_LOOK_S)
                if found and holds(found):
                    return found
                words = describe_progress(found) if found else ""
                if words and words != reported and time.monotonic() >= next_s:
                    self._narrator.step(f"{self.name}: {words}")
                    reported, next_s = words, time.monotonic() + _LOOK_S  # what passes more quickly is not for reading
                if time.monotonic() > deadline:
                    conditions = json.dumps(found.get("status", {}).get("conditions", []), indent=1)
                    raise narration.DemoFailed(f"{self.name} was not {what} within {within_s:.0f} s: {conditions}")

    def _arguments(self) -> Sequence[str]:
        return ("get", "mdep", self.name, "--output=json", f"--namespace={self._local.namespace}")


@contextlib.contextmanager
def watch(command: Sequence[str]) -> Iterator[Callable[[float], Mapping[str, Any]]]:
    """Run `kubectl get --watch --output=json` for one object, inside the block.

    The value waits up to so many seconds for a change and gives the newest object, empty while none has come. One
    kubectl that stays costs less than one for each look: each takes 0.1 s of processor time to start.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    arrived: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout or (), arrived), daemon=True)
    reader.start()
    last: Mapping[str, Any] = {}

    def newest(timeout_s: float) -> Mapping[str, Any]:
        nonlocal last
        with contextlib.suppress(queue.Empty):
            found = arrived.get(timeout=timeout_s)
            while found is not None:
                last = found
                found = arrived.get_nowait()
            stderr_text = process.stderr.read().strip() if process.stderr is not None else ""
            raise narration.DemoFailed(f"kubectl get --watch ended: {stderr_text}")
        return last

    try:
        yield newest
    finally:
        process.kill()
        reader.join()
        process.communicate()


def _read(printed: Iterable[str], arrived: queue.SimpleQueue[Mapping[str, Any] | None]) -> None:
    """Kubectl prints each version of the object indented, so its last line is the first one that is a brace alone."""
    lines: list[str] = []
    for line in printed:
        lines.append(line)
        if line == "}\n":
            arrived.put(json.loads("".join(lines)))
            lines.clear()
    arrived.put(None)


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


def stable_revision(found: Mapping[str, Any]) -> str:
    """The name of the revision that takes the traffic."""
    return str(found["status"]["stableRevision"])


def stable_row(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the status reports of the stable revision."""
    stable = stable_revision(found)
    return next(dict(each) for each in found["status"]["revisions"] if each["name"] == stable)


def describe_progress(found: Mapping[str, Any]) -> str:
    """What the object itself says it is doing."""
    for kind in ("Progressing", "Ready", "Accepted"):
        message = condition(found, kind).get("message")
        if message:
            return str(message)
    return ""

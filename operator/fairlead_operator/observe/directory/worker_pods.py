"""The worker pods of Ray clusters that don't run yet, and why: whether they have a node, and the scheduler's reason.

Source: Kubernetes, `pkg/apis/core/types.go` (PodScheduled), written by the scheduler.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.clients import kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector
from fairlead_operator.observe.directory import scoped
from fairlead_operator.state.workers import WorkerPods

OBJECTS = scoped.Kind(
    path_of=paths.pods,
    selector=kubernetes.Selector(
        labels=f"{names.LABEL_CLUSTER},{names.LABEL_PART_OF}={names.PRODUCT},ray.io/node-type=worker",
        fields="status.phase=Pending",
    ),
)
_REASON_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingPod:
    """``unscheduled_since`` is None for one that has a node; ``reason`` is why another one has none."""

    cluster: str
    is_ending: bool = False
    unscheduled_since: datetime.datetime | None = None
    reason: str = ""


class PendingWorkers:
    """Answers from memory. While pods can't be listed, what is known of them stays as it was."""

    def __init__(
        self,
        api: reflector.WatchApi,
        namespaces: Sequence[str],
        *,
        clock: Clock,
        on_change: Callable[[str | None], None],
    ) -> None:
        """``on_change`` gets the namespace where something changed, None where it may be any."""
        self._pods = scoped.Scoped(api, namespaces, OBJECTS, view_pod, clock=clock, on_change=on_change)

    async def run(self) -> None:
        """List and watch for ever."""
        await self._pods.run()

    def count(self, namespace: str, cluster: str, workers: WorkerPods) -> WorkerPods:
        """The workers of a Ray cluster with those that don't run yet."""
        known = self._pods.values(namespace).values()
        pods = [pod for pod in known if pod.cluster == cluster and not pod.is_ending]
        waiting = sorted(_unscheduled(pods), key=lambda found: found[0])
        if not waiting:
            return replace(workers, starting=len(pods))
        since, reason = waiting[0]
        return replace(
            workers,
            starting=len(pods) - len(waiting),
            unscheduled=len(waiting),
            unscheduled_since=since,
            reason=reason,
        )


def _unscheduled(pods: Iterable[PendingPod]) -> Iterable[tuple[datetime.datetime, str]]:
    return ((pod.unscheduled_since, pod.reason) for pod in pods if pod.unscheduled_since is not None)


def view_pod(body: Mapping[str, Any]) -> PendingPod:
    """A pod that doesn't run yet."""
    metadata, status = body["metadata"], body.get("status")
    is_ending = metadata.get("deletionTimestamp") is not None
    listed = status.get("conditions") if isinstance(status, dict) else None
    conditions = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    cluster = (metadata.get("labels") or {}).get(names.LABEL_CLUSTER, "")
    found = (each for each in conditions if each.get("type") == "PodScheduled" and each.get("status") == "False")
    condition = next(found, None)
    if condition is None:
        return PendingPod(cluster=cluster, is_ending=is_ending)
    since = _time(condition.get("lastTransitionTime")) or _time(metadata.get("creationTimestamp"))
    reason = _first_sentence(condition)
    return PendingPod(cluster=cluster, is_ending=is_ending, unscheduled_since=since, reason=reason)


def _first_sentence(condition: Mapping[str, Any]) -> str:
    """What follows is about preemption, and changes all the time."""
    words = str(condition.get("message") or condition.get("reason") or "")
    return one_line(hide_addresses(words.partition(". ")[0])).rstrip(".")[:_REASON_MAX]


@functools.lru_cache(maxsize=256)
def _time(text: str | None) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None

"""The pass over one namespace: what its models need there is composed, compared with what is there, and written.

All that differs is written in one pass, as the objects don't depend on each other: one that is refused holds up none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from fairlead_operator import composition, problems, telemetry
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.desired.namespace import build, network, objects
from fairlead_operator.effects import namespace as effects
from fairlead_operator.observe import made_objects, serving_classes
from fairlead_operator.plan import namespace as plan
from fairlead_operator.state import infrastructure, keys, knowledge
from fairlead_operator.state.infrastructure import (
    DeleteObject,
    DesiredNamespace,
    NamespaceWrite,
    ObservedNamespace,
    Problem,
)
from fairlead_operator.state.reasons import Reason

PENDING_S = 0.2
INCOMPLETE_S = 1.0
NO_MODELS = knowledge.Unknown("the namespace has no models")

log = logging.getLogger(__name__)

Failure = tuple[NamespaceWrite, errors.FairleadError]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespacePass:
    """Compose, compare with what the watches show, write what differs."""

    api: kubernetes.KubernetesClient
    made: made_objects.MadeObjects
    classes: serving_classes.ServingClasses
    composed: composition.Composition
    used_clusters: Callable[[str], knowledge.Known[frozenset[str]] | knowledge.Unknown]
    """The Ray clusters that the revisions of a namespace's models record."""
    problems: problems.Problems
    callers: network.Callers
    metrics: telemetry.Metrics
    _kept: dict[str, str] = field(init=False, default_factory=dict)
    """The last warning about what is kept, by namespace."""

    async def run(self, key: keys.NamespaceKey) -> float | None:
        """When the namespace is due once more; None where it waits for a change.

        Raises:
            errors.FairleadError: Something was refused or could not be read; the models' conditions say what.
        """
        classes = self.classes.known()
        if self.made.is_pending(key.namespace) or self.classes.is_pending():
            return PENDING_S
        if isinstance(classes, knowledge.Unknown):
            self._report(key, Problem(reason=Reason.INFRASTRUCTURE_FAILED, message=_classes_unread(classes)))
            raise errors.RetryLater(_classes_unread(classes))
        observed = self._observe(key.namespace)
        desired = build.build(
            key.namespace,
            self._models(key.namespace, is_complete=observed.is_complete),
            classes.value,
            existing_clusters=_clusters(observed),
            callers=self.callers,
        )
        decided = plan.decide(desired, observed)
        self._report_kept(key, desired, observed)
        failures = [failure for write in decided.writes if (failure := await self._write(key, write)) is not None]
        problem = _problem_of(observed, failures) if desired.has_models else None
        self.problems.put(
            key.namespace, problems.NamespaceProblems(shared=problem or decided.problem, own=desired.problems)
        )
        if failures:
            write, error = failures[0]
            raise errors.RetryLater(f"could not {write}: {error}", retry_after_s=error.retry_after_s)
        # A model that can't be read queues the namespace itself, once it can be or is gone.
        return None if self.composed.is_complete(key.namespace) else INCOMPLETE_S

    def _models(self, namespace: str, *, is_complete: bool) -> build.NamespaceModels:
        classes, unread = self.composed.used.classes(namespace), self._unread(namespace)
        return build.NamespaceModels(classes=classes, unread=len(unread), is_complete=is_complete)

    def _unread(self, namespace: str) -> frozenset[str]:
        """The models that can't be read, and never could."""
        return self.composed.models(namespace) - self.composed.used.classes(namespace).keys()

    def _observe(self, namespace: str) -> ObservedNamespace:
        found = ((kind, self.made.error_of(namespace, kind)) for kind in made_objects.KINDS)
        return ObservedNamespace(
            objects=self.made.objects(namespace),
            unknown={kind: error for kind, error in found if error is not None},
            used_clusters=self.used_clusters(namespace) if self.composed.models(namespace) else NO_MODELS,
            is_complete=self.composed.is_complete(namespace) and not self._unread(namespace),
        )

    async def _write(self, key: keys.NamespaceKey, write: NamespaceWrite) -> Failure | None:
        ended = "Refused"
        try:
            body = await effects.write(self.api, key.namespace, write, build_secret=objects.token_secret)
            if body is not None:
                self.made.wrote(key.namespace, write.key.kind, body)
            ended = "Done"
            return None
        except errors.FairleadError as error:
            log.warning("could not %s: %s", write, error, extra={"key": str(key)})
            return write, error
        finally:
            self.metrics.actions.labels(type(write).__name__, ended).inc()
            if ended == "Done":
                log.info(str(write), extra={"key": str(key), "action": type(write).__name__, "outcome": ended})

    def _report_kept(self, key: keys.NamespaceKey, desired: DesiredNamespace, observed: ObservedNamespace) -> None:
        """Says in the log, once, what is not deleted only because models can't be read."""
        warning = ""
        if self.composed.is_complete(key.namespace) and (unread := self._unread(key.namespace)):
            unused = plan.decide(desired, replace(observed, is_complete=True)).writes
            if kept := ", ".join(str(write.key) for write in unused if isinstance(write, DeleteObject)):
                warning = f"kept, as models can't be read ({', '.join(sorted(unread))}): {kept}"
        if warning and warning != self._kept.get(key.namespace):
            log.warning(warning, extra={"key": str(key)})
        self._kept.pop(key.namespace, None)
        if warning:
            self._kept[key.namespace] = warning

    def _report(self, key: keys.NamespaceKey, problem: Problem) -> None:
        if self.composed.models(key.namespace):
            self.problems.put(key.namespace, problems.NamespaceProblems(shared=problem))


def _clusters(observed: ObservedNamespace) -> dict[str, int | None]:
    return {
        key.name: made.workers
        for key, made in observed.objects.items()
        if key.kind is infrastructure.RAY_CLUSTER and made.is_ours and not made.is_copy and not made.is_deleting
    }


def _problem_of(observed: ObservedNamespace, failures: Iterable[Failure]) -> Problem | None:
    error = observed.unknown.get(infrastructure.RAY_CLUSTER)
    if isinstance(error, errors.NotFound):
        return Problem(reason=Reason.KUBERAY_MISSING, message=infrastructure.NO_RAYCLUSTER_CRD)
    for kind, unread in sorted(observed.unknown.items()):
        cause = hide_addresses(errors.cause_of(unread)).rstrip(".")
        message = f"Cannot list the {kind.kind} objects of the namespace: {cause}. The operator retries."
        return Problem(reason=Reason.INFRASTRUCTURE_FAILED, message=message)
    for write, refused in failures:
        if isinstance(refused, effects.ForeignObject):
            return Problem(reason=Reason.FOREIGN_OBJECT, message=str(refused))
        cause = hide_addresses(refused.cause).rstrip(".")
        message = f"The operator failed to {write}: {cause}. It retries."
        return Problem(reason=Reason.INFRASTRUCTURE_FAILED, message=message)
    return None


def _classes_unread(unknown: knowledge.Unknown) -> str:
    return f"Cannot read the ServingClasses: {hide_addresses(unknown.reason).rstrip('.')}. The operator retries."

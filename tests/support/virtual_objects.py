"""The API server of the virtual world: what one namespace's objects are, and what people write."""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass, field
from typing import Any

from tests.support import consistency, merge_patch
from tests.support.virtual_ray import EPOCH

from fairlead_operator.api import skew
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import ModelDeploymentStatus, Verb
from fairlead_operator.desired import revision as revisions_of
from fairlead_operator.state import actions
from fairlead_operator.state.directory import Unplaced
from fairlead_operator.state.observed import ModelDeploymentView, RevisionView
from fairlead_operator.state.rollout import recall


@dataclass
class StoredModel:
    uid: str
    spec: dict[str, Any]
    generation: int = 1
    resource_version: int = 1
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    revisions: dict[str, RevisionView] = field(default_factory=dict)
    viewed: tuple[tuple[int, tuple[str, ...]], ModelDeploymentView] | None = None
    """What was read of it last, by its version: a story reads one version often."""


@dataclass
class Written:
    """One write, for the invariants and the stories."""

    kind: str
    what: str


@dataclass
class Clock:
    """The same for all namespaces."""

    now: datetime.datetime = EPOCH


class Objects:
    """ModelDeployments, their ControllerRevisions and their routes."""

    def __init__(self, namespace: str, placement: str, clock: Clock) -> None:
        self.namespace = namespace
        self.placement = placement
        self.is_placed_by_class = False
        self.awaited: str | None = None
        """Why the cluster of new revisions can't run one yet."""
        self.unplaced: Unplaced | None = None
        """The cluster that new revisions go to."""
        self.clock = clock
        self.models: dict[str, StoredModel] = {}
        self.routes: dict[str, str] = {}
        self.writes: list[Written] = []
        self.pruned: frozenset[str] = frozenset()
        """Dotted fields of the status that the CRD lacks: the API server drops them."""
        self.serve_queued = False
        self.steps = 0
        """How often something happened here: a pass, a tick, or what people and the world did in between."""
        self._uids = 0
        self._requests = 0

    @property
    def now(self) -> datetime.datetime:
        return self.clock.now

    @now.setter
    def now(self, now: datetime.datetime) -> None:
        self.clock.now = now

    # What people do

    def apply(self, name: str, **spec: Any) -> None:
        """Creates the object or changes its spec."""
        self.steps += 1
        ModelDeploymentSpec.model_validate(spec)
        stored = self.models.get(name)
        if stored is None:
            self._uids += 1
            self.models[name] = StoredModel(uid=f"uid-{self._uids}", spec=spec)
        elif stored.spec != spec and not stored.deleting:
            stored.spec, stored.generation = spec, stored.generation + 1
            stored.resource_version += 1

    def change(self, name: str, path: str, value: Any) -> None:
        """Changes one field: ``change("digits", "scaling.replicas", 3)``."""
        spec = json.loads(json.dumps(self.models[name].spec))
        *parents, last = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
        self.apply(name, **spec)

    def delete(self, name: str) -> None:
        self.steps += 1
        if (stored := self.models.get(name)) is not None:
            stored.deleting = True
            stored.resource_version += 1
            self._reap(name)

    def ask(
        self, name: str, verb: str, *, revision: str | None = None, step: int | None = None, number: int | None = None
    ) -> None:
        """Writes a request as ``kubectl fairlead`` does; the API server keeps an Abort that is not carried out yet."""
        self.steps += 1
        stored = self.models[name]
        known = recall(self.view(name).status)
        before, handled = stored.status.get("request"), stored.status.get("handledRequest")
        if before and before["verb"] == Verb.ABORT and (not handled or handled["id"] != before["id"]):
            return
        if verb == Verb.RETRY:
            template = revisions_of.template_of(self.spec(name))
            revision = revision or revisions_of.revision_of(stored.uid, template, self.placement)
        self._requests += 1
        request = {"id": f"request-{self._requests}", "verb": verb, "time": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        request["revision"] = revision or known.candidate or known.stable or "0000000000"
        extra = {"step": step, "number": number}
        stored.status["request"] = request | {key: value for key, value in extra.items() if value is not None}
        stored.resource_version += 1

    def spec(self, name: str) -> ModelDeploymentSpec:
        return ModelDeploymentSpec.model_validate(self.models[name].spec)

    def prune_route(self, name: str) -> None:
        """Somebody deletes the model's route, who did not mark it first."""
        self.steps += 1
        self.routes.pop(name, None)

    # What the operator reads and writes

    def view(self, name: str) -> ModelDeploymentView:
        stored = self.models[name]
        key = (stored.resource_version, stored.finalizers)
        if stored.viewed is None or stored.viewed[0] != key:
            stored.viewed = (key, self._view(name, stored))
        return stored.viewed[1]

    def _view(self, name: str, stored: StoredModel) -> ModelDeploymentView:
        return ModelDeploymentView(
            namespace=self.namespace,
            name=name,
            uid=stored.uid,
            generation=stored.generation,
            resource_version=str(stored.resource_version),
            deletion_timestamp=EPOCH if stored.deleting else None,
            finalizers=stored.finalizers,
            spec=ModelDeploymentSpec.model_validate(stored.spec),
            status=ModelDeploymentStatus.model_validate(stored.status),
        )

    def _version(self, name: str) -> tuple[str, int] | None:
        stored = self.models.get(name)
        return (stored.uid, stored.resource_version) if stored is not None else None

    def _store_status(self, name: str, uid: str, update: actions.StatusUpdate) -> tuple[str, ...] | None:
        """The fields that the API server dropped; None where nothing is written."""
        stored = self.models.get(name)
        if update.patch is None or stored is None or stored.uid != uid:
            return None
        intended = merge_patch.merged(stored.status, update.patch)
        after = without(intended, self.pruned)
        stored.resource_version += after != stored.status
        stored.status = after
        self.writes.append(Written(kind="status", what=name))
        self.serve_queued = True
        # A field that a CRD dropped is read as its default, so a default that is meant need not be in the patch.
        written, wanted = (ModelDeploymentStatus.model_validate(each).to_wire() for each in (intended, update.status))
        consistency.hold(written == wanted, "the patch does not make the status that was meant")
        size = len(json.dumps(stored.status))
        consistency.hold(size <= consistency.STATUS_MAX_BYTES, f"the status has {size} bytes")
        return skew.dropped(update.patch, stored.status)

    def _do_object(self, action: actions.Action, name: str) -> actions.Outcome:
        stored = self.models.get(name)
        if stored is None:  # it is gone meanwhile: what would be its own is the garbage collector's
            return actions.Done()
        match action:
            case actions.AddFinalizer(finalizers=finalizers) | actions.RemoveFinalizer(finalizers=finalizers):
                stored.finalizers = finalizers
                stored.resource_version += 1
                self._reap(name)
            case actions.CreateRevision():
                stored.revisions[action.revision] = RevisionView(
                    name=action.name,
                    revision=action.revision,
                    number=action.number,
                    template=action.template,
                    cluster=action.cluster,
                    application=action.application,
                    digest=None,
                )
            case actions.PinDigest(revision=revision, digest=digest):
                stored.revisions[revision] = dataclasses.replace(stored.revisions[revision], digest=digest)
            case actions.DeleteRevision(revision=revision):
                stored.revisions.pop(revision, None)
            case _:
                raise AssertionError(f"{action} is not an action on the object")
        return actions.Done()

    def _reap(self, name: str) -> None:
        stored = self.models[name]
        if stored.deleting and not stored.finalizers:
            del self.models[name]
            self.routes.pop(name, None)  # the garbage collector: the object owned it
            self.serve_queued = True


def without(body: Any, fields: frozenset[str], path: str = "") -> Any:
    """The same without the dotted fields; those of a list's items are ``list.field``."""
    if isinstance(body, dict):
        places = {key: f"{path}.{key}" if path else key for key in body}
        return {key: without(value, fields, places[key]) for key, value in body.items() if places[key] not in fields}
    return [without(item, fields, path) for item in body] if isinstance(body, list) else body

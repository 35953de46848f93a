"""One namespace as a story sees it: a model with its objects, a fake Ray and a fake gateway."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping
from typing import Any

from tests.faults import kube, sight
from tests.faults.namespaces import Namespaces
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay

MODEL = "m"
TOKEN = "a-token-of-the-faults"

Body = dict[str, Any]


class Place:
    """The model has the same name in every namespace."""

    def __init__(self, namespaces: Namespaces) -> None:
        self.kube = namespaces.kube
        self._namespaces = namespaces
        self.namespace = namespaces.take()
        self._model_path = f"{kube.MODELS.format(namespace=self.namespace)}/{MODEL}"
        paths = {
            sight.MODEL: self._model_path,
            sight.REVISIONS: kube.REVISIONS.format(namespace=self.namespace),
            sight.ROUTES: kube.ROUTES.format(namespace=self.namespace),
        }
        self._sight = sight.Sight(self.kube, paths)

    def open(self, exits: contextlib.ExitStack) -> None:
        self.ray = exits.enter_context(FakeRay(token=TOKEN))
        self.gateway = exits.enter_context(
            FakeGateway(namespace=self.namespace, rays={"default": self.ray}, read_routes=self.routes)
        )

    def clean(self) -> None:
        """Remove the objects and give the namespace back: its deletion would cost the API server more than a run.

        The finalizer would keep the model for ever, as the operator is gone.
        """
        if self.model() is not None:
            self._patch({"metadata": {"finalizers": None}})
            self.delete()
        self.kube.delete(kube.REVISIONS.format(namespace=self.namespace))
        self.kube.delete(kube.ROUTES.format(namespace=self.namespace))
        self._namespaces.give_back(self.namespace)

    def create(self, spec: Mapping[str, Any], *, finalizers: tuple[str, ...] = ()) -> str:
        """Returns the new object's uid."""
        metadata = {"name": MODEL, "finalizers": list(finalizers)}
        body = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "metadata": metadata, "spec": spec}
        path = kube.MODELS.format(namespace=self.namespace)
        created = self._sight.change(sight.MODEL, lambda: self.kube.create(path, body))
        return str(created["metadata"]["uid"])

    def change(self, spec: Mapping[str, Any]) -> None:
        """A merge patch of the spec."""
        self._patch({"spec": spec})

    def set_status(self, status: Mapping[str, Any]) -> None:
        self._patch({"status": status}, "/status")

    def ask(self, verb: str, **more: Any) -> None:
        """Write a request as ``kubectl fairlead`` does."""
        status = self.status()
        revision = status.get("candidateRevision") or status["stableRevision"]
        time_text = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        request = {"id": f"request-{verb}", "verb": verb, "revision": revision, "time": time_text, **more}
        self.set_status({"request": request})

    def _patch(self, patch: Mapping[str, Any], subresource: str = "") -> None:
        self._sight.change(sight.MODEL, lambda: self.kube.patch(self._model_path + subresource, patch))

    def delete(self) -> None:
        self._sight.change(sight.MODEL, lambda: self.kube.delete(self._model_path))

    def add_revision(self, body: Mapping[str, Any]) -> None:
        path = kube.REVISIONS.format(namespace=self.namespace)
        self._sight.change(sight.REVISIONS, lambda: self.kube.create(path, body))

    def apply_route(self, body: Mapping[str, Any]) -> None:
        """As the operator does, so that it owns the fields."""
        path = f"{kube.ROUTES.format(namespace=self.namespace)}/{body['metadata']['name']}"
        self._sight.change(sight.ROUTES, lambda: self.kube.apply(path, body, manager="fairlead-operator"))

    def wrote(self, write: str) -> None:
        """A write of the operator has ended."""
        self._sight.wrote(write)

    def model(self) -> Body | None:
        return self._sight.of(sight.MODEL)

    def status(self) -> Body:
        return (self.model() or {}).get("status") or {}

    def revisions(self) -> list[Body]:
        found = self._sight.of(sight.REVISIONS) or {"items": []}
        return sorted(found["items"], key=lambda item: int(item["revision"]))

    def route_objects(self) -> list[Body]:
        return list((self._sight.of(sight.ROUTES) or {"items": []})["items"])

    def routes(self) -> dict[str, Body]:
        """The ``spec`` of each ModelRoute, by model."""
        return {item["metadata"]["name"]: item["spec"] for item in self.route_objects()}

"""Values for tests that show only what matters; everything else is a plausible default."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import ModelDeploymentStatus
from fairlead_operator.desired import application as composed
from fairlead_operator.desired import revision as revisions
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.directory import Gateway
from fairlead_operator.state.gateways import Gateways
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.knowledge import ABSENT, Absent, Known, Unknown
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed, RevisionTemplate, RevisionView
from fairlead_operator.state.serve import ApplicationStatus, ApplicationView, ServeView

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
UID = "6c84fb90-12c4-11e1-840d-7b25c5ee775a"
NAMESPACE = "default"
NAME = "digits"
DIGEST = "sha256:" + "ab" * 32
URI = "file:///models/digits/1"
BOUNDS = Bounds()


def spec(**overrides: Any) -> ModelDeploymentSpec:
    """A spec from nested camelCase mappings: ``spec(model={"uri": …}, scaling={"replicas": 2})``."""
    return ModelDeploymentSpec.model_validate({"model": {"uri": URI}, **overrides})


def model_deployment(**overrides: Any) -> ModelDeploymentView:
    """A ModelDeployment that has our finalizer; ``spec`` may be a mapping, ``status`` likewise."""
    desired_spec = overrides.pop("spec", {})
    status = overrides.pop("status", {})
    fields: dict[str, Any] = {
        "namespace": NAMESPACE,
        "name": NAME,
        "uid": UID,
        "generation": 1,
        "resource_version": "1",
        "deletion_timestamp": None,
        "finalizers": (names.FINALIZER,),
        "spec": spec(**desired_spec) if isinstance(desired_spec, Mapping) else desired_spec,
        "status": ModelDeploymentStatus.model_validate(status) if isinstance(status, Mapping) else status,
    }
    return ModelDeploymentView(**{**fields, **overrides})


def revision(desired_spec: ModelDeploymentSpec | None = None, **overrides: Any) -> RevisionView:
    """The ControllerRevision of a spec."""
    template = revisions.template_of(desired_spec or spec())
    name = revisions.revision_of(UID, template)
    fields: dict[str, Any] = {
        "name": names.controller_revision(NAME, name),
        "revision": name,
        "number": 1,
        "template": template,
        "cluster": names.DEFAULT_CLUSTER,
        "application": application_of(name, template),
        "digest": DIGEST,
    }
    return RevisionView(**{**fields, **overrides})


def application_of(revision: str, template: RevisionTemplate, number: int = 1) -> Mapping[str, object]:
    """What a ControllerRevision of ours keeps."""
    key = ModelKey(NAMESPACE, NAME)
    return composed.compose(key, revision, number=number, template=template, bounds=BOUNDS)


def application(name: str, config: Mapping[str, object] | None = None, **overrides: Any) -> ApplicationView:
    """A running application with as many replicas as its config says."""
    replicas = _replicas(config)
    fields: dict[str, Any] = {
        "name": name,
        "status": ApplicationStatus.RUNNING,
        "running_replicas": replicas,
        "target_replicas": replicas,
        "config": config,
    }
    return ApplicationView(**{**fields, **overrides})


def _replicas(config: Mapping[str, object] | None) -> int:
    deployments = (config or {}).get("deployments")
    if isinstance(deployments, list) and deployments and isinstance(deployments[0], Mapping):
        scaled = deployments[0].get("autoscaling_config")
        return int(scaled["min_replicas"] if scaled else str(deployments[0]["num_replicas"]))
    return 1


def serve(*applications: ApplicationView, session: str = "session_1") -> Known[ServeView]:
    return Known(ServeView(session=session, applications={a.name: a for a in applications}))


def observed(view: ModelDeploymentView | None = None, **overrides: Any) -> Observed:
    """A snapshot of an object with a Ray cluster that runs nothing and one gateway that knows nothing."""
    fields: dict[str, Any] = {
        "key": ModelKey(NAMESPACE, NAME),
        "observed_at": NOW,
        "object": Known(view) if view is not None else Absent(),
        "serve": {names.DEFAULT_CLUSTER: serve()},
        "route": ABSENT,
        "gateways": Known(Gateways(members=())),
    }
    return Observed(**{**fields, **overrides})


def gateways(*urls: str) -> Known[tuple[Gateway, ...]]:
    """A directory's answer: Ready members, whose two ports have one URL each."""
    return Known(tuple(Gateway(name=f"gateway-{n}", data_url=url, admin_url=url) for n, url in enumerate(urls)))


def later(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


__all__ = ["BOUNDS", "DIGEST", "NAME", "NAMESPACE", "NOW", "UID", "URI", "InvalidSpec", "Unknown"]

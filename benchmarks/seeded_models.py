"""ModelDeployments in the state in which an operator leaves them when they serve, made without one.

Ten thousand rollouts would take longer than what is to be measured. Every object is what the operator's own pure code
says it should be, so an operator that starts afterwards finds nothing to do; if it does, the benchmark shows writes.
"""

from __future__ import annotations

import concurrent.futures
import datetime
from collections.abc import Mapping
from typing import Any

from tests.support.kube_api import KubeApi
from tests.support.operated import manifest

from fairlead_operator.api import names
from fairlead_operator.desired import build, serve_config
from fairlead_operator.effects import kubernetes as writes
from fairlead_operator.effects import traffic
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, gateways, json_text, keys, knowledge, observed, route, serve
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.status import summary

BOUNDS = Bounds()
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
DIGEST = "sha256:" + "ab" * 32
WRITERS = 8
PASSES_MAX = 10


def seed(api: KubeApi, namespace: str, numbers: list[int]) -> list[Mapping[str, Any]]:
    """Create the models of a namespace with their revisions, statuses and routes; the applications for its Ray."""
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(lambda number: _seed_one(api, namespace, number), numbers))


def _seed_one(api: KubeApi, namespace: str, number: int) -> Mapping[str, Any]:
    name = f"model-{number:05}"
    body = manifest(name, f"file:///models/{number}", {"rollout": {"progressDeadlineSeconds": 7200}})
    body["metadata"]["finalizers"] = [names.FINALIZER]
    stored = api.create(api.models_path(), body)
    key = keys.ModelKey(namespace, name)
    wanted = _revision(key, objects.view_model(stored))
    revision = writes._revision_body(key, wanted)
    revision["metadata"]["annotations"] = {names.ANNOTATION_DIGEST: DIGEST}
    kept = objects.view_revision(api.create(api.revisions_path(), revision))
    status, entry, application = _settle(key, stored, kept)
    api.create(api.routes_path(), traffic._body(key, entry.to_spec(), wanted.owner_uid))
    api.merge(api.models_path(name) + "/status", {"status": status})
    return json_text.plain(application)


def _revision(key: keys.ModelKey, view: observed.ModelDeploymentView) -> actions.CreateRevision:
    seen = _see(key, view)
    plan = planner.make(build.build(view, (), BOUNDS), seen, BOUNDS, NOW)
    assert isinstance(plan.action, actions.CreateRevision), plan
    return plan.action


def _settle(
    key: keys.ModelKey, stored: Mapping[str, Any], kept: observed.RevisionView
) -> tuple[dict[str, Any], route.RouteEntry, Mapping[str, Any]]:
    """The passes that would be made if all else were there at once: status, route entry and Ray application."""
    status: dict[str, Any] = {"stableRevision": kept.revision}
    entry: route.RouteEntry | None = None
    for _ in range(PASSES_MAX):
        view = objects.view_model({**stored, "status": status})
        config = serve_config.application(view, kept)
        assert config is not None
        seen = _see(key, view, kept=kept, config=config, entry=entry)
        desired = build.build(view, (kept,), BOUNDS)
        plan = planner.make(desired, seen, BOUNDS, NOW)
        if isinstance(plan.action, actions.WriteRoute):
            entry = plan.action.entry
        update = summary.summarise(desired, view, seen, plan=plan, outcome=actions.Done(), now=NOW)
        status = dict(update.status)
        if update.patch is None and entry is not None:
            return status, entry, config.body
    raise AssertionError(f"{key} does not settle: {plan}")


def _see(
    key: keys.ModelKey,
    view: observed.ModelDeploymentView,
    *,
    kept: observed.RevisionView | None = None,
    config: serve.ApplicationConfig | None = None,
    entry: route.RouteEntry | None = None,
) -> observed.Observed:
    applications = {}
    if config is not None:
        running = serve.ApplicationView(
            name=config.name,
            status=serve.ApplicationStatus.RUNNING,
            running_replicas=config.replicas,
            target_replicas=config.replicas,
            config=config.body,
        )
        applications[config.name] = running
    up = {kept.revision: route.RevisionLive(up=1, draining=0, sessions=0)} if kept is not None else {}
    routes = {key.name: route.RouteLive(version=entry.version, revisions=up)} if entry is not None else {}
    member = gateways.GatewaySeen(
        name="gateway-0", view=knowledge.Known(route.GatewayView(id="gateway-0", routes=routes))
    )
    text = route.RouteText(text=entry.to_json()) if entry is not None else None
    return observed.Observed(
        key=key,
        observed_at=NOW,
        object=knowledge.Known(view),
        revisions=(kept,) if kept is not None else (),
        serve={names.DEFAULT_CLUSTER: knowledge.Known(serve.ServeView(session="s", applications=applications))},
        route=knowledge.Known(text) if text is not None else knowledge.ABSENT,
        gateways=knowledge.Known(gateways.Gateways(members=(member,))),
    )

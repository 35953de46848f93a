"""What of the world a settled model rests on, as a value: while it stays equal, the model needs no pass.

Requests in flight are left out on purpose: they change all the time and nothing settled depends on them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from fairlead_operator.observe.gateway import GatewaysEvidence
from fairlead_operator.state import knowledge, observed, route, serve

ServeEvidence = Mapping[str, knowledge.Known[serve.ServeView] | knowledge.Unknown]
RouteEvidence = knowledge.Known[route.RouteText] | knowledge.Absent | knowledge.Unknown


class World:
    """One look at a namespace, taken apart by model once."""

    def __init__(
        self, namespace: str, serve_views: ServeEvidence, routes: Mapping[str, str] | None, gateways: GatewaysEvidence
    ) -> None:
        self._namespace = namespace
        self._serve = serve_views
        self._routes = routes
        self._gateways = gateways
        self._applications = {
            cluster: _by_model(view.value) for cluster, view in serve_views.items() if isinstance(view, knowledge.Known)
        }

    def of(self, model: str) -> Hashable:
        text = self._routes.get(model) if self._routes is not None else "unknown"
        return (self._serve_of(model), text, _gateways_of(model, self._gateways))

    def _serve_of(self, model: str) -> Hashable:
        own = f"{self._namespace}--{model}"
        return tuple(
            (cluster, view.value.session, tuple(self._applications[cluster].get(own, ())))
            if isinstance(view, knowledge.Known)
            else (cluster, type(view).__name__)
            for cluster, view in sorted(self._serve.items())
        )


def of_pass(snapshot: observed.Observed) -> Hashable:
    """The fingerprint of what a pass has seen; equal to ``World.of`` while nothing has changed."""
    model = snapshot.key.name
    match snapshot.route:
        case knowledge.Known(value=text):
            routes: Mapping[str, str] | None = {model: text.text}
        case knowledge.Absent():
            routes = {}
        case knowledge.Unknown():
            routes = None
    return World(snapshot.key.namespace, snapshot.serve, routes, snapshot.gateways).of(model)


def of_ray(evidence: serve.RayEvidence) -> Hashable:
    """What a Ray cluster's settled config rests on: its applications, their configs, the head's session."""
    if not isinstance(evidence, knowledge.Known):
        return type(evidence).__name__
    applications = evidence.value.applications.values()
    return (evidence.value.session, frozenset((view.name, _config(view)) for view in applications))


def _by_model(view: serve.ServeView) -> dict[str, list[Hashable]]:
    found: dict[str, list[Hashable]] = {}
    for name, application in sorted(view.applications.items()):
        state = (application.status, application.message, application.running_replicas, application.target_replicas)
        found.setdefault(name.rpartition("--")[0], []).append((name, state, _config(application)))
    return found


def _config(application: serve.ApplicationView) -> bytes:
    return serve.canonical_json(application.config)


def _gateways_of(model: str, gateways: GatewaysEvidence) -> Hashable:
    if not isinstance(gateways, knowledge.Known):
        return type(gateways).__name__
    return tuple((member.name, member.state, _seen(model, member.view)) for member in gateways.value.members)


def _seen(model: str, view: knowledge.Known[route.GatewayView] | knowledge.Unknown) -> Hashable:
    if not isinstance(view, knowledge.Known):
        return type(view).__name__
    return (view.value.id, _live(view.value.routes.get(model)), view.value.errors.get(model), view.value.failure)


def _live(live: route.RouteLive | None) -> Hashable:
    if live is None:
        return None
    return (live.version, tuple(sorted((name, revision.up) for name, revision in live.revisions.items())))

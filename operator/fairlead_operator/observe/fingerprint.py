"""What of the world a waiting key rests on, as a few bytes: while they stay equal, the key needs no pass.

Requests in flight change all the time: only a model that waits for something on its way (``is_hot``) may wait for
their end, so only its part says whether there are any.
Each answer is taken apart once, and what is the same object as in the answer before is not computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fairlead_operator.observe import gateway
from fairlead_operator.state import gateways, json_text, knowledge, route, serve

DIGEST_BYTES = 12
NOTHING = b""


_Digests = tuple[serve.ApplicationView, bytes, bytes]
"""An application, the digest of all that is reported of it, and that of its configuration."""


class ServeParts:
    """One Ray cluster's answer, by the model that its applications belong to."""

    def __init__(self, evidence: serve.RayEvidence, before: ServeParts | None = None) -> None:
        self.evidence = evidence
        self._digests: dict[str, _Digests] = {}
        self._by_owner: dict[str, bytes] = {}
        self._owned: dict[str, dict[str, serve.ApplicationView]] = {}
        if isinstance(evidence, knowledge.Known):
            self._take_apart(evidence.value, before._digests if before is not None else {})

    def hash_owner(self, owner: str) -> bytes:
        """The part of a model, named as its applications are, without the revision."""
        if not isinstance(self.evidence, knowledge.Known):
            return type(self.evidence).__name__.encode()
        return self.evidence.value.session.encode() + self._by_owner.get(owner, NOTHING)

    def view_of(self, owner: str) -> knowledge.Known[serve.ServeView] | knowledge.Unknown:
        """What a model's pass may believe, with its own applications alone.

        An empty answer without a controller is UNKNOWN.
        """
        match self.evidence:
            case knowledge.Known(value=view):
                own = self._owned.get(owner, {})
                return knowledge.Known(serve.ServeView(session=view.session, applications=own))
            case serve.EmptyServe():
                return knowledge.Unknown("it reports no Serve controller, so nothing is known of the replicas")
            case knowledge.Unknown() as unknown:
                return unknown

    def whole(self) -> bytes:
        """What a cluster's Serve config rests on: its applications and their configs, and the head's session."""
        if isinstance(self.evidence, serve.EmptyServe):
            return f"empty {self.evidence.session}".encode()  # that it says so once more changes nothing
        if not isinstance(self.evidence, knowledge.Known):
            return repr(self.evidence).encode()
        configs = sorted((name, config) for name, (_, _, config) in self._digests.items())
        return digest(self.evidence.value.session, configs)

    def _take_apart(self, view: serve.ServeView, known: Mapping[str, _Digests]) -> None:
        owned: dict[str, bytes] = {}
        for name, application in sorted(view.applications.items()):
            found = known.get(name)
            if found is None or found[0] is not application:
                config = digest(_text_of(application.config))
                state = (application.status, application.message, application.running_replicas, application.running_ids)
                counts = (application.target_replicas, application.waiting_replicas)
                found = (application, digest(name, state, counts, config), config)
            self._digests[name] = found
            owner = name.rpartition("--")[0]
            owned[owner] = owned.get(owner, NOTHING) + found[1]
            self._owned.setdefault(owner, {})[name] = application
        self._by_owner = owned


class GatewayParts:
    """One gateway's answer, by model."""

    def __init__(
        self, view: knowledge.Known[route.GatewayView] | knowledge.Unknown, before: GatewayParts | None = None
    ) -> None:
        self.view = view
        self._lives: dict[str, tuple[route.RouteLive, bytes, bytes]] = {}
        self._common: object = type(view).__name__
        if isinstance(view, knowledge.Known):
            self._common = (view.value.id, view.value.failure)
            known = before._lives if before is not None else {}
            self._lives = {model: _digests_of(live, known.get(model)) for model, live in view.value.routes.items()}

    def part_of(self, model: str, *, is_hot: bool) -> object:
        """The part of a model."""
        if not isinstance(self.view, knowledge.Known):
            return self._common
        found = self._lives.get(model)
        live = found[2 if is_hot else 1] if found is not None else NOTHING
        return (self._common, live, self.view.value.errors.get(model))


def _digests_of(
    live: route.RouteLive, before: tuple[route.RouteLive, bytes, bytes] | None
) -> tuple[route.RouteLive, bytes, bytes]:
    if before is not None and before[0] is live:
        return before
    return (live, digest(gateway.live(live, is_hot=False)), digest(gateway.live(live, is_hot=True)))


Members = Sequence[tuple[gateways.GatewaySeen, GatewayParts]] | str
"""The gateways of a namespace with their parts; a word where there are none, or none can be listed."""


class World:
    """One look at a namespace."""

    def __init__(
        self,
        namespace: str,
        parts: Mapping[str, ServeParts],
        routes: Mapping[str, str] | None,
        members: Members,
        writes: Mapping[str, serve.RayWrite],
        *,
        placing: object = (),
    ) -> None:
        """``placing`` is what decides where new revisions go."""
        self._namespace = namespace
        self._parts = sorted(parts.items())
        self._routes = routes
        self._members = members
        refused = ((name, write) for name, write in writes.items() if not write.is_accepted)
        self._shared = digest(sorted((name, write.kind, write.message) for name, write in refused), placing)

    def hash_model(self, model: str, *, is_hot: bool = False) -> bytes:
        """Of a model."""
        text = self._routes.get(model) if self._routes is not None else "unknown"
        owner = f"{self._namespace}--{model}"
        own = [(cluster, part.hash_owner(owner)) for cluster, part in self._parts]
        seen = self._members
        if not isinstance(seen, str):
            seen = repr([(m.name, m.state.value, m.is_idle, part.part_of(model, is_hot=is_hot)) for m, part in seen])
        return digest(own, text, seen, self._shared)

    def hash_ray(self, cluster: str) -> bytes:
        """Of a Ray cluster's Serve config."""
        return next((part.whole() for name, part in self._parts if name == cluster), NOTHING)

    @property
    def has_unknown(self) -> bool:
        """Whether something that many models share could not be read."""
        if any(isinstance(part.evidence, knowledge.Unknown) for _, part in self._parts):
            return True
        if isinstance(self._members, str):
            return self._members == knowledge.Unknown.__name__
        return any(isinstance(part.view, knowledge.Unknown) for _, part in self._members)


def _text_of(config: Mapping[str, object] | None) -> bytes:
    return config.text if isinstance(config, json_text.KeptJson) else json_text.canonical_json(config)


def digest(*values: object) -> bytes:
    """A few bytes for plain values."""
    return hashlib.blake2b(repr(values).encode(), digest_size=DIGEST_BYTES).digest()

"""The gateways of each namespace from the EndpointSlices of their Service.

The Service has ``publishNotReadyAddresses``, so ``ready`` is always true there, and ``serving`` is what the pod's
readiness says. Source: Kubernetes, ``staging/src/k8s.io/endpointslice/utils.go`` (podToEndpoint).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

from fairlead_operator.api import names
from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector
from fairlead_operator.observe.directory import scoped
from fairlead_operator.state import directory, knowledge
from fairlead_operator.state.gateways import MemberState

OBJECTS = scoped.Kind(
    path_of=paths.endpoint_slices,
    # By the Service's name too: its object is the operator's, and anybody may give another Service the label.
    selector=kubernetes.Selector(
        labels=f"{names.LABEL_ENDPOINTS}=gateways,{names.LABEL_SERVICE_NAME}={names.GATEWAY_MEMBERS}"
    ),
)
DATA_PORT, ADMIN_PORT, INTERNAL_PORT = "data", "admin", "internal"
MEMBERS_MAX = 256
"""A ServingClass allows a hundred, and a rolling update doubles them for a while."""


class _Conditions(pydantic.BaseModel):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class _Target(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(max_length=253)] = ""


class _Endpoint(pydantic.BaseModel):
    addresses: Annotated[list[pydantic.IPvAnyAddress], pydantic.Field(min_length=1)]
    conditions: _Conditions = _Conditions()
    target: Annotated[_Target | None, pydantic.Field(alias="targetRef")] = None


class _Port(pydantic.BaseModel):
    name: str | None = None
    port: Annotated[int, pydantic.Field(gt=0, lt=65536)] | None = None


class _Slice(pydantic.BaseModel):
    address_type: Annotated[Literal["IPv4", "IPv6"], pydantic.Field(alias="addressType")]
    ports: list[_Port] | None = None
    endpoints: list[_Endpoint] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A slice that can't be read."""

    why: str


Members = tuple[directory.Gateway, ...]
_View = tuple[tuple[directory.Gateway, bool], ...] | Unreadable
"""The gateways of a slice, each with whether it is ready; one that ends has that as its state."""


class KubernetesGateways:
    """Implements ``state.directory.GatewayDirectory``.

    Every pod counts that is ready, ends, or was ready before: one that lost its readiness may still have clients. One
    that was never ready has none yet. Of a pod that the first list has it isn't known, so it counts as one that was.
    """

    def __init__(
        self,
        api: reflector.WatchApi,
        namespaces: Sequence[str],
        *,
        clock: Clock,
        on_change: Callable[[str | None], None],
    ) -> None:
        """``on_change`` gets the namespace whose gateways changed, None where it may be any."""
        self._on_change = on_change
        self._slices = scoped.Scoped(api, namespaces, OBJECTS, view_slice, clock=clock, on_change=self._note)
        self._answers: dict[str, knowledge.Known[Members] | knowledge.Unknown] = {}
        self._were_ready: dict[str, frozenset[str]] = {}
        self._unlisted: set[str | None] = set(namespaces or (None,))
        self._without_past: set[str] = set()
        """Namespaces in which nothing was read since the first list: every pod there may have been ready."""

    async def run(self) -> None:
        """List and watch for ever."""
        await self._slices.run()

    def members(self, namespace: str) -> knowledge.Known[Members] | knowledge.Absent | knowledge.Unknown:
        """No gateway at all is an answer: each one that there was is gone.

        The last answer stays true while the API server is away, as a gateway is asked itself.
        """
        if not self._slices.is_listed(namespace):
            error = self._slices.error(namespace)
            return knowledge.Unknown(
                hide_addresses(errors.cause_of(error)) if error is not None else "the EndpointSlices were not read yet"
            )
        if namespace not in self._answers:
            self._answers[namespace] = self._find(namespace)
        return self._answers[namespace]

    def _note(self, namespace: str | None) -> None:
        if namespace in self._unlisted and (namespace is None or self._slices.is_listed(namespace)):
            self._unlisted.remove(namespace)
            self._without_past |= self._slices.namespaces() if namespace is None else {namespace}
        if namespace is None:
            self._answers.clear()
        else:
            self._answers.pop(namespace, None)
            # Asked at each change, so that it is remembered who was ready.
            if self._slices.is_listed(namespace):
                self._answers[namespace] = self._find(namespace)
        self._on_change(namespace)

    def _find(self, namespace: str) -> knowledge.Known[Members] | knowledge.Unknown:
        found: dict[str, tuple[directory.Gateway, bool]] = {}
        for name, view in scoped.items(self._slices.values(namespace)):
            if isinstance(view, Unreadable):
                return knowledge.Unknown(f"EndpointSlice {name}: {view.why}")
            for member, is_ready in view:
                # A pod is listed once for each kind of address, and in two slices while Kubernetes moves it.
                found.setdefault(member.name, (member, is_ready))
        if len(found) > MEMBERS_MAX:
            return knowledge.Unknown(f"the EndpointSlices list {len(found)} gateways, more than {MEMBERS_MAX}")
        before = self._were_ready.get(namespace, frozenset())
        if namespace in self._without_past:
            self._without_past.remove(namespace)
            before = frozenset(found)
        self._were_ready[namespace] = frozenset(
            name for name, (_, is_ready) in found.items() if is_ready or name in before
        )
        return knowledge.Known(tuple(_counting(found.values(), before)))


def _counting(found: Iterable[tuple[directory.Gateway, bool]], were_ready: Set[str]) -> Iterator[directory.Gateway]:
    """Those that may have clients; one that isn't ready any more gets no new ones."""
    for member, is_ready in found:
        if is_ready:
            yield member
        elif member.state is MemberState.TERMINATING or member.name in were_ready:
            yield dataclasses.replace(member, state=MemberState.TERMINATING)


def view_slice(body: Mapping[str, Any]) -> _View:
    """An EndpointSlice. What is odd makes all of it unreadable: a gateway that is left out would confirm nothing."""
    try:
        found = _Slice.model_validate(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return Unreadable(one_line(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"))
    if not found.endpoints:
        return ()
    ports = {each.name: each.port for each in found.ports or () if each.port is not None}
    if not {DATA_PORT, ADMIN_PORT} <= ports.keys():
        return Unreadable(f"it has no ports called {DATA_PORT} and {ADMIN_PORT}")
    return tuple(_member(each, ports) for each in found.endpoints)


def _member(endpoint: _Endpoint, ports: Mapping[str | None, int]) -> tuple[directory.Gateway, bool]:
    address = endpoint.addresses[0]
    host = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)
    conditions = endpoint.conditions
    is_ending = bool(conditions.terminating)
    serving = conditions.serving if conditions.serving is not None else conditions.ready
    name = endpoint.target.name if endpoint.target is not None and endpoint.target.name else str(address)
    member = directory.Gateway(
        name=name,
        # A gateway of an earlier version has no port for the operator, and no TLS either.
        data_url=f"http://{host}:{ports.get(INTERNAL_PORT, ports[DATA_PORT])}",
        admin_url=f"http://{host}:{ports[ADMIN_PORT]}",
        state=MemberState.TERMINATING if is_ending else MemberState.READY,
    )
    return member, serving is not False and not is_ending

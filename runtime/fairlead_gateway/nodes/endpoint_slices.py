"""The Ray nodes from the EndpointSlices of their Services.

The operator makes a headless Service for each Ray cluster; Kubernetes copies its labels to its EndpointSlices. Every
address that a slice has is asked, also one that is not ready or is being ended: its replicas drain, and until the pod
is gone they have requests in flight.

Source: docs/contracts.md, "Replica discovery"; `discovery.k8s.io/v1` in the Kubernetes API reference.
"""

import ipaddress
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from fairlead_gateway import collection, files, metrics
from fairlead_gateway.settings import CLUSTER_NAME, Node

_log = logging.getLogger(__name__)

SELECTOR = "fairlead.dev/endpoints=ray-nodes"
CLUSTER_LABEL = "fairlead.dev/cluster"
PORT_NAME = "directory"
NODES_MAX = 1000
"""So many nodes are asked; each takes one connection. The nodes that were listed before stay."""
FILE = "nodes.json"
_PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


@dataclass(frozen=True, slots=True)
class Slice:
    """What one EndpointSlice lists. `nodes` is None where it can't be read, for the reason that stands beside it."""

    nodes: frozenset[Node] | None
    refused: int = 0
    reason: str = ""


class _Port(pydantic.BaseModel):
    name: str | None = None
    port: int | None = None


class _Metadata(pydantic.BaseModel):
    labels: dict[str, str]


class _Body(pydantic.BaseModel):
    metadata: _Metadata
    address_type: Annotated[Literal["IPv4", "IPv6"], pydantic.Field(alias="addressType")]
    ports: list[_Port] | None = None
    endpoints: list[Any] | None = None


class EndpointSliceNodes:
    """The nodes of all slices of the namespace. The last list is kept in `folder`, for a start without API server.

    A slice that can't be read keeps what it listed when it could be, for as long as it is there.
    """

    def __init__(
        self, *, kubeconfig: Path | None, namespace: str, relist_s: float, folder: Path, metrics_: metrics.Metrics
    ) -> None:
        self._slices = collection.Collection(
            _PATH.format(namespace=namespace),
            read=parse,
            kubeconfig=kubeconfig,
            relist_s=relist_s,
            on_error=metrics_.count_node_list_error,
            selector=SELECTOR,
        )
        self._file = folder / FILE
        self._metrics = metrics_
        self._readable: dict[str, Slice] = {}
        self._before: Mapping[str, Slice] = {}

    async def follow(self) -> AsyncIterator[Sequence[Node]]:
        nodes = self._load()
        if nodes is not None:
            yield nodes
        async for slices in self._slices.follow():
            found = self._merge(slices, before=nodes or ())
            if found != nodes:
                # Saved before it is used: a restarted gateway continues from here.
                self._save(found)
                nodes = found
            yield found

    def _merge(self, slices: Mapping[str, Slice], *, before: Sequence[Node]) -> tuple[Node, ...]:
        for name, each in slices.items():
            if each == self._before.get(name):
                continue
            self._metrics.count_refused_endpoints(each.refused)
            if each.nodes is None:
                _log.warning("endpoint slice refused name=%s reason=%r", name, each.reason)
            else:
                self._readable[name] = each
        self._before = slices
        self._readable = {name: each for name, each in self._readable.items() if name in slices}
        found = frozenset(node for each in self._readable.values() for node in each.nodes or ())
        kept = [node for node in before if node in found]
        added = sorted(found.difference(kept), key=lambda node: (node.cluster, node.host, node.port))
        if len(found) > NODES_MAX:
            _log.warning("too many nodes listed=%d asked=%d", len(found), NODES_MAX)
        return (*kept, *added)[:NODES_MAX]

    def _load(self) -> tuple[Node, ...] | None:
        """The last list; None where there is none, which is not an empty one."""
        try:
            saved = json.loads(self._file.read_text())
            return tuple(Node(cluster=each["cluster"], host=each["host"], port=each["port"]) for each in saved)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("saved nodes unreadable error=%s: %s", type(error).__name__, error)
            return None

    def _save(self, nodes: Sequence[Node]) -> None:
        saved = [{"cluster": each.cluster, "host": each.host, "port": each.port} for each in nodes]
        try:
            files.write(self._file, json.dumps(saved))
        except OSError as error:
            _log.warning("nodes not saved error=%s", error)


def parse(found: collection.Object) -> Slice:
    """Read an EndpointSlice. An endpoint that is odd is left out alone; it must not hide the others."""
    try:
        body = _Body.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:64] for part in first["loc"])
        return Slice(nodes=None, reason=f"{where}: {first['msg'][:200]}")
    cluster = body.metadata.labels.get(CLUSTER_LABEL, "")
    if CLUSTER_NAME.fullmatch(cluster) is None:
        return Slice(nodes=None, reason=f"metadata.labels: {CLUSTER_LABEL} names no Ray cluster")
    port = next((each.port for each in body.ports or () if each.name == PORT_NAME), None)
    if port is None or not 0 < port < 65536:
        return Slice(nodes=None, reason=f"ports: no port is called {PORT_NAME}")
    version = 4 if body.address_type == "IPv4" else 6
    endpoints = body.endpoints or []
    hosts = [host for each in endpoints if (host := _host(each, version)) is not None]
    nodes = frozenset(Node(cluster=cluster, host=host, port=port) for host in hosts)
    return Slice(nodes=nodes, refused=len(endpoints) - len(hosts))


def _host(endpoint: Any, version: int) -> str | None:
    """The address of an endpoint; None when it is odd. All addresses of one endpoint lead to the same pod."""
    addresses = endpoint.get("addresses") if isinstance(endpoint, dict) else None
    if not isinstance(addresses, list) or not addresses or not isinstance(addresses[0], str):
        return None
    try:
        found = ipaddress.ip_address(addresses[0])
    except ValueError:
        return None
    is_one_host = not (found.is_multicast or found.is_unspecified)
    return str(found) if found.version == version and is_one_host else None

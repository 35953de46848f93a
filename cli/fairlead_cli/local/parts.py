"""The parts of a local cluster as a table: which ports each has, how it is started, and when it is ready."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from fairlead_cli.local import (
    binaries,
    control_plane,
    layout,
    options,
    processes,
    programs,
    ray_head,
    ray_node,
    ray_worker,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a part's command and readiness depend on."""

    where: layout.Layout
    ports: layout.Ports
    found: binaries.Binaries
    chosen: options.Options


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of the table.

    `account` is the service account (namespace, name) it runs under; None where it has a certificate of its own.
    `starts` is how often it may end while it starts before that counts as failed.
    """

    ports: Sequence[str]
    command: Callable[[Context], processes.Command]
    is_ready: Callable[[Context], bool]
    account: Callable[[Context], tuple[str, str]] | None = None
    starts: int = 1


def _answers(port: str, path: str) -> Callable[[Context], bool]:
    return lambda at: control_plane.answers(at.where, at.ports[port], path)


# In the order in which they are started; what comes later needs what comes before, Ray aside.
TABLE: Mapping[str, Part] = {
    "etcd": Part(
        ports=("etcd", "etcd-peer"),
        command=lambda at: control_plane.etcd(at.where, at.found, at.ports),
        is_ready=_answers("etcd", "/health"),
    ),
    "kube-apiserver": Part(
        ports=("kube-apiserver",),
        command=lambda at: control_plane.kube_apiserver(at.where, at.found, at.ports),
        is_ready=_answers("kube-apiserver", "/readyz"),
    ),
    "kube-controller-manager": Part(
        ports=("kube-controller-manager",),
        command=lambda at: control_plane.kube_controller_manager(at.where, at.found, at.ports),
        is_ready=_answers("kube-controller-manager", "/healthz"),
    ),
    "ray": Part(
        ports=ray_head.PORTS,
        command=lambda at: ray_head.command(at.where, at.ports, at.chosen),
        is_ready=lambda at: ray_head.is_ready(at.where, at.ports),
        starts=6,  # it allows its raylet 30 s, which a busy machine may need longer for. Source: ray/_private/node.py
    ),
    "worker": Part(
        ports=ray_worker.PORTS,
        command=lambda at: ray_worker.command(at.where, at.ports, at.chosen),
        is_ready=lambda at: ray_worker.is_ready(at.where, at.ports),
        starts=6,
    ),
    "second": Part(
        ports=ray_head.port_names(ray_node.SECOND),
        command=lambda at: ray_head.command(at.where, at.ports, at.chosen, ray_node.SECOND),
        is_ready=lambda at: ray_head.is_ready(at.where, at.ports, ray_node.SECOND),
        starts=6,
    ),
    "gateway": Part(
        # It is started with the addresses at which it asks for replicas, whether or not a Ray node is there.
        ports=(
            "gateway-data",
            "gateway-admin",
            *(each.directory for each in (ray_node.HEAD, ray_node.WORKER, ray_node.SECOND)),
        ),
        command=lambda at: programs.gateway(at.where, at.ports, at.chosen),
        is_ready=lambda at: programs.is_healthy(at.ports["gateway-admin"]),
        account=lambda at: (at.chosen.namespace, programs.GATEWAY_ACCOUNT),
    ),
    "operator": Part(
        ports=("operator", ray_node.SECOND.port("dashboard")),
        command=lambda at: programs.operator(at.where, at.ports, at.chosen),
        is_ready=lambda at: programs.is_healthy(at.ports["operator"]),
        account=lambda _at: programs.OPERATOR_ACCOUNT,
    ),
}
KUBERNETES = ("etcd", "kube-apiserver", "kube-controller-manager")
# What kubectl needs.
KUBECTL = ("etcd", "kube-apiserver")
# What a cluster has unless more is asked for.
USUAL = tuple(part for part in TABLE if part not in (ray_node.WORKER.part, ray_node.SECOND.part))
NEEDS: Mapping[str, Sequence[str]] = {
    "worker": ("ray",),
    "gateway": KUBERNETES,
    "operator": (*KUBERNETES, "ray", "gateway"),
}


def with_needs(wanted: Sequence[str]) -> tuple[str, ...]:
    """These parts and what they need, in starting order. Kubernetes always: it is what makes it a cluster."""
    closed = {*KUBERNETES, *wanted, *(need for part in wanted for need in NEEDS.get(part, ()))}
    return tuple(part for part in TABLE if part in closed)

"""EndpointSlices as Kubernetes makes them for the pods of a headless Service, written by a test in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_cli.local import cluster

RESOURCE = "endpointslices.discovery.k8s.io"
# Of the network that `python -m tests.own_network` makes: the API server refuses loopback addresses in EndpointSlices.
# Source: RFC 5737, TEST-NET-1.
OWN_ADDRESS = "192.0.2.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod of a Service that has `publishNotReadyAddresses`, so that `ready` is always true."""

    address: str
    is_ready: bool = True
    is_ending: bool = False
    pod: str | None = None

    def body(self) -> dict[str, Any]:
        conditions = {
            "ready": True,
            "serving": self.is_ready,
            "terminating": self.is_ending,
        }
        target = {} if self.pod is None else {"targetRef": {"kind": "Pod", "name": self.pod}}
        return {"addresses": [self.address], "conditions": conditions, **target}


class Slices:
    """The slices that one test wrote."""

    def __init__(
        self, kubernetes: cluster.LocalCluster, *, labels: Mapping[str, str], namespace: str | None = None
    ) -> None:
        self._namespace = namespace or kubernetes.namespace
        self._kubernetes = kubernetes
        self._labels = labels
        self._names: set[str] = set()

    def write(self, name: str, endpoints: Sequence[Endpoint], *, ports: Mapping[str, int]) -> None:
        self._names.add(name)
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": self._namespace, "labels": dict(self._labels)},
            "addressType": "IPv4",
            "ports": [{"name": each, "port": port, "protocol": "TCP"} for each, port in ports.items()],
            "endpoints": [each.body() for each in endpoints],
        }
        done = self._kubernetes.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(body)
        )
        assert done.returncode == 0, done.stderr

    def delete(self, name: str) -> None:
        self._names.discard(name)
        self._kubernetes.kubectl(
            "-n", self._namespace, "delete", RESOURCE, name, "--ignore-not-found"
        ).check_returncode()

    def delete_all(self) -> None:
        for name in tuple(self._names):
            self.delete(name)

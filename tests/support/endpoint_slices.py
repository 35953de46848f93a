"""EndpointSlices as Kubernetes makes them for the pods of a headless Service, written by a test in its place."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_cli.local import cluster

RESOURCE = "endpointslices.discovery.k8s.io"


def machine_address() -> str:
    """An address of this machine that isn't loopback: the API server refuses those in EndpointSlices. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod; its conditions are those of a pod that is ready, unless it ends."""

    address: str
    is_ready: bool = True
    is_ending: bool = False

    def body(self) -> dict[str, Any]:
        conditions = {
            "ready": self.is_ready and not self.is_ending,
            "serving": self.is_ready,
            "terminating": self.is_ending,
        }
        return {"addresses": [self.address], "conditions": conditions}


class Slices:
    """The slices that one test wrote."""

    def __init__(self, kubernetes: cluster.LocalCluster, *, labels: Mapping[str, str]) -> None:
        self._kubernetes = kubernetes
        self._labels = labels
        self._names: set[str] = set()

    def write(self, name: str, endpoints: Sequence[Endpoint], *, ports: Mapping[str, int]) -> None:
        self._names.add(name)
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": self._kubernetes.namespace, "labels": dict(self._labels)},
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
        self._kubernetes.kubectl("delete", RESOURCE, name, "--ignore-not-found").check_returncode()

    def delete_all(self) -> None:
        for name in tuple(self._names):
            self.delete(name)

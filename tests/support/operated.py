"""A namespace of a real API server with the real operator, over a fake Ray and a fake gateway."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.support import leases
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay
from tests.support.kube_api import KubeApi
from tests.support.operator_process import OperatorProcess
from tests.support.until import until

from fairlead_cli.local import cluster, manifests

TOKEN = "a-token-of-the-tests"
PUBLIC_URL = "http://models.example"


class Operated:
    """What a story of the operator needs: ``apply`` a model, look at it, at Ray and at the gateway."""

    def __init__(
        self,
        kubernetes: cluster.LocalCluster,
        folder: Path,
        *,
        flags: tuple[str, ...] = (),
        where: tuple[str, ...] = (),
        clusters: tuple[str, ...] = ("default",),
        is_forked: bool = True,
    ) -> None:
        """``where`` takes the place of ``--namespace`` and its grant. New revisions go to the first of ``clusters``.

        A fork starts sooner than the operator's command, and shares its memory with others.
        """
        self.kubernetes = kubernetes
        self.namespace = f"t{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.api = KubeApi(kubernetes.kubeconfig, self.namespace)
        self.rays = {name: FakeRay(token=TOKEN) for name in clusters}
        self.ray = self.rays[clusters[0]]
        self._flags = flags
        self._is_forked = is_forked
        self.flags_of_namespace: Callable[[str], tuple[str, ...]] = lambda _namespace: ()
        """Flags that name the namespace, which is made here."""
        self._where = where

    def __enter__(self) -> Operated:
        self.kubectl("create", "namespace", self.namespace, scoped=False)
        if not self._where:
            grant(self.kubernetes, self.namespace)
        leases.take_away(self.kubernetes)
        for ray in self.rays.values():
            ray.__enter__()
        self.gateway = FakeGateway(namespace=self.namespace, rays=self.rays, read_routes=self._routes)
        self.gateway.__enter__()
        kubeconfig = self.kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
        self._own_flags = (
            *("--kubeconfig", str(kubeconfig), *(self._where or ("--namespace", self.namespace))),
            *self.infrastructure(),
            *("--public-url", f"{self.namespace}={PUBLIC_URL}", "--log-level", "debug", *self._flags),
            *self.flags_of_namespace(self.namespace),
        )
        self.start_operator(*self.rays)
        return self

    def infrastructure(self) -> tuple[str, ...]:
        """The flags that say where gateways are, and what Ray asks for."""
        token_file = self.folder / "ray-token"
        token_file.write_text(TOKEN + "\n")
        return ("--ray-token-file", str(token_file), "--gateway", f"{self.namespace}={self.gateway.addresses}")

    def start_operator(self, *clusters: str) -> None:
        """An operator that knows these Ray clusters; new revisions go to the first one."""
        rays = [flag for name in clusters for flag in ("--ray", f"{self.namespace}/{name}={self.rays[name].url}")]
        self.flags = (*self._own_flags, *rays)
        self.operator = OperatorProcess(self.flags, log=self.folder / "operator.log", is_forked=self._is_forked)
        self.operator.start()

    def require_operator(self) -> None:
        """Start the operator again if it has ended, as it does where a busy machine let its Lease run out."""
        if not self.operator.is_running():
            self.operator.start()

    def kill_operator(self) -> None:
        """SIGKILL; the next one does not wait for the Lease of the dead one."""
        self.operator.kill()
        leases.take_away(self.kubernetes)

    def __exit__(self, *_: object) -> None:
        self.operator.stop()
        self.gateway.__exit__(None, None, None)
        for ray in self.rays.values():
            ray.__exit__(None, None, None)
        self.api.close()

    def kubectl(self, *arguments: str, scoped: bool = True, input_text: str | None = None) -> str:
        """What kubectl prints; its failure is the test's."""
        where = ("-n", self.namespace) if scoped else ()
        done = self.kubernetes.kubectl(*where, *arguments, input=input_text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, name: str, uri: str = "file:///models/good", **spec: Any) -> None:
        """Apply a model; further keywords are parts of the spec."""
        body = manifest(name, uri, spec)
        self.kubectl("apply", "-f", "-", input_text=yaml.safe_dump(body))

    def create(self, body: dict[str, Any]) -> None:
        self.kubectl("create", "-f", "-", input_text=yaml.safe_dump(body))

    def get(self, name: str) -> dict[str, Any] | None:
        found = self.api.get(self.api.models_path(name))
        return dict(found) if found is not None else None

    def status(self, name: str) -> dict[str, Any]:
        return (self.get(name) or {}).get("status") or {}

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = [c for c in self.status(name).get("conditions") or () if c["type"] == kind]
        return found[0] if found else {}

    def is_ready(self, name: str) -> bool:
        """Ready is true for the generation that is there."""
        body = self.get(name) or {}
        ready = [c for c in (body.get("status") or {}).get("conditions") or () if c["type"] == "Ready"]
        generation = (body.get("metadata") or {}).get("generation")
        return bool(ready) and ready[0]["status"] == "True" and ready[0].get("observedGeneration") == generation

    def until_ready(self, name: str, *, deadline_s: float = 120) -> dict[str, Any]:
        until(
            lambda: self.is_ready(name), f"{name} is ready", deadline_s=deadline_s, explain=lambda: self.explain(name)
        )
        return self.status(name)

    def revisions(self, name: str) -> list[dict[str, Any]]:
        return sorted((dict(item) for item in self.api.revisions(name)), key=lambda item: item["revision"])

    def event_reasons(self, name: str) -> set[str]:
        found = self.api.get(self.api.core_path("events")) or {"items": []}
        return {item["reason"] for item in found["items"] if item["involvedObject"]["name"] == name}

    def _routes(self) -> dict[str, dict[str, Any]] | None:
        """The routes as the gateway reads them; None while the API server is away."""
        try:
            found = self.api.get(self.api.routes_path(), within_s=0)
        except httpx.HTTPError:
            return None
        return {item["metadata"]["name"]: item["spec"] for item in (found or {"items": []})["items"]}

    def explain(self, name: str) -> str:
        return f"{yaml.safe_dump(self.get(name))}\n{self.operator.tail()}"


def manifest(name: str, uri: str, spec: dict[str, Any]) -> dict[str, Any]:
    model = {"uri": uri, **spec.pop("model", {})}
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": {"model": model, **spec},
    }


def grant(kubernetes: cluster.LocalCluster, namespace: str) -> None:
    """Bind the operator's shipped rules in one more namespace."""
    for path in manifests.rbac_files():
        if path.name != "operator-namespace.yaml":
            continue
        text = path.read_text().replace("${NAMESPACE}", namespace)
        done = kubernetes.kubectl("apply", "-f", "-", input=text)
        assert done.returncode == 0, done.stderr

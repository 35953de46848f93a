"""One namespace with a model, the real operator behind fault proxies, a fake Ray and a fake gateway; one run's world.

Every run has its own namespace, Lease, operator, Ray and gateway, so that nothing of another run can be in it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults import kube, prefork, sight
from tests.faults.clients import Clients
from tests.faults.proxy import FaultProxy
from tests.faults.script import Script
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay
from tests.support.until import until

from fairlead_cli.local import ports

MODEL = "m"
TOKEN = "a-token-of-the-faults"
DEADLINE_S = 180.0
"""No time is judged: this only ends what never comes, also on a machine that has much else to do."""
POLL_S = 0.1
QUIET_S = 1.2
"""So long nothing may be written once the end is reached: longer than the operator's sweep and its poll."""

Body = dict[str, Any]


class Bench:
    """``credentials`` is the operator's service account's token."""

    def __init__(self, cluster: kube.Kube, nursery: prefork.Nursery, *, credentials: str, folder: Path) -> None:
        self.kube = cluster
        self.namespace = f"f{uuid.uuid4().hex[:10]}"
        self._model_path = f"{kube.MODELS.format(namespace=self.namespace)}/{MODEL}"
        paths = {
            sight.MODEL: self._model_path,
            sight.REVISIONS: kube.REVISIONS.format(namespace=self.namespace),
            sight.ROUTES: kube.ROUTES.format(namespace=self.namespace),
        }
        self._sight = sight.Sight(cluster, paths)
        self.script = Script(kill=self._kill, on_end=lambda write: self._sight.wrote(write.name))
        self.clients: Clients | None = None
        self.log = folder / f"{self.namespace}.log"
        self._nursery = nursery
        self._credentials = credentials
        self._folder = folder
        self._exits = contextlib.ExitStack()
        self._pid: int | None = None
        self._killed: int | None = None
        self._leads_since_s: float | None = None
        self._port = ports.pick(())  # kept for all its operators: not one that the kernel gives to somebody's client

    def __enter__(self) -> Self:
        self.kube.make_namespace(self.namespace)
        self.ray = self._exits.enter_context(FakeRay(token=TOKEN))
        self.gateway = self._exits.enter_context(
            FakeGateway(namespace=self.namespace, rays={"default": self.ray}, read_routes=self.routes)
        )
        data, admin = self.gateway.addresses.split(",")
        upstreams = {"ray": self.ray.url, "gateway data": data, "gateway admin": admin}
        proxies = {name: self._enter(FaultProxy(name, url, self.script)) for name, url in upstreams.items()}
        proxies["api"] = self._enter(FaultProxy("api", self.kube.server, self.script, tls=self.kube.trust))
        self._flags = self._make_flags({name: proxy.url for name, proxy in proxies.items()})
        self.start_operator()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_operator()
        self._exits.close()
        # The finalizer would keep the object for ever: the operator is gone. The namespace stays, empty: its deletion
        # would cost the API server more than the whole run.
        if self.model() is not None:
            self._patch({"metadata": {"finalizers": None}})
            self.delete()
        self.kube.delete(kube.ROUTES.format(namespace=self.namespace))

    # The operator

    def start_operator(self) -> None:
        """Start it at once as the leader: its dead predecessor's Lease is taken away, as time would do."""
        self.kube.delete(f"{kube.LEASES.format(namespace=self.namespace)}/fairlead-operator")
        self._pid = self._nursery.start(self._flags, self.log)
        self._leads_since_s = None

    def stop_operator(self) -> None:
        if self._pid is not None:
            self._nursery.kill(self._pid)
        self._pid = None

    def _kill(self) -> None:
        """On a proxy's thread: the signal alone; who restarts it waits for its end."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._killed = self._pid

    def revive(self) -> None:
        """Start the operator again if it was killed by the script, or gave up by itself, as a kubelet would."""
        if self._pid is not None and (self._killed == self._pid or not prefork.is_alive(self._pid)):
            self.stop_operator()
            self.start_operator()

    def _make_flags(self, urls: dict[str, str]) -> tuple[str, ...]:
        token, kubeconfig = self._folder / f"{self.namespace}.token", self._folder / f"{self.namespace}.kubeconfig"
        token.write_text(TOKEN + "\n")
        kubeconfig.write_text(json.dumps(_kubeconfig(urls["api"], self._credentials)))
        return (
            *("--kubeconfig", str(kubeconfig), "--namespace", self.namespace, "--lease-namespace", self.namespace),
            *("--ray", f"{self.namespace}={urls['ray']}", "--ray-token-file", str(token)),
            *("--gateway", f"{self.namespace}={urls['gateway data']},{urls['gateway admin']}"),
            *("--resync-seconds", "5", "--sweep-seconds", "0.5", "--log-level", "debug"),
            *("--listen", f"127.0.0.1:{self._port}"),
        )

    def _enter(self, proxy: FaultProxy) -> FaultProxy:
        return self._exits.enter_context(proxy)

    # The model

    def create(self, spec: Body) -> None:
        body = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": MODEL}}
        path = kube.MODELS.format(namespace=self.namespace)
        self._sight.change(sight.MODEL, lambda: self.kube.create(path, {**body, "spec": spec}))

    def change(self, spec: Body) -> None:
        """A merge patch of the spec."""
        self._patch({"spec": spec})

    def ask(self, verb: str, **more: Any) -> None:
        """What ``kubectl fairlead`` writes."""
        status = self.status()
        revision = status.get("candidateRevision") or status["stableRevision"]
        time_text = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        request = {"id": f"request-{verb}", "verb": verb, "revision": revision, "time": time_text, **more}
        self._patch({"status": {"request": request}}, "/status")

    def _patch(self, patch: Body, subresource: str = "") -> None:
        self._sight.change(sight.MODEL, lambda: self.kube.patch(self._model_path + subresource, patch))

    def delete(self) -> None:
        self._sight.change(sight.MODEL, lambda: self.kube.delete(self._model_path))

    def model(self) -> Body | None:
        return self._sight.of(sight.MODEL)

    def status(self) -> Body:
        return (self.model() or {}).get("status") or {}

    def revisions(self) -> list[Body]:
        found = self._sight.of(sight.REVISIONS) or {"items": []}
        return sorted(found["items"], key=lambda item: int(item["revision"]))

    def routes(self) -> dict[str, Body]:
        """The ``spec`` of each ModelRoute, by model."""
        found = self._sight.of(sight.ROUTES) or {"items": []}
        return {item["metadata"]["name"]: item["spec"] for item in found["items"]}

    # Waiting

    def until(self, condition: Callable[[Bench], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Wait, keeping the operator alive as a kubelet would, while clients send."""

        def holds() -> bool:
            self.revive()
            if self.clients is not None:
                self.clients.look(self)
            return condition(self)

        until(holds, what, deadline_s=deadline_s, poll_s=POLL_S, explain=self.explain)

    def until_quiet(self) -> None:
        """Nothing was written for a while, by an operator that lives."""

        def is_quiet() -> bool:
            self.revive()
            if self._leads_since_s is None and self._leads():
                self._leads_since_s = time.monotonic()
            last_s = max(self.script.last_write_s(), self._leads_since_s or math.inf)
            return time.monotonic() - last_s > QUIET_S

        until(is_quiet, "nothing is written any more", deadline_s=DEADLINE_S, poll_s=POLL_S, explain=self.explain)

    def _leads(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
                return bool(answer.read() == b"leader")
        except OSError:
            return False

    def explain(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-25:] if self.log.exists() else []
        return "\n".join([json.dumps(self.status()), *lines])


def _kubeconfig(server: str, token: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "faults", "cluster": {"server": server}}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "operator"}}],
        "current-context": "faults",
    }

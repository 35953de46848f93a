"""The real operator behind fault proxies, and the two namespaces that it serves; one run's world.

Every run has its own namespaces, Lease, operator, Rays and gateways, so that nothing of another run can be in it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults import kube, prefork
from tests.faults.clients import Clients
from tests.faults.namespaces import Namespaces
from tests.faults.place import TOKEN, Place
from tests.faults.proxy import FaultProxy
from tests.faults.script import Script, Write
from tests.support.free_ports import free_port
from tests.support.until import until

DEADLINE_S = 180.0
"""No time is judged: this only ends what never comes, also on a machine that has much else to do."""
POLL_S = 0.1
QUIET_S = 1.2
"""So long nothing may be written once the end is reached: longer than the operator's sweep and its poll."""

Body = dict[str, Any]


class Bench(Place):
    """The place where the story happens, with its operator; ``bystander`` is the second place of the same operator.

    ``credentials`` is the operator's service account's token.
    """

    def __init__(self, namespaces: Namespaces, nursery: prefork.Nursery, *, credentials: str, folder: Path) -> None:
        super().__init__(namespaces)
        self.bystander = Place(namespaces)
        self.script = Script(kill=self._kill, on_end=self._ended, bystander=self.bystander.namespace)
        self.clients: Clients | None = None
        self.log = folder / f"{self.namespace}.log"
        self._nursery = nursery
        self._credentials = credentials
        self._folder = folder
        self._exits = contextlib.ExitStack()
        self._pid: int | None = None
        self._killed: int | None = None
        self._leads_since_s: float | None = None
        self._port = free_port()  # kept for all its operators: not one that the kernel gives to somebody's client

    def __enter__(self) -> Self:
        for place in (self, self.bystander):
            place.open(self._exits)
        upstreams = {"ray": self.ray.url} | _gateway_ports(self)
        proxies = {name: self._enter(FaultProxy(name, url, self.script)) for name, url in upstreams.items()}
        proxies["api"] = self._enter(FaultProxy("api", self.kube.server, self.script, tls=self.kube.trust))
        self._flags = self._make_flags({name: proxy.url for name, proxy in proxies.items()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_operator()
        self._exits.close()
        for place in (self, self.bystander):
            place.clean()

    def _ended(self, write: Write) -> None:
        (self.bystander if self.bystander.namespace in write.path else self).wrote(write.name)

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
            *("--kubeconfig", str(kubeconfig), "--lease-namespace", self.namespace),
            *("--namespace", self.namespace, "--namespace", self.bystander.namespace),
            *("--ray", f"{self.namespace}={urls['ray']}", "--ray-token-file", str(token)),
            *("--ray", f"{self.bystander.namespace}={self.bystander.ray.url}"),
            *("--gateway", f"{self.namespace}={urls['gateway data']},{urls['gateway admin']}"),
            *("--gateway", f"{self.bystander.namespace}={self.bystander.gateway.addresses}"),
            *("--resync-seconds", "5", "--sweep-seconds", "0.5", "--log-level", "debug"),
            *("--listen", f"127.0.0.1:{self._port}"),
        )

    def _enter(self, proxy: FaultProxy) -> FaultProxy:
        return self._exits.enter_context(proxy)

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
        return "\n".join([json.dumps(self.status()), json.dumps(self.bystander.status()), *lines])


def _gateway_ports(place: Place) -> dict[str, str]:
    data, admin = place.gateway.addresses.split(",")
    return {"gateway data": data, "gateway admin": admin}


def _kubeconfig(server: str, token: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "faults", "cluster": {"server": server}}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "operator"}}],
        "current-context": "faults",
    }

"""Real Ray Serve with replicas on it, without an operator: its REST API, and what the nodes' directories list."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import ray_nodes

from fairlead_cli.local import cluster

START_S = 300
HEALTH_INTERVAL_S = 0.1


@dataclass
class Ray:
    """Serve's REST API of a running head with two nodes, and the models that may be served."""

    local: cluster.LocalCluster
    address: str
    token: str
    models: Path

    def replicas(self, app: Mapping[str, object]) -> list[dict]:
        """What the directories of both nodes list of an application's revision, the host of its node with each."""
        config = app["args"]["config"]
        every = (each for part in ("ray", "worker") for each in ray_nodes.listed(self.local, part))
        return [each for each in every if (each["model"], each["revision"]) == (config["model"], config["revision"])]

    def one(self, app: Mapping[str, object]) -> dict:
        """The application's one replica."""
        (found,) = self.replicas(app)
        return found

    def call(self, method: str, body: object = None) -> dict[str, object]:
        asked = urllib.request.Request(
            f"{self.address}/api/serve/applications/",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=120) as answer:
            raw = answer.read()
        return json.loads(raw) if raw else {}

    def put(self, *applications: object) -> None:
        self.call("PUT", {"proxy_location": "Disabled", "applications": list(applications)})

    def targets(self, name: str) -> list[int]:
        """How many replicas each of an application's deployments shall have."""
        found = self.call("GET")["applications"]
        assert isinstance(found, dict)
        return [each["target_num_replicas"] for each in found[name]["deployments"].values()]

    def status(self, name: str) -> tuple[str, str]:
        """An application's status, and the message of its deployment."""
        found = self.call("GET")["applications"]
        assert isinstance(found, dict)
        state = found.get(name, {"status": "ABSENT", "deployments": {}})
        return state["status"], "\n".join(each["message"] for each in state["deployments"].values())


def application(ray: Ray, model: str, *, source: Mapping[str, object] | None = None, digest: str | None = None) -> dict:
    revision = (model.encode().hex() + "0" * 10)[:10]
    given = {"uri": (ray.models / model).as_uri(), "format": None, "signature": None, "digest": None, **(source or {})}
    config = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": model,
        "revision": revision,
        "revisionNumber": 1,
        "aliases": [],
        "source": given,
        "warmup": {"batchSizes": [1, 2]},
        "attempt": 0,
    }
    replica = {
        "name": "replica",
        "num_replicas": 1,
        "user_config": {"digest": digest},
        "ray_actor_options": {"num_cpus": 0.5, "memory": 200_000_000},
        "graceful_shutdown_timeout_s": 40,
    }
    return {
        "name": f"default--{model}--{revision}",
        "import_path": "fairlead_runtime.app:build",
        "route_prefix": None,
        "args": {"config": config},
        "deployments": [replica],
    }


def ask(replica: dict, method: str, path: str, body: object = None) -> tuple[int, object, Mapping[str, str]]:
    """As a gateway: the replica is meant by its name."""
    connection = http.client.HTTPConnection(replica["host"], replica["port"], timeout=60)
    headers = {"x-fairlead-replica": replica["name"]}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        with answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    finally:
        connection.close()


class LikeAGateway:
    """Asks over new connections and checks health all the time; goes away at the second check after a 404."""

    def __init__(self, replica: dict, body: object) -> None:
        self.succeeded = 0
        self.succeeded_while_draining = 0
        self.failed: list[str] = []
        self.has_left = threading.Event()
        self._replica, self._health, self._body = replica, f"/-/healthz/{replica['name']}", body
        self._path = f"/v1/models/{replica['model']}:predict"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        not_found, next_check_s = 0, time.monotonic()
        while not_found < 2:
            try:
                if time.monotonic() >= next_check_s:
                    next_check_s = time.monotonic() + HEALTH_INTERVAL_S
                    not_found += ask(self._replica, "GET", self._health)[0] == 404
                status = ask(self._replica, "POST", self._path, self._body)[0]
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                break
            if status != 200:
                self.failed.append(str(status))
            self.succeeded += 1
            self.succeeded_while_draining += not_found > 0
        self.has_left.set()

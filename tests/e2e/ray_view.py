"""Ray Serve as tests read it: applications, the processes of their replicas, and how often these began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from fairlead_cli.local import cluster, ray_node

# An answer takes the dashboard and Serve's controller some processor time, which replicas need to start.
RAY_POLL_S = 0.25


class RayView:
    """Reads with the token each time, for Ray may be another one by now."""

    def __init__(self, local: cluster.LocalCluster, head: ray_node.Node = ray_node.HEAD) -> None:
        self._local = local
        # One client for all: each makes a TLS context of its own, which takes longer than an answer.
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{local.ports[head.port('dashboard')]}", timeout=120)

    def close(self) -> None:
        self._client.close()

    def applications(self, model: str = "") -> Mapping[str, Any]:
        """The applications of a model (of all by default), by revision or name."""
        headers = {"authorization": f"Bearer {self._local.ray_token_file.read_text().strip()}"}
        answer = self._client.get("/api/serve/applications/", headers=headers).raise_for_status()
        found = answer.json()["applications"]
        if not model:
            return dict(found)
        prefix = f"{self._local.namespace}--{model}--"
        return {name.removeprefix(prefix): each for name, each in found.items() if name.startswith(prefix)}

    def replica_pids(self, model: str, *, state: str = "RUNNING") -> tuple[int, ...]:
        """The processes of the replicas in this state."""
        return tuple(
            sorted(
                replica["pid"]
                for application in self.applications(model).values()
                for deployment in application["deployments"].values()
                for replica in deployment["replicas"]
                if replica["state"] == state and replica.get("pid")
            )
        )

    def starts(self, model: str, revision: str) -> int:
        """How many replicas of a revision ever began: each has a log of its own."""
        logs = self._local.ray_logs / "serve"
        return len(list(logs.glob(f"replica_{self._local.namespace}--{model}--{revision}_*.log")))

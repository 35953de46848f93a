"""A real MLflow tracking server on loopback, and what a person does with it, by its REST API."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.support import object_servers
from tests.support.foreign import packages
from tests.support.free_ports import free_port


class Registry:
    """The server's URL, and models that are registered as MLflow's client does it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def close(self) -> None:
        self._client.close()

    def register(self, name: str, files: Mapping[str, bytes]) -> str:
        """Logs the files as a model of a new run, and registers it; returns its version."""
        run = self._post("runs/create", experiment_id="0")["run"]["info"]
        where = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path, content in files.items():
            target = f"/api/2.0/mlflow-artifacts/artifacts/{where}/model/{path}"
            self._client.put(target, content=content).raise_for_status()
        return self.register_at(name, f"{run['artifact_uri']}/model", run_id=run["run_id"])

    def register_at(self, name: str, source: str, **more: str) -> str:
        """Registers what lies elsewhere."""
        self._client.post("/api/2.0/mlflow/registered-models/create", json={"name": name})
        return str(self._post("model-versions/create", name=name, source=source, **more)["model_version"]["version"])

    def give_alias(self, name: str, alias: str, version: str) -> None:
        self._post("registered-models/alias", name=name, alias=alias, version=version)

    def move_to_stage(self, name: str, stage: str, version: str) -> None:
        self._post("model-versions/transition-stage", name=name, stage=stage, version=version)

    def _post(self, path: str, **body: str) -> dict:  # type: ignore[type-arg]
        answer = self._client.post(f"/api/2.0/mlflow/{path}", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        found: dict = answer.json()  # type: ignore[type-arg]
        return found


@contextmanager
def serving(folder: Path) -> Iterator[Registry]:
    """A server with a database and artifacts below the folder."""
    folder.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [
        str(packages.obtain_mlflow()),
        "server",
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
        f"--backend-store-uri=sqlite:///{folder / 'store.db'}",
        f"--artifacts-destination={folder / 'artifacts'}",
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # Nine processes that run jobs for traces and prompts.
    without_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet, **without_jobs}
    with object_servers.running(
        argv, folder / "log", lambda: object_servers.answers(f"{url}/health"), environment=environment
    ):
        registry = Registry(url)
        try:
            yield registry
        finally:
            registry.close()

"""What the operator keeps in memory of each model that has nothing to do: ``python -m benchmarks.kept_models COUNT``.

Each part is made by the operator's own code from what the API server, Ray and a gateway would send of ``COUNT``
models, and ``tracemalloc`` says how large it is. No cluster, and no clock: a busy machine gives the same figures.
"""

from __future__ import annotations

import gc
import itertools
import json
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import seeded_models

from fairlead_operator import model_metrics
from fairlead_operator.clients import gateway, http, ray_serve
from fairlead_operator.clients.clock import SystemClock
from fairlead_operator.desired import serve_config
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import keys

NAMESPACE = "models-00"


class ObjectStore:
    """Takes what ``seeded_models`` creates, as the API server would store it; keeps it as text, by collection."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {"models": [], "revisions": [], "routes": [], "statuses": []}
        self._numbers = itertools.count(1)

    def models_path(self, name: str | None = None) -> str:
        return "models" if name is None else "statuses"

    def revisions_path(self) -> str:
        return "revisions"

    def routes_path(self) -> str:
        return "routes"

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        given = {"namespace": NAMESPACE, "uid": f"{number:08x}-0000-4000-8000-000000000000", "generation": 1}
        metadata = {**body["metadata"], **given, "resourceVersion": str(number)}
        self.texts[path].append(json.dumps({**body, "metadata": metadata}))
        return self.get(path, -1)

    def merge(self, _path: str, body: Mapping[str, Any]) -> None:
        self.texts["statuses"].append(json.dumps(body["status"]))

    def get(self, path: str, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.texts[path][number])
        return found


def measure(what: str, count: int, make: Callable[[], object]) -> Any:
    """Print how large what ``make`` makes is, a model."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{what}: {size / count:.0f} bytes a model, {peak / count:.0f} while it is made", flush=True)
    return made


def ray_answer(applications: list[Mapping[str, Any]]) -> bytes:
    replica = {"state": "RUNNING", "node_id": "n", "start_time_s": 1.0}
    running = {"replica": {"target_num_replicas": 1, "replicas": [replica]}}
    listed = {
        each["name"]: {"status": "RUNNING", "deployed_app_config": each, "deployments": running}
        for each in applications
    }
    return json.dumps({"controller_info": {"actor_id": "a"}, "applications": listed}).encode()


def gateway_answer(names: list[str], revisions: list[str]) -> bytes:
    routes = {
        name: {"version": "e361ea9631f177f9", "revisions": {revision: {"up": 1, "draining": 0, "sessions": 0}}}
        for name, revision in zip(names, revisions, strict=True)
    }
    return json.dumps({"gateway": "gateway-0", "routes": routes}).encode()


def main() -> None:
    count = int(sys.argv[1])
    store = ObjectStore()
    applications = [seeded_models._seed_one(store, NAMESPACE, number) for number in range(count)]
    numbers = range(count)
    revisions = measure(
        "ControllerRevisions", count, lambda: [objects.view_revision(store.get("revisions", n)) for n in numbers]
    )
    names = [f"model-{number:05}" for number in numbers]
    http_client = http.HttpClient(clock=SystemClock())
    ray = ray_serve.RayServeClient("http://ray", read_token=None, http_client=http_client, on_request=lambda *_: None)
    answer = ray_answer(applications)
    measure("what Ray runs", count, lambda: _read(ray, answer))
    routes = http.Answer(code=200, headers={}, body=gateway_answer(names, [each.revision for each in revisions]))
    measure("what a gateway routes", count, lambda: gateway._read(routes, None))

    def compose() -> list[object]:
        return [_compose(store, number, revisions[number]) for number in numbers]

    measure("what should run on Ray", count, compose)
    metrics = model_metrics.ModelMetrics()

    def show() -> None:
        for number, name in enumerate(names):
            metrics.show(NAMESPACE, name, store.get("statuses", number))

    measure("the model's series", count, show)


def _read(ray: ray_serve.RayServeClient, answer: bytes) -> object:
    instance = ray_serve._Instance.model_validate_json(answer)
    return {name: ray._view(name, application) for name, application in instance.applications.items()}


def _compose(store: ObjectStore, number: int, revision: Any) -> object:
    view = objects.view_model({**store.get("models", number), "status": store.get("statuses", number)})
    kept = serve_config.KeptModel(view=view, revisions=(revision,))
    return serve_config.of_model(keys.RayKey(NAMESPACE, revision.cluster), kept)


if __name__ == "__main__":
    main()

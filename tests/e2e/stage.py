"""The whole of Fairlead on real parts, and one ModelDeployment on it as a person drives it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
from tests.e2e.ray_view import RAY_POLL_S, RayView
from tests.e2e.trained import Models, Version
from tests.support import leftovers, request_counts
from tests.support.kube_api import KubeApi
from tests.support.until import until

from fairlead_cli import load
from fairlead_cli.local import cluster, options

DEADLINE_S = 500
# Each look asks the API server or the gateway, and takes a processor from what is waited for.
POLL_S = 0.1 if request_counts.are_whole() else 0.2
# Requests a second of a counting client: as fast as answers come it takes a processor from what every story waits for.
RATE = request_counts.rate(300.0)
# That of a story that lasts for about a minute: the requests that it promises come before its end anyway.
LONG_RATE = request_counts.rate(200.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all tests of the folder share."""

    local: cluster.LocalCluster
    api: KubeApi
    ray: RayView
    models: Models
    gateway: httpx.Client
    admin: httpx.Client

    def kubectl(self, *arguments: str, manifest: Mapping[str, Any] | None = None) -> str:
        """What kubectl prints; its failure is the test's."""
        done = self.kubectl_tried(*arguments, manifest=manifest)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def kubectl_tried(
        self, *arguments: str, manifest: Mapping[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        text = json.dumps(manifest) if manifest is not None else None
        return self.local.kubectl("-n", self.local.namespace, *arguments, input=text)

    def live(self) -> Mapping[str, Any]:
        """What HAProxy was read to have, by model; waits while the gateway's agent is away or can't read it."""
        report = until(self.report, "what HAProxy has, from the gateway's agent", deadline_s=400)
        return dict(report["routes"])

    def report(self) -> Mapping[str, Any] | None:
        """The agent's whole word on its routes, None where there is none now: that is not a table without models."""
        with contextlib.suppress(httpx.TransportError):
            answer = self.admin.get("/v1/routes")
            if answer.status_code == httpx.codes.OK:
                return dict(answer.json())
        return None

    def gateway_metric(self, name: str) -> float:
        """The sum of a metric of the gateway."""
        return _metric(self.admin.get("/metrics").text, name)

    def operator_metric(self, name: str, **labels: str) -> float:
        """The sum of a metric of the operator over the series with these labels."""
        # An absolute URL: any client of ours will do, a new one makes a TLS context first.
        return _metric(self.admin.get(f"{self.local.operator_url}/metrics").text, name, **labels)

    def operator_log(self, lines: int = 25) -> str:
        path = self.local.logs / "operator.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    @contextlib.contextmanager
    def deployed(self, name: str, **changes: Any) -> Iterator[Model]:
        """A model that is Ready inside the block and gone after it."""
        made = Model(self, name)
        try:
            made.apply(**changes)
            made.until_settled()
            yield made
        finally:
            made.delete()


@contextlib.contextmanager
def raised(folder: pathlib.Path, *, models_in: pathlib.Path | None = None, keep: bool = False) -> Iterator[Stage]:
    """Kubernetes, Ray, gateway and operator, and trained versions of a model, all in this folder.

    With ``models_in`` the versions are there, also those that another process trained.
    """
    local = cluster.LocalCluster("e2e", folder / "cluster", chosen=options.Options(namespace="models"))
    with contextlib.ExitStack() as ending:
        models = Models(models_in or folder / "models")
        ending.callback(models.stop)
        if not keep:
            ending.enter_context(leftovers.owned(local))
        local.up()
        models.wait()
        api = KubeApi(local.kubeconfig, local.namespace)
        ending.callback(api.close)
        gateway = ending.enter_context(httpx.Client(base_url=local.gateway_url, timeout=60))
        admin = ending.enter_context(httpx.Client(base_url=local.gateway_admin_url, timeout=100))
        ray = RayView(local)
        ending.callback(ray.close)
        yield Stage(local=local, api=api, ray=ray, models=models, gateway=gateway, admin=admin)


class Model:
    """One ModelDeployment."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self.name = name
        self._applied: dict[str, Any] = {}

    # --- what a person does --------------------------------------------------------------------------------------

    def apply(self, version: str = "v1", *, replicas: int | None = None, label: str = "", **spec: Any) -> None:
        """`kubectl apply`: the trained version, with the fields of ``spec`` merged over the manifest's."""
        trained = self._stage.models.version(version)
        body = self.manifest(trained, replicas=replicas, label=label or version)
        body["spec"] = _merged(body["spec"], spec)
        self._applied = body
        self._stage.kubectl("apply", "-f", "-", manifest=body)

    def manifest(self, trained: Version, *, replicas: int | None = None, label: str) -> dict[str, Any]:
        """What would be applied; without ``replicas`` as many as before."""
        if replicas is None:
            replicas = self._applied["spec"]["scaling"]["replicas"] if self._applied else 1
        return {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name},
            "spec": {
                "model": {"uri": trained.uri, "version": label, "digest": trained.digest},
                "serving": {"resources": {"cpu": "100m", "memory": "400Mi"}},
                "scaling": {"replicas": replicas},
            },
        }

    def scale(self, replicas: int) -> None:
        """`kubectl scale`."""
        self._stage.kubectl("scale", f"mdep/{self.name}", f"--replicas={replicas}")
        if self._applied:
            self._applied["spec"]["scaling"]["replicas"] = replicas

    def delete(self) -> None:
        """`kubectl delete`, to its end: the object, the route, and everything on Ray are gone."""
        if self.read() is None:
            return
        self._stage.kubectl("delete", "mdep", self.name, "--wait=false")
        self.until_gone()

    # --- what one sees -------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Any] | None:
        found = self._stage.api.get(self._stage.api.models_path(self.name))
        return dict(found) if found is not None else None

    def status(self) -> dict[str, Any]:
        found = self.read()
        assert found is not None, f"{self.name} is gone"
        return dict(found.get("status") or {})

    @property
    def stable(self) -> str:
        return str(self.status().get("stableRevision") or "")

    def until(
        self, what: str, holds: Callable[[dict[str, Any]], object], *, deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """The object as soon as it is as expected."""

        def look() -> dict[str, Any] | None:
            found = self.read()
            return found if found is not None and holds(found) else None

        found = until(look, f"{self.name} {what}", deadline_s=deadline_s, poll_s=POLL_S, explain=self.explain)
        assert found is not None
        return found

    def until_settled(self, *, other_than: str = "", deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Ready at what was applied last, nothing under way; at another revision than the one named."""
        return self.until(
            f"settled at another revision than {other_than}" if other_than else "settled",
            lambda found: is_settled(found) and found["status"]["stableRevision"] != other_than,
            deadline_s=deadline_s,
        )

    def until_gone(self, *, deadline_s: float = DEADLINE_S) -> None:
        until(lambda: self.read() is None, f"{self.name} gone", deadline_s=deadline_s, explain=self.explain)
        until(
            lambda: not self._stage.ray.applications(self.name),
            f"{self.name} gone from Ray",
            deadline_s=400,
            poll_s=RAY_POLL_S,
        )
        until(lambda: self.name not in self._stage.api.routes(), f"{self.name} gone from the table", deadline_s=400)
        until(lambda: self.name not in self._stage.live(), f"{self.name} gone from the gateway", deadline_s=400)

    def until_up(self, count: int, *, deadline_s: float = DEADLINE_S) -> None:
        """So many replicas are up in the eyes of the gateway."""
        until(
            lambda: self.up() == count,
            f"{count} replicas of {self.name} up",
            deadline_s=deadline_s,
            poll_s=POLL_S,
            explain=self.explain,
        )

    def up(self) -> int:
        return sum(self.up_by_revision().values())

    def up_by_revision(self) -> dict[str, int]:
        """The replicas that the gateway sees ready; empty where it has no route."""
        revisions = self._stage.live().get(self.name, {}).get("revisions", {})
        return {name: each["up"] for name, each in revisions.items()}

    def events(self) -> list[tuple[str, str]]:
        """Reason and sentence of each event on the object."""
        found = self._stage.api.get(
            self._stage.api.core_path("events"), fieldSelector=f"involvedObject.name={self.name}"
        )
        return [(each["reason"], each["message"]) for each in (found or {"items": []})["items"]]

    def explain(self) -> str:
        """What a person would look at next."""
        status = (self.read() or {}).get("status")
        events = "\n".join(f"{reason}: {message}" for reason, message in self.events())
        gateway = self._stage.report()
        live = gateway["routes"].get(self.name) if gateway else "the gateway's agent doesn't tell"
        return f"{json.dumps(status, indent=1)}\nlive: {live}\nevents:\n{events}\n{self._stage.operator_log()}"

    # --- requests ------------------------------------------------------------------------------------------------

    def infer(self, rows: list[list[float]], **headers: str) -> httpx.Response:
        """A prediction by the Open Inference Protocol."""
        tensor = {**self._input(), "shape": [len(rows), len(rows[0])], "data": rows}
        return self._stage.gateway.post(
            f"/v2/models/{self.name}/infer",
            json={"inputs": [tensor]},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def predict(self, rows: list[list[float]]) -> httpx.Response:
        """A prediction by TensorFlow Serving's protocol."""
        return self._stage.gateway.post(f"/v1/models/{self.name}:predict", json={"instances": rows})

    def load(self, *, connections: int = 8, rate: float | None = RATE) -> load.Settings:
        """The counting client's settings for this model; without a rate it goes as fast as answers come."""
        name = self._input()
        bodies = tuple(
            json.dumps({"inputs": [{**name, "shape": [1, len(row)], "data": row}]}).encode()
            for row in self._stage.models.inputs(16)
        )
        return load.Settings(
            url=self._stage.local.gateway_url,
            model=self.name,
            bodies=bodies,
            connections=connections,
            rate_limit=rate,
            expect_shape=(1, 10),
        )

    def _input(self) -> dict[str, str]:
        answer = self._stage.gateway.get(f"/v2/models/{self.name}").raise_for_status()
        found = answer.json()["inputs"][0]
        return {"name": found["name"], "datatype": found["datatype"]}


def condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of an object; empty when it is not there."""
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


def is_settled(found: Mapping[str, Any]) -> bool:
    """Ready at this generation, and nothing under way."""
    return (
        (found.get("status") or {}).get("observedGeneration") == found["metadata"]["generation"]
        and condition(found, "Ready").get("status") == "True"
        and condition(found, "Reconciling").get("status") == "False"
    )


def _metric(exposition: str, name: str, **labels: str) -> float:
    total = 0.0
    for line in exposition.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == name and all(f'{key}="{wanted}"' in sample for key, wanted in labels.items()):
            total += float(value)
    return total


def _merged(base: Any, overrides: Any) -> Any:
    """RFC 7396, without deletion."""
    if not isinstance(base, dict) or not isinstance(overrides, dict):
        return overrides
    return {
        key: _merged(base[key], overrides[key])
        if key in base and key in overrides
        else overrides.get(key, base.get(key))
        for key in {**base, **overrides}
    }

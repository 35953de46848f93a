"""What many ModelDeployments cost: ``python -m benchmarks.many_models STORY …``.

Stories:
  ready COUNT                        created at once in one namespace, until all are Ready; idleness; a restart
  fleet COUNT NAMESPACES CLUSTERS    models that serve already: start of the operator, idleness
  hanging COUNT                      one namespace whose Ray hangs, and how soon an event elsewhere is decided on

Real API server and etcd, real operator under its service account; Ray and gateways are the fakes of the tests, in
processes of their own. Each line says wall time and the operator's processor seconds.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import seeded_models
from tests.support.audit import AuditLog
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_ray import FakeRay, Trap
from tests.support.kube_api import KubeApi
from tests.support.operated import grant, manifest
from tests.support.operator_process import OperatorProcess
from tests.support.until import until

from fairlead_cli.local import cluster

TOKEN = "a-token-of-the-benchmark"
DEADLINE_S = 3600
IDLE_S = 60
POLL_S = 3.0
"""Each look costs the operator an exposition of all series."""
WRITERS = 8


class Place:
    """One namespace with its fakes, in a process of its own: its work is not the operator's."""

    def __init__(self, namespace: str, clusters: int, kubeconfig: Path) -> None:
        self.namespace = namespace
        ours, theirs = multiprocessing.Pipe()
        self._pipe = ours
        self._process = multiprocessing.Process(
            target=_serve, args=(namespace, clusters, kubeconfig, theirs), daemon=True
        )
        self._process.start()
        self.ray_urls, self.gateway = ours.recv()

    def flags(self) -> list[str]:
        named = ["default", *(f"c{number}" for number in range(1, len(self.ray_urls)))]
        rays = [f"{self.namespace}/{name}={url}" for name, url in zip(named, self.ray_urls, strict=True)]
        return [
            *("--namespace", self.namespace, "--gateway", f"{self.namespace}={self.gateway}"),
            *(part for ray in rays for part in ("--ray", ray)),
        ]

    def hang(self) -> None:
        self._pipe.send("hang")
        self._pipe.recv()

    def put(self, applications: list[Any]) -> None:
        """Have its first Ray run these."""
        self._pipe.send(applications)
        self._pipe.recv()

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(namespace: str, clusters: int, kubeconfig: Path, pipe: Any) -> None:
    api = KubeApi(kubeconfig, namespace)

    def read_routes() -> dict[str, str] | None:
        found = api.get(api.core_path("configmaps", "fairlead-routes"), within_s=0)
        return dict((found or {}).get("data") or {})

    rays = [FakeRay(token=TOKEN) for _ in range(clusters)]
    with contextlib.ExitStack() as stack:
        for ray in rays:
            stack.enter_context(ray)
        gateway = stack.enter_context(FakeGateway(namespace=namespace, ray=rays[0], read_routes=read_routes))
        pipe.send(([ray.url for ray in rays], gateway.addresses))
        while True:
            asked = pipe.recv()
            if asked == "hang":
                for ray in rays:
                    ray.set_trap(Trap.HANG)
            else:
                rays[0].deploy_all(asked)
            pipe.send("done")


class World:
    """A cluster, an operator and its namespaces."""

    def __init__(self, kubernetes: cluster.LocalCluster, folder: Path, places: list[Place]) -> None:
        self.kubernetes = kubernetes
        self.places = places
        token_file = folder / "ray-token"
        token_file.write_text(TOKEN)
        kubeconfig = kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
        flags = ["--kubeconfig", str(kubeconfig), "--ray-token-file", str(token_file)]
        flags += ["--log-level", "warning", "--ports-per-revision", "1"]
        flags += [flag for place in places for flag in place.flags()]
        self.operator = OperatorProcess(flags, log=folder / "operator.log")

    def requests(self) -> float:
        return self.operator.metric("fairlead_operator_kubernetes_requests_total")

    def ready(self) -> int:
        """How many models the operator's own metrics call ready."""
        lines = self.operator.get("/metrics")[1].splitlines()
        found = (line for line in lines if line.startswith("fairlead_operator_model_condition{"))
        return sum('type="Ready"} 1.0' in line for line in found)

    def tell(self, what: str, began_s: float, cpu_s: float) -> None:
        wall_s, used_s = time.monotonic() - began_s, self.operator.cpu_s() - cpu_s
        print(
            f"{what}: {wall_s:.1f} s, {used_s:.1f} s of processor, {self.operator.rss_mib():.0f} MiB, "
            f"{self.requests():.0f} Kubernetes requests so far, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


@contextlib.contextmanager
def world(namespaces: int, clusters: int) -> Iterator[World]:
    """``clusters`` Ray clusters, spread over the namespaces."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kubernetes = cluster.LocalCluster("many-models", folder / "cluster")
        kubernetes.up(cluster.KUBERNETES_PARTS)
        places: list[Place] = []
        try:
            for number in range(namespaces):
                namespace = f"models-{number:02}"
                kubernetes.kubectl("create", "namespace", namespace)
                grant(kubernetes, namespace)
                share = clusters // namespaces + (number < clusters % namespaces)
                places.append(Place(namespace, max(1, share), kubernetes.kubeconfig))
            made = World(kubernetes, folder, places)
            try:
                yield made
            finally:
                made.operator.stop()
        finally:
            for place in places:
                place.stop()
            kubernetes.down()


def create(made: World, count: int) -> None:
    """``count`` models, spread over the namespaces, as fast as the API server takes them."""
    apis = [KubeApi(made.kubernetes.kubeconfig, place.namespace) for place in made.places]

    def post(number: int) -> None:
        api = apis[number % len(apis)]
        body = manifest(
            f"model-{number:05}", f"file:///models/{number}", {"rollout": {"progressDeadlineSeconds": 7200}}
        )
        api.create(api.models_path(), body)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(post, range(count)))


def get_ready(made: World, count: int) -> None:
    began_s, cpu_s = time.monotonic(), made.operator.cpu_s()
    create(made, count)
    made.tell(f"{count} models created", began_s, cpu_s)
    until(
        lambda: made.ready() >= count,
        "all are ready",
        deadline_s=DEADLINE_S,
        poll_s=POLL_S,
        explain=lambda: (made.ready(), made.operator.tail()),
    )
    made.tell(f"{count} models ready", began_s, cpu_s)


def stay_idle(made: World) -> None:
    until(lambda: made.operator.metric("fairlead_operator_queue_depth") == 0, "nothing is queued", poll_s=POLL_S)
    time.sleep(10)
    log = AuditLog(made.kubernetes.audit_log)
    log.mark()
    began_s, cpu_s, requests = time.monotonic(), made.operator.cpu_s(), made.requests()
    time.sleep(IDLE_S)
    used = (made.operator.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    lease = log.count("leases")
    print(
        f"idle for {IDLE_S} s: {len(log.writes())} writes but the Lease, {made.requests() - requests:.0f} Kubernetes "
        f"requests ({lease} of them for the Lease), {used:.1%} of a core, {made.operator.rss_mib():.0f} MiB",
        flush=True,
    )


def seed(made: World, count: int) -> None:
    """``count`` models that serve already, spread over the namespaces."""
    began_s = time.monotonic()
    for number, place in enumerate(made.places):
        api = KubeApi(made.kubernetes.kubeconfig, place.namespace)
        numbers = list(range(number, count, len(made.places)))
        place.put([dict(one.application) for one in seeded_models.seed(api, place.namespace, numbers)])
    print(f"{count} serving models made in {time.monotonic() - began_s:.0f} s", flush=True)


def restart(made: World, count: int) -> None:
    made.operator.stop()
    began_s = time.monotonic()
    made.operator.start()
    until(lambda: made.ready() >= count, "every model had its pass", deadline_s=DEADLINE_S, poll_s=POLL_S)
    made.tell(f"restart: every one of {count} models had its pass", began_s, 0.0)


def hanging(made: World, count: int) -> None:
    """The first namespace's Ray hangs while all its models wait for it; events come in the second."""
    stuck, other = made.places
    seed(made, 2 * count)
    restart(made, 2 * count)
    stuck.hang()
    api, neighbour = (KubeApi(made.kubernetes.kubeconfig, place.namespace) for place in (stuck, other))
    for number in range(0, 2 * count, 2):
        api.merge(api.models_path(f"model-{number:05}"), {"spec": {"model": {"uri": "file:///models/next"}}})
    delays_s = []
    for number in range(1, 2 * min(count, 50), 2):
        path = neighbour.models_path(f"model-{number:05}")
        began_s = time.monotonic()
        neighbour.merge(path, {"spec": {"model": {"uri": f"file:///models/other-{number}"}}})
        until(lambda path=path: _is_observed(neighbour.get(path)), "it is decided on", poll_s=0.01)
        delays_s.append(time.monotonic() - began_s)
    ranked = sorted(delays_s)
    print(
        f"{count} models wait for a Ray that hangs; an event in another namespace is decided on after "
        f"{statistics.median(ranked) * 1e3:.0f} ms (median), {ranked[int(len(ranked) * 0.95)] * 1e3:.0f} ms (p95), "
        f"{ranked[-1] * 1e3:.0f} ms at most",
        flush=True,
    )
    requests = made.requests()
    time.sleep(IDLE_S)
    print(f"{count} waiting models: {made.requests() - requests:.0f} Kubernetes requests in {IDLE_S} s", flush=True)


def _is_observed(body: Any) -> bool:
    return body is not None and body["status"].get("observedGeneration") == body["metadata"]["generation"]


def main() -> None:
    story, *numbers = sys.argv[1], *map(int, sys.argv[2:])
    count = numbers[0]
    if story == "ready":
        with world(1, 1) as made:
            made.operator.start()
            get_ready(made, count)
            stay_idle(made)
            restart(made, count)
    elif story == "fleet":
        with world(numbers[1], numbers[2]) as made:
            seed(made, count)
            restart(made, count)
            stay_idle(made)
    elif story == "hanging":
        with world(2, 2) as made:
            hanging(made, count)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

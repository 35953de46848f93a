"""What many ModelDeployments cost: ``python -m benchmarks.many_models STORY …``.

Stories:
  ready COUNT                        created at once in one namespace, until all are Ready; idleness; a restart
  fleet COUNT NAMESPACES CLUSTERS    models that serve already: start of the operator, idleness, changes of some
  beside COUNT                       what one rollout costs in a namespace where so many models serve
  hanging COUNT                      one namespace whose Ray hangs, and how soon an event elsewhere is decided on

Real API server and etcd, real operator under its service account; Ray and gateways are the fakes of the tests, in
processes of their own. Each line says wall time and the operator's processor seconds.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
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
from fairlead_gateway import metrics, watcher
from fairlead_gateway.watcher.model_routes import ModelRouteSource
from fairlead_operator.api import names

TOKEN = "a-token-of-the-benchmark"
DEADLINE_S = 3600
IDLE_S = 60
POLL_S = 0.5
"""Each look costs the operator the text of all its series: some milliseconds."""
WRITERS = 8
EVENTS = 25
FLEET_EVENTS = 100
ROLLOUTS = 5
RELIST_S = 300
GOGC = "400"
"""Of the API server and etcd, in percent: with memory to spare they collect garbage a quarter as often."""


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
        rays = [f"{self.namespace}/{name}={url}" for name, url in self.ray_urls.items()]
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

    def cpu_s(self) -> float:
        return _cpu_s(self._process.pid or 0)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


class FollowedRoutes:
    """The namespace's ModelRoutes, listed and watched by the gateway's own source."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._source = ModelRouteSource(
            kubeconfig=kubeconfig, namespace=namespace, relist_s=RELIST_S, metrics_=metrics.Metrics()
        )
        self._texts: watcher.Data | None = None
        self._parsed: dict[str, tuple[str, dict[str, Any]]] = {}
        threading.Thread(target=lambda: asyncio.run(self._follow()), daemon=True).start()

    def read(self) -> dict[str, dict[str, Any]] | None:
        """The ``spec`` of each, by model; None until they were listed."""
        if self._texts is None:
            return None
        self._parsed = {model: self._parse(model, text) for model, text in self._texts.items()}
        return {model: spec for model, (_, spec) in self._parsed.items()}

    def _parse(self, model: str, text: str) -> tuple[str, dict[str, Any]]:
        before = self._parsed.get(model)
        return before if before is not None and before[0] == text else (text, json.loads(text))

    async def _follow(self) -> None:
        async for texts in self._source.follow():
            self._texts = texts


def _serve(namespace: str, clusters: int, kubeconfig: Path, pipe: Any) -> None:
    rays = {f"c{number}" if number else names.DEFAULT_CLUSTER: FakeRay(token=TOKEN) for number in range(clusters)}
    routes = FollowedRoutes(kubeconfig, namespace)
    with contextlib.ExitStack() as stack:
        for ray in rays.values():
            stack.enter_context(ray)
        gateway = stack.enter_context(FakeGateway(namespace=namespace, rays=rays, read_routes=routes.read))
        pipe.send(({name: ray.url for name, ray in rays.items()}, gateway.addresses))
        while True:
            asked = pipe.recv()
            if asked == "hang":
                for ray in rays.values():
                    ray.set_trap(Trap.HANG)
            else:
                rays[names.DEFAULT_CLUSTER].deploy_all(asked)
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
        flags += ["--log-level", "warning"]
        flags += [flag for place in places for flag in place.flags()]
        self.operator = OperatorProcess(flags, log=folder / "operator.log")

    def requests(self) -> float:
        return self.operator.metric("fairlead_operator_kubernetes_requests_total")

    def cpu_by_part_s(self) -> dict[str, float]:
        """Processor seconds so far of each program that this benchmark runs, its own included."""
        found = {part: _cpu_s(self.kubernetes.pid(part)) for part in cluster.KUBERNETES_PARTS}
        fakes_s = sum(place.cpu_s() for place in self.places)
        return {"operator": self.operator.cpu_s(), **found, "fakes": fakes_s, "benchmark": _cpu_s(os.getpid())}

    def passes(self) -> float:
        return self.operator.metric("fairlead_operator_reconcile_total")

    def ready(self) -> int:
        """How many models the operator's own metrics call ready."""
        self.operator.require_running()
        lines = self.operator.get("/metrics")[1].splitlines()
        found = (line for line in lines if line.startswith("fairlead_operator_model_condition{"))
        return sum('type="Ready"} 1.0' in line for line in found)

    def wait_until_idle(self) -> None:
        """Return once no key is queued and every event was sent: these are paced, and go on after the last status."""
        for metric in ("fairlead_operator_queue_depth", "fairlead_operator_waiting_events"):
            until(lambda name=metric: self.operator.metric(name) == 0, metric, deadline_s=DEADLINE_S, poll_s=POLL_S)

    def report(self, what: str, began_s: float, cpu_s: float) -> None:
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
    log = AuditLog(made.kubernetes.audit_log)
    log.mark()
    before = made.cpu_by_part_s()
    began_s, cpu_s = time.monotonic(), made.operator.cpu_s()
    create(made, count)
    made.report(f"{count} models created", began_s, cpu_s)
    until(
        lambda: made.ready() >= count,
        "all are ready",
        deadline_s=DEADLINE_S,
        poll_s=POLL_S,
        explain=lambda: (made.ready(), made.operator.tail()),
    )
    made.report(f"{count} models ready", began_s, cpu_s)
    used = ", ".join(f"{part} {now_s - before[part]:.1f}" for part, now_s in made.cpu_by_part_s().items())
    print(f"processor seconds: {used}", flush=True)
    kinds = collections.Counter(" ".join(write.split()[:2]) for write in log.writes())
    print(f"writes a model: {', '.join(f'{kind} {n / count:.2f}' for kind, n in kinds.most_common())}", flush=True)


def stay_idle(made: World) -> None:
    made.wait_until_idle()
    time.sleep(10)
    log = AuditLog(made.kubernetes.audit_log)
    log.mark()
    began_s, cpu_s, requests = time.monotonic(), made.operator.cpu_s(), made.requests()
    time.sleep(IDLE_S)
    used = (made.operator.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    lease = log.count("leases")
    print(
        f"idle for {IDLE_S} s: {len(log.writes())} writes but the Lease, {made.requests() - requests:.0f} Kubernetes "
        f"requests ({lease} of them write the Lease), {used:.1%} of a core, "
        f"{made.operator.rss_mib():.0f} MiB",
        flush=True,
    )


def seed(made: World, count: int) -> None:
    """``count`` models that serve already, spread over the namespaces."""
    began_s = time.monotonic()
    for number, place in enumerate(made.places):
        api = KubeApi(made.kubernetes.kubeconfig, place.namespace)
        numbers = list(range(number, count, len(made.places)))
        place.put([dict(one) for one in seeded_models.seed(api, place.namespace, numbers)])
    print(f"{count} serving models made in {time.monotonic() - began_s:.0f} s", flush=True)


def restart(made: World, count: int) -> None:
    made.operator.stop()
    began_s = time.monotonic()
    made.operator.start()
    until(lambda: made.ready() >= count, "every model had its pass", deadline_s=DEADLINE_S, poll_s=POLL_S)
    made.report(f"restart: every one of {count} models had its pass", began_s, 0.0)


def roll_out_beside(made: World, count: int) -> None:
    """One model after the other gets another source, while the others have nothing to do."""
    seed(made, count)
    restart(made, count)
    (place,) = made.places
    api = KubeApi(made.kubernetes.kubeconfig, place.namespace)
    until(lambda: made.operator.metric("fairlead_operator_queue_depth") == 0, "nothing is queued", poll_s=POLL_S)
    for number in range(ROLLOUTS):
        began_s, cpu_s, requests, passes = time.monotonic(), made.operator.cpu_s(), made.requests(), made.passes()
        path = api.models_path(f"model-{number:05}")
        api.merge(path, {"spec": {"model": {"uri": "file:///models/next"}}})
        until(lambda path=path: _is_at_rest(api.get(path)), "it is rolled out", deadline_s=DEADLINE_S, poll_s=0.2)
        until(lambda: made.operator.metric("fairlead_operator_queue_depth") == 0, "nothing is queued", poll_s=0.5)
        used_s, asked = made.operator.cpu_s() - cpu_s, made.requests() - requests
        print(
            f"a rollout beside {count - 1} models: {time.monotonic() - began_s:.1f} s, {used_s:.2f} s of processor, "
            f"{asked:.0f} Kubernetes requests, {made.passes() - passes:.0f} passes, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def hanging(made: World, count: int) -> None:
    """The first namespace's Ray hangs while all its models wait for it; events come in the second."""
    stuck, other = made.places
    seed(made, 2 * count)
    restart(made, 2 * count)
    api, neighbour = (KubeApi(made.kubernetes.kubeconfig, place.namespace) for place in (stuck, other))
    half = min(count, 2 * EVENTS)
    _measure_events(((neighbour, number) for number in range(1, half, 2)), "calm")
    stuck.hang()
    for number in range(0, 2 * count, 2):
        api.merge(api.models_path(f"model-{number:05}"), {"spec": {"model": {"uri": "file:///models/next"}}})
    later = range(half | 1, 2 * half, 2)
    _measure_events(((neighbour, number) for number in later), f"{count} models elsewhere wait for a Ray that hangs")
    until(lambda: made.ready() >= count, "the other namespace is at rest", deadline_s=DEADLINE_S, poll_s=POLL_S)
    made.wait_until_idle()
    requests, cpu_s = made.requests(), made.operator.cpu_s()
    time.sleep(IDLE_S)
    print(
        f"{count} waiting models: {made.requests() - requests:.0f} Kubernetes requests in {IDLE_S} s, of them some 30 "
        f"for the Lease (one each 2 s); {(made.operator.cpu_s() - cpu_s) / IDLE_S:.1%} of a core",
        flush=True,
    )


def change_some(made: World, count: int) -> None:
    """One model after the other gets another source, each in the next namespace."""
    made.wait_until_idle()
    apis = [KubeApi(made.kubernetes.kubeconfig, place.namespace) for place in made.places]
    some = range(min(count, FLEET_EVENTS))
    _measure_events(((apis[number % len(apis)], number) for number in some), f"{count} models serve")


def _measure_events(models: Iterable[tuple[KubeApi, int]], when: str) -> None:
    """A change of the spec of each, until the status shows that it was seen; one after the other."""
    delays_s = []
    for api, number in models:
        path = api.models_path(f"model-{number:05}")
        began_s = time.monotonic()
        api.merge(path, {"spec": {"model": {"uri": f"file:///models/other-{number}"}}})
        until(lambda api=api, path=path: _is_observed(api.get(path)), "it is decided on", poll_s=0.01)
        delays_s.append(time.monotonic() - began_s)
    ranked = sorted(delays_s)
    p95_s = ranked[int(len(ranked) * 0.95)]
    print(
        f"{when}: an event is decided on after {statistics.median(ranked) * 1e3:.0f} ms (median), "
        f"{p95_s * 1e3:.0f} ms (p95), {ranked[-1] * 1e3:.0f} ms at most",
        flush=True,
    )


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _is_observed(body: Any) -> bool:
    return body is not None and body["status"].get("observedGeneration") == body["metadata"]["generation"]


def _is_at_rest(body: Any) -> bool:
    """Ready for the generation that is there, and no rollout is left."""
    conditions = {each["type"]: each["status"] for each in body["status"]["conditions"]}
    return _is_observed(body) and conditions["Ready"] == "True" and conditions["Progressing"] == "False"


def main() -> None:
    os.environ.setdefault("GOGC", GOGC)
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
            change_some(made, count)
    elif story == "beside":
        with world(1, 1) as made:
            roll_out_beside(made, count)
    elif story == "hanging":
        with world(2, 2) as made:
            hanging(made, count)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""One operator process from start to end: take the Lease, watch, work, and leave within a bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import socket
import uuid
from collections.abc import Coroutine, Hashable, Iterable
from typing import Any

from fairlead_operator import (
    cluster_mode,
    composition,
    crd_check,
    directories,
    drafts,
    election,
    garbage,
    health,
    lifetime,
    namespaces,
    problems,
    queue,
    ray_pass,
    reconcile,
    sweep,
    telemetry,
    waiting,
    watches,
)
from fairlead_operator.api import names
from fairlead_operator.clients import clock, gateway, http, kubernetes, measurements, prometheus, ray_serve
from fairlead_operator.desired.namespace import network
from fairlead_operator.effects import events, execute
from fairlead_operator.observe import cluster, ray_clusters, readers, snapshot
from fairlead_operator.observe import drift as drift_reads
from fairlead_operator.observe import gateway as gateway_reads
from fairlead_operator.observe import measurements as measurement_reads
from fairlead_operator.settings import Settings
from fairlead_operator.state import keys

FINISH_STEP_S = 10.0
LANES = 4
"""One namespace has a quarter of the workers; up to half of them while others need less."""
RELEASE_S = 2.0
EXIT_AFTER_S = 18.0
"""Whatever hangs, the process is gone this long after SIGTERM."""
NUDGE_DELAY_S = 0.05
"""Models that change together are one PUT."""

log = logging.getLogger(__name__)


class Operator:
    """Everything of one process, wired; ``run`` is its life."""

    def __init__(
        self,
        settings: Settings,
        configuration: Any,
        metrics: telemetry.Metrics,
        *,
        selector: election.WakingSelector,
    ) -> None:
        """``selector`` is the running event loop's."""
        self._settings = settings
        self._configuration = configuration
        self._metrics = metrics
        self._selector = selector
        self._clock = clock.SystemClock()
        self._identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._tasks: list[asyncio.Task[Any]] = []
        self._workers: list[asyncio.Task[Any]] = []
        self._namespaces = namespaces.Namespaces(self._make_namespace)
        self._namespace = self._namespaces.get
        self._ledger = health.WatchLedger(clock=self._clock)
        self._lag = health.LoopLag(clock=self._clock, metrics=metrics)
        self._make_clients()
        self._make_queue()
        self._make_readers()
        self._make_sweep()
        self._drifts = self._make_drifts()
        self._observer = snapshot.Observer(
            self._api,
            self._namespace,
            clock=self._clock,
            measurements=self._measurements(),
            drifts=self._drifts,
            find_problem=self._problems.find if settings.is_cluster_mode else None,
        )
        self._cluster_mode = self._make_cluster_mode() if settings.is_cluster_mode else None
        self._reconciler = reconcile.Reconciler(
            self._parts(),
            self._queue,
            swept=self._sweep,
            ray=self._ray_pass(),
            infrastructure=self._cluster_mode,
        )
        self._server = health.Server(
            settings.listen,
            metrics=metrics,
            alive=(self._lag.check,),
            ready=self._readiness,
        )

    def _make_clients(self) -> None:
        self._lease_api = self._kubernetes_client(lease=None)  # of its own: renewals wait behind no other request
        lease = election.LeaseName(namespace=self._settings.lease_namespace, name=names.LEASE_NAME)
        self._election = election.Election(self._lease_api, lease, identity=self._identity, clock=self._clock)
        self._metrics.lease_transitions.set_function(lambda: self._election.transitions)
        self._api = self._kubernetes_client(lease=self._election)
        self._watch_api = self._kubernetes_client(lease=self._election, connections=0)
        self._crd = crd_check.CrdCheck(self._api, metrics=self._metrics)
        self._http = http.HttpClient(clock=self._clock, lease=self._election)
        self._events = events.EventWriter(self._api, instance=self._identity, clock=self._clock)
        self._gateway = gateway.GatewayClient(http_client=self._http, on_request=self._metrics.on_gateway_request)

    def _make_queue(self) -> None:
        workers = self._settings.workers
        share = max(1, workers // LANES)
        self._queue: queue.KeyedQueue[keys.Key] = queue.KeyedQueue(
            lane_of=keys.lane_of, lane_limit=share, lane_max=workers // 2, busy_max=workers - share
        )
        self._queue.on_wait = self._metrics.queue_wait_s.observe
        self._waiting = waiting.Waiting(self._queue, self._namespace, clock=self._clock)
        self._events.crowd = lambda: self._waiting.crowd
        self._composition = composition.Composition()
        self._problems = problems.Problems()

    def _make_readers(self) -> None:
        self._readers = readers.Readers(
            clock=self._clock,
            idle_interval_s=self._settings.sweep_s,
            is_hot=self._waiting.is_hot,
            is_judged=self._waiting.is_judged,
            on_answer=self._waiting.on_answer,
            on_revision=self._revision_changed,
            on_route=self._waiting.on_model,
        )
        self._directories = directories.make(
            self._settings,
            self._watch_api,
            clock=self._clock,
            on_change=lambda name: self._sweep.note_listings(self._namespaces.known(name)),
        )
        self._clusters = ray_clusters.RayClusters(self._directories.clusters, self._ray_client, readers=self._readers)

    def _make_sweep(self) -> None:
        self._watches = watches.Watches(
            self._settings.namespaces or (None,),
            self,
            self._configuration,
            ledger=self._ledger,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._sweep = sweep.Sweep(
            work=self._queue,
            reads=self._api,
            namespaces=self._namespace,
            waits=self._waiting,
            composed=self._composition,
            watched=self._ledger,
            metrics=self._metrics,
            clock=self._clock,
            on_listed=self._watches.start,
        )

    async def run(self) -> int:
        """The exit code: 0 after a signal, 1 when the process can't go on and should be started again."""
        stop = asyncio.Event()
        self._selector.on_wake = self._exit_when_run_out
        lifetime.set_on_signals(stop)
        await self._server.start()
        self._spawn("loop lag", self._lag.measure())
        if not await self._become_leader(stop):
            return await self._leave(0)
        self._spawn("lease", self._election.keep(lifetime.exit_at_once))
        self._spawn("events", self._events.run())
        self._spawn("directories", self._directories.run())
        self._workers = [
            asyncio.create_task(queue.work(self._queue, self._reconciler.handle), name=f"worker {number}")
            for number in range(self._settings.workers)
        ]
        for namespace in self._settings.namespaces or (None,):
            what = f"resync of {namespace or 'all namespaces'}"
            step = functools.partial(self._sweep.resync, namespace, self._configured(namespace))
            self._spawn(what, self._repeat(what, step, self._settings.resync_s))
        self._spawn("CRD", self._repeat("comparing the CRD", self._crd.compare, self._settings.resync_s))
        self._spawn("namespaces", self._repeat("namespaces", self._end_unused_namespaces, self._settings.resync_s))
        if self._cluster_mode is not None:
            self._spawn("infrastructure", self._cluster_mode.watch())
            self._spawn(
                "namespaces' resync", self._repeat("infrastructure", self._cluster_mode.resync, self._settings.resync_s)
            )
        self._spawn("drift", self._repeat("reading drift", self._drifts.read, drift_reads.INTERVAL_S))
        self._spawn("gauges", self._repeat("gauges", self._show_gauges, self._settings.sweep_s))
        self._watches.start_late()
        self._spawn("watches", self._repeat("looking after the watches", self._watches.tend, watches.TEND_S))
        await lifetime.wait_for_first(*self._tasks, stop.wait())
        ended = [task for task in self._tasks if task.done()]
        for task in ended:
            log.error(
                "a task of the process ended", extra={"task": task.get_name(), "error": repr(lifetime.error_of(task))}
            )
        return await self._leave(1 if ended else 0)

    def noticed(self, key: keys.ModelKey, resource_version: str, intent: Hashable) -> None:
        """The watch brought a version of a model."""
        self._metrics.watch_events.labels(names.PLURAL).inc()
        self._ledger.delivered(key, resource_version)
        self._sweep.notice(key, version=resource_version, intent=intent)

    def deleted(self, key: keys.ModelKey) -> None:
        self._metrics.watch_events.labels(names.PLURAL).inc()
        self._ledger.deleted(key)
        self._sweep.notice(key)

    async def _become_leader(self, stop: asyncio.Event) -> bool:
        """False when a signal came first."""
        taking = asyncio.create_task(self._election.acquire(), name="election")
        await lifetime.wait_for_first(taking, stop.wait())
        if stop.is_set():
            taking.cancel()
            return False
        self._metrics.lease_held.set(1)
        return True

    async def _leave(self, code: int) -> int:
        """Take no more keys, finish the steps in hand, give the Lease back; bounded even if all of that hangs."""
        lifetime.exit_after(EXIT_AFTER_S, code)
        self._queue.close()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=FINISH_STEP_S)
            if late:
                log.warning("steps in hand were dropped", extra={"keys": [str(key) for key in self._queue.busy]})
        self._watches.stop()
        for task in (*self._tasks, *self._workers):
            task.cancel()
        if self._api.writes_under_way or self._http.writes_under_way:
            log.warning("the Lease runs out by itself: a write that was given up may still happen")
            self._selector.on_wake = None
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._election.release()
        await self._server.stop()
        await self._http.close()
        await self._api.close()
        await self._watch_api.close()
        await self._lease_api.close()
        log.info("stopped", extra={"code": code})
        return code

    def _exit_when_run_out(self) -> None:
        if self._election.has_run_out:
            lifetime.exit_at_once()

    def _configured(self, namespace: str | None) -> Iterable[str]:
        return self._directories.clusters.namespaces() if namespace is None else (namespace,)

    async def _show_gauges(self) -> None:
        self._metrics.queue_depth.set(len(self._queue))
        self._metrics.waiting.set(len(self._waiting))
        self._metrics.events_waiting.set(len(self._events))

    def _revision_changed(self, key: keys.ModelKey) -> None:
        """A ControllerRevision of a model changed; our own writes happen while the model is in work."""
        if self._cluster_mode is not None:
            self._cluster_mode.on_revision(key)
        if self._waiting.get(key) is not None:
            self._waiting.touch(key)

    async def _repeat(self, what: str, step: Any, every_s: float) -> None:
        await sweep.repeat(what, step, every_s=every_s, rng=random.Random())  # noqa: S311 - jitter

    def _readiness(self) -> tuple[bool, str]:
        if self._election.is_held:
            return True, "leader"
        return self._election.is_in_touch, "standby" if self._election.is_in_touch else "the API server is out of reach"

    def _make_namespace(self, namespace: str) -> cluster.NamespaceView:
        return cluster.NamespaceView(
            namespace,
            api=self._watch_api,
            ray=self._clusters,
            gateways=gateway_reads.GatewaysPoller(self._gateway, self._directories.gateways, namespace, self._readers),
            readers=self._readers,
            gateway_url=self._settings.public_urls.get(namespace),
        )

    async def _end_unused_namespaces(self) -> None:
        clusters = self._directories.clusters.namespaces()
        configured = {*self._settings.namespaces, *clusters, *self._settings.gateways}
        self._namespaces.keep_only(configured | self._sweep.namespaces_known)

    def _measurements(self) -> measurement_reads.MeasurementsReader:
        return measurement_reads.MeasurementsReader(
            measurements.MeasurementsClient(http_client=self._http, on_request=self._metrics.on_gateway_request),
            prometheus.PrometheusClient(http_client=self._http, on_request=self._metrics.on_prometheus_request),
            listed=self._directories.gateways,
            prometheus=self._settings.prometheus_urls,
        )

    def _make_drifts(self) -> drift_reads.DriftReader:
        reads = prometheus.PrometheusClient(http_client=self._http, on_request=self._metrics.on_prometheus_request)
        return drift_reads.DriftReader(reads, prometheus=self._settings.prometheus_urls, on_change=self._waiting.touch)

    def _kubernetes_client(
        self, *, lease: http.Lease | None, connections: int = http.CONNECTIONS_PER_HOST
    ) -> kubernetes.KubernetesClient:
        return kubernetes.KubernetesClient(
            self._configuration,
            clock=self._clock,
            on_request=self._metrics.on_kubernetes_request,
            lease=lease,
            connections=connections,
        )

    def _ray_client(self, namespace: str, url: str) -> ray_serve.RayServeClient:
        return ray_serve.RayServeClient(
            url,
            read_token=self._directories.find_token(namespace),
            http_client=self._http,
            on_request=self._metrics.on_ray_request,
        )

    def _parts(self) -> reconcile.Parts:
        return reconcile.Parts(
            observer=self._observer,
            namespaces=self._namespace,
            waits=self._waiting,
            composed=self._composition,
            hands=execute.Hands(
                api=self._api,
                gateways=self._gateway,
                members=self._directories.gateways,
                namespace=self._namespace,
                # Not before the next PUT may go out: a thousand models ask in one second.
                nudge=lambda key: self._queue.add_after(key, max(NUDGE_DELAY_S, self._clusters.put_pause_s(key))),
            ),
            statuses=drafts.StatusWriter(self._api, self._events, clock=self._clock, metrics=self._metrics),
            bounds=self._settings.bounds,
            clock=self._clock,
            metrics=self._metrics,
            missing_fields=lambda: self._crd.missing_fields,
        )

    def _make_cluster_mode(self) -> cluster_mode.ClusterMode:
        parts = cluster_mode.Parts(
            api=self._api,
            watch_api=self._watch_api,
            scopes=self._settings.namespaces or (None,),
            work=self._queue,
            waits=self._waiting,
            composed=self._composition,
            problems=self._problems,
            classes=self._directories.classes,
            used_clusters=lambda namespace: self._namespace(namespace).used_clusters(
                self._composition.used.placed(namespace)
            ),
            callers=network.Callers(
                operator=self._settings.lease_namespace, prometheus=self._settings.monitoring_namespace
            ),
            clock=self._clock,
            metrics=self._metrics,
        )
        return cluster_mode.ClusterMode(parts)

    def _ray_pass(self) -> ray_pass.RayPass:
        return ray_pass.RayPass(
            namespaces=self._namespace,
            clusters=self._clusters,
            composed=self._composition,
            waits=self._waiting,
            bounds=self._settings.bounds,
            metrics=self._metrics,
        )

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.append(task)
        return task


def run(settings: Settings) -> int:
    """One life of the operator, on an event loop of its own."""
    garbage.collect_seldom()
    selector = election.WakingSelector()

    async def live() -> int:
        configuration = await kubernetes.load_configuration(settings.kubeconfig)
        return await Operator(settings, configuration, telemetry.Metrics(), selector=selector).run()

    return asyncio.SelectorEventLoop(selector).run_until_complete(live())

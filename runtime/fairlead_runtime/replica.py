"""The Ray Serve deployment: prepares its model, opens its own port, joins its node's directory, reports health, drains.

Ray places, starts, checks, scales and stops it; requests don't pass through Ray.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead_runtime import config, staged, starting
from fairlead_runtime.discovery import entry, member
from fairlead_runtime.errors import LoadError
from fairlead_runtime.feedback import keys, wiring
from fairlead_runtime.inference import batching, costs, dataplane, executor, guard_checks, sampling
from fairlead_runtime.inference.attribution_sampling import AttributionSampler, find_comparison
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.model import digest, engine, prepare
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.explaining.explainer import Explainer
from fairlead_runtime.model.onnx import conversions
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.optimization import variants
from fairlead_runtime.payloads import http_sink
from fairlead_runtime.payloads.log import PayloadLog
from fairlead_runtime.protocols import example
from fairlead_runtime.protocols.handler import Handler
from fairlead_runtime.server import listener, writer
from fairlead_runtime.server.connection import Shared
from fairlead_runtime.server.limits import ServerLimits
from fairlead_runtime.server.thread import ServerThread
from fairlead_runtime.shadow import mirror
from fairlead_spans.counters import SpanCounters

if TYPE_CHECKING:
    from fairlead_runtime.tracing.wiring import Tracing

LOG = logging.getLogger(__name__)
SILENT_S_MAX = 20.0
DRAIN_RESERVE_S = 5.0
"""Beyond the longest request. With what the server's end takes it is less than the 10 s that Ray waits beyond it."""
HEALTHY_S = 2.5
"""A draining replica is healthy for so long: a gateway that has no other one of the revision goes on sending to it."""
TOUCH_EVERY_S = 600.0


class Replica:
    """One copy of one revision. Ray calls every method on its own loop."""

    def __init__(self, raw: Mapping[str, object], *stages: Any) -> None:
        """Cheap: the model comes with the first `reconfigure`, and Ray counts the replica as started only after it.

        `stages` are Ray's handles of the model's further stages, where it has some.
        """
        self._config = config.parse(raw)
        self._staged = staged.StagedModel(self._config, stages) if stages else None
        self._name = entry.make_name(self._config.revision)
        labels = {"namespace": self._config.namespace, "model": self._config.model, "revision": self._config.revision}
        self._metrics = ReplicaMetrics({**labels, "replica": self._name})
        self._prepared: prepare.PreparedModel | None = None
        self._member: member.Member | None = None
        self._server: ServerThread | None = None
        self._dataplane: dataplane.Dataplane | None = None
        self._tracing: Tracing | None = None
        self._payloads: PayloadLog | None = None
        self._user_config: Mapping[str, object] | None = None
        """What the first `reconfigure` came with: monitoring is on before the replica is announced."""
        self._starting = asyncio.Lock()
        self._next_touch_s = 0.0

    async def reconfigure(self, user_config: Mapping[str, object] | None) -> None:
        """Starts serving at the first call; later ones hold the replica to the digest pinned meanwhile.

        Each call also has the settings of monitoring.
        """
        pinned = starting.pinned_digest(user_config)
        async with self._starting:
            is_first = self._prepared is None
            with starting.stated():
                if self._prepared is None:
                    self._user_config = user_config
                    await starting.start_after_pause(self._config, lambda: self._start(pinned))
                else:
                    digest.verify(self._prepared.digest, pinned)
            if not is_first:
                await self._set_monitoring(user_config)

    async def _set_monitoring(self, user_config: Mapping[str, object] | None) -> None:
        server, log, plane = self._server, self._payloads, self._dataplane
        if server is not None and log is not None:
            await asyncio.to_thread(server.run, lambda: log.follow(user_config))
        if server is not None and plane is not None and (sampler := plane.attributions) is not None:
            await asyncio.to_thread(server.run, lambda: sampler.follow(user_config))

    async def check_health(self) -> None:
        """Ray replaces a replica whose check raises."""
        if self._server is None:
            # Without a user_config Ray never calls `reconfigure`; its first health check comes instead.
            await self.reconfigure(None)
        server = self._server
        if server is None or not server.is_alive() or server.silent_s() > SILENT_S_MAX:
            raise RuntimeError("the replica's server has stopped answering")
        trouble = self._dataplane.trouble() if self._dataplane is not None else None
        if trouble is not None:
            raise RuntimeError(f"the replica can't answer predictions: {trouble}")
        if self._member is not None:
            await asyncio.to_thread(self._member.check)
        self._log_cache_use()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The load that Ray doesn't see, for its autoscaling policy.

        ``ongoing``: predictions in hand, on average since Ray last asked; ``queued``: those that wait at this moment.
        """
        plane = self._dataplane
        if plane is None:
            return {"ongoing": 0.0, "queued": 0.0}
        return {"ongoing": plane.take_mean_pending(), "queued": float(plane.queued)}

    def _log_cache_use(self) -> None:
        """The cache's order of use counts from the end of a use, not from its beginning."""
        now_s = time.monotonic()
        if self._prepared is not None and now_s >= self._next_touch_s:
            self._next_touch_s = now_s + TOUCH_EVERY_S
            for lease in self._prepared.leases:
                lease.touch()

    async def __del__(self) -> None:
        """Drains. Ray awaits this within `graceful_shutdown_timeout_s` before it kills the process."""
        server, plane, joined = self._server, self._dataplane, self._member
        if server is None or plane is None or joined is None:
            return
        # First of all the directory: the gateways' health checks may be seconds apart.
        await asyncio.to_thread(joined.drain)
        server.call_later(lambda: _set_phase(plane, dataplane.Phase.DRAINING), HEALTHY_S)
        timeout_s = self._config.limits.request_timeout_seconds + DRAIN_RESERVE_S
        try:
            await asyncio.to_thread(server.drain, timeout_s=timeout_s)
        finally:
            await asyncio.to_thread(joined.leave)
            if self._staged is not None:
                # Not before: until now requests were answered with their help.
                await asyncio.to_thread(self._staged.close)

    async def _start(self, pinned: str | None) -> None:
        # Before the model is read: a node that isn't set up says so at once.
        node = config.node_environment()
        joined = await asyncio.to_thread(member.Member, node)
        try:
            bound = listener.bind_free_port(node.replica_host)
            try:
                await self._serve(pinned, bound, joined)
            except BaseException:
                bound.close()
                raise
        except BaseException:
            await asyncio.to_thread(joined.leave)
            await self._end_tracing()
            raise
        self._member = joined

    async def _serve(self, pinned: str | None, bound: socket.socket, joined: member.Member) -> None:
        started_s = time.perf_counter()
        environment = config.environment()
        prepared = await asyncio.to_thread(
            prepare.prepare,
            self._config,
            pinned,
            environment,
            threads=threads_of_replica(),
            read_examples=self._read_examples,
            load=self._load,
        )
        guards = self._guards(prepared)
        self._tracing = self._trace(environment)
        server = ServerThread(bound, lambda loop: self._assemble(loop, prepared, guards))
        await asyncio.to_thread(server.start)
        plane = self._dataplane
        if plane is None:
            raise RuntimeError("the server started without its parts")
        self._metrics.evicted_bytes = [each.size_bytes for each in prepared.evicted]
        self._metrics.shares_calls = prepared.merging.is_proved
        self._metrics.engine = (prepared.engine.engine.value, prepared.engine.reason.value)
        if prepared.variant is not None:
            self._metrics.variant = (prepared.variant.name, prepared.variant.reason.value)
        self._metrics.reference = prepared.reference.outcome.value
        self._metrics.phases_s = {**prepared.phases_s, "all": time.perf_counter() - started_s}
        if prepared.warm_up.refusal is not None:
            LOG.warning("serving although the warm-up could not run: %s", prepared.warm_up.refusal)
        # Gateways send requests as soon as it is announced.
        await asyncio.to_thread(server.run, lambda: _set_phase(plane, dataplane.Phase.READY))
        try:
            await asyncio.to_thread(joined.announce, self._describe(server.port))
        except BaseException:
            await asyncio.to_thread(server.drain, timeout_s=0)
            raise
        self._server, self._prepared = server, prepared
        starting.log_start(self._name, server.port, prepared, self._metrics.phases_s)

    def _read_examples(self, folder: Path, signature: Signature) -> Sequence[Tensors]:
        return example.read(self._config.example, folder, signature)

    def _load(self, given: config.ReplicaConfig, wanted: conversions.Wanted, cache: Cache) -> engine.Served:
        if self._staged is not None:
            return self._staged.load(wanted, cache, self._read_examples)
        bounds = given.optimization
        return engine.load(
            given.engine, wanted, cache, None if bounds is None else variants.vary(wanted, cache, bounds)
        )

    def _trace(self, environment: config.Environment) -> Tracing | None:
        if not environment.traces_endpoint:
            return None
        try:
            # Here: a replica without tracing has nothing of it in memory.
            from fairlead_runtime.tracing import tracer
            from fairlead_runtime.tracing import wiring as tracing
        except ImportError as error:
            LOG.error("serving without spans: the image lacks opentelemetry-proto (%s)", error)
            return None
        given = self._config
        names = tracer.Names(namespace=given.namespace, model=given.model, revision=given.revision, replica=self._name)
        counted = SpanCounters()
        try:
            started = tracing.start(environment, names, counted)
        except LoadError as error:
            LOG.error("serving without spans: %s", error.sentence)
            return None
        self._metrics.spans = counted
        return started

    async def _end_tracing(self) -> None:
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    def _describe(self, port: int) -> entry.Replica:
        """This replica as the node's directory lists it."""
        given = self._config
        return entry.Replica(
            name=self._name, namespace=given.namespace, model=given.model, revision=given.revision, port=port
        )

    def _assemble(
        self, loop: asyncio.AbstractEventLoop, prepared: prepare.PreparedModel, guards: Guards | None
    ) -> Shared:
        """Puts the parts together on the server's thread."""
        given, limits = self._config, self._config.limits
        signature = prepared.model.signature
        runner = self._runner(prepared)
        plane = dataplane.Dataplane(
            dataplane.Identity(
                name=self._name,
                model=given.model,
                revision=given.revision,
                number=given.revision_number,
                versions=given.versions,
                digest=prepared.digest,
                folder=prepared.model.folder,
                engine=prepared.engine.engine.value,
                evaluation=prepared.evaluation,
                variant=prepared.variant,
            ),
            signature,
            executor=executor.Executor(runner, loop, at_once=self._at_once()),
            admission=dataplane.Admission(
                ongoing_max=limits.max_ongoing_requests,
                queued_max=limits.max_queued_requests,
                timeout_s=limits.request_timeout_seconds,
            ),
            metrics=self._metrics,
            sampler=self._sampler(prepared),
        )
        plane.guards = guards
        plane.is_traced = self._tracing is not None
        if self._staged is not None:
            plane.absent = self._staged.absent
        plane.attributions = self._start_attributions(plane, prepared)
        self._dataplane = plane
        secret = keys.own_ray_token()
        copies = self._mirror(loop, secret)
        self._payloads = payloads = self._start_payload_log(plane)
        handler = Handler(
            plane,
            self._metrics,
            self._feedback(signature, secret),
            prepared.warm_up,
            Explainer(prepared.model, shares_calls=prepared.merging.is_proved),
            body_bytes_max=limits.max_request_bytes,
        )
        return Shared(
            handle=handler.handle,
            check_head=handler.check_head,
            limits=ServerLimits(body_bytes_max=limits.max_request_bytes, body_timeout_s=limits.request_timeout_seconds),
            metrics=self._metrics,
            writer=writer.ResponseWriter(given.revision),
            close=plane.close,
            on_answer=(payloads.offer, copies.offer),
            record=None if self._tracing is None else self._tracing.record,
            # Copies last: their end closes the loop's executor, to which the two before have given their work by then.
            finish=(payloads.close, self._end_tracing, copies.close),
        )

    def _runner(self, prepared: prepare.PreparedModel) -> batching.Runner:
        learned = costs.LearnedCosts()
        for rows, spent_s in prepared.warm_up.speed.call_s.items():
            learned.observe(costs.size_of([prepared.warm_up.inputs_of(rows)]), spent_s)
        given = self._config.batching
        sharing = batching.Sharing(
            is_proved=prepared.merging.is_proved,
            rows_max=given.max_rows,
            delay_s=given.max_delay_milliseconds / 1000,
        )
        return batching.Runner(
            prepared.model.predictor, sharing=sharing, costs=learned, observe_rows=self._metrics.batch_rows.observe
        )

    def _at_once(self) -> int | None:
        """While one call is in the second stage, the next one is in the first."""
        return None if self._config.parallelism is None else self._config.parallelism.stages

    def _sampler(self, prepared: prepare.PreparedModel) -> sampling.RowSampler | None:
        statistics = prepared.reference.statistics
        if statistics is None:
            return None
        self._metrics.sketches = statistics.sketches()
        signature = prepared.model.signature
        return sampling.RowSampler(signature, statistics.reader(signature), self._metrics.sketches)

    def _guards(self, prepared: prepare.PreparedModel) -> Guards | None:
        """Raises LoadError for one that the model gives no means for."""
        modes = guard_checks.modes_of(self._config.guards)
        if not modes:
            return None
        reference = prepared.reference
        guards = guard_checks.build(modes, prepared.model.signature, reference, prepared.answers)
        self._metrics.guarded = guards.rows
        return guards

    def _start_payload_log(self, plane: dataplane.Dataplane) -> PayloadLog:
        payloads = PayloadLog(plane, self._config.namespace, self._metrics.payloads, http_sink.open_sink)
        payloads.follow(self._user_config)
        return payloads

    def _start_attributions(self, plane: dataplane.Dataplane, prepared: prepare.PreparedModel) -> AttributionSampler:
        found = find_comparison(prepared.model, prepared.reference, shares_calls=prepared.merging.is_proved)
        sampler = AttributionSampler(plane.explanations, found, self._metrics.explained)
        sampler.follow(self._user_config)
        return sampler

    def _mirror(self, loop: asyncio.AbstractEventLoop, secret: str | None) -> mirror.Mirror:
        given = self._config
        settings = mirror.Settings(
            model=given.model,
            timeout_s=given.limits.request_timeout_seconds,
            sign=lambda candidate: keys.copy_mark(
                secret, namespace=given.namespace, model=given.model, candidate=candidate
            ),
        )
        return mirror.Mirror(settings, self._metrics.measured, loop)

    def _feedback(self, signature: Signature, secret: str | None) -> wiring.Feedback:
        given = self._config
        if secret is None:
            LOG.warning("no feedback tokens: the Ray cluster has no authentication token")
        names = wiring.Names(namespace=given.namespace, model=given.model, revision=given.revision)
        return wiring.build(signature, self._metrics.measured, names, secret=secret)


def _set_phase(plane: dataplane.Dataplane, phase: dataplane.Phase) -> None:
    plane.phase = phase


def threads_of_replica() -> int:
    """Ray sets OMP_NUM_THREADS to the replica's share of CPUs, at least 1."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(given)) if given.isdigit() else 1

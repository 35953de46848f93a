"""What counting scores and issuing feedback tokens cost a prediction, against the same replica without; needs `wrk`.

    python -m benchmarks.feedback_cost MODEL_FOLDER [--seconds 2] [--rounds 7] [--connections 16] [--rows 1]

Three servers of one process share the loaded model: without (nothing is read of the outputs), counting (scores alone)
and tokens (what a replica does). Rounds alternate between them; the ratio of processor time a request is taken within
a round, its median reported with its smallest and largest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runtime_replica import configuration
from typing_extensions import override

from fairlead_runtime import config
from fairlead_runtime.feedback import wiring
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference import batching, costs, dataplane, executor
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.model import prepare
from fairlead_runtime.model.explaining.explainer import Explainer
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import example_inputs
from fairlead_runtime.protocols.handler import Handler
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.server import listener, writer
from fairlead_runtime.server.connection import Shared
from fairlead_runtime.server.limits import ServerLimits
from fairlead_runtime.server.thread import ServerThread

REVISION = "0000000000"
Record = Callable[[Request, Response, float], None]


class Silent(Issuer):
    """Reads nothing of the outputs."""

    @override
    def headers(self, outputs: Tensors) -> tuple[tuple[bytes, bytes], ...]:
        return ()


@dataclass(frozen=True)
class Variant:
    name: str
    feedback: Callable[[prepare.PreparedModel, ReplicaMetrics], wiring.Feedback]


def build_feedback(prepared: prepare.PreparedModel, metrics: ReplicaMetrics, secret: str | None) -> wiring.Feedback:
    names = wiring.Names(namespace="bench", model="bench", revision=REVISION)
    return wiring.build(prepared.model.signature, metrics.measured, names, secret=secret)


def build_silent(prepared: prepare.PreparedModel, metrics: ReplicaMetrics) -> wiring.Feedback:
    return wiring.Feedback(issuer=Silent(prepared.model.signature, metrics.measured, None), ledger=None)


VARIANTS = (
    Variant("without", build_silent),
    Variant("counting", lambda prepared, metrics: build_feedback(prepared, metrics, None)),
    Variant("tokens", lambda prepared, metrics: build_feedback(prepared, metrics, "a cluster's token")),
)


def main() -> None:
    chosen, prepared, body = read_arguments()
    ports = {variant.name: serve(variant, prepared) for variant in VARIANTS}
    spent_us: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(chosen.rounds + 1):
        for name, port in ports.items():
            spent_us[name].append(measure(body, port, chosen.connections, chosen.seconds))
    for name in spent_us:
        print(describe(spent_us, name, base="without"))


def read_arguments() -> tuple[argparse.Namespace, prepare.PreparedModel, str]:
    """The options, the model that they name, and the body of a request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rows", type=int, default=1)
    chosen = parser.parse_args()
    raw = configuration(chosen.model.resolve())
    prepared = prepare.prepare(config.parse(raw), None, config.environment(), threads=1)
    print(f"{prepared.model.kind}, {prepared.warm_up.speed.single_s * 1e6:.0f} µs a call of the model")
    rows = example_inputs(prepared.model.signature, chosen.rows, seed=1)[0].astype(float).round(4).tolist()
    body = json.dumps({"instances": rows})
    return chosen, prepared, body


def describe(spent_us: Mapping[str, Sequence[float]], name: str, *, base: str) -> str:
    """The microseconds of one replica, by rounds of which the first warms up, and their ratio to those of `base`."""
    rounds, others = spent_us[name][1:], spent_us[base][1:]
    ratios = sorted(mine / other for mine, other in zip(rounds, others, strict=True))
    measured = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    return f"{name}: {statistics.median(rounds):.1f} µs of processor a request; ratio to {base} {measured}"


def serve(
    variant: Variant, prepared: prepare.PreparedModel, guards: Guards | None = None, record: Record | None = None
) -> int:
    """The port of one more replica of this process."""
    metrics = ReplicaMetrics({"model": "bench"})

    def build(loop: asyncio.AbstractEventLoop) -> Shared:
        signature = prepared.model.signature
        learned = costs.LearnedCosts()
        learned.observe(costs.size_of([example_inputs(signature, 1)]), prepared.warm_up.speed.single_s)
        sharing = batching.Sharing(is_proved=prepared.merging.is_proved)
        observe = metrics.batch_rows.observe
        runner = batching.Runner(prepared.model.predictor, sharing=sharing, costs=learned, observe_rows=observe)
        names = frozenset({REVISION, "1"})
        plane = dataplane.Dataplane(
            dataplane.Identity(
                name=f"{REVISION}-0000000000000000",
                model="bench",
                revision=REVISION,
                number=1,
                versions=names,
                engine="TensorFlow",
                digest=prepared.digest,
            ),
            signature,
            executor=executor.Executor(runner, loop),
            admission=dataplane.Admission(ongoing_max=64, queued_max=256, timeout_s=30),
            metrics=metrics,
        )
        plane.guards = guards
        plane.is_traced = record is not None
        plane.phase = dataplane.Phase.READY
        explainer = Explainer(prepared.model, shares_calls=prepared.merging.is_proved)
        feedback = variant.feedback(prepared, metrics)
        handler = Handler(plane, metrics, feedback, prepared.warm_up, explainer, body_bytes_max=1 << 20)
        return Shared(
            handle=handler.handle,
            check_head=handler.check_head,
            limits=ServerLimits(body_bytes_max=1 << 20),
            metrics=metrics,
            writer=writer.ResponseWriter(REVISION),
            close=plane.close,
            record=record,
        )

    server = ServerThread(listener.bind_free_port("127.0.0.1"), build)
    server.start()
    return server.port


def measure(body: str, port: int, connections: int, seconds: int, settle: Callable[[], None] = lambda: None) -> float:
    """Microseconds of this process's processor time a request, with what is left to do after it (`settle`)."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = {json.dumps(body)}\n")
        script.flush()
        url = f"http://127.0.0.1:{port}/v1/models/bench:predict"
        before = resource.getrusage(resource.RUSAGE_SELF)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        settle()
        after = resource.getrusage(resource.RUSAGE_SELF)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(done.stdout)
    requests = next(int(line.split()[0]) for line in done.stdout.splitlines() if "requests in" in line)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / requests * 1e6


if __name__ == "__main__":
    main()

"""The way of a model into a replica, in order: fetch, verify, check and load, warm up. Cheap refusals come first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead_runtime.config import BatchingMode, Environment, ReplicaConfig
from fairlead_runtime.model import loader, merging, source, warmup
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Evicted, Held
from fairlead_runtime.model.predictor import LoadedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """A model that answers, with what was learnt on the way."""

    model: LoadedModel
    digest: str
    warm_up: warmup.WarmUp
    merging: merging.Proof
    lease: Held
    evicted: Sequence[Evicted]
    phases_s: Mapping[str, float]


def prepare(config: ReplicaConfig, pinned: str | None, environment: Environment, *, threads: int) -> PreparedModel:
    """Raises LoadError; the manifest's digest and the pinned one are the same thing, the manifest's wins."""
    bounds = Bounds(
        bytes_max=environment.max_model_bytes, idle_s=environment.fetch_idle_s, total_s=environment.fetch_total_s
    )
    times = [time.perf_counter()]
    kept = Cache(environment.cache_dir, bytes_max=environment.cache_bytes)
    wanted = config.source.digest or pinned
    fetched = source.fetch(config.source.uri, wanted, kept, bounds, ca_file=environment.ca_file)
    times.append(time.perf_counter())
    model = loader.load(fetched.path, config.source.format, config.source.signature, bounds, threads=threads)
    times.append(time.perf_counter())
    warm_up = warmup.run(model, config.warmup.batch_sizes)
    if config.batching.mode is BatchingMode.OFF:
        proof = merging.Proof(is_proved=False, why="spec.serving.batching.mode is Off")
    else:
        proof = merging.prove(model, single_s=warm_up.speed.single_s)
    times.append(time.perf_counter())
    phases = dict(zip(("fetch", "load", "warmup"), (b - a for a, b in itertools.pairwise(times)), strict=True))
    return PreparedModel(
        model=model,
        digest=fetched.digest,
        warm_up=warm_up,
        merging=proof,
        lease=fetched.lease,
        evicted=tuple(kept.evicted),
        phases_s=phases,
    )

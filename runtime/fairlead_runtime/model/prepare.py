"""The way of a model into a replica, in order: fetch, verify, check and load, warm up. Cheap refusals come first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead_runtime.config import BatchingMode, Engine, EngineMode, Environment, GuardMode, ReplicaConfig
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import (
    allowlist,
    answer_kinds,
    engine,
    evaluation_record,
    loader,
    merging,
    reference_statistics,
    source,
    warmup,
)
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Evicted, Held
from fairlead_runtime.model.fetching import outbound, secret_hosts
from fairlead_runtime.model.fetching.access import Access, parse_schemes
from fairlead_runtime.model.fetching.outbound import Outbound
from fairlead_runtime.model.onnx.conversions import Wanted
from fairlead_runtime.model.predictor import LoadedModel, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.model.variant import VariantChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """A model that answers, with what was learnt on the way."""

    model: LoadedModel
    engine: engine.Choice
    variant: VariantChoice | None
    digest: str
    evaluation: evaluation_record.Found
    reference: reference_statistics.Found
    warm_up: warmup.WarmUp
    merging: merging.Proof
    answers: AnswerKinds
    leases: Sequence[Held]
    evicted: Sequence[Evicted]
    phases_s: Mapping[str, float]


Load = Callable[[ReplicaConfig, Wanted, Cache], engine.Served]
"""Loads the model that was fetched; raises LoadError."""

ReadExamples = Callable[[Path, Signature], Sequence[Tensors]]
"""Reads the examples that were given for the model at that path; raises LoadError for those that don't fit."""


def load_whole(config: ReplicaConfig, wanted: Wanted, cache: Cache) -> engine.Served:
    """The model as it is, for the engine that the manifest names."""
    return engine.load(config.engine, wanted, cache)


def read_no_examples(_root: Path, _signature: Signature) -> Sequence[Tensors]:
    """For a model without any."""
    return ()


def prepare(
    config: ReplicaConfig,
    pinned: str | None,
    environment: Environment,
    *,
    threads: int,
    read_examples: ReadExamples = read_no_examples,
    load: Load = load_whole,
) -> PreparedModel:
    """Raises LoadError; the manifest's digest and the pinned one are the same thing, the manifest's wins."""
    times = [time.perf_counter()]
    wanted, kept = fetch(config, pinned, environment, threads=threads)
    fetched = wanted.fetched
    times.append(time.perf_counter())
    served = load(config, wanted, kept)
    times.append(time.perf_counter())
    root = loader.find_root(fetched.path)
    examples = read_examples(root, served.model.signature)
    served, warm_up = _warm_up(served, wanted, config.warmup.batch_sizes, examples)
    model = served.model
    if config.batching.mode is BatchingMode.OFF:
        proof = merging.Proof(is_proved=False, why="spec.serving.batching.mode is Off")
    else:
        proof = merging.prove(model, single_s=warm_up.speed.single_s, examples=examples)
    guarded = config.guards.impossible_answer is not GuardMode.OFF
    answers = answer_kinds.try_out(model, warm_up.example) if guarded else AnswerKinds()
    times.append(time.perf_counter())
    evaluation = evaluation_record.find(fetched.path, root)
    phases = dict(zip(("fetch", "load", "warmup"), (b - a for a, b in itertools.pairwise(times)), strict=True))
    return PreparedModel(
        model=model,
        engine=served.choice,
        variant=served.variant,
        digest=fetched.digest,
        evaluation=evaluation,
        reference=reference_statistics.find(fetched.path, root, model.signature, evaluation),
        warm_up=warm_up,
        merging=proof,
        answers=answers,
        leases=(fetched.lease, *served.leases),
        evicted=tuple(kept.evicted),
        phases_s=phases,
    )


def fetch(config: ReplicaConfig, pinned: str | None, environment: Environment, *, threads: int) -> tuple[Wanted, Cache]:
    """The verified content on this node, and the cache that holds it; raises LoadError."""
    bounds = Bounds(
        bytes_max=environment.max_model_bytes,
        idle_s=environment.fetch_idle_s,
        total_s=environment.fetch_total_s,
        operations=allowlist.parse_operations(environment.allowed_operations),
    )
    kept = Cache(environment.cache_dir, bytes_max=environment.cache_bytes)
    pinned = config.source.digest or pinned
    fetched = source.fetch(config.source.uri, pinned, kept, bounds, access=_access(config, environment))
    wanted = Wanted(
        fetched=fetched,
        source=config.source,
        bounds=bounds,
        threads=threads,
        environment=environment,
        is_measured=config.engine is EngineMode.AUTO,
    )
    return wanted, kept


def _warm_up(
    served: engine.Served, wanted: Wanted, batch_sizes: Sequence[int], examples: Sequence[Tensors]
) -> tuple[engine.Served, warmup.WarmUp]:
    """A model that only the other engine can't call at one of the sizes is served by TensorFlow."""
    try:
        return served, warmup.run(served.model, batch_sizes, examples)
    except LoadError as error:
        if served.choice.engine is Engine.TENSORFLOW:
            raise
        served = engine.load_other(wanted, error, is_varied=served.variant is not None)
    return served, warmup.run(served.model, batch_sizes, examples)


def _access(config: ReplicaConfig, environment: Environment) -> Access:
    rules = Outbound(
        hosts=outbound.parse_hosts(environment.source_hosts),
        networks=outbound.parse_networks(environment.source_networks),
        proxy=outbound.parse_proxy(environment.https_proxy, environment.no_proxy),
    )
    return Access(
        endpoint=config.source.endpoint,
        secret=config.source.credentials_secret_name,
        secrets_dir=environment.source_secrets_dir,
        secret_hosts=secret_hosts.parse(environment.source_credentials),
        claims_dir=environment.source_claims_dir,
        ca_file=environment.ca_file,
        schemes=parse_schemes(environment.source_schemes, source.SCHEMES),
        outbound=rules,
    )

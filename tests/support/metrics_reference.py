"""docs/metrics.md, out of the registries of the three programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from fairlead_gateway import metrics as gateway
from fairlead_operator import model_metrics, telemetry
from fairlead_runtime import metrics as runtime
from fairlead_runtime.discovery import scrape

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
REPLICA_LABELS = ("namespace", "model", "revision", "replica")
_SUFFIXES = {"counter": "_total"}
HEAD = """# Metrics

Generated from the programs' registries; a test compares it. To refresh it:

```
FAIRLEAD_REFRESH=1 .venv/bin/python -m pytest tests/contract/test_metrics_reference.py
```

What to scrape, the rules and the dashboards: [monitoring.md](monitoring.md). The alerts: [runbook.md](runbook.md).

A histogram `NAME` has the series `NAME_bucket`, `NAME_sum` and `NAME_count`. No label holds anything that a client
sends: a request that reached no model is counted with an empty `model`. A series is removed with what it is about: at
once with a model in the operator, some minutes after a revision in the gateway.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric as one reads it on the page; ``labels`` are its own, without those that a Prometheus adds."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """``bounds`` says for each label how many values it can have."""

    title: str
    where: str
    metrics: tuple[Metric, ...]
    bounds: dict[str, str]


def _registered(registry: CollectorRegistry) -> Iterator[Metric]:
    """What is registered, with or without a series."""
    collectors: dict[Any, Any] = registry._collector_to_names
    for collector in collectors:
        described = getattr(collector, "_labelnames", None)
        for family in collector.describe() if described is not None else collector.collect():
            labels = described if described is not None else getattr(family, "_labelnames", ())
            name = family.name + _SUFFIXES.get(family.type, "")
            text = family.documentation.rstrip(".") + "."
            yield Metric(name=name, kind=family.type, labels=tuple(labels or ()), text=text)


def _models() -> Iterator[Metric]:
    for family in model_metrics.FAMILIES:
        labels = ("namespace", "model", *((family.other,) if family.other is not None else ()))
        yield Metric(name=family.name, kind="gauge", labels=labels, text=f"{family.text}.")


def programs() -> tuple[Program, ...]:
    replica = runtime.ReplicaMetrics(dict.fromkeys(REPLICA_LABELS, ""))
    pages = Metric(name=scrape.PAGES, kind="gauge", labels=("state",), text=scrape.PAGES_HELP)
    operator = (*_registered(telemetry.Metrics().registry), *_models())
    return (
        Program(
            title="Operator",
            where="`--listen`, path `/metrics`; a standby answers as well",
            metrics=_sorted(operator),
            bounds={
                "namespace": "the namespaces with models",
                "model": "the ModelDeployments of the namespace",
                "type": "8: the conditions",
                "phase": "1 at a time, of 13",
                "role": "4: Stable, Candidate, Warm, Draining",
                "kind": "2: ModelKey, RayKey",
                "outcome": "6",
                "action": "19: what the operator can do",
                "verb": "8: HTTP methods, `LIST`, `WATCH` and `WAIT`",
                "code": "the HTTP status codes, and `none` where there was no answer",
                "reason": "the reasons of [operations.md](operations.md) and those of the loader, and `Other`",
                "resource": "1: modeldeployments",
                "cluster": "the Ray clusters of the namespace",
            },
        ),
        Program(
            title="Gateway",
            where="`--admin`, path `/metrics`",
            metrics=_sorted(_registered(gateway.Metrics().registry)),
            bounds={
                "model": "the models with a route, and one empty",
                "revision": "the revisions in the model's route: mostly 1, 2 during a rollout; and one empty",
                "code": "the HTTP status codes",
                "termination": "HAProxy's termination states, about 30; in fact those of the errors that occur",
                "state": "2: Known, Unknown",
                "end": "4: released, left, timeout, refused",
                "outcome": "4: sent, refused, failed, dropped",
            },
        ),
        Program(
            title="Replica",
            where="the directory of each Ray node (`FAIRLEAD_NODE_DIRECTORY`), path `/metrics`, for all its replicas",
            metrics=_sorted((*_registered(replica._registry), pages)),
            bounds={
                "namespace": "1: its own",
                "model": "1: its own",
                "revision": "1: its own",
                "replica": "1: its own; another one for each process",
                "state": "2: Read, Unread",
                "protocol": "8",
                "code": "the HTTP status codes that a replica answers with",
                "phase": "the phases of a start, about 5",
                "part": "4: wait, decode, call, encode",
                "engine": "1 of 2: TensorFlow, ONNXRuntime",
                "variant": "10: Float and the [variants](optimization.md#techniques)",
                "reason": "1 of 5: why this [engine](engines.md#which-engine-serves-and-why) or this "
                "[variant](optimization.md#which-variant-serves-and-why)",
                "feature": "19: at most 16 of the inputs, `score`, `class` and `attribution`",
                "guard": "7: the guards of `spec.serving.guards` that are not off",
                "bin": "34: those of the reference statistics; 65 of `attribution`",
                "candidate": "64",
                "predicted_by": "64",
                "outcome": "at most 10",
                "kind": "the reasons to refuse feedback, about 5",
            },
        ),
    )


def _sorted(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    return tuple(sorted(metrics, key=lambda metric: metric.name))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for program in programs():
        parts.append(f"\n## {program.title}\n{program.where[0].upper()}{program.where[1:]}.\n\n")
        parts.append("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
        for metric in program.metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
            parts.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |\n")
        parts.append("\n| label | values |\n| --- | --- |\n")
        parts += [f"| `{label}` | {bound} |\n" for label, bound in program.bounds.items()]
    return "".join(parts)


def series_names() -> frozenset[str]:
    """Each name that a query may ask for."""
    found: set[str] = set()
    for metric in (metric for program in programs() for metric in program.metrics):
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{suffix}" for suffix in ("bucket", "sum", "count")}
        else:
            found.add(metric.name)
    return frozenset(found)

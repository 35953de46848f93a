"""What a person writes in ``spec.rollout.analysis``: how a candidate is measured, and what it is held to.

Percentages are in percent (margins in percentage points). What each metric proves: docs/rollouts.md, "Analysis".
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import number, rule, rules, text

METRICS_MAX: Final = 8
QUERY_MAX: Final = 2048
NAME_MAX: Final = 40
KINDS: Final = ("errorRatio", "latency", "disagreement", "accuracy", "drift", "prometheus")
PLACEHOLDERS: Final = ("{{candidate}}", "{{stable}}", "{{model}}", "{{namespace}}")

_ONE_KIND = f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].filter(is, is).size() == 1"
_WITHOUT_KNOWN = "self" + "".join(f".replace('{known}', '')" for known in PLACEHOLDERS)

Percent = Annotated[float, number(0.01, 100)]
Quantile = Annotated[float, number(0.5, 0.999)]
Seconds = Annotated[float, number(0.001, 3600)]
Distance = Annotated[float, number(0.01, 1)]
Number = Annotated[float, Field(ge=-9e15, le=9e15)]
MetricName = Annotated[
    str,
    text(
        "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "must be lower-case letters, digits and '-', begin with a letter and end with a letter or digit",
        max_length=NAME_MAX,
    ),
]
PromQL = Annotated[
    str,
    text(
        r"\S",
        "must be a PromQL expression that gives one number",
        rule(
            f"!{_WITHOUT_KNOWN}.contains('{{{{')",
            f"may put in {', '.join(PLACEHOLDERS)} and nothing else in double braces",
        ),
        max_length=QUERY_MAX,
    ),
]


class ErrorRatio(ApiModel):
    """Compares the ratio of failed requests, as clients saw them. Set at most one field."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.marginPercent) || !has(self.maxPercent)", "takes marginPercent or maxPercent, not both")
        )
    )

    margin_percent: Percent | None = None
    """The maximum difference to the stable revision's ratio, in percentage points. Both 5xx and 4xx count as failed.
    Default: 1, unless `maxPercent` is set.
    """
    max_percent: Percent | None = None
    """The maximum ratio in percent, whatever the stable revision's ratio is. Only 5xx count as failed."""


class Latency(ApiModel):
    """Compares a quantile of the request duration, as clients saw it. Set at most one of `ratio` and `maxSeconds`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.ratio) || !has(self.maxSeconds)", "takes ratio or maxSeconds, not both")
        )
    )

    quantile: Quantile = 0.95
    """The quantile to compare. Default: 0.95."""
    ratio: Annotated[float, Field(ge=1, le=100)] | None = None
    """The maximum ratio of the candidate's quantile to the stable revision's. Default: 1.5, unless `maxSeconds` is set.
    """
    max_seconds: Seconds | None = None
    """The maximum of the candidate's quantile in seconds, whatever the stable revision's is."""


class Disagreement(ApiModel):
    """Limits the ratio of copied requests that the candidate answered differently, or not at all."""

    max_percent: Percent = 2.0
    """The maximum ratio in percent. Default: 2."""


class Accuracy(ApiModel):
    """Compares the ratio of correct predictions among those with a true label from feedback."""

    margin_percent: Percent = 2.0
    """The maximum difference below the stable revision's ratio, in percentage points. Default: 2."""


class Drift(ApiModel):
    """Limits the distance between the score distributions of the candidate and the stable revision."""

    max_distance: Distance = 0.1
    """The maximum Kolmogorov-Smirnov distance, from 0 to 1. Default: 0.1."""


class Range(ApiModel):
    """A range of numbers that includes both ends. Set `min`, `max` or both."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.min) || has(self.max)) && (!has(self.min) || !has(self.max) || self.min <= self.max)",
                "must have min, max or both, and min must not be above max, as in {max: 0.01}",
            )
        )
    )

    min: Number | None = None
    """The lowest number of the range. If unset, there is no lower limit."""
    max: Number | None = None
    """The highest number of the range. If unset, there is no upper limit."""


class Prometheus(ApiModel):
    """Evaluates a PromQL expression. Set `success`, `failure` or both."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.success) || has(self.failure)",
                "must have success, failure or both, as in {success: {max: 1}}",
            )
        )
    )

    query: PromQL
    """The PromQL expression. It is evaluated by the Prometheus server that the operator is configured with for the
    namespace, and must return one number. The placeholders {{candidate}}, {{stable}}, {{model}} and {{namespace}} are
    replaced by names.
    """
    success: Range | None = None
    """Values that count as a success. If only `success` is set, every other value is a failure."""
    failure: Range | None = None
    """Values that count as a failure, also if `success` includes them. If only `failure` is set, every other value is a
    success.
    """


class Metric(ApiModel):
    """A metric that the candidate has to meet. Set `name` and exactly one kind of metric."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(_ONE_KIND, f"must be exactly one of {', '.join(KINDS)}, as in {{name: errors, errorRatio: {{}}}}"),
            rule(
                "!has(self.minSamples) || !has(self.prometheus)",
                "does nothing with prometheus, whose query decides what it counts: leave it out",
                field=".minSamples",
            ),
        )
    )

    name: MetricName
    """The name of the metric in the status and in messages. It must be unique within the analysis."""
    min_samples: Annotated[int, Field(ge=50, le=1000000)] | None = None
    """The minimum number of samples of each revision before a result is concluded. Not allowed for `prometheus`.
    Default: 100.
    """
    error_ratio: ErrorRatio | None = None
    """Compares the ratio of failed requests."""
    latency: Latency | None = None
    """Compares a quantile of the request duration."""
    disagreement: Disagreement | None = None
    """Limits the ratio of copied requests with a different answer."""
    accuracy: Accuracy | None = None
    """Compares the ratio of correct predictions, known from feedback."""
    drift: Drift | None = None
    """Limits the distance between the score distributions."""
    prometheus: Prometheus | None = None
    """Evaluates a PromQL expression."""


class Analysis(ApiModel):
    """How the candidate is measured while it receives traffic."""

    metrics: Annotated[
        tuple[Metric, ...],
        Field(
            min_length=1,
            max_length=METRICS_MAX,
            json_schema_extra=rules(
                rule("self.all(x, self.exists_one(y, y.name == x.name))", "must have a different name each")
            ),
        ),
    ]
    """The metrics that the candidate has to meet."""
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """The time between two measurements in seconds. Default: 10."""
    initial_delay_seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    """The time in seconds after the start of a step in which nothing is measured. Default: 0."""
    count: Annotated[
        int,
        Field(ge=1, le=10000),
    ] = 30
    """The number of measurements after which an `analysis` step without a result is inconclusive. Default: 30."""
    failure_limit: Annotated[int, Field(ge=0, le=10000)] = 0
    """The number of failed measurements of one metric that are tolerated. One more withdraws the candidate. Default: 0.
    """
    inconclusive_limit: Annotated[int, Field(ge=0, le=10000)] | None = None
    """The number of inconclusive measurements of one metric that an `analysis` step tolerates. Default: the value of
    `count`.
    """
    error_limit: Annotated[int, Field(ge=0, le=10000)] = 4
    """The number of consecutive measurements that may be unavailable before the analysis is inconclusive. Default: 4.
    """
    dry_run: bool = False
    """Whether the analysis only reports its results, without any effect on the rollout. Default: false."""


class AnalysisStep(ApiModel):
    """Waits until every metric of `spec.rollout.analysis` is proved to be within its limit. It has no fields."""

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
            f"must have nothing in double braces except {', '.join(PLACEHOLDERS)}",
        ),
        max_length=QUERY_MAX,
    ),
]


class ErrorRatio(ApiModel):
    """Limits the ratio of failed requests of the candidate, as clients see it. Set at most one field."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.marginPercent) || !has(self.maxPercent)", "must not have both marginPercent and maxPercent")
        )
    )

    margin_percent: Percent | None = None
    """The number of percentage points by which the candidate's ratio of failed requests may exceed the stable
    revision's. Requests answered with 4xx or 5xx count as failed. Default: 1, unless `maxPercent` is set.
    """
    max_percent: Percent | None = None
    """The maximum percentage of failed requests of the candidate, independent of the stable revision. Only requests
    answered with 5xx count as failed.
    """


class Latency(ApiModel):
    """Limits a quantile of the request duration, as clients see it. Set at most one of `ratio` and `maxSeconds`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.ratio) || !has(self.maxSeconds)", "must not have both ratio and maxSeconds")
        )
    )

    quantile: Quantile = 0.95
    """The quantile that is limited, such as `0.95` or `0.99`. Default: 0.95."""
    ratio: Annotated[float, Field(ge=1, le=100)] | None = None
    """The factor by which the candidate's quantile may exceed the stable revision's: with `1.5`, the candidate may take
    1.5 times as long. Default: 1.5, unless `maxSeconds` is set.
    """
    max_seconds: Seconds | None = None
    """The maximum of the candidate's quantile in seconds, independent of the stable revision."""


class Disagreement(ApiModel):
    """Limits the share of copied requests that the candidate answers differently or not at all."""

    max_percent: Percent = 2.0
    """The maximum percentage of copied requests with a different answer or none. Default: 2."""


class Accuracy(ApiModel):
    """Limits how far the ratio of correct predictions may be below the stable revision's."""

    margin_percent: Percent = 2.0
    """The number of percentage points by which the candidate's ratio of correct predictions may be below the stable
    revision's. Default: 2.
    """


class Drift(ApiModel):
    """Limits the distance between the score distributions of the candidate and the stable revision."""

    max_distance: Distance = 0.1
    """The maximum Kolmogorov-Smirnov distance between the distributions, from 0.01 to 1. Default: 0.1."""


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
    """The lowest value of the range. If unset, there is no lower limit."""
    max: Number | None = None
    """The highest value of the range. If unset, there is no upper limit."""


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
    """The PromQL expression. It must return one number. The operator sends it to the Prometheus server that it is
    configured with for the namespace (chart value `prometheusUrls`). The placeholders {{candidate}}, {{stable}},
    {{model}} and {{namespace}} are replaced by the names of the two revisions, the ModelDeployment and its namespace.
    """
    success: Range | None = None
    """The values with which a measurement succeeds. If only `success` is set, it fails with every other value."""
    failure: Range | None = None
    """The values with which a measurement fails, even if `success` includes them. If only `failure` is set, it succeeds
    with every other value. If both are set, it is inconclusive with every other value.
    """


class Metric(ApiModel):
    """A metric that the candidate must meet. Set `name` and exactly one kind of metric."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(_ONE_KIND, f"must have exactly one of {', '.join(KINDS)}, as in {{name: errors, errorRatio: {{}}}}"),
            rule(
                "!has(self.minSamples) || !has(self.prometheus)",
                "must not be set for prometheus, whose query decides what is counted: leave it out",
                field=".minSamples",
            ),
        )
    )

    name: MetricName
    """The name of the metric in the status and in messages. Must be unique within the analysis."""
    min_samples: Annotated[int, Field(ge=50, le=1000000)] | None = None
    """The number of samples that each revision must have before a measurement can succeed or fail: requests, copied
    requests, labelled predictions or scores. Until then it is inconclusive. Not allowed for `prometheus`. Default: 100.
    """
    error_ratio: ErrorRatio | None = None
    """Limits the ratio of failed requests of the candidate, by default compared with the stable revision. `{}` uses the
    defaults. With the strategy Shadow, only requests selected by `match` count; without them the metric can be decided
    only after the promotion, within `rollbackWindow`.
    """
    latency: Latency | None = None
    """Limits a quantile of the candidate's request duration, by default compared with the stable revision. `{}` uses
    the defaults. With the strategy Shadow, only requests selected by `match` count; without them the metric can be
    decided only after the promotion, within `rollbackWindow`, and only with `maxSeconds`.
    """
    disagreement: Disagreement | None = None
    """Limits the share of copied requests that the candidate answers differently or not at all. Only allowed for the
    strategy Shadow, because only Shadow copies requests.
    """
    accuracy: Accuracy | None = None
    """Limits how far the ratio of correct predictions may be below the stable revision's. Clients send the true labels
    as feedback. With the strategy Shadow, only requests selected by `match` count; without them the metric can be
    decided only after the promotion, within `rollbackWindow`.
    """
    drift: Drift | None = None
    """Limits the distance between the distributions of the candidate's and the stable revision's scores. A score is the
    highest class score of a prediction, or the predicted number.
    """
    prometheus: Prometheus | None = None
    """Limits the result of a PromQL expression."""


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
    """The metrics that the candidate must meet."""
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """The time between two measurements in seconds. Default: 10."""
    initial_delay_seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    """The number of seconds after the start of each step in which nothing is measured. Default: 0."""
    count: Annotated[
        int,
        Field(ge=1, le=10000),
    ] = 30
    """The number of measurements after which an `analysis` step is inconclusive if a metric has not succeeded. The
    rollout then waits for a person. Default: 30.
    """
    failure_limit: Annotated[int, Field(ge=0, le=10000)] = 0
    """The number of failed measurements of one metric that are tolerated. After one more, the candidate is removed.
    Default: 0.
    """
    inconclusive_limit: Annotated[int, Field(ge=0, le=10000)] | None = None
    """The number of inconclusive measurements of one metric that an `analysis` step tolerates. After one more, the
    rollout waits for a person. Default: the value of `count`.
    """
    error_limit: Annotated[int, Field(ge=0, le=10000)] = 4
    """The number of consecutive measurements that may be unavailable, for example because a gateway cannot be read.
    After one more, the rollout waits for a person. Default: 4.
    """
    dry_run: bool = False
    """Whether the analysis only reports its results and has no effect on the rollout. Default: false."""


class AnalysisStep(ApiModel):
    """Waits until every metric of `spec.rollout.analysis` succeeded. It has no fields."""

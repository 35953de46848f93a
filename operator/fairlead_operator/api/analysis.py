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
    """The share of requests that failed, as the client saw it: 5xx, and beside the stable revision 4xx too."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.marginPercent) || !has(self.maxPercent)", "takes marginPercent or maxPercent, not both")
        )
    )

    margin_percent: Percent | None = Field(
        None, description="How many points it may be above the stable revision's; 1 unless maxPercent is set."
    )
    max_percent: Percent | None = Field(None, description="What it may be, whatever the stable one's; of 5xx alone.")


class Latency(ApiModel):
    """A quantile of the time from a request to its whole answer, as the client saw it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!has(self.ratio) || !has(self.maxSeconds)", "takes ratio or maxSeconds, not both")
        )
    )

    quantile: Annotated[Quantile, Field(description="0.95 unless set.")] = 0.95
    ratio: Annotated[float, Field(ge=1, le=100)] | None = Field(
        None, description="How many times the stable revision's it may be; 1.5 unless maxSeconds is set."
    )
    max_seconds: Seconds | None = Field(None, description="What it may be, whatever the stable revision's is.")


class Disagreement(ApiModel):
    """The share of shadowed requests to which the candidate gave another answer than the stable revision, or none."""

    max_percent: Annotated[Percent, Field(description="2 unless set.")] = 2.0


class Accuracy(ApiModel):
    """The share of right predictions among those whose true label was fed back, beside the stable revision's."""

    margin_percent: Annotated[Percent, Field(description="How many points it may be below; 2 unless set.")] = 2.0


class Drift(ApiModel):
    """How far the distribution of scores is from the stable revision's: the greatest gap between the two."""

    max_distance: Annotated[Distance, Field(description="0.1 unless set.")] = 0.1


class Range(ApiModel):
    """From ``min`` to ``max``, both included; one that is left out is no limit."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.min) || has(self.max)) && (!has(self.min) || !has(self.max) || self.min <= self.max)",
                "must have min, max or both, and min must not be above max, as in {max: 0.01}",
            )
        )
    )

    min: Number | None = Field(None, description="The least value of the range.")
    max: Number | None = Field(None, description="The greatest value of the range.")


class Prometheus(ApiModel):
    """One number from the Prometheus that the operator's settings name for the namespace."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.success) || has(self.failure)",
                "must have success, failure or both, as in {success: {max: 1}}",
            )
        )
    )

    query: Annotated[PromQL, Field(description=f"Gives one number; {', '.join(PLACEHOLDERS)} in it become the names.")]
    success: Range | None = Field(
        None, description="Values that speak for the candidate; all that don't fail unless set."
    )
    failure: Range | None = Field(
        None, description="Values that speak against it, also where success has them; without it all others."
    )


class Metric(ApiModel):
    """One question about the candidate: a name and exactly one kind."""

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

    name: Annotated[MetricName, Field(description="What messages and the status call it.")]
    min_samples: Annotated[int, Field(ge=50, le=1000000)] | None = Field(
        None, description="Without so many of each revision nothing is concluded; 100 unless set."
    )
    error_ratio: ErrorRatio | None = None
    latency: Latency | None = None
    disagreement: Disagreement | None = None
    accuracy: Accuracy | None = None
    drift: Drift | None = None
    prometheus: Prometheus | None = None


class Analysis(ApiModel):
    """How a candidate is measured while traffic moves: in every step, and as a condition in an ``analysis`` step."""

    metrics: Annotated[
        tuple[Metric, ...],
        Field(
            min_length=1,
            max_length=METRICS_MAX,
            description="What is measured, and what the candidate is held to.",
            json_schema_extra=rules(
                rule("self.all(x, self.exists_one(y, y.name == x.name))", "must have a different name each")
            ),
        ),
    ]
    interval_seconds: Annotated[int, Field(ge=1, le=3600, description="Between measurements; 10 unless set.")] = 10
    initial_delay_seconds: Annotated[
        int, Field(ge=0, le=86400, description="What comes so soon after a step began isn't measured; 0 unless set.")
    ] = 0
    count: Annotated[
        int,
        Field(ge=1, le=10000, description="After so many measurements a step ends undecided; 30 unless set."),
    ] = 30
    failure_limit: Annotated[
        int, Field(ge=0, le=10000, description="Failed measurements of one metric that are let pass; 0 unless set.")
    ] = 0
    inconclusive_limit: Annotated[int, Field(ge=0, le=10000)] | None = Field(
        None, description="Undecided measurements of one metric that an analysis step lets pass; count unless set."
    )
    error_limit: Annotated[
        int, Field(ge=0, le=10000, description="Measurements in a row that may not be had; 4 unless set.")
    ] = 4
    dry_run: bool = Field(False, description="Measures and reports, and decides nothing.")


class AnalysisStep(ApiModel):
    """Waits until spec.rollout.analysis proves the candidate within its limits."""

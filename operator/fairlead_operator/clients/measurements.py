"""A gateway's counters of one model.

Source: docs/contracts.md, "Measurements".
"""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic.alias_generators import to_camel
from typing_extensions import override

from fairlead_operator.api.counts import Counters, Scale
from fairlead_operator.clients import errors, http
from fairlead_operator.state import measurements

TIMEOUT_S = 3.0
ANSWER_BYTES_MAX = 1024 * 1024
"""The revisions that a route can have, at some 2 kB each."""
REVISIONS_MAX = 256

Count = Annotated[int, pydantic.Field(ge=0, le=2**53)]


class _Wire(pydantic.BaseModel):
    """A part that a gateway doesn't count yet is left out, and is zero."""

    model_config = pydantic.ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


class _Requests(_Wire):
    total: Count = 0
    server_errors: Count = 0
    client_errors: Count = 0


class _Shadow(_Wire):
    pairs: Count = 0
    disagreed: Count = 0
    failed: Count = 0


class _Feedback(_Wire):
    labelled: Count = 0
    correct: Count = 0


class _Histogram(_Wire):
    counts: tuple[Count, ...] = pydantic.Field((), max_length=65)

    @property
    def scale(self) -> tuple[float, ...]:
        return ()

    @pydantic.model_validator(mode="after")
    def _fits(self) -> _Histogram:
        bounds = self.scale
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("the bounds of a histogram must be in ascending order")
        if (bounds or self.counts) and len(self.counts) != len(bounds) + 1:
            raise ValueError("a histogram must have one count more than bounds")
        return self


class _Durations(_Histogram):
    bounds_seconds: tuple[float, ...] = ()

    @property
    @override
    def scale(self) -> tuple[float, ...]:
        return self.bounds_seconds


class _Scores(_Histogram):
    bounds: tuple[float, ...] = ()

    @property
    @override
    def scale(self) -> tuple[float, ...]:
        return self.bounds


class _Revision(_Wire):
    requests: _Requests = _Requests()
    durations: _Durations = _Durations()
    shadow: _Shadow = _Shadow()
    feedback: _Feedback = _Feedback()
    scores: _Scores = _Scores()


class _Measurements(_Wire):
    gateway: Annotated[str, pydantic.Field(min_length=1, max_length=253)]
    epoch: Annotated[str, pydantic.Field(min_length=1, max_length=64)]
    revisions: Annotated[dict[str, _Revision], pydantic.Field(max_length=REVISIONS_MAX)] = {}


class MeasurementsClient:
    def __init__(self, *, http_client: http.HttpClient, on_request: http.OnRequest) -> None:
        self._http = http_client
        self._on_request = on_request

    async def fetch(self, admin_url: str, model: str) -> measurements.GatewayReading:
        """What the gateway at this admin address counted.

        Raises:
            errors.Unreachable: It can't be read, or not understood.
        """
        url = f"{admin_url.rstrip('/')}/v1/measurements/{model}"
        request = http.Request(method="GET", url=url, timeout_s=TIMEOUT_S, answer_bytes_max=ANSWER_BYTES_MAX)
        answer = await self._http.send(request, who="gateway", on_request=self._on_request)
        if answer.code != 200:
            raise errors.Unreachable(
                f"gateway: measurements: {answer.code}: {answer.excerpt()}", cause=answer.describe()
            )
        try:
            return _reading(_Measurements.model_validate(answer.json()))
        except (pydantic.ValidationError, ValueError) as error:
            words = f"unexpected measurements: {_first(error)}"
            raise errors.Unreachable(f"gateway: {words}", cause=words) from error


def _reading(body: _Measurements) -> measurements.GatewayReading:
    scale: Scale | None = Scale()
    for revision in body.revisions.values():
        own = Scale(durations_s=revision.durations.scale, scores=revision.scores.scale)
        scale = scale.joined(own) if scale is not None else None
    if scale is None:
        raise ValueError("the revisions' histograms have different bounds")
    return measurements.GatewayReading(
        gateway=body.gateway,
        epoch=body.epoch,
        scale=scale,
        revisions={name: _counters(revision) for name, revision in body.revisions.items()},
    )


def _counters(revision: _Revision) -> Counters:
    """A shadowed request that the candidate did not answer at all disagrees, too."""
    shadow = revision.shadow
    return Counters(
        requests=revision.requests.total,
        server_errors=revision.requests.server_errors,
        client_errors=revision.requests.client_errors,
        pairs=shadow.pairs + shadow.failed,
        disagreed=shadow.disagreed + shadow.failed,
        labelled=revision.feedback.labelled,
        correct=revision.feedback.correct,
        durations=revision.durations.counts,
        scores=revision.scores.counts,
    )


def _first(error: ValueError) -> str:
    return str(error.errors()[0]["msg"]) if isinstance(error, pydantic.ValidationError) else str(error)

"""Numbers from a Prometheus.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/, "Instant queries" and "Expression query result
formats".
"""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

from fairlead_operator.clients import errors, http

TIMEOUT_S = 3.0
ANSWER_BYTES_MAX = 64 * 1024
"""One number with its labels; a query whose answer is longer gives many series."""
SERIES_BYTES_MAX = 1024 * 1024
"""Some thousand numbers with their labels."""

Sample = tuple[float, str]


class _Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Series(_Wire):
    metric: Mapping[str, str] = {}
    value: Sample


class _Vector(_Wire):
    result_type: Annotated[Literal["vector"], pydantic.Field(alias="resultType")]
    result: tuple[_Series, ...]


class _Scalar(_Wire):
    result_type: Annotated[Literal["scalar"], pydantic.Field(alias="resultType")]
    result: Sample


class _Answer(_Wire):
    status: Literal["success"]
    data: Annotated[_Vector | _Scalar, pydantic.Field(discriminator="result_type")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A series of an answer, with its value now."""

    labels: Mapping[str, str]
    value: float


class PrometheusClient:
    def __init__(self, *, http_client: http.HttpClient, on_request: http.OnRequest) -> None:
        self._http = http_client
        self._on_request = on_request

    async def fetch_number(self, url: str, query: str, *, namespace: str) -> float | None:
        """What the expression gives now; None where it gives no series, or NaN.

        Prometheus itself ignores ``namespace``; a proxy that restricts tenants to their own series requires it.

        Raises:
            errors.Unreachable: No answer in time, or one that says nothing about the expression.
            errors.Refused: The expression is wrong, or gives more than one number.
        """
        return _number(await self._fetch(url, query, namespace, ANSWER_BYTES_MAX))

    async def fetch_series(self, url: str, query: str, *, namespace: str) -> Sequence[Series]:
        """All series of the expression, NaN among their values.

        Raises:
            errors.Unreachable: No answer in time, or one that says nothing about the expression.
            errors.Refused: The expression is wrong, gives a number without series, or too many series.
        """
        data = await self._fetch(url, query, namespace, SERIES_BYTES_MAX)
        if isinstance(data, _Scalar):
            raise errors.Refused("the query returns a number without labels")
        return [Series(labels=each.metric, value=_value(each.value)) for each in data.result]

    async def _fetch(self, url: str, query: str, namespace: str, bytes_max: int) -> _Vector | _Scalar:
        encoded = urllib.parse.urlencode({"query": query, "namespace": namespace, "timeout": f"{TIMEOUT_S:g}s"})
        request = http.Request(
            method="POST",
            url=f"{url.rstrip('/')}/api/v1/query",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=encoded.encode(),
            timeout_s=TIMEOUT_S,
            answer_bytes_max=bytes_max,
            is_write=False,
        )
        try:
            answer = await self._http.send(request, who="prometheus", on_request=self._on_request)
        except errors.AnswerTooLong as error:
            raise errors.Refused("the query returns many series; aggregate them to one") from error
        if answer.code in (400, 422):
            raise errors.Refused(f"Prometheus refused the query: {_why(answer)}")
        if answer.code != 200:
            raise errors.Unreachable(f"prometheus: {answer.code}: {answer.excerpt()}")
        try:
            return _Answer.model_validate(answer.json()).data
        except pydantic.ValidationError as error:
            raise errors.Unreachable(f"prometheus: unexpected answer: {error.errors()[0]['msg']}") from error


def _number(data: _Vector | _Scalar) -> float | None:
    samples = (data.result,) if isinstance(data, _Scalar) else tuple(series.value for series in data.result)
    if len(samples) > 1:
        raise errors.Refused(f"the query returns {len(samples)} series; aggregate them to one")
    if not samples:
        return None
    value = _value(samples[0])
    return None if math.isnan(value) else value


def _value(sample: Sample) -> float:
    try:
        return float(sample[1])
    except ValueError as error:
        raise errors.Unreachable("prometheus: a value is not a number") from error


def _why(answer: http.Answer) -> str:
    body: Any = answer.json()
    return str(body.get("error")) if isinstance(body, dict) else answer.excerpt()

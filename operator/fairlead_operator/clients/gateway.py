"""A gateway's two ports: what its route table is now (admin), and a replica's own report through it (data).

Everything that a replica answers is a tenant's: it is read up to a bound, checked field by field, and cut to one line
before anybody sees it. No tensor is sent or read.
"""

from __future__ import annotations

import hashlib
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import orjson
import pydantic

from fairlead_operator.api import evaluation_status, names, optimization
from fairlead_operator.api.text import MESSAGE_MAX, one_line
from fairlead_operator.clients import errors, http
from fairlead_operator.state import route, signature

TIMEOUT_S = 5.0
ROUTES_BYTES_MAX = 32 * 1024 * 1024
ROUTES_VALUES_MAX = 1_000_000
"""The routes of some 10,000 models with their revisions."""
REPORT_BYTES_MAX = 1024 * 1024
"""A replica's report or metadata: some 8,000 tensors, which no model has."""
TENSORS_MAX = 8192
NODES_MAX = 65_536
CHANGES_BYTES_MAX = 1024
CHANGES_WAIT_MAX_S = 5.0
"""So long a gateway holds a question for changes."""
_BUSY = (413, 429)
_DIGEST_BYTES = 16
PROBLEM_MAX = 400
"""Of what a gateway says of an entry that it refused, so many characters are shown."""


class _Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


_Count = Annotated[int, pydantic.Field(ge=0, le=2**53)]
_Size = Annotated[int, pydantic.Field(ge=-1, le=2**53)]
_Line = Annotated[str, pydantic.AfterValidator(one_line)]
_Long = Annotated[str, pydantic.AfterValidator(lambda text: one_line(text, most_bytes=MESSAGE_MAX))]


class _Revision(_Wire):
    up: _Count
    draining: _Count = 0
    sessions: _Count = 0


class _Hold(_Wire):
    waiting: _Count
    idle: bool


class _Route(_Wire):
    version: Annotated[str, pydantic.Field(max_length=64)] | None
    retired: bool = False
    revisions: dict[str, _Revision] = {}
    hold: _Hold | None = None


class _Node(_Wire):
    replicas: _Count = 0


class _Changes(_Wire):
    version: Annotated[str, pydantic.Field(min_length=1, max_length=128)]


class _Routes(_Wire):
    gateway: Annotated[str, pydantic.Field(min_length=1, max_length=253)]
    routes: dict[str, _Route]
    errors: dict[str, str] = {}
    failure: str | None = None
    connections: int | None = None
    nodes: Annotated[tuple[_Node, ...], pydantic.Field(max_length=NODES_MAX)] = ()


class _Tensor(_Wire):
    name: _Line
    datatype: Annotated[str, pydantic.Field(pattern=r"^[A-Z0-9]{1,16}$")]
    shape: Annotated[tuple[_Size, ...], pydantic.Field(max_length=64)]


_Tensors = Annotated[tuple[_Tensor, ...], pydantic.Field(max_length=TENSORS_MAX)]


class _Metadata(_Wire):
    inputs: _Tensors
    outputs: _Tensors = ()


class ProofOutcome(StrEnum):
    """As the replica says it. Source: docs/contracts.md, "Operator: proof before traffic"."""

    PROVED = "Proved"
    NOT_PROVED_BY_EXAMPLE = "NotProvedByExample"
    FAILED = "Failed"


class _Evaluation(_Wire):
    outcome: evaluation_status.EvaluationOutcome
    message: _Line = ""
    metric: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9]{1,64}$")] | None = None
    value: evaluation_status.Ratio | None = None
    low: evaluation_status.Ratio | None = None
    high: evaluation_status.Ratio | None = None
    samples: Annotated[int, pydantic.Field(ge=1, le=evaluation_status.SAMPLES_MAX)] | None = None

    @pydantic.model_validator(mode="after")
    def _check_is_whole(self) -> Self:
        is_read = self.outcome is evaluation_status.EvaluationOutcome.READ
        if is_read and None in (self.metric, self.value, self.low, self.high, self.samples):
            raise ValueError("a record that was read has metric, value, low, high and samples")
        return self


class _Variant(_Wire):
    name: Annotated[str, pydantic.Field(pattern=optimization.VARIANT_PATTERN)]
    reason: optimization.VariantReason
    message: _Long = ""


class _Report(_Metadata):
    schema_: Annotated[Literal[1], pydantic.Field(alias="schema")]
    revision: str
    digest: Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    outcome: ProofOutcome
    message: _Line = ""
    shares_calls: Annotated[bool | None, pydantic.Field(alias="sharesCalls")] = None
    evaluation: _Evaluation | None = None
    variant: _Variant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReport:
    """What a replica says of its example; ``message`` is one line, empty where there is nothing to say."""

    digest: str
    outcome: ProofOutcome
    message: str
    signature: signature.Signature
    shares_calls: bool | None = None
    """Whether requests may share a call of the model; None where the replica does not say it."""
    evaluation: evaluation_status.Evaluation | None = None
    """What the replica found as the evaluation record; None where it is of a version that does not report it."""
    variant: optimization.Variant | None = None
    """The variant that it serves; None where none is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The last answer that differed from the one before: its digest, and the digest of each of its routes."""

    digest: bytes
    entries: dict[str, bytes]
    view: route.GatewayView
    parse_s: float


class GatewayClient:
    def __init__(self, *, http_client: http.HttpClient, on_request: http.OnRequest) -> None:
        self._http = http_client
        self._on_request = on_request
        self._last: dict[str, _Last] = {}

    def parse_s(self, admin_url: str) -> float:
        """How long a gateway's last answer that differed kept the event loop."""
        last = self._last.get(admin_url)
        return last.parse_s if last is not None else 0.0

    async def fetch_view(self, admin_url: str) -> route.GatewayView:
        """The table that HAProxy was read to have."""
        request = http.Request(
            method="GET",
            url=f"{admin_url.rstrip('/')}/v1/routes",
            timeout_s=TIMEOUT_S,
            answer_bytes_max=ROUTES_BYTES_MAX,
            answer_values_max=ROUTES_VALUES_MAX,
        )
        answer = await self._send(request)
        if answer.code != 200:
            raise errors.Unreachable(f"gateway: {answer.code}: {answer.excerpt()}", cause=answer.describe())
        last = self._last.get(admin_url)
        if last is not None and last.digest == _digest(answer.body):
            return last.view
        self._last[admin_url] = made = _read(answer, last)
        return made.view

    async def wait_for_change(self, admin_url: str, *, since: str | None, wait_s: float) -> str:
        """The version of what the gateway shows, once it is another than ``since`` or after ``wait_s``.

        Raises:
            errors.FairleadError: There was none.
        """
        wait_s = min(wait_s, CHANGES_WAIT_MAX_S)
        query = urllib.parse.urlencode({"wait": f"{wait_s:.3f}", **({"since": since} if since is not None else {})})
        request = http.Request(
            method="GET",
            url=f"{admin_url.rstrip('/')}/v1/changes?{query}",
            timeout_s=wait_s + TIMEOUT_S,
            answer_bytes_max=CHANGES_BYTES_MAX,
            verb="WAIT",  # it is held on purpose: its duration says nothing of the gateway's speed
        )
        answer = await self._send(request)
        if answer.code != 200:
            raise errors.Unreachable(f"gateway: {answer.code}: {answer.excerpt()}")
        try:
            return _Changes.model_validate(answer.json()).version
        except pydantic.ValidationError as error:
            words = f"unexpected answer: {_first(error)}"
            raise errors.Unreachable(f"gateway: {words}", cause=words) from error

    async def prove(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> ProofReport:
        """Let a replica of the revision run its example.

        Raises:
            errors.Refused: The replica itself refused, or its report is not valid.
            errors.FairleadError: There was no answer of the revision; it may be asked again.
        """
        url = f"{data_url.rstrip('/')}/v2/models/{model}/proof"
        answer = await self._ask("POST", url, revision, what="proof", timeout_s=timeout_s)
        try:
            report = _Report.model_validate(answer.json())
        except (pydantic.ValidationError, errors.Unreachable) as error:
            raise errors.Refused(f"the proof of revision {revision} is not valid: {_first(error)}") from error
        if report.revision != revision:
            raise errors.Refused(f"the proof of revision {revision} is of revision {one_line(report.revision)}")
        return ProofReport(
            digest=report.digest,
            outcome=report.outcome,
            message=report.message,
            signature=_signature(report),
            shares_calls=report.shares_calls,
            evaluation=_evaluation(report.evaluation),
            variant=None if report.variant is None else optimization.Variant(**dict(report.variant)),
        )

    async def fetch_signature(self, data_url: str, model: str, revision: str) -> signature.Signature:
        """What a replica of this revision says it takes and gives. Raises as ``prove`` does."""
        url = f"{data_url.rstrip('/')}/v2/models/{model}"
        answer = await self._ask("GET", url, revision, what="metadata", timeout_s=TIMEOUT_S)
        try:
            return _signature(_Metadata.model_validate(answer.json()))
        except (pydantic.ValidationError, errors.Unreachable) as error:
            raise errors.Refused(f"the metadata of revision {revision} is not valid: {_first(error)}") from error

    async def _ask(self, method: str, url: str, revision: str, *, what: str, timeout_s: float) -> http.Answer:
        """An answer of 200 that the revision itself gave."""
        request = http.Request(
            method=method,
            url=url,
            headers={names.HEADER_REVISION: revision},
            timeout_s=timeout_s,
            answer_bytes_max=REPORT_BYTES_MAX,
            is_write=False,
        )
        try:
            answer = await self._send(request)
        except errors.AnswerTooLong as error:
            raise errors.Refused(f"{what} of revision {revision}: {error}", cause=error.cause) from error
        answered_by = answer.headers.get(names.HEADER_REVISION)
        message = f"{what} of revision {revision}: {answer.code}: {answer.excerpt()}"
        if answered_by is None or answer.code >= 500 or answer.code in _BUSY:
            # The gateway's own answer, or a replica that is busy, draining or too slow at this moment.
            raise errors.Unreachable(message, cause=answer.describe())
        if answered_by != revision:
            raise errors.Unreachable(f"{what} of revision {revision} was answered by {one_line(answered_by)}")
        if answer.code != 200:
            raise errors.Refused(message, cause=answer.describe())
        return answer

    async def _send(self, request: http.Request) -> http.Answer:
        return await self._http.send(request, who="gateway", on_request=self._on_request)


def _read(answer: http.Answer, last: _Last | None) -> _Last:
    """The answer; what it says of a model as the last one did is the same object again."""
    began_s = time.perf_counter()
    try:
        document = orjson.loads(answer.body)
    except ValueError as error:
        raise errors.Unreachable(
            "gateway: the answer is not whole JSON", cause="the answer is not whole JSON"
        ) from error
    raw = document.get("routes") if isinstance(document, dict) else None
    given: dict[str, Any] = raw if isinstance(raw, dict) else {}
    entries = {name: _digest(orjson.dumps(entry)) for name, entry in given.items()}
    known = {}
    if last is not None:
        known = {name: last.view.routes[name] for name, entry in entries.items() if last.entries.get(name) == entry}
        document = {**document, "routes": {name: entry for name, entry in given.items() if name not in known}}
    try:
        routes = _Routes.model_validate(document)
    except pydantic.ValidationError as error:
        words = f"unexpected answer: {_first(error)}"
        raise errors.Unreachable(f"gateway: {words}", cause=words) from error
    view = route.GatewayView(
        id=routes.gateway,
        routes={name: known.get(name) or _live(routes.routes[name]) for name in entries},
        errors={model: text[:PROBLEM_MAX] for model, text in routes.errors.items()},
        failure=routes.failure[:PROBLEM_MAX] if routes.failure is not None else None,
        connections=routes.connections,
        replicas=sum(node.replicas for node in routes.nodes),
    )
    parse_s = time.perf_counter() - began_s
    return _Last(digest=_digest(answer.body), entries=entries, view=view, parse_s=parse_s)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()


def _live(entry: _Route) -> route.RouteLive:
    return route.RouteLive(
        version=entry.version,
        is_retired=entry.retired,
        revisions={
            name: route.RevisionLive(up=revision.up, draining=revision.draining, sessions=revision.sessions)
            for name, revision in entry.revisions.items()
        },
        hold=route.HoldLive(waiting=entry.hold.waiting, is_idle=entry.hold.idle) if entry.hold is not None else None,
    )


def _first(error: Exception) -> str:
    if not isinstance(error, pydantic.ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return one_line(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


def _evaluation(reported: _Evaluation | None) -> evaluation_status.Evaluation | None:
    """Figures count only of a record that was read."""
    if reported is None:
        return None
    if reported.outcome is not evaluation_status.EvaluationOutcome.READ:
        return evaluation_status.Evaluation(outcome=reported.outcome, message=reported.message)
    return evaluation_status.Evaluation(**dict(reported))


def _signature(metadata: _Metadata) -> signature.Signature:
    return signature.Signature(inputs=_tensors(metadata.inputs), outputs=_tensors(metadata.outputs))


def _tensors(listed: Sequence[_Tensor]) -> dict[str, signature.Tensor]:
    return {tensor.name: signature.Tensor(datatype=tensor.datatype, shape=tensor.shape) for tensor in listed}

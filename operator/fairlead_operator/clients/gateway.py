"""A gateway's two ports: what its route table is now (admin), and a real prediction through it (data)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from fairlead_operator.api import names
from fairlead_operator.clients import errors, http
from fairlead_operator.state import route, signature

TIMEOUT_S = 5.0
PROBLEM_MAX = 400
"""Of what a gateway says of an entry that it refused, so many characters are shown."""
MAX_ZEROS = 1_000_000
"""A proof's tensor never has more elements: a model with a larger fixed shape is proved by its readiness alone."""


class _Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Revision(_Wire):
    up: int
    draining: int = 0
    sessions: int = 0


class _Route(_Wire):
    version: str | None
    retired: bool = False
    revisions: dict[str, _Revision] = {}


class _Routes(_Wire):
    gateway: str
    routes: dict[str, _Route]
    errors: dict[str, str] = {}
    failure: str | None = None
    connections: int | None = None


class _Tensor(_Wire):
    name: str
    datatype: str
    shape: tuple[int, ...]


class _Metadata(_Wire):
    inputs: tuple[_Tensor, ...]
    outputs: tuple[_Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A revision answered a real request."""

    digest: str | None
    """What the replica says it has loaded; None where it doesn't say."""
    signature: signature.Signature


class GatewayClient:
    def __init__(self, *, http_client: http.HttpClient, on_request: http.OnRequest) -> None:
        self._http = http_client
        self._on_request = on_request

    async def fetch_view(self, admin_url: str) -> route.GatewayView:
        """The table that HAProxy was read to have."""
        request = http.Request(method="GET", url=f"{admin_url.rstrip('/')}/v1/routes", timeout_s=TIMEOUT_S)
        answer = await self._send(request)
        if answer.code != 200:
            raise errors.Unreachable(f"gateway {admin_url}: {answer.code}: {answer.excerpt()}")
        try:
            routes = _Routes.model_validate(answer.json())
        except pydantic.ValidationError as error:
            raise errors.Unreachable(f"gateway {admin_url}: unexpected answer: {error.errors()[0]['msg']}") from error
        return route.GatewayView(
            id=routes.gateway,
            routes={name: _live(entry) for name, entry in routes.routes.items()},
            errors={model: text[:PROBLEM_MAX] for model, text in routes.errors.items()},
            failure=routes.failure[:PROBLEM_MAX] if routes.failure is not None else None,
            connections=routes.connections,
        )

    async def fetch_digest(self, data_url: str, model: str, revision: str) -> str | None:
        """The digest that a replica of this revision says it has loaded; None where it doesn't say."""
        return (await self._metadata(data_url, model, revision)).headers.get(names.HEADER_DIGEST)

    async def predict(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> Prediction:
        """Send a tensor of zeros to a pinned revision and get 200; Refused with the replica's words otherwise."""
        metadata = await self._metadata(data_url, model, revision)
        told = _told(revision, metadata)
        body = json.dumps({"inputs": [_zeros(tensor) for tensor in told.inputs]}).encode()
        url = f"{data_url.rstrip('/')}/v2/models/{model}/infer"
        headers = {names.HEADER_REVISION: revision, "Content-Type": "application/json"}
        request = http.Request(method="POST", url=url, headers=headers, body=body, timeout_s=timeout_s, is_write=False)
        answer = await self._send(request)
        _require_answer_of(revision, answer, "prediction")
        return Prediction(digest=metadata.headers.get(names.HEADER_DIGEST), signature=_signature(told))

    async def fetch_signature(self, data_url: str, model: str, revision: str) -> signature.Signature:
        """What a replica of this revision says it takes and gives."""
        return _signature(_told(revision, await self._metadata(data_url, model, revision)))

    async def _metadata(self, data_url: str, model: str, revision: str) -> http.Answer:
        url = f"{data_url.rstrip('/')}/v2/models/{model}"
        headers = {names.HEADER_REVISION: revision}
        answer = await self._send(http.Request(method="GET", url=url, headers=headers, timeout_s=TIMEOUT_S))
        _require_answer_of(revision, answer, "metadata")
        return answer

    async def _send(self, request: http.Request) -> http.Answer:
        return await self._http.send(request, who="gateway", on_request=self._on_request)


def _require_answer_of(revision: str, answer: http.Answer, what: str) -> None:
    if answer.code != 200:
        raise errors.Refused(f"{what} of revision {revision}: {answer.code}: {answer.excerpt()}")
    answered = answer.headers.get(names.HEADER_REVISION)
    if answered not in (None, revision):
        raise errors.Refused(f"{what} of revision {revision} was answered by revision {answered}")


def _live(entry: _Route) -> route.RouteLive:
    return route.RouteLive(
        version=entry.version,
        is_retired=entry.retired,
        revisions={
            name: route.RevisionLive(up=revision.up, draining=revision.draining, sessions=revision.sessions)
            for name, revision in entry.revisions.items()
        },
    )


def _told(revision: str, metadata: http.Answer) -> _Metadata:
    try:
        return _Metadata.model_validate(metadata.json())
    except pydantic.ValidationError as error:
        raise errors.Refused(f"the metadata of revision {revision} is not valid: {error.errors()[0]['msg']}") from error


def _signature(metadata: _Metadata) -> signature.Signature:
    return signature.Signature(inputs=_tensors(metadata.inputs), outputs=_tensors(metadata.outputs))


def _tensors(listed: Sequence[_Tensor]) -> dict[str, signature.Tensor]:
    return {tensor.name: signature.Tensor(datatype=tensor.datatype, shape=tensor.shape) for tensor in listed}


def _zeros(tensor: _Tensor) -> dict[str, Any]:
    shape: Sequence[int] = [1 if size < 0 else size for size in tensor.shape]
    count = math.prod(shape)
    if count > MAX_ZEROS:
        raise errors.Refused(f"input {tensor.name} has {count} elements, too many to prove with zeros")
    zero: Any = "" if tensor.datatype == "BYTES" else False if tensor.datatype == "BOOL" else 0
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(shape), "data": [zero] * count}

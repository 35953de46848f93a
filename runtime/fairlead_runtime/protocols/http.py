"""A request and its answer, free of sockets: what the protocols see of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson

from fairlead_runtime.errors import RequestError, RequestReason

JSON = b"application/json"
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True, kw_only=True)
class Request:
    """One whole request; header names are lower-case. Not frozen: making one is on the hot path."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    peer: str = ""
    """The address from which it came, without a port."""


@dataclass(slots=True, kw_only=True)
class Response:
    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()
    protocol: str = "other"


Answer = Response | asyncio.Future[Response]
T = TypeVar("T")


def then(
    result: T | asyncio.Future[T], make: Callable[[T], Response], on_error: Callable[[RequestError], Response]
) -> Answer:
    """`make(result)`, now or when it is there; the answer's cancellation is passed on to what it waits for."""
    if not isinstance(result, asyncio.Future):
        return make(result)
    answer: asyncio.Future[Response] = result.get_loop().create_future()

    def finish(done: asyncio.Future[T]) -> None:
        if answer.done():
            return
        if done.cancelled():
            answer.cancel()
            return
        try:
            answer.set_result(make(done.result()))
        except RequestError as refused:
            answer.set_result(on_error(refused))
        finally:
            # Whatever else was raised goes to the loop's log; whoever waits must not wait for ever.
            if not answer.done():
                answer.set_exception(RuntimeError("no answer could be made"))

    def pass_on(given: asyncio.Future[Response]) -> None:
        if given.cancelled():
            result.cancel()

    result.add_done_callback(finish)
    answer.add_done_callback(pass_on)
    return answer


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object in a body; raises RequestError."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(RequestReason.MALFORMED, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(RequestReason.MALFORMED, "the body must be a JSON object")
    return value


def dump(value: object) -> bytes:
    """JSON, with NumPy arrays as nested lists; a number that is not finite becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

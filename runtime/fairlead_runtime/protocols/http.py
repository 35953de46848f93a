"""A request and its answer, free of sockets: what the protocols see of HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import orjson

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference.timing import Phase
from fairlead_runtime.model.predictor import Tensors

JSON = b"application/json"
VALUES_MAX = 1_000_000
"""Values in one JSON body: decoding makes an object of each."""

LISTS_MAX = 300_000
"""Lists, and likewise objects: they cost several times as much. An image of 512 by 512 pixels has 263,000."""

UNCOLLECTED_BYTES = 16 * 1024
"""While a larger body is decoded, the collector rests: it would look through the new values again and again."""

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
    trailers: Headers = ()
    """Fields behind the body, which is sent in chunks then."""
    packed: bytes | None = None
    """The body compressed by gzip, where the client gets it so."""
    protocol: str = "other"
    phases: Sequence[Phase] = ()
    """Where the time of a prediction went, where requests are traced."""
    tensors: tuple[Tensors, Tensors] | None = None
    """The inputs and outputs of a prediction, if the payload log is on, until the log has read them."""


Answer = Response | asyncio.Future[Response]
T = TypeVar("T")


def then(
    result: T | asyncio.Future[T], make: Callable[[T], Answer], on_error: Callable[[RequestError], Response]
) -> Answer:
    """`make(result)`, now or when it is there; the answer's cancellation is passed on to what it waits for."""
    if not isinstance(result, asyncio.Future):
        return make(result)
    return _Pending(result, make, on_error).answer


class _Pending(Generic[T]):
    """An answer that waits for a result, and for what is made of it where that takes time as well."""

    def __init__(
        self, result: asyncio.Future[T], make: Callable[[T], Answer], on_error: Callable[[RequestError], Response]
    ) -> None:
        self.answer: asyncio.Future[Response] = result.get_loop().create_future()
        self._make = make
        self._on_error = on_error
        self._awaited: asyncio.Future[T] | asyncio.Future[Response] = result
        result.add_done_callback(self._make_answer)
        self.answer.add_done_callback(self._pass_on)

    def _make_answer(self, done: asyncio.Future[T]) -> None:
        self._settle(done, lambda: self._make(done.result()))

    def _take_over(self, done: asyncio.Future[Response]) -> None:
        self._settle(done, done.result)

    def _settle(self, done: asyncio.Future[T] | asyncio.Future[Response], get: Callable[[], Answer]) -> None:
        answer = self.answer
        if answer.done():
            return
        if done.cancelled():
            answer.cancel()
            return
        made: Answer | None = None
        try:
            made = get()
        except RequestError as refused:
            made = self._on_error(refused)
        finally:
            # Any other error goes to the loop's log, and the waiting request gets an answer.
            if made is None:
                answer.set_exception(RuntimeError("no answer could be made"))
        if isinstance(made, asyncio.Future):
            self._awaited = made
            made.add_done_callback(self._take_over)
        else:
            answer.set_result(made)

    def _pass_on(self, answer: asyncio.Future[Response]) -> None:
        if answer.cancelled():
            self._awaited.cancel()


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object in a body; raises RequestError.

    Its numbers may be `NaN`, `Infinity` and `-Infinity`, which JSON has no words for, as TensorFlow Serving takes them.
    """
    _bound_values(body)
    try:
        with _no_collections() if len(body) > UNCOLLECTED_BYTES else nullcontext():
            value = parse(body)
    except ValueError as error:
        raise RequestError(RequestReason.MALFORMED, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(RequestReason.MALFORMED, "the body must be a JSON object")
    return value


def parse(body: bytes) -> Any:
    """The value of a JSON text that may hold NaN and Infinity; raises ValueError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
        return _parse_with_words(body)


def _parse_with_words(body: bytes) -> object:
    """Slower, so it is for texts with such a word alone; as strict as the other decoder with everything else."""
    try:
        value: object = json.loads(body.decode(), parse_float=_parse_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if b"\\u" in body:
        # Half of a surrogate pair, which is no text: UnicodeEncodeError is a ValueError.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:32]} is beyond what 64 bits hold")
    return value


def _bound_values(body: bytes) -> None:
    """Raises RequestError where a body holds more values than may be decoded; those within strings count as well."""
    if len(body) <= LISTS_MAX:
        return
    characters = np.frombuffer(body, np.uint8)
    for mark, most, what in ((",", VALUES_MAX, "values"), ("[", LISTS_MAX, "lists"), ("{", LISTS_MAX, "objects")):
        if np.count_nonzero(characters == ord(mark)) > most:
            text = f"the JSON holds more than {most} {what}; send large tensors as binary data"
            raise RequestError(RequestReason.TOO_LARGE, text)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Decoding makes no cycles, so a pause of the cyclic collector leaves nothing behind."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def show_value(value: object) -> str:
    """A JSON value as a message names it: short, whatever was sent."""
    match value:
        case str():
            return repr(value[:64])
        case bool() | None:
            return dump(value).decode()
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case _:
            return "an object"


def dump(value: object) -> bytes:
    """JSON, with NumPy arrays as nested lists. A number that is not finite becomes null, unless the codec wrote it."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

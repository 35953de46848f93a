"""From a request's body to its answer: small pieces of work at once, large ones on a thread beside the server's loop.

Only decoding and encoding go there; what counts, admits or signs stays on the loop. A thread shares the interpreter's
lock with the loop, so large work is also cut into calls that each return soon (`inference/codec.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.protocols import refusals
from fairlead_runtime.protocols.http import Answer, Headers, Response, then

T = TypeVar("T")

INLINE_BYTES = 16 * 1024
"""A body up to this size is decoded on the loop: about a millisecond for the worst of them."""

INLINE_VALUES = 8 * 1024
"""Outputs up to this many values are encoded on the loop."""


def _no_headers(_outputs: Tensors) -> Headers:
    return ()


@dataclass(slots=True, kw_only=True)
class Call:
    """A decoded request. `encode` may run on any thread; `headers` runs on the loop, once the outputs are there."""

    inputs: Tensors
    encode: Callable[[Tensors], Response]
    headers: Callable[[Tensors], Headers] = _no_headers


class Inferring:
    """Answers prediction requests of one model, whatever their protocol."""

    def __init__(self, dataplane: Dataplane) -> None:
        self._dataplane = dataplane

    def answer(self, decode: Callable[[], Call], *, body_bytes: int) -> Answer:
        """The answer to a request whose body takes about `body_bytes` of JSON; raises RequestError."""
        return self.answer_with(decode, self._run, body_bytes=body_bytes)

    def answer_with(self, decode: Callable[[], T], answer: Callable[[T], Answer], *, body_bytes: int) -> Answer:
        """`answer`, on the loop, of what `decode` makes of a body, there or on a thread; raises RequestError."""
        if body_bytes <= INLINE_BYTES:
            return answer(decode())
        return asyncio.get_running_loop().create_task(self._answer_beside(decode, answer))

    async def _answer_beside(self, decode: Callable[[], T], answer: Callable[[T], Answer]) -> Response:
        try:
            made = answer(await self._dataplane.run_beside(decode, is_new=True))
            return made if isinstance(made, Response) else await made
        except RequestError as error:
            return refusals.answer(error)

    def _run(self, call: Call) -> Answer:
        return then(self._dataplane.infer(call.inputs), lambda outputs: self._encode(call, outputs), refusals.answer)

    def _encode(self, call: Call, outputs: Tensors) -> Answer:
        headers = call.headers(outputs)
        if sum(map(_values, outputs)) <= INLINE_VALUES:
            return _with_headers(call.encode(outputs), headers)
        return asyncio.get_running_loop().create_task(self._encode_beside(call, outputs, headers))

    async def _encode_beside(self, call: Call, outputs: Tensors, headers: Headers) -> Response:
        try:
            return _with_headers(await self._dataplane.run_beside(lambda: call.encode(outputs), is_new=False), headers)
        except RequestError as error:
            return refusals.answer(error)


def _values(array: Array) -> int:
    """How many numbers an array takes as much time as; a string counts for each eight of its bytes."""
    if array.dtype.kind != "O" or array.size > INLINE_VALUES:
        return array.size
    return array.size + sum(map(len, array.reshape(-1).tolist())) // 8


def _with_headers(response: Response, headers: Headers) -> Response:
    response.headers = (*headers, *response.headers)
    return response

"""From a request's body to its answer: small pieces of work at once, large ones on a thread beside the server's loop.

Only decoding and encoding go there; what counts, admits or signs stays on the loop. A thread shares the interpreter's
lock with the loop, so large work is also cut into calls that each return soon (`inference/codec.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.inference.guarding import Guards, Verdict
from fairlead_runtime.inference.timing import Phase, Timing
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.protocols import encoding, refusals
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

    def answer(self, decode: Callable[[], Call], *, body_bytes: int, accepts_gzip: bool = False) -> Answer:
        """The answer to a request whose body takes about `body_bytes` of JSON, also where it is refused.

        It is compressed where the client `accepts_gzip` and it is large enough to be encoded on a thread.
        """
        prediction = _Prediction(self._dataplane, decode, accepts_gzip)
        if body_bytes <= INLINE_BYTES:
            return prediction.answer()
        return asyncio.get_running_loop().create_task(
            self._answer_beside(prediction.decode, prediction.run, prediction.refuse)
        )

    def answer_with(self, decode: Callable[[], T], answer: Callable[[T], Answer], *, body_bytes: int) -> Answer:
        """`answer`, on the loop, of what `decode` makes of a body, there or on a thread; raises RequestError."""
        if body_bytes <= INLINE_BYTES:
            return answer(decode())
        return asyncio.get_running_loop().create_task(self._answer_beside(decode, answer, refusals.answer))

    async def _answer_beside(
        self, decode: Callable[[], T], answer: Callable[[T], Answer], refuse: Callable[[RequestError], Response]
    ) -> Response:
        try:
            made = answer(await self._dataplane.run_beside(decode, is_new=True))
            return made if isinstance(made, Response) else await made
        except RequestError as error:
            return refuse(error)


class _Prediction(Timing):
    """One request from its body to its answer, and the times that its parts take. Counts how it ends, on the loop."""

    __slots__ = (
        *("_accepts_gzip", "_begun_s", "_call", "_dataplane", "_decode", "_decode_begun_s", "_decode_s"),
        *("_encode_begun_s", "_encode_s", "_verdicts"),
    )

    def __init__(self, dataplane: Dataplane, decode: Callable[[], Call], accepts_gzip: bool) -> None:
        self.called_s = self.call_s = self._decode_s = self._encode_s = 0.0
        self._dataplane = dataplane
        self._decode = decode
        self._accepts_gzip = accepts_gzip
        self._begun_s = self._decode_begun_s = time.perf_counter()
        self._verdicts: Sequence[Verdict] = ()

    def answer(self) -> Answer:
        """The answer, with all that is small done at once."""
        try:
            call = self._decode()
            self._decode_s = time.perf_counter() - self._begun_s
            guards = self._dataplane.guards
            if guards is not None:
                if guards.look_at_inputs and sum(map(_values, call.inputs)) > INLINE_VALUES:
                    # Raw numbers cost nothing to decode, but something to judge.
                    return asyncio.get_running_loop().create_task(self._judge_beside(guards, call))
                self._verdicts = guards.judge_inputs(call.inputs)
            return self.run(call)
        except RequestError as error:
            return self.refuse(error)

    def decode(self) -> Call:
        """The decoded and judged request, on a thread, where it may have waited; raises RequestError."""
        self._decode_begun_s = begun_s = time.perf_counter()
        call = self._decode()
        if self._dataplane.guards is not None:
            self._verdicts = self._dataplane.guards.judge_inputs(call.inputs)
        self._decode_s = time.perf_counter() - begun_s
        return call

    def run(self, call: Call) -> Answer:
        """The answer to a decoded and judged request; raises RequestError."""
        self._call = call
        if self._dataplane.guards is not None:
            self._dataplane.guards.settle(self._verdicts)
        return then(self._dataplane.infer(call.inputs, self), self._answer, self.refuse)

    async def _judge_beside(self, guards: Guards, call: Call) -> Response:
        try:
            self._verdicts = await self._dataplane.run_beside(lambda: guards.judge_inputs(call.inputs), is_new=True)
            made = self.run(call)
            return made if isinstance(made, Response) else await made
        except RequestError as error:
            return self.refuse(error)

    def refuse(self, error: RequestError) -> Response:
        """The answer for an error, which is counted."""
        self._count_failure()
        response = refusals.answer(error)
        if self._dataplane.is_traced:
            response.phases = self._phases(ended_s=time.perf_counter())
        return response

    def _count_failure(self) -> None:
        self._dataplane.metrics.predictions.add_failure(time.perf_counter() - self._begun_s)

    def _answer(self, outputs: Tensors) -> Answer:
        if sum(map(_values, outputs)) > INLINE_VALUES:
            return asyncio.get_running_loop().create_task(self._answer_beside(outputs))
        guards = self._dataplane.guards
        if guards is not None:
            guards.settle(guards.judge_answers(outputs))
        self._encode_begun_s = begun_s = time.perf_counter()
        response = self._call.encode(outputs)
        self._encode_s = time.perf_counter() - begun_s
        return self._finish(response, outputs)

    async def _answer_beside(self, outputs: Tensors) -> Response:
        try:
            encoded = await self._dataplane.run_beside(lambda: self._encode(outputs), is_new=False)
            if self._dataplane.guards is not None:
                self._dataplane.guards.settle(self._verdicts)
        except RequestError as error:
            return self.refuse(error)
        return self._finish(encoded, outputs)

    def _encode(self, outputs: Tensors) -> Response:
        self._encode_begun_s = begun_s = time.perf_counter()
        if self._dataplane.guards is not None:
            self._verdicts = self._dataplane.guards.judge_answers(outputs)
        response = self._call.encode(outputs)
        if self._accepts_gzip:
            encoding.pack(response)
        self._encode_s = time.perf_counter() - begun_s
        return response

    def _finish(self, response: Response, outputs: Tensors) -> Response:
        """Count an answer that no guard rejected and that could be encoded: its scores, its rows and its times."""
        headers = self._call.headers(outputs)
        if self._dataplane.sampler is not None:
            self._dataplane.sampler.sample(self._call.inputs, outputs)
        if self._dataplane.attributions is not None:
            self._dataplane.attributions.sample(self._call.inputs)
        now_s = time.perf_counter()
        self._dataplane.metrics.predictions.add_success(
            now_s, now_s - self._begun_s, self._decode_s, self.call_s, self._encode_s
        )
        response.headers = (*headers, *response.headers)
        if self._dataplane.is_traced:
            response.phases = self._phases(ended_s=now_s)
        if self._dataplane.is_logged:
            response.tensors = (self._call.inputs, outputs)
        return response

    def _phases(self, *, ended_s: float) -> list[Phase]:
        """The parts that were begun, in order; what has not ended, as after the deadline, ends with the answer.

        The queue is what lies between parsing and the call. The thread of a late call may write its times meanwhile.
        """
        phases = []
        called_s, call_s = self.called_s, self.call_s
        decoded_s = self._decode_begun_s + self._decode_s
        if self._decode_s:
            phases.append(Phase("parse", self._decode_begun_s, decoded_s))
            phases.append(Phase("queue", decoded_s, max(decoded_s, called_s or ended_s)))
        if called_s:
            phases.append(Phase("compute", called_s, called_s + call_s if call_s else ended_s))
        if self._encode_s:
            phases.append(Phase("encode", self._encode_begun_s, self._encode_begun_s + self._encode_s))
        return phases


def _values(array: Array) -> int:
    """How many numbers an array takes as much time as; a string counts for each eight of its bytes."""
    if array.dtype.kind != "O" or array.size > INLINE_VALUES:
        return array.size
    return array.size + sum(map(len, array.reshape(-1).tolist())) // 8

"""Calls ``ModelInfer`` in a closed or an open loop, in a process of its own, and checks every answer.

``python -m benchmarks.peers.grpc_load`` reads one JSON object (`Asked`) and writes one (`Found`). Each connection is a
channel with a connection of its own and one call at a time. No call is sent twice.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALL_S = 30.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """``bodies`` are serialized requests in base64, sent in turn; ``rate`` is requests a second of an open loop."""

    address: str
    model: str
    bodies: list[str]
    shape: list[int]
    connections: int
    seconds: float
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``detail`` is of the first failure."""

    requests: int
    failed: int
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    detail: str


def run(asked: Asked) -> Found:
    """Starts the process and waits for its end."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.grpc_load"],
        input=json.dumps(asdict(asked)),
        capture_output=True,
        text=True,
        check=True,
    )
    return Found(**json.loads(done.stdout))


class _Loop:
    def __init__(self, asked: Asked, parse: Callable[[bytes], Any]) -> None:
        self._asked, self._parse = asked, parse
        self._bodies = [base64.b64decode(each) for each in asked.bodies]
        self._now = asyncio.get_running_loop().time
        self._next = 0
        self._took_s: list[float] = []
        self._failures: list[str] = []

    async def run(self) -> Found:
        import grpc.aio

        channels = [
            grpc.aio.insecure_channel(self._asked.address, options=OPTIONS) for _ in range(self._asked.connections)
        ]
        try:
            await asyncio.gather(*(each.channel_ready() for each in channels))
            self._started = self._now()
            await asyncio.gather(*(self._work(each.unary_unary(METHOD)) for each in channels))
            elapsed_s = self._now() - self._started
        finally:
            await asyncio.gather(*(each.close() for each in channels))
        ranked = sorted(self._took_s) or [0.0]
        return Found(
            requests=self._next,
            failed=len(self._failures),
            elapsed_s=elapsed_s,
            p50_ms=quantile(ranked, 50) * 1000,
            p99_ms=quantile(ranked, 99) * 1000,
            detail=self._failures[0] if self._failures else "",
        )

    async def _work(self, call: Callable[..., Any]) -> None:
        import grpc

        while (begun := self._now()) - self._started < self._asked.seconds:
            number = self._next
            self._next += 1
            if self._asked.rate is not None:
                due = self._started + number / self._asked.rate
                await asyncio.sleep(max(0.0, due - begun))
                begun = due
            try:
                answer = await call(self._bodies[number % len(self._bodies)], timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                self._failures.append(f"{error.code()}: {error.details()}")
                continue
            found = self._find_fault(answer)
            if found is None:
                self._took_s.append(self._now() - begun)
            else:
                self._failures.append(found)

    def _find_fault(self, answer: bytes) -> str | None:
        message = self._parse(answer)
        if message.model_name != self._asked.model:
            return f"an answer for model {message.model_name!r}"
        if [list(output.shape) for output in message.outputs] != [self._asked.shape]:
            return f"shapes {[list(output.shape) for output in message.outputs]} instead of {self._asked.shape}"
        count = len(message.outputs[0].contents.fp32_contents)
        if message.raw_output_contents:
            count = len(message.raw_output_contents[0]) // 4
        return None if count == math.prod(self._asked.shape) else f"{count} values in shape {self._asked.shape}"


def quantile(ranked: list[float], percent: int) -> float:
    """The nearest rank of sorted values."""
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


async def main() -> None:
    from fairlead_runtime.protocols.grpc import v2_messages

    asked = Asked(**json.loads(sys.stdin.read()))
    found = await _Loop(asked, v2_messages.MESSAGES["ModelInferResponse"].FromString).run()
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    asyncio.run(main())

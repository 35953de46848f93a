"""The service that BentoML imports."""

import os
from typing import Any

import bentoml
from benchmarks.peers import peer, serve_bentoml, wire
from benchmarks.peers.fast_call import FastCall


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Service:
    """Takes the body of an Open Inference request. BentoML reads each of its fields as a parameter."""

    def __init__(self) -> None:
        self._asked = peer.Asked.from_json(os.environ[serve_bentoml.ASKED])
        self._call = FastCall(self._asked.saved_model)

    @bentoml.api(route=serve_bentoml.PEER.path)  # type: ignore[untyped-decorator, unused-ignore]
    async def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """One request."""
        rows = wire.read_tensor(self._call, {"inputs": inputs})
        return wire.describe_answer(self._call, self._asked.model, self._call(rows))

"""The deployment as Ray's documentation writes it; FastAPI reads the annotations, so they are no text here."""

from typing import Any

import fastapi
from benchmarks.peers import wire
from benchmarks.peers.fast_call import FastCall
from ray import serve

application = fastapi.FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
@serve.ingress(application)
class Model:
    """Reads and writes the Open Inference Protocol's JSON."""

    def __init__(self, saved_model: str) -> None:
        self._call = FastCall(saved_model)

    @application.post("/v2/models/{model}/infer")
    async def infer(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request."""
        return wire.describe_answer(self._call, model, self._call(wire.read_tensor(self._call, body)))

"""The model as LitServe wants it: its worker process imports this file, and FastAPI reads its annotations."""

from pathlib import Path
from typing import Any

import litserve
from benchmarks.peers import wire
from benchmarks.peers.fast_call import FastCall


class Model(litserve.LitAPI):
    """Reads and writes the Open Inference Protocol's JSON. The names of the methods are LitServe's."""

    def __init__(self, model: str, saved_model: Path, path: str) -> None:
        super().__init__(api_path=path)
        self._model, self._saved_model = model, saved_model

    def setup(self, device: str) -> None:
        self._call = FastCall(self._saved_model)

    def decode_request(self, request: dict) -> Any:  # type: ignore[type-arg]
        return wire.read_tensor(self._call, request)

    def predict(self, rows: Any) -> Any:
        return self._call(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return wire.describe_answer(self._call, self._model, output)

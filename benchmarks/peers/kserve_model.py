"""The model as KServe wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kserve
from benchmarks.peers.fast_call import FastCall
from kserve.utils.utils import generate_uuid


class Model(kserve.Model):
    """Tensors are read and written by KServe. The names of the methods are KServe's."""

    def __init__(self, name: str, saved_model: Path) -> None:
        super().__init__(name)
        self._saved_model = saved_model

    def load(self) -> bool:
        self._call = FastCall(self._saved_model)
        self.ready = True
        return True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        answer = self._call(payload.inputs[0].as_numpy())
        output = kserve.InferOutput(name=self._call.output_name, shape=list(answer.shape), datatype="FP32")
        wants_binary = payload.from_grpc or bool((payload.parameters or {}).get("binary_data_output"))
        output.set_data_from_numpy(answer, binary_data=wants_binary)
        return kserve.InferResponse(
            response_id=payload.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=[output],
            from_grpc=payload.from_grpc,
        )

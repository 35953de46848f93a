"""The model as MLServer wants it: a class that it imports by name."""

from __future__ import annotations

import mlserver
from benchmarks.peers.fast_call import FastCall
from mlserver.codecs import NumpyCodec


class Model(mlserver.MLModel):
    """Codecs are MLServer's own. The names of the methods are MLServer's."""

    async def load(self) -> bool:
        self._call = FastCall(self.settings.parameters.uri)
        return True

    async def predict(self, payload: mlserver.types.InferenceRequest) -> mlserver.types.InferenceResponse:
        answer = self._call(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output(self._call.output_name, answer)
        return mlserver.types.InferenceResponse(model_name=self.name, outputs=[output])

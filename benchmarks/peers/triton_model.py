"""The model of Triton's Python backend: Triton links this file into its model repository as ``model.py``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from benchmarks.peers.fast_call import FastCall


class TritonPythonModel:
    """The names of the class and of its methods are Triton's."""

    def initialize(self, arguments: dict[str, str]) -> None:
        settings = json.loads(arguments["model_config"])
        self._call = FastCall(settings["parameters"]["saved_model"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """All requests that wait, in one call."""
        given = [triton.get_input_tensor_by_name(each, self._call.input_name).as_numpy() for each in requests]
        answer = self._call(given[0] if len(given) == 1 else np.concatenate(given))
        ends = np.cumsum([len(rows) for rows in given])[:-1]
        parts = [answer] if len(given) == 1 else np.split(answer, ends)
        return [triton.InferenceResponse([triton.Tensor(self._call.output_name, part)]) for part in parts]

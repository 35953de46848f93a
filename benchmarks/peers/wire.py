"""The Open Inference Protocol for servers that bring none of their own, as plainly as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from benchmarks.peers.fast_call import FastCall

HEADER_LENGTH = "inference-header-content-length"


def read_tensor(call: FastCall, asked: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The first input of a JSON request that was parsed."""
    tensor = asked["inputs"][0]
    return np.asarray(tensor["data"], call.dtype).reshape(tensor["shape"])


def read_binary(call: FastCall, body: bytes, header_length: int) -> np.ndarray[Any, Any]:
    """The first input of a request whose tensor stands behind its JSON part."""
    import orjson

    tensor = orjson.loads(body[:header_length])["inputs"][0]
    return np.frombuffer(body, call.dtype, offset=header_length).reshape(tensor["shape"])


def describe_answer(call: FastCall, model: str, answer: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An answer whose ``data`` is a list of Python numbers."""
    output = {
        "name": call.output_name,
        "datatype": "FP32",
        "shape": list(answer.shape),
        "data": answer.ravel().tolist(),
    }
    return {"model_name": model, "outputs": [output]}


def write_json(call: FastCall, model: str, answer: np.ndarray[Any, Any]) -> bytes:
    """An answer straight from the array."""
    import orjson

    output = {"name": call.output_name, "datatype": "FP32", "shape": list(answer.shape), "data": answer.ravel()}
    return orjson.dumps({"model_name": model, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)


def write_binary(call: FastCall, model: str, answer: np.ndarray[Any, Any]) -> tuple[bytes, int]:
    """An answer with its tensor behind the JSON part, and that part's length."""
    import orjson

    raw = answer.tobytes()
    output = {
        "name": call.output_name,
        "datatype": "FP32",
        "shape": list(answer.shape),
        "parameters": {"binary_data_size": len(raw)},
    }
    head = orjson.dumps({"model_name": model, "outputs": [output]})
    return head + raw, len(head)

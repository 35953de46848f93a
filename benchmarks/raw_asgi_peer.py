"""The peer: uvicorn with a raw ASGI callable that calls a SavedModel's signature. No framework, no gateway, no rollout.

It answers an Open Inference request as plainly as can be; started by ``gateway_path.py``, with the model's folder
in ``PEER_SAVED_MODEL`` and its name in ``PEER_MODEL``.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy
import orjson
import tensorflow as tf

_MODEL = tf.saved_model.load(os.environ["PEER_SAVED_MODEL"])
_CALL = _MODEL.signatures["serving_default"]
_NAME = os.environ["PEER_MODEL"]
(_INPUT,) = _CALL.structured_input_signature[1]
(_OUTPUT,) = _CALL.structured_outputs


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """One request: body, tensor, signature, answer."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    asked = orjson.loads(body)["inputs"][0]
    tensor = tf.constant(numpy.asarray(asked["data"], "float32").reshape(asked["shape"]))
    result = _CALL(**{_INPUT: tensor})[_OUTPUT].numpy()
    output = {"name": _OUTPUT, "datatype": "FP32", "shape": list(result.shape), "data": result.ravel()}
    answer = orjson.dumps({"model_name": _NAME, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})

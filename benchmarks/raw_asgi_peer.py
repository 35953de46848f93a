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

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def make_app() -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The application, once its model is loaded."""
    import tensorflow as tf

    model = tf.saved_model.load(os.environ["PEER_SAVED_MODEL"])
    call = model.signatures["serving_default"]
    name = os.environ["PEER_MODEL"]
    (given,) = call.structured_input_signature[1]
    (wanted,) = call.structured_outputs

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """One request: body, tensor, signature, answer."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        asked = orjson.loads(body)["inputs"][0]
        tensor = tf.constant(numpy.asarray(asked["data"], "float32").reshape(asked["shape"]))
        result = call(**{given: tensor})[wanted].numpy()
        output = {"name": wanted, "datatype": "FP32", "shape": list(result.shape), "data": result.ravel()}
        answer = orjson.dumps({"model_name": name, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    # The model owns the variables of its functions.
    app.model = model  # type: ignore[attr-defined]
    return app

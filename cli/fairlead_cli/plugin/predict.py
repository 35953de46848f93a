"""`predict`: one request through a gateway, and who answered it."""

from __future__ import annotations

import json
import math
from typing import Any

from fairlead_cli.plugin import errors, model_view, wire
from fairlead_operator.api import names

OK = 200
ZEROS_MAX = 100_000


def base_url(model: model_view.Model, gateway: str | None) -> str:
    """The gateway that is named, else the one that the status names.

    Raises:
        errors.PluginError: neither is known.
    """
    if gateway is not None:
        return gateway.rstrip("/")
    address = model.status.endpoints.v2 if model.status.endpoints is not None else None
    if address is None:
        raise errors.PluginError(
            "The status names no gateway: give its address with --gateway http://HOST:PORT or in FAIRLEAD_GATEWAY."
        )
    return address.removesuffix(f"/v2/models/{model.name}")


def ask(base: str, name: str, text: str | None, *, revision: str | None) -> dict[str, Any]:
    """Who answered, and what: by the protocol that the body is of, with zeros where none is given."""
    headers = {"Content-Type": "application/json"}
    if revision is not None:
        headers[names.HEADER_REVISION] = revision
    body = _parse(text) if text is not None else _make_zeros(base, name, headers)
    path = f"/v2/models/{name}/infer" if _is_v2(body) else f"/v1/models/{name}:predict"
    answer = wire.send("POST", f"{base}{path}", headers=headers, body=json.dumps(body).encode())
    answered = answer.headers.get(names.HEADER_REVISION)
    if answer.code != OK:
        who = f"revision {answered}" if answered is not None else "the gateway"
        raise errors.PluginError(f"{who} answered {answer.code}: {answer.text()[:400]}")
    return {"revision": answered, "answer": answer.json()}


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise errors.PluginError(f"The request is not JSON: {error}") from error


def _is_v2(body: Any) -> bool:
    """The Open Inference Protocol lists named tensors; all else is TensorFlow Serving's."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    return isinstance(inputs, list) and all(isinstance(each, dict) and "datatype" in each for each in inputs)


def _make_zeros(base: str, name: str, headers: dict[str, str]) -> dict[str, Any]:
    """A request made from the metadata: zeros, with 1 for each free dimension."""
    answer = wire.send("GET", f"{base}/v2/models/{name}", headers=headers)
    if answer.code != OK:
        raise errors.PluginError(f"the gateway answered {answer.code}: {answer.text()[:400]}")
    return {"inputs": [_make_zero_tensor(tensor) for tensor in answer.json()["inputs"]]}


def _make_zero_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    shape = [1 if size < 0 else size for size in tensor["shape"]]
    if (count := math.prod(shape)) > ZEROS_MAX:
        raise errors.PluginError(
            f"Input {tensor['name']} has {count} elements, too many for an example of zeros: give a request with -f."
        )
    zero: Any = {"BYTES": "", "BOOL": False}.get(tensor["datatype"], 0)
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [zero] * count}

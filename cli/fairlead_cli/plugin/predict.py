"""`predict`: one request through a gateway, and who answered it."""

from __future__ import annotations

import json
import math
import pathlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead_cli import gateway_access
from fairlead_cli.plugin import errors, model_view, wire
from fairlead_operator.api import names

OK, UNAUTHORIZED = 200, 401
ZEROS_MAX = 100_000
CHECK = "that the gateway runs, and its address (--gateway or FAIRLEAD_GATEWAY, else that of the status)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files that were named: an API key or a token, and the certificates to trust."""

    key: pathlib.Path | None = None
    token: pathlib.Path | None = None
    ca: pathlib.Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway's address, what a request shows to it, and which certificates are accepted of it."""

    url: str
    headers: Mapping[str, str]
    trust: ssl.SSLContext | None

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> wire.Answer:
        """One request.

        Raises:
            errors.PluginError: it can't be reached, or refuses the key or the token.
        """
        try:
            answer = wire.send(
                method,
                f"{self.url}{path}",
                check=CHECK,
                headers={**headers, **self.headers},
                body=body,
                trust=self.trust,
            )
        except errors.UntrustedError as error:
            raise errors.PluginError(f"{error} Give the certificate of its issuer with --ca-file.") from error
        if answer.code == UNAUTHORIZED:
            what = "the API key or token" if self.headers else "a request without an API key or a token"
            raise errors.PluginError(
                f"The gateway refused {what}: {_read_reason(answer)}. Give the file of a known key with --api-key-file"
                f" ({gateway_access.KEY_VARIABLE}), or of a token with --token-file ({gateway_access.TOKEN_VARIABLE})."
            )
        return answer


def connect(
    model: model_view.Model,
    gateway: str | None,
    files: Files,
    environment: Mapping[str, str],
) -> Gateway:
    """The gateway to send to, with the key or the token of a file or of the environment.

    Raises:
        errors.PluginError: no gateway is known, or the key, the token or the certificates can't be used.
    """
    url = base_url(model, gateway)
    try:
        key = gateway_access.read_credential(files.key, files.token, environment)
        return Gateway(
            url=url, headers=gateway_access.build_headers(key), trust=gateway_access.build_trust(url, files.ca)
        )
    except gateway_access.AccessError as error:
        raise errors.PluginError(str(error)) from error


def _read_reason(answer: wire.Answer) -> str:
    """What the gateway says of a refused request."""
    try:
        return str(json.loads(answer.text())["error"])[:400]
    except (ValueError, KeyError, TypeError):
        return answer.text()[:400] or "it gave no reason"


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


def ask(gateway: Gateway, name: str, text: str | None, *, revision: str | None) -> dict[str, Any]:
    """Who answered, and what: by the protocol that the body is of, with zeros where none is given."""
    headers = {"Content-Type": "application/json"}
    if revision is not None:
        headers[names.HEADER_REVISION] = revision
    body = _parse(text) if text is not None else _make_zeros(gateway, name, headers)
    path = f"/v2/models/{name}/infer" if _is_v2(body) else f"/v1/models/{name}:predict"
    answer = gateway.send("POST", path, headers, json.dumps(body).encode())
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


def _make_zeros(gateway: Gateway, name: str, headers: dict[str, str]) -> dict[str, Any]:
    """A request made from the metadata: zeros, with 1 for each free dimension."""
    answer = gateway.send("GET", f"/v2/models/{name}", headers)
    if answer.code != OK:
        raise errors.PluginError(f"the gateway answered {answer.code}: {answer.text()[:400]}")
    found = answer.json()
    try:
        return {"inputs": [_make_zero_tensor(tensor) for tensor in found["inputs"]]}
    except (KeyError, TypeError) as error:
        raise errors.PluginError(
            f"{answer.url} is no metadata of a model: {answer.text()[:200]} Check {CHECK}."
        ) from error


def _make_zero_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    shape = [1 if size < 0 else size for size in tensor["shape"]]
    if (count := math.prod(shape)) > ZEROS_MAX:
        raise errors.PluginError(
            f"Input {tensor['name']} has {count} elements, too many for an example of zeros: give a request with -f."
        )
    zero: Any = {"BYTES": "", "BOOL": False}.get(tensor["datatype"], 0)
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [zero] * count}

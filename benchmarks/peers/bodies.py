"""The requests of the benchmark, and the answers that they must get, by the Open Inference Protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.peers import peer

INPUTS = {"dense": "pixels", "cnn": "image", "lstm": "tokens"}
"""The name of each model's input; that of its output is read from the answer."""
DATATYPES = {"float32": "FP32", "int32": "INT32"}
BODIES = 16
HEADER_LENGTH = "inference-header-content-length"
TOLERANCE = 1e-3

Array = np.ndarray[Any, Any]


class WrongAnswer(Exception):
    """A server answered, but not what the model gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What is sent: bodies in turn, all with these headers, and the outputs that the model gives for each."""

    encoding: str
    bodies: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...]
    outputs: tuple[Array, ...]


def build(model: str, heldout: Path, *, rows: int, encoding: str) -> Requests:
    """``BODIES`` requests of ``rows`` held-out samples each."""
    with np.load(heldout) as kept:
        inputs, outputs = kept["inputs"], kept["outputs"]
    chosen = [np.arange(number * rows, (number + 1) * rows) % len(inputs) for number in range(BODIES)]
    write = {peer.JSON: write_json, peer.BINARY: write_binary, peer.GRPC: write_grpc}[encoding]
    bodies, headers = [], ()
    for each in chosen:
        body, headers = write(model, INPUTS[model], inputs[each])
        bodies.append(body)
    return Requests(
        encoding=encoding, bodies=tuple(bodies), headers=headers, outputs=tuple(outputs[each] for each in chosen)
    )


Written = tuple[bytes, tuple[tuple[str, str], ...]]


def write_json(model: str, name: str, rows: Array) -> Written:
    """A body and its headers; the model's name is in the path."""
    tensor = {**_describe(name, rows), "data": rows.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode(), ()


def write_binary(model: str, name: str, rows: Array) -> Written:
    """A body whose tensor stands behind the JSON part, and which asks for such an answer."""
    raw = rows.tobytes()
    tensor = {**_describe(name, rows), "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    # All heads of a run have one length, or the header would differ from body to body.
    head = head.ljust(320)
    return head + raw, (("content-type", "application/octet-stream"), (HEADER_LENGTH, str(len(head))))


def write_grpc(model: str, name: str, rows: Array) -> Written:
    """A serialized ModelInferRequest with raw contents."""
    from fairlead_runtime.protocols.grpc import v2_messages

    request = v2_messages.MESSAGES["ModelInferRequest"](model_name=model)
    request.inputs.add(name=name, datatype=DATATYPES[rows.dtype.name], shape=rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    return request.SerializeToString(), ()


def _describe(name: str, rows: Array) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[rows.dtype.name], "shape": list(rows.shape)}


def check(asked: Requests, number: int, answer: bytes, header_length: str | None) -> None:
    """Compares a whole answer with what the model gives.

    Raises:
        WrongAnswer: another shape or other numbers, beyond ``TOLERANCE``.
    """
    wanted = asked.outputs[number]
    found = _read_grpc(answer) if asked.encoding == peer.GRPC else _read_http(answer, header_length)
    if found.shape != wanted.shape or not np.allclose(found, wanted, atol=TOLERANCE):
        raise WrongAnswer(f"body {number}: {found.ravel()[:5]} of {found.shape} instead of {wanted.ravel()[:5]}")


def _read_http(answer: bytes, header_length: str | None) -> Array:
    length = len(answer) if header_length is None else int(header_length)
    try:
        output = json.loads(answer[:length])["outputs"][0]
    except (ValueError, LookupError) as error:
        raise WrongAnswer(f"no outputs ({error!r}) in {answer[:300]!r}") from None
    if "data" in output:
        return np.asarray(output["data"], "float32").reshape(output["shape"])
    return np.frombuffer(answer, "float32", offset=length).reshape(output["shape"])


def _read_grpc(answer: bytes) -> Array:
    from fairlead_runtime.protocols.grpc import v2_messages

    message = v2_messages.MESSAGES["ModelInferResponse"].FromString(answer)
    (output,) = message.outputs
    if message.raw_output_contents:
        return np.frombuffer(message.raw_output_contents[0], "float32").reshape(tuple(output.shape))
    return np.asarray(output.contents.fp32_contents, "float32").reshape(tuple(output.shape))

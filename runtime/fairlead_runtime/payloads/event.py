"""One event of the payload log: what is copied of an answered prediction, what is left out, and how it is written.

The form is a CloudEvent in JSON. Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote

import orjson

from fairlead_runtime.config import Payloads
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols import datatypes
from fairlead_runtime.protocols.http import dump

TYPE = "dev.fairlead.prediction.v1"
VALUE_BYTES_MIN = 2
"""A digit and a comma: no value takes less in JSON."""
STRING_BYTES = 48
"""What the object of a string takes beside its text."""
_PIECE_VALUES = 4096
"""Values that are written before it is asked whether there are too many."""
_PRINTABLE = re.compile(rb"[!-~]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Omission(StrEnum):
    """Why an event has no values of a tensor."""

    REDACTED = "Redacted"
    TEXT = "Text"
    SIZE = "Size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose predictions are logged."""

    namespace: str
    model: str
    revision: str
    number: int
    replica: str

    @property
    def source(self) -> str:
        """The `source` of the events: a URI reference, the same for all replicas of the revision."""
        parts = ("namespaces", self.namespace, "models", self.model, "revisions", self.revision)
        return "/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output: its values, or why they are left out."""

    spec: TensorSpec
    shape: tuple[int, ...]
    values: codec.Array | None = None
    omission: Omission | None = None
    held_bytes: int = 0

    def copied(self) -> Tensor:
        return self if self.values is None else replace(self, values=self.values.copy())

    def without_values(self) -> Tensor:
        return replace(self, values=None, omission=Omission.SIZE, held_bytes=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What of an answered prediction is sent."""

    id: str
    time_s: float
    protocol: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def held_bytes(self) -> int:
        """The memory that its values take."""
        return sum(tensor.held_bytes for tensor in (*self.inputs, *self.outputs))

    def copied(self) -> Event:
        """With values of its own, so that nothing of the request, or of a call with rows of others, is held."""
        return replace(
            self,
            inputs=[tensor.copied() for tensor in self.inputs],
            outputs=[tensor.copied() for tensor in self.outputs],
        )


def find_unknown_names(settings: Payloads, signature: Signature) -> tuple[str, ...]:
    """Names to redact that the model has no input or output of."""
    known = {spec.name for spec in (*signature.inputs, *signature.outputs)}
    return tuple(name for name in settings.redact if name not in known)


def select(specs: Sequence[TensorSpec], tensors: Tensors, settings: Payloads) -> list[Tensor]:
    """The values that an event may have, not copied: the arrays are views of a request, or of a call with more rows."""
    return [_select(spec, array, settings) for spec, array in zip(specs, tensors, strict=True)]


def _select(spec: TensorSpec, array: codec.Array, settings: Payloads) -> Tensor:
    if spec.name in settings.redact:
        return Tensor(spec=spec, shape=array.shape, omission=Omission.REDACTED)
    is_text = spec.dtype is DType.STRING
    if is_text and spec.name not in settings.keep_text:
        return Tensor(spec=spec, shape=array.shape, omission=Omission.TEXT)
    most = settings.max_event_bytes
    if array.size * VALUE_BYTES_MIN > most:
        return Tensor(spec=spec, shape=array.shape, omission=Omission.SIZE)
    held_bytes = array.nbytes
    if is_text:
        text_bytes = sum(map(len, array.reshape(-1).tolist()))
        if text_bytes > most:
            return Tensor(spec=spec, shape=array.shape, omission=Omission.SIZE)
        held_bytes += text_bytes + array.size * STRING_BYTES
    return Tensor(spec=spec, shape=array.shape, values=array, held_bytes=held_bytes)


def read_extensions(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The attributes by which an event is found again from a request, an access log or a trace."""
    found = {}
    request_id, trace = headers.get(b"x-request-id"), headers.get(b"traceparent")
    if request_id is not None and _PRINTABLE.fullmatch(request_id):
        found["requestid"] = request_id.decode()
    if trace is not None and _TRACEPARENT.fullmatch(trace):
        found["traceparent"] = trace.decode()
    return found


def write(event: Event, origin: Origin, *, bytes_max: int) -> bytes | None:
    """The event as JSON, without the values of its largest tensors where it is too large; None where it still is."""
    tensors = [*event.inputs, *event.outputs]
    written = [_write(tensor, bytes_max) for tensor in tensors]
    commas = sum(max(0, len(each) - 1) for each in (event.inputs, event.outputs))
    size = len(_envelope(event, origin, (), ())) + commas + sum(map(len, written))
    for i in sorted(range(len(tensors)), key=lambda i: len(written[i]), reverse=True):
        if size <= bytes_max:
            break
        without = _write(tensors[i].without_values(), bytes_max) if tensors[i].values is not None else written[i]
        size -= len(written[i]) - len(without)
        written[i] = without
    if size > bytes_max:
        return None
    return _envelope(event, origin, written[: len(event.inputs)], written[len(event.inputs) :])


def _write(tensor: Tensor, bytes_max: int) -> bytes:
    shown: dict[str, object] = {
        "name": tensor.spec.name,
        "datatype": datatypes.NAMES[tensor.spec.dtype],
        "shape": tensor.shape,
    }
    if tensor.values is None:
        return dump({**shown, "omitted": tensor.omission})
    data = _write_values(tensor.values.reshape(-1), bytes_max)
    if data is None:
        return _write(tensor.without_values(), bytes_max)
    return dump({**shown, "data": orjson.Fragment(data)})


def _write_values(values: codec.Array, bytes_max: int) -> bytes | None:
    """A list in JSON, or None as soon as it has more bytes than the event may have."""
    pieces, size = [], 0
    for at in range(0, values.size, _PIECE_VALUES):
        pieces.append(dump(codec.to_json(values[at : at + _PIECE_VALUES]))[1:-1])
        size += len(pieces[-1]) + 1
        if size > bytes_max:
            return None
    return b"[" + b",".join(pieces) + b"]"


def _envelope(event: Event, origin: Origin, inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    time = datetime.datetime.fromtimestamp(event.time_s, datetime.UTC)
    return dump(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": origin.source,
            "type": TYPE,
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            **event.extensions,
            "data": {
                "namespace": origin.namespace,
                "model": origin.model,
                "revision": origin.revision,
                "revisionNumber": origin.number,
                "replica": origin.replica,
                "protocol": event.protocol,
                "inputs": [orjson.Fragment(text) for text in inputs],
                "outputs": [orjson.Fragment(text) for text in outputs],
            },
        }
    )

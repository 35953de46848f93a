"""The methods of the Open Inference Protocol that name a model.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, TensorSpec
from fairlead_runtime.protocols import binary, datatypes, model_config, statistics
from fairlead_runtime.protocols.grpc import frame, v2_contents
from fairlead_runtime.protocols.grpc.schema import Message
from fairlead_runtime.protocols.grpc.v2_messages import MESSAGES
from fairlead_runtime.protocols.http import Answer, Response
from fairlead_runtime.protocols.inferring import Call, Inferring
from fairlead_runtime.protocols.parameters import refuse_unknown

PROTOCOL = "v2_grpc"
NAME = "inference.GRPCInferenceService"


class V2Service:
    """Answers the calls of one service; each method takes the body of a request."""

    def __init__(self, dataplane: Dataplane, issuer: Issuer) -> None:
        self._dataplane = dataplane
        self._issuer = issuer
        self._inferring = Inferring(dataplane)
        self._inputs = {spec.name: spec for spec in dataplane.signature.inputs}
        self._outputs = {spec.name: i for i, spec in enumerate(dataplane.signature.outputs)}
        self.methods: dict[str, Callable[[bytes], Answer]] = {
            "ModelReady": self._ready,
            "ModelMetadata": self._metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "ModelInfer": self._infer,
        }

    def _ready(self, body: bytes) -> Response:
        self._require_model(frame.read(body, MESSAGES["ModelReadyRequest"]))
        return frame.answer(MESSAGES["ModelReadyResponse"](ready=self._dataplane.is_ready), PROTOCOL)

    def _metadata(self, body: bytes) -> Response:
        self._require_model(frame.read(body, MESSAGES["ModelMetadataRequest"]))
        identity, signature = self._dataplane.identity, self._dataplane.signature
        answer = MESSAGES["ModelMetadataResponse"](
            name=identity.model, versions=[str(identity.number)], platform="tensorflow_savedmodel"
        )
        for found, specs in ((answer.inputs, signature.inputs), (answer.outputs, signature.outputs)):
            for spec in specs:
                found.add(**datatypes.describe(spec))
        return frame.answer(answer, PROTOCOL)

    def _config(self, body: bytes) -> Response:
        self._require_model(frame.read(body, MESSAGES["ModelConfigRequest"]))
        config = model_config.describe(self._dataplane, by_number=True)
        return frame.answer(MESSAGES["ModelConfigResponse"](config=config), PROTOCOL)

    def _statistics(self, body: bytes) -> Response:
        self._require_model(frame.read(body, MESSAGES["ModelStatisticsRequest"]))
        answer = MESSAGES["ModelStatisticsResponse"](model_stats=statistics.describe(self._dataplane))
        return frame.answer(answer, PROTOCOL, headers=statistics.headers(self._dataplane))

    def _require_model(self, asked: Message) -> None:
        self._dataplane.require_model(asked.name, asked.version or None)

    def _infer(self, body: bytes) -> Answer:
        return self._inferring.answer(lambda: self._decode(body), body_bytes=len(body))

    def _decode(self, body: bytes) -> Call:
        asked = frame.read(body, MESSAGES["ModelInferRequest"])
        self._dataplane.require_model(asked.model_name, asked.model_version or None)
        refuse_unknown("the request", asked.parameters)
        raw = asked.raw_input_contents
        if raw and len(raw) != len(asked.inputs):
            text = f"raw_input_contents has {len(raw)} elements for {len(asked.inputs)} inputs; it needs one for each"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        inputs = self._read_inputs(asked)
        wanted = self._read_wanted(asked)
        request_id, is_raw = asked.id, bool(raw)
        return Call(
            inputs=inputs,
            encode=lambda outputs: self._encode(outputs, wanted, request_id, is_raw=is_raw),
            headers=self._issuer.headers,
        )

    def _read_inputs(self, asked: Message) -> Tensors:
        by_name: dict[str, Array] = {}
        for i, given in enumerate(asked.inputs):
            spec = self._inputs.get(given.name)
            if spec is None:
                raise _unknown("input", given.name, self._inputs)
            if given.name in by_name:
                raise RequestError(RequestReason.INVALID_INPUT, f"input {given.name!r} is listed twice")
            by_name[given.name] = _read_tensor(spec, given, asked.raw_input_contents[i : i + 1])
        missing = [name for name in self._inputs if name not in by_name]
        if missing:
            raise RequestError(RequestReason.INVALID_INPUT, f"input {missing[0]!r} is missing")
        return tuple(by_name[name] for name in self._inputs)

    def _read_wanted(self, asked: Message) -> list[int]:
        """Which outputs are asked for: all where none is named."""
        if not asked.outputs:
            return list(self._outputs.values())
        wanted = []
        for given in asked.outputs:
            if given.name not in self._outputs:
                raise _unknown("output", given.name, self._outputs)
            refuse_unknown(f"output {given.name!r}", given.parameters)
            wanted.append(self._outputs[given.name])
        if len(set(wanted)) < len(wanted):
            raise RequestError(RequestReason.INVALID_INPUT, "outputs: an output is listed twice")
        return wanted

    def _encode(self, outputs: Tensors, wanted: list[int], request_id: str, *, is_raw: bool) -> Response:
        identity, specs = self._dataplane.identity, self._dataplane.signature.outputs
        answer = MESSAGES["ModelInferResponse"](
            model_name=identity.model, model_version=str(identity.number), id=request_id
        )
        # All outputs in one form. FP16 has no typed one.
        is_raw = is_raw or any(specs[i].dtype is DType.FLOAT16 for i in wanted)
        for i in wanted:
            spec, array = specs[i], outputs[i]
            item = answer.outputs.add(name=spec.name, datatype=datatypes.NAMES[spec.dtype], shape=array.shape)
            if is_raw:
                answer.raw_output_contents.append(binary.write(array))
            else:
                v2_contents.write(spec, array, item.contents)
        return frame.answer(answer, PROTOCOL)


def _read_tensor(spec: TensorSpec, given: Message, raw: list[bytes]) -> Array:
    expected = datatypes.NAMES[spec.dtype]
    if given.datatype != expected:
        text = f"input {spec.name!r}: expected datatype {expected}, got {given.datatype[:64]!r}"
        raise RequestError(RequestReason.INVALID_INPUT, text)
    refuse_unknown(f"input {spec.name!r}", given.parameters)
    shape = list(given.shape)
    if not all(0 <= size <= codec.SIZE_MAX for size in shape):
        text = f"input {spec.name!r}: shape must hold whole numbers from 0 to {codec.SIZE_MAX}"
        raise RequestError(RequestReason.INVALID_INPUT, text)
    if not raw:
        return v2_contents.read(spec, given.contents, shape)
    if given.HasField("contents"):
        text = f"input {spec.name!r}: contents must not be set beside raw_input_contents"
        raise RequestError(RequestReason.INVALID_INPUT, text)
    return codec.check_array(spec, binary.Reader(memoryview(raw[0])).read(spec, len(raw[0]), shape))


def _unknown(kind: str, name: str, known: dict[str, TensorSpec] | dict[str, int]) -> RequestError:
    listed = ", ".join(repr(each) for each in known)
    return RequestError(RequestReason.INVALID_INPUT, f"there is no {kind} {name[:64]!r}; the model has {listed}")

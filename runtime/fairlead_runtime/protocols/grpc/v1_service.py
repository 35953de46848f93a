"""TensorFlow Serving's PredictionService and ModelService, as far as a replica with one signature can answer them.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_service.proto
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference.dataplane import Dataplane, Phase
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import TensorSpec, dtype_number
from fairlead_runtime.protocols import v1_examples, v1_results
from fairlead_runtime.protocols.grpc import frame, tensor_proto, v1_inputs
from fairlead_runtime.protocols.grpc.schema import Message
from fairlead_runtime.protocols.grpc.v1_messages import MESSAGES
from fairlead_runtime.protocols.http import Answer, Response
from fairlead_runtime.protocols.inferring import Call, Inferring

_Reader = Callable[[Tensors, int], Message]
"""A result, from outputs for this many examples."""

PROTOCOL = "v1_grpc"
PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"
SIGNATURE_DEF = "signature_def"
# Source: tensorflow/python/saved_model/signature_constants.py
CLASSIFY_METHOD, REGRESS_METHOD = "tensorflow/serving/classify", "tensorflow/serving/regress"
_TYPE_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
# Source: tensorflow_serving/apis/get_model_status.proto, ModelVersionStatus.State
_STATES = {Phase.LOADING: 20, Phase.READY: 30, Phase.DRAINING: 40}


class V1Service:
    """Answers the calls of both services; each method takes the body of a request."""

    def __init__(self, dataplane: Dataplane, issuer: Issuer, *, body_bytes_max: int) -> None:
        self._dataplane = dataplane
        self._issuer = issuer
        self._body_bytes_max = body_bytes_max
        self._inferring = Inferring(dataplane)
        self._signature = dataplane.signature
        self._outputs = {spec.name: i for i, spec in enumerate(dataplane.signature.outputs)}
        self.prediction_methods: dict[str, Callable[[bytes], Answer]] = {
            "Predict": self._predict,
            "Classify": self._classify,
            "Regress": self._regress,
            "MultiInference": self._infer_several,
            "GetModelMetadata": self._metadata,
        }
        self.model_methods: dict[str, Callable[[bytes], Answer]] = {"GetModelStatus": self._status}

    def _predict(self, body: bytes) -> Answer:
        return self._inferring.answer(lambda: self._decode(body), body_bytes=len(body))

    def _decode(self, body: bytes) -> Call:
        asked = frame.read(body, MESSAGES["PredictRequest"])
        self._require(asked.model_spec)
        inputs = v1_inputs.read_tensors(self._signature, asked.inputs)
        wanted = self._read_wanted(asked.output_filter)
        return Call(inputs=inputs, encode=lambda outputs: self._encode(outputs, wanted), headers=self._issuer.headers)

    def _read_wanted(self, names: Iterable[str]) -> list[int]:
        """The outputs that the filter names, all where it names none."""
        wanted = set()
        for name in names:
            if name not in self._outputs:
                known = ", ".join(repr(each) for each in self._outputs)
                text = f"output_filter: there is no output {name[:64]!r}; the model has {known}"
                raise RequestError(RequestReason.INVALID_INPUT, text)
            wanted.add(self._outputs[name])
        return sorted(wanted) or list(self._outputs.values())

    def _encode(self, outputs: Tensors, wanted: list[int]) -> Response:
        answer = MESSAGES["PredictResponse"](model_spec=self._model_spec())
        for i in wanted:
            spec = self._signature.outputs[i]
            tensor_proto.write(spec, outputs[i], answer.outputs[spec.name])
        return frame.answer(answer, PROTOCOL)

    def _classify(self, body: bytes) -> Answer:
        return self._answer_examples(
            lambda: self._decode_examples(body, "ClassificationRequest", self._read_classes), body
        )

    def _regress(self, body: bytes) -> Answer:
        return self._answer_examples(
            lambda: self._decode_examples(body, "RegressionRequest", self._read_regressions), body
        )

    def _infer_several(self, body: bytes) -> Answer:
        return self._answer_examples(lambda: self._decode_tasks(body), body)

    def _answer_examples(self, decode: Callable[[], Call], body: bytes) -> Answer:
        return self._inferring.answer(decode, body_bytes=len(body) * v1_examples.DECODING_PER_BYTE)

    def _decode_examples(self, body: bytes, kind: str, make_reader: Callable[[], _Reader]) -> Call:
        asked = frame.read(body, MESSAGES[kind])
        self._require(asked.model_spec)
        read = make_reader()
        inputs = self._examples(asked)

        def encode(outputs: Tensors) -> Response:
            answer = MESSAGES[kind.replace("Request", "Response")](model_spec=self._model_spec())
            answer.result.CopyFrom(read(outputs, len(inputs[0])))
            return frame.answer(answer, PROTOCOL)

        return Call(inputs=inputs, encode=encode)

    def _decode_tasks(self, body: bytes) -> Call:
        """One task: a replica has one signature, and no signature may be asked for twice."""
        asked = frame.read(body, MESSAGES["MultiInferenceRequest"])
        if len(asked.tasks) != 1:
            text = f"tasks: exactly one is needed, as this replica serves one signature; got {len(asked.tasks)}"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        (task,) = asked.tasks
        self._require(task.model_spec)
        makers = {CLASSIFY_METHOD: self._read_classes, REGRESS_METHOD: self._read_regressions}
        if task.method_name not in makers:
            text = f"tasks[0].method_name: use {CLASSIFY_METHOD} or {REGRESS_METHOD}, not {task.method_name[:64]!r}"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        read = makers[task.method_name]()
        field = "classification_result" if task.method_name == CLASSIFY_METHOD else "regression_result"
        inputs = self._examples(asked)

        def encode(outputs: Tensors) -> Response:
            answer = MESSAGES["MultiInferenceResponse"]()
            answer.results.add(model_spec=self._model_spec(), **{field: read(outputs, len(inputs[0]))})
            return frame.answer(answer, PROTOCOL)

        return Call(inputs=inputs, encode=encode)

    def _examples(self, asked: Message) -> Tensors:
        return v1_inputs.read(self._signature, asked.input, body_bytes_max=self._body_bytes_max)

    def _read_classes(self) -> _Reader:
        read = v1_results.classifier(self._signature)
        return lambda outputs, examples: _classification(read(outputs, examples))

    def _read_regressions(self) -> _Reader:
        read = v1_results.regressor(self._signature)
        return lambda outputs, examples: MESSAGES["RegressionResult"](
            regressions=[{"value": value} for value in read(outputs, examples)]
        )

    def _metadata(self, body: bytes) -> Response:
        asked = frame.read(body, MESSAGES["GetModelMetadataRequest"])
        self._require(asked.model_spec)
        if list(asked.metadata_field) != [SIGNATURE_DEF]:
            text = "metadata_field must be exactly ['signature_def']: there is no other metadata"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        described = MESSAGES["SignatureDefMap"]()
        found = described.signature_def[self._signature.name]
        found.method_name = self._signature.method
        for infos, specs in ((found.inputs, self._signature.inputs), (found.outputs, self._signature.outputs)):
            for spec in specs:
                _describe(spec, infos[spec.name])
        answer = MESSAGES["GetModelMetadataResponse"](model_spec=self._model_spec())
        answer.metadata[SIGNATURE_DEF].type_url = _TYPE_URL
        answer.metadata[SIGNATURE_DEF].value = described.SerializeToString()
        return frame.answer(answer, PROTOCOL)

    def _status(self, body: bytes) -> Response:
        self._require(frame.read(body, MESSAGES["GetModelStatusRequest"]).model_spec)
        answer = MESSAGES["GetModelStatusResponse"]()
        state = _STATES[self._dataplane.shown_phase]
        answer.model_version_status.add(version=self._dataplane.identity.number, state=state).status.SetInParent()
        return frame.answer(answer, PROTOCOL)

    def _model_spec(self) -> Message:
        identity = self._dataplane.identity
        spec = MESSAGES["ModelSpec"](name=identity.model, signature_name=self._signature.name)
        spec.version.value = identity.number
        return spec

    def _require(self, asked: Message) -> None:
        """Raises RequestError for another model, version or signature. The gateway has looked up the label."""
        version = str(asked.version.value) if asked.HasField("version") else None
        self._dataplane.require_model(asked.name, version)
        if asked.signature_name not in ("", self._signature.name):
            text = f"signature_name: this replica serves {self._signature.name!r}, not {asked.signature_name[:64]!r}"
            raise RequestError(RequestReason.INVALID_INPUT, text)


def _classification(classes: v1_results.Classes) -> Message:
    rows, columns = classes.shape
    labels = classes.labels.tolist() if classes.labels is not None else [[b""] * columns] * rows
    scores = classes.scores.tolist() if classes.scores is not None else [[0.0] * columns] * rows
    result = MESSAGES["ClassificationResult"]()
    for row_labels, row_scores in zip(labels, scores, strict=True):
        found = result.classifications.add().classes
        for label, score in zip(row_labels, row_scores, strict=True):
            found.add(label=_text(label), score=score)
    return result


def _text(label: object) -> str:
    try:
        return label.decode() if isinstance(label, bytes) else str(label)
    except UnicodeDecodeError:
        text = "classify: a label of the model is not UTF-8, which a Class must be; use Predict"
        raise RequestError(RequestReason.INVALID_INPUT, text) from None


def _describe(spec: TensorSpec, info: Message) -> None:
    info.name = spec.name
    info.dtype = dtype_number(spec.dtype)
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
        return
    info.tensor_shape.SetInParent()
    for size in spec.shape:
        info.tensor_shape.dim.add(size=-1 if size is None else size)

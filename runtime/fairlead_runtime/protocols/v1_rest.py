"""TensorFlow Serving's REST API: status, metadata, predict, classify, regress.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.dataplane import Dataplane, Phase
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, TensorSpec
from fairlead_runtime.protocols import booleans, encoding, v1_body, v1_examples, v1_results
from fairlead_runtime.protocols.http import Answer, Request, Response, dump, parse_object, show_value
from fairlead_runtime.protocols.inferring import Call, Inferring

PROTOCOL = "v1"
PREFIX = "/v1/models/"
_DTYPES = {
    DType.BOOL: "DT_BOOL",
    DType.UINT8: "DT_UINT8",
    DType.UINT16: "DT_UINT16",
    DType.UINT32: "DT_UINT32",
    DType.UINT64: "DT_UINT64",
    DType.INT8: "DT_INT8",
    DType.INT16: "DT_INT16",
    DType.INT32: "DT_INT32",
    DType.INT64: "DT_INT64",
    DType.FLOAT16: "DT_HALF",
    DType.FLOAT32: "DT_FLOAT",
    DType.FLOAT64: "DT_DOUBLE",
    DType.STRING: "DT_STRING",
}


class V1Rest:
    """Answers everything below `/v1/models/`."""

    def __init__(self, dataplane: Dataplane, issuer: Issuer, *, body_bytes_max: int) -> None:
        self._dataplane = dataplane
        self._issuer = issuer
        self._body_bytes_max = body_bytes_max
        self._signature = dataplane.signature
        self._inferring = Inferring(dataplane)
        self._verbs: dict[str, Callable[[Request], Call]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }
        self._predict_path = f"{PREFIX}{dataplane.identity.model}:predict"

    def handle(self, request: Request) -> Answer:
        """The answer to one request. Raises RequestError for what the protocol refuses."""
        if request.path == self._predict_path and request.method == "POST":
            return self._infer(request, self._predict)
        path, _, verb = request.path.removeprefix(PREFIX).rstrip("/").partition(":")
        match path.split("/"):
            case [model] | [model, "metadata"] as parts:
                version = None
            case [model, "versions" | "labels", version] | [model, "versions" | "labels", version, "metadata"] as parts:
                pass
            case _:
                raise RequestError(RequestReason.UNKNOWN_PATH, f"the path {request.path[:100]!r} does not exist")
        self._dataplane.require_model(model, version)
        if verb:
            return self._call(request, verb)
        if request.method not in ("GET", "HEAD"):
            raise WrongMethodError(request.path[:100], "GET, HEAD")
        is_metadata = len(parts) in (2, 4)
        return Response(status=200, body=dump(self._metadata() if is_metadata else self._status()), protocol=PROTOCOL)

    def _call(self, request: Request, verb: str) -> Answer:
        decode = self._verbs.get(verb)
        if decode is None:
            raise RequestError(
                RequestReason.UNKNOWN_PATH, f"the verb {verb[:32]!r} does not exist; use predict, classify or regress"
            )
        if request.method != "POST":
            raise WrongMethodError(verb, "POST")
        return self._infer(request, decode)

    def _infer(self, request: Request, decode: Callable[[Request], Call]) -> Answer:
        return self._inferring.answer(
            lambda: decode(request),
            body_bytes=len(request.body) * (1 if decode == self._predict else v1_examples.DECODING_PER_BYTE),
            accepts_gzip=encoding.accepts_gzip(request.headers),
        )

    def _body(self, request: Request) -> dict[str, object]:
        body = parse_object(request.body)
        asked = body.get("signature_name", self._signature.name)
        if asked not in (self._signature.name, ""):
            text = f"signature_name: this replica serves {self._signature.name!r}, not {show_value(asked)}"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        return body

    def _status(self) -> dict[str, object]:
        state = {Phase.LOADING: "LOADING", Phase.READY: "AVAILABLE", Phase.DRAINING: "UNLOADING"}[
            self._dataplane.shown_phase
        ]
        version = str(self._dataplane.identity.number)
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": version, "state": state, "status": status}]}

    def _metadata(self) -> dict[str, object]:
        identity = self._dataplane.identity
        described = {
            "inputs": {spec.name: _describe(spec) for spec in self._signature.inputs},
            "outputs": {spec.name: _describe(spec) for spec in self._signature.outputs},
            "method_name": self._signature.method,
        }
        return {
            "model_spec": {"name": identity.model, "signature_name": "", "version": str(identity.number)},
            "metadata": {"signature_def": {"signature_def": {self._signature.name: described}}},
        }

    def _predict(self, request: Request) -> Call:
        body = self._body(request)
        inputs = v1_body.read(self._signature, body, may_hold_booleans=booleans.may_hold(request.body))
        encode = self._encode_rows if v1_body.ROWS in body else self._encode_columns
        return Call(inputs=inputs, encode=encode, headers=self._issuer.headers)

    def _encode_rows(self, outputs: Tensors) -> Response:
        rows = {len(array) if array.ndim else -1 for array in outputs}
        if len(rows) != 1 or -1 in rows:
            text = "the outputs differ in their number of rows; use the column format (inputs)"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        if len(outputs) == 1:
            return _ok({"predictions": codec.to_json(outputs[0], with_words=True)})
        names = [spec.name for spec in self._signature.outputs]
        values = [codec.rows_of(array) for array in outputs]
        rows_shown = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        return _ok({"predictions": rows_shown})

    def _encode_columns(self, outputs: Tensors) -> Response:
        if len(outputs) == 1:
            return _ok({"outputs": codec.to_json(outputs[0], with_words=True)})
        pairs = zip(self._signature.outputs, outputs, strict=True)
        return _ok({"outputs": {spec.name: codec.to_json(array, with_words=True) for spec, array in pairs}})

    def _classify(self, request: Request) -> Call:
        read = v1_results.classifier(self._signature)
        inputs = self._examples(request)
        return Call(
            inputs=inputs,
            encode=lambda outputs: _ok({"results": v1_examples.classes_to_json(read(outputs, len(inputs[0])))}),
        )

    def _regress(self, request: Request) -> Call:
        read = v1_results.regressor(self._signature)
        inputs = self._examples(request)
        return Call(
            inputs=inputs,
            encode=lambda outputs: _ok({"results": list(map(codec.number_to_json, read(outputs, len(inputs[0]))))}),
        )

    def _examples(self, request: Request) -> Tensors:
        return v1_examples.inputs(self._signature, self._body(request), body_bytes_max=self._body_bytes_max)


def _ok(body: object) -> Response:
    return Response(status=200, body=dump(body), protocol=PROTOCOL)


def _describe(spec: TensorSpec) -> dict[str, object]:
    sizes = [] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    shape = {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": spec.shape is None}
    return {"dtype": _DTYPES[spec.dtype], "tensor_shape": shape, "name": spec.name}

"""Open Inference Protocol over REST, with the binary tensor extension.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import importlib.metadata
from urllib.parse import quote

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType
from fairlead_runtime.protocols import (
    binary,
    booleans,
    datatypes,
    encoding,
    explain_rest,
    feedback_rest,
    model_config,
    proof_rest,
    statistics,
    v2_body,
)
from fairlead_runtime.protocols.http import Answer, Headers, Request, Response, dump, parse_object, show_value
from fairlead_runtime.protocols.inferring import Call, Inferring

SERVER_NAME = "fairlead"
SERVER_VERSION = importlib.metadata.version(SERVER_NAME)
HEADER_LENGTH = b"inference-header-content-length"
PROTOCOL = "v2"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")
_OF_REQUESTS = frozenset({"binary_data_output"})
_OF_OUTPUTS = frozenset({"binary_data"})
BLOB_BYTES_PER_BYTE = 64
"""Raw numbers that cost as much as one byte of JSON."""


class V2Rest:
    """Answers everything below `/v2`."""

    def __init__(
        self,
        dataplane: Dataplane,
        issuer: Issuer,
        feedback: feedback_rest.FeedbackRest,
        proof: proof_rest.ProofRest,
        explain: explain_rest.ExplainRest,
    ) -> None:
        self._dataplane = dataplane
        self._issuer = issuer
        self._feedback = feedback
        self._proof = proof
        self._explain = explain
        self._inferring = Inferring(dataplane)
        self._has_strings = any(spec.dtype is DType.STRING for spec in dataplane.signature.inputs)
        self._inputs = {spec.name: spec for spec in dataplane.signature.inputs}
        self._outputs = {spec.name: i for i, spec in enumerate(dataplane.signature.outputs)}
        self._infer_path = f"/v2/models/{dataplane.identity.model}/infer"
        self._content = _content_headers(dataplane)

    def handle(self, request: Request) -> Answer:
        """The answer to one request. Raises RequestError for what the protocol refuses."""
        if request.path == self._infer_path:
            return self._infer(request)
        match request.path.strip("/").split("/")[1:]:
            case []:
                return self._get(request, {"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": EXTENSIONS})
            case ["health", "live"]:
                return self._get(request, {"live": True})
            case ["health", "ready"]:
                return self._ready(request, {"ready": self._is_ready})
            case ["models", model, "versions", version, *rest]:
                return self._model(request, model, version, rest)
            case ["models", model, *rest]:
                return self._model(request, model, None, rest)
            case _:
                raise RequestError(RequestReason.UNKNOWN_PATH, f"the path {request.path[:100]!r} does not exist")

    @property
    def _is_ready(self) -> bool:
        return self._dataplane.is_ready

    def _model(self, request: Request, model: str, version: str | None, rest: list[str]) -> Answer:
        self._dataplane.require_model(model, version)
        match rest:
            case []:
                return self._get(request, self._metadata(), headers=self._content)
            case ["ready"]:
                return self._ready(request, {"name": model, "ready": self._is_ready})
            case ["infer"]:
                return self._infer(request)
            case ["feedback"]:
                feedback = self._feedback
                return self._inferring.answer_with(
                    lambda: feedback.decode(request),
                    lambda body: feedback.take(request, body),
                    body_bytes=len(request.body),
                )
            case ["config"]:
                return self._get(request, model_config.describe(self._dataplane, by_number=False))
            case ["stats"]:
                counted = [{**one, "batch_stats": []} for one in statistics.describe(self._dataplane)]
                return self._get(request, {"model_stats": counted}, headers=statistics.headers(self._dataplane))
            case ["explain"]:
                return self._explain.handle(request)
            case ["proof"]:
                return self._proof.handle(request)
            case _:
                raise RequestError(RequestReason.UNKNOWN_PATH, f"the path {request.path[:100]!r} does not exist")

    def _get(self, request: Request, body: object, *, status: int = 200, headers: Headers = ()) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise WrongMethodError(request.path[:100], "GET, HEAD")
        return Response(status=status, body=dump(body), headers=headers, protocol=PROTOCOL)

    def _ready(self, request: Request, body: object) -> Response:
        return self._get(request, body, status=200 if self._is_ready else 503)

    def _metadata(self) -> dict[str, object]:
        identity = self._dataplane.identity
        signature = self._dataplane.signature
        return {
            "name": identity.model,
            "versions": [str(identity.number)],
            "platform": "tensorflow_savedmodel",
            "inputs": [datatypes.describe(spec) for spec in signature.inputs],
            "outputs": [datatypes.describe(spec) for spec in signature.outputs],
        }

    def _infer(self, request: Request) -> Answer:
        if request.method != "POST":
            raise WrongMethodError("infer", "POST")
        header, blob = binary.split(request.body, request.headers.get(HEADER_LENGTH))
        # Raw numbers are a view of the body, and cost next to nothing; raw strings become objects.
        blob_bytes = len(blob) if self._has_strings else len(blob) // BLOB_BYTES_PER_BYTE
        return self._inferring.answer(
            lambda: self._decode(header, blob),
            body_bytes=len(header) + blob_bytes,
            accepts_gzip=encoding.accepts_gzip(request.headers),
        )

    def _decode(self, header: bytes, blob: memoryview) -> Call:
        body = parse_object(header)
        reader = binary.Reader(blob)
        may_hold_booleans = booleans.may_hold(header, only_in_lists=True)
        inputs = v2_body.read(self._inputs, body.get("inputs"), reader, may_hold_booleans=may_hold_booleans)
        reader.finish()
        wanted = self._parse_wanted(body)
        request_id = body.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise RequestError(RequestReason.MALFORMED, "id must be a string")

        def encode(outputs: Tensors) -> Response:
            return self._encode(outputs, wanted, request_id)

        return Call(inputs=inputs, encode=encode, headers=self._issuer.headers)

    def _parse_wanted(self, body: dict[str, object]) -> list[tuple[int, bool]]:
        """Which outputs are asked for, and whether as binary."""
        parameters = v2_body.parameters("the request", body, _OF_REQUESTS)
        every_binary = parameters.get("binary_data_output") is True
        asked = body.get("outputs")
        if asked is None or asked == []:
            return [(i, every_binary) for i in self._outputs.values()]
        if not isinstance(asked, list):
            raise RequestError(RequestReason.MALFORMED, "outputs must be a list")
        wanted = [
            self._parse_wanted_output(item, every_binary=every_binary) for item in asked[: len(self._outputs) + 1]
        ]
        # Each may be asked for once, or a short request could have an answer of any length.
        if len({index for index, _ in wanted}) < len(wanted):
            raise RequestError(RequestReason.INVALID_INPUT, "outputs: an output is listed twice")
        return wanted

    def _parse_wanted_output(self, item: object, *, every_binary: bool) -> tuple[int, bool]:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(name, str) or name not in self._outputs:
            known = ", ".join(repr(known) for known in self._outputs)
            raise RequestError(
                RequestReason.INVALID_INPUT, f"there is no output {show_value(name)}; the model has {known}"
            )
        own = v2_body.parameters(f"output {name!r}", item, _OF_OUTPUTS).get("binary_data")
        return self._outputs[name], own if isinstance(own, bool) else every_binary

    def _encode(self, outputs: Tensors, wanted: list[tuple[int, bool]], request_id: str | None) -> Response:
        blobs: list[bytes] = []
        items = [self._encode_one(outputs[i], i, blobs if as_binary else None) for i, as_binary in wanted]
        identity = self._dataplane.identity
        answer: dict[str, object] = {
            "model_name": identity.model,
            "model_version": str(identity.number),
            "outputs": items,
        }
        if request_id is not None:
            answer["id"] = request_id
        head = dump(answer)
        if not blobs:
            return Response(status=200, body=head, protocol=PROTOCOL)
        headers = ((HEADER_LENGTH, str(len(head)).encode()),)
        body = b"".join((head, *blobs))
        return Response(
            status=200, body=body, content_type=b"application/octet-stream", headers=headers, protocol=PROTOCOL
        )

    def _encode_one(self, array: codec.Array, index: int, blobs: list[bytes] | None) -> dict[str, object]:
        spec = self._dataplane.signature.outputs[index]
        item: dict[str, object] = {
            "name": spec.name,
            "datatype": datatypes.NAMES[spec.dtype],
            "shape": list(array.shape),
        }
        if blobs is not None:
            blob = binary.write(array)
            blobs.append(blob)
            item["parameters"] = {"binary_data_size": len(blob)}
        else:
            item["data"] = codec.to_json(array.reshape(-1))
        return item


def _content_headers(dataplane: Dataplane) -> Headers:
    """What is served: the digest of all that was fetched, which folder of it where there were several, and by what."""
    identity = dataplane.identity
    headers: Headers = (
        (b"x-fairlead-digest", identity.digest.encode()),
        (b"x-fairlead-engine", identity.engine.encode()),
    )
    if identity.variant is not None:
        headers = (*headers, (b"x-fairlead-variant", identity.variant.name.encode()))
    folder = identity.folder
    return headers if folder is None else (*headers, (b"x-fairlead-folder", quote(folder).encode()))

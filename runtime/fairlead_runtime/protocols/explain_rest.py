"""`POST /v2/models/NAME/explain`: what each part of an input adds to a score of the model.

The request is that of an inference by the Open Inference Protocol, with parameters; so is the answer, whose outputs are
the attributions and what they are compared with. Documented in docs/explain.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.dataplane import Dataplane, Phase
from fairlead_runtime.model.explaining.explainer import (
    STEPS_MAX,
    STEPS_MIN,
    Explainer,
    Explanation,
    Method,
    Question,
)
from fairlead_runtime.model.signature import DType
from fairlead_runtime.protocols import binary, datatypes, refusals, v2_body
from fairlead_runtime.protocols.http import Answer, Request, Response, dump, parse_object, show_value, then

PROTOCOL = "explain"
HEADER_LENGTH = b"inference-header-content-length"
TOP = "top"
TARGET_MAX = 1_000_000
_PARAMETERS = frozenset({"output", "target", "steps", "baseline", "method", "binary_data_output"})


class ExplainRest:
    """Answers requests for explanations, all of each on the thread of the explanations."""

    def __init__(self, dataplane: Dataplane, explainer: Explainer) -> None:
        self._dataplane = dataplane
        self._explainer = explainer

    def handle(self, request: Request) -> Answer:
        """The answer to one request. Raises RequestError for what is refused before it waits."""
        if request.method != "POST":
            raise WrongMethodError("explain", "POST")
        if self._dataplane.phase is Phase.LOADING:
            raise RequestError(RequestReason.NOT_READY, "the model is not loaded yet")
        if self._dataplane.phase is Phase.DRAINING:
            raise RequestError(RequestReason.DRAINING, "the replica is stopping, and starts no further explanation")
        waiting = self._dataplane.explanations.submit(lambda is_awaited: self._answer(request, is_awaited))
        return then(waiting, _same, refusals.answer)

    def _answer(self, request: Request, is_awaited: Callable[[], bool]) -> Response:
        header, blob = binary.split(request.body, request.headers.get(HEADER_LENGTH))
        body = parse_object(header)
        spec = self._explainer.input
        reader = binary.Reader(blob)
        (rows,) = v2_body.read({spec.name: spec}, body.get("inputs"), reader)
        reader.finish()
        request_id = body.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise RequestError(RequestReason.MALFORMED, "id must be a string")
        if body.get("outputs"):
            raise _refusal("outputs: leave it out; parameters.output names the output whose score is explained")
        given = v2_body.parameters("the request", body, _PARAMETERS)
        as_binary = given.get("binary_data_output", False)
        if not isinstance(as_binary, bool):
            raise _refusal("parameters.binary_data_output must be true or false")
        found = self._explainer.explain(_read_question(rows, given), is_awaited)
        return self._encode(found, request_id, as_binary=as_binary)

    def _encode(self, found: Explanation, request_id: str | None, *, as_binary: bool) -> Response:
        tensors = _tensors(found)
        blobs = [binary.write(array) for _, _, array in tensors] if as_binary else []
        identity = self._dataplane.identity
        answer: dict[str, object] = {
            "model_name": identity.model,
            "model_version": str(identity.number),
            "parameters": {"method": found.method.value, "output": found.output, "steps": found.steps},
            "outputs": [
                _describe(name, dtype, array, blobs[i] if as_binary else None)
                for i, (name, dtype, array) in enumerate(tensors)
            ],
        }
        if request_id is not None:
            answer["id"] = request_id
        head = dump(answer)
        if not as_binary:
            return Response(status=200, body=head, protocol=PROTOCOL)
        return Response(
            status=200,
            body=b"".join((head, *blobs)),
            content_type=b"application/octet-stream",
            headers=((HEADER_LENGTH, str(len(head)).encode()),),
            protocol=PROTOCOL,
        )


def _same(response: Response) -> Response:
    return response


def _read_question(rows: codec.Array, given: Mapping[str, object]) -> Question:
    """Raises RequestError, which names the parameter, for a value that is none of its kind."""
    output = given.get("output")
    if output is not None and not isinstance(output, str):
        raise _refusal(f"parameters.output must be the name of an output, got {show_value(output)}")
    steps = given.get("steps")
    if steps is not None and (type(steps) is not int or not STEPS_MIN <= steps <= STEPS_MAX):
        text = f"parameters.steps must be a whole number from {STEPS_MIN} to {STEPS_MAX}, got {show_value(steps)}"
        raise _refusal(text)
    return Question(
        rows=rows,
        output=output,
        target=_read_target(given.get("target", TOP)),
        steps=steps if isinstance(steps, int) else None,
        baseline=_read_baseline(given.get("baseline")),
        method=_read_method(given.get("method", Method.AUTO.value)),
    )


def _read_target(target: object) -> int | None:
    if target == TOP:
        return None
    if type(target) is not int or not 0 <= target <= TARGET_MAX:
        text = f'parameters.target must be "{TOP}" or the number of a class, from 0, got {show_value(target)}'
        raise _refusal(text)
    return target


def _read_baseline(baseline: object) -> float | None:
    if baseline is None:
        return None
    if type(baseline) not in (int, float) or not isinstance(baseline, int | float) or not math.isfinite(baseline):
        raise _refusal(f"parameters.baseline must be a finite number, got {show_value(baseline)}")
    return float(baseline)


def _read_method(method: object) -> Method:
    known = [each.value for each in Method]
    if not isinstance(method, str) or method not in known:
        listed = ", ".join(repr(each) for each in known)
        raise _refusal(f"parameters.method must be one of {listed}, got {show_value(method)}")
    return Method(method)


def _tensors(found: Explanation) -> list[tuple[str, DType, codec.Array]]:
    tensors = [
        ("attributions", DType.FLOAT32, found.attributions),
        ("target", DType.INT64, found.targets),
        ("score", DType.FLOAT64, found.scores),
    ]
    if found.baseline_scores is not None:
        tensors.append(("baseline_score", DType.FLOAT64, found.baseline_scores))
    if found.words is not None:
        tensors.append(("words", DType.STRING, found.words))
    return tensors


def _describe(name: str, dtype: DType, array: codec.Array, blob: bytes | None) -> dict[str, object]:
    item: dict[str, object] = {"name": name, "datatype": datatypes.NAMES[dtype], "shape": list(array.shape)}
    if blob is not None:
        return {**item, "parameters": {"binary_data_size": len(blob)}}
    return {**item, "data": codec.to_json(np.ascontiguousarray(array).reshape(-1))}


def _refusal(sentence: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, sentence)

"""`explain`: one request for an explanation through a gateway, and the parts of its answer that are drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_cli.plugin import errors, predict
from fairlead_operator.api import names

OK = 200
FLOAT32_MAX = 3.4028235e38
HEAD_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Numbers or texts in row-major order; `datatype` is a name of the Open Inference Protocol."""

    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]

    @property
    def rows(self) -> list[Sequence[Any]]:
        """The data of each row."""
        size = math.prod(self.shape[1:])
        return [self.data[i * size : (i + 1) * size] for i in range(self.shape[0])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An answer beside its request. `words` is there for an input of texts alone."""

    model: str
    output: str
    given: Tensor
    baseline: float
    attributions: Tensor
    targets: Sequence[int]
    scores: Sequence[float]
    words: Tensor | None


def compose(text: str, *, target: int | None, steps: int | None) -> dict[str, Any]:
    """The request in `text` with the parameters of the command line, which replace its own.

    Raises:
        errors.PluginError: the text is no request of the Open Inference Protocol.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise errors.PluginError(f"The request is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise errors.PluginError("The request must be one of the Open Inference Protocol: an object with inputs.")
    given = body.get("parameters", {})
    if not isinstance(given, dict):
        raise errors.PluginError("The request's parameters must be an object.")
    if given.get("binary_data_output"):
        raise errors.PluginError("The request's parameter binary_data_output can't be used here: leave it out.")
    flags = {name: value for name, value in (("target", target), ("steps", steps)) if value is not None}
    return {**body, "parameters": {**given, **flags}} if given or flags else body


def ask(gateway: predict.Gateway, name: str, body: Mapping[str, Any], *, revision: str | None) -> dict[str, Any]:
    """Who answered, and what."""
    headers = {"Content-Type": "application/json"}
    if revision is not None:
        headers[names.HEADER_REVISION] = revision
    answer = gateway.send("POST", f"/v2/models/{name}/explain", headers, json.dumps(body).encode())
    answered = answer.headers.get(names.HEADER_REVISION)
    if answer.code != OK:
        who = f"revision {answered}" if answered is not None else "the gateway"
        raise errors.PluginError(f"{who} answered {answer.code}: {answer.text()[:400]}")
    return {"revision": answered, "answer": answer.json()}


def read(body: Mapping[str, Any], answer: Any) -> Explained:
    """The answer as it is drawn.

    Raises:
        errors.PluginError: request or answer has another form.
    """
    try:
        outputs = {each["name"]: _tensor(each) for each in answer["outputs"]}
        made = Explained(
            model=str(answer["model_name"]),
            output=str(answer["parameters"]["output"]),
            given=_tensor(body["inputs"][0]),
            baseline=float(body.get("parameters", {}).get("baseline") or 0),
            attributions=outputs["attributions"],
            targets=[int(each) for each in outputs["target"].data],
            scores=[float(each) for each in outputs["score"].data],
            words=outputs.get("words"),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise errors.PluginError(f"The answer is no explanation that can be drawn: {error!r}") from error
    if not all(isinstance(each, int | float) and abs(each) <= FLOAT32_MAX for each in made.attributions.data):
        raise errors.PluginError(
            "The answer's attributions are not all finite numbers of FP32, so they can't be drawn."
        )
    rows = made.attributions.shape[0]
    if not rows == len(made.targets) == len(made.scores) == made.given.shape[0]:
        raise errors.PluginError("The answer has another number of rows than the request.")
    drawn = made.words or made.given
    if drawn.shape != made.attributions.shape:
        raise errors.PluginError(f"The attributions have the shape {made.attributions.shape}, not {drawn.shape}.")
    return made


def _tensor(given: Mapping[str, Any]) -> Tensor:
    shape = tuple(int(size) for size in given["shape"])
    data = _flat(given["data"])
    if not shape or len(data) != math.prod(shape):
        raise ValueError(f"{given['name']}: {len(data)} values for the shape {list(shape)}")
    return Tensor(datatype=str(given["datatype"]), shape=shape, data=data)


def _flat(data: Any) -> list[Any]:
    """Nested lists as one list."""
    while data and isinstance(data[0], list):
        data = [inner for each in data for inner in each]
    return list(data)

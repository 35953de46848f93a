"""Each model of the corpus is deployed as a person would, and answers right or is refused in so many words."""

from __future__ import annotations

import base64
import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.corpus import models, page
from tests.corpus.entry import Arrays, Built, Entry
from tests.support import replica_parts

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError
from fairlead_runtime.inference import batching, costs
from fairlead_runtime.model import prepare
from fairlead_runtime.protocols import example
from fairlead_runtime.server.limits import ServerLimits

REFRESH = os.environ.get("FAIRLEAD_REFRESH") == "1"
BY_NAME = {entry.name: entry for entry in models.ENTRIES}
SERVED = [
    pytest.param(entry.name, id=entry.name, marks=[pytest.mark.nightly] if entry.is_nightly else [])
    for entry in models.ENTRIES
    if entry.refusal is None
]
REFUSED = [entry.name for entry in models.ENTRIES if entry.refusal is not None]
DATATYPES = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bool": "BOOL",
    "object": "BYTES",
}


def prepared(entry: Entry, built: Built, folder: Path) -> prepare.PreparedModel:
    """As a replica prepares it; raises LoadError."""
    raw: dict[str, object] = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": replica_parts.MODEL,
        "revision": replica_parts.REVISION,
        "revisionNumber": 1,
        "source": {"uri": built.path.as_uri(), **entry.source},
    }
    if entry.example is not None:
        raw["example"] = entry.example
    parsed = config.parse(raw)
    return prepare.prepare(
        parsed,
        None,
        config.Environment(cache_dir=folder / "cache"),
        threads=1,
        read_examples=lambda place, signature: example.read(parsed.example, place, signature),
    )


@contextmanager
def serving(ready: prepare.PreparedModel) -> Iterator[Client]:
    """The model behind the real data plane, protocols and server, on loopback."""
    setting = replica_parts.Setting(
        signature=ready.model.signature,
        model=ready.model.predictor,
        costs=costs.LearnedCosts(),
        sharing=batching.Sharing(is_proved=ready.merging.is_proved),
        limits=ServerLimits(body_bytes_max=config.MIB),
        warm_up=ready.warm_up,
    )
    with replica_parts.running(setting) as running:
        yield Client(running.port)


class Client:
    """What a person sends, over HTTP."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            with connection.getresponse() as response:
                answer: dict[str, Any] = json.loads(response.read())
                assert response.status == 200, answer
                return answer
        finally:
            connection.close()


def datatype(array: np.ndarray[Any, Any]) -> str:
    """The Open Inference Protocol's name of a type."""
    return DATATYPES.get(str(array.dtype), str(array.dtype).upper())


def to_json(array: np.ndarray[Any, Any]) -> Any:
    """A tensor as TensorFlow Serving's REST API takes it."""
    return json.loads(json.dumps(array.tolist(), default=string_to_json))


def string_to_json(value: bytes) -> object:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def is_text(array: np.ndarray[Any, Any]) -> bool:
    return not any(isinstance(string_to_json(value), dict) for value in array.flat)


def assert_same(answered: Any, expected: np.ndarray[Any, Any]) -> None:
    if expected.dtype == object:
        assert answered == to_json(expected)
        return
    found = np.asarray(answered, dtype=expected.dtype if expected.dtype.kind != "f" else np.float64)
    assert found.shape == expected.shape
    tolerance = 1e-2 if expected.dtype == np.float16 else 2e-4
    assert np.allclose(found, np.asarray(expected, found.dtype), rtol=tolerance, atol=tolerance, equal_nan=True)


def named(given: Arrays, specs: list[dict[str, Any]]) -> Arrays:
    """By the names of the signature; a single tensor has whatever name the export gave it."""
    if len(specs) == 1 and len(given) == 1:
        return {specs[0]["name"]: next(iter(given.values()))}
    assert given.keys() == {spec["name"] for spec in specs}
    return given


def assert_v2(client: Client, inputs: Arrays, answer: Arrays) -> None:
    if any(array.dtype == object and not is_text(array) for array in inputs.values()):
        return  # Bytes that are no text travel in v1's b64, or as binary data.
    tensors = [
        {"name": name, "shape": list(array.shape), "datatype": datatype(array), "data": to_json(array.reshape(-1))}
        for name, array in inputs.items()
    ]
    body = client.ask("POST", f"/v2/models/{replica_parts.MODEL}/infer", {"inputs": tensors})
    found = {each["name"]: each for each in body["outputs"]}
    assert found.keys() == answer.keys()
    for name, expected in answer.items():
        data = np.asarray(found[name]["data"], dtype=object).reshape(found[name]["shape"])
        # The JSON of this protocol has null for what is not finite.
        is_number = expected.dtype.kind != "f" or np.isfinite(expected)
        assert_same(data.tolist(), expected if np.all(is_number) else np.where(is_number, expected, np.nan))


def assert_columns(client: Client, inputs: Arrays, answer: Arrays) -> None:
    body = {"inputs": {name: to_json(array) for name, array in inputs.items()}}
    found = client.ask("POST", f"/v1/models/{replica_parts.MODEL}:predict", body)["outputs"]
    for name, expected in answer.items():
        assert_same(found if len(answer) == 1 else found[name], expected)


def assert_rows(client: Client, inputs: Arrays, answer: Arrays) -> None:
    columns = {name: to_json(array) for name, array in inputs.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    instances = rows if len(columns) > 1 else next(iter(columns.values()))
    found = client.ask("POST", f"/v1/models/{replica_parts.MODEL}:predict", {"instances": instances})["predictions"]
    for name, expected in answer.items():
        assert_same(found if len(answer) == 1 else [row[name] for row in found], expected)


def has_rows(arrays: Arrays) -> bool:
    return all(array.ndim for array in arrays.values()) and len({len(array) for array in arrays.values()}) == 1


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_served_model_answers_as_it_does_by_itself(tmp_path: Path, name: str) -> None:
    entry = BY_NAME[name]
    (tmp_path / "made").mkdir()
    built = entry.build(tmp_path / "made")
    ready = prepared(entry, built, tmp_path)
    with serving(ready) as client:
        metadata = client.ask("GET", f"/v2/models/{replica_parts.MODEL}")
        inputs, answer = named(built.inputs, metadata["inputs"]), named(built.answer, metadata["outputs"])
        assert_v2(client, inputs, answer)
        assert_columns(client, inputs, answer)
        if has_rows(inputs) and has_rows(answer):
            assert_rows(client, inputs, answer)
    if entry.shares is not None:
        assert ready.merging.is_proved == entry.shares, ready.merging.why


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_model_is_refused_in_these_words(tmp_path: Path, name: str) -> None:
    entry = BY_NAME[name]
    assert entry.refusal is not None
    (tmp_path / "made").mkdir()
    built = entry.build(tmp_path / "made")
    with pytest.raises(LoadError) as error:
        prepared(entry, built, tmp_path)
    sentence = error.value.sentence.replace(str(tmp_path / "made"), "/models")
    if REFRESH:
        page.write_sentence(name, sentence)
    assert (error.value.reason, sentence) == (entry.refusal, page.sentences()[name])


def test_the_page_is_current() -> None:
    if REFRESH:
        page.PAGE.write_text(page.page())
    assert page.PAGE.read_text() == page.page(), "refresh it with FAIRLEAD_REFRESH=1"


def test_each_sentence_is_of_a_model() -> None:
    assert list(page.sentences()) == sorted(REFUSED)
    assert len(BY_NAME) == len(models.ENTRIES) >= 80, "names are unique"

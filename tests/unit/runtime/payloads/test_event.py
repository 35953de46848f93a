"""What an event has of a prediction, what is left out of it, and how large it is."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import orjson
import pytest

from fairlead_runtime.config import Payloads
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.payloads import event
from fairlead_runtime.payloads.event import Event, Omission, Origin

ORIGIN = Origin(namespace="shop", model="digits", revision="0123456789", number=3, replica="0123456789-aa")
SPECS = (
    TensorSpec(name="age", dtype=DType.FLOAT32, shape=(None,)),
    TensorSpec(name="name", dtype=DType.STRING, shape=(None,)),
    TensorSpec(name="picture", dtype=DType.STRING, shape=(None,)),
)
SIGNATURE = Signature(
    name="serve", method="predict", inputs=SPECS, outputs=(TensorSpec(name="y", dtype=DType.INT64, shape=(None,)),)
)
AGES = np.array([41.5, np.nan], np.float32)
TENSORS: Tensors = (AGES, np.array([b"Ada", b"Bo"], object), np.array([b"\xff\xd8", b"PNG"], object))


def settings(**given: Any) -> Payloads:
    return Payloads.model_validate({"url": "http://sink.example.org", "samplePercent": 100, **given})


def written(tensors: Tensors = TENSORS, **given: Any) -> dict[str, Any]:
    wanted = settings(**given)
    inputs = event.select(SPECS, tensors, wanted)
    made = Event(id="a-0", time_s=0.25, protocol="v2", inputs=inputs, outputs=())
    text = event.write(made, ORIGIN, bytes_max=wanted.max_event_bytes)
    assert text is not None
    assert len(text) <= wanted.max_event_bytes
    found: dict[str, Any] = orjson.loads(text)
    return found


def shown(**given: Any) -> list[Any]:
    return [each.get("data", each.get("omitted")) for each in written(**given)["data"]["inputs"]]


def test_an_event_says_whose_prediction_it_is_and_when() -> None:
    found = written()
    assert found["source"] == "/namespaces/shop/models/digits/revisions/0123456789"
    assert found["time"] == "1970-01-01T00:00:00.250Z"
    assert found["data"]["inputs"][0] == {"name": "age", "datatype": "FP32", "shape": [2], "data": [41.5, None]}


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ({}, [[41.5, None], "Text", "Text"]),
        ({"redact": ["age"]}, ["Redacted", "Text", "Text"]),
        ({"keepText": ["name"]}, [[41.5, None], ["Ada", "Bo"], "Text"]),
        ({"keepText": ["picture"]}, [[41.5, None], "Text", [{"b64": "/9g="}, "PNG"]]),
        ({"keepText": ["name"], "redact": ["name"]}, [[41.5, None], "Redacted", "Text"]),
    ],
)
def test_named_values_are_left_out_and_texts_are_kept_only_by_name(given: dict[str, Any], inputs: list[Any]) -> None:
    assert shown(**given) == inputs


def test_what_is_left_out_is_not_even_selected() -> None:
    copies = event.select(SPECS, TENSORS, settings(redact=["age"]))
    assert [tensor.values for tensor in copies] == [None, None, None]
    assert [tensor.omission for tensor in copies] == [Omission.REDACTED, Omission.TEXT, Omission.TEXT]
    assert [tensor.shape for tensor in copies] == [(2,), (2,), (2,)]


def test_an_event_holds_no_view_of_a_call_with_rows_of_others() -> None:
    call = np.arange(100, dtype=np.float32)
    inputs = event.select(SPECS[:1], (call[40:42],), settings())
    (copied,) = Event(id="a-0", time_s=0, protocol="v2", inputs=inputs, outputs=()).copied().inputs
    call[:] = -1
    assert copied.values is not None
    assert copied.values.tolist() == [40, 41]
    assert copied.values.base is None
    assert copied.held_bytes == 8


@pytest.mark.parametrize(("count", "is_shown"), [(100, True), (300, False), (100_000, False)])
def test_values_that_make_an_event_too_large_are_left_out(count: int, is_shown: bool) -> None:
    values = np.linspace(0, 1, count, dtype=np.float32)
    large = (values, *TENSORS[1:])
    found = written(large, maxEventBytes=2048)["data"]["inputs"][0]
    assert found["shape"] == [count]
    assert found.get("omitted") == (None if is_shown else "Size")


def test_the_largest_values_are_left_out_first() -> None:
    texts = np.array([b"x" * 1500, b"y"], object)
    inputs = written((AGES, texts, texts), keepText=["name"], maxEventBytes=1024)["data"]["inputs"]
    assert [each.get("omitted") for each in inputs] == [None, "Size", "Text"]


def test_an_event_that_is_too_large_without_values_is_none() -> None:
    specs = tuple(TensorSpec(name="n" * 250, dtype=DType.FLOAT32, shape=(None,)) for _ in range(8))
    inputs = event.select(specs, (AGES,) * 8, settings())
    made = Event(id="a-0", time_s=0, protocol="v2", inputs=inputs, outputs=())
    assert event.write(made, ORIGIN, bytes_max=1024) is None


def test_only_headers_of_the_expected_form_become_attributes() -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    good = {b"x-request-id": b"order-7", b"traceparent": trace, b"cookie": b"secret", b"x-user": b"ada"}
    assert event.read_extensions(good) == {"requestid": "order-7", "traceparent": trace.decode()}
    for value in (b"", b"\xff", b"a b", b"x" * 129):
        assert event.read_extensions({b"x-request-id": value, b"traceparent": value}) == {}


def test_a_name_to_redact_that_the_model_does_not_have_is_found() -> None:
    assert event.find_unknown_names(settings(redact=["age", "y", "agee"], keepText=["nothing"]), SIGNATURE) == ("agee",)


def test_a_string_counts_with_what_its_object_takes() -> None:
    (tensor,) = event.select(SPECS[1:2], (np.array([b""] * 1000, object),), settings(keepText=["name"]))
    assert tensor.held_bytes >= 1000 * (8 + sys.getsizeof(b""))


def test_the_work_for_an_event_grows_with_its_values_and_not_with_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = tuple(TensorSpec(name=f"x{i}", dtype=DType.INT64, shape=(None,)) for i in range(200))
    inputs = event.select(specs, [np.arange(2000)] * len(specs), settings(maxEventBytes=65536))
    made = Event(id="a-0", time_s=0, protocol="v2", inputs=inputs, outputs=())
    whole = event.write(made, ORIGIN, bytes_max=2**30)
    assert whole is not None
    dumped: list[int] = []
    dump = event.dump

    def count(value: object) -> bytes:
        text = dump(value)
        dumped.append(len(text))
        return text

    monkeypatch.setattr(event, "dump", count)
    text = event.write(made, ORIGIN, bytes_max=65536)
    assert text is not None
    assert len(text) <= 65536
    assert [each.get("omitted") for each in orjson.loads(text)["data"]["inputs"]].count(None) == 5
    assert sum(dumped) < 4 * len(whole)


def test_a_tensor_is_not_written_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.full(400_000, 1 / 3)
    spec = TensorSpec(name="x", dtype=DType.FLOAT64, shape=(None,))
    inputs = event.select([spec], [values], settings(maxEventBytes=1024 * 1024))
    assert inputs[0].values is not None
    made = Event(id="a-0", time_s=0, protocol="v2", inputs=inputs, outputs=())
    dumped: list[int] = []
    dump = event.dump

    def count(value: object) -> bytes:
        text = dump(value)
        dumped.append(len(text))
        return text

    monkeypatch.setattr(event, "dump", count)
    text = event.write(made, ORIGIN, bytes_max=1024 * 1024)
    assert text is not None
    assert orjson.loads(text)["data"]["inputs"][0]["omitted"] == "Size"
    assert sum(dumped) < 2 * 1024 * 1024

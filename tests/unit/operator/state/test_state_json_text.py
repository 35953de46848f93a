from __future__ import annotations

import json

import pytest

from fairlead_operator.state.json_text import KeptJson, canonical_json, plain

VALUE = {"name": "a", "args": {"list": [1, 0.5, None, True], "word": "ü"}}


def test_what_is_kept_is_what_was_given() -> None:
    assert KeptJson(VALUE) == VALUE
    assert dict(KeptJson(VALUE)) == VALUE
    assert KeptJson(KeptJson(VALUE)) == KeptJson(VALUE)
    assert len(KeptJson(VALUE)) == 2
    assert plain(KeptJson(VALUE)) == plain(VALUE) == VALUE


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**VALUE, "name": "b"}, id="another value"),
        pytest.param({"name": "a"}, id="fewer keys"),
        pytest.param([("name", "a")], id="no mapping"),
    ],
)
def test_another_value_differs(other: object) -> None:
    assert KeptJson(VALUE) != other


def test_the_order_of_keys_changes_nothing() -> None:
    assert KeptJson({"a": 1, "b": 2}) == KeptJson({"b": 2, "a": 1})


def test_what_was_unpacked_may_be_changed() -> None:
    kept = KeptJson(VALUE)
    kept.unpack()["args"]["word"] = "other"
    assert kept == VALUE


def test_it_is_its_text_that_is_shown() -> None:
    assert json.loads(repr(KeptJson(VALUE)).removeprefix("KeptJson(").removesuffix(")")) == VALUE


def test_the_same_value_gives_the_same_bytes() -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == canonical_json({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'.encode()

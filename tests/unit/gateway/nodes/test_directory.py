"""What a node's directory answers: read, refused as a whole, or one entry left out; nothing is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_gateway import settings
from fairlead_gateway.nodes import directory

A = "3f0c9a1b2d"
NAME = f"{A}-0123456789abcdef"


def entry(**changed: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "namespace": "default",
        "model": "digits",
        "revision": A,
        "port": 40001,
        "state": "Ready",
        **changed,
    }


def body(*replicas: Any, **changed: Any) -> bytes:
    whole = {"schema": 1, "cluster": "default/main", "version": "0123456789abcdef", "replicas": list(replicas)}
    return json.dumps({**whole, **changed}).encode()


def parse(raw: bytes) -> directory.Answer:
    return directory.parse(raw, namespace="default", cluster="main")


def test_replicas_of_other_namespaces_are_ignored() -> None:
    other = entry(name=f"{A}-ffffffffffffffff", namespace="team-b")
    draining = entry(name=f"{A}-fedcba9876543210", state="Draining", port=1)

    found = parse(body(entry(), other, draining))

    assert found.version == "0123456789abcdef"
    assert found.refused == 0
    assert found.replicas == {
        NAME: directory.Replica(name=NAME, model="digits", revision=A, port=40001, state=directory.State.READY),
        draining["name"]: directory.Replica(
            name=draining["name"], model="digits", revision=A, port=1, state=directory.State.DRAINING
        ),
    }


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\xff", "not JSON", id="no text"),
        pytest.param(b"[" * 100_000, "not JSON", id="too deep"),
        pytest.param(b"[]", "dictionary", id="a list"),
        pytest.param(body(schema=2), "schema: ", id="another schema"),
        pytest.param(body(version=""), "version: ", id="no version"),
        pytest.param(body(version="a b"), "version: ", id="odd version"),
        pytest.param(body(version="x" * 65), "version: ", id="long version"),
        pytest.param(body(replicas={}), "replicas: ", id="no list"),
        pytest.param(body(*[1] * 4097), "replicas: ", id="too many"),
        pytest.param(
            body(cluster="default/other"),
            "cluster: the answer is of 'default/other', not of 'default/main'",
            id="another cluster",
        ),
        pytest.param(body(cluster="team-b/main"), "cluster: ", id="another namespace's cluster"),
        pytest.param(body(cluster=None), "cluster: ", id="no cluster"),
    ],
)
def test_an_invalid_answer_is_refused_as_a_whole(raw: bytes, words: str) -> None:
    with pytest.raises(directory.InvalidAnswerError) as caught:
        parse(raw)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "invalid",
    [
        None, 1, [], {}, entry(name=f"{A}-0"), entry(name=1), entry(name=f"{A}-0123456789ABCDEF"),
        entry(revision="7ab0c9d1e2"), entry(revision=None), entry(port=0), entry(port=65536), entry(port=True),
        entry(port="40001"), entry(port=4.5), entry(state="ready"), entry(state=None), entry(state=[]), entry(state={}),
        entry(model="Digits"), entry(model="a" * 51), entry(model="a\n"), entry(model=None), entry(namespace=None),
        entry(namespace=1),
        entry(name=f"{NAME}\n"),
    ],
)  # fmt: skip
def test_an_invalid_entry_does_not_hide_the_others(invalid: object) -> None:
    good = entry(name=f"{A}-fedcba9876543210")

    found = parse(body(invalid, good))

    assert set(found.replicas) == {good["name"]}
    assert found.refused == 1


def test_the_first_of_two_entries_with_the_same_name_is_used() -> None:
    found = parse(body(entry(), entry(port=1)))

    assert found.replicas[NAME].port == 40001
    assert found.refused == 1


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
ENTRIES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {field: st.one_of(st.just(value), JSON) for field, value in entry().items()},
    ),
)


@given(
    st.one_of(st.binary(max_size=64), JSON.map(lambda value: json.dumps(value).encode()), st.lists(ENTRIES, max_size=5))
)
def test_only_valid_replicas_are_accepted_from_any_answer(raw: bytes | list[Any]) -> None:
    try:
        found = parse(body(*raw) if isinstance(raw, list) else raw)
    except directory.InvalidAnswerError:
        return
    for name, replica in found.replicas.items():
        assert replica.name == name == f"{replica.revision}-{name[11:]}"
        assert 0 < replica.port < 65536


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main=127.0.0.1:7999", settings.Node(cluster="main", host="127.0.0.1", port=7999)),
        ("gpu-1=[fd00::1]:7999", settings.Node(cluster="gpu-1", host="fd00::1", port=7999)),
    ],
)
def test_a_node_is_read_from_its_flag(text: str, expected: settings.Node) -> None:
    assert settings.parse_node(text) == expected
    assert f"{expected.cluster}={expected.address}" == text


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:1", "main=", "main=127.0.0.1", "main=127.0.0.1:0", "main=host:1", "M=127.0.0.1:1", "a=b=1:1"],
)
def test_an_invalid_node_flag_is_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"CLUSTER=HOST:PORT|IP address"):
        settings.parse_node(text)
